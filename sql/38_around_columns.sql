-- What stands around a column that encrypt_column keeps, each as readers, writers and others had it:
-- policies, materialized views, statistics objects.
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
\set VERBOSITY terse
CREATE SCHEMA around;
SET search_path = around, public;
SET client_min_messages = warning;
SELECT dataprotect.create_key('around');
SELECT dataprotect.grant_access('around', 'regress_app', 'reveal') > 0 AS granted;
SELECT dataprotect.grant_access('around', 'regress_search', 'search') > 0 AS granted;
SELECT dataprotect.grant_access('around', 'regress_mask', 'mask') > 0 AS granted;
RESET client_min_messages;
CREATE ROLE regress_author NOLOGIN;
GRANT ALL ON SCHEMA around TO regress_author;
GRANT USAGE ON SCHEMA around TO regress_app, regress_search, regress_mask, regress_none;

-- policies: the same rows for who may read or search, an error for others
CREATE TABLE mail (id int PRIMARY KEY, email text, owner text, body text);
CREATE TABLE part (id int PRIMARY KEY, mail_id int);
INSERT INTO mail SELECT g, (ARRAY['regress_app', 'regress_search', 'regress_mask', 'regress_none'])[g % 4 + 1], 'o', 'body ' || g
FROM generate_series(0, 7) g;
INSERT INTO part SELECT g, g FROM generate_series(0, 7) g;
ALTER TABLE mail ENABLE ROW LEVEL SECURITY;
ALTER TABLE part ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON mail USING (email = current_user);
CREATE POLICY never ON mail AS RESTRICTIVE FOR UPDATE TO regress_app, regress_search USING (email <> 'nobody') WITH CHECK (lower(email) LIKE 'regress%');
CREATE POLICY of_mail ON part FOR SELECT USING (EXISTS (SELECT FROM mail m WHERE m.id = part.mail_id AND m.email = current_user));
COMMENT ON POLICY own ON mail IS 'each their own';
GRANT ALL ON mail, part TO regress_app, regress_search, regress_mask, regress_none;
CREATE VIEW policies AS SELECT c.relname, p.polname, p.polcmd, p.polpermissive, p.polroles::regrole[] AS roles, obj_description(p.oid) AS comment
    FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = 'around'::regnamespace;
CREATE TEMP TABLE before AS TABLE policies;
CALL dataprotect.encrypt_column('mail', 'email', 'around', searchable => true);
(TABLE policies EXCEPT TABLE before) UNION ALL (TABLE before EXCEPT TABLE policies);
\c - regress_app
SET search_path = around, public;
SELECT id, email FROM mail ORDER BY id;
SELECT id FROM part ORDER BY id;
INSERT INTO mail VALUES (10, 'regress_app', 'o');
INSERT INTO mail VALUES (11, 'regress_none', 'o');
UPDATE mail SET body = 'new' WHERE id = 0;
UPDATE mail SET email = 'other' WHERE id = 0;
\c - regress_search
SET search_path = around, public;
SELECT id FROM mail ORDER BY id;
SELECT id FROM part ORDER BY id;
\c - regress_mask
SET search_path = around, public;
SELECT id FROM mail ORDER BY id;
INSERT INTO mail VALUES (12, 'regress_mask', 'o');
\c - regress_none
SET search_path = around, public;
SELECT id FROM mail ORDER BY id;
INSERT INTO mail VALUES (13, 'regress_none', 'o');
\c - :su
SET search_path = around, public;
-- one that would have no meaning is refused by name, before the lock
CREATE FUNCTION same(anyelement, anyelement) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 = $2';
CREATE TABLE odd (id int, v text, w text);
CREATE POLICY odd ON odd USING (same(v, w));
\set VERBOSITY default
CALL dataprotect.encrypt_column('odd', 'v', 'around');
\set VERBOSITY terse
-- on another's table it is its owner's
CREATE TABLE theirs (id int, k text);
CREATE TABLE refers (id int);
CREATE ROLE regress_columns NOLOGIN IN ROLE dataprotect_admin;
GRANT ALL ON SCHEMA around TO regress_columns;
CREATE POLICY looks ON refers USING (EXISTS (SELECT FROM theirs WHERE k = 'x'));
ALTER TABLE theirs OWNER TO regress_columns;
\set VERBOSITY default
SET ROLE regress_columns;
CALL dataprotect.encrypt_column('theirs', 'k', 'around');
RESET ROLE;
\set VERBOSITY terse
DROP POLICY looks ON refers;

-- statistics objects go on without protected values
CREATE TABLE counted (a int, b int, c text, d text);
CREATE STATISTICS two ON a, c FROM counted;
CREATE STATISTICS three (ndistinct, mcv) ON a, b, c FROM counted;
COMMENT ON STATISTICS three IS 'of three';
ALTER STATISTICS three SET STATISTICS 77;
CREATE STATISTICS folded ON a, b, (lower(c)) FROM counted;
CREATE STATISTICS others ON a, (a + b) FROM counted;
ALTER STATISTICS three OWNER TO regress_author;
CALL dataprotect.encrypt_columns('counted', '{"c": "around", "d": "around"}');
SELECT stxname, stxkeys, stxkind, obj_description(oid) AS comment, nullif((to_jsonb(s) ->> 'stxstattarget')::int, -1) AS target, stxowner = 'regress_author'::regrole AS theirs
FROM pg_statistic_ext s WHERE stxrelid = 'counted'::regclass ORDER BY stxname COLLATE "C";
ANALYZE counted;

-- indexes that are not unique go on without what they may not know; queries find the same
CREATE TYPE around_mood AS ENUM ('low', 'high');
CREATE TABLE visit (id int PRIMARY KEY, who text, state text, active bool, mood around_mood, at int, words tsvector, gone int);
INSERT INTO visit SELECT g, 'w' || g, (ARRAY['new', 'done'])[g % 2 + 1], g % 3 = 0, (ARRAY['low', 'high'])[g % 2 + 1]::around_mood, g FROM generate_series(1, 30) g;
CREATE INDEX visit_active ON visit (at) WHERE active;
CREATE INDEX visit_state ON visit (who, at DESC) WHERE state IN ('new', 'open') AND gone IS NULL;
CREATE INDEX visit_own ON visit (state) WHERE state LIKE 'n%';
CREATE INDEX visit_set ON visit (at) WHERE state <> '';
CREATE INDEX visit_words ON visit USING gist (words tsvector_ops (siglen = 100)) WHERE active;
CREATE INDEX visit_mood ON visit (mood, at) INCLUDE (who);
CREATE INDEX visit_both ON visit (mood, active);
CREATE UNIQUE INDEX visit_promise ON visit (at) WHERE state = 'new';
CREATE VIEW indexes AS SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = 'visit'::regclass AND NOT i.indisprimary
    ORDER BY i.indexrelid::regclass::text COLLATE "C";
\set VERBOSITY default
CALL dataprotect.encrypt_column('visit', 'state', 'around');
CREATE INDEX visit_flag ON visit (active);
CALL dataprotect.encrypt_column('visit', 'active', 'around');
\set VERBOSITY terse
DROP INDEX visit_promise, visit_flag;
CALL dataprotect.encrypt_columns('visit', '{"state": "around", "active": "around", "mood": "around"}');
TABLE indexes;
GRANT SELECT ON visit TO regress_app;
\c - regress_app
SET search_path = around, public;
SET enable_seqscan = off;
SELECT count(*) FROM visit WHERE active AND at < 10;
SELECT count(*) FROM visit WHERE state IN ('new', 'open') AND gone IS NULL AND who = 'w2';
SELECT count(*) FROM visit WHERE state LIKE 'n%' AND state = 'new';
SELECT count(*) FROM visit WHERE mood = 'high' AND at < 10;
\c - :su
SET search_path = around, public;

-- publications with lists of columns, and the replica identity
CREATE TABLE sent (id int NOT NULL, email text NOT NULL, note text);
CREATE UNIQUE INDEX sent_email ON sent (email);
ALTER TABLE sent REPLICA IDENTITY USING INDEX sent_email;
SET client_min_messages = error;	-- wal_level, worded by version
CREATE PUBLICATION around_list FOR TABLE sent (id, email) WHERE (id > 0);
CREATE PUBLICATION around_filter FOR TABLE sent WHERE (email <> 'x');
RESET client_min_messages;
CALL dataprotect.encrypt_column('sent', 'email', 'around');
DROP PUBLICATION around_filter;
SET client_min_messages = error;
CALL dataprotect.encrypt_column('sent', 'email', 'around');
RESET client_min_messages;
SELECT p.pubname, t.attnames, t.rowfilter FROM pg_publication p JOIN pg_publication_tables t USING (pubname) WHERE t.tablename = 'sent';
SELECT i.indexrelid::regclass, i.indisreplident, c.relreplident FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.oid = 'sent'::regclass;
DROP PUBLICATION around_list;

-- materialized views hold what the table holds
CREATE TABLE person (id int PRIMARY KEY, email text, name varchar(20), doc jsonb);
INSERT INTO person SELECT g, 'p' || g || '@x.org', 'name ' || g, '{"city": "x"}' FROM generate_series(1, 5) g;
CREATE VIEW middle AS SELECT id, email AS mail FROM person;
CREATE MATERIALIZED VIEW stored WITH (fillfactor = 90) AS SELECT id, mail FROM middle WHERE id < 4;
CREATE MATERIALIZED VIEW above AS SELECT s.id, s.mail, p.name FROM stored s JOIN person p USING (id) WITH NO DATA;
CREATE VIEW top AS SELECT count(*) AS n FROM stored;
CREATE UNIQUE INDEX stored_id ON stored (id);
CREATE INDEX stored_part ON stored ((id % 2)) WHERE mail IS NOT NULL;
COMMENT ON MATERIALIZED VIEW stored IS 'a copy';
COMMENT ON COLUMN stored.mail IS 'address';
COMMENT ON INDEX stored_id IS 'for concurrently';
ALTER MATERIALIZED VIEW stored ALTER COLUMN id SET STATISTICS 7;
GRANT SELECT ON stored TO regress_app, regress_mask, regress_none;
GRANT SELECT ON person, middle, top TO regress_app, regress_author;
ALTER MATERIALIZED VIEW stored OWNER TO regress_author;
CREATE VIEW copies AS SELECT c.relname, c.relispopulated, c.reloptions, c.relowner::regrole,
    (SELECT array_agg(DISTINCT x.grantee::regrole ORDER BY x.grantee::regrole) FROM aclexplode(c.relacl) x WHERE x.privilege_type = 'SELECT') AS readers, obj_description(c.oid) AS comment,
    (SELECT array_agg(format('%s %s %s %s', a.attname, format_type(a.atttypid, a.atttypmod), nullif(a.attstattarget, -1), col_description(c.oid, a.attnum)) ORDER BY a.attnum)
     FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0) AS columns,
    (SELECT array_agg(pg_get_indexdef(i.indexrelid) || coalesce(obj_description(i.indexrelid), '') ORDER BY i.indexrelid) FROM pg_index i WHERE i.indrelid = c.oid) AS indexes
    FROM pg_class c WHERE c.relkind = 'm' AND c.relnamespace = 'around'::regnamespace ORDER BY 1;
TABLE copies;
CALL dataprotect.encrypt_column('person', 'email', 'around');
TABLE copies;
SELECT n FROM top;
REFRESH MATERIALIZED VIEW CONCURRENTLY stored;
SELECT count(*) FROM stored s WHERE dataprotect._envelope_key_id(s.mail) IS NULL;
\c - regress_app
SET search_path = around, public;
SELECT * FROM stored ORDER BY id;
\c - regress_none
SET search_path = around, public;
SELECT count(*) FROM stored WHERE mail IS NOT NULL;
SELECT lower(mail) FROM stored;
\c - :su
SET search_path = around, public;
-- what would store a result, also behind a view, or has an index over it, is refused before the lock
\set VERBOSITY default
CREATE MATERIALIZED VIEW city AS SELECT id, doc ->> 'city' AS city FROM person;
CALL dataprotect.encrypt_column('person', 'doc', 'around');
DROP MATERIALIZED VIEW city;
CREATE VIEW folds AS SELECT lower(name) AS name FROM person;
CREATE MATERIALIZED VIEW of_folds AS SELECT name FROM folds;
CALL dataprotect.encrypt_column('person', 'name', 'around');
DROP MATERIALIZED VIEW of_folds;
CREATE MATERIALIZED VIEW names AS SELECT id, name FROM person;
CREATE INDEX names_name ON names (name);
CALL dataprotect.encrypt_column('person', 'name', 'around');
DROP INDEX names_name;
CALL dataprotect.encrypt_column('person', 'name', 'around');
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT dataprotect.grant_access('around', :'su', 'reveal') > 0 AS granted;
RESET client_min_messages;
CALL dataprotect.decrypt_column('person', 'email');
TABLE copies;
SELECT * FROM stored ORDER BY id;
SET client_min_messages = warning;
SELECT dataprotect.revoke_access('around', :'su') > 0 AS revoked;
DROP SCHEMA around CASCADE;
DROP ROLE regress_author, regress_columns;
