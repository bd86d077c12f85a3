# If this fails, something that holds for a minute does not hold for an hour: sums,
# the log, memory, what is deleted, or an error that nobody documented.
#
# Outside of CI, since it takes its time: readers, writers, cursors and masked sessions
# work all the time, while keys rotate, grants come and go, rows are kept no longer than
# promised, accounts are deleted, and background workers are killed (SIGKILL, which
# restarts the server).  Invariants are checked after each round of a minute.
#
#	DP_SOAK_SECONDS		how long (1800)
#	DP_SOAK_SEED		of the random choices (printed)
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

use DataProtect::Test;

my $seconds = $ENV{DP_SOAK_SECONDS} || 1800;
my $round_seconds = $seconds < 240 ? int($seconds / 4) || 1 : 60;
my $seed = srand($ENV{DP_SOAK_SEED} || time);
diag("seed $seed, $seconds s");

my $persons = 1000;		# who stay; those who are deleted have larger numbers
my $rows = 2000;
my $node = new_node('soak', conf => "autovacuum_naptime = 5s\nrestart_after_crash = on\nlog_min_messages = warning\n");
create_extension($node);

sub sql { return $node->safe_psql('postgres', $_[0]); }

sub sql_as
{
	my ($role, $text) = @_;
	return $node->safe_psql('postgres', $text, extra_params => [ '-U', $role ]);
}

sql(<<"SQL");
CREATE ROLE writer LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE support LOGIN; CREATE ROLE guest LOGIN;
GRANT dataprotect_auditor TO CURRENT_USER;
SELECT dataprotect.create_key('soak', mask => 'email');
SELECT dataprotect.grant_access('soak', r::regrole, p, reason => 'soak') FROM (VALUES ('writer', 'reveal'), ('reader', 'reveal'), ('support', 'mask')) v(r, p);
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('soak', 'searchable'));
CREATE TABLE note (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, person int REFERENCES person, body encrypted_text('soak'));
CREATE INDEX ON note (person);
CREATE INDEX ON person (email encrypted_text_token_ops);
CREATE TABLE ledger (id int PRIMARY KEY, amount encrypted_numeric('soak', 'ordered'), plain numeric);
CREATE INDEX ON ledger (amount);
CREATE TABLE visit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL, address encrypted_inet('soak'));
CREATE INDEX ON visit (at);
CREATE TABLE reads (n bigint GENERATED ALWAYS AS IDENTITY);
GRANT ALL ON ALL TABLES IN SCHEMA public TO writer, reader, support, guest;
SELECT dataprotect.create_account_type('person', 'person', 'id', '0 s');
SELECT dataprotect.annotate_account('person', 'note', '{person}', 'delete');
SELECT dataprotect.bind_subject('person', 'person', 'id'), dataprotect.bind_subject('note', 'person', 'person');
INSERT INTO person SELECT g, 'p' || g || '\@mail.example' FROM generate_series(1, $persons) g;
INSERT INTO ledger SELECT g, 100, 100 FROM generate_series(1, $rows) g;
SELECT dataprotect.create_retention_policy('visits', 'public.visit', 'at', '1 hour', 'delete', '{"every": "10 seconds"}');
SELECT dataprotect.activate_retention('visits');
ANALYZE;
SQL

# What goes on all the time: [role, script, share].
my $half = $rows / 2;
my @load = (
	[ 'reader', 'by_number', "BEGIN;\nSELECT email FROM person WHERE id = :i;\nINSERT INTO reads DEFAULT VALUES;\nEND;", 10 ],
	[ 'reader', 'by_value', "SELECT id FROM person WHERE email = 'p' || :i || '\@mail.example';", 5 ],
	[ 'reader', 'cursor', "BEGIN;\nDECLARE c CURSOR FOR SELECT amount FROM ledger ORDER BY amount;\nFETCH 20 FROM c;\nCLOSE c;\nEND;", 1 ],
	[ 'reader', 'sums', "DO \$\$ BEGIN IF (SELECT sum(amount) <> sum(plain) OR sum(plain) <> 100 * $rows FROM ledger) THEN RAISE EXCEPTION 'the sums are wrong'; END IF; END \$\$;", 1 ],
	[ 'writer', 'transfer', "\\set a random(1, $half)\n\\set b random($half + 1, $rows)\n\\set d random(-50, 50)\nBEGIN;\nUPDATE ledger SET amount = amount - :d, plain = plain - :d WHERE id = :a;\nUPDATE ledger SET amount = amount + :d, plain = plain + :d WHERE id = :b;\nEND;", 6 ],
	[ 'writer', 'write_note', "INSERT INTO note (person, body) VALUES (:i, 'note of ' || :i);", 5 ],
	[ 'writer', 'visit', "INSERT INTO visit (at, address) VALUES (now() - :i * interval '6 seconds', '10.0.0.1');", 3 ],
	[ 'writer', 'rolled_back', "BEGIN;\nUPDATE person SET email = 'nobody' WHERE id = :i;\nROLLBACK;", 1 ],
	[ 'support', 'masked', "DO \$\$ BEGIN IF (SELECT email::text = 'p' || id || '\@mail.example' FROM person WHERE id = :i) THEN RAISE EXCEPTION 'a mask shows the value'; END IF; END \$\$;", 3 ]);
my %files;
for my $part (@load)
{
	my ($role, $name, $text, $share) = @$part;
	my $file = $node->basedir . "/$name.sql";
	append_to_file($file, "\\set i random(1, $persons)\n$text\n");
	push @{ $files{$role} }, '-f', "$file\@$share";
}

my %said;		# what clients were told that was no success
my $killed = 0;	# a worker was, in this round

sub start_load
{
	my ($time) = @_;
	my @runs;
	for my $role (sort keys %files)
	{
		my $out = '';
		push @runs, [ \$out, IPC::Run::start([ 'pgbench', '-n', '-M', $role eq 'support' ? 'simple' : 'prepared', '--max-tries', '20', '-c', $role eq 'reader' ? 3 : 2, '-T', $time, @{ $files{$role} },
				'-U', $role, $node->connstr('postgres') ], '<', \undef, '>&', \$out) ];
	}
	return @runs;
}

sub finish_load
{
	for my $run (@_)
	{
		$run->[1]->finish;
		for my $line (split /\n/, ${ $run->[0] })
		{
			$said{$line}++ if $line =~ /ERROR|FATAL|PANIC/ && !($killed && $line =~ /server closed|terminat|crash|recovery/);
		}
	}
	return;
}

# Private memory of a session that reads and writes in one transaction after another, in KB.
sub private_kb
{
	my ($pid) = @_;
	my ($private, $sum) = (0, 0);
	open(my $fh, '<', "/proc/$pid/smaps") or return undef;
	while (my $line = <$fh>)
	{
		$private = $1 eq 'p' if $line =~ /^[0-9a-f]+-[0-9a-f]+ ...(.)/;
		$sum += $1 if $private && $line =~ /^Private_Dirty:\s+(\d+)/;
	}
	close $fh;
	return $sum;
}

sub memory_of_readers
{
	my @pids = split /\n/, sql("SELECT pid FROM pg_stat_activity WHERE usename = 'reader' AND application_name = 'pgbench' ORDER BY pid");
	my ($most) = sort { $b <=> $a } map { private_kb($_) || 0 } @pids;
	return $most || 0;
}

my $doomed = $persons;
my @acts = (
	sub { sql("SELECT dataprotect.rotate_key('soak')") },
	sub { sql("SELECT dataprotect.grant_access('soak', 'guest', 'reveal', reason => 'soak')"); sql_as('guest', 'SELECT email FROM person WHERE id = 1'); sql("SELECT dataprotect.revoke_access('soak', 'guest', reason => 'soak')"); },
	sub { sql("CALL dataprotect.run_retention('visits')") },
	sub {
		$doomed++;
		sql_as('writer', "INSERT INTO person VALUES ($doomed, 'gone$doomed\@mail.example'); INSERT INTO note (person, body) SELECT $doomed, 'gone' FROM generate_series(1, 20)");
		sql("SELECT dataprotect.request_deletion('person', '$doomed', 'soak')");
	},
	sub { sql("CALL dataprotect.reencrypt('public.ledger')") },
	sub { sql('VACUUM ANALYZE ledger') });

sub kill_a_worker
{
	my ($pid) = split /\n/, sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'dataprotect%' ORDER BY random() LIMIT 1});
	return if !$pid;
	$killed = 1;
	kill 'KILL', $pid;
	return;
}

# psql may end before it has read the query
sub is_up { return eval { ($node->psql('postgres', 'SELECT 1'))[0] == 0 }; }

sub look
{
	my ($round) = @_;
	poll_until('the server to be up', \&is_up, 180);
	my $reads = sql('SELECT count(*) FROM reads');
	sql(q{SELECT dataprotect.flush_audit_log('5 min')});
	my @wrong;
	push @wrong, 'sums' if sql_as('reader', "SELECT sum(amount) = sum(plain) AND sum(plain) = 100 * $rows AND bool_and(amount = plain) FROM ledger") ne 't';
	push @wrong, 'values' if sql_as('reader', "SELECT count(*) FROM person WHERE id <= $persons AND email = 'p' || id || '\@mail.example'") != $persons;
	push @wrong, 'notes' if sql_as('reader', "SELECT count(*) FROM note WHERE person <= $persons AND body <> 'note of ' || person") != 0;
	push @wrong, 'log' if sql('SELECT ok FROM dataprotect.verify_audit_log()') ne 't';
	push @wrong, 'policy' if sql('SELECT count(*) FROM dataprotect.verify_policy()') != 0;
	my $logged = sql(q{SELECT count(*) FROM dataprotect.audit_log WHERE event = 'value.revealed' AND role = 'reader'});
	push @wrong, "reads without a record ($reads of which $logged)" if $logged < $reads;
	is(join(', ', @wrong), '', "round $round: sums, values, log and policy");
	return;
}

my $end = time + $seconds;
my $round = 0;
my @growth;
while (time < $end)
{
	my $time = $end - time < $round_seconds ? int($end - time) + 1 : $round_seconds;
	my $began = time;
	my @runs = start_load($time);
	my $kill_at = $round % 3 == 2 ? $began + $time / 2 : 0;
	my $early;

	$killed = 0;
	$round++;
	while (time < $began + $time - 1)
	{
		if ($kill_at && time > $kill_at)
		{
			kill_a_worker();
			$kill_at = 0;
			last;
		}
		# what fails is told at the end, beside what clients met
		eval { $acts[ rand @acts ]->(); 1 } or $said{ $@ =~ /(ERROR: .*)/ ? $1 : $@ }++;
		$early = memory_of_readers() if !defined $early && time > $began + $time / 3;
		sleep 0.5;
	}
	push @growth, memory_of_readers() - $early if !$killed && defined $early;
	finish_load(@runs);
	look($round);
}

ok(poll_until('every deletion to be certified', sub { return sql("SELECT count(*) FROM dataprotect.deletion_requests WHERE state <> 'certified'") == 0; }, 600),
	'every account that asked for it is deleted');
is(sql("SELECT (SELECT count(*) FROM person WHERE id > $persons), (SELECT count(*) FROM note WHERE person > $persons)"), '0|0', 'with its rows');
sql("CALL dataprotect.run_retention('visits')");
is(sql("SELECT count(*) FROM visit WHERE at < now() - interval '1 hour 1 minute'"), '0', 'no row is kept longer than promised');
is(sql('SELECT count(*) FROM dataprotect.verify() WHERE failures <> 0'), '0', 'every stored value opens');
is(join("\n", map { "$said{$_} times: $_" } sort keys %said), '', 'clients met no error');
my ($grown) = sort { $b <=> $a } @growth;
cmp_ok($grown || 0, '<', 4096, 'no session grows: ' . join(' ', @growth) . ' KB in two thirds of a round');
my %logged;
for my $line (split /\n/, slurp_file($node->logfile))
{
	$logged{ $1 =~ s/\d+/N/gr }++ if $line =~ /((?:ERROR|PANIC):.*)/;
}
is(join("\n", map { "$logged{$_} times: $_" } sort grep { !/SIGKILL|could not serialize|deadlock detected/ } keys %logged), '', 'the server log has no error');
diag("$round rounds, " . ($doomed - $persons) . ' accounts deleted, ' . sql('SELECT count(*) FROM reads') . ' reads counted');

$node->stop;
done_testing();
