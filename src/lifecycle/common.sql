-- What retention, holds and accounts share: rights, foreign keys, row selection

CREATE FUNCTION dataprotect._canonical_predicate(rel regclass, predicate text) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_lifecycle_canonical_predicate'
    LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._canonical_predicate(regclass, text) IS
    'a condition over one row as PostgreSQL itself writes it, or an error that says what is wrong with it';

CREATE FUNCTION dataprotect._stored_predicate(what text, rel regclass, predicate text, names name[], alias name,
        moment timestamptz = NULL) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_lifecycle_stored_predicate'
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._stored_predicate(text, regclass, text, name[], name, timestamptz) IS
    'a condition stored under those names of columns, parsed and checked again, over a row under an alias, at a moment; an error where it is another''s work';

CREATE FUNCTION dataprotect._age_expression(rel regclass, col name, base_names name[] = NULL,
        OUT base regclass, OUT expression text, OUT type regtype, OUT condition text,
        OUT expression_then text, OUT condition_then text) RETURNS record
    AS 'MODULE_PATHNAME', 'dp_lifecycle_age_expression'
    LANGUAGE C STABLE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._age_expression(regclass, name, name[]) IS
    'where the age of a row is found: table, expression, type, and the condition of the view it was named through; both also under former names of columns';

-- What is remembered of columns: their names by number.  A dropped one has none.
CREATE FUNCTION dataprotect._column_names(rel regclass) RETURNS name[]
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(CASE WHEN a.attisdropped THEN '' ELSE a.attname END ORDER BY a.attnum)
      FROM pg_attribute a WHERE a.attrelid = rel AND a.attnum > 0;
$$;
COMMENT ON FUNCTION dataprotect._column_names(regclass) IS 'names of a table''s columns, by number';

-- In a restored database the table is another: there names are what counts.
CREATE FUNCTION dataprotect._names_then(rel regclass, names name[], names_of oid) RETURNS name[]
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN rel::oid = names_of AND names <> (dataprotect._column_names(rel))[1:cardinality(names)] THEN names END;
$$;
COMMENT ON FUNCTION dataprotect._names_then(regclass, name[], oid) IS
    'names under which something was stored, or NULL where they are still the same';

CREATE FUNCTION dataprotect._column_now(rel regclass, names name[], names_of oid, col name) RETURNS name
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.attname FROM pg_attribute a
     WHERE a.attrelid = rel AND a.attnum > 0 AND NOT a.attisdropped
       AND CASE WHEN rel::oid = names_of THEN a.attnum = array_position(names, col) ELSE a.attname = col END;
$$;
COMMENT ON FUNCTION dataprotect._column_now(regclass, name[], oid, name) IS
    'present name of a column that had a name when something was stored, or NULL';

CREATE FUNCTION dataprotect._partition_upper(rel regclass) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_lifecycle_partition_upper'
    LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dataprotect._partition_upper(regclass) IS
    'exclusive upper bound of a range partition, or NULL';

-- The topmost partitioned table above a relation, or the relation itself.
CREATE FUNCTION dataprotect._top(rel regclass) RETURNS regclass
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN coalesce(pg_catalog.pg_partition_root(rel), rel);
END $$;
COMMENT ON FUNCTION dataprotect._top(regclass) IS 'the table that a partition belongs to in the end';

-- A relation with everything below it, partitions and inheritance children.
CREATE FUNCTION dataprotect._below(rel regclass) RETURNS SETOF regclass
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE tree(oid) AS (
        SELECT rel::pg_catalog.oid
        UNION
        SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN tree ON i.inhparent = tree.oid)
    SELECT tree.oid::pg_catalog.regclass FROM tree;
END $$;
COMMENT ON FUNCTION dataprotect._below(regclass) IS 'a table with its partitions and inheritance children';

CREATE FUNCTION dataprotect._leaves(rel regclass) RETURNS SETOF regclass
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT b FROM dataprotect._below(rel) b JOIN pg_catalog.pg_class c ON c.oid = b
     WHERE c.relkind = 'r' ORDER BY c.relname, c.oid;
$$;
COMMENT ON FUNCTION dataprotect._leaves(regclass) IS 'the tables below a table that store rows';

-- Foreign keys that reference a table, one row an edge.  Keys of single
-- partitions count for the whole partitioned table, on either side: the rows of
-- the partitions without one belong to the same person all the same.
--
-- A foreign key whose columns are not of its operators' own types compares
-- through an implicit cast, and a cast may be anybody's function.  Such a key has
-- "casts" set, and whatever is built from its operators is an error.
CREATE FUNCTION dataprotect._binary_coercible(source oid, target oid) RETURNS bool
    AS 'MODULE_PATHNAME', 'dp_lifecycle_binary_coercible'
    LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dataprotect._binary_coercible(oid, oid) IS
    'whether a value of one type is one of another as it is, without a function';

-- By name and not by format_type(): "character" would cut the value.
CREATE FUNCTION dataprotect._operand_cast(type oid) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT CASE WHEN t.typtype = 'p' THEN ''
           ELSE replace(format('::%I.%I', n.nspname, t.typname), '%', '%%') END
      FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE t.oid = type);
END $$;
COMMENT ON FUNCTION dataprotect._operand_cast(oid) IS 'text that makes a column an operand of that type';

-- An operator's comparison of the columns %1$s and %2$s, each as the operator's
-- own type: no other operator of that name fits as well.
CREATE FUNCTION dataprotect._operator_template(op oid) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT format('%%1$s%s OPERATOR(%s.%s) %%2$s%s', dataprotect._operand_cast(o.oprleft),
                  replace(quote_ident(n.nspname), '%', '%%'), replace(o.oprname, '%', '%%'),
                  dataprotect._operand_cast(o.oprright))
      FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace WHERE o.oid = op);
END $$;
COMMENT ON FUNCTION dataprotect._operator_template(oid) IS 'format string of a comparison by exactly this operator';

CREATE FUNCTION dataprotect._referencing(rel regclass,
        OUT child regclass, OUT child_columns name[], OUT parent_columns name[], OUT operators text[],
        OUT restricts bool, OUT cascades bool, OUT sets_null bool, OUT constraint_name name, OUT casts bool)
    RETURNS SETOF record
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT e.child, e.child_columns, e.parent_columns, min(e.operators),
           bool_or(e.confdeltype IN ('a', 'r')), bool_or(e.confdeltype = 'c'),
           bool_and(e.confdeltype IN ('n', 'd')), min(e.conname)::pg_catalog.name, bool_or(e.casts)
      FROM (SELECT dataprotect._top(c.conrelid) AS child,
                   array_agg(ca.attname ORDER BY k.ord) AS child_columns,
                   array_agg(pa.attname ORDER BY k.ord) AS parent_columns,
                   array_agg(CASE WHEN s.safe THEN dataprotect._operator_template(k.op)
                                  ELSE '%2$s."foreign key compares by a cast"' END ORDER BY k.ord) AS operators,
                   c.confdeltype, c.conname::text AS conname, NOT bool_and(s.safe) AS casts
              FROM pg_catalog.pg_constraint c,
                   unnest(c.conkey, c.confkey, c.conpfeqop) WITH ORDINALITY AS k(child, parent, op, ord),
                   pg_catalog.pg_attribute ca, pg_catalog.pg_attribute pa,
                   pg_catalog.pg_operator o, pg_catalog.pg_proc f, pg_catalog.pg_roles r,
                   LATERAL (SELECT r.rolsuper AND dataprotect._binary_coercible(pa.atttypid, o.oprleft)
                                   AND dataprotect._binary_coercible(ca.atttypid, o.oprright) AS safe) s
             WHERE c.contype = 'f' AND c.conparentid = 0
               AND c.confrelid IN (SELECT dataprotect._below(dataprotect._top(rel)))
               AND ca.attrelid = c.conrelid AND ca.attnum = k.child
               AND pa.attrelid = c.confrelid AND pa.attnum = k.parent
               AND o.oid = k.op AND f.oid = o.oprcode AND r.oid = f.proowner
             GROUP BY c.oid, c.conrelid, c.confdeltype, c.conname) e
     GROUP BY e.child, e.child_columns, e.parent_columns
     ORDER BY e.child::text, e.child_columns::text;
$$;
COMMENT ON FUNCTION dataprotect._referencing(regclass) IS
    'foreign keys that reference a table, those of partitions counted for the partitioned table';

-- True of an ordinary table that no foreign key leads to: the common case, told
-- cheaply.
CREATE FUNCTION dataprotect._unreferenced(rel regclass) RETURNS bool
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = rel AND NOT c.relhassubclass AND NOT c.relispartition)
           AND NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.contype = 'f' AND c.confrelid = rel);
END $$;
COMMENT ON FUNCTION dataprotect._unreferenced(regclass) IS 'whether a table is one of its own that no foreign key references';

-- 'parent.pk = child.fk' under two aliases, with the foreign key's own operators.
CREATE FUNCTION dataprotect._join_condition(parent_alias text, parent_columns name[], child_alias text,
        child_columns name[], operators text[]) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(format(k.op, format('%I.%I', parent_alias, k.p), format('%I.%I', child_alias, k.c)),
                      ' AND ' ORDER BY k.ord)
      FROM unnest(parent_columns, operators, child_columns) WITH ORDINALITY AS k(p, op, c, ord);
$$;
COMMENT ON FUNCTION dataprotect._join_condition(text, name[], text, name[], text[]) IS
    'join condition of a foreign key';

-- A table that carries the foreign key without an index that finds its rows.
CREATE FUNCTION dataprotect._unindexed(child regclass, child_columns name[]) RETURNS regclass
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.conrelid::pg_catalog.regclass
      FROM pg_catalog.pg_constraint c
      JOIN pg_catalog.pg_class r ON r.oid = c.conrelid AND r.relkind = 'r'
     WHERE c.contype = 'f' AND c.conrelid IN (SELECT dataprotect._leaves(child))
       AND child_columns = (SELECT array_agg(a.attname ORDER BY k.ord)
                              FROM unnest(c.conkey) WITH ORDINALITY AS k(num, ord)
                              JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num)
       AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_index i
                        WHERE i.indrelid = c.conrelid AND i.indisvalid AND i.indpred IS NULL
                          AND i.indkey[0] = ANY (c.conkey))
     ORDER BY r.relname LIMIT 1;
$$;
COMMENT ON FUNCTION dataprotect._unindexed(regclass, name[]) IS
    'a table whose foreign key over these columns no index supports, or NULL';

CREATE FUNCTION dataprotect._bears(type oid) RETURNS bool
    AS 'MODULE_PATHNAME', 'dp_lifecycle_bears'
    LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dataprotect._bears(oid) IS 'whether values of a type contain encrypted values, at any depth';

-- A column that carries encrypted values otherwise than as they are (in arrays,
-- composites, domains): they cannot be sealed for an account.
CREATE FUNCTION dataprotect._unbindable(rel regclass) RETURNS name
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.attname FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
       AND dataprotect._bears(a.atttypid) AND (dataprotect._base_type(a.atttypid) IS NULL OR a.attgenerated <> '')
     ORDER BY a.attnum LIMIT 1;
$$;
COMMENT ON FUNCTION dataprotect._unbindable(regclass) IS
    'a column whose encrypted values cannot be sealed for an account, or NULL';

CREATE FUNCTION dataprotect._undomained(type oid) RETURNS oid
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    WITH RECURSIVE under(oid, typtype, typbasetype) AS (
        SELECT t.oid, t.typtype, t.typbasetype FROM pg_catalog.pg_type t WHERE t.oid = type
        UNION ALL
        SELECT t.oid, t.typtype, t.typbasetype FROM pg_catalog.pg_type t JOIN under u ON t.oid = u.typbasetype
         WHERE u.typtype = 'd')
    SELECT u.oid FROM under u WHERE u.typtype <> 'd');
END $$;
COMMENT ON FUNCTION dataprotect._undomained(oid) IS 'the type below a domain, or the type itself';

-- Columns of an encrypted type, or of a domain over one.
CREATE FUNCTION dataprotect._protected_attributes(rel regclass) RETURNS SETOF name
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT a.attname
      FROM pg_catalog.pg_attribute a
      JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
     WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
       AND dataprotect._base_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END) IS NOT NULL
     ORDER BY a.attnum;
END $$;
COMMENT ON FUNCTION dataprotect._protected_attributes(regclass) IS 'columns of a table that are of an encrypted type';

-- Which of the columns of a reference become NULL where it is cut: those that the foreign
-- key itself would clear; all of one that matches in full; else one that is NULL is enough,
-- and a column that references something else as well (a tenant) stays where another can go.  Empty where none can be.
CREATE FUNCTION dataprotect._columns_to_null(rel regclass, columns name[]) RETURNS name[]
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    numbers int2[] := dataprotect._attnums(rel, columns);
    fk pg_constraint := (SELECT c FROM pg_constraint c WHERE c.conrelid = rel AND c.contype = 'f' AND c.conkey = numbers
                          ORDER BY c.confmatchtype = 'f' DESC, c.confdelsetcols IS NULL LIMIT 1);
    nullable name[];
BEGIN
    IF fk.confdelsetcols IS NOT NULL THEN
        numbers := fk.confdelsetcols;
    END IF;
    SELECT array_agg(a.attname ORDER BY a.attnum) INTO nullable FROM pg_attribute a
     WHERE a.attrelid = rel AND a.attnum = ANY (numbers) AND NOT a.attnotnull;
    IF fk.confmatchtype = 'f' OR fk.confdelsetcols IS NOT NULL THEN
        RETURN CASE WHEN cardinality(nullable) = cardinality(numbers) THEN nullable ELSE '{}' END;
    END IF;
    RETURN coalesce(
        (SELECT array_agg(c ORDER BY c) FROM unnest(nullable) c
          WHERE NOT EXISTS (SELECT FROM pg_constraint o WHERE o.conrelid = rel AND o.contype IN ('f', 'p') AND o.conkey <> numbers
                               AND (dataprotect._attnums(rel, ARRAY[c]))[1] = ANY (o.conkey))), nullable, '{}');
END $$;
COMMENT ON FUNCTION dataprotect._columns_to_null(regclass, name[]) IS 'columns of a reference that become NULL where it is cut';

-- Which of its columns a foreign key with ON DELETE SET NULL clears by itself.
CREATE FUNCTION dataprotect._columns_the_key_clears(rel regclass, columns name[]) RETURNS name[]
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN coalesce((SELECT dataprotect._attnames(rel, c.confdelsetcols) FROM pg_constraint c
                      WHERE c.conrelid = rel AND c.contype = 'f' AND c.conkey = dataprotect._attnums(rel, columns)
                        AND c.confdelsetcols IS NOT NULL LIMIT 1), columns);
END $$;
COMMENT ON FUNCTION dataprotect._columns_the_key_clears(regclass, name[]) IS 'columns that a foreign key clears when what it references goes';

-- The foreign keys that lead to rows of a table, one row a path.  A node comes
-- before the nodes below it, so that the reverse order is one in which RESTRICT
-- lets rows go.
--   source, alias, up: the FROM item of the rows at the root, its alias, and the
--     condition that chooses them
--   rules: [{"rel": oid, "columns": [..] or null, "targets": [oid, ..], "action": .., "basis": ..}];
--     with columns a rule is of the foreign keys over them to one of the targets
--   descend: actions whose rows have children of interest
-- up (in the result): condition over alias that chooses the child's rows.
-- open: text that, closed by as many brackets as depth, says of a root row that
-- it has such a child.
CREATE FUNCTION dataprotect._fk_tree(rel regclass, source text, alias text, up text, open text, trail regclass[],
        rules jsonb, descend text[],
        OUT depth int, OUT parent regclass, OUT child regclass, OUT child_columns name[], OUT parent_columns name[],
        OUT operators text[], OUT restricts bool, OUT cascades bool, OUT sets_null bool, OUT constraint_name name,
        OUT action text, OUT basis text, OUT loops bool, OUT child_alias text, OUT child_open text, OUT child_up text,
        OUT casts bool, OUT above regclass[])
    RETURNS SETOF record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    edge record;
    joined text;
BEGIN
    IF dataprotect._unreferenced(rel) THEN
        RETURN;
    END IF;
    FOR edge IN
        SELECT r.*, j.rule
          FROM dataprotect._referencing(rel) r
          LEFT JOIN LATERAL (
               SELECT e AS rule FROM jsonb_array_elements(rules) e
                WHERE (e ->> 'rel')::oid = r.child
                  AND (jsonb_typeof(e -> 'columns') IS DISTINCT FROM 'array'
                       OR e -> 'columns' = to_jsonb(r.child_columns) AND e -> 'targets' @> to_jsonb(rel::oid))
                ORDER BY jsonb_typeof(e -> 'columns') = 'array' DESC NULLS LAST LIMIT 1) j ON true
    LOOP
        depth := cardinality(trail);
        parent := rel;
        child := edge.child;
        child_columns := edge.child_columns;
        parent_columns := edge.parent_columns;
        operators := edge.operators;
        restricts := edge.restricts;
        cascades := edge.cascades;
        sets_null := edge.sets_null;
        constraint_name := edge.constraint_name;
        action := edge.rule ->> 'action';
        basis := edge.rule ->> 'basis';
        loops := child = ANY (trail);
        casts := edge.casts;
        above := trail;
        child_alias := 'c' || depth;
        joined := dataprotect._join_condition(alias, parent_columns, child_alias, child_columns, operators);
        child_open := format('%sEXISTS (SELECT 1 FROM %s %s WHERE %s AND ', open, child, child_alias, joined);
        child_up := format('EXISTS (SELECT 1 FROM %s %s WHERE %s AND %s)', source, alias, joined, up);
        RETURN NEXT;
        IF NOT loops AND (action = ANY (descend) OR (action IS NULL AND cascades AND 'cascade' = ANY (descend))) THEN
            RETURN QUERY SELECT t.* FROM dataprotect._fk_tree(child, child::text, child_alias, child_up, child_open,
                                                              trail || child, rules, descend) t;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._fk_tree(regclass, text, text, text, text, regclass[], jsonb, text[]) IS
    'paths of foreign keys that lead to rows of a table';
