# A reader's statement runs functions that others put in its way.  If this fails,
# their authors read what the reader may read.  Cases:
# owners-functions-run-as-reader, grant-that-has-ended.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('foreign', conf => "log_statement = none\n");
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE author LOGIN;
CREATE ROLE checker LOGIN IN ROLE dataprotect_auditor;
CREATE ROLE twofold LOGIN IN ROLE nobody, reader;
ALTER TABLE victim OWNER TO author;
GRANT ALL ON victim TO PUBLIC;
SQL

# The author's functions: each tries to carry off what it is handed or can read.
my ($out, $err, $state) = as($node, 'author', <<'SQL');
CREATE TABLE loot (how text, t text);
GRANT ALL ON loot TO PUBLIC;
CREATE FUNCTION steal(how text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.loot SELECT how, email::text FROM public.victim;
	RETURN true;
EXCEPTION WHEN OTHERS THEN
	INSERT INTO public.loot VALUES (how, SQLSTATE);
	RETURN true;
END $$;
CREATE FUNCTION steal_arg(how text, v encrypted_text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.loot VALUES (how, v::text);
	RETURN true;
EXCEPTION WHEN OTHERS THEN
	INSERT INTO public.loot VALUES (how, SQLSTATE);
	RETURN true;
END $$;
CREATE FUNCTION steal_by_guess(how text, v encrypted_text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.loot VALUES (how, 'ORACLE ' || (v < 'm')::text);
	RETURN true;
EXCEPTION WHEN OTHERS THEN
	INSERT INTO public.loot VALUES (how, SQLSTATE);
	RETURN true;
END $$;
CREATE FUNCTION steal_sql(how text, v encrypted_text) RETURNS bool LANGUAGE sql AS $$
	INSERT INTO public.loot VALUES (how, v::text) RETURNING true
$$;
CREATE FUNCTION as_text(encrypted_text) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1::text';
CREATE FUNCTION as_text_parallel() RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE n bigint;
BEGIN
	SELECT count(*) INTO n FROM public.big WHERE email::text LIKE '%example%';
	RETURN n;
END $$;
CREATE FUNCTION steal_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM public.steal('trigger'), public.steal_arg('trigger, new', NEW.email), public.steal_by_guess('trigger, guess', NEW.email);
	RETURN NEW;
END $$;
CREATE OPERATOR === (FUNCTION = steal_arg, LEFTARG = text, RIGHTARG = encrypted_text);
CREATE TRIGGER t BEFORE UPDATE ON victim FOR EACH ROW EXECUTE FUNCTION steal_row();
CREATE VIEW stealing AS SELECT id, email, steal('view'), steal_arg('view, column', email), steal_by_guess('view, guess', email), 'operator' === email AS op FROM victim;
GRANT SELECT ON stealing TO PUBLIC;
CREATE TABLE big AS SELECT g AS id, v.email FROM victim v, generate_series(1, 4000) g WHERE v.id = 2;
GRANT ALL ON big TO PUBLIC;
SQL
is($state, '00000', 'the author has made everything') or diag($err);
is($node->safe_psql('postgres', 'ALTER TABLE big SET (parallel_workers = 2); SELECT count(*) FROM big'), '4000', 'a table for parallel plans');

sub loot
{
	my ($name) = @_;
	my ($rows) = as($node, 'author', 'SELECT how, t FROM loot');
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	unlike($rows, qr/Zq9x|ORACLE/, "$name: nothing was carried off") or diag($rows);
	isnt($rows, '', "$name: and it was tried");
	as($node, 'author', 'TRUNCATE loot');
	return;
}

my $emails = $node->safe_psql('postgres', 'SELECT string_agg(email, \',\' ORDER BY id) FROM victim', extra_params => [ '-U', 'reader' ]);
like($emails, qr/Zq9x/, 'the reader reads');
allowed($node, 'reader', 'UPDATE victim SET id = id', 'updates rows with the author\'s trigger');
loot('a trigger');
is((as($node, 'reader', 'SELECT string_agg(email, \',\' ORDER BY id) FROM stealing'))[0], $emails, 'a view over the author\'s functions shows the reader the same');
loot('a view');
allowed($node, 'reader', "SELECT steal('called'), steal_arg('called', email), steal_by_guess('called', email) FROM victim", 'calls them itself');
loot('a call');
refused($node, 'reader', "SELECT steal_sql('called', email) FROM victim", 'an SQL function', qr/^42501$/);
denied($node, 'reader', 'SELECT as_text(email) FROM victim', 'an SQL function that could be inlined');
denied($node, 'reader', 'SELECT as_text_parallel()', 'a function whose query could run in parallel workers');
is((as($node, 'reader', "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SELECT count(*) FROM big WHERE email::text LIKE '%Zq9x%'"))[0], '4000', 'the reader\'s own parallel query');

as($node, 'author', <<'SQL');
DROP TRIGGER t ON victim;
ALTER TABLE victim ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON victim USING (CASE WHEN current_setting('x.in', true) IS DISTINCT FROM '1'
	THEN set_config('x.in', '1', true) = '1' AND steal('policy') AND steal_arg('policy, column', email) AND set_config('x.in', '', true) = '' ELSE true END);
SQL
is((as($node, 'reader', 'SELECT string_agg(email, \',\' ORDER BY id) FROM victim'))[0], $emails, 'a policy that calls them leaves the reader\'s result');
loot('a policy');
as($node, 'author', 'DROP POLICY p ON victim; ALTER TABLE victim DISABLE ROW LEVEL SECURITY');

# The error says what is in the way, and who can help.
like((as($node, 'reader', 'SELECT as_text(email) FROM victim'))[1], qr/Function as_text\(encrypted_text\) is running, and its owner "author" does not have privilege "reveal".*trust_function/s, 'the error names the function and its owner');

# Trust: by an administrator, of the function as it is, until it changes.
refused($node, 'reader', "SELECT dataprotect.trust_function('as_text(encrypted_text)', 'x')", 'trusts no function itself', qr/^42501$/);
refused($node, 'author', "SELECT dataprotect.trust_function('as_text(encrypted_text)', 'x')", 'nor does its author', qr/^42501$/);
refused($node, 'admin', "SELECT dataprotect.trust_function('as_text(encrypted_text)', '')", 'a reason is asked for', qr/^22023$/);
refused($node, 'admin', "SELECT dataprotect.trust_function(0::oid::regprocedure, 'x')", 'a function that is not there', qr/^42883$/);
allowed($node, 'admin', "SELECT dataprotect.trust_function('as_text(encrypted_text)', 'reviewed')", 'an administrator trusts it');
is((as($node, 'reader', 'SELECT string_agg(as_text(email), \',\' ORDER BY id) FROM victim'))[0], $emails, 'a trusted function works');
denied($node, 'nobody', 'SELECT as_text(email) FROM victim', 'and gives nobody a right');
is(join('', (as($node, 'admin', "SELECT string_agg(function || ' ' || in_force, ',') FROM dataprotect.trusted_functions"))[0, 1]), 'as_text(encrypted_text) true', 'an administrator sees what is trusted');
# Who protects a column is told whose functions will miss its values.
$node->safe_psql('postgres', q{CREATE TABLE to_protect (id int, v text); ALTER TABLE to_protect OWNER TO admin;
	CREATE FUNCTION author_reads() RETURNS text LANGUAGE sql AS 'SELECT v::text FROM to_protect'; ALTER FUNCTION author_reads() OWNER TO author;
	CREATE FUNCTION reader_reads() RETURNS text LANGUAGE sql AS 'SELECT v::text FROM to_protect'; ALTER FUNCTION reader_reads() OWNER TO reader});
like((as($node, 'admin', "CALL dataprotect.encrypt_column('to_protect', 'v', 'pii')"))[1], qr/given no value of column "v", whoever runs them: public\.author_reads\(\)\n.*trust_function/, 'it names the functions that would need trust');

# One session of the reader's with a prepared statement; between its executions
# somebody else acts.  What it showed: S, hidden or refused: -.
sub session_shows
{
	my (@acts) = @_;
	my $psql = sprintf 'psql -X -q -h %s -p %s -d postgres', $node->host, $node->port;
	my $execute = "\\echo =\nEXECUTE q;\n";
	my $sql = "\\set ON_ERROR_STOP off\nPREPARE q AS SELECT as_text(email) FROM victim WHERE id = 2;\n" . $execute x 7;
	for my $act (@acts)
	{
		my ($role, $statement) = @$act;
		my $file = $node->basedir . '/act' . ++$node->{dp_acts} . '.sql';
		append_to_file($file, "$statement;\n");
		$sql .= "\\! $psql -U $role -f $file >/dev/null\n$execute";
	}
	my ($shown) = as($node, 'reader', $sql);
	my @parts = split /^=$/m, $shown, -1;
	shift @parts;
	return join '', map { /zq9x/i ? 'S' : '-' } @parts[ 6 .. $#parts ];
}
my $su = $node->safe_psql('postgres', 'SELECT current_user');
is(session_shows([ 'author', q{CREATE OR REPLACE FUNCTION as_text(encrypted_text) RETURNS text LANGUAGE sql STABLE AS 'SELECT lower($1::text)'} ],
		[ 'admin', "SELECT dataprotect.trust_function('as_text(encrypted_text)', 'reviewed again')" ],
		[ 'admin', "SELECT dataprotect.distrust_function('as_text(encrypted_text)', 'no more')" ],
		[ $su, "SELECT dataprotect.grant_access('pii', 'author', 'reveal')" ],
		[ $su, "SELECT dataprotect.revoke_access('pii', 'author')" ],
		[ $su, 'ALTER FUNCTION as_text(encrypted_text) OWNER TO CURRENT_USER' ],
		[ $su, 'ALTER FUNCTION as_text(encrypted_text) OWNER TO author' ]),
	'S-S-S-S-', 'trusted; changed; trusted again; distrusted; its owner may read; may not; a superuser owns it; the author again: at once, in a prepared statement');
refused($node, 'admin', "SELECT dataprotect.distrust_function('as_text(encrypted_text)', 'twice')", 'distrusting twice', qr/^42704$/);
is($node->safe_psql('postgres', 'SELECT count(*) FROM dataprotect.trusted_functions'), '0', 'nothing is trusted any more');

# A body that an administrator's function runs is its own; an author who becomes
# superuser for a moment gains nothing for later.
$node->safe_psql('postgres', 'CREATE FUNCTION own_text(encrypted_text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT $1::text $$');
like((as($node, 'reader', 'SELECT own_text(email) FROM victim WHERE id = 2'))[0], qr/Zq9x/, 'a superuser\'s function is no foreign code');
$node->safe_psql('postgres', 'ALTER FUNCTION own_text(encrypted_text) OWNER TO author');
denied($node, 'reader', 'SELECT own_text(email) FROM victim WHERE id = 2', 'once it is the author\'s, it is');

# Without a function of the author's: volatile built-in functions in views and
# policies, and what a rule stores.  Other built-in functions go on.
($out, $err, $state) = as($node, 'author', <<'SQL');
CREATE VIEW plain AS SELECT id, lower(email) AS low, length(email) AS len, email || '!' AS loud, now() AS at, random() < 2 AS r FROM victim;
CREATE VIEW notifying AS SELECT id, pg_notify('loot', email::text) IS NULL AS n FROM victim;
CREATE VIEW inner_text AS SELECT id, email::text AS t FROM victim;
CREATE VIEW outer_setting AS SELECT set_config('loot.t', t, false) FROM inner_text;
CREATE VIEW sub_notify AS SELECT (SELECT pg_notify('loot', v.email::text)::text FROM (SELECT 1) s) FROM victim v;
CREATE VIEW nested AS SELECT * FROM (SELECT pg_notify('loot', email::text)::text AS n FROM victim OFFSET 0) s;
CREATE VIEW with_cte AS WITH x AS MATERIALIZED (SELECT pg_notify('loot', email::text)::text AS n FROM victim) SELECT * FROM x;
CREATE VIEW united AS SELECT pg_notify('loot', email::text)::text AS n FROM victim UNION ALL SELECT '';
CREATE VIEW updatable AS SELECT * FROM victim WHERE pg_notify('loot', email::text) IS NOT NULL;
CREATE VIEW barrier WITH (security_barrier) AS SELECT * FROM victim WHERE pg_notify('loot', email::text) IS NOT NULL;
CREATE VIEW returning_it AS SELECT id, email, pg_notify('loot', email::text)::text AS n FROM victim;
CREATE VIEW updatable_plain AS SELECT id, email FROM victim WHERE id > 0;
GRANT ALL ON nested, with_cte, united, updatable, barrier, returning_it, updatable_plain TO PUBLIC;
CREATE FUNCTION leave_cursor() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT pg_notify(''loot'', email::text) FROM victim'; END $$;
CREATE FUNCTION leave_statement() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'PREPARE p AS SELECT pg_notify(''loot'', email::text) FROM victim'; END $$;
CREATE FUNCTION leave_function() RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CREATE FUNCTION pg_temp.leak() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN INSERT INTO public.loot SELECT 1, email::text FROM public.victim; RETURN NULL; END'''; END $$;
CREATE TABLE ruled (id int, email encrypted_text('pii'));
INSERT INTO ruled SELECT id, email FROM victim;
CREATE RULE r AS ON UPDATE TO ruled DO ALSO INSERT INTO loot VALUES ('rule', OLD.email::text);
CREATE TABLE ruled2 (id int, email encrypted_text('pii'));
INSERT INTO ruled2 SELECT id, email FROM victim;
CREATE RULE r AS ON UPDATE TO ruled2 WHERE OLD.email < 'm' DO ALSO INSERT INTO loot VALUES ('rule', 'ORACLE');
CREATE TABLE ruled3 (id int, email encrypted_text('pii'));
INSERT INTO ruled3 SELECT id, email FROM victim;
CREATE RULE r AS ON UPDATE TO ruled3 DO ALSO INSERT INTO loot VALUES ('rule', OLD.id::text);
GRANT ALL ON plain, notifying, inner_text, outer_setting, sub_notify, ruled, ruled2, ruled3 TO PUBLIC;
SQL
is($state, '00000', 'views and rules are made') or diag($err);
as($node, 'author', 'TRUNCATE loot');
allowed($node, 'reader', 'SELECT * FROM plain', 'a view with ordinary functions');
like((as($node, 'reader', 'SELECT low, loud FROM plain WHERE id = 2'))[0], qr/zq9x.*Zq9x.*!/, 'shows the reader what it computes');
allowed($node, 'reader', 'SELECT t FROM inner_text', 'a view with a cast');
denied($node, 'reader', 'SELECT * FROM notifying', 'pg_notify() in a view');
denied($node, 'reader', 'SELECT * FROM outer_setting', 'set_config() in a view over a view');
denied($node, 'reader', 'SELECT * FROM sub_notify', 'pg_notify() in a subquery of a view');
denied($node, 'reader', "SELECT * FROM $_", "pg_notify() below the top of a view: $_") for qw(nested with_cte united);
denied($node, 'reader', $_, "a view that is written through: $_")
  for ('DELETE FROM updatable WHERE id = 0', 'UPDATE updatable SET id = id WHERE id = 0', 'DELETE FROM barrier WHERE id = 0', 'UPDATE returning_it SET id = id RETURNING *');
allowed($node, 'reader', 'UPDATE updatable_plain SET id = id', 'a view without that is written through');
denied($node, 'reader', "SELECT $_()", "$_() leaves nothing behind") for qw(leave_cursor leave_statement leave_function);
denied($node, 'reader', 'SELECT (SELECT count(*) FROM notifying)', 'in a subquery');
denied($node, 'reader', 'WITH x AS (SELECT * FROM notifying) SELECT * FROM x', 'in a CTE');
denied($node, 'reader', 'UPDATE ruled SET id = id', 'a rule that stores a cast');
denied($node, 'reader', 'UPDATE ruled2 SET id = id', 'a rule with a condition over the value');
allowed($node, 'reader', 'UPDATE ruled3 SET id = id', 'a rule over other columns');
unlike((as($node, 'author', 'SELECT how, t FROM loot'))[0], qr/Zq9x|ORACLE/, 'nothing was carried off');
allowed($node, 'nobody', 'SELECT id FROM plain', 'who may see nothing either is not kept from a view');
for my $sql ('ALTER TABLE victim ADD CHECK (pg_notify(\'loot\', email::text) IS NOT NULL)',
	'ALTER TABLE victim ADD CONSTRAINT c CHECK (set_config(\'loot.t\', lower(email), false) <> \'\') NOT VALID',
	'CREATE TRIGGER c BEFORE UPDATE ON victim FOR EACH ROW WHEN (pg_notify(\'loot\', NEW.email::text) IS NOT NULL) EXECUTE FUNCTION steal_row()',
	'CREATE DOMAIN leaking AS encrypted_text CHECK (pg_notify(\'loot\', VALUE::text) IS NOT NULL)')
{
	refused($node, 'author', $sql, $sql =~ s/'.*//r, qr/^(?:42P17|42P16)$/);
}
allowed($node, 'author', 'ALTER TABLE victim ADD CONSTRAINT fine CHECK (email <> \'nobody\' AND random() < 2 AND id > 0) NOT VALID; ALTER TABLE victim DROP CONSTRAINT fine', 'a CHECK with other functions');
as($node, 'author', <<'SQL');
ALTER TABLE victim ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON victim USING (pg_notify('loot', email::text) IS NOT NULL);
SQL
denied($node, 'reader', 'SELECT * FROM victim', 'pg_notify() in a policy');
as($node, 'author', 'DROP POLICY p ON victim; CREATE POLICY p ON victim USING (email <> current_user::text)');
allowed($node, 'reader', 'SELECT * FROM victim', 'an ordinary policy');
as($node, 'author', 'DROP POLICY p ON victim; ALTER TABLE victim DISABLE ROW LEVEL SECURITY');
$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'author', 'reveal')");
allowed($node, 'reader', 'SELECT * FROM notifying', 'where its owner may read as well');
$node->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'author')");
# A plan that was made for one role is not another's.
my ($planned) = as($node, 'twofold', "SET ROLE nobody; PREPARE q AS SELECT n FROM notifying; EXECUTE q; EXECUTE q; EXECUTE q; EXECUTE q; EXECUTE q; EXECUTE q; RESET ROLE; SET ROLE reader;\n\\set ON_ERROR_STOP off\nEXECUTE q; SELECT 'end'");
unlike($planned, qr/Zq9x/, 'nothing is shown');
denied($node, 'twofold', "SET ROLE nobody; PREPARE q AS SELECT n FROM notifying; EXECUTE q; RESET ROLE; SET ROLE reader; EXECUTE q", 'a statement prepared as a role that may see nothing');
$node->safe_psql('postgres', 'CREATE DATABASE plain');
is($node->safe_psql('plain', 'CREATE ROLE squatter; CREATE SCHEMA dataprotect AUTHORIZATION squatter; CREATE ROLE gone; DROP ROLE gone; CREATE ROLE x; CREATE TABLE t (a int); CREATE VIEW v AS SELECT set_config(\'x.y\', a::text, false) FROM t; ALTER VIEW v OWNER TO x; GRANT SELECT ON t TO x; SELECT count(*) FROM v'), '0', 'a database without the extension');

# The log says so.
is((as($node, 'checker', 'SELECT dataprotect.flush_audit_log()'))[0], 't', 'everything is logged');
is((as($node, 'checker', "SELECT string_agg(event || ':' || outcome, ',' ORDER BY seq) FROM dataprotect.audit_log WHERE event LIKE 'function.%' AND session_role = 'admin' AND outcome = 'ok'"))[0],
	'function.trusted:ok,function.trusted:ok,function.distrusted:ok', 'trust is in the audit log');

# A grant ends within a statement that began before: however long it takes to begin it.
$node->safe_psql('postgres', 'CREATE ROLE brief LOGIN');
for my $seconds (2, 15, 120)
{
	my $until = $node->safe_psql('postgres', "SELECT clock_timestamp() + interval '$seconds seconds'");
	$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'brief', 'reveal', valid_until => '$until')");
	(undef, $err) = as($node, 'brief', <<"SQL");
DO \$\$
DECLARE r text; began timestamptz;
BEGIN
	LOOP
		began := clock_timestamp();
		BEGIN
			r := NULL;
			SELECT email::text INTO r FROM victim WHERE id = 2;
		EXCEPTION WHEN insufficient_privilege THEN
			r := 'denied';
		END;
		IF clock_timestamp() < '$until' THEN
			RAISE NOTICE 'before %', CASE WHEN r LIKE '%Zq9x%' THEN 'shown' ELSE 'hidden' END;
		ELSIF began > '$until' THEN
			RAISE NOTICE 'after %', CASE WHEN r LIKE '%Zq9x%' THEN 'shown' ELSE 'hidden' END;
			EXIT;
		END IF;
		PERFORM pg_sleep(0.05);
	END LOOP;
END \$\$;
SQL
	last if $err =~ /before/;
}
like($err, qr/before shown/, 'a grant for a short time holds');
unlike($err, qr/before hidden/, 'as long as it was given');
like($err, qr/after hidden/, 'and ends, in the middle of a statement');

# What a function returns is made by its type's owner: another type ends the trust, with the same text.
as($node, 'author', q{CREATE FUNCTION returned(v encrypted_text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN v::text; END'});
allowed($node, 'admin', "SELECT dataprotect.trust_function('returned(encrypted_text)', 'reviewed')", 'a function that returns text is trusted');
like((as($node, 'reader', 'SELECT returned(email) FROM victim'))[0], qr/zq9x/i, 'and works');
as($node, 'author', q{DROP FUNCTION returned; CREATE DOMAIN text_of AS text; CREATE FUNCTION returned(v encrypted_text) RETURNS text_of LANGUAGE plpgsql AS 'BEGIN RETURN v::text; END'});
denied($node, 'reader', 'SELECT returned(email) FROM victim', 'made again to return a domain it is not trusted');

log_conceals($node);
$node->stop;
done_testing();
