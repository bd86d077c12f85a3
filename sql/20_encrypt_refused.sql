-- encrypt_column refuses what it cannot keep, by name, and leaves no trace.
\set SHOW_CONTEXT never
CREATE SCHEMA enc;
SET search_path = enc, public;
-- everything about the schema that a refused call could have changed
CREATE FUNCTION fingerprint() RETURNS text LANGUAGE sql AS $$
    SELECT md5(string_agg(line, E'\n' ORDER BY line)) FROM (
        SELECT 'c' || c::text AS line FROM pg_class c WHERE relnamespace = 'enc'::regnamespace
        UNION ALL SELECT 'a' || a.attrelid || a.attnum || a.atttypid || a.atttypmod || a.attnotnull || coalesce(a.attacl::text, '')
            FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'enc'::regnamespace
        UNION ALL SELECT 'k' || k.oid || pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE connamespace = 'enc'::regnamespace
        UNION ALL SELECT 'i' || pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
            WHERE c.relnamespace = 'enc'::regnamespace
        UNION ALL SELECT 't' || t.oid || pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
            WHERE c.relnamespace = 'enc'::regnamespace AND NOT t.tgisinternal
        UNION ALL SELECT 'r' || r.oid || pg_get_ruledef(r.oid) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
            WHERE c.relnamespace = 'enc'::regnamespace
        UNION ALL SELECT 'd' || d.oid || d.adrelid || d.adnum FROM pg_attrdef d JOIN pg_class c ON c.oid = d.adrelid
            WHERE c.relnamespace = 'enc'::regnamespace
        UNION ALL SELECT 'm' || m::text FROM dataprotect.type_modifiers m) x
$$;

CREATE DOMAIN tag AS text;
CREATE FUNCTION is_mine(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 <> ''''';
CREATE DOMAIN mine AS text CONSTRAINT is_mine CHECK (is_mine(value));
CREATE TABLE t (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    serial_no serial, code text UNIQUE DEFERRABLE, plain varchar(40), lowered text, source text,
    stored text GENERATED ALWAYS AS (replace(source, 'a', 'bb')) STORED,
    checked text CHECK (checked <> ''), present text CHECK (present IS NOT NULL),
    mine mine, flag bool, tags tag[], labels text[], alias name, span2 macaddr UNIQUE, span interval day to second(3), words text, vector tsvector,
    ref text, rowtyped text, patterned text, clustered text, many text, body text, matviewed text, excl int);
CREATE INDEX lowered_idx ON t (lower(lowered));
CREATE UNIQUE INDEX partial_idx ON t (id) WHERE lowered = 'x';
CREATE INDEX flag_idx ON t (flag);
CREATE INDEX labels_idx ON t USING gin (labels);
CREATE INDEX words_idx ON t USING gist (vector);
CREATE INDEX patterned_idx ON t (patterned text_pattern_ops);
CREATE INDEX clustered_idx ON t (clustered);
ALTER TABLE t CLUSTER ON clustered_idx;
CREATE INDEX many_idx ON t (id, many);
CREATE TRIGGER words_trigger BEFORE INSERT OR UPDATE ON t
    FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger(vector, 'pg_catalog.english', words);
CREATE TABLE parent (name text PRIMARY KEY, plain_name text UNIQUE);
ALTER TABLE t ADD CONSTRAINT t_ref_fkey FOREIGN KEY (ref) REFERENCES parent;
CREATE FUNCTION of_body() RETURNS SETOF text BEGIN ATOMIC SELECT body FROM t; END;
CREATE VIEW middle AS SELECT id, matviewed, plain FROM t;
CREATE MATERIALIZED VIEW m AS SELECT lower(matviewed) AS matviewed FROM middle;
CREATE FUNCTION of_view(middle) RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER TABLE t ADD CONSTRAINT t_excl EXCLUDE USING btree (excl WITH =);
CREATE TABLE typed_parent (a text);
CREATE TABLE other_parent (a text);
CREATE TABLE inherited (b text) INHERITS (typed_parent, other_parent);
CREATE TABLE part (id int, k text, v text) PARTITION BY LIST (k);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN ('a');
CREATE TABLE part_expr (id int, k text, v text) PARTITION BY RANGE (lower(k));
CREATE TYPE like_type AS (a text);
CREATE TABLE of_type OF like_type;
CREATE TEMP TABLE temporary (a text);
SET client_min_messages = error;	-- wal_level, worded by version
CREATE PUBLICATION enc_pub FOR TABLE parent WHERE (name <> 'x');
RESET client_min_messages;
CREATE TABLE done (a encrypted_text('pii'));
CREATE TABLE owned (a text);
CREATE TABLE split (id int, a text) PARTITION BY LIST (id);
CREATE TABLE split_1 PARTITION OF split FOR VALUES IN (1);
CREATE ROLE regress_columns NOLOGIN IN ROLE dataprotect_admin;
ALTER FUNCTION is_mine(text) OWNER TO regress_columns;
GRANT USAGE ON SCHEMA enc TO regress_columns;
ALTER TABLE split OWNER TO regress_columns;
SELECT fingerprint() AS before \gset

-- the table and the column
CALL dataprotect.encrypt_column(NULL, 'a', 'pii');
CALL dataprotect.encrypt_column('t', NULL, 'pii');
CALL dataprotect.encrypt_column('t', 'plain', NULL);
CALL dataprotect.encrypt_column('middle', 'id', 'pii');
CALL dataprotect.encrypt_column('m', 'matviewed', 'pii');
CALL dataprotect.encrypt_column('pg_authid', 'rolpassword', 'pii');
CALL dataprotect.encrypt_column('dataprotect.key', 'description', 'pii');
CALL dataprotect.encrypt_column('t', 'nonesuch', 'pii');
CALL dataprotect.encrypt_column('t', 'ctid', 'pii');
CALL dataprotect.encrypt_column('temporary', 'a', 'pii');
CALL dataprotect.encrypt_column('part_1', 'v', 'pii');
CALL dataprotect.encrypt_column('typed_parent', 'a', 'pii');
CALL dataprotect.encrypt_column('inherited', 'a', 'pii');
CALL dataprotect.encrypt_column('of_type', 'a', 'pii');
CALL dataprotect.encrypt_column('done', 'a', 'pii');
CALL dataprotect.decrypt_column('t', 'plain');
-- the key
CALL dataprotect.encrypt_column('t', 'plain', 'nonesuch');
-- the type
CALL dataprotect.encrypt_column('t', 'mine', 'pii');
CALL dataprotect.encrypt_column('t', 'labels', 'pii');
CALL dataprotect.encrypt_column('t', 'alias', 'pii');
CALL dataprotect.encrypt_column('t', 'span2', 'pii');
CALL dataprotect.encrypt_column('t', 'tags', 'pii');
CALL dataprotect.encrypt_column('t', 'span', 'pii');
-- what hangs on the column
CALL dataprotect.encrypt_column('t', 'lowered', 'pii');
CALL dataprotect.encrypt_column('t', 'source', 'pii');
CALL dataprotect.encrypt_column('t', 'stored', 'pii');
CALL dataprotect.encrypt_column('t', 'flag', 'pii');
CALL dataprotect.encrypt_column('t', 'words', 'pii');
CALL dataprotect.encrypt_column('t', 'ref', 'pii');
CALL dataprotect.encrypt_column('parent', 'name', 'pii');
CALL dataprotect.encrypt_column('t', 'patterned', 'pii', ordered => true);
CALL dataprotect.encrypt_column('t', 'clustered', 'pii');
CALL dataprotect.encrypt_column('t', 'excl', 'pii');
CALL dataprotect.encrypt_column('part', 'k', 'pii');
CALL dataprotect.encrypt_column('part_expr', 'k', 'pii');
CALL dataprotect.encrypt_column('t', 'matviewed', 'pii');
-- the caller
SET ROLE regress_columns;
CALL dataprotect.encrypt_column('owned', 'a', 'pii');
CALL dataprotect.encrypt_column('split', 'a', 'pii');
RESET ROLE;
GRANT USAGE ON SCHEMA enc TO regress_none;
SET ROLE regress_none;
CALL dataprotect.encrypt_column('enc.owned', 'a', 'pii');
CALL dataprotect.decrypt_column('enc.done', 'a');
CALL dataprotect.reencrypt('enc.done');
SELECT * FROM dataprotect.verify();
RESET ROLE;
-- the owner of the table is not the owner of a view over it
ALTER TABLE owned OWNER TO regress_columns;
CREATE VIEW over_owned AS SELECT a FROM owned;
SET ROLE regress_columns;
CALL dataprotect.encrypt_column('owned', 'a', 'pii');
RESET ROLE;
DROP VIEW over_owned;
ALTER TABLE owned OWNER TO CURRENT_USER;
-- nobody decrypts without the right to read: masks would be stored
CALL dataprotect.decrypt_column('done', 'a');
-- nothing was changed by any of it
SELECT fingerprint() = :'before' AS unchanged;
CREATE TABLE holder (whole t);
CALL dataprotect.encrypt_column('t', 'rowtyped', 'pii');
SET client_min_messages = warning;
DROP PUBLICATION enc_pub;
DROP SCHEMA enc CASCADE;
DROP ROLE regress_columns;
