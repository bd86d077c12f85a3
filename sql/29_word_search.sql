-- Search within a protected text: an index over keyed tokens, for whom it works, and what it tells
-- nobody (case: columns, C).
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
CREATE SCHEMA words;
GRANT USAGE ON SCHEMA words TO regress_app, regress_search, regress_mask, regress_none;
SET search_path = words, public;
SET client_min_messages = warning;
SELECT dataprotect.create_key('words');
SELECT dataprotect.grant_access('words', 'regress_app', 'reveal') > 0 AS granted;
SELECT dataprotect.grant_access('words', 'regress_search', 'search') > 0 AS granted;
SELECT dataprotect.grant_access('words', 'regress_mask', 'mask') > 0 AS granted;
RESET client_min_messages;
CREATE TABLE note (id int PRIMARY KEY, body encrypted_text('words'), plain text);
INSERT INTO note SELECT g, b, b FROM generate_series(1, 600) g, format('Note %s: Müller-ÄÖÜ of %s', g, md5(g::text)) b;
INSERT INTO note SELECT id, b, b FROM (VALUES (1001, 'ab'), (1002, NULL), (1003, ''), (1004, '100% sure_thing\path'), (1005, 'ΟΔΟΣ και οδός'),
    (1006, 'two'||E'\n'||'lines'), (1007, repeat('long ', 3000) || 'needle')) v (id, b);
CREATE INDEX note_body ON note USING gin (body encrypted_text_ngram_ops (salt = 77));
CREATE VIEW notes AS SELECT n.id, n.body AS text FROM note n;
ANALYZE note;
GRANT ALL ON note, notes TO regress_app, regress_search, regress_mask, regress_none;
CREATE FUNCTION uses(query text) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN plan::text LIKE '%"Index Name": "note_body"%';
END $$;
SELECT c.opcname, amvalidate(c.oid) FROM pg_opclass c WHERE c.opcname = 'encrypted_text_ngram_ops';

\c - regress_app
SET search_path = words, public;
SET enable_seqscan = off;
-- every pattern finds what it finds in the plain column
SELECT p AS pattern, uses(format('SELECT FROM note WHERE body LIKE %L', p)) AS uses FROM (VALUES ('%Note 77:%'), ('Note 7%'), ('%'), ('ab')) v (p);
CREATE TEMP TABLE pattern (p text);
INSERT INTO pattern VALUES ('%Note 77:%'), ('Note 7%'), ('%MÜLLER-äöü of c%'), ('%müller%'), ('%'), (''), ('ab'), ('a_'), ('%b'), ('100\% sure\_th%'),
    ('%thing\\path'), ('%ΟΔΟΣ%'), ('%οδοσ%'), ('%ΚΑΙ%'), ('%o' || E'\n' || 'li%'), ('%g needle'), ('%nothing of it%'), ('%N_te 5%9_ M%'), ('%zz'), (NULL);
SELECT p, array_agg(DISTINCT l.n) AS "like", array_agg(DISTINCT i.n) AS ilike, array_agg(DISTINCT w.n) AS lower
FROM pattern, LATERAL (SELECT (SELECT count(*) FROM note WHERE body LIKE p) UNION ALL SELECT (SELECT count(*) FROM note WHERE plain LIKE p)) l (n),
    LATERAL (SELECT (SELECT count(*) FROM note WHERE body ILIKE p) UNION ALL SELECT (SELECT count(*) FROM note WHERE plain ILIKE p)) i (n),
    LATERAL (SELECT (SELECT count(*) FROM note WHERE lower(body) LIKE lower(p)) UNION ALL SELECT (SELECT count(*) FROM note WHERE lower(plain) LIKE lower(p))) w (n)
GROUP BY p ORDER BY p COLLATE "C";
-- within conditions, through views, joins and prepared statements
SELECT id FROM note WHERE (body LIKE '%Note 77:%' OR body ILIKE '%SURE_THING%') AND NOT body LIKE '%xyz%' ORDER BY id;
SELECT uses($$SELECT id FROM note WHERE body LIKE '%Note 77:%' OR body ILIKE '%SURE_THING%'$$);
SELECT id FROM notes WHERE text LIKE '%Note 77:%';
SELECT uses($$SELECT id FROM notes WHERE text LIKE '%Note 77:%'$$);
SELECT n.id FROM note n JOIN (VALUES ('%Note 77:%'), ('%Note 78:%')) v (p) ON n.body LIKE v.p ORDER BY 1;
SELECT uses($$SELECT n.id FROM note n JOIN (VALUES ('%Note 77:%'), ('%Note 78:%')) v (p) ON n.body LIKE v.p$$);
PREPARE find(text) AS SELECT id FROM note WHERE body LIKE $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE find('%Note 77:%');
UPDATE note SET body = 'changed words' WHERE id = 77;
EXECUTE find('%Note 77:%');
EXECUTE find('%ged wor%');
DELETE FROM note WHERE id = 77;
EXECUTE find('%ged wor%');
SELECT id FROM note WHERE body LIKE '%sure!_th%' ESCAPE '!';
SELECT id FROM note WHERE body LIKE '%wrong\';
-- roles that may not read do not have the index, asked by its own operator either
\c - regress_search
SET search_path = words, public;
SET enable_seqscan = off;
\set VERBOSITY terse
SELECT uses($$SELECT id FROM note WHERE body LIKE '%Note 78:%'$$), uses($$SELECT id FROM note WHERE body OPERATOR(dataprotect.%~~) '%Note 78:%'$$);
SELECT count(*) FROM note WHERE body OPERATOR(dataprotect.%~~) '%Note 78:%';
INSERT INTO note VALUES (2000, 'written by one who may search');
\c - regress_mask
SET search_path = words, public;
SET enable_seqscan = off;
SELECT uses($$SELECT id FROM note WHERE body LIKE '%Note 78:%'$$), uses($$SELECT id FROM note WHERE body OPERATOR(dataprotect.%~~) '%Note 78:%'$$);
SELECT count(*) FROM note WHERE body LIKE '%Note 78:%';
\c - regress_none
SET search_path = words, public;
SET enable_seqscan = off;
\set VERBOSITY terse
SELECT uses($$SELECT id FROM note WHERE body OPERATOR(dataprotect.%~~) '%Note 78:%'$$);
SELECT dataprotect._word_tokens(body, NULL, NULL) FROM note;
SELECT dataprotect._word_query('abc', NULL, 1::int2, NULL, NULL, NULL, NULL);
INSERT INTO note VALUES (2001, 'written by one without a right');
\c - regress_app
SET search_path = words, public;
SET enable_seqscan = off;
SELECT id FROM note WHERE body LIKE 'written by one %' ORDER BY id;
-- what could not be read when it was indexed is found all the same
\c - :su
SET search_path = words, public;
SELECT dataprotect.suspend_key('words', 'test');
REINDEX INDEX note_body;
SELECT dataprotect.resume_key('words', 'test');
\c - regress_app
SET search_path = words, public;
SET enable_seqscan = off;
SELECT id FROM note WHERE body LIKE '%Note 78:%';
SELECT uses($$SELECT id FROM note WHERE body LIKE '%Note 78:%'$$);
-- encrypt_column makes one of a trigram index, if it is asked to, and back
\c - :su
SET search_path = words, public;
\set VERBOSITY default
SET client_min_messages = warning;
CREATE EXTENSION pg_trgm SCHEMA words;
RESET client_min_messages;
CREATE TABLE doc (id int, title text, body text, PRIMARY KEY (id)) PARTITION BY LIST (id);
CREATE TABLE doc_1 PARTITION OF doc FOR VALUES IN (1);
CREATE TABLE doc_2 PARTITION OF doc DEFAULT;
CREATE INDEX doc_title ON doc USING gin (title gin_trgm_ops) WITH (fastupdate = off) WHERE title IS NOT NULL;
CREATE INDEX doc_lower ON doc USING gin (lower(title) gin_trgm_ops);
CREATE INDEX doc_body ON doc_2 USING gist (body gist_trgm_ops (siglen = 32));
COMMENT ON INDEX doc_title IS 'search box';
INSERT INTO doc VALUES (1, 'First title', 'First body'), (2, 'Second title', 'Second body');
CALL dataprotect.encrypt_column('doc', 'title', 'words');
CALL dataprotect.encrypt_column('doc', 'title', 'words', wordsearch => true);
CALL dataprotect.encrypt_columns('doc', '{"body": {"key": "words", "wordsearch": true}}');
SELECT c.relname, regexp_replace(pg_get_indexdef(c.oid), '''\d+''', 'N') AS definition, obj_description(c.oid) AS comment
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid::regclass::text LIKE 'doc%' AND NOT i.indisprimary ORDER BY c.relname COLLATE "C";
GRANT SELECT ON doc TO regress_app;
\c - regress_app
SET search_path = words, public;
SELECT id, title, body FROM doc WHERE title LIKE '%econd%' AND lower(title) LIKE '%second t%' AND body ILIKE '%SECOND%';
\c - :su
SET search_path = words, public;
SET client_min_messages = warning;
SELECT dataprotect.grant_access('words', :'su', 'reveal') > 0 AS granted;
CALL dataprotect.decrypt_column('doc', 'title');
CALL dataprotect.decrypt_column('doc', 'body');
SELECT dataprotect.revoke_access('words', :'su') > 0 AS revoked;
RESET client_min_messages;
SELECT c.relname, pg_get_indexdef(c.oid) AS definition, obj_description(c.oid) AS comment
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid::regclass::text LIKE 'doc%' AND NOT i.indisprimary ORDER BY c.relname COLLATE "C";
-- asked for by name only, over protected texts only
\c - :su
SET search_path = words, public;
\set VERBOSITY terse
CREATE INDEX ON note USING gin (body);
CREATE INDEX ON note USING gin (body encrypted_text_ngram_ops (salt = -1));
CREATE INDEX ON note USING gin (plain encrypted_text_ngram_ops);
CREATE INDEX ON note USING gin ((body::text) encrypted_text_ngram_ops);
CREATE INDEX ON note USING gin (dataprotect.blind(body, 'lower') encrypted_text_ngram_ops);
CREATE TABLE numbers (n encrypted_int4('words'));
CREATE INDEX ON numbers USING gin (n encrypted_text_ngram_ops);
SET client_min_messages = warning;
DROP SCHEMA words CASCADE;
