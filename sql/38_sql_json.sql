-- SQL/JSON of PostgreSQL 17 and later over protected documents: as over plain ones.
-- Prints what differs; an earlier server has nothing to compare.
\set VERBOSITY terse
\set QUIET on
SET client_min_messages = warning;
CREATE SCHEMA sql_json;
SET search_path = sql_json, public;
SELECT dataprotect.create_key('sql_json_key') \g /dev/null
SELECT dataprotect.grant_access('sql_json_key', CURRENT_USER::regrole, 'reveal') \g /dev/null
CREATE TABLE plain (id int, j jsonb, t text, n int, list jsonb);
CREATE TABLE sealed (id int, j encrypted_jsonb('sql_json_key'), t encrypted_text('sql_json_key'), n encrypted_int4('sql_json_key'), list encrypted_jsonb('sql_json_key'));
INSERT INTO plain VALUES
    (1, '{"a": 1, "b": {"c": "x"}, "d": "2020-01-01"}', '{"a": 2}', 3, '[{"x": 1, "y": "one"}, {"x": 2, "y": "two"}]'),
    (2, '[1, 2]', 'no json', NULL, '[]'), (3, NULL, NULL, NULL, NULL);
INSERT INTO sealed SELECT * FROM plain;
CREATE FUNCTION result_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_result text;
BEGIN
    EXECUTE format('SELECT string_agg(x::text, E''\n'' ORDER BY x::text) FROM (%s) x', query) INTO v_result;
    RETURN v_result;
END $$;
SELECT query, result_of(format(query, 'plain')), result_of(format(query, 'sealed'))
    FROM unnest(ARRAY[
        'SELECT JSON_VALUE(j, ''$.a'') FROM %s', 'SELECT JSON_VALUE(j, ''$.a'' RETURNING int) FROM %s', 'SELECT JSON_VALUE(j, ''$.z'' DEFAULT ''q'' ON EMPTY) FROM %s',
        'SELECT JSON_VALUE(j, ''$.a ? (@ < $v)'' PASSING n AS v) FROM %s',
        'SELECT JSON_VALUE(t, ''$.a'') FROM %s WHERE id = 1', 'SELECT JSON_QUERY(j, ''$.b'') FROM %s', 'SELECT JSON_QUERY(j, ''$.b'' WITH WRAPPER) FROM %s',
        'SELECT JSON_QUERY(list, ''$[0]'' RETURNING jsonb) FROM %s', 'SELECT JSON_QUERY(t, ''$'') FROM %s WHERE id = 1',
        'SELECT JSON_EXISTS(j, ''$.b.c'') FROM %s', 'SELECT JSON_EXISTS(t, ''$.a'') FROM %s WHERE id = 1',
        'SELECT x.* FROM %s, JSON_TABLE(list, ''$[*]'' COLUMNS (x int PATH ''$.x'', y text PATH ''$.y'', o FOR ORDINALITY)) x',
        'SELECT x.* FROM %s, JSON_TABLE(t, ''$'' COLUMNS (a int PATH ''$.a'')) x WHERE id = 1',
        'SELECT x.* FROM %s, JSON_TABLE(j, ''$'' COLUMNS (a int PATH ''$.a'', NESTED PATH ''$.b'' COLUMNS (c text))) x',
        'SELECT t IS JSON, t IS JSON OBJECT WITH UNIQUE KEYS, t IS NOT JSON, j::jsonb IS JSON ARRAY FROM %s',
        'SELECT JSON_SERIALIZE(t), JSON_SERIALIZE(j::jsonb) FROM %s WHERE id = 1', 'SELECT JSON(t) FROM %s WHERE id = 1', 'SELECT JSON_SCALAR(n), JSON_SCALAR(t) FROM %s',
        'SELECT JSON_ARRAY(n, t, j) FROM %s', 'SELECT JSON_ARRAYAGG(n ORDER BY id) FROM %s', 'SELECT JSON_OBJECTAGG(id : t) FROM %s',
        'SELECT JSON_OBJECT(t : n) FROM %s WHERE id < 3', 'SELECT JSON_OBJECT(''a'': n, ''b'': j, ''c'': t RETURNING jsonb) FROM %s']) query
    WHERE current_setting('server_version_num')::int >= 170000
        AND result_of(format(query, 'plain')) IS DISTINCT FROM result_of(format(query, 'sealed'));
SET client_min_messages = error;
DROP SCHEMA sql_json CASCADE;
