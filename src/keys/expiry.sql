--
-- Keys with "keep": a version is a period, and opens nothing once it is over
-- (expiry.c).  Here it is destroyed, with every account's key of that period.
--
CREATE FUNCTION dataprotect._expire_versions() RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz;
    v record;
    v_accounts int;
    v_expired int := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM dataprotect.key k WHERE k.keep IS NOT NULL) THEN
        RETURN 0;
    END IF;
    -- late bound: the clock belongs to a higher layer
    IF NOT dataprotect._check_clock() THEN
        RETURN 0;
    END IF;
    v_now := dataprotect._now() - current_setting('dataprotect.max_clock_step')::interval;
    FOR v IN
        SELECT x.key_id, x.family, x.version, x.expires_at, k.name
        FROM dataprotect.key_version x JOIN dataprotect.key k ON k.family = x.family
        WHERE x.purpose = 2 AND x.state <> 'd' AND x.expires_at <= v_now AND k.state <> 'd'
        ORDER BY x.family, x.version FOR UPDATE OF x SKIP LOCKED
    LOOP
        -- The current one goes as well: a value that comes now gets a new one.
        UPDATE dataprotect.key_version SET state = 'd', wrapped = NULL, state_since = now(), reason = 'its time is over'
            WHERE key_id = v.key_id;
        UPDATE dataprotect.key_version a SET state = 'd', wrapped = NULL, state_since = now(), reason = 'its time is over'
            FROM dataprotect.subject_key s
            WHERE s.family = v.family AND s.version = v.version AND a.key_id = s.key_id AND a.state <> 'd';
        GET DIAGNOSTICS v_accounts = ROW_COUNT;
        PERFORM dataprotect._event('key.expired', v.name, jsonb_build_object('version', v.version,
            'expired_at', v.expires_at, 'accounts', v_accounts));
        v_expired := v_expired + 1;
    END LOOP;
    RETURN v_expired;
END $$;
COMMENT ON FUNCTION dataprotect._expire_versions() IS 'destroys the versions of expiring keys whose time is over; how many';
