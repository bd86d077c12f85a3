-- What time it is for deadlines, and whether the server's clock can be believed

CREATE TABLE dataprotect.clock_record (
    one bool PRIMARY KEY DEFAULT true CHECK (one),
    newest timestamptz NOT NULL,        -- at which the clock was right
    boot text NOT NULL,                 -- of which start of the machine
    uptime bigint NOT NULL,             -- microseconds since then
    wrong_since timestamptz             -- seen to be wrong at that trusted time
);
COMMENT ON TABLE dataprotect.clock_record IS 'the newest time at which the clock was right; see lifecycle/clock.c';

CREATE FUNCTION dataprotect._read_clock(OUT wall timestamptz, OUT boot text, OUT uptime bigint) RETURNS record
    AS 'MODULE_PATHNAME', 'dp_lifecycle_read_clock'
    LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dataprotect._read_clock() IS 'the clocks of the machine';

CREATE FUNCTION dataprotect._trusted_time(newest timestamptz, boot text, uptime bigint,
        OUT at timestamptz, OUT off interval) RETURNS record
    AS 'MODULE_PATHNAME', 'dp_lifecycle_trusted_time'
    LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dataprotect._trusted_time(timestamptz, text, bigint) IS
    'the time by what is on record, and by how much the clock is wrong where it is not believed';

INSERT INTO dataprotect.clock_record (newest, boot, uptime) SELECT c.wall, c.boot, c.uptime FROM dataprotect._read_clock() c;

-- No time is earlier than one on record, nor the wall clock's where that is wrong.
CREATE FUNCTION dataprotect._now() RETURNS timestamptz
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT coalesce((SELECT (dataprotect._trusted_time(r.newest, r.boot, r.uptime)).at FROM dataprotect.clock_record r), now()));
END $$;
COMMENT ON FUNCTION dataprotect._now() IS 'the time that deadlines are compared with and computed from';

CREATE FUNCTION dataprotect._clock_status(OUT ok bool, OUT wall timestamptz, OUT trusted timestamptz, OUT off interval,
        OUT wrong_since timestamptz, OUT newest timestamptz) RETURNS record
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.off IS NULL, clock_timestamp(), t.at, t.off, r.wrong_since, r.newest
      FROM dataprotect.clock_record r, LATERAL dataprotect._trusted_time(r.newest, r.boot, r.uptime) t;
$$;
COMMENT ON FUNCTION dataprotect._clock_status() IS 'body of the view clock_status';

CREATE VIEW dataprotect.clock_status AS SELECT * FROM dataprotect._clock_status();
COMMENT ON VIEW dataprotect.clock_status IS
    'whether the server''s clock is believed; where it is not, retention and deletion wait';

-- Look at the clock and write down what it says where it is right; whether it is.
-- A change is an event; what was planned by trusted time stays as it is.
CREATE FUNCTION dataprotect._check_clock() RETURNS bool
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    status record := dataprotect._clock_status();
    reading record := dataprotect._read_clock();
BEGIN
    IF status.ok IS NULL OR pg_is_in_recovery() THEN
        RETURN coalesce(status.ok, true);
    END IF;
    IF status.ok THEN
        UPDATE dataprotect.clock_record r
           SET newest = greatest(r.newest, reading.wall), boot = reading.boot, uptime = reading.uptime, wrong_since = NULL
         WHERE r.wrong_since IS NOT NULL OR r.boot <> reading.boot OR reading.uptime - r.uptime NOT BETWEEN 0 AND 60000000;
        IF status.wrong_since IS NOT NULL THEN
            PERFORM dataprotect._event('clock.resumed', NULL, jsonb_build_object('wall', reading.wall));
        END IF;
    ELSIF status.wrong_since IS NULL THEN
        UPDATE dataprotect.clock_record r SET wrong_since = status.trusted WHERE r.wrong_since IS NULL;
        PERFORM dataprotect._event('clock.stopped', NULL, jsonb_build_object('wall', reading.wall,
            'expected', status.trusted, 'newest', status.newest, 'off', status.off));
        RAISE WARNING USING MESSAGE = 'retention and deletion stop: the clock of this server cannot be right',
            DETAIL = format('It is off by %s.', status.off),
            HINT = 'They go on when it is right again, or when it is confirmed by dataprotect.confirm_clock().';
    END IF;
    RETURN status.ok;
END $$;
COMMENT ON FUNCTION dataprotect._check_clock() IS 'whether the clock is right; writes down what it says where it is';

CREATE FUNCTION dataprotect._refuse_wrong_clock() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    status record := dataprotect._clock_status();
BEGIN
    IF NOT status.ok THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state', 'the clock of this server cannot be right',
            format('It says %s and should say %s.', status.wall, status.trusted),
            'Mend it, or confirm it by dataprotect.confirm_clock().');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._refuse_wrong_clock() IS 'error where the clock is not believed';

CREATE FUNCTION dataprotect._wake_maintenance() RETURNS void
    AS 'MODULE_PATHNAME', 'dp_lifecycle_wake'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._wake_maintenance() IS
    'let the worker look for due retention and deletions once this transaction has committed';

CREATE FUNCTION dataprotect._do_confirm_clock(reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    status record := dataprotect._clock_status();
    reading record := dataprotect._read_clock();
    redated bigint[];
    due bigint;
BEGIN
    IF coalesce(reason, '') = '' THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'confirming the clock needs a reason');
    END IF;
    UPDATE dataprotect.clock_record r
       SET newest = reading.wall, boot = reading.boot, uptime = reading.uptime, wrong_since = NULL;
    -- Requests of a time that is still to come were made by a clock that was wrong and
    -- believed: they would sleep until then.  Their times begin now.
    PERFORM dataprotect._need_policy('deletion_request', r.id) FROM dataprotect.deletion_request r WHERE r.requested_at > reading.wall;
    WITH early AS (
        UPDATE dataprotect.deletion_request r
           SET requested_at = reading.wall, state_since = reading.wall,
               grace_until = reading.wall + (r.grace_until - r.requested_at), deadline = reading.wall + (r.deadline - r.requested_at)
         WHERE r.requested_at > reading.wall AND r.state IN ('requested', 'held', 'purging', 'purged', 'shredded', 'verified')
        RETURNING r.id)
    SELECT array_agg(e.id ORDER BY e.id) INTO redated FROM early e;
    DELETE FROM dataprotect.deadline_alert a WHERE a.request = ANY (redated);
    PERFORM dataprotect._event('clock.confirmed', NULL, jsonb_strip_nulls(jsonb_build_object('wall', reading.wall,
        'expected', status.trusted, 'newest', status.newest, 'off', status.off, 'reason', reason, 'requests_begin_now', redated)));
    SELECT count(*) INTO due FROM dataprotect.deletion_request r
     WHERE r.state = 'requested' AND r.grace_until <= reading.wall AND r.grace_until > status.trusted;
    IF due > 0 THEN
        RAISE WARNING USING MESSAGE = format('by this clock the grace time of %s deletion requests is over', due),
            DETAIL = 'They cannot be taken back any more once they begin.',
            HINT = 'dataprotect.cancel_deletion() takes one back that should have waited.';
    END IF;
    PERFORM dataprotect._wake_maintenance();
END $$;
COMMENT ON FUNCTION dataprotect._do_confirm_clock(text) IS 'body of dataprotect.confirm_clock(); see definer.c';

CREATE FUNCTION dataprotect.confirm_clock(reason text) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.confirm_clock(text) IS
    'declare that the server''s clock is right: deadlines are counted by it from here on';
