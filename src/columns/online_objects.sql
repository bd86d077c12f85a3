-- What is around a column that is being protected online, for online.sql: indexes
-- over the sealed column, made beside writers by the worker; what the swap takes away
-- with the plain column and makes again, without looking at a row.

CREATE FUNCTION dataprotect._online_fill() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_online_fill';
COMMENT ON FUNCTION dataprotect._online_fill() IS
    'row trigger of a table that is being protected online: seals one column''s value into another';

CREATE TYPE dataprotect._online_member AS (tied regclass, col name);
COMMENT ON TYPE dataprotect._online_member IS 'a column that is protected online, together with others';

CREATE FUNCTION dataprotect._online_adopt(index regclass, is_primary bool) RETURNS void
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_online_adopt';
COMMENT ON FUNCTION dataprotect._online_adopt(regclass, bool) IS
    'make a unique index that of a constraint of its name, over tokens too';

CREATE FUNCTION dataprotect._online_proven(rel regclass, name name) RETURNS void
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_online_proven';
COMMENT ON FUNCTION dataprotect._online_proven(regclass, name) IS
    'a CHECK of a locked table that held for the plain column holds for the sealed one';

CREATE FUNCTION dataprotect._online_index_wake() RETURNS void
    LANGUAGE c VOLATILE STRICT
    AS 'MODULE_PATHNAME', 'dp_index_builder_wake';
COMMENT ON FUNCTION dataprotect._online_index_wake() IS 'has the worker look for indexes to build now';

-- What each trigger of a table says: the plain column, and the sealed one beside it.
CREATE FUNCTION dataprotect._online_pairs(rel regclass)
    RETURNS TABLE (col name, target name, trigger_name name, in_force bool)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT a.attname, x.attname, t.tgname, t.tgenabled = 'A'
    FROM pg_trigger t
        CROSS JOIN LATERAL (SELECT position('\x00'::bytea IN t.tgargs)) e(first)
        CROSS JOIN LATERAL (SELECT convert_from(substring(t.tgargs FROM 1 FOR e.first - 1), getdatabaseencoding()),
                                   convert_from(substring(t.tgargs FROM e.first + 1 FOR length(t.tgargs) - e.first - 1),
                                                getdatabaseencoding())) n(col, target)
        JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attname = n.col::name AND NOT a.attisdropped
        JOIN pg_attribute x ON x.attrelid = t.tgrelid AND x.attname = n.target::name AND NOT x.attisdropped
    WHERE t.tgrelid = $1 AND t.tgfoid = 'dataprotect._online_fill'::regproc AND t.tgnargs = 2
    ORDER BY x.attnum;
END
$$;
COMMENT ON FUNCTION dataprotect._online_pairs(regclass) IS 'columns of a table that are being protected online, and those that will replace them';

-- Every index over such columns, with the one that will take its place.  That of a
-- partitioned table is made at the swap, of those of its partitions.
CREATE FUNCTION dataprotect._online_indexes(rel regclass)
    RETURNS TABLE (index_id oid, temporary name, is_there bool, built bool, statement text, change text, of_parent bool, attached bool)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    p       record;
BEGIN
    SELECT array_agg(c.col ORDER BY c.n) AS cols, array_agg(c.target ORDER BY c.n) AS targets,
           array_agg(a.attnum ORDER BY c.n) AS numbers,
           array_agg(CASE WHEN NOT m.ordered THEN dataprotect._token_class(a.type::regtype) END ORDER BY c.n) AS token_classes,
           array_agg(a.type || '_token_ops' ORDER BY c.n) AS fold_classes
    INTO p
    FROM dataprotect._online_pairs(rel) WITH ORDINALITY AS c(col, target, trigger_name, in_force, n)
        CROSS JOIN LATERAL (SELECT s.attnum, t.atttypid::regtype::text AS type, t.atttypmod FROM pg_attribute s, pg_attribute t
                            WHERE s.attrelid = rel AND s.attname = c.col AND t.attrelid = rel AND t.attname = c.target) a
        CROSS JOIN LATERAL dataprotect._modifier_parts(a.atttypmod) m;
    IF p.cols IS NULL THEN
        RETURN;
    END IF;
    -- an index without a statement has no key left: it goes
    RETURN QUERY
    SELECT i.indexrelid, dataprotect._online_index_name(i.indexrelid), made.indexrelid IS NOT NULL,
           coalesce(made.indisvalid, false) OR y.statement IS NULL OR c.relkind = 'I', y.statement,
           concat_ws(E'\n',
                CASE WHEN y.statement IS NULL THEN format('index "%s" is dropped: it would tell values of which there are few', c.relname)
                     WHEN x.to_hash AND am.amname <> 'hash' THEN format('index "%s" is now a hash index', c.relname)
                     WHEN x.words THEN format('index "%s" is now over keyed tokens of %s: most of the text can be guessed from it', c.relname,
                                              dataprotect._word_index_kind(i.indexrelid))
                     WHEN x.class IS NULL OR x.class = '' OR am.amname = 'hash' THEN NULL
                     ELSE format('%s "%s" is now over tokens', CASE WHEN x.constraint_name IS NULL THEN 'index' ELSE 'constraint' END,
                                 c.relname) END,
                CASE WHEN x.class = '' AND NOT x.to_hash AND y.statement IS NOT NULL
                     THEN format('index "%s" goes on without a column whose values have no tokens', c.relname) END,
                CASE WHEN EXISTS (SELECT FROM unnest(p.numbers) n WHERE dataprotect._predicate_computes(i.indexrelid, n))
                     THEN format('index "%s" goes on without the part of its predicate that uses the value: it has more rows', c.relname) END),
           c.relkind = 'I', c.relispartition
    FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind IN ('i', 'I')
        JOIN pg_am am ON am.oid = c.relam
        LEFT JOIN (pg_index made JOIN pg_class m ON m.oid = made.indexrelid) ON made.indrelid = i.indrelid
            AND m.relname = dataprotect._online_index_name(i.indexrelid)
        CROSS JOIN LATERAL (
            SELECT coalesce(bool_or(k.words), false) AS words, max(k.constraint_name) AS constraint_name,
                   min(k.target) AS target, max(k.class) AS class,
                   coalesce(bool_and(k.simple AND NOT k.is_unique AND NOT k.words AND k.class IS NOT NULL), false) AS to_hash
            FROM (SELECT ix.*, u.target, CASE WHEN ix.folded OR ix.words THEN u.fold_class ELSE u.token_class END AS class
                  FROM unnest(p.cols, p.targets, p.token_classes, p.fold_classes) AS u(col, target, token_class, fold_class)
                      CROSS JOIN LATERAL dataprotect._column_indexes(rel, u.col) ix
                  WHERE ix.index_id = i.indexrelid) k) x
        CROSS JOIN LATERAL (
            SELECT CASE WHEN x.words THEN
                    'CREATE INDEX CONCURRENTLY ' || quote_ident(dataprotect._online_index_name(i.indexrelid))
                    || substr(dataprotect._word_index_statement(i.indexrelid, x.target, true, p.cols), length('CREATE INDEX ' || quote_ident(c.relname)) + 1)
                ELSE dataprotect._index_statement(i.indexrelid, CASE WHEN x.to_hash OR am.amname = 'hash' THEN 'hash' END, p.cols, p.token_classes,
                                                  p.fold_classes, CASE c.relkind WHEN 'i' THEN p.targets END) END AS statement) y
    WHERE i.indrelid = rel
        AND (i.indkey::int2[] && p.numbers
             OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
                        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = rel AND d.refobjsubid = ANY (p.numbers)))
    ORDER BY c.relname;
END
$$;
COMMENT ON FUNCTION dataprotect._online_indexes(regclass) IS
    'indexes over columns that are being protected online: whether the ones that replace them are built, and how';

-- Whether all rows are known to have their sealed values.  Not before: whoever proves
-- it holds a snapshot that the build of an index waits for, and wants the same lock.
CREATE FUNCTION dataprotect._online_is_filled(rel regclass, target name) RETURNS bool
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(bool_and(k.convalidated), false)
    FROM pg_constraint k WHERE k.conrelid = $1 AND k.contype = 'c' AND k.conname IN ($2 || '_same', $2 || '_set')
$$;
COMMENT ON FUNCTION dataprotect._online_is_filled(regclass, name) IS 'whether the sealed column of a table is filled';

-- For the worker, in whose session it runs on its own: the next statement; NULL: none.
CREATE FUNCTION dataprotect._online_index_due() RETURNS text
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t       record;
    i       record;
BEGIN
    FOR t IN SELECT DISTINCT g.tgrelid::regclass AS rel FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid AND c.relkind = 'r'
             WHERE g.tgfoid = 'dataprotect._online_fill'::regproc ORDER BY 1 LOOP
        CONTINUE WHEN EXISTS (SELECT FROM dataprotect._online_pairs(t.rel) p
                              WHERE NOT p.in_force OR NOT dataprotect._online_is_filled(t.rel, p.target));
        FOR i IN SELECT x.*, n.nspname FROM dataprotect._online_indexes(t.rel) x
                     JOIN pg_class c ON c.oid = t.rel JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE NOT x.built LOOP
            RETURN CASE WHEN i.is_there THEN format('DROP INDEX CONCURRENTLY %I.%I', i.nspname, i.temporary) ELSE i.statement END;
        END LOOP;
    END LOOP;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION dataprotect._online_index_due() IS
    'the next statement towards the indexes of tables that are being protected online';

-- What cannot be kept by a swap without work under the lock, or not at all.
CREATE FUNCTION dataprotect._online_obstacles(rel regclass, col name) RETURNS TABLE (problem text, advice text)
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH a AS (SELECT x.*, c.relkind FROM dataprotect._column_members($1, $2) m
                   JOIN pg_attribute x ON x.attrelid = m.member AND x.attnum = m.attnum JOIN pg_class c ON c.oid = m.member)
    SELECT format('Foreign key "%s" of a partitioned table would be checked while it is locked.', k.conname), 'Leave out online => true.'
    FROM a JOIN pg_constraint k ON k.contype = 'f' AND k.conrelid = a.attrelid AND a.attnum = ANY (k.conkey) AND a.relkind = 'p'
    UNION ALL
    SELECT format('Index "%s" of a partitioned table is for search within the text.', x.name), 'Leave out online => true.'
    FROM dataprotect._column_indexes($1, $2) x JOIN pg_class c ON c.oid = x.index_id AND c.relkind = 'I' WHERE x.words
    UNION ALL
    SELECT format('Generated column "%s" is computed with it.', d.col), 'Leave out online => true.'
    FROM dataprotect._dependent_generated($1, ARRAY[$2]) d WHERE d.depth = 0
    UNION ALL
    SELECT 'The table is bound to accounts.', 'Leave out online => true.'
    WHERE dataprotect._order_obstacle($1, '') = 'bound'
    UNION ALL
    SELECT DISTINCT format('Constraint "%s" is not valid.', k.conname), format('ALTER TABLE %s VALIDATE CONSTRAINT %I first.', k.conrelid::regclass, k.conname)
    FROM a JOIN pg_constraint k ON k.contype IN ('c', 'f') AND NOT k.convalidated
        AND (k.conrelid = a.attrelid AND a.attnum = ANY (k.conkey) OR k.confrelid = a.attrelid AND a.attnum = ANY (k.confkey))
    WHERE k.conname NOT LIKE 'dataprotect\_online\_%'
    UNION ALL
    SELECT format('Constraint "%s" is checked at the end only.', k.conname),
           'Make it NOT DEFERRABLE; or leave out online => true: an index that is built beside writers is checked at once.'
    FROM a JOIN pg_constraint k ON k.contype IN ('p', 'u') AND k.condeferrable AND k.conrelid = a.attrelid AND a.attnum = ANY (k.conkey)
    UNION ALL
    SELECT format('Foreign key "%s" belongs to a partitioned table.', k.conname), 'Leave out online => true.'
    FROM a JOIN pg_constraint k ON k.contype = 'f' AND k.confrelid = a.attrelid AND a.attnum = ANY (k.confkey) AND k.conparentid = 0
        JOIN pg_class c ON c.oid = k.conrelid AND c.relkind <> 'r'
    UNION ALL
    SELECT format('Table "%s" has as many columns as a table can have, dropped ones counted.', c.relname), 'Leave out online => true.'
    FROM a JOIN pg_class c ON c.oid = a.attrelid AND c.relnatts >= 1600
    WHERE dataprotect._online_target($1, $2) IS NULL
    UNION ALL
    SELECT format('The predicate of index "%s" names it.', x.name), 'Drop the index, or leave out online => true.'
    FROM a CROSS JOIN LATERAL dataprotect._column_indexes($1, $2) x JOIN pg_index i ON i.indexrelid = x.index_id
        JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = x.index_id AND d.refclassid = 'pg_class'::regclass
            AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
    WHERE x.words AND i.indpred IS NOT NULL
    UNION ALL
    SELECT format('Sequence "%s" belongs to it.', c.relname), 'Leave out online => true: the sequence would go with the plain column.'
    FROM a JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
        AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S'
    UNION ALL
    SELECT format('Materialized view "%s" reads it.', c.relname), 'Leave out online => true: it would be filled again while the table is locked.'
    FROM unnest(dataprotect._dependent_views($1, ARRAY[$2])) v JOIN pg_class c ON c.oid = v AND c.relkind = 'm'
    UNION ALL
    SELECT format('The table is published by "%s": subscribers do not have the column that is made meanwhile.', p.pubname),
           'Leave out online => true, or publish the table again afterwards.'
    FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
    WHERE c.oid IN (SELECT a.attrelid FROM a)
    UNION ALL
    SELECT format('Trigger "%s" would run after the one that seals.', t.tgname), 'Give the trigger another name.'
    FROM pg_trigger t
    WHERE t.tgrelid IN (SELECT a.attrelid FROM a) AND NOT t.tgisinternal AND t.tgtype & 3 = 3 AND t.tgname > dataprotect._online_trigger()
        AND t.tgname NOT LIKE '~~dataprotect\_online\_%'
    UNION ALL
    SELECT format('Column "%s" has a security label.', $2), 'Remove the label first.'
    FROM a JOIN pg_seclabel l ON l.classoid = 'pg_class'::regclass AND l.objoid = a.attrelid AND l.objsubid = a.attnum
$$;
COMMENT ON FUNCTION dataprotect._online_obstacles(regclass, name) IS
    'objects around a column that encrypt_columns(online => true) does not keep';

CREATE FUNCTION dataprotect._column_grants(rel regclass, source name, target name) RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('GRANT %s (%I) ON TABLE %s TO %s%s', x.privilege_type, $3, $1,
                  CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END,
                  CASE WHEN bool_or(x.is_grantable) THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_attribute a, aclexplode(a.attacl) x
    WHERE a.attrelid = $1 AND a.attname = $2
    GROUP BY x.grantee, x.privilege_type
$$;
COMMENT ON FUNCTION dataprotect._column_grants(regclass, name, name) IS
    'statements that give a column the privileges that another has';

CREATE FUNCTION dataprotect._online_undo(rel regclass, target name) RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE r(oid) AS (SELECT $1::oid UNION SELECT i.inhrelid FROM r JOIN pg_inherits i ON i.inhparent = r.oid)
    SELECT format('DROP TRIGGER %I ON %s', p.trigger_name, r.oid::regclass)
    FROM r CROSS JOIN LATERAL dataprotect._online_pairs(r.oid::regclass) p
        JOIN pg_trigger t ON t.tgrelid = r.oid AND t.tgname = p.trigger_name AND t.tgparentid = 0
    WHERE p.target = $2
    UNION ALL
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', r.oid::regclass, k.conname) FROM r JOIN pg_constraint k ON k.conrelid = r.oid
    WHERE k.coninhcount = 0 AND k.conname IN ($2 || '_same', $2 || '_set')
$$;
COMMENT ON FUNCTION dataprotect._online_undo(regclass, name) IS
    'statements that take the trigger and the constraints of a sealed column away';

-- Must the column hold a value, by itself or by its domains?
CREATE FUNCTION dataprotect._is_required(rel regclass, col name) RETURNS bool
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.attnotnull OR EXISTS (SELECT FROM dataprotect._column_kind($1, $2) k JOIN pg_type t ON t.oid = ANY (k.domains) AND t.typnotnull)
    FROM pg_attribute a WHERE a.attrelid = $1 AND a.attname = $2
$$;
COMMENT ON FUNCTION dataprotect._is_required(regclass, name) IS 'whether a column is NOT NULL, by itself or by its domain';

-- CHECKs and indexes, with what hangs on them; for a rehearsal without the indexes,
-- which are not there yet.
CREATE FUNCTION dataprotect._capture_constraints(rel regclass, cols name[], rehearse bool, OUT drops text[], OUT creates text[])
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    x       record;
BEGIN
    drops := '{}';
    creates := '{}';
    PERFORM set_config('search_path', dataprotect._dependents_path(), true);
    -- partitions' indexes first: their parents then adopt them
    FOR x IN SELECT i.*, c.relname, n.nspname, m.member::regclass AS of_table, k.conname, k.contype, dataprotect._key_definition(k.oid) AS definition,
                    g.indisreplident, d.description AS index_comment, e.description AS constraint_comment
             FROM (SELECT DISTINCT s.member, s.depth FROM dataprotect._columns_members(rel, cols) s) m
                 CROSS JOIN LATERAL dataprotect._online_indexes(m.member) i
                 JOIN pg_class c ON c.oid = i.index_id JOIN pg_namespace n ON n.oid = c.relnamespace
                 JOIN pg_index g ON g.indexrelid = i.index_id
                 LEFT JOIN pg_constraint k ON k.conindid = i.index_id AND k.conrelid = m.member AND k.contype IN ('p', 'u')
                 LEFT JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = i.index_id AND d.objsubid = 0
                 LEFT JOIN pg_description e ON e.classoid = 'pg_constraint'::regclass AND e.objoid = k.oid
             ORDER BY m.depth DESC, c.relname LOOP
        IF NOT x.attached THEN
            drops := drops || CASE WHEN x.conname IS NULL THEN format('DROP INDEX %I.%I', x.nspname, x.relname)
                                   ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', x.of_table, x.conname) END;
        END IF;
        CONTINUE WHEN rehearse OR x.statement IS NULL;
        creates := creates
            || CASE WHEN NOT x.of_parent THEN format('ALTER INDEX %I.%I RENAME TO %I', x.nspname, x.temporary, x.relname)
                    WHEN x.conname IS NULL THEN x.statement
                    ELSE format('ALTER TABLE %s ADD CONSTRAINT %I %s', x.of_table, x.conname, x.definition) END
            || CASE WHEN x.conname IS NULL OR x.of_parent THEN '{}'
                    ELSE ARRAY[format('SELECT dataprotect._online_adopt(%L, %L)', format('%I.%I', x.nspname, x.relname), x.contype = 'p')] END
            || CASE WHEN x.index_comment IS NULL THEN '{}'
                    ELSE ARRAY[format('COMMENT ON INDEX %I.%I IS %L', x.nspname, x.relname, x.index_comment)] END
            || CASE WHEN x.constraint_comment IS NULL THEN '{}'
                    ELSE ARRAY[format('COMMENT ON CONSTRAINT %I ON %s IS %L', x.conname, x.of_table, x.constraint_comment)] END
            || CASE WHEN NOT x.indisreplident THEN '{}'
                    ELSE ARRAY[format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', x.of_table, x.relname)] END;
    END LOOP;
    FOR x IN SELECT k.conname, k.conrelid::regclass AS of_table, pg_get_constraintdef(k.oid) AS definition, d.description
             FROM pg_constraint k
                 LEFT JOIN pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid
             WHERE k.contype = 'c' AND k.conname NOT LIKE 'dataprotect\_online\_%' AND k.coninhcount = 0
                 AND EXISTS (SELECT FROM dataprotect._columns_members(rel, cols) m WHERE m.member = k.conrelid AND m.attnum = ANY (k.conkey))
             ORDER BY k.oid LOOP
        drops := drops || format('ALTER TABLE %s DROP CONSTRAINT %I', x.of_table, x.conname);
        creates := creates || format('ALTER TABLE %s ADD CONSTRAINT %I %s NOT VALID', x.of_table, x.conname, x.definition)
            || CASE WHEN x.description IS NULL THEN '{}'
                    ELSE ARRAY[format('COMMENT ON CONSTRAINT %I ON %s IS %L', x.conname, x.of_table, x.description)] END;
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._capture_constraints(regclass, name[], bool) IS
    'statements that drop the CHECKs and indexes over plain columns and put those over the sealed ones in their place';

-- What a column has by itself.
CREATE FUNCTION dataprotect._capture_properties(rel regclass, col name, is_top bool) RETURNS SETOF text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT dataprotect._column_grants($1, $2, $2)
    UNION ALL
    SELECT format('COMMENT ON COLUMN %s.%I IS %L', $1, $2, d)
    FROM pg_attribute a, col_description($1, a.attnum) d WHERE a.attrelid = $1 AND a.attname = $2 AND d IS NOT NULL
    UNION ALL
    SELECT format('ALTER TABLE %s ALTER COLUMN %I SET (%s)', $1, $2, o)
    FROM pg_attribute a, unnest(a.attoptions) o WHERE a.attrelid = $1 AND a.attname = $2 AND o LIKE 'n\_distinct%'
    UNION ALL
    SELECT format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', $1, $2, a.attstattarget)
    FROM pg_attribute a WHERE a.attrelid = $1 AND a.attname = $2 AND a.attstattarget >= 0
    UNION ALL
    SELECT r || CASE WHEN r LIKE 'ALTER TABLE % ADD %' THEN ' NOT VALID' ELSE '' END
    FROM dataprotect._domain_rules($1, $2) r
    WHERE $3 AND r NOT LIKE '% SET NOT NULL'
$$;
COMMENT ON FUNCTION dataprotect._capture_properties(regclass, name, bool) IS
    'statements that give the sealed column what the plain one has by itself or by its domain';

-- NOT NULL is a constraint with a name from PostgreSQL 18 on.
CREATE FUNCTION dataprotect._name_not_null(rel regclass, col name, name name) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    present     name;
BEGIN
    SELECT k.conname INTO present FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attname = col AND a.attnum = k.conkey[1]
    WHERE k.conrelid = rel AND k.contype = 'n';
    IF present <> $3 THEN
        EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', rel, present, $3);
    END IF;
END
$$;
COMMENT ON FUNCTION dataprotect._name_not_null(regclass, name, name) IS 'give the NOT NULL of a column a name, where it has one';

-- The sealed columns of a locked table in the place of the plain ones.  A rehearsal
-- is rolled back: it tells what would fail before anything has begun.
CREATE FUNCTION dataprotect._online_exchange(rel regclass, cols name[], rehearse bool) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
    SET check_function_bodies = off
AS $$
DECLARE
    functions   record;
    views       record;
    around      record;
    constraints record;
    required    dataprotect._online_member[];
    properties  text[];
    statement   text;
    k           record;
BEGIN
    SELECT * INTO functions FROM dataprotect._capture_functions(rel, cols);
    SELECT * INTO views FROM dataprotect._capture_views(rel, cols);
    SELECT * INTO around FROM dataprotect._capture_table(rel, cols, ARRAY(
        SELECT format_type(t.base, -1) || CASE WHEN t.is_array THEN '[]' ELSE '' END
        FROM unnest(cols) WITH ORDINALITY AS u(col, n) CROSS JOIN LATERAL dataprotect._column_kind(rel, u.col) t ORDER BY u.n));
    SELECT * INTO constraints FROM dataprotect._capture_constraints(rel, cols, rehearse);
    required := ARRAY(SELECT ROW(m.member, u.col)::dataprotect._online_member
                      FROM unnest(cols) u(col) CROSS JOIN LATERAL dataprotect._column_members(rel, u.col) m
                      WHERE dataprotect._is_required(m.member, u.col) AND NOT rehearse ORDER BY m.depth, m.member);
    properties := ARRAY(SELECT p FROM unnest(cols) u(col) CROSS JOIN LATERAL dataprotect._column_members(rel, u.col) m
                            CROSS JOIN LATERAL dataprotect._capture_properties(m.member, u.col, m.depth = 0) p)
        || ARRAY(SELECT format('SELECT dataprotect._name_not_null(%L, %L, %L)', r.tied, r.col, x.conname)
                 FROM unnest(required) r JOIN pg_attribute a ON a.attrelid = r.tied AND a.attname = r.col
                     JOIN pg_constraint x ON x.conrelid = r.tied AND x.contype = 'n' AND x.conkey[1] = a.attnum AND x.coninhcount = 0);
    FOREACH statement IN ARRAY functions.drops || views.drops || around.drops || constraints.drops
        || ARRAY(SELECT format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', r.tied, dataprotect._online_target(rel, r.col)) FROM unnest(required) r)
        || ARRAY(SELECT s FROM unnest(cols) u(col) CROSS JOIN LATERAL dataprotect._online_undo(rel, dataprotect._online_target(rel, u.col)) s)
        || ARRAY(SELECT s FROM unnest(cols) u(col) CROSS JOIN LATERAL (
                 SELECT unnest(format('ALTER TABLE %s DROP COLUMN %I', rel, u.col)
                     || ARRAY(SELECT format('ALTER TABLE %s DROP COLUMN %I', m.member::regclass, u.col)
                              FROM dataprotect._column_members(rel, u.col) m JOIN pg_attribute a ON a.attrelid = m.member AND a.attnum = m.attnum
                              WHERE m.depth > 0 AND a.attislocal ORDER BY m.depth)
                     || format('ALTER TABLE %s RENAME COLUMN %I TO %I', rel, dataprotect._online_target(rel, u.col), u.col))) x(s)) LOOP
        EXECUTE statement;
    END LOOP;
    PERFORM set_config('search_path', dataprotect._dependents_path(), true);
    FOREACH statement IN ARRAY constraints.creates || properties LOOP
        EXECUTE statement;
    END LOOP;
    PERFORM dataprotect._make_again(around.creates, around.otherwise);
    FOREACH statement IN ARRAY views.creates || functions.creates LOOP
        EXECUTE statement;
    END LOOP;
    FOR k IN SELECT x.conname, x.conrelid FROM pg_constraint x WHERE x.contype = 'c' AND NOT x.convalidated
                 AND EXISTS (SELECT FROM dataprotect._columns_members(rel, cols) m WHERE m.member = x.conrelid AND m.attnum = ANY (x.conkey)) LOOP
        PERFORM dataprotect._online_proven(k.conrelid, k.conname);
    END LOOP;
    FOREACH statement IN ARRAY around.changes LOOP
        CONTINUE WHEN rehearse;
        RAISE NOTICE '%', statement;
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._online_exchange(regclass, name[], bool) IS
    'put the sealed columns of a locked table in the place of the plain ones, with all that is around them';
