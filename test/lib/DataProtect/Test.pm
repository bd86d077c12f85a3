package DataProtect::Test;

=head1 NAME

DataProtect::Test - throw-away servers with dataprotect for TAP tests

=head1 SYNOPSIS

	use lib "$FindBin::RealBin/../lib";
	use DataProtect::Test;
	use Test::More;

	my $node = new_node('main');
	create_extension($node);
	$node->safe_psql('postgres', "SELECT dataprotect.create_key('pii')");

Every server lives in a folder of its own, has shared_preload_libraries =
'dataprotect', a file:// root key outside its data directory, and that key as
dataprotect.default_kms_uri.  Nothing here sleeps for a fixed time: waits poll
with a deadline.

=cut

use strict;
use warnings;

use Exporter 'import';
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use File::Find ();
use File::Path qw(make_path);
use File::Spec;
use IO::Socket::INET ();
use IPC::Run ();
use Time::HiRes qw(sleep time);

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(
  new_node
  create_extension
  create_key_file
  kms_dir
  kms_uri
  load_company
  load_pagila
  have_pagila
  patience
  poll_until
  poll_sql
  kill9_node
  kill9_process
  key_agents
  start_at
  have_faketime
  have_moto
  start_moto
  stop_moto
  files_with
  psql_fails
  sqlstate_of
  TIMEOUT
);

# Deadline of every wait, in seconds; never how long a passing test takes.
use constant TIMEOUT => $ENV{PG_TEST_TIMEOUT_DEFAULT} || 180;

# Every moto that was started, so that none outlives its test.
my @motos;

my $top = File::Spec->rel2abs(dirname(__FILE__) . '/../../..');

=head1 FUNCTIONS

=head2 new_node($name, %options)

A running server.  Options: conf (text appended to postgresql.conf), preload
(0: without shared_preload_libraries), start (0: configured, not started),
init (array of parameters of PostgreSQL::Test::Cluster's init()), install_path
(folder with bin and lib of another PostgreSQL).

=cut

sub new_node
{
	my ($name, %opt) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, $opt{install_path} ? (install_path => $opt{install_path}) : ());

	$node->init(@{ $opt{init} || [] });
	create_key_file(kms_dir($node) . '/root.key');
	if (!exists $opt{preload} || $opt{preload})
	{
		$node->append_conf('postgresql.conf', sprintf(<<'CONF', kms_dir($node), kms_uri($node)));
shared_preload_libraries = 'dataprotect'
# a test server has few connections, and so few locks: DROP EXTENSION locks each member
max_locks_per_transaction = 256
dataprotect.kms_allowed = 'file://%s/*'
dataprotect.default_kms_uri = '%s'
# tests ask for the types that are stored; test/tap/141 for those that clients find
dataprotect.catalog_types = encrypted
dataprotect.worker_naptime = 1s
CONF
	}
	$node->append_conf('postgresql.conf', $opt{conf}) if defined $opt{conf};
	$node->start if !exists $opt{start} || $opt{start};
	return $node;
}

=head2 create_extension($node, $database)

CREATE EXTENSION in a database ("postgres" by default).

=cut

sub create_extension
{
	my ($node, $database) = @_;
	$node->safe_psql($database || 'postgres', 'CREATE EXTENSION dataprotect');
	return;
}

=head2 kms_dir($node), kms_uri($node), create_key_file($path)

The folder of a node's file:// keys, the URI of its first key, and a way to
make another: 32 random bytes, mode 0600.

=cut

sub kms_dir
{
	my ($node) = @_;
	my $dir = $node->basedir . '/kms';
	make_path($dir, { mode => 0700 }) if !-d $dir;
	return $dir;
}

sub kms_uri
{
	my ($node, $file) = @_;
	return 'file://' . kms_dir($node) . '/' . ($file || 'root.key');
}

sub create_key_file
{
	my ($path) = @_;
	my $mask = umask 0077;
	system('openssl', 'rand', '-out', $path, '32') == 0
	  or die "could not make key file \"$path\"";
	umask $mask;
	chmod 0600, $path or die "could not chmod \"$path\": $!";
	return $path;
}

=head2 load_company($node, $database), load_pagila($node, $database)

Load the small company of test/data, or the Pagila database where
have_pagila() says that it lies beside the project.  Both create the database
where it is not there.

=cut

sub load_company
{
	my ($node, $database) = @_;
	_create_database($node, $database);
	$node->psql_checked_file($database, "$top/test/data/company.sql");
	return;
}

sub _pagila_dir
{
	for my $dir ($ENV{DP_PAGILA} || (), "$top/../shared/data")
	{
		return $dir if -r "$dir/pagila-schema.sql" && -r "$dir/pagila-data.sql";
	}
	return;
}

sub have_pagila
{
	return defined _pagila_dir() ? 1 : 0;
}

# Pagila was written for PostgreSQL 17: on older ones a setting and a view fail
# to load.  What counts is that the rows arrived.
sub load_pagila
{
	my ($node, $database) = @_;
	my $dir = _pagila_dir() or die "Pagila is not there";
	_create_database($node, $database);
	for my $file ('pagila-schema.sql', 'pagila-data.sql')
	{
		_run_file($node, $database, "$dir/$file", 0);
	}
	my $rows = $node->safe_psql($database,
		'SELECT (SELECT count(*) FROM public.customer), (SELECT count(*) FROM public.payment)');
	die "Pagila did not load: $rows" if $rows ne '599|16044' && $rows ne '599|16049';
	return;
}

sub _create_database
{
	my ($node, $database) = @_;
	my $there = $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_catalog.pg_database WHERE datname = '$database'");
	$node->safe_psql('postgres', "CREATE DATABASE $database") if !$there;
	return;
}

sub _run_file
{
	my ($node, $database, $file, $stop) = @_;
	my ($out, $err) = ('', '');
	my @command = ('psql', '-X', '-q', '-v', "ON_ERROR_STOP=$stop",
		'-d', $node->connstr($database), '-f', $file);
	my $ok = IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err);
	die "could not load \"$file\":\n$err" if $stop && !$ok;
	return;
}

# Run a file in which nothing may fail; a method, so that tests can use it for
# files of their own.
sub PostgreSQL::Test::Cluster::psql_checked_file
{
	my ($node, $database, $file) = @_;
	_run_file($node, $database, $file, 1);
	return;
}

=head2 poll_until($what, $code, $seconds), poll_sql($node, $database, $sql, $wanted)

Wait until the code returns true, or the query the wanted text ("t" by
default).  After the deadline, or that many seconds where it is said to take
longer, the test fails under the name $what; the return value says which it was.

=head2 patience($seconds)

A function that is true until it has been called for that long: time in which the test
itself did not run, on a machine that stood still or whose clock was set, counts little.

=cut

sub patience
{
	my ($left) = @_;
	my $last = time;
	return sub {
		my $passed = time - $last;
		$last += $passed;
		$left -= $passed < 0 ? 0 : $passed > 10 ? 10 : $passed;
		return $left > 0;
	};
}

sub poll_until
{
	my ($what, $code, $seconds) = @_;
	my $goes_on = patience($seconds || TIMEOUT);
	while (1)
	{
		return 1 if $code->();
		last if !$goes_on->();
		sleep 0.1;
	}
	fail("timed out waiting for: $what");
	return 0;
}

sub poll_sql
{
	my ($node, $database, $sql, $wanted) = @_;
	$wanted = 't' if !defined $wanted;
	my ($last, $last_err) = ('', '');
	my $ok = poll_until(
		$sql,
		sub {
			my ($rc, $out, $err) = $node->psql($database, $sql);
			($last, $last_err) = ($out, $err);
			return defined $rc && $rc == 0 && $out eq $wanted;
		});
	diag("wanted \"$wanted\", last seen \"$last\" $last_err") if !$ok;
	return $ok;
}

=head2 kill9_node($node)

SIGKILL for every process of a server, children first seen, so that no
process of it runs any shutdown code; the node counts as stopped afterwards.

=cut

sub kill9_node
{
	my ($node) = @_;
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	my @pids = ($postmaster, _children_of($postmaster));

	kill 'STOP', $postmaster;	# no new child while we look
	@pids = ($postmaster, _children_of($postmaster));
	kill 'KILL', @pids;
	poll_until('server processes to be dead', sub { return !grep { _alive($_) } @pids });

	# A corpse that init has not collected yet looks like a running server to
	# the next one; its lock files are then taken away as an administrator
	# would.
	my $deadline = time + 5;
	sleep 0.05 while time < $deadline && grep { -e "/proc/$_" } @pids;
	if (-e "/proc/$postmaster")
	{
		unlink $node->data_dir . '/postmaster.pid', $node->host . '/.s.PGSQL.' . $node->port . '.lock';
	}
	$node->{_pid} = undef;
	return;
}

sub _children_of
{
	my ($parent) = @_;
	my @children;
	for my $stat (glob '/proc/[0-9]*/stat')
	{
		open(my $fh, '<', $stat) or next;
		my $line = <$fh>;
		close $fh;
		next if !defined $line;
		push @children, $1 if $line =~ /^(\d+) \(.*\) \S (\d+) /s && $2 == $parent;
	}
	return @children;
}

# A zombie that nobody has waited for yet is as dead as it gets.
sub _alive
{
	my ($pid) = @_;
	open(my $fh, '<', "/proc/$pid/stat") or return 0;
	my $line = <$fh>;
	close $fh;
	return defined $line && $line =~ /^\d+ \(.*\) ([A-Z])/s && $1 ne 'Z';
}

=head2 kill9_process($node, $find)

SIGKILL for one process of a server that starts anew by itself: returns once it has,
since before that sessions may still be let in, and are ended then.  $find gives the
process; it is asked again where that has gone meanwhile.

=cut

sub kill9_process
{
	my ($node, $find) = @_;
	my $offset = -s $node->logfile;
	poll_until('a process to kill', sub { my $pid = $find->(); return $pid && kill('KILL', $pid) == 1 });
	poll_until('the server to start anew',
		sub { return slurp_file($node->logfile, $offset) =~ /database system is ready to accept connections/ });
	return;
}

=head2 key_agents($node)

The processes that are a server's key agent (they have no row in
pg_stat_activity, since they are connected to no database).

=cut

sub key_agents
{
	my ($node) = @_;
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	return grep {
		open(my $fh, '<', "/proc/$_/cmdline");
		defined $fh && (readline($fh) || '') =~ /dataprotect key agent/
	} _children_of($postmaster);
}

=head2 start_at($node, $offset, %opt), have_faketime()

Start a stopped server with its wall clock moved ("+31d", "-2d", "40s"); its monotonic
clock, and the test's own, stay (test/clock/wall_clock.c).  An administrator then
confirms the clock in every database that has the extension, unless
confirm => 0.  have_faketime is always true.

=cut

sub have_faketime
{
	return 1;
}

sub start_at
{
	my ($node, $offset, %opt) = @_;
	my ($number, $unit) = $offset =~ /^([+-]?\d+)([ds])$/ or die "start_at: $offset is no number of days or seconds";
	my $library = $node->basedir . '/wall_clock.so';
	if (!-e $library)
	{
		my $source = dirname(abs_path(__FILE__)) . '/../../clock/wall_clock.c';
		system(split(' ', $ENV{CC} || 'cc'), '-shared', '-fPIC', '-o', $library, $source, '-ldl') == 0
		  or die 'could not build wall_clock.so';
	}
	{
		local $ENV{LD_PRELOAD} = join ':', grep { defined && length } $library, $ENV{LD_PRELOAD};
		local $ENV{DP_WALL_CLOCK_SECONDS} = $number * ($unit eq 'd' ? 24 * 60 * 60 : 1);
		$node->start;
	}
	return if exists $opt{confirm} && !$opt{confirm};
	for my $database (split /\n/, $node->safe_psql('postgres', 'SELECT datname FROM pg_database WHERE datallowconn'))
	{
		$node->safe_psql($database, "SELECT dataprotect.confirm_clock('the test moved it')")
		  if $node->safe_psql($database, "SELECT count(*) FROM pg_extension WHERE extname = 'dataprotect'");
	}
	return;
}

=head2 have_moto(), start_moto($port, @options), stop_moto($moto)

A moto server, which speaks Amazon's KMS, S3 and STS protocols, on a loopback
port (a free one where none is asked for): from the machine's own moto_server,
or from the Debian root in $DP_MOTO_ROOT (pgxs/roots.sh makes it), whose Python
is run as it lies there, without privileges.  start_moto returns a hash with
port and endpoint once it answers; stop_moto kills it.  Its memory of keys dies
with it.

=cut

sub _moto_command
{
	my $root = $ENV{DP_MOTO_ROOT} || '';
	if ($root ne '' && -e "$root/usr/bin/moto_server")
	{
		my ($loader) = glob "$root/usr/lib*/ld-linux*.so.?";
		my ($libc) = glob "$root/usr/lib/*/libc.so.6";
		return if !$loader || !$libc;
		return ('env', "PYTHONHOME=$root/usr", 'PYTHONDONTWRITEBYTECODE=1', $loader,
			'--library-path', dirname($libc), "$root/usr/bin/python3", "$root/usr/bin/moto_server");
	}
	my ($program) = grep { -x } map { "$_/moto_server" } split /:/, $ENV{PATH};
	return defined $program ? ($program) : ();
}

sub have_moto
{
	my @command = _moto_command();
	return @command ? 1 : 0;
}

sub start_moto
{
	my ($port, @options) = @_;
	my @command = _moto_command() or die 'moto is not there';
	$port = PostgreSQL::Test::Cluster::get_free_port() if !$port;
	my $moto = { port => $port, endpoint => "http://127.0.0.1:$port", log => '' };
	$moto->{process} = IPC::Run::start([ @command, '-H', '127.0.0.1', '-p', $port, @options ],
		'<', \undef, '>&', \$moto->{log});
	push @motos, $moto;
	poll_until(
		"moto on port $port",
		sub {
			return IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Proto => 'tcp') ? 1 : 0;
		}) or die $moto->{log};
	return $moto;
}

sub stop_moto
{
	my ($moto) = @_;
	return if !$moto->{process};
	$moto->{process}->kill_kill(grace => 0);
	delete $moto->{process};
	return;
}

END
{
	my $status = $?;
	stop_moto($_) for @motos;
	$? = $status;
}

=head2 files_with($dir, $bytes)

The files under a folder that contain these bytes anywhere.

=cut

sub files_with
{
	my ($dir, $bytes) = @_;
	my @found;
	my $look = sub {
		my $path = $File::Find::name;
		return if !-f $path || !-s $path;
		open(my $fh, '<:raw', $path) or die "could not open \"$path\": $!";
		my ($tail, $block) = ('', '');
		while (read($fh, $block, 1 << 20))
		{
			$block = $tail . $block;
			if (index($block, $bytes) >= 0)
			{
				push @found, $path;
				last;
			}
			my $keep = length($bytes) - 1;
			$tail = $keep > 0 ? substr($block, -$keep) : '';
		}
		close $fh;
		return;
	};
	File::Find::find({ wanted => $look, no_chdir => 1 }, $dir);
	return @found;
}

=head2 psql_fails($node, $database, $sql, $pattern, $test_name), sqlstate_of($node, $database, $sql)

A test that a statement fails with an error that matches the pattern; and the
SQLSTATE of a statement ("00000" where it succeeds).

=cut

sub psql_fails
{
	my ($node, $database, $sql, $pattern, $test_name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($rc, $out, $err) = $node->psql($database, $sql);
	return fail("$test_name: the statement succeeded") if $rc == 0;
	return like($err, $pattern, $test_name);
}

sub sqlstate_of
{
	my ($node, $database, $sql) = @_;
	my ($rc, $out, $err) = $node->psql($database, "\\set VERBOSITY sqlstate\n$sql",
		extra_params => ['-v', 'ON_ERROR_STOP=1']);
	return '00000' if $rc == 0;
	return $err =~ /(?:ERROR|FATAL):\s+([0-9A-Z]{5})/ ? $1 : "unknown: $err";
}

1;
