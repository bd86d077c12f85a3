-- encrypt_columns(online => true): behind a new column that a trigger keeps in step.
\set SHOW_CONTEXT never
SELECT current_user AS su \gset
SELECT dataprotect.create_key('online');
CREATE ROLE regress_online_app LOGIN;
SELECT dataprotect.grant_access('online', 'regress_online_app', 'reveal') \g /dev/null
SELECT dataprotect.grant_access('online', current_user::regrole, 'reveal') \g /dev/null
CREATE SCHEMA online;
GRANT USAGE ON SCHEMA online TO regress_online_app;
SET search_path = online, public;
CREATE TABLE person (id int PRIMARY KEY, gone text, email varchar(60) NOT NULL DEFAULT 'nobody@example.org', note text, plain text, stamped int DEFAULT 0);
INSERT INTO person SELECT g, 'g', 'p' || g || '@example.org', CASE WHEN g % 3 = 0 THEN NULL ELSE repeat('n', g) END, 'x' FROM generate_series(1, 2000) g;
ALTER TABLE person DROP COLUMN gone;
COMMENT ON COLUMN person.email IS 'how to reach her';
ALTER TABLE person ALTER COLUMN email SET (n_distinct = -1);
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN new.stamped := new.stamped + 1; RETURN new; END$$;
CREATE TRIGGER stamp BEFORE UPDATE ON person FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER of_email BEFORE UPDATE OF email ON person FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE VIEW seen AS SELECT id, lower(email) AS low, email FROM person;
GRANT SELECT (id, email, note), INSERT (id, email, note), UPDATE (email, note) ON person TO regress_online_app;
GRANT SELECT ON seen TO regress_online_app;
SELECT md5(string_agg(format('%s|%s|%s', id, email, note), ',' ORDER BY id)) AS was FROM person \gset
-- refused by name before anything begins
CREATE INDEX person_note ON person (note);
CALL dataprotect.encrypt_columns('person', '{"email": "online", "note": "online"}', online => true);
DROP INDEX person_note;
ALTER TABLE person ADD CONSTRAINT short CHECK (length(email) < 70);
CALL dataprotect.encrypt_column('person', 'email', 'online', online => true);
ALTER TABLE person DROP CONSTRAINT short;
CREATE TRIGGER "~~later" BEFORE INSERT ON person FOR EACH ROW EXECUTE FUNCTION stamp();
CALL dataprotect.encrypt_column('person', 'email', 'online', online => true);
DROP TRIGGER "~~later" ON person;
CREATE TABLE part (id int, v text) PARTITION BY LIST (id);
CALL dataprotect.encrypt_column('part', 'v', 'online', online => true);
CALL dataprotect.encrypt_column('person', 'email', 'no such key', online => true);
SELECT count(*) FROM dataprotect.online_progress;
SET SESSION AUTHORIZATION regress_online_app;
CALL dataprotect.encrypt_column('person', 'email', 'online', online => true);
SELECT dataprotect.online_cancel('person', 'email');
RESET SESSION AUTHORIZATION;
-- begun and interrupted: whoever writes goes on, and writes both
SELECT dataprotect._online_step('begin', 'person', ROW('email', 'online', true, false, false, false));
SELECT rel, col, type, step FROM dataprotect.online_progress;
\c - regress_online_app
INSERT INTO online.person (id, email, note) VALUES (3001, 'new@example.org', 'n');
UPDATE online.person SET email = 'changed@example.org' WHERE id = 7;
UPDATE online.person SET note = 'other' WHERE id = 8;
\c - :su
SET search_path = online, public;
SELECT id, dataprotect_online_3 IS NULL AS unsealed, dataprotect_online_3::text = email AS same FROM person WHERE id IN (6, 7, 8, 3001) ORDER BY id;
SELECT md5(string_agg(format('%s|%s|%s', id, email, note), ',' ORDER BY id)) AS was FROM person \gset
-- with other options only after it was given up
CALL dataprotect.encrypt_column('person', 'email', 'online', online => true);
-- the same call goes on; at a step where it was interrupted as well
SELECT dataprotect._touch_blocks('person', 'email', 'dataprotect_online_3', 0, 3) > 0 AS some;
SELECT dataprotect._online_step('swap', 'person', ROW('email', 'online', true, false, false, false));
CALL dataprotect.encrypt_column('person', 'email', 'online', searchable => true, online => true);
SELECT md5(string_agg(format('%s|%s|%s', id, email, note), ',' ORDER BY id)) = :'was' AS same FROM person;
SELECT rel, col, type, key, searchable FROM dataprotect.protected_columns WHERE rel = 'person'::regclass;
SELECT attname, format_type(atttypid, atttypmod), attnotnull, array(SELECT o FROM unnest(attoptions) o WHERE o ~ 'distinct') AS options,
    replace(attacl::text, current_user, 'owner') AS acl, col_description(attrelid, attnum) FROM pg_attribute
    WHERE attrelid = 'person'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'person'::regclass ORDER BY 1;
SELECT conname FROM pg_constraint WHERE conrelid = 'person'::regclass AND contype = 'c';
SELECT stamped, count(*) FROM person GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM dataprotect.online_progress;
\c - regress_online_app
SELECT low, email FROM online.seen WHERE id IN (7, 3001) ORDER BY id;
INSERT INTO online.person (id, note) VALUES (3002, NULL);
UPDATE online.person SET email = 'again@example.org' WHERE id = 7;
SELECT email FROM online.person WHERE id IN (7, 3002) ORDER BY id;
\c - :su
SET search_path = online, public;
INSERT INTO person (id, email) VALUES (3003, NULL);
-- interrupted after the swap: the call wipes what is left, and once more changes nothing
CALL dataprotect.encrypt_column('person', 'email', 'online', searchable => true, online => true);
SELECT dataprotect._touch_blocks('person', 'email', '', 0, 100000);
-- several, and given up
SELECT dataprotect._online_step('begin', 'person', ROW('note', 'online', false, false, true, false));
SELECT dataprotect.online_cancel('person', 'note');
SELECT dataprotect.online_cancel('person', 'note');
CALL dataprotect.encrypt_columns('person', '{"note": {"key": "online", "padded": true}, "plain": "online"}', online => true);
SELECT count(note), count(plain), count(*) FROM person;
SELECT dataprotect._touch_blocks('person', 'note', '', 0, 100000);
SELECT rel, col, type FROM dataprotect.protected_columns WHERE rel = 'person'::regclass ORDER BY 2;
CREATE TABLE whole (v text);
BEGIN;
CALL dataprotect.encrypt_column('whole', 'v', 'online', online => true);
ROLLBACK;
SELECT dataprotect._online_fill();
CREATE TABLE odd (a text, b text);
CREATE TRIGGER odd BEFORE INSERT ON odd FOR EACH ROW EXECUTE FUNCTION dataprotect._online_fill('a', 'b');
INSERT INTO odd VALUES ('x');
SET client_min_messages = warning;
DROP SCHEMA online CASCADE;
DROP OWNED BY regress_online_app;
DROP ROLE regress_online_app;
