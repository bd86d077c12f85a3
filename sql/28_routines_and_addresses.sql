-- Functions that PostgreSQL knows to depend on a column are made again with it, and addresses are
-- searchable (cases: columns, E and H; index-over-a-type-without-equality).
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
CREATE SCHEMA rout;
GRANT USAGE ON SCHEMA rout TO regress_app;
SET search_path = rout, public;
CREATE TABLE person (id int PRIMARY KEY, email text, nick text);
INSERT INTO person VALUES (1, 'a@x', 'ada'), (2, 'b@x', 'bob');
CREATE VIEW mails AS SELECT id, email FROM person;
CREATE FUNCTION by_mail(m text) RETURNS SETOF int LANGUAGE sql STABLE BEGIN ATOMIC SELECT id FROM person WHERE email = m; END;
COMMENT ON FUNCTION by_mail(text) IS 'finds one';
CREATE FUNCTION all_mails(low int DEFAULT 0) RETURNS SETOF mails LANGUAGE sql STABLE AS 'SELECT * FROM rout.mails WHERE id > low ORDER BY id';
CREATE FUNCTION mail_of(m mails) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT m.email::text';
CREATE PROCEDURE rename_all(suffix text) LANGUAGE sql BEGIN ATOMIC UPDATE person SET nick = nick || suffix WHERE email IS NOT NULL; END;
ALTER DEFAULT PRIVILEGES IN SCHEMA rout GRANT EXECUTE ON FUNCTIONS TO regress_none;
REVOKE ALL ON FUNCTION by_mail(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION by_mail(text) TO regress_app WITH GRANT OPTION;
GRANT SELECT ON person, mails TO regress_app;
CREATE VIEW routines AS
    SELECT p.oid::regprocedure AS routine, pg_get_userbyid(p.proowner) = current_user AS own, p.provolatile, p.prokind,
        (SELECT array_agg(x ORDER BY x) FROM (SELECT replace(a::text, current_user, 'su') FROM unnest(p.proacl) a) s(x)) AS acl,
        obj_description(p.oid, 'pg_proc') AS comment
    FROM pg_proc p WHERE p.pronamespace = 'rout'::regnamespace;
CREATE TABLE before AS SELECT * FROM routines;
CALL dataprotect.encrypt_column('person', 'email', 'pii');
SELECT routine::text, own, provolatile, prokind, acl, comment FROM routines ORDER BY 1;
\c - regress_app
SET search_path = rout, public;
SELECT by_mail('b@x');
SELECT * FROM all_mails();
SELECT mail_of(m) FROM mails m WHERE id = 1;
\c - :su
SET search_path = rout, public;
CALL rename_all('!');
SELECT nick FROM person ORDER BY id;
-- what uses such a function, or belongs to somebody else, is named before anything is locked
CREATE VIEW over_function AS SELECT * FROM by_mail('a@x');
SELECT dataprotect.grant_access('pii', :'su', 'reveal') > 0 AS granted;
CALL dataprotect.decrypt_column('person', 'email');
DROP VIEW over_function;
CREATE AGGREGATE mail_count(mails) (sfunc = int8inc_any, stype = int8, initcond = '0');
CALL dataprotect.decrypt_column('person', 'email');
DROP AGGREGATE mail_count(mails);
SET client_min_messages = warning;
CALL dataprotect.decrypt_column('person', 'email');
RESET client_min_messages;
SELECT (SELECT count(*) FROM (SELECT own, provolatile, prokind, acl, comment FROM routines) r) AS routines;
SELECT dataprotect.revoke_access('pii', :'su') > 0 AS revoked;

-- addresses: unique and part of an index of several columns
CREATE TABLE visit (id int PRIMARY KEY, ip inet, last inet UNIQUE);
CREATE UNIQUE INDEX visit_once ON visit (id, ip);
INSERT INTO visit VALUES (1, '10.0.0.1', '10.0.0.1'), (2, '10.0.0.0/8', '10.0.0.0/8'), (3, '::ffff:10.0.0.1', '::ffff:10.0.0.1');
SET client_min_messages = warning;
CALL dataprotect.encrypt_column('visit', 'ip', 'pii');
CALL dataprotect.encrypt_column('visit', 'last', 'pii');
RESET client_min_messages;
SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'visit'::regclass ORDER BY 1;
GRANT SELECT, INSERT ON visit TO regress_app;
\c - regress_app
SET search_path = rout, public;
INSERT INTO visit VALUES (4, NULL, '10.0.0.1/32');
INSERT INTO visit VALUES (1, '10.0.0.1/32', NULL);
INSERT INTO visit VALUES (4, '10.0.0.1/8', '10.0.0.1/8');
SELECT id, ip FROM visit WHERE last = '10.0.0.1' OR last = '::ffff:10.0.0.1' ORDER BY id;
SET enable_seqscan = off;
SELECT id FROM visit WHERE last = '10.0.0.0/8';
\c - :su
SET client_min_messages = warning;
DROP SCHEMA rout CASCADE;
-- what reports and API code compute gives the plain column's value (case: expressions-of-reports); types are those on the wire
CREATE TABLE report_plain (id int, d date, n numeric, i int4, i8 int8, f float8, ts timestamp, tm time, j jsonb);
CREATE TABLE report (id int, d encrypted_date('pii'), n encrypted_numeric('pii'), i encrypted_int4('pii'), i8 encrypted_int8('pii'),
    f encrypted_float8('pii'), ts encrypted_timestamp('pii'), tm encrypted_time('pii'), j encrypted_jsonb('pii'));
INSERT INTO report_plain VALUES (1, '2020-01-03', 12.50, 7, 5, 0.5, '2020-01-03 10:00', '10:00', '{"a": 1}');
INSERT INTO report SELECT * FROM report_plain;
GRANT ALL ON report, report_plain TO regress_app;
SELECT current_user AS reporter \gset
\c - regress_app
DO $$
DECLARE
    expression text;
    wanted text;
    got text;
BEGIN
    FOREACH expression IN ARRAY ARRAY['coalesce(j, ''{}'') || ''{"y": 3}''', 'age(d) > ''1 year''', 'age(timestamp ''2021-01-03'', d)', 'sum(coalesce(n, 0))',
        'greatest(n, 0)', 'i / 2.0', 'i = 1.0', 'i ^ 2', 'n * i', 'n - f', 'i > (SELECT avg(x.i) FROM public.%1$I x)', 'now() - ts > ''1 day''',
        'ts < current_date', 'least(i, i8)', 'i8 > i', 'to_char(tm, ''HH24:MI'')', 'avg(tm)', 'd + tm', 'd + time ''01:00''',
        '(d, d + 1) OVERLAPS (date ''2020-01-01'', date ''2020-02-01'')', 'd <@ daterange(''2020-01-01'', ''2021-01-01'')', 'daterange(d, d + 5)',
        'generate_series(1, i)', 'percentile_disc(0.5) WITHIN GROUP (ORDER BY i)', 'corr(f, i)', 'stddev(n)', 'range_agg(daterange(d, d + 1))',
        '(SELECT b.x FROM (VALUES (7::smallint)) b (x) WHERE b.x = v.i)'] LOOP
        EXECUTE format('SELECT string_agg(format(''%%s'', o), '','') FROM (SELECT ' || expression || ' FROM public.%1$I v) x (o)', 'report_plain') INTO wanted;
        EXECUTE format('SELECT string_agg(format(''%%s'', o), '','') FROM (SELECT ' || expression || ' FROM public.%1$I v) x (o)', 'report') INTO got;
        IF got IS DISTINCT FROM wanted THEN
            RAISE NOTICE '%: % in place of %', expression, got, wanted;
        END IF;
    END LOOP;
END $$;
PREPARE add (unknown, int) AS UPDATE report SET j = j || $1 WHERE id = $2 RETURNING j;
EXECUTE add ('{"z": 2}', 1);
\c - :reporter
DROP TABLE report, report_plain;
