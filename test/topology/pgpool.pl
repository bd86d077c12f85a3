# If this fails, an application behind pgpool-II reads protected values as another role
# than its own, does not read them on the standby that pgpool sends it to, or goes on
# reading after its right was taken away.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my ($pgpool) = grep { -x } qw(/usr/sbin/pgpool /usr/bin/pgpool);
plan skip_all => 'pgpool is not installed' if !$pgpool;

my $primary = new_node('primary', init => [ allows_streaming => 1 ]);
create_extension($primary);
$primary->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii', mask => 'email');
CREATE ROLE app LOGIN;
CREATE ROLE support LOGIN;
CREATE ROLE nobody LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
SELECT dataprotect.grant_access('pii', 'support', 'mask');
CREATE TABLE person (id int PRIMARY KEY, mail encrypted_text('pii', 'searchable'));
CREATE INDEX ON person (mail encrypted_text_token_ops);
GRANT SELECT, INSERT, UPDATE ON person TO app, support, nobody;
INSERT INTO person SELECT g, 'm' || g || '@example.org' FROM generate_series(1, 50) g;
SQL
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $work = PostgreSQL::Test::Utils::tempdir();
my $user = $primary->safe_psql('postgres', 'SELECT current_user');
my ($port, $pcp) = (PostgreSQL::Test::Cluster::get_free_port(), PostgreSQL::Test::Cluster::get_free_port());
append_to_file("$work/pgpool.conf", <<"CONF");
backend_clustering_mode = 'streaming_replication'
listen_addresses = ''
port = $port
socket_dir = '${\$primary->host}'
pcp_listen_addresses = ''
pcp_port = $pcp
pcp_socket_dir = '${\$primary->host}'
backend_hostname0 = '${\$primary->host}'
backend_port0 = ${\$primary->port}
backend_weight0 = 0
backend_hostname1 = '${\$standby->host}'
backend_port1 = ${\$standby->port}
backend_weight1 = 1
sr_check_period = 1
sr_check_user = '$user'
sr_check_database = 'postgres'
num_init_children = 4
max_pool = 4
pid_file_name = '$work/pgpool.pid'
logdir = '$work'
memory_cache_enabled = off
log_per_node_statement = on
CONF
append_to_file("$work/pool_hba.conf", "local all all trust\n");
append_to_file("$work/pcp.conf", '');
my $log = '';
my $server = IPC::Run::start([ $pgpool, '-n', '-f', "$work/pgpool.conf", '-a', "$work/pool_hba.conf", '-F', "$work/pcp.conf" ], '<', \undef, '>&', "$work/log");
END { local $?; kill_pgpool() if $work; }
sub kill_pgpool { return if !-e "$work/pgpool.pid"; kill "TERM", slurp_file("$work/pgpool.pid") =~ /^(\d+)/; return; }
sub through
{
	my ($role, $sql) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XqAt', '-h', $primary->host, '-p', $port, '-U', $role, '-d', 'postgres', '-c', $sql ], '<', \undef, '>', \$out, '2>', \$err);
	chomp $out;
	return $err eq '' ? $out : $err;
}
ok(poll_until('pgpool answers', sub { return through('app', 'SELECT 1') eq '1' }), 'pgpool answers');
ok(poll_until('and knows the standby', sub { return through('app', 'SHOW pool_nodes') =~ /\|standby\|/ }), 'and knows the standby');
is(through('app', 'SELECT mail FROM person WHERE id = 7'), 'm7@example.org', 'an application reads through it');
like(slurp_file("$work/log"), qr/DB node id: 1 .*SELECT mail FROM person WHERE id = 7/, 'on the standby');
is(through('support', 'SELECT mail FROM person WHERE id = 7'), 'm***@***.org', 'another role gets its mask of the same statement');
like(through('nobody', 'SELECT mail FROM person WHERE id = 7'), qr/^enc:v1:/, 'one without a grant gets nothing of it');
is(through('app', "SELECT id FROM person WHERE mail = 'm9\@example.org'"), '9', 'a search finds it');
is(through('app', "UPDATE person SET mail = 'new\@example.org' WHERE id = 7 RETURNING mail"), 'new@example.org', 'a change goes to the primary');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
ok(poll_until('and is read', sub { return through('app', 'SELECT mail FROM person WHERE id = 7') eq 'new@example.org' }), 'and is read');
$primary->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'app', 'reveal')");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
ok(poll_until('a right that is taken away is gone behind pgpool', sub { return through('app', 'SELECT mail FROM person WHERE id = 7') =~ /^enc:v1:/ }), 'a right that is taken away is gone behind pgpool');
kill_pgpool();
$server->finish;
$standby->stop;
$primary->stop;
done_testing();
