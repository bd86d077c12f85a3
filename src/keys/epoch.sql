--
-- Epochs: the next one is opened under new roots, what lives is wrapped anew, and
-- the old roots are destroyed, so that backups from before open nothing by
-- themselves.
--
--   active -> given up -> emptied -> (an export of the keys is drilled) -> pending -> destroyed
--
-- Each step is a transaction of its own, may be repeated, and begins where the
-- last one was committed: _epoch_step().  The destruction of a root is asked for
-- only after it was committed that it will be.
--
CREATE FUNCTION dataprotect._epoch_opens(key_id int8, wrapped bytea, purpose int2, version int4, epoch int8) RETURNS bool
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_epoch_opens_sql';
COMMENT ON FUNCTION dataprotect._epoch_opens(int8, bytea, int2, int4, int8) IS 'does a wrapped key open under an epoch, and is it the key of this id?';

CREATE FUNCTION dataprotect._epoch_probe_as(epoch int8, ordinal int4, uri text) RETURNS text
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_epoch_probe_as_sql';
COMMENT ON FUNCTION dataprotect._epoch_probe_as(int8, int4, text) IS 'opens what is wrapped under one of an epoch''s URIs (1-based) by another URI: what went wrong, or null';

CREATE FUNCTION dataprotect._epoch_forget(epoch int8) RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_epoch_forget_sql';
COMMENT ON FUNCTION dataprotect._epoch_forget(int8) IS 'wipes an epoch key from the shared memory';

CREATE FUNCTION dataprotect._epoch_wake() RETURNS void
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_epoch_wake_sql';
COMMENT ON FUNCTION dataprotect._epoch_wake() IS 'has the worker look at the epochs now';

CREATE FUNCTION dataprotect._root_make(uri text) RETURNS text
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_root_make_sql';
COMMENT ON FUNCTION dataprotect._root_make(text) IS 'sees to it that there is a root, where its KMS lets us make one: what went wrong, or null';

CREATE FUNCTION dataprotect._root_state(uri text, OUT state text, OUT delete_at timestamptz, OUT root_uri text, OUT problem text)
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_root_state_sql';
COMMENT ON FUNCTION dataprotect._root_state(text) IS 'what a KMS says of a root now';

CREATE FUNCTION dataprotect._root_destroy(uri text, days int4, OUT state text, OUT delete_at timestamptz, OUT root_uri text, OUT problem text)
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_root_destroy_sql';
COMMENT ON FUNCTION dataprotect._root_destroy(text, int4) IS 'has a root destroyed, after the waiting period where there is one';

CREATE FUNCTION dataprotect._roots_elsewhere(uris text[]) RETURNS text
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_keys_roots_elsewhere_sql';
COMMENT ON FUNCTION dataprotect._roots_elsewhere(text[]) IS 'another database of this server whose keys are under one of these URIs, or null';

-- Two URIs may mean one root (an alias, a link): it is one that opens what was
-- wrapped under the other.
CREATE FUNCTION dataprotect._epoch_shares_root(old_epoch int8, uris text[]) RETURNS text
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_uri text;
    v_root record;
BEGIN
    FOREACH v_uri IN ARRAY uris LOOP
        SELECT * INTO v_root FROM dataprotect._root_state(v_uri);
        IF v_root.problem IS NOT NULL OR v_root.state NOT IN ('enabled', 'disabled') THEN
            PERFORM dataprotect._raise('object_not_in_prerequisite_state',
                format('KMS root "%s" cannot be looked at', v_uri), coalesce(v_root.problem, format('Its state is "%s".', v_root.state)));
        END IF;
        IF EXISTS (SELECT FROM dataprotect.epoch e, generate_series(1, cardinality(e.kms_uri)) n
                   WHERE e.key_id = old_epoch
                     AND (v_uri = e.kms_uri[n] OR dataprotect._epoch_probe_as(e.key_id, n, v_root.root_uri) IS NULL)) THEN
            RETURN v_uri;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._epoch_shares_root(int8, text[]) IS 'the first of these URIs that is a root of that epoch, or null';

-- The roots of the next epoch where none are named: {epoch} is its number; key
-- files get a file beside them.
CREATE FUNCTION dataprotect._epoch_next_uris(old_epoch int8, template text[]) RETURNS text[]
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_number int4 := (SELECT max(e.epoch) + 1 FROM dataprotect.epoch e);
    v_uris text[] := (SELECT e.kms_uri FROM dataprotect.epoch e WHERE e.key_id = old_epoch);
BEGIN
    IF template IS NOT NULL THEN
        RETURN ARRAY(SELECT replace(u, '{epoch}', v_number::text) FROM unnest(template) WITH ORDINALITY t(u, n) ORDER BY n);
    END IF;
    IF EXISTS (SELECT FROM unnest(v_uris) u WHERE u !~ '^file:') THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'the roots of the next epoch are not named',
            'Only key files are made by themselves.',
            'Pass kms_uri with roots that exist, and that wrap nothing else.');
    END IF;
    RETURN ARRAY(SELECT regexp_replace(u, '\.epoch[0-9]+$', '') || '.epoch' || v_number FROM unnest(v_uris) WITH ORDINALITY t(u, n) ORDER BY n);
END $$;
COMMENT ON FUNCTION dataprotect._epoch_next_uris(int8, text[]) IS 'the roots of the epoch that follows';

-- In a transaction of its own: from here on nothing is minted under the old epoch.
CREATE FUNCTION dataprotect._epoch_begin(old_epoch int8, uris text[], why text, with_backups bool, days int4) RETURNS int4
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_new int8;
    v_number int4;
BEGIN
    LOCK TABLE dataprotect.epoch IN SHARE ROW EXCLUSIVE MODE;
    PERFORM FROM dataprotect.epoch e WHERE e.key_id = old_epoch AND e.state = 'a';
    IF NOT FOUND OR EXISTS (SELECT FROM dataprotect.epoch e WHERE e.kms_uri && uris AND (e.state <> 'a' OR e.kms_uri <> uris)) THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            'another epoch has these roots, or this one is given up already',
            NULL,
            'View dataprotect.epochs shows them.');
    END IF;
    v_new := dataprotect._mint_epoch(uris);
    UPDATE dataprotect.key k SET epoch = v_new, kms_uri = uris WHERE k.epoch = old_epoch;
    UPDATE dataprotect.epoch e SET state = 'g', successor = v_new, rolled_at = now(), reason = why, backups = with_backups, waiting_days = days
        WHERE e.key_id = old_epoch;
    SELECT e.epoch INTO STRICT v_number FROM dataprotect.epoch e WHERE e.key_id = v_new;
    RETURN v_number;
END $$;
COMMENT ON FUNCTION dataprotect._epoch_begin(int8, text[], text, bool, int4) IS 'opens the next epoch and gives the old one up';

CREATE FUNCTION dataprotect._epoch_roll(old_epoch int8, uris text[], why text, with_backups bool, days int4) RETURNS int4
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_elsewhere text := dataprotect._roots_elsewhere(uris || (SELECT e.kms_uri FROM dataprotect.epoch e WHERE e.key_id = old_epoch));
    v_problem text;
    v_uri text;
    v_number int4;
BEGIN
    IF v_elsewhere IS NOT NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('keys of database "%s" are under the same roots', v_elsewhere),
            'A root is destroyed for all that is wrapped under it.',
            'Move the keys of one of the databases to roots of its own by dataprotect.rewrap_key().');
    END IF;
    FOREACH v_uri IN ARRAY uris LOOP
        CONTINUE WHEN v_uri !~ '^file:';
        v_problem := dataprotect._root_make(v_uri);
        IF v_problem IS NOT NULL THEN
            PERFORM dataprotect._raise('object_not_in_prerequisite_state',
                format('KMS root "%s" cannot be used for the next epoch', v_uri), v_problem);
        END IF;
    END LOOP;
    v_uri := dataprotect._epoch_shares_root(old_epoch, uris);
    IF v_uri IS NOT NULL THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('"%s" is a root of the epoch that is to be given up', v_uri),
            NULL,
            'Name a root that wraps nothing yet.');
    END IF;
    v_number := dataprotect._autonomous(format('SELECT dataprotect._epoch_begin(%s, %L, %L, %L, %s)', old_epoch, uris, why, with_backups, days))::int4;
    PERFORM dataprotect._event('epoch.rolled', NULL, jsonb_build_object('epoch', v_number, 'kms_uri', uris, 'reason', why));
    PERFORM dataprotect._epoch_wake();
    RETURN v_number;
END $$;
COMMENT ON FUNCTION dataprotect._epoch_roll(int8, text[], text, bool, int4) IS 'opens the next epoch after an old one, with all that speaks against it';

CREATE FUNCTION dataprotect._check_epoch_options(kms_uri text[], waiting_days int) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF waiting_days IS NULL OR waiting_days NOT BETWEEN 7 AND 30 THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'the waiting period of a root must be 7 to 30 days',
            'It is what the KMS waits before it destroys a root; key files are destroyed at once.');
    END IF;
    IF kms_uri IS NOT NULL THEN
        PERFORM dataprotect._resolve_uris(ARRAY(SELECT replace(u, '{epoch}', '1') FROM unnest(kms_uri) WITH ORDINALITY t(u, n) ORDER BY n));
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_epoch_options(text[], int) IS 'raises an error unless an epoch may have these options';

CREATE FUNCTION dataprotect.roll_epoch(reason text, kms_uri text[] DEFAULT NULL, from_kms_uri text[] DEFAULT NULL,
                                       backups bool DEFAULT true, waiting_days int DEFAULT 30) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_old int8[] := ARRAY(SELECT e.key_id FROM dataprotect.epoch e
                          WHERE e.state = 'a' AND (from_kms_uri IS NULL OR e.kms_uri = from_kms_uri)
                            AND EXISTS (SELECT FROM dataprotect.key_version v WHERE v.epoch = e.key_id));
BEGIN
    PERFORM dataprotect._check_reason(roll_epoch.reason);
    PERFORM dataprotect._check_epoch_options(roll_epoch.kms_uri, roll_epoch.waiting_days);
    IF cardinality(v_old) <> 1 THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('there are %s epochs that could be given up', cardinality(v_old)),
            NULL,
            'Name the roots of one of them in from_kms_uri; view dataprotect.epochs shows them.');
    END IF;
    RETURN dataprotect._epoch_roll(v_old[1], dataprotect._epoch_next_uris(v_old[1], roll_epoch.kms_uri),
                                   roll_epoch.reason, coalesce(roll_epoch.backups, true), roll_epoch.waiting_days);
END $$;
COMMENT ON FUNCTION dataprotect.roll_epoch(text, text[], text[], bool, int) IS
    'opens the next epoch under new roots, wraps what lives anew, and has the old roots destroyed; the new epoch''s number; committed at once';

CREATE FUNCTION dataprotect.schedule_epochs(deletions int DEFAULT NULL, every interval DEFAULT NULL, kms_uri text[] DEFAULT NULL,
                                            backups bool DEFAULT true, waiting_days int DEFAULT 30) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM dataprotect._check_epoch_options(schedule_epochs.kms_uri, schedule_epochs.waiting_days);
    IF schedule_epochs.deletions < 1 OR schedule_epochs.every < interval '1 hour' THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'an epoch lasts for one deletion, or an hour, at least');
    END IF;
    IF EXISTS (SELECT FROM unnest(schedule_epochs.kms_uri) u WHERE position('{epoch}' IN u) = 0) THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'a root of epochs to come has no "{epoch}" in its URI',
            'Each epoch has roots of its own, which are destroyed with it.',
            'As in ARRAY[''aws-kms://alias/pii-{epoch}?region=eu-central-1'']; {epoch} stands for its number.');
    END IF;
    DELETE FROM dataprotect.epoch_schedule;
    IF schedule_epochs.deletions IS NOT NULL OR schedule_epochs.every IS NOT NULL THEN
        INSERT INTO dataprotect.epoch_schedule (deletions, every, kms_uri, backups, waiting_days)
            VALUES (schedule_epochs.deletions, schedule_epochs.every, schedule_epochs.kms_uri, coalesce(schedule_epochs.backups, true),
                    schedule_epochs.waiting_days);
    END IF;
    PERFORM dataprotect._event('epoch.rolled', NULL, jsonb_strip_nulls(jsonb_build_object('scheduled', true, 'deletions', schedule_epochs.deletions,
        'every', schedule_epochs.every, 'kms_uri', schedule_epochs.kms_uri, 'backups', schedule_epochs.backups)));
END $$;
COMMENT ON FUNCTION dataprotect.schedule_epochs(int, interval, text[], bool, int) IS
    'opens the next epoch by itself after so many deletions, or at the first one after so long; with neither: no more';

-- An epoch that the schedule gives up now; one at a time.
CREATE FUNCTION dataprotect._epoch_due() RETURNS bool
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s dataprotect.epoch_schedule;
    v_old int8;
BEGIN
    SELECT * INTO s FROM dataprotect.epoch_schedule;
    IF NOT FOUND OR NOT dataprotect._policy_whole('epoch_schedule', 0) OR EXISTS (SELECT FROM dataprotect.epoch e WHERE e.state IN ('g', 'e')) THEN
        RETURN false;
    END IF;
    SELECT e.key_id INTO v_old
        FROM dataprotect.epoch e, LATERAL (
            SELECT (SELECT count(DISTINCT (t.account_type, t.subject)) FROM dataprotect.tombstone t
                    WHERE t.destroyed_at > e.created_at
                      AND EXISTS (SELECT FROM dataprotect.key_version v WHERE v.epoch = e.key_id AND v.purpose = 3 AND v.state = 'd'))
                 + (SELECT count(*) FROM dataprotect.key_version v
                    WHERE v.epoch = e.key_id AND v.purpose = 2 AND v.state = 'd' AND v.expires_at IS NOT NULL) AS n) d
        WHERE e.state = 'a' AND (d.n >= s.deletions OR d.n > 0 AND e.created_at + s.every <= now())
        ORDER BY e.created_at LIMIT 1;
    IF v_old IS NULL THEN
        RETURN false;
    END IF;
    PERFORM dataprotect._epoch_roll(v_old, dataprotect._epoch_next_uris(v_old, s.kms_uri), 'schedule', s.backups, s.waiting_days);
    RETURN true;
END $$;
COMMENT ON FUNCTION dataprotect._epoch_due() IS 'gives up the epoch that the schedule says is over, if there is one';

-- given up: the next keys are wrapped under the successor, whose every root was
-- shown to open it, and each was shown to open there, before its old form goes.
CREATE FUNCTION dataprotect._epoch_rewrap(old dataprotect.epoch, batch int) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_problem text;
    v record;
    v_wrapped bytea;
    v_rows int := 0;
BEGIN
    SELECT format('%s: %s', e.kms_uri[n], p.detail) INTO v_problem
        FROM dataprotect.epoch e, generate_series(1, cardinality(e.kms_uri)) n, LATERAL dataprotect._epoch_probe(e.key_id, n) p
        WHERE e.key_id = old.successor AND p.sqlstate IS NOT NULL LIMIT 1;
    IF v_problem IS NOT NULL THEN
        RAISE WARNING USING ERRCODE = 'object_not_in_prerequisite_state',
            MESSAGE = format('epoch %s cannot be given up yet', old.epoch), DETAIL = format('A root of the next epoch does not open it. %s', v_problem);
        RETURN false;
    END IF;
    -- The system's own keys go in one statement: rows are sealed by them meanwhile.
    UPDATE dataprotect.key_version k
        SET wrapped = dataprotect._rewrap(k.key_id, k.wrapped, k.purpose, k.version, old.key_id, old.successor), epoch = old.successor
        WHERE k.family = 0 AND k.epoch = old.key_id AND k.wrapped IS NOT NULL;
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows > 0 AND EXISTS (SELECT FROM dataprotect.key_version k
                              WHERE k.family = 0 AND NOT dataprotect._epoch_opens(k.key_id, k.wrapped, k.purpose, k.version, k.epoch)) THEN
        PERFORM dataprotect._raise('data_corrupted', format('a system key does not open under the epoch after %s', old.epoch));
    END IF;
    FOR v IN SELECT k.key_id, k.wrapped, k.purpose, k.version FROM dataprotect.key_version k
             WHERE k.epoch = old.key_id AND k.wrapped IS NOT NULL ORDER BY k.family, k.key_id LIMIT batch FOR UPDATE
    LOOP
        v_wrapped := dataprotect._rewrap(v.key_id, v.wrapped, v.purpose, v.version, old.key_id, old.successor);
        IF NOT dataprotect._epoch_opens(v.key_id, v_wrapped, v.purpose, v.version, old.successor) THEN
            PERFORM dataprotect._raise('data_corrupted', format('key %s does not open under epoch %s', to_hex(v.key_id), old.successor));
        END IF;
        UPDATE dataprotect.key_version k SET wrapped = v_wrapped, epoch = old.successor WHERE k.key_id = v.key_id;
        v_rows := v_rows + 1;
    END LOOP;
    IF v_rows > 0 THEN
        RETURN true;
    END IF;
    UPDATE dataprotect.epoch e SET state = 'e', emptied_at = clock_timestamp() WHERE e.key_id = old.key_id;
    INSERT INTO dataprotect.epoch_root (epoch, ordinal, uri)
        SELECT old.key_id, u.n, u.uri FROM unnest(old.kms_uri) WITH ORDINALITY u(uri, n) ON CONFLICT DO NOTHING;
    PERFORM dataprotect._event('epoch.emptied', NULL, jsonb_build_object('epoch', old.epoch, 'waits_for_export', old.backups));
    RETURN true;
END $$;
COMMENT ON FUNCTION dataprotect._epoch_rewrap(dataprotect.epoch, int) IS 'wraps the next keys of an epoch that is given up anew; true while it can go on';

-- emptied: ask for the destruction of the next root, unless something lives by it.
CREATE FUNCTION dataprotect._epoch_destroy_root(old dataprotect.epoch, root dataprotect.epoch_root, in_earnest bool) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_problem text;
    v_elsewhere text;
    r record;
BEGIN
    IF EXISTS (SELECT FROM dataprotect.key_version v WHERE v.epoch = old.key_id AND v.wrapped IS NOT NULL)
       OR EXISTS (SELECT FROM dataprotect.key k WHERE k.epoch = old.key_id) THEN
        UPDATE dataprotect.epoch e SET state = 'g' WHERE e.key_id = old.key_id;
        RETURN true;
    END IF;
    IF NOT in_earnest AND root.asked_at > clock_timestamp() - interval '1 minute' THEN
        RETURN false;
    END IF;
    BEGIN
        v_elsewhere := dataprotect._roots_elsewhere(ARRAY[root.uri]);
        IF v_elsewhere IS NOT NULL THEN
            v_problem := format('Keys of database "%s" are under this root.', v_elsewhere);
        ELSE
            SELECT * INTO r FROM dataprotect._root_state(root.uri);
            v_problem := r.problem;
            IF v_problem IS NULL AND r.state IN ('enabled', 'unknown', 'disabled') THEN
                -- by the name that is for good, and only if it is what wraps this epoch
                IF r.root_uri <> root.uri THEN
                    v_problem := 'It is not what this epoch was wrapped under: ' || dataprotect._epoch_probe_as(old.key_id, root.ordinal, r.root_uri);
                END IF;
                IF v_problem IS NULL THEN
                    -- the roots of an epoch without keys may be lost for good: they are not asked
                    SELECT format('It is "%s" as well, under which keys are.', s.uri) INTO v_problem
                        FROM dataprotect.epoch e CROSS JOIN LATERAL (SELECT CASE
                            WHEN EXISTS (SELECT FROM dataprotect.key_version v WHERE v.epoch = e.key_id AND v.wrapped IS NOT NULL)
                                 OR EXISTS (SELECT FROM dataprotect.key k WHERE k.epoch = e.key_id)
                                THEN dataprotect._epoch_shares_root(old.key_id, e.kms_uri)
                            ELSE (SELECT u FROM unnest(e.kms_uri) u WHERE u = ANY (old.kms_uri) LIMIT 1) END) s (uri)
                        WHERE e.state IN ('a', 'g') AND e.key_id <> old.key_id AND s.uri IS NOT NULL LIMIT 1;
                END IF;
                IF v_problem IS NULL THEN
                    SELECT * INTO r FROM dataprotect._root_destroy(r.root_uri, old.waiting_days);
                    v_problem := r.problem;
                END IF;
            END IF;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        v_problem := SQLERRM;
    END;
    IF v_problem IS NULL AND r.state NOT IN ('pending', 'deleted') THEN
        v_problem := format('Its KMS says "%s".', r.state);
    END IF;
    IF v_problem IS NOT NULL THEN
        UPDATE dataprotect.epoch_root x SET detail = v_problem, asked_at = clock_timestamp() WHERE x.epoch = root.epoch AND x.ordinal = root.ordinal;
        RETURN false;
    END IF;
    UPDATE dataprotect.epoch_root x SET state = r.state, delete_at = r.delete_at, root_uri = r.root_uri, detail = NULL, asked_at = clock_timestamp()
        WHERE x.epoch = root.epoch AND x.ordinal = root.ordinal;
    PERFORM dataprotect._event('root.scheduled', NULL, jsonb_build_object('epoch', old.epoch, 'kms_uri', root.uri, 'root', r.root_uri,
        'state', r.state, 'delete_at', r.delete_at));
    RETURN true;
END $$;
COMMENT ON FUNCTION dataprotect._epoch_destroy_root(dataprotect.epoch, dataprotect.epoch_root, bool) IS 'asks for the destruction of a root of an epoch that is empty';

-- pending: what does the KMS say now?
CREATE FUNCTION dataprotect._epoch_look(old dataprotect.epoch, root dataprotect.epoch_root) RETURNS text
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r record;
    v_now text;
BEGIN
    SELECT * INTO r FROM dataprotect._root_state(coalesce(root.root_uri, root.uri));
    v_now := CASE WHEN r.problem IS NOT NULL THEN root.state WHEN r.state IN ('pending', 'deleted') THEN r.state ELSE 'cancelled' END;
    UPDATE dataprotect.epoch_root x SET state = v_now, delete_at = coalesce(r.delete_at, x.delete_at), asked_at = clock_timestamp(),
            detail = CASE v_now WHEN 'cancelled' THEN format('Its KMS says "%s": the destruction was cancelled there.', r.state) ELSE r.problem END
        WHERE x.epoch = root.epoch AND x.ordinal = root.ordinal;
    IF v_now = 'cancelled' AND root.state <> 'cancelled' THEN
        PERFORM dataprotect._event('root.cancelled', NULL, jsonb_build_object('epoch', old.epoch, 'kms_uri', root.uri, 'root', root.root_uri, 'state', r.state));
    END IF;
    RETURN v_now;
END $$;
COMMENT ON FUNCTION dataprotect._epoch_look(dataprotect.epoch, dataprotect.epoch_root) IS 'writes down what a KMS says of a root whose destruction was asked for';

-- One step of one epoch; true where the next can follow at once.
CREATE FUNCTION dataprotect._epoch_step(in_earnest bool DEFAULT false) RETURNS bool
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old dataprotect.epoch;
    root dataprotect.epoch_root;
    v_table text;
BEGIN
    -- what somebody else wrote destroys nothing; the worker has reported it, and waits
    FOREACH v_table IN ARRAY '{epoch,epoch_root}'::text[] LOOP
        IF in_earnest THEN
            PERFORM dataprotect._need_policy(v_table);
        ELSIF NOT dataprotect._policy_whole(v_table, 0) THEN
            RETURN false;
        END IF;
    END LOOP;
    -- one at a time: the worker leaves it to whoever is at it
    BEGIN
        IF in_earnest THEN
            LOCK TABLE dataprotect.epoch_root IN SHARE ROW EXCLUSIVE MODE;
        ELSE
            LOCK TABLE dataprotect.epoch_root IN SHARE ROW EXCLUSIVE MODE NOWAIT;
        END IF;
    EXCEPTION WHEN lock_not_available THEN
        RETURN false;
    END;
    FOR old IN SELECT e.* FROM dataprotect.epoch e WHERE e.state IN ('g', 'e', 'p') ORDER BY e.epoch LOOP
        IF old.state = 'g' THEN
            IF dataprotect._epoch_rewrap(old, 500) THEN
                RETURN true;
            END IF;
        ELSIF old.state = 'e' AND (old.drilled_at IS NOT NULL OR NOT old.backups) THEN
            FOR root IN SELECT x.* FROM dataprotect.epoch_root x WHERE x.epoch = old.key_id AND x.state = 'due' ORDER BY x.ordinal LOOP
                IF dataprotect._epoch_destroy_root(old, root, in_earnest) THEN
                    RETURN true;
                END IF;
            END LOOP;
            IF NOT EXISTS (SELECT FROM dataprotect.epoch_root x WHERE x.epoch = old.key_id AND x.state = 'due') THEN
                UPDATE dataprotect.epoch e SET state = 'p' WHERE e.key_id = old.key_id;
                PERFORM dataprotect._epoch_forget(old.key_id);
                RETURN true;
            END IF;
        ELSIF old.state = 'p' THEN
            FOR root IN SELECT x.* FROM dataprotect.epoch_root x WHERE x.epoch = old.key_id AND x.state <> 'deleted'
                           AND (in_earnest OR x.asked_at IS NULL OR x.asked_at < clock_timestamp() - interval '1 hour') LOOP
                PERFORM dataprotect._epoch_look(old, root);
            END LOOP;
            IF NOT EXISTS (SELECT FROM dataprotect.epoch_root x WHERE x.epoch = old.key_id AND x.state <> 'deleted') THEN
                UPDATE dataprotect.epoch e SET state = 'd', destroyed_at = clock_timestamp() WHERE e.key_id = old.key_id;
                PERFORM dataprotect._epoch_forget(old.key_id);
                PERFORM dataprotect._event('epoch.destroyed', NULL, jsonb_build_object('epoch', old.epoch, 'kms_uri', old.kms_uri));
                RETURN true;
            END IF;
        END IF;
    END LOOP;
    RETURN dataprotect._epoch_due();
END $$;
COMMENT ON FUNCTION dataprotect._epoch_step(bool) IS 'goes on with an epoch that is given up; true where there is more to do at once';

CREATE FUNCTION dataprotect.run_epochs() RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_steps int := 0;
BEGIN
    WHILE dataprotect._autonomous('SELECT dataprotect._epoch_step(true)')::bool LOOP
        v_steps := v_steps + 1;
    END LOOP;
    RETURN v_steps;
END $$;
COMMENT ON FUNCTION dataprotect.run_epochs() IS 'goes on with epochs that are given up as far as it gets, and asks the KMSs; committed at once; how many steps';

CREATE FUNCTION dataprotect.destroy_roots(epoch int, reason text) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_rows int;
BEGIN
    PERFORM dataprotect._check_reason(destroy_roots.reason);
    UPDATE dataprotect.epoch_root x SET state = 'due', asked_at = NULL, detail = NULL
        FROM dataprotect.epoch e WHERE e.epoch = destroy_roots.epoch AND e.state = 'p' AND x.epoch = e.key_id AND x.state = 'cancelled';
    GET DIAGNOSTICS v_rows = ROW_COUNT;
    IF v_rows = 0 THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('no destruction of a root of epoch %s was cancelled', destroy_roots.epoch), NULL,
            'View dataprotect.epochs shows the roots.');
    END IF;
    UPDATE dataprotect.epoch e SET state = 'e' WHERE e.epoch = destroy_roots.epoch AND e.state = 'p';
    PERFORM dataprotect._event('root.scheduled', NULL, jsonb_build_object('epoch', destroy_roots.epoch, 'again', true, 'reason', destroy_roots.reason));
    PERFORM dataprotect._epoch_wake();
    RETURN v_rows;
END $$;
COMMENT ON FUNCTION dataprotect.destroy_roots(int, text) IS 'asks again for the destruction of roots that was cancelled at their KMS; how many';

CREATE FUNCTION dataprotect._epochs_drilled() RETURNS void
    LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
    UPDATE dataprotect.epoch e SET drilled_at = clock_timestamp() WHERE e.state = 'e' AND e.drilled_at IS NULL
$$;
COMMENT ON FUNCTION dataprotect._epochs_drilled() IS 'writes down that old backups can be opened without the epochs that are empty';

-- Old backups are opened by an export of the keys as they are wrapped now: is this
-- one?  Every key that an old backup can have, and that lives, opens from it.
CREATE FUNCTION dataprotect.drill_export(exported jsonb) RETURNS int
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_opened int;
    v_failed text;
    v_missing int8;
BEGIN
    PERFORM dataprotect._check_export(drill_export.exported);
    SELECT count(*) FILTER (WHERE o.opens), string_agg(to_hex(o.key_id), ', ') FILTER (WHERE o.opens IS NOT TRUE) INTO v_opened, v_failed
        FROM (SELECT v.key_id, CASE WHEN e.key_id IS NOT NULL THEN dataprotect._epoch_opens(v.key_id, v.wrapped, v.purpose, v.version, v.epoch) END AS opens
              FROM jsonb_populate_recordset(NULL::dataprotect.key_version, drill_export.exported -> 'versions') v
                   LEFT JOIN dataprotect.epoch e ON e.key_id = v.epoch AND e.state = 'a') o;
    SELECT v.key_id INTO v_missing FROM dataprotect.key_version v
        WHERE v.wrapped IS NOT NULL AND v.created_at <= (SELECT max(e.emptied_at) FROM dataprotect.epoch e WHERE e.state = 'e')
          AND NOT EXISTS (SELECT FROM dataprotect.spare_key p WHERE p.key_id = v.key_id)
          AND NOT EXISTS (SELECT FROM jsonb_populate_recordset(NULL::dataprotect.key_version, drill_export.exported -> 'versions') x
                          WHERE x.key_id = v.key_id) LIMIT 1;
    PERFORM dataprotect._event('keys.drilled', NULL, jsonb_strip_nulls(jsonb_build_object('export', drill_export.exported ->> 'exported_at',
        'opened', v_opened, 'failed', v_failed IS NOT NULL OR v_missing IS NOT NULL)));
    IF v_failed IS NOT NULL OR v_missing IS NOT NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            'this export does not open what old backups have',
            coalesce(format('Keys %s are wrapped under an epoch that is given up, or do not open.', left(v_failed, 200)),
                     format('Key %s is missing.', to_hex(v_missing))),
            'Make a new one by dataprotect.export_keys(), and keep it beside the backups.');
    END IF;
    -- committed at once, so that the worker finds it
    IF EXISTS (SELECT FROM dataprotect.epoch e WHERE e.state = 'e' AND e.drilled_at IS NULL) THEN
        PERFORM dataprotect._autonomous('SELECT dataprotect._epochs_drilled()');
        PERFORM dataprotect._epoch_wake();
    END IF;
    RETURN v_opened;
END $$;
COMMENT ON FUNCTION dataprotect.drill_export(jsonb) IS
    'opens every key of an export, as a restored backup would; epochs that wait for that go on to their destruction; how many keys';

-- Backups from before a time can have these keys wrapped under these epochs.
CREATE FUNCTION dataprotect._epochs_of_keys(key_ids int8[], before timestamptz) RETURNS SETOF dataprotect.epoch
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT e FROM dataprotect.epoch e
    WHERE EXISTS (SELECT FROM dataprotect.key_version v WHERE v.key_id = ANY (key_ids)
                  AND (v.epoch = e.key_id OR EXISTS (SELECT FROM dataprotect.epoch_key h
                                                     WHERE h.epoch = e.key_id AND h.family = v.family AND h.since <= before)))
$$;
COMMENT ON FUNCTION dataprotect._epochs_of_keys(int8[], timestamptz) IS 'the epochs that keys were ever wrapped under until then';

-- What keeps the roots of these keys from being gone, in words; empty where every
-- KMS, asked now, reports them deleted; null where nobody is about to destroy them.
CREATE FUNCTION dataprotect._roots_remain(key_ids int8[], before timestamptz) RETURNS text
    LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_wanted bool := EXISTS (SELECT FROM dataprotect.epoch_schedule);
    v_words text := '';
    e dataprotect.epoch;
    x dataprotect.epoch_root;
    r record;
BEGIN
    PERFORM dataprotect._need_policy(t.tbl) FROM unnest('{epoch,epoch_key,epoch_root,epoch_schedule}'::text[]) t(tbl);
    IF NOT v_wanted AND EXISTS (SELECT FROM dataprotect._epochs_of_keys(key_ids, before) o WHERE o.state = 'a') THEN
        RETURN NULL;
    END IF;
    FOR e IN SELECT o.* FROM dataprotect._epochs_of_keys(key_ids, before) o ORDER BY o.epoch LOOP
        IF e.state <> 'd' THEN
            v_words := concat_ws('; ', nullif(v_words, ''), CASE e.state
                WHEN 'a' THEN format('epoch %s is not over', e.epoch)
                WHEN 'g' THEN format('keys that live are being wrapped anew under the epoch after %s', e.epoch)
                WHEN 'e' THEN format('the roots of epoch %s are not being destroyed yet%s', e.epoch,
                    CASE WHEN e.backups AND e.drilled_at IS NULL THEN ': dataprotect.drill_export() has not seen an export of the keys' ELSE '' END)
                ELSE (SELECT string_agg(format('root "%s" is %s%s', p.uri, p.state, coalesce(' until ' || p.delete_at, '')), ', ' ORDER BY p.ordinal)
                      FROM dataprotect.epoch_root p WHERE p.epoch = e.key_id AND p.state <> 'deleted') END);
            CONTINUE;
        END IF;
        FOR x IN SELECT p.* FROM dataprotect.epoch_root p WHERE p.epoch = e.key_id ORDER BY p.ordinal LOOP
            SELECT * INTO r FROM dataprotect._root_state(coalesce(x.root_uri, x.uri));
            IF r.state IS DISTINCT FROM 'deleted' THEN
                v_words := concat_ws('; ', nullif(v_words, ''), format('root "%s" is not reported deleted: %s', x.uri, coalesce(r.problem, r.state)));
            END IF;
        END LOOP;
    END LOOP;
    RETURN v_words;
END $$;
COMMENT ON FUNCTION dataprotect._roots_remain(int8[], timestamptz) IS
    'what keeps the roots that keys were under from being gone; empty: nothing; null: nobody destroys them';

CREATE VIEW dataprotect.epochs AS
    SELECT e.epoch, e.kms_uri,
           CASE e.state WHEN 'a' THEN 'active' WHEN 'g' THEN 'given up' WHEN 'e' THEN 'emptied' WHEN 'p' THEN 'pending' ELSE 'destroyed' END AS state,
           (SELECT count(*) FROM dataprotect.key_version v WHERE v.epoch = e.key_id AND v.wrapped IS NOT NULL) AS keys,
           (SELECT s.epoch FROM dataprotect.epoch s WHERE s.key_id = e.successor) AS successor,
           CASE WHEN e.state = 'e' AND e.backups AND e.drilled_at IS NULL THEN 'drill_export()' END AS waits_for,
           e.created_at, e.rolled_at, e.emptied_at, e.drilled_at, e.destroyed_at, e.reason,
           (SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object('kms_uri', x.uri, 'root', x.root_uri, 'state', x.state, 'delete_at', x.delete_at,
                                                                  'asked_at', x.asked_at, 'detail', x.detail)) ORDER BY x.ordinal)
            FROM dataprotect.epoch_root x WHERE x.epoch = e.key_id) AS roots
    FROM dataprotect.epoch e;
COMMENT ON VIEW dataprotect.epochs IS 'the epochs, what is left under each, and what the KMSs say of the roots of those that were given up';
