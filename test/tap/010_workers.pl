# If this fails, background work stops without anybody being told, or what must
# be committed on its own is not.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use IPC::Run ();
use Test::More;

use DataProtect::Test;

my $node = new_node('workers', conf => "restart_after_crash = on\n");

# A server with no room for workers at all: what waits there waits a minute, beside the rest.
my $full = new_node('full', conf => "max_worker_processes = 3\n");
create_extension($full);
my $refused = '';
my $waiting = IPC::Run::start([ 'psql', '-XAtq', '-d', $full->connstr('postgres'), '-c', q{SELECT dataprotect._autonomous('SELECT 1')} ],
	'<', \undef, '>&', \$refused);

sub workers
{
	return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres' AND backend_type = 'dataprotect worker'");
}

# Has every kind had a round in a database, as its own view tells?
sub all_ended
{
	my ($database) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) > 0 AND bool_and(last_ended IS NOT NULL) FROM dataprotect.workers WHERE database = '$database'") eq 't';
}

is(workers(), '0', 'no worker in a database without the extension');
$node->safe_psql('postgres', 'BEGIN; CREATE EXTENSION dataprotect; ROLLBACK');
create_extension($node);
poll_until('every kind to have had a round after CREATE EXTENSION', sub { return all_ended('postgres') });

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
($rc, $out, $err) = $node->psql('postgres',
	q{SELECT dataprotect._autonomous('SELECT pg_terminate_backend(pg_backend_pid())::text || pg_sleep(30)')});
like($err, qr/ended without a result/, 'its end in the middle is an error');

# Workers leave with the extension; another installation has its own.
$node->safe_psql('postgres', 'DROP EXTENSION dataprotect CASCADE');
poll_until('workers to leave', sub { return workers() == 0 });
is(workers(), '0', 'workers leave with the extension');
$node->safe_psql('postgres', 'DROP SCHEMA IF EXISTS dataprotect');
create_extension($node);
poll_until('rounds after another CREATE EXTENSION', sub { return all_ended('postgres') });
$node->safe_psql('postgres', "SELECT dataprotect.create_key('pii')");
$node->safe_psql('postgres', 'BEGIN; DROP EXTENSION dataprotect CASCADE; DROP SCHEMA IF EXISTS dataprotect CASCADE; '
	  . "CREATE EXTENSION dataprotect; COMMIT; SELECT dataprotect.create_key('pii')");
is($node->safe_psql('postgres', 'CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor; SET SESSION AUTHORIZATION auditor; '
	  . "SELECT dataprotect.flush_audit_log('60s')"), 't', 'dropped and made again in one transaction: the log is collected');
is($node->safe_psql('postgres', 'SELECT sum(failures) FROM dataprotect.workers'), '0', 'and no round fails');

# A database that is renamed is visited under its new name.
$node->safe_psql('postgres', 'CREATE DATABASE before');
create_extension($node, 'before');
poll_until('rounds in a new database', sub { return all_ended('before') });
$node->safe_psql('postgres', 'ALTER DATABASE before RENAME TO after');
$node->safe_psql('after', "SELECT dataprotect.create_key('pii')");
is($node->safe_psql('after', "SET SESSION AUTHORIZATION auditor; SELECT dataprotect.flush_audit_log('60s')"),
	't', 'a renamed database is visited');
$node->safe_psql('postgres', 'DROP DATABASE after');
poll_sql($node, 'postgres', "SELECT count(*) FROM dataprotect._workers() w WHERE NOT EXISTS "
	  . '(SELECT FROM pg_database d WHERE d.oid = w.database)', '0');

# Two processes for all: who makes keys waits for a turn, with databases to visit as well.
$node->append_conf('postgresql.conf', "max_worker_processes = 5\nmax_logical_replication_workers = 0\n");
$node->restart;
$node->safe_psql('postgres', 'CREATE DATABASE busy');
create_extension($node, 'busy');
my @sessions;
for my $number (1 .. 12)
{
	my $output = '';
	my $database = $number % 2 ? 'busy' : 'postgres';
	my $sql = join ' ', map { "SELECT dataprotect.create_key('k${number}_$_');" } 1 .. 3;
	push @sessions, [ IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($database), '-v', 'ON_ERROR_STOP=1', '-c', $sql ],
			'<', \undef, '>&', \$output), \$output ];
}
$_->[0]->finish for @sessions;
is(join('', map { ${ $_->[1] } } @sessions) =~ s/\n//gr, '', 'nobody fails for want of a process');
is($node->safe_psql('busy', "SELECT count(*) FROM dataprotect.keys") + $node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.keys WHERE name LIKE 'k%'"),
	36, 'and every key is there');

# No room for workers at all: a clear error, at the latest after a minute.
(undef, undef, $err) = $full->psql('postgres', q{SET statement_timeout = '1s'; SELECT dataprotect._autonomous('SELECT 1')});
like($err, qr/canceling statement due to statement timeout/, 'no free worker: the wait can be cancelled');
$waiting->finish;
like($refused, qr/no background worker became free/, 'and ends in a clear error');
like($refused, qr/Increase "max_worker_processes"/, 'with a hint');
poll_until('a warning in the log', sub { return slurp_file($full->logfile) =~ /could not start a dataprotect background worker/ });

$full->stop;
$node->stop;
done_testing();
