-- Hash, token and ordered indexes.
SELECT current_user AS su \gset
\c - regress_app
CREATE TABLE i (id int, h encrypted_text('pii'), t encrypted_text('pii','searchable'), o encrypted_int4('pii','ordered'));
INSERT INTO i SELECT n, 'name' || n, 'token' || n, n FROM generate_series(1, 500) n;
CREATE INDEX i_hash ON i USING hash (h);
CREATE UNIQUE INDEX i_token ON i (t encrypted_text_token_ops);
CREATE INDEX i_order ON i (o);
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM i WHERE h = 'name77';
SELECT id FROM i WHERE h = 'name77';
PREPARE h(varchar) AS SELECT id FROM i WHERE h = $1;
EXPLAIN (COSTS OFF) EXECUTE h('name78');
EXECUTE h('name78');
EXPLAIN (COSTS OFF) SELECT id FROM i WHERE t = 'token5';
SELECT id FROM i WHERE t = 'token5';
SELECT id FROM i WHERE t = 'token6'::varchar;
EXPLAIN (COSTS OFF) SELECT id FROM i WHERE o BETWEEN 5 AND 7 ORDER BY o;
SELECT id FROM i WHERE o BETWEEN 5 AND 7 ORDER BY o;
SELECT id FROM i WHERE o = 9;
SELECT min(o), max(o) FROM i;
-- unique, upsert
INSERT INTO i VALUES (501, 'x', 'token1', 501);
INSERT INTO i VALUES (501, 'x', 'token1', 501) ON CONFLICT (t) DO UPDATE SET h = 'upserted' RETURNING id, h;
INSERT INTO i VALUES (502, 'x', 'token1', 502) ON CONFLICT DO NOTHING;
SELECT count(*) FROM i;
-- maintenance by a role that may not compare
\c - :su
INSERT INTO i VALUES (600, 'name600', 'token600', 600);
REINDEX TABLE i;
VACUUM i;
CREATE INDEX i_hash2 ON i USING hash (t);
CREATE INDEX i_order2 ON i (o, id);
CLUSTER i USING i_order2;
DROP INDEX i_order2, i_hash2;
-- and the indexes find what it wrote
\c - regress_app
SET enable_seqscan = off;
SELECT id FROM i WHERE h = 'name600';
SELECT id FROM i WHERE h = 'name600'::name;
SELECT id FROM i WHERE t = 'token600';
SELECT id FROM i WHERE o = 600;
-- lists: an index scan sorts them
SELECT id FROM i WHERE t = ANY (ARRAY['token3', 'token1', NULL, 'token3']) ORDER BY id;
SELECT id FROM i WHERE t = ANY (ARRAY['token3', 'token1']::name[]) ORDER BY id;
SELECT id FROM i WHERE h IN ('name3', 'name1') ORDER BY id;
SELECT id FROM i WHERE o IN (3, 1, 600) ORDER BY id;
RESET enable_seqscan;
RESET enable_bitmapscan;
-- statistics know nothing of values
\c - :su
ANALYZE i;
SELECT attname, n_distinct, most_common_vals IS NULL AS no_values, histogram_bounds IS NULL AS no_histogram, correlation
FROM pg_stats WHERE tablename = 'i' AND attname <> 'id' ORDER BY 1;
DROP TABLE i;
