-- Making, previewing and switching retention policies

CREATE FUNCTION dataprotect._retention_check_keys(policy dataprotect.retention_policy) RETURNS void
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    owner oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = policy.base);
    node record;
    bare regclass;
BEGIN
    FOR node IN
        SELECT * FROM dataprotect._fk_tree(policy.base, policy.base::text, 't', 'true', '', ARRAY[policy.base],
                                           dataprotect._retention_rules(policy.id), ARRAY['delete', 'cascade'])
    LOOP
        IF node.casts THEN
            PERFORM dataprotect._raise('feature_not_supported',
                format('foreign key "%s" of table "%s" compares by a cast', node.constraint_name, node.child),
                NULL,
                'Give its columns the type of the columns that they reference.');
        END IF;
        bare := dataprotect._unindexed(node.child, node.child_columns);
        IF bare IS NOT NULL THEN
            PERFORM dataprotect._raise('object_not_in_prerequisite_state',
                format('referencing table "%s" has no index on the columns of its foreign key', bare),
                format('Every row that is removed from "%s" would cost a scan of it.', node.parent),
                format('CREATE INDEX ON %s (%s);', node.child,
                              (SELECT string_agg(quote_ident(c), ', ') FROM unnest(node.child_columns) c)));
        END IF;
        IF node.loops AND node.child <> node.parent AND NOT node.sets_null THEN
            PERFORM dataprotect._raise('feature_not_supported',
                format('foreign key "%s" of table "%s" closes a circle', node.constraint_name, node.child),
                NULL,
                'Choose "keep_referenced" or "nullify" for one of the tables.');
        END IF;
        IF node.restricts AND NOT node.loops AND node.action IS NULL AND policy.action <> 'drop_partition' THEN
            PERFORM dataprotect._raise('dependent_objects_still_exist',
                format('retention policy "%s" does not say what happens to rows of "%s"', policy.name, node.child),
                format('Foreign key "%s" keeps rows of "%s" from being removed.',
                                node.constraint_name, node.parent),
                format('Give options such as {"children": {"%s": "delete"}}, "nullify" or "keep_referenced".',
                              node.child));
        END IF;
        IF policy.action = 'drop_partition' AND node.action IN ('delete', 'nullify') THEN
            PERFORM dataprotect._raise('feature_not_supported',
                'action "drop_partition" keeps partitions whose rows are referenced',
                NULL,
                'Use the action "delete" to remove referencing rows as well.');
        END IF;
        IF NOT has_table_privilege(owner, node.child, 'SELECT') THEN
            PERFORM dataprotect._raise('insufficient_privilege',
                format('owner of "%s" may not read referencing table "%s"', policy.base, node.child),
                NULL,
                format('GRANT SELECT ON %s TO %I;', node.child, pg_get_userbyid(owner)));
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._retention_check_keys(dataprotect.retention_policy) IS
    'error where a foreign key stands in the way of a policy';

-- The table below base that has no btree index led by the age, or NULL.
CREATE FUNCTION dataprotect._retention_unindexed(base regclass, expression text) RETURNS regclass
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT l FROM dataprotect._leaves(base) l
     WHERE NOT EXISTS (
           SELECT 1 FROM pg_catalog.pg_index i
             JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
             JOIN pg_catalog.pg_am am ON am.oid = c.relam
            WHERE i.indrelid = l AND i.indisvalid AND i.indisready AND i.indpred IS NULL AND am.amname = 'btree'
              AND pg_catalog.pg_get_indexdef(i.indexrelid, 1, false) IN (expression, '(' || expression || ')'))
     LIMIT 1;
$$;
COMMENT ON FUNCTION dataprotect._retention_unindexed(regclass, text) IS
    'a table that has no index by which its oldest rows are found, or NULL';

-- Everything that must be so for a policy to run; checked when it is made,
-- activated, and at the start of every run.
CREATE FUNCTION dataprotect._retention_preflight(policy dataprotect.retention_policy) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bare regclass;
    unready text;
BEGIN
    PERFORM dataprotect._retention_usable(policy);
    SELECT c.relname INTO unready FROM dataprotect._below(policy.base) b JOIN pg_class c ON c.oid = b
     WHERE c.relkind NOT IN ('r', 'p') LIMIT 1;
    IF FOUND THEN
        PERFORM dataprotect._raise('wrong_object_type', format('"%s" is not an ordinary table', unready));
    END IF;
    IF policy.action = 'drop_partition' THEN
        IF NOT EXISTS (SELECT 1 FROM pg_partitioned_table p
                         JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
                        WHERE p.partrelid = policy.base AND p.partstrat = 'r' AND p.partnatts = 1
                          AND quote_ident(a.attname) = policy.age_expression) THEN
            PERFORM dataprotect._raise('wrong_object_type',
                format('table "%s" is not partitioned by range of "%s"', policy.base, policy.age_column),
                NULL,
                'Use the action "delete".');
        END IF;
    ELSE
        bare := dataprotect._retention_unindexed(policy.base, policy.age_expression);
        IF bare IS NOT NULL THEN
            PERFORM dataprotect._raise('object_not_in_prerequisite_state',
                format('table "%s" has no index on its age "%s"', bare, policy.age_expression),
                NULL,
                format('CREATE INDEX ON %s (%s);', policy.base, policy.age_expression));
        END IF;
    END IF;
    IF policy.action IN ('nullify', 'anonymise') THEN
        PERFORM dataprotect._retention_change(policy);
    ELSE
        PERFORM dataprotect._retention_check_keys(policy);
    END IF;
    IF policy.action = 'archive' THEN
        PERFORM dataprotect._retention_check_archive(policy);
    END IF;
    -- The rows are found, or this says why not.
    PERFORM dataprotect._value_as(policy.base, format('SELECT 1 FROM %s t WHERE %s LIMIT 1', policy.base,
        dataprotect._retention_due_condition(policy, policy.base, 't', dataprotect._now() - policy.keep)));
END $$;
COMMENT ON FUNCTION dataprotect._retention_preflight(dataprotect.retention_policy) IS
    'error where a policy cannot run';

CREATE FUNCTION dataprotect._retention_check_archive(policy dataprotect.retention_policy) RETURNS void
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    odd text;
BEGIN
    IF policy.archive = ANY (ARRAY(SELECT dataprotect._below(dataprotect._top(policy.base)))) THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'a table cannot be its own archive');
    END IF;
    SELECT a.attname INTO odd FROM pg_attribute a
     WHERE a.attrelid = policy.base AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
       AND NOT EXISTS (SELECT 1 FROM pg_attribute b
                        WHERE b.attrelid = policy.archive AND b.attname = a.attname AND b.attnum > 0
                          AND NOT b.attisdropped AND b.atttypid = a.atttypid AND b.atttypmod = a.atttypmod
                          AND b.attgenerated = '');
    IF FOUND THEN
        PERFORM dataprotect._raise('datatype_mismatch',
            format('archive table "%s" has no column "%s" of the same type', policy.archive, odd));
    END IF;
    SELECT t.tgname INTO odd FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
     WHERE t.tgrelid = policy.archive AND t.tgtype & 7 = 7   -- before insert, for each row
       AND p.pronamespace <> 'dataprotect'::regnamespace;
    IF FOUND THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('trigger "%s" of archive table "%s" could turn rows away', odd, policy.archive));
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._retention_check_archive(dataprotect.retention_policy) IS
    'error where an archive table cannot take a policy''s rows';

CREATE FUNCTION dataprotect._named_table(name text) RETURNS regclass
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found regclass := pg_catalog.to_regclass(name);
BEGIN
    IF found IS NULL THEN
        PERFORM dataprotect._raise('undefined_table',
            pg_catalog.format('relation "%s" does not exist', name),
            NULL,
            'Tables in options are written with their schema.');
    END IF;
    RETURN found;
END $$;
COMMENT ON FUNCTION dataprotect._named_table(text) IS 'a table by its qualified name, or an error';

CREATE FUNCTION dataprotect._retention_check_options(keep interval, action text, options jsonb) RETURNS interval
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bad text;
    schedule interval;
BEGIN
    IF dataprotect._now() - keep >= dataprotect._now() THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'the time to keep must be positive');
    END IF;
    IF action NOT IN ('delete', 'drop_partition', 'nullify', 'anonymise', 'archive') THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('unknown retention action "%s"', action),
            NULL,
            'Actions are delete, drop_partition, nullify, anonymise and archive.');
    END IF;
    IF jsonb_typeof(options) <> 'object' THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'options must be a JSON object');
    END IF;
    SELECT k INTO bad FROM jsonb_object_keys(options) k
     WHERE NOT (k = 'every' OR (k = 'children' AND action IN ('delete', 'archive', 'drop_partition'))
                OR (k = 'columns' AND action IN ('nullify', 'anonymise')) OR (k = 'archive' AND action = 'archive'));
    IF FOUND THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('option "%s" does not belong to action "%s"', bad, action));
    END IF;
    IF jsonb_typeof(options -> 'children') <> 'object'
       OR jsonb_typeof(options -> 'columns') <> (CASE action WHEN 'nullify' THEN 'array' ELSE 'object' END) THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'option "children" must be a JSON object and "columns" an array to nullify, an object to anonymise');
    END IF;
    schedule := coalesce(options ->> 'every', '1 hour')::interval;
    IF dataprotect._now() + schedule <= dataprotect._now() THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'option "every" must be positive');
    END IF;
    RETURN schedule;
END $$;
COMMENT ON FUNCTION dataprotect._retention_check_options(interval, text, jsonb) IS
    'how often a policy runs, or an error where its action and options do not fit';

-- The relation that has the age column: rel itself, or the only view of the same
-- owner that shows rel's rows with such a column.
CREATE FUNCTION dataprotect._retention_age_source(rel regclass, age_column name) RETURNS regclass
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    views regclass[];
BEGIN
    IF EXISTS (SELECT 1 FROM pg_attribute a
                WHERE a.attrelid = rel AND a.attname = age_column AND a.attnum > 0 AND NOT a.attisdropped) THEN
        RETURN rel;
    END IF;
    SELECT array_agg(DISTINCT v.oid::regclass) INTO views
      FROM pg_depend d
      JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
      JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v'
      JOIN pg_class t ON t.oid = rel AND t.relowner = v.relowner
      JOIN pg_attribute a ON a.attrelid = v.oid AND a.attname = age_column
     WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = rel
       AND pg_relation_is_updatable(v.oid, false) & 16 <> 0;    -- rows can be deleted through it
    IF cardinality(views) = 1 AND (dataprotect._age_expression(views[1], age_column)).base = rel THEN
        RAISE NOTICE USING MESSAGE = format('age column "%s" of relation "%s" is that of view "%s"', age_column, rel, views[1]);
        RETURN views[1];
    END IF;
    RETURN rel;
END $$;
COMMENT ON FUNCTION dataprotect._retention_age_source(regclass, name) IS
    'the table, or the one view over it, that has an age column';

CREATE FUNCTION dataprotect._do_create_retention_policy(name text, rel regclass, age_column name, keep interval,
        action text, options jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    age record;
    policy dataprotect.retention_policy;
    child record;
    schedule interval;
    archive regclass;
BEGIN
    IF coalesce(name, '') = '' OR rel IS NULL OR age_column IS NULL OR keep IS NULL OR action IS NULL OR options IS NULL THEN
        PERFORM dataprotect._raise('null_value_not_allowed',
            'a retention policy needs a name, a table, an age column, a time to keep and an action');
    END IF;
    schedule := dataprotect._retention_check_options(keep, action, options);
    PERFORM dataprotect._check_table_right(rel);
    rel := dataprotect._retention_age_source(rel, age_column);
    age := dataprotect._retention_age(rel, age_column);
    PERFORM dataprotect._check_table_right(age.base);
    IF age.type NOT IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN
        PERFORM dataprotect._raise('datatype_mismatch',
            format('age column "%s" is of type %s', age_column, age.type),
            NULL,
            'An age column is a date, a timestamp, or a range of them.');
    END IF;
    IF action = 'archive' THEN
        archive := dataprotect._named_table(coalesce(options ->> 'archive', ''));
        PERFORM dataprotect._check_table_right(archive);
    END IF;

    BEGIN
        INSERT INTO dataprotect.retention_policy (name, rel, base, age_column, age_expression, age_type, condition,
                                                  keep, action, options, archive, every, created_by)
            VALUES (name, rel, age.base, age_column, age.expression, age.type, age.condition,
                    keep, action, options, archive, schedule, pg_get_userbyid(dataprotect._caller()))
            RETURNING * INTO policy;
    EXCEPTION WHEN unique_violation THEN
        PERFORM dataprotect._raise('duplicate_object', format('retention policy "%s" already exists', name));
    END;
    FOR child IN SELECT e.key, e.value #>> '{}' AS rule FROM jsonb_each(options -> 'children') e LOOP
        IF coalesce(child.rule, '') NOT IN ('delete', 'nullify', 'keep_referenced') THEN
            PERFORM dataprotect._raise('invalid_parameter_value',
                format('unknown rule "%s" for referencing table "%s"', child.rule, child.key),
                NULL,
                'Rules are delete, nullify and keep_referenced.');
        END IF;
        PERFORM dataprotect._check_table_right(dataprotect._named_table(child.key));
        INSERT INTO dataprotect.retention_child (policy, rel, action)
            VALUES (policy.id, dataprotect._top(dataprotect._named_table(child.key)), child.rule);
    END LOOP;
    PERFORM dataprotect._retention_preflight(policy);
    PERFORM dataprotect._event('retention.created', NULL, jsonb_build_object('policy', name, 'rel', rel::text,
        'age_column', age_column, 'keep', keep, 'action', action, 'options', options));
END $$;
COMMENT ON FUNCTION dataprotect._do_create_retention_policy(text, regclass, name, interval, text, jsonb) IS 'body of dataprotect.create_retention_policy(); see definer.c';

CREATE FUNCTION dataprotect.create_retention_policy(name text, rel regclass, age_column name, keep interval,
        action text, options jsonb = '{}') RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.create_retention_policy(text, regclass, name, interval, text, jsonb) IS
    'say how long rows of a table are kept, and what happens then; the policy is created paused';

CREATE FUNCTION dataprotect._retention_switch(name text, wanted text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._find_retention_policy(name);
BEGIN
    IF EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = policy.base) THEN
        PERFORM dataprotect._check_table_right(policy.base);
    END IF;
    IF policy.state = wanted THEN
        RETURN;
    END IF;
    IF wanted = 'active' THEN
        PERFORM dataprotect._retention_preflight(policy);
    END IF;
    UPDATE dataprotect.retention_policy p
       SET state = wanted,
           next_due = CASE WHEN wanted = 'active' AND NOT dataprotect._maintenance_scheduled() THEN dataprotect._now() END
     WHERE p.id = policy.id;
    PERFORM dataprotect._event(CASE wanted WHEN 'active' THEN 'retention.activated' ELSE 'retention.paused' END, NULL,
                               jsonb_build_object('policy', name));
    PERFORM dataprotect._wake_maintenance();
END $$;
COMMENT ON FUNCTION dataprotect._retention_switch(text, text) IS 'activate or pause a policy';

CREATE FUNCTION dataprotect._do_activate_retention(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM dataprotect._retention_switch(name, 'active');
END $$;
COMMENT ON FUNCTION dataprotect._do_activate_retention(text) IS 'body of dataprotect.activate_retention(); see definer.c';

CREATE FUNCTION dataprotect.activate_retention(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.activate_retention(text) IS 'let a retention policy run';

CREATE FUNCTION dataprotect._do_pause_retention(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM dataprotect._retention_switch(name, 'paused');
END $$;
COMMENT ON FUNCTION dataprotect._do_pause_retention(text) IS 'body of dataprotect.pause_retention(); see definer.c';

CREATE FUNCTION dataprotect.pause_retention(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.pause_retention(text) IS
    'stop a retention policy, at the end of the batch it is at';

-- What a policy would do now.  Besides its own action the rows show what would
-- go with it ("delete", "nullify", "cascade" of referencing tables) and what
-- stays although it is old enough: "held", "referenced", or "out of reach" (in a
-- partition that is not wholly old).
CREATE FUNCTION dataprotect._do_preview_retention(name text,
        OUT action text, OUT rel regclass, OUT rows bigint, OUT oldest timestamptz, OUT newest timestamptz) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._find_retention_policy(name);
    cutoff timestamptz := dataprotect._now() - policy.keep;
    part regclass;
    due text;
BEGIN
    PERFORM dataprotect._check_table_right(policy.base);
    PERFORM dataprotect._retention_preflight(policy);
    IF policy.action = 'drop_partition' THEN
        FOR part IN SELECT * FROM dataprotect._retention_old_partitions(policy, cutoff) LOOP
            RETURN QUERY SELECT CASE WHEN dataprotect._retention_partition_spared(policy, part)
                                     THEN 'held' ELSE policy.action END, part, c.*
                           FROM dataprotect._retention_count(policy, part, 'true') c;
        END LOOP;
        due := format('t.tableoid OPERATOR(pg_catalog.<>) ALL (%L::pg_catalog.oid[]) AND %s',
                      ARRAY(SELECT b::oid FROM dataprotect._retention_old_partitions(policy, cutoff) p,
                                               dataprotect._below(p) b)::text,
                      dataprotect._older_than(policy, cutoff));
        RETURN QUERY SELECT 'out of reach', policy.base, c.*
                       FROM dataprotect._retention_count(policy, policy.base, due) c WHERE c.rows > 0;
        RETURN;
    END IF;
    due := dataprotect._retention_due_condition(policy, policy.base, 't', cutoff);
    RETURN QUERY SELECT policy.action, policy.base, c.* FROM dataprotect._retention_count(policy, policy.base, due) c;
    RETURN QUERY SELECT * FROM dataprotect._retention_preview_children(policy, due);
    RETURN QUERY SELECT * FROM dataprotect._retention_preview_spared(policy, cutoff);
END $$;
COMMENT ON FUNCTION dataprotect._do_preview_retention(text) IS 'body of dataprotect.preview_retention(); see definer.c';

CREATE FUNCTION dataprotect.preview_retention(name text,
        OUT action text, OUT rel regclass, OUT rows bigint, OUT oldest timestamptz, OUT newest timestamptz) RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.preview_retention(text) IS 'what a retention policy would do if it ran now';

CREATE FUNCTION dataprotect._retention_count(policy dataprotect.retention_policy, part regclass, condition text,
        OUT rows bigint, OUT oldest timestamptz, OUT newest timestamptz) RETURNS record
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    counted jsonb := dataprotect._value_as(part, format(
        'SELECT jsonb_build_object(''n'', count(*), ''min'', min(%1$s)::timestamptz, ''max'', max(%1$s)::timestamptz) '
        'FROM %2$s t WHERE %3$s', policy.age_expression, part, condition));
BEGIN
    rows := (counted ->> 'n')::bigint;
    oldest := (counted ->> 'min')::timestamptz;
    newest := (counted ->> 'max')::timestamptz;
END $$;
COMMENT ON FUNCTION dataprotect._retention_count(dataprotect.retention_policy, regclass, text) IS
    'number and age of the rows of a policy''s table that satisfy a condition';

CREATE FUNCTION dataprotect._retention_preview_children(policy dataprotect.retention_policy, due text,
        OUT action text, OUT rel regclass, OUT rows bigint, OUT oldest timestamptz, OUT newest timestamptz)
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    node record;
BEGIN
    IF policy.action NOT IN ('delete', 'archive') THEN
        RETURN;
    END IF;
    FOR node IN
        SELECT t.*, t.child_up AS up FROM dataprotect._fk_tree(policy.base, policy.base::text, 't', '(' || due || ')',
               '', ARRAY[policy.base], dataprotect._retention_rules(policy.id), ARRAY['delete', 'cascade']) t
         WHERE NOT t.loops AND t.action IS DISTINCT FROM 'keep_referenced'
    LOOP
        action := coalesce(node.action, CASE WHEN node.cascades THEN 'cascade' ELSE 'nullify' END);
        rel := node.child;
        rows := dataprotect._value_as(policy.base, format('SELECT count(*) FROM %s %s WHERE %s',
                                                          node.child, node.child_alias, node.up))::bigint;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._retention_preview_children(dataprotect.retention_policy, text) IS
    'rows of referencing tables that go or change with a policy''s due rows';

CREATE FUNCTION dataprotect._retention_preview_spared(policy dataprotect.retention_policy, cutoff timestamptz,
        OUT action text, OUT rel regclass, OUT rows bigint, OUT oldest timestamptz, OUT newest timestamptz)
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old text := concat_ws(' AND ', dataprotect._older_than(policy, cutoff), '(' || policy.condition || ')');
    held text := dataprotect._held_condition(policy.base, 't');
    spared text := dataprotect._retention_spared(policy, policy.base, 't');
BEGIN
    IF held IS NOT NULL THEN
        RETURN QUERY SELECT 'held', policy.base, c.*
            FROM dataprotect._retention_count(policy, policy.base, format('%s AND (%s)', old, held)) c WHERE c.rows > 0;
    END IF;
    IF spared IS DISTINCT FROM coalesce(held, 'false') THEN
        RETURN QUERY SELECT 'referenced', policy.base, c.*
            FROM dataprotect._retention_count(policy, policy.base,
                format('%s AND (%s) AND (%s) IS NOT TRUE', old, spared, coalesce(held, 'false'))) c WHERE c.rows > 0;
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._retention_preview_spared(dataprotect.retention_policy, timestamptz) IS
    'rows that are old enough for a policy and stay all the same';

-- Rows due and the oldest of them, for the view; NULL where they cannot be
-- counted (the run itself then says why).
CREATE FUNCTION dataprotect._retention_backlog(name text, OUT rows_due bigint, OUT oldest_due timestamptz)
    RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._find_retention_policy(name);
    cutoff timestamptz := dataprotect._now() - policy.keep;
    part regclass;
    counted record;
BEGIN
    PERFORM dataprotect._retention_usable(policy);
    IF policy.action <> 'drop_partition' THEN
        SELECT c.rows, c.oldest INTO rows_due, oldest_due
          FROM dataprotect._retention_count(policy, policy.base,
                   dataprotect._retention_due_condition(policy, policy.base, 't', cutoff)) c;
        RETURN;
    END IF;
    rows_due := 0;
    FOR part IN SELECT * FROM dataprotect._retention_old_partitions(policy, cutoff) LOOP
        CONTINUE WHEN dataprotect._retention_partition_spared(policy, part);
        counted := dataprotect._retention_count(policy, part, 'true');
        rows_due := rows_due + counted.rows;
        oldest_due := least(oldest_due, counted.oldest);
    END LOOP;
EXCEPTION WHEN OTHERS THEN
    rows_due := NULL;
    oldest_due := NULL;
END $$;
COMMENT ON FUNCTION dataprotect._retention_backlog(text) IS 'rows that a policy has still to act on, and the oldest of them';

CREATE VIEW dataprotect.retention_policies AS
    SELECT p.name, p.rel, p.age_column, p.keep, p.action, p.state, p.next_due, b.rows_due, b.oldest_due,
           p.options, p.created_by, p.created_at
      FROM dataprotect.retention_policy p, LATERAL dataprotect._retention_backlog(p.name) b;
COMMENT ON VIEW dataprotect.retention_policies IS
    'retention policies with the rows that are due now and the oldest of them';

CREATE VIEW dataprotect.retention_runs AS
    SELECT p.name AS policy, r.started_at, r.finished_at, r.rows_done, r.outcome, r.detail, r.cutoff
      FROM dataprotect.retention_run r JOIN dataprotect.retention_policy p ON p.id = r.policy;
COMMENT ON VIEW dataprotect.retention_runs IS 'what retention policies have done';
