--
-- Grants on keys.  C code reads access_grant by attribute number: append only.
--
CREATE TABLE dataprotect.access_grant (
    id int8 PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    family int4 NOT NULL REFERENCES dataprotect.key (family),
    grantee regrole NOT NULL,
    privilege text NOT NULL CHECK (privilege IN ('mask', 'search', 'reveal')),
    purpose text,
    valid_from timestamptz NOT NULL DEFAULT now(),
    valid_until timestamptz,
    require_mfa bool NOT NULL DEFAULT false,
    require_tls bool NOT NULL DEFAULT false,
    revoked_at timestamptz,
    reason text,
    granted_by name NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    revoked_by name,
    revoke_reason text,
    seal bytea,
    search_limit int4 CHECK (search_limit > 0),
    claims jsonb,
    ticket text,
    confirmed_at timestamptz,
    confirmed_by name,
    lapses_at timestamptz
);
COMMENT ON COLUMN dataprotect.access_grant.search_limit IS 'different constants that the role may ask for within an hour; null: dataprotect.search_limit alone';
COMMENT ON COLUMN dataprotect.access_grant.claims IS 'what the session''s token must contain; null: nothing';
CREATE INDEX access_grant_family_idx ON dataprotect.access_grant (family);
COMMENT ON TABLE dataprotect.access_grant IS 'privileges on keys, past ones included';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.access_grant', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.access_grant_id_seq', '');

CREATE TRIGGER keys_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON dataprotect.access_grant
    FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._keys_changed('policy');
ALTER TABLE dataprotect.access_grant ENABLE ALWAYS TRIGGER keys_changed;

CREATE FUNCTION dataprotect._check_privilege(grantee regrole, privilege text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF grantee IS NULL OR grantee = 0::oid THEN
        PERFORM dataprotect._raise('null_value_not_allowed',
            'no role is named',
            NULL,
            'Name the role whose right it is.');
    END IF;
    IF privilege NOT IN ('mask', 'search', 'reveal') THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('unrecognized privilege "%s"', left(privilege, 63)),
            NULL,
            'The privileges are "mask", "search" and "reveal".');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_privilege(regrole, text) IS 'raises an error where a role is missing or a privilege is none';

-- Superusers are members of every role by right: it is what they were made that counts.
CREATE FUNCTION dataprotect._is_of(role name, grantee oid) RETURNS bool
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE of_role(oid) AS (
        SELECT r.oid FROM pg_catalog.pg_authid r WHERE r.rolname = role
        UNION SELECT m.roleid FROM of_role o JOIN pg_catalog.pg_auth_members m ON m.member = o.oid)
    SELECT EXISTS (SELECT FROM of_role o WHERE o.oid = grantee)
$$;
COMMENT ON FUNCTION dataprotect._is_of(name, oid) IS 'is a role another one, or a member of it by any way?';

CREATE FUNCTION dataprotect.grant_access(key text, grantee regrole, privilege text, purpose text DEFAULT NULL,
                                         reason text DEFAULT NULL, valid_until timestamptz DEFAULT NULL,
                                         require_mfa bool DEFAULT false, require_tls bool DEFAULT false,
                                         search_limit int DEFAULT NULL, claims jsonb DEFAULT NULL, ticket text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4 := dataprotect._family_of(grant_access.key);
    v_id bigint;
    v_self bool;
BEGIN
    PERFORM dataprotect._check_privilege(grant_access.grantee, grant_access.privilege);
    IF grant_access.reason IS NOT NULL THEN
        PERFORM dataprotect._check_reason(grant_access.reason);
    END IF;
    IF grant_access.privilege IS NULL OR NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.oid = grant_access.grantee) THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'a grant needs a role and a privilege',
            NULL,
            'Name a role that exists. The privileges are "mask", "search" and "reveal".');
    END IF;
    IF jsonb_typeof(grant_access.claims) <> 'object' OR octet_length(grant_access.claims::text) > 2000 THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'claims are an object of at most 2000 bytes',
            NULL,
            'Pass what a token must contain, as {"groups": ["medical"]}.');
    END IF;
    IF octet_length(grant_access.ticket) > 200 OR grant_access.ticket = '' THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'a ticket has 1 to 200 bytes',
            NULL,
            'Name the case that the grant is for.');
    END IF;
    IF grant_access.valid_until <= now() THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'the grant would have run out already',
            NULL,
            'Pass a time to come, or leave "valid_until" out.');
    END IF;
    IF grant_access.search_limit <= 0 OR (grant_access.search_limit IS NOT NULL AND grant_access.privilege <> 'search') THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'a limit of searches is positive, and of privilege "search" alone',
            NULL,
            'Pass the number of different constants that the role may ask for within an hour.');
    END IF;
    IF octet_length(grant_access.purpose) > 127 OR grant_access.purpose = '' THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'a purpose has 1 to 127 bytes',
            NULL,
            'Sessions name it in "dataprotect.purpose".');
    END IF;
    v_self := dataprotect._could_be((dataprotect._person()).role, grant_access.grantee)
              OR dataprotect._is_of(session_user, grant_access.grantee)
              OR dataprotect._is_of(pg_get_userbyid(dataprotect._caller()), grant_access.grantee);
    IF v_self THEN
        PERFORM dataprotect._need_approval('grant_access', jsonb_build_object(
            'key', grant_access.key, 'grantee', pg_get_userbyid(grant_access.grantee), 'privilege', grant_access.privilege,
            'purpose', grant_access.purpose, 'valid_until', extract(epoch FROM grant_access.valid_until),
            'require_mfa', coalesce(grant_access.require_mfa, false), 'require_tls', coalesce(grant_access.require_tls, false),
            'search_limit', grant_access.search_limit, 'claims', grant_access.claims, 'ticket', grant_access.ticket));
    END IF;
    PERFORM dataprotect._event('access.granted', grant_access.key, jsonb_strip_nulls(jsonb_build_object(
        'grantee', grant_access.grantee::text, 'privilege', grant_access.privilege, 'purpose', grant_access.purpose,
        'reason', grant_access.reason, 'valid_until', grant_access.valid_until,
        'require_tls', grant_access.require_tls, 'require_mfa', nullif(grant_access.require_mfa, false),
        'claims', grant_access.claims, 'ticket', grant_access.ticket, 'search_limit', grant_access.search_limit,
        'self', CASE WHEN dataprotect._is_of(session_user, grant_access.grantee)
                       OR dataprotect._is_of(pg_get_userbyid(dataprotect._caller()), grant_access.grantee) THEN true END)));
    INSERT INTO dataprotect.access_grant (family, grantee, privilege, purpose, valid_until, require_mfa, require_tls, reason, granted_by,
                                          search_limit, claims, ticket)
        VALUES (v_family, grant_access.grantee, grant_access.privilege, grant_access.purpose, grant_access.valid_until,
                coalesce(grant_access.require_mfa, false), coalesce(grant_access.require_tls, false), grant_access.reason, session_user,
                grant_access.search_limit, grant_access.claims, grant_access.ticket)
        RETURNING access_grant.id INTO v_id;
    RETURN v_id;
END $$;
COMMENT ON FUNCTION dataprotect.grant_access(text, regrole, text, text, text, timestamptz, bool, bool, int, jsonb, text) IS
    'lets a role see masks of ("mask"), look up ("search") or read ("reveal") values under a key; the grant''s id';

CREATE FUNCTION dataprotect.revoke_access(key text, grantee regrole, privilege text DEFAULT NULL, reason text DEFAULT NULL)
    RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4 := dataprotect._family_of(revoke_access.key);
    v_rows int;
BEGIN
    PERFORM dataprotect._check_privilege(revoke_access.grantee, revoke_access.privilege);
    IF revoke_access.reason IS NOT NULL THEN
        PERFORM dataprotect._check_reason(revoke_access.reason);
    END IF;
    PERFORM dataprotect._event('access.revoked', revoke_access.key, jsonb_strip_nulls(jsonb_build_object(
        'grantee', revoke_access.grantee::text, 'privilege', revoke_access.privilege, 'reason', revoke_access.reason)));
    UPDATE dataprotect.access_grant g
        SET revoked_at = now(), revoked_by = session_user, revoke_reason = revoke_access.reason
        WHERE g.family = v_family AND g.grantee = revoke_access.grantee AND g.revoked_at IS NULL
          AND (revoke_access.privilege IS NULL OR g.privilege = revoke_access.privilege);
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows = 0 THEN
        RAISE NOTICE USING MESSAGE = format('role "%s" has no grant %son key "%s"', revoke_access.grantee,
                                            coalesce(quote_ident(revoke_access.privilege) || ' ', ''), revoke_access.key),
            HINT = 'View dataprotect.grants lists the grants; rights may also come from another role.';
    END IF;
    RETURN v_rows;
END $$;
COMMENT ON FUNCTION dataprotect.revoke_access(text, regrole, text, text) IS
    'takes a role''s grants on a key away, in every session at once after commit; how many';

-- A grant ends with its role.  Roles that are dropped from another database are
-- found by the worker's round, long before their number can be another role's.
CREATE FUNCTION dataprotect._end_grants_of(role oid, why text) RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_rows int := 0;
    r record;
BEGIN
    FOR r IN
        UPDATE dataprotect.access_grant g
           SET revoked_at = now(), revoked_by = session_user, revoke_reason = why
         WHERE g.grantee = _end_grants_of.role AND g.revoked_at IS NULL
        RETURNING g.family, g.privilege, g.grantee::text AS grantee
    LOOP
        PERFORM dataprotect._event('access.revoked', (SELECT k.name FROM dataprotect.key k WHERE k.family = r.family),
            jsonb_build_object('grantee', r.grantee, 'privilege', r.privilege, 'reason', why));
        v_rows := v_rows + 1;
    END LOOP;
    RETURN v_rows;
END $$;
COMMENT ON FUNCTION dataprotect._end_grants_of(oid, text) IS 'ends the grants of a role that goes; how many';

CREATE FUNCTION dataprotect._end_orphaned_grants() RETURNS int
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(sum(dataprotect._end_grants_of(g.grantee, 'its role does not exist any more')), 0)::int
      FROM (SELECT DISTINCT a.grantee::oid AS grantee FROM dataprotect.access_grant a
             WHERE a.revoked_at IS NULL
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_authid r WHERE r.oid = a.grantee)) g
$$;
COMMENT ON FUNCTION dataprotect._end_orphaned_grants() IS 'ends the grants of roles that were dropped from another database; how many';

CREATE VIEW dataprotect.grants AS
    SELECT g.id, k.name AS key, g.grantee::text AS grantee, g.privilege, g.purpose, g.reason, g.valid_from, g.valid_until,
           g.require_mfa, g.require_tls, g.granted_by, g.granted_at, g.revoked_at, g.revoked_by, g.revoke_reason,
           g.revoked_at IS NULL AND g.valid_from <= now() AND (g.valid_until IS NULL OR g.valid_until > now())
               AND (g.lapses_at IS NULL OR g.lapses_at > now()) AS in_force,
           g.search_limit, g.claims, g.ticket, g.confirmed_at, g.confirmed_by, g.lapses_at
    FROM dataprotect.access_grant g JOIN dataprotect.key k ON k.family = g.family;
COMMENT ON VIEW dataprotect.grants IS 'privileges on keys, past ones included';
