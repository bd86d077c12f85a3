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

my $t = 'dataprotect.audit_record';
tampered('time altered', "UPDATE $t SET at = at + interval '1 second' WHERE seq = 5", 5);
tampered('role altered', "UPDATE $t SET role = 'somebody' WHERE seq = 5", 5);
tampered('session role altered', "UPDATE $t SET session_role = 'somebody' WHERE seq = 5", 5);
tampered('columns emptied', "UPDATE $t SET columns = NULL WHERE seq = 5", 5);
tampered('columns altered', "UPDATE $t SET columns = ARRAY['public.person.id'] WHERE seq = 5", 5);
tampered('keys altered', "UPDATE $t SET keys = ARRAY['other'] WHERE seq = 5", 5);
tampered('number of values altered', "UPDATE $t SET opened = ARRAY[0] WHERE seq = 5", 5);
tampered('sealed fields altered', "UPDATE $t SET sealed = set_byte(sealed, 20, get_byte(sealed, 20) # 1) WHERE seq = 5", 5);
tampered('sealed fields of another row', "UPDATE $t SET sealed = (SELECT sealed FROM $t WHERE seq = 1) WHERE seq = 5", 5);
tampered('outcome altered', "UPDATE $t SET outcome = 'b' WHERE seq = 5", 5);
tampered('kind altered', "UPDATE $t SET kind = 'x' WHERE seq = 5", 5);
tampered('event altered', "UPDATE $t SET event = event + 1 WHERE seq = 5", 5);
tampered('session altered', "UPDATE $t SET session = session + 1 WHERE seq = 5", 5);
tampered('reference altered', "UPDATE $t SET ref_seq = 1 WHERE seq = 5", 5);
tampered('instance altered', "UPDATE $t SET instance = '00000000-0000-0000-0000-000000000000' WHERE seq = 5", 5);
tampered('MAC altered', "UPDATE $t SET mac = set_byte(mac, 0, get_byte(mac, 0) # 1) WHERE seq = 5", 5);
tampered('MAC shortened', "UPDATE $t SET mac = '' WHERE seq = 5", 5);
tampered('first row deleted', "DELETE FROM $t WHERE seq = 1", 1);
tampered('middle row deleted', "DELETE FROM $t WHERE seq = 5", 5);
tampered('middle row deleted, the rest renumbered',
	"DELETE FROM $t WHERE seq = 5; UPDATE $t SET seq = seq - 1 WHERE seq > 5", 5);
tampered('last row deleted', "DELETE FROM $t WHERE seq = $rows", $rows);
tampered('everything deleted', "DELETE FROM $t", 1);
tampered('everything truncated', "TRUNCATE $t", 1);
tampered('everything deleted, the head too', "DELETE FROM $t; DELETE FROM dataprotect.audit_head", 1);
tampered('head deleted', 'DELETE FROM dataprotect.audit_head', $rows);
tampered('head altered', "UPDATE dataprotect.audit_head SET seq = seq - 1; DELETE FROM $t WHERE seq = $rows", $rows - 1);
tampered('row added at the end', "INSERT INTO $t SELECT $rows + 1, at, kind, instance, ring_seq + 1000, session, event, outcome, "
	  . "ref_seq, ref_end, session_role, role, columns, keys, opened, compared, sealed, mac FROM $t WHERE seq = $rows", $rows + 1);
tampered('row doubled', "INSERT INTO $t SELECT seq, at + interval '1 us', kind, instance, ring_seq, session, event, outcome, "
	  . "ref_seq, ref_end, session_role, role, columns, keys, opened, compared, sealed, mac FROM $t WHERE seq = 5", 5);
tampered('two rows swapped', "UPDATE $t SET seq = CASE seq WHEN 5 THEN -6 ELSE -5 END WHERE seq IN (5, 6); "
	  . "UPDATE $t SET seq = -seq WHERE seq < 0", 5);
tampered('partition detached and dropped', "DO \$\$ DECLARE p regclass; BEGIN FOR p IN SELECT inhrelid FROM pg_inherits "
	  . "WHERE inhparent = '$t'::regclass LOOP EXECUTE format('DROP TABLE %s', p); END LOOP; END \$\$", 1);
is($node->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'rolled-back tampering leaves the log whole');

# The newest rows and the head that stood before them: only the ring knows.
$node->safe_psql('postgres', 'CREATE TABLE old_head AS SELECT * FROM dataprotect.audit_head');
$node->safe_psql('postgres', 'SELECT email FROM person WHERE id = 11', extra_params => [ '-U', 'app' ]);
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is($node->safe_psql('postgres', 'SELECT checked FROM dataprotect.verify_audit_log()'), $rows + 1, 'one more row');
$node->safe_psql('postgres', "DELETE FROM $t WHERE seq > $rows; DELETE FROM dataprotect.audit_head; "
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
