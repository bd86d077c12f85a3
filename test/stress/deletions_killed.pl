# If this fails, deletions do not survive what they are killed in: an account that
# stays, one that is lost beside it, a certificate that does not hold.
#
# Outside of CI, since it takes its time: accounts are deleted while pgbench works
# on the others, and the server is killed (SIGKILL, every process) at random.
#
#	DP_STRESS_ACCOUNTS	accounts to delete (1000)
#	DP_STRESS_KILLS		how often the server is killed meanwhile (500)
#	DP_STRESS_SEED		of the random waits (printed)
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $accounts = $ENV{DP_STRESS_ACCOUNTS} || 1000;
my $kills = defined $ENV{DP_STRESS_KILLS} ? $ENV{DP_STRESS_KILLS} : 500;
my $seed = srand($ENV{DP_STRESS_SEED} || time);
my $others = 2000;
diag("seed $seed, $accounts accounts, $kills kills");

my $lists = PostgreSQL::Test::Utils::tempdir;
my $node = new_node('stress', conf => "dataprotect.erasure_directory = '$lists'\n");
create_extension($node);

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub app { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'app' ]); }

sql(<<"SQL");
SELECT dataprotect.create_key('k');
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access('k', 'app', 'reveal');
CREATE TABLE person (id int PRIMARY KEY, name encrypted_text('k', 'searchable'), visits int DEFAULT 0);
CREATE TABLE visit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person int REFERENCES person, note encrypted_text('k'));
CREATE INDEX ON visit (person);
CREATE INDEX ON person USING hash (name);
GRANT ALL ON person, visit TO app;
SELECT dataprotect.create_account_type('person', 'person', 'id', '0 s');
SELECT dataprotect.annotate_account('person', 'visit', '{person}', 'delete');
SELECT dataprotect.bind_subject('person', 'person', 'id'), dataprotect.bind_subject('visit', 'person', 'person');
INSERT INTO person (id, name) SELECT g, 'name ' || g FROM generate_series(1, $accounts + $others) g;
INSERT INTO visit (person, note) SELECT 1 + g % ($accounts + $others), 'note ' || g FROM generate_series(1, 3 * ($accounts + $others)) g;
SQL

# What goes on in the foreground, on the others.
my $script = $node->basedir . '/others.sql';
append_to_file($script, <<"SQL");
\\set i random($accounts + 1, $accounts + $others)
SELECT name FROM person WHERE id = :i;
UPDATE person SET visits = visits + 1 WHERE id = :i;
SQL

sub pgbench
{
	my ($seconds, $out) = @_;
	return IPC::Run::start([ 'pgbench', '-n', '-c', '2', '-T', $seconds, '-f', $script, '-U', 'app', $node->connstr('postgres') ], '<', \undef, '>&', $out);
}

sub tps
{
	my ($during) = @_;
	my $out = '';
	my $run = pgbench(10, \$out);
	$during->() if $during;
	$run->finish;
	return $out =~ /^tps = ([\d.]+)/m ? $1 : die $out;
}

my $asked = 0;
sub ask_for
{
	my ($n) = @_;
	my $to = $asked + $n > $accounts ? $accounts : $asked + $n;
	sql("SELECT count(dataprotect.request_deletion('person', g::text, 'stress')) FROM generate_series($asked + 1, $to) g") if $to > $asked;
	$asked = $to;
	return;
}

my $alone = tps();
my $beside = tps(sub { ask_for(int($accounts / 20) || 1) });
diag(sprintf 'foreground: %.0f tps alone, %.0f beside deletions (%+.1f %%)', $alone, $beside, 100 * ($beside / $alone - 1));

my $each = $kills ? int(($accounts - $asked) / $kills) + 1 : $accounts;
my $wrong = 0;
for my $round (1 .. $kills)
{
	my $out = '';
	my $run = pgbench(600, \$out);
	ask_for($each);
	select(undef, undef, undef, rand(1));
	kill9_node($node);
	$run->finish;
	$node->start;
	# a key goes after the account's rows, never before
	$wrong += sql('SELECT count(*) FROM dataprotect.tombstone t JOIN person p ON p.id::text = t.subject');
	diag("$round kills, " . sql("SELECT count(*) FROM dataprotect.deletion_requests WHERE state = 'certified'") . ' certified') if $round % 20 == 0;
}
is($wrong, 0, 'no key was destroyed before its rows were gone');
ask_for($accounts);
ok(poll_until('every account to be certified', sub { return sql("SELECT count(*) FROM dataprotect.deletion_requests WHERE state = 'certified'") == $accounts; }, 3600),
	'every deletion is certified');
is(sql("SELECT count(*) FROM dataprotect.deletion_requests r, dataprotect.deletion_certificate(r.id) c WHERE c -> 'verification' ->> 'values_found' = '0'"),
	$accounts, 'by a certificate that holds');
is(sql("SELECT (SELECT count(*) FROM person WHERE id <= $accounts), (SELECT count(*) FROM visit WHERE person <= $accounts)"), '0|0', 'every row of theirs is gone');
is(app("SELECT count(*) FROM person WHERE name = 'name ' || id"), $others, 'every other account is whole');
is(app("SELECT count(*) FROM visit WHERE note LIKE 'note %'"), 3 * $others, 'with its rows');
is(sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid"), '0', 'no half-built index is left');
is(sql('SELECT dataprotect._erasure_doubt() IS NULL'), 't', 'the list of erasures is known to its end');
my ($list) = glob("$lists/*.erasures");
my %listed = map { /"account_id": "(\d+)"/ ? ($1 => 1) : () } split /\n/, slurp_file($list);
is(scalar(keys %listed), $accounts, 'and has every account');
sql('SELECT dataprotect.flush_audit_log()');
is(sql('SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the audit log is whole');

$node->stop;
done_testing();
