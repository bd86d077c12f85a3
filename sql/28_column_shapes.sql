-- What stands around a column's type is kept: domains' rules, arrays, tables that inherit; a
-- type that has no encrypted one gets it in the same call
-- (cases: columns, F and H; refusals-that-point-in-a-circle; arrays).
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
CREATE SCHEMA shape;
GRANT USAGE ON SCHEMA shape TO regress_app, regress_search, regress_mask, regress_none;
SET search_path = shape, public;
-- domains: NOT NULL, CHECK and DEFAULT are the column's own
CREATE DOMAIN tel AS text NOT NULL DEFAULT '+1' CONSTRAINT tel_ok CHECK (value ~ '^[0-9+ ]+$')
    CHECK (value <> 'VALUE''s "VALUE"');
CREATE DOMAIN short_tel AS tel CHECK (length(value) < 10);
CREATE DOMAIN person_name AS varchar(20);
CREATE TABLE person (id int PRIMARY KEY, phone short_tel, fax short_tel DEFAULT '0', "Last name" person_name);
COMMENT ON COLUMN person.phone IS 'as dialled';
CREATE UNIQUE INDEX person_name ON person (lower("Last name"));
CREATE VIEW phones AS SELECT phone, upper("Last name") AS name FROM person;
INSERT INTO person VALUES (1, '+41 1', DEFAULT, 'Meier');
CALL dataprotect.encrypt_column('person', 'phone', 'pii');
CALL dataprotect.encrypt_column('person', 'fax', 'pii');
CALL dataprotect.encrypt_column('person', 'Last name', 'pii');
\d person
SELECT col_description('person'::regclass, 2);
GRANT ALL ON person TO regress_app, regress_search;
GRANT SELECT ON phones TO regress_app;
\c - regress_search
SET search_path = shape, public;
\set VERBOSITY terse
INSERT INTO person VALUES (2, DEFAULT, DEFAULT, 'Muster');
INSERT INTO person VALUES (3, 'none', DEFAULT, 'x');
INSERT INTO person VALUES (3, '123456789012', DEFAULT, 'x');
INSERT INTO person VALUES (3, NULL, DEFAULT, 'x');
INSERT INTO person VALUES (3, '1', DEFAULT, repeat('x', 21));
\c - regress_app
SET search_path = shape, public;
SELECT * FROM person ORDER BY id;
SELECT * FROM phones ORDER BY phone;
\c - :su
SET search_path = shape, public;
-- arrays: elements are sealed one by one
CREATE TABLE tagged (id int PRIMARY KEY, tags text[] DEFAULT '{}' CHECK (cardinality(tags) < 4), names varchar(5)[], ips inet[],
                     sums numeric(6,2)[], grid int[][]);
INSERT INTO tagged VALUES (1, '{a,b}', '{x,NULL}', '{10.0.0.1}', '{1.5}', '{{1,2},{3,NULL}}'), (2, '{c}', NULL, '{}', '{}', NULL);
CREATE VIEW tags AS SELECT id, unnest(tags) AS tag FROM tagged;
SET client_min_messages = warning;
CALL dataprotect.encrypt_column('tagged', 'tags', 'pii');
CALL dataprotect.encrypt_column('tagged', 'names', 'pii');
CALL dataprotect.encrypt_column('tagged', 'ips', 'pii');
CALL dataprotect.encrypt_column('tagged', 'sums', 'pii');
CALL dataprotect.encrypt_column('tagged', 'grid', 'pii');
RESET client_min_messages;
\d tagged
SELECT col, type, key, path FROM dataprotect.protected_columns WHERE rel = 'tagged'::regclass ORDER BY 1;
GRANT ALL ON tagged, tags TO regress_app, regress_search, regress_mask, regress_none;
\c - regress_app
SET search_path = shape, public;
SELECT * FROM tagged ORDER BY id;
SELECT id FROM tagged WHERE 'a' = ANY (tags);
SELECT id FROM tagged WHERE tags @> '{a}' AND tags && '{a,z}' AND '{b}' <@ tags AND tags <> '{b}';
SELECT tags[1], tags[1:1], cardinality(tags), array_position(tags, 'b'), array_to_string(tags, '-'), to_jsonb(tags) FROM tagged WHERE id = 1;
SELECT tag FROM tags ORDER BY tag;
UPDATE tagged SET tags = array_append(tags, 'z'), grid[2][2] = 9 WHERE id = 1 RETURNING tags, grid;
UPDATE tagged SET tags = array_append(tags, 'zz') WHERE id = 1 RETURNING tags;
INSERT INTO tagged (id, names) VALUES (3, '{abcdef}');
INSERT INTO tagged (id, sums) VALUES (3, '{2.345}') RETURNING tags, sums;
PREPARE find AS SELECT id FROM tagged WHERE tags @> $1;
EXECUTE find('{c}');
DEALLOCATE find;
SELECT count(*) FROM tagged a JOIN tagged b ON a.tags = b.tags;
SELECT array_agg(id) FROM tagged GROUP BY tags ORDER BY tags;
\c - regress_search
SET search_path = shape, public;
SELECT id FROM tagged WHERE 'c' = ANY (tags);
SELECT tags[1] FROM tagged WHERE id = 2;
\c - regress_none
SET search_path = shape, public;
SELECT id FROM tagged WHERE 'c' = ANY (tags);
\c - :su
SET search_path = shape, public;
-- types that are made for the call: by an administrator, who may
CREATE TYPE temper AS ENUM ('good', 'bad');
CREATE TYPE public.dp_twin AS ENUM ('a');
CREATE TYPE dp_twin AS ENUM ('b');
CREATE TABLE made (m temper, j json, p point, twin dp_twin, other public.dp_twin);
CALL dataprotect.encrypt_column('made', 'm', 'pii');
CALL dataprotect.encrypt_column('made', 'j', 'pii');
CALL dataprotect.encrypt_column('made', 'other', 'pii');
CALL dataprotect.encrypt_column('made', 'twin', 'pii');
INSERT INTO made VALUES ('bad', '{"a": 1}', NULL);
GRANT SELECT ON made TO regress_app;
\c - regress_app
SET search_path = shape, public;
SELECT m, j ->> 'a' AS a, m = 'bad' AS bad FROM made;
\c - :su
SET search_path = shape, public;
-- tables that inherit: together with the table that they inherit from
CREATE TABLE base (id int, v varchar(30) DEFAULT 'base' CHECK (length(v) < 20));
CREATE TABLE child (x int, UNIQUE (v)) INHERITS (base);
ALTER TABLE child ALTER v SET DEFAULT 'child';
CREATE TABLE grandchild () INHERITS (child);
CREATE INDEX grandchild_lower ON grandchild (lower(v));
CREATE VIEW of_child AS SELECT v, x FROM child;
INSERT INTO base VALUES (1, 'a');
INSERT INTO child VALUES (2, 'b', 3);
INSERT INTO grandchild VALUES (3, 'c', 4);
CALL dataprotect.encrypt_column('child', 'v', 'pii');
CALL dataprotect.encrypt_column('base', 'v', 'pii');
SELECT c.relname, format_type(a.atttypid, a.atttypmod) AS type, pg_get_expr(d.adbin, d.adrelid) AS value
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'v' JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'shape'::regnamespace AND c.relkind = 'r' ORDER BY 1;
INSERT INTO grandchild (id) VALUES (4);
INSERT INTO child (id, v) VALUES (5, 'b');
INSERT INTO grandchild (id, v) VALUES (5, 'too long for the check of base');
GRANT SELECT ON base, of_child TO regress_app;
\c - regress_app
SET search_path = shape, public;
SELECT tableoid::regclass, id, v FROM base ORDER BY id;
SELECT v, x FROM of_child ORDER BY v;
\c - :su
SET search_path = shape, public;
SELECT rel, "values", failures FROM dataprotect.verify() WHERE rel IN ('base'::regclass, 'child'::regclass, 'grandchild'::regclass) ORDER BY 1;
-- and back
SELECT dataprotect.grant_access('pii', :'su', 'reveal') > 0 AS granted;
SET client_min_messages = warning;
CALL dataprotect.decrypt_column('person', 'phone');
CALL dataprotect.decrypt_column('tagged', 'tags');
CALL dataprotect.decrypt_column('tagged', 'names');
CALL dataprotect.decrypt_column('tagged', 'sums');
CALL dataprotect.decrypt_column('made', 'm');
CALL dataprotect.decrypt_column('child', 'v');
CALL dataprotect.decrypt_column('base', 'v');
RESET client_min_messages;
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.oid IN ('person'::regclass, 'tagged'::regclass, 'made'::regclass, 'grandchild'::regclass) ORDER BY 1, a.attnum;
SELECT tags, names, sums FROM tagged WHERE id < 3 ORDER BY id;
SELECT dataprotect.revoke_access('pii', :'su') > 0 AS revoked;
SET client_min_messages = warning;
DROP SCHEMA shape CASCADE;
DROP TYPE encrypted_json, public.dp_twin CASCADE;
