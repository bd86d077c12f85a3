-- What depends on a column and is made again around the change of its type:
-- views over it, recursively, with all that hangs on them; rules; triggers;
-- indexes; defaults.
--
-- Definitions are written out and read back under one search_path,
-- pg_catalog and the extension's schema: an operator between a text and an
-- encrypted text prints as the same "=" and is resolved anew for the new type.

CREATE FUNCTION dataprotect._dependents_path() RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('pg_catalog, %I, pg_temp', n.nspname)
    FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE t.oid = dataprotect._encrypted_type('text'::regtype)
$$;
COMMENT ON FUNCTION dataprotect._dependents_path() IS
    'search_path under which definitions around a column are written out and read back';

-- Most columns have none, and what follows need not be asked.
CREATE FUNCTION dataprotect._has_dependents(rel regclass, cols name[]) RETURNS bool
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM dataprotect._columns_members(rel, cols) m
            JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.member AND d.refobjsubid = m.attnum
        WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass));
END
$$;
COMMENT ON FUNCTION dataprotect._has_dependents(regclass, name[]) IS
    'whether a view, a rule or a function depends on one of some columns';

-- Every view over the column, the ones that others are built on first.
CREATE FUNCTION dataprotect._dependent_views(rel regclass, cols name[]) RETURNS oid[]
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_views oid[];
    more    oid[];
    sorted  oid[] := '{}';
BEGIN
    IF NOT dataprotect._has_dependents(rel, cols) THEN
        RETURN sorted;
    END IF;
    SELECT coalesce(array_agg(DISTINCT r.ev_class), '{}') INTO found_views
    FROM dataprotect._columns_members(rel, cols) m
        JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.member
            AND d.refobjsubid = m.attnum AND d.classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_type = '1'
        JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm');
    LOOP
        SELECT array_agg(DISTINCT r.ev_class) INTO more
        FROM pg_class base
            JOIN pg_type y ON y.oid = base.reltype
            JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass
                AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = base.oid
                     OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (y.oid, y.typarray))
            JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_type = '1'
            JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm')
        WHERE base.oid = ANY (found_views) AND NOT r.ev_class = ANY (found_views);
        EXIT WHEN more IS NULL;
        found_views := found_views || more;
    END LOOP;

    WHILE cardinality(sorted) < cardinality(found_views) LOOP
        SELECT array_agg(v ORDER BY v) INTO more
        FROM unnest(found_views) v
        WHERE NOT v = ANY (sorted) AND NOT EXISTS (
            SELECT FROM pg_rewrite r
                JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                JOIN pg_class base ON base.oid = ANY (found_views) AND base.oid <> v
                    AND NOT base.oid = ANY (sorted)
                LEFT JOIN pg_type y ON y.oid = base.reltype
            WHERE r.ev_class = v AND r.ev_type = '1'
                AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = base.oid
                     OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (y.oid, y.typarray)));
        IF more IS NULL THEN
            PERFORM dataprotect._raise('invalid_object_definition',
                format('views over column "%s" depend on each other', array_to_string(cols, '", "')));
        END IF;
        sorted := sorted || more;
    END LOOP;
    RETURN sorted;
END
$$;
COMMENT ON FUNCTION dataprotect._dependent_views(regclass, name[]) IS
    'views over a column, recursively, in the order in which they can be created';

-- Rules, other than views' own queries, that mention the column or such a view.
CREATE FUNCTION dataprotect._dependent_rules(rel regclass, cols name[], views oid[]) RETURNS SETOF oid
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT r.oid
    FROM dataprotect._columns_members($1, $2) m
        JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.member
            AND d.refobjsubid = m.attnum AND d.classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_type <> '1'
    UNION
    SELECT r.oid
    FROM pg_rewrite r
        JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        JOIN pg_class v ON v.oid = ANY ($3)
        JOIN pg_type y ON y.oid = v.reltype
    WHERE r.ev_type <> '1'
        AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid
             OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (y.oid, y.typarray))
    UNION
    SELECT r.oid FROM pg_rewrite r WHERE r.ev_class = ANY ($3) AND r.ev_type <> '1';
END
$$;
COMMENT ON FUNCTION dataprotect._dependent_rules(regclass, name[], oid[]) IS
    'rewrite rules that mention a column or a view over it';

-- Functions whose body is known to PostgreSQL and uses the column or a view over
-- it, or that take or return a row of such a view.
CREATE FUNCTION dataprotect._dependent_functions(rel regclass, cols name[]) RETURNS SETOF oid
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    IF NOT dataprotect._has_dependents(rel, cols) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH v AS (
        SELECT c.oid, c.reltype, y.typarray
        FROM pg_class c JOIN pg_type y ON y.oid = c.reltype
        WHERE c.oid = ANY (dataprotect._dependent_views($1, $2))
    )
    SELECT d.objid
    FROM dataprotect._columns_members($1, $2) m
        JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.member AND d.refobjsubid = m.attnum
    WHERE d.classid = 'pg_proc'::regclass
    UNION
    SELECT d.objid
    FROM v JOIN pg_depend d ON d.classid = 'pg_proc'::regclass
        AND (d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid
             OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (v.reltype, v.typarray));
END
$$;
COMMENT ON FUNCTION dataprotect._dependent_functions(regclass, name[]) IS
    'functions that depend on a column or on a view over it';

CREATE FUNCTION dataprotect._function_obstacles(rel regclass, cols name[]) RETURNS TABLE (problem text, advice text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    IF NOT dataprotect._has_dependents(rel, cols) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH f AS (
        SELECT p.* FROM pg_proc p WHERE p.oid IN (SELECT dataprotect._dependent_functions($1, $2))
    )
    SELECT format('You do not own function %s, which depends on it.', f.oid::regprocedure),
           'Let a role that owns both do this, or write the body as a string: AS $_$ ... $_$.'
    FROM f WHERE NOT pg_has_role(current_user, f.proowner, 'USAGE')
    UNION ALL
    SELECT format('Function %s depends on it and is an aggregate or a window function.', f.oid::regprocedure), 'Drop it first.'
    FROM f WHERE f.prokind NOT IN ('f', 'p')
    UNION ALL
    SELECT DISTINCT format('Function %s depends on it and is used by %s.', f.oid::regprocedure,
                           pg_describe_object(d.classid, d.objid, 0)),
           'Drop what uses it first, or write the body as a string: AS $_$ ... $_$.'
    FROM f JOIN pg_depend d ON d.refclassid = 'pg_proc'::regclass AND d.refobjid = f.oid
    UNION ALL
    SELECT format('Function %s depends on it and belongs to extension "%s".', f.oid::regprocedure, e.extname),
           'Drop the extension first.'
    FROM f JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = f.oid
            AND d.refclassid = 'pg_extension'::regclass
        JOIN pg_extension e ON e.oid = d.refobjid;
END
$$;
COMMENT ON FUNCTION dataprotect._function_obstacles(regclass, name[]) IS
    'functions over a column that cannot be made again';

-- A new function starts with what default privileges gave; take it away.
CREATE FUNCTION dataprotect._reset_routine(routine regprocedure) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    grantee_name text;
BEGIN
    FOR grantee_name IN
        SELECT DISTINCT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END
        FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x WHERE p.oid = routine
    LOOP
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM %s', routine, grantee_name);
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._reset_routine(regprocedure) IS 'take every privilege on a function away';

CREATE FUNCTION dataprotect._capture_functions(rel regclass, cols name[], OUT drops text[], OUT creates text[])
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    f       record;
BEGIN
    drops := '{}';
    creates := '{}';
    PERFORM set_config('search_path', dataprotect._dependents_path(), true);
    FOR f IN
        SELECT p.oid, p.proowner, p.proacl, format('%I.%I(%s)', n.nspname, p.proname,
               oidvectortypes(p.proargtypes)) AS name,
               obj_description(p.oid, 'pg_proc') AS description
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE p.oid IN (SELECT dataprotect._dependent_functions(rel, cols)) ORDER BY p.oid
    LOOP
        drops := drops || format('DROP ROUTINE %s', f.name);
        creates := creates || pg_get_functiondef(f.oid)
            || CASE WHEN pg_get_userbyid(f.proowner) = current_user THEN '{}'
                    ELSE ARRAY[format('ALTER ROUTINE %s OWNER TO %I', f.name, pg_get_userbyid(f.proowner))] END
            || format('SELECT dataprotect._reset_routine(%L)', f.name)
            || ARRAY(SELECT format('GRANT EXECUTE ON ROUTINE %s TO %s%s', f.name,
                                   CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
                                   CASE WHEN bool_or(x.is_grantable) THEN ' WITH GRANT OPTION' ELSE '' END)
                     FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) x GROUP BY x.grantee ORDER BY x.grantee)
            || CASE WHEN f.description IS NULL THEN '{}'
                    ELSE ARRAY[format('COMMENT ON ROUTINE %s IS %L', f.name, f.description)] END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._capture_functions(regclass, name[]) IS
    'statements that drop and make again the functions that depend on a column or a view over it';

-- What cannot be made again with the views and rules.
CREATE FUNCTION dataprotect._dependent_obstacles(rel regclass, cols name[])
    RETURNS TABLE (problem text, advice text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    IF NOT dataprotect._has_dependents(rel, cols) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH v AS (
        SELECT c.*, y.typarray
        FROM pg_class c JOIN pg_type y ON y.oid = c.reltype
        WHERE c.oid = ANY (dataprotect._dependent_views($1, $2))
    ),
    rules AS (
        SELECT x FROM dataprotect._dependent_rules($1, $2, (SELECT coalesce(array_agg(oid), '{}') FROM v)) x
    ),
    dependent AS (
        SELECT d.classid, d.objid, d.objsubid, d.refobjid,
               format('column "%s"', array_to_string($2, '", "')) AS base
        FROM dataprotect._columns_members($1, $2) m
            JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.member
                AND d.refobjsubid = m.attnum
        UNION
        SELECT d.classid, d.objid, d.objsubid, d.refobjid, format('view "%s"', v.relname)
        FROM v JOIN pg_depend d
            ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid
               OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (v.reltype, v.typarray)
    )
    SELECT DISTINCT format('%s depends on %s.', initcap(left(o, 1)) || substr(o, 2), d.base), 'Drop it first.'
    FROM dependent d, pg_describe_object(d.classid, d.objid, 0) o
    WHERE d.refobjid = ANY (SELECT oid FROM v UNION SELECT reltype FROM v UNION SELECT typarray FROM v)
        AND d.classid NOT IN ('pg_rewrite'::regclass, 'pg_proc'::regclass)
        AND NOT (d.classid = 'pg_class'::regclass AND d.objid IN (SELECT oid FROM v))
        AND NOT (d.classid = 'pg_type'::regclass AND d.objid IN (SELECT reltype FROM v UNION SELECT typarray FROM v))
        AND NOT (d.classid = 'pg_trigger'::regclass
                 AND d.objid IN (SELECT t.oid FROM pg_trigger t WHERE t.tgrelid IN (SELECT oid FROM v)))
        AND NOT (d.classid = 'pg_class'::regclass AND d.objid IN (SELECT i.indexrelid FROM pg_index i WHERE i.indrelid IN (SELECT oid FROM v)
                                                                   UNION ALL SELECT v.reltoastrelid FROM v))
        AND NOT (d.classid = 'pg_attrdef'::regclass
                 AND d.objid IN (SELECT f.oid FROM pg_attrdef f WHERE f.adrelid IN (SELECT oid FROM v)))
    UNION ALL
    SELECT format('You do not own view "%s".', v.relname), 'Let a role that owns the table and its views do this.'
    FROM v WHERE NOT pg_has_role(current_user, v.relowner, 'USAGE')
    UNION ALL
    SELECT format('View "%s" could not be made again: schema "%s" does not allow it.', v.relname, n.nspname),
           'GRANT CREATE ON SCHEMA to the owner of the view.'
    FROM v JOIN pg_namespace n ON n.oid = v.relnamespace
    WHERE NOT has_schema_privilege(current_user, n.oid, 'CREATE')
        OR NOT has_schema_privilege(v.relowner, n.oid, 'CREATE')
            AND v.relowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user)
            AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
    UNION ALL
    SELECT format('View "%s" is temporary.', v.relname), 'Drop it, or let its session end.'
    FROM v WHERE v.relpersistence = 't'
    UNION ALL
    SELECT format('You do not own table "%s", whose rule "%s" mentions it.', c.relname, r.rulename),
           'Let a role that owns both tables do this.'
    FROM rules JOIN pg_rewrite r ON r.oid = rules.x JOIN pg_class c ON c.oid = r.ev_class
    WHERE NOT pg_has_role(current_user, c.relowner, 'USAGE')
    UNION ALL
    SELECT DISTINCT format('%s belongs to extension "%s".', initcap(left(o, 1)) || substr(o, 2), e.extname),
           'Drop the extension first.'
    FROM (SELECT 'pg_class'::regclass AS classid, oid FROM v
          UNION SELECT 'pg_rewrite'::regclass, x FROM rules) made
        JOIN pg_depend d ON d.classid = made.classid AND d.objid = made.oid
            AND d.refclassid = 'pg_extension'::regclass
        JOIN pg_extension e ON e.oid = d.refobjid,
        pg_describe_object(made.classid, made.oid, 0) o
    UNION ALL
    SELECT DISTINCT format('View "%s" has a security label.', v.relname), 'Remove the label first.'
    FROM v JOIN pg_seclabel l ON l.classoid = 'pg_class'::regclass AND l.objoid = v.oid;
END
$$;
COMMENT ON FUNCTION dataprotect._dependent_obstacles(regclass, name[]) IS
    'objects above a column''s views that cannot be made again';

CREATE FUNCTION dataprotect._try_views(rel regclass, cols name[], types oid[], views oid[], definitions text[]) RETURNS void
    LANGUAGE c STABLE STRICT
    AS 'MODULE_PATHNAME', 'dp_try_views';
COMMENT ON FUNCTION dataprotect._try_views(regclass, name[], oid[], oid[], text[]) IS
    'errors where a view would have none of its operators and functions if columns of a table had other types';

-- The rows of a stand-in have no named type (try_views.c): what takes whole rows is
-- tried under the lock only.
CREATE FUNCTION dataprotect._view_obstacles(rel regclass, cols name[], types oid[]) RETURNS TABLE (problem text, advice text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    views       oid[] := dataprotect._dependent_views(rel, cols);
    definitions text[];
    hint        text;
BEGIN
    IF cardinality(views) = 0 OR array_position(types, NULL) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('search_path', dataprotect._dependents_path(), true);
    definitions := ARRAY(SELECT pg_get_viewdef(v) FROM unnest(views) WITH ORDINALITY AS u(v, n) ORDER BY n);
    FOR i IN 1..cardinality(views) LOOP
        BEGIN
            PERFORM dataprotect._try_views(rel, cols, types, views[1:i], definitions[1:i]);
        EXCEPTION WHEN undefined_function OR ambiguous_function OR cannot_coerce OR datatype_mismatch OR indeterminate_datatype
            OR invalid_recursion THEN
            CONTINUE WHEN SQLERRM ~ '\mrecord\M';
            RETURN QUERY SELECT format('View "%s" would have no meaning: %s.', c.relname, SQLERRM),
                                'Cast the column to its base type where the view uses it, or drop the view and make it again.'
                         FROM pg_class c WHERE c.oid = views[i];
            RETURN;    -- those above it would say the same
        WHEN invalid_table_definition THEN
            GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
            RETURN QUERY SELECT format('Materialized view "%s" %s.', c.relname, SQLERRM), hint FROM pg_class c WHERE c.oid = views[i];
            RETURN;
        WHEN OTHERS THEN
            RETURN;    -- a stand-in has not all that a table has
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._view_obstacles(regclass, name[], oid[]) IS
    'the first view that could not be made again if columns had other types';

-- A new view starts with what ALTER DEFAULT PRIVILEGES gave; take it away.
CREATE FUNCTION dataprotect._reset_privileges(view regclass, of_owner bool) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    grantee_name text;
BEGIN
    FOR grantee_name IN
        SELECT DISTINCT CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE x.grantee::regrole::text END
        FROM pg_class c, aclexplode(CASE WHEN of_owner THEN coalesce(c.relacl, acldefault('r', c.relowner)) ELSE c.relacl END) x
        WHERE c.oid = view AND (of_owner OR x.grantee <> c.relowner)
    LOOP
        EXECUTE format('REVOKE ALL ON TABLE %s FROM %s', view, grantee_name);
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._reset_privileges(regclass, bool) IS
    'take every privilege on a view away, the owner''s own if told so';

-- Statements that give a relation the privileges it has now.  All are granted
-- by the owner: whoever passed a grant option on does not reappear as grantor.
CREATE FUNCTION dataprotect._grant_statements(rel regclass) RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('SELECT dataprotect._reset_privileges(%L, %L)',
                  format('%I.%I', n.nspname, c.relname), c.relacl IS NOT NULL)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1
    UNION ALL
    (SELECT format('GRANT %s%s ON TABLE %I.%I TO %s%s', x.privilege_type,
                   (SELECT format('(%I)', a.attname) FROM pg_attribute a
                    WHERE a.attrelid = c.oid AND a.attnum = acl.attnum),
                   n.nspname, c.relname,
                   CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
                   CASE WHEN bool_or(x.is_grantable) THEN ' WITH GRANT OPTION' ELSE '' END)
     FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        CROSS JOIN LATERAL (
            SELECT 0::int2, c.relacl
            UNION ALL
            SELECT a.attnum, a.attacl FROM pg_attribute a
            WHERE a.attrelid = c.oid AND NOT a.attisdropped AND a.attacl IS NOT NULL) AS acl(attnum, items)
        CROSS JOIN LATERAL (
            SELECT item.position, y.* FROM unnest(acl.items) WITH ORDINALITY AS item(acl, position),
                aclexplode(ARRAY[item.acl]) y) x
     WHERE c.oid = $1
     GROUP BY c.oid, n.nspname, c.relname, acl.attnum, x.grantee, x.privilege_type
     ORDER BY acl.attnum, min(x.position), x.privilege_type)
$$;
COMMENT ON FUNCTION dataprotect._grant_statements(regclass) IS
    'statements that give a view made again the privileges it has now';
