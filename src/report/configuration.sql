--
-- What in this server makes the extension's promises worth less than they say, and
-- how to mend each: roles, files, settings and rows, looked at as they are now.
--
CREATE FUNCTION dataprotect._file_mode(path text) RETURNS int4
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_file_mode_sql';
COMMENT ON FUNCTION dataprotect._file_mode(text) IS 'permission bits of a file; null where it cannot be looked at';

CREATE FUNCTION dataprotect._core_limit() RETURNS int8
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_core_limit_sql';
COMMENT ON FUNCTION dataprotect._core_limit() IS 'largest core file of the server''s processes; -1: any';

CREATE FUNCTION dataprotect._mode_text(mode int4) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT lpad(to_hex(mode >> 6 & 7) || to_hex(mode >> 3 & 7) || to_hex(mode & 7), 4, '0')
$$;
COMMENT ON FUNCTION dataprotect._mode_text(int4) IS 'permission bits as chmod takes them';

CREATE FUNCTION dataprotect._is_preloaded() RETURNS bool
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT current_setting('shared_preload_libraries') ~ '(^|[ ,"/])dataprotect($|[ ,".])'
$$;
COMMENT ON FUNCTION dataprotect._is_preloaded() IS 'whether the server loads the library at its start';

CREATE FUNCTION dataprotect._is_encrypted_or_local() RETURNS bool
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT current_setting('ssl') = 'on' OR current_setting('listen_addresses') ~ '^\s*((localhost|127\.0\.0\.1|::1)\s*,?\s*)*$'
$$;
COMMENT ON FUNCTION dataprotect._is_encrypted_or_local() IS 'whether connections from other hosts can be encrypted, or none are taken';

CREATE FUNCTION dataprotect._people_of(role name) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(r.rolname, ', ' ORDER BY r.rolname) FROM pg_roles r
        WHERE r.rolcanlogin AND NOT r.rolsuper AND pg_has_role(r.oid, role, 'USAGE')
$$;
COMMENT ON FUNCTION dataprotect._people_of(name) IS 'members of a role that can log in and are no superusers; null where there is none';

-- Files that hold what opens everything: root keys and credentials.
CREATE FUNCTION dataprotect._secret_files(OUT file text, OUT what text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT DISTINCT substr(u.uri, 8), 'root key of ' || u.uri
        FROM (SELECT unnest(e.kms_uri) FROM dataprotect.epoch e WHERE e.state <> 'd'
              UNION SELECT current_setting('dataprotect.default_kms_uri')) u (uri)
        WHERE u.uri LIKE 'file://%'
    UNION ALL
    SELECT current_setting(s.name), 'credential of setting ' || s.name
        FROM unnest('{dataprotect.kms_vault_token_file,dataprotect.kms_vault_client_cert,dataprotect.kms_kmip_client_cert,dataprotect.kms_pkcs11_pin_file}'::text[]) s (name)
        WHERE coalesce(current_setting(s.name, true), '') <> ''
    UNION ALL
    SELECT NULL, 'credentials file of AWS'
        WHERE EXISTS (SELECT FROM dataprotect.epoch e, unnest(e.kms_uri) u (uri) WHERE e.state <> 'd' AND u.uri LIKE 'aws-kms:%')
$$;
COMMENT ON FUNCTION dataprotect._secret_files() IS 'files of root keys and credentials that are in use';

CREATE FUNCTION dataprotect._lint_files(OUT severity text, OUT finding text, OUT detail text, OUT hint text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'critical', format('role "%s" reads files as the server does', r.rolname),
           format('It is a member of %s, and there is the %s. It can read that file, and open everything under it.',
                  (SELECT string_agg(p.rolname, ', ' ORDER BY p.rolname) FROM pg_roles p
                   WHERE p.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_execute_server_program')
                     AND pg_has_role(r.oid, p.oid, 'MEMBER')), s.what),
           'Revoke the membership, or use a KMS whose credential the server''s user cannot read.'
        FROM pg_roles r, LATERAL (SELECT f.what FROM dataprotect._secret_files() f ORDER BY 1 LIMIT 1) s
        WHERE NOT r.rolsuper AND r.rolname !~ '^pg_'
          AND (pg_has_role(r.oid, 'pg_read_server_files', 'MEMBER') OR pg_has_role(r.oid, 'pg_write_server_files', 'MEMBER')
               OR pg_has_role(r.oid, 'pg_execute_server_program', 'MEMBER'))
    UNION ALL
    SELECT 'critical', format('file "%s" is open to others than the server', f.file),
           format('Its mode is %s.', dataprotect._mode_text(m.mode)),
           'Set its mode to 0600, and the owner to the server''s user.'
        FROM dataprotect._secret_files() f, LATERAL dataprotect._file_mode(f.file) m (mode) WHERE m.mode & 63 <> 0
    UNION ALL
    SELECT 'high', format('the directory of file "%s" can be written by others', f.file),
           'Whoever writes there can put another file in its place.', 'Set the directory''s mode to 0755 or less.'
        FROM dataprotect._secret_files() f, LATERAL dataprotect._file_mode(regexp_replace(f.file, '/[^/]*$', '')) m (mode)
        WHERE m.mode & 18 <> 0 AND m.mode & 512 = 0
    UNION ALL
    SELECT 'high', format('file "%s" lies in the data directory', f.file),
           'Whoever has a base backup has it too.', 'Move it to a directory of its own, and rewrap the keys.'
        FROM dataprotect._secret_files() f
        WHERE starts_with(f.file, current_setting('data_directory') || '/')
$$;
COMMENT ON FUNCTION dataprotect._lint_files() IS 'findings of lint_configuration() about files, and roles that reach them';

CREATE FUNCTION dataprotect._lint_roles(OUT severity text, OUT finding text, OUT detail text, OUT hint text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'high', format('superuser "%s" has a grant on key "%s"', r.rolname, k.name),
           'A superuser reaches the server''s memory and files, and here it needs neither.',
           format('Let a role that is no superuser read, and call dataprotect.revoke_access(%L, %L).', k.name, r.rolname)
        FROM dataprotect.access_grant g JOIN dataprotect.key k ON k.family = g.family JOIN pg_roles r ON r.oid = g.grantee
        WHERE r.rolsuper AND g.revoked_at IS NULL AND (g.valid_until IS NULL OR g.valid_until > now())
        GROUP BY r.rolname, k.name
    UNION ALL
    SELECT 'high', format('role "%s" administers keys and can make itself a member of any role', r.rolname),
           'Before PostgreSQL 16, CREATEROLE is membership in every role that is no superuser.',
           format('ALTER ROLE %I NOCREATEROLE.', r.rolname)
        FROM pg_roles r
        WHERE r.rolcreaterole AND NOT r.rolsuper AND current_setting('server_version_num')::int < 160000
    UNION ALL
    SELECT 'medium', format('role "%s" administers grants and reads under key "%s"', r.rolname, k.name),
           'Whoever gives rights should not be who uses them.',
           format('Call dataprotect.revoke_access(%L, %L), or take dataprotect_admin from it.', k.name, r.rolname)
        FROM dataprotect.access_grant g JOIN dataprotect.key k ON k.family = g.family JOIN pg_roles r ON r.oid = g.grantee
        WHERE NOT r.rolsuper AND g.privilege = 'reveal' AND g.revoked_at IS NULL AND (g.valid_until IS NULL OR g.valid_until > now())
          AND pg_has_role(r.oid, 'dataprotect_admin', 'USAGE')
        GROUP BY r.rolname, k.name
    UNION ALL
    SELECT 'medium', 'nobody reads the audit log', 'Role "dataprotect_auditor" has no member that can log in.',
           'Grant it to whoever looks who read what, and to nobody who administers.'
        WHERE dataprotect._people_of('dataprotect_auditor') IS NULL
$$;
COMMENT ON FUNCTION dataprotect._lint_roles() IS 'findings of lint_configuration() about roles and their grants';

CREATE FUNCTION dataprotect._lint_settings(OUT severity text, OUT finding text, OUT detail text, OUT hint text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'critical', 'dataprotect is not preloaded', 'Without its hooks nothing is audited and no key is fetched.',
           'Add dataprotect to shared_preload_libraries, and restart the server.'
        WHERE NOT dataprotect._is_preloaded()
    UNION ALL
    SELECT 'high', format('setting dataprotect.kms_allowed lets any key in: %s', trim(p.pattern)),
           'Whoever may make keys can put them under a root of his own.',
           'Name the roots that belong to this server, up to the account, mount or directory.'
        FROM regexp_split_to_table(current_setting('dataprotect.kms_allowed'), ',') p (pattern)
        WHERE trim(p.pattern) ~ '^([a-z0-9-]*:?/{0,3})\*$'
    UNION ALL
    SELECT 'medium', 'pg_stat_statements keeps the text of utility statements',
           'A constant in CREATE, ALTER or COPY stays there in plain.',
           'Set pg_stat_statements.track_utility to off.'
        WHERE coalesce(current_setting('pg_stat_statements.track_utility', true), 'off') NOT IN ('off', 'false', 'no', '0')
          AND current_setting('shared_preload_libraries') ~ 'pg_stat_statements'
    UNION ALL
    SELECT 'medium', 'processes of the server may leave core files', 'A core file holds plaintext and what opens it.',
           'Start the server with a core limit of 0 (LimitCORE=0 in its unit).'
        WHERE dataprotect._core_limit() <> 0
    UNION ALL
    SELECT 'medium', 'connections from other hosts are not encrypted',
           format('Setting listen_addresses is %s, and ssl is off.', quote_literal(current_setting('listen_addresses'))),
           'Set ssl to on, and hostssl in pg_hba.conf; grants can ask for it with require_tls.'
        WHERE NOT dataprotect._is_encrypted_or_local()
$$;
COMMENT ON FUNCTION dataprotect._lint_settings() IS 'findings of lint_configuration() about settings of the server';

CREATE FUNCTION dataprotect.lint_configuration(OUT severity text, OUT finding text, OUT detail text, OUT hint text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT * FROM (
        SELECT * FROM dataprotect._lint_files()
        UNION ALL SELECT * FROM dataprotect._lint_roles()
        UNION ALL SELECT * FROM dataprotect._lint_settings()
        UNION ALL
        SELECT 'critical', format('table "%s" was changed by somebody else than the extension', p.rel),
               format('%s rows: %s.', count(*), string_agg(DISTINCT p.problem, '; ')),
               'Look with dataprotect.verify_policy(), find out who it was, and call dataprotect.reseal_policy().'
            FROM dataprotect.verify_policy() p GROUP BY p.rel) f
    ORDER BY array_position('{critical,high,medium}'::text[], f.severity), f.finding
$$;
COMMENT ON FUNCTION dataprotect.lint_configuration() IS
    'what in this server makes protection worth less than it says, the worst first, and how to mend it';
