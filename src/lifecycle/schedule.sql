-- When runs begin: by the worker's nap time, or by pg_cron where it is asked to

CREATE FUNCTION dataprotect.start_maintenance() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE dataprotect.retention_policy p SET next_due = dataprotect._now() WHERE p.state = 'active';
    PERFORM dataprotect._wake_maintenance();
END $$;
COMMENT ON FUNCTION dataprotect.start_maintenance() IS 'make every active policy due and wake the worker; pg_cron calls it';

CREATE FUNCTION dataprotect.schedule_maintenance(cron text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    job bigint;
    home text := current_setting('cron.database_name', true);
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
        PERFORM dataprotect._raise('undefined_object',
            'extension "pg_cron" is not installed in this database',
            CASE WHEN home IS NULL THEN 'It is not in shared_preload_libraries either.'
                     WHEN home <> current_database() THEN format('It keeps its jobs in database "%s".', home)
                     ELSE 'It is loaded, but CREATE EXTENSION pg_cron was not run.' END,
            CASE WHEN home <> current_database()
                THEN format('In that database call cron.schedule_in_database(''dataprotect'', %L, '
                            '''SELECT dataprotect.start_maintenance()'', %L).', cron, current_database())
                ELSE 'Without it the worker looks for due work every dataprotect.worker_naptime.' END);
    END IF;
    EXECUTE 'SELECT cron.schedule($1, $2, $3)' INTO job
      USING 'dataprotect maintenance', cron, 'SELECT dataprotect.start_maintenance()';
    UPDATE dataprotect.retention_policy p SET next_due = NULL;
    PERFORM dataprotect._event('maintenance.scheduled', NULL, jsonb_build_object('cron', cron, 'job', job));
    RETURN job;
END $$;
COMMENT ON FUNCTION dataprotect.schedule_maintenance(text) IS
    'let pg_cron decide when retention runs; without a schedule the worker''s nap time does';

CREATE FUNCTION dataprotect._maintenance_scheduled() RETURNS bool
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    scheduled bool := false;
BEGIN
    IF EXISTS (SELECT 1 FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
        EXECUTE 'SELECT EXISTS (SELECT 1 FROM cron.job j WHERE j.jobname = $1 AND j.active AND j.database = current_database())'
            INTO scheduled USING 'dataprotect maintenance';
    END IF;
    RETURN scheduled;
END $$;
COMMENT ON FUNCTION dataprotect._maintenance_scheduled() IS 'whether a pg_cron job starts the runs';

-- Under a schedule a finished policy has no next_due of its own; where the job
-- was removed behind our back it is due.  Nobody plans further ahead than a policy's
-- own interval but a clock that was wrong: that is not believed.
CREATE FUNCTION dataprotect._retention_due_names() RETURNS text[]
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'                -- as it was planned
AS $$
DECLARE
    far record;
BEGIN
    PERFORM dataprotect._retention_sweep();
    FOR far IN
        SELECT p.id, p.name, p.next_due FROM dataprotect.retention_policy p
         WHERE p.state = 'active' AND isfinite(p.next_due) AND p.next_due > dataprotect._now() + p.every
           FOR UPDATE SKIP LOCKED
    LOOP
        UPDATE dataprotect.retention_policy p SET next_due = dataprotect._now() WHERE p.id = far.id;
        PERFORM dataprotect._event('retention.altered', NULL, jsonb_build_object('policy', far.name,
            'reason', 'the next run was planned too far ahead', 'next_due', far.next_due));
    END LOOP;
    RETURN (SELECT array_agg(p.name ORDER BY p.next_due NULLS FIRST) FROM dataprotect.retention_policy p
             WHERE p.state = 'active'
               AND (p.next_due <= dataprotect._now() OR p.next_due IS NULL AND NOT dataprotect._maintenance_scheduled()));
END $$;
COMMENT ON FUNCTION dataprotect._retention_due_names() IS 'policies that the worker has to start now';
