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
ALTER TABLE person ADD CONSTRAINT late UNIQUE (note) DEFERRABLE;
CALL dataprotect.encrypt_columns('person', '{"email": "online", "note": "online"}', online => true);
ALTER TABLE person DROP CONSTRAINT late;
ALTER TABLE person ADD CONSTRAINT short CHECK (length(email) < 70) NOT VALID;
CALL dataprotect.encrypt_column('person', 'email', 'online', online => true);
ALTER TABLE person DROP CONSTRAINT short;
-- what the swap would fail at is found before anything begins
CREATE TABLE uses_key (id int UNIQUE, email text);
CREATE UNIQUE INDEX covering ON uses_key (id) INCLUDE (email);
ALTER TABLE uses_key DROP CONSTRAINT uses_key_id_key, ADD CONSTRAINT covering UNIQUE USING INDEX covering;
CREATE TABLE refers (id int REFERENCES uses_key (id));
\set VERBOSITY terse
CALL dataprotect.encrypt_column('uses_key', 'email', 'online', online => true);
\set VERBOSITY default
SELECT attname FROM pg_attribute WHERE attrelid = 'uses_key'::regclass AND attnum > 0 ORDER BY attnum;
DO $$ BEGIN EXECUTE (SELECT format('CREATE TABLE widest (email text, %s)', string_agg('c' || g || ' int', ', ')) FROM generate_series(2, 1600) g); END $$;
CALL dataprotect.encrypt_column('widest', 'email', 'online', online => true);
DROP TABLE widest;
CREATE TRIGGER "~~later" BEFORE INSERT ON person FOR EACH ROW EXECUTE FUNCTION stamp();
CALL dataprotect.encrypt_column('person', 'email', 'online', online => true);
DROP TRIGGER "~~later" ON person;
CREATE TABLE part_of (v text PRIMARY KEY);
CREATE TABLE part (id int PRIMARY KEY, v text REFERENCES part_of (v)) PARTITION BY LIST (id);
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
SELECT (dataprotect._touch_blocks('person', 'email', 'dataprotect_online_3', 0, 3))[1] > 0 AS some;
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
SELECT (dataprotect._touch_blocks('person', 'email', '', 0, 100000))[1];
-- several, and given up
SELECT dataprotect._online_step('begin', 'person', ROW('note', 'online', false, false, true, false));
SELECT dataprotect.online_cancel('person', 'note');
SELECT dataprotect.online_cancel('person', 'note');
CALL dataprotect.encrypt_columns('person', '{"note": {"key": "online", "padded": true}, "plain": "online"}', online => true);
SELECT count(note), count(plain), count(*) FROM person;
SELECT (dataprotect._touch_blocks('person', 'note', '', 0, 100000))[1];
SELECT rel, col, type FROM dataprotect.protected_columns WHERE rel = 'person'::regclass ORDER BY 2;
CREATE TABLE whole (v text);
BEGIN;
CALL dataprotect.encrypt_column('whole', 'v', 'online', online => true);
ROLLBACK;
-- with all that is around: indexes, keys, constraints on both sides, arrays, domains
CREATE DOMAIN mail AS varchar(60) NOT NULL DEFAULT 'nobody@example.org' CHECK (value LIKE '%@%');
CREATE TABLE customer (id int, email text, extra int, code text CONSTRAINT code_pk PRIMARY KEY, tags text[], m mail,
    CONSTRAINT email_key UNIQUE (email), CONSTRAINT two CHECK (email <> '' OR extra > 3), CONSTRAINT len CHECK (char_length(email) < 50));
COMMENT ON CONSTRAINT email_key ON customer IS 'one each';
COMMENT ON CONSTRAINT two ON customer IS 'of two columns';
CREATE INDEX customer_low ON customer (lower(email));
CREATE UNIQUE INDEX customer_inc ON customer (id) INCLUDE (email);
CREATE INDEX customer_multi ON customer (extra, email DESC) WHERE email IS NOT NULL AND extra > 0;
CREATE INDEX customer_part ON customer (email) WHERE email <> '';
COMMENT ON INDEX customer_part IS 'of some';
ALTER TABLE customer ALTER COLUMN email SET STATISTICS 77;
CREATE TABLE orders (id int PRIMARY KEY, email text REFERENCES customer (email) ON UPDATE CASCADE ON DELETE CASCADE,
    code text CONSTRAINT of_code REFERENCES customer (code), before text CONSTRAINT of_before REFERENCES customer (code));
COMMENT ON CONSTRAINT of_code ON orders IS 'by its code';
CREATE INDEX orders_email ON orders (email);
INSERT INTO customer SELECT g, 'm' || g || '@example.org', g, 'c' || g, ARRAY['t' || g, NULL], 'd' || g || '@example.org' FROM generate_series(1, 200) g;
INSERT INTO orders SELECT g, 'm' || g || '@example.org', 'c' || g, CASE WHEN g > 1 THEN 'c' || g - 1 END FROM generate_series(1, 200) g;
CREATE TABLE customer_before AS SELECT * FROM customer;
CREATE TABLE orders_before AS SELECT * FROM orders;
CREATE VIEW both_sides AS SELECT c.email, upper(c.email) AS up, o.id FROM customer c JOIN orders o ON o.email = c.email;
-- begun on both sides, and given up on one of them
SELECT dataprotect._online_step('begin', 'customer', ROW('email', 'online', true, false, false, false));
SELECT rel, col, step FROM dataprotect.online_progress ORDER BY 1;
CALL dataprotect.encrypt_column('customer', 'm', 'online', online => true);
SELECT dataprotect.online_cancel('orders', 'email');
SELECT count(*) FROM dataprotect.online_progress;
CALL dataprotect.encrypt_columns('customer', '{"email": "online", "code": "online", "tags": "online", "m": "online"}', online => true);
SELECT rel, col, type, searchable, path FROM dataprotect.protected_columns WHERE rel IN ('customer'::regclass, 'orders'::regclass) ORDER BY 1, 2;
SELECT c.relname, i.indisvalid, pg_get_indexdef(i.indexrelid), obj_description(c.oid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid IN ('customer'::regclass, 'orders'::regclass) ORDER BY 1;
SELECT conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid), obj_description(oid) FROM pg_constraint
    WHERE conrelid IN ('customer'::regclass, 'orders'::regclass) AND contype <> 'n' ORDER BY 1, 2;
SELECT attname, attnotnull FROM pg_attribute WHERE attrelid = 'customer'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum;
SELECT attstattarget FROM pg_attribute WHERE attrelid = 'customer'::regclass AND attname = 'email';
SELECT count(*) FROM customer c JOIN customer_before b USING (id) WHERE (c.email::text, c.code::text, c.tags::text[], c.m::text) = (b.email, b.code, b.tags, b.m::text);
SELECT count(*) FROM orders c JOIN orders_before b USING (id) WHERE (c.email::text, c.code::text) = (b.email, b.code) AND c.before::text IS NOT DISTINCT FROM b.before;
SELECT count(*), count(DISTINCT email), max(up) FROM both_sides;
\set VERBOSITY terse
INSERT INTO orders (id, email) VALUES (1000, 'nobody@example.org');
INSERT INTO customer (id, email, extra, code) VALUES (1000, 'm1@example.org', 1, 'new');
INSERT INTO customer (id, email, extra, code) VALUES (1000, 'new@example.org', 1, 'c1');
INSERT INTO customer (id, email, extra, code) VALUES (1000, '', 1, 'new');
INSERT INTO customer (id, email, extra, code, m) VALUES (1000, 'new@example.org', 1, 'new', 'no mail');
INSERT INTO customer (id, email, extra, code, m) VALUES (1000, 'new@example.org', 1, 'new', NULL);
DELETE FROM customer WHERE id = 6;
\set VERBOSITY default
UPDATE customer SET email = 'changed@example.org' WHERE id = 5;
SELECT email FROM orders WHERE id = 5;
INSERT INTO customer (id, extra, code) VALUES (1000, 5, 'new');
SELECT m FROM customer WHERE code = 'new';
SELECT count(*) FROM pg_class WHERE relname LIKE 'dataprotect\_online\_%';
-- what types and words ask
CREATE TABLE kinds (id int PRIMARY KEY, code varchar(8) UNIQUE, body text, flag bool, pay numeric(8, 2), note jsonb);
CREATE INDEX kinds_words ON kinds USING gin (to_tsvector('english', body));
CREATE INDEX kinds_flag ON kinds (id, flag);
CREATE INDEX kinds_pay ON kinds (pay);
INSERT INTO kinds SELECT g, 'c' || g, 'some words number ' || g, g % 2 = 0, g, '{"a": 1}' FROM generate_series(1, 200) g;
CREATE TABLE kinds_before AS SELECT * FROM kinds;
CALL dataprotect.encrypt_columns('kinds', '{"code": "online", "body": {"key": "online", "wordsearch": true}, "flag": "online",
    "pay": {"key": "online", "ordered": true}, "note": "online"}', online => true);
SELECT count(*) FROM kinds k JOIN kinds_before b USING (id)
    WHERE (k.code::text, k.body::text, k.flag::bool, k.pay::numeric, k.note::jsonb) = (b.code, b.body, b.flag, b.pay, b.note);
SELECT c.relname, i.indisvalid, regexp_replace(pg_get_indexdef(i.indexrelid), 'salt=.\d+.', 'salt') FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'kinds'::regclass ORDER BY 1;
SELECT count(*) FROM kinds WHERE to_tsvector('english', body) @@ to_tsquery('english', 'number');
-- partitions, and tables that inherit
CREATE TABLE parted (id int, email text NOT NULL, n int, CONSTRAINT of_parted CHECK (email <> 'x'), CONSTRAINT parted_key UNIQUE (id, email)) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (300) PARTITION BY RANGE (id);
CREATE TABLE parted_3 PARTITION OF parted_2 FOR VALUES FROM (100) TO (200);
CREATE INDEX parted_email ON parted (email);
CREATE INDEX parted_own ON parted_1 (email, n) WHERE n > 3;
ALTER TABLE parted_1 ADD CONSTRAINT of_one CHECK (char_length(email) > 1);
COMMENT ON INDEX parted_email IS 'of all';
INSERT INTO parted SELECT g, 'm' || g || '@example.org', g FROM generate_series(1, 199) g;
CALL dataprotect.encrypt_column('parted', 'email', 'online', online => true);
CREATE TABLE parted_4 PARTITION OF parted_2 FOR VALUES FROM (200) TO (300);
SELECT c.relname, c.relkind, i.indisvalid, pg_get_indexdef(i.indexrelid), inhparent::regclass, obj_description(c.oid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    LEFT JOIN pg_inherits ON inhrelid = c.oid WHERE i.indrelid::regclass::text LIKE 'parted%' ORDER BY 1;
SELECT conrelid::regclass, conname, convalidated, coninhcount, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE conrelid::regclass::text LIKE 'parted%' AND contype <> 'n' ORDER BY 1, 2;
SELECT attrelid::regclass, attnotnull FROM pg_attribute WHERE attname = 'email' AND attrelid IN ('parted'::regclass, 'parted_1'::regclass, 'parted_3'::regclass) ORDER BY 1;
SELECT count(*), count(email) FILTER (WHERE email::text = 'm' || id || '@example.org') FROM parted;
SELECT count(*) FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'parted%';
\set VERBOSITY terse
INSERT INTO parted (id, email) VALUES (5, 'm5@example.org');
INSERT INTO parted (id, email) VALUES (6, 'x');
\set VERBOSITY default
SET enable_seqscan = off;
SELECT id FROM parted WHERE email = 'm150@example.org';
RESET enable_seqscan;
CREATE TABLE kin (id int, email text, CONSTRAINT of_kin CHECK (email <> 'x'));
CREATE TABLE kin_child (email text NOT NULL, more int) INHERITS (kin);
CREATE INDEX kin_email ON kin_child (email);
GRANT SELECT (email) ON kin_child TO regress_online_app;
INSERT INTO kin VALUES (1, 'a@example.org'), (2, NULL);
INSERT INTO kin_child VALUES (3, 'c@example.org', 1);
SELECT dataprotect._online_step('begin', 'kin', ROW('email', 'online', false, false, false, false));
INSERT INTO kin_child VALUES (4, 'd@example.org', 1);
SELECT dataprotect.online_cancel('kin', 'email');
CALL dataprotect.encrypt_column('kin', 'email', 'online', online => true);
SELECT tableoid::regclass, id, email FROM kin ORDER BY id;
SELECT attrelid::regclass, format_type(atttypid, atttypmod), attnotnull, attinhcount, replace(attacl::text, current_user, 'owner') AS acl FROM pg_attribute
    WHERE attname = 'email' AND attrelid IN ('kin'::regclass, 'kin_child'::regclass) ORDER BY 1;
SELECT pg_get_indexdef('kin_email'::regclass);
SELECT conrelid::regclass, conname, convalidated, coninhcount FROM pg_constraint WHERE conrelid IN ('kin'::regclass, 'kin_child'::regclass) AND contype = 'c' ORDER BY 1, 2;
SELECT dataprotect._online_proven('customer', 'len');
SELECT dataprotect._online_adopt('customer_low', false);
SELECT dataprotect._online_fill();
CREATE TABLE defaults (id int PRIMARY KEY, token text DEFAULT gen_random_uuid(), n text DEFAULT 0, plain text DEFAULT 'x');
INSERT INTO defaults VALUES (1);
CALL dataprotect.encrypt_column('defaults', 'token', 'online', online => true);
CALL dataprotect.encrypt_column('defaults', 'n', 'online', online => true);
CALL dataprotect.encrypt_column('defaults', 'plain', 'online', online => true);
INSERT INTO defaults (id) VALUES (2);
SELECT id, length(token), n, plain FROM defaults ORDER BY id;
CREATE TABLE odd (a text, b text);
CREATE TRIGGER odd BEFORE INSERT ON odd FOR EACH ROW EXECUTE FUNCTION dataprotect._online_fill('a', 'b');
INSERT INTO odd VALUES ('x');
SET client_min_messages = warning;
DROP SCHEMA online CASCADE;
DROP OWNED BY regress_online_app;
DROP ROLE regress_online_app;
