-- Protected columns: which there are, and what stands in the way of one.
--
-- encrypt_column() checks everything first, from catalogs alone, then locks the
-- table and checks again.  What is found here is refused by name; what is not
-- found is kept, by ALTER TABLE or by dependents.sql.

CREATE FUNCTION dataprotect._computes_from(expression pg_catalog.pg_node_tree, column_number int2)
    RETURNS bool
    AS 'MODULE_PATHNAME', 'dp_column_computes'
    LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dataprotect._computes_from(pg_catalog.pg_node_tree, int2) IS
    'whether a stored expression uses a column otherwise than by asking if it is null';

CREATE FUNCTION dataprotect._index_folds(index oid)
    RETURNS TABLE (place int, attnum int2, folds text, blind bool, whole bool)
    AS 'MODULE_PATHNAME', 'dp_index_folds'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._index_folds(oid) IS
    'keys of an index that are folds of a column, as lower(column), or blind(column, ...) of a protected one';

CREATE FUNCTION dataprotect._predicate_computes(index oid, attnum int2) RETURNS bool
    AS 'MODULE_PATHNAME', 'dp_predicate_computes'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._predicate_computes(oid, int2) IS
    'whether the predicate of an index uses the value of a column otherwise than to ask for the empty text';

CREATE FUNCTION dataprotect._index_predicate(index oid, cols name[]) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_index_predicate'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._index_predicate(oid, name[]) IS
    'the predicate of an index as it is when columns change between plain and protected';

CREATE FUNCTION dataprotect._index_predicate_of(index oid, cols name[], targets name[]) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_index_predicate'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._index_predicate_of(oid, name[], name[]) IS
    'the same, with the columns under other names';

CREATE FUNCTION dataprotect._unfold(folds text, col name) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_unfold'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._unfold(text, name) IS 'the expression over a column that folds stand for';

CREATE FUNCTION dataprotect._index_computes(index oid, attnum int2) RETURNS bool
    AS 'MODULE_PATHNAME', 'dp_index_computes'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._index_computes(oid, int2) IS
    'whether an expression of an index uses a column otherwise than as a fold';

CREATE FUNCTION dataprotect._lexeme_index(index oid, OUT attnum int2, OUT config text, OUT null_is_empty bool)
    AS 'MODULE_PATHNAME', 'dp_lexeme_index'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._lexeme_index(oid) IS
    'column of an index for full-text search, as over to_tsvector(config, column); nulls where it is none';

CREATE FUNCTION dataprotect._order_obstacle(rel regclass, key text) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_column_order_obstacle'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._order_obstacle(regclass, text) IS
    'why columns of a table may not be ordered under a key, or NULL';

CREATE FUNCTION dataprotect._may_reveal(key text) RETURNS bool
    AS 'MODULE_PATHNAME', 'dp_column_may_reveal'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._may_reveal(text) IS
    'whether values under a key appear to the current role as they are';

CREATE FUNCTION dataprotect._column_members(rel regclass, col name)
    RETURNS TABLE (member oid, attnum int2, depth int)
    LANGUAGE plpgsql STABLE ROWS 2
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE r(oid, depth) AS (
        SELECT $1::oid, 0
        UNION
        SELECT i.inhrelid, r.depth + 1 FROM r JOIN pg_inherits i ON i.inhparent = r.oid
    )
    SELECT r.oid, a.attnum, max(r.depth)
    FROM r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attname = $2 AND NOT a.attisdropped
    GROUP BY r.oid, a.attnum;
END
$$;
COMMENT ON FUNCTION dataprotect._column_members(regclass, name) IS
    'a table with its partitions or the tables that inherit from it, with the number of a column in each';

CREATE FUNCTION dataprotect._column_partitions(rel regclass, col name)
    RETURNS TABLE (member oid, attnum int2)
    LANGUAGE sql STABLE ROWS 2
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.oid, a.attnum
    FROM (SELECT $1::oid
          UNION
          SELECT relid::oid FROM pg_partition_tree($1)) AS r(oid)
    JOIN pg_attribute a ON a.attrelid = r.oid AND a.attname = $2 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION dataprotect._column_partitions(regclass, name) IS
    'a table and its partitions, which store its rows, with the number of a column in each';

CREATE FUNCTION dataprotect._columns_members(rel regclass, cols name[])
    RETURNS TABLE (member oid, attnum int2, depth int)
    LANGUAGE plpgsql STABLE ROWS 2
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT m.* FROM unnest($2) c CROSS JOIN LATERAL dataprotect._column_members($1, c) m;
END
$$;
COMMENT ON FUNCTION dataprotect._columns_members(regclass, name[]) IS
    'a table and its partitions, with the numbers of columns in each';

-- The word of a modifier for a base type's own, as '(50)'; NULL for none.
CREATE FUNCTION dataprotect._base_modifier(base oid, typmod int4) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT substring(format_type(CASE $1 WHEN 'text'::regtype THEN 'varchar'::regtype ELSE $1 END, $2) FROM '\([-0-9, ]+\)')
    WHERE $2 >= 0
$$;
COMMENT ON FUNCTION dataprotect._base_modifier(oid, int4) IS
    'the modifier of a column''s type as an encrypted type writes it';

-- What a table and a column must be, before objects around them matter.
CREATE FUNCTION dataprotect._check_column(rel regclass, col name) RETURNS void
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    cls     pg_class%ROWTYPE;
    att     pg_attribute%ROWTYPE;
    child   text;
BEGIN
    IF rel IS NULL OR col IS NULL THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'table and column must not be null');
    END IF;
    SELECT c.* INTO cls FROM pg_class c WHERE c.oid = rel;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('undefined_table', format('relation with OID %s does not exist', rel::oid));
    END IF;
    IF cls.relkind NOT IN ('r', 'p') THEN
        PERFORM dataprotect._raise('wrong_object_type',
            format('"%s" is not a table', cls.relname),
            NULL,
            'Protect the column of the table that stores the values.');
    END IF;
    IF cls.oid < 16384 OR cls.relnamespace IN ('pg_catalog'::regnamespace, 'dataprotect'::regnamespace,
                                               'information_schema'::regnamespace) THEN
        PERFORM dataprotect._raise('wrong_object_type',
            format('columns of table "%s" cannot be protected', cls.relname),
            'It belongs to the system or to dataprotect.');
    END IF;
    IF NOT pg_has_role(current_user, cls.relowner, 'USAGE') THEN
        PERFORM dataprotect._raise('insufficient_privilege', format('must be owner of table %s', cls.relname));
    END IF;
    IF cls.relpersistence = 't' THEN
        PERFORM dataprotect._raise('feature_not_supported',
            format('columns of temporary table "%s" cannot be changed', cls.relname),
            NULL,
            'Create it with the type you want.');
    END IF;
    IF cls.relispartition THEN
        PERFORM dataprotect._raise('wrong_object_type',
            format('cannot change one partition only: "%s"', cls.relname),
            NULL,
            format('Name the partitioned table %s.', pg_partition_root(rel)));
    END IF;
    SELECT a.* INTO att FROM pg_attribute a
    WHERE a.attrelid = rel AND a.attname = col AND NOT a.attisdropped;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('undefined_column',
            format('column "%s" of relation "%s" does not exist', col, cls.relname));
    END IF;
    IF att.attnum < 0 THEN
        PERFORM dataprotect._raise('wrong_object_type', format('system column "%s" cannot be protected', col));
    END IF;
    IF att.attinhcount > 0 THEN
        PERFORM dataprotect._raise('feature_not_supported',
            format('column "%s" of table "%s" is inherited', col, cls.relname),
            NULL,
            format('Name the table it comes from: %s.',
                   (SELECT string_agg(i.inhparent::regclass::text, ' and ' ORDER BY i.inhseqno) FROM pg_inherits i
                        JOIN pg_attribute a ON a.attrelid = i.inhparent AND a.attname = col AND NOT a.attisdropped
                    WHERE i.inhrelid = rel)));
    END IF;
    SELECT m.member::regclass::text INTO child FROM dataprotect._column_members(rel, col) m
        JOIN pg_attribute a ON a.attrelid = m.member AND a.attname = col AND a.attinhcount > 1;
    IF FOUND THEN
        PERFORM dataprotect._raise('feature_not_supported',
            format('column "%s" of table %s comes from several tables', col, child),
            NULL,
            format('ALTER TABLE %s NO INHERIT the others first.', child));
    END IF;
    IF cls.reloftype <> 0 THEN
        PERFORM dataprotect._raise('feature_not_supported',
            format('cannot change columns of typed table "%s"', cls.relname),
            NULL,
            format('ALTER TABLE %s NOT OF first.', rel));
    END IF;
    SELECT m.member::regclass::text INTO child FROM dataprotect._column_members(rel, col) m
    JOIN pg_class c ON c.oid = m.member AND c.relkind = 'f' LIMIT 1;
    IF child IS NOT NULL THEN
        PERFORM dataprotect._raise('feature_not_supported',
            format('partition or child "%s" is a foreign table', child),
            NULL,
            'Detach it first, or let it inherit no more.');
    END IF;
END
$$;
COMMENT ON FUNCTION dataprotect._check_column(regclass, name) IS
    'errors unless the column is one that encrypt_column and decrypt_column can change';

-- Objects that store what follows from the column, or that compare it as every
-- writer or reader of the table: kept, they would leave plaintext behind, or
-- demand reveal of roles that only write.
CREATE FUNCTION dataprotect._column_obstacles(rel regclass, col name)
    RETURNS TABLE (problem text, advice text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH m AS (SELECT * FROM dataprotect._column_members($1, $2)),
    dependent AS (
        SELECT d.classid, d.objid, d.objsubid, d.deptype, m.member, m.attnum
        FROM m JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass
            AND d.refobjid = m.member AND d.refobjsubid = m.attnum
    )
    SELECT format('You do not own partition or child "%s".', c.relname),
           'Let a role that owns the table and its partitions or children do this.'
    FROM m JOIN pg_class c ON c.oid = m.member
    WHERE NOT pg_has_role(current_user, c.relowner, 'USAGE')
    UNION ALL
    SELECT format('Generated column "%s" of table "%s" is computed from it.', g.attname, c.relname),
           CASE g.attgenerated WHEN 's' THEN 'Drop the generated column, or compute it in a view; kept are lower() and its like, ||, coalesce(), parts and to_tsvector() of columns.'
                               ELSE 'Drop the generated column, or compute it in a view; kept are some that are STORED.' END
    FROM dependent d JOIN pg_attrdef f ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
        JOIN pg_attribute g ON g.attrelid = f.adrelid AND g.attnum = f.adnum AND g.attgenerated <> ''
        JOIN pg_class c ON c.oid = f.adrelid
    WHERE f.adnum <> d.attnum AND (dataprotect._generated_formula(f.adrelid, f.adnum)).formula IS NULL
    UNION ALL
    SELECT format('Column "%s" is a generated column.', a.attname), 'Protect the columns it is computed from.'
    FROM pg_attribute a
    WHERE a.attrelid = $1 AND a.attname = $2 AND a.attgenerated <> '' AND (dataprotect._generated_formula(a.attrelid, a.attnum)).formula IS NULL
    UNION ALL
    -- equality of protected values is of their bytes
    SELECT format('Column "%s" has collation "%s", in which different values are equal.', a.attname, l.collname),
           'Give the column another collation; an index over lower() of it keeps equality without case.'
    FROM pg_attribute a JOIN pg_collation l ON l.oid = a.attcollation AND NOT l.collisdeterministic
    WHERE a.attrelid = $1 AND a.attname = $2 AND dataprotect._protected_type($1, $2) IS NULL
    UNION ALL
    SELECT format('Table "%s" is partitioned by it.', c.relname), 'Partition by another column.'
    FROM m JOIN pg_partitioned_table p ON p.partrelid = m.member JOIN pg_class c ON c.oid = m.member
    WHERE m.attnum = ANY (p.partattrs)
        OR (p.partexprs IS NOT NULL AND dataprotect._computes_from(p.partexprs, m.attnum))
    UNION ALL
    -- ALTER TABLE evaluates it anew, as whoever calls, and hands it what others write
    SELECT format('Check constraint "%s" of table "%s" names it and runs code of an ordinary role.', k.conname, c.relname),
           'Rewrite the constraint with functions of PostgreSQL, or of an extension that a superuser owns.'
    FROM m JOIN pg_constraint k ON k.conrelid = m.member AND k.contype = 'c' AND m.attnum = ANY (k.conkey)
        JOIN pg_class c ON c.oid = m.member
    WHERE k.coninhcount = 0
        AND EXISTS (
            SELECT FROM pg_depend d
                LEFT JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
                LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
                LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
                JOIN pg_roles r ON r.oid = coalesce(p.proowner, o.oprowner, t.typowner) AND NOT r.rolsuper
            WHERE d.classid = 'pg_constraint'::regclass AND d.objid = k.oid
                AND (r.rolname <> current_user
                     OR (t.oid IS NULL OR t.typtype = 'd') AND dataprotect._computes_from(k.conbin, m.attnum)))
    UNION ALL
    -- those of whole tables go with the tables they tie together
    SELECT format('Foreign key "%s" belongs to one partition or child only: "%s".', k.conname, c.relname),
           'Drop the foreign key, or make it one of the partitioned table.'
    FROM m JOIN pg_constraint k ON k.contype = 'f' AND k.conparentid = 0
        AND ((k.conrelid = m.member AND m.attnum = ANY (k.conkey))
             OR (k.confrelid = m.member AND m.attnum = ANY (k.confkey)))
        JOIN pg_class c ON c.oid = m.member AND m.depth > 0
    UNION ALL
    SELECT format('Exclusion constraint "%s" of table "%s" compares it.', k.conname, c.relname), 'Drop the constraint.'
    FROM m JOIN pg_constraint k ON k.contype = 'x' AND k.conrelid = m.member AND k.conparentid = 0
        AND m.attnum = ANY (k.conkey)
        JOIN pg_class c ON c.oid = k.conrelid
    UNION ALL
    SELECT format('Trigger "%s" of table "%s" fills a text-search column from it.', t.tgname, c.relname),
           'Drop the trigger and its column: they store the words as plaintext.'
    FROM m JOIN pg_trigger t ON t.tgrelid = m.member AND t.tgparentid = 0
        JOIN pg_proc p ON p.oid = t.tgfoid AND p.prosrc LIKE 'tsvector\_update\_trigger%' AND p.prolang = 12
        JOIN pg_class c ON c.oid = m.member
    WHERE position('\x00'::bytea || convert_to($2::text, getdatabaseencoding()) || '\x00'::bytea IN t.tgargs) > 0
    UNION ALL
    SELECT format('Trigger "%s" is enabled differently in partition "%s".', t.tgname, c.relname),
           'Enable or disable it in the partitioned table.'
    FROM dependent d JOIN pg_trigger t ON d.classid = 'pg_trigger'::regclass AND t.oid = d.objid AND t.tgparentid <> 0
        JOIN pg_trigger parent ON parent.oid = t.tgparentid AND parent.tgenabled <> t.tgenabled
        JOIN pg_class c ON c.oid = t.tgrelid
    UNION ALL
    SELECT format('Column "%s" of "%s" has its table''s row type.', a.attname, c.relname), 'Drop or change that column.'
    FROM m JOIN pg_class t ON t.oid = m.member JOIN pg_type y ON y.oid = t.reltype
        JOIN pg_depend d ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (y.oid, y.typarray)
            AND d.classid = 'pg_class'::regclass
        JOIN pg_attribute a ON a.attrelid = d.objid AND a.attnum = d.objsubid AND NOT a.attisdropped AND a.attnum > 0
        JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p', 'm', 'f');
END
$$;
COMMENT ON FUNCTION dataprotect._column_obstacles(regclass, name) IS
    'objects around a column that cannot be kept when its type changes';

CREATE FUNCTION dataprotect._modifier_parts(typmod int4, OUT key name, OUT searchable bool, OUT ordered bool)
    AS 'MODULE_PATHNAME', 'dp_column_modifier_parts'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._modifier_parts(int4) IS
    'what the modifier of a protected column says';

CREATE FUNCTION dataprotect._encrypted_parts(typ oid, typmod int4, OUT path text, OUT type regtype, OUT key name,
                                             OUT searchable bool, OUT ordered bool)
    RETURNS SETOF record
    AS 'MODULE_PATHNAME', 'dp_encrypted_parts_sql'
    LANGUAGE C STABLE STRICT;
COMMENT ON FUNCTION dataprotect._encrypted_parts(oid, int4) IS
    'encrypted types inside a type: itself (path empty), in domains, arrays ("[]") and composite types (".name")';

CREATE VIEW dataprotect.protected_columns AS
    SELECT c.oid::pg_catalog.regclass AS rel, a.attname AS col, p.type, p.key, p.searchable, p.ordered,
           nullif(p.path, '') AS path
    FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        CROSS JOIN LATERAL dataprotect._encrypted_parts(a.atttypid, a.atttypmod) p
    WHERE c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition
        AND a.atttypid >= 16384 AND p.key IS NOT NULL;
COMMENT ON VIEW dataprotect.protected_columns IS
    'protected columns of this database, a line for each protected value inside one; a partitioned table stands for its partitions';
COMMENT ON COLUMN dataprotect.protected_columns.path IS
    'null where the column''s type is the encrypted one or a domain over it; "[]": elements of an array, ".name": an attribute of a composite type';
COMMENT ON COLUMN dataprotect.protected_columns.searchable IS 'values carry tokens: equality is disclosed';
COMMENT ON COLUMN dataprotect.protected_columns.ordered IS 'indexes in plaintext order are allowed';

-- Events of this layer, for callers who may change columns but not write events
-- of their own choice: what is recorded is read from the catalogs.
CREATE FUNCTION dataprotect._column_event(event text, rel regclass, col name, key text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF event NOT IN ('column.encrypted', 'column.decrypted', 'column.reencrypted') THEN
        PERFORM dataprotect._raise('invalid_parameter_value', format('event "%s" does not concern a column', event));
    END IF;
    PERFORM dataprotect._event(event, key, jsonb_build_object(
        'relation', rel::text, 'column', col,
        'type', (SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
                 WHERE a.attrelid = rel AND a.attname = col AND NOT a.attisdropped)));
END
$$;
COMMENT ON FUNCTION dataprotect._column_event(text, regclass, name, text) IS
    'record that a column was encrypted, decrypted or re-encrypted';
