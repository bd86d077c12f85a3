# If this fails, a backlog of one database keeps retention and deletions away from
# the others, or audit and keys wait for it.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

# Two processes: one long round at a time.  A batch of a backlog takes a while.
my $node = new_node('turns', conf => "fsync = off\nlog_statement = none\ndataprotect.max_workers = 2\n"
	  . "dataprotect.retention_batch_size = 10\ndataprotect.retention_cost_delay = 100ms\n");
$node->safe_psql('postgres', 'CREATE DATABASE first');
create_extension($node, 'first');
$node->safe_psql('first', q{
	SELECT dataprotect.create_key('pii');
	CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor;
	CREATE TABLE visits (id int, at timestamptz);
	INSERT INTO visits SELECT g, '2020-01-01' FROM generate_series(1, 100000) g;
	CREATE INDEX ON visits (at);
	SELECT dataprotect.create_retention_policy('visits', 'visits', 'at', '1 year', 'delete')});
$node->safe_psql('postgres', "CREATE DATABASE $_ TEMPLATE first") for 'second';

sub left
{
	return $node->safe_psql($_[0], 'SELECT count(*) FROM visits');
}

for my $database ('first', 'second')
{
	$node->safe_psql($database, "SELECT dataprotect.activate_retention('visits')");
	poll_until("retention to begin in database $database", sub { return left($database) < 100000 });
	is($node->safe_psql($database, "SELECT dataprotect.create_key('of_$database'); SET SESSION AUTHORIZATION auditor; SELECT dataprotect.flush_audit_log('60s')") =~ /t$/ ? 1 : 0,
		1, "keys and the log of database $database do not wait for a backlog");
}
for my $database ('first', 'second')
{
	my $rows = left($database);
	poll_until("retention to go on in database $database", sub { return left($database) < $rows });
	cmp_ok(left($database), '<', $rows, "every database has its turn: $database");
}
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM pg_stat_activity WHERE query ~ \'run_retention\' AND state = \'active\' AND pid <> pg_backend_pid()'),
	'<=', 1, 'one long round at a time');
is($node->safe_psql('first', 'SELECT sum(failures) FROM dataprotect.workers'), '0', 'making room is no failure');
unlike(slurp_file($node->logfile), qr/making room for another database/, 'nor a message');
is($node->safe_psql('first', "SELECT count(*) FROM dataprotect.retention_runs WHERE outcome = 'error'"), '0', 'nor an error of the run');

$node->stop;
done_testing();
