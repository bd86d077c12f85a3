# What others have stored runs in a reader's or an administrator's statement without a
# function of theirs: built-in functions that run a text of SQL, C functions of
# extensions that do, functions of our own.  If this fails, whoever owns a table reads
# what those may read who write into it, or grants himself what he wants.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('stored', conf => "log_statement = none\nlog_min_messages = fatal\n");
my %contrib = map { $_ => $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = '$_'") } qw(tablefunc dblink xml2 tcn uuid-ossp);
$node->safe_psql('postgres', join '', map { $contrib{$_} ? "CREATE EXTENSION \"$_\";" : '' } sort keys %contrib);
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE author LOGIN;
CREATE SCHEMA a AUTHORIZATION author;
GRANT ALL ON SCHEMA a TO PUBLIC;
CREATE FUNCTION public.places(o oid) RETURNS text LANGUAGE sql AS 'SELECT $1::regprocedure::text';
-- every built-in function that takes a text, a name, a relation or a cursor, called with what could open the table
CREATE TABLE calls AS
SELECT row_number() OVER (ORDER BY p.oid, t.n)::int AS id, p.proname AS name, p.proretset AS rows,
       format('pg_catalog.%I(%s)', p.proname, (SELECT string_agg(CASE a.type
              WHEN 'text'::regtype THEN quote_literal(t.query) WHEN 'cstring'::regtype THEN quote_literal(t.query) || '::cstring' WHEN 'name'::regtype THEN '''public''::name'
              WHEN 'regclass'::regtype THEN '''public.victim''::regclass' WHEN 'regnamespace'::regtype THEN '''public''::regnamespace' WHEN 'refcursor'::regtype THEN '''rc''::refcursor'
              WHEN 'bool'::regtype THEN 'true' WHEN 'tsquery'::regtype THEN '''x''::tsquery' WHEN 'oid'::regtype THEN '''public.victim''::regclass::oid'
              ELSE format('1::%s', a.type::regtype) END, ', ' ORDER BY a.o)
              FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY a (type, o))) AS call
  FROM pg_proc p, (VALUES (1, 'SELECT email::text FROM public.victim'), (2, 'SELECT to_tsvector(''simple'', email::text) FROM public.victim'),
                   (3, 'SELECT ''x''::tsquery, phraseto_tsquery(''simple'', email::text) FROM public.victim WHERE id = 2')) t (n, query)
 WHERE p.oid < 16384 AND p.prokind = 'f' AND p.provariadic = 0
   AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype, 'language_handler'::regtype)
   AND p.proargtypes::oid[] && '{text,name,regclass,regnamespace,refcursor,cstring}'::regtype[]::oid[]
   AND p.proargtypes::oid[] <@ '{text,name,regclass,regnamespace,refcursor,cstring,bool,tsquery,oid,int2,int4,int8,float8,numeric}'::regtype[]::oid[]
   AND (t.n = 1 OR p.proargtypes::oid[] && '{text,cstring}'::regtype[]::oid[])
   AND p.proname !~ '^pg_(sleep|advisory|try_advisory)';
GRANT SELECT ON calls TO PUBLIC;
SQL
my ($out, $err, $state) = as($node, 'author', <<'SQL');
CREATE TABLE a.loot (how text, t text);
GRANT ALL ON a.loot TO PUBLIC;
CREATE FUNCTION a.f(v text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF v ~* 'zq9x' THEN
		RAISE NOTICE 'GOT %', current_setting('x.place', true);
	END IF;
	RETURN v;
END $$;
DO $$
DECLARE c record; n int := 0;
BEGIN
	FOR c IN SELECT * FROM public.calls LOOP
		BEGIN
			IF c.rows THEN
				EXECUTE format('CREATE VIEW a.v_%s AS SELECT string_agg(r::text, '','') AS t FROM %s AS r', c.id, c.call);
			ELSE
				EXECUTE format('CREATE TABLE a.t_%s (id int, t text DEFAULT (%s)::text)', c.id, c.call);
			END IF;
			n := n + 1;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	EXECUTE 'GRANT ALL ON ALL TABLES IN SCHEMA a TO PUBLIC';
	RAISE NOTICE 'MADE %', n;
END $$;
SQL
is($state, '00000', 'the author has stored a call of each built-in function') or diag($err);
my ($made) = $err =~ /MADE (\d+)/;
cmp_ok($made // 0, '>', 400, 'which are many') or diag($made);

my $all = <<'SQL';
BEGIN; DECLARE rc SCROLL CURSOR WITHOUT HOLD FOR SELECT email::text FROM victim;
DO $$
DECLARE c record; got text; refused int := 0; ran int := 0;
BEGIN
	FOR c IN SELECT k.*, r.relkind FROM public.calls k JOIN pg_class r ON r.relname IN ('v_' || k.id, 't_' || k.id) AND r.relnamespace = 'a'::regnamespace LOOP
		ran := ran + 1;
		BEGIN
			EXECUTE format(CASE c.relkind WHEN 'v' THEN 'SELECT t FROM a.v_%s' ELSE 'INSERT INTO a.t_%s (id) VALUES (1) RETURNING t' END, c.id) INTO got;
			-- the text itself holds no value
			IF got ~* 'zq9x' THEN RAISE NOTICE 'LEAK %', c.call; END IF;
		EXCEPTION WHEN insufficient_privilege THEN refused := refused + 1;
			WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	RAISE NOTICE 'RAN % REFUSED %', ran, refused;
END $$;
ROLLBACK;
SQL
(undef, $err) = as($node, 'reader', $all);
unlike($err, qr/LEAK/, 'none of them opens a value for its author') or diag(join "\n", $err =~ /LEAK (.*)/g);
like($err, qr/RAN $made /, 'all of them ran') or diag($err);

# ---- functions of superusers that run what they are told ----
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION public.count_estimate(query text) RETURNS text LANGUAGE plpgsql AS $$DECLARE r text; BEGIN EXECUTE query INTO r; RETURN r; END$$;
CREATE FUNCTION public.rows_of(rel regclass) RETURNS SETOF text LANGUAGE plpgsql STABLE AS $$BEGIN RETURN QUERY EXECUTE format('SELECT email::text FROM %s', rel); END$$;
CREATE FUNCTION public.told_by_json(j jsonb) RETURNS text LANGUAGE plpgsql AS $$DECLARE c refcursor; r text; BEGIN OPEN c FOR EXECUTE j ->> 'q'; FETCH c INTO r; RETURN r; END$$;
CREATE FUNCTION public.told_xml(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN query_to_xml(q, true, true, '')::text; END$$;
CREATE FUNCTION public.told_trigger() RETURNS trigger LANGUAGE plpgsql AS $$DECLARE r text; BEGIN EXECUTE TG_ARGV[0] INTO r; NEW.t := r; RETURN NEW; END$$;
CREATE FUNCTION public.twice(n int) RETURNS int LANGUAGE plpgsql AS $$DECLARE r int; BEGIN EXECUTE 'SELECT 2 * ' || n INTO r; RETURN r; END$$;
CREATE VIEW public.su_counts AS SELECT public.count_estimate('SELECT email::text FROM public.victim WHERE id = 2') AS t;
GRANT SELECT ON public.su_counts TO PUBLIC;
SQL
my %su_told = (
	'EXECUTE' => q{public.count_estimate('SELECT email::text FROM public.victim WHERE id = 2')},
	'EXECUTE that writes' => q{public.count_estimate('INSERT INTO a.loot SELECT ''x'', email::text FROM public.victim RETURNING t')},
	'EXECUTE over a relation' => q{(SELECT string_agg(r, ',') FROM public.rows_of('public.victim') r)},
	'a cursor' => q{public.told_by_json('{"q": "SELECT email::text FROM public.victim WHERE id = 2"}')},
	'a built-in function' => q{public.told_xml('SELECT email::text AS e FROM public.victim')});
for my $name (sort keys %su_told)
{
	my @ways = ([ 'view', "CREATE OR REPLACE VIEW a.su_told AS SELECT $su_told{$name} AS t", 'SELECT t FROM a.su_told' ]);
	push @ways, [ 'default', "CREATE TABLE a.su_told (id int, t text DEFAULT $su_told{$name})", 'INSERT INTO a.su_told (id) VALUES (1) RETURNING t' ] if $su_told{$name} !~ /SELECT string_agg/;
	for my $way (@ways)
	{
		my ($o, $e, $s) = as($node, 'author', "$way->[1]; GRANT ALL ON a.su_told TO PUBLIC");
		is($s, '00000', "$way->[0] that tells a superuser's function: $name") or diag($e);
		($o, $e, $s) = as($node, 'reader', $way->[2]);
		ok($s eq '42501' && "$o$e" !~ /zq9x/i, 'which opens nothing for who told it') or diag("$s $o $e");
		as($node, 'author', $way->[0] eq 'view' ? 'DROP VIEW a.su_told' : 'DROP TABLE a.su_told');
	}
	like((as($node, 'reader', "SELECT $su_told{$name}"))[0], qr/zq9x/i, "in the reader's own words: $name");
}
as($node, 'author', q{CREATE TABLE a.su_told (id int, t text); CREATE TRIGGER t BEFORE INSERT ON a.su_told FOR EACH ROW EXECUTE FUNCTION public.told_trigger('SELECT email::text FROM public.victim WHERE id = 2'); GRANT ALL ON a.su_told TO PUBLIC});
unlike(join(' ', as($node, 'reader', 'INSERT INTO a.su_told VALUES (1) RETURNING t')), qr/zq9x/i, 'nor a trigger that runs its argument');
as($node, 'author', 'DROP TABLE a.su_told; CREATE TABLE a.su_told (id int DEFAULT public.twice(4)); GRANT ALL ON a.su_told TO PUBLIC');
is((as($node, 'reader', 'INSERT INTO a.su_told DEFAULT VALUES RETURNING id'))[0], '8', 'one that takes numbers goes on');
like((as($node, 'reader', 'SELECT t FROM su_counts'))[0], qr/zq9x/i, 'and what a superuser\'s view tells one');
as($node, 'author', 'DROP TABLE a.su_told');
# many that call their own name are judged at once, and what is found behind a circle of names counts
my @family = qw(text varchar name bytea json jsonb xml text[] varchar[] name[] bytea[] bpchar[]);
$node->safe_psql('postgres', join "\n", map { "CREATE FUNCTION public.fam(v $_) RETURNS text LANGUAGE plpgsql AS \$\$BEGIN IF v IS NULL THEN RETURN public.fam(v); END IF; RETURN 'none'; END\$\$;" } @family);
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION public.ring_a(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN IF q IS NULL THEN RETURN public.fam(q); END IF; RETURN public.ring_b(q); END$$;
CREATE FUNCTION public.ring_b(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN IF q IS NULL THEN RETURN public.ring_a(q); END IF; RETURN public.ring_c(q); END$$;
CREATE FUNCTION public.ring_c(q text) RETURNS text LANGUAGE plpgsql AS $$BEGIN IF q IS NULL THEN RETURN public.ring_b(q) || public.ring_a(q); END IF; RETURN public.count_estimate(q); END$$;
SQL
as($node, 'author', 'CREATE VIEW a.su_family AS SELECT public.fam(\'x\'::text) AS t; GRANT SELECT ON a.su_family TO PUBLIC');
is((as($node, 'reader', 'SELECT t FROM a.su_family'))[0], 'none', 'twelve that call their own name are judged, and run nothing');
for my $ring (qw(a b c))
{
	as($node, 'author', "CREATE VIEW a.su_ring_$ring AS SELECT public.ring_$ring('SELECT email::text FROM public.victim WHERE id = 2') AS t; GRANT SELECT ON a.su_ring_$ring TO PUBLIC");
	my ($o, $e, $s) = as($node, 'reader', "SELECT t FROM a.su_ring_$ring");
	ok($s eq '42501' && "$o$e" !~ /zq9x/i, "one in a circle of names that ends at a runner: $ring") or diag("$s $o $e");
}
# the word alone makes no runner, and what is one goes on where it is trusted
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION public.worded() RETURNS trigger LANGUAGE plpgsql AS $$DECLARE executed_at timestamptz; "execute" text := 'EXECUTE ''it''' || $q$ execute $q$ || E'\\\' execute'; -- execute
BEGIN /* execute /* nested */ execute */ IF TG_NARGS > 0 THEN NEW.t := (SELECT email::text FROM public.victim WHERE id = TG_ARGV[0]::int); END IF; RETURN NEW; END$$;
CREATE FUNCTION public.beside(q text) RETURNS text LANGUAGE plpgsql AS $$DECLARE r text := '''/*'; /* ' */ BEGIN execute/**/q INTO r; RETURN r; END$$;
CREATE FUNCTION public.escaped(q text) RETURNS text LANGUAGE plpgsql SET standard_conforming_strings = off SET escape_string_warning = off AS $$DECLARE r text := '\\'; b text := '/*'; BEGIN EXECUTE q INTO r; RETURN r; END$$;
CREATE TABLE public.su_worded (id int, t text);
CREATE TRIGGER t BEFORE INSERT ON public.su_worded FOR EACH ROW EXECUTE FUNCTION public.worded('2');
CREATE TABLE a.su_parts (id int) PARTITION BY LIST (id);
ALTER TABLE a.su_parts OWNER TO reader;
CREATE TABLE public.su_parent (id int);
CREATE FUNCTION public.make_part() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN EXECUTE format('CREATE TABLE a.%I PARTITION OF a.su_parts FOR VALUES IN (%s)', TG_ARGV[0] || NEW.id, NEW.id); RETURN NEW; END$$;
CREATE TRIGGER t BEFORE INSERT ON public.su_parent FOR EACH ROW EXECUTE FUNCTION public.make_part('su_part_');
GRANT ALL ON public.su_worded, public.su_parent TO PUBLIC;
SQL
like((as($node, 'reader', 'INSERT INTO su_worded VALUES (1) RETURNING t'))[0], qr/zq9x/i, 'a trigger with "execute" in a comment, a name and a string runs nothing that it is told');
for my $hidden (qw(beside escaped))
{
	as($node, 'author', "CREATE TABLE a.su_told (id int, t text DEFAULT public.$hidden('SELECT email::text FROM public.victim WHERE id = 2')); GRANT ALL ON a.su_told TO PUBLIC");
	my ($o, $e, $s) = as($node, 'reader', 'INSERT INTO a.su_told (id) VALUES (1) RETURNING t');
	ok($s eq '42501' && "$o$e" !~ /zq9x/i, "between quotes and comments ($hidden) it is found") or diag("$s $o $e");
	as($node, 'author', 'DROP TABLE a.su_told');
}
as($node, 'author', q{CREATE TABLE a.su_told (id int, t text); CREATE TRIGGER t BEFORE INSERT ON a.su_told FOR EACH ROW EXECUTE FUNCTION public.told_trigger('SELECT email::text FROM public.victim WHERE id = 2'); GRANT ALL ON a.su_told TO PUBLIC});
for my $trigger ([ 'told_trigger()', 'INSERT INTO a.su_told VALUES (1) RETURNING t', qr/zq9x/i ], [ 'make_part()', 'INSERT INTO su_parent VALUES (1) RETURNING id', qr/^1$/m ])
{
	my ($function, $insert, $works) = @$trigger;
	refused($node, 'reader', $insert, "a superuser's $function with an argument is code without rights", qr/^42501$/);
	allowed($node, 'admin', "SELECT dataprotect.trust_function('public.$function', 'reviewed')", 'until an administrator trusts it');
	like((as($node, 'reader', "BEGIN; $insert; ROLLBACK"))[0], $works, 'then it is its caller\'s');
	$node->safe_psql('postgres', "ALTER FUNCTION public.$function SET work_mem = '5MB'");
	refused($node, 'reader', $insert, 'until it is changed', qr/^42501$/);
	allowed($node, 'admin', "SELECT dataprotect.trust_function('public.$function', 'reviewed again'); SELECT dataprotect.distrust_function('public.$function', 'no more')", 'or trusted no more');
	refused($node, 'reader', $insert, 'which ends it', qr/^42501$/);
}
as($node, 'author', 'DROP TABLE a.su_told');
as($node, 'reader', 'DROP TABLE a.su_parts');
is($node->safe_psql('postgres', q{SELECT count(*) FROM a.loot WHERE t ~* 'zq9x'}), '5', 'the loot is what the reader wrote himself');
$node->safe_psql('postgres', 'DELETE FROM a.loot');

# ---- each place ----
my %told = (
	query_to_xml => q{query_to_xml('SELECT email::text AS e FROM public.victim', true, true, '')::text},
	table_to_xml => q{table_to_xml('public.victim', true, true, '')::text},
	schema_to_xml => q{schema_to_xml('public', true, true, '')::text},
	cursor_to_xml => q{cursor_to_xml('rc', 10, true, true, '')::text},
	ts_rewrite => q{ts_rewrite('x'::tsquery, 'SELECT ''x''::tsquery, phraseto_tsquery(''simple'', email::text) FROM public.victim WHERE id = 2')::text});
my %sets = (ts_stat => q{ts_stat('SELECT to_tsvector(''simple'', email::text) FROM public.victim') AS r});
$sets{crosstab} = q{public.crosstab('SELECT 1, 1, email::text FROM public.victim') AS r (i int, x text)} if $contrib{tablefunc};
$sets{xpath_table} = q{public.xpath_table('id', 'x', '(SELECT id, ''<a>'' || email::text || ''</a>'' AS x FROM public.victim) s', '/a', 'true') AS r (id int, x text)} if $contrib{xml2};

# The author puts it there; the reader does that.
my @places = (
	[ 'default', q{CREATE TABLE a.p (id int, t text DEFAULT a.f(%s))}, 'INSERT INTO a.p (id) VALUES (1)' ],
	[ 'default of COPY', q{CREATE TABLE a.p (id int, t text DEFAULT a.f(%s))}, "COPY a.p (id) FROM STDIN;\n1\n\\.\n" ],
	[ 'check', q{CREATE TABLE a.p (id int CHECK (a.f(%s) IS NOT NULL))}, 'INSERT INTO a.p VALUES (1)' ],
	[ 'check, at an update', q{CREATE TABLE a.p (id int); INSERT INTO a.p VALUES (1); ALTER TABLE a.p ADD CHECK (a.f(%s) IS NOT NULL) NOT VALID}, 'UPDATE a.p SET id = 2' ],
	[ 'domain', q{CREATE DOMAIN a.d AS int CHECK (a.f(%s) IS NOT NULL)}, 'SELECT 1::a.d' ],
	[ 'domain in a row', q{CREATE DOMAIN a.d AS int CHECK (a.f(%s) IS NOT NULL); CREATE TYPE a.r AS (x a.d)}, q{SELECT jsonb_populate_record(NULL::a.r, '{"x": 1}')} ],
	[ 'domain of a variable', q{CREATE DOMAIN a.d AS int CHECK (a.f(%s) IS NOT NULL)}, q{DO $$DECLARE x a.d; BEGIN x := 1; END$$} ],
	[ 'domain\'s default', q{CREATE DOMAIN a.d AS text DEFAULT a.f(%s); CREATE TABLE a.p (id int, t a.d)}, 'INSERT INTO a.p (id) VALUES (1)' ],
	[ 'trigger', q{CREATE TABLE a.p (id int); CREATE FUNCTION a.t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER t BEFORE INSERT ON a.p FOR EACH ROW WHEN (a.f(%s) IS NOT NULL) EXECUTE FUNCTION a.t()}, 'INSERT INTO a.p VALUES (1)' ],
	[ 'view', q{CREATE VIEW a.p AS SELECT a.f(%s) AS t}, 'SELECT * FROM a.p' ],
	[ 'view, in its condition', q{CREATE VIEW a.p AS SELECT 1 AS t WHERE a.f(%s) IS NOT NULL}, 'SELECT * FROM a.p' ],
	[ 'view of a view', q{CREATE VIEW a.w AS SELECT a.f(%s) AS t; CREATE VIEW a.p AS SELECT * FROM a.w}, 'SELECT (SELECT max(t) FROM a.p)' ],
	[ 'view\'s default', q{CREATE TABLE a.q (id int, t text); CREATE VIEW a.p AS SELECT * FROM a.q; ALTER VIEW a.p ALTER t SET DEFAULT a.f(%s); GRANT ALL ON a.q TO PUBLIC}, 'INSERT INTO a.p (id) VALUES (1)' ],
	[ 'policy', q{CREATE TABLE a.p (id int); INSERT INTO a.p VALUES (1); ALTER TABLE a.p ENABLE ROW LEVEL SECURITY; CREATE POLICY x ON a.p USING (a.f(%s) IS NOT NULL)}, 'SELECT * FROM a.p' ],
	[ 'policy of writers', q{CREATE TABLE a.p (id int); ALTER TABLE a.p ENABLE ROW LEVEL SECURITY; CREATE POLICY x ON a.p FOR INSERT WITH CHECK (a.f(%s) IS NOT NULL)}, 'INSERT INTO a.p VALUES (1)' ],
	[ 'rule', q{CREATE TABLE a.p (id int); CREATE RULE r AS ON INSERT TO a.p DO ALSO INSERT INTO a.loot VALUES ('rule', a.f(%s))}, 'INSERT INTO a.p VALUES (1)' ],
	[ 'argument', q{CREATE FUNCTION a.g(x int, t text DEFAULT %s) RETURNS text LANGUAGE sql AS 'SELECT a.f(t)'}, 'SELECT a.g(1)' ],
	[ 'argument of a procedure', q{CREATE PROCEDURE a.g(x int, t text DEFAULT %s) LANGUAGE sql AS 'SELECT a.f(t)'}, 'CALL a.g(1)' ],
	[ 'body', q{CREATE FUNCTION a.g() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT a.f(%s); END}, 'SELECT a.g()' ],
	[ 'body as text', q{CREATE FUNCTION a.g() RETURNS text LANGUAGE sql AS $$SELECT a.f(%s)$$}, 'SELECT a.g()' ],
	[ 'index', q{CREATE FUNCTION a.i(x int) RETURNS text LANGUAGE sql IMMUTABLE AS $$SELECT left(a.f(%s), 5)$$; CREATE TABLE a.p (id int); CREATE INDEX ON a.p (a.i(id))}, 'INSERT INTO a.p VALUES (1)' ],
	[ 'partition key', q{CREATE FUNCTION a.i(x int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM a.f(%s); RETURN x; END$$; CREATE TABLE a.p (id int) PARTITION BY LIST (a.i(id)); CREATE TABLE a.p1 PARTITION OF a.p DEFAULT}, 'INSERT INTO a.p VALUES (1)' ],
	[ 'aggregate', q{CREATE FUNCTION a.g(s text, x int) RETURNS text LANGUAGE sql AS $$SELECT a.f(%s)$$; CREATE AGGREGATE a.agg(int) (sfunc = a.g, stype = text)}, 'SELECT a.agg(1)' ],
	[ 'prepared', q{CREATE TABLE a.p (id int, t text DEFAULT a.f(%s))}, 'PREPARE q AS INSERT INTO a.p (id) VALUES (1); EXECUTE q' ],
	[ 'beside the reader\'s own', q{CREATE TABLE a.p (id int, t xml, u text DEFAULT a.f(%s))}, q{INSERT INTO a.p (id, t) VALUES (1, query_to_xml('SELECT 1', true, true, ''))} ]);
my @set_places = ([ 'view of rows', q{CREATE VIEW a.p AS SELECT a.f(string_agg(r::text, ',')) AS t FROM %s}, 'SELECT * FROM a.p' ],
	[ 'policy over rows', q{CREATE TABLE a.p (id int); INSERT INTO a.p VALUES (1); ALTER TABLE a.p ENABLE ROW LEVEL SECURITY; CREATE POLICY x ON a.p USING ((SELECT a.f(string_agg(r::text, ',')) FROM %s) IS NOT NULL)}, 'SELECT * FROM a.p' ],
	[ 'rule over rows', q{CREATE TABLE a.p (id int); CREATE RULE r AS ON INSERT TO a.p DO ALSO INSERT INTO a.loot SELECT 'rule', a.f(string_agg(r::text, ',')) FROM %s}, 'INSERT INTO a.p VALUES (1)' ],
	[ 'body over rows', q{CREATE FUNCTION a.g() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT a.f(string_agg(r::text, ',')) FROM %s; END}, 'SELECT a.g()' ]);
my $su = $node->safe_psql('postgres', 'SELECT current_user');
my @tries;
push @tries, [ "$_->[0]: query_to_xml", $_->[1] =~ s/%s/$told{query_to_xml}/r, $_->[2] ] for @places;
push @tries, map { [ "default: $_", $places[0][1] =~ s/%s/$told{$_}/r, $places[0][2] ], [ "check: $_", $places[2][1] =~ s/%s/$told{$_}/r, $places[2][2] ], [ "view: $_", $places[9][1] =~ s/%s/$told{$_}/r, $places[9][2] ] } grep { $_ ne 'query_to_xml' } sort keys %told;
for my $set (sort keys %sets)
{
	push @tries, map { [ "$_->[0]: $set", $_->[1] =~ s/%s/$sets{$set}/r, $_->[2] ] } @set_places;
}
my $clean = <<'SQL';
DROP TABLE IF EXISTS a.q CASCADE;
DO $$DECLARE r record;
BEGIN
	FOR r IN SELECT CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS k, oid::regclass AS n FROM pg_class WHERE relnamespace = 'a'::regnamespace AND relname IN ('p', 'w') LOOP
		EXECUTE format('DROP %s IF EXISTS %s CASCADE', r.k, r.n);
	END LOOP;
	DROP DOMAIN IF EXISTS a.d CASCADE; DROP TYPE IF EXISTS a.r; DROP AGGREGATE IF EXISTS a.agg(int);
	FOR r IN SELECT oid::regprocedure AS n FROM pg_proc WHERE pronamespace = 'a'::regnamespace AND proname IN ('g', 'i', 't') LOOP
		EXECUTE format('DROP ROUTINE %s', r.n);
	END LOOP;
END$$;
SQL
for my $try (@tries)
{
	my ($name, $ddl, $statement) = @$try;
	my ($o, $e, $s) = as($node, 'author', "SET client_min_messages = error; $clean SET check_function_bodies = off; $ddl; DO \$\$BEGIN EXECUTE 'GRANT ALL ON ALL TABLES IN SCHEMA a TO PUBLIC'; END\$\$");
	is($s, '00000', "$name: is made") or diag($e);
	($o, $e, $s) = as($node, 'reader', "BEGIN; DECLARE rc SCROLL CURSOR FOR SELECT email::text FROM victim; $statement; COMMIT");
	ok($e !~ /GOT/ && $s eq '42501', "$name: is refused") or diag("$s $e");
	if ($name =~ /^(?:default|check|domain|view|policy|rule|argument|trigger): query_to_xml/)
	{
		($o, $e, $s) = as($node, 'nobody', $statement);
		unlike($e, qr/cannot run SQL/, "$name: who has no right is not kept from it");
	}
}

# ---- in the reader's own words, and where a superuser has written it ----
$node->safe_psql('postgres', "CREATE VIEW su_view AS SELECT $told{query_to_xml} AS t; GRANT SELECT ON su_view TO PUBLIC; CREATE FUNCTION su_told() RETURNS text LANGUAGE plpgsql AS \$\$BEGIN RETURN $told{query_to_xml}; END\$\$; CREATE FUNCTION su_body() RETURNS text LANGUAGE sql RETURN $told{query_to_xml}");
for my $own (map({ "SELECT $told{$_}" } sort keys %told), map({ "SELECT string_agg(r::text, ',') FROM $_" } map { $sets{$_} } sort keys %sets),
	"SELECT (" . ($sets{ts_stat} =~ s/ AS r//r) . ").word", 'SELECT t FROM su_view', 'SELECT su_told()', 'SELECT su_body()', "PREPARE q AS SELECT $told{query_to_xml}; EXECUTE q; EXECUTE q",
	"CREATE TEMP VIEW mine AS SELECT 1; SELECT $told{table_to_xml} FROM mine", "DO \$\$DECLARE x text; BEGIN x := $told{query_to_xml}; RAISE NOTICE '%', x; END\$\$",
	"SELECT id FROM (SELECT $told{query_to_xml} AS id) s WHERE $told{table_to_xml} <> ''", "EXPLAIN (ANALYZE, VERBOSE) SELECT $told{query_to_xml}; SELECT su_told()")
{
	my ($o, $e, $s) = as($node, 'reader', "BEGIN; DECLARE rc SCROLL CURSOR FOR SELECT email::text FROM victim; $own; COMMIT");
	ok($s eq '00000' && "$o$e" =~ /zq9x/i, "the reader's own: $own") or diag("$s $e $o");
}
$node->safe_psql('postgres', 'REVOKE EXECUTE ON FUNCTION query_to_xml(text, bool, bool, text), ts_stat(text) FROM PUBLIC');
denied($node, 'reader', "SELECT $_", 'a right on the function that was taken is not given back') for $told{query_to_xml}, "* FROM $sets{ts_stat}";
$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION query_to_xml(text, bool, bool, text), ts_stat(text) TO PUBLIC');

# ---- what changes policy is done by whoever acts ----
# Each function of the extension's that changes something, called as the administrator
# by a function of the author's, with arguments of the right types; and by what he stored.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE acts AS
SELECT row_number() OVER (ORDER BY p.oid) AS id, p.prokind, p.proretset, format('dataprotect.%I(%s)', p.proname,
       (SELECT string_agg(CASE WHEN a.type::regtype::text ~ '^reg' THEN format('0::%s', a.type::regtype)
                               WHEN a.type = 'jsonb'::regtype THEN '''{}''::jsonb'
                               WHEN a.type IN ('name[]'::regtype, 'text[]'::regtype) THEN format('''{x}''::%s', a.type::regtype)
                               WHEN a.type IN ('bool'::regtype, 'int4'::regtype, 'int8'::regtype, 'float8'::regtype) THEN format('''1''::%s', a.type::regtype)
                               WHEN a.type = 'interval'::regtype THEN '''1 day''::interval'
                               WHEN a.type = 'timestamptz'::regtype THEN '''2020-01-01''::timestamptz'
                               WHEN a.type = 'bytea'::regtype THEN '''''::bytea'
                               ELSE format('''pii''::%s', a.type::regtype) END, ', ' ORDER BY a.o)
          FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY a (type, o))) AS call
  FROM pg_proc p WHERE p.pronamespace = 'dataprotect'::regnamespace AND p.proname !~ '^_' AND p.provolatile = 'v'
   AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
   AND has_function_privilege('admin', p.oid, 'EXECUTE') AND NOT has_function_privilege('nobody', p.oid, 'EXECUTE');
GRANT ALL ON acts TO PUBLIC;
SQL
my $administration = $node->safe_psql('postgres', 'SELECT count(*) FROM acts');
cmp_ok($administration, '>', 50, 'many functions change something');
(undef, $err, $state) = as($node, 'author', <<'SQL');
CREATE FUNCTION a.act(statement text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE statement; RETURN 'done'; END $$;
CREATE FUNCTION a.calm() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	CREATE TEMP TABLE IF NOT EXISTS scratch (x int PRIMARY KEY, y text DEFAULT 'z');
	CREATE INDEX ON scratch (y);
	INSERT INTO scratch VALUES (1);
	PERFORM * FROM scratch;
	DROP TABLE IF EXISTS scratch;
	CREATE TABLE pg_temp.scratch (x int);
	ANALYZE scratch;
	DROP TABLE scratch;
	SET LOCAL work_mem = '5MB';
	NOTIFY x;
	RETURN 'calm';
END $$;
CREATE FUNCTION a.act_of_owner() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM dataprotect.grant_access('pii', 'author', 'reveal'); RETURN NEW; END $$;
CREATE TABLE a.trapped (id int);
CREATE TRIGGER t BEFORE INSERT ON a.trapped FOR EACH ROW EXECUTE FUNCTION a.act_of_owner();
GRANT ALL ON ALL TABLES IN SCHEMA a TO PUBLIC;
SQL
is($state, '00000', 'the author has functions for administrators') or diag($err);
# what needs the right on a function of ours to be made at all is made while he has it
$node->safe_psql('postgres', 'GRANT dataprotect_admin TO author');
(undef, $err, $state) = as($node, 'author', <<'SQL');
CREATE TABLE a.baited (id int, t text DEFAULT dataprotect.grant_access('pii', 'author'::text::regrole, 'reveal')::text);
CREATE TABLE a.checked (id int, CHECK (dataprotect.grant_access('pii', 'author'::text::regrole, 'reveal') IS NOT NULL));
CREATE VIEW a.looked AS SELECT dataprotect.grant_access('pii', 'author'::text::regrole, 'reveal');
CREATE FUNCTION a.defaulted(x int, y bigint DEFAULT dataprotect.grant_access('pii', 'author'::text::regrole, 'reveal')) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE OPERATOR a.<-> (FUNCTION = dataprotect.rename_key, LEFTARG = text, RIGHTARG = text);
GRANT ALL ON ALL TABLES IN SCHEMA a TO PUBLIC;
SQL
$node->safe_psql('postgres', 'REVOKE dataprotect_admin FROM author');
is($state, '00000', 'and baits') or diag($err);
my $acting = <<'SQL';
DO $$
DECLARE c record; n int := 0;
BEGIN
	FOR c IN SELECT * FROM public.acts LOOP
		BEGIN
			PERFORM a.act(CASE WHEN c.prokind = 'p' THEN 'CALL ' WHEN c.proretset THEN 'SELECT * FROM ' ELSE 'SELECT ' END || c.call);
			RAISE NOTICE 'DONE %', c.call;
		EXCEPTION WHEN OTHERS THEN
			IF SQLERRM ~ '^code of another role cannot call function' THEN n := n + 1; ELSE RAISE NOTICE 'DONE % %', c.call, SQLERRM; END IF;
		END;
	END LOOP;
	RAISE NOTICE 'REFUSED %', n;
END $$;
SQL
for my $role ('admin', $su)
{
	(undef, $err) = as($node, $role, $acting);
	unlike($err, qr/DONE/, "$role: none of them is done for the author's function") or diag(join "\n", $err =~ /(DONE.*)/g);
	like($err, qr/REFUSED $administration$/m, "$role: every one is refused") or diag($err =~ /(REFUSED.*)/);
	for my $bait ('INSERT INTO a.baited (id) VALUES (1)', 'INSERT INTO a.trapped VALUES (1)', 'INSERT INTO a.checked VALUES (1)', 'SELECT * FROM a.looked', 'SELECT a.defaulted(1)', "SELECT 'pii'::text OPERATOR(a.<->) 'x'::text",
		"COPY a.baited (id) FROM STDIN;\n1\n\\.\n", 'PREPARE q AS SELECT * FROM a.looked; EXECUTE q')
	{
		my ($o, $e, $s) = as($node, $role, "BEGIN; $bait; COMMIT");
		ok($s eq '42501' && $e =~ /code of another role cannot call/, "$role: a bait: $bait") or diag("$s $e");
	}
}
is($node->safe_psql('postgres', "SELECT count(*) FROM dataprotect.grants WHERE grantee::text = 'author' AND revoked_at IS NULL"), '0', 'the author has got nothing');
as($node, 'admin', <<'SQL');
CREATE FUNCTION a.own_act() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM dataprotect.grant_access('pii', 'dumper', 'mask', reason => 'x'); RETURN 'done'; END $$;
SQL
$node->safe_psql('postgres', q{CREATE FUNCTION su_act() RETURNS int LANGUAGE sql RETURN dataprotect.revoke_access('pii', 'dumper'::text::regrole)});
allowed($node, 'admin', 'SELECT a.own_act()', 'calls his own function');
allowed($node, 'admin', 'SELECT su_act()', 'calls one of a superuser\'s');
allowed($node, 'admin', "DO \$\$BEGIN PERFORM dataprotect.grant_access('pii', 'dumper', 'mask'); END\$\$; SELECT dataprotect.revoke_access('pii', 'dumper')", 'acts himself');
allowed($node, 'admin', "SELECT dataprotect.trust_function('a.act(text)', 'reviewed'); SELECT a.act('SELECT dataprotect.grant_access(''pii'', ''dumper'', ''mask'')'), a.act('SELECT dataprotect.revoke_access(''pii'', ''dumper'')'); SELECT dataprotect.distrust_function('a.act(text)', 'no more')", 'trusts the function');
# A function whose owner may see everything may not act for others either.
$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'author', 'reveal')");
refused($node, 'admin', "SELECT a.act('SELECT dataprotect.grant_access(''pii'', ''nobody'', ''reveal'')')", 'of an author who may reveal', qr/^42501$/);
$node->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'author')");

# ---- commands ----
$node->safe_psql('postgres', 'GRANT CREATE ON DATABASE postgres TO PUBLIC; CREATE TABLE his (id int, email encrypted_text(\'pii\')); ALTER TABLE his OWNER TO reader; CREATE TABLE admins (id int, email text); ALTER TABLE admins OWNER TO admin');
my @commands = ("ALTER ROLE reader PASSWORD 'x'", "ALTER ROLE reader SET search_path = a", 'ALTER TABLE his ADD t text', 'ALTER TABLE his OWNER TO author', 'ALTER TABLE his DISABLE TRIGGER ALL', 'CREATE TEMP TABLE victim (id int, email text)',
	'CREATE TEMP TABLE victim AS SELECT 1', 'CREATE TABLE left_behind (t text)', 'CREATE TABLE left_behind AS SELECT 1', 'CREATE VIEW left_behind AS SELECT 1', 'CREATE TEMP VIEW victim AS SELECT 1', 'CREATE RULE r AS ON INSERT TO his DO NOTHING',
	'CREATE TRIGGER r BEFORE INSERT ON his FOR EACH ROW EXECUTE FUNCTION a.act_of_owner()', 'CREATE POLICY r ON his USING (true)', 'GRANT ALL ON his TO author', 'GRANT reader TO author', 'ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO author',
	'SET ROLE NONE', 'SET SESSION AUTHORIZATION DEFAULT', 'RESET ROLE', 'RESET ALL', 'SET search_path = a', 'SET LOCAL search_path = a', 'CREATE TABLE pg_temp.victim (id int, email text)', 'ANALYZE victim', 'ANALYZE', 'CLOSE ALL', 'DECLARE c CURSOR FOR SELECT 1', "SET dataprotect.purpose = 'x'", "COPY his TO '/tmp/x'", "COPY his TO PROGRAM 'cat'", 'PREPARE p AS SELECT 1', 'DECLARE c CURSOR WITH HOLD FOR SELECT 1',
	'CREATE FUNCTION left_behind() RETURNS int LANGUAGE sql AS \'SELECT 1\'', 'CREATE SCHEMA left_behind', 'CREATE SEQUENCE left_behind', 'CREATE MATERIALIZED VIEW left_behind AS SELECT 1', 'DROP TABLE his', 'COMMENT ON TABLE his IS \'x\'', 'REASSIGN OWNED BY reader TO author',
	'CREATE DOMAIN left_behind AS int', 'CREATE TYPE left_behind AS (x int)', 'CREATE STATISTICS left_behind ON id, email FROM his', 'CREATE INDEX ON his (id)', 'SECURITY LABEL ON TABLE his IS NULL', 'LOAD \'plpgsql\'');
for my $role (qw(reader admin))
{
	my $sql = "\\set ON_ERROR_STOP off\n";
	for my $command (@commands)
	{
		my $c = $role eq 'admin' ? $command =~ s/\bhis\b/admins/gr =~ s/\breader\b/admin/gr : $command;
		$sql .= "BEGIN;\nSELECT a.act('" . ($c =~ s/'/''/gr) . "');\n\\echo =:SQLSTATE=:LAST_ERROR_MESSAGE\nROLLBACK;\n";
	}
	my ($o) = as($node, $role, $sql);
	my @ended = $o =~ /^=(.*)$/mg;
	is(scalar(@ended), scalar(@commands), "$role: all commands were tried");
	ok($ended[$_] =~ /^42501=.*cannot execute/, "$role: code of others may not: $commands[$_]") or diag($ended[$_]) for 0 .. $#commands;
}
allowed($node, $_, 'SELECT a.calm()', 'code of others goes on with what leaves nothing') for qw(reader admin);
allowed($node, 'nobody', "BEGIN; SELECT a.act('CREATE TEMP TABLE victim AS SELECT 1'); ROLLBACK", 'code of others, for whom nothing can be lost');
allowed($node, 'author', "BEGIN; SELECT a.act('CREATE TABLE a.mine AS SELECT 1'); ROLLBACK", 'his own code');
$node->safe_psql('postgres', 'CREATE FUNCTION su_does(statement text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE statement; RETURN \'done\'; END $$');
allowed($node, 'reader', "BEGIN; SELECT su_does('CREATE TABLE made AS SELECT 1'); ROLLBACK", 'a superuser\'s code');
as($node, 'admin', "SELECT dataprotect.trust_function('a.act(text)', 'reviewed')");
allowed($node, 'reader', "BEGIN; SELECT a.act('CREATE TABLE made AS SELECT 1'); ROLLBACK", 'code that is trusted');
as($node, 'admin', "SELECT dataprotect.distrust_function('a.act(text)', 'no more')");

# ---- cursors ----
# A name that the reader fetches from is not taken over.
my @takes = ("EXECUTE 'CLOSE c'; EXECUTE 'DECLARE c CURSOR FOR %s'", 'CLOSE c; OPEN c FOR %s', q{CLOSE c; OPEN c FOR EXECUTE 'WITH x AS (UPDATE a.loot SET t = t RETURNING 1) %s'},
	q{CLOSE c; OPEN c FOR EXECUTE 'EXPLAIN (ANALYZE) %s'}, 'CLOSE c; BEGIN OPEN c FOR %s; EXCEPTION WHEN OTHERS THEN NULL; END; OPEN c FOR SELECT 1',
	q{CLOSE c; OPEN c FOR EXECUTE 'INSERT INTO a.loot SELECT NULL, email::text FROM public.victim RETURNING t'});
my $steals = 'SELECT id, email::text AS t FROM public.victim';
for my $i (0 .. $#takes)
{
	my $take = $takes[$i] =~ s/%s/$steals/gr;
	as($node, 'author', "DROP TABLE IF EXISTS a.taking; TRUNCATE a.loot; INSERT INTO a.loot VALUES ('x', 'y'); CREATE OR REPLACE FUNCTION a.takes() RETURNS trigger LANGUAGE plpgsql AS \$\$ DECLARE c refcursor := 'c'; BEGIN $take; RETURN NEW; END \$\$;
		CREATE TABLE a.taking (id int); CREATE TRIGGER t BEFORE INSERT ON a.taking FOR EACH ROW EXECUTE FUNCTION a.takes(); GRANT ALL ON a.taking TO PUBLIC");
	for my $mine ('DECLARE c CURSOR FOR SELECT generate_series(1, 9)', q{DO $$DECLARE c refcursor := 'c'; BEGIN OPEN c FOR SELECT generate_series(1, 9); END$$})
	{
		my ($o, $e, $s) = as($node, 'reader', "BEGIN; $mine; FETCH c; INSERT INTO a.taking VALUES (1); FETCH ALL c; COMMIT");
		ok($s eq '42501' && $o !~ /zq9x/i, "the reader's cursor is not taken over: $takes[$i]") or diag("$s $e $o");
	}
}
as($node, 'author', q{CREATE OR REPLACE FUNCTION a.takes() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'c'; BEGIN CLOSE c; RETURN NEW; END $$;
	CREATE FUNCTION a.gives() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'given'; BEGIN OPEN c FOR SELECT 1; CLOSE c; OPEN c FOR SELECT 'two'; RETURN c; END $$});
allowed($node, 'reader', 'BEGIN; DECLARE c CURSOR FOR SELECT 1; INSERT INTO a.taking VALUES (1); DECLARE c CURSOR FOR SELECT 2; FETCH c; COMMIT', 'one that is opened again is the reader\'s');
allowed($node, 'reader', 'BEGIN; SELECT a.gives(); FETCH given; CLOSE given; SELECT a.gives(); FETCH given; COMMIT', 'one that a function opens and returns is fetched');

# In another session, and by a trigger in C.
SKIP:
{
	skip 'no dblink here', 3 if !$contrib{dblink};
	as($node, 'author', "CREATE TABLE a.linked (id int, t text DEFAULT public.dblink_connect('x', 'host=/nowhere')); GRANT ALL ON a.linked TO PUBLIC");
	refused($node, 'reader', 'INSERT INTO a.linked (id) VALUES (1)', 'dblink in a default', qr/^42501$/);
	refused($node, 'reader', "SELECT a.act('SELECT public.dblink_connect(''x'', ''host=/nowhere'')')", 'dblink in a function of others', qr/^42501$/);
	unlike((as($node, 'reader', "SELECT public.dblink_connect('x', 'host=/nowhere')"))[1], qr/code of another/, 'the reader\'s own goes on');
}
SKIP:
{
	skip 'no tcn here', 2 if !$contrib{tcn};
	$node->safe_psql('postgres', "CREATE TABLE a.noted (email encrypted_text('pii', 'searchable') PRIMARY KEY, id int); ALTER TABLE a.noted OWNER TO author");
	my (undef, $e, $s) = as($node, 'author', "CREATE TRIGGER n AFTER INSERT ON a.noted FOR EACH ROW EXECUTE FUNCTION public.triggered_change_notification('tcn'); GRANT ALL ON a.noted TO PUBLIC");
	is($s, '00000', 'a trigger in C that tells of keys') or diag($e);
	my ($o) = as($node, 'reader', "LISTEN tcn; INSERT INTO a.noted VALUES ('anna-Zq9x\@example.org', 1); SELECT 1");
	unlike($o, qr/Zq9x/, 'tells the value to nobody') or diag($o);
}

# ---- what is open, what is hidden, what is set ----
(undef, $err, $state) = as($node, 'author', <<'SQL');
CREATE FUNCTION a.pull() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE n record; c refcursor; r record;
BEGIN
	FOR n IN SELECT name, is_scrollable FROM pg_cursors WHERE name ~ '^rc|unnamed' AND statement !~ 'pg_cursors' LOOP
		BEGIN
			c := n.name;
			IF n.is_scrollable THEN
				BEGIN MOVE ABSOLUTE 0 IN c; EXCEPTION WHEN insufficient_privilege THEN RAISE NOTICE 'REFUSED %', SQLERRM; END;
			END IF;
			IF TG_ARGV[0] = 'fetch' THEN
				FETCH c INTO r;
			ELSE
				EXECUTE format('FETCH NEXT FROM %I', n.name) INTO r;
			END IF;
			INSERT INTO a.loot VALUES ('pulled', r::text);
			RAISE NOTICE 'PULLED';
		EXCEPTION WHEN insufficient_privilege THEN RAISE NOTICE 'REFUSED %', SQLERRM;
			WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	RETURN NEW;
END $$;
CREATE FUNCTION a.pull_definer() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE n record; c refcursor; r record;
BEGIN
	FOR n IN SELECT name FROM pg_cursors WHERE name ~ '^rc|unnamed' AND statement !~ 'pg_cursors' LOOP
		BEGIN
			c := n.name;
			FETCH c INTO r;
			INSERT INTO a.loot VALUES ('pulled', r::text);
		EXCEPTION WHEN insufficient_privilege THEN RAISE NOTICE 'REFUSED %', SQLERRM;
			WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	RETURN NEW;
END $$;
CREATE TABLE a.fetch (id int); CREATE TRIGGER t BEFORE INSERT ON a.fetch FOR EACH ROW EXECUTE FUNCTION a.pull('fetch');
CREATE TABLE a.command (id int); CREATE TRIGGER t BEFORE INSERT ON a.command FOR EACH ROW EXECUTE FUNCTION a.pull('command');
CREATE TABLE a.definer (id int); CREATE TRIGGER t BEFORE INSERT ON a.definer FOR EACH ROW EXECUTE FUNCTION a.pull_definer();
GRANT INSERT ON a.fetch, a.command, a.definer TO PUBLIC;
CREATE FUNCTION a.opens() RETURNS refcursor LANGUAGE plpgsql AS $$ DECLARE c refcursor := 'mine'; BEGIN OPEN c FOR SELECT g FROM generate_series(1, 3) g ORDER BY 1; RETURN c; END $$;
CREATE FUNCTION a.lazy() RETURNS SETOF int LANGUAGE sql AS 'SELECT g FROM generate_series(1, 3) g';
CREATE FUNCTION a.reads() RETURNS int LANGUAGE plpgsql AS $$
DECLARE c refcursor; r record; n int := 0;
BEGIN
	c := a.opens();
	FETCH c INTO n;
	EXECUTE 'FETCH NEXT FROM mine' INTO n;
	FOR r IN SELECT a.lazy() AS l LOOP n := n + r.l; END LOOP;
	CLOSE c;
	EXECUTE 'EXPLAIN SELECT 1';
	RETURN n;
END $$;
CREATE FUNCTION a.act_elsewhere(statement text) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN EXECUTE statement; RETURN 'done'; END $$;
CREATE DOMAIN a.dom AS int CHECK (a.f(VALUE::text) IS NOT NULL);
CREATE AGGREGATE a.setting(text, bool) (sfunc = pg_catalog.set_config, stype = text, initcond = 'search_path');
CREATE TABLE a.configured (id int, t text DEFAULT set_config('search_path', 'a', false)); GRANT ALL ON a.configured TO PUBLIC;
CREATE VIEW a.configures AS SELECT set_config('search_path', 'a', false); GRANT SELECT ON a.configures TO PUBLIC;
SQL
is($state, '00000', 'the author lies in wait') or diag($err);
my %opened = (
	sort => 'DECLARE rc SCROLL CURSOR FOR SELECT email::text FROM victim ORDER BY 1; FETCH 2 FROM rc; %s',
	cte => 'DECLARE rc SCROLL CURSOR FOR WITH w AS MATERIALIZED (SELECT email::text AS e FROM victim) SELECT * FROM w; FETCH 2 FROM rc; %s',
	hash => 'DECLARE rc CURSOR FOR SELECT email::text FROM victim GROUP BY 1; FETCH 2 FROM rc; %s',
	join => 'DECLARE rc SCROLL CURSOR FOR SELECT v.email FROM victim v JOIN generate_series(1, 9) g (id) USING (id); FETCH 3 FROM rc; %s',
	loop => 'DO $$ DECLARE r record; BEGIN FOR r IN SELECT email::text AS e FROM victim ORDER BY 1 LOOP %s; END LOOP; END $$',
	variable => 'DO $$ DECLARE rc CURSOR FOR SELECT email::text AS e FROM victim ORDER BY 1; r record; BEGIN OPEN rc; FETCH rc INTO r; %s; END $$');
for my $way (qw(fetch command definer))
{
	for my $place (sort keys %opened)
	{
		# the refusal is an error of the cursor's, which cannot be read on then (55000)
		my (undef, $e, $s) = as($node, 'reader', 'BEGIN; ' . sprintf($opened{$place}, "INSERT INTO a.$way VALUES (1)") . '; COMMIT');
		ok($s =~ /^(?:00000|55000)$/ && $e =~ /REFUSED function a\.pull/ && $e !~ /PULLED/, "a cursor of the reader's is not read by $way: $place") or diag("$s $e");
	}
}
(undef, $err) = as($node, 'reader', 'BEGIN; DECLARE rc CURSOR WITH HOLD FOR SELECT email::text FROM victim; COMMIT; INSERT INTO a.command VALUES (1)');
like($err, qr/REFUSED function a\.pull/, 'nor a held one by a command');
(undef, $err) = as($node, 'reader', 'BEGIN; DECLARE rc CURSOR WITH HOLD FOR SELECT email::text FROM victim; COMMIT; INSERT INTO a.fetch VALUES (1)');
like($err, qr/REFUSED function a\.pull/, 'nor by FETCH of PL/pgSQL, which runs no executor') or diag($err);
(undef, $err) = as($node, 'author', q{CREATE FUNCTION a.next_of(c refcursor) RETURNS text LANGUAGE plpgsql AS $$ DECLARE r text; BEGIN MOVE c; FETCH c INTO r; RETURN a.f(r); END $$});
as($node, 'author', q{CREATE FUNCTION a.as_xml() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN a.f(cursor_to_xml('rc', 10, true, true, '')::text); END $$; CREATE FUNCTION a.as_xml2() RETURNS text LANGUAGE sql AS $$ SELECT a.f(cursor_to_xml('rc', 10, true, true, '')::text) $$});
for my $reads ('a.as_xml()', 'a.as_xml2()')
{
	my (undef, $says, $code) = as($node, 'reader', "DECLARE rc CURSOR WITH HOLD FOR SELECT email::text FROM victim; SELECT $reads");
	ok($code eq '42501' && $says !~ /GOT/, "nor as XML: $reads") or diag("$code $says");
}
for my $reads ('PERFORM a.next_of(\'<unnamed portal 1>\')', 'INSERT INTO a.fetch VALUES (1)')
{
	(undef, $err) = as($node, 'reader', "DO \$\$DECLARE rc CURSOR FOR SELECT email::text FROM victim; r record; BEGIN FOR r IN SELECT email::text AS e FROM victim LOOP COMMIT; $reads; END LOOP; END\$\$");
	unlike($err, qr/GOT|PULLED/, "nor what a loop has stored at a COMMIT: $reads");
}
(undef, undef, $state) = as($node, 'reader', "DECLARE rc CURSOR WITH HOLD FOR SELECT email::text FROM victim; SELECT a.act('SELECT e FROM dataprotect._fetch(\$x\$rc\$x\$, 0, 9, 0) AS t (e text)')");
is($state, '42501', 'nor by what a command of a client becomes');
as($node, 'author', "CREATE VIEW a.fetched AS SELECT a.f(e) FROM dataprotect._fetch('rc', 0, 9, 1) AS t (e text); GRANT SELECT ON a.fetched TO PUBLIC");
(undef, $err, $state) = as($node, 'reader', 'DECLARE rc CURSOR WITH HOLD FOR SELECT email::text FROM victim; SELECT * FROM a.fetched');
is($state, '42501', 'nor by a view that calls it') or diag($err);
is($node->safe_psql('postgres', "SELECT count(*) FROM a.loot WHERE t ~* 'zq9x'"), '0', 'nothing came out of them');
allowed($node, 'reader', 'SELECT a.reads()', 'such code reads cursors that it opened, and goes on with rows of its own');
allowed($node, 'nobody', "BEGIN; DECLARE rc CURSOR FOR SELECT g FROM generate_series(1, 3) g ORDER BY 1; SELECT a.act('FETCH NEXT FROM rc'); COMMIT", 'who has no more lends his cursor');
allowed($node, 'reader', "DO \$\$ DECLARE r record; BEGIN FOR r IN SELECT email::text AS e FROM victim ORDER BY 1 LOOP PERFORM a.calm(); END LOOP; END \$\$", 'the reader\'s own loop goes on around it');

$node->safe_psql('postgres', "CREATE SCHEMA far; CREATE TABLE far.customer (id int); CREATE TYPE far.kind AS ENUM ('x')");
my @hiding = ((map { "CREATE TEMP TABLE $_" } 'victim (id int, email text)', 'victim AS SELECT 1 AS id', 'customer (id int)', 'kind (id int)', 'pg_class (id int)', 'fresh (id int CHECK (a.f(id::text) IS NOT NULL))', 'fresh (id int, CHECK (true))',
		"fresh (id int, t text DEFAULT a.f('x'))", 'fresh (id int, t text GENERATED ALWAYS AS (upper(\'x\')) STORED)', 'fresh (x a.dom)', 'fresh (x a.dom[])', 'fresh AS SELECT 1::a.dom AS x', 'fresh (LIKE public.victim INCLUDING ALL)',
		'fresh () INHERITS (public.victim)', 'fresh (id int CONSTRAINT victim PRIMARY KEY)', 'fresh (id int) PARTITION BY LIST (id)'),
	'SELECT 1 AS id INTO TEMP victim', 'CREATE TABLE pg_temp.customer (id int)', 'EXPLAIN ANALYZE CREATE TEMP TABLE victim AS SELECT 1', 'EXPLAIN ANALYZE CREATE MATERIALIZED VIEW a.left_behind AS SELECT 1', 'EXPLAIN CREATE TABLE a.left_behind AS SELECT 1');
my @setting = (map({ "SELECT set_config($_)" } q{'search_path', 'a', false}, q{'search_path', 'a', true}, q{'Search_Path', 'a', false}, q{'role', 'author', false}, q{'session_authorization', 'reader', false}, q{'row_security', 'off', false},
		q{'standard_conforming_strings', 'off', false}, q{'dataprotect.purpose', 'x', false}), 'SET row_security = off', q{UPDATE pg_settings SET setting = 'a' WHERE name = 'search_path'}, q{SELECT a.setting('a', false)}, 'SELECT * FROM a.configures');
my $trying = "\\set ON_ERROR_STOP off\n" . join '', map { "BEGIN;\nSELECT a.act_elsewhere('" . s/'/''/gr . "');\n\\echo =:SQLSTATE=:LAST_ERROR_MESSAGE\nROLLBACK;\n" } @hiding, @setting;
my ($tried) = as($node, 'reader', $trying);
my @outcome = $tried =~ /^=(.*)$/mg;
is(scalar(@outcome), @hiding + @setting, 'all were tried');
ok($outcome[$_] =~ /^42501=.*cannot (?:execute|set parameter|run for)/, 'code of others may not: ' . (@hiding, @setting)[$_]) or diag($outcome[$_]) for 0 .. $#outcome;
refused($node, 'reader', $_, "what was stored sets nothing: $_", qr/^42501$/) for q{UPDATE pg_settings SET setting = 'a' WHERE name = 'search_path'}, 'INSERT INTO a.configured (id) VALUES (1)', 'SELECT * FROM a.configures', q{SELECT a.setting('a', false)};
allowed($node, 'reader', "BEGIN; SELECT a.act_elsewhere('CREATE TEMP TABLE fresh (LIKE public.victim)'), a.act_elsewhere('CREATE TABLE pg_temp.fresh2 (id serial UNIQUE, t text DEFAULT ''x''::text)'), a.act_elsewhere('CREATE TEMP TABLE fresh3 AS SELECT id, email FROM public.victim'), a.act('SELECT set_config(''app.tenant'', ''1'', true)'); ROLLBACK", 'temporary tables and settings that concern nobody else');
allowed($node, 'reader', "SELECT set_config('search_path', 'a, public', false), set_config('app.tenant', '1', false), set_config('app.tenant', NULL, false), set_config('role', 'reader', true)", 'the reader\'s own settings');
allowed($node, 'reader', q{UPDATE pg_settings SET setting = '5MB' WHERE name = 'work_mem'}, 'settings of no concern, by a rule');
allowed($node, 'nobody', "SELECT a.act('SELECT set_config(''search_path'', ''a'', false)')", 'settings of who has nothing to lose');

log_conceals($node);
$node->stop;
done_testing();
