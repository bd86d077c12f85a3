# If this fails, audit records are dropped under pressure, or a value is shown
# before its intent is as safe as dataprotect.audit_mode promises.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('audit_ring', conf => "dataprotect.audit_ring_size = '256kB'\n");
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii'));
INSERT INTO person SELECT i, 'mail' || i FROM generate_series(1, 20) AS i;
CREATE ROLE app LOGIN;
CREATE ROLE auditor LOGIN;
GRANT dataprotect_auditor TO auditor;
GRANT SELECT ON person TO app;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
SQL
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');

my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
my ($writer) = grep { defined } map { /^\s*(\d+)\s.*dataprotect audit writer/ ? $1 : undef }
  split /\n/, `ps -o pid=,args= --ppid $postmaster`;

sub log_count
{
	my ($where) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.audit_log WHERE $where",
		extra_params => [ '-U', 'auditor' ]);
}

sub start_psql
{
	my ($sql) = @_;
	my %self = (in => '', out => '', err => '');
	$self{h} = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $node->connstr('postgres'), '-c', $sql ],
		'<', \$self{in}, '>', \$self{out}, '2>', \$self{err});
	return \%self;
}

# The writer stands still: the ring fills, and then statements wait.
kill 'STOP', $writer;
my $loop = start_psql('DO $$ DECLARE x text; BEGIN PERFORM set_config(\'dataprotect.purpose\', \'filling\', false); '
	  . 'FOR i IN 1..100000 LOOP SELECT email INTO x FROM person WHERE id = 1; COMMIT; END LOOP; END $$');
eval { $loop->{h}->finish };
is($loop->{err}, '', 'a statement takes no further room, however many values it opens');

my $script = "SET dataprotect.purpose = 'full';\n" . "SELECT email FROM person WHERE id = 2;\n" x 2000;
my %filler = (out => '', err => '');
$filler{h} = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $node->connstr('postgres') ],
	'<', \$script, '>', \$filler{out}, '2>', \$filler{err});
my $answers = 0;
my $still_for = 0;
poll_until('the ring to be full', sub {
		$filler{h}->pump_nb;
		my $now = () = $filler{out} =~ /^mail2$/mg;
		$still_for = $now == $answers ? $still_for + 1 : 0;
		$answers = $now;
		return $now > 0 && $still_for > 10;
	});
cmp_ok($answers, '<', 2000, "a full ring makes statements wait (after $answers)");

my ($rc, $out, $err) = $node->psql('postgres', "SET statement_timeout = '300ms'; SELECT email FROM person WHERE id = 3",
	extra_params => [ '-U', 'app' ]);
like($err, qr/canceling statement due to statement timeout/, 'such a wait can be cancelled');
is($out, '', 'and nothing was shown');
is($node->safe_psql('postgres', 'SELECT count(*) FROM person'), '20', 'statements that open nothing go on');

kill 'CONT', $writer;
$filler{h}->finish;
is($filler{err}, '', 'all go on when the writer does');
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is(log_count("purpose = 'full'"), 2000, 'nothing was dropped');
is(log_count("purpose = 'full' AND outcome = 'ok' AND values_opened = 1"), 2000, 'and nothing is half there');

# A transaction's end never waits, not even in a full ring.
kill 'STOP', $writer;
my $holder = start_psql("BEGIN; SET dataprotect.purpose = 'held'; SELECT email FROM person WHERE id = 4; SELECT pg_sleep(2); ROLLBACK");
poll_sql($node, 'postgres', "SELECT count(*) = 1 FROM (SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep') AS s");
$script = "SELECT email FROM person WHERE id = 2;\n" x 2000;
%filler = (out => '', err => '');
$filler{h} = IPC::Run::start([ 'psql', '-XAtq', '-U', 'app', '-d', $node->connstr('postgres') ],
	'<', \$script, '>', \$filler{out}, '2>', \$filler{err});
poll_until('rollback in a full ring', sub {
		$filler{h}->pump_nb;
		return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'") eq '1';
	});
eval { $holder->{h}->finish };
kill 'CONT', $writer;
$filler{h}->finish;
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is(log_count("purpose = 'held' AND outcome = 'rolled_back'"), 1, 'a rollback finds its reserved room');

# Reserved room is given back, however a statement or transaction ends: a leak
# of it would fill this small ring for good.
my $ends = <<'SQL';
SELECT email FROM person WHERE id = 1;
BEGIN; SELECT email FROM person WHERE id = 1; ROLLBACK;
BEGIN; SELECT email FROM person WHERE id = 1; SAVEPOINT a; SELECT email FROM person WHERE id = 2; SAVEPOINT b;
SELECT email FROM person WHERE id = 3; RELEASE b; ROLLBACK TO a; SELECT email FROM person WHERE id = 4; COMMIT;
BEGIN; SAVEPOINT a; SELECT email, 1 / 0 FROM person; ROLLBACK TO a; SELECT email FROM person WHERE id = 5; COMMIT;
SELECT email, 1 / (3 - id) FROM person;
DO $$ DECLARE x text; BEGIN FOR i IN 1..3 LOOP BEGIN SELECT email INTO x FROM person WHERE id = i; RAISE 'x';
	EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END $$;
BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT email FROM person; FETCH 2 FROM c; COMMIT; FETCH 2 FROM c; CLOSE c;
BEGIN; PREPARE p AS SELECT email FROM person; EXECUTE p; DEALLOCATE p; SELECT 1 / 0; COMMIT;
SQL
$node->psql('postgres', $ends x 200, on_error_stop => 0, timeout => 120, extra_params => [ '-U', 'app' ]);
is($node->safe_psql('postgres', 'SELECT email FROM person WHERE id = 1', extra_params => [ '-U', 'app' ]),
	'mail1', 'no reserved room leaks');
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is(log_count("outcome = 'started'"), 0, 'and everything has an outcome');

# Durable mode: no plaintext before the disk has the intent.
$node->safe_psql('postgres', "ALTER ROLE app SET dataprotect.audit_mode = 'durable'");
is($node->safe_psql('postgres', "SET dataprotect.purpose = 'durable'; SELECT email FROM person WHERE id = 5",
		extra_params => [ '-U', 'app' ]),
	'mail5', 'durable mode reads');
kill 'STOP', $writer;
($rc, $out, $err) = $node->psql('postgres',
	"SET dataprotect.purpose = 'undurable'; SET statement_timeout = '500ms'; SELECT email FROM person WHERE id = 5",
	extra_params => [ '-U', 'app' ]);
like($err, qr/canceling statement/, 'durable mode waits for the writer');
is($out, '', 'and shows nothing before');
kill 'CONT', $writer;
poll_sql($node, 'postgres', 'SELECT dataprotect.flush_audit_log()');
is(log_count("purpose = 'durable' AND outcome = 'ok'"), 1, 'the durable read is there');
is(log_count("purpose = 'undurable' AND outcome = 'cancelled' AND values_opened = 0"), 1, 'so is the one that was cancelled');
is($node->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the chain holds');

$node->stop;
done_testing();
