-- An index over a protected column exists only for roles that may use it.
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
\c - regress_app
CREATE TABLE h (id int PRIMARY KEY, hashed encrypted_text('pii'), token encrypted_text('pii', 'searchable'),
                sorted encrypted_int4('pii', 'ordered'), plain int);
INSERT INTO h SELECT n, 'name' || n, 'token' || n, n, n FROM generate_series(1, 1000) n;
CREATE INDEX h_hash ON h USING hash (hashed);
CREATE UNIQUE INDEX h_token ON h (token encrypted_text_token_ops);
CREATE INDEX h_sorted ON h (sorted) INCLUDE (id);
CREATE INDEX h_mixed ON h (plain, token encrypted_text_token_ops);
CREATE TABLE guess (g text);
INSERT INTO guess SELECT 'name' || n FROM generate_series(1, 3) n;
GRANT SELECT, UPDATE ON h, guess TO regress_search, regress_mask, regress_none;
ANALYZE h;
-- which indexes a plan for each of them may use
CREATE FUNCTION plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    line text;
    used text := 'no index';
BEGIN
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_bitmapscan = off;
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        used := coalesce(substring(line FROM 'using (h_\w+)'), used);
    END LOOP;
    RETURN used;
END
$$;
CREATE VIEW plans AS
    SELECT q AS query, plan_of(q) AS plan
    FROM unnest(ARRAY['SELECT id FROM h WHERE hashed = ''name7''', 'SELECT id FROM h WHERE token = ''token7''',
                      'SELECT id FROM h WHERE sorted = 7', 'SELECT id FROM h WHERE sorted < 7', 'SELECT id FROM h ORDER BY sorted LIMIT 1',
                      'SELECT id FROM h WHERE plain = 7', 'SELECT id FROM h WHERE id = 7']) q;
GRANT SELECT ON plans TO regress_search, regress_mask, regress_none;
SELECT * FROM plans;
\c - regress_search
SELECT * FROM plans;
\c - regress_mask
SELECT * FROM plans;
\c - regress_none
SELECT * FROM plans;
\c - :su
SELECT * FROM plans;

-- search: one constant or parameter, never another row's value
\c - regress_search
\set SHOW_CONTEXT never
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT id FROM h WHERE hashed = 'name7';
PREPARE one(text) AS SELECT id FROM h WHERE hashed = $1;
EXECUTE one('name8');
SELECT g, id FROM guess JOIN h ON h.hashed = g;
SELECT id FROM h WHERE hashed = (SELECT g FROM guess LIMIT 1);
SELECT g, (SELECT id FROM h WHERE hashed = g) FROM guess;
-- 18 finds such a join needless, and compares nothing
SELECT count(set_config(name, 'off', false)) < 2 AS done FROM pg_settings WHERE name = 'enable_self_join_elimination';
SELECT a.id FROM h a JOIN (SELECT * FROM h OFFSET 0) b ON a.token = b.token;
SELECT id FROM h WHERE sorted = 7;
SELECT id FROM h ORDER BY sorted LIMIT 1;
-- a row is updated by its own key whatever indexes there are
UPDATE h SET plain = 8 WHERE id = 7;
\c - regress_none
\set SHOW_CONTEXT never
UPDATE h SET plain = 7 WHERE id = 7;
SELECT count(*) FROM h WHERE plain BETWEEN 5 AND 10;

-- a plan that was made while the grant was in force is of no use afterwards
\c - :su
CREATE FUNCTION take_away() RETURNS int LANGUAGE sql SECURITY DEFINER AS $$ SELECT dataprotect.revoke_access('pii', 'regress_app') $$;
CREATE FUNCTION give_back() RETURNS bool LANGUAGE sql SECURITY DEFINER AS $$ SELECT dataprotect.grant_access('pii', 'regress_app', 'reveal') > 0 $$;
\c - regress_app
\set SHOW_CONTEXT never
SET plan_cache_mode = force_generic_plan;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
PREPARE by_hash(text) AS SELECT id FROM h WHERE hashed = $1;
PREPARE by_order AS SELECT id FROM h ORDER BY sorted LIMIT 1;
PREPARE by_range(int) AS SELECT count(*) FROM h WHERE sorted < $1;
PREPARE by_plain(int) AS SELECT id FROM h WHERE plain = $1;
EXECUTE by_hash('name9');
EXECUTE by_order;
EXECUTE by_range(10);
EXECUTE by_plain(7);
SELECT take_away();
-- refused once; the next plan does without the index
EXECUTE by_plain(7);
EXECUTE by_plain(7);
EXECUTE by_hash('name9');
EXECUTE by_order;
EXECUTE by_range(10);
SELECT give_back();
EXECUTE by_hash('name9');
EXECUTE by_order;
EXECUTE by_range(10);
-- foreign keys and upserts need no right to find a row
\c - :su
CREATE TABLE child (id int, parent encrypted_text('pii', 'searchable') REFERENCES h (token));
INSERT INTO child VALUES (1, 'token1');
\set VERBOSITY terse
INSERT INTO child VALUES (2, 'no such token');	-- the detail has the ciphertext, which is never twice the same
\set VERBOSITY default
INSERT INTO h VALUES (2000, 'x', 'token1', 1, 1) ON CONFLICT (token) DO NOTHING;
-- a table whose key is not there can still be planned, by those who read nothing of it
CREATE TABLE orphan (id int, v encrypted_text('nonesuch'));
CREATE INDEX ON orphan USING hash (v);
SELECT count(*) FROM orphan;
DROP TABLE child, orphan, guess;
DROP FUNCTION take_away, give_back;
DROP VIEW plans;
DROP TABLE h;
DROP FUNCTION plan_of;
