-- Grants are looked at again: who confirmed them, what was seen by them.
--
-- access_use adds up what the audit log says of roles and keys, by the day; the
-- worker's round goes on where it stopped (access_use_head).  Statements whose
-- result is a later record wait in access_use_open.
CREATE TABLE dataprotect.access_use (
    role text NOT NULL,
    key text NOT NULL,
    day date NOT NULL,
    values_opened int8 NOT NULL,
    values_compared int8 NOT NULL,
    last_use timestamptz NOT NULL,
    PRIMARY KEY (role, key, day)
);
COMMENT ON TABLE dataprotect.access_use IS 'what roles opened and compared under keys, by the day (UTC), from the audit log';
CREATE TABLE dataprotect.access_use_open (
    instance uuid NOT NULL,
    ring_seq int8 NOT NULL,
    role text,
    at timestamptz NOT NULL,
    PRIMARY KEY (instance, ring_seq)
);
COMMENT ON TABLE dataprotect.access_use_open IS 'statements of the audit log whose result is not in access_use yet';
CREATE TABLE dataprotect.access_use_head (
    id bool PRIMARY KEY DEFAULT true CHECK (id),
    seq int8 NOT NULL
);
COMMENT ON TABLE dataprotect.access_use_head IS 'how far the audit log is in access_use';
INSERT INTO dataprotect.access_use_head (seq) VALUES (0);
-- All three are made anew from the log.
SELECT pg_catalog.pg_extension_config_dump('dataprotect.access_use', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.access_use_open', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.access_use_head', 'WHERE false');
CREATE TABLE dataprotect.grant_use (
    id int8 PRIMARY KEY,
    first_used_at timestamptz NOT NULL
);
COMMENT ON TABLE dataprotect.grant_use IS 'when something was first seen by a grant';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.grant_use', '');

CREATE FUNCTION dataprotect.confirm_grant(id bigint, reason text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_grant dataprotect.access_grant;
    v_person record := dataprotect._person();
BEGIN
    IF confirm_grant.reason IS NOT NULL THEN
        PERFORM dataprotect._check_reason(confirm_grant.reason);
    END IF;
    SELECT g.* INTO v_grant FROM dataprotect.access_grant g WHERE g.id = confirm_grant.id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('undefined_object',
            format('grant %s does not exist', coalesce(confirm_grant.id::text, 'NULL')),
            NULL,
            'View dataprotect.grants lists the grants.');
    END IF;
    IF v_grant.revoked_at IS NOT NULL OR v_grant.valid_until <= dataprotect._now() OR v_grant.lapses_at <= dataprotect._now() THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('grant %s has ended', confirm_grant.id),
            NULL,
            'Grant anew what is still needed.');
    END IF;
    IF current_setting('dataprotect.approvals')::bool AND dataprotect._could_be(v_person.role, v_grant.grantee) THEN
        PERFORM dataprotect._raise('insufficient_privilege',
            format('grant %s must be confirmed by somebody else', confirm_grant.id),
            'Whoever logged in has the grant, or could have it.',
            'Ask another administrator.');
    END IF;
    UPDATE dataprotect.access_grant g
       SET confirmed_at = dataprotect._now(), confirmed_by = pg_get_userbyid(v_person.role), lapses_at = NULL
     WHERE g.id = confirm_grant.id;
    PERFORM dataprotect._event('access.confirmed', (SELECT k.name FROM dataprotect.key k WHERE k.family = v_grant.family),
        jsonb_strip_nulls(jsonb_build_object('grant', confirm_grant.id, 'grantee', v_grant.grantee::text, 'privilege', v_grant.privilege,
            'reason', confirm_grant.reason, 'self', nullif(dataprotect._could_be(v_person.role, v_grant.grantee), false))));
END $$;
COMMENT ON FUNCTION dataprotect.confirm_grant(bigint, text) IS 'says that a grant is still needed; see dataprotect.grant_confirmation';

-- What is new in the audit log, at most so many records at a time.
CREATE FUNCTION dataprotect._count_use(at_most bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_from bigint;
    v_to bigint;
    r record;
BEGIN
    SELECT h.seq INTO v_from FROM dataprotect.access_use_head h FOR UPDATE;
    SELECT least(h.seq, v_from + at_most) INTO v_to FROM dataprotect.audit_head h;
    IF v_to IS NULL OR v_to = v_from THEN
        RETURN;
    END IF;
    IF v_to < v_from THEN               -- the log began anew
        v_from := 0;
        v_to := least((SELECT h.seq FROM dataprotect.audit_head h), at_most);
    END IF;
    INSERT INTO dataprotect.access_use_open (instance, ring_seq, role, at)
        SELECT i.instance, i.ring_seq, i.role, i.at FROM dataprotect.audit_record i
         WHERE i.seq > v_from AND i.seq <= v_to AND i.kind = 'i' AND i.outcome = 's'
        ON CONFLICT ON CONSTRAINT access_use_open_pkey DO NOTHING;
    FOR r IN
        WITH used AS (
            SELECT i.role, k.key, i.at, k.opened, k.compared
              FROM dataprotect.audit_record i, unnest(i.keys, i.opened, i.compared) k (key, opened, compared)
             WHERE i.seq > v_from AND i.seq <= v_to AND i.kind = 'i' AND i.outcome <> 's'
            UNION ALL
            SELECT o.role, k.key, o.at, k.opened, k.compared
              FROM dataprotect.audit_record i JOIN dataprotect.access_use_open o ON o.instance = i.instance AND o.ring_seq = i.ref_seq,
                   unnest(i.keys, i.opened, i.compared) k (key, opened, compared)
             WHERE i.seq > v_from AND i.seq <= v_to AND i.kind = 'r'),
        added AS (
            INSERT INTO dataprotect.access_use AS u (role, key, day, values_opened, values_compared, last_use)
                SELECT n.role, n.key, (n.at AT TIME ZONE 'UTC')::date, sum(n.opened), sum(n.compared), max(n.at)
                  FROM used n WHERE n.role IS NOT NULL AND n.key IS NOT NULL AND (n.opened > 0 OR n.compared > 0) GROUP BY 1, 2, 3
                ON CONFLICT ON CONSTRAINT access_use_pkey DO UPDATE
                    SET values_opened = u.values_opened + excluded.values_opened, values_compared = u.values_compared + excluded.values_compared,
                        last_use = greatest(u.last_use, excluded.last_use))
        SELECT n.role, n.key, min(n.at) FILTER (WHERE n.opened > 0) AS opened_at, min(n.at) AS at
          FROM used n WHERE n.opened > 0 OR n.compared > 0 GROUP BY 1, 2
    LOOP
        PERFORM dataprotect._note_first_use(r.role, r.key, r.at);
    END LOOP;
    -- no join: a row that somebody changes meanwhile is looked at again, and records have no place to find them by
    DELETE FROM dataprotect.access_use_open o
     WHERE (o.instance, o.ring_seq) IN (SELECT i.instance, i.ref_seq FROM dataprotect.audit_record i
                                         WHERE i.seq > v_from AND i.seq <= v_to AND i.kind = 'r' OFFSET 0);
    UPDATE dataprotect.access_use_head SET seq = v_to;
END $$;
COMMENT ON FUNCTION dataprotect._count_use(bigint) IS 'adds what is new in the audit log to access_use, and tells of grants that were used first';

CREATE FUNCTION dataprotect._note_first_use(role text, key_name text, at timestamptz) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
BEGIN
    FOR r IN
        INSERT INTO dataprotect.grant_use AS u (id, first_used_at)
            SELECT g.id, _note_first_use.at FROM dataprotect.access_grant g JOIN dataprotect.key k ON k.family = g.family
             WHERE k.name::text = key_name AND g.revoked_at IS NULL AND g.granted_at <= _note_first_use.at
               AND dataprotect._is_of(_note_first_use.role::name, g.grantee)
            ON CONFLICT ON CONSTRAINT grant_use_pkey DO NOTHING RETURNING u.id
    LOOP
        PERFORM dataprotect._event('access.first_used', key_name, (SELECT jsonb_strip_nulls(jsonb_build_object('grant', g.id, 'grantee', g.grantee::text,
                'role', _note_first_use.role, 'privilege', g.privilege, 'ticket', g.ticket, 'purpose', g.purpose, 'at', _note_first_use.at))
            FROM dataprotect.access_grant g WHERE g.id = r.id));
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._note_first_use(text, text, timestamptz) IS 'tells of grants on a key by which a role sees something for the first time';

-- A grant that nobody confirms is told of two weeks before it lapses, and never
-- lapses untold.  From then on it ends by itself, whether workers run or not.
CREATE FUNCTION dataprotect._review_grants() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now timestamptz := dataprotect._now();
    v_period interval := make_interval(secs => extract(epoch FROM current_setting('dataprotect.grant_confirmation')::interval));
    r record;
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN;
    END IF;
    PERFORM dataprotect._count_use(100000);
    FOR r IN
        SELECT g.id, k.name AS key, g.grantee, g.privilege, g.lapses_at,
               greatest(coalesce(g.confirmed_at, g.granted_at) + v_period, v_now + least(v_period / 2, interval '14 days')) AS lapse
          FROM dataprotect.access_grant g JOIN dataprotect.key k ON k.family = g.family
         WHERE g.revoked_at IS NULL AND v_period > interval '0'
           AND (g.lapses_at <= v_now OR (g.lapses_at IS NULL
                AND coalesce(g.confirmed_at, g.granted_at) + v_period - least(v_period / 2, interval '14 days') <= v_now))
         ORDER BY g.id FOR UPDATE OF g SKIP LOCKED
    LOOP
        IF r.lapses_at IS NULL THEN
            UPDATE dataprotect.access_grant g SET lapses_at = r.lapse WHERE g.id = r.id;
            PERFORM dataprotect._event('access.unconfirmed', r.key, jsonb_build_object(
                'grant', r.id, 'grantee', r.grantee::text, 'privilege', r.privilege, 'lapses_at', r.lapse));
        ELSE
            UPDATE dataprotect.access_grant g SET revoked_at = v_now, revoked_by = session_user, revoke_reason = 'nobody confirmed it' WHERE g.id = r.id;
            PERFORM dataprotect._event('access.lapsed', r.key, jsonb_build_object(
                'grant', r.id, 'grantee', r.grantee::text, 'privilege', r.privilege));
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._review_grants() IS 'counts what was seen by grants, tells of those that nobody confirms, and ends them';

-- What the key agent has met of each KMS location of this database.  It has no
-- database and writes no events; its counters miss no failure between two rounds.
CREATE TABLE dataprotect.kms_alert (
    kms_uri text PRIMARY KEY,
    failures int8 NOT NULL,
    failing bool NOT NULL
);
COMMENT ON TABLE dataprotect.kms_alert IS 'what was told of each KMS location: failures counted then, and whether it failed';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.kms_alert', 'WHERE false');

CREATE FUNCTION dataprotect._tell_kms() RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_new int8;
    v_works bool;
    r record;
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN;
    END IF;
    FOR r IN
        SELECT s.kms_uri, s.failures, s.last_failure, s.last_success, s.last_error,
               coalesce(a.failures, 0) AS known, coalesce(a.failing, false) AS failing
          FROM dataprotect._kms_status() s LEFT JOIN dataprotect.kms_alert a ON a.kms_uri = s.kms_uri
         WHERE s.kms_uri = ANY (string_to_array(replace(current_setting('dataprotect.signing_kms_uri', true), ' ', ''), ','))
            OR EXISTS (SELECT FROM dataprotect.epoch e WHERE s.kms_uri = ANY (e.kms_uri) AND e.state <> 'd')
         ORDER BY s.kms_uri
    LOOP
        -- the server's counters begin anew with it
        v_new := r.failures - CASE WHEN r.failures < r.known THEN 0 ELSE r.known END;
        v_works := r.last_failure IS NULL OR coalesce(r.last_success > r.last_failure, false);
        CONTINUE WHEN CASE WHEN r.failing THEN NOT v_works ELSE v_new = 0 END;
        IF NOT r.failing THEN
            PERFORM dataprotect._event('kms.failing', NULL, jsonb_build_object('kms_uri', r.kms_uri, 'failures', v_new,
                'error', left(r.last_error, 500), 'at', r.last_failure));
        END IF;
        IF v_works THEN
            PERFORM dataprotect._event('kms.recovered', NULL, jsonb_build_object('kms_uri', r.kms_uri, 'failures', v_new, 'at', r.last_success));
        END IF;
        INSERT INTO dataprotect.kms_alert (kms_uri, failures, failing) VALUES (r.kms_uri, r.failures, NOT v_works)
            ON CONFLICT ON CONSTRAINT kms_alert_pkey DO UPDATE SET failures = excluded.failures, failing = excluded.failing;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._tell_kms() IS 'tells of KMS locations of this database that fail, and that answer again';

CREATE VIEW dataprotect.access_review AS
    SELECT k.name AS key, r.rolname AS role, r.rolsuper AS superuser, r.rolcanlogin AS can_login,
           max(CASE g.privilege WHEN 'reveal' THEN 3 WHEN 'search' THEN 2 ELSE 1 END) AS level,
           string_agg(DISTINCT g.grantee::text || ':' || g.privilege, ', ') AS through,
           max(u.last_use) AS last_use,
           coalesce(max(u.opened), 0) AS values_seen,
           max(u.last_use) IS NULL AS never_used,
           min(coalesce(g.confirmed_at, g.granted_at)) AS confirmed_at,
           string_agg(DISTINCT coalesce(g.confirmed_by, g.granted_by)::text, ', ') AS confirmed_by,
           min(g.lapses_at) AS lapses_at,
           string_agg(DISTINCT g.ticket, ', ') AS tickets,
           array_agg(DISTINCT g.id) AS grants
    FROM dataprotect.access_grant g
         JOIN dataprotect.key k ON k.family = g.family
         JOIN pg_catalog.pg_roles r ON r.oid = g.grantee
              OR (NOT r.rolsuper AND pg_catalog.pg_has_role(r.oid, g.grantee, 'USAGE'))
         LEFT JOIN LATERAL (
              SELECT max(a.last_use) AS last_use, sum(a.values_opened) FILTER (WHERE a.day >= current_date - 90) AS opened
                FROM dataprotect.access_use a WHERE a.role = r.rolname AND a.key = k.name::text) u ON true
    WHERE g.revoked_at IS NULL AND g.valid_from <= now() AND (g.valid_until IS NULL OR g.valid_until > now())
      AND (g.lapses_at IS NULL OR g.lapses_at > now())
    GROUP BY k.name, r.rolname, r.rolsuper, r.rolcanlogin;
COMMENT ON VIEW dataprotect.access_review IS
    'every role that may see something of a key now, inherited grants resolved; level 1 mask, 2 search, 3 reveal; what it saw in 90 days; who confirmed';
