# If this fails, a cluster that Patroni keeps loses protected values, or its readers, when
# the leader dies while it is written to.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

for my $program (qw(patroni etcd))
{
	plan skip_all => "$program is not installed" if system("command -v $program >/dev/null 2>&1") != 0;
}

my $work = PostgreSQL::Test::Utils::tempdir();
my $bin = qx("$ENV{PG_CONFIG}" --bindir);
chomp $bin;
my @port = map { PostgreSQL::Test::Cluster::get_free_port() } 1 .. 8;
my $user = getpwuid($>);
mkdir "$work/kms", 0700 or die;
create_key_file("$work/kms/root.key");
append_to_file("$work/pgpass", "*:*:*:*:none\n");
chmod 0600, "$work/pgpass";

my @running;
sub start_program { my ($log, @command) = @_; my $h = IPC::Run::start(\@command, '<', \undef, '>', "$work/$log.log", '2>', "$work/$log.err"); push @running, $h; return $h; }
END { local $?; $_->kill_kill(grace => 30) for reverse @running; }

start_program('etcd', 'etcd', '--data-dir', "$work/etcd", '--enable-v2=false', '--listen-client-urls', "http://127.0.0.1:$port[0]", '--advertise-client-urls', "http://127.0.0.1:$port[0]",
	'--listen-peer-urls', "http://127.0.0.1:$port[1]", '--initial-advertise-peer-urls', "http://127.0.0.1:$port[1]", '--initial-cluster', "default=http://127.0.0.1:$port[1]");

my @member = map { { name => "n$_", pg => $port[ 1 + $_ ], rest => $port[ 4 + $_ ] } } 1 .. 3;
for my $m (@member)
{
	$m->{dir} = "$work/$m->{name}";
	mkdir $m->{dir} or die;
	append_to_file("$m->{dir}.yml", <<YML);
scope: dp
name: $m->{name}
etcd3: {host: "127.0.0.1:$port[0]"}
restapi: {listen: "127.0.0.1:$m->{rest}", connect_address: "127.0.0.1:$m->{rest}"}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 5
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters: {shared_preload_libraries: dataprotect, wal_log_hints: "on", max_worker_processes: 16, max_connections: 50,
        dataprotect.kms_allowed: "file://$work/kms/*", dataprotect.default_kms_uri: "file://$work/kms/root.key"}
  initdb: [{encoding: UTF8}, {locale: C.UTF-8}, data-checksums]
  pg_hba: ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
postgresql:
  listen: "127.0.0.1:$m->{pg}"
  connect_address: "127.0.0.1:$m->{pg}"
  data_dir: $m->{dir}/data
  bin_dir: $bin
  pgpass: $m->{dir}/pgpass
  authentication: {superuser: {username: postgres}, replication: {username: postgres}, rewind: {username: postgres}}
  parameters: {unix_socket_directories: "$m->{dir}"}
YML
	$m->{run} = start_program($m->{name}, 'patroni', "$m->{dir}.yml");
}

sub ask
{
	my ($m, $sql, $role) = @_;
	my ($out, $err) = ('', '');
	my $ok = IPC::Run::run([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-h', '127.0.0.1', '-p', $m->{pg}, '-U', $role || 'postgres', '-d', 'postgres', '-c', $sql ],
		'<', \undef, '>', \$out, '2>', \$err);
	chomp $out;
	return $ok ? $out : "error: $err";
}
sub leader { return (grep { ask($_, 'SELECT pg_is_in_recovery()') eq 'f' } @_)[0]; }

my $leader;
ok(poll_until('a leader', sub { $leader = leader(@member) }), 'Patroni makes a leader') or BAIL_OUT(slurp_file("$work/n1.err"));
ok(poll_until('synchronous standby', sub { ask($leader, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") eq '1'
			&& ask($leader, 'SELECT count(*) FROM pg_stat_replication') eq '2' }), 'and two standbys, of which one is synchronous');
like(ask($leader, $_), qr/^(?!error)/, 'set up') for 'CREATE EXTENSION dataprotect', "SELECT dataprotect.create_key('pii')", 'CREATE ROLE app LOGIN',
  "SELECT dataprotect.grant_access('pii', 'app', 'reveal')", "CREATE TABLE person (id serial PRIMARY KEY, mail encrypted_text('pii', 'searchable')); GRANT ALL ON person, person_id_seq TO app";

# It is written to when it is killed.
my ($written, $killed) = (0, 0);
my $deadline = time + 180;
my $old = $leader;
while (time < $deadline)
{
	my $m = $killed ? leader(grep { $_ != $old } @member) : $leader;
	my $answer = defined $m ? ask($m, "INSERT INTO person (mail) VALUES ('needle' || " . ($written + 1) . ')', 'app') : 'error';
	$written++ if $answer eq '';
	last if $killed && $written >= $killed + 20;
	if (!$killed && $written >= 20)
	{
		$killed = $written;
		my ($postmaster) = split /\n/, slurp_file("$old->{dir}/data/postmaster.pid");
		$old->{run}->signal('KILL');
		kill 'KILL', $postmaster;
	}
}
cmp_ok($written, '>=', $killed + 20, 'another leader takes over and is written to');
$leader = leader(grep { $_ != $old } @member);
is(ask($leader, "SELECT count(DISTINCT mail::text) >= $written FROM person", 'app'), 't', 'every row that was confirmed is there and readable');
my ($standby) = grep { $_ != $old && $_ != $leader } @member;
ok(poll_until('the standby follows', sub { ask($standby, 'SELECT count(mail::text) FROM person', 'app') eq ask($leader, 'SELECT count(*) FROM person', 'app') }), 'the standby reads it as well');
is(ask($leader, 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the audit chain is whole');
is(ask($leader, 'SELECT count(*) FROM dataprotect.verify_policy()'), '0', 'and the policy');

# The one that was killed comes back.
$old->{run} = start_program("$old->{name}-again", 'patroni', "$old->{dir}.yml");
ok(poll_until('the old leader comes back', sub { ask($old, 'SELECT pg_is_in_recovery()') eq 't'
			&& ask($old, 'SELECT count(mail::text) FROM person', 'app') eq ask($leader, 'SELECT count(*) FROM person', 'app') }), 'the old leader comes back as a standby and reads');
done_testing();
