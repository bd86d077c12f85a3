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
                     FROM dataprotect.key_version v WHERE v.wrapped IS NOT NULL
                       AND NOT EXISTS (SELECT FROM dataprotect.spare_key s WHERE s.key_id = v.key_id)),
        'subjects', (SELECT coalesce(jsonb_agg(to_jsonb(s) ORDER BY s.key_id), '[]')
                     FROM dataprotect.subject_key s JOIN dataprotect.key_version v USING (key_id) WHERE v.wrapped IS NOT NULL),
        'tombstones', (SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM dataprotect.tombstone t));
END $$;
COMMENT ON FUNCTION dataprotect.export_keys() IS
    'every key that is not destroyed, wrapped under the KMS, as JSON to be kept beside the backups';

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
