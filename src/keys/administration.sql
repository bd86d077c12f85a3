--
-- Administration
--
CREATE FUNCTION dataprotect._family_of(key_name text) RETURNS int4
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4;
BEGIN
    IF key_name IS NULL THEN
        PERFORM dataprotect._raise('null_value_not_allowed',
            'no key is named',
            NULL,
            'View dataprotect.keys lists the keys.');
    END IF;
    SELECT k.family INTO v_family FROM dataprotect.key k WHERE k.name::text = key_name;
    IF v_family IS NULL THEN
        PERFORM dataprotect._raise('undefined_object',
            format('key "%s" does not exist', left(key_name, 63)),
            NULL,
            'Create it with dataprotect.create_key(). View dataprotect.keys lists the keys.');
    END IF;
    RETURN v_family;
END $$;
COMMENT ON FUNCTION dataprotect._family_of(text) IS 'number of the named key, or an error';

CREATE FUNCTION dataprotect._check_reason(why text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF why IS NULL OR why !~ '[^[:space:]]' OR octet_length(why) > 1000 THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'a reason must be given',
            NULL,
            'Say in at most 1000 bytes why this is done; the audit log keeps it.');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_reason(text) IS 'raises an error unless a reason is given, and fits into an event';

CREATE FUNCTION dataprotect._resolve_uris(kms_uri text[]) RETURNS text[]
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_uri text;
BEGIN
    IF kms_uri IS NULL THEN
        IF current_setting('dataprotect.default_kms_uri') = '' THEN
            PERFORM dataprotect._raise('invalid_parameter_value',
                'no KMS URI is given and none is set',
                NULL,
                'Pass kms_uri, or set "dataprotect.default_kms_uri".');
        END IF;
        kms_uri := ARRAY[current_setting('dataprotect.default_kms_uri')];
    END IF;
    IF array_ndims(kms_uri) IS DISTINCT FROM 1 OR cardinality(kms_uri) > 4 OR array_position(kms_uri, NULL) IS NOT NULL
       OR (SELECT count(DISTINCT u) FROM unnest(kms_uri) u) <> cardinality(kms_uri) THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'a key needs one to four different KMS URIs',
            NULL,
            'Pass a plain array of URIs, as ARRAY[''aws-kms://alias/pii?region=eu-central-1''].');
    END IF;
    kms_uri := ARRAY(SELECT u FROM unnest(kms_uri) WITH ORDINALITY o(u, n) ORDER BY n);
    FOREACH v_uri IN ARRAY kms_uri LOOP
        PERFORM dataprotect._check_kms_uri(v_uri);
    END LOOP;
    RETURN kms_uri;
END $$;
COMMENT ON FUNCTION dataprotect._resolve_uris(text[]) IS 'the URIs of a new key, the default where none is given, each checked';

-- The name of a key that is to be: well formed, and nobody's yet.
CREATE FUNCTION dataprotect._check_key_name(key_name text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF key_name IS NULL OR key_name !~ '^[[:alpha:]_][[:alnum:]_.-]*$' OR octet_length(key_name) > 63 THEN
        PERFORM dataprotect._raise('invalid_name',
            'invalid name of a key',
            'A name begins with a letter, has letters, digits, "_", "." and "-", and at most 63 bytes.',
            'Choose another name.');
    END IF;
    IF EXISTS (SELECT FROM dataprotect.key k WHERE k.name = key_name) THEN
        PERFORM dataprotect._raise('duplicate_object',
            format('key "%s" already exists', key_name),
            NULL,
            'Choose another name, or use the key that is there.');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_key_name(text) IS 'raises an error unless a key may get this name';

CREATE FUNCTION dataprotect._check_key_options(rotation_period interval, keep interval, description text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF keep NOT BETWEEN interval '1 day' AND interval '1000 years' THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'an expiring key must keep its values for a day or more, and at most a thousand years',
            'A clock may be off by a day before anybody notices.',
            'Pass another keep, or none.');
    END IF;
    IF rotation_period < interval '1 hour' THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'the rotation period of a key must be an hour or more',
            NULL,
            'Each period makes a version that is kept for good; NULL makes none.');
    END IF;
    IF octet_length(description) > 1000 THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'the description of a key is too long',
            NULL,
            'Use at most 1000 bytes.');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_key_options(interval, interval, text) IS 'raises an error unless a key may have these options';

-- The policy key is one of them: what was decided without it is sealed now.
CREATE FUNCTION dataprotect._need_system(kms_uri text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_first bool := NOT EXISTS (SELECT FROM dataprotect.key_version);
BEGIN
    PERFORM dataprotect._autonomous(format('SELECT dataprotect._mint_system(%L)', kms_uri));
    IF v_first THEN
        PERFORM dataprotect._autonomous('SELECT dataprotect._seal_first(false)');
        PERFORM dataprotect._seal_first(true);
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._need_system(text[]) IS 'makes the system''s own keys where there are none; committed at once';

-- Values of an expiring key live at least until "keep" after their period began: the
-- shorter the period, the less of it is lost, the more versions there are.
CREATE FUNCTION dataprotect._period_of(rotation_period interval, keep interval) RETURNS interval
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN keep IS NULL OR rotation_period <= keep / 2 THEN rotation_period
                ELSE greatest(keep / 12, interval '1 hour') END
$$;
COMMENT ON FUNCTION dataprotect._period_of(interval, interval) IS
    'how often a key gets a new version: of an expiring key a twelfth of what it keeps, where no period of at most half of that is given';

CREATE FUNCTION dataprotect.create_key(name text, kms_uri text[] DEFAULT NULL, rotation_period interval DEFAULT '1 year',
                                       keep interval DEFAULT NULL, mask text DEFAULT 'full', description text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM dataprotect._check_key_name(create_key.name);
    PERFORM dataprotect._check_key_options(create_key.rotation_period, create_key.keep, create_key.description);
    create_key.kms_uri := dataprotect._resolve_uris(create_key.kms_uri);
    create_key.mask := dataprotect._mask_canonical(coalesce(create_key.mask, 'full'));

    PERFORM dataprotect._need_system(create_key.kms_uri);
    PERFORM dataprotect._event('key.created', create_key.name,
        jsonb_strip_nulls(jsonb_build_object('kms_uri', create_key.kms_uri, 'mask', create_key.mask, 'keep', create_key.keep)));
    PERFORM dataprotect._autonomous(format('SELECT dataprotect._mint_key(%L, %L, %L, %L, %L, %L)',
        create_key.name, create_key.kms_uri, dataprotect._period_of(create_key.rotation_period, create_key.keep),
        create_key.mask, create_key.description, create_key.keep));
END $$;
COMMENT ON FUNCTION dataprotect.create_key(text, text[], interval, interval, text, text) IS
    'makes a named key under one to four KMS URIs; committed at once, whatever the transaction does; keep: what is sealed in a rotation period opens until so long after its beginning';

-- What is null stays as it is; an empty description goes, and so does a period of zero.
CREATE FUNCTION dataprotect.alter_key(name text, rotation_period interval DEFAULT NULL, keep interval DEFAULT NULL,
                                      mask text DEFAULT NULL, description text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_family int4 := dataprotect._family_of(alter_key.name);
    v_before dataprotect.key;
    v_after dataprotect.key;
BEGIN
    PERFORM dataprotect._check_key_options(nullif(alter_key.rotation_period, interval '0'), alter_key.keep, alter_key.description);
    alter_key.mask := dataprotect._mask_canonical(alter_key.mask);
    SELECT k.* INTO STRICT v_before FROM dataprotect.key k WHERE k.family = v_family FOR UPDATE;
    IF alter_key.mask <> v_before.mask AND alter_key.mask NOT IN ('full', 'null') THEN      -- those show nothing
        PERFORM dataprotect._need_approval('alter_key', jsonb_build_object('name', alter_key.name, 'mask', alter_key.mask));
    END IF;
    IF alter_key.keep IS NOT NULL AND v_before.keep IS NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('key "%s" does not expire', alter_key.name),
            'Its values are of all times: nothing says when each of them is to go.',
            'Make another key with "keep".');
    END IF;
    IF nullif(alter_key.rotation_period, interval '0') > coalesce(alter_key.keep, v_before.keep) / 2 THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'the rotation period of an expiring key must be at most half of what it keeps',
            'A value is kept from the beginning of its period on.',
            'Pass a shorter period, or a longer keep.');
    END IF;
    -- What is sealed keeps the time that it was sealed with.
    UPDATE dataprotect.key k
        SET rotation_period = dataprotect._period_of(nullif(coalesce(alter_key.rotation_period, k.rotation_period), interval '0'),
                                                     coalesce(alter_key.keep, k.keep)),
            keep = coalesce(alter_key.keep, k.keep),
            mask = coalesce(alter_key.mask, k.mask),
            description = nullif(coalesce(alter_key.description, k.description), '')
        WHERE k.family = v_family AND k.state <> 'd'
        RETURNING k.* INTO v_after;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('key "%s" is destroyed', alter_key.name),
            NULL,
            'View dataprotect.keys has the state of each key.');
    END IF;
    PERFORM dataprotect._event('key.altered', alter_key.name, jsonb_strip_nulls(jsonb_build_object(
        'rotation_period', CASE WHEN v_after.rotation_period IS DISTINCT FROM v_before.rotation_period
                                THEN jsonb_build_array(v_before.rotation_period, v_after.rotation_period) END,
        'keep', CASE WHEN v_after.keep <> v_before.keep THEN jsonb_build_array(v_before.keep, v_after.keep) END,
        'mask', CASE WHEN v_after.mask <> v_before.mask THEN jsonb_build_array(v_before.mask, v_after.mask) END,
        'described', nullif(v_after.description IS DISTINCT FROM v_before.description, false))));
END $$;
COMMENT ON FUNCTION dataprotect.alter_key(text, interval, interval, text, text) IS
    'changes what is not null of a named key: how often it rotates ("0": never), how long an expiring key keeps what is sealed from its next period on, its mask, its description';

CREATE FUNCTION dataprotect.rotate_key(name text) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4 := dataprotect._family_of(rotate_key.name);
BEGIN
    IF (SELECT k.state FROM dataprotect.key k WHERE k.family = v_family) <> 'a' THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('key "%s" is not active', rotate_key.name),
            NULL,
            'A suspended key is made active by dataprotect.resume_key(); a destroyed one never is.');
    END IF;
    PERFORM dataprotect._event('key.rotated', rotate_key.name, NULL);
    RETURN dataprotect._autonomous(format('SELECT dataprotect._mint_version(%s)', v_family))::int;
END $$;
COMMENT ON FUNCTION dataprotect.rotate_key(text) IS
    'makes a new version that seals from now on; older versions go on opening; the new version''s number';

-- All of them or none: policy and the log may refuse.  The head of the log is locked last, for
-- the shortest time, and after policy, as by who makes a sink.
CREATE FUNCTION dataprotect._mint_system_keys() RETURNS json
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_policy int4 := dataprotect._rotate_policy_key();
    v_literal int4 := dataprotect._mint_system_version(5::int2);
    v_audit_seal int4 := dataprotect._mint_system_version(6::int2);
BEGIN
    RETURN json_build_object('policy', v_policy, 'literal', v_literal, 'audit seal', v_audit_seal,
        'audit chain', dataprotect._rotate_chain_key());
END $$;
COMMENT ON FUNCTION dataprotect._mint_system_keys() IS 'makes the next of each of the system''s own keys that rotate; their versions';

-- Not among them: the search key, under which tokens and indexes are made.
CREATE FUNCTION dataprotect.rotate_system_keys(OUT key text, OUT version int) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
BEGIN
    IF NOT EXISTS (SELECT FROM dataprotect.key_version v WHERE v.family = 0) THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            'no key was created in this database yet',
            NULL,
            'The system''s own keys are made with the first named key.');
    END IF;
    PERFORM dataprotect._event('key.rotated', NULL, jsonb_build_object('system', jsonb_build_array('literal', 'audit seal', 'audit chain', 'policy')));
    FOR rotate_system_keys.key, rotate_system_keys.version IN
        SELECT p.name, p.version FROM json_each_text(dataprotect._autonomous('SELECT dataprotect._mint_system_keys()')::json) p (name, version)
    LOOP
        RETURN NEXT;
    END LOOP;
    -- Late bound: columns and trust belong to higher layers.  What somebody changes at the same moment
    -- is waited for, and then all of it is done again.
    FOR v_attempt IN 1 .. 10 LOOP
        BEGIN
            FOR r IN SELECT n.function, n.digest FROM dataprotect._renew_literals() n LOOP
                UPDATE dataprotect.trusted_function t SET digest = r.digest WHERE t.function = r.function AND dataprotect._sealed(t);
            END LOOP;
            EXIT;
        EXCEPTION WHEN internal_error THEN
            IF v_attempt = 10 OR SQLERRM NOT LIKE '%concurrently%' THEN
                RAISE;
            END IF;
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect.rotate_system_keys() IS
    'makes new keys for literals, under which definitions have theirs from then on, and for the fields of the audit log that can hold personal data; older ones of both go on opening; chains and signs the log under a new key from here on, which vouches for what is there; seals all policy under a new key; their versions';

CREATE FUNCTION dataprotect._mint_rewrap(key_family int4, uris text[]) RETURNS int4
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_epoch int8 := dataprotect._mint_epoch(uris);
    v_rows int4;
    v_from int8;
BEGIN
    -- Nothing is minted for the key meanwhile.
    SELECT k.epoch INTO STRICT v_from FROM dataprotect.key k WHERE k.family = key_family FOR UPDATE;
    -- The same roots: by their newest versions.
    IF v_from = v_epoch THEN
        UPDATE dataprotect.epoch e SET wrapped = dataprotect._epoch_rewrap(e.key_id) WHERE e.key_id = v_epoch;
        SELECT count(*) INTO v_rows FROM dataprotect.key_version v WHERE v.family = key_family AND v.epoch = v_epoch AND v.wrapped IS NOT NULL;
        RETURN v_rows;
    END IF;
    -- The system's keys go with the root that they are under.
    UPDATE dataprotect.key_version v
        SET wrapped = dataprotect._rewrap(v.key_id, v.wrapped, v.purpose, v.version, v.epoch, v_epoch), epoch = v_epoch
        WHERE v.family = 0 AND v.epoch <> v_epoch AND v.epoch = v_from;
    UPDATE dataprotect.key_version v
        SET wrapped = dataprotect._rewrap(v.key_id, v.wrapped, v.purpose, v.version, v.epoch, v_epoch), epoch = v_epoch
        WHERE v.family = key_family AND v.wrapped IS NOT NULL AND v.epoch <> v_epoch;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    UPDATE dataprotect.key SET epoch = v_epoch, kms_uri = uris WHERE family = key_family;
    RETURN v_rows;
END $$;
COMMENT ON FUNCTION dataprotect._mint_rewrap(int4, text[]) IS 'wraps every version of a named key under the epoch of other URIs, or the epoch itself anew where they are the same';

CREATE FUNCTION dataprotect.rewrap_key(name text, kms_uri text[]) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4 := dataprotect._family_of(rewrap_key.name);
    v_uris text[];
BEGIN
    IF rewrap_key.kms_uri IS NULL THEN
        PERFORM dataprotect._raise('null_value_not_allowed',
            'no KMS URI is given',
            NULL,
            'Name every URI that the key is to be wrapped under from now on.');
    END IF;
    IF (SELECT k.state FROM dataprotect.key k WHERE k.family = v_family) = 'd' THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('key "%s" is destroyed', rewrap_key.name),
            NULL,
            'There is nothing left of it to wrap.');
    END IF;
    v_uris := dataprotect._resolve_uris(rewrap_key.kms_uri);
    PERFORM dataprotect._event('key.rewrapped', rewrap_key.name, jsonb_build_object('kms_uri', v_uris));
    RETURN dataprotect._autonomous(format('SELECT dataprotect._mint_rewrap(%s, %L)', v_family, v_uris))::int;
END $$;
COMMENT ON FUNCTION dataprotect.rewrap_key(text, text[]) IS
    'moves a named key to other KMS URIs without touching data, or, to the same, under the newest versions of their roots; how many versions were wrapped anew';

CREATE FUNCTION dataprotect._set_key_state(key_name text, from_state "char", to_state "char", event text, why text) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4 := dataprotect._family_of(key_name);
BEGIN
    PERFORM dataprotect._check_reason(why);
    UPDATE dataprotect.key k SET state = to_state, state_since = now(), reason = why
        WHERE k.family = v_family AND k.state = from_state;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('key "%s" is not %s', key_name,
                CASE from_state WHEN 'a' THEN 'active' ELSE 'suspended' END),
            NULL,
            'View dataprotect.keys has the state of each key.');
    END IF;
    PERFORM dataprotect._event(event, key_name, jsonb_build_object('reason', why));
END $$;
COMMENT ON FUNCTION dataprotect._set_key_state(text, "char", "char", text, text) IS 'moves a named key from one state to another, with its event';

CREATE FUNCTION dataprotect.suspend_key(name text, reason text) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._set_key_state(name, 'a', 's', 'key.suspended', reason)
$$;
COMMENT ON FUNCTION dataprotect.suspend_key(text, text) IS 'makes every value under the key unreadable, in every session, until it is resumed';

CREATE FUNCTION dataprotect.resume_key(name text, reason text) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._set_key_state(name, 's', 'a', 'key.resumed', reason)
$$;
COMMENT ON FUNCTION dataprotect.resume_key(text, text) IS 'makes a suspended key usable again';

CREATE FUNCTION dataprotect.destroy_key(name text, reason text, force bool DEFAULT false) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4 := dataprotect._family_of(destroy_key.name);
BEGIN
    IF destroy_key.force THEN
        PERFORM dataprotect._need_approval('destroy_key', jsonb_build_object('name', destroy_key.name, 'force', true));
    END IF;
    PERFORM dataprotect._set_key_state(destroy_key.name, 's', 'd', 'key.destroyed', destroy_key.reason);
    IF destroy_key.force IS NOT TRUE THEN
        -- late bound: columns belong to a higher layer
        PERFORM dataprotect._refuse_values_under(destroy_key.name);
    END IF;
    UPDATE dataprotect.key_version v SET state = 'd', wrapped = NULL, state_since = now(), reason = destroy_key.reason
        WHERE v.family = v_family AND v.state <> 'd';
END $$;
COMMENT ON FUNCTION dataprotect.destroy_key(text, text, bool) IS
    'destroys every version of a suspended key, its subjects'' keys included: its values can never be opened again; refused while there are values, unless forced';

CREATE FUNCTION dataprotect.lockdown(reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM dataprotect._check_reason(lockdown.reason);
    PERFORM dataprotect._event('lockdown.started', NULL, jsonb_build_object('reason', lockdown.reason));
    UPDATE dataprotect.instance SET lockdown_since = coalesce(lockdown_since, now()), lockdown_reason = lockdown.reason;
END $$;
COMMENT ON FUNCTION dataprotect.lockdown(text) IS 'takes every privilege on every key away until lift_lockdown()';

CREATE FUNCTION dataprotect.lift_lockdown(reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM dataprotect._check_reason(lift_lockdown.reason);
    PERFORM dataprotect._need_approval('lift_lockdown', '{}');
    PERFORM dataprotect._event('lockdown.lifted', NULL, jsonb_build_object('reason', lift_lockdown.reason));
    UPDATE dataprotect.instance SET lockdown_since = NULL, lockdown_reason = NULL;
END $$;
COMMENT ON FUNCTION dataprotect.lift_lockdown(text) IS 'ends a lockdown';

CREATE FUNCTION dataprotect.drill(OUT key name, OUT kms_uri text, OUT ok bool, OUT detail text) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_results jsonb := '[]';
    v_opened int := 0;
    v_failed int := 0;
    v_epoch int8;
    v_epochs int8[] := '{}';
    v_uris text[] := '{}';
    v_oks bool[] := '{}';
BEGIN
    PERFORM dataprotect._progress_begin('drill', 0, (
        SELECT sum(cardinality(e.kms_uri) * u.keys)::int8
        FROM (SELECT v.epoch, count(DISTINCT v.family) AS keys FROM dataprotect.key_version v WHERE v.wrapped IS NOT NULL GROUP BY v.epoch) u
             JOIN dataprotect.epoch e ON e.key_id = u.epoch));
    FOR drill.key, drill.kms_uri, drill.ok, drill.detail, v_epoch IN
        SELECT used.name, u.uri, p.sqlstate IS NULL, p.detail, e.key_id
        FROM (SELECT DISTINCT coalesce(k.name, 'system') AS name, v.epoch
              FROM dataprotect.key_version v LEFT JOIN dataprotect.key k ON k.family = v.family
              WHERE v.wrapped IS NOT NULL) used
             JOIN dataprotect.epoch e ON e.key_id = used.epoch,
             unnest(e.kms_uri) WITH ORDINALITY u(uri, n),
             LATERAL dataprotect._epoch_probe(e.key_id, u.n::int4) p
        ORDER BY used.name, e.epoch, u.n
    LOOP
        v_opened := v_opened + drill.ok::int;
        v_failed := v_failed + (NOT drill.ok)::int;
        v_epochs := v_epochs || v_epoch;
        v_uris := v_uris || drill.kms_uri;
        v_oks := v_oks || drill.ok;
        IF length(v_results::text) < 2500 THEN  -- of what fits into a record
            v_results := v_results || jsonb_build_object('key', drill.key, 'kms_uri', drill.kms_uri, 'ok', drill.ok);
        END IF;
        RETURN NEXT;
    END LOOP;
    PERFORM dataprotect._progress_end();
    PERFORM dataprotect._event('keys.drilled', NULL,
        jsonb_build_object('opened', v_opened, 'failed', v_failed, 'results', v_results));
    IF current_setting('transaction_read_only') = 'off' THEN  -- a standby drills, and cannot note it
        INSERT INTO dataprotect.epoch_drill AS d (epoch, kms_uri, drilled_at, ok, succeeded_at)
            SELECT r.epoch, r.uri, n.now, bool_and(r.ok), CASE WHEN bool_and(r.ok) THEN n.now END
            FROM unnest(v_epochs, v_uris, v_oks) r (epoch, uri, ok),
                 dataprotect._now() n (now)  -- late bound: the clock belongs to a higher layer
            GROUP BY r.epoch, r.uri, n.now
            ORDER BY r.epoch, r.uri
        ON CONFLICT ON CONSTRAINT epoch_drill_pkey DO UPDATE SET drilled_at = excluded.drilled_at, ok = excluded.ok,
            succeeded_at = coalesce(excluded.succeeded_at, d.succeeded_at);
    END IF;
EXCEPTION WHEN OTHERS OR query_canceled THEN
    -- A drill that breaks off is on record with what it found.
    PERFORM dataprotect._event('keys.drilled', NULL,
        jsonb_build_object('opened', v_opened, 'failed', v_failed, 'results', v_results, 'broken_off', true));
    RAISE;
END $$;
COMMENT ON FUNCTION dataprotect.drill() IS 'opens, from each of its KMS URIs, every epoch key that a key (the system''s own included) is wrapped under';
