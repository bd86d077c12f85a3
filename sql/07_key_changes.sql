-- Changing, renaming, dropping and destroying keys: what columns name and hold
-- decides.  Cases: destroy-key-with-values, protected-but-unlisted (its listing).
\set VERBOSITY terse
SELECT current_user AS su \gset
CREATE ROLE regress_keeper LOGIN;
GRANT dataprotect_admin TO regress_keeper;
GRANT USAGE, CREATE ON SCHEMA public TO regress_keeper;
SELECT dataprotect.create_key('change_a'), dataprotect.create_key('change_b');

-- alter_key
SELECT dataprotect.alter_key('change_a', rotation_period => '90 days', mask => 'partial(1, ''*'', 1)', description => 'letters');
SELECT rotation_period, mask, description FROM dataprotect.keys WHERE name = 'change_a';
SELECT dataprotect.alter_key('change_a');
SELECT dataprotect.alter_key('change_a', rotation_period => '0', description => '');
SELECT rotation_period, mask, description FROM dataprotect.keys WHERE name = 'change_a';
-- the mask is another one at once
SELECT dataprotect.grant_access('change_a', 'regress_keeper', 'mask') > 0 AS granted;
CREATE TABLE change_t (v encrypted_text('change_a', 'searchable', '(10)') DEFAULT 'constant', n encrypted_int4('change_a'));
INSERT INTO change_t VALUES ('shown', 4);
GRANT SELECT, INSERT ON change_t TO regress_keeper;
\c - regress_keeper
\set VERBOSITY terse
SELECT v FROM change_t;
SELECT dataprotect.alter_key('change_a', mask => 'full');
SELECT v FROM change_t;
\c - :su
\set VERBOSITY terse

-- rename_key: columns, grants and values follow, in every session
SELECT dataprotect.rename_key('change_a', 'change_b');
SELECT dataprotect.rename_key('change_a', 'not a name');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT dataprotect.rename_key('change_a', 'change_c');
ROLLBACK;
BEGIN;
SELECT dataprotect.rename_key('change_a', 'change_never');
INSERT INTO change_t VALUES ('in between', 5);
ROLLBACK;
\c - regress_keeper
\set VERBOSITY terse
SELECT dataprotect.rename_key('change_a', 'change_c');
SELECT v FROM change_t;
INSERT INTO change_t VALUES ('after', 6);
INSERT INTO change_t VALUES (DEFAULT, 7);
INSERT INTO change_t VALUES ('longer than ten', 8);
\c - :su
\set VERBOSITY terse
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'change_t'::regclass AND attnum > 0 ORDER BY attnum;
SELECT col, key, searchable FROM dataprotect.protected_columns WHERE rel = 'change_t'::regclass ORDER BY col;
SELECT grantee, privilege FROM dataprotect.grants WHERE key = 'change_c';
-- the constant of the DEFAULT is the system's
SELECT col, key, version, "values", failures FROM dataprotect.verify('change_t') ORDER BY col, key;
-- a new key of the old name is another key, with modifiers of its own
SELECT dataprotect.create_key('change_a');
CREATE TABLE change_u (v encrypted_text('change_a', 'searchable', '(10)'));
GRANT SELECT ON change_u TO regress_keeper;
INSERT INTO change_u VALUES ('other');
SELECT t.atttypmod <> u.atttypmod AS differ FROM pg_attribute t, pg_attribute u
    WHERE t.attrelid = 'change_t'::regclass AND u.attrelid = 'change_u'::regclass AND t.attname = 'v' AND u.attname = 'v';
\c - regress_keeper
\set VERBOSITY terse
SELECT left(v, 7) FROM change_u;
\c - :su
\set VERBOSITY terse
SELECT key, version, "values", failures FROM dataprotect.verify('change_u');

-- drop_key: a key that was never used
SELECT dataprotect.drop_key('change_c');
SELECT dataprotect.drop_key('change_a');
DROP TABLE change_u;
SELECT dataprotect.drop_key('change_a');
SELECT dataprotect.create_key('change_d');
CREATE DOMAIN change_domain AS encrypted_text('change_d');
SELECT dataprotect.drop_key('change_d');
DROP DOMAIN change_domain;
CREATE FUNCTION change_f() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT NULL::encrypted_text('change_d')::text; END;
SELECT dataprotect.drop_key('change_d');
DROP FUNCTION change_f;
SELECT dataprotect.grant_access('change_d', 'regress_keeper', 'reveal') > 0 AS granted;
SELECT dataprotect.drop_key('change_d');
SELECT count(*) FROM dataprotect.keys WHERE name = 'change_d';
CREATE TABLE change_v (v encrypted_text('change_d'));
SELECT dataprotect.drop_key('change_b');

-- destroy_key sees values wherever a type may hide them
SELECT dataprotect.create_key('change_e');
CREATE DOMAIN change_em AS encrypted_text('change_e');
CREATE TYPE change_row AS (plain int, e encrypted_text('change_e'), ds change_em[]);
CREATE TABLE change_in (id int, d change_em, a encrypted_text('change_e')[], c change_row, cs change_row[]);
SELECT col, type, key, path FROM dataprotect.protected_columns WHERE rel = 'change_in'::regclass ORDER BY col, path;
INSERT INTO change_in VALUES (1, 'a', '{b,c}', ROW(1, 'd', '{e,f}'), ARRAY[ROW(2, 'g', NULL)::change_row, ROW(3, NULL, '{h}')::change_row]);
SELECT col, key, "values", failures FROM dataprotect.verify('change_in') ORDER BY col;
SELECT dataprotect.suspend_key('change_e', 'end');
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT dataprotect.destroy_key('change_e', 'end');
\set VERBOSITY terse
SELECT state FROM dataprotect.keys WHERE name = 'change_e';
SELECT dataprotect.destroy_key('change_e', 'end', force => true);
SELECT col, "values", failures FROM dataprotect.verify('change_in') ORDER BY col;
SELECT dataprotect.alter_key('change_e', description => 'x');
SELECT dataprotect.drop_key('change_e');

-- the system's own: literals and what the log says are opened by older ones
SELECT dataprotect.create_key('change_f');
CREATE TABLE change_system (id int, v encrypted_text('change_f') DEFAULT 'a literal before');
PREPARE change_before AS INSERT INTO change_system VALUES (1, 'prepared before');
EXECUTE change_before;
SELECT key, version > 1 AS newer FROM dataprotect.rotate_system_keys();
SELECT count(DISTINCT key_id) - count(DISTINCT key_id) FILTER (WHERE state = 'retired') AS sealing, count(*) FILTER (WHERE state = 'retired') >= 2 AS retired
    FROM dataprotect.key_versions WHERE name = 'system';
EXECUTE change_before;
INSERT INTO change_system (id) VALUES (2);
ALTER TABLE change_system ALTER v SET DEFAULT 'a literal after';
INSERT INTO change_system (id) VALUES (3);
SELECT dataprotect.grant_access('change_f', current_user::regrole, 'reveal') > 0 AS granted;
SELECT id, v FROM change_system ORDER BY id;
SELECT count(*) FROM change_system WHERE v = 'a literal before';
SELECT dataprotect.revoke_access('change_f', current_user::regrole);
SELECT count(*) FROM dataprotect.verify_policy();

-- each is on record; nobody else does it
CREATE ROLE regress_reader LOGIN IN ROLE dataprotect_auditor;
\c - regress_reader
\set VERBOSITY terse
SELECT dataprotect.flush_audit_log() IS NOT NULL AS flushed;
SELECT event, keys, outcome, detail FROM dataprotect.audit_log
    WHERE event IN ('key.altered', 'key.renamed', 'key.dropped') AND keys[1] LIKE 'change%' ORDER BY seq;
SELECT DISTINCT event, detail FROM dataprotect.audit_log WHERE detail ? 'system';
SELECT dataprotect.rotate_system_keys();
SELECT dataprotect.alter_key('change_b', mask => 'null');
SELECT dataprotect.rename_key('change_b', 'mine');
SELECT dataprotect.drop_key('change_b');
\c - :su
\set VERBOSITY terse
DROP TABLE change_t, change_in, change_v, change_system;
DROP TYPE change_row;
DROP DOMAIN change_em;
DROP OWNED BY regress_keeper, regress_reader;
DROP ROLE regress_keeper, regress_reader;
