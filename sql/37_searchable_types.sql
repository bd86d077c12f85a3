-- Types whose equality is not that of their bytes are searchable by what stands for it.
SELECT current_user AS su \gset
SELECT dataprotect.create_key('forms') \g /dev/null
CREATE ROLE regress_former LOGIN;
CREATE ROLE regress_seeker LOGIN;
SELECT dataprotect.grant_access('forms', 'regress_former', 'reveal'), dataprotect.grant_access('forms', 'regress_seeker', 'search') \g /dev/null
CREATE SCHEMA forms;
GRANT ALL ON SCHEMA forms TO regress_former, regress_seeker;
CREATE EXTENSION citext SCHEMA public;
SELECT dataprotect.create_encrypted_type('citext');
SELECT opcname FROM pg_opclass WHERE NOT amvalidate(oid);
\c - regress_former
SET search_path = forms, public;
CREATE TABLE t (id int, i encrypted_interval('forms', 'searchable'), j encrypted_jsonb('forms', 'searchable'), c encrypted_citext('forms', 'searchable'));
INSERT INTO t VALUES
    (1, '1 month', '{"a": 1.0, "b": [1, "x", null, true]}', 'Ada'),
    (2, '30 days', '[1]', 'BOB'),
    (3, '1 day', '1', NULL),
    (4, '24:00', '{"b": [1.00, "x", null, true], "a": 1}', 'aDA'),
    (5, '-24:00', '{"a": 1, "b": [1, "x", null, false]}', ''),
    (6, '1 day 00:00:00.000001', '"1"', 'Ad');
CREATE TABLE p (id int, i interval, j jsonb, c citext);
INSERT INTO p SELECT id, i, j, c FROM t;
-- as many equal pairs as among plain values, by each way to find them
CREATE FUNCTION pairs(tab text) RETURNS TABLE (col text, n bigint) LANGUAGE plpgsql AS $$
DECLARE
    v_column text;
BEGIN
    FOREACH v_column IN ARRAY ARRAY['i', 'j', 'c'] LOOP
        RETURN QUERY EXECUTE format('SELECT %L, count(*) FROM %2$s x JOIN %2$s y ON x.%1$s = y.%1$s', v_column, tab);
        RETURN QUERY EXECUTE format('SELECT %L, count(DISTINCT %1$s) FROM %2$s', v_column, tab);
    END LOOP;
END $$;
SELECT * FROM pairs('p');
SELECT * FROM pairs('t');
CREATE INDEX t_i ON t (i encrypted_interval_token_ops, j encrypted_jsonb_token_ops);
CREATE INDEX t_c ON t (c encrypted_citext_token_ops);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE i = '720:00' AND j = '[1.00]';
SELECT id FROM t WHERE i = '720:00' AND j = '[1.00]';
EXPLAIN (COSTS OFF) SELECT id FROM t WHERE c = 'ADA';
SELECT id FROM t WHERE c = 'ADA' ORDER BY id;
SELECT id FROM t WHERE c = 'ADA'::citext ORDER BY id;
\set VERBOSITY terse
CREATE UNIQUE INDEX ON t (j encrypted_jsonb_token_ops);
DELETE FROM t WHERE id = 4;
CREATE UNIQUE INDEX ON t (c encrypted_citext_token_ops);
INSERT INTO t (id, c) VALUES (7, 'bob');
GRANT SELECT ON t TO regress_seeker;
\c - regress_seeker
SET search_path = forms, public;
SELECT id FROM t WHERE j = '[1.0]';
SELECT id FROM t WHERE c = 'ADA';
SELECT id FROM t WHERE i = '24:00';
SELECT id FROM t WHERE i > '1 hour';
-- unique and multi-column indexes over them are kept
\c - :su
SET search_path = forms, public;
CREATE TABLE kept (id int, c citext UNIQUE, i interval, j jsonb, UNIQUE (id, i));
CREATE INDEX kept_j ON kept (j, i);
INSERT INTO kept VALUES (1, 'Ada', '1 day', '1');
SET client_min_messages = warning;
\set VERBOSITY terse
CALL dataprotect.encrypt_columns('kept', '{"c": {"key": "forms"}, "i": {"key": "forms"}, "j": {"key": "forms"}}');
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'kept'::regclass ORDER BY 1;
INSERT INTO kept VALUES (2, 'aDA', '1 day', '1');
INSERT INTO kept VALUES (1, 'Bob', '24:00', '1');
DROP SCHEMA forms CASCADE;
DROP TYPE encrypted_citext CASCADE;
DROP EXTENSION citext;
DROP ROLE regress_former, regress_seeker;
