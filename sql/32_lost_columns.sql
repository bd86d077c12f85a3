-- Protected columns are never dropped along with what they depend on.
\set SHOW_CONTEXT never
SET client_min_messages = error;
CREATE SCHEMA lost;
SET search_path = lost, public;
SELECT dataprotect.create_key('lost');
CREATE TYPE lost.colour_lost AS ENUM ('good', 'bad');
SELECT dataprotect.create_encrypted_type('lost.colour_lost') AS made \gset
CREATE SCHEMA kept;
CREATE DOMAIN lost.phone AS encrypted_text('lost');
CREATE TYPE lost.address AS (street encrypted_text('lost'), town text);
CREATE TABLE kept.person (id int, email encrypted_text('lost'), mood :made ('lost'), "Their phone" lost.phone,
    phones lost.phone[], home lost.address, plain text);
CREATE TABLE kept.part (id int, email encrypted_text('lost')) PARTITION BY LIST (id);
CREATE TABLE kept.part_1 PARTITION OF kept.part FOR VALUES IN (1);
INSERT INTO kept.person (id, email) VALUES (1, 'a');
-- with the extension
\set VERBOSITY terse
DROP EXTENSION dataprotect CASCADE;
DROP SCHEMA dataprotect CASCADE;
DROP EXTENSION IF EXISTS "dataprotect" CASCADE;
DO $$BEGIN EXECUTE 'DROP EXTENSION dataprotect CASCADE'; END$$;
DO $$BEGIN DROP TYPE lost.phone CASCADE; EXCEPTION WHEN dependent_objects_still_exist THEN RAISE 'still there'; END$$;
\set VERBOSITY default
-- with its types, and with types around them; a few are named
DROP TYPE :made CASCADE;
\echo :LAST_ERROR_SQLSTATE
DROP DOMAIN lost.phone CASCADE;
DROP TYPE lost.address CASCADE;
-- nor does a type lose what it is made of
DROP TYPE lost.colour_lost CASCADE;
DROP SCHEMA lost CASCADE;
DROP TYPE :made, lost.colour_lost CASCADE;
-- nor in a session that did not know the type yet, whose functions go first
CREATE TYPE lost.fee_lost AS ENUM ('low', 'high');
CREATE TABLE kept.older (id int, fee lost.fee_lost);
CALL dataprotect.encrypt_column('kept.older', 'fee', 'lost');
\c -
SET client_min_messages = error;
SET search_path = lost, public;
DROP TYPE encrypted_fee_lost CASCADE;
\c -
SET client_min_messages = error;
SET search_path = lost, public;
DROP TYPE fee_lost CASCADE;
\d kept.older
-- what is left of a type when its base went, and nothing had it, is in nobody's way
DROP TABLE kept.older;
DROP TYPE fee_lost CASCADE;
CREATE TYPE lost.fee_lost AS ENUM ('new', 'other');
CREATE TABLE kept.newer (id int, fee lost.fee_lost);
INSERT INTO kept.newer VALUES (1, 'other');
CALL dataprotect.encrypt_column('kept.newer', 'fee', 'lost');
SELECT typname, dataprotect._base_type(t.oid::regtype) FROM pg_type t WHERE typname = 'encrypted_fee_lost';
DROP TABLE kept.newer;
-- inside a function, and as another owner
CREATE ROLE lost_owner;
GRANT USAGE, CREATE ON SCHEMA lost, kept TO lost_owner;
ALTER TYPE lost.phone OWNER TO lost_owner;
CREATE FUNCTION lost.drop_all() RETURNS void LANGUAGE plpgsql AS $$BEGIN DROP OWNED BY lost_owner CASCADE; END$$;
SELECT lost.drop_all();
SELECT count(*) FROM pg_attribute a WHERE a.attrelid = 'kept.person'::regclass AND a.attnum > 0 AND NOT a.attisdropped;
-- whoever names a column or a table means it
ALTER TABLE kept.person DROP COLUMN mood, DROP COLUMN plain;
DROP TYPE :made, lost.colour_lost CASCADE;
BEGIN;
DROP SCHEMA kept, lost CASCADE;
ROLLBACK;
BEGIN;
DROP TABLE kept.person;
DROP DOMAIN lost.phone CASCADE;
ROLLBACK;
-- partitions go with their table, detached they are tables
BEGIN;
DROP TABLE kept.part;
ROLLBACK;
DROP TABLE kept.part_1;
DROP SCHEMA kept CASCADE;
SELECT lost.drop_all();
DROP SCHEMA lost CASCADE;
DROP ROLE lost_owner;
