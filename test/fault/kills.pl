# If this fails, a server that was killed at some commit of a background act does not
# bring the act to its end, does it twice, or loses a value, a key or a record of the
# log.  See README.md here.
use strict;
use warnings;

use Fcntl;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

use DataProtect::Test;

my $most = $ENV{DP_FAULT_COMMITS};	# commits of an act that are tried; all of them
my $rows = 60;

my $node = new_node('kills', start => 0, conf => "autovacuum = off\nrestart_after_crash = on\nlog_error_verbosity = verbose\n");
my $sink_dir = $node->basedir . '/sink';
mkdir $sink_dir, 0700;
$node->append_conf('postgresql.conf', "dataprotect.sinks_allowed = 'file://$sink_dir'\ndataprotect.digest_interval = 1s\n");
my $control = $node->basedir . '/commits';
sub arm
{
	my ($left, $after) = @_;
	sysopen my $file, $control, O_RDWR | O_CREAT or die "$control: $!";
	syswrite $file, pack('LL', $left, $after);
	close $file;
	return;
}
sub left { return (unpack 'LLL', slurp_file($control))[0]; }
append_to_file($control, pack 'LLL', 0, 0, 0);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'dataprotect,$ENV{DP_COMMITS_MODULE}'\n");
{
	local $ENV{DP_COMMITS_FILE} = $control;
	$node->start;
}
create_extension($node);

# undef where the server is not there, or says no: then $said is what it, or psql, said
my $said = '';
sub try
{
	my ($rc, $out, $err) = eval { $node->psql('postgres', $_[0]) };
	return $out if defined $rc && $rc == 0;
	$said = $err // $@;
	return;
}
sub sql { return $node->safe_psql('postgres', $_[0]); }

sql(<<SQL);
SELECT dataprotect.create_key('pii', mask => 'email'), dataprotect.grant_access('pii', current_user::regrole, 'reveal');
CREATE TABLE person (id int PRIMARY KEY, email encrypted_text('pii', 'searchable'), o encrypted_int4('pii', 'ordered'));
INSERT INTO person SELECT g, 'mail' || g, g FROM generate_series(1, $rows) g;
CREATE UNIQUE INDEX person_email ON person (email encrypted_text_token_ops);
CREATE INDEX person_o ON person (o);
CREATE TABLE later AS SELECT g AS id, 'later' || g AS v FROM generate_series(1, $rows) g;
CREATE INDEX later_v ON later (v);
CREATE TABLE passing (id int, v text);
INSERT INTO passing VALUES (1, 'one');
CREATE TABLE account (id int PRIMARY KEY, email encrypted_text('pii'));
SELECT dataprotect.create_account_type('account', 'account', 'id', '0 s'), dataprotect.bind_subject('account', 'account', 'id');
INSERT INTO account SELECT g, 'account' || g FROM generate_series(1, 400) g;
CREATE TABLE entry (id int PRIMARY KEY, at timestamptz NOT NULL);
CREATE INDEX ON entry (at);
INSERT INTO entry SELECT g, now() FROM generate_series(1, $rows) g;
SELECT dataprotect.create_retention_policy('entry', 'entry', 'at', '1 day', 'delete'), dataprotect.activate_retention('entry');
ALTER DATABASE postgres SET dataprotect.retention_batch_size = 20;
DO \$\$ BEGIN EXECUTE format('GRANT dataprotect_auditor TO %I', current_user); END \$\$;
SELECT dataprotect.create_sink('files', 'file://$sink_dir');
SQL
my $account = 400;	# those up to here are there

# A key that keeps its values for a day, a value, and three days.
my $days = 0;
sub let_days_pass
{
	my ($run) = @_;
	sql("SELECT dataprotect.pause_retention('entry')") if $days == 0;
	sql("SELECT dataprotect.create_key('brief$run', keep => '1 day', rotation_period => '1 hour'), dataprotect.grant_access('brief$run', current_user::regrole, 'reveal'); CREATE TABLE brief$run (v encrypted_text('brief$run')); INSERT INTO brief$run VALUES ('x')");
	$node->stop;
	$days += 3;
	{
		local $ENV{DP_COMMITS_FILE} = $control;
		start_at($node, "${days}d");
	}
	sql('UPDATE entry SET at = now()');
	return;
}

# Statements that show values, in one session: how many of them were answered.
my ($reads, $answered) = (40, 0);
sub read_values
{
	my ($run) = @_;
	my ($out, $err) = ('', '');
	my $script = "SET dataprotect.purpose = 'run $run';\n" . "SELECT email FROM person WHERE id = 7;\n" x $reads;
	IPC::Run::run([ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, 'postgres' ], '<', \$script, '>', \$out, '2>', \$err);
	$answered = () = $out =~ /^mail7$/mg;
	return;
}

# The sequence numbers that have left by the sink, in the order of the files.
sub sent
{
	return map { /"sequence":(\d+)/ ? $1 : () } map { split /\n/, slurp_file($_) } sort glob "$sink_dir/*.jsonl";
}

# Everybody who was killed is past: the server started anew after each.
sub restarted
{
	my $starts = () = slurp_file($node->logfile) =~ /database system is ready to accept connections/g;
	return $starts > (unpack 'LLL', slurp_file($control))[2];
}

# Whatever happened: values, rows and keys are what they were.
sub sound
{
	return try(<<"SQL");
SET client_min_messages = warning;
SELECT (SELECT count(*) FILTER (WHERE email::text = 'mail' || id AND o::int4 = id) FROM person),
	(SELECT count(*) FROM person WHERE email = 'mail7'),
	(SELECT count(*) FILTER (WHERE v::text = 'later' || id) FROM later),
	(SELECT count(*) FILTER (WHERE email::text = 'account' || id) FROM account),
	(SELECT count(*) FROM entry WHERE at > now() - interval '12 hours'),
	(SELECT count(*) FROM dataprotect.verify_policy()),
	(SELECT ok FROM dataprotect.verify_audit_log())
SQL
}
sub wanted { return join '|', $rows, 1, $rows, $account, $rows, 0, 't'; }

# name, statements before it, the act, what brings it to its end, and whether it is there
my @acts = (
	[ 'rotation and reencrypt', sub { return }, sub { return "SELECT dataprotect.rotate_key('pii'); CALL dataprotect.reencrypt('person')" },
		"CALL dataprotect.reencrypt('person')", 'SELECT true' ],
	[ 'a new key', sub { return }, sub { return "SELECT dataprotect.create_key('k$_[0]')" },
		sub { return "SELECT dataprotect.create_key('k$_[0]') WHERE NOT EXISTS (SELECT FROM dataprotect.keys WHERE name = 'k$_[0]')" },
		sub { return "SELECT 'x'::encrypted_text('k$_[0]') IS NOT NULL" } ],
	[ 'new accounts', sub { return },
		sub { my $from = $account + 1; return "INSERT INTO account SELECT g, 'account' || g FROM generate_series($from, $from + 2) g" },
		sub { my $from = $account + 1; return "INSERT INTO account SELECT g, 'account' || g FROM generate_series($from, $from + 2) g ON CONFLICT DO NOTHING" },
		sub { return 'SELECT count(*) = ' . ($account + 3) . ' FROM account' }, sub { $account += 3 } ],
	[ 'protecting and taking back', sub { return },
		sub { return "CALL dataprotect.encrypt_column('later', 'v', 'pii'); CALL dataprotect.decrypt_column('later', 'v')" },
		q{DO $$ BEGIN IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'later'::regclass AND attname = 'v' AND atttypid = 'encrypted_text'::regtype) THEN CALL dataprotect.decrypt_column('later', 'v'); END IF; END $$},
		q{SELECT atttypid = 'text'::regtype FROM pg_attribute WHERE attrelid = 'later'::regclass AND attname = 'v'} ],
	[ 'protecting online', sub { return }, sub { return "CALL dataprotect.encrypt_column('later', 'v', 'pii', online => true)" },
		"CALL dataprotect.encrypt_column('later', 'v', 'pii', online => true)",
		q{SELECT atttypid = 'encrypted_text'::regtype AND (SELECT count(*) = 1 AND bool_and(i.indisvalid AND i.indisready) FROM pg_index i WHERE i.indrelid = a.attrelid)
			FROM pg_attribute a WHERE attrelid = 'later'::regclass AND attname = 'v'},
		sub { sql("CALL dataprotect.decrypt_column('later', 'v')") } ],
	[ 'retention', sub { sql("INSERT INTO entry SELECT 1000 + g, now() - interval '3 days' FROM generate_series(1, 50) g") },
		sub { return 'CALL dataprotect.run_retention()' }, 'CALL dataprotect.run_retention()', 'SELECT count(*) = ' . $rows . ' FROM entry' ],
	[ 'a deletion', sub { return },
		sub { return "SELECT dataprotect.request_deletion('account', '$account'); CALL dataprotect.run_deletions()" },
		sub { return "SELECT dataprotect.request_deletion('account', '$account') WHERE NOT EXISTS (SELECT FROM dataprotect.deletion_requests WHERE account_id = '$account'); CALL dataprotect.run_deletions()" },
		sub { return "SELECT count(*) = 1 FROM dataprotect.deletion_requests WHERE account_id = '$account' AND state = 'certified'" },
		sub { $account-- } ],
	[ 'reencrypt by the worker', sub { sql("SELECT dataprotect.rotate_key('pii')") },
		sub { return "CALL dataprotect.reencrypt('person', background => true)" },
		q{DO $$ BEGIN IF NOT EXISTS (SELECT FROM dataprotect.reencrypt_progress WHERE rel = 'person'::regclass AND finished_at IS NULL) THEN CALL dataprotect.reencrypt('person', background => true); END IF; END $$},
		q{SELECT count(*) = 0 FROM dataprotect.verify('person') v JOIN dataprotect.keys k ON k.name = v.key WHERE v.version <> k.current_version} ],
	[ 'records on their way into the log', sub { return }, sub { read_values($_[0]); return "SELECT dataprotect.flush_audit_log('180 s')" }, "SELECT dataprotect.flush_audit_log('180 s')",
		sub { return "SELECT count(*) BETWEEN $answered AND $reads AND count(*) = count(DISTINCT seq) FROM dataprotect.audit_log WHERE purpose = 'run $_[0]' AND event = 'value.revealed'" } ],
	[ 'records on their way to a sink', sub { return }, sub { read_values($_[0]); return "SELECT dataprotect.flush_audit_log('180 s')" }, "SELECT dataprotect.flush_audit_log('180 s')",
		sub { return "SELECT cursor >= (SELECT coalesce(max(seq), 0) FROM dataprotect.audit_log WHERE purpose = 'run $_[0]') FROM dataprotect.sinks WHERE name = 'files'" } ],
	[ 'destroying a key', sub { sql("SELECT dataprotect.create_key('gone$_[0]')") }, sub { return "SELECT dataprotect.suspend_key('gone$_[0]', 'x'); SELECT dataprotect.destroy_key('gone$_[0]', 'x')" },
		sub { return "DO \$\$ BEGIN IF (SELECT state FROM dataprotect.keys WHERE name = 'gone$_[0]') = 'active' THEN PERFORM dataprotect.suspend_key('gone$_[0]', 'x'); END IF; IF (SELECT state FROM dataprotect.keys WHERE name = 'gone$_[0]') <> 'destroyed' THEN PERFORM dataprotect.destroy_key('gone$_[0]', 'x'); END IF; END \$\$" },
		sub { return "SELECT state = 'destroyed' FROM dataprotect.keys WHERE name = 'gone$_[0]'" } ],
	[ 'other system keys', sub { return }, sub { return 'SELECT count(*) FROM dataprotect.rotate_system_keys()' }, 'SELECT count(*) FROM dataprotect.rotate_system_keys()',
		"SELECT (SELECT count(*) FROM dataprotect.key_versions WHERE name = 'system' AND state <> 'retired') = 5 AND (SELECT count(*) FROM dataprotect.verify_policy()) = 0 AND (SELECT count(*) > 0 FROM dataprotect.audit_link)" ],
	[ 'wrapping anew', sub { return }, sub { return "SELECT dataprotect.rewrap_key('pii', (SELECT kms_uri FROM dataprotect.keys WHERE name = 'pii'))" },
		"SELECT dataprotect.rewrap_key('pii', (SELECT kms_uri FROM dataprotect.keys WHERE name = 'pii'))", 'SELECT bool_and(ok) FROM dataprotect.drill()' ],
	[ 'modifiers that nobody uses', sub { sql("CREATE TABLE m (v encrypted_text('pii', '(" . (1000 + $_[0]) . ")')); DROP TABLE m") },
		sub { return 'SELECT dataprotect._collect_modifiers()' }, 'SELECT dataprotect._collect_modifiers()',
		sub { return "SELECT count(*) = 0 FROM dataprotect.type_modifier WHERE definition LIKE '%" . (1000 + $_[0]) . "%'" } ],
	[ 'an epoch', sub { return }, sub { return q{SELECT dataprotect.roll_epoch('x', backups => false); SELECT dataprotect.run_epochs()} },
		'SELECT dataprotect.run_epochs()',
		q{SELECT count(*) FILTER (WHERE state = 'active') = 1 AND count(*) FILTER (WHERE state NOT IN ('active', 'destroyed')) = 0 FROM dataprotect.epochs} ],
	# the last one: days pass
	[ 'versions whose time is over', sub { let_days_pass($_[0]) }, sub { return 'SELECT dataprotect._expire_versions()' }, 'SELECT dataprotect._expire_versions()',
		sub { return "SELECT (SELECT state = 'destroyed' FROM dataprotect.key_versions WHERE name = 'brief$_[0]' AND version = 1) AND (SELECT v::text IS NULL OR v::text = '****' FROM brief$_[0])" } ],
);

sub text_of { my ($what, @args) = @_; return ref $what ? $what->(@args) : $what; }

my $run = 0;
my $killed = 0;
my $many = 1_000_000;
for my $act (grep { !$ENV{DP_FAULT_ONLY} || $_->[0] =~ /$ENV{DP_FAULT_ONLY}/ } @acts)
{
	my ($name, $before, $do, $finish, $done, $after) = @$act;
	my (@wrong, $n_killed, $commits);
	for my $late (0, 1)
	{
		# At first undisturbed, to count; workers commit on their own as well, so
		# that a run may have some more or fewer than that.
		for (my $n = 0; $n <= ($commits // 0); $n++)
		{
			$run++;
			$before->($run);
			arm($n || $many, $late);
			try($_) for split /; (?=CALL|SELECT)/, text_of($do, $run);
			my $reached = 0;
			my $goes_on = patience($ENV{DP_FAULT_DEADLINE} || 180);
			my $ended = '';
			while ($goes_on->())
			{
				$reached ||= left() == 0;
				try($_) for split /; (?=CALL|SELECT)/, text_of($finish, $run);
				$ended = try(text_of($done, $run)) // '';
				last if $ended eq 't';
				sleep($ended eq '' ? 1 : 0.1);
			}
			$reached ||= left() == 0;
			$commits //= $many - left();
			$commits = $most if $most && $commits > $most;
			arm(0, 0);
			push @wrong, "$name, killed " . ($late ? 'after' : 'before') . " commit $n: does not come to its end ($ended), at last $said" if $ended ne 't';
			$after->() if $after;
			# A kill may have come just now.
			my $found;
			$goes_on = patience($ENV{DP_FAULT_DEADLINE} || 180);
			sleep 0.1 while !(restarted() && defined($found = sound())) && $goes_on->();
			$found //= "no answer ($said)";
			push @wrong, "$name, killed " . ($late ? 'after' : 'before') . " commit $n: $found, not " . wanted() if $found ne wanted();
			$n_killed += $reached;
		}
	}
	is(join("\n", @wrong), '', "$name: killed $n_killed times, before and after each of $commits commits, and comes to its end each time");
	$killed += $n_killed;
}
cmp_ok($killed, '>', 0, 'the server was killed');
poll_sql($node, 'postgres', "SELECT dataprotect.flush_audit_log('180 s')", 't');
is(sql('SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the log is whole');
poll_sql($node, 'postgres', q{SELECT s.cursor >= (SELECT max(seq) FROM dataprotect.audit_log WHERE event = 'value.revealed') FROM dataprotect.sinks s}, 't');
my %sent = map { $_ => 1 } sent();
my @seqs = split /\n/, sql("SELECT seq FROM dataprotect.audit_log WHERE event = 'value.revealed' AND seq <= (SELECT cursor FROM dataprotect.sinks)");
cmp_ok(scalar(@seqs), '>', 0, 'values were shown');
is(join(' ', grep { !$sent{$_} } @seqs), '', 'and each record of it has left by the sink');
is(join("\n", grep { /PANIC|TRAP:|signal (?:6|11):|XX000/ } split /\n/, slurp_file($node->logfile)), '', 'nothing else went wrong');
$node->stop;
done_testing();
