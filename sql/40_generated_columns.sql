-- Generated columns over protected ones are protected with them and go on being computed for every writer; what
-- they hold tells nobody more than the columns do.
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
CREATE SCHEMA gen;
CREATE ROLE regress_gen LOGIN;
GRANT ALL ON SCHEMA gen TO regress_gen;
GRANT USAGE ON SCHEMA gen TO regress_app, regress_search, regress_mask, regress_none;
SET search_path = gen, public;
SET client_min_messages = warning;
SELECT dataprotect.create_key('gen'), dataprotect.create_key('other_gen');
SELECT dataprotect.grant_access('gen', 'regress_app', 'reveal') > 0 AS granted;
SELECT dataprotect.grant_access('gen', 'regress_search', 'search') > 0 AS granted;
SELECT dataprotect.grant_access('gen', 'regress_mask', 'mask') > 0 AS granted;
CREATE TABLE person (
    id int PRIMARY KEY,
    first_name text,
    last_name varchar(40),
    email text,
    city text DEFAULT 'Bern',
    mail text GENERATED ALWAYS AS (lower(email)) STORED UNIQUE,
    full_name varchar(90) GENERATED ALWAYS AS (coalesce(first_name, '') || ' ' || coalesce(last_name, '')) STORED,
    words tsvector GENERATED ALWAYS AS (setweight(to_tsvector('simple', coalesce(first_name, '')), 'A') || to_tsvector('english', coalesce(city, ''))) STORED,
    other text GENERATED ALWAYS AS (upper(city)) STORED);
COMMENT ON COLUMN person.mail IS 'as it is looked up';
CREATE INDEX person_name ON person (full_name);
CREATE INDEX person_words ON person USING gin (words);
CREATE VIEW directory AS SELECT id, full_name, mail FROM person;
INSERT INTO person (id, first_name, last_name, email) VALUES (1, 'Ann', 'Meier', 'Ann@Example.com'), (2, 'Bob', NULL, NULL), (3, NULL, 'O''Brien', 'bob@example.com');
GRANT ALL ON person, directory TO regress_app, regress_search, regress_mask, regress_none;
SELECT dataprotect.create_encrypted_type('tsvector');
RESET client_min_messages;
-- an index over words is asked for by name; which columns go along is said
CALL dataprotect.encrypt_columns('person', '{"email": "gen", "first_name": "gen"}');
CALL dataprotect.encrypt_columns('person', '{"email": "gen", "first_name": {"key": "gen", "wordsearch": true}}');
SELECT regexp_replace(pg_get_indexdef('person_words'::regclass), '''\d+''', 'N');
SELECT amvalidate(o.oid) FROM pg_opclass o WHERE o.opcname = 'encrypted_tsvector_lexeme_ops';
CREATE FUNCTION uses(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    SET LOCAL enable_seqscan = off;
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN substring(plan::text FROM '"Index Name": "(person_\w+)"');
END $$;
SELECT a.attname, format_type(a.atttypid, NULL) AS type, a.attgenerated, pg_get_expr(d.adbin, d.adrelid) AS computed, col_description(a.attrelid, a.attnum) AS comment
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = 'person'::regclass AND a.attnum > 1 ORDER BY a.attnum;
SELECT col, key, searchable FROM dataprotect.protected_columns WHERE rel = 'person'::regclass ORDER BY col;
-- another column that one of them is computed from, later; under another key not
CALL dataprotect.encrypt_column('person', 'last_name', 'other_gen');
CALL dataprotect.encrypt_column('person', 'last_name', 'gen');

\c - regress_app
SET search_path = gen, public;
SELECT id, first_name, last_name, email, mail, full_name, words, other FROM person ORDER BY id;
SELECT * FROM directory WHERE full_name = 'Ann Meier';
INSERT INTO person (id, first_name, last_name, email) VALUES (4, 'Zoë', 'Çelik', 'ZOE@example.com') RETURNING mail, full_name, words;
INSERT INTO person (id, email) VALUES (5, 'zoe@EXAMPLE.com') ON CONFLICT (mail) DO UPDATE SET city = 'Chur' RETURNING id, words, other;
UPDATE person SET last_name = 'Meyer' WHERE id = 1 RETURNING full_name, mail;
SELECT id FROM person WHERE words @@ 'zoë:A'::tsquery ORDER BY id;
SET enable_seqscan = off;
SELECT q, (SELECT array_agg(id ORDER BY id) FROM person WHERE words @@ q::tsquery), (SELECT array_agg(id ORDER BY id) FROM person WHERE q::tsquery @@ words),
    uses(format('SELECT id FROM person WHERE words @@ %L', q)) AS uses
FROM unnest(ARRAY['bern', 'ann & bern', 'ann | zoë', '!ann', 'zo:*', 'ann:B', 'nobody']) q;
SELECT uses('SELECT id FROM person WHERE mail = ''x''') AS mail, uses('SELECT id FROM person WHERE full_name = ''x''') AS name,
    uses('SELECT id FROM person WHERE words @@ plainto_tsquery(''simple'', ''x'')') AS words;
RESET enable_seqscan;
\set VERBOSITY terse
INSERT INTO person (id, first_name, last_name) VALUES (6, repeat('x', 60), repeat('y', 40));
INSERT INTO person (id, mail) VALUES (6, 'x');
UPDATE person SET mail = 'x';
-- whoever may only write has them computed, and sees nothing; what he did not write is kept and computed anew
\c - regress_none
SET search_path = gen, public;
INSERT INTO person (id, first_name, last_name, email) VALUES (7, 'Eve', 'Writer', 'Eve@Example.com');
UPDATE person SET last_name = 'Married' WHERE id = 4;
UPDATE person SET city = 'Basel' WHERE id IN (1, 7);
SELECT left(mail::text, 7), left(full_name::text, 7) FROM person WHERE id = 7;
SELECT id FROM person WHERE mail = 'eve@example.com';
INSERT INTO person (id, email) VALUES (8, 'EVE@example.com');
\c - regress_mask
SET search_path = gen, public;
SELECT full_name, mail FROM person WHERE id = 7;
UPDATE person SET first_name = first_name, email = email WHERE id = 7;
\c - regress_search
SET search_path = gen, public;
SELECT id FROM person WHERE mail = 'eve@example.com';
SELECT id FROM person WHERE full_name = 'Zoë Married';
SELECT id FROM person WHERE words @@ 'zoë';
SELECT uses('SELECT id FROM person WHERE words @@ ''x''') AS words, uses('SELECT id FROM person WHERE words OPERATOR(dataprotect.%@@) ''x''') AS asked_by_name;
\c - regress_app
SET search_path = gen, public;
SELECT id, mail, full_name, words, other FROM person WHERE id IN (1, 4, 7) ORDER BY id;

-- nothing but a column of a table opens and computes: not between keys, not a part for who may only search
\c - regress_search
SET search_path = gen, public;
\set VERBOSITY terse
SELECT dataprotect.computed('lower($1)', email) FROM person WHERE id = 7;
SELECT dataprotect.computed('lower($1)', email)::encrypted_text FROM person WHERE id = 7;
SELECT dataprotect.computed('lower($1)', email)::encrypted_text('other_gen', 'padded') FROM person WHERE id = 7;
SELECT dataprotect.computed('lower($1)', email)::encrypted_text('gen') FROM person WHERE id = 7;
SELECT dataprotect.computed('left($1,1)', email)::encrypted_text('gen', 'padded') = 'E' FROM person WHERE id = 7;
SELECT dataprotect.computed('left($1,1)', email)::encrypted_text('gen', 'padded', 'searchable') = 'E' FROM person WHERE id = 7;
SELECT dataprotect.computed('lower($1)', email)::text FROM person WHERE id = 7;
SELECT dataprotect.computed('lower($1)', email)::encrypted_text('gen', 'padded') = 'eve@example.com' AS found FROM person WHERE id = 7;
SELECT f, left(dataprotect.computed(f, email)::encrypted_text('gen', 'padded')::text, 7) FROM person, unnest(ARRAY['$1']) f WHERE id = 7;
SELECT dataprotect.computed('pg_sleep($1)', email)::encrypted_text('gen', 'padded') FROM person WHERE id = 7;
SELECT dataprotect.computed('lower($2)', email)::encrypted_text('gen', 'padded') FROM person WHERE id = 7;
SELECT dataprotect.computed('strip($1)', email)::encrypted_text('gen', 'padded') FROM person WHERE id = 7;
SELECT dataprotect.computed('lower($1', email)::encrypted_text('gen', 'padded') FROM person WHERE id = 7;
SELECT dataprotect.computed('lower($1)', id)::encrypted_text('gen', 'padded') FROM person WHERE id = 7;
SELECT '(computed)'::dataprotect.derivation;
SELECT dataprotect.computed('$1', email)::encrypted_text('gen', 'padded', '(1)') = 'E' FROM person WHERE id = 7;
SELECT dataprotect.computed('setweight(to_tsvector(''simple'',$1),''x'')', 'a'::text)::encrypted_tsvector('gen');

-- how long a result is tells no more than how long padded values are stored, and not which words are alike
\c - :su
SET search_path = gen, public;
CREATE TABLE sized (a encrypted_text('gen', 'padded'), p text,
    s encrypted_text('gen', 'padded') GENERATED ALWAYS AS (dataprotect.computed('concat($1,$2)', a, p)) STORED,
    d encrypted_text('gen', 'padded') GENERATED ALWAYS AS (dataprotect.computed('concat(concat($1,$1),''12345'')', a)) STORED,
    w encrypted_tsvector('gen') GENERATED ALWAYS AS (dataprotect.computed('concat_tsvector(to_tsvector(''simple'',$1),to_tsvector(''simple'',$2))', a, p)) STORED);
GRANT INSERT, SELECT ON sized TO regress_app;
\c - regress_app
SET search_path = gen, public;
INSERT INTO sized SELECT a, repeat('x', n) FROM unnest(ARRAY['', 'y', 'yyyyyyyyyyyyyyy']) a, generate_series(0, 40) n;
INSERT INTO sized SELECT a, string_agg(w || i, ' ') FROM unnest(ARRAY['w1 w2 w3', 'v1 v2 v3', 'abcdefgh']) a, unnest(ARRAY['w', 'v']) w, generate_series(1, 30) n, generate_series(1, n) i GROUP BY a, w, n;
SELECT count(*) AS rows, count(DISTINCT pg_column_size(a)) AS of_a,
    (SELECT count(*) FROM (SELECT FROM sized GROUP BY length(p) HAVING count(DISTINCT pg_column_size(s)) > 1 OR count(DISTINCT pg_column_size(w)) > 1) x) AS that_differ,
    count(DISTINCT pg_column_size(d)) AS of_twice, count(DISTINCT s::text) > 100 AS shown FROM sized;

-- an owner who may not read: whole values only, nothing searchable of a part, no plaintext
\c - :su
SET search_path = gen, public;
SET client_min_messages = warning;
CREATE TABLE owned (v encrypted_text('gen'), o encrypted_text('other_gen'), p text);
ALTER TABLE owned OWNER TO regress_gen;
\c - regress_gen
SET search_path = gen, public;
\set VERBOSITY terse
ALTER TABLE owned ADD w text GENERATED ALWAYS AS (dataprotect.computed('lower($1)', v)) STORED;
ALTER TABLE owned ADD w encrypted_text('gen', 'padded', '(1)') GENERATED ALWAYS AS (dataprotect.computed('$1', v)) STORED;
ALTER TABLE owned ADD w encrypted_text('gen', 'padded', 'searchable', '(1)')
    GENERATED ALWAYS AS (CAST(dataprotect.computed('$1', v) AS encrypted_text('gen', 'padded', 'searchable', '(1)'))) STORED;
ALTER TABLE owned ADD w encrypted_text('gen') GENERATED ALWAYS AS (dataprotect.computed('lower($1)', v)) STORED;
ALTER TABLE owned ADD w encrypted_text('other_gen', 'padded') GENERATED ALWAYS AS (dataprotect.computed('lower($1)', v)) STORED;
ALTER TABLE owned ADD w encrypted_text('gen', 'padded') GENERATED ALWAYS AS (dataprotect.computed('left($1,1)', v)) STORED;
ALTER TABLE owned ADD w encrypted_text('gen', 'padded') GENERATED ALWAYS AS (dataprotect.computed('concat($1,$2)', v, o)) STORED;
ALTER TABLE owned ADD w encrypted_text('gen', 'padded') GENERATED ALWAYS AS (dataprotect.computed('lower($1)', v::text)) STORED;
CREATE INDEX ON owned ((dataprotect.computed('lower($1)', v)::encrypted_text('gen', 'padded')));
CREATE TABLE stash AS SELECT dataprotect.computed('$1', v) FROM owned;
ALTER TABLE owned ADD w encrypted_text('gen', 'padded') GENERATED ALWAYS AS (dataprotect.computed('concat($1,$2)', v, p)) STORED;
-- a CHECK over what is computed from values of others is not asked in his name
ALTER TABLE owned ADD CHECK (w <> 'Written by app');
INSERT INTO owned (v, p) VALUES ('Written', ' by app');
INSERT INTO owned VALUES ('Written', 'by', ' me');
UPDATE owned SET p = ' still me';
SELECT left(w::text, 7) FROM owned;
\c - :su
SET search_path = gen, public;
GRANT ALL ON owned TO regress_app;
\c - regress_app
SET search_path = gen, public;
SELECT w FROM owned;
INSERT INTO owned (v, p) VALUES ('Written', '');
\c - regress_gen
SET search_path = gen, public;
\set VERBOSITY terse
UPDATE owned SET p = ' by app';
\c - :su
SET search_path = gen, public;
\set VERBOSITY default
SET client_min_messages = notice;
-- refused by name, before anything is locked
CREATE TABLE refused (id int, a text, b text GENERATED ALWAYS AS (replace(a, 'x', repeat('y', 100))) STORED, c text, d text GENERATED ALWAYS AS (left(c, 2)) STORED,
    e text, f text GENERATED ALWAYS AS (lower(e)) STORED);
CALL dataprotect.encrypt_column('refused', 'a', 'gen');
CALL dataprotect.encrypt_column('refused', 'b', 'gen');
CALL dataprotect.encrypt_column('refused', 'c', 'gen');
CALL dataprotect.encrypt_column('refused', 'e', 'gen', online => true);
SET client_min_messages = warning;
SELECT dataprotect.create_key('short_gen', keep => '1 month');
RESET client_min_messages;
CALL dataprotect.encrypt_column('refused', 'e', 'short_gen');
-- the generated column alone
SET client_min_messages = warning;
SELECT dataprotect.grant_access('gen', :'su', 'reveal') > 0 AS granted;
RESET client_min_messages;
CALL dataprotect.encrypt_column('refused', 'f', 'gen');
CALL dataprotect.decrypt_column('refused', 'f');
CALL dataprotect.encrypt_column('refused', 'f', 'gen');
CALL dataprotect.encrypt_column('refused', 'e', 'gen');
CALL dataprotect.decrypt_column('refused', 'f');
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'refused'::regclass AND adnum = 7;
-- partitions
CREATE TABLE part (id int, v text, w text GENERATED ALWAYS AS (upper(v)) STORED) PARTITION BY LIST (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 (w text GENERATED ALWAYS AS (upper(v)) STORED, id int, v text);
ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES IN (2);
INSERT INTO part VALUES (1, 'one'), (2, 'two');
SET client_min_messages = warning;
CALL dataprotect.encrypt_column('part', 'v', 'gen');
INSERT INTO part VALUES (1, 'three'), (2, 'four');
UPDATE part SET id = 3 - id;
SELECT attrelid::regclass, attgenerated, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid IN ('part'::regclass, 'part_1'::regclass, 'part_2'::regclass) AND attname = 'w' ORDER BY 1;
SELECT tableoid::regclass, v, w FROM part ORDER BY v;
CALL dataprotect.decrypt_column('part', 'v');
SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid IN ('part'::regclass, 'part_1'::regclass, 'part_2'::regclass) ORDER BY adrelid;
-- rows that are sealed for accounts have none
SET client_min_messages = warning;
CREATE TABLE account (id int PRIMARY KEY, v encrypted_text('gen'), w encrypted_text('gen', 'padded') GENERATED ALWAYS AS (dataprotect.computed('upper($1)', v)) STORED);
SELECT dataprotect.create_account_type('gen_account', 'account', 'id');
SELECT dataprotect.bind_subject('account', 'gen_account', 'id');
ALTER TABLE account DROP COLUMN w;
SELECT dataprotect.bind_subject('account', 'gen_account', 'id');
INSERT INTO account VALUES (1, 'sealed for one');
ALTER TABLE account ADD w encrypted_text('gen', 'padded') GENERATED ALWAYS AS (dataprotect.computed('upper($1)', v)) STORED;
SELECT dataprotect.computed('upper($1)', v)::encrypted_text('gen', 'padded') FROM account;
-- parts, by who may read; and back, all of them as they were
CALL dataprotect.encrypt_column('refused', 'c', 'gen');
INSERT INTO refused (c) VALUES ('abc');
SELECT c, d FROM refused;
CALL dataprotect.decrypt_column('person', 'first_name');
CALL dataprotect.decrypt_column('person', 'email');
CALL dataprotect.decrypt_column('person', 'last_name');
SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type, a.attgenerated, pg_get_expr(d.adbin, d.adrelid) AS computed
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = 'person'::regclass AND a.attnum > 1 ORDER BY a.attnum;
SELECT indexdef FROM pg_indexes WHERE tablename = 'person' AND schemaname = 'gen' ORDER BY indexname;
SELECT id, mail, full_name, words FROM person ORDER BY id;
INSERT INTO person (id, first_name, email) VALUES (9, 'Ida', 'IDA@x.ch') RETURNING mail, full_name, words;
