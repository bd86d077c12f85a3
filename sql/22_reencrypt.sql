-- reencrypt() and verify(): after a rotation, and when something is damaged.
SELECT current_user AS su \gset
\set SHOW_CONTEXT never
SELECT dataprotect.create_key('rotated');
SELECT dataprotect.grant_access('rotated', 'regress_app', 'reveal') > 0 AS granted;
CREATE TABLE r (id int, region int, v varchar(20), w encrypted_int4('rotated', 'ordered'), touched int DEFAULT 0)
    PARTITION BY LIST (region);
CREATE TABLE r_0 PARTITION OF r FOR VALUES IN (0);
CREATE TABLE r_1 PARTITION OF r FOR VALUES IN (1);
CREATE FUNCTION r_touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN new.touched := old.touched + 1; RETURN new; END $$;
CREATE TRIGGER r_touch BEFORE UPDATE ON r FOR EACH ROW EXECUTE FUNCTION r_touch();
INSERT INTO r SELECT n, n % 2, 'value ' || n, n FROM generate_series(1, 3000) n;
CALL dataprotect.encrypt_column('r', 'v', 'rotated', searchable => true);
CREATE INDEX ON r (v encrypted_text_token_ops);
CREATE INDEX ON r (w);
GRANT SELECT ON r TO regress_app;
SELECT col, version, "values", failures FROM dataprotect.verify('r') ORDER BY 1, 2;
-- nothing to do: no version is stale
CALL dataprotect.reencrypt('r');
SELECT count(*) FROM dataprotect.reencrypt_progress;
SELECT dataprotect.rotate_key('rotated');
INSERT INTO r VALUES (3001, 0, 'value 3001', 3001);
SELECT col, version, "values", failures FROM dataprotect.verify('r') ORDER BY 1, 2;
-- one column, in batches
SET dataprotect.retention_batch_size = 100;
CALL dataprotect.reencrypt('r', 'v');
SELECT rel, col, key, version, blocks > 5 AS many_blocks, blocks_done = blocks AS all_done, passes, values_done, finished_at IS NOT NULL AS finished
FROM dataprotect.reencrypt_progress ORDER BY rel::text, col;
SELECT col, version, "values", failures FROM dataprotect.verify('r') ORDER BY 1, 2;
-- the rest; no trigger fired and nothing else changed
CALL dataprotect.reencrypt('r');
SELECT col, version, "values", failures FROM dataprotect.verify('r') ORDER BY 1, 2;
SELECT sum(touched) FROM r;
SELECT sum("values") BETWEEN 400 AND 1600 AS sampled FROM dataprotect.verify('r', 0.3) WHERE col = 'v';
SELECT dataprotect.verify('r', 0);
SELECT dataprotect.verify('r', 'NaN');
\c - regress_app
SELECT count(*), sum(w), count(DISTINCT v) FROM r;
SET enable_seqscan = off;
SELECT id FROM r WHERE v = 'value 1234';
SELECT id FROM r WHERE w = 1234;
\c - :su
\set SHOW_CONTEXT never
-- refused
CALL dataprotect.reencrypt(NULL);
CALL dataprotect.reencrypt('r', 'id');
CALL dataprotect.reencrypt('r_0');
CALL dataprotect.reencrypt('pg_class');
SELECT dataprotect.rotate_key('rotated');
BEGIN;
CALL dataprotect.reencrypt('r');
ROLLBACK;
SET ROLE dataprotect_admin;
CALL dataprotect.reencrypt('r');
RESET ROLE;
-- an owner who administers, without other rights, re-encrypts what he may not read
CREATE ROLE regress_owner LOGIN IN ROLE dataprotect_admin;
GRANT CREATE ON SCHEMA public TO regress_owner;
ALTER TABLE r OWNER TO regress_owner;
SET ROLE regress_owner;
CALL dataprotect.decrypt_column('r', 'v');
RESET ROLE;
ALTER TABLE r_0 OWNER TO regress_owner;
ALTER TABLE r_1 OWNER TO regress_owner;
SET ROLE regress_owner;
SELECT v = 'x' FROM r LIMIT 1;
CALL dataprotect.reencrypt('r');
RESET ROLE;
SELECT col, version, "values", failures FROM dataprotect.verify('r') ORDER BY 1, 2;
-- and protects a table of his own; reading it, and turning it back, is another right
\c - regress_owner
\set SHOW_CONTEXT never
CREATE TABLE own (id int, v varchar(10) UNIQUE);
INSERT INTO own VALUES (1, 'mine');
CREATE VIEW own_view AS SELECT * FROM own;
CALL dataprotect.encrypt_column('own', 'v', 'rotated');
SELECT left(format_type(atttypid, atttypmod), 60) FROM pg_attribute WHERE attrelid = 'own_view'::regclass AND attname = 'v';
SELECT count(*) FROM own_view WHERE v LIKE 'm%';
CALL dataprotect.decrypt_column('own', 'v');
\c - :su
\set SHOW_CONTEXT never
SELECT dataprotect.grant_access('rotated', 'regress_owner', 'reveal') > 0 AS granted;
\c - regress_owner
\set SHOW_CONTEXT never
SET dataprotect.output = mask;
CALL dataprotect.decrypt_column('own', 'v');
RESET dataprotect.output;
SELECT count(*) FROM own_view WHERE v LIKE 'm%';
\c - :su
\set SHOW_CONTEXT never
-- a value that cannot be read is not turned into a null
SELECT dataprotect.suspend_key('rotated', 'test');
\c - regress_owner
\set SHOW_CONTEXT never
CALL dataprotect.decrypt_column('own', 'v');
\c - :su
\set SHOW_CONTEXT never
SELECT dataprotect.resume_key('rotated', 'test');
\c - regress_owner
\set SHOW_CONTEXT never
CALL dataprotect.decrypt_column('own', 'v');
SELECT * FROM own_view;
\c - :su
\set SHOW_CONTEXT never
SELECT dataprotect.revoke_access('rotated', 'regress_owner') AS revoked;
DROP VIEW own_view;
DROP TABLE own, r;
DROP FUNCTION r_touch;
REVOKE CREATE ON SCHEMA public FROM regress_owner;
DROP ROLE regress_owner;
