-- What an index in plaintext order, a hash index and one of tokens are good for: min
-- and max, and comparisons with values of another width than the column's, which are
-- what drivers send (a Long beside an integer column) and what now() is beside a date.
\set VERBOSITY terse
\set QUIET on
SET client_min_messages = warning;
SET TimeZone = 'America/New_York';
SET jit = off;
CREATE SCHEMA plans;
SET search_path = plans, public;
SELECT dataprotect.create_key('plans_key') \g /dev/null
SELECT dataprotect.grant_access('plans_key', CURRENT_USER::regrole, 'reveal') \g /dev/null

CREATE TABLE plain (id int, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, d date, ts timestamp, tz timestamptz, t text, s4 int4);
CREATE TABLE sealed (id int, i2 encrypted_int2('plans_key', 'ordered'), i4 encrypted_int4('plans_key', 'ordered'),
    i8 encrypted_int8('plans_key', 'ordered'), f4 encrypted_float4('plans_key', 'ordered'), f8 encrypted_float8('plans_key', 'ordered'),
    d encrypted_date('plans_key', 'ordered'), ts encrypted_timestamp('plans_key', 'ordered'), tz encrypted_timestamptz('plans_key', 'ordered'),
    t encrypted_text('plans_key', 'ordered'), s4 encrypted_int4('plans_key', 'searchable'));
INSERT INTO plain
    SELECT g, g % 20, g * 7, g * 1000, g / 8.0, g / 8.0, date '2026-10-20' + g, timestamp '2026-10-31' + g * interval '1 hour',
           timestamptz '2026-10-31' + g * interval '1 hour', 'v' || g, g * 7
    FROM generate_series(1, 30) g;
INSERT INTO plain VALUES
    (1001, -32768, -2147483648, -9223372036854775808, '-inf', '-inf', '-infinity', '-infinity', '-infinity', '', -2147483648),
    (1002, 32767, 2147483647, 9223372036854775807, 'inf', 'inf', 'infinity', 'infinity', 'infinity', 'zz', 2147483647),
    (1003, -1, -1, -1, 'nan', 'nan', '5874897-12-31', '294276-12-31 23:59:59.999999', '294276-12-31', 'Z', -1),
    (1004, 0, 0, 0, 3.4028235e38, 1.7976931348623157e308, '4713-01-01 BC', '4713-01-01 BC', '4713-01-01 BC', 'a', 0),
    (1005, 0, 0, 0, -1e-45, -5e-324, '2026-11-01', '2026-11-01 01:30', '2026-11-01 01:30 EST', 'a', 0),
    (1006, 0, 0, 0, 0, 0, '2026-03-08', '2026-03-08 02:30', '2026-03-08 03:30', 'a', 0),
    (1007, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO sealed SELECT * FROM plain;
CREATE INDEX ON sealed (i2);
CREATE INDEX ON sealed (i4);
CREATE INDEX ON sealed (i8);
CREATE INDEX ON sealed (f4);
CREATE INDEX ON sealed (f8);
CREATE INDEX ON sealed (d);
CREATE INDEX ON sealed (ts);
CREATE INDEX ON sealed (tz);
CREATE INDEX ON sealed (t);
CREATE INDEX ON sealed USING btree (s4 encrypted_int4_token_ops);
ANALYZE plain, sealed;

-- Whether the plan has an index condition, or is a scan of an index that ends early.
CREATE FUNCTION by_index(query text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    v_line text;
    v_found bool := false;
BEGIN
    FOR v_line IN EXECUTE 'EXPLAIN (COSTS off) ' || query LOOP
        v_found := v_found OR v_line ~ 'Index Cond';
    END LOOP;
    RETURN v_found;
END $$;
CREATE FUNCTION ids(query text) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    v_ids int[];
BEGIN
    EXECUTE format('SELECT array_agg(id ORDER BY id) FROM (%s) q', query) INTO v_ids;
    RETURN v_ids;
END $$;
CREATE TABLE pair (col text, op text, value text);
INSERT INTO pair SELECT c, o, quote_literal(n) || '::int8'
    FROM unnest(ARRAY['i2', 'i4']) c, unnest(ARRAY['=', '<', '<=', '>', '>=']) o,
         unnest(CASE c WHEN 'i2' THEN ARRAY['-32769', '-32768', '19', '32767', '32768'] ELSE ARRAY['-2147483649', '-2147483648', '77', '2147483647', '9223372036854775807'] END) n;
INSERT INTO pair VALUES ('i2', '<', '32768::int4'), ('i2', '=', '19::int4'), ('i8', '>=', '1000::int4'), ('i8', '=', '1000::int2'), ('s4', '=', '77::int8'), ('s4', '=', '5000000000'),
    ('i4', '<>', '77::int8'), ('tz', '<', 'date ''2026-11-01'''), ('tz', '=', 'timestamp ''2026-11-01 01:30''');
INSERT INTO pair SELECT 'f4', o, quote_literal(v) || '::float8'
    FROM unnest(ARRAY['=', '<', '<=', '>', '>=']) o, unnest(ARRAY['-inf', '-1e300', '-5e-324', '0', '0.1', '3.5', '3.40282346638528899e+38', 'inf', 'nan']) v;
INSERT INTO pair SELECT c, o, quote_literal(v) || '::' || t
    FROM (VALUES ('d', 'timestamp'), ('d', 'timestamptz'), ('ts', 'timestamptz')) c (c, t), unnest(ARRAY['=', '<', '<=', '>', '>=']) o,
         unnest(ARRAY['-infinity', '4713-01-01 BC', '2026-03-08 03:30', '2026-11-01 00:00', '2026-11-01 01:30 EST', '294276-12-31', 'infinity']) v;
INSERT INTO pair SELECT c, o, v
    FROM unnest(ARRAY['i2', 'i4', 'i8', 's4']) c, unnest(ARRAY['= ANY', '<> ALL']) o,
         unnest(ARRAY['(ARRAY[-32768, 77, NULL, 9223372036854775807]::int8[])', '(ARRAY[7, 2147483647]::int4[])', '(ARRAY[]::int8[])']) v;

-- the same rows as of plain columns, by index and row by row, on either side, negated and beside others
CREATE FUNCTION differences() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    v record;
    v_form text;
    v_condition text;
BEGIN
    FOR v IN SELECT * FROM pair LOOP
        FOREACH v_form IN ARRAY ARRAY['%s OR id = 1004', 'NOT (%s)'] LOOP
            v_condition := format(v_form, format('%I %s %s', v.col, v.op, v.value));
            IF ids('SELECT id FROM plain WHERE ' || v_condition) IS DISTINCT FROM ids('SELECT id FROM sealed WHERE ' || v_condition) THEN
                RETURN NEXT v_condition;
            END IF;
        END LOOP;
        CONTINUE WHEN v.op ~ 'A';
        v_condition := format('%3$s %2$s %1$I', v.col, v.op, v.value);
        IF ids('SELECT id FROM plain WHERE ' || v_condition) IS DISTINCT FROM ids('SELECT id FROM sealed WHERE ' || v_condition) THEN
            RETURN NEXT v_condition;
        END IF;
    END LOOP;
END $$;
SET enable_seqscan = off;
SELECT * FROM differences();
SET enable_seqscan = on;
SET enable_indexscan = off;
SET enable_bitmapscan = off;
SET enable_indexonlyscan = off;
SELECT * FROM differences();
RESET enable_indexscan;
RESET enable_bitmapscan;
RESET enable_indexonlyscan;
SET enable_seqscan = off;
-- joins across widths
SELECT ids(format('SELECT a.id FROM %1$s a JOIN %2$s b ON a.i4 = b.i8 WHERE b.id <> 1001', x, y))
    = ids('SELECT a.id FROM plain a JOIN plain b ON a.i4 = b.i8 WHERE b.id <> 1001') AS same
    FROM unnest(ARRAY['plain', 'sealed']) x, unnest(ARRAY['plain', 'sealed']) y;
SELECT ids(format('SELECT a.id FROM %1$s a LEFT JOIN %2$s b ON a.i8 = b.i2 AND a.d <= b.ts WHERE a.id < 1000', x, y))
    = ids('SELECT a.id FROM plain a LEFT JOIN plain b ON a.i8 = b.i2 AND a.d <= b.ts WHERE a.id < 1000') AS same
    FROM unnest(ARRAY['plain', 'sealed']) x, unnest(ARRAY['plain', 'sealed']) y;

-- what has an index condition
SELECT condition, by_index('SELECT id FROM sealed WHERE ' || condition)
    FROM unnest(ARRAY['i4 = 5::int8', '5::int8 > i4', 'i2 <= 7', 'i4 IN (5, 5000000000)', 'i8 = ANY (ARRAY[1, 2])', 's4 = 7::int8', 's4 = ANY (ARRAY[7::int8])',
                      'f4 = 12.5', 'f4 < 3::int8', 'd <= now() - interval ''18 years''', 'd = timestamp ''2026-11-01''', 'd BETWEEN timestamp ''2026-11-01'' AND localtimestamp',
                      'ts > now()', 'i4 = 5::int8 OR i4 = 6::int8', 'NOT (i4 <> 5::int8)']) condition;

-- a parameter of a driver's own type, for a role that may only search, in either plan
CREATE ROLE plans_searcher;
GRANT USAGE ON SCHEMA plans TO plans_searcher;
GRANT SELECT ON sealed TO plans_searcher;
SELECT dataprotect.grant_access('plans_key', 'plans_searcher', 'search') \g /dev/null
SET ROLE plans_searcher;
PREPARE by_number(int8) AS SELECT id FROM sealed WHERE s4 = $1;
SET plan_cache_mode = force_custom_plan;
EXECUTE by_number(14);
EXECUTE by_number(5000000000);
SET plan_cache_mode = force_generic_plan;
EXECUTE by_number(14);
EXECUTE by_number(5000000000);
SELECT by_index('EXECUTE by_number(14)');
SET enable_indexscan = off;
SET enable_bitmapscan = off;
DEALLOCATE by_number;
PREPARE by_number(int8) AS SELECT id FROM sealed WHERE s4 = $1;
EXECUTE by_number(14);
RESET enable_indexscan;
RESET enable_bitmapscan;
RESET plan_cache_mode;
-- nothing else than equality with what is given
SELECT id FROM sealed WHERE s4 < 14::int8;
SELECT a.id FROM sealed a JOIN sealed b ON a.s4 = b.id::int8;
RESET ROLE;

-- min and max
SELECT by_index('SELECT min(i4) FROM sealed') AS one, by_index('SELECT min(d), max(tz), max(t) || ''x'' FROM sealed HAVING count(*) > 0') AS beside_another,
       by_index('SELECT min(i4), max(i4) FROM sealed HAVING max(i4) > 7') AS two, by_index('SELECT max(i4) FROM sealed WHERE id < 20') AS of_some,
       by_index('SELECT min(s4) FROM sealed') AS without_order;
SELECT x, ids(format(query, x)) FROM unnest(ARRAY['plain', 'sealed']) x, unnest(ARRAY[
    'SELECT min(i4) AS id FROM %s', 'SELECT max(i4) AS id FROM %s', 'SELECT max(i2)::int - min(i2) AS id FROM %s', 'SELECT min(i4) AS id FROM %s WHERE i4 > 100::int8',
    'SELECT max(i4) AS id FROM %s WHERE false', 'SELECT min(i2) AS id FROM %s HAVING max(i2) < 0', 'SELECT (SELECT max(i4) FROM %1$s b WHERE b.i4 < a.i4) AS id FROM %1$s a WHERE a.id < 5',
    'SELECT i2 AS id FROM %1$s WHERE i2 = (SELECT max(i2) FROM %1$s WHERE id < 20)', 'SELECT max(i2) AS id FROM %s GROUP BY id %% 3',
    'SELECT min(i2) AS id FROM %s WHERE id < 0 ORDER BY min(i2) LIMIT 1', 'SELECT min(id) + min(i4 / 7) AS id FROM %s WHERE i4 > 7']) WITH ORDINALITY q (query, n)
    ORDER BY n, x;
SELECT min(d), max(d), min(tz) IS NOT DISTINCT FROM '-infinity', min(t) = '', max(t) FROM sealed;
SELECT min(d), max(d), min(tz) IS NOT DISTINCT FROM '-infinity', min(t) = '', max(t) FROM plain;
SET ROLE plans_searcher;
SELECT min(i4), max(t) FROM sealed;
RESET ROLE;
-- a value that cannot be read is left out, and may not be left out of what is stored
SELECT dataprotect.suspend_key('plans_key', 'test') \g /dev/null
SELECT min(i4), max(d) FROM sealed;
CREATE TABLE kept AS SELECT min(i4) AS least FROM sealed;
SELECT dataprotect.resume_key('plans_key', 'test') \g /dev/null
CREATE TABLE kept AS SELECT min(i4) AS least, max(i4) AS most FROM sealed;
SELECT pg_typeof(least), least, most FROM kept;

SET client_min_messages = error;
DROP OWNED BY plans_searcher;
DROP ROLE plans_searcher;
DROP SCHEMA plans CASCADE;
