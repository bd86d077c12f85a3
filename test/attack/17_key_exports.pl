# Exports of keys that were written by hand, changed, or taken from a copy of the
# database: none of them gives anybody a key, or files one where others read it;
# and none comes or goes without an event.
# Cases: import-makes-an-account-own-the-key, import-files-versions-under-another-key,
# old-export-opens-the-erased-elsewhere, exports-and-drills-without-event.
use strict;
use warnings;

use Test::More;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

use DataProtect::Test;

my $node = new_node('key_exports', start => 0);
$node->append_conf('postgresql.conf', "max_worker_processes = 24\n");		# two for each of four databases
$node->start;
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE adm LOGIN IN ROLE dataprotect_admin;
CREATE ROLE reader LOGIN;
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
SELECT dataprotect.grant_access('pii', 'reader', 'reveal');
CREATE TABLE others (email encrypted_text('pii'));
INSERT INTO others VALUES ('anna@example.org');
GRANT SELECT ON others TO reader;
CREATE TABLE acc (id int PRIMARY KEY, email encrypted_text('pii'));
SELECT dataprotect.create_account_type('acc', 'acc', 'id');
SELECT dataprotect.bind_subject('acc', 'acc', 'id');
INSERT INTO acc VALUES (1, 'one@example.org'), (2, 'two@example.org');
SQL

# Everything that an import may touch, in one value.
sub state_of_keys
{
	return $node->safe_psql($_[0] || 'postgres', <<'SQL');
SELECT md5(string_agg(t, E'\n' ORDER BY t)) FROM (
	SELECT i.uid::text FROM dataprotect.instance i UNION ALL SELECT e::text FROM dataprotect.epoch e
	UNION ALL SELECT k::text FROM dataprotect.key k UNION ALL SELECT v::text FROM dataprotect.key_version v
	UNION ALL SELECT s::text FROM dataprotect.subject_key s UNION ALL SELECT t::text FROM dataprotect.tombstone t) all_of_it(t)
SQL
}

sub as_admin
{
	my ($sql, $database) = @_;
	my ($rc, $out, $err) = $node->psql($database || 'postgres', "\\set VERBOSITY verbose\n$sql",
		extra_params => [ '-U', 'adm', '-v', 'ON_ERROR_STOP=1' ]);
	my $sqlstate = $rc == 0 ? '00000' : $err =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5})/ ? $1 : "unknown: $err";
	return ($sqlstate, $out, $err);
}

sub import_refused
{
	my ($document, $name, $expected, $database) = @_;
	my $before = state_of_keys($database);
	my ($sqlstate, $out, $err) = as_admin("SELECT dataprotect.import_keys($document)", $database);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($sqlstate eq ($expected || '22023') && $err =~ /HINT:/, "refused: $name") or diag("$sqlstate $err");
	is(state_of_keys($database), $before, "nothing changed: $name");
	return;
}

my $exported = (as_admin('SELECT dataprotect.export_keys()'))[1];
my $genuine = "\$keys\$$exported\$keys\$::jsonb";
like($exported, qr/"wrapped"/, 'an administrator exports keys');
is((as_admin("SELECT dataprotect.import_keys($genuine)"))[0], '00000', 'and imports them again');

# Hand-written: a named key's own version is said to be an account's.
import_refused("(SELECT jsonb_build_object('format', e -> 'format', 'database_uid', e -> 'database_uid', 'mac', e -> 'mac', 'mac_key', e -> 'mac_key',
	'tombstones', '[]'::jsonb, 'epochs', '[]'::jsonb, 'keys', '[]'::jsonb, 'versions', '[]'::jsonb, 'subjects',
	jsonb_build_array(jsonb_build_object('family', 1, 'account_type', 'acc', 'subject', '9', 'claimed_at', now(),
		'key_id', (SELECT (k ->> 'current_key_id')::int8 FROM jsonb_array_elements(e -> 'keys') k))))
	FROM (SELECT $genuine) d(e))", 'an account that owns a named key');

# Changed at one place, or cut, or nothing like an export.
my %changed = (
	"jsonb_set($genuine, '{tombstones}', '[{\"account_type\": \"acc\", \"subject\": \"2\", \"destroyed_at\": \"2026-01-01\"}]')" => 'a tombstone more',
	"jsonb_set($genuine, '{versions,0,purpose}', '9')" => 'another purpose',
	"jsonb_set($genuine, '{versions,0,family}', '99')" => 'another family',
	"jsonb_set($genuine, '{versions,0,state}', '\"r\"')" => 'another state',
	"jsonb_set($genuine, '{subjects,0,subject}', '\"7\"')" => 'another account',
	"jsonb_set($genuine, '{keys,0,name}', '\"other\"')" => 'another name',
	"jsonb_set($genuine, '{keys,0,mask}', '\"null\"')" => 'another mask',
	"jsonb_set($genuine, '{epochs,0,kms_uri}', '[\"file:///tmp/mine\"]')" => 'another KMS',
	"jsonb_set($genuine, '{exported_at}', '\"2020-01-01\"')" => 'another time',
	"jsonb_set($genuine, '{mac}', '\"00\"')" => 'a short code',
	"jsonb_set($genuine, '{mac}', to_jsonb(repeat('0', 64)))" => 'a code of zeros',
	"jsonb_set($genuine, '{mac_key}', '1')" => 'a code under an unknown key',
	"jsonb_set($genuine, '{mac_key}', '\"x\"')" => 'a code under no key',
	"$genuine - 'mac'" => 'no code',
	"$genuine || '{\"more\": 1}'" => 'a member more',
	(map { ("$genuine - '$_'" => "without $_", "jsonb_set($genuine, '{$_}', 'null')" => "null for $_",
		"jsonb_set($genuine, '{$_}', '[null]')" => "an array of null for $_", "jsonb_set($genuine, '{$_}', '\"x\"')" => "a text for $_") }
		qw(epochs keys versions subjects tombstones database_uid)),
	map { ("'$_'" => $_) } '{}', '[]', 'null', '1', '"x"', '{"format": "dataprotect keys 2"}', '{"format": "dataprotect keys 1"}');
import_refused($_, $changed{$_}) for sort { $changed{$a} cmp $changed{$b} } keys %changed;
import_refused('NULL', 'NULL');
is($node->safe_psql('postgres', 'SELECT email FROM others', extra_params => [ '-U', 'reader' ]), 'anna@example.org',
	'who may read goes on reading');

# An old export, its tombstones taken out, in a database of the attacker's own.
$node->safe_psql('postgres', "SELECT dataprotect._subject_destroy('acc', '1', 'erasure')");
my $later = (as_admin('SELECT dataprotect.export_keys()'))[1];
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
create_extension($node, 'elsewhere');
import_refused("jsonb_set(\$k\$$later\$k\$, '{tombstones}', '[]')", 'tombstones taken out', '22023', 'elsewhere');
import_refused("\$k\$$later\$k\$::jsonb || jsonb_build_object('versions', $genuine -> 'versions', 'subjects', $genuine -> 'subjects')",
	'an older export with the newer code', '22023', 'elsewhere');
import_refused("jsonb_set($genuine, '{epochs,0,wrapped}', '[\"\\\\\\\\x00\"]')", 'another wrapped epoch', '22023', 'elsewhere');
my ($sqlstate, $rows) = as_admin("SELECT dataprotect.import_keys(\$k\$$later\$k\$)", 'elsewhere');
is($sqlstate, '00000', 'an export as it was made comes into an empty database');
is($node->safe_psql('elsewhere', <<'SQL'), '1|0|0', 'with the living account and its key, without the erased one and keys that nobody claimed');
SELECT count(*) FILTER (WHERE subject = '2'), count(*) FILTER (WHERE subject = '1'),
	(SELECT count(*) FROM dataprotect.key_version v WHERE v.purpose = 3 AND NOT EXISTS (SELECT FROM dataprotect.subject_key s WHERE s.key_id = v.key_id))
FROM dataprotect.subject_key
SQL
# What the reader sees of ciphertext that an administrator restores under a key.
sub restored
{
	my ($database, $key, $armor) = @_;
	$node->safe_psql($database, <<"SQL");
CREATE TABLE restored (v encrypted_text('$key'));
GRANT SELECT ON restored TO reader;
SET dataprotect.input = ciphertext;
INSERT INTO restored VALUES ('$armor');
SQL
	my $seen = $node->safe_psql($database, 'SELECT v FROM restored', extra_params => [ '-U', 'reader' ]);
	$node->safe_psql($database, 'DROP TABLE restored');
	return $seen;
}
$node->safe_psql('elsewhere', "SELECT dataprotect.grant_access('pii', 'reader', 'reveal')");
is(restored('elsewhere', 'pii', $node->safe_psql('postgres', 'SELECT email FROM acc WHERE id = 2')), 'two@example.org',
	'and what was written before is read there');

# Two copies that went on separately: equal numbers, different keys.
for my $copy (qw(copy_a copy_b))
{
	$node->safe_psql('template1', "CREATE DATABASE $copy TEMPLATE postgres");
}
$node->safe_psql('copy_a', <<'SQL');
SELECT dataprotect.create_key('hr');
SELECT dataprotect.rotate_key('pii');
CREATE TABLE t (v encrypted_text('hr'));
INSERT INTO t VALUES ('salary of the boss');
INSERT INTO acc VALUES (3, 'three of a');
CREATE TABLE p (v encrypted_text('pii'));
INSERT INTO p VALUES ('pii of a');
SQL
$node->safe_psql('copy_b', <<'SQL');
SELECT dataprotect.create_key('marketing');
SELECT dataprotect.grant_access('marketing', 'reader', 'reveal');
INSERT INTO acc VALUES (3, 'three of b');
SQL
my $of_a = $node->safe_psql('copy_a', 'SELECT dataprotect.export_keys()');
my $boss = $node->safe_psql('copy_a', 'SELECT v FROM t');
my $pii_of_a = $node->safe_psql('copy_a', 'SELECT v FROM p');
$node->safe_psql('copy_b', "SELECT dataprotect.import_keys(\$k\$$of_a\$k\$)");
is($node->safe_psql('copy_b', "SELECT string_agg(name || ' ' || n, ', ' ORDER BY name) FROM (SELECT name, count(*) n FROM dataprotect.key_versions WHERE purpose = 'data' GROUP BY name) v"),
	'hr 1, marketing 1, pii 2', "a copy's key comes in under its own name, a copy's version under its key");
psql_fails($node, 'copy_b', "CREATE TABLE t (v encrypted_text('marketing')); SET dataprotect.input = ciphertext; INSERT INTO t VALUES ('$boss')",
	qr/permission denied for key "hr"/, 'what hr sealed stays under hr');
like(restored('copy_b', 'hr', $boss), qr/^enc:v1:/, 'who may read marketing does not read it');
is(restored('copy_b', 'pii', $pii_of_a), 'pii of a', 'what the copy sealed under a key that both have is read');
is($node->safe_psql('copy_b', "SELECT count(*) FROM dataprotect.key_version v JOIN dataprotect.key k USING (family) WHERE v.purpose = 2 AND v.state = 'a' GROUP BY family HAVING count(*) > 1"),
	'', 'no key has two versions that seal');
is($node->safe_psql('copy_b', "SELECT count(*) FROM dataprotect.subject_key WHERE subject = '3'"), '1', 'an account has one key');
$node->safe_psql('copy_b', "SELECT dataprotect.suspend_key('hr', 'x'); SELECT dataprotect.destroy_key('hr', 'x')");
$node->safe_psql('copy_a', "SELECT dataprotect.rotate_key('hr')");
$of_a = $node->safe_psql('copy_a', 'SELECT dataprotect.export_keys()');
$node->safe_psql('copy_b', "SELECT dataprotect.import_keys(\$k\$$of_a\$k\$)");
is($node->safe_psql('copy_b', "SELECT count(*) FROM dataprotect.key_version v JOIN dataprotect.key k USING (family) WHERE k.name = 'hr' AND v.wrapped IS NOT NULL"),
	'0', 'no version comes back of a key that was destroyed here');
$node->safe_psql('copy_a', "SELECT dataprotect.create_key('sales')");
$node->safe_psql('copy_b', "SELECT dataprotect.create_key('sales')");
$of_a = $node->safe_psql('copy_a', 'SELECT dataprotect.export_keys()');
import_refused("\$k\$$of_a\$k\$", 'another key of the same name', '42710', 'copy_b');

# Each export, import and drill is in the log, with who and what, failed ones too.
as_admin('SELECT count(*) FROM dataprotect.drill()');
$node->safe_psql('postgres', "SELECT dataprotect.flush_audit_log('30 s')");
is($node->safe_psql('postgres', <<'SQL', extra_params => [ '-U', 'auditor' ]), <<'OUT' =~ s/\n\z//r, 'exports, imports and drills are in the log');
SELECT event, outcome, session_role, count(*) > 0,
	bool_and(CASE event WHEN 'keys.exported' THEN detail ?& '{keys,versions,accounts}' WHEN 'keys.drilled' THEN detail ? 'results'
		ELSE detail ? 'database_uid' END)
FROM dataprotect.audit_log WHERE event IN ('keys.exported', 'keys.drilled', 'key.imported') AND session_role = 'adm'
GROUP BY 1, 2, 3 ORDER BY 1, 2
SQL
key.imported|ok|adm|t|t
key.imported|rolled_back|adm|t|t
keys.drilled|ok|adm|t|t
keys.exported|ok|adm|t|t
OUT

$node->stop;
done_testing();
