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
my $out = PostgreSQL::Test::Utils::tempdir();
my $node = new_node('crash', conf => "dataprotect.sinks_allowed = 'file://$out, file:///nowhere/*, https://*'\n");
$node->safe_psql('postgres', 'CREATE DATABASE logs');
create_extension($node, 'logs');

sub sql { return $node->safe_psql('logs', $_[0]); }

sql(<<'SQL');
CREATE TABLE entry (id int PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX ON entry (at);
CREATE TABLE archive (LIKE entry);
INSERT INTO entry SELECT i, now() - i * interval '1 minute' FROM generate_series(1, 20000) i;
SELECT dataprotect.create_retention_policy('entry', 'entry', 'at', '1000 minutes', 'archive', '{"archive": "public.archive"}');
SELECT dataprotect.create_key('k');
CREATE TABLE shipped (id int PRIMARY KEY, at timestamptz NOT NULL, name encrypted_text('k'));
CREATE INDEX ON shipped (at);
INSERT INTO shipped SELECT i, now() - i * interval '1 minute', 'person ' || i FROM generate_series(1, 6000) i;
-- not of the database: its worker is connected already
ALTER SYSTEM SET dataprotect.retention_batch_size = 20;
ALTER SYSTEM SET dataprotect.retention_cost_delay = '5ms';
SELECT pg_reload_conf();
SELECT dataprotect.activate_retention('entry');
SQL
psql_fails($node, 'logs', q{SELECT dataprotect.create_retention_policy('x', 'shipped', 'at', '1000 minutes', 'archive', '{"archive": "file:///elsewhere"}')},
	qr/URI of the sink is not allowed/, 'rows are archived to what sinks_allowed allows alone');
psql_fails($node, 'logs', q{SELECT dataprotect.create_retention_policy('x', 'shipped', 'at', '1000 minutes', 'archive', '{"archive": "https://localhost/x"}')},
	qr/rows are archived to files or S3/, '... to files or S3');
sql(qq{SELECT dataprotect.create_retention_policy('shipped', 'shipped', 'at', '1000 minutes', 'archive', '{"archive": "file:///nowhere/at/all"}')});
sql("SELECT dataprotect.activate_retention('shipped'); CALL dataprotect.run_retention('shipped')");
like(sql("SELECT outcome, detail FROM dataprotect.retention_runs WHERE policy = 'shipped' ORDER BY started_at LIMIT 1"),
	qr/^error\|public.shipped: .*rows could not be archived to "file:\/\/\/nowhere\/at\/all" \(The directory/, 'a directory that is not there ends the run');
is(sql('SELECT count(*) FROM shipped'), '6000', '... and no row went');
sql(qq{SELECT dataprotect.alter_retention_policy('shipped', options => '{"archive": "file://$out"}'); SELECT dataprotect.activate_retention('shipped')});
my $hold = sql("SELECT dataprotect.place_hold('public.shipped', 'id = 5000', 'case')");

# Rows in the files: id of the row => id of the line, an error where two say different things.
sub shipped
{
	my %seen;
	for my $file (glob "$out/*.jsonl")
	{
		for (split /\n/, slurp_file($file))
		{
			my ($line) = /"id": "([0-9a-f]{64})"/ or next;
			my ($id) = /"row": \{.*"id": (\d+)/ or next;
			die "row $id is there twice, as $seen{$id} and $line" if exists $seen{$id} && $seen{$id} ne $line;
			$seen{$id} = $line;
		}
	}
	return %seen;
}

for my $round (1 .. $rounds)
{
	my $before = sql('SELECT count(*) FROM archive');
	last if $before > 18000;
	poll_sql($node, 'logs', "SELECT count(*) > $before + 200 FROM archive") or last;
	kill9_node($node);
	$node->start;
	is(sql('SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM entry UNION ALL SELECT id FROM archive) x'),
		'20000|20000', "no row is lost or doubled after SIGKILL $round");
	my %there = map { $_ => 1 } split /\n/, sql('SELECT id FROM shipped');
	my %gone = shipped();
	is(scalar(grep { !$there{$_} && !$gone{$_} } 1 .. 6000), 0, '... and none that was archived to a file');
	sql("UPDATE dataprotect.retention_policy SET next_due = now()");
}
sql('ALTER SYSTEM SET dataprotect.retention_batch_size = 2000');
sql('SELECT pg_reload_conf()');
sql("CALL dataprotect.run_retention('entry')");
sql("CALL dataprotect.run_retention('shipped')");
poll_sql($node, 'logs', "SELECT count(*) FROM dataprotect.retention_runs WHERE outcome = 'running'", '0');
is(sql("SELECT count(*) FROM entry WHERE at < now() - interval '1010 minutes'"), '0', 'the next run finished the work');
cmp_ok(sql("SELECT count(*) FROM dataprotect.retention_runs WHERE outcome = 'interrupted'"), '>=', $rounds,
	'killed runs say that they were interrupted');
my %gone = shipped();
is(sql("SELECT count(*) FROM shipped WHERE at < now() - interval '1010 minutes' AND id <> 5000"), '0', '... and that which archives to files');
is(join(',', map { $_ // '' } (grep { !$gone{$_} } 1100 .. 5999)[0 .. 1]), '5000,', 'every row is in a file but the one that is held');
my $text = join '', map { slurp_file($_) } glob "$out/*.jsonl";
unlike($text, qr/person \d/, 'protected values are archived as they are stored');
(my $value) = $text =~ /"name": "([^"]+)".*\}$/m;
sql('CREATE ROLE app LOGIN');
sql("SELECT dataprotect.grant_access('k', 'app', 'reveal'); CREATE TABLE restored (name encrypted_text('k')); GRANT SELECT ON restored TO app");
sql("SET dataprotect.input = 'ciphertext'; INSERT INTO restored VALUES ('$value')");
like($node->safe_psql('logs', 'SELECT name FROM restored', extra_params => [ '-U', 'app' ]), qr/^person \d+$/, '... and can be read back');
is(sql("SELECT sum(rows_done) FROM dataprotect.retention_runs WHERE policy = 'entry'"), sql('SELECT count(*) FROM archive'),
	'every row is counted in the run that moved it');

$node->stop;
done_testing();
