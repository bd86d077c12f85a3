# If this fails, background work is in the way of whoever copies, renames or drops
# a database (database-ddl-while-a-policy-runs), or stops because of somebody who
# may not do that (refused-drop-database-stops-workers).
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(time);
use Test::More;

use DataProtect::Test;

# A batch takes a while, so that there is always one under way.
my $node = new_node('ddl', conf => "fsync = off\nlog_statement = none\ndataprotect.retention_batch_size = 20\ndataprotect.retention_cost_delay = 200ms\n");
$node->safe_psql('postgres', 'CREATE DATABASE shop');
create_extension($node, 'shop');
$node->safe_psql('shop', q{
	SELECT dataprotect.create_key('pii');
	CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
	CREATE TABLE visits (id int, at timestamptz);
	INSERT INTO visits SELECT g, '2020-01-01' FROM generate_series(1, 20000) g;
	CREATE INDEX ON visits (at);
	SELECT dataprotect.create_retention_policy('visits', 'visits', 'at', '1 year', 'delete');
	SELECT dataprotect.activate_retention('visits')});

sub workers
{
	return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'shop%' AND backend_type = 'dataprotect worker'");
}

# The process in which the policy runs: another one where its round was cancelled.
sub runner
{
	return $node->safe_psql('shop', "SELECT pid FROM dataprotect.workers WHERE database = 'shop' AND kind = 'lifecycle'");
}

sub runs
{
	my ($database) = @_;
	return $node->safe_psql($database, "SELECT count(*) FROM dataprotect.workers WHERE database = current_database() AND kind = 'lifecycle' AND state = 'running'");
}

sub left
{
	return $node->safe_psql($_[0], 'SELECT count(*) FROM visits');
}

poll_until('the policy to run', sub { return runs('shop') eq '1' && left('shop') < 20000 });

# Whoever may not do it changes nothing.
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN; CREATE ROLE maker LOGIN CREATEDB; CREATE ROLE owner LOGIN');
my $before = runner();
like($before, qr/^\d+$/, 'a worker is in the database');
for my $statement (
	'DROP DATABASE shop',
	'DROP DATABASE shop WITH (FORCE)',
	'ALTER DATABASE shop RENAME TO other',
	'ALTER DATABASE shop SET TABLESPACE pg_default',
	'CREATE DATABASE other TEMPLATE shop')
{
	for my $role ('nobody', 'maker')
	{
		is(sqlstate_of($node, 'postgres', "SET SESSION AUTHORIZATION $role; $statement;"), '42501', "$role: $statement is refused");
		is(runner(), $before, 'and the policy runs on');
	}
}
for my $statement ('BEGIN; DROP DATABASE shop;', 'DO $$BEGIN DROP DATABASE shop; END$$;', 'BEGIN; CREATE DATABASE other TEMPLATE shop;')
{
	is(sqlstate_of($node, 'postgres', $statement), '25001', "$statement is refused");
	is(runner(), $before, 'and the policy runs on');
}

# Whoever may finds nobody in the way, and the work goes on afterwards.
my $database = 'shop';
for my $step (
	[ 'CREATE DATABASE shop_copy TEMPLATE shop', 'shop' ],
	[ 'ALTER DATABASE shop RENAME TO shop_new', 'shop_new' ],
	[ 'ALTER DATABASE shop_new RENAME TO shop', 'shop' ],
	[ 'DROP DATABASE shop_copy', 'shop' ])
{
	my ($statement, $after) = @$step;
	my $busy = $statement =~ /^DROP/ ? 'shop_copy' : $database;
	poll_until("the policy to run before $statement", sub { return runs($busy) eq '1' });
	my $began = time;
	my ($rc, $out, $err) = $node->psql('postgres', $statement);
	is($err, '', "$statement succeeds while a policy runs");
	note sprintf '%s took %.2f s', $statement, time - $began;
	$database = $after;
}
my $rows = left('shop');
poll_until('the policy to go on', sub { return left('shop') < $rows });
unlike(slurp_file($node->logfile), qr/canceling statement due to user request/, 'making room is no error in the log');

# The round in which a command came is not held against the policy.
is($node->safe_psql('shop', "SELECT sum(failures) FROM dataprotect.workers WHERE database = 'shop'"), '0', 'and no failure');

# The owner's attempt that fails lets the workers back.
my $guest = $node->background_psql('shop');
my ($rc, $out, $err) = $node->psql('postgres', 'DROP DATABASE shop');
like($err, qr/is being accessed by other users/, 'another session is in the way');
$guest->quit;
poll_until('the workers to come back', sub { return runs('shop') eq '1' });

# In a transaction they stay out until its end.
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query_safe('ALTER DATABASE shop RENAME TO shop_open');
is(workers(), '0', 'no worker while a RENAME is open');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"), '0', 'and none waits for it');
$session->query_safe('ROLLBACK');
$session->quit;
poll_until('the workers to come back after a rollback', sub { return runs('shop') eq '1' });

$node->stop;
done_testing();
