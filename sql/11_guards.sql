-- DDL that would store or disclose a protected value is refused.
\set SHOW_CONTEXT never
CREATE SCHEMA guard;
SET search_path = guard, public;

-- columns without a key, wherever they are stored
CREATE TABLE no_key (x encrypted_text);
CREATE TEMP TABLE no_key (x encrypted_text);
CREATE TABLE no_key (x encrypted_text[]);
CREATE DOMAIN bare AS encrypted_text;
CREATE TABLE no_key (x bare);
CREATE TYPE pair AS (x encrypted_text, y int);
CREATE TABLE no_key AS SELECT 'x'::encrypted_text AS x;
SELECT 'x'::encrypted_text AS x INTO no_key;
CREATE FOREIGN DATA WRAPPER guard_wrapper;
CREATE SERVER guard_server FOREIGN DATA WRAPPER guard_wrapper;
CREATE FOREIGN TABLE no_key (x encrypted_text) SERVER guard_server;
CREATE MATERIALIZED VIEW no_key AS SELECT 'x'::encrypted_text AS x;
SELECT count(*) AS left_behind FROM pg_class WHERE relnamespace = 'guard'::regnamespace;
-- with a key, or where nothing is stored, they are fine
CREATE TABLE t (id int PRIMARY KEY, plain encrypted_text('pii', '(20)'), token encrypted_text('pii', 'searchable'),
                sorted encrypted_numeric('pii', 'ordered'), flag encrypted_bool('pii'));
CREATE DOMAIN keyed AS encrypted_text('pii');
CREATE TABLE of_domain (x keyed, y encrypted_text('pii')[]);
CREATE TYPE keyed_pair AS (x encrypted_text('pii'), y int);
CREATE TABLE of_composite (p keyed_pair);
CREATE TABLE copied AS SELECT id, plain FROM t;
CREATE VIEW bare_view AS SELECT 'x'::encrypted_text AS x;
CREATE TABLE of_view (x bare_view);
ALTER TABLE t ADD COLUMN late encrypted_text;
ALTER TABLE t ALTER COLUMN plain TYPE encrypted_text;
ALTER TABLE t ADD COLUMN late encrypted_text('pii');

-- modifiers
CREATE TABLE m (x encrypted_text('pii', 'fast'));
CREATE TABLE m (x encrypted_text('pii', 'searchable', 'searchable'));
CREATE TABLE m (x encrypted_text('(20)'));
CREATE TABLE m (x encrypted_text(''));
CREATE TABLE m (x encrypted_bool('pii', 'searchable'));

-- indexes in plaintext order
CREATE INDEX ON t (plain);
CREATE INDEX ON t (id, plain);
CREATE UNIQUE INDEX ON t (token);
ALTER TABLE t ADD UNIQUE (token);
ALTER TABLE of_composite ADD COLUMN k encrypted_int4('pii'), ADD PRIMARY KEY (k);
ALTER TABLE t ADD EXCLUDE (token WITH =);
CREATE INDEX ON of_domain (x);
CREATE INDEX sorted_idx ON t (sorted);
-- tokens and hashes
CREATE INDEX ON t (plain encrypted_text_token_ops);
CREATE INDEX token_idx ON t (token encrypted_text_token_ops);
CREATE INDEX token_two ON t (id, token encrypted_text_token_ops);
CREATE INDEX hash_idx ON t USING hash (plain);
CREATE INDEX include_idx ON t (id) INCLUDE (plain, flag);
CREATE INDEX ON t USING hash (flag);
CREATE INDEX ON t USING brin (plain);
-- expressions and predicates, also behind functions that pretend to be immutable
CREATE FUNCTION wrapped(encrypted_text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1::text';
CREATE FUNCTION lowered(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower($1)';
CREATE FUNCTION of_row(t) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1.plain::text';
CREATE INDEX ON t (lower(plain));
CREATE INDEX ON t (wrapped(plain));
CREATE INDEX ON t (lowered(plain));
CREATE INDEX ON t (of_row(t));
CREATE INDEX ON t (id) WHERE plain = 'a';
CREATE INDEX ON t (id) WHERE wrapped(plain) = 'a';
CREATE INDEX present_idx ON t (id) WHERE plain IS NOT NULL;

-- what else stores derived values
CREATE TABLE g (x encrypted_text('pii'), y text GENERATED ALWAYS AS (wrapped(x)) STORED);
ALTER TABLE t ADD COLUMN y text GENERATED ALWAYS AS (wrapped(plain)) STORED;
CREATE STATISTICS s ON id, plain FROM t;
CREATE STATISTICS s ON (wrapped(plain)), id FROM t;
CREATE STATISTICS s (mcv) ON plain, token FROM t;
CREATE TABLE p (x encrypted_int4('pii', 'ordered')) PARTITION BY RANGE (x);
CREATE TABLE p (x encrypted_int4('pii')) PARTITION BY LIST (x);
CREATE TABLE p (x encrypted_text('pii')) PARTITION BY HASH (x);
CREATE TABLE p (x encrypted_text('pii')) PARTITION BY RANGE (wrapped(x));
CREATE TYPE r AS RANGE (SUBTYPE = encrypted_int4);

-- materialized views
CREATE VIEW computing AS SELECT id, upper(plain) AS u FROM t;
CREATE VIEW handing_on AS SELECT id, plain, token FROM t;
DO $$
DECLARE
    q text;
BEGIN
    FOREACH q IN ARRAY ARRAY['SELECT lower(plain) FROM t', 'SELECT plain::text AS x FROM t', 'SELECT plain || ''x'' FROM t',
        'SELECT plain FROM t ORDER BY plain', 'SELECT DISTINCT plain FROM t', 'SELECT id FROM t WHERE plain = ''a''',
        'SELECT max(sorted) FROM t', 'SELECT row_to_json(t) FROM t', 'SELECT row_to_json(q) FROM (SELECT plain FROM t) q',
        'SELECT plain FROM t UNION SELECT plain FROM t', 'SELECT u FROM computing', 'SELECT id FROM computing',
        'SELECT x FROM (SELECT plain::text AS x FROM t) q', 'WITH q AS (SELECT plain::text AS x FROM t) SELECT x FROM q',
        'SELECT id, (SELECT max(b.plain::text) FROM t b) FROM t', 'SELECT a.id FROM t a JOIN t b USING (plain)',
        'SELECT rank() OVER (ORDER BY sorted) FROM t', 'SELECT id FROM t GROUP BY id, plain',
        'SELECT array_agg(plain)::text FROM t', 'SELECT greatest(sorted, sorted)::text FROM t'] LOOP
        BEGIN
            EXECUTE 'CREATE MATERIALIZED VIEW m AS ' || q;
            RAISE WARNING 'not refused: %', q;
            DROP MATERIALIZED VIEW m;
        EXCEPTION WHEN invalid_table_definition THEN
            IF SQLERRM NOT LIKE '%cannot compute from a protected column' THEN
                RAISE WARNING '%: %', q, SQLERRM;
            END IF;
        END;
    END LOOP;
END
$$;
CREATE MATERIALIZED VIEW m AS SELECT upper(plain) FROM t;
CREATE MATERIALIZED VIEW handed AS SELECT id, plain FROM handing_on WHERE plain IS NOT NULL;
REFRESH MATERIALIZED VIEW handed;
CREATE OR REPLACE VIEW handing_on AS SELECT id, plain, token FROM t WHERE token > 'm';
REFRESH MATERIALIZED VIEW handed;

-- the order of the table itself
CLUSTER t USING sorted_idx;
CLUSTER t USING token_idx;
ALTER TABLE t CLUSTER ON token_two;
CLUSTER t USING t_pkey;

-- partitions
CREATE TABLE part (id int, x encrypted_text('pii')) PARTITION BY LIST (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 (id int, x encrypted_text('pii'));
ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES IN (2);
CREATE INDEX ON part (x);
CREATE INDEX ON part USING hash (x);
CREATE TABLE part_3 PARTITION OF part FOR VALUES IN (3);

-- within a function it is the same
DO $$ BEGIN EXECUTE 'CREATE INDEX ON guard.t (plain)'; END $$;
\d t
SET client_min_messages = warning;
DROP SCHEMA guard CASCADE;
DROP FOREIGN DATA WRAPPER guard_wrapper CASCADE;
