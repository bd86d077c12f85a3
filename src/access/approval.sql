-- Divided power: what a dangerous act needs where dataprotect.approvals is on.
--
-- One administrator writes the act down (request_approval), another approves it, the
-- first one does it: the very same act, once, before the request runs out.  Two are
-- two people only where neither could become the other: by membership of roles, by
-- being a superuser, by making roles, or by the same token or system user.  Whoever
-- becomes an administrator after a request does not approve it.
CREATE TABLE dataprotect.approval (
    id int8 PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    act text NOT NULL,
    digest bytea NOT NULL,              -- of the act
    reason text NOT NULL,
    requested_by name NOT NULL,
    requester oid NOT NULL,
    requester_subject text,             -- of a token
    requester_system_user text,
    requested_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    approvers oid[] NOT NULL,           -- who was another administrator then
    approved_by name,
    approver oid,
    approved_at timestamptz,
    approve_reason text,
    used_at timestamptz,
    seal bytea
);
COMMENT ON TABLE dataprotect.approval IS 'dangerous acts that were asked for, and who approved them';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.approval', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.approval_id_seq', '');

CREATE FUNCTION dataprotect._person(OUT role oid, OUT subject text, OUT system_user_name text) RETURNS record
    AS 'MODULE_PATHNAME', 'dp_identity_person'
    LANGUAGE C STABLE PARALLEL RESTRICTED;
COMMENT ON FUNCTION dataprotect._person() IS
    'who is behind the session: the role that logged in, the subject of its token, and what the server authenticated';

-- Superusers may become anybody, and so, before PostgreSQL 16, may who makes roles.
CREATE FUNCTION dataprotect._could_be(one oid, other oid) RETURNS bool
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT one = other
        OR EXISTS (SELECT FROM pg_catalog.pg_authid r, pg_catalog.pg_authid o WHERE r.oid = one AND o.oid = other
                   AND (r.rolsuper OR (r.rolcreaterole AND NOT o.rolsuper AND current_setting('server_version_num')::int < 160000)
                        OR dataprotect._is_of(r.rolname, other)))
$$;
COMMENT ON FUNCTION dataprotect._could_be(oid, oid) IS 'is a role another one, or could it become that?';

CREATE FUNCTION dataprotect._other_administrators(role oid) RETURNS oid[]
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(r.oid ORDER BY r.oid), '{}')
      FROM pg_catalog.pg_authid r, pg_catalog.pg_authid a
     WHERE a.rolname = 'dataprotect_admin' AND r.rolcanlogin AND dataprotect._is_of(r.rolname, a.oid)
       AND NOT dataprotect._could_be(role, r.oid) AND NOT dataprotect._could_be(r.oid, role)
$$;
COMMENT ON FUNCTION dataprotect._other_administrators(oid) IS 'administrators who are somebody else than a role for sure';

CREATE FUNCTION dataprotect._act_digest(act text) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT sha256(convert_to(act, 'UTF8'))
$$;
COMMENT ON FUNCTION dataprotect._act_digest(text) IS 'digest of an act and its arguments';

-- The one spelling of an act, or an error: its name and its arguments as jsonb.
CREATE FUNCTION dataprotect._canonical_act(act text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_name text := substring(act FROM '^\s*([a-z_]+)');
    v_rest text := substring(act FROM '^\s*[a-z_]+\s*(.*)$');
    v_arguments jsonb;
BEGIN
    IF octet_length(act) > 8000 OR v_name IS NULL OR v_name NOT IN ('activate_retention', 'alter_key', 'decrypt_column', 'destroy_key', 'drop_sink', 'grant_access', 'import_keys',
                                                               'lift_lockdown', 'release_hold', 'reseal_policy', 'trust_function') THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'this is no act that needs an approval',
            NULL,
            'Call the function itself: its error gives the text of the act.');
    END IF;
    BEGIN
        v_arguments := coalesce(nullif(v_rest, ''), '{}')::jsonb;
    EXCEPTION WHEN OTHERS THEN
        v_arguments := NULL;
    END;
    IF jsonb_typeof(v_arguments) IS DISTINCT FROM 'object' THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'the arguments of an act are a JSON object',
            NULL,
            'Call the function itself: its error gives the text of the act.');
    END IF;
    RETURN v_name || ' ' || v_arguments::text;
END $$;
COMMENT ON FUNCTION dataprotect._canonical_act(text) IS 'the one spelling of an act that needs an approval, or an error';

CREATE FUNCTION dataprotect.request_approval(act text, reason text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_act text := dataprotect._canonical_act(request_approval.act);
    v_person record := dataprotect._person();
    v_approvers oid[] := dataprotect._other_administrators(v_person.role);
    v_now timestamptz := dataprotect._now();
    v_id bigint;
BEGIN
    PERFORM dataprotect._check_reason(request_approval.reason);
    IF cardinality(v_approvers) = 0 THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            'there is nobody who could approve this',
            'Another administrator is a member of dataprotect_admin who can log in, where neither of the two could become the other.',
            'Superusers, and before PostgreSQL 16 roles with CREATEROLE, could become anybody: connect as a role that is neither.');
    END IF;
    INSERT INTO dataprotect.approval (act, digest, reason, requested_by, requester, requester_subject, requester_system_user,
                                      requested_at, expires_at, approvers)
        VALUES (v_act, dataprotect._act_digest(v_act), request_approval.reason, pg_get_userbyid(v_person.role), v_person.role, v_person.subject,
                v_person.system_user_name, v_now,
                v_now + make_interval(secs => extract(epoch FROM current_setting('dataprotect.approval_period')::interval)), v_approvers)
        RETURNING approval.id INTO v_id;
    PERFORM dataprotect._event('approval.requested', NULL, jsonb_build_object(
        'request', v_id, 'act', left(v_act, 2000), 'reason', request_approval.reason));
    RETURN v_id;
END $$;
COMMENT ON FUNCTION dataprotect.request_approval(text, text) IS 'asks another administrator to approve a dangerous act; the request''s number';

CREATE FUNCTION dataprotect._refuse_approval(what text, why text, detail jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM dataprotect._event('approval.refused', NULL, detail || jsonb_build_object('problem', why));
    PERFORM dataprotect._raise('insufficient_privilege', what, why,
        'Another member of dataprotect_admin, who was one when it was requested and whom the requester could not become, approves it.');
END $$;
COMMENT ON FUNCTION dataprotect._refuse_approval(text, text, jsonb) IS 'an event and an error: an approval does not count';

CREATE FUNCTION dataprotect.approve(request bigint, reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_person record := dataprotect._person();
    v_row dataprotect.approval;
    v_why text;
BEGIN
    PERFORM dataprotect._check_reason(approve.reason);
    PERFORM dataprotect._need_policy('approval');
    SELECT a.* INTO v_row FROM dataprotect.approval a WHERE a.id = approve.request FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('undefined_object',
            format('request %s does not exist', coalesce(approve.request::text, 'NULL')),
            NULL,
            'View dataprotect.approvals lists the requests.');
    END IF;
    IF v_row.approved_at IS NOT NULL OR v_row.expires_at <= dataprotect._now() THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('request %s is %s', approve.request, CASE WHEN v_row.approved_at IS NULL THEN 'out of date' ELSE 'approved already' END),
            NULL,
            'Request the act again.');
    END IF;
    v_why := CASE
        WHEN v_person.role <> ALL (v_row.approvers) THEN 'Whoever logged in was not another administrator when it was requested.'
        WHEN dataprotect._could_be(v_row.requester, v_person.role) OR dataprotect._could_be(v_person.role, v_row.requester) THEN
            'One of the two roles could become the other.'
        WHEN NOT dataprotect._is_of(pg_get_userbyid(v_person.role), 'dataprotect_admin'::regrole) THEN 'Whoever logged in is no administrator any more.'
        WHEN v_row.requester_subject IS NOT NULL AND v_person.subject IS NULL THEN
            'It was requested by the subject of a token, and whoever approves has shown none.'
        WHEN v_row.requester_subject = v_person.subject THEN 'It was requested by the subject of the same token.'
        WHEN v_row.requester_system_user = v_person.system_user_name THEN 'It was requested by the same user of the system.' END;
    IF v_why IS NOT NULL THEN
        PERFORM dataprotect._refuse_approval(format('request %s must be approved by somebody else', approve.request), v_why,
            jsonb_build_object('request', approve.request));
    END IF;
    UPDATE dataprotect.approval a
       SET approved_by = pg_get_userbyid(v_person.role), approver = v_person.role, approved_at = dataprotect._now(), approve_reason = approve.reason
     WHERE a.id = approve.request;
    PERFORM dataprotect._event('approval.given', NULL, jsonb_build_object(
        'request', approve.request, 'act', left(v_row.act, 2000), 'requested_by', v_row.requested_by, 'reason', approve.reason));
END $$;
COMMENT ON FUNCTION dataprotect.approve(bigint, text) IS 'approves a dangerous act that another administrator has requested';

-- Called by each dangerous act before it does anything.
CREATE FUNCTION dataprotect._need_approval(act text, arguments jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_act text := act || ' ' || jsonb_strip_nulls(arguments)::text;
    v_person record := dataprotect._person();
    v_id bigint;
BEGIN
    IF NOT current_setting('dataprotect.approvals')::bool THEN
        RETURN;
    END IF;
    PERFORM dataprotect._need_policy('approval');
    SELECT a.id INTO v_id FROM dataprotect.approval a
     WHERE a.digest = dataprotect._act_digest(v_act) AND a.act = v_act AND a.requester = v_person.role
       AND a.requester_subject IS NOT DISTINCT FROM v_person.subject
       AND a.approved_at IS NOT NULL AND a.used_at IS NULL AND a.expires_at > dataprotect._now() AND dataprotect._sealed(a)
     ORDER BY a.id LIMIT 1 FOR UPDATE;
    IF v_id IS NULL THEN
        PERFORM dataprotect._event('approval.refused', NULL, jsonb_build_object('act', left(v_act, 2000), 'problem', 'not approved'));
        PERFORM dataprotect._raise('insufficient_privilege',
            format('%s() needs the approval of another administrator', act),
            format('The act is: %s', v_act),
            format('SELECT dataprotect.request_approval(%L, ''why''); then another administrator calls dataprotect.approve(), then call again.', v_act));
    END IF;
    UPDATE dataprotect.approval a SET used_at = dataprotect._now() WHERE a.id = v_id;
    PERFORM dataprotect._event('approval.used', NULL, jsonb_build_object('request', v_id, 'act', left(v_act, 2000)));
END $$;
COMMENT ON FUNCTION dataprotect._need_approval(text, jsonb) IS 'error unless dataprotect.approvals is off, or this very act was approved; it is used up';

CREATE VIEW dataprotect.approvals AS
    SELECT a.id, a.act, a.reason, a.requested_by, a.requested_at, a.expires_at, a.approved_by, a.approved_at, a.approve_reason, a.used_at,
           CASE WHEN a.used_at IS NOT NULL THEN 'used' WHEN a.expires_at <= now() THEN 'expired'
                WHEN a.approved_at IS NOT NULL THEN 'approved' ELSE 'requested' END AS state,
           ARRAY(SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.oid = ANY (a.approvers) ORDER BY 1) AS approvers
    FROM dataprotect.approval a;
COMMENT ON VIEW dataprotect.approvals IS 'dangerous acts that were requested, who approved them, and who may';
