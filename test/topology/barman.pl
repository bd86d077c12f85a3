# If this fails, a cluster with protected columns cannot be backed up by Barman over the
# streaming protocol, not restored to a point in time, or its backups hold plaintext.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

plan skip_all => 'barman is not installed' if system('barman --version >/dev/null 2>&1') != 0;

my $node = new_node('backed', init => [ allows_streaming => 1 ], conf => "wal_level = replica\n");
my $work = PostgreSQL::Test::Utils::tempdir();
my $conf = "$work/barman.conf";
mkdir "$work/barman" or die;
my $user = $node->safe_psql('postgres', 'SELECT current_user');
append_to_file($conf, sprintf(<<'CONF', $work, $user, $work, ($node->connstr('postgres')) x 2, dirname_of($ENV{PG_CONFIG})));
[barman]
barman_home = %s/barman
barman_user = %s
log_file = %s/barman.log
log_level = DEBUG
minimum_redundancy = 1

[main]
description = main
conninfo = %s
streaming_conninfo = %s
backup_method = postgres
streaming_archiver = on
slot_name = barman
create_slot = auto
path_prefix = %s
CONF
sub dirname_of { my ($path) = @_; return $path =~ s{/[^/]*$}{}r; }
my @streams;
sub barman
{
	my ($what, @arguments) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($out, $err) = ('', '');
	ok(IPC::Run::run([ 'barman', '-c', $conf, @arguments ], '<', \undef, '>', \$out, '2>', \$err), $what) or diag($out, $err, slurp_file("$work/barman.log"));
	return $out;
}
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE person (id int PRIMARY KEY, mail encrypted_text('pii', 'searchable'));
CREATE UNIQUE INDEX ON person (mail encrypted_text_token_ops);
GRANT SELECT ON person TO app;
INSERT INTO person SELECT g, 'needle' || g FROM generate_series(1, 100) g;
SQL

# Its receiver of WAL runs for as long as the server does.
barman('a slot is made', 'receive-wal', '--create-slot', 'main');
my ($null, $output) = ('', '');
my $receiver = IPC::Run::start([ 'barman', '-c', $conf, 'receive-wal', 'main' ], '<', \$null, '>', \$output, '2>', \$output);
ok(poll_sql($node, 'postgres', "SELECT active FROM pg_replication_slots WHERE slot_name = 'barman'"), 'the WAL is received');
barman('a segment is archived', 'switch-wal', '--force', '--archive', '--archive-timeout', '180', 'main');
barman('a backup', 'backup', 'main');
$node->safe_psql('postgres', "SELECT dataprotect.rotate_key('pii'); INSERT INTO person VALUES (101, 'needle-kept')");
my $target = $node->safe_psql('postgres', "SELECT pg_create_restore_point('here')");
$node->safe_psql('postgres', 'DELETE FROM person WHERE id > 50');
my $end = $node->safe_psql('postgres', 'SELECT pg_switch_wal()');
$node->safe_psql('postgres', 'CREATE TABLE another (); SELECT pg_switch_wal()');
ok(poll_sql($node, 'postgres', "SELECT restart_lsn > '$end' FROM pg_replication_slots WHERE slot_name = 'barman'"), 'up to the end');
barman('the received WAL is archived', 'archive-wal', 'main');
is(join(' ', files_with("$work/barman", 'needle')), '', 'no plaintext lies in the backup');
is(join(' ', grep { /root\.key/ } split /\n/, qx(find "$work/barman" -type f)), '', 'and no key file');

my $restored = PostgreSQL::Test::Cluster->new('restored');
my $data = $restored->data_dir;
mkdir $restored->basedir;
barman('it is restored to a point in time', 'recover', '--target-name', 'here', '--target-action', 'promote', 'main', 'latest', $data);
$receiver->kill_kill;
$restored->append_conf('postgresql.conf', sprintf("port = %d\nunix_socket_directories = '%s'\n", $restored->port, $restored->host));
$restored->start;
ok(poll_sql($restored, 'postgres', 'SELECT NOT pg_is_in_recovery()'), 'it comes up');
is($restored->safe_psql('postgres', "SELECT count(*), max(mail) FILTER (WHERE id = 101) FROM person", extra_params => [ '-U', 'app' ]), '101|needle-kept', 'every row of that point is there and readable');
is($restored->safe_psql('postgres', "SET enable_seqscan = off; SELECT id FROM person WHERE mail = 'needle77'", extra_params => [ '-U', 'app' ]), '77', 'by the index as well');
is($restored->safe_psql('postgres', 'SELECT sum(failures) FROM dataprotect.verify()'), '0', 'every value opens');
is($restored->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the audit chain is whole');
$restored->stop;
$node->stop;
done_testing();
