-- Types that are named, renamed, moved, dropped and made again: an encrypted
-- type follows its base, whatever either is called.
SELECT current_user AS su \gset

-- quoted-names: capital letters, dots, quotes, blanks, key words
CREATE SCHEMA "Sch.ema's";
CREATE TYPE "Mood" AS ENUM ('sad', 'glad');
CREATE TYPE "a.b" AS ENUM ('x', 'y');
CREATE TYPE "it's ""x" AS ENUM ('x', 'y');
CREATE TYPE "Sch.ema's"."select" AS ENUM ('x', 'y');
CREATE TYPE pair AS RANGE (subtype = int4);
SELECT dataprotect.create_encrypted_type('"Mood"'), dataprotect.create_encrypted_type('"a.b"'),
       dataprotect.create_encrypted_type('"it''s ""x"'), dataprotect.create_encrypted_type('"Sch.ema''s"."select"'),
       dataprotect.create_encrypted_type('pair');
CREATE TABLE named (a "encrypted_Mood"('pii'), b "encrypted_a.b"('pii', 'ordered'), c "encrypted_it's ""x"('pii'),
                    d encrypted_select('pii'), e encrypted_pair('pii'));
GRANT ALL ON named TO regress_app;
CREATE INDEX ON named (b);
CREATE TABLE "Plain.table" ("Col umn" "Mood", "it's" varchar(10) DEFAULT 'a\b''c', "sel""ect" "Sch.ema's"."select");
INSERT INTO "Plain.table" VALUES ('glad', DEFAULT, 'x');
CREATE INDEX "In dex" ON "Plain.table" ("it's");
CREATE VIEW "Vie.w" AS SELECT "it's" || '\' AS "x y", "sel""ect" FROM "Plain.table";
GRANT ALL ON "Plain.table", "Vie.w" TO regress_app;
CALL dataprotect.encrypt_column('"Plain.table"', 'Col umn', 'pii');
CALL dataprotect.encrypt_column('"Plain.table"', 'it''s', 'pii');
CALL dataprotect.encrypt_column('"Plain.table"', 'sel"ect', 'pii');
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '"Plain.table"'::regclass AND attnum > 0 ORDER BY attnum;
\c - regress_app
INSERT INTO named VALUES ('glad', 'x', 'y', 'x', '[1,3)'), ('sad', 'y', 'x', 'y', 'empty');
SELECT * FROM named ORDER BY b;
SELECT b FROM named WHERE a = 'sad' AND b > 'x' AND c <> 'y' AND d = 'y';
INSERT INTO "Plain.table" DEFAULT VALUES;
SELECT * FROM "Plain.table";
SELECT * FROM "Vie.w";
\c - :su
SELECT dataprotect.grant_access('pii', current_user::regrole, 'reveal') \g /dev/null
CALL dataprotect.decrypt_column('"Plain.table"', 'it''s');
SELECT dataprotect.revoke_access('pii', current_user::regrole);
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '"Plain.table"'::regclass AND attname = 'it''s';

-- base-type-renamed: values stay readable
ALTER TYPE "Mood" RENAME TO feeling;
\c - regress_app
SELECT a FROM named WHERE a = 'glad';
\c - :su
ALTER TYPE feeling SET SCHEMA "Sch.ema's";
ALTER TYPE "encrypted_Mood" RENAME TO "encrypted_Feel.ing";
\c - regress_app
SELECT a FROM named WHERE a = 'glad';
SELECT b FROM named ORDER BY a;
CREATE TABLE renamed (a "encrypted_Feel.ing"('pii', 'ordered'));
INSERT INTO renamed SELECT a FROM named;
SELECT a FROM renamed ORDER BY a DESC;
\c - :su
\set VERBOSITY terse
DROP TYPE "Sch.ema's".feeling;
\set VERBOSITY default
DROP TABLE named, "Plain.table", renamed CASCADE;

-- made-type-dropped: what was made for a type goes with it, and it can be made again
CREATE FUNCTION pg_temp.members(name text) RETURNS TABLE (kind text, n bigint) LANGUAGE sql AS $$
    SELECT 'function', count(*) FROM pg_proc WHERE starts_with(proname, name)
    UNION ALL SELECT 'family', count(*) FROM pg_opfamily WHERE starts_with(opfname, name)
    UNION ALL SELECT 'type', count(*) FROM pg_type WHERE starts_with(typname, name)
$$;
CREATE TYPE colour AS ENUM ('red', 'green');
SELECT dataprotect.create_encrypted_type('colour');
SELECT * FROM pg_temp.members('encrypted_colour');
SET client_min_messages = warning;
DROP TYPE encrypted_colour CASCADE;
RESET client_min_messages;
SELECT * FROM pg_temp.members('encrypted_colour');
SELECT dataprotect.create_encrypted_type('colour');
SELECT * FROM pg_temp.members('encrypted_colour');
-- as after a restore, where nothing says that they belong together
DELETE FROM pg_depend WHERE refclassid = 'pg_type'::regclass AND refobjid = 'encrypted_colour'::regtype AND deptype = 'a';
SET client_min_messages = warning;
DROP TYPE encrypted_colour CASCADE;
RESET client_min_messages;
SELECT dataprotect.create_encrypted_type('colour');
CREATE TABLE coloured (c encrypted_colour('pii'));
GRANT ALL ON coloured TO regress_app;
\c - regress_app
INSERT INTO coloured VALUES ('red'), ('green');
SELECT c FROM coloured WHERE c = 'green';
\c - :su
DROP TABLE coloured;
-- what a type was made without is made later, and nothing twice
SELECT dataprotect.create_encrypted_type('bit');
SELECT dataprotect.complete_encrypted_type('encrypted_bit');
SELECT count(*) AS overloads FROM dataprotect._overloads('encrypted_bit') \gset
SET client_min_messages = warning;
DO $$ BEGIN EXECUTE (SELECT string_agg(format('DROP ROUTINE %s CASCADE', p), '; ') FROM dataprotect._overloads('encrypted_bit') p); END $$;
RESET client_min_messages;
SELECT dataprotect.complete_encrypted_type('encrypted_bit') = :overloads AS all, :overloads > 0 AS some;
SELECT count(*) = :overloads AS again FROM dataprotect._overloads('encrypted_bit') p WHERE has_function_privilege('regress_app', p, 'EXECUTE');
SELECT dataprotect.complete_encrypted_type('encrypted_bit');
SELECT dataprotect.complete_encrypted_type('encrypted_text');
SELECT dataprotect.complete_encrypted_type('bit');
\c - regress_app
SELECT dataprotect.complete_encrypted_type('encrypted_bit');
\c - :su
SET client_min_messages = warning;
DROP TYPE encrypted_bit CASCADE;
RESET client_min_messages;

-- dump-inserts-of-a-column-with-a-modifier: INSERT restores as COPY does
CREATE TABLE m (v encrypted_text('pii', '(40)'), n encrypted_numeric('pii', '(5,2)'), t encrypted_timestamp('pii', 'searchable', '(3)'), p encrypted_text('pii'));
CREATE TABLE again (LIKE m);
GRANT ALL ON m, again TO regress_app;
INSERT INTO m VALUES ('abc', 12.5, '2020-01-01 00:00:00.1239', 'x'), ('d', NULL, '-infinity', NULL);
SET dataprotect.input = ciphertext;
DO $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT * FROM m LOOP
        EXECUTE format('INSERT INTO again VALUES (%L, %L, %L, %L)', r.v, r.n, r.t, r.p);
    END LOOP;
    FOR r IN SELECT * FROM m WHERE p IS NOT NULL LOOP
        EXECUTE format('UPDATE again SET v = %L WHERE p IS NULL', r.v);
    END LOOP;
END $$;
RESET dataprotect.input;
\c - regress_app
SELECT * FROM again ORDER BY p;
-- what is not ciphertext is held against the modifier all the same
SET dataprotect.input = ciphertext;
INSERT INTO again (v) VALUES (repeat('x', 41));
\c - :su
SET client_min_messages = warning;
DROP TABLE m, again;
DROP TYPE "a.b", "it's ""x", "Sch.ema's"."select", pair, "encrypted_a.b", "encrypted_it's ""x", encrypted_select, encrypted_pair,
    "encrypted_Feel.ing" CASCADE;
DROP SCHEMA "Sch.ema's" CASCADE;
