-- What encrypt_column cannot keep is refused by name before the table is locked.
\set SHOW_CONTEXT never
SELECT current_user AS su \gset
SELECT dataprotect.create_key('early');
CREATE ROLE regress_early LOGIN;
SELECT dataprotect.grant_access('early', 'regress_early', 'reveal') \g /dev/null
SELECT dataprotect.grant_access('early', current_user::regrole, 'reveal') \g /dev/null
CREATE SCHEMA early;
GRANT USAGE ON SCHEMA early TO regress_early;
SET search_path = early, public;
CREATE FUNCTION error_of(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    detail  text;
    hint    text;
BEGIN
    EXECUTE call;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN format('%s: %s %s %s', SQLSTATE, SQLERRM, detail, hint);
END $$;

-- view-fails-after-the-lock: kept, with the same rows
CREATE TABLE late (id int PRIMARY KEY, ts timestamp, j jsonb, d date, i8 bigint, i4 int);
INSERT INTO late SELECT g, '2020-01-01', '{"a": 1}', '2020-01-01', g, g - 1 FROM generate_series(1, 100) g;
CREATE VIEW late_ts AS SELECT id FROM late WHERE ts < current_date;
CREATE VIEW late_j AS SELECT id, j::json AS j FROM late;
CREATE VIEW late_i AS SELECT id FROM late WHERE i8 > i4;
CREATE VIEW late_d AS SELECT id FROM late WHERE d <@ daterange('2020-01-01', '2030-01-01');
CREATE VIEW late_row AS SELECT to_jsonb(late) AS r, late AS whole FROM late;
CREATE VIEW late_locked AS SELECT d, j FROM late TABLESAMPLE BERNOULLI (100) FOR UPDATE OF late;
CREATE VIEW late_grouped AS SELECT id, d, j, ctid FROM late GROUP BY id;
CREATE VIEW late_above AS SELECT r.d + 1 AS next FROM ONLY late_locked r JOIN late_grouped USING (j);
GRANT SELECT ON ALL TABLES IN SCHEMA early TO regress_early;
SET client_min_messages = warning;
CALL dataprotect.encrypt_columns('late', '{"ts": "early", "j": "early", "i8": "early", "d": "early"}');
RESET client_min_messages;
\c - regress_early
SELECT (SELECT count(*) FROM early.late_ts) AS ts, (SELECT count(*) FROM early.late_j WHERE j ->> 'a' = '1') AS j,
       (SELECT count(*) FROM early.late_i) AS i, (SELECT count(*) FROM early.late_d) AS d, (SELECT r ->> 'd' FROM early.late_row LIMIT 1) AS r;
\c - :su
SET search_path = early, public;
-- ... or refused by name, the view and what is missing
CREATE TABLE impossible (id int PRIMARY KEY, a text, b text);
CREATE FUNCTION same(anyelement, anyelement) RETURNS anyelement LANGUAGE sql AS 'SELECT $1';
CREATE VIEW fine AS SELECT id, a || b AS ab, a FROM impossible;
CREATE VIEW middle AS SELECT id, a AS c FROM fine;
CREATE VIEW polymorphic AS SELECT same(c, 'x'::text) FROM middle;
CREATE VIEW above AS SELECT * FROM polymorphic;
SELECT error_of($$CALL dataprotect.encrypt_column('impossible', 'a', 'early')$$);
DROP VIEW polymorphic CASCADE;
CREATE RECURSIVE VIEW deeper (a) AS SELECT a FROM impossible UNION ALL SELECT a || 'x' FROM deeper WHERE length(a) < 3;
SELECT error_of($$CALL dataprotect.encrypt_columns('impossible', '{"a": "early", "b": "early"}')$$);
DROP VIEW deeper;
SELECT error_of($$CALL dataprotect.encrypt_columns('impossible', '{"a": "early", "b": "early"}')$$);
-- functions that C answers for stand any argument
SELECT error_of($$SELECT dataprotect._try_views('impossible', '{nothing}', '{25}', '{}', '{}')$$);
SELECT error_of($$SELECT dataprotect._try_views('impossible', '{a}', '{1}', '{}', '{}')$$);
SELECT error_of($$SELECT dataprotect._try_views('impossible', '{a}', '{}', '{}', '{}')$$);
SELECT error_of($$SELECT dataprotect._try_views('impossible', '{id}', '{25}', '{1}', '{DROP TABLE impossible}')$$);
SELECT error_of($$SELECT dataprotect._try_views('impossible', '{id}', '{25}', '{1}', '{SELECT 1; SELECT 2}')$$);
SELECT error_of($$SELECT dataprotect._try_views('impossible', '{id}', '{25}', '{1}', '{SELECT 1 INTO x}')$$);
SELECT error_of($$SELECT dataprotect._try_views('fine', '{id}', '{25}', '{1}', '{}')$$);

-- domain-name-and-bit: a domain's rules are the column's, bit(n) and varbit keep their lengths, name has a way out
CREATE DOMAIN phone AS varchar(25) CHECK (value ~ '^[0-9+ ]+$');
CREATE TABLE bits (id int PRIMARY KEY, tel phone, login name, b bit(4), vb bit varying(8));
INSERT INTO bits VALUES (1, '+49 30 1', 'ada', '1010', '101');
SELECT dataprotect.create_encrypted_type('bit'), dataprotect.create_encrypted_type('varbit');
SET client_min_messages = warning;
CALL dataprotect.encrypt_columns('bits', '{"tel": "early", "b": "early", "vb": "early"}');
RESET client_min_messages;
SELECT error_of($$INSERT INTO bits (id, tel) VALUES (2, 'call me')$$) ~ '^23514: .*"phone_check"' AS checked;
SELECT error_of($$INSERT INTO bits (id, b) VALUES (2, '101')$$) ~ '^22' AS length_of_bit, error_of($$INSERT INTO bits (id, vb) VALUES (2, '101010101')$$) ~ '^22' AS of_varbit;
CALL dataprotect.encrypt_column('bits', 'login', 'early');
ALTER TABLE bits ALTER COLUMN login TYPE text;
SET client_min_messages = warning;
CALL dataprotect.encrypt_column('bits', 'login', 'early');
GRANT SELECT ON bits TO regress_early;
\c - regress_early
SELECT * FROM early.bits;
\c - :su
SET search_path = early, public;
SET client_min_messages = warning;
CALL dataprotect.decrypt_column('bits', 'b');
CALL dataprotect.decrypt_column('bits', 'vb');
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'bits'::regclass AND attnum > 3;
SELECT b, vb FROM bits;

-- set-role-message: a superuser's session is told why the grant does not count
CREATE ROLE regress_early_super LOGIN SUPERUSER;
\c - regress_early_super
SET ROLE regress_early;
SELECT tel FROM early.bits WHERE lower(tel) = 'x';
RESET ROLE;
SET SESSION AUTHORIZATION regress_early;
SELECT tel FROM early.bits WHERE lower(tel) = 'x';
RESET SESSION AUTHORIZATION;
SELECT tel FROM early.bits WHERE lower(tel) = 'x';
\c - :su

-- jit-under-the-lock: catalogs are read without it, however many tables there are
SELECT proname FROM pg_proc WHERE pronamespace = 'dataprotect'::regnamespace AND proconfig @> '{jit=off}' AND proname ~ 'crypt_column' ORDER BY 1;
SET client_min_messages = warning;
DROP SCHEMA early CASCADE;
DROP TYPE encrypted_bit, encrypted_varbit CASCADE;
DROP OWNED BY regress_early;
DROP ROLE regress_early_super, regress_early;
