# Functions over base types: a reader's statement opens a value and hands it to code
# of a role that may not see it.  If this fails, authors of functions, operators,
# aggregates, casts and domains read what their callers read, without anybody
# noticing.  Each call that can be written stands in each place where one can
# stand; the author has no right, a mask, and, to see that every attempt is one,
# the right.
use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Attack;
use DataProtect::Test;

my $node = attack_node('base_types', conf => "log_statement = none\nlog_min_messages = fatal\n");
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE author LOGIN;
CREATE SCHEMA a AUTHORIZATION author;
GRANT ALL ON SCHEMA a TO PUBLIC;
CREATE TABLE big AS SELECT g AS id, v.email FROM victim v, generate_series(1, 3000) g WHERE v.id = 2;
ALTER TABLE big SET (parallel_workers = 2);
GRANT ALL ON big TO PUBLIC;
SQL

# What the author wrote: whatever it is handed, it tells.
my (undef, $err, $state) = as($node, 'author', <<'SQL');
CREATE FUNCTION a.f(v text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'GOT[%] <%>', current_setting('x.place', true), v;
	RETURN coalesce(v, '');
END $$;
CREATE FUNCTION a.safe(v text) RETURNS text LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
	RAISE NOTICE 'GOT[%] <%>', current_setting('x.place', true), v;
	RETURN coalesce(v, '');
END $$;
CREATE FUNCTION a.known(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE COST 1 AS $$
BEGIN
	RAISE NOTICE 'GOT[%] <%>', current_setting('x.place', true), v;
	RETURN coalesce(v, '');
END $$;
CREATE FUNCTION a.two(l text, r text) RETURNS bool LANGUAGE sql AS 'SELECT a.f(l || r) IS NOT NULL';
CREATE FUNCTION a.many(VARIADIC v text[]) RETURNS text LANGUAGE sql AS 'SELECT a.f(array_to_string(v, '',''))';
CREATE FUNCTION a.extra(x int, v text DEFAULT '', y int DEFAULT 1) RETURNS text LANGUAGE sql AS 'SELECT a.f(v)';
CREATE FUNCTION a.any(v anyelement) RETURNS text LANGUAGE sql AS 'SELECT a.f(v::text)';
CREATE FUNCTION a.rows(v text) RETURNS SETOF text LANGUAGE sql AS 'SELECT a.f(v)';
CREATE FUNCTION a.json(v json) RETURNS text LANGUAGE sql AS 'SELECT a.f(v::text)';
CREATE FUNCTION a.bool(v bool) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'GOT[%] <%>', current_setting('x.place', true), v; RETURN v::text; END $$;
CREATE FUNCTION a.int(v bigint) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'GOT[%] <%>', current_setting('x.place', true), v; RETURN v::text; END $$;
CREATE PROCEDURE a.p(v text) LANGUAGE plpgsql AS $$ BEGIN PERFORM a.f(v); END $$;
CREATE OPERATOR a.=== (FUNCTION = a.two, LEFTARG = text, RIGHTARG = text);
CREATE OPERATOR a.@#@ (FUNCTION = a.f, RIGHTARG = text);
CREATE OPERATOR a.~> (FUNCTION = pg_catalog.pg_notify, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION a.state(s text, v text) RETURNS text LANGUAGE sql AS 'SELECT a.f(v)';
CREATE FUNCTION a.pstate(s text, v text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT a.safe(v)';
CREATE FUNCTION a.combine(s text, v text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS 'SELECT a.safe(s || v)';
CREATE AGGREGATE a.agg(text) (sfunc = a.state, stype = text);
CREATE AGGREGATE a.final(text) (sfunc = textcat, stype = text, initcond = '', finalfunc = a.f);
CREATE AGGREGATE a.fin(VARIADIC "any") (sfunc = concat_ws, stype = text, initcond = '', finalfunc = a.f);
CREATE AGGREGATE a.par(text) (sfunc = a.pstate, stype = text, combinefunc = a.combine, parallel = safe);
CREATE AGGREGATE a.oset(ORDER BY text) (sfunc = a.state, stype = text);
CREATE AGGREGATE a.setting(text, bool) (sfunc = set_config, stype = text, initcond = 'loot.t');
CREATE DOMAIN a.noted AS text CHECK (a.f(VALUE) IS NOT NULL);
CREATE DOMAIN a.noted2 AS a.noted;
CREATE DOMAIN a.told AS text CHECK (set_config('loot.t', VALUE, false) IS NOT NULL);
CREATE TYPE a.box AS (t a.noted);
CREATE FUNCTION a.tobox(v text) RETURNS a.box LANGUAGE sql AS 'SELECT ROW(a.f(v))::a.box';
CREATE CAST (text AS a.box) WITH FUNCTION a.tobox(text);
CREATE TABLE a.t (id int, t text);
GRANT ALL ON ALL TABLES IN SCHEMA a TO PUBLIC;
SQL
is($state, '00000', 'the author has made everything') or diag($err);
(undef, $err, $state) = as($node, 'reader', <<'SQL');
CREATE VIEW low AS SELECT id, lower(email) AS l, email FROM victim;
CREATE FUNCTION own(v text) RETURNS text LANGUAGE sql AS 'SELECT a.f(v)';
CREATE TABLE mine (id int PRIMARY KEY, t text, e encrypted_text('pii'));
INSERT INTO mine VALUES (2, 'x', 'mine');
SQL
is($state, '00000', 'and the reader what he needs') or diag($err);

# Ways to call, over a row v of victim, in an expression of type text.
my @calls = ('a.f(v.email)', 'a.f(lower(v.email))', q{a.f(v.email || '')}, 'a.f(left(v.email::varchar, 60))', 'a.f(to_jsonb(v.email)::text)',
	q{a.f(format('%s', v.email))}, q{a.f(array_to_string(ARRAY[v.email], ','))}, q{a.f(coalesce(v.email, ''))}, 'a.f(coalesce(v.email, v.tok)::text)',
	'a.f(row_to_json(v)::text)', 'a.json(row_to_json(ROW(v.email)))', 'a.f(v::text)', 'a.f((v).email)', 'a.known(v.email::text)', 'a.any(v.email::text)',
	'a.any(v.email)', q{a.many('x', v.email)}, 'a.extra(1, y => 2, v => v.email)', q{a.f(CASE v.email WHEN 'x' THEN 'y' ELSE v.email::text END)},
	q{a.bool(v.email LIKE 'anna%')::text}, q{a.bool(v.email = 'anna-Zq9x@example.org')::text}, q{a.bool(v.email IN ('a', 'b'))::text}, 'a.bool(v.email < v.tok)::text',
	'a.int(length(v.email))', 'a.int(v.n)', 'a.f(greatest(v.email, v.tok)::text)', q{a.f(nullif(v.email, 'x'))}, q{a.f((SELECT v.email::text))}, 'a.f((SELECT w.email FROM victim w WHERE w.id = v.id))',
	q{('x' OPERATOR(a.===) v.email::text)::text}, q{(v.email::text OPERATOR(a.===) 'x')::text}, '(OPERATOR(a.@#@) v.email::text)', q{('x' OPERATOR(a.===) ANY (ARRAY[v.email::text]))::text},
	q{('x' OPERATOR(a.===) ANY (SELECT w.email::text FROM victim w WHERE w.id = v.id))::text},
	'v.email::text::a.noted::text', 'v.email::a.noted::text', 'v.email::text::a.noted2::text', q{(ARRAY[v.email::text]::a.noted[])[1]::text}, '(v.email::text::a.box)::text',
	'ROW(v.email::text)::a.box::text', q{jsonb_populate_record(NULL::a.box, jsonb_build_object('t', v.email))::text}, '(SELECT a.f(w.l) FROM low w WHERE w.id = v.id)',
	'a.f((SELECT max(w.email::text) FROM victim w WHERE w.id = v.id))', 'own(a.f(v.email))', 'a.f(own(v.email))', 'lower(a.f(upper(v.email)))', 'a.f(a.f(v.email))');
# Ways to aggregate.
my @aggregates = ('a.agg(v.email::text)', q{a.agg(v.email::text) FILTER (WHERE v.id > 0)}, 'a.agg(DISTINCT v.email::text)', 'a.agg(v.email::text ORDER BY v.id)', 'a.final(v.email::text)',
	q{a.fin(',', v.email)}, q{a.fin(',', v.email::text)}, 'a.oset() WITHIN GROUP (ORDER BY v.email::text)', 'max(a.f(v.email))', q{a.f(string_agg(v.email::text, ','))}, 'a.f(max(v.email)::text)', 'a.f(min(lower(v.email)))',
	'a.int(count(DISTINCT v.email))', 'a.f(array_agg(v.email)::text)', 'a.f(json_agg(v.email)::text)');
# Places for a call (%c).
my @places = ('SELECT * FROM victim v WHERE %c IS NOT NULL', 'SELECT 1 FROM victim v JOIN victim w ON w.id = v.id AND %c IS NOT NULL',
	'SELECT v.id FROM victim w LEFT JOIN victim v ON w.id = v.id AND %c IS NOT NULL', 'SELECT 1 FROM victim w FULL JOIN victim v USING (id) WHERE %c IS NOT NULL',
	'SELECT count(*) FROM victim v GROUP BY %c', 'SELECT %c, count(*) FROM victim v GROUP BY %c', 'SELECT %c, count(*) FROM victim v GROUP BY GROUPING SETS ((%c), ())', 'SELECT v.id FROM victim v ORDER BY %c', 'SELECT v.id FROM victim v GROUP BY v.id HAVING %c IS NOT NULL',
	'SELECT v.id, v.email FROM victim v GROUP BY v.id, v.email HAVING %c IS NOT NULL', 'SELECT DISTINCT ON (%c) v.id FROM victim v', 'SELECT rank() OVER (PARTITION BY %c) FROM victim v', 'SELECT rank() OVER (ORDER BY %c) FROM victim v',
	'SELECT lag(%c) OVER (ORDER BY v.id) FROM victim v', 'SELECT count(*) FILTER (WHERE %c IS NOT NULL) FROM victim v', 'SELECT CASE WHEN v.id > 0 THEN %c END FROM victim v', 'SELECT (SELECT %c) FROM victim v',
	'SELECT x FROM victim v, LATERAL (SELECT %c AS x OFFSET 0) s', 'SELECT x FROM victim v, LATERAL lower(%c) AS x', 'SELECT x FROM victim v, LATERAL (VALUES (%c)) s (x)', 'WITH s AS MATERIALIZED (SELECT %c AS x FROM victim v) SELECT x FROM s',
	'SELECT %c FROM victim v UNION ALL SELECT NULL', 'SELECT %c FROM victim v EXCEPT SELECT NULL', 'SELECT 1 WHERE EXISTS (SELECT FROM victim v WHERE %c IS NOT NULL)', 'SELECT 1 WHERE 1 NOT IN (SELECT 2 FROM victim v WHERE %c IS NOT NULL)',
	'SELECT ARRAY(SELECT %c FROM victim v)', 'EXPLAIN (ANALYZE) SELECT %c FROM victim v', 'COPY (SELECT %c FROM victim v) TO STDOUT', 'PREPARE q AS SELECT %c FROM victim v; EXECUTE q; EXECUTE q; DEALLOCATE q',
	'BEGIN; DECLARE c CURSOR FOR SELECT %c FROM victim v; FETCH ALL c; COMMIT', 'DO $$BEGIN PERFORM %c FROM victim v; END$$', 'DO $$DECLARE v record; x text; BEGIN FOR v IN SELECT * FROM victim LOOP x := %c; END LOOP; END$$',
	'WITH RECURSIVE r AS (SELECT 1 AS k UNION ALL SELECT k + 1 FROM r, victim v WHERE k < 2 AND %c IS NOT NULL) SELECT * FROM r', 'SELECT v.id FROM victim v LIMIT (SELECT count(*) FROM victim v WHERE %c IS NOT NULL)',
	'SELECT v.id FROM (SELECT * FROM victim OFFSET 0) v WHERE %c IS NOT NULL', 'SELECT v.id FROM (SELECT DISTINCT * FROM victim WHERE id < 3) v WHERE %c IS NOT NULL');
# In these, a mask would be stored, or decide what is.
my @writing = ('INSERT INTO mine SELECT v.id + 10, %c FROM victim v', 'UPDATE mine SET t = %c FROM victim v', 'UPDATE mine SET e = %c FROM victim v WHERE v.id = mine.id', 'INSERT INTO mine SELECT id FROM victim v ON CONFLICT (id) DO UPDATE SET t = (SELECT max(%c) FROM victim v)',
	'WITH s AS (SELECT %c AS t FROM victim v) UPDATE mine SET t = s.t FROM s', 'MERGE INTO mine m USING victim v ON m.id = v.id WHEN MATCHED THEN UPDATE SET t = %c', 'CREATE TEMP TABLE made AS SELECT %c AS t FROM victim v',
	'DELETE FROM mine USING victim v WHERE %c IS NOT NULL', 'INSERT INTO mine SELECT 30, (SELECT max(%c) FROM victim v)', 'WITH d AS (DELETE FROM mine USING victim v WHERE v.id = mine.id RETURNING %c AS t) INSERT INTO mine SELECT 40, t FROM d');
# Ways for a value that was opened elsewhere in the statement.
my @flows = ('SELECT a.f(s.x) FROM (SELECT lower(email) AS x FROM victim) s', 'SELECT a.f(s.x) FROM (SELECT lower(email) AS x FROM victim OFFSET 0) s', 'SELECT a.f(s.x) FROM (SELECT DISTINCT lower(email) AS x FROM victim) s',
	'WITH s AS MATERIALIZED (SELECT email::text AS x FROM victim) SELECT a.f(x) FROM s', 'WITH RECURSIVE s(x, n) AS (SELECT email::text, 1 FROM victim UNION ALL SELECT x, n + 1 FROM s WHERE n < 2) SELECT a.f(x) FROM s',
	'SELECT a.f(l) FROM low', 'SELECT a.f(s.x) FROM (SELECT NULL AS x UNION ALL SELECT email::text FROM victim) s', 'SELECT a.f(x) FROM victim v, LATERAL lower(v.email) AS x', q{SELECT a.f(x) FROM victim v, unnest(string_to_array(v.email, '@')) AS x},
	'SELECT a.f(x) FROM victim v, LATERAL (VALUES (lower(v.email))) s (x)', 'SELECT a.f(lower(email)) FROM victim GROUP BY lower(email)', 'SELECT a.f(lower(email) || count(*)) FROM victim GROUP BY 1, lower(email)' =~ s/ GROUP BY 1,/ GROUP BY/r,
	'SELECT a.f(s::text) FROM (SELECT lower(email) AS x FROM victim) s', 'SELECT a.f((s).x) FROM (SELECT lower(email) AS x FROM victim OFFSET 0) s', 'SELECT x FROM a.rows((SELECT max(email::text) FROM victim)) AS x', 'SELECT x FROM victim v, a.rows(v.email) AS x',
	q{SELECT t FROM victim v, jsonb_to_record(jsonb_build_object('t', v.email)) AS r (t a.noted)}, q{SELECT x FROM victim v, xmltable('/a' PASSING xmlelement(NAME a, v.email::text) COLUMNS x a.noted PATH '.')},
	'SELECT a.f(j.x) FROM ((SELECT email::text AS x FROM victim) p CROSS JOIN (SELECT 1) q) AS j', 'SELECT a.f(x) FROM (SELECT lower(email) AS x FROM victim) p FULL JOIN (SELECT lower(email) AS x FROM victim) q USING (x)',
	'SELECT a.int(row_number() OVER (ORDER BY email)) FROM victim', 'SELECT a.f(lag(email::text) OVER (ORDER BY id)) FROM victim', 'SELECT a.agg(email::text) OVER (ORDER BY id) FROM victim', 'SELECT a.agg(x) FROM (SELECT lower(email) AS x FROM victim) s',
	'SELECT a.par(lower(email)) FROM big', 'SELECT count(*) FROM big WHERE a.safe(email) IS NOT NULL', 'SELECT a.f(string_agg(x, \',\')) FROM (SELECT lower(email) AS x FROM big LIMIT 3) s', 'SELECT a.bool(EXISTS (SELECT FROM victim WHERE email LIKE \'anna%\'))',
	q{DO $$DECLARE e encrypted_text; x text; BEGIN SELECT email INTO e FROM victim WHERE id = 2; x := a.f(e); END$$}, q{DO $$DECLARE e encrypted_text; BEGIN SELECT email INTO e FROM victim WHERE id = 2; CALL a.p(e); END$$},
	q{DO $$DECLARE e encrypted_text; BEGIN SELECT email INTO e FROM victim WHERE id = 2; CALL a.p(lower(e)); END$$}, q{DO $$DECLARE e encrypted_text; x text; BEGIN SELECT email INTO e FROM victim WHERE id = 2; EXECUTE 'SELECT a.f($1)' INTO x USING e; END$$});

my @statements;
push @statements, [ "SELECT $_ FROM victim v", 0 ] for @calls, @aggregates;
for my $place (@places, @writing)
{
	my $n = 0;
	for my $call ('a.f(v.email)', q{a.f(lower(v.email::text))})
	{
		next if $n++ && $place !~ /GROUP|JOIN|LATERAL|UNION|ORDER|OVER/;
		push @statements, [ $place =~ s/%c/$call/gr, scalar(grep { $_ eq $place } @writing) ];
	}
}
push @statements, [ $_, 0 ] for @flows;

# One session does them all: what each ended with, and what it told the author.
sub run_all
{
	my ($name) = @_;
	my $sql = "\\set ON_ERROR_STOP off\nSET client_min_messages = notice; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;\n";
	for my $i (0 .. $#statements)
	{
		my $statement = $statements[$i][0];
		$statement = "BEGIN; $statement" if $statements[$i][1];
		$sql .= "SET x.place = '$i';\n$statement;\n\\echo =$i= :SQLSTATE\nROLLBACK;\n";
	}
	my ($out, $err) = as($node, 'reader', $sql);
	my (%state, %got);
	# psql 18 has no SQLSTATE after a COPY that failed
	$state{$1} = $2 while $out =~ /^=(\d+)= (\w*)$/mg;
	push @{ $got{$1} }, $2 while $err =~ /GOT\[(\d+)\] <(.*?)>$/mg;
	is(join('; ', map { $statements[$_][0] } grep { !exists $state{$_} } 0 .. $#statements), '', "$name: all of them ran");
	return (\%state, \%got);
}

# What the function of a number or a truth was told is a secret where it is what the
# author would be told with the right.
my $told_all;

sub is_secret
{
	my ($i, $told) = @_;
	return $told =~ /zq9x/i || ($statements[$i][0] =~ /a\.(?:int|bool)\(/ && $told ne '' && $told eq ($told_all->{$i} // ''));
}

sub check
{
	my ($name, $right) = @_;
	my ($state, $got) = run_all($name);
	my %told = map { $_ => join '|', @{ $got->{$_} } } keys %$got;
	$told_all //= \%told;
	for my $i (0 .. $#statements)
	{
		my ($statement, $writes) = @{ $statements[$i] };
		my $told = $told{$i} // '';
		my $ended = $state->{$i} // 'none';
		# a session goes on after the first of several that failed
		my $refused = $ended eq '42501' || ($told eq '' && $statement =~ /^(?:PREPARE|BEGIN; DECLARE|COPY)/);
		my $ok = $right eq 'reveal' ? $ended eq '00000' && is_secret($i, $told)
		  : !is_secret($i, $told) && ($refused || ($right eq 'mask' && $ended eq '00000' && !$writes && $told ne ''));
		ok($ok, "$name: $statement") or diag("$ended: " . substr($told, 0, 200));
	}
	return;
}

# In these a mask must come, no error.
my @masked = ('a.f(v.email)', 'a.f(lower(v.email))', 'a.known(v.email::text)', q{a.f(row_to_json(v)::text)});

$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'author', 'reveal')");
check('who may read as well', 'reveal');
$node->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'author')");
check('an author without a right', 'none');
$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'author', 'mask')");
check('who sees masks', 'mask');
$node->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'author')");

# What an author's view or policy makes a condition of calling his function tells as
# much; so does a constant that a built-in function carries off.  Who may read as well
# is told, everybody else stops it.
(undef, $err, $state) = as($node, 'author', <<'SQL');
CREATE TABLE a.own (id int, email encrypted_text('pii'));
GRANT ALL ON a.own TO PUBLIC;
CREATE FUNCTION a.sign(x text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'SIGN %', x; RETURN true; END $$;
CREATE VIEW a.v_case AS SELECT id, CASE WHEN email LIKE 'anna%' THEN a.sign('x') END AS x FROM a.own;
CREATE VIEW a.v_and AS SELECT id, email LIKE 'anna%' AND a.sign('x' || id) AS x FROM a.own;
CREATE VIEW a.v_coalesce AS SELECT id, coalesce(nullif(left(email, 4), 'anna'), a.sign('x')::text) AS x FROM a.own;
CREATE VIEW a.v_where AS SELECT id, a.sign('x' || id) AS x FROM a.own WHERE email LIKE 'anna%';
CREATE VIEW a.v_join AS SELECT o.id, a.sign('x' || o.id) AS x FROM a.own o JOIN a.own p ON p.id = o.id AND p.email LIKE 'anna%';
CREATE VIEW a.v_having AS SELECT id, a.sign('x' || id) AS x FROM a.own GROUP BY id HAVING max(email::text) LIKE 'anna%';
CREATE VIEW a.v_limit AS SELECT id, a.sign('x' || id) AS x FROM (SELECT id FROM a.own ORDER BY email::text LIMIT 1) s;
CREATE VIEW a.v_number AS SELECT id, a.sign('x' || n) AS x FROM (SELECT id, row_number() OVER (ORDER BY email::text) AS n FROM a.own) s;
CREATE VIEW a.v_inner AS SELECT id FROM a.own WHERE email LIKE 'anna%';
CREATE VIEW a.v_outer AS SELECT id, a.sign('x' || id) AS x FROM a.v_inner;
CREATE VIEW a.v_below AS SELECT * FROM (SELECT id, email LIKE 'anna%' AS b FROM a.own OFFSET 0) s WHERE b AND a.sign('x' || id);
CREATE VIEW a.v_letters AS SELECT id, a.sign('x' || i || c) AS x FROM a.own, generate_series(1, 30) i, unnest(string_to_array('a,b,n', ',')) c WHERE substr(email, i, 1) = c;
CREATE VIEW a.v_united AS SELECT id, a.sign('x' || id) AS x FROM a.own WHERE email LIKE 'anna%' UNION ALL SELECT 0, NULL;
CREATE VIEW a.v_with AS WITH w AS MATERIALIZED (SELECT id FROM a.own WHERE email LIKE 'anna%') SELECT a.sign('x' || id) AS x FROM w;
CREATE VIEW a.v_sub AS SELECT id, (SELECT a.sign('x') WHERE o.email LIKE 'anna%') AS x FROM a.own o;
CREATE VIEW a.v_notify AS SELECT id, CASE WHEN email LIKE 'anna%' THEN pg_notify('loot', 'anna') END::text AS x FROM a.own;
CREATE VIEW a.v_setting AS SELECT id, CASE WHEN email LIKE 'anna%' THEN set_config('loot.t', 'anna', false) END AS x FROM a.own;
CREATE VIEW a.v_order AS SELECT id, a.sign('x' || id) AS x FROM a.own ORDER BY email::text;
CREATE VIEW a.v_filter AS SELECT count(a.sign('x')) FILTER (WHERE email LIKE 'anna%') AS x FROM a.own;
CREATE VIEW a.v_agg AS SELECT a.agg('Zq9x') FILTER (WHERE email LIKE 'anna%') AS x, a.sign('y') AS y FROM a.own;
CREATE VIEW a.v_length AS SELECT a.sign('x') AS x FROM a.own, generate_series(1, length(email));
CREATE VIEW a.v_srf AS SELECT a.sign('x') AS x, generate_series(1, length(email)) AS y FROM a.own;
CREATE VIEW a.v_row AS SELECT (left(email, 1), a.sign('x')::text) < ('b', 'y') AS x FROM a.own;
CREATE VIEW a.v_in AS SELECT left(email, 4) IN (SELECT 'anna' UNION ALL SELECT a.sign('x')::text) AS x FROM a.own;
CREATE VIEW a.v_except AS SELECT a.sign('x') AS x FROM (SELECT left(email, 4) FROM a.own EXCEPT ALL SELECT 'anna') s;
CREATE VIEW a.v_written AS SELECT id FROM a.own WHERE email LIKE 'anna%' AND a.sign('x' || id);
CREATE VIEW a.fine AS SELECT id, lower(email) AS l, random() < 2 AS r, now() AS at, CASE WHEN email LIKE 'anna%' THEN 'anna' ELSE 'other' END AS who FROM a.own WHERE email <> 'nobody' ORDER BY email::text LIMIT 10;
CREATE VIEW a.fine_call AS SELECT id, a.sign('x'), lower(email) AS l, CASE WHEN id > 0 THEN a.sign('y') END FROM a.own WHERE id > 0 AND email IS NOT NULL;
GRANT ALL ON ALL TABLES IN SCHEMA a TO PUBLIC;
SQL
is($state, '00000', 'the author has made his views') or diag($err);
$node->safe_psql('postgres', 'INSERT INTO a.own SELECT id, email FROM victim', extra_params => [ '-U', 'reader' ]);
my @conditions = map({ "SELECT * FROM a.v_$_" } qw(case and coalesce where join having limit number outer below letters united with sub notify setting order filter agg length srf row in except)),
  'SELECT count(*) FROM a.v_where', 'SELECT (SELECT max(id) FROM a.v_and WHERE x)', 'WITH s AS (SELECT * FROM a.v_case) SELECT * FROM s', 'UPDATE a.v_written SET id = id', 'DELETE FROM a.v_written', 'PREPARE q AS SELECT * FROM a.v_where; EXECUTE q',
  ([ 'CASE WHEN email LIKE \'anna%\' THEN a.sign(\'x\') ELSE true END' ], [ 'email LIKE \'anna%\' AND a.sign(\'x\')' ], [ 'CASE WHEN email LIKE \'anna%\' THEN pg_notify(\'loot\', \'anna\') IS NULL ELSE true END' ]);
for my $right (qw(none reveal))
{
	$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'author', 'reveal')") if $right eq 'reveal';
	for my $condition (@conditions)
	{
		my $statement = ref $condition ? 'SELECT * FROM a.own' : $condition;
		as($node, 'author', "ALTER TABLE a.own ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON a.own USING ($condition->[0])") if ref $condition;
		my ($out, $errors, $ended) = as($node, 'reader', "BEGIN; $statement; ROLLBACK");
		as($node, 'author', 'DROP POLICY p ON a.own; ALTER TABLE a.own DISABLE ROW LEVEL SECURITY') if ref $condition;
		my $name = ref $condition ? "policy $condition->[0]" : $statement;
		ok($right eq 'none' ? $ended eq '42501' && $errors !~ /SIGN/ : $ended eq '00000' && ($errors =~ /SIGN/ || $name =~ /notify|setting/), "$right: $name") or diag("$ended $errors");
	}
}
$node->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'author')");
like((as($node, 'reader', "SELECT l || who FROM a.$_ WHERE id = 2"))[0], qr/zq9x/, "$_: a view goes on") for 'fine';
like((as($node, 'reader', 'SELECT l FROM a.fine_call WHERE id = 2'))[0], qr/zq9x/, 'and one that calls a function whatever the values are');

# Decided at each execution: one session with statements that it has prepared,
# between whose executions others act.  What the author was told: S, or nothing: -.
sub session_tells
{
	my ($statement, @acts) = @_;
	my $psql = sprintf 'psql -X -q -h %s -p %s -d postgres', $node->host, $node->port;
	my $execute = "SET x.place = '%d';\nEXECUTE q;\n";
	my $sql = "\\set ON_ERROR_STOP off\nPREPARE q AS $statement;\n" . sprintf($execute, 0) x 7;
	my $n = 0;
	for my $act (@acts)
	{
		my ($role, $text) = @$act;
		my $file = $node->basedir . '/act' . ++$node->{dp_acts} . '.sql';
		append_to_file($file, "$text;\n");
		$sql .= "\\! $psql -U $role -f $file >/dev/null\n" . sprintf($execute, ++$n);
	}
	my (undef, $told) = as($node, 'reader', $sql);
	my %got;
	$got{$1} .= $2 while $told =~ /GOT\[(\d+)\] <(.*?)>$/mg;
	return join '', map { ($got{$_} // '') =~ /zq9x/i ? 'S' : '-' } 0 .. $n;
}
my $su = $node->safe_psql('postgres', 'SELECT current_user');
for my $case ([ 'a function', 'SELECT a.f(email) FROM victim WHERE id = 2', 'a.f(text)' ],
	# a volatile function of a superuser's, in an object of the author's, is as the author's
	[ 'an aggregate', 'SELECT a.final(email::text) FROM victim WHERE id = 2', 'a.f(text)', '-SS-S-S-----' ],
	[ 'a domain', 'SELECT email::text::a.noted FROM victim WHERE id = 2', 'a.f(text)', '-SS-S-S-----' ],
	[ 'after a subquery', 'SELECT a.f(x) FROM (SELECT lower(email) AS x FROM victim WHERE id = 2 OFFSET 0) s', 'a.f(text)' ])
{
	my ($name, $statement, $function, $told) = @$case;
	is(session_tells($statement,
			[ 'admin', "SELECT dataprotect.trust_function('$function', 'reviewed')" ],
			[ 'author', "ALTER FUNCTION $function COST 2" ],
			[ 'author', "ALTER FUNCTION $function SET work_mem = '5MB'" ],
			[ 'author', "ALTER FUNCTION $function RESET work_mem" ],
			[ 'admin', "SELECT dataprotect.distrust_function('$function', 'no more')" ],
			[ $su, "SELECT dataprotect.grant_access('pii', 'author', 'reveal')" ],
			[ $su, "SELECT dataprotect.revoke_access('pii', 'author')" ],
			[ $su, "ALTER FUNCTION $function OWNER TO super" ],
			[ $su, 'ALTER ROLE super NOSUPERUSER' ],
			[ $su, 'ALTER ROLE super SUPERUSER' ],
			[ $su, "ALTER FUNCTION $function OWNER TO author" ]),
		$told // '-SS-S-S-S-S-', "$name: trusted; made dearer; changed; changed back; distrusted; its owner may read; may not; a superuser's, who is none, is one; the author's again");
}

# INSTEAD OF triggers are handed what the view makes of a value, or are called where
# the view decides by one; what is only handed on is opened by the trigger itself.
(undef, $err, $state) = as($node, 'author', <<'SQL');
CREATE FUNCTION a.told_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'GOT[%] <% %>', current_setting('x.place', true), row_to_json(OLD), row_to_json(NEW);
	RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE VIEW a.i_text AS SELECT id, lower(email) AS m FROM a.own;
CREATE VIEW a.i_cast AS SELECT id, email::text AS m FROM a.own;
CREATE VIEW a.i_row AS SELECT id, ROW(id, email::text)::a.t AS m FROM a.own;
CREATE VIEW a.i_sealed AS SELECT id, lower(email)::encrypted_text AS m FROM a.own;
CREATE VIEW a.i_sub AS SELECT id, (SELECT max(lower(email)) FROM a.own) AS m FROM a.own;
CREATE VIEW a.i_over AS SELECT id, m FROM a.i_text;
CREATE VIEW a.i_union AS SELECT id, m FROM a.i_text UNION ALL SELECT 0, NULL;
CREATE VIEW a.i_where AS SELECT id, 'Zq9x' AS m FROM a.own WHERE email LIKE 'anna%';
CREATE VIEW a.i_with AS WITH w AS MATERIALIZED (SELECT id, lower(email) AS m FROM a.own) SELECT id, m FROM w;
CREATE VIEW a.i_plain AS SELECT id, 'Zq9x' AS m, email FROM a.own;
CREATE VIEW a.i_through AS SELECT id, m FROM a.i_plain WHERE email LIKE 'anna%';
CREATE VIEW a.i_handed AS SELECT id, email FROM a.own WHERE email IS NOT NULL;
CREATE VIEW a.i_above AS SELECT id, email FROM a.i_handed WHERE id > 0;
DO $$
DECLARE v text;
BEGIN
	FOREACH v IN ARRAY ARRAY['text', 'cast', 'row', 'sealed', 'sub', 'over', 'union', 'where', 'with', 'plain', 'handed'] LOOP
		EXECUTE format('CREATE TRIGGER i INSTEAD OF INSERT OR UPDATE OR DELETE ON a.i_%s FOR EACH ROW EXECUTE FUNCTION a.told_row()', v);
	END LOOP;
END $$;
GRANT ALL ON ALL TABLES IN SCHEMA a TO PUBLIC;
SQL
is($state, '00000', 'the author has made views with triggers') or diag($err);
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
my @instead = map({ "UPDATE a.i_$_ SET id = id" } qw(text cast row sealed sub over union where with through)),
  'DELETE FROM a.i_text', 'DELETE FROM a.i_where', 'UPDATE a.i_text SET m = NULL RETURNING id', 'WITH d AS (DELETE FROM a.i_text RETURNING id) SELECT * FROM d', 'UPDATE a.i_text t SET id = v.id FROM victim v WHERE v.id = t.id',
  'EXPLAIN (ANALYZE) DELETE FROM a.i_text', 'DO $$BEGIN UPDATE a.i_text SET id = id; END$$',
  ($version >= 170000 ? ('MERGE INTO a.i_text t USING (VALUES (2)) s (id) ON s.id = t.id WHEN MATCHED THEN UPDATE SET id = s.id',
		'MERGE INTO a.i_text t USING (VALUES (2)) s (id) ON s.id = t.id WHEN MATCHED THEN DELETE') : ());
for my $right (qw(none reveal))
{
	$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'author', 'reveal')") if $right eq 'reveal';
	for my $statement (@instead)
	{
		my (undef, $told, $ended) = as($node, 'reader', "BEGIN; $statement; ROLLBACK");
		ok($right eq 'none' ? $ended eq '42501' && $told !~ /GOT/ : $ended eq '00000' && $told =~ /GOT.*zq9x/i, "$right: $statement") or diag("$ended $told");
	}
	for my $statement ('UPDATE a.i_handed SET id = id', 'DELETE FROM a.i_handed', 'UPDATE a.i_above SET id = id', 'UPDATE a.i_handed SET id = id WHERE email LIKE \'anna%\'', 'INSERT INTO a.i_text VALUES (1, \'x\')')
	{
		my (undef, $told, $ended) = as($node, 'reader', "BEGIN; $statement; ROLLBACK");
		ok($ended eq ($right eq 'none' && $statement !~ /INSERT/ ? $ended : '00000') && ($right eq 'reveal' || $told !~ /zq9x/i), "$right: $statement goes on") or diag("$ended $told");
	}
}
$node->safe_psql('postgres', "SELECT dataprotect.revoke_access('pii', 'author')");
is(session_tells('UPDATE a.i_text SET id = id WHERE id = 2',
		[ 'admin', "SELECT dataprotect.trust_function('a.told_row()', 'reviewed')" ],
		[ 'admin', "SELECT dataprotect.distrust_function('a.told_row()', 'no more')" ],
		[ $su, "SELECT dataprotect.grant_access('pii', 'author', 'reveal')" ],
		[ $su, "SELECT dataprotect.revoke_access('pii', 'author')" ],
		[ $su, 'ALTER FUNCTION a.told_row() OWNER TO super' ],
		[ $su, 'ALTER FUNCTION a.told_row() OWNER TO author' ]),
	'-S-S-S-', 'an INSTEAD OF trigger: trusted; distrusted; its owner may read; may not; a superuser\'s; the author\'s again');

# A plan that was made while the author had the right goes no further without it.
(undef, $err, $state) = as($node, 'author', <<'SQL');
CREATE VIEW a.s_set AS SELECT id, set_config('loot.t', email::text, false) AS x FROM a.own;
CREATE VIEW a.s_through AS SELECT id FROM a.own WHERE set_config('loot.t', email::text, false) IS NOT NULL;
CREATE VIEW a.s_united AS SELECT set_config('loot.t', email::text, false) AS x FROM a.own UNION ALL SELECT '';
CREATE TABLE a.ruled (id int, email encrypted_text('pii'));
CREATE TABLE a.loot (t text);
CREATE RULE r AS ON UPDATE TO a.ruled DO ALSO INSERT INTO a.loot VALUES (lower(OLD.email));
CREATE TABLE a.hidden (id int PRIMARY KEY, email encrypted_text('pii'));
CREATE POLICY p ON a.hidden USING (set_config('loot.t', email::text, false) IS NOT NULL);
CREATE TABLE a.signed (id int PRIMARY KEY, email encrypted_text('pii'));
CREATE POLICY p ON a.signed USING (email LIKE 'anna%' AND a.sign('x'));
ALTER TABLE a.hidden ENABLE ROW LEVEL SECURITY;
ALTER TABLE a.signed ENABLE ROW LEVEL SECURITY;
GRANT ALL ON ALL TABLES IN SCHEMA a TO PUBLIC;
SQL
is($state, '00000', 'the author has made what is planned') or diag($err);
$node->safe_psql('postgres', "INSERT INTO a.$_ SELECT id, email FROM victim", extra_params => [ '-U', $su ]) for qw(ruled hidden signed);
for my $statement ('SELECT * FROM a.s_set', 'SELECT * FROM a.s_united', 'UPDATE a.s_through SET id = id', 'DELETE FROM a.s_through WHERE id = 0', 'UPDATE a.ruled SET id = id', 'SELECT * FROM a.hidden', 'UPDATE a.hidden SET id = id',
	map({ my $t = $_; map({ "MERGE INTO $t t USING (VALUES (2)) s (id) ON s.id = t.id WHEN $_" } 'MATCHED THEN UPDATE SET id = s.id', $t eq 'a.i_text' ? () : 'NOT MATCHED THEN DO NOTHING') }
		'a.hidden', 'a.signed', $version >= 170000 ? ('a.v_written', 'a.s_through', 'a.i_text') : ()))
{
	my $file = $node->basedir . '/act' . ++$node->{dp_acts} . '.sql';
	$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'author', 'reveal')");
	append_to_file($file, "SELECT dataprotect.revoke_access('pii', 'author');\n");
	my ($ended, $told) = as($node, 'reader', "\\set ON_ERROR_STOP off\nSET plan_cache_mode = force_generic_plan;\nPREPARE q AS $statement;\n" . "EXECUTE q;\n\\echo = :SQLSTATE\n" x 2
		  . sprintf("\\! psql -X -q -h %s -p %s -d postgres -U %s -f %s >/dev/null\n\\warn REVOKED\nEXECUTE q;\n\\echo = :SQLSTATE\n", $node->host, $node->port, $su, $file));
	is(join(',', $ended =~ /^= (\w+)$/mg), '00000,00000,42501', "planned before: $statement") or diag($told);
	unlike($told, qr/REVOKED.*(?:GOT|SIGN)/s, "and calls nothing: $statement");
}

# A right that ends by itself is no longer there for the next statement.
my $until = $node->safe_psql('postgres', "SELECT clock_timestamp() + interval '3 seconds'");
$node->safe_psql('postgres', "SELECT dataprotect.grant_access('pii', 'author', 'reveal', valid_until => '$until')");
my (undef, $before_after) = as($node, 'reader', <<"SQL");
SET x.place = '0';
DO \$\$
BEGIN
	LOOP
		PERFORM set_config('x.place', CASE WHEN clock_timestamp() > '$until' THEN '1' ELSE '0' END, false);
		BEGIN
			PERFORM a.f(email) FROM victim WHERE id = 2;
		EXCEPTION WHEN insufficient_privilege THEN
			RAISE NOTICE 'REFUSED[%]', current_setting('x.place');
		END;
		EXIT WHEN current_setting('x.place') = '1';
		PERFORM pg_sleep(0.1);
	END LOOP;
END \$\$;
SQL
unlike($before_after, qr/GOT\[1\] <.*Zq9x/, 'the grant of a function\'s owner ends');
like($before_after, qr/REFUSED\[1\]/, 'and it was tried');

# A value that the statement opens, changes and casts to an encrypted type again is a literal, which anybody
# opens: it is followed to the call through what stands between.
as($node, 'author', 'CREATE FUNCTION a.sealed(v encrypted_text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN a.f(v::text); END $$');
as($node, 'author', 'CREATE FUNCTION a.kept(v encrypted_text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN v IS NOT NULL; END $$');
my $literal = 'lower(email)::encrypted_text';
for my $query (
	"SELECT a.sealed($literal) FROM victim",
	"SELECT a.sealed(x) FROM (SELECT $literal AS x FROM victim OFFSET 0) s",
	"SELECT a.f(x::text) FROM (SELECT $literal AS x FROM victim OFFSET 0) s",
	"SELECT a.sealed(coalesce(x, 'none')) FROM (SELECT $literal AS x FROM victim OFFSET 0) s",
	"WITH s AS MATERIALIZED (SELECT $literal AS x FROM victim) SELECT a.sealed(x) FROM s",
	"SELECT a.sealed(x) FROM (SELECT $literal AS x FROM victim UNION ALL SELECT email FROM victim WHERE id < 0) s",
	"SELECT a.sealed(x) FROM (SELECT max(email)::text::encrypted_text AS x FROM victim) s",
	"SELECT a.sealed((SELECT $literal FROM victim LIMIT 1))",
	"SELECT (SELECT a.sealed(s.x)) FROM (SELECT $literal AS x FROM victim OFFSET 0) s",
	"SELECT a.sealed(t.x) FROM victim v, LATERAL (VALUES (lower(v.email)::encrypted_text)) t(x)",
	"SELECT a.sealed(j.x) FROM (SELECT $literal AS x FROM victim) s JOIN LATERAL (SELECT s.x) j ON true",
	"INSERT INTO big (id) SELECT 0 FROM (SELECT $literal AS x FROM victim OFFSET 0) s WHERE a.sealed(x) = ''")
{
	my ($out, $says) = as($node, 'reader', $query);
	unlike($says, qr/GOT\[[^]]*\] <[^>]*zq9x/i, "a literal of a value is not handed on: $query");
	unlike($says, qr/XX\d\d\d|syntax error|does not exist/, 'and that is why');
}
is((as($node, 'reader', 'SELECT bool_and(a.kept(x)) FROM (SELECT email AS x FROM victim OFFSET 0) s'))[0], 't', 'a stored value goes on as an envelope');
is((as($node, 'reader', "SELECT a.kept(x) FROM (SELECT 'mine'::encrypted_text AS x OFFSET 0) s"))[0], 't', 'and a literal of the reader\'s own words');

# Functions that PostgreSQL looks up by itself, and no expression names: of an operator's negator, which the
# planner puts in its place; of a cast to json, which what makes JSON finds; of a type's conditions.
(undef, $err, $state) = as($node, 'author', <<'SQL');
CREATE OPERATOR a.@@ (FUNCTION = texteq, LEFTARG = text, RIGHTARG = text, NEGATOR = OPERATOR(a.!@@));
CREATE OPERATOR a.!@@ (FUNCTION = a.two, LEFTARG = text, RIGHTARG = text, NEGATOR = OPERATOR(a.@@));
CREATE OPERATOR a.?? (FUNCTION = textne, LEFTARG = text, RIGHTARG = text);
CREATE TYPE a.span AS RANGE (subtype = text, multirange_type_name = a.spans);
CREATE TYPE a.label AS ENUM ('anna', 'bob');
CREATE FUNCTION a.span_json(v a.span) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM a.f(v::text); RETURN '1'; END $$;
CREATE FUNCTION a.spans_json(v a.spans) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM a.f(v::text); RETURN '1'; END $$;
CREATE FUNCTION a.label_json(v a.label) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM a.f(v || '-Zq9x'); RETURN '1'; END $$;
CREATE CAST (a.span AS json) WITH FUNCTION a.span_json(a.span);
CREATE CAST (a.spans AS json) WITH FUNCTION a.spans_json(a.spans);
CREATE CAST (a.label AS json) WITH FUNCTION a.label_json(a.label);
CREATE VIEW a.negated AS SELECT id FROM victim WHERE NOT (email::text OPERATOR(a.@@) 'x');
CREATE VIEW a.spanned AS SELECT id, ('[' || email || ',]')::a.span AS r FROM victim;
CREATE VIEW a.told_json AS SELECT to_json(('[' || email || ',]')::a.span) FROM victim;
CREATE TYPE a.gains AS (t text);
CREATE TYPE a.later AS RANGE (subtype = text);
GRANT ALL ON ALL TABLES IN SCHEMA a TO PUBLIC;
SQL
is($state, '00000', 'the author has made what is looked up') or diag($err);
my $span = q{('[' || email || ',]')::a.span};
my $spans = q{('{[' || email || ',]}')::a.spans};
for my $query ('SELECT * FROM a.negated', 'SELECT id FROM victim WHERE NOT (email::text OPERATOR(a.@@) \'x\')', 'SELECT NOT (lower(email) OPERATOR(a.@@) \'x\') FROM victim',
	'SELECT NOT (\'x\' OPERATOR(a.@@) ANY (ARRAY[email::text])) FROM victim',
	'SELECT id FROM victim WHERE (email::text OPERATOR(a.@@) \'x\') IS FALSE OR NOT (email::text OPERATOR(a.@@) \'x\' AND id > 0)',
	'SELECT * FROM a.told_json', 'SELECT row_to_json(s) FROM a.spanned s', 'SELECT json_agg(r) FROM a.spanned', "SELECT to_json($span) FROM victim", "SELECT to_jsonb($span) FROM victim", "SELECT jsonb_agg($span) FROM victim",
	"SELECT json_build_object('r', ARRAY[$span]) FROM victim", "SELECT to_json(ROW($span)) FROM victim", "SELECT row_to_json(s) FROM (SELECT $span AS r FROM victim OFFSET 0) s", "SELECT jsonb_object_agg(id, $span) FROM victim",
	"SELECT to_json($spans) FROM victim", "SELECT to_json(unnest($spans)) FROM victim", "SELECT to_json(range_agg($span)) FROM victim", "SELECT to_json(a.span(email, NULL)) FROM victim",
	q{SELECT to_json(r) FROM victim, jsonb_to_record(jsonb_build_object('r', '[' || email || ',]')) AS t (r a.span)}, q{SELECT to_json(split_part(email, '-', 1)::a.label) FROM victim WHERE id IN (2, 5)},
	"DO \$\$DECLARE v record; x json; BEGIN FOR v IN SELECT * FROM victim LOOP x := to_json(('[' || v.email || ',]')::a.span); END LOOP; END\$\$")
{
	my ($out, $says) = as($node, 'reader', $query);
	unlike($says, qr/GOT\[[^]]*\] <[^>]*zq9x/i, "what is looked up is not handed a value: $query");
	like($says, qr/42501/, 'and that is why') or diag($says);
}
# Types that an administrator has made over an author's: the casts that these have, or get.
$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_encrypted_type('a.span'), dataprotect.create_encrypted_type('a.label');
CREATE TABLE made (id int, r encrypted_span('pii'), l encrypted_label('pii'), o encrypted_int4('pii'));
INSERT INTO made VALUES (1, '[anna-Zq9x,]', 'anna', 77123450);
GRANT ALL ON made TO PUBLIC;
SQL
for my $query ('SELECT to_json(r) FROM made', 'SELECT row_to_json(m) FROM made m', 'SELECT json_agg(r) FROM made', 'SELECT r::json FROM made', 'SELECT to_json(r::a.span) FROM made', 'SELECT jsonb_build_object(\'r\', r) FROM made', 'SELECT to_json(l::a.label) FROM made')
{
	my ($out, $says) = as($node, 'reader', $query);
	unlike($says, qr/GOT\[[^]]*\] <[^>]*zq9x/i, "a type made over an author's hands him nothing: $query");
	like($says, qr/42501/, 'and that is why') or diag($says);
}
is((as($node, 'reader', 'SELECT r, l, o FROM made'))[0], '[anna-Zq9x,)|anna|77123450', 'and shows its values');
SKIP:
{
	my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
	skip 'functions that try a value came with PostgreSQL 16', 1 if $version < 160000;
	for my $query (q{SELECT pg_input_is_valid(email::text, 'a.noted') FROM victim}, q{SELECT pg_input_is_valid(email::text, t) FROM victim, (SELECT 'a.noted' AS t OFFSET 0) s},
		q{SELECT * FROM victim, pg_input_error_info(email::text, 'a.noted')}, q{SELECT pg_input_is_valid('(' || email || ')', 'a.box') FROM victim},
		$version < 170000 ? () : q{SELECT jsonb_populate_record_valid(NULL::a.box, jsonb_build_object('t', email)) FROM victim})
	{
		my ($out, $says) = as($node, 'reader', $query);
		unlike($says, qr/GOT\[[^]]*\] <[^>]*zq9x/i, "what is tried is not handed a value: $query");
		like($says, qr/42501/, 'and that is why') or diag($says);
	}
	is((as($node, 'reader', q{SELECT DISTINCT pg_input_is_valid(email::text, 'date') FROM victim}))[0], 'f', 'a built-in type may be tried');
}
# A plan that was made before does not outlive what it knew of a type.
my $session = $node->background_psql('postgres', on_error_stop => 0, extra_params => [ '-U', 'reader' ]);
my $tell = sub { return scalar $session->query($_[0]) };
$tell->(q{SET plan_cache_mode = force_generic_plan; PREPARE by_cast AS SELECT to_json(('[' || email || ',]')::a.later)::text FROM victim; PREPARE by_row AS SELECT jsonb_populate_record(NULL::a.gains, jsonb_build_object('t', email, 'u', email))::text FROM victim});
like($tell->("EXECUTE $_"), qr/zq9x/i, "$_ runs before") for qw(by_cast by_row);
as($node, 'author', 'CREATE FUNCTION a.later_json(v a.later) RETURNS json LANGUAGE plpgsql AS $$ BEGIN PERFORM a.f(v::text); RETURN \'1\'; END $$; CREATE CAST (a.later AS json) WITH FUNCTION a.later_json(a.later); ALTER TYPE a.gains ADD ATTRIBUTE u a.noted');
unlike($tell->("EXECUTE $_"), qr/1|zq9x/i, "$_ is refused once the author has added to its type") for qw(by_cast by_row);
$session->quit;
for my $check ('NOT (email::text OPERATOR(a.@@) \'x\')', 'email::text OPERATOR(a.??) \'x\'', q{to_json(split_part(email, '-', 1)::a.label) IS NOT NULL})
{
	refused($node, 'owner', "ALTER TABLE victim ADD CHECK ($check) NOT VALID", "nor has a CHECK what is looked up: $check");
}

# What others do goes on: functions of superusers, extensions' among them, of the
# reader himself, and statements without any.
$node->safe_psql('postgres', 'CREATE FUNCTION su(v text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN v; END $$');
my @contrib = grep { $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = '$_'") } qw(citext pg_trgm pgcrypto);
$node->safe_psql('postgres', join '', map { "CREATE EXTENSION $_;" } @contrib);
as($node, 'reader', 'CREATE FUNCTION his(v text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN v; END $$; CREATE DOMAIN mail AS text CHECK (VALUE ~ \'@\')');
for my $expression ('su(v.email)', 'his(v.email)', 'v.email::text::mail', ('citext') x !!grep({ $_ eq 'citext' } @contrib))
{
	my $e = $expression eq 'citext' ? 'v.email::text::citext::text' : $expression;
	like((as($node, 'reader', "SELECT $e FROM victim v WHERE id = 2"))[0], qr/Zq9x/, "$e goes on");
}
allowed($node, 'reader', "SELECT digest(v.email::text, 'sha256') FROM victim v", 'pgcrypto') if grep { $_ eq 'pgcrypto' } @contrib;
allowed($node, 'reader', "SELECT similarity(v.email, 'anna') FROM victim v WHERE v.email::text % 'anna'", 'pg_trgm') if grep { $_ eq 'pg_trgm' } @contrib;
unlike((as($node, 'reader', 'EXPLAIN (VERBOSE) SELECT lower(email), count(*) FROM victim WHERE email <> \'x\' GROUP BY 1'))[0], qr/_seen_by/, 'a statement without others\' code stays as it is');
like((as($node, 'reader', 'EXPLAIN (VERBOSE) SELECT a.f(email) FROM victim'))[0], qr/_seen_by/, 'and one with such code does not');

$node->stop;
done_testing();
