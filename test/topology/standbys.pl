# If this fails, protected values are not read on a standby behind a standby, are lost
# with a primary whose synchronous standby takes over, or the old primary cannot be
# brought back by pg_rewind.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $a = new_node('a', init => [ allows_streaming => 1 ], conf => "wal_log_hints = on\nwal_keep_size = 256MB\n");
create_extension($a);
$a->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE app LOGIN;
SELECT dataprotect.grant_access('pii', 'app', 'reveal');
CREATE TABLE person (id int PRIMARY KEY, mail encrypted_text('pii', 'searchable'));
CREATE UNIQUE INDEX ON person (mail encrypted_text_token_ops);
GRANT SELECT, INSERT ON person TO app;
INSERT INTO person SELECT g, 'm' || g FROM generate_series(1, 50) g;
SQL
sub read_on { my ($node, $id) = @_; return $node->safe_psql('postgres', "SELECT mail FROM person WHERE id = $id", extra_params => [ '-U', 'app' ]); }

$a->backup('base');
my $b = PostgreSQL::Test::Cluster->new('b');
$b->init_from_backup($a, 'base', has_streaming => 1);
$b->start;
$b->backup('base');
my $c = PostgreSQL::Test::Cluster->new('c');
$c->init_from_backup($b, 'base', has_streaming => 1);
$c->start;
$a->append_conf('postgresql.conf', "synchronous_standby_names = 'b'\nsynchronous_commit = remote_apply\n");
$a->reload;
ok(poll_sql($a, 'postgres', "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'", '1'), 'the standby is synchronous');
$a->safe_psql('postgres', "INSERT INTO person VALUES (51, 'synchronous')", extra_params => [ '-U', 'app' ]);
is(read_on($b, 51), 'synchronous', 'what is committed is read on the synchronous standby at once');
$b->wait_for_catchup($c, 'replay', $b->lsn('replay'));
is(read_on($c, 51), 'synchronous', 'and behind it');
$a->safe_psql('postgres', "SELECT dataprotect.rotate_key('pii'); INSERT INTO person VALUES (52, 'under the next version')");
$b->wait_for_catchup($c, 'replay', $b->lsn('replay'));
is(read_on($c, 52), 'under the next version', 'a version that was made since is found there as well');

# The primary dies; what it still writes alone is lost, and it comes back behind the new one.
$b->promote;
$a->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
$a->reload;
$a->safe_psql('postgres', "INSERT INTO person VALUES (99, 'written alone')");
$a->stop;
$b->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
$b->reload;
$b->safe_psql('postgres', "INSERT INTO person VALUES (53, 'after')", extra_params => [ '-U', 'app' ]);
$b->safe_psql('postgres', 'CHECKPOINT');
command_ok([ 'pg_rewind', '--source-server', $b->connstr('postgres'), '-D', $a->data_dir, '--no-sync' ], 'pg_rewind brings the old primary back');
$a->append_conf('postgresql.conf', sprintf("port = %d\nprimary_conninfo = '%s'\nunix_socket_directories = '%s'\n", $a->port, $b->connstr, $a->host));
$a->set_standby_mode;
$a->start;
$b->wait_for_catchup($a, 'replay', $b->lsn('insert'));
is(read_on($a, 53), 'after', 'it reads what the new primary wrote');
is(read_on($a, 99), '', 'and has not what it wrote alone');
$b->wait_for_catchup($c, 'replay', $b->lsn('insert'));
is(read_on($c, 53), 'after', 'the standby behind follows');
is($b->safe_psql('postgres', 'SELECT ok FROM dataprotect.verify_audit_log()'), 't', 'the audit chain is whole');
is($b->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.verify_policy()'), '0', 'as is the policy');

$_->stop for $c, $a, $b;
done_testing();
