-- reencrypt() brings values under the current version of their key: batch by
-- batch, a commit each, so that it can be stopped and called again.  Several
-- sessions may work on one table: they take turns at the next batch.
--
-- Only stored values under a retired version of the named key are sealed anew.
-- Accounts' own keys do not rotate, and under an expiring key a version is a
-- period, which a value keeps.

CREATE TABLE dataprotect.reencrypt_state (
    rel oid NOT NULL,
    col name NOT NULL,
    key name NOT NULL,
    target int8 NOT NULL,
    version int4 NOT NULL,
    blocks bigint NOT NULL,
    next_block bigint NOT NULL DEFAULT 0,
    passes int NOT NULL DEFAULT 1,
    values_done bigint NOT NULL DEFAULT 0,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    PRIMARY KEY (rel, col)
);
COMMENT ON TABLE dataprotect.reencrypt_state IS 'how far reencrypt() has come in each table or partition';
COMMENT ON COLUMN dataprotect.reencrypt_state.target IS 'id of the key version to which the pass brings the values';

CREATE VIEW dataprotect.reencrypt_progress AS
    SELECT s.rel::pg_catalog.regclass AS rel, s.col, s.key, s.version, s.blocks, s.next_block AS blocks_done,
           s.passes, s.values_done, s.started_at, s.updated_at, s.finished_at
    FROM dataprotect.reencrypt_state s
        JOIN pg_catalog.pg_class c ON c.oid = s.rel;
COMMENT ON VIEW dataprotect.reencrypt_progress IS 'how far reencrypt() has come in each table or partition';

-- Key versions whose values reencrypt() seals anew.
CREATE FUNCTION dataprotect._stale_key_ids(key name) RETURNS int8[]
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(v.key_id), '{}')
    FROM dataprotect.key k
        JOIN dataprotect.key_version v ON v.family = k.family AND v.purpose = 2
    WHERE k.name = $1 AND k.keep IS NULL AND k.state = 'a'
        AND v.key_id <> k.current_key_id AND v.state IN ('a', 'r')
$$;
COMMENT ON FUNCTION dataprotect._stale_key_ids(name) IS
    'ids of the versions of a key that can be read and are not current';

CREATE FUNCTION dataprotect._table_blocks(rel regclass) RETURNS bigint
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_relation_size($1) / current_setting('block_size')::bigint
$$;
COMMENT ON FUNCTION dataprotect._table_blocks(regclass) IS 'number of blocks of a table now';

-- The procedure runs with its caller's rights, since it commits.  What it notes
-- by the functions below is the caller's own table's, by whoever they are called.
CREATE FUNCTION dataprotect._check_reencrypt(rel regclass) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT coalesce(pg_has_role(dataprotect._caller(), (SELECT c.relowner FROM pg_class c WHERE c.oid = rel), 'USAGE'), false) THEN
        PERFORM dataprotect._raise('insufficient_privilege',
            format('must be owner of table %s', coalesce((SELECT c.relname FROM pg_class c WHERE c.oid = rel), 'of that OID')));
    END IF;
END
$$;
COMMENT ON FUNCTION dataprotect._check_reencrypt(regclass) IS 'errors unless the session''s role has the rights of the table''s owner';

-- Start, or go on with what an interrupted call left.
CREATE FUNCTION dataprotect._reencrypt_begin(rel regclass, col name, key name) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM dataprotect._check_reencrypt(rel);
    INSERT INTO dataprotect.reencrypt_state AS s (rel, col, key, target, version, blocks)
    SELECT $1, $2, k.name, k.current_key_id, k.current_version, dataprotect._table_blocks($1)
    FROM dataprotect.key k WHERE k.name = $3
        AND EXISTS (SELECT FROM pg_attribute a, dataprotect._modifier_parts(a.atttypmod) m
                    WHERE a.attrelid = $1 AND a.attname = $2 AND m.key = k.name)
    ON CONFLICT ON CONSTRAINT reencrypt_state_pkey DO UPDATE
        SET key = excluded.key, target = excluded.target, version = excluded.version,
            blocks = excluded.blocks, next_block = 0, passes = 1,
            values_done = CASE WHEN s.target = excluded.target THEN s.values_done ELSE 0 END,
            started_at = CASE WHEN s.target = excluded.target THEN s.started_at ELSE clock_timestamp() END,
            updated_at = clock_timestamp(), finished_at = NULL
        WHERE s.target <> excluded.target OR s.finished_at IS NOT NULL;
END
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_begin(regclass, name, name) IS
    'note that a column of a table is being brought under its key''s current version';

-- The next blocks to work on, locked until commit; NULL when all are done.
CREATE FUNCTION dataprotect._reencrypt_claim(rel regclass, col name, batch bigint) RETURNS int8range
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s       dataprotect.reencrypt_state%ROWTYPE;
BEGIN
    PERFORM dataprotect._check_reencrypt(rel);
    SELECT * INTO s FROM dataprotect.reencrypt_state r WHERE r.rel = $1 AND r.col = $2 FOR UPDATE;
    IF NOT FOUND OR s.finished_at IS NOT NULL OR s.next_block >= s.blocks THEN
        RETURN NULL;
    END IF;
    UPDATE dataprotect.reencrypt_state r
    SET next_block = least(s.blocks, s.next_block + batch), updated_at = clock_timestamp()
    WHERE r.rel = $1 AND r.col = $2;
    RETURN int8range(s.next_block, least(s.blocks, s.next_block + batch));
END
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_claim(regclass, name, bigint) IS
    'the next blocks that reencrypt() works on in this transaction';

CREATE FUNCTION dataprotect._reencrypt_done(rel regclass, col name, done bigint) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._check_reencrypt($1);
    UPDATE dataprotect.reencrypt_state r
    SET values_done = r.values_done + $3, updated_at = clock_timestamp()
    WHERE r.rel = $1 AND r.col = $2
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_done(regclass, name, bigint) IS
    'count the values that a batch of reencrypt() has sealed anew';

-- After a pass: finish, or start over for rows that moved behind its back.
CREATE FUNCTION dataprotect._reencrypt_end(rel regclass, col name) RETURNS bool
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most_passes CONSTANT int := 5;
    remaining   bigint;
BEGIN
    PERFORM dataprotect._check_reencrypt(rel);
    SELECT dataprotect._count_stale(r.rel, r.col, r.key) INTO remaining
    FROM dataprotect.reencrypt_state r WHERE r.rel = $1 AND r.col = $2;
    IF coalesce(remaining, 0) = 0 THEN
        UPDATE dataprotect.reencrypt_state r SET finished_at = clock_timestamp(), updated_at = clock_timestamp()
        WHERE r.rel = $1 AND r.col = $2 AND r.finished_at IS NULL;
        PERFORM dataprotect._column_event('column.reencrypted', r.rel, r.col, r.key::text)
        FROM dataprotect.reencrypt_state r WHERE r.rel = $1 AND r.col = $2 AND FOUND;
        RETURN true;
    END IF;
    IF (SELECT r.passes >= most_passes FROM dataprotect.reencrypt_state r WHERE r.rel = $1 AND r.col = $2) THEN
        PERFORM dataprotect._raise('object_in_use',
            format('%s values of column "%s" of table "%s" escaped reencrypt()', remaining, col, rel),
            format('Rows moved in each of %s passes.', most_passes),
            'Call it again when the table is changed less.');
    END IF;
    UPDATE dataprotect.reencrypt_state r
    SET next_block = 0, passes = r.passes + 1, blocks = dataprotect._table_blocks($1), updated_at = clock_timestamp()
    WHERE r.rel = $1 AND r.col = $2 AND r.next_block >= r.blocks;
    RETURN false;
END
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_end(regclass, name) IS
    'note the end of a pass of reencrypt(); false where another is needed';

-- One batch: a range of blocks of one table or partition, row by row and without
-- a query (reencrypt.c).  Asks itself for the right to act as the table's owner.
CREATE FUNCTION dataprotect._reencrypt_blocks(rel regclass, col name, first bigint, "end" bigint) RETURNS bigint
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_reencrypt_blocks';
COMMENT ON FUNCTION dataprotect._reencrypt_blocks(regclass, name, bigint, bigint) IS
    'seal the values of some blocks under their key''s current version; how many there were';

-- Tables and columns to work on, partitions one by one.
CREATE FUNCTION dataprotect._reencrypt_targets(rel regclass, col name)
    RETURNS TABLE (leaf regclass, leaf_col name, key name, batch bigint)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    usual_rows_per_block CONSTANT float8 := 50;    -- where the table was never analyzed
BEGIN
    IF rel IS NULL THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'table must not be null');
    END IF;
    IF NOT EXISTS (SELECT FROM dataprotect.protected_columns p
                   WHERE p.rel = $1 AND (p.col = $2 OR $2 IS NULL)) THEN
        PERFORM dataprotect._raise('undefined_column',
            format('table "%s" has no such protected column', (SELECT c.relname FROM pg_class c WHERE c.oid = $1)),
            NULL,
            'Name the table that was protected, not one of its partitions; see dataprotect.protected_columns.');
    END IF;
    IF NOT pg_has_role(current_user, (SELECT c.relowner FROM pg_class c WHERE c.oid = $1), 'USAGE') THEN
        PERFORM dataprotect._raise('insufficient_privilege',
            format('must be owner of table %s', (SELECT c.relname FROM pg_class c WHERE c.oid = $1)));
    END IF;
    RETURN QUERY
        SELECT c.oid::regclass, p.col, p.key,
               greatest(1, (current_setting('dataprotect.retention_batch_size')::float8
                            / CASE WHEN c.relpages > 0 AND c.reltuples > 0 THEN c.reltuples / c.relpages
                                   ELSE usual_rows_per_block END)::bigint)
        FROM dataprotect.protected_columns p
            CROSS JOIN LATERAL dataprotect._column_members(p.rel, p.col) m
            JOIN pg_class c ON c.oid = m.member AND c.relkind = 'r'
        WHERE p.rel = $1 AND (p.col = $2 OR $2 IS NULL)
            AND cardinality(dataprotect._stale_key_ids(p.key)) > 0
        ORDER BY c.oid, p.col;
END
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_targets(regclass, name) IS
    'tables and columns that reencrypt() has to work on, with the blocks of a batch';

-- Scans without a query.  Key ids and counts, nothing of the values.
CREATE FUNCTION dataprotect._count_by_key(rel regclass, col name)
    RETURNS TABLE (key_id int8, "values" bigint, failures bigint)
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_verify_count_keys';
COMMENT ON FUNCTION dataprotect._count_by_key(regclass, name) IS 'stored values of a column by key id';

CREATE FUNCTION dataprotect._count_stale(rel regclass, col name, key name) RETURNS bigint
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(sum(x."values"), 0)::bigint FROM dataprotect._count_by_key($1, $2) x
    WHERE x.key_id = ANY (dataprotect._stale_key_ids($3))
$$;
COMMENT ON FUNCTION dataprotect._count_stale(regclass, name, name) IS
    'values of a column that are not under their key''s current version';

-- No SET clause: it would forbid COMMIT.  The path is set for each transaction
-- instead, before anything is looked up by name.
CREATE PROCEDURE dataprotect.reencrypt(rel regclass, col name = NULL)
    LANGUAGE plpgsql
AS $$
DECLARE
    leaves      pg_catalog.regclass[];
    columns     pg_catalog.name[];
    keys        pg_catalog.name[];
    batches     pg_catalog.int8[];
    range       pg_catalog.int8range;
    total       pg_catalog.int8;
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    SELECT array_agg(t.leaf), array_agg(t.leaf_col), array_agg(t.key), array_agg(t.batch)
    INTO leaves, columns, keys, batches
    FROM dataprotect._reencrypt_targets(rel, col) t;
    FOR i IN 1 .. coalesce(array_length(leaves, 1), 0) LOOP
        PERFORM dataprotect._reencrypt_begin(leaves[i], columns[i], keys[i]);
        LOOP
            LOOP
                COMMIT;
                PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
                PERFORM pg_sleep(extract(epoch FROM current_setting('dataprotect.retention_cost_delay')::interval));
                range := dataprotect._reencrypt_claim(leaves[i], columns[i], batches[i]);
                EXIT WHEN range IS NULL;
                total := dataprotect._reencrypt_blocks(leaves[i], columns[i], lower(range), upper(range));
                PERFORM dataprotect._reencrypt_done(leaves[i], columns[i], total);
            END LOOP;
            EXIT WHEN dataprotect._reencrypt_end(leaves[i], columns[i]);
        END LOOP;
        COMMIT;
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    END LOOP;
    RAISE NOTICE 'values of "%" are under the current versions of their keys', rel;
END
$$;
COMMENT ON PROCEDURE dataprotect.reencrypt(regclass, name) IS
    'bring a table''s values under their keys'' current versions, in batches with a commit each';
