<?php
// What PHP's PDO makes of a table.  Called with host, port, user and the table's name.
[, $host, $port, $user, $table] = $argv;
$db = new PDO("pgsql:host=$host;port=$port;dbname=postgres", $user, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
function show($what, $value)
{
	echo $what, ' ', gettype($value), ' ', is_resource($value) ? bin2hex(stream_get_contents($value)) : var_export($value, true), "\n";
}
$rows = $db->query("SELECT * FROM $table ORDER BY id");
for ($i = 0; $i < $rows->columnCount(); $i++) {
	$meta = $rows->getColumnMeta($i);
	echo $meta['name'], ' ', $meta['native_type'], ' ', $meta['len'], ' ', $meta['precision'], ' ', $meta['pdo_type'], "\n";
}
foreach ($rows->fetchAll(PDO::FETCH_ASSOC) as $row)
	foreach ($row as $name => $value)
		show($name, $value);
foreach ([['name', 'Eve', PDO::PARAM_STR], ['n4', 4, PDO::PARAM_INT], ['active', true, PDO::PARAM_BOOL], ['pay', '1.25', PDO::PARAM_STR], ['raw', "\0\1", PDO::PARAM_LOB]] as [$name, $value, $type])
	foreach ([false, true] as $emulated) {
		$db->setAttribute(PDO::ATTR_EMULATE_PREPARES, $emulated);
		$db->beginTransaction();
		$change = $db->prepare("UPDATE $table SET $name = :v WHERE id = 1 RETURNING $name");
		$change->bindValue(':v', $value, $type);
		$change->execute();
		show("set $name", $change->fetchColumn());
		$db->rollBack();
	}
