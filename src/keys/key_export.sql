--
-- Keys beside the backups: wrapped, so useless without the KMS, and under a code
-- of the database's own policy key, so that nobody else writes or changes one.
--
CREATE FUNCTION dataprotect._export_mac(uid uuid, epoch_key_id int8, epoch int4, kms_uri text[], epoch_wrapped bytea[],
                                        policy_key_id int8, policy_version int4, policy_wrapped bytea, document bytea)
    RETURNS bytea LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_export_mac_sql';
COMMENT ON FUNCTION dataprotect._export_mac(uuid, int8, int4, text[], bytea[], int8, int4, bytea, bytea) IS
    'HMAC of a document under a policy key, which its epoch key opens, which the KMS opens';

-- The members that are lists, and what each is made from.
CREATE FUNCTION dataprotect._export_document() RETURNS jsonb
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object(
        'format', 'dataprotect keys 2',
        'database_uid', (SELECT i.uid FROM dataprotect.instance i),
        'exported_at', now(),
        'mac_key', (SELECT v.key_id FROM dataprotect.key_version v WHERE v.family = 0 AND v.purpose = 8 AND v.state = 'a'),
        'epochs', (SELECT coalesce(jsonb_agg(to_jsonb(e) ORDER BY e.epoch), '[]') FROM dataprotect.epoch e),
        'keys', (SELECT coalesce(jsonb_agg(to_jsonb(k) ORDER BY k.family), '[]') FROM dataprotect.key k),
        'versions', (SELECT coalesce(jsonb_agg(to_jsonb(v) ORDER BY v.key_id), '[]')
                     FROM dataprotect.key_version v WHERE v.wrapped IS NOT NULL
                       AND NOT EXISTS (SELECT FROM dataprotect.spare_key s WHERE s.key_id = v.key_id)),
        'subjects', (SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.key_id), '[]')
                     FROM dataprotect.subject_key s),
        'tombstones', (SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM dataprotect.tombstone t))
$$;
COMMENT ON FUNCTION dataprotect._export_document() IS 'an export of keys before its authentication code';

-- A backup from before another policy key took its place knows only the one that it has:
-- the document has a code under each.
CREATE FUNCTION dataprotect._exported_policy_keys(exported jsonb) RETURNS SETOF int8
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT v.key_id FROM jsonb_populate_recordset(NULL::dataprotect.key_version, exported -> 'versions') v
        WHERE v.family = 0 AND v.purpose = 8
$$;
COMMENT ON FUNCTION dataprotect._exported_policy_keys(jsonb) IS 'the policy keys that are in an export of keys';

CREATE FUNCTION dataprotect._policy_mac(exported jsonb, policy int8, here uuid) RETURNS bytea
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._export_mac(coalesce(here, (exported ->> 'database_uid')::uuid), e.key_id, e.epoch, e.kms_uri, e.wrapped, v.key_id, v.version, v.wrapped,
                                   convert_to((exported - '{mac,older_macs}'::text[])::text, 'UTF8'))
        FROM (SELECT h.key_id, h.version, h.wrapped, h.epoch FROM dataprotect.key_version h
                  WHERE here IS NOT NULL AND h.family = 0 AND h.purpose = 8 AND h.key_id = policy AND h.wrapped IS NOT NULL
              UNION ALL SELECT x.key_id, x.version, x.wrapped, x.epoch FROM jsonb_populate_recordset(NULL::dataprotect.key_version, exported -> 'versions') x
                  WHERE here IS NULL AND x.family = 0 AND x.purpose = 8 AND x.key_id = policy) v
             JOIN (SELECT h.key_id, h.epoch, h.kms_uri, h.wrapped FROM dataprotect.epoch h WHERE here IS NOT NULL
                   UNION ALL SELECT x.key_id, x.epoch, x.kms_uri, x.wrapped FROM jsonb_populate_recordset(NULL::dataprotect.epoch, exported -> 'epochs') x
                       WHERE here IS NULL) e ON e.key_id = v.epoch
$$;
COMMENT ON FUNCTION dataprotect._policy_mac(jsonb, int8, uuid) IS
    'code of an export of keys under a policy key, as that is wrapped here, where "here" is this database, or, where that is NULL, in the export';

-- Of one snapshot all: the policy keys are those of the document.
CREATE FUNCTION dataprotect.export_keys() RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_document jsonb := dataprotect._export_document();
    v_older jsonb;
BEGIN
    PERFORM dataprotect._event('keys.exported', NULL, jsonb_build_object(
        'keys', jsonb_array_length(v_document -> 'keys'), 'names', jsonb_path_query_array(v_document, '$.keys[0 to 24].name'), 'versions', jsonb_array_length(v_document -> 'versions'),
        'accounts', jsonb_array_length(v_document -> 'subjects')));
    IF jsonb_typeof(v_document -> 'mac_key') = 'null' THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            'there are no keys to export',
            NULL,
            'Create a key with dataprotect.create_key().');
    END IF;
    SELECT jsonb_object_agg(p, encode(dataprotect._policy_mac(v_document, p, NULL), 'hex')) INTO STRICT v_older
        FROM dataprotect._exported_policy_keys(v_document) p WHERE p::text <> v_document ->> 'mac_key';
    RETURN v_document || jsonb_strip_nulls(jsonb_build_object('older_macs', v_older))
        || jsonb_build_object('mac', encode(dataprotect._policy_mac(v_document, (v_document ->> 'mac_key')::int8, NULL), 'hex'));
END $$;
COMMENT ON FUNCTION dataprotect.export_keys() IS
    'every key that is not destroyed, wrapped under the KMS, as JSON to be kept beside the backups';

-- Raises an error unless the document is what export_keys() of this database made
-- or, where this database has no keys yet, of the database that it names.
CREATE FUNCTION dataprotect._check_export(exported jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_list text;
    v_mac bytea;
    v_policy int8;
    v_given text;
    v_uid uuid;
BEGIN
    IF exported ->> 'format' IS DISTINCT FROM 'dataprotect keys 2' OR jsonb_typeof(exported -> 'database_uid') IS DISTINCT FROM 'string' THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'this is no export of dataprotect keys',
            NULL,
            'Pass what dataprotect.export_keys() returned, unchanged.');
    END IF;
    FOREACH v_list IN ARRAY '{epochs,keys,versions,subjects,tombstones}'::text[] LOOP
        IF jsonb_typeof(exported -> v_list) IS DISTINCT FROM 'array' THEN
            PERFORM dataprotect._raise('invalid_parameter_value',
                'this is no export of dataprotect keys',
                format('Member "%s" is not an array.', v_list),
                'Pass what dataprotect.export_keys() returned, unchanged.');
        END IF;
    END LOOP;
    -- By the policy key that seals here, else the newest of the others that are here; as it
    -- is wrapped here, or, where its root is gone (a backup from before the epoch was
    -- given up), in the export.  Where there are no keys, by the export's own.
    SELECT h.key_id, i.uid, CASE WHEN h.key_id::text = exported ->> 'mac_key' THEN exported ->> 'mac' ELSE exported #>> ARRAY['older_macs', h.key_id::text] END
        INTO v_policy, v_uid, v_given
        FROM dataprotect.key_version h, dataprotect.instance i
        WHERE h.family = 0 AND h.purpose = 8 AND h.wrapped IS NOT NULL
          AND (h.key_id::text = exported ->> 'mac_key' OR jsonb_typeof(exported #> ARRAY['older_macs', h.key_id::text]) = 'string')
        ORDER BY h.state = 'a' DESC, h.version DESC LIMIT 1;
    BEGIN
        v_mac := dataprotect._policy_mac(exported, v_policy, v_uid);
    EXCEPTION WHEN OTHERS THEN
        v_mac := NULL;
    END;
    IF v_mac IS NULL AND (v_policy IS NULL AND NOT EXISTS (SELECT FROM dataprotect.key_version)
                          OR v_policy IS NOT NULL AND exported ->> 'database_uid' = v_uid::text) THEN
        BEGIN
            v_given := coalesce(v_given, exported ->> 'mac');
            v_mac := dataprotect._policy_mac(exported, coalesce(v_policy, (exported ->> 'mac_key')::int8), NULL);
        EXCEPTION WHEN data_exception OR data_corrupted OR object_not_in_prerequisite_state THEN
            v_mac := NULL;
        END;
    END IF;
    -- Hashed, so that the time it takes to compare tells nothing of the code.
    IF sha256(convert_to(encode(v_mac, 'hex'), 'UTF8')) = sha256(convert_to(v_given, 'UTF8')) THEN
        RETURN;
    END IF;
    PERFORM dataprotect._raise('invalid_parameter_value',
        'this export of keys is not authentic',
        'Its authentication code does not fit: it was changed, cut, or not made by the database that it names.',
        'Pass what dataprotect.export_keys() returned, unchanged.');
END $$;
COMMENT ON FUNCTION dataprotect._check_export(jsonb) IS 'raises an error unless an export of keys is authentic';

-- Numbers of keys differ between copies of a database that went on separately;
-- a key is the same where its uid is.  Makes those that are not here.
CREATE FUNCTION dataprotect._import_families(keys jsonb, OUT exported_family int4, OUT family int4, OUT came bool)
    RETURNS SETOF record LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    k dataprotect.key;
BEGIN
    FOR k IN SELECT r.* FROM jsonb_populate_recordset(NULL::dataprotect.key, keys) r LOOP
        _import_families.exported_family := k.family;
        SELECT h.family INTO _import_families.family FROM dataprotect.key h WHERE h.uid = k.uid;
        _import_families.came := NOT FOUND;
        IF _import_families.came THEN
            IF EXISTS (SELECT FROM dataprotect.key h WHERE h.name = k.name) THEN
                PERFORM dataprotect._raise('duplicate_object',
                    format('key "%s" already exists', k.name),
                    'It has the name of a key of the export, and is another key.',
                    'Import into a database that has no key of this name.');
            END IF;
            IF EXISTS (SELECT FROM dataprotect.key h WHERE h.family = k.family) THEN
                SELECT max(h.family) + 1 INTO k.family FROM dataprotect.key h;
            END IF;
            INSERT INTO dataprotect.key OVERRIDING SYSTEM VALUE SELECT k.*;
            _import_families.family := k.family;
        END IF;
        RETURN NEXT;
    END LOOP;
    PERFORM setval(pg_get_serial_sequence('dataprotect.key', 'family'), greatest((SELECT max(h.family) FROM dataprotect.key h), 1));
END $$;
COMMENT ON FUNCTION dataprotect._import_families(jsonb) IS 'which key here each key of an export is, made where there is none';

-- Does no root open the policy key any more, as after the restore of a backup from
-- before its epoch was given up?
CREATE FUNCTION dataprotect._roots_lost() RETURNS bool
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT NOT EXISTS (SELECT FROM generate_series(1, cardinality(e.kms_uri)) n, LATERAL dataprotect._epoch_probe(e.key_id, n) p
                                        WHERE p.sqlstate IS NULL)
                     FROM dataprotect.key_version v JOIN dataprotect.epoch e ON e.key_id = v.epoch
                     WHERE v.family = 0 AND v.purpose = 8 AND v.state = 'a'), false)
$$;
COMMENT ON FUNCTION dataprotect._roots_lost() IS 'can none of its roots open the epoch key of the system''s own keys?';

CREATE FUNCTION dataprotect._import_event(exported jsonb) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT dataprotect._event('key.imported', NULL, jsonb_build_object('database_uid', left(exported ->> 'database_uid', 64),
        'exported_at', left(exported ->> 'exported_at', 64), 'mac', left(exported ->> 'mac', 64)))
$$;
COMMENT ON FUNCTION dataprotect._import_event(jsonb) IS 'event of an import of keys';

-- Epochs only ever go on; what an export knows of their end counts here as well.
CREATE FUNCTION dataprotect._adopt_epochs(exported jsonb) RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO dataprotect.epoch
        SELECT e.* FROM jsonb_populate_recordset(NULL::dataprotect.epoch, exported -> 'epochs') e
        ON CONFLICT (key_id) DO UPDATE SET state = excluded.state, successor = excluded.successor, rolled_at = excluded.rolled_at,
            reason = excluded.reason, backups = excluded.backups, waiting_days = excluded.waiting_days, emptied_at = excluded.emptied_at,
            drilled_at = excluded.drilled_at, destroyed_at = excluded.destroyed_at
        WHERE epoch.state = 'a' AND excluded.state IN ('e', 'p', 'd')
$$;
COMMENT ON FUNCTION dataprotect._adopt_epochs(jsonb) IS 'takes over the epochs of an export, and what it knows of the end of those that are here';

-- Keys come before the values under them: what was replaced long ago elsewhere is unused
-- here only after its time from now on (lifecycle/unused_version.sql).
CREATE FUNCTION dataprotect._replaced_keys() RETURNS SETOF int8
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    SELECT v.key_id FROM dataprotect.key_version v WHERE v.purpose = 2 AND v.state NOT IN ('a', 'd')
    UNION ALL
    SELECT v.key_id FROM dataprotect.key_version v JOIN dataprotect.subject_key s USING (key_id)
        WHERE v.purpose = 3 AND v.state <> 'd'
          AND EXISTS (SELECT FROM dataprotect.subject_key n
                      WHERE n.family = s.family AND n.account_type = s.account_type AND n.subject = s.subject AND n.version > s.version)
$$;
COMMENT ON FUNCTION dataprotect._replaced_keys() IS 'versions and accounts'' keys that others have replaced and that are not destroyed';

-- What is there already stays; what was destroyed here or there stays destroyed.
CREATE FUNCTION dataprotect.import_keys(exported jsonb) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_families jsonb;
    v_rows int;
    v_adopted int;
    v_first bool := NOT EXISTS (SELECT FROM dataprotect.key_version);
    v_lost bool := dataprotect._roots_lost();
BEGIN
    -- Whoever tries is on record, whatever comes of it; where the log's own key does
    -- not open, as soon as it does.
    IF NOT v_lost THEN
        PERFORM dataprotect._import_event(exported);
    END IF;
    -- A database that has no keys, or whose roots are lost, has nothing to judge an approval by.
    IF NOT (v_first OR v_lost) THEN
        PERFORM dataprotect._need_approval('import_keys', jsonb_build_object(
            'sha256', encode(sha256(convert_to(exported::text, 'UTF8')), 'hex')));
    END IF;
    LOCK TABLE dataprotect.epoch, dataprotect.key, dataprotect.key_version IN SHARE ROW EXCLUSIVE MODE;
    IF exported ->> 'database_uid' <> (SELECT i.uid::text FROM dataprotect.instance i)
       AND exported ->> 'database_uid' ~ '^[0-9a-f-]{36}$' AND EXISTS (SELECT FROM dataprotect.key_version) THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            'these keys belong to another database',
            'Keys are wrapped for one database, and this one has keys of its own already.',
            'Import them into a database that has no keys.');
    END IF;
    PERFORM dataprotect._check_export(exported);
    IF v_lost THEN
        PERFORM dataprotect._adopt_epochs(exported);
        UPDATE dataprotect.key_version h SET wrapped = v.wrapped, epoch = v.epoch
            FROM jsonb_populate_recordset(NULL::dataprotect.key_version, exported -> 'versions') v
            WHERE h.family = 0 AND v.family = 0 AND h.key_id = v.key_id AND h.purpose = v.purpose AND h.version = v.version;
        PERFORM dataprotect._import_event(exported);
    END IF;

    UPDATE dataprotect.instance SET uid = (exported ->> 'database_uid')::uuid WHERE uid::text <> exported ->> 'database_uid';
    INSERT INTO dataprotect.tombstone
        SELECT t.* FROM jsonb_populate_recordset(NULL::dataprotect.tombstone, exported -> 'tombstones') t
        ON CONFLICT (account_type, subject) DO UPDATE SET destroyed_at = excluded.destroyed_at, reason = excluded.reason, released_at = excluded.released_at
        WHERE excluded.destroyed_at > tombstone.destroyed_at;
    -- What a tombstone tells of is gone here as well, where a backup brought it back.
    UPDATE dataprotect.key_version v SET state = 'd', wrapped = NULL, state_since = now(), reason = 'erased, as an export of keys says'
        FROM dataprotect.subject_key s JOIN dataprotect.tombstone t ON t.account_type = s.account_type AND t.subject = s.subject
        WHERE v.key_id = s.key_id AND v.purpose = 3 AND v.state <> 'd' AND s.claimed_at <= t.destroyed_at;
    PERFORM dataprotect._adopt_epochs(exported);
    SELECT coalesce(jsonb_agg(to_jsonb(f)), '[]') INTO v_families FROM dataprotect._import_families(exported -> 'keys') f;

    -- What is here under an epoch that was given up since comes as it is wrapped now.
    UPDATE dataprotect.key_version h SET wrapped = v.wrapped, epoch = v.epoch
        FROM jsonb_populate_recordset(NULL::dataprotect.key_version, exported -> 'versions') v
        WHERE h.key_id = v.key_id AND h.purpose = v.purpose AND h.version = v.version AND h.wrapped IS NOT NULL AND h.epoch <> v.epoch
          AND EXISTS (SELECT FROM dataprotect.epoch e WHERE e.key_id = h.epoch AND e.state <> 'a')
          AND EXISTS (SELECT FROM dataprotect.epoch e WHERE e.key_id = v.epoch AND e.state = 'a');
    GET DIAGNOSTICS v_adopted = ROW_COUNT;
    UPDATE dataprotect.key h SET epoch = e.key_id, kms_uri = e.kms_uri
        FROM jsonb_populate_recordset(NULL::dataprotect.key, exported -> 'keys') x JOIN dataprotect.epoch e ON e.key_id = x.epoch AND e.state = 'a'
        WHERE x.uid = h.uid AND EXISTS (SELECT FROM dataprotect.epoch o WHERE o.key_id = h.epoch AND o.state <> 'a');

    -- An account's key comes with its account, and only where the account lives
    -- and has no other key of that version here, nor an older one that the export does not know; a version of a key that is here already does not
    -- seal, nor does one of the system's own.
    WITH family AS (
        SELECT f.exported_family, f.family, f.came, k.state
            FROM jsonb_to_recordset(v_families) f(exported_family int4, family int4, came bool) JOIN dataprotect.key k ON k.family = f.family
    ), claim AS (
        SELECT s.key_id, f.family, s.account_type, s.subject, s.claimed_at, coalesce(s.version, 1) AS version
            FROM jsonb_populate_recordset(NULL::dataprotect.subject_key, exported -> 'subjects') s
                 JOIN family f ON f.exported_family = s.family
            WHERE NOT EXISTS (SELECT FROM dataprotect.tombstone t WHERE t.account_type = s.account_type AND t.subject = s.subject
                                AND (t.released_at IS NULL OR s.claimed_at <= t.destroyed_at))
              AND NOT EXISTS (SELECT FROM dataprotect.subject_key h
                              WHERE h.family = f.family AND h.account_type = s.account_type AND h.subject = s.subject AND h.key_id <> s.key_id
                                AND (h.version = coalesce(s.version, 1)
                                     OR h.version < s.version AND NOT exported -> 'subjects' @> jsonb_build_array(jsonb_build_object('key_id', h.key_id))))
    ), version AS (
        INSERT INTO dataprotect.key_version (key_id, family, purpose, version, epoch, state, wrapped, created_at, state_since, reason, seals, expires_at)
        SELECT v.key_id, coalesce(f.family, 0), v.purpose, v.version, v.epoch,
               CASE WHEN v.state = 'a' AND (v.purpose = 2 AND NOT f.came
                                            OR EXISTS (SELECT FROM dataprotect.key_version h WHERE h.family = 0 AND v.family = 0 AND h.purpose = v.purpose))
                    THEN 'r' ELSE v.state END,
               v.wrapped, v.created_at, v.state_since, v.reason, v.seals, v.expires_at
            FROM jsonb_populate_recordset(NULL::dataprotect.key_version, exported -> 'versions') v
                 LEFT JOIN family f ON f.exported_family = v.family
            WHERE EXISTS (SELECT FROM dataprotect.epoch e WHERE e.key_id = v.epoch AND e.state = 'a')
              AND CASE v.purpose WHEN 2 THEN f.state <> 'd'
                    WHEN 3 THEN f.state <> 'd' AND EXISTS (SELECT FROM claim c WHERE c.key_id = v.key_id AND c.family = f.family)
                    ELSE v.family = 0
                  END
            ON CONFLICT (key_id) DO NOTHING
            RETURNING key_id
    ), claimed AS (
        INSERT INTO dataprotect.subject_key (family, account_type, subject, key_id, claimed_at, version)
        SELECT c.family, c.account_type, c.subject, c.key_id, c.claimed_at, c.version FROM claim c
            WHERE c.key_id IN (SELECT n.key_id FROM version n)
               OR EXISTS (SELECT FROM dataprotect.key_version h
                          WHERE h.key_id = c.key_id AND h.family = c.family AND h.purpose = 3 AND h.wrapped IS NOT NULL)
            ON CONFLICT DO NOTHING
    )
    SELECT count(*) INTO v_rows FROM version;
    -- What a copy gave to an account is nobody's spare here.
    DELETE FROM dataprotect.spare_key p USING dataprotect.subject_key s WHERE s.key_id = p.key_id;
    UPDATE dataprotect.key_version v SET state_since = now(), looked_at = NULL, unused_at = NULL
        WHERE v.key_id IN (SELECT dataprotect._replaced_keys());
    IF v_first THEN
        PERFORM dataprotect._seal_first(false);
    END IF;
    RETURN v_rows + v_adopted;
END $$;
COMMENT ON FUNCTION dataprotect.import_keys(jsonb) IS
    'puts exported keys back; what exists stays, and no key of a tombstoned account comes back; how many keys came';
