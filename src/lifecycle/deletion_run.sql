-- Carrying deletions out: one step at a time, each in a transaction of its own
--
--   requested -> (held) -> purging -> purged -> verified -> certified
--
-- "shredded" comes between purged and verified where the epochs that the account's
-- keys were under are given up (keys/epoch.sql), once every KMS reports their roots
-- deleted; where nobody gives them up, verified follows the destruction of the
-- account's own keys.

CREATE FUNCTION dataprotect._pages_with_keys(rel regclass, key_ids int8[]) RETURNS bigint
    AS 'MODULE_PATHNAME', 'dp_lifecycle_pages_with_keys'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._pages_with_keys(regclass, int8[]) IS
    'pages of a table, its TOAST table and their indexes on which an envelope under one of these keys is left';

CREATE FUNCTION dataprotect._clear_key_pages(key_ids int8[]) RETURNS bigint
    AS 'MODULE_PATHNAME', 'dp_lifecycle_clear_key_pages'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._clear_key_pages(int8[]) IS
    'overwrite what removed rows left in the key table''s pages; row versions that still have one of these keys';

CREATE FUNCTION dataprotect._column_values_with_keys(rel regclass, attnum int2, key_ids int8[]) RETURNS bigint
    AS 'MODULE_PATHNAME', 'dp_lifecycle_column_values_with_keys'
    LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._column_values_with_keys(regclass, int2, int8[]) IS
    'values of a column that contain an envelope under one of these keys, read without a query';

-- True where something may be done for a request now.
CREATE FUNCTION dataprotect._deletions_due() RETURNS text[]
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(r.id::text ORDER BY r.deadline, r.id) FROM dataprotect.deletion_request r
     WHERE r.state = 'requested' AND r.grace_until <= dataprotect._now()
        OR r.state IN ('held', 'purging', 'purged', 'shredded', 'verified');
$$;
COMMENT ON FUNCTION dataprotect._deletions_due() IS 'deletion requests for which something may be done now';

-- What may still see rows that a transaction removed, in words, or NULL.
CREATE FUNCTION dataprotect._sees_before(xid xid8) RETURNS text
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(
        (SELECT format('a transaction of process %s', a.pid) FROM pg_catalog.pg_stat_activity a
          WHERE age(a.backend_xmin) > age(xid::xid) AND a.pid <> pg_backend_pid() LIMIT 1),
        (SELECT format('replication slot "%s"', l.slot_name) FROM pg_catalog.pg_replication_slots l
          WHERE age(l.xmin) > age(xid::xid) LIMIT 1),
        (SELECT format('prepared transaction "%s"', p.gid) FROM pg_catalog.pg_prepared_xacts p
          WHERE age(p.transaction) > age(xid::xid) LIMIT 1),
        CASE WHEN xid >= pg_snapshot_xmin(pg_current_snapshot()) THEN 'a transaction' END);
$$;
COMMENT ON FUNCTION dataprotect._sees_before(xid8) IS 'what may still see rows that a transaction removed, or NULL';

-- Tables whose old row versions are to be cleared now: no transaction that could
-- still see them is left.
CREATE FUNCTION dataprotect._scrubs_due() RETURNS text[]
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(DISTINCT c.oid::text)
      FROM dataprotect.deletion_scrub s
      JOIN dataprotect.deletion_request r ON r.id = s.request AND r.state = 'purged'
      JOIN pg_catalog.pg_class c ON c.oid = s.rel
     WHERE s.scrubbed_at IS NULL AND dataprotect._sees_before(r.purge_xid) IS NULL;
$$;
COMMENT ON FUNCTION dataprotect._scrubs_due() IS 'tables to vacuum and re-index for deletions now';

-- Statements that clear one table, for the worker to run at the top level.  What
-- a killed REINDEX left behind still contains the old entries, that of a TOAST table
-- as well.
CREATE FUNCTION dataprotect._scrub_statements(rel oid) RETURNS text[]
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT ARRAY(SELECT format('DROP INDEX %s', i.indexrelid::regclass) FROM pg_catalog.pg_index i
                   JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
                  WHERE i.indrelid IN ($1, (SELECT t.reltoastrelid FROM pg_catalog.pg_class t WHERE t.oid = $1))
                    AND NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$')
        || format('VACUUM (INDEX_CLEANUP ON, TRUNCATE OFF) %s', $1::regclass)
        || CASE WHEN $1 = 'dataprotect.key_version'::regclass THEN '{}'  -- its indexes contain no key
           ELSE ARRAY[format('REINDEX TABLE %s%s',
                  CASE WHEN EXISTS (SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisexclusion)
                       THEN '' ELSE 'CONCURRENTLY ' END, $1::regclass)] END
        || format('SELECT dataprotect._scrub_done(%s)', $1);
$$;
COMMENT ON FUNCTION dataprotect._scrub_statements(oid) IS 'what clears old versions of a table''s rows and index entries';

CREATE FUNCTION dataprotect._scrub_done(rel oid) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE dataprotect.deletion_scrub s SET scrubbed_at = dataprotect._now()
     WHERE s.rel = $1 AND s.scrubbed_at IS NULL
       AND s.request IN (SELECT r.id FROM dataprotect.deletion_request r WHERE r.state = 'purged');
$$;
COMMENT ON FUNCTION dataprotect._scrub_done(oid) IS 'write down that a table was cleared';

-- Everywhere that a protected value can be: the number of values under these
-- keys, by column.  Opens nothing.
CREATE FUNCTION dataprotect._values_with_keys(key_ids int8[], OUT tables bigint, OUT columns bigint, OUT hits jsonb)
    RETURNS record
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
    here bigint;
BEGIN
    columns := 0;
    hits := '{}';
    SELECT count(*) INTO tables FROM pg_class c WHERE c.relkind IN ('r', 'm', 't');
    IF key_ids = '{}' THEN
        RETURN;
    END IF;
    FOR item IN
        SELECT c.oid::regclass AS rel, a.attname AS col, a.attnum
          FROM pg_class c, pg_attribute a
         WHERE c.relkind IN ('r', 'm') AND NOT pg_is_other_temp_schema(c.relnamespace)
           AND a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND dataprotect._bears(a.atttypid)
    LOOP
        columns := columns + 1;
        here := dataprotect._column_values_with_keys(item.rel, item.attnum, key_ids);
        IF here > 0 THEN
            hits := hits || jsonb_build_object(format('%s.%I', item.rel, item.col), here);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._values_with_keys(int8[]) IS 'protected values that are sealed under one of these keys, by column';

-- The active holds, so that a deletion sees whether it has looked at them.
CREATE FUNCTION dataprotect._holds_now() RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT coalesce(string_agg(h.id::text, ',' ORDER BY h.id), '') FROM dataprotect.holds h WHERE h.active);
END $$;
COMMENT ON FUNCTION dataprotect._holds_now() IS 'ids of the active holds';

-- How much is gone already, for the detail of what waits.
CREATE FUNCTION dataprotect._deletion_so_far(request bigint) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT coalesce('; ' || nullif(sum(w.rows) FILTER (WHERE w.action NOT IN ('keep', 'shared')), 0) || ' rows are dealt with already', '')
      FROM dataprotect.deletion_work w WHERE w.request = $1);
END $$;
COMMENT ON FUNCTION dataprotect._deletion_so_far(bigint) IS 'how many rows a deletion has dealt with, in words';

CREATE FUNCTION dataprotect._deletion_held(request dataprotect.deletion_request, rel text) RETURNS bool
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM dataprotect._deletion_note(request.id, 'held', format('a legal hold covers rows of %s%s', rel,
                                                                  dataprotect._deletion_so_far(request.id)));
    UPDATE dataprotect.deletion_request r SET phase = 0, holds_seen = NULL,
           holds_met = (SELECT array_agg(DISTINCT h.id ORDER BY h.id) FROM (
                SELECT unnest(r.holds_met) AS id UNION SELECT h.id FROM dataprotect.holds h JOIN pg_class c ON c.oid = h.rel
                 WHERE h.active AND (_deletion_held.rel::regclass IN (SELECT dataprotect._below(h.rel))
                                 OR h.rel IN (SELECT dataprotect._below(_deletion_held.rel::regclass)))) h)
     WHERE r.id = request.id;
    RETURN false;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_held(dataprotect.deletion_request, text) IS 'stop a deletion for a legal hold';

-- requested, held: begin to purge, unless something forbids it.
CREATE FUNCTION dataprotect._deletion_start(account dataprotect.account_type, request dataprotect.deletion_request)
    RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    obstacle text;
    plan_id bigint;
    held text;
    own record;
BEGIN
    IF request.grace_until > dataprotect._now() THEN
        RETURN false;
    END IF;
    plan_id := dataprotect._account_current_plan(account);
    obstacle := dataprotect._account_obstacle(account, plan_id);
    IF obstacle IS NOT NULL THEN
        PERFORM dataprotect._deletion_note(request.id, request.state, 'waits: ' || obstacle);
        RETURN false;
    END IF;
    IF request.plan IS DISTINCT FROM plan_id THEN
        PERFORM dataprotect._deletion_follow_plan(request, plan_id);
    END IF;
    IF request.purge_started_at IS NULL THEN
        own := dataprotect._find_own_row(account, plan_id, request.id, request.account_id);
        IF own.id_now <> request.account_id AND dataprotect._subject_key_ids(account.name, own.id_now) <> '{}' THEN
            PERFORM dataprotect._deletion_note(request.id, request.state, 'waits: the account has another id now, under which values were sealed: '
                                                                          'cancel this request, and request the deletion of that one');
            RETURN false;
        END IF;
        UPDATE dataprotect.deletion_request r SET found_by = own.found_by WHERE r.id = request.id;
    END IF;
    PERFORM dataprotect._account_collect(account, plan_id, request.id, request.account_id);
    held := dataprotect._account_held(plan_id, request.id);
    IF held IS NOT NULL THEN
        RETURN dataprotect._deletion_held(request, held);
    END IF;
    UPDATE dataprotect.deletion_request r
       SET purge_started_at = coalesce(r.purge_started_at, dataprotect._now()), phase = 1, holds_seen = dataprotect._holds_now(),
           key_ids = coalesce(r.key_ids, dataprotect._subject_key_ids(r.account_type, r.account_id))
     WHERE r.id = request.id;
    PERFORM dataprotect._deletion_note(request.id, 'purging', NULL);
    BEGIN
        RETURN dataprotect._deletion_go_on(account, dataprotect._lock_deletion_request(request.id), plan_id);
    EXCEPTION WHEN OTHERS THEN
        RETURN true;    -- that it has begun stands; the next step meets the same and tells
    END;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_start(dataprotect.account_type, dataprotect.deletion_request) IS
    'begin to purge an account, unless something forbids it';

-- Steps of the plan from the request's on, batch after batch for as long as a hold
-- may be made to wait: true where all of them are done, NULL where something is
-- waited for, which is written down.
CREATE FUNCTION dataprotect._deletion_steps(account dataprotect.account_type, request dataprotect.deletion_request, batch int) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    step dataprotect.plan_step;
    tab dataprotect.plan_table;
    outcome record;
    budget int := batch;
    began timestamptz := clock_timestamp();
    waits text;
BEGIN
    FOR step IN SELECT s.* FROM dataprotect.plan_step s WHERE s.plan = request.plan AND s.ord >= request.phase ORDER BY s.ord LOOP
        SELECT t.* INTO tab FROM dataprotect.plan_table t WHERE t.plan = request.plan AND t.n = step.n;
        LOOP
            IF step.what <> 'clear' AND step.edge IS NOT NULL THEN
                SELECT c.dealt, c.waits, c.held, false AS moved INTO outcome FROM dataprotect._deletion_cut(request.plan, request.id, step, budget) c;
            ELSE
                -- what is cut for a circle is cut whole: nothing tells which row is done
                SELECT * INTO outcome FROM dataprotect._deletion_apply(account, request.id, step, tab,
                    CASE WHEN step.edge IS NULL THEN budget ELSE 2147483647 END);
            END IF;
            IF outcome.held IS NOT NULL THEN
                PERFORM dataprotect._deletion_held(request, outcome.held);
                RETURN NULL;
            END IF;
            IF outcome.moved THEN
                PERFORM dataprotect._account_collect(account, request.plan, request.id, request.account_id);
            END IF;
            budget := budget - outcome.dealt;
            waits := coalesce(waits, outcome.waits);
            EXIT WHEN outcome.dealt = 0 OR outcome.waits IS NOT NULL OR step.what = 'clear' AND step.edge IS NOT NULL;
            IF budget <= 0 THEN
                IF clock_timestamp() - began NOT BETWEEN interval '0' AND interval '100 ms' THEN
                    UPDATE dataprotect.deletion_request r SET phase = step.ord WHERE r.id = request.id;
                    RETURN false;
                END IF;
                budget := batch;
            END IF;
        END LOOP;
        IF waits IS NOT NULL THEN
            UPDATE dataprotect.deletion_request r SET phase = step.ord WHERE r.id = request.id;
            PERFORM dataprotect._deletion_note(request.id, 'purging', waits);
            RETURN NULL;
        END IF;
    END LOOP;
    RETURN true;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_steps(dataprotect.account_type, dataprotect.deletion_request, int) IS
    'go on with the steps of a deletion''s plan';

-- purging, the rows noted and free of holds: the next of them.
CREATE FUNCTION dataprotect._deletion_go_on(account dataprotect.account_type, request dataprotect.deletion_request, plan_id bigint)
    RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    done bool;
    back regclass;
BEGIN
    done := dataprotect._deletion_steps(account, request, current_setting('dataprotect.retention_batch_size')::int);
    IF done IS NOT TRUE THEN
        RETURN done IS NOT NULL;
    END IF;
    -- look again: rows that came meanwhile, and what a trigger has put back; the
    -- verification does so too, which is early enough where no key is destroyed
    IF request.key_ids <> '{}' OR NOT dataprotect._nobody_interferes(ARRAY(SELECT t.rel FROM dataprotect.plan_table t WHERE t.plan = plan_id
                                                                          UNION SELECT s.rel FROM dataprotect.plan_step s WHERE s.plan = plan_id)) THEN
        PERFORM dataprotect._account_collect(account, plan_id, request.id, request.account_id);
        back := dataprotect._rows_remain(plan_id, request.id);
    END IF;
    IF back IS NOT NULL THEN
        UPDATE dataprotect.deletion_request r SET phase = 1, passes = (r.passes + 1) % 3 WHERE r.id = request.id;
        IF request.passes = 2 THEN
            PERFORM dataprotect._deletion_note(request.id, 'purging', format('waits: rows of the account come back in %s: %s', back,
                                                                             dataprotect._who_interferes(back)));
        END IF;
        RETURN request.passes < 2;
    END IF;
    DELETE FROM dataprotect.deletion_work w WHERE w.request = request.id AND w.action IN ('keep', 'shared');
    PERFORM dataprotect._deletion_count(request.id, t.rel, CASE d.state WHEN 'c' THEN 'shared' ELSE 'keep' END, count(*))
       FROM dataprotect.deletion_row d JOIN dataprotect.plan_table t ON t.plan = plan_id AND t.n = d.n
      WHERE d.request = request.id AND (d.state = 'c' OR t.actions = '{keep}') GROUP BY t.rel, d.state = 'c', CASE d.state WHEN 'c' THEN 'shared' ELSE 'keep' END;
    PERFORM dataprotect._show_rows(request.id);
    UPDATE dataprotect.deletion_request r SET phase = 0, purged_at = dataprotect._now() WHERE r.id = request.id;
    PERFORM dataprotect._deletion_note(request.id, 'purged', 'old row versions are being cleared');
    RETURN true;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_go_on(dataprotect.account_type, dataprotect.deletion_request, bigint) IS
    'remove the next rows of an account, which are noted and free of holds';

-- purging: the next rows.
CREATE FUNCTION dataprotect._deletion_purge(account dataprotect.account_type, request dataprotect.deletion_request)
    RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    plan_id bigint := dataprotect._account_current_plan(account);
    obstacle text := dataprotect._account_obstacle(account, plan_id);
    held text;
BEGIN
    IF obstacle IS NOT NULL THEN
        PERFORM dataprotect._deletion_note(request.id, 'purging', 'waits: ' || obstacle);
        RETURN false;
    END IF;
    IF request.plan IS DISTINCT FROM plan_id THEN
        PERFORM dataprotect._deletion_follow_plan(request, plan_id);
        request.plan := plan_id;
        request.phase := 0;
    END IF;
    IF request.phase = 0 THEN
        PERFORM dataprotect._account_collect(account, plan_id, request.id, request.account_id);
        request.phase := 1;
        request.holds_seen := NULL;
        UPDATE dataprotect.deletion_request r SET phase = 1 WHERE r.id = request.id;
    END IF;
    IF request.holds_seen IS DISTINCT FROM dataprotect._holds_now() THEN
        held := dataprotect._account_held(plan_id, request.id);
        IF held IS NOT NULL THEN
            RETURN dataprotect._deletion_held(request, held);
        END IF;
        UPDATE dataprotect.deletion_request r SET holds_seen = dataprotect._holds_now() WHERE r.id = request.id;
    END IF;
    RETURN dataprotect._deletion_go_on(account, request, plan_id);
END $$;
COMMENT ON FUNCTION dataprotect._deletion_purge(dataprotect.account_type, dataprotect.deletion_request) IS
    'remove the next rows of an account';

-- purged: once every table is cleared, destroy the keys.
CREATE FUNCTION dataprotect._deletion_destroy(request dataprotect.deletion_request) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    scrub record;
    scanned record;
BEGIN
    -- Keys claimed since the request began are the account's as well; from here to
    -- the end of the transaction none is.
    PERFORM dataprotect._subject_lock(request.account_type, request.account_id);
    request.key_ids := ARRAY(SELECT unnest(request.key_ids)
                             UNION SELECT unnest(dataprotect._subject_key_ids(request.account_type, request.account_id))
                             ORDER BY 1);
    UPDATE dataprotect.deletion_request r SET key_ids = request.key_ids
     WHERE r.id = request.id AND r.key_ids IS DISTINCT FROM request.key_ids;
    IF request.destroyed_at IS NOT NULL THEN
        RETURN dataprotect._deletion_verify(request);
    END IF;
    IF EXISTS (SELECT 1 FROM dataprotect.deletion_scrub s JOIN pg_class c ON c.oid = s.rel
                WHERE s.request = request.id AND s.scrubbed_at IS NULL) THEN
        PERFORM dataprotect._wake_maintenance();
        RETURN false;
    END IF;
    -- nothing was ever sealed for the account
    IF request.key_ids = '{}' THEN
        PERFORM dataprotect._subject_destroy(request.account_type, request.account_id, format('deletion request %s', request.id));
        UPDATE dataprotect.deletion_request r SET destroyed_at = dataprotect._now() WHERE r.id = request.id;
        RETURN dataprotect._deletion_verify(dataprotect._lock_deletion_request(request.id));
    END IF;
    scanned := dataprotect._values_with_keys(request.key_ids);
    IF scanned.hits <> '{}' THEN
        PERFORM dataprotect._deletion_note(request.id, 'purged',
            format('waits: values of the account are left in %s',
                   (SELECT string_agg(k, ', ') FROM jsonb_object_keys(scanned.hits) k)));
        RETURN false;
    END IF;
    FOR scrub IN SELECT s.rel FROM dataprotect.deletion_scrub s JOIN pg_class c ON c.oid = s.rel
                  WHERE s.request = request.id AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = s.rel AND a.attnum > 0
                                                        AND NOT a.attisdropped AND dataprotect._bears(a.atttypid))
    LOOP
        IF dataprotect._pages_with_keys(scrub.rel, request.key_ids) > 0 THEN
            UPDATE dataprotect.deletion_scrub s SET scrubbed_at = NULL WHERE s.request = request.id AND s.rel = scrub.rel;
            PERFORM dataprotect._deletion_note(request.id, 'purged', format('old row versions are left in %s', scrub.rel));
            RETURN false;
        END IF;
    END LOOP;
    PERFORM dataprotect._subject_destroy(request.account_type, request.account_id, format('deletion request %s', request.id));
    UPDATE dataprotect.deletion_request r SET destroyed_at = dataprotect._now(), purge_xid = pg_current_xact_id()
     WHERE r.id = request.id;
    INSERT INTO dataprotect.deletion_scrub (request, rel)
        SELECT request.id, 'dataprotect.key_version' WHERE request.key_ids <> '{}';
    PERFORM dataprotect._deletion_note(request.id, 'purged', 'keys destroyed');
    RETURN true;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_destroy(dataprotect.deletion_request) IS
    'destroy an account''s keys once nothing under them is left';

-- True once the destroyed keys, wrapped as they are, are in no row version of the
-- key table any more; otherwise the request says what keeps them there.
CREATE FUNCTION dataprotect._deletion_keys_cleared(request dataprotect.deletion_request) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    waiting bool := EXISTS (SELECT 1 FROM dataprotect.deletion_scrub s WHERE s.request = request.id
                                AND s.rel = 'dataprotect.key_version'::regclass AND s.scrubbed_at IS NULL);
BEGIN
    IF NOT waiting AND (request.key_ids = '{}' OR dataprotect._clear_key_pages(request.key_ids) = 0) THEN
        RETURN true;
    END IF;
    UPDATE dataprotect.deletion_scrub s SET scrubbed_at = NULL
     WHERE s.request = request.id AND s.rel = 'dataprotect.key_version'::regclass AND s.scrubbed_at IS NOT NULL;
    PERFORM dataprotect._deletion_note(request.id, 'purged', 'waits: the destroyed keys are in old row versions of '
        'dataprotect.key_version' || coalesce(format(', which %s may still see', dataprotect._sees_before(request.purge_xid)), ''));
    PERFORM dataprotect._wake_maintenance();
    RETURN false;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_keys_cleared(dataprotect.deletion_request) IS
    'whether the destroyed keys are gone from the key table''s pages';

-- purged, the keys gone from every page: true once old backups have nothing left
-- that opens them, or where nobody is about to see to that.
CREATE FUNCTION dataprotect._deletion_shred(request dataprotect.deletion_request) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    waits text;
BEGIN
    IF request.key_ids = '{}' THEN
        RETURN true;
    END IF;
    waits := dataprotect._roots_remain(request.key_ids, request.destroyed_at);
    IF waits IS NULL THEN
        RETURN true;
    END IF;
    IF waits <> '' THEN
        PERFORM dataprotect._deletion_note(request.id, 'purged', 'waits: ' || waits);
        PERFORM dataprotect._epoch_wake();
        RETURN false;
    END IF;
    PERFORM dataprotect._deletion_note(request.id, 'shredded', NULL);
    RETURN true;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_shred(dataprotect.deletion_request) IS
    'see whether the roots that an account''s keys were wrapped under are gone';

-- Scan every table again.
CREATE FUNCTION dataprotect._deletion_verify(request dataprotect.deletion_request) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(request.account_type);
    scanned record;
    remains text;
    alive int := (SELECT count(*) FROM dataprotect.key_version v
                   WHERE v.key_id = ANY (request.key_ids) AND (v.state <> 'd' OR v.wrapped IS NOT NULL));
BEGIN
    IF NOT dataprotect._deletion_keys_cleared(request)
       OR request.state = 'purged' AND NOT dataprotect._deletion_shred(request) THEN
        RETURN false;
    END IF;
    scanned := dataprotect._values_with_keys(request.key_ids);
    -- the rows are looked for once more, from everything that was noted
    IF request.plan IS NOT NULL THEN
        PERFORM dataprotect._account_collect(account, request.plan, request.id, request.account_id);
        remains := 'rows of the account are in ' || dataprotect._rows_remain(request.plan, request.id);
        IF remains IS NOT NULL THEN
            UPDATE dataprotect.deletion_request r SET phase = 0 WHERE r.id = request.id;
            PERFORM dataprotect._deletion_note(request.id, 'purging', 'not verified: ' || remains);
            RETURN false;
        END IF;
    END IF;
    IF scanned.hits <> '{}' THEN
        remains := concat_ws('; ', remains, 'values of the account are left in '
            || (SELECT string_agg(k, ', ') FROM jsonb_object_keys(scanned.hits) k));
    END IF;
    IF alive > 0 THEN
        remains := concat_ws('; ', remains, format('%s keys of the account exist', alive));
    END IF;
    IF remains IS NOT NULL THEN
        PERFORM dataprotect._deletion_note(request.id, 'purged', 'not verified: ' || remains);
        RETURN false;
    END IF;
    UPDATE dataprotect.deletion_request r
       SET verified_at = dataprotect._now(), verification = jsonb_build_object('tables_in_database', scanned.tables,
               'protected_columns_scanned', scanned.columns, 'values_found', 0, 'rows_found', 0, 'keys_found', 0,
               'extent', 'full: every table of the plan by its edges, from every row that was found before; '
                   || CASE request.key_ids WHEN '{}' THEN 'no key was ever made for the account, so that no value is under one'
                                           ELSE 'every protected column of the database by key' END)
     WHERE r.id = request.id;
    DELETE FROM dataprotect.deletion_row d WHERE d.request = request.id;
    PERFORM dataprotect._deletion_note(request.id, 'verified', NULL);
    -- a certificate that waits for nothing
    IF dataprotect._erasure_own_name() IS NULL
       AND NOT EXISTS (SELECT FROM dataprotect._signing_roots(request.key_ids) u WHERE u NOT LIKE 'file://%') THEN
        RETURN dataprotect._deletion_certify(dataprotect._lock_deletion_request(request.id));
    END IF;
    RETURN true;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_verify(dataprotect.deletion_request) IS
    'see whether anything of an account is left anywhere';

-- One step of one request; true where the next can follow at once.  Holds are
-- locked first: one that is placed from now on waits for this step.
CREATE FUNCTION dataprotect._deletion_step(id bigint) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    request dataprotect.deletion_request;
    account dataprotect.account_type;
BEGIN
    -- a certificate may wait for a KMS, and no hold matters to it any more
    IF NOT EXISTS (SELECT FROM dataprotect.deletion_request r WHERE r.id = _deletion_step.id AND r.state = 'verified') THEN
        LOCK TABLE dataprotect.hold IN SHARE MODE;
    END IF;
    PERFORM dataprotect._need_policy(t.tbl, t.scope)
       FROM (VALUES ('hold', 0::int8), ('account_type', 0), ('account_rule', 0), ('deletion_request', id)) t(tbl, scope);
    request := dataprotect._lock_deletion_request(id);
    account := dataprotect._find_account_type(request.account_type);
    PERFORM dataprotect._need_policy(t.tbl, request.plan)
       FROM (VALUES ('plan'), ('plan_table'), ('plan_edge'), ('plan_step')) t(tbl) WHERE request.plan IS NOT NULL;
    RETURN CASE request.state
        WHEN 'requested' THEN dataprotect._deletion_start(account, request)
        WHEN 'held' THEN dataprotect._deletion_start(account, request)
        WHEN 'purging' THEN dataprotect._deletion_purge(account, request)
        WHEN 'purged' THEN dataprotect._deletion_destroy(request)
        WHEN 'shredded' THEN dataprotect._deletion_verify(request)
        WHEN 'verified' THEN dataprotect._deletion_certify(request)
        ELSE false END;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_step(bigint) IS 'bring a deletion one step further';

CREATE FUNCTION dataprotect._deletion_failed(id bigint, failure text) RETURNS void
    LANGUAGE sql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    UPDATE dataprotect.deletion_request r SET phase = 0 WHERE r.id = $1 AND r.state = 'purging';
    SELECT dataprotect._deletion_note($1, r.state, 'failed, is tried again: ' || $2)
      FROM dataprotect.deletion_request r WHERE r.id = $1;
$$;
COMMENT ON FUNCTION dataprotect._deletion_failed(bigint, text) IS 'write down that a step of a deletion failed';

CREATE PROCEDURE dataprotect.run_deletions()
    AS 'MODULE_PATHNAME', 'dp_lifecycle_run_deletions'
    LANGUAGE C;
COMMENT ON PROCEDURE dataprotect.run_deletions() IS
    'bring every deletion that is due as far as it goes, in batches with a commit each';
