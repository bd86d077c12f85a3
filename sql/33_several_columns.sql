-- encrypt_columns: several columns, one rewrite, one lock; encrypt_column is the case of one.
\set SHOW_CONTEXT never
CREATE SCHEMA several;
SET search_path = several, public;
SELECT dataprotect.create_key('several');
SELECT dataprotect.create_key('several_2');
SELECT dataprotect.grant_access('several', current_user::regrole, 'reveal') \g /dev/null
SELECT dataprotect.grant_access('several_2', current_user::regrole, 'reveal') \g /dev/null
CREATE TABLE person (id int PRIMARY KEY, email varchar(60) NOT NULL UNIQUE, first text DEFAULT 'Ada', last text COLLATE "C",
    born date, note text, fee numeric(8,2) DEFAULT 1.5, plain text);
CREATE INDEX person_name ON person (last, first);
CREATE INDEX person_lower ON person (lower(email));
CREATE INDEX person_born ON person (born);
CREATE VIEW person_names AS SELECT id, first || ' ' || last AS full_name, born FROM person WHERE born > '1900-01-01';
CREATE VIEW person_short AS SELECT id, left(full_name, 3) AS short FROM person_names;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN new; END$$;
CREATE TRIGGER stamped BEFORE UPDATE OF first, last ON person FOR EACH ROW EXECUTE FUNCTION stamp();
COMMENT ON TRIGGER stamped ON person IS 'kept';
CREATE TABLE visit (id int, person_email varchar(60) REFERENCES person (email), place text);
INSERT INTO person SELECT g, 'p' || g || '@example.org', 'F' || g, 'L' || g, date '2000-01-01' + g, 'n' || g, g, 'x'
    FROM generate_series(1, 20) g;
INSERT INTO visit SELECT g, 'p' || g || '@example.org', 'here' FROM generate_series(1, 20) g;
SELECT md5(string_agg(p::text, '|' ORDER BY id)) AS before FROM person p \gset
SELECT md5(string_agg(s::text, '|' ORDER BY id)) AS views_before FROM person_short s \gset
CREATE FUNCTION filenode(regclass) RETURNS oid LANGUAGE sql AS 'SELECT pg_relation_filenode($1)';
-- refused by name, and nothing is locked or changed
CALL dataprotect.encrypt_columns('person', NULL);
CALL dataprotect.encrypt_columns('person', '{}');
CALL dataprotect.encrypt_columns('person', '["email"]');
CALL dataprotect.encrypt_columns('person', '{"email": 1}');
CALL dataprotect.encrypt_columns('person', '{"email": {}}');
CALL dataprotect.encrypt_columns('person', '{"email": {"key": null}}');
CALL dataprotect.encrypt_columns('person', '{"email": {"key": "several", "ordered": "yes"}}');
CALL dataprotect.encrypt_columns('person', '{"email": {"key": "several", "sorted": true}}');
CALL dataprotect.encrypt_columns('person', '{"email": "several", "nothing": "several"}');
CALL dataprotect.encrypt_columns('person', '{"email": "several", "note": "no such key"}');
CALL dataprotect.encrypt_columns('visit', '{"place": "several", "person_email": "several", "id": "several_3"}');
CALL dataprotect.encrypt_columns(NULL, '{"email": "several"}');
ALTER TABLE person ADD manager varchar(60) REFERENCES person (email);
CALL dataprotect.encrypt_columns('person', '{"email": "several", "manager": "several_2"}');
ALTER TABLE person DROP manager;
ALTER TABLE person ADD CONSTRAINT person_note EXCLUDE USING btree (note WITH =);
CALL dataprotect.encrypt_columns('person', '{"email": "several", "note": "several"}');
ALTER TABLE person DROP CONSTRAINT person_note;
-- all in one step, what foreign keys tie along
SELECT filenode('person') AS was \gset
CALL dataprotect.encrypt_columns('person', '{"email": {"key": "several"}, "first": "several_2", "last": {"key": "several", "padded": true},
    "born": {"key": "several", "ordered": true}, "fee": {"key": "several_2", "searchable": false}}');
SELECT filenode('person') <> :was AS rewritten;
SELECT rel, col, type, key, searchable, ordered FROM dataprotect.protected_columns WHERE rel::text IN ('person', 'visit') ORDER BY 1, 2;
SELECT attname, format_type(atttypid, atttypmod), attnotnull, collname FROM pg_attribute LEFT JOIN pg_collation c ON c.oid = attcollation
    WHERE attrelid = 'person'::regclass AND attnum > 0 ORDER BY attnum;
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'person'::regclass ORDER BY indexrelid::regclass::text;
SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'visit'::regclass;
SELECT pg_get_triggerdef(oid), obj_description(oid, 'pg_trigger') FROM pg_trigger WHERE tgrelid = 'person'::regclass AND tgname = 'stamped';
SELECT md5(string_agg(p::text, '|' ORDER BY id)) = :'before' AS same FROM person p;
SELECT md5(string_agg(s::text, '|' ORDER BY id)) = :'views_before' AS same_views FROM person_short s;
SELECT id FROM person WHERE lower(email) = 'p7@example.org';
INSERT INTO person (id, email) VALUES (21, 'p1@example.org');
INSERT INTO visit VALUES (1, 'nobody@example.org', 'there');
INSERT INTO person (id, email) VALUES (21, 'p21@example.org') RETURNING first, fee;
-- padded, one column
CALL dataprotect.encrypt_column('person', 'note', 'several', padded => true);
SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'person'::regclass AND attname = 'note';
SELECT count(DISTINCT pg_column_size(note)) FROM person WHERE note IS NOT NULL;
-- and back
CALL dataprotect.decrypt_column('person', 'first');
CALL dataprotect.decrypt_column('person', 'last');
CALL dataprotect.decrypt_column('person', 'email');
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'person'::regclass ORDER BY indexrelid::regclass::text;
SET client_min_messages = warning;
DROP SCHEMA several CASCADE;
