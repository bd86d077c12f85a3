-- After a restore: erasures that the backup does not know are carried out again

-- Every certified erasure, signed, to be kept outside the database beside its
-- backups.
CREATE FUNCTION dataprotect.export_erasures() RETURNS jsonb
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._sign_document(jsonb_build_object(
        'format', 'dataprotect erasures, version 1',
        'database_uid', (SELECT i.uid FROM dataprotect.instance i),
        'exported_at', dataprotect._now(),
        'erasures', (SELECT coalesce(jsonb_agg(jsonb_build_object('request', r.id, 'account_type', r.account_type, 'account_id', r.account_id,
                                'requested_at', r.requested_at, 'erased_at', coalesce(r.destroyed_at, r.certified_at)) ORDER BY r.id), '[]')
                       FROM dataprotect.deletion_request r WHERE r.state IN ('purged', 'shredded', 'verified', 'certified'))));
$$;
COMMENT ON FUNCTION dataprotect.export_erasures() IS 'every erasure that was carried out, signed: for replay_erasures() after a restore';

-- An erasure is replayed where this database has the account still, and has not
-- erased it since it was asked for.  Its keys are destroyed at once, in this
-- transaction; the rows follow as of any deletion.
CREATE FUNCTION dataprotect.replay_erasures(export jsonb, OUT account_type text, OUT id text, OUT state text) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    item record;
    account dataprotect.account_type;
    there bool;
    request bigint;
    replayed int := 0;
BEGIN
    IF NOT dataprotect._is_signed_here(replay_erasures.export) OR replay_erasures.export ->> 'format' IS DISTINCT FROM 'dataprotect erasures, version 1' THEN
        PERFORM dataprotect._raise('data_corrupted', 'this is no list of erasures of this database',
            'It was altered, or signed under the keys of another.', 'export_erasures() makes one.');
    END IF;
    FOR item IN SELECT * FROM jsonb_to_recordset(replay_erasures.export -> 'erasures')
                    e(account_type text, account_id text, requested_at timestamptz, erased_at timestamptz) ORDER BY e.erased_at
    LOOP
        replay_erasures.account_type := item.account_type;
        replay_erasures.id := item.account_id;
        IF EXISTS (SELECT FROM dataprotect.deletion_request r WHERE r.account_type = item.account_type AND r.account_id = item.account_id
                      AND r.requested_at >= item.requested_at AND r.state IN ('purged', 'shredded', 'verified', 'certified')) THEN
            replay_erasures.state := 'known';
            RETURN NEXT;
            CONTINUE;
        END IF;
        SELECT * INTO account FROM dataprotect.account_type t WHERE t.name = item.account_type;
        IF NOT FOUND THEN
            replay_erasures.state := 'no such account type';
            RETURN NEXT;
            CONTINUE;
        END IF;
        BEGIN
            there := dataprotect._account_id(account, item.account_id) IS NOT NULL;
        EXCEPTION WHEN no_data_found THEN
            there := false;
        END;
        IF NOT there AND dataprotect._subject_key_ids(item.account_type, item.account_id) = '{}' THEN
            replay_erasures.state := 'not here';
            RETURN NEXT;
            CONTINUE;
        END IF;
        SELECT r.id INTO request FROM dataprotect.deletion_request r
         WHERE r.account_type = item.account_type AND r.account_id = item.account_id
           AND r.state IN ('requested', 'held', 'purging', 'purged', 'shredded', 'verified');
        IF NOT FOUND THEN
            INSERT INTO dataprotect.deletion_request (account_type, account_id, state, reason, requested_by, grace_until, deadline, key_ids)
                VALUES (item.account_type, item.account_id, 'requested', 'replayed after a restore', pg_get_userbyid(dataprotect._caller()),
                        dataprotect._now(), dataprotect._now() + account.deadline,
                        dataprotect._subject_key_ids(item.account_type, item.account_id))
                RETURNING deletion_request.id INTO request;
        ELSE
            UPDATE dataprotect.deletion_request r SET grace_until = least(r.grace_until, dataprotect._now()),
                   key_ids = coalesce(r.key_ids, dataprotect._subject_key_ids(r.account_type, r.account_id)) WHERE r.id = request;
        END IF;
        PERFORM dataprotect._subject_destroy(item.account_type, item.account_id, format('erased before the restore, deletion request %s', request));
        replay_erasures.state := 'requested';
        replayed := replayed + 1;
        RETURN NEXT;
    END LOOP;
    PERFORM dataprotect._event('erasures.replayed', NULL, jsonb_build_object('accounts', replayed,
        'exported_at', replay_erasures.export -> 'exported_at'));
    PERFORM dataprotect._wake_maintenance();
END $$;
COMMENT ON FUNCTION dataprotect.replay_erasures(jsonb) IS
    'erase again what was erased after the backup that this database was restored from: keys at once, rows as of any deletion';
