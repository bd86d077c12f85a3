# If this fails, nobody can tell how far a long protection, verification, drill or
# re-encryption is: not whoever waits for it, and not the administrator.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('progress');
create_extension($node);
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE watcher LOGIN;
GRANT dataprotect_auditor TO watcher;
CREATE ROLE nobody LOGIN;
SELECT dataprotect.create_key('pii');
CREATE TABLE going_on ();
CREATE TABLE person (id int, mail text);
INSERT INTO person SELECT g, 'p' || g || '@example.org' FROM generate_series(1, 3000) g;
ANALYZE person;
SQL

# Whoever waits is told; how often is a setting.
my $told = sub {
	my ($sql, $interval) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SET dataprotect.progress_interval = '$interval'; $sql");
	return $err;
};
unlike($told->("BEGIN; CALL dataprotect.encrypt_column('person', 'mail', 'pii'); ROLLBACK", '0'), qr/% done/, 'nobody is told who does not want to be');
my $encrypt = $told->("CALL dataprotect.encrypt_column('person', 'mail', 'pii')", '1ms');
like($encrypt, qr/^.*NOTICE:  encrypt_column: \d+ % done\nDETAIL:  \d+ of about 3000 values\.$/m, 'encrypt_column says how far it is');
# many more rows than are verified in an interval
$node->safe_psql('postgres', "CREATE TABLE many (id int, mail encrypted_text('pii')); INSERT INTO many SELECT g, 'm' || g FROM generate_series(1, 60000) g");
like($told->("SELECT * FROM dataprotect.verify('many')", '1ms'), qr/NOTICE:  verify: \d+ % done\nDETAIL:  \d+ of about \d+ blocks\.$/m, 'so does verify');
$node->safe_psql('postgres', "SELECT dataprotect.rotate_key('pii')");
like($told->("SET dataprotect.retention_batch_size = 100; CALL dataprotect.reencrypt('person')", '1ms'), qr/NOTICE:  reencrypt: 100 % done\n/, 'and reencrypt');

# The administrator looks. What is soon over has to be caught while it goes on, so it goes on.
$node->safe_psql('postgres', "CREATE TABLE other AS SELECT id, 'o' || id AS mail FROM person; ANALYZE other");
my ($out, $err) = ('', '');
my $session = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', <<'SQL' ], '<', \undef, '>', \$out, '2>', \$err);
SET client_min_messages = error;
DO $$
BEGIN
	WHILE EXISTS (SELECT FROM pg_class WHERE relname = 'going_on') LOOP
		BEGIN
			CALL dataprotect.encrypt_column('other', 'mail', 'pii');
			RAISE SQLSTATE 'UP001';
		EXCEPTION WHEN SQLSTATE 'UP001' THEN NULL;
		END;
	END LOOP;
END $$
SQL
ok($node->poll_query_until('postgres', "SELECT pid > 0, command, rel, col, unit, total > 0, percent BETWEEN 0 AND 100, started_at <= clock_timestamp()
	FROM dataprotect.progress WHERE done > 0", 't|encrypt_column|other||values|t|t|t'), 'encrypt_column is seen while it goes on');
$node->safe_psql('postgres', 'DROP TABLE going_on');
ok($session->finish, 'and ends') or diag($err);
is($node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.progress'), '0', 'where nothing goes on, nothing is seen');

# What goes on from transaction to transaction is seen between them.
$node->safe_psql('postgres', "SELECT dataprotect.rotate_key('pii')");
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE fresh AS SELECT id, 'f' || id AS mail FROM person;
CALL dataprotect.encrypt_column('fresh', 'mail', 'pii');
SELECT dataprotect.rotate_key('pii');
SQL
my $waiting = IPC::Run::start([ 'psql', '-XqAt', '-d', $node->connstr('postgres'), '-c', "SET dataprotect.retention_cost_delay = '1min'",
		'-c', 'SET dataprotect.retention_batch_size = 1', '-c', "CALL dataprotect.reencrypt('fresh')" ], '<', \undef, '>', \$out, '2>', \$err);
ok($node->poll_query_until('postgres', "SELECT command, rel, col, step, unit, done > 0 AND done < total, percent > 0 FROM dataprotect.progress WHERE done > 0",
		'reencrypt|fresh|mail|running|blocks|t|t'), 'reencrypt is seen between its batches');
is($node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.progress', extra_params => [ '-U', 'watcher' ]), '1', 'auditors see it');
psql_fails($node, 'postgres', 'SET ROLE nobody; SELECT * FROM dataprotect.progress', qr/permission denied for view progress/, 'others do not');
$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%reencrypt%' AND pid <> pg_backend_pid()");
$waiting->finish;

$node->stop;
done_testing();
