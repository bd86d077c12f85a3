# If this fails, a round that fails fills the worker's memory or the server's log
# (worker-grows-with-failing-rounds), or nobody learns that it fails.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('failing', conf => "log_min_messages = log\nlog_statement = none\n");
create_extension($node);
$node->safe_psql('postgres', "SELECT dataprotect.create_key('pii'); CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor");

sub lifecycle
{
	my ($column) = @_;
	return $node->safe_psql('postgres', "SELECT $column FROM dataprotect.workers WHERE database = current_database() AND kind = 'lifecycle'");
}

# How often the round was tried, as the log tells.
sub tries
{
	my @tries = slurp_file($node->logfile) =~ /ERROR:  function dataprotect\._deletions_due\(\) does not exist/g;
	return scalar @tries;
}

poll_until('a first round', sub { return lifecycle('last_ended IS NOT NULL') eq 't' });
is(lifecycle('failures'), '0', 'rounds do not fail');
$node->safe_psql('postgres', 'ALTER FUNCTION dataprotect._deletions_due() RENAME TO _away');

# However often it is asked for, a failing round has its pauses.
my $began = time;
poll_until(
	'four failures',
	sub {
		$node->safe_psql('postgres', 'SELECT dataprotect._wake_maintenance()') for 1 .. 5;
		return lifecycle('failures') >= 4;
	});
cmp_ok(time - $began, '>=', 6, 'four failures take at least the pauses between them');
cmp_ok(tries(), '<=', lifecycle('failures'), 'the round was tried no oftener than it is counted');
is(lifecycle('state'), 'failing', 'dataprotect.workers says so');
like(lifecycle('last_error'), qr/^42883: function dataprotect\._deletions_due\(\) does not exist$/, 'and how it failed');
cmp_ok(lifecycle("extract(epoch FROM next_due - now())"), '<=', 60, 'a pause is a minute at most');

# The process of a failed round ends: it leaves nothing behind.
for my $pid (split /\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'dataprotect worker'"))
{
	my $offset = -s $node->logfile;
	next if $node->safe_psql('postgres', "SELECT coalesce(pg_log_backend_memory_contexts($pid), false)") ne 't';
	next if !poll_until('its memory contexts', sub { return slurp_file($node->logfile, $offset) =~ /Grand total/ || !kill(0, $pid) });
	my @contexts = slurp_file($node->logfile, $offset) =~ /(dataprotect worker round|dataprotect lifecycle round|top-level statement)/g;
	cmp_ok(scalar @contexts, '<=', 2, "process $pid has no contexts of failed rounds");
}

# The other kinds go on; the failure is an event.
is($node->safe_psql('postgres', "SET SESSION AUTHORIZATION auditor; SELECT dataprotect.flush_audit_log('60s')"), 't',
	'other kinds go on');
is($node->safe_psql('postgres', "SELECT outcome || ' ' || (detail ->> 'kind') FROM dataprotect.audit_log WHERE event = 'worker.failed' LIMIT 1",
		extra_params => [ '-U', 'auditor' ]),
	'error lifecycle', 'the failure is in the audit log');

# It is over when it is over.
$node->safe_psql('postgres', 'ALTER FUNCTION dataprotect._away() RENAME TO _deletions_due');
poll_until('the round to succeed', sub { return lifecycle('failures') eq '0' });
is(lifecycle('state') =~ /^(idle|due|running)$/ ? 1 : 0, 1, 'a round that succeeds ends the pauses');

# Values do not reach the report.
$node->safe_psql('postgres', q{ALTER FUNCTION dataprotect._deletions_due() RENAME TO _away;
	CREATE FUNCTION dataprotect._deletions_due() RETURNS text[] LANGUAGE plpgsql AS
	$$ BEGIN RAISE EXCEPTION 'customer Jane Secret cannot be handled'; END $$;
	SELECT dataprotect._wake_maintenance()});
poll_until('it to fail', sub { return lifecycle('failures') ne '0' });
is(lifecycle('last_error'), 'P0001', 'an error that may quote a value is told by its SQLSTATE');

# Who may see it.
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN');
psql_fails($node, 'postgres', 'SET SESSION AUTHORIZATION nobody; SELECT * FROM dataprotect.workers',
	qr/permission denied for view workers/, 'a stranger does not see the workers');

$node->stop;
done_testing();
