# If this fails, a cluster with protected columns cannot be backed up by pgBackRest, not
# restored elsewhere or to a point in time, or its backups hold plaintext.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

plan skip_all => 'pgbackrest is not installed' if system('pgbackrest version >/dev/null 2>&1') != 0;

my $node = new_node('backed', conf => "wal_level = replica\narchive_mode = on\nmax_wal_senders = 3\n");
my $work = PostgreSQL::Test::Utils::tempdir();
my $conf = "$work/pgbackrest.conf";
append_to_file($conf, sprintf(<<'CONF', $work, $work, $work, $work, $node->data_dir, $node->host, $node->port));
[global]
repo1-path=%s/repo
repo1-retention-full=2
log-path=%s
lock-path=%s/lock
spool-path=%s/spool
log-level-console=error
start-fast=y
compress-type=none

[main]
pg1-path=%s
pg1-socket-path=%s
pg1-port=%d
CONF
sub backrest
{
	my ($what, @arguments) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($out, $err) = ('', '');
	ok(IPC::Run::run([ 'pgbackrest', "--config=$conf", '--stanza=main', @arguments ], '<', \undef, '>', \$out, '2>', \$err), $what) or diag($out, $err);
	return $out;
}
my $user = $node->safe_psql('postgres', 'SELECT current_user');
append_to_file($conf, "pg1-user=$user\n");
backrest('the stanza is made', 'stanza-create');
$node->append_conf('postgresql.conf', "archive_command = 'pgbackrest --config=$conf --stanza=main archive-push %p'\n");
$node->reload;
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
backrest('a full backup', '--type=full', 'backup');
$node->safe_psql('postgres', "INSERT INTO person VALUES (101, 'needle-incremental'); SELECT dataprotect.rotate_key('pii')");
backrest('an incremental one', '--type=incr', 'backup');
$node->safe_psql('postgres', "INSERT INTO person VALUES (102, 'needle-kept')");
my $target = $node->safe_psql('postgres', "SELECT pg_create_restore_point('here')");
$node->safe_psql('postgres', "DELETE FROM person WHERE id > 50; SELECT pg_switch_wal()");
ok(poll_sql($node, 'postgres', "SELECT last_archived_wal IS NOT NULL AND last_archived_wal >= pg_walfile_name('$target') FROM pg_stat_archiver"), 'the WAL is archived');
is(join(' ', grep { !m{/(?:lock|spool)/} } files_with("$work/repo", 'needle')), '', 'no plaintext lies in the repository');
is(join(' ', grep { /dataprotect_ring|root\.key/ } split /\n/, qx(find "$work/repo" -type f)), '', 'and no key file or ring');

# Elsewhere, to the point.
my $restored = PostgreSQL::Test::Cluster->new('restored');
my $data = $restored->data_dir;
mkdir $restored->basedir;
system('mkdir', '-m', '700', '-p', $data) == 0 or die;
backrest('it is restored elsewhere, to a point in time', "--pg1-path=$data", '--type=name', '--target=here', '--target-action=promote', 'restore');
$restored->append_conf('postgresql.conf', sprintf("port = %d\nunix_socket_directories = '%s'\narchive_mode = off\n", $restored->port, $restored->host));
$restored->start;
ok(poll_sql($restored, 'postgres', 'SELECT NOT pg_is_in_recovery()'), 'it comes up');
is($restored->safe_psql('postgres', "SELECT count(*), max(mail) FILTER (WHERE id = 102) FROM person", extra_params => [ '-U', 'app' ]), '102|needle-kept', 'every row of that point is there and readable');
is($restored->safe_psql('postgres', "SET enable_seqscan = off; SELECT id FROM person WHERE mail = 'needle77'", extra_params => [ '-U', 'app' ]), '77', 'by the index as well');
is($restored->safe_psql('postgres', 'SELECT sum(failures) FROM dataprotect.verify()'), '0', 'every value opens');
is($restored->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the audit chain is whole');
$restored->stop;
$node->stop;
done_testing();
