-- reencrypt() brings values under the current version of their key: batch by
-- batch, a commit each, so that it can be stopped and called again.  All columns of
-- a table are done in one pass.  Several sessions may work on one table, the worker
-- among them (background => true): they take turns at the next batch.
--
-- Values of a named key go under its current version; those of an account under
-- another key of the account, claimed for that version (keys/subject_key.c).  They
-- are found at any depth of a column's type.  What cannot be brought over is
-- counted by its reason, and as long as there is any, nothing says "finished".
-- Under an expiring key a version is a period, which a value keeps.

CREATE TABLE dataprotect.reencrypt_state (
    rel oid NOT NULL,
    col name NOT NULL,
    keys name[] NOT NULL,
    targets jsonb NOT NULL,
    version int4 NOT NULL,
    blocks bigint NOT NULL,
    next_block bigint NOT NULL DEFAULT 0,
    passes int NOT NULL DEFAULT 1,
    values_done bigint NOT NULL DEFAULT 0,
    values_left bigint,
    left_because jsonb,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    finished_at timestamptz,
    background bool NOT NULL DEFAULT false,
    problem text,
    retry_at timestamptz,
    PRIMARY KEY (rel, col)
);
COMMENT ON TABLE dataprotect.reencrypt_state IS 'how far reencrypt() has come in each table or partition';
COMMENT ON COLUMN dataprotect.reencrypt_state.targets IS 'ids of the key versions to which the pass brings the values, by number of the key';
COMMENT ON COLUMN dataprotect.reencrypt_state.background IS 'the worker does it; problem: the SQLSTATE of what stopped it, until it tries again';
COMMENT ON COLUMN dataprotect.reencrypt_state.ended_at IS 'when every value had been looked at; finished_at: and none was left';

CREATE VIEW dataprotect.reencrypt_progress AS
    SELECT s.rel::pg_catalog.regclass AS rel, s.col, array_to_string(s.keys, ', ') AS key, s.version, s.blocks,
           s.next_block AS blocks_done, s.passes, s.values_done, s.started_at, s.updated_at, s.finished_at,
           s.values_left, s.left_because, s.ended_at, s.background, s.problem
    FROM dataprotect.reencrypt_state s
        JOIN pg_catalog.pg_class c ON c.oid = s.rel;
COMMENT ON VIEW dataprotect.reencrypt_progress IS 'how far reencrypt() has come in each table or partition; what it left, and why';
COMMENT ON COLUMN dataprotect.reencrypt_progress.left_because IS 'number of values that are not under the current version of their key, by reason';

-- Where a value under a key stands: NULL where it is under the current version, or
-- keeps its period; "pending", or what keeps it from being brought over.
CREATE FUNCTION dataprotect._reencrypt_reason(key_id int8, relkind "char") RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN v.key_id IS NULL THEN 'no such key'
                WHEN v.family = 0 THEN 'no key of a column'
                WHEN v.state = 'd' OR k.state = 'd' THEN 'key destroyed'
                WHEN k.keep IS NOT NULL OR v.key_id = k.current_key_id OR s.version >= k.current_version THEN NULL
                WHEN k.state = 's' THEN 'key suspended'
                WHEN v.purpose = 3 AND s.key_id IS NULL THEN 'key of no account'
                WHEN v.state = 's' OR EXISTS (SELECT FROM dataprotect.suspended_subject u
                                              WHERE u.account_type = s.account_type AND u.subject = s.subject)
                    THEN 'account suspended'
                WHEN $2 <> 'r' THEN 'in a materialized view'
                ELSE 'pending' END
    FROM (SELECT) one
        LEFT JOIN dataprotect.key_version v ON v.key_id = $1
        LEFT JOIN dataprotect.key k ON k.family = v.family
        LEFT JOIN dataprotect.subject_key s ON s.key_id = v.key_id
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_reason(int8, "char") IS
    'why a value under a key is not under the current version; "pending" where reencrypt() brings it over; null where it is';

-- Scans without a query.  Key ids and counts, nothing of the values.
CREATE FUNCTION dataprotect._count_by_key(rel regclass, col name)
    RETURNS TABLE (key_id int8, "values" bigint, failures bigint)
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_verify_count_keys';
COMMENT ON FUNCTION dataprotect._count_by_key(regclass, name) IS 'stored values of a column by key id';

CREATE FUNCTION dataprotect._count_by_keys(rel regclass, cols name[])
    RETURNS TABLE (key_id int8, "values" bigint, failures bigint, col name)
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_verify_count_columns';
COMMENT ON FUNCTION dataprotect._count_by_keys(regclass, name[]) IS 'stored values of some columns by key id, in one scan';

CREATE FUNCTION dataprotect._reencrypt_left(rel regclass, cols name[]) RETURNS TABLE (col name, remaining jsonb)
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT u.col, coalesce(jsonb_object_agg(r.reason, r.n) FILTER (WHERE r.reason IS NOT NULL), '{}')
    FROM unnest($2) u(col)
        LEFT JOIN (SELECT x.col, dataprotect._reencrypt_reason(x.key_id, (SELECT c.relkind FROM pg_class c WHERE c.oid = $1)) AS reason,
                          sum(x."values") AS n
                   FROM dataprotect._count_by_keys($1, $2) x GROUP BY 1, 2) r ON r.col = u.col
    GROUP BY u.col ORDER BY u.col
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_left(regclass, name[]) IS
    'values of columns that are not under the current versions of their keys, by reason';

-- Only where some are pending after a pass: opens them.
CREATE FUNCTION dataprotect._reencrypt_damaged(rel regclass, col name) RETURNS bigint
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(sum(x.failures), 0)::bigint FROM dataprotect._verify_column($1, $2, 1) x
    WHERE dataprotect._reencrypt_reason(x.key_id, 'r') = 'pending'
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_damaged(regclass, name) IS
    'values of a column that reencrypt() would bring over, and that do not authenticate';

-- May there be values under another version than the current one?
CREATE FUNCTION dataprotect._has_stale_versions(key name) RETURNS bool
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM dataprotect.key k JOIN dataprotect.key_version v ON v.family = k.family AND v.purpose = 2
                   WHERE k.name = $1 AND k.keep IS NULL AND v.key_id <> k.current_key_id)
$$;
COMMENT ON FUNCTION dataprotect._has_stale_versions(name) IS 'whether a key has versions that are not current';

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

-- Start, or go on with what an interrupted call left.  Where no key has an older
-- version there is nothing to go through: what counts the values at the end does all.
CREATE FUNCTION dataprotect._reencrypt_begin(rel regclass, cols name[], background bool = false) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM dataprotect._check_reencrypt(rel);
    INSERT INTO dataprotect.reencrypt_state AS s (rel, col, keys, targets, version, blocks, background)
    SELECT $1, u.col, array_agg(k.name ORDER BY k.name), jsonb_object_agg(k.family, k.current_key_id), max(k.current_version),
           CASE WHEN (SELECT c.relkind FROM pg_class c WHERE c.oid = $1) = 'r' AND bool_or(dataprotect._has_stale_versions(k.name))
                THEN dataprotect._table_blocks($1) ELSE 0 END, $3
    FROM unnest($2) u(col) JOIN dataprotect.key k
        ON k.name IN (SELECT p.key FROM pg_attribute a, dataprotect._encrypted_parts(a.atttypid, a.atttypmod) p
                      WHERE a.attrelid = $1 AND a.attname = u.col AND NOT a.attisdropped)
    GROUP BY u.col ORDER BY u.col
    ON CONFLICT ON CONSTRAINT reencrypt_state_pkey DO UPDATE
        SET keys = excluded.keys, targets = excluded.targets, version = excluded.version,
            blocks = excluded.blocks, next_block = 0, passes = 1,
            values_done = CASE WHEN s.targets = excluded.targets THEN s.values_done ELSE 0 END,
            started_at = CASE WHEN s.targets = excluded.targets THEN s.started_at ELSE clock_timestamp() END,
            updated_at = clock_timestamp(), ended_at = NULL, finished_at = NULL, values_left = NULL, left_because = NULL,
            background = excluded.background, problem = NULL, retry_at = NULL
        WHERE s.targets <> excluded.targets OR s.ended_at IS NOT NULL;
    UPDATE dataprotect.reencrypt_state s SET background = true, problem = NULL, retry_at = NULL
        WHERE $3 AND s.rel = $1 AND s.col = ANY ($2) AND s.ended_at IS NULL;
    PERFORM dataprotect._progress_tell('reencrypt', 0, 0, '');
END
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_begin(regclass, name[], bool) IS
    'note that columns of a table are being brought under their keys'' current versions';

-- Blocks that have about four times as many rows as a batch of retention, whose rows
-- drag others along: here a row costs some microseconds, and a batch half a millisecond.
CREATE FUNCTION dataprotect._reencrypt_blocks_of_batch(rel regclass) RETURNS bigint
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    usual_rows_per_block CONSTANT float8 := 50;    -- where the table was never analyzed
BEGIN
    RETURN (SELECT greatest(1, (4 * current_setting('dataprotect.retention_batch_size')::float8
                                / CASE WHEN c.relpages > 0 AND c.reltuples > 0 THEN c.reltuples / c.relpages
                                       ELSE usual_rows_per_block END)::bigint)
            FROM pg_class c WHERE c.oid = rel);
END
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_blocks_of_batch(regclass) IS 'number of blocks of a batch of reencrypt()';

-- One batch: a range of blocks of one table or partition, row by row and without
-- a query (reencrypt.c).  Asks itself for the right to act as the table's owner.
CREATE FUNCTION dataprotect._reencrypt_blocks(rel regclass, cols name[], first bigint, "end" bigint) RETURNS bigint[]
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_reencrypt_blocks';
COMMENT ON FUNCTION dataprotect._reencrypt_blocks(regclass, name[], bigint, bigint) IS
    'seal the values of some blocks under their keys'' current versions; how many there were of each column, and the block to go on with';

-- The next batch, locked until commit; false when all blocks are done.
CREATE FUNCTION dataprotect._reencrypt_batch(rel regclass, cols name[]) RETURNS bool
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_cols      name[];
    v_first     bigint;
    v_end       bigint;
    v_done      bigint[];
BEGIN
    PERFORM dataprotect._check_reencrypt(rel);
    SELECT array_agg(l.col), min(l.next_block) INTO v_cols, v_first
        FROM (SELECT r.col, r.next_block, r.blocks, r.ended_at FROM dataprotect.reencrypt_state r
              WHERE r.rel = $1 AND r.col = ANY ($2) ORDER BY r.col FOR UPDATE) l
        WHERE l.ended_at IS NULL AND l.next_block < l.blocks;
    IF v_cols IS NULL THEN
        RETURN false;
    END IF;
    v_end := v_first + dataprotect._reencrypt_blocks_of_batch(rel);
    v_done := dataprotect._reencrypt_blocks(rel, v_cols, v_first, v_end);
    v_end := v_done[cardinality(v_done)];    -- earlier where another session has locked a row
    UPDATE dataprotect.reencrypt_state r
        SET next_block = greatest(r.next_block, least(r.blocks, v_end)), values_done = r.values_done + d.n, updated_at = clock_timestamp()
        FROM unnest(v_cols, v_done) d(col, n)
        WHERE r.rel = $1 AND r.col = d.col;
    PERFORM dataprotect._progress_tell('reencrypt', least(v_end, b.blocks), b.blocks, 'blocks')
        FROM (SELECT max(r.blocks) FROM dataprotect.reencrypt_state r WHERE r.rel = $1 AND r.col = ANY (v_cols)) b (blocks);
    RETURN true;
END
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_batch(regclass, name[]) IS
    'brings the next blocks over in this transaction; false where there are none';

-- After a pass: end, or start over for rows that moved behind its back.
CREATE FUNCTION dataprotect._reencrypt_end(rel regclass, cols name[]) RETURNS bool
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    most_passes CONSTANT int := 5;
    r           record;
    left_over   jsonb;
    pending     bigint;
    damaged     bigint;
    all_ended   bool := true;
BEGIN
    PERFORM dataprotect._check_reencrypt(rel);
    FOR r IN
        SELECT s.col, s.passes, l.remaining
        FROM dataprotect._reencrypt_left($1, (SELECT array_agg(x.col) FROM dataprotect.reencrypt_state x
                                              WHERE x.rel = $1 AND x.col = ANY ($2) AND x.ended_at IS NULL)) l
            JOIN dataprotect.reencrypt_state s ON s.rel = $1 AND s.col = l.col
    LOOP
        left_over := r.remaining;
        pending := coalesce((left_over ->> 'pending')::bigint, 0);
        IF pending > 0 THEN
            damaged := least(pending, dataprotect._reencrypt_damaged(rel, r.col));
            pending := pending - damaged;
            left_over := left_over - 'pending';
            IF damaged > 0 THEN
                left_over := left_over || jsonb_build_object('damaged', damaged);
            END IF;
        END IF;
        IF pending = 0 THEN
            UPDATE dataprotect.reencrypt_state s
            SET ended_at = clock_timestamp(), updated_at = clock_timestamp(), left_because = left_over,
                values_left = (SELECT coalesce(sum(e.value::bigint), 0) FROM jsonb_each_text(left_over) e),
                finished_at = CASE WHEN left_over = '{}' THEN clock_timestamp() END
            WHERE s.rel = $1 AND s.col = r.col AND s.ended_at IS NULL;
            PERFORM dataprotect._column_event('column.reencrypted', s.rel, s.col, s.keys[1]::text)
            FROM dataprotect.reencrypt_state s WHERE s.rel = $1 AND s.col = r.col AND s.blocks > 0 AND FOUND;
            CONTINUE;
        END IF;
        IF r.passes >= most_passes THEN
            PERFORM dataprotect._raise('object_in_use',
                format('%s values of column "%s" of table "%s" escaped reencrypt()', pending, r.col, rel),
                format('Rows moved in each of %s passes.', most_passes),
                'Call it again when the table is changed less.');
        END IF;
        all_ended := false;
        UPDATE dataprotect.reencrypt_state s
        SET next_block = 0, passes = s.passes + 1, blocks = dataprotect._table_blocks($1), updated_at = clock_timestamp()
        WHERE s.rel = $1 AND s.col = r.col AND s.next_block >= s.blocks;
    END LOOP;
    RETURN all_ended;
END
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_end(regclass, name[]) IS
    'note the end of a pass of reencrypt(); false where another is needed';

-- What is left of a column, as a sentence; NULL where nothing is.
CREATE FUNCTION dataprotect._reencrypt_report(rel regclass, cols name[]) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM dataprotect._check_reencrypt(rel);
    RETURN (SELECT string_agg(format('%s.%I: %s', r.rel::regclass, r.col,
                                     (SELECT string_agg(format('%s %s', e.value, e.key), ', ' ORDER BY e.key)
                                      FROM jsonb_each_text(r.left_because) e)), '; ' ORDER BY r.col)
            FROM dataprotect.reencrypt_state r WHERE r.rel = $1 AND r.col = ANY ($2) AND r.values_left > 0);
END
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_report(regclass, name[]) IS 'what reencrypt() left in columns, and why';

-- Tables and columns to work on, partitions one by one.
CREATE FUNCTION dataprotect._reencrypt_targets(rel regclass, col name)
    RETURNS TABLE (leaf regclass, leaf_cols name[])
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
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
        SELECT c.oid::regclass, array_agg(p.col ORDER BY p.col)
        FROM (SELECT DISTINCT x.col FROM dataprotect.protected_columns x WHERE x.rel = $1 AND (x.col = $2 OR $2 IS NULL)) p
            CROSS JOIN LATERAL dataprotect._column_partitions($1, p.col) m
            JOIN pg_class c ON c.oid = m.member AND c.relkind IN ('r', 'm')
        GROUP BY c.oid ORDER BY c.oid;
END
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_targets(regclass, name) IS
    'tables and columns that reencrypt() has to work on';

CREATE FUNCTION dataprotect._reencrypt_wake() RETURNS void
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_reencrypt_wake';
COMMENT ON FUNCTION dataprotect._reencrypt_wake() IS 'has the worker look for tables to re-encrypt now';

-- Worker: one batch, or the end of a pass, of a table that is done in the
-- background; false where there is none.  What fails is tried again in a minute; its
-- message may quote a value, and is not kept.
CREATE FUNCTION dataprotect._reencrypt_step() RETURNS bool
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t           record;
BEGIN
    SELECT s.rel, array_agg(s.col ORDER BY s.col) AS cols INTO t FROM dataprotect.reencrypt_state s
        WHERE s.background AND s.ended_at IS NULL AND (s.retry_at IS NULL OR s.retry_at <= clock_timestamp())
        GROUP BY s.rel ORDER BY min(s.started_at), s.rel LIMIT 1;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    BEGIN
        DELETE FROM dataprotect.reencrypt_state s WHERE s.rel = t.rel AND NOT EXISTS (
            SELECT FROM pg_attribute a, dataprotect._encrypted_parts(a.atttypid, a.atttypmod) WHERE a.attrelid = s.rel AND a.attname = s.col);
        IF NOT FOUND AND NOT dataprotect._reencrypt_batch(t.rel, t.cols) THEN
            PERFORM dataprotect._reencrypt_end(t.rel, t.cols);
        END IF;
        UPDATE dataprotect.reencrypt_state s SET problem = NULL, retry_at = NULL
            WHERE s.rel = t.rel AND s.col = ANY (t.cols) AND s.problem IS NOT NULL;
    EXCEPTION WHEN OTHERS THEN
        UPDATE dataprotect.reencrypt_state s SET problem = SQLSTATE, retry_at = clock_timestamp() + interval '1 minute'
            WHERE s.rel = t.rel AND s.col = ANY (t.cols);
    END;
    RETURN true;
END
$$;
COMMENT ON FUNCTION dataprotect._reencrypt_step() IS 'one batch of what reencrypt() does in the background; false where there is nothing to do';

-- No SET clause: it would forbid COMMIT.  The path is set for each transaction
-- instead, before anything is looked up by name.
CREATE PROCEDURE dataprotect.reencrypt(rel regclass, col name = NULL, background bool = false)
    LANGUAGE plpgsql
AS $$
DECLARE
    t           pg_catalog.record;
    delay       pg_catalog.float8;
    remains     pg_catalog.text[];
BEGIN
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    delay := extract(epoch FROM current_setting('dataprotect.retention_cost_delay')::interval);
    FOR t IN SELECT * FROM dataprotect._reencrypt_targets(rel, col) LOOP
        PERFORM dataprotect._reencrypt_begin(t.leaf, t.leaf_cols, background);
        COMMIT;
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        CONTINUE WHEN background;
        LOOP
            WHILE dataprotect._reencrypt_batch(t.leaf, t.leaf_cols) LOOP
                COMMIT;
                PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
                IF delay > 0 THEN
                    PERFORM pg_sleep(delay);
                END IF;
            END LOOP;
            EXIT WHEN dataprotect._reencrypt_end(t.leaf, t.leaf_cols);
        END LOOP;
        remains := remains || dataprotect._reencrypt_report(t.leaf, t.leaf_cols);
        COMMIT;
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    END LOOP;
    IF background THEN
        PERFORM dataprotect._reencrypt_wake();
        RETURN;
    END IF;
    remains := array_remove(remains, NULL);
    IF cardinality(remains) > 0 THEN
        RAISE NOTICE 'values of "%" are left under older versions of their keys', rel
            USING DETAIL = format('Left: %s.', array_to_string(remains, '; ')),
                  HINT = 'See dataprotect.reencrypt_progress; call reencrypt() again when the reasons are gone.';
    ELSE
        RAISE NOTICE 'values of "%" are under the current versions of their keys', rel;
    END IF;
END
$$;
COMMENT ON PROCEDURE dataprotect.reencrypt(regclass, name, bool) IS
    'bring a table''s values under their keys'' current versions, all columns in one pass, in batches with a commit each; background: by the worker';
