-- encrypt_column keeps what is around a column, and decrypt_column gives it back.
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
CREATE SCHEMA enc;
GRANT USAGE ON SCHEMA enc TO regress_app, regress_mask, regress_none;
SET search_path = enc, public;
CREATE ROLE regress_view_owner;
GRANT USAGE, CREATE ON SCHEMA enc TO regress_view_owner;
CREATE TABLE person (
    id int PRIMARY KEY, tenant int, email varchar(80) NOT NULL DEFAULT 'none', nick text COLLATE "C" UNIQUE,
    balance numeric(8, 3), born date DEFAULT '2000-01-01', note text DEFAULT 'x' || 'y', visits int DEFAULT 0,
    changed int NOT NULL DEFAULT 0, CONSTRAINT has_email CHECK (email IS NOT NULL));
INSERT INTO person SELECT i, i % 3, 'p' || i || '@example.org', 'n' || i, i * 1.5, date '1980-01-01' + i, 'note' || i, i
FROM generate_series(1, 200) i;
COMMENT ON COLUMN person.email IS 'where to write to';
GRANT SELECT, INSERT, UPDATE, DELETE ON person TO regress_app;
GRANT SELECT (id, email), UPDATE (email) ON person TO regress_mask;
ALTER TABLE person ALTER email SET STATISTICS 77, ALTER email SET (n_distinct = -1);
CREATE INDEX person_email ON person (email) WITH (fillfactor = 70);
COMMENT ON INDEX person_email IS 'by mail';
CREATE UNIQUE INDEX person_tenant ON person (tenant, email DESC) INCLUDE (visits) WHERE visits IS NOT NULL;
CREATE VIEW names WITH (security_barrier) AS SELECT id, email, nick FROM person WHERE email LIKE 'p1%';
COMMENT ON VIEW names IS 'names';
COMMENT ON COLUMN names.email IS 'mail of names';
GRANT SELECT ON person TO regress_view_owner;
ALTER VIEW names OWNER TO regress_view_owner;
GRANT SELECT ON names TO regress_app WITH GRANT OPTION;
GRANT UPDATE (nick) ON names TO regress_mask;
ALTER VIEW names ALTER COLUMN nick SET DEFAULT 'new';
CREATE VIEW names_more AS SELECT names.*, 1 AS one FROM names;
GRANT SELECT ON names_more TO PUBLIC;
CREATE VIEW mixed AS SELECT a.email FROM names_more a JOIN person b ON a.email = b.email UNION SELECT nick FROM person ORDER BY 1;
GRANT SELECT ON mixed TO regress_app;
CREATE VIEW checked AS SELECT id, email FROM person WHERE id < 10 WITH CASCADED CHECK OPTION;
GRANT SELECT, UPDATE ON checked TO regress_app;
CREATE VIEW totals WITH (security_invoker) AS SELECT tenant, sum(balance) AS sum, max(born) AS youngest, count(DISTINCT note) AS notes FROM person GROUP BY tenant;
GRANT SELECT ON totals TO regress_app;
CREATE VIEW whole AS SELECT p FROM person p;
CREATE FUNCTION rename() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE enc.person SET nick = new.nick WHERE id = old.id; RETURN new; END $$;
CREATE TRIGGER names_update INSTEAD OF UPDATE ON names FOR EACH ROW EXECUTE FUNCTION rename();
COMMENT ON TRIGGER names_update ON names IS 'renames';
CREATE RULE more_insert AS ON INSERT TO names_more DO INSTEAD INSERT INTO enc.person (id, email) VALUES (new.id, new.email);
COMMENT ON RULE more_insert ON names_more IS 'inserts';
CREATE TABLE log (what text);
GRANT INSERT ON log TO regress_app;
CREATE RULE person_log AS ON DELETE TO person WHERE old.email = 'nobody' DO ALSO INSERT INTO enc.log VALUES ('nobody');
ALTER TABLE person DISABLE RULE person_log;
CREATE FUNCTION count_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.changed := old.changed + 1; RETURN new; END $$;
CREATE TRIGGER email_changed BEFORE UPDATE OF email ON person
    FOR EACH ROW WHEN (old.email IS DISTINCT FROM new.email) EXECUTE FUNCTION count_change();
ALTER TABLE person ENABLE ALWAYS TRIGGER email_changed;
COMMENT ON TRIGGER email_changed ON person IS 'counts';
ALTER DEFAULT PRIVILEGES IN SCHEMA enc GRANT SELECT ON TABLES TO regress_none;

CREATE VIEW catalog AS
    SELECT 'relation' AS what, format('%s %s %s %s', c.relname, pg_get_userbyid(c.relowner), c.reloptions,
        (SELECT array_agg(x ORDER BY x) FROM unnest(coalesce(c.relacl, acldefault('r', c.relowner))::text[]) x)) AS line
        FROM pg_class c WHERE relnamespace = 'enc'::regnamespace AND relkind IN ('r', 'v') AND relname <> 'catalog'
    UNION ALL SELECT 'column', format('%s.%s %s %s %s %s %s', c.relname, a.attname, a.attnotnull, a.attacl, a.attstattarget,
        (SELECT array_agg(o) FROM unnest(a.attoptions) o WHERE o NOT LIKE 'pg\_%'), (SELECT collname FROM pg_collation WHERE oid = a.attcollation))
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'enc'::regnamespace AND c.relkind IN ('r', 'v') AND a.attnum > 0 AND c.relname <> 'catalog'
    UNION ALL SELECT 'comment', format('%s %s', o.identity, d.description)
        FROM pg_description d, pg_identify_object(d.classoid, d.objoid, d.objsubid) o WHERE o.identity LIKE '%enc.%'
    UNION ALL SELECT 'trigger', format('%s %s', pg_get_triggerdef(t.oid), t.tgenabled)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'enc'::regnamespace AND NOT t.tgisinternal
    UNION ALL SELECT 'rule', format('%s %s', r.rulename, r.ev_enabled)
        FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relnamespace = 'enc'::regnamespace AND r.rulename <> '_RETURN'
    UNION ALL SELECT 'constraint', pg_get_constraintdef(k.oid) FROM pg_constraint k
        WHERE connamespace = 'enc'::regnamespace AND contype <> 'n';
CREATE TABLE before AS SELECT * FROM catalog;
CREATE FUNCTION rows_of(OUT relation text, OUT n bigint, OUT digest text) RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
    FOREACH relation IN ARRAY ARRAY['person', 'names', 'names_more', 'mixed', 'checked', 'totals'] LOOP
        EXECUTE format('SELECT count(*), md5(string_agg(x::text, '','' ORDER BY x::text COLLATE "C")) FROM enc.%I x', relation) INTO n, digest;
        RETURN NEXT;
    END LOOP;
END
$$;
CREATE TABLE rows_before AS SELECT * FROM rows_of();
GRANT SELECT ON rows_before TO regress_app;

CREATE FUNCTION mails() RETURNS TABLE (mail text) LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY SELECT email::text FROM enc.person WHERE id < 3 ORDER BY id; END $$;
CALL dataprotect.encrypt_column('person', 'email', 'pii');
CALL dataprotect.encrypt_column('person', 'nick', 'pii');
CALL dataprotect.encrypt_column('person', 'balance', 'money', ordered => true);
CALL dataprotect.encrypt_column('person', 'born', 'born');
CALL dataprotect.encrypt_column('person', 'note', 'pii');
CALL dataprotect.encrypt_column('person', 'visits', 'pii');
SELECT col, type, key, searchable, ordered FROM dataprotect.protected_columns WHERE rel = 'person'::regclass ORDER BY col;
\d person
-- around it only what became of the unique constraint, and nothing appeared
SELECT * FROM before EXCEPT SELECT * FROM catalog WHERE what <> 'relation' OR line NOT LIKE '%before %' ORDER BY 1, 2;
SELECT * FROM catalog WHERE line NOT LIKE 'before%' AND line NOT LIKE 'rows_before%' EXCEPT SELECT * FROM before ORDER BY 1, 2;
-- a role that may read gets the rows it got before
\c - regress_app
SET search_path = enc, public;
SELECT b.relation, b.n = a.n AND b.digest = a.digest AS same FROM rows_before b JOIN rows_of() a USING (relation);
SELECT * FROM mails();
-- defaults, modifiers, uniqueness, triggers and rules still work
INSERT INTO person (id) VALUES (1001) RETURNING email, nick, balance, born, note, visits;
INSERT INTO person (id, email) VALUES (1002, repeat('x', 81));
INSERT INTO person (id, balance) VALUES (1002, 123456.789);
INSERT INTO person (id, balance) VALUES (1002, 1.23456) RETURNING balance;
INSERT INTO person (id, nick) VALUES (1003, 'n1');
INSERT INTO person (id, nick) VALUES (1003, 'n1') ON CONFLICT (nick) DO UPDATE SET note = 'again' RETURNING id, note;
INSERT INTO person (id, email) VALUES (1004, NULL);
UPDATE person SET email = email WHERE id = 2 RETURNING changed;
UPDATE person SET email = 'other@example.org' WHERE id = 2 RETURNING changed;
UPDATE checked SET id = 5000 WHERE id = 9;
SELECT id FROM person WHERE balance BETWEEN 10 AND 12 ORDER BY balance;
-- what a role without rights sees through the same views
\c - regress_mask
SELECT email FROM enc.person ORDER BY id LIMIT 1;
\c - regress_none
SELECT left(email::text, 7) FROM enc.names_more ORDER BY id LIMIT 1;
SELECT left(x, 7) FROM (SELECT format('%s', email) AS x FROM enc.names_more ORDER BY id LIMIT 1) q;
SELECT id FROM enc.names_more WHERE email = 'p10@example.org';

-- an index over few values is worth a warning; one for patterns serves equality afterwards
\c - :su
CREATE TABLE enc.few (id int, sex text, city text, code text COLLATE "C");
INSERT INTO enc.few SELECT i, 'fm'::text, 'city ' || i % 7, i FROM generate_series(1, 1000) i;
CREATE INDEX few_city ON enc.few (city);
CREATE INDEX few_code ON enc.few (code text_pattern_ops);
ANALYZE enc.few;
CALL dataprotect.encrypt_column('enc.few', 'sex', 'pii');
-- whose functions a reader's statement runs, and who may not read, is told before they miss a value
CREATE FUNCTION enc.city_of(int) RETURNS text LANGUAGE sql AS 'SELECT city::text FROM enc.few WHERE id = $1';
CREATE FUNCTION enc.city_by_reader(int) RETURNS text LANGUAGE sql AS 'SELECT city::text FROM enc.few WHERE id = $1';
CREATE FUNCTION enc.watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE FUNCTION enc.watch_trusted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
ALTER FUNCTION enc.city_of(int) OWNER TO regress_none;
ALTER FUNCTION enc.city_by_reader(int) OWNER TO regress_app;
ALTER FUNCTION enc.watch() OWNER TO regress_mask;
ALTER FUNCTION enc.watch_trusted() OWNER TO regress_mask;
CREATE TRIGGER watch BEFORE INSERT ON enc.few FOR EACH ROW EXECUTE FUNCTION enc.watch();
CREATE TRIGGER watch_trusted BEFORE INSERT ON enc.few FOR EACH ROW EXECUTE FUNCTION enc.watch_trusted();
SELECT dataprotect.trust_function('enc.watch_trusted()', 'looks at nothing');
CALL dataprotect.encrypt_column('enc.few', 'city', 'pii');
CALL dataprotect.encrypt_column('enc.few', 'code', 'pii');
SELECT attname, n_distinct, most_common_vals, histogram_bounds FROM pg_stats WHERE schemaname = 'enc' AND tablename = 'few' AND attname <> 'id';
DROP TABLE enc.few;
DROP FUNCTION enc.city_of(int), enc.city_by_reader(int), enc.watch(), enc.watch_trusted();

-- and back
\c - :su
SET search_path = enc, public;
SELECT dataprotect.grant_access(k, current_user::regrole, 'reveal') > 0 AS granted FROM unnest('{pii,money,born}'::text[]) k;
DELETE FROM person WHERE id > 1000;
UPDATE person SET email = 'p2@example.org' WHERE id = 2;
UPDATE person SET note = 'note1' WHERE id = 1;
UPDATE person SET changed = 0;
CALL dataprotect.decrypt_column('person', 'email');
CALL dataprotect.decrypt_column('person', 'nick');
CALL dataprotect.decrypt_column('person', 'balance');
CALL dataprotect.decrypt_column('person', 'born');
CALL dataprotect.decrypt_column('person', 'note');
CALL dataprotect.decrypt_column('person', 'visits');
SELECT dataprotect.revoke_access(k, current_user::regrole) AS revoked FROM unnest('{pii,money,born}'::text[]) k;
\d person
SELECT * FROM before EXCEPT SELECT * FROM catalog ORDER BY 1, 2;
SELECT b.relation, b.n = a.n AND b.digest = a.digest AS same FROM rows_before b JOIN rows_of() a USING (relation);
SET client_min_messages = warning;
DROP SCHEMA enc CASCADE;
DROP ROLE regress_view_owner;
