-- What an auditor asks: each promise and control beside what this server shows of it
-- now.  A verdict is taken from facts at the time of the call, never from a setting
-- that says it should be so where a fact is at hand:
--		kept		the facts show it
--		partly		some do, evidence says which do not
--		not kept	the facts show the contrary, or nothing does it
--		outside		a matter of the organisation or of the software's makers

CREATE FUNCTION dataprotect._controls(OUT promise text, OUT control text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    VALUES ('P1', 'A.5.34'), ('P2', 'A.8.11'), ('P3', 'A.5.34'), ('P4', 'A.8.10'), ('P5', 'A.8.3'), ('P6', 'A.5.14'), ('P7', 'A.8.24'), ('P8', 'A.8.24'),
           ('P9', 'A.8.24'), ('P10', 'A.8.24'), ('P11', 'A.8.15'), ('P12', 'A.8.15'), ('P13', 'A.8.16'), ('P14', 'A.8.5'), ('P15', 'A.5.16'),
           ('P16', 'A.8.18'), ('P17', 'A.8.8'), ('P18', 'A.8.8'), ('P19', 'A.8.32'), ('P20', 'A.5.19'),
           ('E1', 'A.5.36'), ('E2', 'A.8.2'), ('E3', 'A.5.18'), ('E4', 'A.5.18'), ('E5', 'A.8.3'), ('E6', 'A.8.9'), ('E8', 'A.5.24'), ('E9', 'A.8.14'),
           ('E10', 'A.8.10'), ('E11', 'A.5.34'), ('E12', 'A.8.10'), ('E13', 'A.5.34'), ('E14', 'A.7.14'), ('E15', 'A.8.15'), ('E16', 'A.8.6'),
           ('E17', 'A.8.16'), ('E18', 'A.8.3')
$$;
COMMENT ON FUNCTION dataprotect._controls() IS 'promises, and the control of ISO/IEC 27001:2022, Annex A, that each serves';

CREATE FUNCTION dataprotect._verdict(good bigint, total bigint) RETURNS text
    LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN total > 0 AND good = total THEN 'kept' WHEN good > 0 THEN 'partly' ELSE 'not kept' END
$$;
COMMENT ON FUNCTION dataprotect._verdict(bigint, bigint) IS 'kept where all of some are good, partly where some are';

CREATE FUNCTION dataprotect._control_access(OUT promise text, OUT verdict text, OUT evidence text) RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH g AS (SELECT * FROM dataprotect.grants WHERE in_force AND privilege = 'reveal'),
         n AS (SELECT count(*) AS total, count(*) FILTER (WHERE purpose IS NOT NULL) AS purposes, count(*) FILTER (WHERE require_tls) AS tls,
                      count(*) FILTER (WHERE require_mfa) AS mfa, count(*) FILTER (WHERE valid_until IS NOT NULL AND ticket IS NOT NULL) AS cases,
                      count(*) FILTER (WHERE (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = to_regrole(grantee))) AS supers FROM g),
         r AS (SELECT count(*) AS total, count(*) FILTER (WHERE level < 3) AS masked, count(*) FILTER (WHERE never_used) AS unused,
                      count(*) FILTER (WHERE level = 3) AS reveal FROM dataprotect.access_review)
    SELECT 'P1', dataprotect._verdict(purposes, total), format('%s of %s grants of "reveal" name a purpose that the session must state', purposes, total) FROM n
    UNION ALL SELECT 'P2', CASE WHEN reveal = 0 THEN 'kept' WHEN unused = 0 THEN 'kept' ELSE 'partly' END,
        format('%s of %s roles with access get masks; %s have never used what they may', masked, total, unused) FROM r
    UNION ALL SELECT 'P6', dataprotect._verdict(tls, total), format('%s of %s grants of "reveal" ask for TLS; KMS and sinks are reached over verified TLS only', tls, total) FROM n
    UNION ALL SELECT 'P14', CASE WHEN current_setting('dataprotect.jwt_issuer') = '' THEN 'not kept' ELSE dataprotect._verdict(mfa, total) END,
        format('%s of %s grants of "reveal" ask for a second factor', mfa, total) FROM n
    UNION ALL SELECT 'P15', CASE WHEN current_setting('dataprotect.jwt_issuer') <> '' THEN 'kept' ELSE 'not kept' END,
        CASE WHEN current_setting('dataprotect.jwt_issuer') <> '' THEN 'tokens are verified against their issuer''s keys' ELSE 'no issuer of tokens is set' END
    UNION ALL SELECT 'P19', CASE WHEN current_setting('dataprotect.approvals')::bool THEN 'kept' ELSE 'not kept' END,
        format('dataprotect.approvals is %s; %s acts were approved', current_setting('dataprotect.approvals'),
               (SELECT count(*) FROM dataprotect.approvals WHERE approved_at IS NOT NULL))
    UNION ALL SELECT 'E2', CASE WHEN supers = 0 THEN 'kept' ELSE 'partly' END,
        format('%s superusers have a grant of "reveal" of their own; being a superuser or an owner gives none', supers) FROM n
    UNION ALL SELECT 'E3', CASE WHEN current_setting('dataprotect.grant_confirmation') = '0' THEN 'not kept' ELSE 'kept' END,
        format('grants must be confirmed every %s; %s are about to lapse', CASE current_setting('dataprotect.grant_confirmation') WHEN '0' THEN '(never)'
               ELSE current_setting('dataprotect.grant_confirmation') END, (SELECT count(*) FROM dataprotect.grants WHERE in_force AND lapses_at IS NOT NULL))
    UNION ALL SELECT 'E4', 'kept', format('%s grants were revoked; a revocation reaches every session with its commit', (SELECT count(*) FROM dataprotect.grants WHERE revoked_at IS NOT NULL))
    UNION ALL SELECT 'E5', dataprotect._verdict(cases, total), format('%s of %s grants of "reveal" have an end and a ticket', cases, total) FROM n
$$;
COMMENT ON FUNCTION dataprotect._control_access() IS 'promises about who may see';

CREATE FUNCTION dataprotect._control_keys(OUT promise text, OUT verdict text, OUT evidence text) RETURNS SETOF record
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH k AS (SELECT k.*, (SELECT max(v.created_at) FROM dataprotect.key_version v WHERE v.family = k.family AND v.purpose = 2) AS newest
                 FROM dataprotect.key k WHERE k.state <> 'd'),
         n AS (SELECT count(*) AS total, count(*) FILTER (WHERE EXISTS (SELECT FROM unnest(k.kms_uri) u WHERE u LIKE 'aws-kms://%')) AS aws,
                      count(*) FILTER (WHERE k.rotation_period IS NOT NULL AND k.newest + k.rotation_period + interval '1 day' > dataprotect._now()) AS rotated,
                      count(*) FILTER (WHERE cardinality(k.kms_uri) > 1) AS several FROM k),
         c AS (SELECT count(*) AS total FROM dataprotect.protected_columns),
         p AS (SELECT count(*) AS bad FROM dataprotect.verify_policy()),
         d AS (SELECT count(*) AS total, count(*) FILTER (WHERE s.last_drill_ok AND s.drill_age < interval '1 year') AS good
                 FROM dataprotect.kms_status s WHERE s.drill_age IS NOT NULL)
    SELECT 'P5', CASE WHEN p.bad = 0 AND c.total > 0 THEN 'kept' ELSE 'not kept' END,
        format('%s protected columns, authenticated encryption; %s rows that decide are not as they were left', c.total, p.bad) FROM p, c
    UNION ALL SELECT 'P7', CASE WHEN c.total > 0 THEN 'kept' ELSE 'not kept' END,
        format('%s protected columns; personal fields of the audit log are sealed', c.total) FROM c
    UNION ALL SELECT 'P8', CASE WHEN c.total > 0 THEN 'kept' ELSE 'not kept' END, 'AES-256-GCM is the only algorithm of values' FROM c
    UNION ALL SELECT 'P9', dataprotect._verdict(n.aws, n.total), format('%s of %s keys are under AWS KMS', n.aws, n.total) FROM n
    UNION ALL SELECT 'P10', dataprotect._verdict(n.rotated, n.total), format('%s of %s keys rotate, and are not late', n.rotated, n.total) FROM n
    UNION ALL SELECT 'E9', CASE WHEN n.several = n.total AND n.total > 0 THEN dataprotect._verdict(d.good, d.total) WHEN d.good > 0 OR n.several > 0 THEN 'partly' ELSE 'not kept' END,
        format('%s of %s keys have several KMS locations; drills within a year opened the keys from %s of %s locations', n.several, n.total, d.good, d.total) FROM n, d
    UNION ALL SELECT 'E18', CASE WHEN b.n > 0 THEN 'kept' ELSE 'not kept' END,
        format('%s tables are sealed by a key for each account', b.n) FROM (SELECT count(*) AS n FROM dataprotect.subject_binding) b
$$;
COMMENT ON FUNCTION dataprotect._control_keys() IS 'promises about encryption and keys';

CREATE FUNCTION dataprotect._control_logs(OUT promise text, OUT verdict text, OUT evidence text) RETURNS SETOF record
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH s AS (SELECT count(*) FILTER (WHERE uri LIKE 'splunk-hec%') AS splunk, count(*) FILTER (WHERE uri LIKE 'splunk-hec%' AND state = 'ok') AS splunk_ok,
                      count(*) FILTER (WHERE uri LIKE 's3:%') AS s3, count(*) FILTER (WHERE uri LIKE 's3:%' AND state = 'ok') AS s3_ok FROM dataprotect.sinks),
         a AS (SELECT count(*) AS total, count(*) FILTER (WHERE acknowledged_at IS NULL AND at < now() - interval '7 days') AS late FROM dataprotect.alerts),
         f AS (SELECT count(*) FILTER (WHERE severity IN ('critical', 'high')) AS high, count(*) AS total FROM dataprotect.lint_configuration()),
         w AS (SELECT count(*) AS total, count(*) FILTER (WHERE state = 'failing') AS failing FROM dataprotect.workers),
         d AS (SELECT max(at) AS last FROM dataprotect.audit_digests),
         i AS (SELECT count(*) AS total, count(*) FILTER (WHERE state = 'open') AS open, count(*) FILTER (WHERE overdue) AS overdue FROM dataprotect.incidents)
    SELECT 'P11', dataprotect._verdict(splunk_ok, splunk), format('%s of %s Splunk sinks take the log', splunk_ok, splunk) FROM s
    UNION ALL SELECT 'P12', dataprotect._verdict(s3_ok, s3), format('%s of %s S3 archives take the log, encrypted, with signed digests', s3_ok, s3) FROM s
    UNION ALL SELECT 'P13', CASE WHEN late = 0 THEN 'kept' ELSE 'partly' END, format('%s alerts; %s were not acknowledged within a week', total, late) FROM a
    UNION ALL SELECT 'E6', CASE WHEN high > 0 THEN 'not kept' WHEN total > 0 THEN 'partly' ELSE 'kept' END,
        format('%s findings of lint_configuration(), %s of them high or critical', total, high) FROM f
    UNION ALL SELECT 'E8', CASE WHEN overdue > 0 THEN 'not kept' ELSE 'kept' END, format('%s incidents in the register, %s open, %s not notified in time', total, open, overdue) FROM i
    UNION ALL SELECT 'E15', CASE WHEN last > now() - interval '1 hour' THEN 'kept' ELSE 'not kept' END,
        format('the log is chained by code and signed; newest digest: %s', coalesce(to_char(last AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), 'none')) FROM d
    UNION ALL SELECT 'E16', CASE WHEN failing = 0 AND total > 0 THEN 'kept' ELSE 'partly' END, format('%s kinds of background work, %s failing', total, failing) FROM w
    UNION ALL SELECT 'E17', CASE WHEN failing > 0 THEN 'partly' ELSE 'kept' END, format('%s rounds of background work fail now; each failure is an event', failing) FROM w
$$;
COMMENT ON FUNCTION dataprotect._control_logs() IS 'promises about the log, alerts and incidents';

CREATE FUNCTION dataprotect._control_lifecycle(OUT promise text, OUT verdict text, OUT evidence text) RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH c AS (SELECT count(*) AS total, count(*) FILTER (WHERE overdue) AS overdue FROM dataprotect.correction_requests),
         p AS (SELECT count(*) AS total, count(*) FILTER (WHERE p.state = 'active' AND coalesce(r.outcome NOT IN ('error', 'interrupted'), true)) AS good
                 FROM dataprotect.retention_policy p
                 LEFT JOIN LATERAL (SELECT x.outcome FROM dataprotect.retention_run x WHERE x.policy = p.id ORDER BY x.id DESC LIMIT 1) r ON true),
         q AS (SELECT count(*) AS total, count(*) FILTER (WHERE overdue) AS overdue, count(*) FILTER (WHERE state = 'certified') AS certified,
                      count(*) FILTER (WHERE state = 'retained') AS retained FROM dataprotect.deletion_requests),
         t AS (SELECT count(*) AS total, count(*) FILTER (WHERE deadline <= interval '90 days') AS quick FROM dataprotect.account_type)
    SELECT 'P3', CASE WHEN overdue = 0 THEN 'kept' ELSE 'not kept' END, format('%s requests for correction, %s of them overdue', total, overdue) FROM c
    UNION ALL SELECT x, dataprotect._verdict(good, total), format('%s of %s retention policies are active, and their last run went well', good, total)
        FROM p, unnest(ARRAY['P4', 'E10']) x
    UNION ALL SELECT 'E11', CASE WHEN total > 0 THEN 'kept' ELSE 'not kept' END, format('%s types of accounts can be exported, corrected and deleted', total) FROM t
    UNION ALL SELECT 'E12', CASE WHEN q.overdue > 0 THEN 'not kept' ELSE dataprotect._verdict(t.quick, t.total) END,
        format('%s requests for deletion, %s overdue; %s of %s types of accounts are deleted within 90 days', q.total, q.overdue, t.quick, t.total) FROM q, t
    UNION ALL SELECT 'E13', CASE WHEN t.total > 0 THEN 'kept' ELSE 'not kept' END, format('%s accounts are kept at their owner''s wish', q.retained) FROM q, t
    UNION ALL SELECT 'E14', CASE WHEN t.total = 0 THEN 'not kept' ELSE 'kept' END, format('%s erasures have a signed certificate', q.certified) FROM q, t
$$;
COMMENT ON FUNCTION dataprotect._control_lifecycle() IS 'promises about how long data is kept, and whose wish counts';

CREATE FUNCTION dataprotect.control_report(OUT control text, OUT promise text, OUT verdict text, OUT evidence text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH found AS (
        SELECT * FROM dataprotect._control_access() UNION ALL SELECT * FROM dataprotect._control_keys()
        UNION ALL SELECT * FROM dataprotect._control_logs() UNION ALL SELECT * FROM dataprotect._control_lifecycle()
        UNION ALL VALUES ('P16', 'outside', 'the extension starts no program; who has a shell on the host is the organisation''s matter'),
            ('P17', 'outside', 'an attack suite and fuzzers come with the source'),
            ('P20', 'outside', 'OpenSSL, libcurl and zlib are what the extension is linked with; packages carry a bill of materials')
        UNION ALL SELECT 'P18', CASE WHEN v.released IS NULL OR NOT v.consistent THEN 'partly' WHEN v.age < interval '2 months' THEN 'kept' ELSE 'not kept' END,
            format('PostgreSQL %s, dataprotect %s, %s', current_setting('server_version'), v.library, coalesce('released on ' || v.released, 'which is no release'))
            FROM dataprotect.dataprotect_version() v)
    SELECT c.control, c.promise, coalesce(f.verdict, CASE c.promise WHEN 'E1' THEN 'kept' ELSE 'not kept' END),
           coalesce(f.evidence, CASE c.promise WHEN 'E1' THEN 'this report' ELSE 'nothing shows it' END)
      FROM dataprotect._controls() c LEFT JOIN found f ON f.promise = c.promise
     ORDER BY left(c.promise, 1) DESC, substr(c.promise, 2)::int
$$;
COMMENT ON FUNCTION dataprotect.control_report() IS
    'each promise and control beside what this server shows of it now: kept, partly, not kept, or outside of what a server can show';
