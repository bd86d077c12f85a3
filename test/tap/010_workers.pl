# If this fails, background work stops without anybody being told, or what must
# be committed on its own is not.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('workers', conf => "restart_after_crash = on\n");

sub workers
{
	return $node->safe_psql('postgres', "SELECT string_agg(backend_type, ',' ORDER BY backend_type) FROM pg_stat_activity "
		  . "WHERE datname = 'postgres' AND backend_type LIKE 'dataprotect%'");
}

is(workers(), '', 'no worker in a database without the extension');
$node->safe_psql('postgres', 'BEGIN; CREATE EXTENSION dataprotect; ROLLBACK');
create_extension($node);
poll_until('workers after CREATE EXTENSION', sub { return workers() =~ /maintenance/ });
my $running = workers();

# Autonomous statements.
$node->safe_psql('postgres', 'CREATE TABLE kept (a int)');
$node->psql('postgres', q{BEGIN; SELECT dataprotect._autonomous('INSERT INTO public.kept VALUES (1)'); ROLLBACK});
is($node->safe_psql('postgres', 'SELECT count(*) FROM kept'), '1', 'an autonomous statement outlives a rollback');
is($node->safe_psql('postgres', q{SELECT dataprotect._autonomous('SELECT 6 * 7')}), '42', 'and returns its value');
is($node->safe_psql('postgres', q{SELECT dataprotect._autonomous('SELECT NULL') IS NULL}), 't', 'or NULL');
is(sqlstate_of($node, 'postgres', q{SELECT dataprotect._autonomous('SELECT 1 / 0');}), '22012', 'its error keeps its SQLSTATE');
my ($rc, $out, $err) = $node->psql('postgres',
	q{SELECT dataprotect._autonomous('INSERT INTO public.kept VALUES (2); SELECT 1 / 0')});
is($node->safe_psql('postgres', 'SELECT count(*) FROM kept'), '1', 'and undoes all of it');
$node->safe_psql('postgres', 'ALTER DATABASE postgres SET default_transaction_read_only = on; '
	  . 'ALTER DATABASE postgres SET session_replication_role = replica');
$node->psql('postgres', q{SELECT dataprotect._autonomous('INSERT INTO public.kept SELECT count(*) FROM pg_settings '
	'WHERE name = ''session_replication_role'' AND setting = ''origin''')});
is($node->safe_psql('postgres', 'SELECT sum(a) FROM kept'), '2', 'settings of the database do not change how it runs');
$node->safe_psql('postgres', 'SET default_transaction_read_only = off; ALTER DATABASE postgres RESET ALL');
($rc, $out, $err) = $node->psql('postgres',
	q{BEGIN; LOCK TABLE kept; SELECT dataprotect._autonomous('INSERT INTO public.kept VALUES (3)')});
like($err, qr/canceling statement due to lock timeout/, 'waiting for its own caller ends in an error');
($rc, $out, $err) = $node->psql('postgres', "SET statement_timeout = '500ms'; SELECT dataprotect._autonomous('SELECT pg_sleep(3)')");
like($err, qr/canceling statement due to statement timeout/, 'waiting for it can be cancelled');

# A worker that dies is started again; one that is told to go does so.
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'dataprotect maintenance%'");
poll_until('worker to be started again', sub { return workers() eq $running });
is(workers(), $running, 'a worker that ended is started again');
$node->safe_psql('postgres', 'DROP EXTENSION dataprotect CASCADE');
poll_until('workers to leave', sub { return workers() eq '' });
is(workers(), '', 'workers leave with the extension');
$node->safe_psql('postgres', 'DROP SCHEMA IF EXISTS dataprotect');
create_extension($node);
poll_until('workers to come back', sub { return workers() eq $running });

# No room for workers.
$node->append_conf('postgresql.conf', "max_worker_processes = 3\nmax_logical_replication_workers = 0\n");
$node->restart;
($rc, $out, $err) = $node->psql('postgres', q{SELECT dataprotect._autonomous('SELECT 1')});
like($err, qr/could not start a background worker/, 'no free worker: a clear error');
like($err, qr/Increase "max_worker_processes"/, 'with a hint');
poll_until('a warning in the log', sub { return slurp_file($node->logfile) =~ /could not start a dataprotect background worker/ });

$node->stop;
done_testing();
