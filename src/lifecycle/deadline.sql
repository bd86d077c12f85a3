-- Deadlines of deletions: told before they are missed, and before anything else

CREATE TABLE dataprotect.deadline_alert (
    request bigint PRIMARY KEY REFERENCES dataprotect.deletion_request ON DELETE CASCADE,
    stage text NOT NULL CHECK (stage IN ('half', 'week', 'day', 'missed')),
    told_at timestamptz NOT NULL DEFAULT dataprotect._now()
);
COMMENT ON TABLE dataprotect.deadline_alert IS 'the last thing that was told about the deadline of a deletion';

-- How near a deadline is.  A week and a day count where the whole time is at least
-- twice as long.
CREATE FUNCTION dataprotect._deadline_stage(requested_at timestamptz, deadline timestamptz) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN n.now >= deadline THEN 'missed'
                WHEN n.now >= deadline - interval '1 day' AND deadline - requested_at >= interval '2 days' THEN 'day'
                WHEN n.now >= deadline - interval '7 days' AND deadline - requested_at >= interval '14 days' THEN 'week'
                WHEN n.now >= requested_at + (deadline - requested_at) / 2 THEN 'half' END
      FROM (SELECT dataprotect._now() AS now) n;
$$;
COMMENT ON FUNCTION dataprotect._deadline_stage(timestamptz, timestamptz) IS
    'what is to be told about a deadline now: half, week, day, missed, or NULL';

-- An event is an alert: whoever listens to dataprotect_alert is told.
CREATE FUNCTION dataprotect._tell_deadlines() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    near record;
BEGIN
    FOR near IN
        SELECT r.id, r.account_type, r.deadline, r.state, s.stage
          FROM dataprotect.deletion_request r
          LEFT JOIN dataprotect.deadline_alert a ON a.request = r.id,
               LATERAL (SELECT dataprotect._deadline_stage(r.requested_at, r.deadline) AS stage) s
         WHERE r.state NOT IN ('certified', 'cancelled', 'retained')
           AND s.stage IS NOT NULL AND s.stage IS DISTINCT FROM a.stage
         ORDER BY r.deadline, r.id
    LOOP
        INSERT INTO dataprotect.deadline_alert (request, stage) VALUES (near.id, near.stage)
            ON CONFLICT (request) DO UPDATE SET stage = excluded.stage, told_at = excluded.told_at;
        PERFORM dataprotect._event(CASE near.stage WHEN 'missed' THEN 'deadline.missed' ELSE 'deadline.near' END, NULL,
            jsonb_build_object('request', near.id, 'account_type', near.account_type, 'stage', near.stage,
                               'deadline', near.deadline, 'state', near.state));
        RAISE WARNING USING MESSAGE = format(CASE near.stage WHEN 'missed' THEN 'deletion request %s missed its deadline'
                                                  ELSE 'deletion request %s comes near its deadline' END, near.id),
            DETAIL = format('It is "%s"; its deadline is %s.', near.state, near.deadline);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._tell_deadlines() IS 'tell of deletions at half of their time, a week and a day before its end, and after it';

-- Beside epoch_drill, whose rows an open transaction that has drilled may hold.
CREATE TABLE dataprotect.drill_alert (
    epoch int8 NOT NULL,
    kms_uri text NOT NULL,
    told_at timestamptz NOT NULL,
    PRIMARY KEY (epoch, kms_uri)
);
COMMENT ON TABLE dataprotect.drill_alert IS 'when it was last told that no drill has opened an epoch key from one of its URIs for a year';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.drill_alert', '');

-- What no drill has opened for a year may not open any more, and nobody would know.
-- Told again every thirty days.  Of a clock that was wrong then, no time counts.
CREATE FUNCTION dataprotect._tell_drills() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    late record;
    keys name[];
    right_now timestamptz := dataprotect._now();
BEGIN
    FOR late IN
        SELECT e.key_id, e.epoch, u.uri, least(d.succeeded_at, right_now) AS last_success
          FROM dataprotect.epoch e CROSS JOIN LATERAL (SELECT DISTINCT unnest(e.kms_uri)) u (uri)
          LEFT JOIN dataprotect.epoch_drill d ON d.epoch = e.key_id AND d.kms_uri = u.uri
          LEFT JOIN dataprotect.drill_alert a ON a.epoch = e.key_id AND a.kms_uri = u.uri
         WHERE e.state IN ('a', 'g')
           AND coalesce(d.succeeded_at, e.created_at) NOT BETWEEN right_now - interval '1 year' AND right_now + interval '1 day'
           AND coalesce(a.told_at NOT BETWEEN right_now - interval '30 days' AND right_now + interval '1 day', true)
         ORDER BY e.epoch, e.key_id, u.uri
    LOOP
        SELECT array_agg(DISTINCT coalesce(k.name, 'system')) INTO keys
          FROM dataprotect.key_version v LEFT JOIN dataprotect.key k ON k.family = v.family
         WHERE v.epoch = late.key_id AND v.wrapped IS NOT NULL;
        CONTINUE WHEN keys IS NULL;     -- nothing is under it, and no drill opens it
        INSERT INTO dataprotect.drill_alert (epoch, kms_uri, told_at) VALUES (late.key_id, late.uri, right_now)
            ON CONFLICT ON CONSTRAINT drill_alert_pkey DO UPDATE SET told_at = excluded.told_at;
        PERFORM dataprotect._event('drill.overdue', CASE WHEN cardinality(keys) = 1 AND keys[1] <> 'system' THEN keys[1]::text END,
            jsonb_strip_nulls(jsonb_build_object('kms_uri', late.uri, 'epoch', late.epoch, 'keys', keys[:10],
                'number_of_keys', cardinality(keys), 'last_success', late.last_success)));
        RAISE WARNING USING MESSAGE = format('no drill has opened keys from KMS "%s" for a year', late.uri),
            HINT = 'Call dataprotect.drill().';
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._tell_drills() IS 'tell of epoch keys that no drill has opened for a year, from one of their URIs';

-- A worker's run of a policy makes room for what is due as well: deletions, and
-- policies that are due longer.
CREATE FUNCTION dataprotect._other_work_due(run bigint) RETURNS bool
    LANGUAGE sql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT 1 FROM dataprotect.deletion_request r
                    WHERE r.state = 'requested' AND r.grace_until <= dataprotect._now()
                       OR r.state IN ('purging', 'purged', 'shredded', 'verified'))
        OR EXISTS (SELECT 1 FROM dataprotect.retention_policy p
                    WHERE p.state = 'active' AND p.next_due <= dataprotect._now()
                      AND p.id <> (SELECT r.policy FROM dataprotect.retention_run r WHERE r.id = run));
$$;
COMMENT ON FUNCTION dataprotect._other_work_due(bigint) IS 'whether something beside a run of a policy is due';

-- What a run has to be slow for: seconds that the slowest standby is behind, and
-- how many sessions are at work.
CREATE FUNCTION dataprotect._load(OUT replica_lag float8, OUT sessions int) RETURNS record
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT max(extract(epoch FROM r.replay_lag)) FROM pg_stat_replication r), 0)::float8,
           (SELECT count(*) FROM pg_stat_activity a
             WHERE a.backend_type = 'client backend' AND a.state = 'active' AND a.pid <> pg_backend_pid())::int;
$$;
COMMENT ON FUNCTION dataprotect._load() IS 'how far the slowest standby is behind, and how many sessions are at work';
