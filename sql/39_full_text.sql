-- Full-text search in a protected text: an index over keyed tokens of lexemes, for whom it works, and
-- what it tells nobody (case: columns, B); and char(n), whose trailing blanks do not count (F).
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
CREATE SCHEMA fulltext;
GRANT USAGE ON SCHEMA fulltext TO regress_app, regress_search, regress_mask, regress_none;
SET search_path = fulltext, public;
SET client_min_messages = warning;
SELECT dataprotect.create_key('fulltext');
SELECT dataprotect.grant_access('fulltext', 'regress_app', 'reveal') > 0 AS granted;
SELECT dataprotect.grant_access('fulltext', 'regress_search', 'search') > 0 AS granted;
SELECT dataprotect.grant_access('fulltext', 'regress_mask', 'mask') > 0 AS granted;
RESET client_min_messages;
CREATE TABLE note (id int PRIMARY KEY, body text, title text, plain text);
INSERT INTO note SELECT g, b, b, b FROM generate_series(1, 300) g, format('Note %s about the running dogs of %s', g, md5(g::text)) b;
INSERT INTO note SELECT id, b, b, b FROM (VALUES (1001, 'ab'), (1002, NULL), (1003, ''), (1004, 'the a of'), (1005, 'quick brown foxes jumped, quickly'),
    (1006, 'cats and dogs'), (1007, repeat('long ', 3000) || 'needle')) v (id, b);
CREATE INDEX note_body ON note USING gin (to_tsvector('english', body)) WITH (fastupdate = off);
CREATE INDEX note_title ON note USING gist (to_tsvector('pg_catalog.simple', coalesce(title, '')));
CREATE INDEX note_both ON note USING gin (to_tsvector('simple', title || body));
COMMENT ON INDEX note_body IS 'search box';
CREATE VIEW indexes AS SELECT c.relname, regexp_replace(pg_get_indexdef(c.oid), '''\d+''', 'N') AS definition, obj_description(c.oid) AS comment
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = 'note'::regclass AND NOT i.indisprimary ORDER BY c.relname COLLATE "C";
-- asked for by name; what is over more than the column stays refused
CALL dataprotect.encrypt_column('note', 'body', 'fulltext');
CALL dataprotect.encrypt_column('note', 'body', 'fulltext', wordsearch => true);
DROP INDEX note_both;
CALL dataprotect.encrypt_columns('note', '{"body": {"key": "fulltext", "wordsearch": true}, "title": {"key": "fulltext", "wordsearch": true}}');
TABLE indexes;
SELECT c.opcname, amvalidate(c.oid) FROM pg_opclass c WHERE c.opcname = 'encrypted_text_lexeme_ops';
CREATE FUNCTION uses(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN substring(plan::text FROM '"Index Name": "(note_\w+)"');
END $$;
GRANT ALL ON note TO regress_app, regress_search, regress_mask, regress_none;
ANALYZE note;

\c - regress_app
SET search_path = fulltext, public;
SET enable_seqscan = off;
-- every query finds what it finds in the plain column
CREATE TEMP TABLE query (n int, q tsquery);
INSERT INTO query SELECT row_number() OVER (), q::tsquery FROM unnest(ARRAY['dog', 'run & note', 'cat | fox', '!dog', 'dog & !note', 'fox & !cat', 'qui:*', 'nee:* & long', '!qui:*',
    'quick <-> brown', 'brown <-> quick', 'dog:A', '!dog:A', 'zebra', 'zebra | dog', '''77''']) q;
SELECT q.q, (SELECT array_agg(id ORDER BY id) = (SELECT array_agg(p.id ORDER BY p.id) FROM note p WHERE to_tsvector('english', p.plain) @@ q.q)
                 OR count(*) = 0 AND NOT EXISTS (SELECT FROM note p WHERE to_tsvector('english', p.plain) @@ q.q)
             FROM note b WHERE to_tsvector('english', b.body) @@ q.q) AS body,
       (SELECT array_agg(id ORDER BY id) = (SELECT array_agg(p.id ORDER BY p.id) FROM note p WHERE q.q @@ to_tsvector('simple', coalesce(p.plain, '')))
                 OR count(*) = 0 AND NOT EXISTS (SELECT FROM note p WHERE q.q @@ to_tsvector('simple', coalesce(p.plain, '')))
             FROM note b WHERE q.q @@ to_tsvector('simple', coalesce(b.title, ''))) AS title,
       (SELECT count(*) FROM note p WHERE to_tsvector('english', p.plain) @@ q.q) AS n
FROM query q ORDER BY q.n;
SELECT q, uses(format('SELECT id FROM note WHERE to_tsvector(''english'', body) @@ %s', q)) AS body,
    uses(format('SELECT id FROM note WHERE to_tsvector(''simple'', coalesce(title, '''')) @@ %s', q)) AS title
FROM unnest(ARRAY['to_tsquery(''english'', ''dogs & 77'')', '''dog''::tsquery', 'plainto_tsquery(''simple'', ''cats dogs'')',
    'websearch_to_tsquery(''english'', ''fox -cat'')', 'to_tsquery(''simple'', ''!cat'')']) q;
-- not by another configuration's index
SELECT uses($$SELECT id FROM note WHERE to_tsvector('simple', body) @@ 'dogs'::tsquery$$);
SELECT id, ts_rank(to_tsvector('english', body), q) > 0 AS ranked, ts_headline('english', body, q)
FROM note, to_tsquery('english', 'fox & quick') q WHERE to_tsvector('english', body) @@ q;
PREPARE find(text) AS SELECT id FROM note WHERE to_tsvector('english', body) @@ plainto_tsquery('english', $1) ORDER BY id;
SET plan_cache_mode = force_generic_plan;
EXECUTE find('jump fox');
UPDATE note SET body = 'changed words' WHERE id = 1005;
EXECUTE find('jump fox');
EXECUTE find('changing');
-- roles that may not read do not have the index, asked by its own operator either
\c - regress_search
SET search_path = fulltext, public;
SET enable_seqscan = off;
\set VERBOSITY terse
SELECT uses($$SELECT id FROM note WHERE to_tsvector('english', body) @@ 'dog'$$), uses($$SELECT id FROM note WHERE body OPERATOR(dataprotect.%@@) 'dog'::tsquery$$);
SELECT count(*) FROM note WHERE to_tsvector('english', body) @@ 'dog';
INSERT INTO note VALUES (2000, 'written by one who may search');
\c - regress_mask
SET search_path = fulltext, public;
SET enable_seqscan = off;
SELECT uses($$SELECT id FROM note WHERE to_tsvector('english', body) @@ 'dog'$$), uses($$SELECT id FROM note WHERE body OPERATOR(dataprotect.%@@) 'dog'::tsquery$$);
SELECT count(*) FROM note WHERE to_tsvector('english', body) @@ 'dog';
\c - regress_none
SET search_path = fulltext, public;
\set VERBOSITY terse
SELECT uses($$SELECT id FROM note WHERE body OPERATOR(dataprotect.%@@) 'dog'::tsquery$$);
INSERT INTO note VALUES (2001, 'written by one without a right');
\c - regress_app
SET search_path = fulltext, public;
SET enable_seqscan = off;
SELECT id FROM note WHERE to_tsvector('english', body) @@ 'written' ORDER BY id;
-- what could not be read when it was indexed is found all the same
\c - :su
SET search_path = fulltext, public;
SELECT dataprotect.suspend_key('fulltext', 'test');
REINDEX INDEX note_body;
SELECT dataprotect.resume_key('fulltext', 'test');
\c - regress_app
SET search_path = fulltext, public;
SET enable_seqscan = off;
SELECT id FROM note WHERE to_tsvector('english', body) @@ 'cat';
\c - :su
SET search_path = fulltext, public;
\set VERBOSITY terse
CREATE INDEX ON note USING gin (body encrypted_text_lexeme_ops);
CREATE INDEX ON note USING gin (body encrypted_text_lexeme_ops (config = 'english'));
CREATE INDEX ON note USING gin (body encrypted_text_lexeme_ops (config = 'pg_catalog.nonesuch'));
CREATE INDEX ON note USING gin (plain encrypted_text_lexeme_ops (config = 'pg_catalog.english'));
CREATE INDEX ON note USING gin (to_tsvector('english', body));
SET client_min_messages = warning;
SELECT dataprotect.grant_access('fulltext', :'su', 'reveal') > 0 AS granted;
CALL dataprotect.decrypt_column('note', 'title');
CALL dataprotect.decrypt_column('note', 'body');
TABLE indexes;

-- char(n): as before, to its blanks
CREATE TABLE padded (id int PRIMARY KEY, code char(6) UNIQUE, grade char(1) CHECK (grade IN ('a', 'b')), alias char(6) DEFAULT 'no', plain char(6));
INSERT INTO padded VALUES (1, 'ab', 'a', 'x', 'ab'), (2, 'ab c', 'b', 'y ', 'ab c'), (3, '', NULL, NULL, '');
SELECT count(*) FROM (SELECT CASE WHEN dataprotect._encrypted_type('bpchar') IS NULL THEN dataprotect.create_encrypted_type('bpchar') END) made;
CREATE INDEX padded_alias ON padded (alias);
CREATE INDEX padded_two ON padded (id, grade);
CREATE VIEW over_padded AS SELECT id, code, code || '|' AS joined FROM padded;
GRANT ALL ON padded, over_padded TO regress_app, regress_search, regress_none;
RESET client_min_messages;
\set VERBOSITY default
CALL dataprotect.encrypt_columns('padded', '{"code": "fulltext", "grade": "fulltext", "alias": "fulltext"}');
\set VERBOSITY terse
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'padded'::regclass AND attnum > 0 ORDER BY attnum;
\c - regress_app
SET search_path = fulltext, public;
SET enable_seqscan = off;
SELECT id, '<' || code || '>' AS code, length(code), octet_length(code), code = plain AS equal, alias, lower(code) FROM padded ORDER BY id;
SELECT '<' || code::text || '>', format('<%s>', code), code LIKE 'ab%', joined FROM over_padded ORDER BY id;
SELECT id FROM padded WHERE code = 'ab' UNION ALL SELECT id FROM padded WHERE code = 'ab   ' UNION ALL SELECT id FROM padded WHERE code IN ('ab c  ', 'z');
SELECT p.id FROM padded p JOIN padded q ON p.code = q.plain ORDER BY 1;
INSERT INTO padded (id, code) VALUES (4, 'ab  ');
INSERT INTO padded (id, code, grade) VALUES (4, 'd', 'z');
INSERT INTO padded (id, code) VALUES (4, 'much too long');
INSERT INTO padded (id, code) VALUES (4, 'd') RETURNING code, alias;
INSERT INTO padded (id, code) VALUES (5, 'd ') ON CONFLICT (code) DO UPDATE SET alias = 'again' RETURNING id, alias;
SELECT max(code), count(DISTINCT code) FROM padded;
SELECT id FROM padded ORDER BY code, id;
\c - regress_search
SET search_path = fulltext, public;
SELECT id FROM padded WHERE code = 'ab    ';
\c - regress_none
SET search_path = fulltext, public;
SELECT id FROM padded WHERE code = 'ab    ';
INSERT INTO padded (id, code) VALUES (6, 'ab ');
INSERT INTO padded (id, code) VALUES (6, 'e');
\c - :su
SET search_path = fulltext, public;
SET client_min_messages = warning;
CALL dataprotect.decrypt_column('padded', 'code');
SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'padded'::regclass AND attname = 'code';
SELECT id, '<' || code::text || '>' AS code, octet_length(code) FROM padded ORDER BY id;
SELECT dataprotect.revoke_access('fulltext', :'su') > 0 AS revoked;
DROP SCHEMA fulltext CASCADE;
