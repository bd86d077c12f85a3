# If this fails, somebody's lock or somebody else's backlog keeps rows or accounts
# longer than promised, or whoever places a hold waits.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('turns');
$node->safe_psql('postgres', 'CREATE DATABASE lab');
create_extension($node, 'lab');
sub sql { return $node->safe_psql('lab', $_[0]); }
sql("SELECT dataprotect.create_key('k')");

# locked-row: skipped, named, met again.
sql(<<'SQL');
CREATE TABLE locked (id int PRIMARY KEY, at timestamptz);
CREATE INDEX ON locked (at);
INSERT INTO locked SELECT g, '2020-01-01' FROM generate_series(1, 50) g;
SELECT dataprotect.create_retention_policy('locked', 'locked', 'at', '1 year', 'delete');
SQL
my $holder = $node->background_psql('lab');
$holder->query_safe('BEGIN');
$holder->query_safe('SELECT FROM locked WHERE id = 7 FOR UPDATE');
sql("SELECT dataprotect.activate_retention('locked')");
poll_sql($node, 'lab', 'SELECT count(*) FROM locked', '1');
poll_sql($node, 'lab', "SELECT detail FROM dataprotect.retention_runs WHERE policy = 'locked' AND outcome = 'ok' ORDER BY started_at LIMIT 1",
	'public.locked: 1 rows are locked by others');
is(sql("SELECT next_due < now() + interval '2 minutes' FROM dataprotect.retention_policies WHERE name = 'locked'"), 't',
	'a locked row is met again soon');
like(sql("SELECT dataprotect.place_hold('locked', 'id = 9', 'case')"), qr/^\d+$/, 'a hold is placed beside it');
$holder->query_safe('COMMIT');
$holder->quit;
sql("CALL dataprotect.run_retention('locked')");
is(sql('SELECT count(*) FROM locked'), '0', 'the row goes when it is free');

# backlog-starves-deletions: a backlog that would take minutes lets others have
# their turn, and deletions come first.  Nothing here is timed: what is due is done
# while the backlog is still there.
sql(<<'SQL');
CREATE TABLE big (id int, at timestamptz);
INSERT INTO big SELECT g, '2020-01-01' FROM generate_series(1, 20000) g;
CREATE INDEX ON big (at);
CREATE TABLE small (id int, at timestamptz);
INSERT INTO small SELECT g, '2020-01-01' FROM generate_series(1, 5) g;
CREATE INDEX ON small (at);
CREATE TABLE person (id int PRIMARY KEY);
INSERT INTO person VALUES (1), (2);
SELECT dataprotect.create_account_type('person', 'person', 'id', '0 s', '90 days');
SELECT dataprotect.create_retention_policy('big', 'big', 'at', '1 year', 'delete');
SELECT dataprotect.create_retention_policy('small', 'small', 'at', '1 year', 'delete');
-- 2,000 batches of 100 ms and more
ALTER SYSTEM SET dataprotect.retention_batch_size = 10;
ALTER SYSTEM SET dataprotect.retention_cost_delay = '100ms';
SELECT pg_reload_conf();
SELECT dataprotect.activate_retention('big');
SQL
poll_sql($node, 'lab', "SELECT count(*) < 20000 FROM big");
sql("SELECT dataprotect.request_deletion('person', '1', 'r'); SELECT dataprotect.activate_retention('small')");
poll_sql($node, 'lab', 'SELECT state FROM dataprotect.deletion_requests', 'certified');
poll_sql($node, 'lab', 'SELECT count(*) FROM small', '0');
my $left = sql('SELECT count(*) FROM big');
cmp_ok($left, '>', 0, 'the backlog had not to be finished for that');
is(sql("SELECT count(DISTINCT started_at) FROM dataprotect.retention_runs WHERE policy = 'big'"), '1', 'a run that makes room is one run');
sql("SELECT dataprotect.pause_retention('big')");

# Deadlines are told before they are missed, once each.
sql(<<'SQL');
ALTER SYSTEM RESET dataprotect.retention_cost_delay;
SELECT pg_reload_conf();
SELECT dataprotect.place_hold('person', 'true', 'case');
SELECT dataprotect.request_deletion('person', '2', 'r');
SQL
for my $stage ([ '40 days', '50 days', undef ], [ '46 days', '44 days', 'half' ], [ '84 days', '6 days', 'week' ],
	[ '89 days', '12 hours', 'day' ], [ '91 days', '-1 days', 'missed' ])
{
	my ($asked, $left_over, $told) = @$stage;
	sql("UPDATE dataprotect.deletion_request SET requested_at = now() - interval '$asked', deadline = now() + interval '$left_over' WHERE account_id = '2'");
	poll_sql($node, 'lab', "SELECT stage FROM dataprotect.deadline_alert", $told) if defined $told;
	is(sql("SELECT dataprotect._deadline_stage(requested_at, deadline) FROM dataprotect.deletion_request WHERE account_id = '2'"),
		defined $told ? $told : '', "$asked after the request" );
}
sql('CREATE ROLE reader LOGIN IN ROLE dataprotect_auditor');
is($node->safe_psql('lab', 'SELECT dataprotect.flush_audit_log()', extra_params => ['-U', 'reader']), 't', 'audit log is complete');
is($node->safe_psql('lab', "SELECT string_agg(event || ' ' || (detail ->> 'stage'), ', ' ORDER BY seq) FROM dataprotect.audit_log
	WHERE event LIKE 'deadline.%'", extra_params => ['-U', 'reader']),
	'deadline.near half, deadline.near week, deadline.near day, deadline.missed missed', 'each is an event, once');

$node->stop;
done_testing();
