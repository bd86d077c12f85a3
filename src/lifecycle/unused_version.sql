-- Versions that nothing is sealed under any more go, a time after a newer one took over
-- (dataprotect.unused_version_time).  Looked for are values, at any depth of a column's
-- type, and what dead rows and indexes still have: an ordered index compares with it.
-- One version a transaction, and each at most once a day, since it takes a look at every
-- page of every protected table.
CREATE FUNCTION dataprotect._is_version_used(version_key_id int8) RETURNS bool
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT m.member AS rel, array_agg(DISTINCT s.col) AS cols
        FROM dataprotect._storing_columns() s CROSS JOIN LATERAL dataprotect._column_partitions(s.rel, s.col) m
        GROUP BY 1 ORDER BY 1
    LOOP
        IF dataprotect._pages_with_keys(t.rel, ARRAY[version_key_id]) > 0
           OR EXISTS (SELECT FROM dataprotect._count_by_keys(t.rel, t.cols) x WHERE x.key_id = version_key_id) THEN
            RETURN true;
        END IF;
    END LOOP;
    RETURN false;
END $$;
COMMENT ON FUNCTION dataprotect._is_version_used(int8) IS 'whether a table or an index has anything that is sealed under a key';

CREATE FUNCTION dataprotect._destroy_unused_version() RETURNS bool
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_after interval := current_setting('dataprotect.unused_version_time')::interval;
    v_now timestamptz;
    v record;
BEGIN
    IF v_after <= interval '0' OR NOT dataprotect._check_clock() THEN
        RETURN false;
    END IF;
    v_now := dataprotect._now();
    SELECT x.key_id, x.version, x.state_since, k.name INTO v
        FROM dataprotect.key_version x JOIN dataprotect.key k ON k.family = x.family
        WHERE x.purpose = 2 AND x.state = 'r' AND x.version < k.current_version AND k.state = 'a' AND k.keep IS NULL
          AND x.state_since <= v_now - v_after
          AND (x.looked_at IS NULL OR x.looked_at NOT BETWEEN v_now - interval '1 day' AND v_now)
        ORDER BY x.looked_at NULLS FIRST, x.state_since LIMIT 1 FOR UPDATE OF x SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF dataprotect._is_version_used(v.key_id) THEN
        UPDATE dataprotect.key_version SET looked_at = v_now WHERE key_id = v.key_id;
    ELSE
        UPDATE dataprotect.key_version SET state = 'd', wrapped = NULL, state_since = now(), reason = 'nothing is sealed under it any more'
            WHERE key_id = v.key_id;
        PERFORM dataprotect._event('version.destroyed', v.name, jsonb_build_object('version', v.version, 'retired_at', v.state_since));
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION dataprotect._destroy_unused_version() IS
    'looks whether anything is sealed under the retired version whose turn it is, and destroys it where nothing is; false where none has its turn';
