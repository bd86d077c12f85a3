-- What a mask or an unreadable value was turned into is never stored: cases mask-written-back,
-- write-while-unreadable, mass-update-while-suspended, unchanged-value-not-hot.
\set SHOW_CONTEXT never
SELECT current_user AS su \gset
CREATE ROLE regress_w_app LOGIN; CREATE ROLE regress_w_support LOGIN; CREATE ROLE regress_w_search LOGIN; CREATE ROLE regress_w_none LOGIN;
GRANT CREATE ON SCHEMA public TO regress_w_app, regress_w_support;
SELECT dataprotect.create_key('w'), dataprotect.create_key('w_email', mask => 'email'), dataprotect.create_key('w_year', mask => 'year'),
       dataprotect.create_key('w_null', mask => 'null') \g (format=unaligned tuples_only=on) /dev/null
SELECT count(dataprotect.grant_access(k, r::regrole, p))
FROM unnest('{w,w_email,w_year,w_null}'::text[]) k,
     (VALUES ('regress_w_app', 'reveal'), ('regress_w_support', 'mask'), ('regress_w_search', 'search')) g (r, p);
CREATE TABLE w (id int PRIMARY KEY, n encrypted_int4('w'), name encrypted_text('w'), email encrypted_text('w_email'),
                born encrypted_date('w_year'), note encrypted_text('w_null'), seen int DEFAULT 0, copy text);
CREATE TABLE w_plain (id int, t text);
INSERT INTO w SELECT g, 20 + g, 'Ada' || g, 'ada' || g || '@example.org', date '1990-05-01' + g, 'n' || g FROM generate_series(1, 3) g;
GRANT ALL ON w, w_plain TO regress_w_app, regress_w_support, regress_w_search, regress_w_none;
CREATE VIEW w_view AS SELECT id, n, name, email FROM w;
GRANT ALL ON w_view TO regress_w_support;

\c - regress_w_support
-- computed from masks: refused, whatever way it takes
UPDATE w SET n = n + 1;
UPDATE w SET name = upper(name);
UPDATE w SET copy = email::text;
UPDATE w SET copy = format('%s', name);
UPDATE w SET copy = to_jsonb(w)::text;
UPDATE w SET copy = coalesce(born::text, 'none');
UPDATE w_view SET name = lower(name);
INSERT INTO w_plain SELECT id, email FROM w;
INSERT INTO w (id, name) SELECT id + 10, name || '!' FROM w;
INSERT INTO w (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = lower(w.name);
MERGE INTO w USING (VALUES (1)) v (id) ON w.id = v.id WHEN MATCHED THEN UPDATE SET name = lower(w.name);
MERGE INTO w_plain p USING w ON p.id = w.id WHEN NOT MATCHED THEN INSERT VALUES (w.id, w.name);
WITH m AS MATERIALIZED (SELECT id, name::text AS t FROM w) UPDATE w SET copy = m.t FROM m WHERE m.id = w.id;
WITH u AS (INSERT INTO w_plain SELECT id, name FROM w RETURNING id) SELECT count(*) FROM u;
CREATE TABLE w_copy AS SELECT id, upper(name) AS t FROM w;
SELECT id, name::text AS t INTO w_copy FROM w;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) CREATE TABLE w_copy AS SELECT id, upper(name) AS t FROM w;
PREPARE w_change AS UPDATE w SET name = lower(name) WHERE id = $1;
EXECUTE w_change(1);
DELETE FROM w WHERE name::text = '****';
CREATE FUNCTION w_lower(int) RETURNS text LANGUAGE sql AS 'SELECT lower(name) FROM w WHERE id = $1';
CREATE FUNCTION w_read(int) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT name::text FROM w WHERE id = $1); END';
UPDATE w SET name = w_lower(id);
UPDATE w SET copy = w_read(id);
DO $$ DECLARE r record; BEGIN FOR r IN SELECT id, name FROM w LOOP UPDATE w SET name = upper(r.name) WHERE id = r.id; END LOOP; END $$;
-- reading still shows masks, and so does what a change returns
SELECT n, name, lower(name) AS lower, email, born::date AS born, w_read(id) AS read FROM w ORDER BY id LIMIT 1;
UPDATE w SET seen = seen + 1 RETURNING id, name, lower(name) AS lower;
WITH u AS (UPDATE w SET seen = seen WHERE id = 1 RETURNING id, name) SELECT id, lower(name) AS lower FROM u;
-- envelopes pass
INSERT INTO w (id, n, name, email) SELECT id + 100, n, name, email FROM w WHERE id = 1;
CREATE TABLE w_copy AS SELECT id, n FROM w WHERE id = 1;
-- what was shown is kept, NULL for NULL; other values are stored
UPDATE w SET n = NULL, name = '****', email = 'a***@***.org', born = '1990-01-01', note = '' WHERE id = 1;
UPDATE w SET note = NULL WHERE id = 2;
UPDATE w_view SET email = 'a***@***.org' WHERE id = 2;
INSERT INTO w (id, name) VALUES (2, '****') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, n = EXCLUDED.n;
MERGE INTO w USING (VALUES (2)) v (id) ON w.id = v.id WHEN MATCHED THEN UPDATE SET born = '1990-01-01', seen = 5;
WITH c AS (UPDATE w SET (name, n) = (SELECT '****', NULL::int) WHERE id = 3 RETURNING id) SELECT * FROM c;
UPDATE w SET name = 'Bob', n = 7 WHERE id = 101;
-- a sealed value that looks like the mask is not compared with it
UPDATE w SET born = (SELECT born FROM w WHERE id = 2) WHERE id = 3;

\c - regress_w_app
SELECT id, n, name, email, born, note, seen, copy FROM w ORDER BY id;

-- who sees ciphertext stores what he says
\c - regress_w_none
UPDATE w SET name = '****', n = NULL WHERE id = 101;
UPDATE w SET name = upper(name) WHERE id = 101;
\c - regress_w_app
SELECT id, n, name FROM w WHERE id = 101;

-- unreadable for a while: nothing is lost
SET client_min_messages = error;
\c - :su
SELECT dataprotect.suspend_key('w', 'alarm');
\c - regress_w_app
UPDATE w SET name = lower(name);
UPDATE w SET copy = name || '!';
UPDATE w SET n = n + 1 WHERE id = 1;
UPDATE w SET copy = (name = 'Ada1')::text;
INSERT INTO w_plain SELECT id, name FROM w;
UPDATE w SET copy = concat(name);
UPDATE w SET name = name, n = n, seen = 9;
SET client_min_messages = error;
UPDATE w SET n = NULL, name = NULL WHERE id = 1;
UPDATE w SET name = '****' WHERE id = 2;
UPDATE w SET seen = 10 WHERE lower(name) = 'ada1' OR name = 'Ada2';
UPDATE w SET seen = 10 WHERE id = 1 RETURNING id, lower(name) AS lower;
SELECT id, lower(name) AS lower, n::int AS n FROM w ORDER BY id LIMIT 2;
\c - :su
SELECT dataprotect.resume_key('w', 'over');
SELECT dataprotect.lockdown('alarm');
\c - regress_w_app
UPDATE w SET name = upper(name);
\c - :su
SELECT dataprotect.lift_lockdown('over');
\c - regress_w_app
SELECT id, n, name, seen, copy FROM w ORDER BY id;

-- one account in its grace time; the others go on
\c - :su
CREATE TABLE wu (id int PRIMARY KEY, email encrypted_text('w'), score int);
CREATE TABLE wo (id int PRIMARY KEY, uid int REFERENCES wu, note encrypted_text('w'), paid bool DEFAULT false); CREATE INDEX ON wo (uid);
GRANT ALL ON wu, wo TO regress_w_app, regress_w_support;
SELECT dataprotect.create_account_type('wu', 'wu', 'id', '1 day', '90 days'); SELECT dataprotect.annotate_account('wu', 'wo', ARRAY['uid'], 'delete');
SELECT dataprotect.bind_subject('wu', 'wu', 'id'); SELECT dataprotect.bind_subject('wo', 'wu', 'uid');
INSERT INTO wu SELECT g, 'E' || g || '@X.com', 0 FROM generate_series(1, 3) g; INSERT INTO wo SELECT g, g % 3 + 1, 'n' || g FROM generate_series(1, 9) g;
SELECT dataprotect.request_deletion('wu', '2', 'r') AS request \gset
\c - regress_w_app
UPDATE wu SET email = lower(email);
UPDATE wu SET email = lower(email) WHERE id <> 2;
UPDATE wu SET score = score + 1; UPDATE wo SET paid = true;
UPDATE wo SET note = note;
UPDATE wo SET note = note || '!';
UPDATE wo SET note = NULL WHERE id = 1;
UPDATE wo SET uid = 3 WHERE uid = 2;
DELETE FROM wo WHERE uid = 2 AND id = 4;
INSERT INTO wo (id, uid, note) VALUES (70, 2, 'new');
\c - regress_w_support
UPDATE wo SET note = '****' WHERE uid = 3;
\c - :su
SELECT dataprotect.cancel_deletion(:request, 'changed mind');
\c - regress_w_app
SELECT * FROM wu ORDER BY id;
SELECT * FROM wo WHERE uid > 1 ORDER BY id;

-- retention clears what the table's owner sees as NULL
SET client_min_messages = warning;
\c - regress_w_support
CREATE TABLE wr (id int PRIMARY KEY, at timestamptz NOT NULL, n encrypted_int4('w'), s encrypted_text('w_null')); CREATE INDEX ON wr (at);
INSERT INTO wr VALUES (1, now() - interval '2 years', 5, 'x'), (2, now(), 6, 'y');
\c - :su
SELECT dataprotect.create_retention_policy('wr', 'wr', 'at', '1 year', 'nullify', '{"columns": ["n", "s"]}');
SELECT dataprotect.activate_retention('wr');
CALL dataprotect.run_retention('wr');
SELECT id, n IS NULL AS n, s IS NULL AS s FROM wr ORDER BY id;

-- the same plaintext keeps its envelope, so that the update stays on the page
\c - :su
CREATE TABLE hot (id int PRIMARY KEY, email encrypted_text('w', 'searchable'), cnt int) WITH (fillfactor = 50);
CREATE INDEX hot_email ON hot (email encrypted_text_token_ops);
GRANT ALL ON hot TO regress_w_app, regress_w_search, regress_w_none, regress_w_support;
INSERT INTO hot SELECT g, 'e' || g, 0 FROM generate_series(1, 100) g;
CREATE TABLE hot_seen AS SELECT id, email FROM hot;
CREATE FUNCTION kept() RETURNS TABLE (same bigint, of bigint) LANGUAGE sql AS
    'SELECT count(*) FILTER (WHERE h.email *= s.email), count(*) FROM (SELECT id, row(email) AS email FROM hot) h JOIN (SELECT id, row(email) AS email FROM hot_seen) s USING (id)';
UPDATE hot SET email = 'e' || id, cnt = cnt + 1;
SELECT * FROM kept();
SELECT pg_stat_force_next_flush();
SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'hot';
\c - regress_w_app
UPDATE hot SET email = 'e' || id, cnt = cnt + 1;
INSERT INTO hot SELECT g, 'e' || g, 0 FROM generate_series(1, 100) g ON CONFLICT (id) DO UPDATE SET email = EXCLUDED.email;
\c - regress_w_search
UPDATE hot SET email = 'e' || id, cnt = cnt + 1;
\c - :su
SELECT * FROM kept();
-- whoever may not compare learns nothing by it
\c - regress_w_support
UPDATE hot SET email = 'e' || id WHERE id <= 10;
\c - regress_w_none
UPDATE hot SET email = 'e' || id WHERE id BETWEEN 11 AND 20;
\c - :su
SELECT * FROM kept();
-- under a newer version of the key nothing old is kept
SELECT dataprotect.rotate_key('w');
\c - regress_w_app
UPDATE hot SET email = 'e' || id WHERE id > 50;
\c - :su
SELECT * FROM kept();
\c - regress_w_app
SELECT count(*) FROM hot WHERE email = 'e' || id;
-- in arrays, rows and documents a mask keeps what is there as well, each in its place
\c - :su
CREATE TYPE w_pair AS (n encrypted_int4('w'), name encrypted_text('w_email'));
CREATE TABLE wa (id int PRIMARY KEY, tags encrypted_text('w')[], v w_pair, vs w_pair[], doc encrypted_jsonb('w'), d2 encrypted_jsonb('w_null'));
INSERT INTO wa SELECT g, ARRAY['a' || g, 'b' || g, NULL], ROW(g, 'ada' || g || '@example.org')::w_pair, ARRAY[ROW(g, 'xy@y.org')::w_pair, NULL], '{"a": 1}', '[1]' FROM generate_series(1, 4) g;
CREATE TABLE wa_old AS SELECT id, wa::text AS was, row(tags[1])::text AS first FROM wa;
CREATE VIEW wa_view AS SELECT * FROM wa;
CREATE FUNCTION wa_instead() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE wa SET tags = new.tags, v = new.v, doc = new.doc WHERE id = new.id; RETURN new; END $$;
CREATE VIEW wa_other AS SELECT * FROM wa;
CREATE TRIGGER t INSTEAD OF UPDATE ON wa_other FOR EACH ROW EXECUTE FUNCTION wa_instead();
CREATE FUNCTION wa_changed() RETURNS SETOF int LANGUAGE sql AS 'SELECT id FROM wa JOIN wa_old o USING (id) WHERE wa::text <> was ORDER BY id';
GRANT ALL ON wa, wa_view, wa_other TO regress_w_app, regress_w_support, regress_w_none;
\c - regress_w_support
SELECT tags, v, vs, doc, to_jsonb(doc) AS json FROM wa WHERE id = 1;
UPDATE wa SET tags = '{****,****,NULL}', v = '(,a***@***.org)', vs = ARRAY['(,x***@***.org)', NULL]::w_pair[], doc = '"****"', d2 = NULL;
UPDATE wa SET tags[1] = '****', v.name = 'a***@***.org', v.n = NULL;
UPDATE wa SET tags[1:2] = '{****,****}', v = ROW((v).n, 'a***@***.org') WHERE id = 2;
UPDATE wa SET v = jsonb_populate_record(v, '{"name": "a***@***.org"}'), (tags, doc) = (SELECT ARRAY['****', '****', NULL], '"****"'::jsonb);
INSERT INTO wa (id, tags, v) SELECT g, '{****,****,NULL}', '(,a***@***.org)' FROM generate_series(1, 4) g ON CONFLICT (id) DO UPDATE SET tags = EXCLUDED.tags, v = EXCLUDED.v;
MERGE INTO wa USING (VALUES (1)) x (id) ON wa.id = x.id WHEN MATCHED THEN UPDATE SET tags = '{****,****,NULL}', v.name = 'a***@***.org';
UPDATE wa_view SET tags = '{****,****,NULL}';
UPDATE wa_other SET tags = '{****,****,NULL}', v = '(,a***@***.org)', doc = '"****"';
DO $$ DECLARE r wa; BEGIN FOR r IN SELECT * FROM wa LOOP UPDATE wa SET tags = r.tags, v = r.v, vs = r.vs WHERE id = r.id; END LOOP; END $$;
-- which is meant, nobody can tell
UPDATE wa SET tags = '{****,****}' WHERE id = 1;
UPDATE wa SET tags = '{new,****,****}' WHERE id = 1;
UPDATE wa SET tags = '{{****,****,NULL}}' WHERE id = 1;
UPDATE wa SET tags = tags || ARRAY['****']::encrypted_text[] WHERE id = 1;
\c - :su
SELECT wa_changed();
-- beside what stays, something else is stored
\c - regress_w_support
UPDATE wa SET tags = '{new,****,NULL,more}', v = ROW(9, 'a***@***.org') WHERE id = 4;
UPDATE wa SET tags = '{}' WHERE id = 3;
-- while the key is suspended its values are NULL or ****
SET client_min_messages = error;
\c - :su
SELECT dataprotect.suspend_key('w', 'alarm');
\c - regress_w_app
SET client_min_messages = error;
UPDATE wa SET tags = '{NULL,NULL,NULL}', v.n = NULL, doc = NULL WHERE id = 1;
UPDATE wa SET tags = '{NULL,NULL}' WHERE id = 1;
\c - :su
SELECT dataprotect.resume_key('w', 'over');
\c - regress_w_app
SELECT id, tags, v, doc FROM wa ORDER BY id;
-- the same plaintext keeps its envelope
UPDATE wa SET tags = ARRAY['a' || id, 'b' || id, NULL], v = ROW(id, 'ada' || id || '@example.org')::w_pair, doc = '{"a": 1}' WHERE id <= 2;
\c - :su
SELECT wa_changed();
\c - regress_w_app
UPDATE wa SET tags = ARRAY['a2'] WHERE id = 2;
UPDATE wa SET tags = ARRAY['b1', 'a1', NULL] WHERE id = 1;
\c - :su
SELECT wa_changed();
SELECT id, row(tags[1])::text = first AS first FROM wa JOIN wa_old USING (id) ORDER BY id;
DROP TABLE wa, wa_old CASCADE; DROP TYPE w_pair;
\c - :su
DROP TABLE hot, hot_seen, w_plain, w_copy, w CASCADE;
