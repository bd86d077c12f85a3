-- Carrying retention policies out: what retention.c calls between its commits

-- A run is written down before its work: one that is still "running" when the
-- next begins (the caller holds the policy's lock) was cut off.
CREATE FUNCTION dataprotect._retention_begin(name text, OUT run bigint, OUT action text, OUT timezone text,
        OUT date_order text)
    RETURNS record
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    found_policy dataprotect.retention_policy := dataprotect._find_retention_policy(name);
BEGIN
    IF found_policy.state <> 'active' THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('retention policy "%s" is paused', name),
            NULL,
            'Look at dataprotect.preview_retention() and call dataprotect.activate_retention().');
    END IF;
    PERFORM dataprotect._retention_settle(found_policy);
    UPDATE dataprotect.retention_run r
       SET outcome = 'interrupted', finished_at = dataprotect._now(),
           detail = 'the session ended before the run did; the next run went on'
     WHERE r.policy = found_policy.id AND r.outcome = 'running';
    -- one that made room for others goes on
    UPDATE dataprotect.retention_run r SET outcome = 'running' WHERE r.policy = found_policy.id AND r.outcome = 'waiting'
        RETURNING r.id INTO run;
    IF run IS NULL THEN
        INSERT INTO dataprotect.retention_run (policy, cutoff)
            VALUES (found_policy.id, dataprotect._retention_cutoff(found_policy)) RETURNING id INTO run;
    END IF;
    action := found_policy.action;
    timezone := found_policy.timezone;
    date_order := found_policy.date_order;
END $$;
COMMENT ON FUNCTION dataprotect._retention_begin(text) IS 'write down that a run of a policy begins';

-- later: rows were left that somebody has locked; they are met again soon.
CREATE FUNCTION dataprotect._retention_finish(run bigint, outcome text, detail text, later bool) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'                -- the next run, whoever asks when that is
AS $$
DECLARE
    done record;
BEGIN
    UPDATE dataprotect.retention_run r
       SET outcome = _retention_finish.outcome, detail = _retention_finish.detail,
           finished_at = CASE WHEN _retention_finish.outcome <> 'waiting' THEN dataprotect._now() END
     WHERE r.id = run;
    SELECT p.name, r.rows_done, p.id, p.every INTO done
      FROM dataprotect.retention_run r JOIN dataprotect.retention_policy p ON p.id = r.policy WHERE r.id = run;
    UPDATE dataprotect.retention_policy p
       SET next_due = CASE WHEN _retention_finish.outcome = 'waiting' THEN dataprotect._now()  -- for its next turn, scheduled or not
                           WHEN NOT dataprotect._maintenance_scheduled() THEN
                           dataprotect._now() + CASE WHEN later THEN least(done.every, interval '1 minute')
                                   WHEN _retention_finish.outcome = 'ok' THEN done.every
                                   ELSE least(done.every, interval '10 minutes') END END
     WHERE p.id = done.id AND p.state = 'active';
    IF _retention_finish.outcome <> 'waiting' AND (done.rows_done > 0 OR _retention_finish.outcome <> 'ok') THEN
        PERFORM dataprotect._event(CASE _retention_finish.outcome WHEN 'ok' THEN 'retention.run' ELSE 'retention.failed' END,
            NULL, jsonb_build_object('policy', done.name, 'run', run,
            'rows', done.rows_done, 'outcome', _retention_finish.outcome, 'detail', _retention_finish.detail));
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._retention_finish(bigint, text, text, bool) IS 'write down how a run ended';

CREATE FUNCTION dataprotect._retention_of_run(run bigint) RETURNS dataprotect.retention_policy
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._retention_usable(p)
      FROM dataprotect.retention_policy p JOIN dataprotect.retention_run r ON r.policy = p.id WHERE r.id = run;
$$;
COMMENT ON FUNCTION dataprotect._retention_of_run(bigint) IS 'the policy that a run belongs to, or an error where it cannot be used';

-- The same, for a caller with a SET timezone of its own: its time zone is the
-- policy's from here on.
CREATE FUNCTION dataprotect._retention_settled(run bigint) RETURNS dataprotect.retention_policy
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    policy dataprotect.retention_policy;
BEGIN
    SELECT p.* INTO policy
      FROM dataprotect.retention_policy p JOIN dataprotect.retention_run r ON r.policy = p.id WHERE r.id = run;
    PERFORM dataprotect._retention_settle(policy);
    RETURN dataprotect._retention_usable(policy);
END $$;
COMMENT ON FUNCTION dataprotect._retention_settled(bigint) IS 'the policy of a run, whose time zone holds until the caller ends';

CREATE FUNCTION dataprotect._retention_run_cutoff(run bigint) RETURNS timestamptz
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.cutoff FROM dataprotect.retention_run r WHERE r.id = run;
$$;
COMMENT ON FUNCTION dataprotect._retention_run_cutoff(bigint) IS 'the moment before which rows are due in a run';

CREATE FUNCTION dataprotect._retention_run_preflight(run bigint) RETURNS void
    LANGUAGE sql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._retention_preflight(p)
      FROM dataprotect.retention_policy p JOIN dataprotect.retention_run r ON r.policy = p.id WHERE r.id = run;
$$;
COMMENT ON FUNCTION dataprotect._retention_run_preflight(bigint) IS 'error where the policy of a run cannot run';

-- What may keep or rewrite rows that an action is at: triggers and rules of a table.
CREATE FUNCTION dataprotect._retention_code(action text, rel regclass) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(c.what, ', ' ORDER BY c.what)
      FROM (SELECT format('trigger "%s"', t.tgname) AS what
              FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
             WHERE t.tgrelid = rel AND NOT t.tgisinternal AND t.tgenabled <> 'D'
               AND p.pronamespace <> 'dataprotect'::regnamespace
               AND t.tgtype & (CASE WHEN action IN ('nullify', 'anonymise') THEN 16 ELSE 8 END) <> 0
            UNION ALL
            SELECT format('rule "%s"', r.rulename) FROM pg_rewrite r
             WHERE r.ev_class = rel AND r.ev_enabled <> 'D'
               AND r.ev_type = (CASE WHEN action IN ('nullify', 'anonymise') THEN '2' ELSE '4' END)::"char") c;
$$;
COMMENT ON FUNCTION dataprotect._retention_code(text, regclass) IS
    'triggers and rules of a table that may keep rows from an action, or NULL';

-- The statements of a batch on one table.  choose_sql: parameters $1 text, the age
-- to begin at, and, where there are rows to leave out, $2 tid[]; returns the rows'
-- tids and the age that the next batch begins at.  left_sql: parameter $1 tid[];
-- which of them are still there.  Both run under the strict search path.
-- apply_sql: parameter $1 tid[].  It runs under the table's own search path (its
-- triggers do), so it names no function or operator that could be another's.  Rows
-- are locked by the choice, unless age alone decides: then the change itself asks
-- for the age again.
--
-- Where rows of the table keep one another the youngest come first: they are the
-- ones that nobody references any more.
CREATE FUNCTION dataprotect._retention_statements(run bigint, leaf regclass, batch int, locking bool, kept bool, began text,
        OUT choose_sql text, OUT apply_sql text, OUT left_sql text, OUT code text, OUT has_children bool,
        OUT own_keys bool, OUT skips bool, OUT spares bool, OUT delivers bool) RETURNS record
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._retention_settled(run);
    cutoff timestamptz := dataprotect._retention_run_cutoff(run);
    older text := dataprotect._older_than(policy, cutoff);
    due text := dataprotect._retention_due_condition(policy, leaf, 't', cutoff);
    plain bool;
    rows_in text := 't.ctid OPERATOR(pg_catalog.=) ANY ($1)';
BEGIN
    code := dataprotect._retention_code(policy.action, leaf);
    delivers := policy.action = 'archive' AND policy.archive IS NULL;
    PERFORM dataprotect._need_policy('hold');
    has_children := policy.action IN ('delete', 'archive') AND EXISTS (
        SELECT 1 FROM dataprotect.retention_child c WHERE c.policy = policy.id AND c.action IN ('delete', 'nullify'));
    own_keys := EXISTS (SELECT 1 FROM dataprotect._retention_own_keys(policy) o WHERE o.rule <> 'leave');
    plain := due = older AND policy.action IN ('delete', 'archive') AND NOT delivers AND NOT has_children AND NOT own_keys AND EXISTS (
        SELECT 1 FROM pg_attribute a WHERE a.attrelid = leaf AND a.attnum > 0 AND NOT a.attisdropped
           AND quote_ident(a.attname) = policy.age_expression AND a.atttypid = policy.age_type);
    skips := locking OR NOT plain;
    spares := own_keys OR dataprotect._retention_spared(policy, leaf, 't') <> 'false';
    choose_sql := format(
        'SELECT array_agg(x.c), %1$s(x.a)::text FROM ('
        'SELECT t.ctid AS c, %2$s AS a FROM ONLY %3$s t WHERE %2$s %4$s $1::%5$s AND %6$s%7$s ORDER BY %2$s%8$s LIMIT %9$s%10$s) x',
        CASE WHEN own_keys THEN 'min' ELSE 'max' END, policy.age_expression, leaf,
        CASE WHEN own_keys THEN '<=' ELSE '>=' END, policy.age_type, due,
        CASE WHEN kept THEN ' AND t.ctid OPERATOR(pg_catalog.<>) ALL ($2)' ELSE '' END
        || CASE WHEN code IS NOT NULL OR policy.action IN ('nullify', 'anonymise')
                THEN format(' AND age(t.xmin) > age(%L::xid)', began) ELSE '' END,
        CASE WHEN own_keys THEN ' DESC' ELSE '' END, batch,
        CASE WHEN skips THEN ' FOR UPDATE OF t SKIP LOCKED' ELSE '' END);
    left_sql := format('SELECT array_agg(t.ctid) FROM ONLY %s t WHERE %s', leaf, rows_in);
    apply_sql := CASE CASE WHEN delivers THEN 'delete' ELSE policy.action END
        WHEN 'delete' THEN format('DELETE FROM ONLY %s t WHERE %s', leaf, rows_in)
        WHEN 'archive' THEN format(
            'WITH gone AS (DELETE FROM ONLY %s t WHERE %s RETURNING t.*) INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE '
            'SELECT %4$s FROM gone', leaf, rows_in, policy.archive,
            (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
              WHERE a.attrelid = policy.base AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''))
        ELSE format('UPDATE ONLY %s t SET %s WHERE %s', leaf,
                    (dataprotect._retention_change(policy)).assignments, rows_in)
        END;
    IF plain AND policy.action = 'delete' THEN
        apply_sql := apply_sql || ' AND ' || older;
    ELSIF plain AND policy.action = 'archive' THEN
        apply_sql := replace(apply_sql, rows_in || ' RETURNING', rows_in || ' AND ' || older || ' RETURNING');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._retention_statements(bigint, regclass, int, bool, bool, text) IS
    'how a run chooses and changes the next rows of one table';

-- Rows that are about to be removed, locked and delivered as lines of JSON to where the
-- policy's archive is; protected values as they are stored.  A row that is delivered
-- twice, since something died before it was removed, has the same id.
CREATE FUNCTION dataprotect._retention_deliver(run bigint, leaf regclass, tids tid[], batch bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
    SET dataprotect.output = 'ciphertext'
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._retention_settled(run);
    uid text := (SELECT i.uid::text FROM dataprotect.instance i);
    lines text := dataprotect._value_as(leaf, format(
        'SELECT string_agg(x.line, '''') FROM (SELECT jsonb_build_object(''database'', %1$L, ''policy'', %2$L, ''run'', %3$s, ''table'', %4$L, ''archived_at'', %5$L,'
        ' ''id'', encode(sha256(convert_to(concat_ws(''|'', %1$L, t.tableoid, t.ctid, t.xmin), ''UTF8'')), ''hex''), ''row'', to_jsonb(t))::text || E''
'' AS line'
        ' FROM ONLY %6$s t WHERE t.ctid = ANY ($1) FOR UPDATE OF t) x', uid, policy.name, run,
        (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = leaf),
        clock_timestamp()::text, leaf), tids);
BEGIN
    PERFORM dataprotect._deliver_rows(policy.options ->> 'archive', format('rows-%s-%s', uid, policy.id), run, batch, lines);
END $$;
COMMENT ON FUNCTION dataprotect._retention_deliver(bigint, regclass, tid[], bigint) IS
    'deliver rows that are about to be removed to the archive of a policy';

-- Of the chosen rows of a table those that can go in one statement: with the rows
-- of the same table that must go along (due ones that reference them, or all where
-- the policy or the key says so), without those that a row keeps which stays.
CREATE FUNCTION dataprotect._retention_close(run bigint, leaf regclass, tids tid[]) RETURNS tid[]
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._retention_settled(run);
    due text := dataprotect._retention_due_condition(policy, leaf, 't', dataprotect._retention_run_cutoff(run));
    free text := format('NOT (%s)', dataprotect._retention_spared(policy, leaf, 't'));
    grow text;
    pin text;
    rise text;
BEGIN
    SELECT string_agg(format('(%s AND EXISTS (SELECT 1 FROM ONLY %s t WHERE t.ctid = k.ctid AND %s))',
                             dataprotect._join_condition('p', o.parent_columns, 'k', o.child_columns, o.operators), leaf,
                             CASE o.rule WHEN 'follow' THEN free ELSE due END), ' OR '),
           string_agg(format('EXISTS (SELECT 1 FROM %s k WHERE %s AND NOT (k.tableoid = %s AND k.ctid IN (SELECT g.c FROM grown g)))',
                             policy.base, dataprotect._join_condition('p', o.parent_columns, 'k', o.child_columns, o.operators),
                             leaf::oid), ' OR '),
           string_agg(dataprotect._join_condition('p', o.parent_columns, 'k', o.child_columns, o.operators), ' OR ')
      INTO grow, pin, rise
      FROM dataprotect._retention_own_keys(policy) o WHERE o.rule IN ('follow', 'keep');
    IF grow IS NULL THEN
        RETURN tids;
    END IF;
    RETURN dataprotect._tids_as(leaf, format(
        'WITH RECURSIVE grown(c) AS (SELECT unnest($1) UNION '
        'SELECT k.ctid FROM grown g JOIN ONLY %1$s p ON p.ctid = g.c JOIN ONLY %1$s k ON %2$s), '
        'pinned(c) AS (SELECT p.ctid FROM grown g JOIN ONLY %1$s p ON p.ctid = g.c WHERE %3$s UNION '
        'SELECT p.ctid FROM pinned n JOIN ONLY %1$s k ON k.ctid = n.c JOIN ONLY %1$s p ON %4$s '
        'WHERE p.ctid IN (SELECT g.c FROM grown g)) '
        'SELECT array_agg(g.c) FROM grown g WHERE g.c NOT IN (SELECT n.c FROM pinned n)',
        leaf, grow, pin, rise), tids);
END $$;
COMMENT ON FUNCTION dataprotect._retention_close(bigint, regclass, tid[]) IS
    'chosen rows with those of their table that go along, without those that one that stays keeps';

-- Whatever references the chosen rows goes first, the farthest before the
-- nearest, each with the rights of its own table's owner.
CREATE FUNCTION dataprotect._retention_clear_children(run bigint, leaf regclass, tids tid[]) RETURNS bigint
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._retention_of_run(run);
    node record;
    part regclass;
    found tid[];
    cleared bigint := 0;
BEGIN
    FOR node IN
        SELECT t.* FROM dataprotect._fk_tree(policy.base, 'ONLY ' || leaf, 't', 't.ctid OPERATOR(pg_catalog.=) ANY ($1)',
               '', ARRAY[policy.base], dataprotect._retention_rules(policy.id), ARRAY['delete', 'cascade'])
               WITH ORDINALITY t
         WHERE (NOT t.loops AND t.action IN ('delete', 'nullify'))
            OR (t.parent = policy.base AND t.child = policy.base AND t.action = 'nullify')
         ORDER BY t.ordinality DESC
    LOOP
        FOR part IN SELECT * FROM dataprotect._leaves(node.child) LOOP
            found := dataprotect._tids_as(leaf, format('SELECT array_agg(%1$s.ctid) FROM ONLY %2$s %1$s WHERE %3$s%4$s',
                node.child_alias, part, node.child_up,
                CASE WHEN part = leaf THEN format(' AND %s.ctid OPERATOR(pg_catalog.<>) ALL ($1)', node.child_alias) ELSE '' END),
                tids);
            CONTINUE WHEN found IS NULL;
            cleared := cleared + dataprotect._apply_as(part, CASE node.action
                WHEN 'delete' THEN format('DELETE FROM ONLY %s t WHERE t.ctid OPERATOR(pg_catalog.=) ANY ($1)', part)
                ELSE format('UPDATE ONLY %s t SET %s WHERE t.ctid OPERATOR(pg_catalog.=) ANY ($1)', part,
                            (SELECT string_agg(format('%I = NULL', c), ', ') FROM unnest(dataprotect._columns_to_null(node.child, node.child_columns)) c))
                END, found);
        END LOOP;
    END LOOP;
    RETURN cleared;
END $$;
COMMENT ON FUNCTION dataprotect._retention_clear_children(bigint, regclass, tid[]) IS
    'remove or detach the rows that reference rows about to be removed';

-- What a run left of a table's due rows: those that are free, counted to a bound,
-- and those that somebody has locked.
CREATE FUNCTION dataprotect._retention_left(run bigint, leaf regclass, OUT unlocked bigint, OUT locked bigint) RETURNS record
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._retention_settled(run);
    cutoff timestamptz := dataprotect._retention_run_cutoff(run);
    due text := dataprotect._retention_due_condition(policy, leaf, 't', cutoff);
    pinned text;
BEGIN
    locked := dataprotect._value_as(leaf, format('SELECT count(*) FROM ONLY %s t WHERE %s', leaf, due))::bigint;
    unlocked := 0;
    IF locked > 0 THEN
        unlocked := dataprotect._value_as(leaf, format(
            'SELECT count(*) FROM (SELECT 1 FROM ONLY %s t WHERE %s LIMIT 10000 FOR UPDATE SKIP LOCKED) x', leaf, due))::bigint;
        IF unlocked = 10000 THEN
            unlocked := locked;
        END IF;
        locked := greatest(locked - unlocked, 0);
    END IF;
    pinned := dataprotect._retention_pinned(policy, dataprotect._retention_due_condition(policy, policy.base, 't', cutoff));
    IF unlocked > 0 AND pinned IS NOT NULL THEN
        unlocked := greatest(unlocked - dataprotect._value_as(policy.base,
            pinned || format(' SELECT count(*) FROM pinned n WHERE n.t = %s', leaf::oid))::bigint, 0);
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._retention_left(bigint, regclass) IS
    'rows of one table that are due and were not dealt with: free ones and locked ones';

-- Old rows that had to stay, in words; NULL where there is none.
CREATE FUNCTION dataprotect._retention_spared_summary(run bigint) RETURNS text
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._retention_settled(run);
    cutoff timestamptz := dataprotect._retention_run_cutoff(run);
    parts text;
BEGIN
    IF policy.action = 'drop_partition' THEN
        SELECT string_agg(format('%s: held or referenced', p), '; ') INTO parts
          FROM dataprotect._retention_old_partitions(policy, cutoff, policy.base) p
         WHERE dataprotect._retention_partition_spared(policy, p);
    ELSIF dataprotect._retention_spared(policy, policy.base, 't') <> 'false'
          OR EXISTS (SELECT 1 FROM dataprotect._retention_own_keys(policy) o WHERE o.rule = 'keep') THEN
        SELECT string_agg(format('%s old rows stay: %s', s.rows, s.action), '; ') INTO parts
          FROM dataprotect._retention_preview_spared(policy, cutoff) s;
    END IF;
    RETURN parts;
END $$;
COMMENT ON FUNCTION dataprotect._retention_spared_summary(bigint) IS 'old rows that a run had to leave, and why';

CREATE FUNCTION dataprotect._retention_run_partitions(run bigint) RETURNS SETOF regclass
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._retention_settled(run);
BEGIN
    RETURN QUERY SELECT p FROM dataprotect._retention_old_partitions(policy, dataprotect._retention_run_cutoff(run), policy.base) p;
END $$;
COMMENT ON FUNCTION dataprotect._retention_run_partitions(bigint) IS 'partitions whose time is over in a run';

-- Drop a partition, unless a row of it must stay.  Locks are waited for briefly:
-- behind them every query on the table would queue, and one that has locked a table
-- that the partition references must not be the victim of a deadlock.  The partition's own comes
-- before that of the holds, so that nobody who places one waits for it.
CREATE FUNCTION dataprotect._retention_drop(run bigint, part regclass) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '500ms'
    SET timezone = 'UTC'
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._retention_settled(run);
    parent regclass := (SELECT i.inhparent FROM pg_inherits i WHERE i.inhrelid = part);
    gone bigint;
BEGIN
    IF policy.state <> 'active' OR parent IS NULL OR dataprotect._retention_partition_spared(policy, part) THEN
        RETURN;
    END IF;
    PERFORM dataprotect._apply_as(part, format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', part));
    LOCK TABLE dataprotect.hold IN SHARE MODE;
    IF dataprotect._retention_partition_spared(policy, part) THEN
        RETURN;
    END IF;
    gone := dataprotect._value_as(part, format('SELECT count(*) FROM %s', part))::bigint;
    PERFORM dataprotect._apply_as(parent, format('ALTER TABLE %s DETACH PARTITION %s', parent, part));
    PERFORM dataprotect._apply_as(part, format('DROP TABLE %s', part));
    UPDATE dataprotect.retention_run r SET rows_done = r.rows_done + gone WHERE r.id = run;
END $$;
COMMENT ON FUNCTION dataprotect._retention_drop(bigint, regclass) IS 'drop one partition whose time is over';

CREATE PROCEDURE dataprotect.run_retention(name text = NULL)
    AS 'MODULE_PATHNAME', 'dp_lifecycle_run_retention'
    LANGUAGE C;
COMMENT ON PROCEDURE dataprotect.run_retention(text) IS
    'carry out one retention policy, or all that are active, in batches with a commit each';
