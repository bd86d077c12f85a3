-- find_personal_data() and protect_plan(): what looks personal, by name, by content, by both;
-- what does not; who may have contents looked at.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA found;
CREATE TABLE found.people (
    id int PRIMARY KEY, "firstName" text, nachname varchar(40), email text UNIQUE, tel text, dob date, notes text,
    created_at timestamptz, last_login_ip inet, x1 text, x2 text, x3 bigint, x4 text, x5 text, x6 text, x7 text,
    product_name text, status text, payload jsonb, height int, order_no bigint, sku text, amount numeric, started date);
INSERT INTO found.people
    SELECT i, (ARRAY['Anna', 'Zoe', 'Bert'])[i % 3 + 1], 'Meyer', 'a' || i || '@example.org', '+49 30 ' || 1234567 + i, date '1960-01-01' + 7 * i,
        'call a' || i || '@example.org about what was ordered last week', now(), '10.0.0.1', 'DE89 3704 0044 0532 0130 00', '4111 1111 1111 1111', 5500005555555559,
        '123-45-' || 1000 + i, '12345678Z', 'RSSMRA85T10A562S', '2001:db8::' || to_hex(i),
        'Chair', 'Active', '{"mail": "x@example.org", "street": "somewhere in the city"}', 170, 4111111111111112, 'AB' || i, i * 1.25, current_date - i
    FROM generate_series(1, 300) i;
CREATE TABLE found.visits (id int, ip text, d text, passport_no text) PARTITION BY RANGE (id);
CREATE TABLE found.visits_1 PARTITION OF found.visits FOR VALUES FROM (0) TO (100000);
INSERT INTO found.visits SELECT i, '192.168.1.' || i % 255, '2024-01-' || lpad((i % 28 + 1)::text, 2, '0'), NULL FROM generate_series(1, 300) i;
CREATE VIEW found.seen AS SELECT email FROM found.people;
ANALYZE found.people, found.visits;

SELECT rel, col, kind, confidence, reasons, rows FROM dataprotect.find_personal_data('found');
SELECT regexp_replace(call, '''[^'']*''(, searchable => true)?\)$', 'KEY\1)') FROM dataprotect.find_personal_data('found') ORDER BY rel::text, col;
-- by name and type alone
SELECT rel, col, kind, confidence, reasons FROM dataprotect.find_personal_data('found', 0) ORDER BY confidence DESC, col LIMIT 4;

-- errors change nothing
SELECT * FROM dataprotect.find_personal_data('nosuch');
SELECT * FROM dataprotect.find_personal_data(NULL);
SELECT * FROM dataprotect.find_personal_data('found', -1);
SELECT * FROM dataprotect.find_personal_data('found', NULL);
SELECT dataprotect.protect_plan('nosuch');

-- an administrator's call counts only what he may read himself, every row of it
CREATE ROLE regress_finder LOGIN IN ROLE dataprotect_admin;
GRANT USAGE ON SCHEMA found TO regress_finder;
GRANT SELECT (id, email) ON found.people TO regress_finder;
GRANT SELECT ON found.visits TO regress_finder;
ALTER TABLE found.visits ENABLE ROW LEVEL SECURITY;
SET ROLE regress_finder;
SELECT rel, col, kind, reasons FROM dataprotect.find_personal_data('found') ORDER BY rel::text, col;
RESET ROLE;
-- nor does a function of somebody who may lend what he has
CREATE FUNCTION found.lent() RETURNS bigint LANGUAGE sql SECURITY DEFINER
    RETURN (SELECT count(*) FROM dataprotect.find_personal_data('found') WHERE array_to_string(reasons, ' ') ~ 'sampled');
GRANT EXECUTE ON FUNCTION found.lent() TO PUBLIC;
SET ROLE regress_finder;
SELECT found.lent();
RESET ROLE;
CREATE ROLE regress_nobody;
SET ROLE regress_nobody;
SELECT * FROM dataprotect.find_personal_data('found');
SELECT dataprotect.protect_plan('found');
SELECT * FROM dataprotect.check_setup();
SELECT dataprotect.report();
RESET ROLE;

-- the plan: its calls run as they are, and then there is nothing left to find
CREATE TEMP TABLE plan AS SELECT line, n FROM regexp_split_to_table(dataprotect.protect_plan('found'), '\n') WITH ORDINALITY l (line, n);
SELECT regexp_replace(line, 'found at .*', 'found at ...') FROM plan WHERE line !~ 'disk meanwhile|create_key|^CALL|grant_access' ORDER BY n;
SELECT count(*) FROM plan WHERE line ~ '^CALL';
SELECT count(*) < 2 FROM (SELECT dataprotect.create_key('pii') WHERE NOT EXISTS (SELECT FROM dataprotect.keys WHERE state = 'active')) made;
SELECT line AS calls FROM plan WHERE line ~ '^CALL.*found.visits' \gset
:calls
SELECT col, kind FROM dataprotect.find_personal_data('found') WHERE rel = 'found.visits'::regclass;
SELECT count(*) FROM dataprotect.protected_columns WHERE rel::text LIKE 'found.%';

-- versions
SELECT library = extension AND library = available AS one, (released IS NULL) = (age IS NULL) AS dated, consistent FROM dataprotect.dataprotect_version();
SELECT item, ok FROM dataprotect.check_setup() WHERE item IN ('preload', 'one version', 'default KMS root', 'locked memory') ORDER BY 1;
DROP SCHEMA found CASCADE;
DROP OWNED BY regress_finder;
DROP ROLE regress_finder, regress_nobody;
