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
