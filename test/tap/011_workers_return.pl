# If this fails, whoever throws everybody out of the server, or a crash, stops
# background work for good (workers-terminated-stay-away), or a standby's workers
# write, or those of a promoted one do not come.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('primary', init => [ allows_streaming => 1 ], conf => "restart_after_crash = on\n");
create_extension($node);
$node->safe_psql('postgres', "SELECT dataprotect.create_key('pii'); CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor");

sub flush
{
	my ($server, $seconds) = @_;
	return $server->safe_psql('postgres', 'SET SESSION AUTHORIZATION auditor; '
		  . "SELECT dataprotect.flush_audit_log('" . ($seconds || 60) . "s')");
}

# Processes of ours by what ps shows, spares and those without a database included.
sub processes
{
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	my %found;
	for my $line (split /\n/, `ps -o pid=,args= --ppid $postmaster`)
	{
		$found{$1} = $2 if $line =~ /^\s*(\d+) .*(dataprotect (?:launcher|key agent|audit writer|worker))/;
	}
	return \%found;
}

sub kinds
{
	my %kinds = map { $_ => 1 } values %{ processes() };
	return join ', ', sort keys %kinds;
}

my $all = 'dataprotect audit writer, dataprotect key agent, dataprotect launcher, dataprotect worker';
is(flush($node), 't', 'the log is collected');
is(kinds(), $all, 'the processes of a running server');

# A DBA throws everybody out: those with a database, as before maintenance ...
my $before = $node->safe_psql('postgres', "SELECT string_agg(DISTINCT backend_type || coalesce(datname, ''), ',' ORDER BY backend_type || coalesce(datname, '')) "
	  . "FROM pg_stat_activity WHERE backend_type LIKE 'dataprotect%'");
like($before, qr/launcher.*workerpostgres/, 'a worker is in the database that has just had work');
for my $round (1 .. 2)
{
	my $terminated = $node->safe_psql('postgres', 'SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity '
		  . "WHERE pid <> pg_backend_pid() AND backend_type LIKE 'dataprotect%'");
	cmp_ok($terminated, '>=', 1, "terminated in round $round: $terminated");
	poll_until(
		'the workers to return',
		sub {
			return $node->safe_psql('postgres', "SELECT string_agg(DISTINCT backend_type || coalesce(datname, ''), ',' ORDER BY backend_type || coalesce(datname, '')) "
				  . "FROM pg_stat_activity WHERE backend_type LIKE 'dataprotect%'") eq $before;
		});
	$node->safe_psql('postgres', "SET statement_timeout = '20s'; SELECT dataprotect.create_key('after_$round')");
	is(flush($node), 't', 'and the log is collected again');
}

# ... and every process of ours by its id.
for my $signal ('TERM', 'INT')
{
	my %old = %{ processes() };
	kill $signal, keys %old;
	poll_until(
		"all to be there after SIG$signal",
		sub {
			my %new = %{ processes() };
			return 0 if $signal eq 'TERM' && grep { $old{$_} } keys %new;
			return kinds() eq $all;
		});
	is(kinds(), $all, "all are there after SIG$signal");
	is(flush($node), 't', 'and the log is collected');
}

# A crash of one of them restarts the server, and them.
kill9_process($node, sub { my $now = processes(); return (grep { $now->{$_} eq 'dataprotect worker' } keys %$now)[0] });
poll_until('all to be there after a crash', sub { return kinds() eq $all });
is(flush($node), 't', 'the log is collected after a crash');

# A standby looks, and writes nothing; promoted, it goes on.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', "CREATE TABLE visits (at timestamptz); CREATE INDEX ON visits (at); INSERT INTO visits VALUES ('2020-01-01')");
$node->safe_psql('postgres', "SELECT dataprotect.create_retention_policy('visits', 'visits', 'at', '1 year', 'delete')");
$node->wait_for_catchup($standby);
poll_sql($standby, 'postgres', "SELECT count(*) > 0 FROM dataprotect.workers WHERE database = 'postgres'");
is($standby->safe_psql('postgres', "SELECT count(*) FROM dataprotect.workers WHERE last_began IS NOT NULL AND kind <> 'audit'"), '0',
	'no round on a standby but the one that sends its records to the primary');
unlike(slurp_file($standby->logfile), qr/read-only transaction|during recovery/, 'and none was tried');
$node->stop;
$standby->promote;
$standby->safe_psql('postgres', "SELECT dataprotect.activate_retention('visits')");
poll_sql($standby, 'postgres', 'SELECT count(*) FROM visits', '0');
is(flush($standby), 't', 'a promoted standby collects the log');
$standby->stop;
done_testing();
