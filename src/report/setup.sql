--
-- What is not ready yet on this server for the extension to keep its promises, and
-- how to mend it.  lint_configuration() finds what weakens a server that runs;
-- this is for whoever sets one up.
--
CREATE FUNCTION dataprotect._uri_problem(uri text) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_message text;
    v_detail  text;
BEGIN
    PERFORM dataprotect._check_kms_uri(uri);
    RETURN NULL;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS v_message = MESSAGE_TEXT, v_detail = PG_EXCEPTION_DETAIL;
    RETURN v_message || '. ' || v_detail;
END $$;
COMMENT ON FUNCTION dataprotect._uri_problem(text) IS 'why a KMS URI cannot be used on this server, or null';

-- What there is before any key: the server.
CREATE FUNCTION dataprotect._check_server(OUT item text, OUT ok bool, OUT severity text, OUT detail text, OUT hint text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'preload', dataprotect._is_preloaded(), 'critical', format('shared_preload_libraries is %s.', quote_literal(current_setting('shared_preload_libraries'))),
           'Add dataprotect to shared_preload_libraries, and restart the server.'
    UNION ALL
    SELECT 'one version', v.consistent, 'high', format('The library is %s, this database''s objects are %s, the files on disk %s.', v.library, v.extension, coalesce(v.available, 'missing')),
           'Restart the server where the library is the older one; call ALTER EXTENSION dataprotect UPDATE where the objects are.'
        FROM dataprotect.dataprotect_version() v
    UNION ALL
    SELECT 'recent version', v.released IS NULL OR v.age < interval '2 months', 'medium',
           coalesce('Version ' || v.library || ' was released on ' || v.released || '.', 'Version ' || v.library || ' is no release.'),
           'Look for a newer release.'
        FROM dataprotect.dataprotect_version() v
    UNION ALL
    SELECT 'worker processes', current_setting('max_worker_processes')::int >= n.need, 'high',
           format('max_worker_processes is %s; %s of them are for dataprotect.', current_setting('max_worker_processes'), n.need),
           format('Set max_worker_processes to at least %s, and restart the server.', n.need + 4)
        -- the key agent, the audit writer, the launcher, and the pool
        FROM (SELECT 3 + current_setting('dataprotect.max_workers')::int) n (need)
    UNION ALL
    SELECT 'locked memory', dataprotect._memory_locked(), 'medium',
           CASE WHEN dataprotect._memory_locked() THEN 'Keys are kept out of swap space.' ELSE 'Keys may reach the swap space.' END,
           'Raise the limit of locked memory (LimitMEMLOCK in the server''s unit), or lower dataprotect.key_cache_size.'
    UNION ALL
    SELECT 'core files', dataprotect._core_limit() = 0, 'medium', format('The limit of core files is %s.', coalesce(nullif(dataprotect._core_limit(), -1)::text || ' bytes', 'none')),
           'Start the server with a core limit of 0 (LimitCORE=0 in its unit).'
    UNION ALL
    SELECT 'checksums', current_setting('data_checksums') = 'on', 'low', format('data_checksums is %s.', current_setting('data_checksums')),
           'Run pg_checksums --enable while the server is down: a damaged page is then known before a value fails to open.'
    UNION ALL
    SELECT 'encrypted connections', dataprotect._is_encrypted_or_local(), 'medium',
           format('ssl is %s, listen_addresses is %s.', current_setting('ssl'), quote_literal(current_setting('listen_addresses'))),
           'Set ssl to on, and hostssl in pg_hba.conf.'
    UNION ALL
    SELECT 'pg_cron', EXISTS (SELECT FROM pg_available_extensions e WHERE e.name = 'pg_cron'), 'low',
           CASE WHEN EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN 'It is installed here.'
                WHEN EXISTS (SELECT FROM pg_available_extensions e WHERE e.name = 'pg_cron') THEN 'It is available.' ELSE 'It is not there.' END
           || ' Only schedule_maintenance() needs it: the workers do without.',
           'Install the package of pg_cron for this server''s version.'
    UNION ALL
    -- no statement of a restore is known to be its last
    SELECT 'restored rows', r.held = 0, 'high',
           CASE WHEN r.held = 0 THEN 'None wait for others.'
                ELSE format('%s rows of schema dataprotect, keys maybe among them, wait for others of the same dump: %s.', r.held,
                            CASE WHEN z.rows IS NULL THEN 'those of zz_restored, which count them'
                                 ELSE coalesce(m.missing, 'none is missing, but the last failed') END) END,
           'Restore the rows of these tables from the same dump (pg_restore --section=data -n dataprotect -t TABLE, with dataprotect.input = ciphertext); where it was made without them, restore another into a new database.'
        FROM (SELECT count(*) FROM dataprotect.restored_row) r (held), dataprotect.zz_restored z
            CROSS JOIN LATERAL (SELECT string_agg(format('%s of %s', n.value::int8 - h.held, n.key), ', ' ORDER BY n.key)
                FROM jsonb_each_text(z.rows) n, LATERAL (SELECT count(*) FROM dataprotect.restored_row w WHERE w.tbl = n.key) h (held)
                WHERE n.value::int8 > h.held) m (missing)
$$;
COMMENT ON FUNCTION dataprotect._check_server() IS 'items of check_setup() about the server';

CREATE FUNCTION dataprotect._check_roots(OUT item text, OUT ok bool, OUT severity text, OUT detail text, OUT hint text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'default KMS root', d.uri <> '' AND p.problem IS NULL, CASE WHEN k.keys > 0 THEN 'low' ELSE 'high' END,
           CASE WHEN d.uri = '' THEN 'dataprotect.default_kms_uri is not set.' ELSE coalesce(p.problem, format('It is %s.', d.uri)) END,
           'Set dataprotect.default_kms_uri in postgresql.conf, and restart the server; further roots are allowed by dataprotect.kms_allowed.'
        FROM (SELECT current_setting('dataprotect.default_kms_uri')) d (uri)
            CROSS JOIN LATERAL (SELECT CASE WHEN d.uri <> '' THEN dataprotect._uri_problem(d.uri) END) p (problem)
            CROSS JOIN (SELECT count(*) FROM dataprotect.key) k (keys)
    UNION ALL
    SELECT 'KMS root ' || u.uri, p.problem IS NULL, 'critical', coalesce(p.problem, 'Keys lie under it, and it may be used.'),
           'Add it to dataprotect.kms_allowed, and restart the server: what lies under it does not open otherwise.'
        FROM (SELECT DISTINCT unnest(e.kms_uri) FROM dataprotect.epoch e WHERE e.state <> 'd') u (uri)
            CROSS JOIN LATERAL (SELECT dataprotect._uri_problem(u.uri)) p (problem)
    UNION ALL
    SELECT format('file "%s"', f.file), coalesce(m.mode & 63 = 0, false), 'critical',
           CASE WHEN m.mode IS NULL THEN format('The %s is not there, or the server cannot look at it.', f.what)
                ELSE format('The %s has mode %s.', f.what, dataprotect._mode_text(m.mode)) END,
           CASE WHEN m.mode IS NULL THEN format('A root key is made by: openssl rand -out %s 32; owned by the server''s user, mode 0600.', quote_literal(f.file))
                ELSE 'Set its mode to 0600, and the owner to the server''s user.' END
        FROM dataprotect._secret_files() f, LATERAL dataprotect._file_mode(f.file) m (mode) WHERE f.file IS NOT NULL
    UNION ALL
    SELECT 'KMS answers ' || s.kms_uri, s.circuit = 'closed' AND (s.last_failure IS NULL OR s.last_success > s.last_failure), 'high',
           coalesce('Last error: ' || s.last_error, 'It has answered.'), 'See dataprotect.kms_status, and call dataprotect.drill().'
        FROM dataprotect.kms_status s WHERE s.calls > 0
$$;
COMMENT ON FUNCTION dataprotect._check_roots() IS 'items of check_setup() about KMSs and their files';

-- What a first key makes possible: people and duties.
CREATE FUNCTION dataprotect._check_duties(OUT item text, OUT ok bool, OUT severity text, OUT detail text, OUT hint text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'a first key', EXISTS (SELECT FROM dataprotect.key k WHERE k.state = 'a'), 'medium',
           format('Active keys: %s.', (SELECT count(*) FROM dataprotect.key k WHERE k.state = 'a')), 'SELECT dataprotect.create_key(''pii'');'
    UNION ALL
    SELECT 'role ' || n.role, dataprotect._people_of(n.role) IS NOT NULL, n.severity,
           format('Its members that can log in: %s.', coalesce(dataprotect._people_of(n.role), 'none but superusers')),
           format('GRANT %s TO whoever %s, a role that is no superuser.', n.role, n.duty)
        FROM (VALUES ('dataprotect_admin', 'low', 'administers keys and grants'), ('dataprotect_auditor', 'medium', 'looks who has read what')) n (role, severity, duty)
    UNION ALL
    SELECT 'the log leaves the host', EXISTS (SELECT FROM dataprotect.sink s) OR current_setting('dataprotect.digest_directory') <> '', 'medium',
           format('Sinks: %s; digests are written to %s.', (SELECT count(*) FROM dataprotect.sink s), coalesce(nullif(current_setting('dataprotect.digest_directory'), ''), 'no directory')),
           'Call dataprotect.create_sink(), or set dataprotect.digest_directory to a directory on another host: a superuser can rewrite all that stays here.'
    UNION ALL
    SELECT 'keys are drilled', NOT EXISTS (SELECT FROM dataprotect.kms_status s WHERE s.drill_age > interval '1 year'), 'medium',
           coalesce('The last success of each root is at most ' || (SELECT max(date_trunc('day', s.drill_age) + interval '1 day') FROM dataprotect.kms_status s) || ' ago.', 'There is nothing to drill.'),
           'SELECT * FROM dataprotect.drill(), which opens every key from each of its roots.'
    UNION ALL
    SELECT 'erasure reaches backups', EXISTS (SELECT FROM dataprotect.epoch_schedule) OR NOT EXISTS (SELECT FROM dataprotect.account_type), 'medium',
           CASE WHEN EXISTS (SELECT FROM dataprotect.epoch_schedule) THEN 'Epochs are rolled by schedule.' ELSE 'No epoch is rolled by schedule.' END,
           'Call dataprotect.schedule_epochs(): without it a backup from before a deletion opens what was deleted.'
$$;
COMMENT ON FUNCTION dataprotect._check_duties() IS 'items of check_setup() about who does what';

CREATE FUNCTION dataprotect.check_setup(OUT item text, OUT ok bool, OUT severity text, OUT detail text, OUT hint text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
    SELECT c.item, c.ok, c.severity, c.detail, CASE WHEN NOT c.ok THEN c.hint END
        FROM (SELECT * FROM dataprotect._check_server() UNION ALL SELECT * FROM dataprotect._check_roots() UNION ALL SELECT * FROM dataprotect._check_duties()) c
        ORDER BY c.ok, array_position('{critical,high,medium,low}'::text[], c.severity), c.item
$$;
COMMENT ON FUNCTION dataprotect.check_setup() IS
    'what the extension needs of this server: ok or not, how grave it is where it is missing, and how to mend it; what is not ready comes first';
