# What stands around the extension: others' operators and functions in the reader's
# search path, and roles, files and settings that make its promises worth less.
# Cases: operator-of-another-schema, roles-that-read-the-key-file.
use strict;
use warnings;

use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('surroundings');

sub one { return $node->safe_psql('postgres', $_[0]); }

# --- operator-of-another-schema: a better match in a schema of the path changes nothing
one(<<'SQL');
CREATE TABLE paired (id int PRIMARY KEY, email encrypted_text('pii'), n encrypted_int4('pii'), d encrypted_date('pii'));
INSERT INTO paired VALUES (1, 'anna-Zq9x@example.org', 7, '2020-01-02');
CREATE TABLE plain (id int PRIMARY KEY, email text, n int4, d date);
INSERT INTO plain VALUES (1, 'anna-Zq9x@example.org', 7, '2020-01-02');
GRANT SELECT ON paired, plain TO PUBLIC;
CREATE SCHEMA trap AUTHORIZATION nobody;
CREATE TABLE trap.caught (t text);
GRANT ALL ON SCHEMA trap TO PUBLIC;
GRANT ALL ON trap.caught TO PUBLIC;
SQL
# An operator for each type beside which PostgreSQL compares the plain column, both ways:
# a stranger makes none of a name that pg_catalog has, and what there is changes nothing.
my %beside = (encrypted_text => [qw(text varchar bpchar name)], encrypted_int4 => [qw(int2 int4 int8 numeric float8)], encrypted_date => [qw(date timestamp timestamptz)]);
my $body = q{RETURNS bool LANGUAGE plpgsql AS $$ BEGIN INSERT INTO trap.caught VALUES ($1::text || ' ' || $2::text); RETURN true; END $$};
my $n = 0;
for my $encrypted (sort keys %beside)
{
	for my $other (@{ $beside{$encrypted} })
	{
		for my $pair ([ $encrypted, $other ], [ $other, $encrypted ])
		{
			my $trap = 'trap.t' . ++$n;
			as($node, 'nobody', "CREATE FUNCTION $trap($pair->[0], $pair->[1]) $body");
			denied($node, 'nobody', "CREATE OPERATOR trap.$_ (FUNCTION = $trap, LEFTARG = $pair->[0], RIGHTARG = $pair->[1])", "operator-of-another-schema: makes $_ of @$pair")
			  for ('=', $encrypted eq 'encrypted_text' ? ('~~', '||') : ('<'));
		}
	}
}
my $one_argument = q{RETURNS text LANGUAGE plpgsql AS $$ BEGIN INSERT INTO trap.caught VALUES ($1::text); RETURN 'x'; END $$};
denied($node, 'nobody', "CREATE FUNCTION trap.$_ $one_argument", "operator-of-another-schema: makes $_")
  for qw(lower(encrypted_text) length(encrypted_text) md5(encrypted_text[]) abs(encrypted_int4));
denied($node, 'nobody', "CREATE DOMAIN trap.d AS encrypted_text('pii'); CREATE FUNCTION trap.upper(trap.d) $one_argument", 'operator-of-another-schema: makes upper of a domain');
denied($node, 'nobody', "CREATE FUNCTION trap.harmless(encrypted_text) $one_argument; ALTER FUNCTION trap.harmless RENAME TO lower", 'operator-of-another-schema: gives one the name');
allowed($node, 'nobody', "CREATE FUNCTION trap.own_name(encrypted_text) $one_argument; CREATE FUNCTION trap.lower(int) $one_argument", 'names of its own are free, and other types');
for my $expression (
	"email = 'nosuch'::varchar", "email = 'nosuch'::text", "email = 'nosuch'", "'nosuch'::bpchar = email", "'x'::name = email",
	"email <> 'nosuch'::varchar", "email < 'b'::varchar", "email LIKE 'anna%'::text", "email LIKE 'nosuch%'", "email NOT LIKE 'a%'::varchar",
	"email ~ '^b'::text", "(email || 'x'::text) = 'y'", "email IN ('a', 'b')", "email = ANY ('{a,b}'::varchar[])", "email IS DISTINCT FROM 'a'::varchar",
	'n = 8::int8', 'n = 7::int2', '7::numeric = n', 'n < 8::int8', 'n = 7.0::float8', 'n + 1 = 8', 'n BETWEEN 1::int8 AND 9', 'n IN (7::int8, 8)', 'abs(n) = 7',
	"d = '2020-01-02'::timestamp", "d < '2021-01-01'::timestamptz", "'2020-01-02'::date = d",
	"lower(email) = 'x'", 'length(email) = 3', "md5(email) = 'x'", "upper(email::text) = 'X'")
{
	my @answers = map { (as($node, 'reader', "SET search_path = public, trap; SELECT count(*) FROM $_ WHERE $expression"))[0, 2] } qw(paired plain);
	is("$answers[0] $answers[1]", "$answers[2] $answers[3]", "operator-of-another-schema: $expression as for a plain column");
}
is(one('SELECT count(*) FROM trap.caught'), '0', 'operator-of-another-schema: the trap has caught nothing');
# --- what the extension is made of: nobody owns, renames, moves, describes, labels, drops
# it or takes it out of the extension, and nobody sets what is not his to set
one('CREATE ROLE auditor LOGIN IN ROLE dataprotect_auditor; CREATE ROLE dbowner LOGIN CREATEDB CREATEROLE; ALTER DATABASE postgres OWNER TO dbowner; GRANT CREATE ON SCHEMA public TO dbowner');
my $members = <<'SQL';
SET client_min_messages = error;
CREATE TEMP TABLE outcome (act text, state text, what text);
CREATE FUNCTION public.stray_%1$s() RETURNS int LANGUAGE sql AS 'SELECT 1';
DO $do$
DECLARE
	m record;
	act text;
BEGIN
	FOR m IN SELECT kind, identity FROM (SELECT upper(i.type) AS kind, i.identity, row_number() OVER (PARTITION BY i.type ORDER BY md5(i.identity || current_user)) AS n
			FROM pg_depend d, LATERAL pg_identify_object(d.classid, d.objid, 0) i
			WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'dataprotect') AND d.deptype = 'e') x WHERE n <= %2$s
		UNION ALL VALUES ('SCHEMA', 'pg_catalog'), ('EXTENSION', 'dataprotect'), ('ROLE', 'dataprotect_admin'), ('ROLE', 'dataprotect_auditor')
	LOOP
		FOREACH act IN ARRAY ARRAY['ALTER %s %s OWNER TO CURRENT_USER', 'ALTER %s %s RENAME TO taken', 'ALTER %s %s SET SCHEMA public', 'COMMENT ON %s %s IS NULL', 'DROP %s %s CASCADE', 'ALTER EXTENSION dataprotect DROP %s %s',
			'ALTER EXTENSION dataprotect ADD %s %s', 'SECURITY LABEL ON %s %s IS NULL']
		LOOP
			CONTINUE WHEN m.kind = 'ROLE' AND act !~ 'RENAME|OWNER|DROP %|LABEL';
			BEGIN
				EXECUTE format(act, m.kind, m.identity);
				RAISE EXCEPTION USING ERRCODE = 'ZZ001';
			EXCEPTION WHEN OTHERS THEN
				INSERT INTO outcome VALUES (act, SQLSTATE, m.kind || ' ' || m.identity);
			END;
		END LOOP;
	END LOOP;
	FOREACH act IN ARRAY ARRAY['ALTER EXTENSION dataprotect ADD FUNCTION public.stray_%1$s()', 'ALTER EXTENSION dataprotect UPDATE', 'DROP EXTENSION dataprotect', 'DROP EXTENSION dataprotect CASCADE', 'CREATE TABLE dataprotect.mine (i int)',
		'CREATE FUNCTION dataprotect.mine() RETURNS int LANGUAGE sql AS $f$ SELECT 1 $f$', 'CREATE FUNCTION pg_catalog.mine() RETURNS int LANGUAGE sql AS $f$ SELECT 1 $f$', 'CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION public.stray_%1$s()',
		'CREATE TYPE pg_catalog.mine AS (i int)', 'DROP OWNED BY dataprotect_admin', 'DROP OWNED BY CURRENT_USER, dataprotect_auditor', 'CREATE PUBLICATION mine FOR ALL TABLES',
		'CREATE PUBLICATION mine FOR TABLES IN SCHEMA dataprotect', 'CREATE CAST (encrypted_text AS int4) WITHOUT FUNCTION', 'CREATE CAST (encrypted_text AS bytea) WITHOUT FUNCTION', 'CREATE CAST (bytea AS encrypted_text) WITHOUT FUNCTION',
		'CREATE OPERATOR CLASS mine FOR TYPE encrypted_text USING btree AS FUNCTION 1 bttextcmp(text, text)', 'CREATE TRANSFORM FOR encrypted_text LANGUAGE plpgsql (FROM SQL WITH FUNCTION public.stray_%1$s())', 'CREATE FUNCTION public.c() RETURNS int LANGUAGE c AS $f$dataprotect$f$, $f$dp_text_out$f$',
		'CREATE FUNCTION public.c(encrypted_text) RETURNS bytea LANGUAGE internal IMMUTABLE AS $f$byteaout$f$', 'ALTER SYSTEM SET dataprotect.approvals = off', 'ALTER SYSTEM SET shared_preload_libraries = $f$$f$', 'LOAD $f$dataprotect$f$',
		'SET session_replication_role = replica', 'CREATE SUBSCRIPTION mine CONNECTION $f$dbname=postgres$f$ PUBLICATION mine WITH (connect = false)', 'SELECT pg_create_logical_replication_slot($f$mine$f$, $f$test_decoding$f$)',
		'SELECT pg_log_backend_memory_contexts(pg_backend_pid())', 'SELECT pg_read_file($f$global/pg_control$f$)', 'SELECT count(*) FROM pg_hba_file_rules', 'SELECT pg_stat_reset()', 'SELECT pg_switch_wal()', 'CHECKPOINT',
		'SELECT lo_import($f$/etc/passwd$f$)', 'SELECT * FROM pg_ls_dir($f$.$f$)', 'SELECT pg_promote()', 'SELECT pg_extension_config_dump($f$dataprotect.key$f$, $f$$f$)']
	LOOP
		BEGIN
			EXECUTE act;
			RAISE EXCEPTION USING ERRCODE = 'ZZ001';
		EXCEPTION WHEN OTHERS THEN
			INSERT INTO outcome VALUES (act, SQLSTATE, '');
		END;
	END LOOP;
	FOR m IN SELECT name, setting, context FROM pg_settings WHERE name LIKE 'dataprotect.%%' AND context <> 'user' UNION ALL VALUES ('dataprotect.nosuch', 'x', '')
	LOOP
		FOREACH act IN ARRAY ARRAY['SET %s = %L', 'ALTER ROLE CURRENT_USER SET %s = %L', 'ALTER DATABASE postgres SET %s = %L', 'ALTER SYSTEM SET %s = %L', 'SELECT set_config(%3$L, %2$L, true) /* %1$s */', 'CREATE FUNCTION public.sets() RETURNS int LANGUAGE sql SET %s = %L AS $f$ SELECT 1 $f$']
		LOOP
			BEGIN
				EXECUTE format(act, m.name, m.setting, m.name);
				RAISE EXCEPTION USING ERRCODE = 'ZZ001';
			EXCEPTION WHEN OTHERS THEN
				INSERT INTO outcome VALUES (act, SQLSTATE, m.name);
			END;
		END LOOP;
	END LOOP;
END $do$;
SELECT 'done: ' || act || ' ' || what FROM outcome WHERE state = 'ZZ001';
SELECT 'internal error: ' || act || ' ' || what FROM outcome WHERE state ~ '^(XX|57|58|08)';
SELECT CASE WHEN count(*) FILTER (WHERE state = '42501') > 300 THEN 'refused' ELSE 'only ' || count(*) FILTER (WHERE state = '42501') || ' of ' || count(*) END FROM outcome;
SQL
for my $role (qw(nobody owner creator dbowner admin auditor dumper reader))
{
	my ($out, $err, $state) = as($node, $role, $members =~ s/%1\$s(?=\(\))/$role/gr =~ s/%2\$s/$role eq 'dbowner' ? 40 : 6/er =~ s/%%/%/gr);
	is($out =~ s/\n\z//r, 'refused', "$role: takes nothing of the extension, and sets nothing of its settings") or diag("$state $err");
}

# --- roles-that-read-the-key-file, and whatever else makes protection worth less
sub found
{
	my ($like) = @_;
	return one("SELECT count(*) FROM dataprotect.lint_configuration() WHERE finding ~ '$like' AND severity IN ('critical', 'high', 'medium') AND length(detail) > 10 AND length(hint) > 10");
}
my $file = one(q{SELECT substr(current_setting('dataprotect.default_kms_uri'), 8)});
one('CREATE ROLE runner LOGIN; CREATE ROLE team; CREATE ROLE member LOGIN IN ROLE team');
chomp(my $mode = `stat -c %a '$file'`);
for my $case (
	(map { [ "role \"runner\" reads files", "GRANT $_ TO runner", "REVOKE $_ FROM runner", "a member of $_" ] }
		  qw(pg_read_server_files pg_write_server_files pg_execute_server_program)),
	[ 'role "member" reads files', 'GRANT pg_read_server_files TO team', 'REVOKE pg_read_server_files FROM team', 'a member of a member' ],
	[ 'superuser ".*" has a grant', q{DO $$ BEGIN PERFORM dataprotect.grant_access('pii', current_user::regrole, 'reveal'); END $$},
		q{DO $$ BEGIN PERFORM dataprotect.revoke_access('pii', current_user::regrole); END $$}, 'a superuser with a grant' ],
	[ 'role "admin" administers grants and reads', q{SELECT dataprotect.grant_access('pii', 'admin', 'reveal')},
		q{SELECT dataprotect.revoke_access('pii', 'admin')}, 'an administrator who reads' ],
	[ 'is open to others', "COPY (SELECT 1) TO PROGRAM 'chmod 644 $file'", "COPY (SELECT 1) TO PROGRAM 'chmod $mode $file'", 'a key file that others can read' ],
	[ 'access_grant" was changed', 'UPDATE dataprotect.access_grant SET require_tls = NOT require_tls',
		'UPDATE dataprotect.access_grant SET require_tls = NOT require_tls', 'grants rewritten by hand' ])
{
	my ($like, $break, $mend, $what) = @$case;
	is(found($like), '0', "not yet: $what");
	one($break);
	cmp_ok(found($like), '>', 0, "lint_configuration tells of $what");
	one($mend);
	is(found($like), '0', "mended: $what");
}
# The case itself, as its actor would: it cannot be prevented, so it is said.
one('GRANT pg_execute_server_program TO runner');
my ($out, $err, $state) = as($node, 'runner', "CREATE TEMP TABLE k (t text); COPY k FROM PROGRAM 'od -An -tx1 $file | tr -d \" \\n\"'; SELECT length(t) > 0 FROM k");
is($state, '00000', 'a member of pg_execute_server_program reads the root key') or diag($err);
cmp_ok(found('role "runner" reads files'), '>', 0, 'roles-that-read-the-key-file: and is named');
denied($node, $_, 'SELECT * FROM dataprotect.lint_configuration()', 'asks what is weak here') for qw(nobody owner reader);
allowed($node, 'admin', 'SELECT * FROM dataprotect.lint_configuration()', 'asks what is weak here');

log_conceals($node);
done_testing();
