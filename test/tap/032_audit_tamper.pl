# If this fails, a superuser can change the audit log and verify_audit_log()
# does not notice.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('audit_tamper');
create_extension($node);
is($node->safe_psql('postgres', 'SELECT ok, checked FROM dataprotect.verify_audit_log()'), 't|0',
	'an empty log without any key is no failure');
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii'));
INSERT INTO person SELECT i, 'mail' || i FROM generate_series(1, 20) AS i;
CREATE ROLE app LOGIN;
GRANT SELECT ON person TO app;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
SQL
$node->safe_psql('postgres', "SELECT email FROM person WHERE id = $_", extra_params => [ '-U', 'app' ]) for 1 .. 10;
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');

# The worker's record that the grant was used first is the last one.
poll_sql($node, 'postgres', 'SELECT count(*) = 1 FROM dataprotect.audit_record WHERE event = 159');
my $rows = $node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.audit_record');
is($node->safe_psql('postgres', 'SELECT ok, checked, first_bad IS NULL, detail IS NULL FROM dataprotect.verify_audit_log()'),
	"t|$rows|t|t", "$rows untouched rows verify");

# Each case inside a transaction that is rolled back: the log stays usable.
sub tampered
{
	my ($name, $sql, $first_bad) = @_;
	my $out = $node->safe_psql('postgres',
		"BEGIN; $sql; SELECT ok, first_bad, detail IS NOT NULL FROM dataprotect.verify_audit_log(); ROLLBACK");
	is($out, "f|$first_bad|t", $name);
	return;
}

# What is stored is batches; whichever holds record 5, and its first and last one.
my $t = 'dataprotect.audit_batch';
my ($from, $to) = split /\|/, $node->safe_psql('postgres', "SELECT seq_from, seq_to FROM $t WHERE 5 BETWEEN seq_from AND seq_to");
my $newest = $node->safe_psql('postgres', "SELECT max(seq_from) FROM $t");
my $first_to = $node->safe_psql('postgres', "SELECT min(seq_to) FROM $t");
my ($b, $columns) = ("WHERE seq_from = $from", 'at_from, at_to, instance, ring_to, refs, hints, data, sealed, mac');
tampered('time altered', "UPDATE $t SET at_from = at_from - interval '1 us' $b", $from);
tampered('end of its time altered', "UPDATE $t SET at_to = at_to + interval '1 second' $b", $from);
for my $byte (0, 1, 6, 20, -1)
{
	my $place = $byte < 0 ? 'length(data) - 1' : $byte;
	tampered("byte $byte of the records altered", "UPDATE $t SET data = set_byte(data, $place, get_byte(data, $place) # 1) $b", $from);
}
tampered('records of another batch', "UPDATE $t SET data = (SELECT data FROM $t WHERE seq_from = $newest) WHERE seq_from = 1", 1);
tampered('sealed fields altered', "UPDATE $t SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) $b", $from);
tampered('sealed fields removed', "UPDATE $t SET sealed = NULL $b", $from);
tampered('sealed fields of another batch', "UPDATE $t SET sealed = (SELECT sealed FROM $t WHERE seq_from = $newest) WHERE seq_from = 1", 1);
tampered('hints altered, which readers go by', "UPDATE $t SET hints = set_byte(hints, 5, get_byte(hints, 5) # 1) $b", $from);
tampered('references altered', "UPDATE $t SET refs = box(point(1, 0), point(2, 0)) $b", $from);
tampered('ring numbers altered', "UPDATE $t SET ring_to = ring_to + 1 $b", $from);
tampered('instance altered', "UPDATE $t SET instance = '00000000-0000-0000-0000-000000000000' $b", $from);
tampered('MAC altered', "UPDATE $t SET mac = set_byte(mac, 0, get_byte(mac, 0) # 1) $b", $from);
tampered('MAC shortened', "UPDATE $t SET mac = '' $b", $from);
tampered('fewer records said to be in it', "UPDATE $t SET seq_from = seq_from + 1 WHERE seq_from = $newest", $newest);
tampered('more records said to be in it', "UPDATE $t SET seq_to = seq_to + 1 WHERE seq_from = $newest", $newest);
tampered('first batch deleted', "DELETE FROM $t WHERE seq_from = 1", 1);
tampered('middle batch deleted', "DELETE FROM $t $b", $from);
tampered('middle batch deleted, the rest renumbered',
	"DELETE FROM $t $b; UPDATE $t SET seq_from = ($to - $from + 1) - seq_from, seq_to = ($to - $from + 1) - seq_to WHERE seq_from > $to; "
	  . "UPDATE $t SET seq_from = -seq_from, seq_to = -seq_to WHERE seq_from < 0", $from);
tampered('last batch deleted', "DELETE FROM $t WHERE seq_to = $rows", $newest);
tampered('everything deleted', "DELETE FROM $t", 1);
tampered('everything truncated', "TRUNCATE $t", 1);
tampered('everything deleted, the head too', "DELETE FROM $t; DELETE FROM dataprotect.audit_head", 1);
tampered('head deleted', 'DELETE FROM dataprotect.audit_head', $rows);
tampered('head altered', "UPDATE dataprotect.audit_head SET seq = seq - 1; DELETE FROM $t WHERE seq_to = $rows", $newest - 1);
tampered('batch added at the end', "INSERT INTO $t SELECT $rows + 1, $rows + 1 + seq_to - seq_from, $columns FROM $t WHERE seq_to = $rows", $rows + 1);
tampered('batch inserted between', "UPDATE $t SET seq_from = -seq_from - 1, seq_to = -seq_to - 1 WHERE seq_from > $first_to; "
	  . "UPDATE $t SET seq_from = -seq_from, seq_to = -seq_to WHERE seq_from < 0; "
	  . "INSERT INTO $t SELECT $first_to + 1, $first_to + 1, $columns FROM $t WHERE seq_from = 1", $first_to + 1);
tampered('two batches swapped', "UPDATE $t SET seq_from = -seq_from, seq_to = -seq_to; UPDATE $t SET seq_from = CASE seq_from WHEN -1 THEN -seq_to ELSE 1 END, "
	  . "seq_to = CASE seq_from WHEN -1 THEN $rows ELSE $first_to END WHERE seq_from IN (-1, -$newest); UPDATE $t SET seq_from = -seq_from, seq_to = -seq_to WHERE seq_from < 0", 1);
tampered('partition detached and dropped', "DO \$\$ DECLARE p regclass; BEGIN FOR p IN SELECT inhrelid FROM pg_inherits "
	  . "WHERE inhparent = '$t'::regclass LOOP EXECUTE format('DROP TABLE %s', p); END LOOP; END \$\$", 1);
isnt(($node->psql('postgres', "BEGIN; UPDATE $t SET data = set_byte(data, 0, 9) $b; SELECT count(*) FROM dataprotect.audit_record"))[0], 0,
	'whoever reads a damaged batch is told');
is($node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.audit_record WHERE seq > $to"), $rows - $to, 'records behind it can be read');
is($node->safe_psql('postgres', 'SELECT max(seq) FROM dataprotect.audit_record'), $rows, 'nothing of that remains');
is($node->safe_psql('postgres', 'DELETE FROM dataprotect.audit_record; UPDATE dataprotect.audit_record SET seq = 1; SELECT count(*) FROM dataprotect.audit_record'), $rows,
	'what records are read by has none of its own');
for my $change ('CREATE INDEX ON dataprotect.audit_record (seq)', 'ALTER TABLE dataprotect.audit_record ADD extra int',
	'CREATE TABLE below () INHERITS (dataprotect.audit_record)')
{
	my (undef, undef, $error) = $node->psql('postgres', "BEGIN; $change; SELECT count(*) FROM dataprotect.audit_record");
	like($error, qr/"dataprotect.audit_record" has other columns, or an index or tables below it/, "an empty log is not what comes of $change");
}
psql_fails($node, 'postgres', 'COPY dataprotect.audit_record TO STDOUT', qr/cannot copy table "dataprotect.audit_record"/, 'nor of COPY');
SKIP:
{
	skip 'this server has no ICU', 1
	  if $node->psql('postgres', "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)") != 0;
	is($node->safe_psql('postgres', "SELECT count(*) > 0, count(*) = count(*) FILTER (WHERE role = 'app') FROM dataprotect.audit_record WHERE role = 'APP' COLLATE loose"),
		't|t', 'another collation finds what it takes for equal');
}
is($node->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'rolled-back tampering leaves the log whole');

# The newest rows and the head that stood before them: only the ring knows.
$node->safe_psql('postgres', 'CREATE TABLE old_head AS SELECT * FROM dataprotect.audit_head');
$node->safe_psql('postgres', 'SELECT email FROM person WHERE id = 11', extra_params => [ '-U', 'app' ]);
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is($node->safe_psql('postgres', 'SELECT checked FROM dataprotect.verify_audit_log()'), $rows + 1, 'one more row');
$node->safe_psql('postgres', "DELETE FROM $t WHERE seq_from > $rows; DELETE FROM dataprotect.audit_head; "
	  . 'INSERT INTO dataprotect.audit_head SELECT * FROM old_head');
like($node->safe_psql('postgres', 'SELECT ok, first_bad, detail FROM dataprotect.verify_audit_log()'),
	qr/^f\|@{[ $rows + 1 ]}\|.*ring file/, 'newest row removed and the head put back: the ring file remembers');
$node->restart;
is($node->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 'f', 'also after a restart');

# A rewound cursor does not make records come twice, a moved one loses none.
$node->safe_psql('postgres', "UPDATE dataprotect.audit_cursor SET ring_seq = ring_seq + 1000000");
$node->safe_psql('postgres', "SET dataprotect.purpose = 'after'; SELECT email FROM person WHERE id = 12", extra_params => [ '-U', 'app' ]);
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
$node->safe_psql('postgres', 'CREATE ROLE auditor LOGIN; GRANT dataprotect_auditor TO auditor');
is($node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.audit_log WHERE purpose = 'after'",
		extra_params => [ '-U', 'auditor' ]),
	'1', 'a cursor that was moved forward loses no record');

$node->stop;
done_testing();
