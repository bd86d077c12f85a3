-- After a restore: erasures that the backup does not know are carried out again

-- Every certified erasure, signed as a certificate is, by the database and by the
-- roots of its keys, to be kept outside the database beside its backups.
CREATE FUNCTION dataprotect.export_erasures() RETURNS jsonb
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._event('erasures.exported', NULL, jsonb_build_object('erasures',
        (SELECT count(*) FROM dataprotect.deletion_request r WHERE r.state IN ('purged', 'shredded', 'verified', 'certified'))));
    WITH list AS MATERIALIZED (SELECT jsonb_build_object(
        'format', 'dataprotect erasures, version 1',
        'database_uid', (SELECT i.uid FROM dataprotect.instance i),
        'exported_at', dataprotect._now(),
        'erasures', (SELECT coalesce(jsonb_agg(dataprotect._erasure_of(r) ORDER BY r.id), '[]')
                       FROM dataprotect.deletion_request r WHERE r.state IN ('purged', 'shredded', 'verified', 'certified'))) AS document)
    SELECT dataprotect._sign_document(l.document || jsonb_build_object('kms_signatures', k.signatures))
      FROM list l, dataprotect._kms_signatures(l.document, ARRAY(SELECT dataprotect._signing_roots('{}'))) k;
$$;
COMMENT ON FUNCTION dataprotect.export_erasures() IS 'every erasure that was carried out, signed: for replay_erasures() after a restore';

-- Erasures of an export, or, without one, of the lists outside of the database that
-- it does not know.
CREATE FUNCTION dataprotect._erasures_to_replay(export jsonb) RETURNS SETOF jsonb
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF export IS NULL AND dataprotect._erasure_own_name() IS NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state', 'there are no lists of erasures to replay',
            'Setting "dataprotect.erasure_directory" is empty.', 'Give what export_erasures() has made.');
    ELSIF export IS NULL THEN
        RETURN QUERY SELECT u.erasure FROM dataprotect._unknown_erasures() u;
        RETURN;
    END IF;
    IF NOT dataprotect._is_signed_here(export) OR export ->> 'format' IS DISTINCT FROM 'dataprotect erasures, version 1' THEN
        PERFORM dataprotect._raise('data_corrupted', 'this is no list of erasures of this database',
            'It was altered, or signed under the keys of another.', 'export_erasures() makes one.');
    END IF;
    RETURN QUERY SELECT e FROM jsonb_array_elements(export -> 'erasures') e;
END $$;
COMMENT ON FUNCTION dataprotect._erasures_to_replay(jsonb) IS 'erasures of an export, or of lists outside of the database';

-- An erasure is replayed where this database has the account still, and has not
-- erased it since it was asked for.  Its keys are destroyed at once, in this
-- transaction; the rows follow as of any deletion.
CREATE FUNCTION dataprotect._replay_erasure(account dataprotect.account_type, id text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    request bigint;
BEGIN
    SELECT r.id INTO request FROM dataprotect.deletion_request r
     WHERE r.account_type = account.name AND r.account_id = _replay_erasure.id
       AND r.state IN ('requested', 'held', 'purging', 'purged', 'shredded', 'verified');
    IF NOT FOUND THEN
        INSERT INTO dataprotect.deletion_request (account_type, account_id, state, reason, requested_by, grace_until, deadline, key_ids)
            VALUES (account.name, _replay_erasure.id, 'requested', 'replayed after a restore', pg_get_userbyid(dataprotect._caller()),
                    dataprotect._now(), dataprotect._now() + account.deadline, dataprotect._subject_key_ids(account.name, _replay_erasure.id))
            RETURNING deletion_request.id INTO request;
    ELSE
        UPDATE dataprotect.deletion_request r SET grace_until = least(r.grace_until, dataprotect._now()),
               key_ids = coalesce(r.key_ids, dataprotect._subject_key_ids(r.account_type, r.account_id)) WHERE r.id = request;
    END IF;
    PERFORM dataprotect._subject_destroy(account.name, _replay_erasure.id, format('erased before the restore, deletion request %s', request));
END $$;
COMMENT ON FUNCTION dataprotect._replay_erasure(dataprotect.account_type, text) IS 'erase an account again';

CREATE FUNCTION dataprotect.replay_erasures(export jsonb = NULL, OUT account_type text, OUT id text, OUT state text) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    item jsonb;
    replayed int := 0;
BEGIN
    FOR item IN SELECT e FROM dataprotect._erasures_to_replay(replay_erasures.export) e ORDER BY e ->> 'erased_at' LOOP
        replay_erasures.account_type := item ->> 'account_type';
        replay_erasures.id := item ->> 'account_id';
        replay_erasures.state := dataprotect._erasure_state(item);
        IF replay_erasures.state = 'here' THEN
            PERFORM dataprotect._replay_erasure(t, replay_erasures.id) FROM dataprotect.account_type t WHERE t.name = replay_erasures.account_type;
            replay_erasures.state := 'requested';
            replayed := replayed + 1;
        END IF;
        RETURN NEXT;
    END LOOP;
    PERFORM dataprotect._event('erasures.replayed', NULL, jsonb_strip_nulls(jsonb_build_object('accounts', replayed,
        'exported_at', replay_erasures.export -> 'exported_at')));
    PERFORM dataprotect._wake_maintenance();
END $$;
COMMENT ON FUNCTION dataprotect.replay_erasures(jsonb) IS
    'erase again what was erased after the backup that this database was restored from: keys at once, rows as of any deletion';
