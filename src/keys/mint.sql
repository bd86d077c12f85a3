--
-- Primitives in C.  They return wrapped keys only.
--
CREATE FUNCTION dataprotect._autonomous(statement text) RETURNS text
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_autonomous_sql';
COMMENT ON FUNCTION dataprotect._autonomous(text) IS 'runs a statement in a transaction of its own, committed on return';

CREATE FUNCTION dataprotect._check_kms_uri(uri text) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_check_uri_sql';
COMMENT ON FUNCTION dataprotect._check_kms_uri(text) IS 'raises an error unless the URI is well formed and allowed by dataprotect.kms_allowed';

CREATE FUNCTION dataprotect._epoch_create(kms_uri text[], epoch int4, OUT key_id int8, OUT wrapped bytea[])
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_epoch_create_sql';
COMMENT ON FUNCTION dataprotect._epoch_create(text[], int4) IS 'lets the key agent make an epoch key; returns its id and its wrapped form under each URI';

CREATE FUNCTION dataprotect._epoch_probe(epoch int8, ordinal int4, OUT sqlstate text, OUT detail text)
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_epoch_probe_sql';
COMMENT ON FUNCTION dataprotect._epoch_probe(int8, int4) IS 'opens an epoch key by one of its URIs (1-based), and nothing else: what went wrong, or nulls';

CREATE FUNCTION dataprotect._epoch_rewrap(epoch int8) RETURNS bytea[]
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_epoch_rewrap_sql';
COMMENT ON FUNCTION dataprotect._epoch_rewrap(int8) IS 'an epoch key wrapped anew under each of its URIs, and shown to open';

CREATE FUNCTION dataprotect._wrap_new(epoch int8, purpose int2, version int4, OUT key_id int8, OUT wrapped bytea)
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_wrap_new_sql';
COMMENT ON FUNCTION dataprotect._wrap_new(int8, int2, int4) IS 'makes a random key, wrapped under an epoch key';

CREATE FUNCTION dataprotect._rewrap(key_id int8, wrapped bytea, purpose int2, version int4, from_epoch int8, to_epoch int8) RETURNS bytea
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_rewrap_sql';
COMMENT ON FUNCTION dataprotect._rewrap(int8, bytea, int2, int4, int8, int8) IS 'wraps a key under another epoch key, its id checked';

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

CREATE FUNCTION dataprotect._mint_key(key_name name, uris text[], rotation_period interval, mask text, description text, keep interval) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_epoch int8;
    v_family int4;
BEGIN
    v_epoch := dataprotect._mint_epoch(uris);
    INSERT INTO dataprotect.key (name, mask, epoch, kms_uri, rotation_period, description, keep)
        VALUES (key_name, mask, v_epoch, uris, rotation_period, description, keep) RETURNING family INTO v_family;
    PERFORM dataprotect._mint_version(v_family);
END $$;
COMMENT ON FUNCTION dataprotect._mint_key(name, text[], interval, text, text, interval) IS 'makes a named key and its first version';

CREATE FUNCTION dataprotect._mint_version(key_family int4) RETURNS int4
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k dataprotect.key;
    v_key_id int8;
    v_next int4;
BEGIN
    SELECT * INTO STRICT k FROM dataprotect.key WHERE family = key_family FOR UPDATE;
    -- Versions that came with an import do not seal; the next one is newer than all of them.
    SELECT 1 + greatest(k.current_version,
                        (SELECT max(v.version) FROM dataprotect.key_version v WHERE v.family = k.family AND v.purpose = 2),
                        (SELECT max(s.version) FROM dataprotect.subject_key s WHERE s.family = k.family)) INTO v_next;
    -- Of an expiring key, the version is a period that ends "keep" after it began, by
    -- the time that deadlines are computed from (late bound: of a higher layer).
    INSERT INTO dataprotect.key_version (key_id, family, purpose, version, epoch, wrapped, created_at, expires_at)
        SELECT w.key_id, k.family, 2, v_next, k.epoch, w.wrapped, b.began, (b.began AT TIME ZONE 'UTC' + k.keep) AT TIME ZONE 'UTC'
        FROM dataprotect._wrap_new(k.epoch, 2::int2, v_next) w,
             LATERAL (SELECT CASE WHEN k.keep IS NULL THEN now() ELSE dataprotect._now() END) b(began)
        RETURNING key_id INTO v_key_id;
    UPDATE dataprotect.key_version SET state = 'r', state_since = now()
        WHERE family = k.family AND purpose = 2 AND state = 'a' AND key_id <> v_key_id;
    UPDATE dataprotect.key SET current_key_id = v_key_id, current_version = v_next
        WHERE family = k.family;
    RETURN v_next;
END $$;
COMMENT ON FUNCTION dataprotect._mint_version(int4) IS 'makes the next version of a named key and lets it seal from now on';

-- The next of the system's keys of one purpose; the one before opens what it has sealed.
CREATE FUNCTION dataprotect._mint_system_version(of_purpose int2) RETURNS int4
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_old dataprotect.key_version;
BEGIN
    LOCK TABLE dataprotect.key_version IN SHARE ROW EXCLUSIVE MODE;
    SELECT * INTO STRICT v_old FROM dataprotect.key_version v WHERE v.family = 0 AND v.purpose = of_purpose AND v.state = 'a';
    INSERT INTO dataprotect.key_version (key_id, family, purpose, version, epoch, wrapped)
        SELECT w.key_id, 0, of_purpose, v_old.version + 1, v_old.epoch, w.wrapped
        FROM dataprotect._wrap_new(v_old.epoch, of_purpose, v_old.version + 1) w;
    UPDATE dataprotect.key_version SET state = 'r', state_since = now() WHERE key_id = v_old.key_id;
    RETURN v_old.version + 1;
END $$;
COMMENT ON FUNCTION dataprotect._mint_system_version(int2) IS 'makes the next key of the system''s own of one purpose and lets it seal from now on';

-- Counts seals ahead of use; a version that is used up is due for rotation.
CREATE FUNCTION dataprotect._reserve_seals(version_key_id int8, n int4) RETURNS text
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE dataprotect.key_version SET seals = seals + n
        WHERE key_id = version_key_id AND seals + n <= (1 << 28);
    IF FOUND THEN
        RETURN 'reserved';
    END IF;
    PERFORM dataprotect._rotate_due();
    RETURN 'rotated';
END $$;
COMMENT ON FUNCTION dataprotect._reserve_seals(int8, int4) IS 'counts seals of a key version ahead of use; "rotated" where it is used up and has a successor';

CREATE FUNCTION dataprotect._rotate_due() RETURNS int
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
    v_rotated int := 0;
BEGIN
    FOR r IN
        SELECT k.family, k.name, v.seals >= 3 * (1 << 26) AS used_up
        FROM dataprotect.key k JOIN dataprotect.key_version v ON v.key_id = k.current_key_id
        WHERE k.state = 'a' AND (v.created_at + k.rotation_period <= CASE WHEN k.keep IS NULL THEN now() ELSE dataprotect._now() END
                                 OR v.seals >= 3 * (1 << 26) OR v.expires_at <= dataprotect._now() OR v.state = 'd')
        ORDER BY k.family FOR UPDATE OF k SKIP LOCKED
    LOOP
        PERFORM dataprotect._mint_version(r.family);
        PERFORM dataprotect._event('key.rotated', r.name, jsonb_build_object('by',
            CASE WHEN r.used_up THEN 'number of seals' ELSE 'rotation period' END));
        v_rotated := v_rotated + 1;
    END LOOP;
    RETURN v_rotated;
END $$;
COMMENT ON FUNCTION dataprotect._rotate_due() IS 'gives a new version to every key whose rotation period is over or that sealed three quarters of what one may; how many';

-- Called where the pool is empty: a spare that is still listed was given to a
-- transaction that runs (and holds its row), that is prepared (likewise), or that
-- was rolled back.  The last are destroyed here, and with them what they sealed:
-- another account must not get a key that opens them.  Returns the new ids as
-- text: the caller puts them into the shared pool.  The reference to g makes the
-- executor call _wrap_new for each row, not once.
CREATE FUNCTION dataprotect._mint_spares(key_family int4, n int4) RETURNS text
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_orphans int8[];
    v_minted text;
BEGIN
    WITH orphan AS (
        DELETE FROM dataprotect.spare_key WHERE key_id IN
            (SELECT s.key_id FROM dataprotect.spare_key s WHERE s.family = key_family FOR UPDATE SKIP LOCKED)
        RETURNING key_id)
    SELECT array_agg(key_id) INTO v_orphans FROM orphan;
    IF v_orphans IS NOT NULL THEN
        DELETE FROM dataprotect.key_version WHERE key_id = ANY (v_orphans);
    END IF;
    WITH minted AS (
        INSERT INTO dataprotect.key_version (key_id, family, purpose, version, epoch, state, wrapped)
        SELECT w.key_id, k.family, 3, 1, k.epoch, 'p', w.wrapped
        FROM dataprotect.key k, generate_series(1, n) g, LATERAL dataprotect._wrap_new(k.epoch, 3::int2, 1 + 0 * g) w
        WHERE k.family = key_family AND k.state = 'a'
        FOR SHARE OF k
        RETURNING key_id),
    listed AS (
        INSERT INTO dataprotect.spare_key (key_id, family) SELECT m.key_id, key_family FROM minted m
        RETURNING key_id)
    SELECT string_agg(key_id::text, ',') INTO v_minted FROM listed;
    RETURN v_minted;
END $$;
COMMENT ON FUNCTION dataprotect._mint_spares(int4, int4) IS 'destroys subject keys whose claims were rolled back and makes new ones ahead of need; their ids, comma-separated';
