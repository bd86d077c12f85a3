-- What else is made again around a column whose type changes: policies, lists of
-- columns of publications, and statistics objects, of which what covers the column goes.

-- Policies of any table that ask the column.
CREATE FUNCTION dataprotect._dependent_policies(rel regclass, cols name[])
    RETURNS TABLE (policy_id oid, name name, of_table text, owner oid, condition text, row_check text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT p.oid, p.polname, format('%I.%I', n.nspname, c.relname), c.relowner,
           pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
    FROM dataprotect._columns_members($1, $2) m
        JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.member AND d.refobjsubid = m.attnum
            AND d.classid = 'pg_policy'::regclass
        JOIN pg_policy p ON p.oid = d.objid
        JOIN pg_class c ON c.oid = p.polrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
$$;
COMMENT ON FUNCTION dataprotect._dependent_policies(regclass, name[]) IS 'row-security policies that ask a column';

CREATE FUNCTION dataprotect._capture_policies(rel regclass, cols name[], OUT drops text[], OUT creates text[], OUT changes text[])
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(format('DROP POLICY %I ON %s', d.name, d.of_table) ORDER BY d.policy_id), '{}'),
           coalesce(array_agg(format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', d.name, d.of_table,
                        CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                        CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                        (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ' ORDER BY n)
                         FROM unnest(p.polroles) WITH ORDINALITY AS u(r, n)),
                        ' USING (' || d.condition || ')', ' WITH CHECK (' || d.row_check || ')') ORDER BY d.policy_id), '{}')
               || coalesce(array_agg(format('COMMENT ON POLICY %I ON %s IS %L', d.name, d.of_table, x.description) ORDER BY d.policy_id)
                           FILTER (WHERE x.description IS NOT NULL), '{}'),
           coalesce(array_agg(format('policy "%s" asks the protected value: roles that it concerns need search or reveal', d.name)
                              ORDER BY d.policy_id), '{}')
    FROM dataprotect._dependent_policies($1, $2) d
        JOIN pg_policy p ON p.oid = d.policy_id
        LEFT JOIN pg_description x ON x.classoid = 'pg_policy'::regclass AND x.objoid = p.oid
$$;
COMMENT ON FUNCTION dataprotect._capture_policies(regclass, name[]) IS
    'statements that drop and make again the policies that ask some columns';

CREATE FUNCTION dataprotect._policy_obstacles(rel regclass, cols name[]) RETURNS TABLE (problem text, advice text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('You do not own table %s, whose policy "%s" uses it.', d.of_table, d.name), 'Let a role that owns both tables do this.'
    FROM dataprotect._dependent_policies($1, $2) d WHERE NOT pg_has_role(current_user, d.owner, 'USAGE')
$$;
COMMENT ON FUNCTION dataprotect._policy_obstacles(regclass, name[]) IS 'policies over a column that cannot be made again';

-- The first policy that would have no meaning, as _view_obstacles() has it of views.
CREATE FUNCTION dataprotect._policy_trials(rel regclass, cols name[], types oid[]) RETURNS TABLE (problem text, advice text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    policy      record;
BEGIN
    IF array_position(types, NULL) IS NOT NULL THEN
        RETURN;
    END IF;
    PERFORM set_config('search_path', dataprotect._dependents_path(), true);
    FOR policy IN SELECT d.name, format('SELECT FROM %s WHERE %s', d.of_table, c.condition) AS definition
                  FROM dataprotect._dependent_policies(rel, cols) d
                      CROSS JOIN LATERAL (VALUES (d.condition), (d.row_check)) c(condition)
                  WHERE c.condition IS NOT NULL ORDER BY d.policy_id LOOP
        BEGIN
            PERFORM dataprotect._try_views(rel, cols, types, ARRAY[0::oid], ARRAY[policy.definition]);
        EXCEPTION WHEN undefined_function OR ambiguous_function OR cannot_coerce OR datatype_mismatch OR indeterminate_datatype THEN
            CONTINUE WHEN SQLERRM ~ '\mrecord\M';
            RETURN QUERY SELECT format('Policy "%s" would have no meaning: %s.', policy.name, SQLERRM),
                                'Cast the column to its base type where the policy uses it, or drop the policy and make it again.'::text;
            RETURN;
        WHEN OTHERS THEN
            RETURN QUERY SELECT format('Policy "%s" could not be tried: %s.', policy.name, SQLERRM),
                                'Drop the policy and make it again afterwards.'::text;
            RETURN;
        END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._policy_trials(regclass, name[], oid[]) IS
    'the first policy that could not be made again if columns had other types';

-- Nothing is counted of protected values: a statistics object goes on without them,
-- or goes where fewer than two things are left to it.
CREATE FUNCTION dataprotect._capture_statistics(rel regclass, cols name[], OUT drops text[], OUT creates text[], OUT changes text[])
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    s       record;
    definition text;
BEGIN
    drops := '{}';
    creates := '{}';
    changes := '{}';
    FOR s IN
        SELECT x.oid, x.stxname, format('%I.%I', sn.nspname, x.stxname) AS name, format('%I.%I', tn.nspname, t.relname) AS of_table,
               pg_get_userbyid(x.stxowner) AS owner, x.stxkind, obj_description(x.oid, 'pg_statistic_ext') AS description,
               nullif((to_jsonb(x) ->> 'stxstattarget')::int, -1) AS target,
               ARRAY(SELECT quote_ident(a.attname) FROM unnest(x.stxkeys::int2[]) WITH ORDINALITY AS k(num, n)
                         JOIN pg_attribute a ON a.attrelid = x.stxrelid AND a.attnum = k.num
                     WHERE a.attname <> ALL (cols) ORDER BY k.n)
               || CASE WHEN bool_or(x.stxexprs IS NOT NULL AND dataprotect._computes_from(x.stxexprs, m.attnum)) THEN '{}'
                       ELSE ARRAY(SELECT '(' || e || ')' FROM unnest(pg_get_statisticsobjdef_expressions(x.oid)) e) END AS parts
        FROM dataprotect._columns_members(rel, cols) m
            JOIN pg_statistic_ext x ON x.stxrelid = m.member
            JOIN pg_class t ON t.oid = x.stxrelid
            JOIN pg_namespace tn ON tn.oid = t.relnamespace
            JOIN pg_namespace sn ON sn.oid = x.stxnamespace
        GROUP BY x.oid, sn.nspname, tn.nspname, t.relname
        HAVING bool_or(m.attnum = ANY (x.stxkeys) OR x.stxexprs IS NOT NULL AND dataprotect._computes_from(x.stxexprs, m.attnum))
        ORDER BY x.oid
    LOOP
        drops := drops || format('DROP STATISTICS %s', s.name);
        IF cardinality(s.parts) < 2 THEN
            changes := changes || format('statistics object "%s" is dropped: nothing is counted of protected values', s.stxname);
            CONTINUE;
        END IF;
        SELECT format('CREATE STATISTICS %s%s ON %s FROM %s', s.name, ' (' || string_agg(k.word, ', ') || ')',
                      array_to_string(s.parts, ', '), s.of_table)
        INTO definition
        FROM (VALUES ('d', 'ndistinct'), ('f', 'dependencies'), ('m', 'mcv')) k(kind, word) WHERE k.kind = ANY (s.stxkind::text[]);
        creates := creates || definition
            || CASE WHEN s.target IS NULL THEN '{}' ELSE ARRAY[format('ALTER STATISTICS %s SET STATISTICS %s', s.name, s.target)] END
            || CASE WHEN s.description IS NULL THEN '{}' ELSE ARRAY[format('COMMENT ON STATISTICS %s IS %L', s.name, s.description)] END
            || CASE WHEN s.owner = current_user THEN '{}' ELSE ARRAY[format('ALTER STATISTICS %s OWNER TO %I', s.name, s.owner)] END;
        changes := changes || format('statistics object "%s" no longer covers protected values', s.stxname);
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._capture_statistics(regclass, name[]) IS
    'statements that drop statistics objects over columns and make them again without these';

-- A materialized view is made empty: its query runs as its owner, when that owns it.
CREATE FUNCTION dataprotect._stored_view_statements(view oid) RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.statement FROM (
        SELECT 1, a.attnum::bigint, format('ALTER MATERIALIZED VIEW %I.%I ALTER COLUMN %I SET STATISTICS %s', n.nspname, c.relname, a.attname,
                                   a.attstattarget)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.oid = $1 AND a.attnum > 0 AND a.attstattarget >= 0
        UNION ALL
        SELECT 2, 0, format('REFRESH MATERIALIZED VIEW %I.%I', n.nspname, c.relname)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1 AND c.relispopulated
        UNION ALL
        SELECT 3, i.indexrelid, pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = $1
        UNION ALL
        SELECT 4, i.indexrelid, format('ALTER MATERIALIZED VIEW %I.%I CLUSTER ON %I', n.nspname, c.relname, x.relname)
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE i.indrelid = $1 AND i.indisclustered
        UNION ALL
        SELECT 4, i.indexrelid, format('COMMENT ON INDEX %I.%I IS %L', n.nspname, x.relname, d.description)
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_namespace n ON n.oid = x.relnamespace
            JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = x.oid
        WHERE i.indrelid = $1) s(step, place, statement)
    ORDER BY s.step, s.place
$$;
COMMENT ON FUNCTION dataprotect._stored_view_statements(oid) IS
    'statements that give a materialized view made again what it holds, and its indexes';

-- A publication goes on with its list of columns; the rewrite itself is not replicated.
CREATE FUNCTION dataprotect._dependent_publications(rel regclass, cols name[])
    RETURNS TABLE (link_id oid, name name, owner oid, of_table text, filtered bool)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.oid, p.pubname, p.pubowner, format('%I.%I', n.nspname, c.relname),
           coalesce(bool_or(r.prqual::text LIKE '%:varattno ' || m.attnum || ' %'), false)
    FROM dataprotect._columns_members($1, $2) m
        JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.member AND d.refobjsubid = m.attnum
            AND d.classid = 'pg_publication_rel'::regclass
        JOIN pg_publication_rel r ON r.oid = d.objid
        JOIN pg_publication p ON p.oid = r.prpubid
        JOIN pg_class c ON c.oid = r.prrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
    GROUP BY r.oid, p.pubname, p.pubowner, n.nspname, c.relname
$$;
COMMENT ON FUNCTION dataprotect._dependent_publications(regclass, name[]) IS
    'publications that name a column in a list of columns or a row filter';

CREATE FUNCTION dataprotect._capture_publications(rel regclass, cols name[], OUT drops text[], OUT creates text[])
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(format('ALTER PUBLICATION %I DROP TABLE ONLY %s', d.name, d.of_table) ORDER BY d.link_id), '{}'),
           coalesce(array_agg(format('ALTER PUBLICATION %I ADD TABLE ONLY %s%s%s', d.name, d.of_table,
                        (SELECT ' (' || string_agg(quote_ident(a.attname), ', ' ORDER BY u.n) || ')'
                         FROM unnest(r.prattrs::int2[]) WITH ORDINALITY AS u(num, n) JOIN pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = u.num),
                        ' WHERE (' || pg_get_expr(r.prqual, r.prrelid) || ')') ORDER BY d.link_id), '{}')
    FROM dataprotect._dependent_publications($1, $2) d JOIN pg_publication_rel r ON r.oid = d.link_id
$$;
COMMENT ON FUNCTION dataprotect._capture_publications(regclass, name[]) IS
    'statements that take a table out of publications that name some columns, and put it back';

CREATE FUNCTION dataprotect._publication_obstacles(rel regclass, cols name[]) RETURNS TABLE (problem text, advice text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('Publication "%s" names it in a row filter.', d.name), 'Publish the table without naming the column there.'
    FROM dataprotect._dependent_publications($1, $2) d WHERE d.filtered
    UNION ALL
    SELECT format('You do not own publication "%s", which names it in a list of columns.', d.name),
           'Let a role that owns both do this, or publish the table without naming the column.'
    FROM dataprotect._dependent_publications($1, $2) d WHERE NOT d.filtered AND NOT pg_has_role(current_user, d.owner, 'USAGE')
$$;
COMMENT ON FUNCTION dataprotect._publication_obstacles(regclass, name[]) IS 'publications that cannot go on with a column';

CREATE FUNCTION dataprotect._capture_around(rel regclass, cols name[], OUT drops text[], OUT creates text[], OUT changes text[])
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT s.drops || p.drops || u.drops, s.creates || p.creates || u.creates, s.changes || p.changes
    FROM dataprotect._capture_statistics($1, $2) s, dataprotect._capture_policies($1, $2) p,
        dataprotect._capture_publications($1, $2) u
$$;
COMMENT ON FUNCTION dataprotect._capture_around(regclass, name[]) IS
    'statements that drop and make again the policies, statistics objects and publications that name some columns';
