--
-- Where the log goes besides its table: sinks, signed digests, alerts.  See
-- src/audit/sink.h, digest.h and alert.h.
--
CREATE TABLE dataprotect.sink (
    name text PRIMARY KEY,
    uri text NOT NULL,
    options jsonb NOT NULL,
    created_by name NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    seal bytea
);
COMMENT ON TABLE dataprotect.sink IS 'where the audit log is sent; see dataprotect.create_sink()';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.sink', '');

CREATE TABLE dataprotect.sink_state (
    name text PRIMARY KEY REFERENCES dataprotect.sink (name) ON DELETE CASCADE,
    cursor int8 NOT NULL,
    digest int8 NOT NULL,
    mac bytea NOT NULL,
    failures int4 NOT NULL DEFAULT 0,
    retry_at timestamptz,
    last_success timestamptz,
    last_failure timestamptz,
    last_error text,
    channel uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
    ack_id int8,
    ack_to int8,
    ack_digest int8,
    ack_since timestamptz
);
COMMENT ON TABLE dataprotect.sink_state IS 'how far each sink is, signed with the chain key, and how it goes';

CREATE TABLE dataprotect.audit_digest (
    id int8 PRIMARY KEY,
    made_at timestamptz NOT NULL DEFAULT now(),
    seq_from int8 NOT NULL,
    seq_to int8 NOT NULL,
    records int8 NOT NULL,
    policy text NOT NULL,
    document text NOT NULL,
    signature bytea NOT NULL,
    kms_uri text,                       -- null where no root signed it
    kms_algorithm text,
    kms_version int4,
    kms_signature bytea,
    filed bool NOT NULL DEFAULT false
);
CREATE INDEX audit_digest_not_filed_idx ON dataprotect.audit_digest (id) WHERE NOT filed;
COMMENT ON TABLE dataprotect.audit_digest IS 'signed digests of the audit log and of policy; see dataprotect.audit_digests';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.audit_digest', '');

CREATE TABLE dataprotect.alert (
    id int8 PRIMARY KEY,
    at timestamptz NOT NULL,
    event text NOT NULL,
    severity text NOT NULL,
    session_role text NOT NULL,
    key text,
    acknowledged_at timestamptz,
    acknowledged_by name,
    note text
);
CREATE INDEX alert_open_idx ON dataprotect.alert (id) WHERE acknowledged_at IS NULL;
COMMENT ON TABLE dataprotect.alert IS 'records of the audit log that somebody was told of at once; id is the record''s seq';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.alert', '');

CREATE FUNCTION dataprotect._sink_check(uri text) RETURNS text
    LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'dp_audit_sink_check';
COMMENT ON FUNCTION dataprotect._sink_check(text) IS 'the kind of sink that a URI names; an error where it names none that is allowed';

CREATE FUNCTION dataprotect._deliver_rows(uri text, series text, run bigint, batch bigint, lines text) RETURNS void
    LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'dp_audit_deliver_rows';
COMMENT ON FUNCTION dataprotect._deliver_rows(text, text, bigint, bigint, text) IS 'stores lines below a file:// or s3:// URI, or raises an error';

CREATE FUNCTION dataprotect._sink_begin(name text, after bigint, digest bigint) RETURNS void
    LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'dp_audit_sink_begin';
COMMENT ON FUNCTION dataprotect._sink_begin(text, bigint, bigint) IS 'notes that a sink is to be sent what comes after a record';

CREATE FUNCTION dataprotect._digest_line(d dataprotect.audit_digest) RETURNS text
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT '{"digest":' || d.document || ',"signature":"' || translate(encode(d.signature, 'base64'), E'\n', '') || '"'
        || coalesce(',"kms":{"algorithm":"' || d.kms_algorithm || '","version":' || d.kms_version
            || ',"signature":"' || translate(encode(d.kms_signature, 'base64'), E'\n', '') || '","uri":' || to_json(d.kms_uri) || '}', '') || '}'
$$;
COMMENT ON FUNCTION dataprotect._digest_line(dataprotect.audit_digest) IS 'a digest as it leaves the host';

CREATE FUNCTION dataprotect._audit_line(record dataprotect.audit_record, log uuid) RETURNS text
    LANGUAGE c STRICT STABLE AS 'MODULE_PATHNAME', 'dp_audit_line';
COMMENT ON FUNCTION dataprotect._audit_line(dataprotect.audit_record, uuid) IS 'a record as it leaves the host; for members of dataprotect_auditor';

CREATE FUNCTION dataprotect._digest_key(key int8 DEFAULT 0) RETURNS bytea
    LANGUAGE c STRICT VOLATILE AS 'MODULE_PATHNAME', 'dp_audit_digest_key';
COMMENT ON FUNCTION dataprotect._digest_key(int8) IS 'public key, 32 bytes, of the digests that are signed by a key of the chain (0: the current one)';

CREATE FUNCTION dataprotect.digest_public_pem() RETURNS text
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT E'-----BEGIN PUBLIC KEY-----\n' || encode('\x302a300506032b6570032100'::bytea || dataprotect._digest_key(), 'base64')
           || E'\n-----END PUBLIC KEY-----';
$$;
COMMENT ON FUNCTION dataprotect.digest_public_pem() IS 'public key (PEM) that digests of the audit log are verified with, outside the database';

-- The root that signs digests: one that was named for it, or a key file, which can.
CREATE FUNCTION dataprotect._digest_root() RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT u FROM dataprotect._signing_roots('{}') u
     WHERE starts_with(u, 'file://') OR u = ANY (string_to_array(replace(current_setting('dataprotect.signing_kms_uri', true), ' ', ''), ','))
     ORDER BY starts_with(u, 'file://'), u LIMIT 1
$$;
COMMENT ON FUNCTION dataprotect._digest_root() IS 'URI of the KMS root that signs digests, or null';

CREATE FUNCTION dataprotect.digest_kms_public_pem() RETURNS text
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT E'-----BEGIN PUBLIC KEY-----\n' || encode(s.public_key, 'base64') || E'\n-----END PUBLIC KEY-----'
      FROM (SELECT dataprotect._digest_root() AS uri OFFSET 0) r, LATERAL dataprotect._kms_sign(r.uri, sha256('public key')) s
     WHERE r.uri IS NOT NULL
$$;
COMMENT ON FUNCTION dataprotect.digest_kms_public_pem() IS 'public key (PEM) of the KMS root that signs digests of the audit log, asked of its KMS; null where none does';

CREATE VIEW dataprotect.audit_lines WITH (security_barrier) AS
    SELECT r.seq, r.at, dataprotect._audit_line(r, i.uid) AS line
    FROM dataprotect.audit_record r, dataprotect.instance i;
COMMENT ON VIEW dataprotect.audit_lines IS 'records of the audit log as they leave the host: what digests are of';

CREATE VIEW dataprotect.audit_digests AS
    SELECT d.id, d.made_at AS at, d.seq_from, d.seq_to, d.records, d.document, d.signature, d.kms_uri, dataprotect._digest_line(d) AS line
    FROM dataprotect.audit_digest d;
COMMENT ON VIEW dataprotect.audit_digests IS 'signed digests of the audit log; line is what leaves the host';

CREATE VIEW dataprotect.alerts AS
    SELECT a.id, a.at, a.event, a.severity, a.session_role, a.key, a.acknowledged_at, a.acknowledged_by, a.note
    FROM dataprotect.alert a;
COMMENT ON VIEW dataprotect.alerts IS 'what somebody was told of at once; id is the number of its record in audit_log';

CREATE VIEW dataprotect.sinks AS
    SELECT s.name, s.uri, s.options,
        CASE WHEN t.failures >= 3 THEN 'failing'
             WHEN t.failures > 0 THEN 'retrying'
             ELSE 'ok' END AS state,
        coalesce(t.cursor, 0) AS cursor,
        greatest((SELECT h.seq FROM dataprotect.audit_head h) - coalesce(t.cursor, 0), 0) AS lag_records,
        now() - (SELECT min(r.at) FROM dataprotect.audit_record r WHERE r.seq = t.cursor + 1) AS lag,
        t.last_success, t.last_failure, t.last_error, t.failures,
        CASE WHEN t.failures > 0 THEN t.retry_at END AS retry_at,
        s.created_by, s.created_at
    FROM dataprotect.sink s LEFT JOIN dataprotect.sink_state t ON t.name = s.name;
COMMENT ON VIEW dataprotect.sinks IS 'where the audit log is sent, how far each sink is and how it goes';

CREATE FUNCTION dataprotect._check_sink_options(kind text, options jsonb) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_known text[] := CASE kind
        WHEN 'splunk' THEN '{token_file,index,sourcetype,acknowledgement,ack_timeout,client_cert}'::text[]
        WHEN 'webhook' THEN '{secret_file,client_cert}'
        WHEN 's3' THEN '{kms_key_id}'
        WHEN 'syslog' THEN '{format,client_cert}'
        ELSE '{rotate_kb}' END || '{batch_size,select,start}'::text[];
    o record;
    v_good bool;
BEGIN
    IF jsonb_typeof(options) <> 'object' THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'options of a sink are a JSON object');
    END IF;
    FOR o IN SELECT * FROM jsonb_each_text(options) LOOP
        IF o.key <> ALL (v_known) THEN
            PERFORM dataprotect._raise('invalid_parameter_value',
                format('unrecognized option "%s" of a sink', left(o.key, 63)),
                format('A sink of kind "%s" has the options %s.', kind, array_to_string(v_known, ', ')));
        END IF;
        v_good := CASE o.key
            WHEN 'token_file' THEN o.value ~ '\A[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\Z'
            WHEN 'client_cert' THEN o.value ~ '\A[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\Z'
            WHEN 'secret_file' THEN o.value ~ '\A[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\Z'
            WHEN 'index' THEN o.value ~ '\A[a-z0-9_][a-z0-9_-]{0,79}\Z'
            WHEN 'sourcetype' THEN o.value ~ '\A[A-Za-z0-9:._-]{1,80}\Z'
            WHEN 'acknowledgement' THEN o.value IN ('true', 'false')
            WHEN 'ack_timeout' THEN o.value ~ '\A[1-9][0-9]{0,3}\Z'
            WHEN 'kms_key_id' THEN o.value ~ '\A[A-Za-z0-9:/_-]{1,200}\Z'
            WHEN 'format' THEN o.value IN ('json', 'cef')
            WHEN 'rotate_kb' THEN o.value ~ '\A[1-9][0-9]{0,6}\Z'
            WHEN 'batch_size' THEN o.value ~ '\A([1-9][0-9]{0,3}|10000)\Z'
            WHEN 'select' THEN o.value IN ('all', 'alerts')
            WHEN 'start' THEN o.value IN ('first', 'now')
        END;
        IF v_good IS NOT TRUE THEN
            PERFORM dataprotect._raise('invalid_parameter_value',
                format('invalid value of option "%s" of a sink', o.key),
                NULL,
                'doc/reference.md lists the options. Files are named without a directory: they lie in dataprotect.sink_secret_directory.');
        END IF;
    END LOOP;
    IF kind = 'splunk' AND options ->> 'token_file' IS NULL THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'a Splunk sink needs option "token_file"');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_sink_options(text, jsonb) IS 'raises an error where a kind of sink has no such options';

CREATE FUNCTION dataprotect.create_sink(name text, uri text, options jsonb DEFAULT '{}') RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_now bool := coalesce(create_sink.options, '{}') ->> 'start' = 'now';
BEGIN
    IF create_sink.name IS NULL OR create_sink.uri IS NULL OR create_sink.options IS NULL THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'a sink needs a name, a URI and options');
    END IF;
    IF create_sink.name !~ '\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}\Z' THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('invalid name "%s" of a sink', left(create_sink.name, 63)),
            NULL,
            'A name has 1 to 63 letters, digits, "_", "." and "-".');
    END IF;
    PERFORM dataprotect._check_sink_options(dataprotect._sink_check(create_sink.uri), create_sink.options);
    IF EXISTS (SELECT FROM dataprotect.sink s WHERE s.name = create_sink.name) THEN
        PERFORM dataprotect._raise('duplicate_object', format('sink "%s" already exists', create_sink.name));
    END IF;
    PERFORM dataprotect._event('sink.created', NULL, jsonb_build_object(
        'sink', create_sink.name, 'uri', create_sink.uri, 'options', create_sink.options));
    INSERT INTO dataprotect.sink (name, uri, options, created_by)
        VALUES (create_sink.name, create_sink.uri, create_sink.options, session_user);
    PERFORM dataprotect._sink_begin(create_sink.name,
        CASE WHEN v_now THEN coalesce((SELECT h.seq FROM dataprotect.audit_head h), 0) ELSE 0 END,
        CASE WHEN v_now THEN coalesce((SELECT max(d.id) FROM dataprotect.audit_digest d), 0) ELSE 0 END);
END $$;
COMMENT ON FUNCTION dataprotect.create_sink(text, text, jsonb) IS
    'sends the audit log to a place besides its table, from now on or from its first record';

CREATE FUNCTION dataprotect.drop_sink(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_uri text;
BEGIN
    PERFORM dataprotect._need_approval('drop_sink', jsonb_build_object('name', drop_sink.name));
    -- state first: the worker's save waits for us, and then finds nothing
    DELETE FROM dataprotect.sink_state t WHERE t.name = drop_sink.name;
    DELETE FROM dataprotect.sink s WHERE s.name = drop_sink.name RETURNING s.uri INTO v_uri;
    IF v_uri IS NULL THEN
        PERFORM dataprotect._raise('undefined_object',
            format('sink "%s" does not exist', left(drop_sink.name, 63)),
            NULL,
            'View dataprotect.sinks lists the sinks.');
    END IF;
    PERFORM dataprotect._event('sink.dropped', NULL, jsonb_build_object('sink', drop_sink.name, 'uri', v_uri));
END $$;
COMMENT ON FUNCTION dataprotect.drop_sink(text) IS 'sends the audit log to a place no more';

CREATE FUNCTION dataprotect.acknowledge_alert(id bigint, note text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_event text;
BEGIN
    PERFORM dataprotect._check_reason(acknowledge_alert.note);
    UPDATE dataprotect.alert a
       SET acknowledged_at = now(), acknowledged_by = session_user, note = acknowledge_alert.note
     WHERE a.id = acknowledge_alert.id AND a.acknowledged_at IS NULL
    RETURNING a.event INTO v_event;
    IF v_event IS NULL THEN
        PERFORM dataprotect._raise('undefined_object',
            format('there is no open alert %s', coalesce(acknowledge_alert.id::text, 'NULL')),
            NULL,
            'View dataprotect.alerts lists them; each is acknowledged once.');
    END IF;
    PERFORM dataprotect._event('alert.acknowledged', NULL, jsonb_build_object(
        'alert', acknowledge_alert.id, 'event', v_event, 'note', left(acknowledge_alert.note, 500)));
END $$;
COMMENT ON FUNCTION dataprotect.acknowledge_alert(bigint, text) IS 'notes who has looked at an alert, and what came of it';
