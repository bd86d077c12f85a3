-- Incidents: what happened, whose data it was about, and when somebody must be told
-- (GDPR, Article 33: 72 hours from becoming aware).

CREATE TABLE dataprotect.incident (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title text NOT NULL,
    description text,
    opened_by name NOT NULL,
    opened_at timestamptz NOT NULL,
    aware_at timestamptz NOT NULL,
    deadline timestamptz NOT NULL,
    from_time timestamptz,
    to_time timestamptz,
    roles text[],
    keys text[],
    contained_at timestamptz,
    notified_at timestamptz,
    not_notified text,                  -- why nobody is told
    closed_at timestamptz,
    closed_by name,
    lessons text,
    told text CHECK (told IN ('day', 'missed'))
);
COMMENT ON TABLE dataprotect.incident IS 'the register of incidents; see dataprotect.open_incident()';
COMMENT ON COLUMN dataprotect.incident.told IS 'the last thing that was told about its deadline';
CREATE TABLE dataprotect.incident_note (
    incident bigint NOT NULL REFERENCES dataprotect.incident,
    at timestamptz NOT NULL,
    by name NOT NULL,
    kind text NOT NULL,
    note text NOT NULL
);
COMMENT ON TABLE dataprotect.incident_note IS 'what was found and done in an incident; nothing is taken back';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.incident', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.incident_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.incident_note', '');

CREATE VIEW dataprotect.incidents AS
    SELECT i.id, i.title, i.description, i.opened_by, i.opened_at, i.aware_at, i.deadline, i.from_time, i.to_time, i.roles, i.keys,
           CASE WHEN i.closed_at IS NULL THEN 'open' ELSE 'closed' END AS state,
           i.contained_at, i.notified_at, i.not_notified,
           i.notified_at IS NULL AND i.not_notified IS NULL AND i.deadline < dataprotect._now() AS overdue,
           (SELECT jsonb_agg(jsonb_build_object('at', n.at, 'by', n.by, 'kind', n.kind, 'note', n.note) ORDER BY n.at)
              FROM dataprotect.incident_note n WHERE n.incident = i.id) AS notes,
           i.lessons, i.closed_by, i.closed_at
      FROM dataprotect.incident i;
COMMENT ON VIEW dataprotect.incidents IS 'the register of incidents, open and closed';

CREATE FUNCTION dataprotect.open_incident(title text, description text = NULL, from_time timestamptz = NULL, to_time timestamptz = NULL,
        roles text[] = NULL, keys text[] = NULL, aware_at timestamptz = NULL) RETURNS bigint
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_now timestamptz := dataprotect._now();
    v_aware timestamptz := coalesce(open_incident.aware_at, v_now);
    v_id bigint;
BEGIN
    IF coalesce(open_incident.title, '') !~ '[^[:space:]]' OR octet_length(open_incident.title) > 200 OR octet_length(open_incident.description) > 10000 THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'an incident has a title of 1 to 200 bytes', NULL,
            'Say in a line what happened, and the rest (at most 10000 bytes) in "description".');
    END IF;
    IF NOT isfinite(v_aware) OR v_aware > v_now OR open_incident.from_time > open_incident.to_time THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'the times of an incident are wrong', NULL,
            'Nobody became aware of it in the future, and it begins before it ends.');
    END IF;
    INSERT INTO dataprotect.incident (title, description, opened_by, opened_at, aware_at, deadline, from_time, to_time, roles, keys)
        VALUES (open_incident.title, open_incident.description, session_user, v_now, v_aware, v_aware + interval '72 hours', open_incident.from_time,
                open_incident.to_time, open_incident.roles, open_incident.keys)
        RETURNING id INTO v_id;
    PERFORM dataprotect._event('incident.opened', NULL, jsonb_build_object(
        'incident', v_id, 'title', open_incident.title, 'deadline', v_aware + interval '72 hours'));
    RETURN v_id;
END $$;
COMMENT ON FUNCTION dataprotect.open_incident(text, text, timestamptz, timestamptz, text[], text[], timestamptz) IS
    'enters an incident into the register; 72 hours from becoming aware of it are watched; its number';

CREATE FUNCTION dataprotect._open_incident_row(id bigint) RETURNS dataprotect.incident
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_row dataprotect.incident;
BEGIN
    SELECT i.* INTO v_row FROM dataprotect.incident i WHERE i.id = _open_incident_row.id FOR UPDATE;
    IF v_row.id IS NULL OR v_row.closed_at IS NOT NULL THEN
        PERFORM dataprotect._raise('undefined_object', format('there is no open incident %s', coalesce(_open_incident_row.id::text, 'NULL')),
            NULL, 'View dataprotect.incidents lists them.');
    END IF;
    RETURN v_row;
END $$;
COMMENT ON FUNCTION dataprotect._open_incident_row(bigint) IS 'an incident that is open, locked, or an error';

CREATE FUNCTION dataprotect.note_incident(id bigint, kind text, note text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_row dataprotect.incident := dataprotect._open_incident_row(note_incident.id);
    v_now timestamptz := dataprotect._now();
BEGIN
    IF note_incident.kind IS NULL OR note_incident.kind NOT IN ('assessed', 'contained', 'notified', 'note') THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'unrecognized kind of note', NULL,
            'The kinds are "assessed", "contained", "notified" and "note".');
    END IF;
    PERFORM dataprotect._check_reason(note_incident.note);
    INSERT INTO dataprotect.incident_note (incident, at, by, kind, note) VALUES (v_row.id, v_now, session_user, note_incident.kind, note_incident.note);
    UPDATE dataprotect.incident i
       SET contained_at = CASE WHEN note_incident.kind = 'contained' THEN coalesce(i.contained_at, v_now) ELSE i.contained_at END,
           notified_at = CASE WHEN note_incident.kind = 'notified' THEN coalesce(i.notified_at, v_now) ELSE i.notified_at END
     WHERE i.id = v_row.id;
    PERFORM dataprotect._event('incident.noted', NULL, jsonb_build_object('incident', v_row.id, 'kind', note_incident.kind, 'note', note_incident.note));
END $$;
COMMENT ON FUNCTION dataprotect.note_incident(bigint, text, text) IS
    'what was found or done in an incident: assessed, contained, notified (the authority was told), note';

CREATE FUNCTION dataprotect.close_incident(id bigint, lessons text, not_notified text = NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_row dataprotect.incident := dataprotect._open_incident_row(close_incident.id);
BEGIN
    PERFORM dataprotect._check_reason(close_incident.lessons);
    IF close_incident.not_notified IS NOT NULL THEN
        PERFORM dataprotect._check_reason(close_incident.not_notified);
    END IF;
    IF v_row.contained_at IS NULL OR (v_row.notified_at IS NULL AND close_incident.not_notified IS NULL) THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state', format('incident %s is not over', v_row.id),
            CASE WHEN v_row.contained_at IS NULL THEN 'Nothing says how it was contained.' ELSE 'Nothing says who was notified, or why nobody is.' END,
            'Call dataprotect.note_incident() with "contained" and "notified", or pass "not_notified".');
    END IF;
    UPDATE dataprotect.incident i
       SET closed_at = dataprotect._now(), closed_by = session_user, lessons = close_incident.lessons, not_notified = close_incident.not_notified
     WHERE i.id = v_row.id;
    PERFORM dataprotect._event('incident.closed', NULL, jsonb_strip_nulls(jsonb_build_object(
        'incident', v_row.id, 'lessons', close_incident.lessons, 'not_notified', close_incident.not_notified)));
END $$;
COMMENT ON FUNCTION dataprotect.close_incident(bigint, text, text) IS
    'ends an incident that was contained and notified (or says why nobody is told), with what was learnt';

-- With the rights of whoever asks: the log is the auditors'.
CREATE FUNCTION dataprotect.incident_scope(id bigint, OUT session_role text, OUT role text, OUT actor text, OUT client text, OUT key text,
        OUT columns text[], OUT statements bigint, OUT values_opened bigint, OUT first_at timestamptz, OUT last_at timestamptz) RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT l.session_role, l.role, l.actor, l.client, k.key, array_agg(DISTINCT c.col) FILTER (WHERE c.col IS NOT NULL),
           count(DISTINCT l.seq), (sum(l.values_opened) / greatest(count(*) / count(DISTINCT l.seq), 1))::bigint, min(l.at), max(l.at)
      FROM dataprotect.incidents i
           JOIN dataprotect.audit_log l ON l.event = 'value.revealed'
               AND l.at >= coalesce(i.from_time, '-infinity') AND l.at <= coalesce(i.to_time, 'infinity')
               AND (i.roles IS NULL OR l.role = ANY (i.roles) OR l.session_role = ANY (i.roles))
               AND (i.keys IS NULL OR l.keys && i.keys)
           CROSS JOIN LATERAL unnest(l.keys) k (key)
           LEFT JOIN LATERAL unnest(l.columns) c (col) ON true
     WHERE i.id = $1 AND (i.keys IS NULL OR k.key = ANY (i.keys))
     GROUP BY l.session_role, l.role, l.actor, l.client, k.key
     ORDER BY l.session_role, l.role, l.actor, l.client, k.key
$$;
COMMENT ON FUNCTION dataprotect.incident_scope(bigint) IS
    'who opened values in the time of an incident, by its roles and under its keys, as the audit log has it; values are those of the statements as a whole';

CREATE FUNCTION dataprotect._tell_incidents() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    near record;
BEGIN
    FOR near IN
        UPDATE dataprotect.incident i SET told = s.stage
          FROM dataprotect.incident j,
               LATERAL (SELECT CASE WHEN j.deadline <= dataprotect._now() THEN 'missed'
                                    WHEN j.deadline - interval '1 day' <= dataprotect._now() THEN 'day' END AS stage) s
         WHERE j.id = i.id AND i.closed_at IS NULL AND i.notified_at IS NULL AND s.stage IS NOT NULL AND s.stage IS DISTINCT FROM i.told
        RETURNING i.id, i.deadline, s.stage
    LOOP
        PERFORM dataprotect._event(CASE near.stage WHEN 'missed' THEN 'deadline.missed' ELSE 'deadline.near' END, NULL,
            jsonb_build_object('incident', near.id, 'deadline', near.deadline, 'stage', near.stage));
        RAISE WARNING USING MESSAGE = format(CASE near.stage WHEN 'missed' THEN 'nobody was notified of incident %s within 72 hours'
                                                  ELSE 'nobody was notified of incident %s yet' END, near.id),
            DETAIL = format('Its deadline is %s.', near.deadline);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._tell_incidents() IS 'tell of incidents that nobody was notified of, a day before the deadline and after it';
