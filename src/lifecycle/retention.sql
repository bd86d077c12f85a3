-- Retention policies: what they are, and what must hold before one may run

CREATE TABLE dataprotect.retention_policy (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    rel regclass NOT NULL,              -- as named: a table or a simple view
    base regclass NOT NULL,             -- the table behind it
    age_column name NOT NULL,
    age_expression text NOT NULL,       -- over a row of base
    age_type regtype NOT NULL,
    condition text,                     -- the view's own
    row_filter text,                    -- options "where" and "keep" as an expression, over a row of base
    keep interval NOT NULL,             -- the least time
    term_rel regclass,                  -- option "keep" as a table: whose rows say how long others are kept
    term_names name[],
    action text NOT NULL CHECK (action IN ('delete', 'drop_partition', 'nullify', 'anonymise', 'archive')),
    options jsonb NOT NULL,
    archive regclass,
    every interval NOT NULL,
    -- Columns are remembered by number: a name is what it meant when it was written
    -- down, for as long as it is the same table (a restored one goes by names).
    rel_names name[] NOT NULL,
    base_names name[] NOT NULL,
    names_of oid[] NOT NULL,            -- rel, base and term_rel
    -- what decides when a day begins and how a date in a text is read
    timezone text NOT NULL,
    date_order text NOT NULL,
    state text NOT NULL DEFAULT 'paused' CHECK (state IN ('paused', 'active')),
    next_due timestamptz,
    created_by name NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    seal bytea
);
COMMENT ON TABLE dataprotect.retention_policy IS 'retention policies; see dataprotect.create_retention_policy()';

-- Tables are remembered by identity: one of the same name made later is another.
CREATE TABLE dataprotect.retention_child (
    policy int NOT NULL REFERENCES dataprotect.retention_policy ON DELETE CASCADE,
    rel regclass NOT NULL,
    action text NOT NULL CHECK (action IN ('delete', 'nullify', 'keep_referenced')),
    seal bytea,
    PRIMARY KEY (policy, rel)
);
COMMENT ON TABLE dataprotect.retention_child IS 'what becomes of rows that reference the rows of a retention policy';

CREATE TABLE dataprotect.retention_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    policy int NOT NULL REFERENCES dataprotect.retention_policy ON DELETE CASCADE,
    started_at timestamptz NOT NULL DEFAULT dataprotect._now(),
    finished_at timestamptz,
    cutoff timestamptz NOT NULL,
    rows_done bigint NOT NULL DEFAULT 0,
    outcome text NOT NULL DEFAULT 'running' CHECK (outcome IN ('running', 'waiting', 'ok', 'error', 'interrupted')),
    detail text
);
CREATE INDEX retention_run_policy_idx ON dataprotect.retention_run (policy, id);
COMMENT ON TABLE dataprotect.retention_run IS 'runs of retention policies, written before the work begins';

SELECT pg_catalog.pg_extension_config_dump('dataprotect.retention_policy', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.retention_policy_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.retention_child', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.retention_run', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.retention_run_id_seq', '');

CREATE FUNCTION dataprotect._find_retention_policy(name text) RETURNS dataprotect.retention_policy
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    policy dataprotect.retention_policy;
BEGIN
    SELECT * INTO policy FROM dataprotect.retention_policy p WHERE p.name = _find_retention_policy.name;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('undefined_object',
            pg_catalog.format('retention policy "%s" does not exist', _find_retention_policy.name));
    END IF;
    RETURN policy;
END $$;
COMMENT ON FUNCTION dataprotect._find_retention_policy(text) IS 'the policy of that name, or an error';

-- Dates are read and days begin for a policy as where it was made, whoever runs
-- it.  Holds until the calling function ends: it has a SET timezone of its own.
CREATE FUNCTION dataprotect._retention_settle(policy dataprotect.retention_policy) RETURNS void
    LANGUAGE sql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT set_config('timezone', policy.timezone, true), set_config('datestyle', 'ISO, ' || policy.date_order, true);
$$;
COMMENT ON FUNCTION dataprotect._retention_settle(dataprotect.retention_policy) IS
    'time zone and order of dates of a policy, until the caller ends';

-- The age of a row as an expression of one of three types; of a range one of its
-- bounds; where rows without an age are due, they are the oldest.  then: as it was
-- printed under the names that columns had.
CREATE FUNCTION dataprotect._retention_age(rel regclass, age_column name, options jsonb, base_names name[],
        OUT base regclass, OUT expression text, OUT type regtype, OUT condition text,
        OUT expression_then text, OUT condition_then text, OUT is_range bool) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    age record := dataprotect._age_expression(rel, age_column, base_names);
BEGIN
    base := age.base;
    expression := age.expression;
    type := age.type;
    condition := age.condition;
    expression_then := age.expression_then;
    condition_then := age.condition_then;
    is_range := type IN (SELECT r.rngtypid FROM pg_range r
                          WHERE r.rngsubtype IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype));
    IF is_range THEN
        type := (SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = age.type);
        expression := format('%s(%s)', coalesce(options ->> 'bound', 'upper'), expression);
        expression_then := format('%s(%s)', coalesce(options ->> 'bound', 'upper'), expression_then);
    ELSIF options ->> 'no_age' = 'due' THEN
        expression := format('COALESCE(%s, %L::%s)', expression, '-infinity', format_type(type, NULL));
        expression_then := format('COALESCE(%s, %L::%s)', expression_then, '-infinity', format_type(type, NULL));
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._retention_age(regclass, name, jsonb, name[]) IS
    'where the age of a row is found, as what a policy remembers of it';

-- Option "columns" under the names that the columns have now.
CREATE FUNCTION dataprotect._retention_columns_now(policy dataprotect.retention_policy) RETURNS jsonb
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
    followed jsonb := CASE policy.action WHEN 'nullify' THEN '[]' ELSE '{}' END;
BEGIN
    FOR item IN
        SELECT k.col, k.value, dataprotect._column_now(policy.base, policy.base_names, policy.names_of[2], k.col::name) AS now
          FROM (SELECT c AS col, NULL::jsonb AS value
                  FROM jsonb_array_elements_text(CASE policy.action WHEN 'nullify'
                                                 THEN policy.options -> 'columns' ELSE '[]' END) c
                UNION ALL
                SELECT e.key, e.value
                  FROM jsonb_each(CASE policy.action WHEN 'anonymise'
                                  THEN policy.options -> 'columns' ELSE '{}' END) e) k
    LOOP
        IF item.now IS NULL THEN
            PERFORM dataprotect._raise('undefined_column',
                format('column "%s" of relation "%s" does not exist', item.col, policy.base),
                NULL,
                'Where it was dropped, take it out with dataprotect.alter_retention_policy().', policy.base);
        END IF;
        followed := followed || CASE policy.action WHEN 'nullify' THEN to_jsonb(item.now)
                                     ELSE jsonb_build_object(item.now, item.value) END;
    END LOOP;
    RETURN followed;
END $$;
COMMENT ON FUNCTION dataprotect._retention_columns_now(dataprotect.retention_policy) IS
    'the columns that a policy changes, under their present names';

-- True of a row t whose time, as another table says it, is over; where that says
-- nothing of it, the policy's own time is all.  The other table's row is read where no
-- name of a column of t could be taken for one of it.
CREATE FUNCTION dataprotect._retention_term(policy dataprotect.retention_policy) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    term name := dataprotect._column_now(policy.term_rel, policy.term_names, policy.names_of[3], (policy.options #>> '{keep,column}')::name);
    columns name[];
    parents name[];
    operators text[];
    moment timestamptz := dataprotect._now();
BEGIN
    SELECT array_agg(dataprotect._column_now(policy.base, policy.base_names, policy.names_of[2], e.key::name) ORDER BY e.key),
           array_agg(dataprotect._column_now(policy.term_rel, policy.term_names, policy.names_of[3], e.value::name) ORDER BY e.key)
      INTO columns, parents FROM jsonb_each_text(policy.options #> '{keep,key}') e;
    IF term IS NULL OR array_position(columns, NULL) IS NOT NULL OR array_position(parents, NULL) IS NOT NULL THEN
        PERFORM dataprotect._raise('undefined_column',
            format('a column that option "keep" of retention policy "%s" names does not exist', policy.name),
            NULL, 'Name another with dataprotect.alter_retention_policy().', policy.term_rel);
    END IF;
    operators := dataprotect._reference_operators(policy.base, columns, policy.term_rel, parents);
    IF operators IS NULL THEN
        PERFORM dataprotect._raise('datatype_mismatch',
            format('columns %s of relation "%s" cannot be compared with %s of "%s"', columns, policy.base, parents, policy.term_rel));
    END IF;
    RETURN format('((%s OPERATOR(pg_catalog.+) COALESCE((SELECT k.%I FROM %s k WHERE %s), ''0''::pg_catalog.interval)) '
                  'OPERATOR(pg_catalog.<) %L::pg_catalog.%s) IS NOT FALSE', policy.age_expression, term, policy.term_rel,
                  dataprotect._join_condition('k', parents, 't', columns, operators),
                  CASE policy.age_type WHEN 'timestamptz'::regtype THEN moment::text ELSE moment::timestamp::text END,
                  CASE policy.age_type WHEN 'timestamptz'::regtype THEN 'timestamptz' ELSE 'timestamp' END);
END $$;
COMMENT ON FUNCTION dataprotect._retention_term(dataprotect.retention_policy) IS
    'condition that the time of a row is over which another table says';

-- The policy as it may be used: under the present names of columns; what is stored
-- of its expressions is no text to be run unless it is what its table or view says
-- now, and whoever made it still has the rights of the tables' owners.
CREATE FUNCTION dataprotect._retention_usable(policy dataprotect.retention_policy) RETURNS dataprotect.retention_policy
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    age record;
    creator oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = policy.created_by);
    other record;
    current_name name;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = policy.rel)
       OR NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = policy.base) THEN
        PERFORM dataprotect._raise('undefined_table',
            format('the table of retention policy "%s" does not exist any more', policy.name));
    END IF;
    current_name := dataprotect._column_now(policy.rel, policy.rel_names, policy.names_of[1], policy.age_column);
    IF current_name IS NULL THEN
        PERFORM dataprotect._raise('undefined_column',
            format('age column "%s" of retention policy "%s" does not exist any more', policy.age_column, policy.name),
            NULL, 'Name another with dataprotect.alter_retention_policy().', policy.rel);
    END IF;
    age := dataprotect._retention_age(policy.rel, current_name, policy.options,
                                      dataprotect._names_then(policy.base, policy.base_names, policy.names_of[2]));
    IF age.base <> policy.base OR age.expression_then <> policy.age_expression OR age.type <> policy.age_type
       OR age.condition_then IS DISTINCT FROM policy.condition THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('the age of rows of "%s" is not what retention policy "%s" was made for', policy.rel, policy.name),
            format('It was "%s" and is "%s".', policy.age_column, age.expression),
            'Make the policy anew.', policy.rel);
    END IF;
    policy.age_column := current_name;
    policy.age_expression := age.expression;
    policy.condition := age.condition;
    IF policy.row_filter IS NOT NULL THEN
        policy.row_filter := dataprotect._stored_predicate(format('retention policy "%s"', policy.name), policy.base,
            policy.row_filter, dataprotect._names_then(policy.base, policy.base_names, policy.names_of[2]), 't', dataprotect._now());
    END IF;
    IF policy.action IN ('nullify', 'anonymise') THEN
        policy.options := jsonb_set(policy.options, '{columns}', dataprotect._retention_columns_now(policy));
    END IF;
    IF policy.term_rel IS NOT NULL THEN
        IF NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = policy.term_rel) THEN
            PERFORM dataprotect._raise('undefined_table',
                format('the table that says how long rows of retention policy "%s" are kept does not exist any more', policy.name));
        END IF;
        policy.row_filter := concat_ws(' AND ', '(' || policy.row_filter || ')', dataprotect._retention_term(policy));
    END IF;
    FOR other IN SELECT c.oid::regclass AS rel, c.relowner FROM pg_class c
                  WHERE c.oid = policy.base OR c.oid = policy.archive OR c.oid = policy.term_rel
                     OR c.oid IN (SELECT k.rel FROM dataprotect.retention_child k WHERE k.policy = policy.id)
    LOOP
        IF creator IS NULL OR NOT pg_has_role(creator, other.relowner, 'USAGE') THEN
            PERFORM dataprotect._raise('insufficient_privilege',
                format('role "%s", who made retention policy "%s", has not the rights of the owner of "%s"',
                                 policy.created_by, policy.name, other.rel),
                NULL,
                'Make the policy anew as a role that has them.', other.rel);
        END IF;
    END LOOP;
    policy.rel_names := dataprotect._column_names(policy.rel);
    policy.base_names := dataprotect._column_names(policy.base);
    policy.names_of := ARRAY[policy.rel::oid, policy.base::oid, policy.names_of[3]];
    RETURN policy;
END $$;
COMMENT ON FUNCTION dataprotect._retention_usable(dataprotect.retention_policy) IS
    'the policy under present names, or an error where what it remembers is not so any more';

CREATE FUNCTION dataprotect._retention_rules(policy int) RETURNS jsonb
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_object('rel', c.rel::oid, 'action', c.action)), '[]')
      FROM dataprotect.retention_child c WHERE c.policy = $1;
$$;
COMMENT ON FUNCTION dataprotect._retention_rules(int) IS 'rules of a policy for referencing tables';

CREATE FUNCTION dataprotect._retention_cutoff(policy dataprotect.retention_policy) RETURNS timestamptz
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._now() - policy.keep;
$$;
COMMENT ON FUNCTION dataprotect._retention_cutoff(dataprotect.retention_policy) IS
    'the moment before which rows are due, for a caller that has settled the policy''s time zone';

-- Condition for rows older than a moment.
CREATE FUNCTION dataprotect._older_than(policy dataprotect.retention_policy, cutoff timestamptz) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('%s OPERATOR(pg_catalog.<) %L::pg_catalog.%s', policy.age_expression,
                  CASE policy.age_type
                      WHEN 'date'::regtype THEN cutoff::date::text
                      WHEN 'timestamp'::regtype THEN cutoff::timestamp::text
                      ELSE cutoff::text
                  END,
                  CASE policy.age_type WHEN 'date'::regtype THEN 'date'
                      WHEN 'timestamp'::regtype THEN 'timestamp' ELSE 'timestamptz' END);
$$;
COMMENT ON FUNCTION dataprotect._older_than(dataprotect.retention_policy, timestamptz) IS
    'condition for rows that a policy considers older than a moment';

-- What the actions nullify and anonymise write, and how they know a row that
-- they have been at: "col = value, .." and a condition that is true of a row
-- that is still to be done.
CREATE FUNCTION dataprotect._retention_change(policy dataprotect.retention_policy,
        OUT assignments text, OUT undone text) RETURNS record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
    one text;
    check_one text;
    pattern text;
BEGIN
    FOR item IN
        SELECT k.col, k.value, a.attnotnull, format_type(a.atttypid, a.atttypmod) AS type, t.typcategory
          FROM (SELECT c AS col, NULL::jsonb AS value
                  FROM jsonb_array_elements_text(CASE policy.action WHEN 'nullify'
                                                 THEN policy.options -> 'columns' ELSE '[]' END) c
                UNION ALL
                SELECT e.key, e.value
                  FROM jsonb_each(CASE policy.action WHEN 'anonymise'
                                  THEN policy.options -> 'columns' ELSE '{}' END) e) k
          LEFT JOIN pg_attribute a ON a.attrelid = policy.base AND a.attname = k.col AND a.attnum > 0
                                      AND NOT a.attisdropped
          LEFT JOIN pg_type t ON t.oid = a.atttypid
         ORDER BY k.col
    LOOP
        IF item.type IS NULL THEN
            PERFORM dataprotect._raise('undefined_column',
                format('column "%s" of relation "%s" does not exist', item.col, policy.base));
        END IF;
        IF jsonb_typeof(item.value) IN ('object', 'array') THEN
            PERFORM dataprotect._raise('invalid_parameter_value',
                format('replacement of column "%s" is not a single value', item.col));
        END IF;
        IF item.value IS NULL OR jsonb_typeof(item.value) = 'null' THEN
            IF item.attnotnull THEN
                PERFORM dataprotect._raise('not_null_violation',
                    format('column "%s" of relation "%s" does not allow nulls', item.col, policy.base),
                    NULL,
                    'Use the action "anonymise" with a replacement.');
            END IF;
            one := format('%I = NULL', item.col);
            check_one := format('%I IS NOT NULL', item.col);
        ELSIF EXISTS (SELECT 1 FROM dataprotect._protected_attributes(policy.base) p WHERE p = item.col) THEN
            PERFORM dataprotect._raise('feature_not_supported',
                format('protected column "%s" can only be replaced by null', item.col),
                'Retention opens no value, so it could not tell the rows that are done.');
        ELSIF item.value #>> '{}' LIKE '%{uuid}%' THEN
            IF item.typcategory <> 'S' THEN
                PERFORM dataprotect._raise('datatype_mismatch',
                    format('replacement of column "%s" needs a text type', item.col));
            END IF;
            pattern := '^' || replace(regexp_replace(item.value #>> '{}', '([.*+?()|\[\]\\^$])', '\\\1', 'g'),
                                      '{uuid}', '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}') || '$';
            one := format('%I = pg_catalog.replace(%L, ''{uuid}'', pg_catalog.gen_random_uuid()::pg_catalog.text)',
                          item.col, item.value #>> '{}');
            check_one := format('(%I::pg_catalog.text ~ %L) IS NOT TRUE', item.col, pattern);
        ELSE
            one := format('%I = %L::%s', item.col, item.value #>> '{}', item.type);
            check_one := format('%I IS DISTINCT FROM %L::%s', item.col, item.value #>> '{}', item.type);
        END IF;
        assignments := concat_ws(', ', assignments, one);
        undone := concat_ws(' OR ', undone, check_one);
    END LOOP;
    IF assignments IS NULL THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('action "%s" needs the columns to change', policy.action),
            NULL,
            CASE policy.action WHEN 'nullify' THEN 'Give options such as {"columns": ["note"]}.'
                   ELSE 'Give options such as {"columns": {"note": null, "name": "removed"}}.' END);
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._retention_change(dataprotect.retention_policy) IS
    'what nullify and anonymise write, and the condition of rows still to be done';

-- Foreign keys of a policy's table to itself, and what becomes of rows along them:
-- "follow" (a row that is due takes the rows that reference it along), "keep" (a row
-- stays while one that is not due references it), "detach" (the reference is set to
-- NULL by us) or "leave" (by the foreign key).
CREATE FUNCTION dataprotect._retention_own_keys(policy dataprotect.retention_policy,
        OUT child_columns name[], OUT parent_columns name[], OUT operators text[], OUT rule text)
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF policy.action NOT IN ('delete', 'archive') OR dataprotect._unreferenced(policy.base) THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT r.child_columns, r.parent_columns, r.operators,
           CASE WHEN c.action = 'nullify' THEN 'detach'
                WHEN c.action = 'keep_referenced' THEN 'keep'
                WHEN c.action = 'delete' OR r.cascades THEN 'follow'
                WHEN r.sets_null THEN 'leave'
                ELSE 'keep' END
      FROM dataprotect._referencing(dataprotect._top(policy.base)) r
      LEFT JOIN dataprotect.retention_child c ON c.policy = policy.id AND c.rel = r.child
     WHERE r.child = dataprotect._top(policy.base);
END $$;
COMMENT ON FUNCTION dataprotect._retention_own_keys(dataprotect.retention_policy) IS
    'foreign keys of a policy''s table to itself, and what becomes of rows along them';

-- Condition that spares a due row (alias given): holds on it, on what it references
-- and on whatever would go with it, and rows that still reference it.  Never NULL.
-- Rows of the same table that reference it are another matter: _retention_close().
CREATE FUNCTION dataprotect._retention_spared(policy dataprotect.retention_policy, rel regclass, alias text)
    RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    spared text := dataprotect._held_or_above(rel, alias, ARRAY[dataprotect._top(rel)]);
    node record;
    held text;
BEGIN
    IF policy.action IN ('delete', 'archive', 'drop_partition') THEN
        FOR node IN
            SELECT * FROM dataprotect._fk_tree(policy.base, policy.base::text, alias, 'true', '', ARRAY[policy.base],
                                               dataprotect._retention_rules(policy.id), ARRAY['delete', 'cascade'])
        LOOP
            CONTINUE WHEN policy.action <> 'drop_partition' AND node.child = policy.base AND node.parent = policy.base;
            IF node.loops OR node.action = 'keep_referenced' OR policy.action = 'drop_partition' THEN
                spared := concat_ws(' OR ', spared, node.child_open || 'true' || repeat(')', node.depth));
            ELSE
                held := dataprotect._held_or_above(node.child, node.child_alias, node.above || node.child);
                IF held IS NOT NULL THEN
                    spared := concat_ws(' OR ', spared, node.child_open || '(' || held || ')' || repeat(')', node.depth));
                END IF;
            END IF;
        END LOOP;
    END IF;
    RETURN coalesce(spared, 'false');
END $$;
COMMENT ON FUNCTION dataprotect._retention_spared(dataprotect.retention_policy, regclass, text) IS
    'condition under which a policy must leave a row alone';

-- Which rows a policy is about, whatever their age.
CREATE FUNCTION dataprotect._retention_scope(policy dataprotect.retention_policy) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT nullif(concat_ws(' AND ', '(' || policy.condition || ')', '(' || policy.row_filter || ')'), '');
$$;
COMMENT ON FUNCTION dataprotect._retention_scope(dataprotect.retention_policy) IS
    'condition for the rows that a policy is about, or NULL where it is all';

-- Condition for the rows that a policy acts on, spared ones left out.
CREATE FUNCTION dataprotect._retention_due_condition(policy dataprotect.retention_policy, rel regclass, alias text,
        cutoff timestamptz) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT concat_ws(' AND ', dataprotect._older_than(policy, cutoff),
                     dataprotect._retention_scope(policy),
                     CASE WHEN policy.action IN ('nullify', 'anonymise')
                          THEN '(' || (dataprotect._retention_change(policy)).undone || ')' END,
                     'NOT (' || nullif(dataprotect._retention_spared(policy, rel, alias), 'false') || ')');
$$;
COMMENT ON FUNCTION dataprotect._retention_due_condition(dataprotect.retention_policy, regclass, text, timestamptz) IS
    'condition for the rows that a policy acts on';

-- The rows that satisfy "due" but are referenced by a row of their own table that
-- stays, or by one that such a row keeps; as the body of WITH RECURSIVE: pinned(t, c).
-- NULL where no row of the table can keep another.
CREATE FUNCTION dataprotect._retention_pinned(policy dataprotect.retention_policy, due text) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('WITH RECURSIVE due(t, c) AS MATERIALIZED (SELECT t.tableoid, t.ctid FROM %1$s t WHERE %2$s), '
                  'edge(pt, pc, kt, kc) AS (%3$s), '
                  'pinned(t, c) AS (SELECT e.pt, e.pc FROM edge e WHERE NOT EXISTS (SELECT 1 FROM due d WHERE d.t = e.kt AND d.c = e.kc) '
                  'UNION SELECT e.pt, e.pc FROM pinned n JOIN edge e ON e.kt = n.t AND e.kc = n.c)',
                  policy.base, due,
                  string_agg(format('SELECT p.tableoid, p.ctid, k.tableoid, k.ctid FROM due d '
                                    'JOIN %1$s p ON p.tableoid = d.t AND p.ctid = d.c JOIN %1$s k ON %2$s',
                                    policy.base, dataprotect._join_condition('p', o.parent_columns, 'k', o.child_columns, o.operators)),
                             ' UNION ALL '))
      FROM dataprotect._retention_own_keys(policy) o WHERE o.rule = 'keep'
    HAVING count(*) > 0;
$$;
COMMENT ON FUNCTION dataprotect._retention_pinned(dataprotect.retention_policy, text) IS
    'due rows that younger rows of the same table keep, as a common table expression';

-- Partitions at any depth that can receive no row younger than the cut-off any
-- more; none below another of them.
CREATE FUNCTION dataprotect._retention_old_partitions(policy dataprotect.retention_policy, cutoff timestamptz, within regclass)
    RETURNS SETOF regclass
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    part record;
    is_old bool;
BEGIN
    FOR part IN
        SELECT i.inhrelid::regclass AS rel, c.relkind,
               CASE WHEN p.partstrat = 'r' AND p.partnatts = 1 AND quote_ident(a.attname) = policy.age_expression
                    THEN dataprotect._partition_upper(i.inhrelid) END AS upper
          FROM pg_inherits i
          JOIN pg_class c ON c.oid = i.inhrelid
          JOIN pg_partitioned_table p ON p.partrelid = i.inhparent
          LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = p.partattrs[0]
         WHERE i.inhparent = within AND NOT i.inhdetachpending
         ORDER BY i.inhrelid
    LOOP
        is_old := CASE policy.age_type
            WHEN 'date'::regtype THEN part.upper::date <= cutoff::date
            WHEN 'timestamp'::regtype THEN part.upper::timestamp <= cutoff::timestamp
            ELSE part.upper::timestamptz <= cutoff END;
        IF is_old THEN
            RETURN NEXT part.rel;
        ELSIF part.relkind = 'p' THEN
            RETURN QUERY SELECT * FROM dataprotect._retention_old_partitions(policy, cutoff, part.rel);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._retention_old_partitions(dataprotect.retention_policy, timestamptz, regclass) IS
    'partitions below a table that lie wholly before a moment';

-- True where a partition must stay for now: a row of it is held or referenced.
CREATE FUNCTION dataprotect._retention_partition_spared(policy dataprotect.retention_policy, part regclass) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    spared text := dataprotect._retention_spared(policy, part, 't');
BEGIN
    IF spared = 'false' THEN
        RETURN false;
    END IF;
    RETURN dataprotect._value_as(part, format('SELECT EXISTS (SELECT 1 FROM %s t WHERE %s)', part, spared))::bool;
END $$;
COMMENT ON FUNCTION dataprotect._retention_partition_spared(dataprotect.retention_policy, regclass) IS
    'whether a partition contains a row that is held or referenced';
