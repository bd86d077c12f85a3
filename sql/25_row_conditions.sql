-- CHECK constraints and triggers' conditions over protected columns hold for every writer,
-- with the right to read and without, and show nothing (case: columns, A; trigger-when-needs-reveal).
\set SHOW_CONTEXT never
\set VERBOSITY terse
SELECT current_user AS su \gset
CREATE SCHEMA cond;
GRANT USAGE ON SCHEMA cond TO regress_app, regress_mask, regress_none;
SET search_path = cond, public;
CREATE TABLE a (
    id int PRIMARY KEY, mail text CONSTRAINT a_mail CHECK (mail ~ '^[^@]+@[^@]+$'),
    bio text CHECK (char_length(bio) <= 10), pay numeric(8,2) CHECK (pay BETWEEN 6.5 AND 2000),
    state text CHECK (state IN ('single', 'married')), born date CHECK (born >= '1900-01-01' AND born <= now() - interval '18 years'),
    doc jsonb CHECK (jsonb_typeof(doc) = 'object'), low text CHECK (low = lower(low)), digest bytea CHECK (octet_length(digest) = 2),
    phone text, n int, kind int, CHECK (num_nonnulls(mail, phone) >= 1), CHECK (kind <> 2 OR phone <> ''),
    old_rule text CONSTRAINT a_old CHECK (old_rule <> 'x'));
COMMENT ON CONSTRAINT a_mail ON a IS 'as on the form';
INSERT INTO a VALUES (1, 'a@b', 'x', 10, 'single', '1980-01-01', '{}', 'abc', '\x0102', '1', 0, 1, 'y');
ALTER TABLE a ADD CONSTRAINT a_later CHECK (char_length(old_rule) > 5) NOT VALID;
SET client_min_messages = warning;
DO $$
DECLARE
    c name;
BEGIN
    FOREACH c IN ARRAY '{mail,bio,pay,state,born,doc,low,digest,phone,old_rule}'::name[] LOOP
        CALL dataprotect.encrypt_column('cond.a', c, 'pii');
    END LOOP;
END $$;
RESET client_min_messages;
SELECT conname, convalidated, obj_description(oid, 'pg_constraint') AS comment FROM pg_constraint
WHERE conrelid = 'a'::regclass AND contype = 'c' ORDER BY 1;
GRANT SELECT, INSERT, UPDATE ON a TO regress_app, regress_mask, regress_none;
\set ok '\'c@d\', \'y\', 11, \'married\', date \'1981-01-01\', \'{"a":1}\', \'b\', \'\\x0101\', \'2\', 0, 2, \'yyyyyy\''
-- without any right, with a mask, with the right to read
\c - regress_none
SET search_path = cond, public;
INSERT INTO a VALUES (10, :ok);
INSERT INTO a (id, mail) VALUES (11, 'bad');
INSERT INTO a (id, phone, bio) VALUES (11, '1', 'more than ten characters');
INSERT INTO a (id, phone, pay) VALUES (11, '1', 6.49);
INSERT INTO a (id, phone, state) VALUES (11, '1', 'other');
INSERT INTO a (id, phone, born) VALUES (11, '1', current_date);
INSERT INTO a (id, phone, doc) VALUES (11, '1', '[]');
INSERT INTO a (id, phone, low) VALUES (11, '1', 'B');
INSERT INTO a (id, phone, digest) VALUES (11, '1', '\x01');
INSERT INTO a (id, phone, kind) VALUES (11, '', 2);
INSERT INTO a (id, phone, old_rule) VALUES (11, '1', 'short');
INSERT INTO a (id) VALUES (11);
PREPARE put(int, text) AS INSERT INTO a (id, mail) VALUES ($1, $2);
EXECUTE put(12, 'e@f');
EXECUTE put(13, 'ef');
COPY a (id, mail, bio) FROM stdin;
14	r@r	12345
\.
COPY a (id, mail, bio) FROM stdin;
15	r@r	12345678901
\.
-- what was there before is not read, what is written is
UPDATE a SET n = 1;
UPDATE a SET kind = 3 WHERE id = 1;
UPDATE a SET mail = 'x@y' WHERE id = 1;
UPDATE a SET mail = 'xy' WHERE id = 1;
UPDATE a SET mail = NULL, phone = NULL WHERE id = 1;
INSERT INTO a (id, mail) VALUES (10, 'q@q') ON CONFLICT (id) DO UPDATE SET n = 5;
INSERT INTO a (id, mail) VALUES (10, 'q@q') ON CONFLICT (id) DO UPDATE SET mail = excluded.mail;
INSERT INTO a (id, mail) VALUES (10, 'q@q') ON CONFLICT (id) DO UPDATE SET mail = 'bad';
MERGE INTO a USING (VALUES (10, 'm@m')) v (i, m) ON a.id = v.i WHEN MATCHED THEN UPDATE SET mail = v.m;
MERGE INTO a USING (VALUES (10, 'mm')) v (i, m) ON a.id = v.i WHEN MATCHED THEN UPDATE SET mail = v.m;
-- a stored value from elsewhere is not let past the rule
INSERT INTO a (id, mail) SELECT 16, mail FROM a WHERE id = 1;
-- writing it is no way to read it, nor is what one has just written oneself
BEGIN;
INSERT INTO a (id, mail) VALUES (17, 'z@z');
SELECT mail::text FROM a WHERE id = 17;
ROLLBACK;
\c - regress_mask
SET search_path = cond, public;
INSERT INTO a (id, mail) VALUES (20, 'bad');
INSERT INTO a (id, mail, bio) VALUES (20, 'a@mask', '1234567890');
UPDATE a SET n = 2;
INSERT INTO a (id, mail) SELECT 21, mail FROM a WHERE id = 1;
\c - regress_app
SET search_path = cond, public;
INSERT INTO a (id, mail) VALUES (30, 'bad');
INSERT INTO a (id, mail) SELECT 31, mail FROM a WHERE id = 1;
UPDATE a SET kind = 2, phone = '' WHERE id = 1;
UPDATE a SET n = 3;
SELECT id, n, mail, bio FROM a ORDER BY id;
-- a constraint that is added later is kept to as well, and checked with the right to read
\c - :su
SET search_path = cond, public;
ALTER TABLE a ADD CONSTRAINT a_bio_not CHECK (bio <> 'none') NOT VALID;
ALTER TABLE a VALIDATE CONSTRAINT a_bio_not;
\c - regress_none
SET search_path = cond, public;
UPDATE a SET bio = 'none' WHERE id = 1;
UPDATE a SET bio = 'some' WHERE id = 1;
-- code of ordinary roles is handed nothing
\c - :su
SET search_path = cond, public;
GRANT CREATE ON SCHEMA cond TO regress_app;
SET ROLE regress_app;
CREATE FUNCTION cond.look(text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RAISE NOTICE 'looked'; RETURN true; END$$;
CREATE TABLE own (id int, v text CHECK (cond.look(v)), w text);
RESET ROLE;
CALL dataprotect.encrypt_column('own', 'v', 'pii');
CALL dataprotect.encrypt_column('own', 'w', 'pii');
ALTER TABLE own ADD CHECK (cond.look(w));
-- by no other way: a branch, a domain's CHECK, a composite of one, a query by name
SET ROLE regress_app;
CREATE DOMAIN cond.own_domain AS text CHECK (cond.look(value));
CREATE TYPE cond.own_row AS (x cond.own_domain);
RESET ROLE;
ALTER TABLE own ADD CHECK (CASE WHEN w < 'm' THEN cond.look('a') ELSE cond.look('b') END) NOT VALID;
ALTER TABLE own ADD CHECK (w < 'm' OR pg_notify('loot', '') IS NULL) NOT VALID;
ALTER TABLE own ADD CHECK ((w::text::own_domain) IS NOT NULL) NOT VALID;
ALTER TABLE own ADD CHECK (('(' || w || ')')::own_row IS NOT NULL) NOT VALID;
ALTER TABLE own ADD CHECK (jsonb_populate_record(NULL::own_row, jsonb_build_object('x', w::text)) IS NOT NULL) NOT VALID;
ALTER TABLE own ADD CHECK (table_to_xml(to_regclass('cond.' || w), true, true, '') IS NOT NULL) NOT VALID;
ALTER TABLE own ADD CHECK (id > 0 AND random() < 2 AND w <> '') NOT VALID;
CREATE TRIGGER own_t BEFORE INSERT ON own FOR EACH ROW WHEN (cond.look(new.w)) EXECUTE FUNCTION suppress_redundant_updates_trigger();
-- whether a column changed, for who may not read it and for who may
CREATE TABLE t (id int PRIMARY KEY, v text, n int);
INSERT INTO t VALUES (1, 'a');
CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE NOTICE 'fired %', tg_name; RETURN new; END$$;
CREATE TRIGGER changed BEFORE UPDATE ON t FOR EACH ROW WHEN (old.v IS DISTINCT FROM new.v) EXECUTE FUNCTION fired();
CREATE TRIGGER empty BEFORE UPDATE ON t FOR EACH ROW WHEN (new.v = '') EXECUTE FUNCTION fired();
SET client_min_messages = warning;
CALL dataprotect.encrypt_column('t', 'v', 'pii');
RESET client_min_messages;
GRANT SELECT, UPDATE ON t TO regress_app, regress_none;
\c - regress_none
SET search_path = cond, public;
UPDATE t SET v = 'b';
UPDATE t SET n = 1;
UPDATE t SET v = v, n = 2;
UPDATE t SET v = '';
\c - regress_app
SET search_path = cond, public;
UPDATE t SET v = 'b';
UPDATE t SET n = 1;
UPDATE t SET v = 'b';
\c - :su
SET client_min_messages = warning;
DROP SCHEMA cond CASCADE;
