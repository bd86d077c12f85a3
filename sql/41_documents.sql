-- Search within protected documents: an index over keyed tokens of names and values, for whom it works, and what it
-- tells nobody.
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
CREATE SCHEMA docs;
GRANT USAGE ON SCHEMA docs TO regress_app, regress_search, regress_mask, regress_none;
SET search_path = docs, public;
SET client_min_messages = warning;
SELECT dataprotect.create_key('docs');
SELECT dataprotect.grant_access('docs', 'regress_app', 'reveal') > 0 AS granted;
SELECT dataprotect.grant_access('docs', 'regress_search', 'search') > 0 AS granted;
SELECT dataprotect.grant_access('docs', 'regress_mask', 'mask') > 0 AS granted;
RESET client_min_messages;
CREATE TABLE profile (id int PRIMARY KEY, doc jsonb, plain jsonb);
INSERT INTO profile SELECT g, d, d FROM generate_series(1, 300) g, jsonb_build_object('name', 'user ' || g, 'tags', jsonb_build_array('t' || g % 7, 'all'), 'n', g % 10) d;
INSERT INTO profile SELECT id, d::jsonb, d::jsonb FROM (VALUES (1001, '{}'), (1002, NULL), (1003, '[]'), (1004, '"scalar"'), (1005, 'null'),
    (1006, '{"a": {"b": [1, 2, {"c": null}]}, "t3": true}'), (1007, '["all", "t3"]'), (1008, jsonb_build_object(repeat('k', 500), repeat('v', 500))::text)) v (id, d);
CREATE INDEX profile_doc ON profile USING gin (doc jsonb_path_ops) WITH (fastupdate = off);
COMMENT ON INDEX profile_doc IS 'by what they contain';
-- asked for by name
CALL dataprotect.encrypt_column('profile', 'doc', 'docs');
CALL dataprotect.encrypt_column('profile', 'doc', 'docs', wordsearch => true);
SELECT regexp_replace(pg_get_indexdef('profile_doc'::regclass), '''\d+''', 'N'), obj_description('profile_doc'::regclass);
SELECT amvalidate(o.oid) FROM pg_opclass o WHERE o.opcname = 'encrypted_jsonb_entry_ops';
CREATE INDEX ON profile USING gin (doc);
CREATE INDEX ON profile USING gin (doc jsonb_ops);
CREATE FUNCTION uses(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    plan jsonb;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || query INTO plan;
    RETURN substring(plan::text FROM '"Index Name": "(profile_\w+)"');
END $$;
GRANT ALL ON profile TO regress_app, regress_search, regress_mask, regress_none;
ANALYZE profile;

\c - regress_app
SET search_path = docs, public;
SET enable_seqscan = off;
-- every query finds what it finds in the plain column
CREATE FUNCTION pg_temp.same(condition text, OUT n bigint, OUT same bool, OUT uses text) LANGUAGE plpgsql AS $$
DECLARE
    theirs int[];
    ours int[];
BEGIN
    EXECUTE 'SELECT array_agg(id ORDER BY id) FROM profile WHERE ' || condition INTO ours;
    EXECUTE 'SELECT array_agg(id ORDER BY id) FROM profile WHERE ' || replace(condition, 'doc', 'plain') INTO theirs;
    n := coalesce(cardinality(theirs), 0);
    same := ours IS NOT DISTINCT FROM theirs;
    uses := docs.uses('SELECT id FROM profile WHERE ' || condition);
END $$;
SELECT c, (pg_temp.same(c)).* FROM unnest(ARRAY[
    'doc @> ''{"name": "user 7"}''', 'doc @> ''{"tags": ["t3"]}''', 'doc @> ''{"n": 3, "tags": ["t3", "all"]}''', 'doc @> ''{}''', 'doc @> ''[]''', 'doc @> ''"all"''',
    'doc @> ''"scalar"''', 'doc @> ''null''', 'doc @> ''{"a": {"b": [{"c": null}]}}''', 'doc @> ''{"nobody": 1}''', '''{"n": 4}'' <@ doc', 'doc ? ''t3''', 'doc ? ''name''',
    'doc ? ''n'' AND doc @> ''{"n": 1}''', 'doc ?| ARRAY[''a'', ''t3'']', 'doc ?| ARRAY[]::text[]', 'doc ?& ARRAY[''a'', ''t3'']', 'doc ?& ARRAY[]::text[]', 'doc ?& ARRAY[''a'', NULL]',
    'doc @> jsonb_build_object(repeat(''k'', 500), repeat(''v'', 500))', 'doc @> ''{"n": 3}'' OR doc ? ''a''', 'NOT doc @> ''{"n": 3}''']) WITH ORDINALITY AS u(c, i) ORDER BY i;
PREPARE find(jsonb) AS SELECT id FROM profile WHERE doc @> $1 ORDER BY id LIMIT 3;
SET plan_cache_mode = force_generic_plan;
EXECUTE find('{"tags": ["t5"]}');
UPDATE profile SET doc = '{"changed": [1]}' WHERE id = 5;
EXECUTE find('{"tags": ["t5"]}');
EXECUTE find('{"changed": [1]}');
-- roles that may not read do not have the index, asked by its own operator either
\c - regress_search
SET search_path = docs, public;
SET enable_seqscan = off;
\set VERBOSITY terse
SELECT uses($$SELECT id FROM profile WHERE doc @> '{"n": 1}'$$), uses($$SELECT id FROM profile WHERE doc OPERATOR(dataprotect.%@>) '{"n": 1}'::jsonb$$);
INSERT INTO profile VALUES (2000, '{"written": "by one who may search"}');
\c - regress_none
SET search_path = docs, public;
SET enable_seqscan = off;
\set VERBOSITY terse
SELECT uses($$SELECT id FROM profile WHERE doc ? 'n'$$);
SELECT count(*) FROM profile WHERE doc ? 'written';
INSERT INTO profile VALUES (2001, '{"written": "by one who may only write"}');
\c - regress_app
SET search_path = docs, public;
SET enable_seqscan = off;
SELECT id, doc FROM profile WHERE doc ? 'written' ORDER BY id;
\c - :su
SET search_path = docs, public;
SET client_min_messages = warning;
-- and back
SELECT dataprotect.grant_access('docs', :'su', 'reveal') > 0 AS granted;
CALL dataprotect.decrypt_column('profile', 'doc');
SELECT pg_get_indexdef('profile_doc'::regclass), obj_description('profile_doc'::regclass);
SELECT count(*) FROM profile WHERE doc @> '{"tags": ["t3"]}';
