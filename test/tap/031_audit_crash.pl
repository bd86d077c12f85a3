# If this fails, a crash makes reads of protected values disappear from the
# audit log, or shows them twice.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $rounds = 3;

my $node = new_node('audit_crash', conf => "dataprotect.audit_ring_size = '1MB'\nrestart_after_crash = on\n");
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE app LOGIN;
CREATE ROLE auditor LOGIN;
GRANT dataprotect_auditor TO auditor;
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii'));
INSERT INTO person SELECT i, 'mail' || i FROM generate_series(1, 100) AS i;
GRANT SELECT ON person TO app;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
SQL

sub flush_log
{
	return poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
}

sub rows_of
{
	my ($purpose) = @_;
	return $node->safe_psql('postgres',
		"SELECT outcome, values_opened FROM dataprotect.audit_log WHERE purpose = '$purpose' ORDER BY seq",
		extra_params => [ '-U', 'auditor' ]);
}

# Sessions that stay, so that a kill finds them right after their rows came.
sub session
{
	my %self = (in => '', out => '', err => '');
	$self{h} = IPC::Run::start(
		[ 'psql', '-XAtq', '-U', 'app', '-d', $node->connstr('postgres') ],
		'<', \$self{in}, '>', \$self{out}, '2>', \$self{err});
	return \%self;
}

sub ask
{
	my ($session, $sql, $until) = @_;
	$session->{out} = '';
	$session->{in} .= "$sql\n";
	poll_until("answer to $sql", sub { $session->{h}->pump_nb; return $session->{out} =~ $until });
	return $session->{out};
}

my $session = session();
ask($session, "SET dataprotect.purpose = 'before';\nSELECT email FROM person WHERE id <= 3; SELECT 'done';", qr/done/);
kill9_node($node);
eval { $session->{h}->kill_kill };
$node->start;
flush_log();
is(rows_of('before'), 'ok|3', 'kill -9 of every process right after the rows arrived: exactly one row');

# A statement in the middle of its output, and one in an open transaction.
$session = session();
my $other = session();
ask($session, "SET dataprotect.purpose = 'open';\nBEGIN; SELECT email FROM person WHERE id <= 2; SELECT 'done';", qr/done/);
ask($other, "SET dataprotect.purpose = 'middle'; SELECT 'set';\n", qr/set/);
$other->{in} .= "SELECT email, pg_sleep(CASE WHEN id = 5 THEN 600 ELSE 0 END) FROM person;\n";
poll_until('a sleeping statement', sub {
		$other->{h}->pump_nb;
		return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") eq '1';
	});
kill9_node($node);
eval { $_->{h}->kill_kill } for $session, $other;
$node->start;
flush_log();
like(rows_of('middle'), qr/^lost\|[0-5]$/, 'a statement whose process was killed is lost, and there');
like(rows_of('open'), qr/^(ok|lost|rolled_back)\|[02]$/, 'a statement of a transaction that nobody ended is there once');
is($node->safe_psql('postgres', "SELECT ok FROM dataprotect.verify_audit_log()"), 't', 'the chain holds');

# Under load, again and again, at any instant: every statement whose rows came
# has exactly one row, no other has more than one.
my (%answered, %sent);
my $number = 0;
for my $round (1 .. $rounds)
{
	my @clients;
	for my $client (1 .. 3)
	{
		my $script = '';
		for my $i (1 .. 3000)
		{
			my $mark = "r${round}c${client}n$i";
			$script .= "SET dataprotect.purpose = '$mark';\nSELECT email FROM person WHERE id = $i % 100 + 1;\n\\echo $mark\n";
			$sent{$mark} = 1;
		}
		my %self = (in => $script, out => '', err => '');
		$self{h} = IPC::Run::start(
			[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-U', 'app', '-d', $node->connstr('postgres') ],
			'<', \$self{in}, '>', \$self{out}, '2>', \$self{err});
		push @clients, \%self;
	}
	my $wanted = 40 + 60 * $round;
	poll_until("$wanted answers", sub {
			$_->{h}->pump_nb for @clients;
			my $n = 0;
			$n += () = $_->{out} =~ /^r\d+c\d+n\d+$/mg for @clients;
			return $n >= $wanted;
		});
	kill9_node($node);
	eval { $_->{h}->finish } for @clients;
	$answered{$_} = 1 for map { $_->{out} =~ /^(r\d+c\d+n\d+)$/mg } @clients;
	$node->start;
}
flush_log();
my %rows;
$rows{$_}++ for split /\n/, $node->safe_psql('postgres',
	"SELECT purpose FROM dataprotect.audit_log WHERE purpose ~ '^r[0-9]+c'", extra_params => [ '-U', 'auditor' ]);

cmp_ok(scalar(keys %answered), '>=', $rounds * 60, 'statements were answered: ' . keys %answered);
is(join(' ', grep { !$rows{$_} } sort keys %answered), '', 'no answered statement is missing');
is(join(' ', grep { $rows{$_} > 1 } sort keys %rows), '', 'no statement is there twice');
is(join(' ', grep { !$sent{$_} } sort keys %rows), '', 'no statement is there that was never sent');
is($node->safe_psql('postgres', "SELECT ok FROM dataprotect.verify_audit_log()"), 't', 'the chain holds after every crash');
is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT instance, ring_seq FROM dataprotect.audit_record WHERE kind = 'i' GROUP BY 1, 2 HAVING count(*) > 1) AS d"),
	'0', 'no record is stored twice');

# Killing the writer and the collector alone: the server restarts by itself.
for my $type ('dataprotect audit writer', 'dataprotect worker')
{
	my $mark = $type =~ s/ /_/gr;
	run_marked($mark);
	kill9_process($node, sub { return eval { process_of($type) } });
	flush_log();
	is(rows_of($mark), 'ok|1', "kill -9 of the $type loses nothing");
}

# The writer has no database connection and is not in pg_stat_activity.
sub process_of
{
	my ($type) = @_;
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	for my $line (split /\n/, `ps -o pid=,args= --ppid $postmaster`)
	{
		return $1 if $line =~ /^\s*(\d+)\s.*\Q$type\E/;
	}
	die "no process \"$type\"";
}

sub run_marked
{
	my ($mark) = @_;
	$node->safe_psql('postgres', "SET dataprotect.purpose = '$mark'; SELECT email FROM person WHERE id = 1",
		extra_params => [ '-U', 'app' ]);
	return;
}

# A ring of another size: what waits in the old one is not lost.
run_marked('resized');
kill9_node($node);
$node->append_conf('postgresql.conf', "dataprotect.audit_ring_size = '2MB'\n");
$node->start;
flush_log();
is(rows_of('resized'), 'ok|1', 'records of a ring of another size are moved over');
is(-s $node->data_dir . '/pg_dynshmem/dataprotect.ring', 2 * 1024 * 1024 + 299008, 'the ring has its new size');

# A copied ring is not replayed.
run_marked('copied');
kill9_node($node);
my $ring = $node->data_dir . '/pg_dynshmem/dataprotect.ring';
system('cp', $ring, "$ring.copy") == 0 or die;
rename "$ring.copy", $ring or die;
$node->start;
ok((() = glob "$ring.foreign.*") == 1, 'a copied ring is set aside, not replayed and not removed');
run_marked('after the copy');
flush_log();
is(rows_of('after the copy'), 'ok|1', 'and a new one works');
is($node->safe_psql('postgres', "SELECT ok FROM dataprotect.verify_audit_log()"), 't', 'the chain goes on');

# Modes of the files.
my ($segments) = glob $node->data_dir . '/pg_dataprotect_audit/*';
is(sprintf('%o', (stat $node->data_dir . '/pg_dataprotect_audit')[2] & 07777), '700', 'audit directory is private');
is(join(' ', map { sprintf '%o', (stat)[2] & 07777 } $segments, (glob "$segments/*")[0]), '700 600',
	'segments are private');

$node->stop;
done_testing();
