--
-- Keys: epochs (wrapped by a KMS), named keys, their versions, subjects' keys.
-- C code reads these tables by attribute number: append columns only.
--

CREATE TABLE dataprotect.instance (
    uid uuid NOT NULL DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    lockdown_since timestamptz,
    lockdown_reason text,
    single bool NOT NULL DEFAULT true UNIQUE CHECK (single)
);
COMMENT ON TABLE dataprotect.instance IS 'identity of this database towards its KMS, and the lockdown switch; one row';
INSERT INTO dataprotect.instance DEFAULT VALUES;

-- A restored dump brings the identity that its keys are wrapped for.  It takes
-- the place of the one that CREATE EXTENSION made, as long as no key exists.
CREATE FUNCTION dataprotect._restore_instance() RETURNS trigger
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM dataprotect.instance) THEN
        RETURN NEW;
    END IF;
    IF current_setting('dataprotect.input') <> 'ciphertext' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'this database has its identity already',
            HINT = 'To restore a dump, set "dataprotect.input" to "ciphertext".';
    END IF;
    UPDATE dataprotect.instance i SET uid = NEW.uid, created_at = NEW.created_at, lockdown_since = NEW.lockdown_since,
            lockdown_reason = NEW.lockdown_reason
        WHERE i.uid = NEW.uid OR NOT EXISTS (SELECT FROM dataprotect.key_version);
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = 'these keys belong to another database',
            DETAIL = 'Keys are wrapped for one database, and this one has keys of its own already.',
            HINT = 'Restore into a database that has no keys.';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._restore_instance() IS 'row trigger: lets a restored dump replace the identity of a database without keys';
REVOKE ALL ON FUNCTION dataprotect._restore_instance() FROM PUBLIC;

CREATE TRIGGER restore_instance BEFORE INSERT ON dataprotect.instance
    FOR EACH ROW EXECUTE FUNCTION dataprotect._restore_instance();
ALTER TABLE dataprotect.instance ENABLE ALWAYS TRIGGER restore_instance;

CREATE TABLE dataprotect.epoch (
    key_id int8 PRIMARY KEY,
    epoch int4 NOT NULL UNIQUE,
    kms_uri text[] NOT NULL,
    wrapped bytea[] NOT NULL,
    state "char" NOT NULL DEFAULT 'a',
    created_at timestamptz NOT NULL DEFAULT now(),
    destroyed_at timestamptz,
    CHECK (cardinality(kms_uri) = cardinality(wrapped))
);
COMMENT ON TABLE dataprotect.epoch IS 'epoch keys: each wraps key versions and is itself wrapped under every URI of kms_uri, in that order';

CREATE TABLE dataprotect.key (
    family int4 PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name name NOT NULL UNIQUE,
    state "char" NOT NULL DEFAULT 'a' CHECK (state IN ('a', 's', 'd')),
    current_key_id int8 NOT NULL DEFAULT 0,
    mask text NOT NULL DEFAULT 'full',
    current_version int4 NOT NULL DEFAULT 0,
    epoch int8 NOT NULL,
    kms_uri text[] NOT NULL,
    rotation_period interval,
    keep interval,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    state_since timestamptz NOT NULL DEFAULT now(),
    reason text
);
COMMENT ON TABLE dataprotect.key IS 'named keys: the unit of grants, masks and states';

CREATE TABLE dataprotect.key_version (
    key_id int8 PRIMARY KEY,
    family int4 NOT NULL,
    purpose int2 NOT NULL,
    version int4 NOT NULL,
    epoch int8 NOT NULL,
    state "char" NOT NULL DEFAULT 'a' CHECK (state IN ('a', 'r', 's', 'd', 'p')),
    wrapped bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    state_since timestamptz NOT NULL DEFAULT now(),
    reason text,
    seals int8 NOT NULL DEFAULT 0,
    CHECK ((state = 'd') = (wrapped IS NULL))
);
CREATE INDEX key_version_family_idx ON dataprotect.key_version (family, purpose, version);
COMMENT ON TABLE dataprotect.key_version IS 'every key below an epoch, wrapped: versions of named keys, subjects'' keys, the system''s own (family 0)';

CREATE TABLE dataprotect.subject_key (
    family int4 NOT NULL,
    account_type text NOT NULL,
    subject text NOT NULL,
    key_id int8 NOT NULL UNIQUE,
    claimed_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (family, account_type, subject)
);
COMMENT ON TABLE dataprotect.subject_key IS 'which key was claimed for which account under which named key';

CREATE TABLE dataprotect.tombstone (
    account_type text NOT NULL,
    subject text NOT NULL,
    destroyed_at timestamptz NOT NULL DEFAULT now(),
    reason text,
    PRIMARY KEY (account_type, subject)
);
COMMENT ON TABLE dataprotect.tombstone IS 'accounts whose keys were destroyed: no key is ever minted or imported for them again';

SELECT pg_catalog.pg_extension_config_dump('dataprotect.instance', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.epoch', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.key', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.key_family_seq', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.key_version', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.subject_key', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.tombstone', '');

-- Effects of any change reach every backend after commit.
CREATE FUNCTION dataprotect._keys_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_keys_changed';
COMMENT ON FUNCTION dataprotect._keys_changed() IS 'statement trigger: makes every backend forget its keys after commit';
REVOKE ALL ON FUNCTION dataprotect._keys_changed() FROM PUBLIC;

CREATE TRIGGER keys_changed AFTER UPDATE OR DELETE OR TRUNCATE ON dataprotect.instance
    FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._keys_changed();
CREATE TRIGGER keys_changed AFTER UPDATE OR DELETE OR TRUNCATE ON dataprotect.epoch
    FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._keys_changed();
CREATE TRIGGER keys_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON dataprotect.key
    FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._keys_changed();
CREATE TRIGGER keys_changed AFTER UPDATE OF key_id, family, purpose, version, epoch, state, wrapped OR DELETE OR TRUNCATE
    ON dataprotect.key_version FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._keys_changed();
CREATE TRIGGER keys_changed AFTER UPDATE OR DELETE OR TRUNCATE ON dataprotect.subject_key
    FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._keys_changed();
ALTER TABLE dataprotect.instance ENABLE ALWAYS TRIGGER keys_changed;
ALTER TABLE dataprotect.epoch ENABLE ALWAYS TRIGGER keys_changed;
ALTER TABLE dataprotect.key ENABLE ALWAYS TRIGGER keys_changed;
ALTER TABLE dataprotect.key_version ENABLE ALWAYS TRIGGER keys_changed;
ALTER TABLE dataprotect.subject_key ENABLE ALWAYS TRIGGER keys_changed;

--
-- Primitives in C.  They return wrapped keys only.
--
CREATE FUNCTION dataprotect._autonomous(statement text) RETURNS text
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_autonomous_sql';
COMMENT ON FUNCTION dataprotect._autonomous(text) IS 'runs a statement in a transaction of its own, committed on return';
REVOKE ALL ON FUNCTION dataprotect._autonomous(text) FROM PUBLIC;

CREATE FUNCTION dataprotect._check_kms_uri(uri text) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_check_uri_sql';
COMMENT ON FUNCTION dataprotect._check_kms_uri(text) IS 'raises an error unless the URI is well formed and allowed by dataprotect.kms_allowed';
REVOKE ALL ON FUNCTION dataprotect._check_kms_uri(text) FROM PUBLIC;

CREATE FUNCTION dataprotect._epoch_create(kms_uri text[], epoch int4, OUT key_id int8, OUT wrapped bytea[])
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_epoch_create_sql';
COMMENT ON FUNCTION dataprotect._epoch_create(text[], int4) IS 'lets the key agent make an epoch key; returns its id and its wrapped form under each URI';
REVOKE ALL ON FUNCTION dataprotect._epoch_create(text[], int4) FROM PUBLIC;

CREATE FUNCTION dataprotect._epoch_probe(epoch int8, ordinal int4) RETURNS text
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_epoch_probe_sql';
COMMENT ON FUNCTION dataprotect._epoch_probe(int8, int4) IS 'opens an epoch key by one of its URIs (1-based); an empty text, or what went wrong';
REVOKE ALL ON FUNCTION dataprotect._epoch_probe(int8, int4) FROM PUBLIC;

CREATE FUNCTION dataprotect._wrap_new(epoch int8, purpose int2, version int4, OUT key_id int8, OUT wrapped bytea)
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_wrap_new_sql';
COMMENT ON FUNCTION dataprotect._wrap_new(int8, int2, int4) IS 'makes a random key, wrapped under an epoch key';
REVOKE ALL ON FUNCTION dataprotect._wrap_new(int8, int2, int4) FROM PUBLIC;

CREATE FUNCTION dataprotect._rewrap(key_id int8, wrapped bytea, purpose int2, version int4, from_epoch int8, to_epoch int8) RETURNS bytea
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_rewrap_sql';
COMMENT ON FUNCTION dataprotect._rewrap(int8, bytea, int2, int4, int8, int8) IS 'wraps a key under another epoch key, its id checked';
REVOKE ALL ON FUNCTION dataprotect._rewrap(int8, bytea, int2, int4, int8, int8) FROM PUBLIC;

--
-- Minting: always called through _autonomous(), so that a key is committed
-- before the first envelope under it exists.
--
CREATE FUNCTION dataprotect._mint_epoch(uris text[]) RETURNS int8
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_epoch int8;
    v_number int4;
    v_wrapped bytea[];
BEGIN
    LOCK TABLE dataprotect.epoch IN SHARE ROW EXCLUSIVE MODE;
    SELECT e.key_id INTO v_epoch FROM dataprotect.epoch e
        WHERE e.kms_uri = uris AND e.state = 'a' ORDER BY e.epoch DESC LIMIT 1;
    IF v_epoch IS NULL THEN
        SELECT coalesce(max(e.epoch), 0) + 1 INTO v_number FROM dataprotect.epoch e;
        SELECT c.key_id, c.wrapped INTO v_epoch, v_wrapped FROM dataprotect._epoch_create(uris, v_number) c;
        INSERT INTO dataprotect.epoch (key_id, epoch, kms_uri, wrapped) VALUES (v_epoch, v_number, uris, v_wrapped);
    END IF;
    RETURN v_epoch;
END $$;
COMMENT ON FUNCTION dataprotect._mint_epoch(text[]) IS 'id of the open epoch key under these URIs, made where there is none';
REVOKE ALL ON FUNCTION dataprotect._mint_epoch(text[]) FROM PUBLIC;

-- The system's own keys lie under the first epoch that a create_key() opens.
CREATE FUNCTION dataprotect._mint_system(uris text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    LOCK TABLE dataprotect.key_version IN SHARE ROW EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM dataprotect.key_version WHERE family = 0) THEN
        INSERT INTO dataprotect.key_version (key_id, family, purpose, version, epoch, wrapped)
            SELECT w.key_id, 0, p.purpose, 1, e.key_id, w.wrapped
            FROM (SELECT dataprotect._mint_epoch(uris)) e(key_id),
                 generate_series(4, 8) n,
                 LATERAL (SELECT n::int2) p(purpose),
                 LATERAL dataprotect._wrap_new(e.key_id, p.purpose, 1) w;
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._mint_system(text[]) IS 'makes the keys for literals, search, audit and policy where there are none';
REVOKE ALL ON FUNCTION dataprotect._mint_system(text[]) FROM PUBLIC;

CREATE FUNCTION dataprotect._mint_key(key_name name, uris text[], rotation_period interval, mask text, description text) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_epoch int8;
    v_family int4;
BEGIN
    v_epoch := dataprotect._mint_epoch(uris);
    INSERT INTO dataprotect.key (name, mask, epoch, kms_uri, rotation_period, description)
        VALUES (key_name, mask, v_epoch, uris, rotation_period, description) RETURNING family INTO v_family;
    PERFORM dataprotect._mint_version(v_family);
END $$;
COMMENT ON FUNCTION dataprotect._mint_key(name, text[], interval, text, text) IS 'makes a named key and its first version';
REVOKE ALL ON FUNCTION dataprotect._mint_key(name, text[], interval, text, text) FROM PUBLIC;

CREATE FUNCTION dataprotect._mint_version(key_family int4) RETURNS int4
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k dataprotect.key;
    v_key_id int8;
BEGIN
    SELECT * INTO STRICT k FROM dataprotect.key WHERE family = key_family FOR UPDATE;
    INSERT INTO dataprotect.key_version (key_id, family, purpose, version, epoch, wrapped)
        SELECT w.key_id, k.family, 2, k.current_version + 1, k.epoch, w.wrapped
        FROM dataprotect._wrap_new(k.epoch, 2::int2, k.current_version + 1) w
        RETURNING key_id INTO v_key_id;
    UPDATE dataprotect.key_version SET state = 'r', state_since = now()
        WHERE family = k.family AND purpose = 2 AND state = 'a' AND key_id <> v_key_id;
    UPDATE dataprotect.key SET current_key_id = v_key_id, current_version = k.current_version + 1
        WHERE family = k.family;
    RETURN k.current_version + 1;
END $$;
COMMENT ON FUNCTION dataprotect._mint_version(int4) IS 'makes the next version of a named key and lets it seal from now on';
REVOKE ALL ON FUNCTION dataprotect._mint_version(int4) FROM PUBLIC;

-- Counts seals ahead of use; a version that is used up gets a successor.
CREATE FUNCTION dataprotect._reserve_seals(version_key_id int8, n int4) RETURNS text
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4;
BEGIN
    UPDATE dataprotect.key_version SET seals = seals + n
        WHERE key_id = version_key_id AND seals + n <= (1 << 28);
    IF FOUND THEN
        RETURN 'reserved';
    END IF;
    SELECT k.family INTO v_family FROM dataprotect.key k WHERE k.current_key_id = version_key_id FOR UPDATE;
    IF FOUND THEN
        PERFORM dataprotect._mint_version(v_family);
    END IF;
    RETURN 'rotated';
END $$;
COMMENT ON FUNCTION dataprotect._reserve_seals(int8, int4) IS 'counts seals of a key version ahead of use; "rotated" where it is used up and has a successor';
REVOKE ALL ON FUNCTION dataprotect._reserve_seals(int8, int4) FROM PUBLIC;

CREATE FUNCTION dataprotect._rotate_due() RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
    v_rotated int := 0;
BEGIN
    FOR r IN
        SELECT k.family, k.name FROM dataprotect.key k JOIN dataprotect.key_version v ON v.key_id = k.current_key_id
        WHERE k.state = 'a' AND v.created_at + k.rotation_period <= now()
        ORDER BY k.family FOR UPDATE OF k SKIP LOCKED
    LOOP
        PERFORM dataprotect._mint_version(r.family);
        PERFORM dataprotect._event('key.rotated', r.name, jsonb_build_object('by', 'rotation period'));
        v_rotated := v_rotated + 1;
    END LOOP;
    RETURN v_rotated;
END $$;
COMMENT ON FUNCTION dataprotect._rotate_due() IS 'gives a new version to every key whose rotation period is over; how many';
REVOKE ALL ON FUNCTION dataprotect._rotate_due() FROM PUBLIC;

-- Returns the new ids as text: the caller puts them into the shared pool.  The
-- reference to g makes the executor call _wrap_new for each row, not once.
CREATE FUNCTION dataprotect._mint_spares(key_family int4, n int4) RETURNS text
    LANGUAGE sql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
    WITH minted AS (
        INSERT INTO dataprotect.key_version (key_id, family, purpose, version, epoch, state, wrapped)
        SELECT w.key_id, k.family, 3, 1, k.epoch, 'p', w.wrapped
        FROM dataprotect.key k, generate_series(1, n) g, LATERAL dataprotect._wrap_new(k.epoch, 3::int2, 1 + 0 * g) w
        WHERE k.family = key_family AND k.state = 'a'
        RETURNING key_id)
    SELECT string_agg(key_id::text, ',') FROM minted
$$;
COMMENT ON FUNCTION dataprotect._mint_spares(int4, int4) IS 'makes subject keys ahead of need; their ids, comma-separated';
REVOKE ALL ON FUNCTION dataprotect._mint_spares(int4, int4) FROM PUBLIC;

--
-- Administration
--
CREATE FUNCTION dataprotect._family_of(key_name text) RETURNS int4
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4;
BEGIN
    SELECT k.family INTO v_family FROM dataprotect.key k WHERE k.name = key_name;
    IF v_family IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'undefined_object',
            MESSAGE = format('key "%s" does not exist', key_name),
            HINT = 'Create it with dataprotect.create_key().';
    END IF;
    RETURN v_family;
END $$;
COMMENT ON FUNCTION dataprotect._family_of(text) IS 'number of the named key, or an error';
REVOKE ALL ON FUNCTION dataprotect._family_of(text) FROM PUBLIC;

CREATE FUNCTION dataprotect._resolve_uris(kms_uri text[]) RETURNS text[]
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_uri text;
BEGIN
    IF kms_uri IS NULL THEN
        IF current_setting('dataprotect.default_kms_uri') = '' THEN
            RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
                MESSAGE = 'no KMS URI is given and none is set',
                HINT = 'Pass kms_uri, or set "dataprotect.default_kms_uri".';
        END IF;
        kms_uri := ARRAY[current_setting('dataprotect.default_kms_uri')];
    END IF;
    IF cardinality(kms_uri) NOT BETWEEN 1 AND 4 OR array_position(kms_uri, NULL) IS NOT NULL
       OR (SELECT count(DISTINCT u) FROM unnest(kms_uri) u) <> cardinality(kms_uri) THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'a key needs one to four different KMS URIs';
    END IF;
    FOREACH v_uri IN ARRAY kms_uri LOOP
        PERFORM dataprotect._check_kms_uri(v_uri);
    END LOOP;
    RETURN kms_uri;
END $$;
COMMENT ON FUNCTION dataprotect._resolve_uris(text[]) IS 'the URIs of a new key, the default where none is given, each checked';
REVOKE ALL ON FUNCTION dataprotect._resolve_uris(text[]) FROM PUBLIC;

CREATE FUNCTION dataprotect.create_key(name text, kms_uri text[] DEFAULT NULL, rotation_period interval DEFAULT '1 year',
                                       keep interval DEFAULT NULL, mask text DEFAULT 'full', description text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF create_key.name IS NULL OR create_key.name !~ '^[[:alpha:]_][[:alnum:]_.-]*$' OR octet_length(create_key.name) > 63 THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_name',
            MESSAGE = 'invalid name of a key',
            DETAIL = 'A name begins with a letter, has letters, digits, "_", "." and "-", and at most 63 bytes.';
    END IF;
    IF create_key.keep IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = 'expiring keys are not supported yet',
            HINT = 'Leave "keep" out, and use a retention policy.';
    END IF;
    IF create_key.rotation_period <= interval '0' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'the rotation period of a key must be positive';
    END IF;
    IF EXISTS (SELECT FROM dataprotect.key k WHERE k.name = create_key.name) THEN
        RAISE EXCEPTION USING ERRCODE = 'duplicate_object',
            MESSAGE = format('key "%s" already exists', create_key.name);
    END IF;
    create_key.kms_uri := dataprotect._resolve_uris(create_key.kms_uri);
    create_key.mask := dataprotect._mask_canonical(coalesce(create_key.mask, 'full'));

    PERFORM dataprotect._autonomous(format('SELECT dataprotect._mint_system(%L)', create_key.kms_uri));
    PERFORM dataprotect._event('key.created', create_key.name,
        jsonb_build_object('kms_uri', create_key.kms_uri, 'mask', create_key.mask));
    PERFORM dataprotect._autonomous(format('SELECT dataprotect._mint_key(%L, %L, %L, %L, %L)',
        create_key.name, create_key.kms_uri, create_key.rotation_period, create_key.mask, create_key.description));
END $$;
COMMENT ON FUNCTION dataprotect.create_key(text, text[], interval, interval, text, text) IS
    'makes a named key under one to four KMS URIs; committed at once, whatever the transaction does';
REVOKE ALL ON FUNCTION dataprotect.create_key(text, text[], interval, interval, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect.create_key(text, text[], interval, interval, text, text) TO dataprotect_admin;

CREATE FUNCTION dataprotect.rotate_key(name text) RETURNS int
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4 := dataprotect._family_of(rotate_key.name);
BEGIN
    IF (SELECT k.state FROM dataprotect.key k WHERE k.family = v_family) <> 'a' THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('key "%s" is not active', rotate_key.name);
    END IF;
    PERFORM dataprotect._event('key.rotated', rotate_key.name, NULL);
    RETURN dataprotect._autonomous(format('SELECT dataprotect._mint_version(%s)', v_family))::int;
END $$;
COMMENT ON FUNCTION dataprotect.rotate_key(text) IS
    'makes a new version that seals from now on; older versions go on opening; the new version''s number';
REVOKE ALL ON FUNCTION dataprotect.rotate_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect.rotate_key(text) TO dataprotect_admin;

CREATE FUNCTION dataprotect._mint_rewrap(key_family int4, uris text[]) RETURNS int4
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_epoch int8 := dataprotect._mint_epoch(uris);
    v_rows int4;
BEGIN
    -- The system's keys go with the root that they are under.
    UPDATE dataprotect.key_version v
        SET wrapped = dataprotect._rewrap(v.key_id, v.wrapped, v.purpose, v.version, v.epoch, v_epoch), epoch = v_epoch
        WHERE v.family = 0 AND v.epoch <> v_epoch
          AND v.epoch = (SELECT k.epoch FROM dataprotect.key k WHERE k.family = key_family FOR UPDATE);
    UPDATE dataprotect.key_version v
        SET wrapped = dataprotect._rewrap(v.key_id, v.wrapped, v.purpose, v.version, v.epoch, v_epoch), epoch = v_epoch
        WHERE v.family = key_family AND v.wrapped IS NOT NULL AND v.epoch <> v_epoch;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    UPDATE dataprotect.key SET epoch = v_epoch, kms_uri = uris WHERE family = key_family;
    RETURN v_rows;
END $$;
COMMENT ON FUNCTION dataprotect._mint_rewrap(int4, text[]) IS 'wraps every version of a named key under the epoch of other URIs';
REVOKE ALL ON FUNCTION dataprotect._mint_rewrap(int4, text[]) FROM PUBLIC;

CREATE FUNCTION dataprotect.rewrap_key(name text, kms_uri text[]) RETURNS int
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4 := dataprotect._family_of(rewrap_key.name);
    v_uris text[] := dataprotect._resolve_uris(rewrap_key.kms_uri);
BEGIN
    PERFORM dataprotect._event('key.rewrapped', rewrap_key.name, jsonb_build_object('kms_uri', v_uris));
    RETURN dataprotect._autonomous(format('SELECT dataprotect._mint_rewrap(%s, %L)', v_family, v_uris))::int;
END $$;
COMMENT ON FUNCTION dataprotect.rewrap_key(text, text[]) IS
    'moves a named key to other KMS URIs without touching data; how many versions were wrapped anew';
REVOKE ALL ON FUNCTION dataprotect.rewrap_key(text, text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect.rewrap_key(text, text[]) TO dataprotect_admin;

CREATE FUNCTION dataprotect._set_key_state(key_name text, from_state "char", to_state "char", event text, why text) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4 := dataprotect._family_of(key_name);
BEGIN
    IF why IS NULL OR why = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a reason must be given';
    END IF;
    UPDATE dataprotect.key k SET state = to_state, state_since = now(), reason = why
        WHERE k.family = v_family AND k.state = from_state;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('key "%s" is not %s', key_name,
                CASE from_state WHEN 'a' THEN 'active' ELSE 'suspended' END);
    END IF;
    PERFORM dataprotect._event(event, key_name, jsonb_build_object('reason', why));
END $$;
COMMENT ON FUNCTION dataprotect._set_key_state(text, "char", "char", text, text) IS 'moves a named key from one state to another, with its event';
REVOKE ALL ON FUNCTION dataprotect._set_key_state(text, "char", "char", text, text) FROM PUBLIC;

CREATE FUNCTION dataprotect.suspend_key(name text, reason text) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._set_key_state(name, 'a', 's', 'key.suspended', reason)
$$;
COMMENT ON FUNCTION dataprotect.suspend_key(text, text) IS 'makes every value under the key unreadable, in every session, until it is resumed';
REVOKE ALL ON FUNCTION dataprotect.suspend_key(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect.suspend_key(text, text) TO dataprotect_admin;

CREATE FUNCTION dataprotect.resume_key(name text, reason text) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._set_key_state(name, 's', 'a', 'key.resumed', reason)
$$;
COMMENT ON FUNCTION dataprotect.resume_key(text, text) IS 'makes a suspended key usable again';
REVOKE ALL ON FUNCTION dataprotect.resume_key(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect.resume_key(text, text) TO dataprotect_admin;

CREATE FUNCTION dataprotect.destroy_key(name text, reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_family int4 := dataprotect._family_of(destroy_key.name);
BEGIN
    PERFORM dataprotect._set_key_state(destroy_key.name, 's', 'd', 'key.destroyed', destroy_key.reason);
    UPDATE dataprotect.key_version v SET state = 'd', wrapped = NULL, state_since = now(), reason = destroy_key.reason
        WHERE v.family = v_family AND v.state <> 'd';
END $$;
COMMENT ON FUNCTION dataprotect.destroy_key(text, text) IS
    'destroys every version of a suspended key, its subjects'' keys included: its values can never be opened again';
REVOKE ALL ON FUNCTION dataprotect.destroy_key(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect.destroy_key(text, text) TO dataprotect_admin;

CREATE FUNCTION dataprotect.lockdown(reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF lockdown.reason IS NULL OR lockdown.reason = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a reason must be given';
    END IF;
    PERFORM dataprotect._event('lockdown.started', NULL, jsonb_build_object('reason', lockdown.reason));
    UPDATE dataprotect.instance SET lockdown_since = coalesce(lockdown_since, now()), lockdown_reason = lockdown.reason;
END $$;
COMMENT ON FUNCTION dataprotect.lockdown(text) IS 'takes every privilege on every key away until lift_lockdown()';
REVOKE ALL ON FUNCTION dataprotect.lockdown(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect.lockdown(text) TO dataprotect_admin;

CREATE FUNCTION dataprotect.lift_lockdown(reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF lift_lockdown.reason IS NULL OR lift_lockdown.reason = '' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'a reason must be given';
    END IF;
    PERFORM dataprotect._event('lockdown.lifted', NULL, jsonb_build_object('reason', lift_lockdown.reason));
    UPDATE dataprotect.instance SET lockdown_since = NULL, lockdown_reason = NULL;
END $$;
COMMENT ON FUNCTION dataprotect.lift_lockdown(text) IS 'ends a lockdown';
REVOKE ALL ON FUNCTION dataprotect.lift_lockdown(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect.lift_lockdown(text) TO dataprotect_admin;

CREATE FUNCTION dataprotect.drill(OUT key name, OUT kms_uri text, OUT ok bool, OUT detail text) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    FOR drill.key, drill.kms_uri, drill.detail IN
        SELECT k.name, u.uri, dataprotect._epoch_probe(e.key_id, u.n::int4)
        FROM dataprotect.key k JOIN dataprotect.epoch e ON e.key_id = k.epoch,
             unnest(e.kms_uri) WITH ORDINALITY u(uri, n)
        WHERE k.state <> 'd' ORDER BY k.name, u.n
    LOOP
        drill.ok := drill.detail = '';
        drill.detail := nullif(drill.detail, '');
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect.drill() IS 'opens every key from each of its KMS URIs and says which could not be opened';
REVOKE ALL ON FUNCTION dataprotect.drill() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect.drill() TO dataprotect_admin;

--
-- Subjects' keys, for account deletion
--
CREATE FUNCTION dataprotect._subject_key_ids(account_type text, subject text) RETURNS int8[]
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(array_agg(s.key_id ORDER BY s.key_id), '{}') FROM dataprotect.subject_key s
    WHERE s.account_type = $1 AND s.subject = $2
$$;
COMMENT ON FUNCTION dataprotect._subject_key_ids(text, text) IS 'ids of the keys claimed for an account';
REVOKE ALL ON FUNCTION dataprotect._subject_key_ids(text, text) FROM PUBLIC;

CREATE FUNCTION dataprotect._subject_set_state(account_type text, subject text, from_states "char"[], to_state "char", why text, event text) RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_rows int;
BEGIN
    UPDATE dataprotect.key_version v
        SET state = to_state, state_since = now(), reason = why,
            wrapped = CASE WHEN to_state <> 'd' THEN v.wrapped END
        WHERE v.key_id = ANY (dataprotect._subject_key_ids($1, $2)) AND v.state = ANY (from_states);
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    PERFORM dataprotect._event(event, NULL,
        jsonb_build_object('account_type', $1, 'subject', $2, 'keys', v_rows, 'reason', why));
    RETURN v_rows;
END $$;
COMMENT ON FUNCTION dataprotect._subject_set_state(text, text, "char"[], "char", text, text) IS 'moves an account''s keys to another state; how many moved';
REVOKE ALL ON FUNCTION dataprotect._subject_set_state(text, text, "char"[], "char", text, text) FROM PUBLIC;

CREATE FUNCTION dataprotect._subject_suspend(account_type text, subject text, reason text) RETURNS int
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._subject_set_state($1, $2, '{a,p}', 's', $3, 'subject.suspended')
$$;
COMMENT ON FUNCTION dataprotect._subject_suspend(text, text, text) IS 'makes an account''s values unreadable until resumed; how many keys';
REVOKE ALL ON FUNCTION dataprotect._subject_suspend(text, text, text) FROM PUBLIC;

CREATE FUNCTION dataprotect._subject_resume(account_type text, subject text, reason text) RETURNS int
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._subject_set_state($1, $2, '{s}', 'a', $3, 'subject.resumed')
$$;
COMMENT ON FUNCTION dataprotect._subject_resume(text, text, text) IS 'makes a suspended account''s values readable again; how many keys';
REVOKE ALL ON FUNCTION dataprotect._subject_resume(text, text, text) FROM PUBLIC;

-- Waits for claims of the account's keys under way, and holds new ones back.
CREATE FUNCTION dataprotect._subject_lock(account_type text, subject text) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_subject_lock_sql';
COMMENT ON FUNCTION dataprotect._subject_lock(text, text) IS 'excludes claims of an account''s keys until the end of the transaction';
REVOKE ALL ON FUNCTION dataprotect._subject_lock(text, text) FROM PUBLIC;

CREATE FUNCTION dataprotect._subject_destroy(account_type text, subject text, reason text) RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM dataprotect._subject_lock($1, $2);
    INSERT INTO dataprotect.tombstone (account_type, subject, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;
    RETURN dataprotect._subject_set_state($1, $2, '{a,p,r,s}', 'd', $3, 'subject.destroyed');
END $$;
COMMENT ON FUNCTION dataprotect._subject_destroy(text, text, text) IS 'destroys an account''s keys and forbids minting for it again; how many keys';
REVOKE ALL ON FUNCTION dataprotect._subject_destroy(text, text, text) FROM PUBLIC;

--
-- Keys beside the backups: wrapped, so useless without the KMS
--
CREATE FUNCTION dataprotect.export_keys() RETURNS jsonb
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN jsonb_build_object(
        'format', 'dataprotect keys 1',
        'database_uid', (SELECT i.uid FROM dataprotect.instance i),
        'exported_at', now(),
        'epochs', (SELECT coalesce(jsonb_agg(to_jsonb(e) ORDER BY e.epoch), '[]') FROM dataprotect.epoch e WHERE e.state <> 'd'),
        'keys', (SELECT coalesce(jsonb_agg(to_jsonb(k) ORDER BY k.family), '[]') FROM dataprotect.key k),
        'versions', (SELECT coalesce(jsonb_agg(to_jsonb(v) ORDER BY v.key_id), '[]')
                     FROM dataprotect.key_version v WHERE v.wrapped IS NOT NULL),
        'subjects', (SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.key_id), '[]')
                     FROM dataprotect.subject_key s JOIN dataprotect.key_version v USING (key_id) WHERE v.wrapped IS NOT NULL),
        'tombstones', (SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM dataprotect.tombstone t));
END $$;
COMMENT ON FUNCTION dataprotect.export_keys() IS
    'every key that is not destroyed, wrapped under the KMS, as JSON to be kept beside the backups';
REVOKE ALL ON FUNCTION dataprotect.export_keys() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect.export_keys() TO dataprotect_admin;

-- What is there already stays; what was destroyed here or there stays destroyed.
CREATE FUNCTION dataprotect.import_keys(exported jsonb) RETURNS int
    LANGUAGE plpgsql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_rows int;
BEGIN
    IF exported ->> 'format' IS DISTINCT FROM 'dataprotect keys 1' THEN
        RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value',
            MESSAGE = 'this is no export of dataprotect keys';
    END IF;
    IF (exported ->> 'database_uid')::uuid <> (SELECT i.uid FROM dataprotect.instance i) THEN
        IF EXISTS (SELECT FROM dataprotect.key_version) THEN
            RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
                MESSAGE = 'these keys belong to another database',
                DETAIL = 'Keys are wrapped for one database, and this one has keys of its own already.',
                HINT = 'Import them into a database that has no keys.';
        END IF;
        UPDATE dataprotect.instance SET uid = (exported ->> 'database_uid')::uuid;
    END IF;
    PERFORM dataprotect._event('key.imported', NULL, jsonb_build_object('exported_at', exported ->> 'exported_at'));
    INSERT INTO dataprotect.tombstone
        SELECT t.* FROM jsonb_populate_recordset(NULL::dataprotect.tombstone, exported -> 'tombstones') t ON CONFLICT DO NOTHING;
    INSERT INTO dataprotect.epoch
        SELECT e.* FROM jsonb_populate_recordset(NULL::dataprotect.epoch, exported -> 'epochs') e ON CONFLICT DO NOTHING;
    INSERT INTO dataprotect.key OVERRIDING SYSTEM VALUE
        SELECT k.* FROM jsonb_populate_recordset(NULL::dataprotect.key, exported -> 'keys') k ON CONFLICT DO NOTHING;
    PERFORM setval(pg_get_serial_sequence('dataprotect.key', 'family'), greatest((SELECT max(family) FROM dataprotect.key), 1));
    INSERT INTO dataprotect.key_version
        SELECT v.* FROM jsonb_populate_recordset(NULL::dataprotect.key_version, exported -> 'versions') v
        WHERE NOT EXISTS (SELECT FROM jsonb_populate_recordset(NULL::dataprotect.subject_key, exported -> 'subjects') s
                          JOIN dataprotect.tombstone t ON t.account_type = s.account_type AND t.subject = s.subject
                          WHERE s.key_id = v.key_id)
        ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    INSERT INTO dataprotect.subject_key
        SELECT s.* FROM jsonb_populate_recordset(NULL::dataprotect.subject_key, exported -> 'subjects') s
        JOIN dataprotect.key_version v ON v.key_id = s.key_id ON CONFLICT DO NOTHING;
    RETURN v_rows;
END $$;
COMMENT ON FUNCTION dataprotect.import_keys(jsonb) IS
    'puts exported keys back; what exists stays, and no key of a tombstoned account comes back; how many keys came';
REVOKE ALL ON FUNCTION dataprotect.import_keys(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect.import_keys(jsonb) TO dataprotect_admin;

--
-- Views
--
CREATE VIEW dataprotect.keys AS
    SELECT k.name,
           CASE k.state WHEN 'a' THEN 'active' WHEN 's' THEN 'suspended' ELSE 'destroyed' END AS state,
           k.kms_uri, k.current_version, k.rotation_period, k.keep, k.mask, k.description, k.created_at, k.state_since, k.reason
    FROM dataprotect.key k;
COMMENT ON VIEW dataprotect.keys IS 'the named keys';
GRANT SELECT ON dataprotect.keys TO dataprotect_admin, dataprotect_auditor;

CREATE VIEW dataprotect.key_versions AS
    SELECT coalesce(k.name, 'system') AS name, v.version,
           CASE v.purpose WHEN 2 THEN 'data' WHEN 3 THEN 'subject' WHEN 4 THEN 'search' WHEN 5 THEN 'literal'
                WHEN 6 THEN 'audit seal' WHEN 7 THEN 'audit chain' WHEN 8 THEN 'policy' END AS purpose,
           CASE v.state WHEN 'a' THEN 'active' WHEN 'r' THEN 'retired' WHEN 's' THEN 'suspended'
                WHEN 'd' THEN 'destroyed' WHEN 'p' THEN CASE WHEN s.key_id IS NULL THEN 'spare' ELSE 'active' END END AS state,
           to_hex(v.key_id) AS key_id, e.epoch, e.kms_uri, s.account_type, s.subject, v.created_at, v.state_since, v.reason, v.seals
    FROM dataprotect.key_version v
         LEFT JOIN dataprotect.key k ON k.family = v.family
         LEFT JOIN dataprotect.epoch e ON e.key_id = v.epoch
         LEFT JOIN dataprotect.subject_key s ON s.key_id = v.key_id;
COMMENT ON VIEW dataprotect.key_versions IS 'every key below the epochs: versions, subjects'' keys, the system''s own';
GRANT SELECT ON dataprotect.key_versions TO dataprotect_admin, dataprotect_auditor;
