# If this fails, memory that runs out, or a cancel, at some point of a statement
# over protected columns crashes the server, is reported as something else, changes
# values, or makes the log incomplete.  See README.md here.
use strict;
use warnings;

use Fcntl;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use DataProtect::Test;

my $max_step = $ENV{DP_FAULT_STEP} || 4;	# most allocations between two that fail
my $n_cancels = $ENV{DP_FAULT_CANCELS} || 150;
my $rows = 3000;
srand($ENV{DP_FAULT_SEED} // 1);

my $node = new_node('fault', start => 0, conf => "autovacuum = off\nrestart_after_crash = off\nmax_parallel_workers_per_gather = 0\n");
my $control = $node->basedir . '/fault';
sub arm
{
	my ($pid, $left, $cancel) = @_;
	sysopen my $file, $control, O_RDWR | O_CREAT or die "$control: $!";
	syswrite $file, pack('l!l!l!', $pid, $left, $cancel // 0);
	close $file;
	return;
}
sub left
{
	my (undef, $left) = unpack 'l!l!l!', slurp_file($control);
	return $left;
}
arm(0, 0);
{
	local $ENV{LD_PRELOAD} = $ENV{DP_FAULT_SHIM} or die 'started by make fault';
	local $ENV{DP_FAULT_FILE} = $control;
	$node->start;
}
create_extension($node);
$node->safe_psql('postgres', <<SQL);
GRANT dataprotect_auditor TO CURRENT_USER;
SELECT dataprotect.create_key('pii', mask => 'email'), dataprotect.grant_access('pii', current_user::regrole, 'reveal');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii', 'searchable'), o encrypted_int4('pii', 'ordered'), p encrypted_text('pii'), plain text);
INSERT INTO person SELECT g, 'mail' || g, g % 97, 'p' || g, 'plain' || g FROM generate_series(1, $rows) g;
CREATE INDEX person_email ON person (email encrypted_text_token_ops);
CREATE INDEX person_o ON person (o);
CREATE TABLE later AS SELECT g AS id, 'later' || g AS v FROM generate_series(1, 300) g;
CREATE FUNCTION change_some() RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN UPDATE person SET p = 'p' || id WHERE id <= 20; EXCEPTION WHEN division_by_zero THEN NULL; END \$\$;
SQL

my %session = (in => '', out => '', err => '');
sub connect_session
{
	%session = (in => '', out => '', err => '');
	$session{h} = IPC::Run::start([ 'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres') ],
		'<', \$session{in}, '>', \$session{out}, '2>', \$session{err}, IPC::Run::timeout(10 * TIMEOUT));
	$session{pid} = ask('SELECT pg_backend_pid()') + 0;
	return;
}
sub send_sql
{
	my ($sql) = @_;
	$session{out} = $session{err} = '';
	$session{in} .= "$sql;\n\\echo :done\n";
	eval { $session{h}->pump_nb };
	return;
}
sub answer
{
	eval { $session{h}->pump while $session{out} !~ /:done\n/ && $session{h}->pumpable };
	eval { $session{h}->pump_nb };
	(my $answer = $session{out}) =~ s/\n?:done\n//;
	return $answer;
}
sub ask
{
	my ($sql) = @_;
	send_sql($sql);
	return answer();
}

my $check = "SELECT count(*), count(*) FILTER (WHERE email::text = 'mail' || id AND o::int4 = id % 97 AND p::text = 'p' || id) FROM person";
my $right = "$rows|$rows";

my @statements = (
	"SELECT email, o, p FROM person WHERE id <= 3",
	"SELECT count(*) FROM person WHERE email = 'mail7'",
	"SELECT count(*) FROM (SELECT o FROM person ORDER BY o, p) s",
	"SELECT o, count(*) FROM person GROUP BY o ORDER BY o LIMIT 1",
	"SELECT min(o::int4), max(p) FROM person WHERE o BETWEEN 3 AND 5",
	"BEGIN; INSERT INTO person VALUES (-1, 'mail-1', 1, 'p-1', 'x'), (-2, 'mail-2', 2, 'p-2', 'x'); ROLLBACK",
	"UPDATE person SET email = 'mail' || id, p = 'p' || id WHERE id <= 5",
	"SELECT change_some()",
	"BEGIN; DELETE FROM person WHERE email = 'mail9'; ROLLBACK",
	"COPY (SELECT * FROM person WHERE id < 20) TO STDOUT",
	"SELECT email FROM person a WHERE EXISTS (SELECT FROM person b WHERE b.p = a.p AND b.id < 5) AND id < 5",
	"BEGIN; CREATE TABLE made (v encrypted_text('pii') CHECK (v <> 'no')); INSERT INTO made VALUES ('a'); ROLLBACK",
	"BEGIN; CREATE INDEX ON person USING hash (p); ROLLBACK",
);

# --- the n-th allocation fails
my %seen;
for my $statement (grep { !$ENV{DP_FAULT_ONLY} || /$ENV{DP_FAULT_ONLY}/ } @statements)
{
	my ($n, $failed, $ended, @wrong) = (0, 0, 0);
	connect_session();
	while (1)
	{
		# A new session at first, so that what is loaded once fails as well.
		if ($n < 60)
		{
			eval { $session{in} .= "\\q\n"; $session{h}->finish };
			connect_session();
		}
		$n += $n < 20 ? 1 : 1 + int rand $max_step;
		arm($session{pid}, $n);
		ask($statement);
		my $reached = left() == 0;
		my $error = $session{err};
		arm(0, 0);
		last if !$reached && $n > 60;
		next if !$reached;
		$failed++;
		my ($state) = $error =~ /(?:ERROR|FATAL|PANIC):  (\w{5}):/;
		$seen{ $state // 'none' }++;
		push @wrong, "allocation $n: $error" if defined $state && $state ne '53200' && $error !~ /^LOCATION:  \w+, guc\.c:/m || $error =~ /PANIC/;
		if ($error =~ /FATAL|lost|closed/)
		{
			# PostgreSQL itself ends a session that cannot keep a setting (guc.c)
			$ended++;
			connect_session();
		}
		ask('ROLLBACK') if $statement =~ /^BEGIN/;
		my $after = ask('SELECT email FROM person WHERE id = 8');
		push @wrong, "after allocation $n: $after $session{err}" if $after ne 'mail8';
	}
	is(join("\n", @wrong), '', "$failed allocations failed, each cleanly, $ended sessions ended: $statement");
	eval { $session{in} .= "\\q\n"; $session{h}->finish };
}
note("errors seen: " . join ', ', map { "$_ $seen{$_}" } sort keys %seen);
is($node->safe_psql('postgres', $check), $right, 'values are right after it');

# --- a cancel at the first place that looks for interrupts after the n-th allocation or release
my @cancelled = (@statements,
	"BEGIN; CALL dataprotect.encrypt_column('later', 'v', 'pii'); ROLLBACK",
	"SELECT dataprotect.grant_access('pii', 'pg_monitor', 'mask'), dataprotect.revoke_access('pii', 'pg_monitor')",
	"SELECT dataprotect.suspend_key('pii', 'x'), dataprotect.resume_key('pii', 'x')",
	"BEGIN; SELECT dataprotect.create_account_type('t', 'person', 'id'); ROLLBACK",
	'SELECT count(*) FROM dataprotect.verify_policy()',
	"SELECT count(*) FROM dataprotect.audit_log WHERE event = 'key.created'");
for my $statement (grep { !$ENV{DP_FAULT_ONLY} || /$ENV{DP_FAULT_ONLY}/ } @cancelled)
{
	my ($n, $reached_n, $cancelled, @wrong) = (0, 0, 0);
	connect_session();
	while (1)
	{
		$n += 1 + int($n / 40) + int rand $max_step;
		arm($session{pid}, $n, 1);
		ask($statement);
		my $reached = left() == 0;
		my $error = $session{err};
		arm(0, 0);
		last if !$reached;
		$reached_n++;
		$cancelled++ if $error =~ /ERROR:  57014/;
		push @wrong, "allocation $n: $error" if $error =~ /ERROR|FATAL|PANIC/ && $error !~ /ERROR:  57014/;
		ask('SELECT 1') for 1 .. 2;	# takes a cancel that came too late
		ask('ROLLBACK') if $statement =~ /^BEGIN/;
		ask("SELECT dataprotect.resume_key('pii', 'x') FROM dataprotect.keys WHERE name = 'pii' AND state = 'suspended'") if $statement =~ /suspend/;
		my $after = ask('SELECT email FROM person WHERE id = 8');
		push @wrong, "after allocation $n: $after $session{err}" if $after ne 'mail8';
	}
	is(join("\n", @wrong), '', "a cancel at $reached_n points, $cancelled of them in time, each clean: $statement");
	eval { $session{in} .= "\\q\n"; $session{h}->finish };
}
is($node->safe_psql('postgres', $check), $right, 'values are right after it');

# --- a cancel at any moment
my @long = (
	[ "SELECT count(*) FROM (SELECT p FROM person ORDER BY p) s" ],
	[ "INSERT INTO person SELECT g, 'mail' || g, g % 97, 'p' || g, 'x' FROM generate_series($rows + 1, $rows + 500) g", "DELETE FROM person WHERE id > $rows" ],
	[ "UPDATE person SET p = 'p' || id WHERE id <= 300" ],
	[ "CALL dataprotect.encrypt_column('later', 'v', 'pii')", "CALL dataprotect.decrypt_column('later', 'v')" ],
	[ "CALL dataprotect.reencrypt('person')" ],
	[ "SELECT count(*) FROM person WHERE o = 5" ],
);
connect_session();
my ($n_cancelled, @wrong) = (0);
for my $i (1 .. $n_cancels)
{
	my ($sql, $undo) = @{ $long[ rand @long ] };
	$node->safe_psql('postgres', "SELECT dataprotect.rotate_key('pii')") if $i % 25 == 0;
	send_sql($sql);
	usleep(rand(120_000));
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($session{pid})");
	answer();
	$n_cancelled++ if $session{err} =~ /ERROR:  57014/;
	push @wrong, "$sql: $session{err}" if $session{err} =~ /ERROR|FATAL|PANIC/ && $session{err} !~ /ERROR:  57014/;
	# the cancel may have come after the statement's end: the next one takes it
	ask('SELECT 1') for 1 .. 2;
	if (defined $undo && ask($undo) ne '' || $session{err} =~ /ERROR/)
	{
		push @wrong, "$undo: $session{err}" if $session{err} !~ /is not encrypted|not protected|57014/;
	}
}
is(join("\n", @wrong), '', "$n_cancelled of $n_cancels statements cancelled, each cleanly");
$node->safe_psql('postgres', "DELETE FROM person WHERE id > $rows");
is($node->safe_psql('postgres', $check), $right, 'values are right after it');
is($node->safe_psql('postgres', "SELECT count(*), count(*) FILTER (WHERE v::text = 'later' || id) FROM later"), '300|300', 'so are those of a column that was protected again and again');
eval { $session{in} .= "\\q\n"; $session{h}->finish };
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()', 't');
is($node->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the log is complete');
unlike(slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP:/, 'nothing crashed');
$node->stop;
done_testing();
