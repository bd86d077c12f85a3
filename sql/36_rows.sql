-- Rows, and what functions and views declare, over protected columns as over plain ones.
SELECT current_user AS su \gset
SELECT dataprotect.create_key('rows') \g /dev/null
CREATE ROLE regress_rower LOGIN;
CREATE ROLE regress_masked LOGIN;
SELECT dataprotect.grant_access('rows', 'regress_rower', 'reveal'), dataprotect.grant_access('rows', 'regress_masked', 'mask') \g /dev/null
CREATE SCHEMA rows;
GRANT ALL ON SCHEMA rows TO regress_rower, regress_masked;
\c - regress_rower
SET search_path = rows;
CREATE TABLE e (n encrypted_int4('rows'), gone int, t encrypted_text('rows', '(10)'));
INSERT INTO e VALUES (7, 1, 'abc'), (8, 1, NULL);
ALTER TABLE e DROP COLUMN gone;
CREATE TABLE p (gone int, n int, t varchar(10));
ALTER TABLE p DROP COLUMN gone;
INSERT INTO p VALUES (7, 'abc');
GRANT SELECT ON e, p TO regress_masked;

-- row-to-composite: what has a type needs the cast, what has none does not
CREATE TYPE c AS (a encrypted_int4('rows'), b encrypted_text('rows'));
CREATE FUNCTION second(c) RETURNS text LANGUAGE sql AS 'SELECT ($1).b::text';
SELECT second(row('1', 'x')), second(row(1, 'x')::c), second(row(n, t)) FROM e WHERE n = 7;
SELECT second(row(1, 'x'));

-- record-types: comparisons of rows, hashed and not
SELECT e = row(7, text 'abc'), row(7, varchar 'abc') >= e FROM e;
SELECT e = p, e < p, e IS DISTINCT FROM p, nullif(p, e) FROM e, p;
SELECT e IN (SELECT p FROM p), e NOT IN (SELECT p FROM p), e = ANY (SELECT p FROM p) FROM e;
SELECT e.n, p.n, e = p FROM e LEFT JOIN p ON e = p ORDER BY 1;
SELECT e.n, e = p FROM e LEFT JOIN p ON p.n = e.n ORDER BY 1;
SELECT n FROM p WHERE p IN (SELECT e FROM e);

-- record-types: what PL/pgSQL returns
CREATE FUNCTION next_of_record() RETURNS SETOF p LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM e ORDER BY n LOOP
        RETURN NEXT r;
        RAISE NOTICE '% is still %', r.n, pg_typeof(r.n);
    END LOOP;
END $$;
SELECT *, pg_typeof(n) FROM next_of_record();
CREATE FUNCTION next_of_row() RETURNS SETOF p LANGUAGE plpgsql AS $$
DECLARE
    r e;
BEGIN
    SELECT * INTO r FROM e ORDER BY n;
    RETURN NEXT r;
    RETURN NEXT (r.n, r.t);
    RETURN NEXT r::e;
    r.t := NULL;
    RETURN NEXT r;
END $$;
SELECT * FROM next_of_row();
CREATE FUNCTION one() RETURNS p LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN SELECT * INTO r FROM e ORDER BY n; RETURN r; END $$;
SELECT * FROM one();
SELECT one();
CREATE FUNCTION one_expression() RETURNS p LANGUAGE plpgsql AS $$ DECLARE r e; BEGIN SELECT * INTO r FROM e ORDER BY n; RETURN (r.n, r.t); END $$;
SELECT * FROM one_expression();
CREATE FUNCTION protected_of_plain() RETURNS SETOF e LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM p LOOP RETURN NEXT r; END LOOP;
    RETURN QUERY SELECT p.* FROM p;
END $$;
SELECT * FROM protected_of_plain();
CREATE FUNCTION queries(lowest int) RETURNS TABLE (number int, name text) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT n, t FROM e WHERE n >= lowest ORDER BY n;
    RETURN QUERY EXECUTE 'SELECT n, t FROM ' || 'rows.e WHERE n >= $1 ORDER BY n DESC' USING lowest;
    RETURN QUERY UPDATE e SET t = 'x' WHERE n = lowest RETURNING n, t;
END $$;
SELECT *, pg_typeof(number), pg_typeof(name) FROM queries(7);
SELECT * FROM queries(8);
CREATE FUNCTION nested() RETURNS SETOF int LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT n + (SELECT count(*)::int FROM queries(8)) FROM e UNION SELECT n FROM e ORDER BY 1; END $$;
SELECT * FROM nested();
-- an error within RETURN leaves the variable as a record of the declared types
CREATE FUNCTION caught() RETURNS SETOF p LANGUAGE plpgsql AS $$
DECLARE
    r record;
BEGIN
    SELECT n, 'longer than it may be'::encrypted_text AS t INTO r FROM e ORDER BY n;
    BEGIN
        RETURN NEXT r;
    EXCEPTION WHEN OTHERS THEN
        RAISE NOTICE 'caught % at %', SQLSTATE, r.n;
    END;
    SELECT * INTO r FROM e ORDER BY n;
    RETURN NEXT r;
END $$;
SELECT * FROM caught();
-- types that plain columns do not have either are refused as there
CREATE FUNCTION wrong() RETURNS SETOF bigint LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT n FROM e; END $$;
-- (PostgreSQL 18 words the detail otherwise)
\set VERBOSITY terse
SELECT * FROM wrong();
\set VERBOSITY default
-- rows that a client gets, from functions and in arrays
SELECT array_agg(e ORDER BY n), ARRAY[row(n, row(t))], (SELECT p FROM p) FROM e GROUP BY n, t ORDER BY n;
SELECT one(), (one()).*;
PREPARE of_rows AS SELECT array_agg(e) FROM e;
CREATE TABLE made AS EXECUTE of_rows;
CREATE TABLE made AS SELECT array_agg(e ORDER BY n) AS rows FROM e;
SELECT pg_typeof((rows[1]).n), rows FROM made;
DROP TABLE made;
SELECT dataprotect._for_client(e) FROM e;
-- whoever sees masks gets masks, with the declared types
\c - regress_masked
SET search_path = rows;
CREATE FUNCTION masks() RETURNS SETOF p LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT * FROM e; END $$;
CREATE FUNCTION masks_of_record() RETURNS SETOF p LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM e LOOP RETURN NEXT r; END LOOP; END $$;
SELECT n, t FROM masks();
SELECT n, t FROM masks_of_record();
SELECT e, ARRAY[e] FROM e ORDER BY n IS NULL LIMIT 1;
SELECT e = p FROM e, p;
SELECT e IN (SELECT p FROM p) FROM e;

-- views keep their columns' types
\c - regress_rower
SET search_path = rows;
CREATE VIEW shown AS SELECT n, t FROM e;
CREATE OR REPLACE VIEW shown AS SELECT coalesce(n, 0) + 1 AS n, t FROM e ORDER BY 1;
SELECT * FROM shown;
SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 'shown'::regclass ORDER BY attnum;
CREATE OR REPLACE VIEW shown AS SELECT n, t FROM e UNION SELECT 1, 'a';
SELECT * FROM shown ORDER BY n;
CREATE OR REPLACE VIEW shown AS SELECT t AS n, n AS t FROM e;
CREATE VIEW computed AS SELECT n + 1 AS n FROM e;
CREATE OR REPLACE VIEW computed AS SELECT n FROM e;
SELECT * FROM computed ORDER BY n;
SELECT replace(pg_get_viewdef('computed'), 'e.', '');
CREATE OR REPLACE VIEW computed AS SELECT n AS m FROM e;

-- parts of documents
CREATE TABLE doc (id int, d encrypted_jsonb('rows'), p jsonb);
INSERT INTO doc VALUES (1, '{"a": 1}', '{"a": 1}'), (2, NULL, NULL);
UPDATE doc SET d['a'] = '2', p['a'] = '2', d['b']['c'] = '[3]', p['b']['c'] = '[3]';
UPDATE doc SET d['b']['c'][2] = to_jsonb(id), p['b']['c'][2] = to_jsonb(id), d['n'] = NULL, p['n'] = NULL;
INSERT INTO doc (id, d['q'], p['q']) VALUES (3, '"x"', '"x"');
SELECT id, d, d = p AS same FROM doc ORDER BY id;
UPDATE doc SET d[NULL] = '1';
UPDATE doc SET d[1:2] = '1';
DO $$
DECLARE
    v encrypted_jsonb('rows') := '{}';
BEGIN
    v['a']['b'] := '1';
    RAISE NOTICE '%', v;
END $$;
GRANT ALL ON doc TO regress_masked;
\c - regress_masked
UPDATE rows.doc SET d['a'] = '5' WHERE id = 1;
INSERT INTO rows.doc (id, d['q']) VALUES (4, '"y"');
\c - :su
SET client_min_messages = warning;
DROP SCHEMA rows CASCADE;
DROP ROLE regress_rower, regress_masked;
