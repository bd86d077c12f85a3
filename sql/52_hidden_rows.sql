-- If this fails, rows of an account in its grace time are shown, or something of
-- them is lost by then.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE SCHEMA grace;
CREATE ROLE grace_app;
CREATE ROLE grace_owner;
CREATE ROLE grace_admin BYPASSRLS;
GRANT USAGE, CREATE ON SCHEMA grace TO grace_app, grace_owner, grace_admin;
SET search_path = grace;
CREATE TABLE customer (id int PRIMARY KEY, email text UNIQUE, plan text);
CREATE TABLE orders (shop text, n numeric, customer int REFERENCES customer, note text, PRIMARY KEY (shop, n));
CREATE TABLE visit (id bigint, customer int REFERENCES customer, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE ticket (id int PRIMARY KEY, customer int REFERENCES customer, note text);
CREATE TABLE diary (customer int REFERENCES customer, note text);
CREATE TABLE step (id bigint PRIMARY KEY, customer int REFERENCES customer) PARTITION BY HASH (id);
CREATE TABLE step_0 PARTITION OF step FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE step_1 PARTITION OF step FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX ON orders (customer); CREATE INDEX ON visit (customer); CREATE INDEX ON ticket (customer); CREATE INDEX ON diary (customer);
CREATE INDEX ON step (customer);
INSERT INTO customer SELECT g, 'c' || g, 'p' FROM generate_series(1, 300) g;
INSERT INTO orders SELECT 'a:1,b', g, 1 + g % 3, 'n' || g FROM generate_series(1, 30) g;
INSERT INTO visit SELECT g, 1 + g % 3, '2020-02-02' FROM generate_series(1, 3) g;
INSERT INTO ticket VALUES (1, 2, 'kept'); INSERT INTO diary VALUES (2, 'no key');
INSERT INTO step SELECT g, 1 + g % 3 FROM generate_series(1, 30) g;
ALTER TABLE customer OWNER TO grace_owner; ALTER TABLE orders OWNER TO grace_owner; ALTER TABLE visit OWNER TO grace_owner;
ALTER TABLE ticket OWNER TO grace_owner; ALTER TABLE diary OWNER TO grace_owner; ALTER TABLE step OWNER TO grace_owner;
ALTER TABLE visit_1 OWNER TO grace_owner; ALTER TABLE step_0 OWNER TO grace_owner; ALTER TABLE step_1 OWNER TO grace_owner;
GRANT ALL ON ALL TABLES IN SCHEMA grace TO grace_app, grace_admin;
CREATE VIEW names AS SELECT id, email FROM customer;
CREATE FUNCTION customers() RETURNS SETOF customer LANGUAGE sql STABLE AS 'SELECT * FROM grace.customer';
GRANT SELECT, UPDATE ON names TO grace_app;
SELECT dataprotect.create_account_type('grace', 'customer', 'id');
SELECT dataprotect.annotate_account('grace', t::regclass, '{customer}', a, b)
  FROM (VALUES ('orders', 'delete', NULL), ('visit', 'delete', NULL), ('step', 'delete', NULL), ('diary', 'delete', NULL), ('ticket', 'keep', 'law')) v(t, a, b);
SELECT dataprotect.annotate_account('grace', 'customer', '{id}', 'anonymise');
SELECT dataprotect.annotate_account('grace', 'customer', '{email}', 'anonymise');
SELECT rel, columns, question FROM dataprotect.check_account_type('grace') WHERE question LIKE '%grace%';
SELECT dataprotect.alter_account_type('grace', grace_hides => true);
SELECT rel, columns, question FROM dataprotect.check_account_type('grace') WHERE question LIKE '%grace%';
CREATE TABLE before AS SELECT (SELECT array_agg(c ORDER BY id) FROM customer c)::text AS was_c, (SELECT array_agg(o ORDER BY n) FROM orders o)::text AS was_o;

-- what is planned before knows of it as well
SET ROLE grace_app;
PREPARE look(int) AS SELECT email FROM customer WHERE id = $1;
SET plan_cache_mode = force_generic_plan;
EXECUTE look(2);
PREPARE leaf AS SELECT count(*) FROM step_0;
EXECUTE leaf;
RESET ROLE;
CREATE TABLE leaf_before AS SELECT * FROM step_0;
GRANT SELECT ON leaf_before TO grace_app;
SELECT dataprotect.request_deletion('grace', '2') AS request \gset
CREATE FUNCTION counts() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', (SELECT count(*) FROM grace.customer), (SELECT count(*) FROM grace.orders), (SELECT count(*) FROM grace.visit),
		(SELECT count(*) FROM grace.visit_1), (SELECT count(*) FROM grace.step), (SELECT count(*) FROM grace.ticket), (SELECT count(*) FROM grace.diary))
$$;
-- TRUNCATE would take them along
SET ROLE grace_app; TRUNCATE step_0; TRUNCATE customer CASCADE;
SET ROLE grace_owner; TRUNCATE orders;
RESET ROLE;
SELECT counts();
SET ROLE grace_admin; SELECT counts(); SELECT count(*) FROM customers();
SET ROLE grace_owner; SET datestyle = 'SQL, DMY'; SELECT counts(); RESET datestyle;
SET ROLE grace_app; SELECT counts();
EXECUTE look(2);
EXECUTE leaf;
SELECT count(*) FROM names;
SELECT count(*), max(id) FILTER (WHERE id < 3) FROM customers();
SELECT min(id), max(id) FROM customer WHERE id IN (2, 3);
SELECT count(*) FROM customer c LEFT JOIN orders o ON o.customer = c.id;
SELECT count(*) FROM customer c WHERE EXISTS (SELECT FROM orders o WHERE o.customer = c.id);
WITH c AS (SELECT * FROM customer WHERE id < 4) SELECT array_agg(id) FROM c;
SELECT id FROM customer WHERE id < 4 UNION ALL SELECT id FROM customer WHERE id < 4 ORDER BY 1;
SELECT count(*) FROM (SELECT id FROM customer UNION ALL SELECT id FROM customer) u;
SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
SELECT count(*) FROM customer;
RESET min_parallel_table_scan_size; RESET parallel_setup_cost; RESET parallel_tuple_cost;
COPY (SELECT id FROM customer WHERE id < 4) TO STDOUT;
COPY customer TO STDOUT;
SET row_security = off;
SELECT count(*) FROM customer;
SELECT count(*) FROM customer WHERE id = 3;
COPY customer TO STDOUT;
RESET row_security;
SELECT dataprotect._row_shown('customer'::regclass, 2);
-- for nobody who writes
UPDATE names SET email = 'mine' WHERE id = 2;
UPDATE customer SET plan = plan || 'x' WHERE id < 4;
DELETE FROM orders WHERE customer = 2;
MERGE INTO customer c USING (VALUES (2)) v(id) ON c.id = v.id WHEN MATCHED THEN UPDATE SET plan = 'y';
INSERT INTO customer (id, email, plan) VALUES (2, 'q', 'q') ON CONFLICT (id) DO UPDATE SET plan = customer.plan || 'y' RETURNING *;
WITH i AS (INSERT INTO customer (id, email, plan) VALUES (2, 'q', 'q') ON CONFLICT (id) DO UPDATE SET plan = 'y' WHERE true RETURNING *) SELECT count(*) FROM i;
-- unique values and foreign keys are as they were
INSERT INTO customer VALUES (999, 'c2', 'p');
INSERT INTO orders VALUES ('late', 1, 2, 'late');
INSERT INTO orders VALUES ('late', 2, 4711, 'nobody');
-- nor by what a command evaluates
CREATE FUNCTION leak() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM grace.customer';
CREATE TABLE mine (id int);
INSERT INTO mine VALUES (1);
ALTER TABLE mine ADD n bigint DEFAULT leak();
CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM customer;
SELECT n, (SELECT count FROM seen) FROM mine;
-- and a new one by somebody else is shown
SELECT shop FROM orders WHERE customer = 2;
SET ROLE grace_owner;
ALTER TABLE orders ADD CONSTRAINT again FOREIGN KEY (customer) REFERENCES customer;
ALTER TABLE orders DROP CONSTRAINT again;
SET row_security = off;
COPY (SELECT 1) TO STDOUT;
RESET row_security;
RESET ROLE;
-- nor by a partition that leaves, and comes again, nor by another key
ALTER TABLE visit DETACH PARTITION visit_1;
ALTER TABLE step DETACH PARTITION step_0;
SET ROLE grace_app; SELECT count(*) FROM visit_1; SELECT count(*) < (SELECT count(*) FROM leaf_before) AS fewer FROM step_0; RESET ROLE;
ALTER TABLE visit ATTACH PARTITION visit_1 FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
ALTER TABLE step ATTACH PARTITION step_0 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (n, shop);
ALTER TABLE orders DROP CONSTRAINT orders_pkey;
SET ROLE grace_app; SELECT count(*) FROM orders; RESET ROLE;
ALTER TABLE orders ADD PRIMARY KEY (n, shop);
ALTER TABLE orders ADD PRIMARY KEY (shop, n) DEFERRABLE INITIALLY DEFERRED;
SET ROLE grace_app; SELECT counts(); RESET ROLE;
DELETE FROM orders WHERE shop = 'late';
UPDATE customer SET plan = 'p';
SELECT dataprotect.cancel_deletion(:request, 'stays');
SELECT b.was_c = (SELECT array_agg(c ORDER BY id) FROM customer c)::text AND b.was_o = (SELECT array_agg(o ORDER BY n) FROM orders o)::text AS same FROM before b;
SET ROLE grace_app; SELECT counts(); EXECUTE look(2);
RESET ROLE;
-- the keys of retained and cancelled requests hide nothing
SELECT count(*) FROM dataprotect.hidden_row;
DROP SCHEMA grace CASCADE;
SELECT dataprotect.drop_account_type('grace');
DROP ROLE grace_app, grace_owner, grace_admin;
