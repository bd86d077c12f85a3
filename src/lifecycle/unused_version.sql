-- Versions that nothing is sealed under any more go, a time after a newer one took over
-- (dataprotect.unused_version_time).  Looked for are values, at any depth of a column's
-- type, and what dead rows and indexes still have: an ordered index compares with it.
-- One version a transaction, or a thousand keys of accounts, and each at most once a day, since it takes a look at every
-- page of every protected table.
--
-- Values move while it looks: from a table whose turn comes later into one that it has
-- looked at.  None is missed:
--  - The statement's snapshot keeps whatever it sees on the pages, deleted or not, until
--    the end, and the tables are locked before the first is looked at: none is truncated,
--    dropped or written anew.  So what was in a table as the look began is found.
--  - What was in none as the look began, but in the memory of a statement, its snapshot
--    keeps on the pages as well; but for a procedure that commits in between.  So a version is
--    destroyed by a second look, at a time when all that was running as the first one ended
--    has ended too, and has written what it had.
-- A session's temporary tables cannot be looked at: where one can hold such values, nothing
-- is destroyed.
CREATE FUNCTION dataprotect._hold_tables(rels oid[]) RETURNS bool
    AS 'MODULE_PATHNAME', 'dp_lifecycle_hold_tables'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._hold_tables(oid[]) IS
    'locks tables in ACCESS SHARE mode to the end of the transaction; false where that would wait, or one is gone';

CREATE FUNCTION dataprotect._used_keys(key_ids int8[]) RETURNS int8[]
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_left int8[] := key_ids;
    v_tables oid[];
    v_elsewhere bool := false;
    t record;
BEGIN
    -- Citus has the rows on other servers.
    IF to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition)' INTO v_elsewhere;
    END IF;
    IF v_elsewhere THEN
        RETURN key_ids;
    END IF;
    SELECT array_agg(DISTINCT m.member) INTO v_tables
        FROM dataprotect._storing_columns() s CROSS JOIN LATERAL dataprotect._column_partitions(s.rel, s.col) m;
    IF NOT dataprotect._hold_tables(coalesce(v_tables, '{}'))
       OR EXISTS (SELECT FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                  WHERE c.relpersistence = 't' AND c.relkind IN ('r', 'p', 'm') AND a.atttypid >= 16384
                    AND EXISTS (SELECT FROM dataprotect._encrypted_parts(a.atttypid, a.atttypmod))) THEN
        RETURN key_ids;
    END IF;
    FOR t IN
        SELECT m.member AS rel, array_agg(DISTINCT s.col) AS cols
        FROM dataprotect._storing_columns() s CROSS JOIN LATERAL dataprotect._column_partitions(s.rel, s.col) m
        GROUP BY 1 ORDER BY 1
    LOOP
        v_left := ARRAY(SELECT k FROM unnest(v_left) k EXCEPT SELECT x.key_id FROM dataprotect._count_by_keys(t.rel, t.cols) x);
        -- Which of them it is that a page still has is not told.
        IF v_left = '{}' OR dataprotect._pages_with_keys(t.rel, v_left) > 0 THEN
            RETURN key_ids;
        END IF;
    END LOOP;
    RETURN ARRAY(SELECT k FROM unnest(key_ids) k EXCEPT SELECT k FROM unnest(v_left) k);
END $$;
COMMENT ON FUNCTION dataprotect._used_keys(int8[]) IS
    'those of some keys that a table or an index has anything sealed under; all of them where that cannot be told now';

CREATE FUNCTION dataprotect._runs_since(moment timestamptz) RETURNS bool
    LANGUAGE sql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM pg_stat_activity a
                   WHERE a.datid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()) AND a.pid <> pg_backend_pid()
                     AND (a.backend_type = 'client backend' OR a.state IS NOT NULL AND a.backend_type NOT LIKE 'dataprotect%')
                     AND a.state IS DISTINCT FROM 'idle' AND coalesce(a.query_start, a.backend_start) <= $1)
$$;
COMMENT ON FUNCTION dataprotect._runs_since(timestamptz) IS 'whether a statement of this database still runs that ran then';

-- Keys of accounts as well, many at once: those that another has taken the place of as
-- the named key rotated.  An account in its grace time keeps what it has.
CREATE FUNCTION dataprotect._overtaken_keys(before timestamptz, seen bool, look_before timestamptz, among int8[] DEFAULT NULL) RETURNS SETOF int8
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT v.key_id
    FROM dataprotect.subject_key s
        JOIN dataprotect.key k ON k.family = s.family AND k.state = 'a' AND k.keep IS NULL AND s.version < k.current_version
        JOIN dataprotect.key_version v ON v.key_id = s.key_id AND v.purpose = 3 AND v.state IN ('a', 'p')
    WHERE (among IS NULL OR v.key_id = ANY (among)) AND v.state_since <= before
        AND (v.unused_at IS NOT NULL) = seen AND (v.looked_at IS NULL OR v.looked_at <= look_before)
        AND EXISTS (SELECT FROM dataprotect.subject_key n
                    WHERE n.family = s.family AND n.account_type = s.account_type AND n.subject = s.subject
                      AND n.version > s.version AND n.claimed_at <= before)
        AND NOT EXISTS (SELECT FROM dataprotect.suspended_subject x WHERE x.account_type = s.account_type AND x.subject = s.subject)
    ORDER BY v.looked_at NULLS FIRST, v.key_id LIMIT 1000
$$;
COMMENT ON FUNCTION dataprotect._overtaken_keys(timestamptz, bool, timestamptz, int8[]) IS
    'accounts'' keys, of some or of all, whose successor was claimed before a time, and that a look has found unused already, or not';

CREATE FUNCTION dataprotect._destroy_overtaken_keys(after interval, moment timestamptz) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_seen bool := true;
    v_keys int8[] := ARRAY(SELECT dataprotect._overtaken_keys(moment - after, true, moment - interval '1 day'));
    v_unused int8[];
    v_ours int8[];
    v_until timestamptz := clock_timestamp();
BEGIN
    IF v_keys = '{}' OR dataprotect._runs_since((SELECT max(v.unused_at) FROM dataprotect.key_version v WHERE v.key_id = ANY (v_keys))) THEN
        v_seen := false;
        v_keys := ARRAY(SELECT dataprotect._overtaken_keys(moment - after, false, moment - interval '1 day'));
    END IF;
    IF v_keys = '{}' THEN
        RETURN false;
    END IF;
    -- Nobody waits for a look: what is to be written is locked after it, and chosen again.
    v_unused := ARRAY(SELECT k FROM unnest(v_keys) k EXCEPT SELECT k FROM unnest(dataprotect._used_keys(v_keys)) k);
    v_ours := ARRAY(SELECT v.key_id FROM dataprotect.key_version v WHERE v.key_id = ANY (v_keys)
                        AND (v.unused_at IS NULL OR v.unused_at <= v_until) FOR UPDATE SKIP LOCKED);
    v_keys := ARRAY(SELECT dataprotect._overtaken_keys(moment - after, v_seen, moment - interval '1 day', v_ours));
    v_unused := ARRAY(SELECT k FROM unnest(v_unused) k INTERSECT SELECT k FROM unnest(v_keys) k);
    IF v_keys = '{}' THEN
        RETURN false;
    END IF;
    UPDATE dataprotect.key_version SET looked_at = moment, unused_at = NULL
        WHERE key_id = ANY (v_keys) AND key_id <> ALL (v_unused);
    IF NOT v_seen THEN
        UPDATE dataprotect.key_version SET unused_at = clock_timestamp() WHERE key_id = ANY (v_unused);
    ELSE
        UPDATE dataprotect.key_version SET state = 'd', wrapped = NULL, state_since = now(), reason = 'nothing is sealed under it any more'
            WHERE key_id = ANY (v_unused);
        PERFORM dataprotect._event('version.destroyed', x.name, jsonb_build_object('account_keys', x.n))
            FROM (SELECT k.name, count(*) AS n FROM dataprotect.key_version v JOIN dataprotect.key k ON k.family = v.family
                  WHERE v.key_id = ANY (v_unused) GROUP BY k.name) x;
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION dataprotect._destroy_overtaken_keys(interval, timestamptz) IS
    'looks whether anything is sealed under accounts'' keys that others have replaced, and destroys those where nothing is a second time; false where none has its turn';

CREATE FUNCTION dataprotect._destroy_unused_version() RETURNS bool
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_after interval := current_setting('dataprotect.unused_version_time')::interval;
    v_now timestamptz;
    v record;
    v_used bool;
BEGIN
    IF v_after <= interval '0' OR NOT dataprotect._check_clock() THEN
        RETURN false;
    END IF;
    v_now := dataprotect._now();
    SELECT x.key_id, x.version, x.state_since, x.looked_at, x.unused_at, k.name INTO v
        FROM dataprotect.key_version x JOIN dataprotect.key k ON k.family = x.family
        WHERE x.purpose = 2 AND x.state = 'r' AND x.version < k.current_version AND k.state = 'a' AND k.keep IS NULL
          AND x.state_since <= v_now - v_after
          AND (x.looked_at IS NULL OR x.looked_at NOT BETWEEN v_now - interval '1 day' AND v_now)
          AND (x.unused_at IS NULL OR NOT dataprotect._runs_since(x.unused_at))
        ORDER BY x.looked_at NULLS FIRST, x.state_since LIMIT 1;
    IF NOT FOUND THEN
        RETURN dataprotect._destroy_overtaken_keys(v_after, v_now);
    END IF;
    v_used := dataprotect._used_keys(ARRAY[v.key_id]) <> '{}';
    PERFORM FROM dataprotect.key_version x
        WHERE x.key_id = v.key_id AND x.state = 'r' AND x.state_since = v.state_since
          AND x.looked_at IS NOT DISTINCT FROM v.looked_at AND x.unused_at IS NOT DISTINCT FROM v.unused_at
        FOR UPDATE SKIP LOCKED;
    IF NOT FOUND OR NOT EXISTS (SELECT FROM dataprotect.key_version x JOIN dataprotect.key k ON k.family = x.family
                                WHERE x.key_id = v.key_id AND x.version < k.current_version AND k.state = 'a' AND k.keep IS NULL) THEN
        RETURN false;
    END IF;
    IF v_used THEN
        UPDATE dataprotect.key_version SET looked_at = v_now, unused_at = NULL WHERE key_id = v.key_id;
    ELSIF v.unused_at IS NULL THEN
        UPDATE dataprotect.key_version SET unused_at = clock_timestamp() WHERE key_id = v.key_id;
    ELSE
        UPDATE dataprotect.key_version SET state = 'd', wrapped = NULL, state_since = now(), reason = 'nothing is sealed under it any more'
            WHERE key_id = v.key_id;
        PERFORM dataprotect._event('version.destroyed', v.name, jsonb_build_object('version', v.version, 'retired_at', v.state_since));
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION dataprotect._destroy_unused_version() IS
    'looks whether anything is sealed under the retired version whose turn it is, and destroys it where nothing is a second time; accounts'' keys where no version has its turn; false where nothing has';
