-- The certificate of a deletion, and the export of an account

CREATE FUNCTION dataprotect._certificate_mac(certificate text, key int8 DEFAULT 0) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_lifecycle_certificate_mac'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._certificate_mac(text, int8) IS
    'HMAC-SHA-256 of a certificate under a key of the audit chain (0: the current one), or NULL where there is none';

CREATE FUNCTION dataprotect._certificate_sign(certificate text) RETURNS bytea
    AS 'MODULE_PATHNAME', 'dp_lifecycle_certificate_sign'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._certificate_sign(text) IS 'Ed25519 signature of a certificate, or NULL where no key was ever made';

CREATE FUNCTION dataprotect._certificate_key(key int8 DEFAULT 0) RETURNS bytea
    AS 'MODULE_PATHNAME', 'dp_lifecycle_certificate_key'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._certificate_key(int8) IS 'the public key of certificates that a key of the audit chain (0: the current one) gives, or NULL where there is none';

-- SubjectPublicKeyInfo of an Ed25519 key (RFC 8410).
CREATE FUNCTION dataprotect.certificate_public_pem() RETURNS text
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT E'-----BEGIN PUBLIC KEY-----\n' || encode('\x302a300506032b6570032100'::bytea || dataprotect._certificate_key(), 'base64')
           || E'\n-----END PUBLIC KEY-----';
$$;
COMMENT ON FUNCTION dataprotect.certificate_public_pem() IS 'public key (PEM) that certificates are verified with, outside the database';

-- The signing keys are made of the key of the audit chain, and are others when that is.
CREATE FUNCTION dataprotect.signing_keys(OUT signs text, OUT version int, OUT state text, OUT public_pem text) RETURNS SETOF record
    LANGUAGE sql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT w.signs, v.version, CASE v.state WHEN 'a' THEN 'active' ELSE 'retired' END,
           E'-----BEGIN PUBLIC KEY-----\n' || encode('\x302a300506032b6570032100'::bytea
               || CASE w.signs WHEN 'digests' THEN dataprotect._digest_key(v.key_id) ELSE dataprotect._certificate_key(v.key_id) END, 'base64')
           || E'\n-----END PUBLIC KEY-----'
    FROM dataprotect.key_version v, (VALUES ('certificates'), ('digests')) w(signs)
    WHERE v.family = 0 AND v.purpose = 7 AND v.wrapped IS NOT NULL
    ORDER BY w.signs, v.version
$$;
COMMENT ON FUNCTION dataprotect.signing_keys() IS 'public keys (PEM) of certificates and digests, those that rotate_system_keys() has replaced included';

-- A document with its code and its signature; both are of the text of what else it says.
CREATE FUNCTION dataprotect._sign_document(document jsonb) RETURNS jsonb
    LANGUAGE sql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT document || jsonb_build_object('mac', dataprotect._certificate_mac(document::text),
        'signature', translate(encode(dataprotect._certificate_sign(document::text), 'base64'), E'\n', ''));
$$;
COMMENT ON FUNCTION dataprotect._sign_document(jsonb) IS 'a document with its code and signature';

CREATE FUNCTION dataprotect._is_signed_here(document jsonb) RETURNS bool
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(document ->> 'mac' = dataprotect._certificate_mac(d.said), false)
           OR EXISTS (SELECT FROM dataprotect.key_version v WHERE v.family = 0 AND v.purpose = 7 AND v.state = 'r'
                         AND document ->> 'mac' = dataprotect._certificate_mac(d.said, v.key_id))
        FROM (SELECT (document - '{mac,signature}'::text[])::text) d(said)
$$;
COMMENT ON FUNCTION dataprotect._is_signed_here(jsonb) IS 'whether a document is as this database, or one it was copied from, signed it';

-- The roots that were named to sign; else those that keys lie under now, or, where there
-- are none, the system's keys.
CREATE FUNCTION dataprotect._signing_roots(key_ids int8[]) RETURNS SETOF text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH named AS (
        SELECT DISTINCT btrim(u) AS u FROM string_to_table(current_setting('dataprotect.signing_kms_uri'), ',') u WHERE btrim(u) <> ''
    ), under AS (
        SELECT v.family = 0 AS system, u FROM dataprotect.key_version v
          LEFT JOIN dataprotect.key k ON k.family = v.family
          JOIN dataprotect.epoch e ON e.key_id = CASE v.family WHEN 0 THEN v.epoch ELSE k.epoch END AND e.state = 'a', unnest(e.kms_uri) u
         WHERE v.family = 0 AND v.state = 'a' OR v.key_id = ANY (key_ids))
    SELECT n.u FROM named n
    UNION
    SELECT w.u FROM under w WHERE w.system = NOT EXISTS (SELECT FROM under o WHERE NOT o.system) AND NOT EXISTS (SELECT FROM named)
    ORDER BY 1;
END $$;
COMMENT ON FUNCTION dataprotect._signing_roots(int8[]) IS 'URIs of the roots that sign what is said of these keys';

-- What each root says to a document: its signature of the 32 bytes that are the
-- document's SHA-256, with what openssl needs to verify it; or why there is none.
-- away: a KMS did not answer, and may soon.
CREATE FUNCTION dataprotect._kms_signatures(document jsonb, uris text[], OUT signatures jsonb, OUT away text) RETURNS record
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    uri text;
    signed record;
    why text;
    detail text;
BEGIN
    signatures := '[]';
    FOREACH uri IN ARRAY uris LOOP
        BEGIN
            SELECT * INTO signed FROM dataprotect._kms_sign(uri, sha256(convert_to(document::text, 'UTF8')));
            signatures := signatures || jsonb_build_object('kms_uri', uri, 'algorithm', signed.algorithm, 'root_version', signed.version,
                'public_key', translate(encode(signed.public_key, 'base64'), E'\n', ''),
                'signature', translate(encode(signed.signature, 'base64'), E'\n', ''),
                'verify', concat_ws(' ', 'openssl pkeyutl -verify -rawin', nullif(signed.openssl_options, ''),
                    '-pubin -keyform DER -inkey PUBLIC_KEY -in DIGEST -sigfile SIGNATURE'));
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS why = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
            why := concat_ws(': ', why, nullif(detail, ''));
            signatures := signatures || jsonb_build_object('kms_uri', uri, 'missing', why);
            IF SQLSTATE LIKE '08%' THEN
                away := why;
            END IF;
        END;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._kms_signatures(jsonb, text[]) IS 'signatures of a document by KMS roots, and why one is missing';

-- What of the database was not searched: tables outside the plan.
CREATE FUNCTION dataprotect._not_searched(plan_id bigint) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT jsonb_build_object('tables', count(*), 'names', coalesce(jsonb_agg(x.name ORDER BY x.name) FILTER (WHERE x.n <= 500), '[]'),
                              'why', 'outside the plan: nothing was said to lead from the account to them; only their protected values were looked at, by key')
      FROM (SELECT c.oid::regclass::text AS name, row_number() OVER (ORDER BY c.oid::regclass::text) AS n
              FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'm', 'f') AND c.relpersistence <> 't'
               AND s.nspname NOT IN ('pg_catalog', 'information_schema', 'dataprotect') AND s.nspname !~ '^pg_toast'
               AND NOT EXISTS (SELECT FROM dataprotect.plan_table t, dataprotect._below(t.rel) b WHERE t.plan = plan_id AND b = c.oid)) x);
END $$;
COMMENT ON FUNCTION dataprotect._not_searched(bigint) IS 'tables that a deletion did not search';

-- Where our own tables name the account on.
CREATE FUNCTION dataprotect._own_records(request dataprotect.deletion_request) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT jsonb_agg(jsonb_build_object('table', x.tab, 'what', x.what, 'basis', x.basis, 'until', x.until))
      FROM (SELECT 'dataprotect.deletion_request' AS tab, 'the account''s id, the request''s reason, this certificate' AS what,
                   'evidence of the erasure (GDPR, Article 5(2) and 17(3)(e))' AS basis, 'removed by the controller' AS until
            UNION ALL
            SELECT 'dataprotect.tombstone', 'the account''s id', 'keeps its keys from coming back with a backup (GDPR, Article 32)', 'as long as backups are kept'
             WHERE EXISTS (SELECT FROM dataprotect.tombstone t WHERE t.account_type = request.account_type AND t.subject = request.account_id)
            UNION ALL
            SELECT 'dataprotect.hold', format('%s legal holds whose predicate or reason contains the account''s id', count(*)),
                   'evidence of the hold (GDPR, Article 17(3)(e))', 'removed by the controller'
              FROM dataprotect.hold h WHERE position(request.account_id IN h.predicate || ' ' || h.reason || ' ' || coalesce(h.release_reason, '')) > 0
            HAVING count(*) > 0
            UNION ALL
            SELECT dataprotect._erasure_own_name(), 'the account''s id, in the list of erasures outside of the database',
                   'finds the account in a backup that is restored (GDPR, Article 32)', 'as long as backups are kept'
             WHERE dataprotect._erasure_own_name() IS NOT NULL
            UNION ALL
            SELECT 'dataprotect audit log', 'events about the account, their personal fields sealed under the audit key',
                   'accountability (GDPR, Article 5(2))', 'the audit log''s own retention') x);
END $$;
COMMENT ON FUNCTION dataprotect._own_records(dataprotect.deletion_request) IS 'what the extension itself keeps of an erased account';

-- What a deletion could not reach, one sentence an item.
CREATE FUNCTION dataprotect._deletion_residual(request dataprotect.deletion_request) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE STRICT
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
    items := items || CASE request.found_by
        WHEN 'key' THEN 'The account''s row had another id when its deletion began than when it was requested; it was known by its primary key.'
        WHEN 'nothing' THEN 'The account''s own row was not there any more when its deletion began: somebody else had removed it or given it '
                            'another id. Removed is what referenced the row that there had been.' END;
    -- copies that are no rows
    items := items || ARRAY(SELECT format('Planner statistics of %s may show values of its plain columns until it is analyzed again.', x.rel)
                              FROM (-- what is inherited has statistics above as well
                                    SELECT w.rel FROM dataprotect.deletion_work w WHERE w.request = request.id AND w.action NOT IN ('shared', 'keep')
                                    UNION SELECT t.rel::text FROM dataprotect.plan_table t
                                     WHERE t.plan = request.plan AND EXISTS (SELECT FROM dataprotect.deletion_work w, dataprotect._below(t.rel) b
                                                                              WHERE w.request = request.id AND w.action NOT IN ('shared', 'keep') AND w.rel = b::text)) x
                             WHERE EXISTS (SELECT FROM dataprotect._below(to_regclass(x.rel)) b
                                            WHERE greatest(pg_stat_get_last_analyze_time(b), pg_stat_get_last_autoanalyze_time(b)) > request.purged_at IS NOT TRUE
                                              -- with a limit: looked up for each table, and nothing asked of columns of others
                                              AND EXISTS (SELECT FROM (SELECT s.staattnum FROM pg_statistic s WHERE s.starelid = b LIMIT 1600) s
                                                           WHERE NOT dataprotect._bears((SELECT a.atttypid FROM pg_attribute a
                                                                                          WHERE a.attrelid = b AND a.attnum = s.staattnum))))
                             ORDER BY x.rel);
    items := items || ARRAY(SELECT format('Materialized view %s is computed from the account''s tables and shows what it did until it is refreshed.', m)
                              FROM dataprotect._materialized_from(request.plan) m);
    items := items || ARRAY(SELECT format('Column %I of %s may have referred to large objects, which were not removed.', l.col, l.rel)
                              FROM dataprotect._large_object_columns(request.account_type, request.plan) l
                             WHERE EXISTS (SELECT FROM dataprotect.deletion_work w WHERE w.request = request.id AND w.rel = l.rel::text));
    IF EXISTS (SELECT FROM pg_publication) THEN
        items := items || ARRAY(SELECT format('Rows of %s are published (%s): subscribers have copies of their own.', x.rel, string_agg(DISTINCT p.pubname, ', '))
                                  FROM (SELECT DISTINCT w.rel FROM dataprotect.deletion_work w
                                         WHERE w.request = request.id AND w.action NOT IN ('shared', 'keep')) x,
                                       dataprotect._below(to_regclass(x.rel)) b JOIN pg_class c ON c.oid = b JOIN pg_namespace n ON n.oid = c.relnamespace
                                  JOIN pg_publication_tables p ON p.schemaname = n.nspname AND p.tablename = c.relname
                                 GROUP BY x.rel ORDER BY x.rel);
    END IF;
    IF cardinality(request.key_ids) > 0 THEN
        SELECT string_agg(DISTINCT u, ', ') INTO roots
          FROM dataprotect.key_version v JOIN dataprotect.epoch e ON e.key_id = v.epoch, unnest(e.kms_uri) u
         WHERE v.key_id = ANY (request.key_ids);
        IF dataprotect._roots_remain(request.key_ids, request.destroyed_at) = '' THEN
            items := items || format('Backups, key exports and WAL from before %s contain the account''s keys wrapped under root keys (%s) that '
                                     'their KMSs report deleted: whoever has a copy of such a root from before can still open them.',
                                     to_char(request.destroyed_at, 'YYYY-MM-DD HH24:MI TZ'),
                                     (SELECT string_agg(DISTINCT u, ', ') FROM dataprotect._epochs_of_keys(request.key_ids, request.destroyed_at) e, unnest(e.kms_uri) u));
        ELSE
        items := items || format('Backups and key exports from before %s, and WAL from before then (segments still on the server, '
                                 'archived ones, those of replicas), contain the account''s keys in wrapped form: rows of '
                                 'dataprotect.key_version, which together with dataprotect.epoch and the root key (%s) open '
                                 'protected values of that time. No root key was destroyed for this request.',
                                 to_char(request.destroyed_at, 'YYYY-MM-DD HH24:MI TZ'), roots);
        END IF;
        items := items || 'Search tokens and index hashes of searchable columns in old backups show which values were equal.'::text;
    ELSE
        items := items || 'The account had no key of its own: protected values of it in old backups open as long as their named keys do.'::text;
    END IF;
    items := items || 'Copies that were made before the columns were protected are not reached.'::text;
    RETURN to_jsonb(array_remove(items, NULL));
END $$;
COMMENT ON FUNCTION dataprotect._deletion_residual(dataprotect.deletion_request) IS 'what a deletion could not reach';

CREATE FUNCTION dataprotect._deletion_certify(request dataprotect.deletion_request) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    account dataprotect.account_type := (SELECT t FROM dataprotect.account_type t WHERE t.name = request.account_type);
    document jsonb := jsonb_build_object(
        'format', 'dataprotect deletion certificate, version 2',
        'request', request.id,
        'account_type', request.account_type,
        'account_id', request.account_id,
        'reason', request.reason,
        'requested_by', request.requested_by,
        -- the fields of the sample certificate of NIST SP 800-88
        'performed_by', jsonb_build_object('name', 'dataprotect background worker', 'on_behalf_of', request.requested_by,
            'location', coalesce(host(inet_server_addr()), 'local')),
        'validated_by', jsonb_build_object('name', 'dataprotect, by a second search in a transaction of its own', 'at', request.verified_at),
        'system', jsonb_build_object('database', current_database(), 'database_uid', (SELECT i.uid FROM dataprotect.instance i),
            'cluster', (SELECT c.system_identifier::text FROM pg_control_system() c), 'server', version(),
            'media', 'tables and indexes of a database; no medium was destroyed'),
        'tool', jsonb_build_object('name', 'dataprotect', 'version', (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'dataprotect')),
        'plan', (SELECT jsonb_build_object('version', p.version, 'compiled_at', p.compiled_at,
                    'tables', (SELECT jsonb_agg(jsonb_build_object('table', t.rel::text, 'reached_by', t.reached_by, 'action', t.actions[1]) ORDER BY t.n)
                                 FROM dataprotect.plan_table t WHERE t.plan = p.id),
                    'not_followed', (SELECT coalesce(jsonb_agg(jsonb_build_object('edge', dataprotect._edge_text(e.from_rel, e.columns, e.match, e.to_rel),
                                            'action', e.action, 'basis', e.basis) ORDER BY e.edge), '[]')
                                       FROM dataprotect.plan_edge e WHERE e.plan = p.id AND (e.action = 'shared' OR e.direction = 'out' AND e.action IN ('keep', 'nullify'))))
                   FROM dataprotect.plan p WHERE p.id = request.plan),
        'timeline', jsonb_build_object('requested', request.requested_at, 'grace_until', request.grace_until,
            'deadline', request.deadline, 'purge_started', request.purge_started_at, 'purged', request.purged_at,
            'keys_destroyed', request.destroyed_at, 'verified', request.verified_at, 'certified', dataprotect._now()),
        'within_deadline', dataprotect._now() <= request.deadline)
     || jsonb_build_object(
        'erased', (SELECT coalesce(jsonb_agg(jsonb_build_object('table', w.rel, 'action', w.action, 'rows', w.rows)
                                             ORDER BY w.rel, w.action), '[]')
                     FROM dataprotect.deletion_work w WHERE w.request = request.id AND w.action NOT IN ('shared', 'keep')),
        'kept', (SELECT coalesce(jsonb_agg(jsonb_build_object('table', w.rel, 'rows', w.rows, 'legal_basis',
                                    CASE w.action WHEN 'shared' THEN 'referenced by rows of others' ELSE
                                        (SELECT string_agg(DISTINCT e.basis, '; ') FROM dataprotect.plan_edge e
                                          WHERE e.plan = request.plan AND e.from_rel::text = w.rel AND e.action = 'keep') END) ORDER BY w.rel), '[]')
                   FROM dataprotect.deletion_work w WHERE w.request = request.id AND w.action IN ('shared', 'keep')),
        'keys_destroyed', (SELECT coalesce(jsonb_agg(lpad(to_hex(k), 16, '0') ORDER BY k), '[]')
                             FROM unnest(request.key_ids) k),
        'techniques', CASE WHEN cardinality(request.key_ids) > 0 THEN jsonb_build_array(jsonb_build_object(
                'technique', 'cryptographic erase (NIST SP 800-88r2)',
                'applies_to', 'protected values wherever their ciphertext is: tables, indexes, WAL, replicas, backups',
                'how', 'AES-256 keys of the account destroyed, tombstone set',
                'conditions', 'holds against whoever has not both a copy of the wrapped keys from before and the root key; see roots_destroyed and residual')) ELSE '[]' END
            || jsonb_build_array(jsonb_build_object(
                'technique', 'clear (NIST SP 800-88r2)',
                'applies_to', 'rows and index entries of the tables named under erased',
                'how', 'rows deleted or overwritten in batches; where values were sealed for the account VACUUM, indexes rebuilt')),
        'roots_destroyed', CASE WHEN cardinality(request.key_ids) > 0 AND dataprotect._roots_remain(request.key_ids, request.destroyed_at) = '' THEN
            (SELECT jsonb_agg(jsonb_build_object('epoch', e.epoch, 'kms_uri', x.uri, 'root', x.root_uri, 'reported_deleted', x.asked_at) ORDER BY e.epoch, x.ordinal)
               FROM dataprotect._epochs_of_keys(request.key_ids, request.destroyed_at) e JOIN dataprotect.epoch_root x ON x.epoch = e.key_id)
            ELSE '[]' END,
        'verification', request.verification,
        'not_searched', dataprotect._not_searched(request.plan),
        'holds_met', to_jsonb(coalesce(request.holds_met, '{}')),
        'recipients_to_be_told', to_jsonb(coalesce(account.recipients, '{}')),
        'backups', 'not reached by deleting rows; what they still open is under residual',
        'own_records', dataprotect._own_records(request),
        'residual', dataprotect._deletion_residual(request),
        'public_key', translate(encode(dataprotect._certificate_key(), 'base64'), E'\n', ''));
    by_kms record := dataprotect._kms_signatures(document, ARRAY(SELECT dataprotect._signing_roots(request.key_ids)));
BEGIN
    IF request.listed_at IS NULL AND dataprotect._erasure_own_name() IS NOT NULL THEN
        PERFORM dataprotect._deletion_note(request.id, request.state,
            'waits: it is not in the list of erasures in "dataprotect.erasure_directory" yet');
        RETURN false;
    END IF;
    -- a KMS that is away is waited for, a while
    IF by_kms.away IS NOT NULL AND dataprotect._now() < least(request.verified_at + interval '1 hour', request.deadline) THEN
        PERFORM dataprotect._deletion_note(request.id, 'verified', 'waits: ' || by_kms.away);
        RETURN false;
    END IF;
    document := dataprotect._sign_document(document || jsonb_build_object('kms_signatures', by_kms.signatures));
    UPDATE dataprotect.deletion_request r SET certificate = document, certified_at = dataprotect._now()
     WHERE r.id = request.id;
    -- the id may begin a new life
    PERFORM dataprotect._subject_release(request.account_type, request.account_id);
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
    IF NOT dataprotect._is_signed_here(found_request.certificate) THEN
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
    unreadable jsonb;
    tables jsonb := '{}';
BEGIN
    FOR item IN SELECT * FROM dataprotect._export_rows(account_type, id) LOOP
        SELECT coalesce(jsonb_agg(j), '[]') INTO rows FROM dataprotect._rows_as_json(item.rel, item.leaf, coalesce(item.tids, '{}')) j;
        tables := jsonb_set(tables, ARRAY[item.rel::text], coalesce(tables -> item.rel::text, '[]') || rows);
    END LOOP;
    SELECT coalesce(jsonb_agg(format('%s.%I', p.rel, p.col) ORDER BY p.rel::text, p.col), '[]') INTO unreadable
      FROM dataprotect.protected_columns p
     WHERE p.rel::text IN (SELECT k FROM jsonb_object_keys(tables) k) AND NOT dataprotect._may_reveal(p.key);
    RETURN jsonb_build_object('account_type', account_type, 'account_id', id, 'exported_at', dataprotect._now(), 'tables', tables,
                              'complete', unreadable = '[]', 'unreadable', unreadable);
EXCEPTION WHEN program_limit_exceeded THEN
    PERFORM dataprotect._raise('program_limit_exceeded', format('account "%s" of type "%s" does not fit into one document', id, account_type),
        hint => 'dataprotect.export_account_rows() gives a row at a time.');
END $$;
COMMENT ON FUNCTION dataprotect._do_export_account(text, text) IS 'body of dataprotect.export_account(); see definer.c';

CREATE FUNCTION dataprotect._log_export_account(account_type text, id text, exported jsonb) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._event('account.exported', NULL, jsonb_build_object('account_type', $1, 'account_id', $2,
        'tables', (SELECT coalesce(jsonb_object_agg(t.key, jsonb_array_length(t.value)), '{}') FROM jsonb_each($3 -> 'tables') t),
        'bytes', octet_length($3::text)));
$$;
COMMENT ON FUNCTION dataprotect._log_export_account(text, text, jsonb) IS
    'event of dataprotect.export_account(); see definer.c';

CREATE FUNCTION dataprotect.export_account(account_type text, id text) RETURNS jsonb
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dp_definer_enter_recorded';
COMMENT ON FUNCTION dataprotect.export_account(text, text) IS
    'every row of an account as JSON, as far as the caller may see it';

CREATE FUNCTION dataprotect._export_rows_noted(account_type text, id text, OUT rel regclass, OUT leaf regclass, OUT tids tid[])
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tables jsonb := '{}';
BEGIN
    FOR rel, leaf, tids IN SELECT r.rel, r.leaf, r.tids FROM dataprotect._export_rows(account_type, id) r LOOP
        tables := jsonb_set(tables, ARRAY[rel::text], to_jsonb(coalesce((tables ->> rel::text)::bigint, 0) + cardinality(tids)));
        RETURN NEXT;
    END LOOP;
    PERFORM dataprotect._event('account.exported', NULL, jsonb_build_object('account_type', account_type, 'account_id', id, 'tables', tables));
END $$;
COMMENT ON FUNCTION dataprotect._export_rows_noted(text, text) IS 'where an account''s rows are, with the event of an export';

-- A row of the account at a time, for accounts that no document can hold.
CREATE FUNCTION dataprotect.export_account_rows(account_type text, id text, OUT rel regclass, OUT exported jsonb) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET row_security = off
AS $$
DECLARE
    item record;
BEGIN
    FOR item IN SELECT * FROM dataprotect._export_rows_noted(account_type, id) LOOP
        FOR i IN 0..(cardinality(item.tids) - 1) / 100 LOOP
            RETURN QUERY SELECT item.rel, j
                           FROM dataprotect._rows_as_json(item.rel, item.leaf, item.tids[i * 100 + 1:i * 100 + 100]) j
                          WHERE cardinality(item.tids) > 0;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect.export_account_rows(text, text) IS
    'every row of an account as JSON, a row at a time, as far as the caller may see it';
