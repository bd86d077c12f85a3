-- Indexes over lower(column) and its like become indexes over the folded value's token; queries
-- use them as they are written (case: columns, B).
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
CREATE SCHEMA fold;
GRANT USAGE ON SCHEMA fold TO regress_app, regress_search, regress_mask, regress_none;
SET search_path = fold, public;
CREATE TABLE person (id int PRIMARY KEY, email text, "Last name" varchar(50), token text, tenant int);
CREATE UNIQUE INDEX person_email ON person (lower(email));
COMMENT ON INDEX person_email IS 'one account';
CREATE INDEX person_name ON person (upper(trim("Last name")), id DESC) INCLUDE (tenant);
CREATE UNIQUE INDEX person_token ON person (tenant, md5(token)) WHERE token IS NOT NULL;
CREATE INDEX person_initial ON person (initcap("Last name"));
INSERT INTO person SELECT g, 'User' || g || '@X.org', ' Name' || g, 't' || g, g % 3 FROM generate_series(1, 500) g;
CREATE VIEW mails AS SELECT p.id, p.email AS mail FROM person p JOIN person q USING (id);
CREATE FUNCTION by_mail(m text) RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT id FROM fold.person WHERE lower(email) = lower(m)';
CALL dataprotect.encrypt_column('person', 'email', 'pii');
CALL dataprotect.encrypt_column('person', 'Last name', 'pii');
SET client_min_messages = warning;
CALL dataprotect.encrypt_column('person', 'token', 'pii');
RESET client_min_messages;
SELECT c.relname, pg_get_indexdef(c.oid) AS definition, obj_description(c.oid) AS comment
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'person'::regclass ORDER BY 1;
ANALYZE person;
GRANT SELECT, INSERT, UPDATE ON person TO regress_app, regress_search, regress_mask, regress_none;
GRANT SELECT ON mails TO regress_app;
CREATE FUNCTION uses(query text, index text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN plan::text LIKE '%"Index Name": "' || index || '"%';
END $$;

\c - regress_app
SET search_path = fold, public;
SET enable_seqscan = off;
SELECT id, email FROM person WHERE lower(email) = 'user7@x.org';
SELECT uses($$SELECT id FROM person WHERE lower(email) = 'user7@x.org'$$, 'person_email');
SELECT id FROM person WHERE 'user7@x.org' = lower(email);
SELECT id FROM person WHERE lower(email) IN ('user8@x.org', 'user7@x.org', 'none') ORDER BY id;
SELECT uses($$SELECT id FROM person WHERE lower(email) = ANY ('{user8@x.org,none}')$$, 'person_email');
SELECT id FROM person WHERE upper(btrim("Last name")) = 'NAME9';
SELECT uses($$SELECT id FROM person WHERE upper(btrim("Last name")) = 'NAME9'$$, 'person_name');
SELECT id FROM person WHERE initcap("Last name") = ' Name9';
SELECT uses($$SELECT id FROM person WHERE initcap("Last name") = ' Name9'$$, 'person_initial');
SELECT id FROM person WHERE tenant = 1 AND md5(token) = md5('t7') AND token IS NOT NULL;
SELECT uses($$SELECT id FROM person WHERE tenant = 1 AND md5(token) = md5('t7') AND token IS NOT NULL$$, 'person_token');
-- through views, joins, subqueries, functions, prepared statements
SELECT id FROM mails WHERE lower(mail) = 'user7@x.org';
SELECT uses($$SELECT id FROM mails WHERE lower(mail) = 'user7@x.org'$$, 'person_email');
SELECT b.id FROM person a JOIN person b ON lower(a.email) = lower(b.email) WHERE a.id = 7;
SELECT id FROM person p WHERE EXISTS (SELECT FROM (VALUES ('user7@x.org')) v (m) WHERE lower(p.email) = v.m);
SELECT by_mail('USER7@x.org');
PREPARE find(text) AS SELECT id FROM person WHERE lower(email) = $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE find('user7@x.org');
EXECUTE find('nobody');
-- what no index serves goes on as before
SELECT count(*) FROM person WHERE lower(email) LIKE 'user1%';
SELECT id FROM person WHERE reverse(email) = 'gro.X@7resU';
SELECT lower(email) FROM person ORDER BY lower(email) LIMIT 1;
-- unique by the folded value
INSERT INTO person (id, email) VALUES (1000, 'USER7@x.ORG');
INSERT INTO person (id, email) VALUES (1000, 'USER7@x.ORG') ON CONFLICT (lower(email)) DO NOTHING;
INSERT INTO person (id, email) VALUES (1000, 'USER7@x.ORG') ON CONFLICT (lower(email)) DO UPDATE SET tenant = 99 RETURNING id, tenant;
UPDATE person SET email = 'uSER8@X.org' WHERE id = 7;
UPDATE person SET email = 'uSER8@X.org' WHERE id = 8;
SELECT id, email FROM person WHERE lower(email) = 'user8@x.org';
-- equality by a role that may search, and nothing more
\c - regress_search
SET search_path = fold, public;
SELECT id FROM person WHERE lower(email) = 'user9@x.org';
\set VERBOSITY terse
INSERT INTO person (id, email) VALUES (1000, 'USER9@x.ORG');
SELECT b.id FROM person a LEFT JOIN person b ON lower(a.email) = lower(b.email) WHERE a.id = 9;
SELECT id FROM person ORDER BY dataprotect.blind(email, 'lower') LIMIT 1;
SELECT dataprotect.blind(email, 'lower') = 'user9@x.org' FROM person WHERE id = 9;
SELECT dataprotect.blind(email, 'lower')::text = 'user9@x.org' FROM person WHERE id = 9;
-- others see masks and ciphertext, which cannot be compared
\c - regress_mask
SET search_path = fold, public;
\set VERBOSITY terse
SELECT count(*) FROM person WHERE lower(email) = 'user9@x.org';
SELECT id FROM person WHERE dataprotect.blind(email, 'lower') = 'user9@x.org';
\c - regress_none
SET search_path = fold, public;
\set VERBOSITY terse
SELECT id FROM person WHERE lower(email) = 'user9@x.org';
SELECT id FROM person WHERE dataprotect.blind(email, 'lower') = 'user9@x.org';
SELECT count(DISTINCT dataprotect.blind(email, 'lower')) FROM person;
SELECT dataprotect.blind(email, 'lower')::text FROM person WHERE id = 9;
SELECT left(format('%s', dataprotect.blind(email, 'lower')), 7) FROM person WHERE id = 9;
SELECT dataprotect.blind(email, 'left') FROM person WHERE id = 9;
SELECT dataprotect.blind(email, '') FROM person WHERE id = 9;
SELECT dataprotect.blind(email, 'lower lower lower lower lower lower') IS NULL FROM person WHERE id = 9;
-- an index over a part of a value (case: columns, b05, b07, b08) serves who may read, and nobody else
\c - :su
SET search_path = fold, public;
CREATE TABLE part (id int PRIMARY KEY, mail text, phone varchar(30), doc jsonb);
CREATE INDEX part_host ON part (lower(split_part(mail, '@', 2)));
CREATE INDEX part_start ON part (left(mail, 3));
CREATE INDEX part_first ON part (substring(mail from 1 for 2));
CREATE INDEX part_digits ON part (regexp_replace(phone, '\D', '', 'g'));
CREATE INDEX part_quote ON part (replace(phone, '''', ' x'));
CREATE INDEX part_doc ON part ((doc ->> 'it''s'));
INSERT INTO part SELECT g, 'u' || g || '@X' || g % 50 || '.org', '+49/' || g || '''', jsonb_build_object('it''s', 'doc' || g) FROM generate_series(1, 300) g;
SET client_min_messages = warning;
CALL dataprotect.encrypt_columns('part', '{"mail": {"key": "pii", "searchable": true}, "phone": "pii", "doc": "pii"}');
RESET client_min_messages;
SELECT pg_get_indexdef(indexrelid) AS definition FROM pg_index WHERE indrelid = 'part'::regclass ORDER BY 1;
ANALYZE part;
GRANT SELECT, INSERT, UPDATE ON part TO regress_app, regress_search, regress_none;
CREATE FUNCTION add_part(id int, mail text) RETURNS void LANGUAGE sql AS 'INSERT INTO fold.part VALUES ($1, $2)';
ALTER FUNCTION add_part OWNER TO regress_app;
CREATE INDEX part_size ON part (dataprotect.blind(mail, 'left(1)') encrypted_text_token_ops);
CREATE UNIQUE INDEX part_guess ON part (dataprotect.blind(mail, 'left(1)') encrypted_text_token_ops);
CREATE TABLE guessed (v text);
CREATE UNIQUE INDEX guessed_v ON guessed (left(v, 1));
CALL dataprotect.encrypt_column('guessed', 'v', 'pii', searchable => true);
\c - regress_app
SET search_path = fold, public;
SET enable_seqscan = off;
SELECT count(*) FROM part WHERE lower(split_part(mail, '@', 2)) = 'x7.org';
SELECT uses($$SELECT FROM part WHERE lower(split_part(mail, '@', 2)) = 'x7.org'$$, 'part_host');
SELECT count(*) FROM part WHERE left(mail, 3) = ANY ('{u1@,u12}');
SELECT uses($$SELECT FROM part WHERE left(mail, 3) = ANY ('{u1@,u12}')$$, 'part_start');
SELECT uses($$SELECT FROM part WHERE left(mail, 4) = 'u12@'$$, 'part_start');
SELECT id FROM part WHERE substring(mail, 1, 2) = 'u9' AND id < 10;
SELECT uses($$SELECT FROM part WHERE substring(mail, 1, 2) = 'u9'$$, 'part_first');
SELECT id FROM part WHERE regexp_replace(phone, '\D', '', 'g') = '4977';
SELECT uses($$SELECT FROM part WHERE regexp_replace(phone, '\D', '', 'g') = '4977'$$, 'part_digits');
SELECT id FROM part WHERE replace(phone, '''', ' x') = '+49/77 x';
SELECT uses($$SELECT FROM part WHERE replace(phone, '''', ' x') = '+49/77 x'$$, 'part_quote');
SELECT id FROM part WHERE doc ->> 'it''s' = 'doc77';
SELECT uses($$SELECT FROM part WHERE doc ->> 'it''s' = 'doc77'$$, 'part_doc');
UPDATE part SET mail = 'other@elsewhere.org' WHERE id = 7;
SELECT id FROM part WHERE lower(split_part(mail, '@', 2)) = 'elsewhere.org';
-- who may only search, or only write, learns nothing of a part
\c - regress_search
SET search_path = fold, public;
SET enable_seqscan = off;
\set VERBOSITY terse
SELECT id FROM part WHERE mail = 'u9@X9.org';
SELECT id FROM part WHERE left(mail, 3) = 'u9@';
SELECT id FROM part WHERE dataprotect.blind(mail, 'left(3)') = 'u9@';
SELECT count(*) FROM part WHERE dataprotect.blind(mail, 'left(3)') IS NOT NULL;
SELECT dataprotect.blind(mail, 'lower left(1)') = 'u' FROM part WHERE id = 9;
INSERT INTO part VALUES (1001, 'u9@X9.org');
UPDATE part SET phone = '1' WHERE id = 1001;
\c - regress_none
SET search_path = fold, public;
\set VERBOSITY terse
INSERT INTO part VALUES (1002, 'u9@X9.org', '+1 2', '{"it''s": "new"}');
COPY part (id, mail) FROM stdin;
1003	u9@X9.org
\.
SELECT add_part(1004, 'u9@X9.org');
SELECT id FROM part WHERE dataprotect.blind(doc, 'jsonb_object_field_text(''it''''s'')') = 'new';
\c - regress_app
SET search_path = fold, public;
SET enable_seqscan = off;
SELECT id FROM part WHERE left(mail, 3) = 'u9@' ORDER BY id;
SELECT id FROM part WHERE doc ->> 'it''s' = 'new';
-- what is no fold
\set VERBOSITY terse
DO $$
DECLARE
    f text;
BEGIN
    FOREACH f IN ARRAY ARRAY['left(', 'left(x)', 'left(''1'')', 'left(1', 'left(1) ', 'split_part(''@,1)', 'lower(1)', 'pg_sleep(1)', ' ', 'left(1),',
        'left(99999999999)', 'jsonb_object_field_text(''a'')', 'lower jsonb_object_field_text(''a'')', 'left(1,2,3,4,5)', 'left(-)',
        'regexp_replace(''(a+)+$'','''')', 'substring(''a'')'] LOOP
        BEGIN
            PERFORM dataprotect.blind(mail, f) FROM fold.part WHERE id = 9;
            RAISE NOTICE '% is accepted', f;
        EXCEPTION WHEN invalid_parameter_value OR numeric_value_out_of_range THEN
        END;
    END LOOP;
END $$;
\c - :su
SET search_path = fold, public;
SELECT dataprotect.grant_access('pii', :'su', 'reveal') > 0 AS granted;
SET client_min_messages = warning;
CALL dataprotect.decrypt_column('part', 'mail');
CALL dataprotect.decrypt_column('part', 'phone');
CALL dataprotect.decrypt_column('part', 'doc');
RESET client_min_messages;
SELECT pg_get_indexdef(indexrelid) AS definition FROM pg_index WHERE indrelid = 'part'::regclass ORDER BY 1;
SELECT dataprotect.revoke_access('pii', :'su') > 0 AS revoked;
-- through members of members, and other functions
\c - :su
SET search_path = fold, public;
CREATE TABLE path (id int PRIMARY KEY, doc jsonb, name text);
CREATE INDEX path_city ON path ((doc -> 'home' ->> 'city'));
CREATE INDEX path_first ON path ((doc -> 'tags' ->> 0));
CREATE INDEX path_last ON path (lower(doc #> '{tags}' ->> -1));
CREATE INDEX path_zip ON path ((doc #>> '{home,"z i''p"}'));
CREATE UNIQUE INDEX path_name ON path (reverse(name));
CREATE UNIQUE INDEX path_whole ON path ((lower(name) || '@''x'));
CREATE INDEX path_trim ON path (btrim(name, 'n'));
INSERT INTO path SELECT g, jsonb_build_object('home', jsonb_build_object('city', 'c' || g, 'z i''p', 'z' || g), 'tags', jsonb_build_array('t' || g, 'L' || g)), 'name' || g
    FROM generate_series(1, 300) g;
INSERT INTO path VALUES (301, '{"home": 5, "tags": {}}', NULL), (302, NULL, NULL);
SET client_min_messages = warning;
CALL dataprotect.encrypt_columns('path', '{"doc": "pii", "name": "pii"}');
RESET client_min_messages;
SELECT pg_get_indexdef(indexrelid) AS definition FROM pg_index WHERE indrelid = 'path'::regclass ORDER BY 1;
ANALYZE path;
GRANT SELECT, INSERT ON path TO regress_app, regress_search;
\c - regress_app
SET search_path = fold, public;
SET enable_seqscan = off;
SELECT id FROM path WHERE doc -> 'home' ->> 'city' = 'c77';
SELECT uses($$SELECT FROM path WHERE doc -> 'home' ->> 'city' = 'c77'$$, 'path_city');
SELECT id FROM path WHERE doc -> 'tags' ->> 0 = 't77';
SELECT uses($$SELECT FROM path WHERE doc -> 'tags' ->> 0 = 't77'$$, 'path_first');
SELECT id FROM path WHERE lower(doc #> '{tags}' ->> -1) = 'l77';
SELECT uses($$SELECT FROM path WHERE lower(doc #> '{tags}' ->> -1) = 'l77'$$, 'path_last');
SELECT id FROM path WHERE doc #>> '{home,"z i''p"}' = 'z77';
SELECT uses($$SELECT FROM path WHERE doc #>> '{home,"z i''p"}' = 'z77'$$, 'path_zip');
SELECT id FROM path WHERE reverse(name) = '77eman';
SELECT uses($$SELECT FROM path WHERE reverse(name) = '77eman'$$, 'path_name');
SELECT id FROM path WHERE lower(name) || '@''x' = 'name77@''x';
SELECT uses($$SELECT FROM path WHERE lower(name) || '@''x' = 'name77@''x'$$, 'path_whole');
SELECT id FROM path WHERE btrim(name, 'n') = 'ame77';
SELECT uses($$SELECT FROM path WHERE btrim(name, 'n') = 'ame77'$$, 'path_trim');
\set VERBOSITY terse
INSERT INTO path VALUES (400, NULL, 'name77');
\c - regress_search
SET search_path = fold, public;
SET enable_seqscan = off;
\set VERBOSITY terse
SELECT id FROM path WHERE reverse(name) = '77eman';
SELECT id FROM path WHERE doc -> 'home' ->> 'city' = 'c77';
SELECT dataprotect.blind(doc, 'jsonb_object_field(''home'') jsonb_object_field_text(''city'')') = 'c77' FROM path WHERE id = 77;
SELECT dataprotect.blind(doc, 'jsonb_object_field(''home'')') IS NULL FROM path WHERE id = 77;
SELECT dataprotect.blind(doc, 'jsonb_object_field(''home'') lower') IS NULL FROM path WHERE id = 77;
\c - :su
SET search_path = fold, public;
SELECT dataprotect.grant_access('pii', :'su', 'reveal') > 0 AS granted;
SET client_min_messages = warning;
CALL dataprotect.decrypt_column('path', 'doc');
CALL dataprotect.decrypt_column('path', 'name');
RESET client_min_messages;
SELECT pg_get_indexdef(indexrelid) AS definition FROM pg_index WHERE indrelid = 'path'::regclass ORDER BY 1;
SELECT dataprotect.revoke_access('pii', :'su') > 0 AS revoked;
-- the predicate that asks for the empty text (case: columns, d03), by length
\c - :su
SET search_path = fold, public;
CREATE TABLE filled (id int PRIMARY KEY, token text, n varchar(20), gone bool);
CREATE UNIQUE INDEX filled_token ON filled (token) WHERE token <> '';
CREATE INDEX filled_n ON filled (n) WHERE n <> '' AND NOT gone;
INSERT INTO filled SELECT i, CASE WHEN i % 2 = 0 THEN '' ELSE 't' || i END, 'n' || i, i % 3 = 0 FROM generate_series(1, 50) i;
CALL dataprotect.encrypt_column('filled', 'token', 'pii', padded => true);
SET client_min_messages = warning;
CALL dataprotect.encrypt_columns('filled', '{"token": "pii", "n": "pii"}');
RESET client_min_messages;
SELECT pg_get_indexdef(indexrelid) AS definition FROM pg_index WHERE indrelid = 'filled'::regclass ORDER BY 1;
ANALYZE filled;
CREATE TABLE long (v encrypted_text('pii', 'padded'));
CREATE INDEX long_v ON long USING hash (v) WHERE dataprotect.not_empty(v);
CREATE INDEX filled_or ON filled USING hash (n) WHERE dataprotect.not_empty(n) OR id > 3;
GRANT SELECT, INSERT, UPDATE ON filled TO regress_app, regress_search, regress_none;
\c - regress_app
SET search_path = fold, public;
SET enable_seqscan = off;
SELECT id FROM filled WHERE token = 't7' AND token <> '';
SELECT uses($$SELECT FROM filled WHERE token = 't7' AND token <> ''$$, 'filled_token'), uses($$SELECT FROM filled WHERE token = 't7'$$, 'filled_token');
SELECT uses($$SELECT FROM filled WHERE '' = token$$, 'filled_token');
SELECT count(*) FROM filled WHERE token = '';
PREPARE by_token(text) AS SELECT count(*) FROM filled WHERE token = $1;
EXPLAIN (COSTS OFF) EXECUTE by_token('t7');
EXECUTE by_token('t7');
EXECUTE by_token('');
SET plan_cache_mode = force_generic_plan;
EXECUTE by_token('t7');
EXECUTE by_token('');
RESET plan_cache_mode;
SELECT uses($$SELECT FROM filled WHERE n = 'n7' AND n <> '' AND NOT gone$$, 'filled_n');
SELECT count(*) FROM filled WHERE token <> '';
\c - regress_none
SET search_path = fold, public;
\set VERBOSITY terse
INSERT INTO filled VALUES (100, 't7') ON CONFLICT (token) WHERE token <> '' DO NOTHING;
INSERT INTO filled VALUES (100, ''), (101, '');
INSERT INTO filled VALUES (102, 't7');
SELECT count(*) FROM filled WHERE token <> '';
\c - :su
SET search_path = fold, public;
UPDATE filled SET token = 't9' WHERE id = 100;
UPDATE filled SET token = 't99' WHERE id = 100;
SELECT dataprotect.grant_access('pii', :'su', 'reveal') > 0 AS granted;
SET client_min_messages = warning;
CALL dataprotect.decrypt_column('filled', 'token');
CALL dataprotect.decrypt_column('filled', 'n');
RESET client_min_messages;
SELECT pg_get_indexdef(indexrelid) AS definition FROM pg_index WHERE indrelid = 'filled'::regclass ORDER BY 1;
SELECT dataprotect.revoke_access('pii', :'su') > 0 AS revoked;
-- in DDL of one's own
\c - :su
SET search_path = fold, public;
CREATE INDEX ON person (lower(email));
CREATE INDEX ON person (dataprotect.blind(email, 'upper'));
CREATE INDEX ON person USING hash (dataprotect.blind(email, 'upper'));
CREATE INDEX ON person USING gin (dataprotect.blind(email, 'upper'));
CREATE INDEX ON person USING hash ((dataprotect.blind(email, 'upper')::text));
CREATE TABLE stored (e encrypted_text('pii'), g encrypted_text('pii') GENERATED ALWAYS AS (dataprotect.blind(e, 'lower')) STORED);
CREATE TABLE hashed (e encrypted_text('pii'));
CREATE INDEX ON hashed (dataprotect.blind(e, 'upper') encrypted_text_token_ops);
-- and back
SELECT dataprotect.grant_access('pii', :'su', 'reveal') > 0 AS granted;
SET client_min_messages = warning;
CALL dataprotect.decrypt_column('person', 'email');
CALL dataprotect.decrypt_column('person', 'Last name');
CALL dataprotect.decrypt_column('person', 'token');
SELECT c.relname, pg_get_indexdef(c.oid) AS definition, obj_description(c.oid) AS comment
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'person'::regclass ORDER BY 1;
SELECT dataprotect.revoke_access('pii', :'su') > 0 AS revoked;
DROP SCHEMA fold CASCADE;
