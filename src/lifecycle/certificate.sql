-- The certificate of a deletion, and the export of an account

CREATE FUNCTION dataprotect._certificate_mac(certificate text) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_lifecycle_certificate_mac'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._certificate_mac(text) IS
    'HMAC-SHA-256 of a certificate under the audit chain''s key, or NULL where no key was ever made';

-- What a deletion could not reach, one sentence an item.
CREATE FUNCTION dataprotect._deletion_residual(request dataprotect.deletion_request) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    items text[] := '{}';
    kept record;
    roots text;
BEGIN
    FOR kept IN SELECT w.rel, w.rows, string_agg(DISTINCT e.basis, '; ') AS basis
                  FROM dataprotect.deletion_work w
                  LEFT JOIN dataprotect.plan_edge e ON e.plan = request.plan AND e.from_rel::text = w.rel AND e.action = 'keep'
                 WHERE w.request = request.id AND w.action = 'keep' GROUP BY w.rel, w.rows ORDER BY w.rel
    LOOP
        items := items || format('%s rows of table %s were kept: %s.', kept.rows, kept.rel, kept.basis);
    END LOOP;
    items := items || ARRAY(SELECT format('%s rows of %s stay because other rows reference them.', w.rows, w.rel)
                              FROM dataprotect.deletion_work w WHERE w.request = request.id AND w.action = 'shared');
    items := items || ARRAY(SELECT format('Plain columns of %s stood unprotected: WAL, replicas and backups from before %s contain them '
                                          'until they expire, and so do pages of the table until their free space is used again.',
                                          w.rel, to_char(request.purged_at, 'YYYY-MM-DD HH24:MI TZ'))
                              FROM (SELECT DISTINCT w.rel FROM dataprotect.deletion_work w
                                     WHERE w.request = request.id AND w.action NOT IN ('shared', 'keep')) w ORDER BY w.rel);
    IF cardinality(request.key_ids) > 0 THEN
        SELECT string_agg(DISTINCT u, ', ') INTO roots
          FROM dataprotect.key_version v JOIN dataprotect.epoch e ON e.key_id = v.epoch, unnest(e.kms_uri) u
         WHERE v.key_id = ANY (request.key_ids);
        items := items || format('Backups and key exports from before %s, and WAL from before then (segments still on the server, '
                                 'archived ones, those of replicas), contain the account''s keys in wrapped form: rows of '
                                 'dataprotect.key_version, which together with dataprotect.epoch and the root key (%s) open '
                                 'protected values of that time. No root key was destroyed for this request.',
                                 to_char(request.destroyed_at, 'YYYY-MM-DD HH24:MI TZ'), roots);
        items := items || 'Search tokens and index hashes of searchable columns in old backups show which values were equal.'::text;
    ELSE
        items := items || 'The account had no key of its own: protected values of it in old backups open as long as their named keys do.'::text;
    END IF;
    items := items || 'Copies that were made before the columns were protected are not reached.'::text;
    RETURN to_jsonb(items);
END $$;
COMMENT ON FUNCTION dataprotect._deletion_residual(dataprotect.deletion_request) IS 'what a deletion could not reach';

CREATE FUNCTION dataprotect._deletion_certify(request dataprotect.deletion_request) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    document jsonb := jsonb_build_object(
        'format', 'dataprotect deletion certificate, version 1',
        'database', current_database(),
        'request', request.id,
        'account_type', request.account_type,
        'account_id', request.account_id,
        'reason', request.reason,
        'requested_by', request.requested_by,
        'timeline', jsonb_build_object('requested', request.requested_at, 'grace_until', request.grace_until,
            'deadline', request.deadline, 'purge_started', request.purge_started_at, 'purged', request.purged_at,
            'keys_destroyed', request.destroyed_at, 'verified', request.verified_at, 'certified', dataprotect._now()),
        'within_deadline', dataprotect._now() <= request.deadline,
        'erased', (SELECT coalesce(jsonb_agg(jsonb_build_object('table', w.rel, 'action', w.action, 'rows', w.rows)
                                             ORDER BY w.rel, w.action), '[]')
                     FROM dataprotect.deletion_work w WHERE w.request = request.id AND w.action NOT IN ('shared', 'keep')),
        'keys_destroyed', (SELECT coalesce(jsonb_agg(lpad(to_hex(k), 16, '0') ORDER BY k), '[]')
                             FROM unnest(request.key_ids) k),
        'techniques', CASE WHEN cardinality(request.key_ids) > 0 THEN jsonb_build_array(jsonb_build_object(
                'technique', 'cryptographic erase (NIST SP 800-88r2)',
                'applies_to', 'protected values wherever their ciphertext is: tables, indexes, WAL, replicas, backups',
                'how', 'AES-256 keys of the account destroyed, tombstone set')) ELSE '[]' END
            || jsonb_build_array(jsonb_build_object(
                'technique', 'clear (NIST SP 800-88r2)',
                'applies_to', 'rows and index entries of the tables named under erased',
                'how', 'rows deleted or overwritten in batches, VACUUM, indexes rebuilt')),
        'verification', request.verification,
        'residual', dataprotect._deletion_residual(request));
BEGIN
    document := document || jsonb_build_object('mac', dataprotect._certificate_mac(document::text));
    UPDATE dataprotect.deletion_request r SET certificate = document, certified_at = dataprotect._now()
     WHERE r.id = request.id;
    PERFORM dataprotect._deletion_note(request.id, 'certified', NULL);
    RETURN false;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_certify(dataprotect.deletion_request) IS 'write the certificate of a deletion';

CREATE FUNCTION dataprotect.deletion_certificate(request bigint) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_request dataprotect.deletion_request;
BEGIN
    SELECT * INTO found_request FROM dataprotect.deletion_request r WHERE r.id = request;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('undefined_object', format('deletion request %s does not exist', request));
    END IF;
    IF found_request.certificate IS NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('deletion request %s is not certified yet', request),
            format('It is in state "%s".', found_request.state));
    END IF;
    IF found_request.certificate ->> 'mac'
       IS DISTINCT FROM dataprotect._certificate_mac((found_request.certificate - 'mac')::text) THEN
        PERFORM dataprotect._raise('data_corrupted',
            format('certificate of deletion request %s was altered', request));
    END IF;
    RETURN found_request.certificate;
END $$;
COMMENT ON FUNCTION dataprotect.deletion_certificate(bigint) IS
    'what a deletion erased, when, how, and what it could not reach';

CREATE FUNCTION dataprotect._rows_as_json(named regclass, leaf regclass, tids tid[]) RETURNS SETOF jsonb
    AS 'MODULE_PATHNAME', 'dp_lifecycle_rows_as_json'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._rows_as_json(regclass, regclass, tid[]) IS
    'rows of a table that the caller may read as JSON, read without a query on the table';

-- Where an account's rows are, chosen as their tables' owners: collected as for a
-- deletion, what it references included.  Rows of other accounts that reference
-- this one are not among them.
CREATE FUNCTION dataprotect._export_rows(account_type text, id text, OUT rel regclass, OUT leaf regclass, OUT tids tid[])
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(account_type);
    spelled text := dataprotect._account_id(account, id);
    plan_id bigint := dataprotect._account_current_plan(account);
    note bigint := -1 - abs(hashtextextended(gen_random_uuid()::text, 0) / 2);
    tab dataprotect.plan_table;
    problem text;
BEGIN
    SELECT format('Table "%s", columns %s: %s.', c.rel, c.columns, c.problem) INTO problem
      FROM dataprotect._account_check(account, plan_id) c JOIN dataprotect.plan_edge e
        ON e.plan = plan_id AND e.from_rel = c.rel AND e.columns = c.columns AND e.action IS NULL
     WHERE c.problem IS NOT NULL ORDER BY c.rel::text, c.columns::text LIMIT 1;
    IF FOUND THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('accounts of type "%s" cannot be exported yet', account.name),
            problem,
            'An export that leaves out what nobody decided about is none; dataprotect.annotate_account() decides it.');
    END IF;
    PERFORM dataprotect._account_collect(account, plan_id, note, spelled);
    FOR tab IN SELECT t.* FROM dataprotect.plan_table t WHERE t.plan = plan_id ORDER BY t.rel::text LOOP
        RETURN QUERY SELECT tab.rel, r.leaf, r.tids FROM dataprotect._rows_now(note, tab) r;
        IF NOT FOUND THEN
            RETURN QUERY SELECT tab.rel, l, '{}'::tid[] FROM dataprotect._leaves(tab.rel) l LIMIT 1;
        END IF;
    END LOOP;
    DELETE FROM dataprotect.deletion_row d WHERE d.request = note;
END $$;
COMMENT ON FUNCTION dataprotect._export_rows(text, text) IS 'where an account''s rows are';

-- With the caller's rights: tables that the caller may not read are an error,
-- and protected values appear as the caller may see them.
CREATE FUNCTION dataprotect._do_export_account(account_type text, id text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET row_security = off
AS $$
DECLARE
    item record;
    rows jsonb;
    tables jsonb := '{}';
BEGIN
    FOR item IN SELECT * FROM dataprotect._export_rows(account_type, id) LOOP
        SELECT coalesce(jsonb_agg(j), '[]') INTO rows FROM dataprotect._rows_as_json(item.rel, item.leaf, coalesce(item.tids, '{}')) j;
        tables := jsonb_set(tables, ARRAY[item.rel::text], coalesce(tables -> item.rel::text, '[]') || rows);
    END LOOP;
    RETURN jsonb_build_object('account_type', account_type, 'account_id', id, 'exported_at', dataprotect._now(), 'tables', tables);
END $$;
COMMENT ON FUNCTION dataprotect._do_export_account(text, text) IS 'body of dataprotect.export_account(); see definer.c';

CREATE FUNCTION dataprotect._log_export_account(account_type text, id text, exported jsonb) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._event('account.exported', NULL, jsonb_build_object('account_type', $1, 'account_id', $2));
$$;
COMMENT ON FUNCTION dataprotect._log_export_account(text, text, jsonb) IS
    'event of dataprotect.export_account(); see definer.c';

CREATE FUNCTION dataprotect.export_account(account_type text, id text) RETURNS jsonb
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dp_definer_enter_recorded';
COMMENT ON FUNCTION dataprotect.export_account(text, text) IS
    'every row of an account as JSON, as far as the caller may see it';
