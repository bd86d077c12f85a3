-- Stored generated columns over a column that is protected: they are protected with it,
-- under its key, and computed by a formula from then on (types/derive.h).  Taken for ordinary
-- columns while types change, they keep what they hold.

CREATE FUNCTION dataprotect._generated_formula(rel oid, attnum int2, OUT formula text, OUT columns name[], OUT whole bool, OUT sealed bool)
    AS 'MODULE_PATHNAME', 'dp_generated_formula'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._generated_formula(oid, int2) IS
    'what a generated column computes, and from which columns; null where no formula says it';

CREATE FUNCTION dataprotect._formula_expression(formula text, columns name[]) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_generated_expression'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._formula_expression(text, name[]) IS 'the expression over columns that a formula stands for';

CREATE FUNCTION dataprotect._generate_column(rel regclass, col name, expression text) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_generated_make'
    LANGUAGE C VOLATILE STRICT;
COMMENT ON FUNCTION dataprotect._generate_column(regclass, name, text) IS
    'make a plain column of a table of one''s own a generated one, with what it holds';

-- Among the columns themselves, and computed from them.
CREATE FUNCTION dataprotect._dependent_generated(rel regclass, cols name[])
    RETURNS TABLE (member oid, depth int, col name, formula text, columns name[], whole bool, sealed bool)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM dataprotect._columns_members($1, $2) m
                       JOIN pg_attribute a ON a.attrelid = m.member AND a.attgenerated <> '' AND NOT a.attisdropped) THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT g.member, g.depth, a.attname, x.formula, x.columns, x.whole, x.sealed
    FROM (SELECT m.member, m.depth, m.attnum AS num FROM dataprotect._columns_members($1, $2) m
          UNION
          SELECT m.member, m.depth, f.adnum
          FROM dataprotect._columns_members($1, $2) m
              JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.member AND d.refobjsubid = m.attnum
                  AND d.classid = 'pg_attrdef'::regclass
              JOIN pg_attrdef f ON f.oid = d.objid AND f.adrelid = m.member) g
        JOIN pg_attribute a ON a.attrelid = g.member AND a.attnum = g.num AND a.attgenerated <> ''
        CROSS JOIN LATERAL dataprotect._generated_formula(g.member, g.num) x
    ORDER BY g.depth, g.member, a.attnum;
END
$$;
COMMENT ON FUNCTION dataprotect._dependent_generated(regclass, name[]) IS
    'generated columns that are, or are computed from, some columns of a table and its partitions or children';

-- Those that are plain become protected with their column, and the other way round.
CREATE FUNCTION dataprotect._capture_generated(rel regclass, cols name[], OUT drops text[], OUT creates text[])
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(format('ALTER TABLE %s ALTER COLUMN %I DROP EXPRESSION', $1, d.col)) FILTER (WHERE d.depth = 0), '{}'),
           coalesce(array_agg(format('SELECT dataprotect._generate_column(%s, %L, %L)', d.member, d.col,
               CASE WHEN (d.col = ANY ($2)) <> d.sealed
                    THEN format('dataprotect.computed(%L%s)', d.formula,
                                (SELECT string_agg(', ' || quote_ident(c), '' ORDER BY n) FROM unnest(d.columns) WITH ORDINALITY AS u(c, n)))
                    ELSE dataprotect._formula_expression(d.formula, d.columns) END)), '{}')
    FROM dataprotect._dependent_generated($1, $2) d
$$;
COMMENT ON FUNCTION dataprotect._capture_generated(regclass, name[]) IS
    'statements that make generated columns ordinary ones, and generated ones again when types have changed';

CREATE FUNCTION dataprotect._generated_obstacles(rel regclass, col name, key text, searchable bool) RETURNS TABLE (problem text, advice text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH d AS (SELECT x.* FROM dataprotect._dependent_generated($1, ARRAY[$2]) x WHERE x.formula IS NOT NULL)
    SELECT format('Generated column "%s" belongs to child "%s" only.', d.col, d.member::regclass), 'Drop the generated column, or compute it in a view.'
    FROM d WHERE d.depth > 0 AND NOT EXISTS (SELECT FROM d o WHERE o.depth = 0 AND o.col = d.col)
    UNION ALL
    SELECT format('Generated column "%s" is protected under key "%s".', d.col, p.key), format('Use key "%s".', p.key)
    FROM d JOIN dataprotect.protected_columns p ON p.rel = $1 AND p.col = d.col
    WHERE d.depth = 0 AND d.sealed AND p.key <> $3
    UNION ALL
    SELECT format('Generated column "%s" would outlive what it is computed from.', d.col),
           CASE dataprotect._order_obstacle($1, $3) WHEN 'bound' THEN 'Rows of the table are sealed for accounts: drop the generated column, or compute it in a view.'
                                                    ELSE format('Use a key that does not expire as "%s" does, or drop the generated column.', $3) END
    FROM d WHERE d.depth = 0 AND dataprotect._order_obstacle($1, $3) IS NOT NULL
    UNION ALL
    SELECT format('Generated column "%s" holds a part of it.', d.col),
           'Call this with privilege reveal on the key; or drop the generated column: whoever may search could find the value part by part.'
    FROM d WHERE d.depth = 0 AND NOT d.whole AND NOT dataprotect._may_reveal($3)
    UNION ALL
    SELECT format('Generated column "%s" holds a part of a value, and is unique or part of an index of several columns.', d.col),
           'Drop the index, or make it one over the generated column alone that is not unique.'
    FROM d
    WHERE d.col = $2 AND d.depth = 0 AND NOT d.whole
        AND ($4 OR EXISTS (SELECT FROM dataprotect._column_indexes($1, $2) x WHERE x.is_unique OR x.method = 'btree' AND NOT x.simple))
$$;
COMMENT ON FUNCTION dataprotect._generated_obstacles(regclass, name, text, bool) IS
    'generated columns that cannot be protected with what they are computed from';

-- Of what a protected column is computed from, nothing else is protected.
CREATE FUNCTION dataprotect._decrypted_with(rel regclass, col name) RETURNS name[]
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(d.col ORDER BY d.col), '{}')
    FROM dataprotect._dependent_generated($1, ARRAY[$2]) d
    WHERE d.depth = 0 AND d.sealed AND d.col <> $2
        AND NOT EXISTS (SELECT FROM unnest(d.columns) c WHERE c <> $2 AND dataprotect._protected_type($1, c) IS NOT NULL)
$$;
COMMENT ON FUNCTION dataprotect._decrypted_with(regclass, name) IS
    'generated columns that are decrypted with the column they are computed from';
