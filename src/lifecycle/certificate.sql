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
    account dataprotect.account_type := dataprotect._find_account_type(request.account_type);
    items text[] := '{}';
    kept record;
    roots text;
BEGIN
    FOR kept IN SELECT r.rel, r.columns, r.legal_basis FROM dataprotect.account_rule r
                 WHERE r.account_type = account.name AND r.action = 'keep' ORDER BY r.rel::text, r.columns::text
    LOOP
        items := items || format('Table %s (%s) was kept: %s.', kept.rel, array_to_string(kept.columns, ', '), kept.legal_basis);
    END LOOP;
    items := items || ARRAY(SELECT format('%s rows of %s stay because other rows reference them.', w.rows, w.rel)
                              FROM dataprotect.deletion_work w WHERE w.request = request.id AND w.action = 'shared');
    items := items || ARRAY(SELECT format('Plain columns of %s stood unprotected: WAL, replicas and backups from before %s contain them '
                                          'until they expire, and so do pages of the table until their free space is used again.',
                                          w.rel, to_char(request.purged_at, 'YYYY-MM-DD HH24:MI TZ'))
                              FROM (SELECT DISTINCT w.rel FROM dataprotect.deletion_work w
                                     WHERE w.request = request.id AND w.action <> 'shared') w ORDER BY w.rel);
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
                     FROM dataprotect.deletion_work w WHERE w.request = request.id AND w.action <> 'shared'),
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
        RAISE EXCEPTION USING ERRCODE = 'undefined_object',
            MESSAGE = format('deletion request %s does not exist', request);
    END IF;
    IF found_request.certificate IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('deletion request %s is not certified yet', request),
            DETAIL = format('It is in state "%s".', found_request.state);
    END IF;
    IF found_request.certificate ->> 'mac'
       IS DISTINCT FROM dataprotect._certificate_mac((found_request.certificate - 'mac')::text) THEN
        RAISE EXCEPTION USING ERRCODE = 'data_corrupted',
            MESSAGE = format('certificate of deletion request %s was altered', request);
    END IF;
    RETURN found_request.certificate;
END $$;
COMMENT ON FUNCTION dataprotect.deletion_certificate(bigint) IS
    'what a deletion erased, when, how, and what it could not reach';

-- A row as JSON, written by the system's own functions alone: to_jsonb() of a
-- type that is not built in calls a cast to json that anybody may have made.
CREATE FUNCTION dataprotect._row_as_json(rel regclass, alias text) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(format(CASE WHEN b.oid < 16384 AND b.typtype <> 'c'
                                  THEN 'jsonb_build_object(%1$L, to_jsonb(%2$I.%3$I))'
                                  ELSE 'jsonb_build_object(%1$L, CASE WHEN num_nulls(%2$I.%3$I) = 0 THEN to_jsonb(concat(%2$I.%3$I)) END)'
                             END, a.attname, alias, a.attname), ' || ' ORDER BY a.attnum)
      FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type b ON b.oid = dataprotect._undomained(a.atttypid)
     WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped;
$$;
COMMENT ON FUNCTION dataprotect._row_as_json(regclass, text) IS 'text of an expression that writes a row as JSON';

-- Queries that return an account's rows, one a table.  Rows of other accounts
-- that reference this one are not among them.
CREATE FUNCTION dataprotect._export_queries(account_type text, id text, OUT rel regclass, OUT query text)
    RETURNS SETOF record
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT n.child, format('SELECT jsonb_agg(x.j) FROM (%s) x', string_agg(
               format('SELECT %1$I.tableoid, %1$I.ctid, %4$s AS j FROM %2$s %1$I WHERE %3$s', n.alias, n.child, n.up,
                      dataprotect._row_as_json(n.child, n.alias)),
               ' UNION ' ORDER BY n.ord))
      FROM dataprotect._account_nodes(dataprotect._find_account_type($1),
                                      dataprotect._account_id(dataprotect._find_account_type($1), $2)) n
     WHERE NOT n.loops
     GROUP BY n.child;
$$;
COMMENT ON FUNCTION dataprotect._export_queries(text, text) IS 'queries that return an account''s rows';

-- With the caller's rights: tables that the caller may not read are an error,
-- and protected values appear as the caller may see them.
CREATE FUNCTION dataprotect.export_account(account_type text, id text) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET row_security = off
AS $$
DECLARE
    item record;
    rows jsonb;
    tables jsonb := '{}';
BEGIN
    FOR item IN SELECT * FROM dataprotect._export_queries(account_type, id) LOOP
        EXECUTE item.query INTO rows;
        tables := tables || jsonb_build_object(item.rel::text, coalesce(rows, '[]'));
    END LOOP;
    PERFORM dataprotect._export_event(account_type, id);
    RETURN jsonb_build_object('account_type', account_type, 'account_id', id, 'exported_at', dataprotect._now(), 'tables', tables);
END $$;
COMMENT ON FUNCTION dataprotect.export_account(text, text) IS
    'every row of an account as JSON, as far as the caller may see it';

CREATE FUNCTION dataprotect._export_event(account_type text, id text) RETURNS void
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._event('account.exported', NULL, jsonb_build_object('account_type', $1, 'account_id', $2));
$$;
COMMENT ON FUNCTION dataprotect._export_event(text, text) IS 'record that an account was exported';
