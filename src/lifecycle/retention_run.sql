-- Carrying retention policies out: what retention.c calls between its commits

-- A run is written down before its work: one that is still "running" when the
-- next begins (the caller holds the policy's lock) was cut off.
CREATE FUNCTION dataprotect._retention_begin(name text, OUT run bigint, OUT policy int, OUT action text)
    RETURNS record
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
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
    UPDATE dataprotect.retention_run r
       SET outcome = 'interrupted', finished_at = dataprotect._now(),
           detail = 'the session ended before the run did; the next run went on'
     WHERE r.policy = found_policy.id AND r.outcome = 'running';
    INSERT INTO dataprotect.retention_run (policy, cutoff)
        VALUES (found_policy.id, dataprotect._now() - found_policy.keep) RETURNING id INTO run;
    policy := found_policy.id;
    action := found_policy.action;
END $$;
COMMENT ON FUNCTION dataprotect._retention_begin(text) IS 'write down that a run of a policy begins';

CREATE FUNCTION dataprotect._retention_finish(run bigint, outcome text, detail text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    done record;
BEGIN
    UPDATE dataprotect.retention_run r
       SET outcome = _retention_finish.outcome, detail = _retention_finish.detail, finished_at = dataprotect._now()
     WHERE r.id = run;
    SELECT p.name, r.rows_done, p.id, p.every INTO done
      FROM dataprotect.retention_run r JOIN dataprotect.retention_policy p ON p.id = r.policy WHERE r.id = run;
    UPDATE dataprotect.retention_policy p
       SET next_due = CASE WHEN NOT dataprotect._maintenance_scheduled() THEN
                           dataprotect._now() + CASE _retention_finish.outcome WHEN 'ok' THEN done.every
                                   ELSE least(done.every, interval '10 minutes') END END
     WHERE p.id = done.id AND p.state = 'active';
    IF done.rows_done > 0 OR _retention_finish.outcome <> 'ok' THEN
        PERFORM dataprotect._event('retention.run', NULL, jsonb_build_object('policy', done.name, 'run', run,
            'rows', done.rows_done, 'outcome', _retention_finish.outcome, 'detail', _retention_finish.detail));
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._retention_finish(bigint, text, text) IS 'write down how a run ended';

CREATE FUNCTION dataprotect._retention_of_run(run bigint) RETURNS dataprotect.retention_policy
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._retention_usable(p)
      FROM dataprotect.retention_policy p JOIN dataprotect.retention_run r ON r.policy = p.id WHERE r.id = run;
$$;
COMMENT ON FUNCTION dataprotect._retention_of_run(bigint) IS 'the policy that a run belongs to, or an error where it cannot be used';

-- The two statements of a batch on one table.  choose_sql: parameter $1 text, the
-- age to begin at; returns the rows' tids and the age of the youngest.  It runs
-- under the strict search path.  apply_sql: parameter $1 tid[].  It runs under
-- the table's own search path (its triggers do), so it names no function or
-- operator that could be another's.  Rows are locked by the choice, unless age
-- alone decides: then the change itself asks for the age again.
CREATE FUNCTION dataprotect._retention_statements(run bigint, leaf regclass, batch int,
        OUT choose_sql text, OUT apply_sql text, OUT has_children bool) RETURNS record
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._retention_of_run(run);
    cutoff timestamptz := (SELECT r.cutoff FROM dataprotect.retention_run r WHERE r.id = run);
    older text := dataprotect._older_than(policy, cutoff);
    due text := dataprotect._retention_due_condition(policy, leaf, 't', cutoff);
    plain bool := due = older AND EXISTS (
        SELECT 1 FROM pg_attribute a WHERE a.attrelid = leaf AND a.attnum > 0 AND NOT a.attisdropped
           AND quote_ident(a.attname) = policy.age_expression AND a.atttypid = policy.age_type);
    rows_in text := 't.ctid OPERATOR(pg_catalog.=) ANY ($1)';
BEGIN
    has_children := policy.action IN ('delete', 'archive') AND EXISTS (
        SELECT 1 FROM dataprotect.retention_child c WHERE c.policy = policy.id AND c.action IN ('delete', 'nullify'));
    choose_sql := format(
        'SELECT array_agg(x.c), max(x.a)::text FROM ('
        'SELECT t.ctid AS c, %1$s AS a FROM ONLY %2$s t WHERE %1$s >= $1::%3$s AND %4$s ORDER BY %1$s LIMIT %5$s%6$s) x',
        policy.age_expression, leaf, policy.age_type, due, batch,
        CASE WHEN plain AND NOT has_children THEN '' ELSE ' FOR UPDATE OF t SKIP LOCKED' END);
    apply_sql := CASE policy.action
        WHEN 'delete' THEN format('DELETE FROM ONLY %s t WHERE %s', leaf, rows_in)
        WHEN 'archive' THEN format(
            'WITH gone AS (DELETE FROM ONLY %s t WHERE %s RETURNING t.*) INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE '
            'SELECT %4$s FROM gone', leaf, rows_in, policy.archive,
            (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
              WHERE a.attrelid = policy.base AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''))
        ELSE format('UPDATE ONLY %s t SET %s WHERE %s', leaf,
                    (dataprotect._retention_change(policy)).assignments, rows_in)
        END;
    IF plain AND NOT has_children AND policy.action = 'delete' THEN
        apply_sql := apply_sql || ' AND ' || older;
    ELSIF plain AND NOT has_children AND policy.action = 'archive' THEN
        apply_sql := replace(apply_sql, rows_in || ' RETURNING', rows_in || ' AND ' || older || ' RETURNING');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._retention_statements(bigint, regclass, int) IS
    'how a run chooses and changes the next rows of one table';

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
         WHERE NOT t.loops AND t.action IN ('delete', 'nullify') ORDER BY t.ordinality DESC
    LOOP
        FOR part IN SELECT * FROM dataprotect._leaves(node.child) LOOP
            found := dataprotect._tids_as(leaf, format('SELECT array_agg(%1$s.ctid) FROM ONLY %2$s %1$s WHERE %3$s',
                                                       node.child_alias, part, node.child_up), tids);
            CONTINUE WHEN found IS NULL;
            cleared := cleared + dataprotect._apply_as(part, CASE node.action
                WHEN 'delete' THEN format('DELETE FROM ONLY %s t WHERE t.ctid OPERATOR(pg_catalog.=) ANY ($1)', part)
                ELSE format('UPDATE ONLY %s t SET %s WHERE t.ctid OPERATOR(pg_catalog.=) ANY ($1)', part,
                            (SELECT string_agg(format('%I = NULL', c), ', ') FROM unnest(node.child_columns) c))
                END, found);
        END LOOP;
    END LOOP;
    RETURN cleared;
END $$;
COMMENT ON FUNCTION dataprotect._retention_clear_children(bigint, regclass, tid[]) IS
    'remove or detach the rows that reference rows about to be removed';

-- Drop the next partition that is wholly old and not spared; false where none
-- is left.  The lock is waited for briefly: behind it every query on the table
-- would queue.
CREATE FUNCTION dataprotect._retention_drop_next(run bigint) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '5s'
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._retention_of_run(run);
    cutoff timestamptz := (SELECT r.cutoff FROM dataprotect.retention_run r WHERE r.id = run);
    part regclass;
    gone bigint;
BEGIN
    FOR part IN SELECT * FROM dataprotect._retention_old_partitions(policy, cutoff) LOOP
        CONTINUE WHEN dataprotect._retention_partition_spared(policy, part);
        PERFORM dataprotect._apply_as(part, format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', part));
        CONTINUE WHEN dataprotect._retention_partition_spared(policy, part);
        gone := dataprotect._value_as(part, format('SELECT count(*) FROM %s', part))::bigint;
        PERFORM dataprotect._apply_as(policy.base, format('ALTER TABLE %s DETACH PARTITION %s', policy.base, part));
        PERFORM dataprotect._apply_as(part, format('DROP TABLE %s', part));
        UPDATE dataprotect.retention_run r SET rows_done = r.rows_done + gone WHERE r.id = run;
        RETURN true;
    END LOOP;
    RETURN false;
END $$;
COMMENT ON FUNCTION dataprotect._retention_drop_next(bigint) IS 'drop one partition whose time is over';

CREATE PROCEDURE dataprotect.run_retention(name text = NULL)
    AS 'MODULE_PATHNAME', 'dp_lifecycle_run_retention'
    LANGUAGE C;
COMMENT ON PROCEDURE dataprotect.run_retention(text) IS
    'carry out one retention policy, or all that are active, in batches with a commit each';
