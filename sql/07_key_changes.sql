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
CREATE FUNCTION change_defined_f() RETURNS encrypted_text LANGUAGE sql STABLE BEGIN ATOMIC SELECT 'of a function'::encrypted_text; END;
CREATE DOMAIN change_word AS encrypted_text('change_f') DEFAULT 'of a domain';
CREATE TABLE change_defined (v change_word, w encrypted_text('change_f') DEFAULT 'of a column', a encrypted_text('change_f')[] DEFAULT ARRAY['in an array'], CHECK (v <> 'refused'));
CREATE VIEW change_defined_v AS SELECT 1 AS id, v FROM change_defined WHERE w = 'of a column' OR v = 'of a row'
    UNION ALL SELECT 2, change_defined_f() FROM change_defined WHERE v = 'of a domain';
-- what is trusted stays so, what was changed does not become so
CREATE FUNCTION change_trusted_f() RETURNS encrypted_text LANGUAGE sql STABLE BEGIN ATOMIC SELECT 'of a trusted one'::encrypted_text; END;
CREATE FUNCTION change_changed_f() RETURNS encrypted_text LANGUAGE sql STABLE BEGIN ATOMIC SELECT 'of a trusted one'::encrypted_text; END;
ALTER FUNCTION change_trusted_f() OWNER TO regress_keeper;
ALTER FUNCTION change_changed_f() OWNER TO regress_keeper;
SELECT dataprotect.trust_function('change_trusted_f()', 'reviewed'), dataprotect.trust_function('change_changed_f()', 'reviewed');
CREATE OR REPLACE FUNCTION change_changed_f() RETURNS encrypted_text LANGUAGE sql STABLE BEGIN ATOMIC SELECT 'of another'::encrypted_text; END;
CREATE TEMP TABLE change_trust AS SELECT function, digest FROM dataprotect.trusted_function;
SELECT key, version > 1 AS newer FROM dataprotect.rotate_system_keys();
SELECT f.function, f.in_force, t.digest <> b.digest AS digest_anew, dataprotect._sealed(t) AS sealed
    FROM dataprotect.trusted_function t JOIN change_trust b USING (function) JOIN dataprotect.trusted_functions f ON f.function::regprocedure = t.function::regprocedure
    WHERE t.function LIKE '%.change!_%' ESCAPE '!' ORDER BY t.function;
SELECT dataprotect.distrust_function('change_trusted_f()', 'no more'), dataprotect.distrust_function('change_changed_f()', 'no more');
DROP FUNCTION change_trusted_f(), change_changed_f();
SELECT count(DISTINCT key_id) - count(DISTINCT key_id) FILTER (WHERE state = 'retired') AS sealing, count(*) FILTER (WHERE state = 'retired') >= 2 AS retired
    FROM dataprotect.key_versions WHERE name = 'system';
EXECUTE change_before;
INSERT INTO change_system (id) VALUES (2);
ALTER TABLE change_system ALTER v SET DEFAULT 'a literal after';
INSERT INTO change_system (id) VALUES (3);
SELECT dataprotect.grant_access('change_f', current_user::regrole, 'reveal') > 0 AS granted;
SELECT id, v FROM change_system ORDER BY id;
SELECT count(*) FROM change_system WHERE v = 'a literal before';
-- what definitions have is under the key for literals that seals now, and says what it said
SELECT key, version = (SELECT max(v.version) FROM dataprotect.key_versions v WHERE v.name = 'system' AND v.purpose = 'literal') AS newest, "values", failures
    FROM dataprotect.verify('change_system') WHERE key = 'system';
SELECT what, count(*) FILTER (WHERE t.key_id = (SELECT v.key_id FROM dataprotect.key_version v WHERE v.family = 0 AND v.purpose = 5 AND v.state = 'a')) AS under_the_newest,
        count(*) AS keys, sum(t.failures) AS failures
    FROM (SELECT 'view', ev_action FROM pg_rewrite WHERE ev_class = 'change_defined_v'::regclass
          UNION ALL SELECT 'function', prosqlbody FROM pg_proc WHERE proname = 'change_defined_f'
          UNION ALL SELECT 'check', conbin FROM pg_constraint WHERE conrelid = 'change_defined'::regclass AND conbin IS NOT NULL
          UNION ALL SELECT 'domain', typdefaultbin FROM pg_type WHERE typname = 'change_word') d (what, tree),
        dataprotect._verify_tree(d.tree) t
    GROUP BY what ORDER BY what;
INSERT INTO change_defined DEFAULT VALUES;
INSERT INTO change_defined VALUES ('of a row', 'of a row');
SELECT id, v FROM change_defined_v ORDER BY id;
SELECT count(*) FROM change_defined WHERE 'in an array' = ANY (a);
INSERT INTO change_defined (v) VALUES ('refused');
SELECT dataprotect.revoke_access('change_f', current_user::regrole);
SELECT count(*) FROM dataprotect.verify_policy();

-- the policy key as well: what is sealed is so under the new one, what is not does not become ours
CREATE TEMP TABLE change_sealed AS SELECT family, seal FROM dataprotect.key;
SELECT count(*) > 0 AS sealed_anew, bool_and(k.seal <> c.seal) AS all_of_them
    FROM dataprotect.key k JOIN change_sealed c USING (family);
SELECT dataprotect.rotate_system_keys() IS NOT NULL AS rotated;
SELECT bool_and(k.seal <> c.seal) AS all_of_them FROM dataprotect.key k JOIN change_sealed c USING (family);
SELECT count(*) FROM dataprotect.verify_policy();
SET session_replication_role = replica;
UPDATE dataprotect.key SET mask = 'email' WHERE name = 'change_f';
RESET session_replication_role;
SELECT rel, problem FROM dataprotect.verify_policy();
SELECT key, version > 1 AS newer FROM dataprotect.rotate_system_keys();
SELECT rel, problem FROM dataprotect.verify_policy();
SET session_replication_role = replica;
UPDATE dataprotect.key SET mask = 'full' WHERE name = 'change_f';
RESET session_replication_role;
SELECT count(*) FROM dataprotect.verify_policy();

-- the roots that a key has already: they wrap it anew
CREATE TEMP TABLE change_wrapped AS SELECT e.key_id, e.wrapped FROM dataprotect.epoch e JOIN dataprotect.key k ON k.epoch = e.key_id WHERE k.name = 'change_f';
SELECT dataprotect.rewrap_key('change_f', (SELECT kms_uri FROM dataprotect.keys WHERE name = 'change_f')) > 0 AS versions;
SELECT e.wrapped <> w.wrapped AS anew, dataprotect._sealed(e) FROM dataprotect.epoch e JOIN change_wrapped w USING (key_id);
SELECT key, ok FROM dataprotect.drill() WHERE key = 'change_f';

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
DROP VIEW change_defined_v;
DROP FUNCTION change_defined_f();
DROP TABLE change_t, change_in, change_v, change_system, change_defined;
DROP TYPE change_row;
DROP DOMAIN change_em, change_word;
DROP OWNED BY regress_keeper, regress_reader;
DROP ROLE regress_keeper, regress_reader;
