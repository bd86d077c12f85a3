# If this fails, nobody can say who saw a given person's values, an incident's 72 hours
# pass unwatched, or the report for an auditor says what is not so.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('disclosures', conf => "fsync = off\n");
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('k');
CREATE ROLE doctor LOGIN;
CREATE ROLE clerk LOGIN;
CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
CREATE ROLE adm LOGIN IN ROLE dataprotect_admin;
SELECT dataprotect.grant_access('k', 'doctor', 'reveal'), dataprotect.grant_access('k', 'clerk', 'mask');
CREATE TABLE patient (id int PRIMARY KEY, name encrypted_text('k'), ward int);
SELECT dataprotect.create_account_type('patient', 'patient', 'id');
SELECT dataprotect.bind_subject('patient', 'patient', 'id');
INSERT INTO patient SELECT n, 'name ' || n, n % 2 FROM generate_series(1, 60) n;
CREATE TABLE unbound (name encrypted_text('k'));
INSERT INTO unbound VALUES ('x');
GRANT SELECT, UPDATE ON patient TO doctor, clerk, adm;
GRANT SELECT ON unbound TO doctor;
ANALYZE patient;
SQL

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub by { return $node->safe_psql('postgres', $_[1], extra_params => [ '-U', $_[0] ]); }

sub told
{
	my ($id, $what) = @_;
	poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
	return by('auditor', 'SELECT ' . ($what || 'session_role, exact, values_opened, outcome') . " FROM dataprotect.disclosures('patient', '$id')");
}

by('doctor', 'SELECT name FROM patient WHERE id = 7');
is(told(7), 'doctor|t|1|ok', 'one person\'s value is opened');
is(told(8), '', 'and nobody else\'s');
by('doctor', "SET dataprotect.purpose = 'care'; BEGIN; SELECT name FROM patient WHERE id IN (8, 9); ROLLBACK");
is(told(9, 'session_role, purpose, exact, outcome, columns'), 'doctor|care|t|rolled_back|{public.patient.name}', 'in a transaction that rolls back');
by('clerk', 'SELECT name FROM patient WHERE id = 10');
is(told(10), '', 'a mask that opens nothing discloses nothing');
by('adm', 'SELECT name FROM patient WHERE id = 10');
is(told(10), '', 'nor does ciphertext');
by('doctor', 'SELECT name FROM unbound');
by('doctor', 'DECLARE c CURSOR WITH HOLD FOR SELECT name FROM patient WHERE id = 11; FETCH c');
is(told(11, 'session_role, exact'), 'doctor|t', 'a cursor that is held');
by('doctor', 'SELECT name FROM patient WHERE id <= 16');
is(told(16), 'doctor|t|16|ok', 'sixteen persons are named each');
by('doctor', 'SELECT name FROM patient WHERE id BETWEEN 20 AND 45');
for my $id (20, 33, 45)
{
	is(told($id), 'doctor|f|26|ok', "of many none is missed: $id; and it says that it may name too many");
}
is(told(60), '', 'who was not among them is not named, most of the time');
is($node->psql('postgres', "SET ROLE doctor; DO \$\$ BEGIN PERFORM name::text FROM patient WHERE id = 50; RAISE 'x'; END \$\$"), 3, 'a statement fails');
$node->psql('postgres', "DO \$\$ BEGIN PERFORM name::text FROM patient WHERE id = 51; RAISE 'x'; END \$\$", extra_params => [ '-U', 'doctor' ]);
is(told(51, 'session_role, exact, outcome'), 'doctor|t|error', 'what a statement that failed had opened');
by('doctor', <<'SQL');
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off;
SELECT max(name::text) FROM patient WHERE id IN (53, 54);
SQL
is(told(53, 'session_role, exact'), 'doctor|t', 'parallel workers tell of theirs');
is(told(7, 'count(*)'), '2', 'each statement once');
is(by('auditor', "SELECT count(*) FROM dataprotect.disclosures('patient', '7', now() + interval '1 hour')"), '0', 'from a time on');
is(by('auditor', "SELECT g.grantee || ' ' || g.privilege FROM dataprotect.disclosures('patient', '7') d JOIN dataprotect.grants g ON g.id = d.grant_id LIMIT 1"), 'doctor reveal', 'under which grant');
is(by('auditor', "SELECT count(*) FROM dataprotect.audit_log WHERE event = 'value.subjects'"), '0', 'a statement is one row of the log');
is(sql("SELECT count(*) FROM dataprotect.audit_record WHERE event = 4 AND get_byte(sealed, 0) = 0"), '0', 'whose values they were is sealed');
is(sql('SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'and chained');
sql(q{SELECT dataprotect.create_key('rare'), dataprotect.grant_access('rare', 'doctor', 'reveal');
CREATE TABLE seldom (name encrypted_text('rare')); INSERT INTO seldom VALUES ('x'), ('y'); GRANT SELECT ON seldom TO doctor});
for my $role (qw(doctor adm))
{
	isnt($node->psql('postgres', "SELECT * FROM dataprotect.disclosures('patient', '7')", extra_params => [ '-U', $role ]), 0, "$role does not ask");
}

# ---- when the account is gone
my $pseudonym = by('auditor', "SELECT pseudonym FROM dataprotect.account_keys WHERE account_id = '7'");
sql("SELECT dataprotect._subject_destroy('patient', '7', 'gone')");
is(by('auditor', "SELECT count(*) FROM dataprotect.disclosures('patient', '$pseudonym')"), '2', 'the pseudonym still finds who saw an erased account');
is(told(7, 'count(*)'), '2', 'and so does its id, as long as somebody has it');

# ---- incidents
my $incident = by('auditor', "SELECT dataprotect.open_incident('a laptop was stolen', roles => ARRAY['doctor'], aware_at => now() - interval '50 hours')");
is(by('auditor', "SELECT state, overdue, deadline - aware_at FROM dataprotect.incidents WHERE id = $incident"), 'open|f|3 days', 'an incident is open, for 72 hours');
my $late = by('adm', "SELECT dataprotect.open_incident('found late', aware_at => now() - interval '73 hours')");
is(by('auditor', "SELECT string_agg(DISTINCT session_role || ' ' || key, ','), sum(values_opened) > 40 FROM dataprotect.incident_scope($incident)"), 'doctor k|t', 'its scope is in the log');
is($node->psql('postgres', "SELECT * FROM dataprotect.incident_scope($incident)", extra_params => [ '-U', 'adm' ]), 3, 'which is the auditors\'');
poll_until('the deadlines', sub {
		return by('auditor', "SELECT string_agg((detail ->> 'incident') || event, ',' ORDER BY event) FROM dataprotect.audit_log WHERE detail ? 'incident' AND event LIKE 'deadline.%'")
		  eq "${late}deadline.missed,${incident}deadline.near" || by('auditor', "SELECT string_agg((detail ->> 'incident') || event, ',' ORDER BY event DESC) FROM dataprotect.audit_log WHERE detail ? 'incident' AND event LIKE 'deadline.%'") eq "${incident}deadline.near,${late}deadline.missed";
	});
is(by('auditor', "SELECT verdict FROM dataprotect.control_report() WHERE promise = 'E8'"), 'not kept', 'the report says that one was missed');
psql_fails($node, 'postgres', "SELECT dataprotect.close_incident($incident, 'locks')", qr/is not over.*Nothing says how it was contained/s, 'what is not contained is not closed');
by('adm', "SELECT dataprotect.note_incident($incident, 'contained', 'keys suspended')");
psql_fails($node, 'postgres', "SELECT dataprotect.close_incident($incident, 'locks')", qr/Nothing says who was notified/, 'nor what nobody was told of');
psql_fails($node, 'postgres', "SELECT dataprotect.note_incident($incident, 'contaned', 'x')", qr/unrecognized kind/, 'a mistake in an argument');
psql_fails($node, 'postgres', "SELECT dataprotect.open_incident('x', aware_at => now() + interval '1 day')", qr/times of an incident are wrong/, 'nor is the future known');
by('adm', "SELECT dataprotect.note_incident($incident, 'notified', 'authority, by mail')");
by('adm', "SELECT dataprotect.close_incident($incident, 'locks')");
psql_fails($node, 'postgres', "SELECT dataprotect.note_incident($incident, 'note', 'x')", qr/no open incident/, 'what is closed stays');
is(by('auditor', "SELECT state, jsonb_array_length(notes), lessons FROM dataprotect.incidents WHERE id = $incident"), 'closed|2|locks', 'the register has it all');

# ---- the report
is(by('auditor', 'SELECT count(*), count(DISTINCT promise), bool_and(verdict IN (\'kept\', \'partly\', \'not kept\', \'outside\') AND length(evidence) > 5 AND control LIKE \'A.%\') FROM dataprotect.control_report()'),
	'37|37|t', 'every promise has a verdict and evidence');
my $verdict = sub { return by('auditor', "SELECT verdict FROM dataprotect.control_report() WHERE promise = '$_[0]'"); };
is($verdict->('P19'), 'not kept', 'no approvals');
sql("ALTER SYSTEM SET dataprotect.approvals = on; SELECT pg_reload_conf()");
ok(poll_sql($node, 'postgres', "SELECT current_setting('dataprotect.approvals') = 'on'"), 'approvals are switched on');
is($verdict->('P19'), 'kept', 'and the report says so');
is($verdict->('P1'), 'not kept', 'a grant without a purpose');
is($verdict->('E18'), 'kept', 'keys for each account');

# What is asked by key or by account unpacks the batches that have it, and misses nothing.
my $held = $node->background_psql('postgres', extra_params => [ '-U', 'doctor' ]);
$held->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT name FROM seldom; FETCH c');
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
$held->query_safe('FETCH c; COMMIT');
$held->quit;
for my $id (40 .. 59)    # each in a batch of its own
{
	by('doctor', "SELECT name FROM patient WHERE id = $id");
	poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
}
by('doctor', 'SELECT name FROM seldom');
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is(by('auditor', "SELECT count(*), sum(values_opened) FROM dataprotect.audit_log WHERE 'rare' = ANY (keys) AND event = 'value.revealed'"),
	'3|4', 'by key: a statement whose result is in a later batch is not missed');
is(by('auditor', "SELECT count(*) FROM dataprotect.audit_log WHERE keys @> '{rare}' AND event = 'value.revealed'"), '3', 'nor is one by a condition that nothing is skipped by');
is(sql(q{SELECT count(*) FROM dataprotect.audit_record a LEFT JOIN dataprotect.audit_record b ON 'rare' = ANY (a.keys) AND b.seq = a.seq}),
	sql('SELECT count(*) FROM dataprotect.audit_record'), 'the condition of an outer join leaves no row out');

sub unpacked
{
	my ($role, $query) = @_;
	my $plan = by($role, "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) $query");
	my ($seen, $unpacked) = $plan =~ /Batches Seen: (\d+)\s+Batches Unpacked: (\d+)/ or die $plan;
	return ($seen, $unpacked);
}
my $far = q{at > '2000-01-01'};
for my $case (
	[ 'role', "session_role = 'postgres'" ], [ 'key', "'rare' = ANY (keys)" ], [ 'event', "event = 'account_type.created'" ])
{
	my ($what, $condition) = @$case;
	my ($seen, $unpacked) = unpacked('auditor', "SELECT count(*) FROM dataprotect.audit_log WHERE $far AND $condition");
	cmp_ok($unpacked, '<', $seen / 2, "by $what: $unpacked of $seen batches are unpacked");
	cmp_ok($unpacked, '>', 0, "by $what: those that have it are");
}
my $key = by('auditor', "SELECT key_id FROM dataprotect.account_keys WHERE account_type = 'patient' AND account_id = '55'");
my $subjects = "SELECT count(*) FROM dataprotect.audit_subjects WHERE $far AND dataprotect._names_subject(sealed, ARRAY[$key])";
my ($seen, $unpacked) = unpacked('auditor', $subjects);
cmp_ok($unpacked, '<', $seen / 2, "by account: $unpacked of $seen batches are unpacked");
is(by('auditor', $subjects), '1', 'by account: the statement that opened it');
isnt($node->psql('postgres', "SELECT count(*) FROM dataprotect.audit_record WHERE kind = 'x' AND dataprotect._names_subject(sealed, ARRAY[$key])"), 0,
	'a superuser learns of nobody by which batches are left out');
# What has no result yet as the dump is made, is not forgotten where it is restored.
sql('DELETE FROM patient WHERE id = 7');    # an erased account's value is not restored
$held = $node->background_psql('postgres', extra_params => [ '-U', 'doctor' ]);
$held->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT name FROM patient; FETCH c');
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
my $running = q{SELECT count(*) FROM dataprotect.disclosures('patient', '13') WHERE outcome = 'started' AND NOT exact};
is(by('auditor', $running), '1', 'what still runs perhaps opens it');
$node->command_ok([ 'pg_dump', '-d', $node->connstr('postgres'), '-f', $node->basedir . '/running.sql' ], 'a dump meanwhile');
sql('CREATE DATABASE restored');
{
	local $ENV{PGOPTIONS} = '-c dataprotect.input=ciphertext';
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('restored'), '-f', $node->basedir . '/running.sql' ], 'is restored');
}
is($node->safe_psql('restored', $running, extra_params => [ '-U', 'auditor' ]), '1', 'where it is known as well');
$held->query_safe('COMMIT');
$held->quit;
is(sql('SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'what batches are told by is chained');
sql(q{ALTER TABLE dataprotect.audit_batch DISABLE TRIGGER USER; UPDATE dataprotect.audit_batch SET subjects = NULL WHERE seq_from = (SELECT max(seq_from) FROM dataprotect.audit_batch WHERE subjects IS NOT NULL)});
is(sql('SELECT ok FROM dataprotect.verify_audit_log()'), 'f', 'and missed where it is taken away');

$node->stop;
done_testing();
