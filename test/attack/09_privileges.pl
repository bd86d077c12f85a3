# Power over the extension's own objects by privileges that nobody meant to
# give: ALTER DEFAULT PRIVILEGES from before the installation and from after it.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = new_node('privileges', conf => "max_worker_processes = 16\n");

# What many DBAs say of the role that owns everything: what comes is for the application.
sub generous
{
	my ($where) = @_;
	my $kinds = $where eq '' ? 'TABLES SEQUENCES ROUTINES TYPES SCHEMAS' : 'TABLES SEQUENCES ROUTINES TYPES';
	return join '', map {
		my $kind = $_;
		map { "ALTER DEFAULT PRIVILEGES $where GRANT ALL ON $kind TO $_;\n" } 'PUBLIC', 'app', 'helper WITH GRANT OPTION'
	} split / /, $kinds;
}

$node->safe_psql('postgres', <<'SQL' . generous('') . 'CREATE EXTENSION dataprotect;' . generous('IN SCHEMA dataprotect'));
CREATE ROLE app LOGIN;
CREATE ROLE helper LOGIN;
CREATE TYPE mood AS ENUM ('good', 'bad');
SQL
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
SELECT dataprotect.create_encrypted_type('mood');
CREATE TABLE victim (id int, email encrypted_text('pii'), mood encrypted_mood('pii'));
INSERT INTO victim VALUES (1, 'anna@example.org', 'good');
SELECT dataprotect.flush_audit_log('60 s');
SQL
my $partition = $node->safe_psql('postgres',
	"SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'dataprotect.audit_batch'::regclass LIMIT 1");
like($partition, qr/^dataprotect\.audit_batch_y/, 'the audit log has a partition of this month');

# default-privileges
my @attempts = (
	"SELECT dataprotect.grant_access('pii', 'app', 'reveal')",
	"INSERT INTO dataprotect.access_grant (family, grantee, privilege, granted_by) VALUES (1, 'app'::regrole, 'search', 'x')",
	"SELECT * FROM dataprotect.access_grant",
	"UPDATE dataprotect.key SET mask = 'null'",
	"SELECT wrapped FROM dataprotect.key_version",
	"DELETE FROM dataprotect.audit_record",
	"DELETE FROM dataprotect.audit_batch",
	"SELECT data FROM dataprotect.audit_batch",
	"SELECT seq FROM dataprotect.audit_record",
	"DELETE FROM $partition",
	"SELECT * FROM $partition",
	"TRUNCATE $partition",
	"CREATE TRIGGER planted BEFORE INSERT ON dataprotect.audit_batch FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
	"SELECT nextval('dataprotect.key_family_seq')",
	"SELECT setval('dataprotect.key_family_seq', 1)",
	"CREATE TABLE dataprotect.planted (i int)",
	"SELECT dataprotect._event('key.created', 'pii', '{}')",
	"SELECT dataprotect._autonomous('SELECT 1')",
	"SELECT dataprotect._close(0, 0)",
	"SELECT dataprotect._set_privileges()",
	"SELECT encrypted_mood_hash('good'::encrypted_mood)",
	"CALL dataprotect.run_retention('x')");
for my $role (qw(app helper))
{
	denied($node, $role, $_, "default-privileges: $_") for @attempts;
}
denied($node, 'helper', 'GRANT EXECUTE ON FUNCTION dataprotect.grant_access TO app', 'default-privileges: nothing can be handed on');

# What is meant for everybody stays, types that were made later included.
my ($out, $err, $sqlstate) = as($node, 'app', "SELECT email IS NULL, mood IS NULL FROM victim WHERE id = 1");
is($out, 'f|f', 'an encrypted type can be used by everybody') or diag($err);
($out, $err) = as($node, 'app', "SELECT email FROM victim");
unlike($out . $err, qr/anna/, 'default-privileges: a table that was given shows no plaintext');

# Predefined roles: every table of ours, every privilege that such a role has on all
# tables, and every lock.  Reading is what pg_read_all_data is for, and a dump needs it:
# what it finds is sealed or wrapped.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE everything LOGIN;
CREATE ROLE super LOGIN SUPERUSER;
DO $$ DECLARE r name; BEGIN
	FOR r IN SELECT rolname FROM pg_roles WHERE rolname ~ '^pg_' AND rolname <> 'pg_database_owner' LOOP
		EXECUTE format('CREATE ROLE %I LOGIN IN ROLE %I', 'in_' || r, r);
		IF r NOT IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files') THEN
			EXECUTE format('GRANT %I TO everything', r);
		END IF;
	END LOOP;
END $$;
GRANT CREATE ON SCHEMA public TO PUBLIC;
SQL
my $attempts = <<'SQL';
SET client_min_messages = warning;
DO $$
DECLARE
	rel record;
	act text;
BEGIN
	CREATE TEMP TABLE allowed (act text, rel text);
	CREATE TEMP TABLE refused (act text, state text, n int DEFAULT 1);
	FOR rel IN SELECT c.oid::regclass AS name, c.relkind, c.oid,
			(SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = c.oid AND attnum = 1) AS col,
			(SELECT min(indexrelid::regclass::text) FROM pg_index WHERE indrelid = c.oid AND indpred IS NULL) AS index,
			(SELECT t.oid::regclass::text FROM pg_class t WHERE t.oid = c.reltoastrelid) AS toast
		FROM pg_class c WHERE relnamespace = 'dataprotect'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S') AND (%FULL% OR mod(c.oid::int, 5) = 0)
	LOOP
		EXECUTE format('CREATE OR REPLACE VIEW pg_temp.over_%s AS SELECT 1 AS one FROM %s', rel.oid, rel.name);
		EXECUTE format('CREATE OR REPLACE VIEW pg_temp.far_%s AS WITH w AS (SELECT (SELECT count(*) FROM pg_temp.over_%s)) SELECT * FROM w', rel.oid, rel.oid);
		FOREACH act IN ARRAY ARRAY['SELECT count(*) FROM %1$s', 'SELECT 1 FROM %1$s FOR KEY SHARE', 'INSERT INTO %1$s DEFAULT VALUES', 'DELETE FROM %1$s WHERE false', 'UPDATE %1$s SET %2$s = %2$s WHERE false',
			'TRUNCATE %1$s', 'LOCK TABLE %1$s IN ACCESS SHARE MODE', 'LOCK TABLE %1$s IN ROW SHARE MODE', 'LOCK TABLE %1$s IN ROW EXCLUSIVE MODE', 'LOCK TABLE ONLY %1$s IN SHARE MODE',
			'LOCK TABLE %1$s', 'LOCK TABLE pg_temp.over_%3$s IN EXCLUSIVE MODE', 'LOCK TABLE pg_temp.far_%3$s', 'COPY %1$s TO STDOUT', 'COPY %1$s FROM STDIN', 'CLUSTER %1$s', 'CLUSTER %1$s USING %4$s', 'REINDEX TABLE %1$s',
			'REINDEX INDEX dataprotect.%4$s', 'REINDEX INDEX %4$s', 'REINDEX TABLE %5$s', 'ANALYZE %1$s', 'ANALYZE %5$s', 'REFRESH MATERIALIZED VIEW %1$s', 'COMMENT ON TABLE %1$s IS NULL', 'ALTER TABLE %1$s SET (autovacuum_enabled = off)',
			'CREATE TRIGGER x BEFORE INSERT ON %1$s FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()', 'CREATE RULE x AS ON INSERT TO %1$s DO NOTHING',
			'ALTER TABLE %1$s DISABLE TRIGGER ALL', 'CREATE POLICY x ON %1$s', 'CREATE STATISTICS x ON %2$s, tableoid FROM %1$s', 'CREATE INDEX ON %1$s (%2$s)', 'CREATE TABLE pg_temp.child () INHERITS (%1$s)',
			'CREATE TABLE pg_temp.ref (i int REFERENCES %1$s)', 'CREATE PUBLICATION x FOR TABLE %1$s', 'DROP TABLE %1$s', 'SELECT setval(%3$s::regclass, 1)', 'SELECT nextval(%3$s::regclass)', 'SELECT last_value FROM %1$s']
		LOOP
			CONTINUE WHEN act ~ '%4' AND rel.index IS NULL OR act ~ '%5' AND rel.toast IS NULL OR act ~ 'val\(' AND rel.relkind <> 'S';
			BEGIN
				EXECUTE format(act, rel.name, rel.col, rel.oid, rel.index, rel.toast);
				RAISE EXCEPTION 'taken back' USING ERRCODE = 'ZZ001';
			EXCEPTION
				WHEN sqlstate 'ZZ001' THEN
					INSERT INTO allowed VALUES (act, rel.name);
				WHEN OTHERS THEN
					INSERT INTO refused VALUES (act, SQLSTATE);
			END;
		END LOOP;
	END LOOP;
END $$;
SELECT DISTINCT act FROM allowed ORDER BY act;
SELECT DISTINCT 'internal error: ' || act FROM refused WHERE state ~ '^(XX|57|08)';
SELECT (SELECT count(*) FROM allowed) + (SELECT count(*) FROM refused) || ' tried';
SELECT 'shown: ' || rel FROM pg_temp.allowed, LATERAL (SELECT query_to_xml(format('SELECT * FROM %s', rel), false, false, '')::text AS x) q WHERE act = 'SELECT count(*) FROM %1$s' AND x ~ 'anna@example';
SQL
my $reads = join "\n", 'LOCK TABLE %1$s IN ACCESS SHARE MODE', 'SELECT count(*) FROM %1$s', 'SELECT last_value FROM %1$s';
my $numbers_too = join "\n", 'SELECT nextval(%3$s::regclass)', 'SELECT setval(%3$s::regclass, 1)';
my $tried;
for my $role ('everything', split /\n/, $node->safe_psql('postgres', "SELECT rolname FROM pg_roles WHERE rolname ~ '^in_pg_' ORDER BY 1"))
{
	# A part of the tables for those that give nothing over tables.
	my $full = $role =~ /everything|_all_data|maintain/;
	my ($out, $err, $state) = as($node, $role, $attempts =~ s/%FULL%/$full ? 'true' : 'false'/er);
	my $may = $role =~ /everything|read_all_data/;
	my $n = $out =~ s/^(\d+) tried\n?//m ? $1 : 0;
	$tried //= $n;
	# what reads takes it; PostgreSQL 16 and newer lets those who may lock harder
	$out =~ s/^LOCK TABLE %1\$s IN ACCESS SHARE MODE\n?//m if !$may;
	my $wanted = $role eq 'everything' ? "$reads\n$numbers_too" : $may ? $reads : $role =~ /write_all_data/ ? $numbers_too : '';
	is($out =~ s/\n\z//r, $wanted, "$role: " . ($may ? 'reads as a dump does, and nothing else' : 'nothing but numbers')) or diag($err);
	cmp_ok($n, $full ? '==' : '>', $full ? $tried : 100, "$role: with all attempts");
}
cmp_ok($tried, '>', 2500, 'every table, every command');

# Sequences are data as well, and setval() asks nobody but PostgreSQL: what is numbered
# goes on behind the largest number that is there.
my $acts = "SELECT dataprotect.create_key('%s'); SELECT dataprotect.grant_access('pii', 'app', 'mask'); SELECT dataprotect.revoke_access('pii', 'app', 'mask'); SELECT dataprotect.place_hold('victim', 'id = 1', 'x')";
$node->safe_psql('postgres', $acts =~ s/%s/before/r);
my $numbers = "SELECT string_agg(n::text, ' ') FROM (SELECT max(family) AS n FROM dataprotect.key UNION ALL SELECT max(id) FROM dataprotect.access_grant UNION ALL SELECT max(id) FROM dataprotect.hold) s";
my $n_values = 0;
my @at = split / /, $node->safe_psql('postgres', $numbers);
for my $value ('1, true', '1, false', '%max, true', '%max, false', '%max - 1, true', '2, true')
{
	allowed($node, 'in_pg_write_all_data', "SELECT setval(seqrelid, " . ($value =~ s/%max/seqmax/r) . ") FROM pg_sequence JOIN pg_class c ON c.oid = seqrelid WHERE relnamespace = 'dataprotect'::regnamespace", "sets all sequences to $value");
	allowed($node, 'super', $acts =~ s/%s/"after" . ++$n_values/er, "sequences at $value: keys, grants and holds are made");
	is($node->safe_psql('postgres', $numbers), join(' ', map { ++$_ } @at), "sequences at $value: and have the next numbers");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.verify_policy()'), '0', 'and what decides is sealed');

# The largest numbers, in rows that nobody made by counting.
$node->safe_psql('postgres', "INSERT INTO dataprotect.access_grant (id, family, grantee, privilege, granted_by) OVERRIDING SYSTEM VALUE VALUES (9223372036854775807, 1, 'helper'::regrole, 'mask', 'x')");
allowed($node, 'super', $acts =~ s/%s/far/r, 'beside the largest number keys, grants and holds are made');
$node->safe_psql('postgres', 'DELETE FROM dataprotect.access_grant WHERE id = 9223372036854775807');
is($node->safe_psql('postgres', $numbers), join(' ', map { ++$_ } @at), 'and have the next numbers');

# What is prepared, explained or stored locks what it would write, though it never runs:
# keys, epochs and holds wait for such locks.
allowed($node, 'app', <<'SQL', 'makes tables, views and a rule of his own');
CREATE TABLE apps (id bigint);
CREATE TABLE ruled (id bigint);
CREATE VIEW way AS SELECT id FROM apps;
CREATE RULE r AS ON DELETE TO ruled DO INSTEAD DELETE FROM way;
CREATE OR REPLACE VIEW way AS SELECT id FROM dataprotect.hold;
CREATE VIEW way_as_caller WITH (security_invoker) AS SELECT id FROM dataprotect.hold;
CREATE VIEW handled AS SELECT id FROM dataprotect.hold;
CREATE FUNCTION handle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
CREATE TRIGGER handle INSTEAD OF DELETE ON handled FOR EACH ROW EXECUTE FUNCTION handle();
SQL
denied($node, 'app', $_, "locks nothing by: $_")
  for 'PREPARE a AS DELETE FROM dataprotect.key_version',
  'PREPARE a AS INSERT INTO dataprotect.epoch DEFAULT VALUES',
  'PREPARE a AS UPDATE dataprotect.hold SET reason = NULL',
  'PREPARE a AS WITH d AS (DELETE FROM dataprotect.epoch) SELECT 1',
  'PREPARE a AS MERGE INTO dataprotect.hold h USING (SELECT 1 AS i) s ON h.id = s.i WHEN MATCHED THEN DELETE',
  'EXPLAIN DELETE FROM dataprotect.epoch',
  map({ "PREPARE a AS DELETE FROM $_" } qw(way way_as_caller ruled)),
  'PREPARE a AS UPDATE handled SET id = 1',
  'CREATE RULE x AS ON DELETE TO apps DO INSTEAD DELETE FROM dataprotect.key_version',
  'CREATE RULE x AS ON DELETE TO apps DO ALSO (NOTIFY x; WITH d AS (UPDATE dataprotect.hold SET reason = NULL) INSERT INTO apps VALUES (1))',
  'CREATE FUNCTION x() RETURNS void BEGIN ATOMIC SELECT 1; DELETE FROM dataprotect.epoch; END',
  'CREATE FUNCTION x() RETURNS void BEGIN ATOMIC MERGE INTO way h USING apps s ON h.id = s.id WHEN MATCHED THEN DELETE; END',
  "CREATE FUNCTION x() RETURNS void LANGUAGE sql AS 'DELETE FROM dataprotect.epoch'";
allowed($node, 'app', $_, "goes on: $_")
  for 'PREPARE a AS DELETE FROM apps WHERE EXISTS (SELECT FROM dataprotect.hold)', 'PREPARE a AS DELETE FROM handled';
for my $role (qw(super app))
{
	my $what = $role eq 'super' ? 'a superuser does: ' : 'left as it was: ';
	my ($o) = as($node, $role, "BEGIN; PREPARE a AS DELETE FROM dataprotect.key_version; SELECT 'locked' FROM pg_locks WHERE relation = 'dataprotect.key_version'::regclass AND mode = 'RowExclusiveLock'");
	is($o, $role eq 'super' ? 'locked' : '', "$what prepares one");
}

# Records of the log have no place in a table.
refused($node, 'super', "SELECT * FROM dataprotect.audit_record $_", "reads records by $_", qr/^0A000$/) for 'FOR UPDATE', 'FOR KEY SHARE', 'TABLESAMPLE SYSTEM (10)';
refused($node, 'super', 'SELECT * FROM (SELECT * FROM dataprotect.audit_log) l FOR SHARE', 'locks them through a view', qr/^0A000$/);

# What is for the extension's own use is called by its own code alone, whatever the
# privileges say: public functions do some of their work with their caller's rights.
# A new one is refused by itself; one that must be called by others' statements
# stands in is_open() of src/keys/own_function.c, in pgxs/lint_catalog.sql and here.
$node->safe_psql('postgres', 'CREATE ROLE adm LOGIN IN ROLE dataprotect_admin; CREATE ROLE aud LOGIN IN ROLE dataprotect_auditor; '
	  . 'CREATE TABLE mine (id int, note text); ALTER TABLE mine OWNER TO adm; GRANT CREATE ON SCHEMA public TO adm');
my %open = (
	_kept_value => 'in plans of UPDATE over protected columns', _raise => 'raises an error and does nothing else',
	_row_shown => 'in the conditions of queries on tables with hidden rows; called by nobody else',
	_sealed_for => 'in the CHECK of bound tables', _seen_by => 'in plans, before what others wrote is called', _own_sql => 'in plans, for what a statement calls itself', _own_ts_stat => 'likewise',
	map({ $_ => 'in conditions, put there by the planner' } qw(_as_date _as_float4 _as_int2 _as_int4 _as_timestamp)),
	_fetch => 'in place of FETCH, which it executes', _for_client => 'around rows in results of clients\' queries, nowhere else',
	map({ $_ => 'in queries of the catalogs by clients' } qw(_catalog_length _catalog_modifier _catalog_type)),
	map({ $_ => 'in the view of the audit log, for auditors; of what they are given alone' } qw(_audit_may_read _known_keys _names_subject)),
	map { $_ => 'column of a view' } qw(_audit_line _audit_unseal _base_type _clock_status _column_now _digest_line _encrypted_parts _event_name _function_digest
	  _kms_status _modifier_parts _now _progress _retention_backlog _workers));
my $internal = <<'SQL';
SELECT p.proname || E'\t' || CASE WHEN p.prokind = 'p' THEN 'CALL ' WHEN p.prorettype = 'trigger'::regtype THEN 'SELECT ' ELSE 'SELECT * FROM ' END || format('%s.%I(%s)', p.pronamespace::regnamespace, p.proname,
       (SELECT string_agg(format(CASE p.prokind WHEN 'p' THEN 'NULL::%s' ELSE '(SELECT NULL::%s)' END, CASE WHEN t.typtype = 'p' THEN 'text' ELSE a.type::regtype::text END), ', ' ORDER BY a.n)
          FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY a (type, n) JOIN pg_type t ON t.oid = a.type))
  FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
 WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'dataprotect') AND p.proname ~ '^_' AND has_function_privilege('%ROLE%', p.oid, 'EXECUTE')
   AND NOT EXISTS (SELECT FROM pg_operator o WHERE o.oprcode = p.oid) AND NOT EXISTS (SELECT FROM pg_amproc a WHERE a.amproc = p.oid)
   AND NOT EXISTS (SELECT FROM pg_cast c WHERE c.castfunc = p.oid) AND NOT EXISTS (SELECT FROM pg_type t WHERE p.oid IN (t.typinput, t.typoutput))
 ORDER BY 1
SQL
my %called;
for my $role (qw(adm aud app))
{
	for my $line (split /\n/, $node->safe_psql('postgres', $internal =~ s/%ROLE%/$role/r))
	{
		my ($name, $call) = split /\t/, $line;
		$called{$name} = 1;
		next if $open{$name};
		refused($node, $role, $call, "internal function: $name", qr/^42501/);
	}
}
cmp_ok(scalar(keys %called), '>', 30, 'internal functions were found');
is(join(' ', grep { !$called{$_} && $node->safe_psql('postgres', "SELECT to_regproc('dataprotect.$_')") ne '' } sort keys %open), '', 'no function is called open that nobody may call');

# What an attacker would do with them.
$node->safe_psql('postgres', q{CREATE TABLE theirs (id int, email encrypted_text('pii')); INSERT INTO theirs VALUES (1, 'Zq9x-anna')});
for my $attempt (
	[ '_reencrypt_begin', "SELECT dataprotect._reencrypt_begin('mine', '{note}')", 'begins a pass over a column' ],
	[ '_reencrypt_batch', "SELECT dataprotect._reencrypt_batch('mine', '{note}')", 'goes through blocks' ],
	[ '_reencrypt_blocks', "SELECT dataprotect._reencrypt_blocks('mine', '{note}', 0, 1000)", 'goes through blocks that nobody counts' ],
	[ '_reencrypt_step', 'SELECT dataprotect._reencrypt_step()', 'does what the worker does' ],
	[ '_reencrypt_end', "SELECT dataprotect._reencrypt_end('mine', '{note}')", 'ends a pass, with its event' ],
	[ '_key_state', "SELECT dataprotect._key_state('pii')", 'asks for the state of a key' ],
	[ '_has_stale_versions', "SELECT dataprotect._has_stale_versions('pii')", 'asks for the versions of a key' ],
	[ '_export_rows', "SELECT * FROM dataprotect._export_rows('person', '1')", 'asks where an account has rows, without an event' ],
	[ '_export_rows_noted', "SELECT * FROM dataprotect._export_rows_noted('person', '1')", 'notes an export that there was not' ],
	[ '_rows_as_json', "SELECT * FROM dataprotect._rows_as_json('theirs', 'theirs', '{\"(0,1)\"}')", 'reads rows by their place' ],
	[ '_change_column', "SELECT dataprotect._change_column('mine', 'note', 'text')", 'changes a column without what goes with it' ])
{
	my ($name, $call, $what) = @$attempt;
	my ($o, $e, $state) = as($node, 'adm', $call);
	like($state, qr/^42(501|883)/, "adm $what") or diag("$o$e");
	($o, $e, $state) = as($node, 'adm', "DO \$do\$ BEGIN EXECUTE '" . ($call =~ s/'/''/gr) . "'; END \$do\$");
	like($state, qr/^42(501|883)/, "adm $what in a block") or diag("$o$e");
}
refused($node, 'adm', "CREATE FUNCTION helper() RETURNS text LANGUAGE sql AS 'SELECT dataprotect._key_state(''pii'')::text'; SELECT helper()",
	'calls one in a function of its own', qr/^42501/);
refused($node, 'adm', "CREATE VIEW keys_state AS SELECT dataprotect._key_state(k) FROM unnest('{pii}'::text[]) k; SELECT * FROM keys_state",
	'calls one in a view', qr/^42501/);
# And what they are for goes on.
allowed($node, 'adm', "CALL dataprotect.encrypt_column('mine', 'note', 'pii'); SELECT dataprotect.rotate_key('pii'); CALL dataprotect.reencrypt('mine'); SELECT count(*) FROM dataprotect.workers, dataprotect.kms_status",
	'protects a column and re-encrypts it');

done_testing();
