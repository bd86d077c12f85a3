# If this fails, a rotation that is left to the worker does not get to its end, or
# says that it has.
use strict;
use warnings;

use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('background', conf => "dataprotect.retention_batch_size = 50\ndataprotect.retention_cost_delay = 20ms\nautovacuum = off\nmax_worker_processes = 24\n");
create_extension($node);
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub versions { return sql("SELECT string_agg(v.col || ':' || v.version || '=' || v.\"values\", ' ' ORDER BY v.col, v.version) FROM dataprotect.verify('$_[0]') v"); }

sql(<<'SQL');
CREATE ROLE helper LOGIN IN ROLE dataprotect_admin;
GRANT CREATE ON SCHEMA public TO helper;
SELECT dataprotect.create_key('k'), dataprotect.create_key('l');
SET SESSION AUTHORIZATION helper;
CREATE TABLE t (id int, a encrypted_text('k'), b encrypted_int4('l'), c encrypted_text('k')[]);
INSERT INTO t SELECT n, 'a' || n, n, ARRAY['c', NULL, 'd' || n] FROM generate_series(1, 3000) n;
CREATE TABLE stubborn (id int, a encrypted_text('k'));
INSERT INTO stubborn VALUES (1, 'a secret');
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a secret' USING ERRCODE = 'P0042'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON stubborn FOR EACH ROW EXECUTE FUNCTION refuse();
ALTER TABLE stubborn ENABLE ALWAYS TRIGGER refuse;
CREATE TABLE going (id int, a encrypted_text('k'));
INSERT INTO going VALUES (1, 'x');
SELECT dataprotect.rotate_key('k'), dataprotect.rotate_key('l');
SQL
$node->safe_psql('postgres', "CALL dataprotect.reencrypt('stubborn', background => true); CALL dataprotect.reencrypt('t', background => true);
	CALL dataprotect.reencrypt('going', background => true); DROP TABLE going", extra_params => [ '-U', 'helper' ]);
poll_sql($node, 'postgres', "SELECT min(blocks_done) > 0 FROM dataprotect.reencrypt_progress WHERE rel = 't'::regclass");
kill9_node($node);
$node->start;
poll_sql($node, 'postgres', "SELECT count(*) FROM dataprotect.reencrypt_progress WHERE rel = 't'::regclass AND finished_at IS NOT NULL", '3');
is(versions('t'), 'a:2=3000 b:2=3000 c:2=6000', 'the worker goes on where a crash left it, to the end');
is(sql("SELECT bool_and(values_done >= blocks_done), bool_and(background), sum(values_left) FROM dataprotect.reencrypt_progress WHERE rel = 't'::regclass"), 't|t|0', 'and has counted');
poll_sql($node, 'postgres', "SELECT problem FROM dataprotect.reencrypt_progress WHERE rel = 'stubborn'::regclass", 'P0042');
is(sql("SELECT finished_at IS NULL AND ended_at IS NULL FROM dataprotect.reencrypt_progress WHERE rel = 'stubborn'::regclass"), 't', 'a table that refuses is not called done, and holds up no other');
is(sql("SELECT count(*) FROM dataprotect.reencrypt_state s WHERE s::text LIKE '%secret%'"), '0', 'what it says is not repeated');
poll_sql($node, 'postgres', "SELECT count(*) FROM dataprotect.reencrypt_state s WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.rel)", '0');

# By hand meanwhile, once the reason is gone.
$node->safe_psql('postgres', "ALTER TABLE stubborn DISABLE TRIGGER refuse; CALL dataprotect.reencrypt('stubborn')", extra_params => [ '-U', 'helper' ]);
is(versions('stubborn'), 'a:2=1', 'and a session may do it itself');

# A version goes once nothing is sealed under it: no value at any depth, no dead row, no page of an index.
sql(<<'SQL');
SELECT dataprotect.create_key(k) FROM unnest('{m,n,o,q}'::text[]) k;
CREATE TABLE ordered (id int, a encrypted_int4('m', 'ordered'));
CREATE INDEX ordered_idx ON ordered (a);
INSERT INTO ordered SELECT i, i FROM generate_series(1, 1000) i;
CREATE TABLE deep (id int, a encrypted_text('n')[]);
INSERT INTO deep VALUES (1, ARRAY[repeat('x', 3000), 'y']);
SELECT dataprotect.rotate_key('m'), dataprotect.rotate_key('n'), dataprotect.rotate_key('o');
CALL dataprotect.reencrypt('ordered');
ALTER SYSTEM SET dataprotect.unused_version_time = '1s';
SELECT pg_reload_conf();
SQL
poll_sql($node, 'postgres', 'SHOW dataprotect.unused_version_time', '1s');
sub state_of { return sql("SELECT state FROM dataprotect.key_versions WHERE name = '$_[0]' AND version = 1 AND purpose = 'data'"); }
# What the worker does once a minute, in turn with it.
sub look_for
{
	my ($key) = @_;
	sql('UPDATE dataprotect.key_version SET looked_at = NULL WHERE looked_at IS NOT NULL');
	return poll_until("a look at $key", sub {
		return 1 if sql("SELECT v.looked_at IS NOT NULL OR v.state = 'd' FROM dataprotect.key_version v JOIN dataprotect.key k USING (family) WHERE k.name = '$key' AND v.version = 1 AND v.purpose = 2") eq 't';
		sql('SELECT dataprotect._destroy_unused_version()');
		return 0;
	});
}
look_for($_) for qw(m n o);
is(join(' ', map { state_of($_) } qw(m n o)), 'retired retired destroyed', 'a version that nothing is sealed under goes; one that an index still has, and one inside an array, stay');
# What a statement has in its hands belongs to no table: "unused-race".
sql(<<'SQL');
CREATE TABLE from_here (a encrypted_text('q'));
CREATE TABLE to_there (a encrypted_text('q'));
INSERT INTO from_here VALUES ('in between');
CREATE PROCEDURE move_it() LANGUAGE plpgsql AS $$
DECLARE v encrypted_text;
BEGIN
	DELETE FROM from_here RETURNING a INTO v;
	COMMIT;
	PERFORM pg_advisory_lock(1);
	INSERT INTO to_there VALUES (v);
END $$;
SELECT dataprotect.rotate_key('q');
SQL
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(1) IS NULL');
my $mover = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'CALL move_it()' ], '<', \undef, '>&', \my $said);
poll_sql($node, 'postgres', 'SELECT count(*) FROM from_here', '0');
# Until a look has found it nowhere, which VACUUM allows once nothing else sees the row.
ok(poll_until('a look that finds nothing', sub {
	$node->safe_psql('postgres', $_) for 'VACUUM from_here', "UPDATE dataprotect.key_version SET looked_at = NULL WHERE family = (SELECT k.family FROM dataprotect.key k WHERE k.name = 'q') AND looked_at IS NOT NULL", 'SELECT dataprotect._destroy_unused_version()';
	return sql("SELECT v.unused_at IS NOT NULL OR v.state = 'd' FROM dataprotect.key_version v JOIN dataprotect.key k USING (family) WHERE k.name = 'q' AND v.version = 1 AND v.purpose = 2") eq 't'; }), 'a value is in no table');
sql('SELECT dataprotect._destroy_unused_version()') for 1 .. 3;
is(state_of('q'), 'retired', 'its version is not destroyed while a statement runs that may have it');
$holder->query_safe('SELECT pg_advisory_unlock(1)');
$holder->quit;
poll_sql($node, 'postgres', 'SELECT count(*) FROM to_there', '1');
$mover->finish or die $said;
look_for('q');
is(state_of('q'), 'retired', 'nor afterwards, when it is in another');
is(sql("SELECT dataprotect.grant_access('q', current_user::regrole, 'reveal') > 0; SELECT a FROM to_there"), "t\nin between", 'where it is read');

# Again, for VACUUM leaves what a worker's snapshot may see.
ok(poll_until('the version of an index that was made anew',
	sub {
		$node->safe_psql('postgres', $_) for 'VACUUM ordered', 'REINDEX TABLE ordered';
		look_for('m');
		return state_of('m') eq 'destroyed';
	}), 'one that VACUUM and REINDEX have taken out of an index goes');
look_for('n');
is(state_of('n'), 'retired', 'what has a value stays, whoever looks again');
is(sql("SET enable_seqscan = off; SELECT dataprotect.grant_access(k, current_user::regrole, 'reveal') > 0 FROM unnest('{m,n}'::text[]) k; SELECT count(*), sum(a::int4) FROM ordered WHERE a > 500; SELECT length(a[1]) FROM deep"),
	"t\nt\n500|375250\n3000", 'and every value is read as before');

# Accounts' keys that newer ones have replaced go as well, once nothing is sealed under them.
sql(<<'SQL');
SELECT dataprotect.create_key('s');
CREATE TABLE account (id int PRIMARY KEY, v encrypted_text('s'));
SELECT dataprotect.create_account_type('acct', 'account', 'id');
SELECT dataprotect.bind_subject('account', 'acct', 'id');
INSERT INTO account SELECT i, 'of ' || i FROM generate_series(1, 3) i;
SQL
# Another database knows the keys of now.
$node->safe_psql('postgres', 'CREATE DATABASE subscriber');
create_extension($node, 'subscriber');
$node->safe_psql('subscriber', 'SELECT dataprotect.import_keys($k$' . sql('SELECT dataprotect.export_keys()') . '$k$)');
sql(<<'SQL');
SELECT dataprotect.rotate_key('s');
UPDATE account SET v = 'anew ' || id WHERE id < 3;
UPDATE account SET v = 'once more' WHERE id = 3;
INSERT INTO account VALUES (4, 'new');
SQL
sub account_keys { return sql("SELECT string_agg(s.subject || '/' || s.version || v.state::text, ' ' ORDER BY s.subject, s.version) FROM dataprotect.subject_key s JOIN dataprotect.key_version v USING (key_id)"); }
my $account_keys = account_keys();
like($account_keys, qr{^1/1p 1/2p 2/1p 2/2p 3/1p 3/2p 4/\dp$}, 'each account has another key');
sql("SELECT dataprotect._subject_suspend('acct', '3', 'in its grace time')");
ok(poll_until('keys of accounts that nothing is sealed under',
	sub {
		$node->safe_psql('postgres', $_) for 'VACUUM account', 'UPDATE dataprotect.key_version SET looked_at = NULL WHERE looked_at IS NOT NULL', 'SELECT dataprotect._destroy_unused_version()';
		return account_keys() =~ m{^1/1d 1/2p 2/1d 2/2p };
	}), 'those that others have replaced go');
like(account_keys(), qr{ 3/1s 3/2s 4/\dp$}, 'but for those of an account that may come back');
sql("SELECT dataprotect._subject_resume('acct', '3', 'it came back')");
is(sql("SELECT dataprotect.grant_access('s', current_user::regrole, 'reveal') > 0; SELECT string_agg(v::text, ' ' ORDER BY id) FROM account; SELECT count(*) FROM dataprotect.verify_policy()"), "t\nanew 1 anew 2 once more new\n0", 'and every value is read');

sql('CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor; SELECT dataprotect.flush_audit_log()');
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT keys[1], ' ' ORDER BY keys[1]) FROM dataprotect.audit_log WHERE event = 'version.destroyed' AND keys[1] IN ('m', 'n', 'o', 's')",
		extra_params => [ '-U', 'auditor' ]), 'm o s', 'on record');
# Keys come before their values: to a database that imports them, those that were
# replaced long ago elsewhere are news ("keys-before-values").
my $news = "SELECT count(*) > 2 AND bool_and(v.state_since >= '\$began') FROM dataprotect.key_version v WHERE v.purpose = 2 AND v.state <> 'a'";
my $began = sql('SELECT clock_timestamp()');
my $exported = sql('SELECT dataprotect.export_keys()');
$node->safe_psql('subscriber', "SELECT dataprotect.import_keys(\$k\$$exported\$k\$)");
is($node->safe_psql('subscriber', $news =~ s/\$began/$began/r), 't', 'an import starts their time again');
is($node->safe_psql('subscriber', "SELECT string_agg(s.subject || '/' || s.version, ' ' ORDER BY s.subject) FROM dataprotect.subject_key s JOIN dataprotect.key_version v USING (key_id) WHERE v.state <> 'd' AND s.version = 2 AND s.subject < '4'"),
	'1/2 2/2 3/2', "and brings accounts' newer keys though older ones that are here are destroyed there");

# Where Citus has the rows elsewhere nothing can be looked at.
$node->safe_psql('subscriber', 'SET allow_system_table_mods = on; CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass CONSTRAINT pg_dist_partition_logical_relid_index PRIMARY KEY)');
is($node->safe_psql('subscriber', "SELECT dataprotect._used_keys('{1}')"), '{}', 'a key that nothing is under');
is($node->safe_psql('subscriber', "SET allow_system_table_mods = on; INSERT INTO pg_dist_partition VALUES ('pg_class'); SELECT dataprotect._used_keys('{1}')"), '{1}', 'may be under what another server stores');
$node->stop;
done_testing();
