-- Calls over protected columns resolve, and are planned, as over plain ones.
SELECT current_user AS su \gset
SELECT dataprotect.create_key('calls') \g /dev/null
CREATE ROLE regress_caller LOGIN;
CREATE ROLE regress_finder LOGIN;
GRANT CREATE ON SCHEMA public TO regress_caller;
SELECT dataprotect.grant_access('calls', 'regress_caller', 'reveal'), dataprotect.grant_access('calls', 'regress_finder', 'search') \g /dev/null
CREATE SCHEMA calls;
GRANT ALL ON SCHEMA calls TO regress_caller, regress_finder;
-- amvalidate: every operator class is whole, and no operator is a shell
SELECT opcname FROM pg_opclass WHERE NOT amvalidate(oid);
SELECT oid::regoperator FROM pg_operator WHERE oprcode = 0;

\c - regress_caller
SET search_path = calls;
CREATE TABLE v (id int, n2 encrypted_int2('calls'), n4 encrypted_int4('calls', 'ordered'), n8 encrypted_int8('calls', 'ordered'), pay encrypted_numeric('calls'),
    f4 encrypted_float4('calls'), f8 encrypted_float8('calls'), ok encrypted_bool('calls'), d encrypted_date('calls', 'ordered'), ts encrypted_timestamp('calls'),
    tz encrypted_timestamptz('calls'), tm encrypted_time('calls'), doc encrypted_jsonb('calls'), raw encrypted_bytea('calls'), t encrypted_text('calls', 'searchable'));
INSERT INTO v VALUES (1, 3, 20, 5, 2.5, 1004.3, 0.5, false, '1980-03-01', '2020-01-03 10:00', '2020-01-03 10:00+00', '10:00', '{"a": 1}', '\x0002', 'x');
-- mixed-comparisons, bigint-literal
SELECT n8 = 5, n8 BETWEEN 1 AND 10, n8 IN (1, 5), n4 = 20::int2, n4 < 20.5, pay > 1, pay > 1.0::float8, f8 = 0.5::float4, n2 = 3 FROM v;
SELECT ts > current_date, tz >= current_date, tz < localtimestamp, d < now(), d = '1980-03-01'::timestamp, n4 > n8, n4 = 20::bigint, n4 = 20.0 FROM v;
SELECT n4 = ANY (ARRAY[1, 20]::bigint[]), pay = ANY (ARRAY[1, 2.5]), n8 = ANY ('{5}'::int[]) FROM v;
-- mixed-results, numeric-mix, common-type: value and type of the plain column
SELECT coalesce(pay, 0), coalesce(n8, 0), sum(CASE WHEN ok THEN pay ELSE 0 END), greatest(pay, 0), nullif(n4, 20) FROM v GROUP BY pay, n8, n4;
SELECT pay FROM v UNION SELECT 5 ORDER BY 1;
SELECT pay * n4, n4 * 1.5, n4 / 2.0, pay + f8, n2 % 2, n4 ^ 2 FROM v;
SELECT sqrt(n4), ceil(n4), round(pay), round(n4, 2), power(n4, 2), abs(n4), mod(n8, 3) FROM v;
SELECT date_trunc('month', d), to_char(d, 'YYYY'), age(date '2020-03-01', d), now() - ts > '1 day', extract(year FROM d), d + 1, d + interval '1 day' FROM v;
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY pay), percentile_cont(0.5) WITHIN GROUP (ORDER BY n4), avg(n4), sum(n4), sum(n8), max(d), min(t), stddev(n4), count(DISTINCT n4) FROM v;
SELECT pg_typeof(sum(n4)), pg_typeof(sum(n8)), pg_typeof(avg(n2)), pg_typeof(sum(DISTINCT pay)), pg_typeof(avg(f4)), pg_typeof(sum(f4)) FROM v;
-- window-range-offset
SELECT sum(n4) OVER (ORDER BY d RANGE BETWEEN '1 month' PRECEDING AND CURRENT ROW), sum(n4) OVER (ORDER BY n4 RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM v;
SELECT doc['a'], ARRAY[n4, 1], lag(pay, 1, 0) OVER (), d <@ daterange('1980-01-01', '2021-01-01'), daterange(d, d + 5) FROM v;
SELECT n4 FROM v UNION SELECT 1.5 ORDER BY 1;
SELECT n4 FROM v UNION ALL SELECT pay FROM v;
SELECT d FROM v UNION SELECT ts FROM v ORDER BY 1;
SELECT t FROM v UNION SELECT 'x'::char(3);
SELECT n4 > (SELECT avg(n4) FROM v), t || 'y', 'y' || t, t || n4, least(n4, n8), (d, d + 1) OVERLAPS (date '1980-01-01', date '2020-02-01') FROM v;
SELECT generate_series(1, n2) FROM v;
-- float4-literal
SELECT f4 * '-10', pg_typeof(f4 * '-10'), f4 = 1004.3::real FROM v;
-- cast-bit-wrong-result, concat-of-base-type
SELECT n4::bit(4), n8::bit(4), n4::bit(8), raw || '\x01', doc || '{"z": 1}', doc - 'a', doc #- '{a}', doc @> '{"a": 1}', doc ? 'a' FROM v;
PREPARE add (unknown, int) AS UPDATE v SET doc = doc || $1 WHERE id = $2 RETURNING doc;
EXECUTE add ('{"z": 2}', 1);
UPDATE v SET raw = raw || '\x01' RETURNING raw;
UPDATE v SET doc['a'] = '3', doc['b']['c'] = '[4]' RETURNING doc;
UPDATE v SET doc = doc - 'b' RETURNING doc;
SELECT coalesce(doc, '{}') || '{"y": 3}' FROM v;
-- assign-across-types
INSERT INTO v (id, n8, f8, ts) SELECT 2, n4, n4, d FROM v;
UPDATE v SET f8 = n4, pay = n4, d = ts WHERE id = 1 RETURNING f8, pay, d;
DELETE FROM v WHERE id = 2;
-- using-across-int-types-xx000, arrays
CREATE TABLE a (n encrypted_int4('calls'), tags encrypted_text('calls')[], days encrypted_date('calls')[]);
CREATE TABLE b (n encrypted_int8('calls'));
INSERT INTO a VALUES (1, '{a,b}', '{2020-01-01,2020-01-02}');
INSERT INTO b VALUES (1);
SELECT n FROM a NATURAL JOIN b;
SELECT n FROM a JOIN (SELECT 1::bigint AS n) z USING (n);
SELECT rank(1) WITHIN GROUP (ORDER BY n) FROM b;
SELECT 'a' = ANY (tags), array_agg(n) FROM a GROUP BY tags[1], 1;
SELECT days @> ARRAY[date '2020-01-01'], ARRAY[date '2020-01-03'] <@ days, days && ARRAY[date '2020-01-01'], days = ARRAY[date '2020-01-01'], days < ARRAY[date '2020-01-02'],
    days @> '{2020-01-01}', days = '{2020-01-01,2020-01-02}', tags @> '{a}', tags @> ARRAY['a']::encrypted_text[] FROM a;
-- arrays: a typed plain array on either side, of types that others become
CREATE TABLE listed (tags encrypted_text('calls')[], codes encrypted_text('calls', '(3)')[], n2 encrypted_int2('calls')[], n4 encrypted_int4('calls')[], n8 encrypted_int8('calls')[],
    f4 encrypted_float4('calls')[], f8 encrypted_float8('calls')[], pay encrypted_numeric('calls')[], ts encrypted_timestamp('calls')[], tz encrypted_timestamptz('calls')[]);
CREATE TABLE plainly (tags text[], codes varchar(3)[], n2 int2[], n4 int4[], n8 int8[], f4 float4[], f8 float8[], pay numeric[], ts timestamp[], tz timestamptz[]);
INSERT INTO plainly VALUES ('{a,b}', '{x,y}', '{1,2}', '{1,2}', '{1,2}', '{1.5,2}', '{1.5,2}', '{1.5,2}', '{2020-01-01,2020-01-02}', '{2020-01-01,2020-01-02}'),
    ('{a}', '{}', '{1,NULL}', '{3}', NULL, '{1.5}', '{2,1.5}', '{NULL}', '{2020-01-01}', '{infinity}');
INSERT INTO listed SELECT * FROM plainly;
-- as between plain arrays, each pair of rows: nothing
DO $$
DECLARE
    c text;
    o text;
    v_differ int;
BEGIN
    FOREACH c IN ARRAY '{tags,codes,n2,n4,n8,f4,f8,pay,ts,tz}'::text[] LOOP
        FOREACH o IN ARRAY '{=,<>,<,<=,>,>=,@>,<@,&&}'::text[] LOOP
            EXECUTE format('SELECT count(*) FROM (SELECT a.%1$I AS l, b.%1$I AS p, c.%1$I AS q FROM listed a, plainly b, plainly c WHERE a IS NOT DISTINCT FROM c) x
                            WHERE (l %2$s p) IS DISTINCT FROM (q %2$s p) OR (p %2$s l) IS DISTINCT FROM (p %2$s q)', c, o) INTO v_differ;
            IF v_differ > 0 THEN
                RAISE NOTICE '% %: %', c, o, v_differ;
            END IF;
        END LOOP;
    END LOOP;
END $$;
SELECT tags @> ARRAY['a'], ARRAY['a'] <@ tags, codes = ARRAY['x', 'y']::varchar[], tags < ARRAY['b'], n4 && ARRAY[2], pay @> ARRAY[1.5], tags @> '{a}', '{a,b}' = tags,
    array_position(pay, 2), n4 || ARRAY[3], array_cat(ARRAY['z'], tags), array_agg(n4[1]) OVER () @> ARRAY[3] FROM listed WHERE n8 IS NOT NULL;
SELECT a = b, a < b, row(a.tags, a.codes) = row(b.tags, b.codes) FROM listed a, plainly b;
SELECT nullif(tags, ARRAY['a', 'b']), pg_typeof(nullif(tags, ARRAY['a', 'b'])), x FROM (SELECT tags, nullif(ARRAY[2.5], pay) AS x FROM listed) s;
CREATE TABLE listed2 AS SELECT nullif(tags, ARRAY['a']) AS tags FROM listed;
CREATE TABLE listed2 (tags encrypted_text('calls')[]);
INSERT INTO listed2 SELECT nullif(tags, ARRAY['a', 'b']) FROM listed;
SELECT tags, pg_typeof(tags) FROM listed2;
DROP TABLE listed2;
SELECT tags @> ARRAY[1] FROM listed;
SELECT pay @> ARRAY[1] FROM listed;
SELECT ARRAY[1] @> ARRAY[1.5];
CREATE VIEW of_arrays AS SELECT tags @> ARRAY['a'] AS a, ARRAY['a'] <@ tags AS b FROM listed;
SELECT * FROM of_arrays;
-- what the sides have for types is good for nothing else
CREATE TABLE sides AS SELECT tags::dataprotect._sealed_array_of_encrypted_text FROM listed;
SELECT tags::dataprotect._sealed_array_of_encrypted_text FROM listed;
SELECT '{a}'::dataprotect._plain_array_of_encrypted_text;
DROP TABLE listed, plainly CASCADE;
SELECT x.tags @> y.tags, x.days = y.days, x.days IN (SELECT days FROM a) FROM a x, a y WHERE x.days = y.days;
-- what does not compare does not begin to
SELECT ARRAY['a'::varchar] @> ARRAY['a'::text];
-- rows: each pair of columns by operators of its own
SELECT (n, 1) NOT IN (SELECT n, 1 FROM b), (n, 1) IN (SELECT n, 1 FROM b), (n, 2) < (1::bigint, 1), (n, 2) = (1::bigint, 2) FROM a;
SELECT count(*) FROM a JOIN b ON (a.n, 1) = (b.n, 1);
DROP TABLE a, b;
-- plain arrays beside untyped literals are PostgreSQL's alone
DO $$
DECLARE
    types text[] := '{text,varchar,bpchar,bytea,int2,int4,int8,float4,float8,numeric,bool,date,time,timestamp,timestamptz,interval,uuid,inet,jsonb}';
    ops text[] := '{=,<>,<,<=,>,>=,@>,<@,&&}';
BEGIN
    EXECUTE (SELECT format('CREATE TABLE plain_arrays (%s)', string_agg(format('%I %s[]', 'p_' || t, t), ', ')) FROM unnest(types) t);
    EXECUTE (SELECT format('CREATE VIEW beside_literals AS SELECT %s FROM plain_arrays',
                           string_agg(format('%1$I %2$s ''{}'' AS %3$I, ''{}'' %2$s %1$I AS %4$I, %1$I %2$s %1$I AS %5$I', 'p_' || t, o, t || o || 'l', t || o || 'r', t || o || 'b'), ', '))
               FROM unnest(types) t, unnest(ops) o);
END $$;
SELECT count(*) FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid AND d.classid = 'pg_rewrite'::regclass
    WHERE w.ev_class = 'beside_literals'::regclass AND d.refclassid IN ('pg_operator'::regclass, 'pg_type'::regclass, 'pg_proc'::regclass);
DROP TABLE plain_arrays CASCADE;

-- expressions-of-reports
SELECT age(d) > '1 year', age(timestamp '2021-01-03', d), sum(coalesce(pay, 0)), n4 = 1.0, pay - f8 FROM v GROUP BY d, n4, pay, f8;
SELECT d + tm, d + time '01:00', tm + d, time '01:00' + d, d + timetz '10:00+00', d - tm, ts + tm, tm - tm FROM v;
SELECT x.n2 FROM v x JOIN (VALUES (3::smallint)) y (n) ON x.n2 = y.n;
SELECT to_char(tm, 'HH24:MI'), i8 > i4 FROM (SELECT tm, n8 AS i8, n4 AS i4 FROM v) x;
SELECT avg(tm), percentile_disc(0.5) WITHIN GROUP (ORDER BY n4), corr(f8, n4), range_agg(daterange(d, d + 1)) FROM v;

-- in-list, not-in-subselect: lists of any length; hashed, merged and nested
CREATE TABLE people (id int, name encrypted_text('calls'), n4 encrypted_int4('calls'));
INSERT INTO people SELECT g, 'n' || g, g FROM generate_series(1, 20) g;
INSERT INTO people VALUES (21, NULL, NULL);
CREATE TABLE dept (title text, n int);
INSERT INTO dept VALUES ('n1', 1), ('n2', 2), ('ops', 99);
ANALYZE people, dept;
SELECT count(*) FROM people WHERE name IN ('n1','n2','n3','n4','n5','n6','n7','n8');
SELECT count(*) FROM people WHERE name IN ('n1','n2','n3','n4','n5','n6','n7','n8','n9');
SELECT count(*) FROM people WHERE n4 IN (1,2,3,4,5,6,7,8,9,10);
SELECT count(*) FROM people WHERE name NOT IN ('n1','n2','n3','n4','n5','n6','n7','n8','n9');
SELECT count(*) FROM people WHERE name = ANY (ARRAY['n1','n2','n3','n4','n5','n6','n7','n8','n9']);
SELECT count(*) FROM people WHERE name = ANY ((SELECT array_agg('n' || g) FROM generate_series(1, 1000) g)::text[]);
GRANT SELECT ON people TO regress_finder;
CREATE FUNCTION every_way(statement text) RETURNS TABLE (answer text) LANGUAGE plpgsql AS $$
DECLARE
    off text;
    result text;
    results text[] := '{}';
BEGIN
    FOREACH off IN ARRAY ARRAY['', 'enable_hashjoin', 'enable_mergejoin', 'enable_nestloop', 'enable_hashagg', 'enable_hashjoin enable_mergejoin',
                               'enable_hashjoin enable_nestloop', 'enable_mergejoin enable_nestloop', 'enable_sort', 'enable_material'] LOOP
        PERFORM set_config(name, 'off', false) FROM regexp_split_to_table(off, ' ') name WHERE name <> '';
        EXECUTE format('SELECT string_agg(x::text, '' '' ORDER BY x) FROM (%s) y (x)', statement) INTO result;
        results := results || coalesce(result, 'none');
        PERFORM set_config(name, 'on', false) FROM regexp_split_to_table(off, ' ') name WHERE name <> '';
    END LOOP;
    RETURN QUERY SELECT DISTINCT unnest(results);
END $$;
SELECT * FROM every_way('SELECT id FROM people WHERE name NOT IN (SELECT title FROM dept) AND id > 15');
SELECT * FROM every_way('SELECT id FROM people WHERE name IN (SELECT title FROM dept)');
SELECT * FROM every_way('SELECT id FROM people WHERE n4 IN (SELECT n % 10 FROM dept)');
SELECT * FROM every_way('SELECT id FROM people WHERE EXISTS (SELECT FROM dept d WHERE d.title = people.name)');
SELECT * FROM every_way('SELECT n FROM dept WHERE title NOT IN (SELECT name FROM people WHERE name IS NOT NULL)');
SELECT * FROM every_way('SELECT p.id FROM people p JOIN dept d ON d.n = p.n4');
SELECT * FROM every_way('SELECT p.id FROM people p FULL JOIN dept d ON d.n = p.n4 WHERE p.id IS NULL OR p.id < 4');
SELECT * FROM every_way('SELECT d.n FROM dept d LEFT JOIN people p ON d.title = p.name ORDER BY p.name');
SELECT * FROM every_way('SELECT p.id FROM people p JOIN people q USING (name) JOIN dept d ON d.title = q.name');
-- merge-xx000
MERGE INTO people USING dept ON people.n4 = dept.n WHEN MATCHED THEN UPDATE SET name = dept.title WHEN NOT MATCHED THEN INSERT (id, n4) VALUES (100, dept.n);
SELECT count(*) FROM people;
-- in-subquery-unique-xx000, merge-join-xx000, merge-join-with-a-plain-column: an ordered index on the protected side, a primary key on the plain one
CREATE TABLE q (n int PRIMARY KEY, x int);
INSERT INTO q SELECT i, i FROM generate_series(1, 3000) i;
CREATE TABLE e (n encrypted_int4('calls', 'ordered') PRIMARY KEY, y int);
INSERT INTO e SELECT i, i FROM generate_series(1, 3000) i;
ANALYZE q, e;
SELECT count(*) FROM e WHERE n IN (SELECT n % 10 FROM q);
SELECT count(*) FROM e WHERE EXISTS (SELECT 1 FROM q WHERE q.n % 50 = e.n);
SELECT count(*) FROM (SELECT e.y FROM q JOIN e USING (n) ORDER BY e.n LIMIT 10) x;
SELECT * FROM every_way('SELECT count(*), count(x.y), min(x.x) FROM (SELECT q.x, e.y FROM e LEFT JOIN q ON q.n = e.n ORDER BY e.n LIMIT 2000) x');
SELECT * FROM every_way('SELECT count(*), count(x.y), min(x.x) FROM (SELECT q.x, e.y FROM q LEFT JOIN e ON q.n = e.n ORDER BY q.n LIMIT 2000) x');
SELECT * FROM every_way('SELECT count(*), count(x.y) FROM (SELECT q.x, e.y FROM q FULL JOIN e ON q.n = e.n ORDER BY q.n LIMIT 5) x');
-- the index of the protected column, whatever type the other side has
CREATE FUNCTION plan(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
        IF line ~ 'Index|Seq|Filter' THEN
            RETURN NEXT ltrim(line);
        END IF;
    END LOOP;
END $$;
CREATE TABLE i (id int, n8 encrypted_int8('calls', 'ordered'), pay encrypted_numeric('calls', 'searchable'), t encrypted_text('calls', 'searchable'));
INSERT INTO i SELECT g, g, g, 'p' || g FROM generate_series(1, 1000) g;
CREATE INDEX ON i (n8);
CREATE INDEX i_pay ON i USING hash (pay);
CREATE UNIQUE INDEX i_t ON i (t encrypted_text_token_ops);
ANALYZE i;
SELECT * FROM plan('SELECT id FROM calls.i WHERE n8 = 5');
SELECT * FROM plan('SELECT id FROM calls.i WHERE n8 > 990::int2');
SELECT * FROM plan('SELECT id FROM calls.i WHERE pay = 5');
SELECT * FROM plan('SELECT id FROM calls.i WHERE pay = 5.0');
SELECT * FROM plan('SELECT id FROM calls.i WHERE t = ''p7''::varchar');
SELECT * FROM plan('SELECT id FROM calls.i WHERE t = ''p7''::char(5)');
SELECT * FROM plan('SELECT id FROM calls.i WHERE t = ''p7''::name');
SELECT * FROM plan('SELECT id FROM calls.i ORDER BY n8 LIMIT 1');
SELECT id FROM i WHERE n8 = 5 AND pay = 5.0 AND t = 'p5'::char(5) AND n8 < 6::int2;
GRANT SELECT ON i TO regress_finder;

-- search-path-function: operators and casts are found under every search_path, by roles that may only search, too
CREATE FUNCTION find(m text) RETURNS SETOF int LANGUAGE plpgsql SET search_path = pg_catalog AS $$BEGIN RETURN QUERY SELECT id FROM calls.i WHERE t = m; END$$;
SET search_path = '';
SELECT * FROM calls.plan('SELECT id FROM calls.i WHERE t = ''p7''');
\c - regress_finder
SELECT id FROM calls.i WHERE t = 'p7';
SELECT * FROM calls.find('p7');
SET search_path = '';
SELECT id FROM calls.i WHERE t = 'p7';
SELECT id FROM calls.i WHERE pay = 7;
SELECT id FROM calls.i WHERE pay = 7.0;
SELECT id FROM calls.i WHERE n8 = 7;
SELECT id FROM calls.i WHERE t IN ('p1','p2','p3','p4','p5','p6','p7','p8','p9') ORDER BY id LIMIT 1;
SELECT id FROM calls.people WHERE n4 = 7::bigint;
-- what would need the value is an error, not an answer from masks
SELECT id FROM calls.people WHERE n4 = 7.0;
SELECT id FROM calls.people WHERE n4::int = 7;
SELECT id FROM calls.i WHERE t NOT IN ('p1','p2','p3','p4','p5','p6','p7','p8','p9');
SELECT id FROM calls.i WHERE pay IN (SELECT 7.0);
-- keyed hashes are nobody's to ask for
SELECT encrypted_text_hash('a'::text);
SELECT encrypted_int4_hash_extended(1, 0);
CREATE AGGREGATE calls.oracle (*) (SFUNC = encrypted_int4_hash, STYPE = int4, INITCOND = '42');
SELECT calls.oracle(*);
CREATE OPERATOR calls.@@@ (FUNCTION = encrypted_int4_hash, RIGHTARG = int4);
SELECT OPERATOR(calls.@@@) 42;

-- a made type outside search_path: its operators are those of a cast, or are not found
\c - :su
CREATE TYPE calls.weather AS ENUM ('low', 'high');
SELECT dataprotect.create_encrypted_type('calls.weather');
SELECT opcname FROM pg_opclass WHERE NOT amvalidate(oid);
-- what the planner takes for granted of operators, as PostgreSQL's own opr_sanity asks it: a commutator and a
-- negator are mutual and of one kind, a family's operator that merges or hashes has a commutator and a family
SELECT o.oid::regoperator FROM pg_operator o LEFT JOIN pg_operator c ON c.oid = o.oprcom LEFT JOIN pg_operator n ON n.oid = o.oprnegate
    LEFT JOIN pg_proc p ON p.oid = o.oprcode LEFT JOIN pg_proc cp ON cp.oid = c.oprcode LEFT JOIN pg_proc np ON np.oid = n.oprcode
WHERE concat(o.oprleft::regtype, ' ', o.oprright::regtype) LIKE '%encrypted\_%' AND (o.oprcode::oid = 0 OR (o.oprrest = 0) <> (o.oprjoin = 0)
    OR c.oprcom <> o.oid OR c.oprleft <> o.oprright OR c.oprright <> o.oprleft OR c.oprresult <> o.oprresult
    OR n.oprnegate <> o.oid OR n.oid = o.oid OR n.oprleft <> o.oprleft OR n.oprright <> o.oprright
    OR (o.oprcanmerge OR o.oprcanhash OR EXISTS (SELECT FROM pg_amop a, pg_am m WHERE a.amopopr = o.oid AND m.oid = a.amopmethod AND m.amname = 'btree')) AND c.oid IS NULL
    OR o.oprcanmerge AND NOT EXISTS (SELECT FROM pg_amop a, pg_am m WHERE a.amopopr = o.oid AND m.oid = a.amopmethod AND m.amname = 'btree' AND a.amopstrategy = 3)
    OR o.oprcanhash AND NOT EXISTS (SELECT FROM pg_amop a, pg_am m WHERE a.amopopr = o.oid AND m.oid = a.amopmethod AND m.amname = 'hash')
    OR (p.provolatile, p.proleakproof, p.proisstrict, p.proparallel) <> (cp.provolatile, cp.proleakproof, cp.proisstrict, cp.proparallel)
    OR (p.provolatile, p.proleakproof, p.proisstrict, p.proparallel) <> (np.provolatile, np.proleakproof, np.proisstrict, np.proparallel));
CREATE TABLE calls.skies (id int, m encrypted_weather('calls'));
INSERT INTO calls.skies VALUES (1, 'low'), (2, 'high');
GRANT SELECT ON calls.skies TO regress_finder, regress_caller;
\c - regress_finder
SET search_path = '';
SELECT id FROM calls.skies WHERE m = 'high';
SELECT id FROM calls.skies WHERE m = 'high'::calls.weather;
SELECT id FROM calls.skies WHERE m > 'low';
\c - regress_caller
SET search_path = '';
SELECT id FROM calls.skies WHERE m > 'low';
SELECT id FROM calls.skies WHERE m IN ('high', 'low') ORDER BY m DESC;
\c - :su
SET client_min_messages = warning;
DROP TABLE calls.skies;
DROP TYPE encrypted_weather CASCADE;
DROP SCHEMA calls CASCADE;
REVOKE CREATE ON SCHEMA public FROM regress_caller;
DROP ROLE regress_caller, regress_finder;
