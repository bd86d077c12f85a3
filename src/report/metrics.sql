--
-- Figures for a monitoring system, for members of pg_monitor: states, counts and
-- ages.  No value, no account, no role and no record of the log is among them.
-- Names follow Prometheus: _total only grows, ages are in seconds.
--
CREATE FUNCTION dataprotect._age_seconds(since timestamptz) RETURNS float8
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT greatest(extract(epoch FROM dataprotect._now() - since), 0)::float8
$$;
COMMENT ON FUNCTION dataprotect._age_seconds(timestamptz) IS 'seconds since a time, at least 0';

CREATE FUNCTION dataprotect._metrics_of_keys(OUT name text, OUT labels jsonb, OUT value float8) RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'protected_columns', '{}'::jsonb, count(*) FROM dataprotect.protected_columns
    UNION ALL SELECT 'keys', jsonb_build_object('state', s.state), count(k.name)
        FROM unnest('{active,suspended,destroyed}'::text[]) s (state) LEFT JOIN dataprotect.keys k ON k.state = s.state GROUP BY s.state
    UNION ALL SELECT 'lockdown', '{}', (i.lockdown_since IS NOT NULL)::int FROM dataprotect.instance i
    UNION ALL SELECT m.name, jsonb_build_object('kms_uri', s.kms_uri), m.value FROM dataprotect.kms_status s
        CROSS JOIN LATERAL (VALUES ('kms_up', (s.circuit = 'closed')::int::float8), ('kms_calls_total', s.calls), ('kms_failures_total', s.failures),
                                   ('kms_mean_seconds', s.mean_ms / 1000.0), ('kms_last_success_age_seconds', dataprotect._age_seconds(s.last_success)),
                                   ('kms_drill_age_seconds', extract(epoch FROM s.drill_age)::float8),
                                   ('kms_credentials_expire_seconds', extract(epoch FROM s.credentials_expire - now())::float8)) m (name, value)
$$;
COMMENT ON FUNCTION dataprotect._metrics_of_keys() IS 'figures of metrics() about keys and KMSs';

CREATE FUNCTION dataprotect._metrics_of_audit(OUT name text, OUT labels jsonb, OUT value float8) RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'audit_records_total', '{}'::jsonb, coalesce((SELECT h.seq FROM dataprotect.audit_head h), 0)::float8
    UNION ALL SELECT 'digest_age_seconds', '{}', dataprotect._age_seconds(max(d.made_at)) FROM dataprotect.audit_digest d
    UNION ALL SELECT 'alerts_open', jsonb_build_object('severity', s.severity), count(a.id)
        FROM unnest('{critical,high,medium,low}'::text[]) s (severity) LEFT JOIN dataprotect.alerts a ON a.severity = s.severity AND a.acknowledged_at IS NULL GROUP BY s.severity
    UNION ALL SELECT m.name, jsonb_build_object('sink', s.name), m.value FROM dataprotect.sinks s
        CROSS JOIN LATERAL (VALUES ('sink_lag_records', s.lag_records::float8), ('sink_lag_seconds', coalesce(extract(epoch FROM s.lag), 0)::float8), ('sink_failures', s.failures::float8),
                                   ('sink_last_success_age_seconds', dataprotect._age_seconds(s.last_success))) m (name, value)
$$;
COMMENT ON FUNCTION dataprotect._metrics_of_audit() IS 'figures of metrics() about the log, its sinks and alerts';

CREATE FUNCTION dataprotect._metrics_of_duties(OUT name text, OUT labels jsonb, OUT value float8) RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.name, jsonb_build_object('policy', p.name), m.value FROM dataprotect.retention_policies p
        CROSS JOIN LATERAL (VALUES ('retention_rows_due', p.rows_due::float8), ('retention_active', (p.state = 'active')::int::float8),
                                   ('retention_failing', (EXISTS (SELECT FROM dataprotect.retention_runs r WHERE r.policy = p.name AND r.outcome = 'error'
                                                                   AND r.started_at = (SELECT max(x.started_at) FROM dataprotect.retention_runs x WHERE x.policy = p.name)))::int::float8)) m (name, value)
    UNION ALL SELECT 'deletions', jsonb_build_object('state', s.state), count(r.id)
        FROM unnest('{requested,held,purging,purged,shredded,verified,certified}'::text[]) s (state) LEFT JOIN dataprotect.deletion_requests r ON r.state = s.state GROUP BY s.state
    UNION ALL SELECT 'deletions_overdue', '{}', count(*) FROM dataprotect.deletion_requests r WHERE r.overdue
    UNION ALL SELECT 'deletion_next_deadline_seconds', '{}', extract(epoch FROM min(r.deadline) - dataprotect._now())::float8
        FROM dataprotect.deletion_requests r WHERE r.state NOT IN ('certified', 'cancelled', 'retained')
    UNION ALL SELECT 'worker_failures', jsonb_build_object('kind', w.kind), w.failures FROM dataprotect.workers w WHERE w.database = current_database()
    UNION ALL SELECT 'setup_missing', jsonb_build_object('severity', s.severity), count(c.item)
        FROM unnest('{critical,high,medium,low}'::text[]) s (severity) LEFT JOIN dataprotect.check_setup() c ON c.severity = s.severity AND NOT c.ok GROUP BY s.severity
$$;
COMMENT ON FUNCTION dataprotect._metrics_of_duties() IS 'figures of metrics() about retention, deletion, workers and set-up';

CREATE FUNCTION dataprotect.metrics(OUT name text, OUT labels jsonb, OUT value float8) RETURNS SETOF record
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT m.* FROM (SELECT * FROM dataprotect._metrics_of_keys() UNION ALL SELECT * FROM dataprotect._metrics_of_audit() UNION ALL SELECT * FROM dataprotect._metrics_of_duties()) m
        WHERE m.value IS NOT NULL ORDER BY m.name, m.labels
$$;
COMMENT ON FUNCTION dataprotect.metrics() IS
    'figures for monitoring, for members of pg_monitor: name as in Prometheus, labels, value; nothing personal is among them';
