-- verify(): does every stored value authenticate?  Opens values inside one
-- function that tells yes or no, so it needs no right to read them.  Tables are
-- scanned, not queried: nothing of their owners runs (stored_scan.h).

CREATE FUNCTION dataprotect._verify_column(rel regclass, col name, sample float8)
    RETURNS TABLE (key_id int8, "values" bigint, failures bigint)
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_verify_column';
COMMENT ON FUNCTION dataprotect._verify_column(regclass, name, float8) IS
    'stored values of a column by key id, and how many do not authenticate';

-- A DEFAULT holds its constants under the system's literal key.
CREATE FUNCTION dataprotect._verify_tree(tree pg_node_tree)
    RETURNS TABLE (key_id int8, "values" bigint, failures bigint)
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_verify_tree';
COMMENT ON FUNCTION dataprotect._verify_tree(pg_node_tree) IS
    'protected constants of a stored expression by key id, and how many do not authenticate';

CREATE FUNCTION dataprotect._renew_literals() RETURNS TABLE (function text, digest bytea)
    LANGUAGE c VOLATILE
    AS 'MODULE_PATHNAME', 'dp_definition_literals';
COMMENT ON FUNCTION dataprotect._renew_literals() IS
    'seals the protected constants of definitions under the present key for literals; the functions among them that were trusted, and their new digests';

-- Columns that store protected values, at whatever depth of their type.
CREATE FUNCTION dataprotect._storing_columns(wanted regclass = NULL)
    RETURNS TABLE (rel regclass, col name, attnum int2, typ oid)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.oid, a.attname, a.attnum, a.atttypid
    FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE (c.oid = $1 OR $1 IS NULL AND NOT c.relispartition)
        AND c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't' AND a.atttypid >= 16384
        AND EXISTS (SELECT FROM dataprotect._encrypted_parts(a.atttypid, a.atttypmod))
$$;
COMMENT ON FUNCTION dataprotect._storing_columns(regclass) IS
    'columns of a table, or of all that are no partitions, with protected values at any depth';

CREATE TYPE dataprotect.column_check AS (
    rel regclass,
    col name,
    key name,
    version int,
    "values" bigint,
    failures bigint
);
COMMENT ON TYPE dataprotect.column_check IS 'what verify() found in one column under one key version';

CREATE FUNCTION dataprotect.verify(rel regclass = NULL, sample float8 = 1.0)
    RETURNS SETOF dataprotect.column_check
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF sample IS NULL OR NOT (sample > 0 AND sample <= 1) THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'sample must be greater than 0 and at most 1');
    END IF;
    RETURN QUERY
        SELECT s.rel, s.col, CASE WHEN v.family = 0 THEN 'system' ELSE k.name END, coalesce(o.version, v.version),
               sum(x."values")::bigint, sum(x.failures)::bigint
        FROM dataprotect._storing_columns($1) s
            -- partitions store the rows; rows of children by inheritance are the children's
            CROSS JOIN LATERAL (
                SELECT y.* FROM dataprotect._column_partitions(s.rel, s.col) m
                    CROSS JOIN LATERAL dataprotect._verify_column(m.member, s.col, sample) y
                UNION ALL
                SELECT y.* FROM dataprotect._column_partitions(s.rel, s.col) m
                    JOIN pg_attrdef d ON d.adrelid = m.member AND d.adnum = m.attnum
                    CROSS JOIN LATERAL dataprotect._verify_tree(d.adbin) y
                UNION ALL
                SELECT y.* FROM pg_type t CROSS JOIN LATERAL dataprotect._verify_tree(t.typdefaultbin) y
                    WHERE t.oid = s.typ) x
            LEFT JOIN dataprotect.key_version v ON v.key_id = x.key_id
            LEFT JOIN dataprotect.key k ON k.family = v.family
            LEFT JOIN dataprotect.subject_key o ON o.key_id = x.key_id
        GROUP BY s.rel, s.col, v.family, k.name, coalesce(o.version, v.version)
        ORDER BY s.rel::text, 2, 3, 4;
END
$$;
COMMENT ON FUNCTION dataprotect.verify(regclass, float8) IS
    'for each protected column and key version: how many values are stored, and how many are lost: damaged, or their key destroyed; key null: no such key; key system: a constant of a DEFAULT';
