-- Slips of the pen in administrative calls: each public function of keys and
-- access, each argument missing, empty, absurd or of nothing that is there.
-- Every call is an error that says what is wanted, and nothing changes.
-- Cases: mistaken-arguments, destroy-key-with-values, one-transaction-migration.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE ROLE regress_slip;
SELECT dataprotect.create_key('slip');
SELECT dataprotect.create_key('slip_gone');
SELECT dataprotect.create_key('slip_unused');
SELECT dataprotect.suspend_key('slip_gone', 'not wanted');
SELECT dataprotect.destroy_key('slip_gone', 'not wanted');
SELECT dataprotect.grant_access('slip', 'regress_slip', 'reveal') > 0 AS granted;
RESET client_min_messages;

-- Good arguments of each function, in order, and what else may stand in their place.
CREATE TEMP TABLE good (fn text PRIMARY KEY, args text[]);
INSERT INTO good VALUES
    ('create_key', ARRAY['''slip_new''', 'NULL', '''1 year''', 'NULL', '''full''', '''x''']),
    ('alter_key', ARRAY['''slip''', 'NULL', 'NULL', 'NULL', 'NULL']),
    ('rename_key', ARRAY['''slip''', '''slip_other''']),
    ('drop_key', ARRAY['''slip_unused''']),
    ('rotate_key', ARRAY['''slip''']),
    ('rewrap_key', ARRAY['''slip''', '(SELECT kms_uri FROM dataprotect.keys WHERE name = ''slip'')']),
    ('suspend_key', ARRAY['''slip''', '''x''']),
    ('resume_key', ARRAY['''slip''', '''x''']),
    ('destroy_key', ARRAY['''slip''', '''x''', 'false']),
    ('lockdown', ARRAY['''x''']),
    ('lift_lockdown', ARRAY['''x''']),
    ('export_keys', '{}'), ('drill', '{}'),
    ('import_keys', ARRAY['dataprotect.export_keys()']),
    ('grant_access', ARRAY['''slip''', '''regress_slip''', '''mask''', 'NULL', 'NULL', 'NULL', 'false', 'false', 'NULL', 'NULL', 'NULL']),
    ('revoke_access', ARRAY['''slip''', '''regress_slip''', '''reveal''', '''x''']);
CREATE TEMP TABLE bad (arg text, value text);
INSERT INTO bad SELECT 'name', v FROM unnest(ARRAY['NULL', '''''', '''  ''', '''no such''', '''SLIP''', '''slip''''; --''', 'repeat(''x'', 100000)']) v;
INSERT INTO bad SELECT 'reason', v FROM unnest(ARRAY['NULL', '''''', '''  ''', 'E''\n\t ''', 'repeat(''x'', 100000)']) v;
INSERT INTO bad SELECT 'new_name', v FROM unnest(ARRAY['NULL', '''''', '''  ''', '''no such''', '''slip''''; --''', '''1''', 'repeat(''x'', 64)', 'repeat(''x'', 100000)']) v;
INSERT INTO bad SELECT 'kms_uri', v FROM unnest(ARRAY['''{}''', '''{NULL}''', '''{""}''', '''{nonsense}''', '''{{file:///a,file:///b},{file:///c,file:///d}}''',
    '''{file:///a,file:///a}''', '''{file:///a,file:///b,file:///c,file:///d,file:///e}''', '''{file:///etc/passwd}''', 'ARRAY[repeat(''x'', 100000)]']) v;
INSERT INTO bad VALUES ('rotation_period', '''0'''), ('rotation_period', '''-1 day'''), ('rotation_period', '''1 microsecond'''),
    ('keep', '''23 hours'''), ('keep', '''-1 day'''), ('keep', '''100000000 years'''), ('mask', '''nonsense'''), ('mask', ''''''), ('mask', 'repeat(''x'', 100000)'), ('description', 'repeat(''x'', 100000)'),
    ('grantee', 'NULL'), ('grantee', '0::regrole'), ('grantee', '4294967295::oid::regrole'),
    ('privilege', '''revael'''), ('privilege', ''''''), ('privilege', '''Reveal'''), ('privilege', '''reveal,mask'''),
    ('purpose', ''''''), ('purpose', 'repeat(''x'', 128)'), ('valid_until', '''yesterday'''), ('valid_until', '''-infinity'''),
    ('claims', '''[]'''), ('claims', '''7'''), ('ticket', ''''''), ('ticket', 'repeat(''x'', 201)'),
    ('exported', 'NULL'), ('exported', '''{}'''), ('exported', '''[]'''), ('exported', '''null'''), ('exported', '''{"format": "dataprotect keys 2"}'''),
    ('exported', 'dataprotect.export_keys() - ''mac''');
-- what each function may be called with as well
CREATE TEMP TABLE fine (fn text, arg text, value text);
INSERT INTO fine VALUES
    ('grant_access', 'reason', 'NULL'), ('alter_key', 'rotation_period', '''0'''), ('alter_key', 'mask', 'NULL'), ('revoke_access', 'reason', 'NULL'), ('revoke_access', 'grantee', '4294967295::oid::regrole');
INSERT INTO bad VALUES ('rewrap_uri', 'NULL');

CREATE FUNCTION pg_temp.everything() RETURNS text LANGUAGE sql AS $$
    SELECT md5(string_agg(t, E'\n' ORDER BY t)) FROM (
        SELECT i::text FROM dataprotect.instance i UNION ALL SELECT e::text FROM dataprotect.epoch e
        UNION ALL SELECT k::text FROM dataprotect.key k UNION ALL SELECT v::text FROM dataprotect.key_version v
        UNION ALL SELECT g::text FROM dataprotect.access_grant g) all_of_it(t) $$;

CREATE FUNCTION pg_temp.slips() RETURNS TABLE (fn text, arg text, value text, problem text) LANGUAGE plpgsql AS $$
DECLARE
    r record;
    before text := pg_temp.everything();
    hint text;
    detail text;
BEGIN
    FOR r IN
        SELECT g.fn, b.arg, b.value, format('SELECT dataprotect.%I(%s)', g.fn,
                (SELECT string_agg(CASE WHEN a.i = at.n THEN b.value ELSE a.v END, ', ' ORDER BY a.i) FROM unnest(g.args) WITH ORDINALITY a(v, i))) AS call
            FROM good g JOIN pg_proc p ON p.proname = g.fn AND p.pronamespace = 'dataprotect'::regnamespace
                CROSS JOIN LATERAL unnest(p.proargnames[1:p.pronargs]) WITH ORDINALITY at(name, n)
                JOIN bad b ON b.arg = CASE at.name WHEN 'key' THEN 'name' ELSE at.name END OR (g.fn, at.name, b.arg) = ('rewrap_key', 'kms_uri', 'rewrap_uri')
            WHERE (g.fn, at.name) <> ('create_key', 'name') OR b.value NOT IN ('''SLIP''')
            ORDER BY 1, 2, 3
    LOOP
        slips.fn := r.fn; slips.arg := r.arg; slips.value := left(r.value, 40);
        BEGIN
            EXECUTE r.call;
            IF (r.fn, r.arg, r.value) NOT IN (SELECT f.fn, f.arg, f.value FROM fine f) THEN
                slips.problem := 'no error';
                RETURN NEXT;
            END IF;
            RAISE SQLSTATE 'TAKEN';         -- and undone
        EXCEPTION WHEN SQLSTATE 'TAKEN' THEN
        WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL;
            IF SQLSTATE !~ '^(22023|22004|22007|22P02|42602|42704|42501|0A000|55000)$' OR coalesce(hint, detail) = '' OR length(SQLERRM) > 500
               OR (hint = '' AND SQLSTATE !~ '^(22P02|42704|42501)$') THEN
                slips.problem := SQLSTATE || ' ' || left(SQLERRM, 100) || coalesce(' / ' || hint, '');
                RETURN NEXT;
            END IF;
        END;
    END LOOP;
    IF pg_temp.everything() <> before THEN
        slips.fn := '(all)'; slips.problem := 'something changed';
        RETURN NEXT;
    END IF;
END $$;
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT * FROM pg_temp.slips();
ROLLBACK;
-- a public function of the folders keys and access that this test does not know
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'dataprotect'::regnamespace AND p.proname ~ '(_key|_keys|_access|lockdown)$' AND p.proname !~ '^_'
    AND p.pronargs > 0 AND p.proname NOT IN (SELECT fn FROM good) ORDER BY 1;

-- revoking what was never granted says so; so does granting to a misspelt privilege
SELECT dataprotect.revoke_access('slip', 'regress_slip', 'revael');
SELECT dataprotect.revoke_access('slip', 'regress_slip', 'mask');
SELECT dataprotect.revoke_access('slip', 'regress_slip', 'reveal');
SELECT dataprotect.revoke_access('slip', 'regress_slip');
-- a key that is destroyed goes nowhere
SELECT dataprotect.rotate_key('slip_gone');
SELECT dataprotect.rewrap_key('slip_gone', (SELECT kms_uri FROM dataprotect.keys WHERE name = 'slip'));

-- a key with values is destroyed by force only
CREATE TABLE slip_values (v encrypted_text('slip'), w encrypted_int4('slip'));
INSERT INTO slip_values VALUES ('x', 1), ('y', NULL);
SELECT dataprotect.suspend_key('slip', 'leaving');
\set VERBOSITY default
SELECT dataprotect.destroy_key('slip', 'leaving');
SELECT name, state FROM dataprotect.keys WHERE name = 'slip';
SELECT dataprotect.destroy_key('slip', 'leaving', force => true);
SELECT name, state FROM dataprotect.keys WHERE name = 'slip';
SELECT col, key, "values", failures FROM dataprotect.verify('slip_values') ORDER BY col;
DROP TABLE slip_values;

-- a migration that makes a key before anybody else can see the extension
CREATE DATABASE regress_slip_migration;
\c regress_slip_migration
BEGIN;
CREATE EXTENSION dataprotect;
SAVEPOINT s;
SELECT dataprotect.create_key('pii');
ROLLBACK TO s;
RELEASE SAVEPOINT s;
SELECT dataprotect.create_key('pii');
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal');
CREATE TABLE early (id int PRIMARY KEY, v encrypted_text('pii','searchable') UNIQUE, n encrypted_int4('pii','ordered'));
CREATE INDEX ON early (n);
INSERT INTO early VALUES (1, 'one', 1), (2, 'two', 2);
ROLLBACK;
-- nothing is left of it, and nothing of what was rolled back is used afterwards
BEGIN;
CREATE EXTENSION dataprotect;
SELECT dataprotect.create_key('pii');
SELECT dataprotect.create_key('other');
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal');
CREATE TABLE early (id int PRIMARY KEY, v text UNIQUE, n encrypted_int4('pii','ordered'));
CREATE INDEX ON early (n);
INSERT INTO early VALUES (1, 'one', 1), (2, 'two', 2);
CALL dataprotect.encrypt_column('early', 'v', 'pii');
SAVEPOINT s;
INSERT INTO early VALUES (3, 'three', 3);
ROLLBACK TO s;
INSERT INTO early VALUES (3, 'three', 4);
SELECT id FROM early WHERE v = 'three' AND n > 3;
COMMIT;
\c regress_slip_migration
SELECT dataprotect.create_key('third');
INSERT INTO early VALUES (4, 'four', 5) ON CONFLICT (v) DO NOTHING;
INSERT INTO early VALUES (5, 'one', 5) ON CONFLICT (v) DO NOTHING;
SELECT id, v, n FROM early WHERE n > 1 ORDER BY n;
SELECT name, state FROM dataprotect.keys ORDER BY name;
SELECT sum(values) AS values, sum(failures) AS failures FROM dataprotect.verify();
SELECT * FROM dataprotect.verify_policy();
SELECT dataprotect.flush_audit_log();
SELECT ok FROM dataprotect.verify_audit_log();
\c regression
DROP DATABASE regress_slip_migration;
