# If this fails, the audit log works only where and when it was tried first: not
# on a standby, not after a promotion, not beside CREATE and DROP DATABASE.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('audit_primary', init => [ allows_streaming => 1 ]);
create_extension($node);
my $setup = <<'SQL';
SELECT dataprotect.create_key('pii');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii'));
INSERT INTO person SELECT i, 'mail' || i FROM generate_series(1, 20) AS i;
GRANT SELECT ON person TO app;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
SQL
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN; CREATE ROLE auditor LOGIN; GRANT dataprotect_auditor TO auditor;');
$node->safe_psql('postgres', $setup);

sub read_one
{
	my ($where, $purpose, $database) = @_;
	return $where->safe_psql($database || 'postgres',
		"SET dataprotect.purpose = '$purpose'; SELECT email FROM person WHERE id = 1",
		extra_params => [ '-U', 'app' ]);
}

sub purposes
{
	my ($where, $database) = @_;
	$database ||= 'postgres';
	poll_sql($where, $database, 'SELECT dataprotect.flush_audit_log()');
	return join ' ', split /\n/, $where->safe_psql($database,
		"SELECT purpose FROM dataprotect.audit_log WHERE purpose IS NOT NULL ORDER BY at, seq",
		extra_params => [ '-U', 'auditor' ]);
}

# A standby writes its own segments, and sends them to the primary while both live.
read_one($node, 'before');
purposes($node);
# The backup brings records of the primary that are in no table yet.
my ($held, $holds, $held_error) = ('', "BEGIN; LOCK TABLE dataprotect.audit_cursor IN SHARE MODE; SELECT 'held';\n", '');
my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ], '<', \$holds, '>', \$held, '2>', \$held_error);
poll_until('the collector to be held', sub { $holder->pump_nb; return $held =~ /held/ });
my ($segment) = glob $node->data_dir . '/pg_dataprotect_audit/*/*.seg';
my $size = -s $segment;
read_one($node, 'in-the-backup');
poll_until('the record to be in a segment', sub { return (-s $segment) > $size });
$node->backup('base');
my @ring = glob $node->backup_dir . '/base/pg_dynshmem/*';
is("@ring", '', 'a base backup does not contain the ring');
my $standby = PostgreSQL::Test::Cluster->new('audit_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'restart_after_crash = on');
$standby->start;
read_one($node, 'on-primary');
$node->wait_for_catchup($standby);
is(read_one($standby, 'on-standby'), 'mail1', 'a standby shows values');
poll_until('a segment of the standby to come', sub { my @all = glob $node->data_dir . '/pg_dataprotect_audit/*/*.seg'; return @all > 1 });
$holds .= "COMMIT;\n\\q\n";
eval { $holder->finish };
poll_until('what the standby read to be in the log', sub { purposes($node) eq 'before in-the-backup on-primary on-standby' });
is(purposes($node), 'before in-the-backup on-primary on-standby', 'the log of the primary has what the standby showed');
ok(poll_sql($standby, 'postgres', 'SELECT dataprotect.flush_audit_log()'), 'and the standby knows that it is there');

poll_sql($node, 'postgres', "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dataprotect'", '0');
pass('no session of it stays on the primary, in the way of DROP DATABASE');

sub outcomes
{
	my ($purpose) = @_;
	$node->safe_psql('postgres', 'SELECT dataprotect.flush_audit_log()');
	return $node->safe_psql('postgres', "SELECT outcome FROM dataprotect.audit_log WHERE purpose = '$purpose'",
		extra_params => [ '-U', 'auditor' ]);
}

# A statement of the standby that has not ended is not lost; one whose backend was killed is.
my ($out, $err) = ('', '');
my $session = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $standby->connstr('postgres'), '-c',
		"SET dataprotect.purpose = 'killed'", '-c', 'SELECT pg_sleep(1000) FROM person WHERE length(email) > 0' ],
	'>', \$out, '2>', \$err);
my $pid = '';
poll_until('the statement to run', sub { $pid = $standby->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'") });
poll_until('the statement that runs to be in the log', sub { outcomes('killed') eq 'started' });
is(outcomes('killed'), 'started', 'a statement that runs on the standby has no outcome yet');
kill 'KILL', $pid;
eval { $session->finish };
poll_until('the standby to start again', sub { slurp_file($standby->logfile) =~ /all server processes terminated; reinitializing/ });
poll_sql($standby, 'postgres', 'SELECT true');
read_one($standby, 'after-the-crash');
poll_until('the killed statement to be lost', sub { outcomes('killed') eq 'lost' });
is(outcomes('killed'), 'lost', 'a statement that was killed there is lost');
is($node->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the log with both verifies');

# Nobody else adds records: who may replicate has no chain key, others may not even ask.
$node->safe_psql('postgres', 'CREATE ROLE replicator LOGIN REPLICATION');
my $forged = "SELECT dataprotect.take_standby_log(gen_random_uuid(), 1, '\\x', '\\x" . 'ab' x 32 . "')";
my (undef, undef, $stderr) = $node->psql('postgres', $forged, extra_params => [ '-U', 'replicator' ]);
like($stderr, qr/do not come from a server with the keys/, 'a role with REPLICATION forges no record');
(undef, undef, $stderr) = $node->psql('postgres', $forged, extra_params => [ '-U', 'app' ]);
like($stderr, qr/permission denied/, 'a role without it does not try');
$node->safe_psql('postgres', 'DROP ROLE replicator');
is($standby->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the log verifies on a standby');
$node->stop;
$standby->promote;
poll_sql($standby, 'postgres', 'SELECT NOT pg_is_in_recovery()');
read_one($standby, 'promoted');
is(purposes($standby), 'before in-the-backup on-primary on-standby killed after-the-crash promoted', 'after the promotion the log has everything once');
is($standby->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'and verifies');
$node = $standby;

# Databases: each has its own log; workers are in nobody's way.
$node->safe_psql('postgres', 'CREATE DATABASE second');
create_extension($node, 'second');
$node->safe_psql('second', $setup);
read_one($node, 'in-second', 'second');
is(purposes($node, 'second'), 'in-second', 'a second database has a log of its own');
unlike(purposes($node), qr/second/, 'and the first does not show it');
poll_sql($node, 'postgres', "SELECT count(*) >= 1 FROM pg_stat_activity WHERE datname = 'second' AND backend_type LIKE 'dataprotect%'");
my $start = time;
$node->safe_psql('postgres', 'ALTER DATABASE second RENAME TO renamed');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE renamed');
$node->safe_psql('postgres', 'ALTER DATABASE renamed RENAME TO second');
cmp_ok(time - $start, '<', 10, 'workers make way for RENAME and CREATE DATABASE TEMPLATE');
read_one($node, 'after-rename', 'second');
is(purposes($node, 'second'), 'in-second after-rename', 'they are back afterwards');
read_one($node, 'in-copy', 'copy');
is(purposes($node, 'copy'), 'in-second in-copy', 'a copied database goes on from its copy of the log');
is($node->safe_psql('copy', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'and verifies');
poll_sql($node, 'postgres', "SELECT count(*) >= 1 FROM pg_stat_activity WHERE datname = 'second' AND backend_type LIKE 'dataprotect%'");
$node->safe_psql('postgres', 'DROP DATABASE second');
$node->safe_psql('postgres', 'DROP DATABASE copy');
pass('workers make way for DROP DATABASE');

# Many rows: segments come and go, partitions are there ahead.
$node->safe_psql('postgres', "SET dataprotect.purpose = 'many'; " . "SELECT email FROM person WHERE id = 1; " x 5000,
	extra_params => [ '-U', 'app' ]) for 1 .. 2;
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is($node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.audit_record WHERE kind = 'i'") >= 10000, 1, 'ten thousand statements');
is($node->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'verify');
is( $node->safe_psql('postgres', "SELECT to_regclass('dataprotect.audit_batch_y' || to_char((now() + interval '7 days') AT TIME ZONE 'UTC', 'YYYY\"m\"MM')) IS NOT NULL"),
	't', 'the partition of next week is there');

# Drop and create again: a new log, not the old one's remains.
$node->safe_psql('postgres', 'DROP TABLE person; DROP EXTENSION dataprotect CASCADE; DROP SCHEMA IF EXISTS dataprotect');
create_extension($node);
$node->safe_psql('postgres', $setup);
read_one($node, 'new-life');
is(purposes($node), 'new-life', 'a new installation begins a new log');
is($node->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'which verifies');

$node->stop;
done_testing();
