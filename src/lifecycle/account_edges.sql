-- What references what: foreign keys, and references that nothing declares

-- The operator by which a column of one type is compared with a referenced one of
-- another: equality of the referenced type's default btree family.  Only
-- superusers make operator classes.
CREATE FUNCTION dataprotect._equality_operator(referenced oid, referencing oid) RETURNS oid
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT o.amopopr
      FROM pg_opclass p, pg_opclass c, pg_amop o
     WHERE p.opcmethod = 403 AND p.opcdefault AND c.opcmethod = 403 AND c.opcfamily = p.opcfamily
       AND (p.opcintype = referenced OR dataprotect._binary_coercible(referenced, p.opcintype))
       AND (c.opcintype = referencing OR dataprotect._binary_coercible(referencing, c.opcintype))
       AND o.amopfamily = p.opcfamily AND o.amopstrategy = 3
       AND o.amoplefttype = p.opcintype AND o.amoprighttype = c.opcintype
     ORDER BY (p.opcintype = referenced)::int + (c.opcintype = referencing)::int DESC LIMIT 1);
END $$;
COMMENT ON FUNCTION dataprotect._equality_operator(oid, oid) IS 'equality of values of two types, or NULL';

-- A template that is true of an array %2$s with %1$s among its elements; NULL where
-- they cannot be compared.  By what a GIN index answers, where the types are the same.
CREATE FUNCTION dataprotect._element_template(referenced oid, arrays oid) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    equal pg_operator := (SELECT o FROM pg_operator o WHERE o.oid = dataprotect._equality_operator(referenced, dataprotect._element_type(arrays)));
BEGIN
    IF equal.oid IS NULL THEN
        RETURN NULL;
    ELSIF (SELECT t.typelem FROM pg_type t WHERE t.oid = dataprotect._undomained(arrays)) = referenced THEN
        RETURN format('%%2$s OPERATOR(pg_catalog.@>) ARRAY[%%1$s%s]', dataprotect._operand_cast(referenced));
    END IF;
    RETURN format('%%1$s%s OPERATOR(%s.%s) ANY (%%2$s%s[])', dataprotect._operand_cast(equal.oprleft),
                  (SELECT replace(quote_ident(n.nspname), '%', '%%') FROM pg_namespace n WHERE n.oid = equal.oprnamespace),
                  replace(equal.oprname, '%', '%%'), dataprotect._operand_cast(equal.oprright));
END $$;
COMMENT ON FUNCTION dataprotect._element_template(oid, oid) IS 'comparison of a value with the elements of an array, or NULL';

-- Type of an array's elements, below domains; NULL of what is none.
CREATE FUNCTION dataprotect._element_type(type oid) RETURNS oid
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT dataprotect._undomained(t.typelem) FROM pg_type t
     WHERE t.oid = dataprotect._undomained(type) AND t.typcategory = 'A' AND t.typelem <> 0);
END $$;
COMMENT ON FUNCTION dataprotect._element_type(oid) IS 'type of the elements of an array type, or NULL';

-- Templates that compare columns of two tables; NULL where one pair cannot be.  A column
-- of arrays references what its elements do.
CREATE FUNCTION dataprotect._reference_operators(rel regclass, columns name[], reference regclass, reference_columns name[]) RETURNS text[]
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT CASE WHEN bool_and(o.template IS NOT NULL) THEN array_agg(o.template ORDER BY k.ord) END
      FROM unnest(columns, reference_columns) WITH ORDINALITY AS k(c, p, ord)
      JOIN pg_attribute ca ON ca.attrelid = rel AND ca.attname = k.c
      JOIN pg_attribute pa ON pa.attrelid = reference AND pa.attname = k.p,
           LATERAL (SELECT coalesce(
                dataprotect._operator_template(dataprotect._equality_operator(dataprotect._undomained(pa.atttypid), dataprotect._undomained(ca.atttypid))),
                dataprotect._element_template(dataprotect._undomained(pa.atttypid), ca.atttypid)) AS template) o);
END $$;
COMMENT ON FUNCTION dataprotect._reference_operators(regclass, name[], regclass, name[]) IS
    'comparisons of columns with those they reference, or NULL';

-- Foreign keys at some tables (both directions), those of partitions counted for
-- the partitioned table.
CREATE FUNCTION dataprotect._foreign_keys(tables regclass[],
        OUT from_rel regclass, OUT columns name[], OUT to_rel regclass, OUT target_columns name[], OUT operators text[],
        OUT sets_null bool, OUT name text, OUT casts bool) RETURNS SETOF record
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH inside AS MATERIALIZED (SELECT DISTINCT b::oid AS oid FROM unnest(tables) t, dataprotect._below(dataprotect._top(t)) b),
    keys AS MATERIALIZED (
        SELECT c.* FROM pg_constraint c
         WHERE c.contype = 'f' AND c.conparentid = 0
           AND (c.conrelid IN (SELECT i.oid FROM inside i) OR c.confrelid IN (SELECT i.oid FROM inside i))),
    ops AS MATERIALIZED (
        SELECT o.op, dataprotect._operator_template(o.op) AS template FROM (SELECT DISTINCT unnest(c.conpfeqop) AS op FROM keys c) o),
    tops AS MATERIALIZED (
        SELECT r.oid, dataprotect._top(r.oid) AS top FROM (SELECT c.conrelid AS oid FROM keys c UNION SELECT c.confrelid FROM keys c) r)
    SELECT e.from_rel, e.columns, e.to_rel, e.target_columns, min(e.operators), bool_and(e.confdeltype IN ('n', 'd')),
           min(e.conname), bool_or(e.casts)
      FROM (SELECT f.top AS from_rel, t.top AS to_rel,
                   array_agg(ca.attname ORDER BY k.ord) AS columns,
                   array_agg(pa.attname ORDER BY k.ord) AS target_columns,
                   array_agg(CASE WHEN s.safe THEN w.template
                                  ELSE '%2$s."foreign key compares by a cast"' END ORDER BY k.ord) AS operators,
                   c.confdeltype, c.conname::text AS conname, NOT bool_and(s.safe) AS casts
              FROM keys c JOIN tops f ON f.oid = c.conrelid JOIN tops t ON t.oid = c.confrelid,
                   unnest(c.conkey, c.confkey, c.conpfeqop) WITH ORDINALITY AS k(child, parent, op, ord),
                   pg_attribute ca, pg_attribute pa, pg_operator o, pg_proc p, pg_roles r, ops w,
                   LATERAL (SELECT r.rolsuper AND dataprotect._binary_coercible(pa.atttypid, o.oprleft)
                                   AND dataprotect._binary_coercible(ca.atttypid, o.oprright) AS safe) s
             WHERE ca.attrelid = c.conrelid AND ca.attnum = k.child
               AND pa.attrelid = c.confrelid AND pa.attnum = k.parent
               AND o.oid = k.op AND p.oid = o.oprcode AND r.oid = p.proowner AND w.op = k.op
             GROUP BY c.oid, f.top, t.top, c.confdeltype, c.conname) e
     GROUP BY e.from_rel, e.columns, e.to_rel, e.target_columns;
END $$;
COMMENT ON FUNCTION dataprotect._foreign_keys(regclass[]) IS 'foreign keys that lead to or away from some tables';

-- What cuts a row off: columns become NULL; from an array the account's id, $1, goes.
CREATE FUNCTION dataprotect._cut_assignments(rel regclass, columns name[]) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF dataprotect._element_type(dataprotect._column_type(rel, columns[1])) IS NOT NULL THEN
        RETURN format('%1$I = pg_catalog.array_remove(%1$I, $1)', columns[1]);
    END IF;
    RETURN (SELECT string_agg(format('%I = NULL', c), ', ') FROM unnest(dataprotect._columns_to_null(rel, columns)) c);
END $$;
COMMENT ON FUNCTION dataprotect._cut_assignments(regclass, name[]) IS 'what a row is set to that is cut off from what it references';

-- Columns of bound tables, by their present names.
CREATE FUNCTION dataprotect._bindings_of(account_type text, OUT rel regclass, OUT id_columns name[]) RETURNS SETOF record
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT b.rel, dataprotect._id_columns(b.rel, b.rel_oid, b.id_column, b.id_attnum, b.id_columns, b.id_attnums)
      FROM dataprotect.subject_binding b JOIN pg_class c ON c.oid = b.rel WHERE b.account_type = $1;
END $$;
COMMENT ON FUNCTION dataprotect._bindings_of(text) IS 'tables that are bound to an account type, and the columns of its id';

-- Every edge at some tables, as an account type sees it: foreign keys, references
-- that were annotated, columns that bound tables have the id in.  "declared":
-- what referential integrity would ask.
CREATE FUNCTION dataprotect._account_edges(account dataprotect.account_type, tables regclass[],
        OUT from_rel regclass, OUT columns name[], OUT match jsonb, OUT to_rel regclass, OUT target_columns name[],
        OUT operators text[], OUT sets_null bool, OUT name text, OUT casts bool, OUT declared bool,
        OUT action text, OUT basis text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH rules AS MATERIALIZED (SELECT * FROM dataprotect._rules_of(account.name)),
    edges AS MATERIALIZED (
        SELECT f.from_rel, f.columns, '{}'::jsonb AS match, f.to_rel, f.target_columns, f.operators, f.sets_null, f.name, f.casts, true AS declared
          FROM dataprotect._foreign_keys(tables) f)
    SELECT e.from_rel, e.columns, e.match, e.to_rel, e.target_columns, e.operators, e.sets_null, e.name, e.casts, true, r.action, r.legal_basis
      FROM edges e LEFT JOIN rules r ON r.rel = e.from_rel AND r.columns = e.columns AND r.match = '{}' AND e.to_rel = ANY (r.targets)
    UNION ALL
    SELECT r.rel, r.columns, r.match, r.reference, r.reference_columns, o.operators, true, 'annotation', o.operators IS NULL, false, r.action, r.legal_basis
      FROM rules r, LATERAL (SELECT dataprotect._reference_operators(r.rel, r.columns, r.reference, r.reference_columns) AS operators) o
     WHERE r.reference IS NOT NULL AND (r.rel = ANY (tables) OR r.reference = ANY (tables))
       AND NOT EXISTS (SELECT FROM edges e WHERE e.from_rel = r.rel AND e.columns = r.columns AND e.to_rel = r.reference AND r.match = '{}')
    UNION ALL
    SELECT b.rel, b.id_columns, '{}', account.root, account.id_columns, o.operators, true, 'bind_subject', o.operators IS NULL, false, NULL, NULL
      FROM dataprotect._bindings_of(account.name) b,
           LATERAL (SELECT dataprotect._reference_operators(b.rel, b.id_columns, account.root, account.id_columns) AS operators) o
     WHERE b.rel <> account.root AND (b.rel = ANY (tables) OR account.root = ANY (tables))
       AND NOT EXISTS (SELECT FROM edges e WHERE e.from_rel = b.rel AND e.columns @> b.id_columns)
       AND NOT EXISTS (SELECT FROM dataprotect._foreign_keys(ARRAY[b.rel]) f WHERE f.from_rel = b.rel AND f.columns @> b.id_columns)
       AND NOT EXISTS (SELECT FROM rules r WHERE r.rel = b.rel AND r.reference IS NOT NULL AND r.columns @> b.id_columns);
END $$;
COMMENT ON FUNCTION dataprotect._account_edges(dataprotect.account_type, regclass[]) IS
    'edges that lead to or away from some tables, with what was decided about them';
