-- reencrypt() reaches every value, and says of each that it leaves why.
-- Cases: bound-values-never-rotate, reencrypt-reports, protected-but-unlisted.
\set VERBOSITY default
\set SHOW_CONTEXT never
SET client_min_messages = notice;
SELECT current_user AS su \gset
SELECT dataprotect.create_key('reach'), dataprotect.create_key('reach_other');
SELECT dataprotect.grant_access(k, 'regress_app', 'reveal') > 0 AS granted FROM unnest('{reach,reach_other}'::text[]) k;

-- inside domains, arrays and composite types, at any depth
CREATE DOMAIN reach_em AS encrypted_text('reach') CHECK (VALUE IS NOT NULL);
CREATE TYPE reach_row AS (plain int, gone int, e encrypted_text('reach', 'searchable'), o encrypted_int4('reach_other'), ds reach_em[]);
ALTER TYPE reach_row DROP ATTRIBUTE gone;
CREATE TABLE reach_in (id int PRIMARY KEY, d reach_em, a encrypted_text('reach')[], c reach_row, cs reach_row[], touched int DEFAULT 0);
INSERT INTO reach_in VALUES
    (1, 'a', '[0:1][1:2]={{b,NULL},{c,d}}', ROW(7, 'e', 8, '{f,g}'), ARRAY[NULL, ROW(9, NULL, 10, NULL)::reach_row, ROW(11, 'h', NULL, '{i}')::reach_row]),
    (2, 'j', NULL, NULL, '{}'), (3, 'k', '{}', ROW(NULL, NULL, NULL, NULL), NULL), (4, repeat('long ', 1000), ARRAY[repeat('x', 3000)], NULL, NULL);
GRANT SELECT ON reach_in TO regress_app;
\c - regress_app
SELECT md5(string_agg(r::text, ',' ORDER BY id)) AS before FROM reach_in r \gset
\c - :su
SET client_min_messages = notice;
\set SHOW_CONTEXT never
SELECT dataprotect.rotate_key('reach'), dataprotect.rotate_key('reach_other');
SELECT col, key, version, "values", failures FROM dataprotect.verify('reach_in') ORDER BY 1, 2, 3;
CALL dataprotect.reencrypt('reach_in');
SELECT col, key, version, "values", failures FROM dataprotect.verify('reach_in') ORDER BY 1, 2, 3;
SELECT col, key, version, values_done, values_left, left_because, finished_at IS NOT NULL AS finished
    FROM dataprotect.reencrypt_progress WHERE rel = 'reach_in'::regclass ORDER BY 1;
\c - regress_app
SELECT md5(string_agg(r::text, ',' ORDER BY id)) = :'before' AS same FROM reach_in r;
SELECT a[0][1], array_dims(a), (c).e, (cs[3]).ds[1] FROM reach_in WHERE id = 1;
\c - :su
SET client_min_messages = notice;
\set SHOW_CONTEXT never

-- accounts' own keys: another one for each, claimed at the first write or by reencrypt()
CREATE TABLE reach_acc (id int PRIMARY KEY, email encrypted_text('reach', 'searchable'), note text DEFAULT 'n');
CREATE UNIQUE INDEX ON reach_acc (email encrypted_text_token_ops);
GRANT SELECT, INSERT, UPDATE ON reach_acc TO regress_app;
SELECT dataprotect.create_account_type('reacher', 'reach_acc', 'id');
SELECT dataprotect.bind_subject('reach_acc', 'reacher', 'id');
INSERT INTO reach_acc SELECT n, 'account ' || n FROM generate_series(1, 6) n;
SELECT dataprotect._envelope_key_id(email) AS first_key FROM reach_acc WHERE id = 3 \gset
SELECT dataprotect.rotate_key('reach');
-- a write that does not touch the value keeps it; one that does seals under the next key
UPDATE reach_acc SET note = 'touched';
SELECT dataprotect._envelope_key_id(email) = :first_key AS kept FROM reach_acc WHERE id = 3;
UPDATE reach_acc SET email = 'account three' WHERE id = 3;
SELECT dataprotect._envelope_key_id(email) <> :first_key AS sealed_anew FROM reach_acc WHERE id = 3;
SELECT version, "values", failures FROM dataprotect.verify('reach_acc') ORDER BY 1;
SELECT version, state, count(*) FROM dataprotect.key_versions WHERE account_type = 'reacher' GROUP BY 1, 2 ORDER BY 1, 2;
-- an older key is no other account's
UPDATE reach_acc SET email = (SELECT email FROM reach_acc WHERE id = 4) WHERE id = 5;
BEGIN;
DELETE FROM reach_acc WHERE id = 6;
UPDATE reach_acc SET id = 6 WHERE id = 5;
SELECT count(*) FROM reach_acc WHERE id = 6;
ROLLBACK;
-- what reencrypt() may not touch
SELECT dataprotect.request_deletion('reacher', '2', 'wanted') > 0 AS requested;
CALL dataprotect.reencrypt('reach_acc');
SELECT values_done, values_left, left_because, ended_at IS NOT NULL AS ended, finished_at IS NOT NULL AS finished
    FROM dataprotect.reencrypt_progress WHERE rel = 'reach_acc'::regclass;
SELECT version, "values", failures FROM dataprotect.verify('reach_acc') ORDER BY 1;
SELECT count(DISTINCT dataprotect._envelope_key_id(email)) AS keys FROM reach_acc;
\c - regress_app
SELECT id, email, note FROM reach_acc WHERE id <> 2 ORDER BY id;
SELECT id FROM reach_acc WHERE email = 'account 4';
\c - :su
SET client_min_messages = notice;
\set SHOW_CONTEXT never
SELECT dataprotect.cancel_deletion((SELECT max(id) FROM dataprotect.deletion_requests), 'stays');
CALL dataprotect.reencrypt('reach_acc');
SELECT values_left, left_because, finished_at IS NOT NULL AS finished FROM dataprotect.reencrypt_progress WHERE rel = 'reach_acc'::regclass;
-- all of an account's keys are suspended and destroyed with it
SELECT dataprotect._subject_suspend('reacher', '4', 'r') AS suspended;
SELECT dataprotect._subject_destroy('reacher', '4', 'r') AS destroyed;
SELECT version, state FROM dataprotect.key_versions WHERE account_type = 'reacher' AND subject = '4' ORDER BY 1;
SELECT dataprotect.rotate_key('reach');
CALL dataprotect.reencrypt('reach_acc');
-- exported and imported with their versions
SELECT dataprotect.export_keys() AS exported \gset
BEGIN;
CREATE TEMP TABLE before AS SELECT * FROM dataprotect.subject_key WHERE account_type = 'reacher';
DELETE FROM dataprotect.key_version WHERE key_id IN (SELECT key_id FROM before WHERE subject IN ('1', '3'));
DELETE FROM dataprotect.subject_key WHERE account_type = 'reacher' AND subject IN ('1', '3');
SELECT dataprotect.import_keys(:'exported') > 0 AS came;
SELECT count(*) AS differ FROM (TABLE before EXCEPT SELECT * FROM dataprotect.subject_key) d;
ROLLBACK;

-- named keys that are closed, values that are damaged, copies in materialized views
CREATE TABLE reach_t (id int, v encrypted_text('reach_other'));
INSERT INTO reach_t SELECT n, 'value ' || n FROM generate_series(1, 20) n;
CREATE MATERIALIZED VIEW reach_m AS SELECT id, v FROM reach_t;
SELECT dataprotect.rotate_key('reach_other');
SELECT dataprotect.suspend_key('reach_other', 'r');
CALL dataprotect.reencrypt('reach_t');
SELECT dataprotect.resume_key('reach_other', 'r');
-- as a broken disk would
SET allow_system_table_mods = on;
SELECT oid AS text_type FROM pg_type WHERE typname = 'encrypted_text' \gset
SELECT atttypmod AS text_modifier FROM pg_attribute WHERE attrelid = 'reach_t'::regclass AND attname = 'v' \gset
UPDATE pg_attribute SET atttypid = 'bytea'::regtype, atttypmod = -1 WHERE attrelid = 'reach_t'::regclass AND attname = 'v';
\c - :su
SET client_min_messages = notice;
\set SHOW_CONTEXT never
UPDATE reach_t SET v = set_byte(v, length(v) - 1, get_byte(v, length(v) - 1) # 1) WHERE id = 7;
UPDATE reach_t SET v = set_byte(v, 3, get_byte(v, 3) # 1) WHERE id = 8;
UPDATE pg_attribute SET atttypid = :text_type, atttypmod = :text_modifier WHERE attrelid = 'reach_t'::regclass AND attname = 'v';
\c - :su
SET client_min_messages = notice;
\set SHOW_CONTEXT never
CALL dataprotect.reencrypt('reach_t');
SELECT values_done, values_left, left_because, finished_at IS NOT NULL AS finished FROM dataprotect.reencrypt_progress WHERE rel = 'reach_t'::regclass;
SELECT key, version, "values", failures FROM dataprotect.verify('reach_t') ORDER BY 1, 2;
CALL dataprotect.reencrypt('reach_m');
REFRESH MATERIALIZED VIEW reach_m;
DELETE FROM reach_t WHERE id IN (7, 8);
REFRESH MATERIALIZED VIEW reach_m;
CALL dataprotect.reencrypt('reach_m');
CALL dataprotect.reencrypt('reach_t');
SELECT dataprotect.create_key('reach_gone');
CREATE TABLE reach_g (v encrypted_text('reach_gone'));
INSERT INTO reach_g VALUES ('lost');
SELECT dataprotect.rotate_key('reach_gone'), dataprotect.suspend_key('reach_gone', 'r'), dataprotect.destroy_key('reach_gone', 'r', force => true);
CALL dataprotect.reencrypt('reach_g');
DROP MATERIALIZED VIEW reach_m;
DROP TABLE reach_in, reach_acc, reach_t, reach_g;
DROP TYPE reach_row;
DROP DOMAIN reach_em;
DELETE FROM dataprotect.deletion_request WHERE account_type = 'reacher';
DELETE FROM dataprotect.account_type WHERE name = 'reacher';
