# If this fails, a run that was killed half-way does work twice, forgets rows, or
# leaves no trace of having been killed.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use DataProtect::Test;

my $rounds = 3;
my $node = new_node('crash');
$node->safe_psql('postgres', 'CREATE DATABASE logs');
create_extension($node, 'logs');

sub sql { return $node->safe_psql('logs', $_[0]); }

sql(<<'SQL');
CREATE TABLE entry (id int PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX ON entry (at);
CREATE TABLE archive (LIKE entry);
INSERT INTO entry SELECT i, now() - i * interval '1 minute' FROM generate_series(1, 20000) i;
SELECT dataprotect.create_retention_policy('entry', 'entry', 'at', '1000 minutes', 'archive', '{"archive": "public.archive"}');
-- not of the database: its worker is connected already
ALTER SYSTEM SET dataprotect.retention_batch_size = 20;
ALTER SYSTEM SET dataprotect.retention_cost_delay = '5ms';
SELECT pg_reload_conf();
SELECT dataprotect.activate_retention('entry');
SQL

for my $round (1 .. $rounds)
{
	my $before = sql('SELECT count(*) FROM archive');
	last if $before > 18000;
	poll_sql($node, 'logs', "SELECT count(*) > $before + 200 FROM archive") or last;
	kill9_node($node);
	$node->start;
	is(sql('SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM entry UNION ALL SELECT id FROM archive) x'),
		'20000|20000', "no row is lost or doubled after SIGKILL $round");
	sql("UPDATE dataprotect.retention_policy SET next_due = now()");
}
sql('ALTER SYSTEM SET dataprotect.retention_batch_size = 2000');
sql('SELECT pg_reload_conf()');
sql("CALL dataprotect.run_retention('entry')");
poll_sql($node, 'logs', "SELECT count(*) FROM dataprotect.retention_runs WHERE outcome = 'running'", '0');
is(sql("SELECT count(*) FROM entry WHERE at < now() - interval '1010 minutes'"), '0', 'the next run finished the work');
cmp_ok(sql("SELECT count(*) FROM dataprotect.retention_runs WHERE outcome = 'interrupted'"), '>=', $rounds,
	'killed runs say that they were interrupted');
is(sql('SELECT sum(rows_done) FROM dataprotect.retention_runs'), sql('SELECT count(*) FROM archive'),
	'every row is counted in the run that moved it');

$node->stop;
done_testing();
