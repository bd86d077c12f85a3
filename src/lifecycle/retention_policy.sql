-- Making, previewing and switching retention policies

CREATE FUNCTION dataprotect._retention_check_keys(policy dataprotect.retention_policy) RETURNS void
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    owner oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = policy.base);
    node record;
    bare regclass;
    fixed name;
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
        SELECT a.attname INTO fixed FROM pg_attribute a
         WHERE a.attrelid = node.child AND a.attname = ANY (node.child_columns) AND a.attnotnull
           AND CASE WHEN node.action = 'nullify' THEN dataprotect._columns_to_null(node.child, node.child_columns) = '{}'
                    ELSE a.attname = ANY (dataprotect._columns_the_key_clears(node.child, node.child_columns)) END LIMIT 1;
        IF FOUND AND policy.action <> 'drop_partition' AND coalesce(node.action = 'nullify', node.sets_null) THEN
            PERFORM dataprotect._raise('not_null_violation',
                format('column "%s" of referencing table "%s" does not allow nulls', fixed, node.child),
                format('Foreign key "%s" could not be cleared.', node.constraint_name),
                'Choose "delete" or "keep_referenced" for the table.', node.child);
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
-- activated, and at the start of every run.  Returns it as it may be used.
CREATE FUNCTION dataprotect._retention_preflight(policy dataprotect.retention_policy) RETURNS dataprotect.retention_policy
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    bare regclass;
    unready text;
BEGIN
    PERFORM dataprotect._need_policy('retention_policy', policy.id), dataprotect._need_policy('retention_child', policy.id),
            dataprotect._need_policy('hold');
    PERFORM dataprotect._retention_settle(policy);
    policy := dataprotect._retention_usable(policy);
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
                format('CREATE INDEX ON %s (%s);', policy.base, policy.age_expression), bare);
        END IF;
    END IF;
    IF policy.action IN ('nullify', 'anonymise') THEN
        PERFORM dataprotect._retention_change(policy), dataprotect._retention_try_change(policy);
    ELSE
        PERFORM dataprotect._retention_check_keys(policy);
    END IF;
    IF policy.archive IS NOT NULL THEN
        PERFORM dataprotect._retention_check_archive(policy);
    ELSIF policy.action = 'archive' THEN
        PERFORM dataprotect._check_row_archive(policy.options ->> 'archive');
    END IF;
    -- The rows are found, or this says why not.
    PERFORM dataprotect._value_as(policy.base, format('SELECT 1 FROM %s t WHERE %s LIMIT 1', policy.base,
        dataprotect._retention_due_condition(policy, policy.base, 't', dataprotect._retention_cutoff(policy))));
    RETURN policy;
END $$;
COMMENT ON FUNCTION dataprotect._retention_preflight(dataprotect.retention_policy) IS
    'the policy as it may be used, or an error where it cannot run';

-- The owner's own row security would hide rows from retention, which runs as the owner.
CREATE FUNCTION dataprotect._row_security_forced(base regclass) RETURNS bool
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM dataprotect._below(base) b JOIN pg_class c ON c.oid = b WHERE c.relrowsecurity AND c.relforcerowsecurity);
$$;
COMMENT ON FUNCTION dataprotect._row_security_forced(regclass) IS 'whether policies of a table, or of one below it, bind its owner as well';

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

CREATE FUNCTION dataprotect._check_row_archive(uri text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF dataprotect._sink_check(uri) NOT IN ('file', 's3') THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'rows are archived to files or S3',
            NULL, 'A URI is file:///DIRECTORY or s3://BUCKET/PREFIX?region=REGION.');
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_row_archive(text) IS 'error where rows cannot be archived to a URI';

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
     WHERE NOT (k IN ('every', 'bound', 'no_age', 'where', 'timezone', 'keep') OR (k = 'children' AND action IN ('delete', 'archive', 'drop_partition'))
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
    IF options ->> 'bound' NOT IN ('lower', 'upper') THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'option "bound" is "lower" or "upper"');
    END IF;
    IF options ? 'no_age' AND (coalesce(options ->> 'no_age', '') NOT IN ('keep', 'due') OR action = 'drop_partition') THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'option "no_age" is "keep" or "due", and belongs to no partition');
    END IF;
    IF options ? 'where' AND (jsonb_typeof(options -> 'where') <> 'string' OR action = 'drop_partition') THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'option "where" is a condition over a row, and belongs to no partition');
    END IF;
    IF options ? 'keep' AND (jsonb_typeof(options -> 'keep') NOT IN ('string', 'object') OR action = 'drop_partition') THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'option "keep" is an interval as an expression over a row, or says in which table it stands, and belongs to no partition');
    END IF;
    PERFORM now() AT TIME ZONE (options ->> 'timezone');
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
    IF cardinality(views) = 1 THEN
        IF (dataprotect._age_expression(views[1], age_column)).base = rel THEN
            RAISE NOTICE USING MESSAGE = format('age column "%s" of relation "%s" is that of view "%s"', age_column, rel, views[1]);
            RETURN views[1];
        END IF;
    END IF;
    RETURN rel;
END $$;
COMMENT ON FUNCTION dataprotect._retention_age_source(regclass, name) IS
    'the table, or the one view over it, that has an age column';

-- What the server, or this database, gives a session that asks for nothing.
CREATE FUNCTION dataprotect._database_setting(setting text) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((SELECT substr(c, strpos(c, '=') + 1) FROM pg_db_role_setting s, unnest(s.setconfig) c
                      WHERE s.setrole = 0 AND s.setdatabase = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
                        AND lower(split_part(c, '=', 1)) = lower($1) LIMIT 1),
                    (SELECT f.setting FROM pg_file_settings f
                      WHERE lower(f.name) = lower($1) AND f.error IS NULL ORDER BY f.seqno DESC LIMIT 1),
                    (SELECT s.boot_val FROM pg_settings s WHERE lower(s.name) = lower($1)));
$$;
COMMENT ON FUNCTION dataprotect._database_setting(text) IS 'the value of a setting that sessions of this database begin with';

-- Option "where", and "keep" where it is an expression: a row goes when its own time
-- is over as well.
CREATE FUNCTION dataprotect._retention_filter(base regclass, age_expression text, options jsonb) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    own text := CASE jsonb_typeof(options -> 'keep') WHEN 'string' THEN options ->> 'keep' END;
    -- each by itself: what is no expression of its own closes no bracket
    chosen text := dataprotect._canonical_predicate(base, options ->> 'where');
    kept text := dataprotect._canonical_predicate(base, '(' || own || ') OPERATOR(pg_catalog.>=) ''0''::pg_catalog.interval');
BEGIN
    IF kept IS NOT NULL THEN
        kept := format('((%s) OPERATOR(pg_catalog.+) (%s)) OPERATOR(pg_catalog.<) pg_catalog.now() IS NOT FALSE', age_expression, own);
    END IF;
    RETURN dataprotect._canonical_predicate(base, CASE WHEN kept IS NULL THEN chosen ELSE concat_ws(' AND ', '(' || chosen || ')', '(' || kept || ')') END);
END $$;
COMMENT ON FUNCTION dataprotect._retention_filter(regclass, text, jsonb) IS 'which rows a policy is about, as its options say it over a row';

-- Option "keep" as a table: {"table": "public.tenant", "column": "keep", "key": {"tenant_id": "id"}}.
CREATE FUNCTION dataprotect._retention_check_term(options jsonb) RETURNS regclass
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    said jsonb := options -> 'keep';
    term regclass := dataprotect._named_table(coalesce(said ->> 'table', ''));
    parents name[];
BEGIN
    IF EXISTS (SELECT FROM jsonb_object_keys(said) k WHERE k NOT IN ('table', 'column', 'key'))
       OR jsonb_typeof(said -> 'column') IS DISTINCT FROM 'string' OR jsonb_typeof(said -> 'key') IS DISTINCT FROM 'object' OR said -> 'key' = '{}'
       OR EXISTS (SELECT FROM jsonb_each(said -> 'key') e WHERE jsonb_typeof(e.value) <> 'string') THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'option "keep" does not say where a row''s time stands', NULL,
            'For example {"table": "public.tenant", "column": "keep", "key": {"tenant_id": "id"}}.');
    END IF;
    PERFORM dataprotect._check_table_right(term);
    parents := ARRAY(SELECT e.value::name FROM jsonb_each_text(said -> 'key') e);
    PERFORM dataprotect._check_columns(term, parents || ARRAY[said ->> 'column']::name[]);
    IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = term AND a.attname = said ->> 'column' AND a.atttypid = 'interval'::regtype) THEN
        PERFORM dataprotect._raise('datatype_mismatch', format('column "%s" of relation "%s" is not an interval', said ->> 'column', term));
    END IF;
    IF NOT EXISTS (SELECT FROM pg_index i
                    WHERE i.indrelid = term AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
                      AND ARRAY(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = term
                                    AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1]) ORDER BY a.attname)
                          = ARRAY(SELECT p FROM unnest(parents) p ORDER BY p)) THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('columns %s of relation "%s" are not unique', parents, term), 'One row of it must say how long a row is kept.');
    END IF;
    RETURN term;
END $$;
COMMENT ON FUNCTION dataprotect._retention_check_term(jsonb) IS 'the table that says how long rows are kept, or an error';

-- A policy from what its maker said of it, complete but for id and state.
CREATE FUNCTION dataprotect._retention_compose(name text, rel regclass, age_column name, keep interval,
        action text, options jsonb) RETURNS dataprotect.retention_policy
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    age record;
    policy dataprotect.retention_policy;
BEGIN
    IF coalesce(name, '') = '' OR rel IS NULL OR age_column IS NULL OR keep IS NULL OR action IS NULL OR options IS NULL THEN
        PERFORM dataprotect._raise('null_value_not_allowed',
            'a retention policy needs a name, a table, an age column, a time to keep and an action');
    END IF;
    policy.every := dataprotect._retention_check_options(keep, action, options);
    PERFORM dataprotect._check_table_right(rel);
    rel := dataprotect._retention_age_source(rel, age_column);
    age := dataprotect._retention_age(rel, age_column, options, NULL);
    PERFORM dataprotect._check_table_right(age.base);
    IF age.type NOT IN ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) THEN
        PERFORM dataprotect._raise('datatype_mismatch',
            format('age column "%s" is of type %s', age_column, age.type),
            NULL,
            'An age column is a date, a timestamp, or a range of them.');
    END IF;
    IF options ? 'bound' AND NOT age.is_range THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            format('age column "%s" is no range, so option "bound" does not belong to it', age_column));
    END IF;
    IF options ->> 'no_age' = 'due' AND age.is_range THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'rows whose range has no end are not due',
            'A bound is missing where a range is unbounded, too.',
            'Say which rows are meant by a policy of their own, with option "where".');
    END IF;
    IF action = 'archive' THEN
        IF options ->> 'archive' LIKE '%://%' THEN
            PERFORM dataprotect._check_row_archive(options ->> 'archive');
        ELSE
            policy.archive := dataprotect._named_table(coalesce(options ->> 'archive', ''));
            PERFORM dataprotect._check_table_right(policy.archive);
        END IF;
    END IF;
    policy.name := name;
    policy.rel := rel;
    policy.base := age.base;
    policy.age_column := age_column;
    policy.age_expression := age.expression;
    policy.age_type := age.type;
    policy.condition := age.condition;
    policy.row_filter := dataprotect._retention_filter(age.base, age.expression, options);
    policy.keep := keep;
    IF jsonb_typeof(options -> 'keep') = 'object' THEN
        policy.term_rel := dataprotect._retention_check_term(options);
        policy.term_names := dataprotect._column_names(policy.term_rel);
        PERFORM dataprotect._check_columns(age.base, ARRAY(SELECT k::name FROM jsonb_object_keys(options #> '{keep,key}') k));
    END IF;
    policy.action := action;
    policy.options := options;
    policy.rel_names := dataprotect._column_names(rel);
    policy.base_names := dataprotect._column_names(age.base);
    policy.names_of := ARRAY[rel::oid, age.base::oid, policy.term_rel::oid];
    policy.timezone := coalesce(options ->> 'timezone', dataprotect._database_setting('timezone'), 'UTC');
    policy.date_order := coalesce(nullif(trim(split_part(dataprotect._database_setting('datestyle'), ',', 2)), ''), 'MDY');
    policy.created_by := pg_get_userbyid(dataprotect._caller());
    RETURN policy;
END $$;
COMMENT ON FUNCTION dataprotect._retention_compose(text, regclass, name, interval, text, jsonb) IS
    'a retention policy from what its maker said of it, or an error';

CREATE FUNCTION dataprotect._retention_put_children(policy dataprotect.retention_policy) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    child record;
BEGIN
    DELETE FROM dataprotect.retention_child c WHERE c.policy = policy.id;
    FOR child IN SELECT e.key, e.value #>> '{}' AS rule FROM jsonb_each(policy.options -> 'children') e LOOP
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
END $$;
COMMENT ON FUNCTION dataprotect._retention_put_children(dataprotect.retention_policy) IS
    'write down what becomes of rows that reference those of a policy';

-- Policies whose table is gone: nobody can run them, and their names are wanted.
CREATE FUNCTION dataprotect._retention_sweep() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    gone record;
BEGIN
    FOR gone IN
        SELECT p.id, p.name, p.base::oid AS base FROM dataprotect.retention_policy p
         WHERE NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = p.base)
            OR NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = p.rel)
           FOR UPDATE SKIP LOCKED
    LOOP
        DELETE FROM dataprotect.retention_policy p WHERE p.id = gone.id;
        PERFORM dataprotect._event('retention.dropped', NULL, jsonb_build_object('policy', gone.name,
            'reason', 'its table was dropped'));
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._retention_sweep() IS 'remove policies whose table was dropped';

CREATE FUNCTION dataprotect._do_create_retention_policy(name text, rel regclass, age_column name, keep interval,
        action text, options jsonb) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._retention_compose(name, rel, age_column, keep, action, options);
BEGIN
    PERFORM dataprotect._retention_sweep();
    BEGIN
        INSERT INTO dataprotect.retention_policy (name, rel, base, age_column, age_expression, age_type, condition,
                                                  row_filter, keep, term_rel, term_names, action, options, archive, every, rel_names,
                                                  base_names, names_of, timezone, date_order, created_by)
            VALUES (policy.name, policy.rel, policy.base, policy.age_column, policy.age_expression, policy.age_type,
                    policy.condition, policy.row_filter, policy.keep, policy.term_rel, policy.term_names, policy.action, policy.options, policy.archive,
                    policy.every, policy.rel_names, policy.base_names, policy.names_of, policy.timezone,
                    policy.date_order, policy.created_by)
            RETURNING * INTO policy;
    EXCEPTION WHEN unique_violation THEN
        PERFORM dataprotect._raise('duplicate_object', format('retention policy "%s" already exists', name));
    END;
    PERFORM dataprotect._retention_put_children(policy);
    PERFORM dataprotect._retention_try_rows(dataprotect._retention_preflight(policy));
    PERFORM dataprotect._event('retention.created', NULL, jsonb_build_object('policy', name, 'rel', rel::text,
        'age_column', age_column, 'keep', keep, 'action', action, 'options', options, 'timezone', policy.timezone)
        || CASE WHEN dataprotect._row_security_forced(policy.base) THEN '{"row_security": "set aside"}' ELSE '{}' END::jsonb);
END $$;
COMMENT ON FUNCTION dataprotect._do_create_retention_policy(text, regclass, name, interval, text, jsonb) IS 'body of dataprotect.create_retention_policy(); see definer.c';

CREATE FUNCTION dataprotect.create_retention_policy(name text, rel regclass, age_column name, keep interval,
        action text, options jsonb = '{}') RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.create_retention_policy(text, regclass, name, interval, text, jsonb) IS
    'say how long rows of a table are kept, and what happens then; the policy is created paused';

-- A change that lets rows go which would have stayed pauses the policy: it is to be
-- previewed again.
CREATE FUNCTION dataprotect._do_alter_retention_policy(name text, keep interval, action text, options jsonb,
        age_column name) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old dataprotect.retention_policy := dataprotect._find_retention_policy(name);
    new dataprotect.retention_policy;
    stays bool;
BEGIN
    PERFORM dataprotect._check_table_right(old.base);
    new := dataprotect._retention_compose(name, old.rel,
        coalesce(age_column, dataprotect._column_now(old.rel, old.rel_names, old.names_of[1], old.age_column), old.age_column),
        coalesce(keep, old.keep), coalesce(action, old.action),
        coalesce(options, CASE WHEN old.action IN ('nullify', 'anonymise')
                               THEN jsonb_set(old.options, '{columns}', dataprotect._retention_columns_now(old))
                               ELSE old.options END));
    stays := action IS NULL AND options IS NULL AND age_column IS NULL
             AND dataprotect._now() - new.keep <= dataprotect._now() - old.keep;
    UPDATE dataprotect.retention_policy p
       SET age_column = new.age_column, age_expression = new.age_expression, age_type = new.age_type,
           condition = new.condition, row_filter = new.row_filter, keep = new.keep, term_rel = new.term_rel, term_names = new.term_names, action = new.action,
           options = new.options, archive = new.archive, every = new.every, rel_names = new.rel_names,
           base_names = new.base_names, names_of = new.names_of, timezone = new.timezone,
           date_order = new.date_order, created_by = new.created_by,
           state = CASE WHEN stays THEN p.state ELSE 'paused' END,
           next_due = CASE WHEN stays THEN p.next_due END
     WHERE p.id = old.id RETURNING * INTO new;
    PERFORM dataprotect._retention_put_children(new);
    PERFORM dataprotect._retention_try_rows(dataprotect._retention_preflight(new));
    PERFORM dataprotect._event('retention.altered', NULL, jsonb_build_object('policy', name, 'age_column', new.age_column,
        'keep', new.keep, 'action', new.action, 'options', new.options, 'state', new.state,
        'before', jsonb_build_object('age_column', old.age_column, 'keep', old.keep, 'action', old.action, 'options', old.options)));
    IF old.state <> new.state THEN
        RAISE NOTICE USING MESSAGE = format('retention policy "%s" is paused', name),
            HINT = 'Look at dataprotect.preview_retention() and call dataprotect.activate_retention().';
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._do_alter_retention_policy(text, interval, text, jsonb, name) IS 'body of dataprotect.alter_retention_policy(); see definer.c';

CREATE FUNCTION dataprotect.alter_retention_policy(name text, keep interval = NULL, action text = NULL,
        options jsonb = NULL, age_column name = NULL) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.alter_retention_policy(text, interval, text, jsonb, name) IS
    'change a retention policy; unless rows are merely kept longer it is paused';

CREATE FUNCTION dataprotect._do_drop_retention_policy(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._find_retention_policy(name);
BEGIN
    IF EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = policy.base) THEN
        PERFORM dataprotect._check_table_right(policy.base);
    END IF;
    DELETE FROM dataprotect.retention_policy p WHERE p.id = policy.id;
    PERFORM dataprotect._event('retention.dropped', NULL, jsonb_build_object('policy', name, 'rel', policy.rel::text));
END $$;
COMMENT ON FUNCTION dataprotect._do_drop_retention_policy(text) IS 'body of dataprotect.drop_retention_policy(); see definer.c';

CREATE FUNCTION dataprotect.drop_retention_policy(name text) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.drop_retention_policy(text) IS 'end a retention policy, and forget its runs';

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
        PERFORM dataprotect._retention_try_rows(dataprotect._retention_preflight(policy));
        -- Whatever keeps rows for less time, a new policy or a changed one, begins here.
        PERFORM dataprotect._need_approval('activate_retention', jsonb_build_object('name', name, 'rel', policy.rel::text,
            'age_column', policy.age_column, 'keep', policy.keep::text, 'action', policy.action, 'options', policy.options));
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
-- partition that is not wholly old); and rows that have "no age".
CREATE FUNCTION dataprotect._do_preview_retention(name text,
        OUT action text, OUT rel regclass, OUT rows bigint, OUT oldest timestamptz, OUT newest timestamptz) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._find_retention_policy(name);
    cutoff timestamptz;
    part regclass;
    due text;
BEGIN
    IF EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = policy.base) THEN
        PERFORM dataprotect._check_table_right(policy.base);
    END IF;
    PERFORM dataprotect._retention_settle(policy);
    policy := dataprotect._retention_preflight(policy);
    IF dataprotect._row_security_forced(policy.base) THEN
        RAISE NOTICE USING MESSAGE = format('row security of table "%s" is set aside: retention acts on every row that is due', policy.base);
    END IF;
    cutoff := dataprotect._retention_cutoff(policy);
    IF policy.action = 'drop_partition' THEN
        FOR part IN SELECT * FROM dataprotect._retention_old_partitions(policy, cutoff, policy.base) LOOP
            RETURN QUERY SELECT CASE WHEN dataprotect._retention_partition_spared(policy, part)
                                     THEN 'held' ELSE policy.action END, part, c.*
                           FROM dataprotect._retention_count(policy, part, 'true') c;
        END LOOP;
        RETURN QUERY SELECT 'out of reach', policy.base, c.*
                       FROM dataprotect._retention_count(policy, policy.base,
                                dataprotect._retention_out_of_reach(policy, cutoff)) c WHERE c.rows > 0;
        RETURN;
    END IF;
    due := dataprotect._retention_due_condition(policy, policy.base, 't', cutoff);
    RETURN QUERY SELECT policy.action, policy.base, c.* FROM dataprotect._retention_count_due(policy, due) c;
    RETURN QUERY SELECT * FROM dataprotect._retention_preview_children(policy, due);
    RETURN QUERY SELECT * FROM dataprotect._retention_preview_spared(policy, cutoff);
    RETURN QUERY SELECT 'no age', policy.base, c.*
                   FROM dataprotect._retention_count(policy, policy.base,
                            concat_ws(' AND ', policy.age_expression || ' IS NULL', dataprotect._retention_scope(policy))) c
                  WHERE c.rows > 0;
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
        'SELECT jsonb_build_object(''n'', count(*), ''min'', min(nullif(%1$s, ''-infinity''))::timestamptz, ''max'', max(%1$s)::timestamptz) '
        'FROM %2$s t WHERE %3$s', policy.age_expression, part, condition));
BEGIN
    rows := (counted ->> 'n')::bigint;
    oldest := (counted ->> 'min')::timestamptz;
    newest := (counted ->> 'max')::timestamptz;
END $$;
COMMENT ON FUNCTION dataprotect._retention_count(dataprotect.retention_policy, regclass, text) IS
    'number and age of the rows of a policy''s table that satisfy a condition';

-- Old rows that no partition is dropped for.
CREATE FUNCTION dataprotect._retention_out_of_reach(policy dataprotect.retention_policy, cutoff timestamptz) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('t.tableoid OPERATOR(pg_catalog.<>) ALL (%L::pg_catalog.oid[]) AND %s',
                  ARRAY(SELECT b::oid FROM dataprotect._retention_old_partitions(policy, cutoff, policy.base) p,
                                           dataprotect._below(p) b)::text,
                  dataprotect._older_than(policy, cutoff));
$$;
COMMENT ON FUNCTION dataprotect._retention_out_of_reach(dataprotect.retention_policy, timestamptz) IS
    'condition for old rows in partitions that are not wholly old';

-- The rows that go: those that satisfy "due", but for what their own table keeps.
CREATE FUNCTION dataprotect._retention_count_due(policy dataprotect.retention_policy, due text,
        OUT rows bigint, OUT oldest timestamptz, OUT newest timestamptz) RETURNS record
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pinned text := dataprotect._retention_pinned(policy, due);
    counted jsonb;
BEGIN
    IF pinned IS NULL THEN
        SELECT c.* INTO rows, oldest, newest FROM dataprotect._retention_count(policy, policy.base, due) c;
        RETURN;
    END IF;
    counted := dataprotect._value_as(policy.base, format(
        '%3$s SELECT jsonb_build_object(''n'', count(*), ''min'', min(nullif(%1$s, ''-infinity''))::timestamptz, ''max'', max(%1$s)::timestamptz) '
        'FROM due d JOIN %2$s t ON t.tableoid = d.t AND t.ctid = d.c WHERE (d.t, d.c) NOT IN (SELECT n.t, n.c FROM pinned n)',
        policy.age_expression, policy.base, pinned));
    rows := (counted ->> 'n')::bigint;
    oldest := (counted ->> 'min')::timestamptz;
    newest := (counted ->> 'max')::timestamptz;
END $$;
COMMENT ON FUNCTION dataprotect._retention_count_due(dataprotect.retention_policy, text) IS
    'number and age of the rows that a policy would act on';

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
    old text := concat_ws(' AND ', dataprotect._older_than(policy, cutoff), dataprotect._retention_scope(policy));
    held text := dataprotect._held_or_above(policy.base, 't', ARRAY[dataprotect._top(policy.base)]);
    spared text := dataprotect._retention_spared(policy, policy.base, 't');
    due text := dataprotect._retention_due_condition(policy, policy.base, 't', cutoff);
    pinned text := dataprotect._retention_pinned(policy, due);
    own bigint := 0;
BEGIN
    IF held IS NOT NULL THEN
        RETURN QUERY SELECT 'held', policy.base, c.*
            FROM dataprotect._retention_count(policy, policy.base, format('%s AND (%s)', old, held)) c WHERE c.rows > 0;
    END IF;
    IF pinned IS NOT NULL THEN
        own := dataprotect._value_as(policy.base, pinned || ' SELECT count(*) FROM pinned')::bigint;
    END IF;
    IF spared IS DISTINCT FROM coalesce(held, 'false') OR own > 0 THEN
        RETURN QUERY SELECT 'referenced', policy.base, c.rows + own, c.oldest, c.newest
            FROM dataprotect._retention_count(policy, policy.base,
                format('%s AND (%s) AND (%s) IS NOT TRUE', old, spared, coalesce(held, 'false'))) c WHERE c.rows + own > 0;
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._retention_preview_spared(dataprotect.retention_policy, timestamptz) IS
    'rows that are old enough for a policy and stay all the same';

-- Rows due and the oldest of them, for the view; NULL where they cannot be
-- counted, and then why.
CREATE FUNCTION dataprotect._retention_backlog(name text, OUT rows_due bigint, OUT oldest_due timestamptz, OUT problem text)
    RETURNS record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET timezone = 'UTC'
AS $$
DECLARE
    policy dataprotect.retention_policy := dataprotect._find_retention_policy(name);
    cutoff timestamptz;
    part regclass;
    counted record;
BEGIN
    PERFORM dataprotect._retention_settle(policy);
    cutoff := dataprotect._retention_cutoff(policy);
    policy := dataprotect._retention_usable(policy);
    IF policy.action <> 'drop_partition' THEN
        SELECT c.rows, c.oldest INTO rows_due, oldest_due
          FROM dataprotect._retention_count_due(policy,
                   dataprotect._retention_due_condition(policy, policy.base, 't', cutoff)) c;
    ELSE
        SELECT c.rows, c.oldest INTO rows_due, oldest_due
          FROM dataprotect._retention_count(policy, policy.base, dataprotect._retention_out_of_reach(policy, cutoff)) c;
        IF rows_due > 0 THEN
            problem := format('%s old rows are in partitions that cannot be dropped', rows_due);
        END IF;
        FOR part IN SELECT * FROM dataprotect._retention_old_partitions(policy, cutoff, policy.base) LOOP
            CONTINUE WHEN dataprotect._retention_partition_spared(policy, part);
            counted := dataprotect._retention_count(policy, part, 'true');
            rows_due := rows_due + counted.rows;
            oldest_due := least(oldest_due, counted.oldest);
        END LOOP;
    END IF;
    IF policy.state = 'active' AND isfinite(policy.next_due) AND policy.next_due > dataprotect._now() + policy.every THEN
        problem := concat_ws('; ', problem, 'the next run was planned too far ahead');
    END IF;
    IF rows_due > 0 AND policy.state = 'active' AND policy.next_due < dataprotect._now() - policy.every THEN
        problem := concat_ws('; ', problem, 'overdue');
    END IF;
EXCEPTION WHEN OTHERS THEN
    rows_due := NULL;
    oldest_due := NULL;
    problem := format('SQLSTATE %s', SQLSTATE);
END $$;
COMMENT ON FUNCTION dataprotect._retention_backlog(text) IS 'rows that a policy has still to act on, and the oldest of them';

CREATE VIEW dataprotect.retention_policies AS
    SELECT p.name, p.rel, coalesce(dataprotect._column_now(p.rel, p.rel_names, p.names_of[1], p.age_column), p.age_column) AS age_column,
           p.keep, p.action, p.state, p.next_due, b.rows_due, b.oldest_due,
           p.options, p.created_by, p.created_at, p.timezone, b.problem
      FROM dataprotect.retention_policy p
      JOIN pg_catalog.pg_class c ON c.oid = p.base,
           LATERAL dataprotect._retention_backlog(p.name) b;
COMMENT ON VIEW dataprotect.retention_policies IS
    'retention policies with the rows that are due now and the oldest of them';

CREATE VIEW dataprotect.retention_runs AS
    SELECT p.name AS policy, r.started_at, r.finished_at, r.rows_done, r.outcome, r.detail, r.cutoff
      FROM dataprotect.retention_run r JOIN dataprotect.retention_policy p ON p.id = r.policy;
COMMENT ON VIEW dataprotect.retention_runs IS 'what retention policies have done';
