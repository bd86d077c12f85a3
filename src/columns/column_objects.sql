-- Statements that take the objects around a column away before its type changes
-- and make them again afterwards: captured while the table is locked, from
-- catalogs only, run by encrypt_column.sql.

-- Views and rules.  drops are in the order to run them; so are creates.
CREATE FUNCTION dataprotect._capture_views(rel regclass, cols name[], OUT drops text[], OUT creates text[])
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    views   oid[] := dataprotect._dependent_views(rel, cols);
    v       record;
    r       record;
BEGIN
    drops := '{}';
    creates := '{}';
    PERFORM set_config('search_path', dataprotect._dependents_path(), true);
    FOR v IN
        SELECT c.oid, c.relkind, c.relispopulated, c.relowner, format('%I.%I', n.nspname, c.relname) AS name,
               CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind,
               CASE WHEN c.reloptions IS NULL THEN ''
                    ELSE format(' WITH (%s)', array_to_string(c.reloptions, ', ')) END
               || coalesce(' TABLESPACE ' || quote_ident((SELECT s.spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace)), '') AS options,
               coalesce(' USING ' || quote_ident((SELECT m.amname FROM pg_am m WHERE m.oid = c.relam)), '') AS method
        FROM unnest(views) WITH ORDINALITY AS u(oid, position)
            JOIN pg_class c ON c.oid = u.oid
            JOIN pg_namespace n ON n.oid = c.relnamespace
        ORDER BY u.position
    LOOP
        drops := format('DROP %s %s', v.kind, v.name) || drops;
        -- its query runs as its owner, when that is its owner's
        creates := creates
            || format('CREATE %s %s%s%s AS %s%s', v.kind, v.name, v.method, v.options,
                      CASE v.relkind WHEN 'm' THEN rtrim(pg_get_viewdef(v.oid), ';') ELSE pg_get_viewdef(v.oid) END,
                      CASE v.relkind WHEN 'm' THEN ' WITH NO DATA' END)
            || ARRAY(SELECT format('ALTER VIEW %s ALTER COLUMN %I SET DEFAULT %s', v.name, a.attname,
                                   pg_get_expr(f.adbin, f.adrelid))
                     FROM pg_attrdef f JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
                     WHERE f.adrelid = v.oid ORDER BY f.adnum)
            || ARRAY(SELECT format('COMMENT ON %s %s IS %L', v.kind, v.name, x.description)
                     FROM pg_description x
                     WHERE x.classoid = 'pg_class'::regclass AND x.objoid = v.oid AND x.objsubid = 0)
            || ARRAY(SELECT format('COMMENT ON COLUMN %s.%I IS %L', v.name, a.attname, x.description)
                     FROM pg_description x JOIN pg_attribute a ON a.attrelid = v.oid AND a.attnum = x.objsubid
                     WHERE x.classoid = 'pg_class'::regclass AND x.objoid = v.oid ORDER BY a.attnum)
            || ARRAY(SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t
                     WHERE t.tgrelid = v.oid AND NOT t.tgisinternal ORDER BY t.tgname)
            || ARRAY(SELECT format('COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, v.name, x.description)
                     FROM pg_trigger t JOIN pg_description x
                        ON x.classoid = 'pg_trigger'::regclass AND x.objoid = t.oid
                     WHERE t.tgrelid = v.oid AND NOT t.tgisinternal)
            || CASE WHEN pg_get_userbyid(v.relowner) = current_user THEN '{}'
                    ELSE ARRAY[format('ALTER %s %s OWNER TO %I', v.kind, v.name, pg_get_userbyid(v.relowner))] END
            || CASE WHEN v.relkind = 'm' THEN ARRAY(SELECT dataprotect._stored_view_statements(v.oid)) ELSE '{}' END
            || ARRAY(SELECT g FROM dataprotect._grant_statements(v.oid) g);
    END LOOP;
    FOR r IN
        SELECT w.oid, w.rulename, w.ev_class, w.ev_enabled, w.ev_class = ANY (views) AS of_view,
               format('%I.%I', n.nspname, c.relname) AS relation, x.description
        FROM dataprotect._dependent_rules(rel, cols, views) AS d(oid)
            JOIN pg_rewrite w ON w.oid = d.oid
            JOIN pg_class c ON c.oid = w.ev_class
            JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_description x ON x.classoid = 'pg_rewrite'::regclass AND x.objoid = w.oid
        ORDER BY w.oid
    LOOP
        IF NOT r.of_view THEN
            drops := format('DROP RULE %I ON %s', r.rulename, r.relation) || drops;
        END IF;
        creates := creates || pg_get_ruledef(r.oid);
        IF r.ev_enabled <> 'O' THEN
            creates := creates || format('ALTER TABLE %s %s RULE %I', r.relation,
                CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END,
                r.rulename);
        END IF;
        IF r.description IS NOT NULL THEN
            creates := creates || format('COMMENT ON RULE %I ON %s IS %L', r.rulename, r.relation, r.description);
        END IF;
    END LOOP;
END
$$;
COMMENT ON FUNCTION dataprotect._capture_views(regclass, name[]) IS
    'statements that drop and make again the views and rules over a column';

-- Triggers that name the column (WHEN, UPDATE OF), its defaults and storage, and what
-- around_column.sql knows.  A default stays the expression of a plain type that it is: as a literal of the encrypted type it
-- would be one envelope, repeated in every row.  otherwise has, at the same place as creates, one
-- with a cast to the base type, where its type has none to the encrypted one.
CREATE FUNCTION dataprotect._capture_table(rel regclass, cols name[], bases text[], OUT drops text[], OUT creates text[],
                                           OUT otherwise text[], OUT changes text[])
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    t       record;
BEGIN
    drops := '{}';
    creates := '{}';
    otherwise := '{}';
    PERFORM set_config('search_path', dataprotect._dependents_path(), true);
    FOR t IN
        SELECT u.col, u.base, format('%I.%I', n.nspname, c.relname) AS relation, pg_get_expr(f.adbin, f.adrelid) AS value
        FROM unnest(cols, bases) AS u(col, base)
            CROSS JOIN LATERAL dataprotect._column_members(rel, u.col) m
            JOIN pg_attrdef f ON f.adrelid = m.member AND f.adnum = m.attnum
            JOIN pg_attribute a ON a.attrelid = m.member AND a.attnum = m.attnum AND a.attgenerated = ''
            JOIN pg_class c ON c.oid = m.member
            JOIN pg_namespace n ON n.oid = c.relnamespace
        ORDER BY m.depth, m.member, m.attnum
    LOOP
        drops := drops || format('ALTER TABLE ONLY %s ALTER COLUMN %I DROP DEFAULT', t.relation, t.col);
        creates := creates || format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT %s', t.relation, t.col, t.value);
        otherwise := otherwise || format('ALTER TABLE ONLY %s ALTER COLUMN %I SET DEFAULT CAST((%s) AS %s)',
                                         t.relation, t.col, t.value, t.base);
    END LOOP;
    FOR t IN
        SELECT g.oid, g.tgname, g.tgenabled, x.description, format('%I.%I', n.nspname, c.relname) AS relation
        FROM pg_trigger g
            JOIN pg_class c ON c.oid = g.tgrelid
            JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_description x ON x.classoid = 'pg_trigger'::regclass AND x.objoid = g.oid
        WHERE NOT g.tgisinternal AND g.tgparentid = 0 AND EXISTS (
            SELECT FROM dataprotect._columns_members(rel, cols) m
                JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = m.member
                    AND d.refobjsubid = m.attnum
            WHERE d.classid = 'pg_trigger'::regclass AND d.objid = g.oid)
        ORDER BY g.oid
    LOOP
        drops := drops || format('DROP TRIGGER %I ON %s', t.tgname, t.relation);
        creates := creates || pg_get_triggerdef(t.oid);
        IF t.tgenabled <> 'O' THEN
            creates := creates || format('ALTER TABLE %s %s TRIGGER %I', t.relation,
                CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END,
                t.tgname);
        END IF;
        IF t.description IS NOT NULL THEN
            creates := creates || format('COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, t.relation, t.description);
        END IF;
        creates := creates || ARRAY(SELECT x FROM dataprotect._extension_statements(
            'pg_trigger'::regclass, t.oid, format('TRIGGER %I ON %s', t.tgname, t.relation)) x);
    END LOOP;
    creates := creates || ARRAY(SELECT s FROM dataprotect._storage_statements(rel, cols) s);
    SELECT * INTO t FROM dataprotect._capture_around(rel, cols);
    drops := drops || t.drops;
    creates := creates || t.creates;
    changes := t.changes;
    SELECT * INTO t FROM dataprotect._capture_identity(rel, cols);
    drops := drops || t.drops;
    creates := creates || t.creates;
    changes := changes || t.changes;
    otherwise := otherwise || array_fill(NULL::text, ARRAY[cardinality(creates) - cardinality(otherwise)]);
END
$$;
COMMENT ON FUNCTION dataprotect._capture_table(regclass, name[], text[]) IS
    'statements that drop and make again the defaults, storage, triggers, policies and statistics objects that name some columns';

-- Indexes of which the column is a key, one row an index and member table.
CREATE FUNCTION dataprotect._column_indexes(rel regclass, col name)
    RETURNS TABLE (index_id oid, name text, depth int, method text, is_unique bool, is_primary bool, simple bool,
                   plain_class bool, constraint_name name, attached bool, folded bool, words bool)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT i.indexrelid, c.relname::text, m.depth, am.amname::text, i.indisunique, i.indisprimary,
           i.indnatts = 1, o.opcdefault, k.conname, c.relispartition, i.indkey[key.position] = 0,
           am.amname IN ('gin', 'gist') AND i.indnatts = 1
               AND (o.opcname IN ('gin_trgm_ops', 'gist_trgm_ops', 'encrypted_text_ngram_ops', 'encrypted_text_lexeme_ops', 'encrypted_tsvector_lexeme_ops')
                    OR o.opcname IN ('jsonb_ops', 'jsonb_path_ops', 'encrypted_jsonb_entry_ops') AND i.indkey[0] = m.attnum
                    OR o.opcname = 'tsvector_ops' AND (i.indkey[0] = m.attnum OR (dataprotect._lexeme_index(i.indexrelid)).attnum = m.attnum))
    FROM dataprotect._column_members($1, $2) m
        JOIN pg_index i ON i.indrelid = m.member
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am am ON am.oid = c.relam
        CROSS JOIN LATERAL (SELECT min(p) AS position
                            FROM (SELECT p FROM generate_series(0, i.indnkeyatts - 1) p WHERE i.indkey[p] = m.attnum
                                  UNION ALL
                                  SELECT f.place - 1 FROM dataprotect._index_folds(i.indexrelid) f
                                  WHERE f.attnum = m.attnum
                                  UNION ALL
                                  SELECT 0 FROM dataprotect._lexeme_index(i.indexrelid) l WHERE l.attnum = m.attnum) keys(p)) AS key
        JOIN pg_opclass o ON o.oid = i.indclass[key.position]
        LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x');
END
$$;
COMMENT ON FUNCTION dataprotect._column_indexes(regclass, name) IS
    'indexes of a table and its partitions or children that have a column among their keys';

-- Columns that foreign keys compare with a column, directly or through others:
-- all are protected in one step, under one key.
CREATE FUNCTION dataprotect._linked_columns(rel regclass, col name) RETURNS TABLE (linked regclass, linked_col name)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    -- by what constraints depend on: pg_constraint has no index by the table that is referenced
    WITH RECURSIVE l(rel, num) AS (
        SELECT a.attrelid, a.attnum FROM pg_attribute a
        WHERE a.attrelid = $1 AND a.attname = $2 AND NOT a.attisdropped
        UNION
        SELECT o.rel, o.num
        FROM l JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = l.rel AND d.refobjsubid = l.num
                AND d.classid = 'pg_constraint'::regclass
            JOIN pg_constraint k ON k.oid = d.objid AND k.contype = 'f' AND k.conparentid = 0
            CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS c(a, b)
            CROSS JOIN LATERAL (
                SELECT k.confrelid, c.b WHERE k.conrelid = l.rel AND c.a = l.num
                UNION ALL
                SELECT k.conrelid, c.a WHERE k.confrelid = l.rel AND c.b = l.num) o(rel, num)
    )
    SELECT l.rel::regclass, a.attname
    FROM l JOIN pg_attribute a ON a.attrelid = l.rel AND a.attnum = l.num
    ORDER BY l.rel, l.num;
END
$$;
COMMENT ON FUNCTION dataprotect._linked_columns(regclass, name) IS
    'a column and all that foreign keys tie to it';

CREATE FUNCTION dataprotect._capture_foreign_keys(rels regclass[], cols name[], OUT drops text[], OUT creates text[])
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM set_config('search_path', dataprotect._dependents_path(), true);
    SELECT coalesce(array_agg(format('ALTER TABLE %s DROP CONSTRAINT %I', k.name, k.conname) ORDER BY k.oid), '{}'),
           coalesce(array_agg(format('ALTER TABLE %s ADD CONSTRAINT %I %s', k.name, k.conname, k.definition) ORDER BY k.oid), '{}')
               || coalesce(array_agg(format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, k.name, k.description)
                                     ORDER BY k.oid) FILTER (WHERE k.description IS NOT NULL), '{}')
    INTO drops, creates
    FROM (SELECT DISTINCT k.oid, k.conname, format('%I.%I', n.nspname, c.relname) AS name,
                 pg_get_constraintdef(k.oid) AS definition, d.description
          FROM unnest(rels, cols) AS l(linked, linked_col)
              JOIN pg_attribute a ON a.attrelid = l.linked AND a.attname = l.linked_col
              JOIN pg_constraint k ON k.contype = 'f' AND k.conparentid = 0
                  AND (k.conrelid = l.linked AND a.attnum = ANY (k.conkey)
                       OR k.confrelid = l.linked AND a.attnum = ANY (k.confkey))
              JOIN pg_class c ON c.oid = k.conrelid
              JOIN pg_namespace n ON n.oid = c.relnamespace
              LEFT JOIN pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid) k;
END
$$;
COMMENT ON FUNCTION dataprotect._capture_foreign_keys(regclass[], name[]) IS
    'statements that drop and make again the foreign keys that compare some columns';

CREATE FUNCTION dataprotect._index_obstacles(rel regclass, col name, searchable bool, ordered bool, wordsearch bool)
    RETURNS TABLE (problem text, advice text)
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH x AS (SELECT * FROM dataprotect._column_indexes($1, $2))
    SELECT format('Index "%s" is over an expression that uses it.', c.relname) COLLATE "C",
           'Drop the index; one over the column itself, or over lower(), upper(), initcap(), trim(), md5() or a part of it, as split_part() or left() give it, serves equality.'
    FROM dataprotect._column_members($1, $2) m JOIN pg_index i ON i.indrelid = m.member
        JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indexprs IS NOT NULL AND dataprotect._index_computes(i.indexrelid, m.attnum)
        AND NOT EXISTS (SELECT FROM x WHERE x.index_id = i.indexrelid AND x.words)
    UNION ALL
    SELECT format('Index "%s" is unique or over several columns, one of them a part of it.', c.relname),
           'Drop the index, or make it one over the part alone that is not unique: a conflict would tell a writer the value part by part.'
    FROM dataprotect._column_members($1, $2) m JOIN pg_index i ON i.indrelid = m.member AND (i.indisunique OR i.indnatts > 1)
        JOIN pg_class c ON c.oid = i.indexrelid
    WHERE EXISTS (SELECT FROM dataprotect._index_folds(i.indexrelid) f WHERE f.attnum = m.attnum AND NOT f.whole)
    UNION ALL
    -- column <> '' is kept where lengths are seen; what else an index asks that is not unique, it goes on without
    SELECT format('The predicate of index "%s" uses its value.', c.relname),
           CASE WHEN i.indisunique THEN 'Drop the index: which rows it holds would tell the value.' ELSE 'Drop the index.' END
    FROM dataprotect._column_members($1, $2) m JOIN pg_index i ON i.indrelid = m.member
        JOIN pg_class c ON c.oid = i.indexrelid
        CROSS JOIN dataprotect._column_kind($1, $2) k
    WHERE i.indpred IS NOT NULL AND dataprotect._computes_from(i.indpred, m.attnum)
        AND CASE WHEN dataprotect._predicate_computes(i.indexrelid, m.attnum) THEN i.indisunique OR i.indisexclusion
                 ELSE k.base <> 'text'::regtype OR k.is_array OR $4 END
    UNION ALL
    SELECT format('Index "%s" uses access method %s.', x.name, x.method), 'Drop the index.'
    FROM x, dataprotect._column_kind($1, $2) c WHERE x.method NOT IN ('btree', 'hash') AND NOT c.is_array AND NOT x.words
    UNION ALL
    SELECT format('Index "%s" is for search within the text.', x.name),
           'With wordsearch => true it becomes an index over keyed tokens, from which whoever reads the disk can guess much of the text; else drop it.'
    FROM x WHERE x.words AND NOT $5
    UNION ALL
    SELECT format('Index "%s" has an operator class that encrypted types do not have.', x.name), 'Drop the index.'
    FROM x WHERE NOT x.plain_class AND NOT x.words AND ($4 OR x.method = 'hash')
    UNION ALL
    SELECT format('Index "%s" is over a column of so few possible values that equality tells them.', x.name),
           'Drop the index.'
    FROM x, dataprotect._column_kind($1, $2) c JOIN pg_type t ON t.oid = c.base
    WHERE (t.oid = 'bool'::regtype OR t.typtype = 'e') AND (x.is_unique OR x.simple OR x.method <> 'btree')
    UNION ALL
    SELECT format('Index "%s" is unique, and values of type %s have no tokens.', x.name, format_type(c.base, NULL)),
           'Drop the index; one over this column alone that is not unique serves equality.'
    FROM x, dataprotect._column_kind($1, $2) c
    WHERE NOT x.folded AND NOT $4 AND NOT c.is_array AND x.method = 'btree' AND x.is_unique
        AND NOT dataprotect._will_have_tokens(c.base)
    UNION ALL
    SELECT format('Table "%s" is clustered on index "%s".', i.indrelid::regclass, x.name),
           format('ALTER TABLE %s SET WITHOUT CLUSTER.', i.indrelid::regclass)
    FROM x JOIN pg_index i ON i.indexrelid = x.index_id AND i.indisclustered
    UNION ALL
    SELECT format('Index "%s" is not valid.', x.name), 'REINDEX or drop it.'
    FROM x JOIN pg_index i ON i.indexrelid = x.index_id AND NOT i.indisvalid
    ORDER BY 1, 2;
END
$$;
COMMENT ON FUNCTION dataprotect._index_obstacles(regclass, name, bool, bool, bool) IS
    'indexes over a column that have no counterpart on a protected one';

-- Until it gets the name of the one whose place it takes.
CREATE FUNCTION dataprotect._online_index_name(index_id oid) RETURNS name
    LANGUAGE sql IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $$ SELECT ('dataprotect_online_' || $1)::name $$;
COMMENT ON FUNCTION dataprotect._online_index_name(oid) IS 'name of the index that will replace one over a column that is being protected online';

-- CREATE INDEX for an existing index with its keys over some columns changed: to
-- another method, or to the operator classes named for them (NULL: the type's default; empty:
-- it goes on without the column).  NULL where no key is left.
-- targets: columns that stand in for them; the index then has a name of its own and is
-- made beside writers (online.sql).
CREATE FUNCTION dataprotect._index_statement(index_id oid, method name, cols name[], token_classes text[],
                                             fold_classes text[], targets name[] = NULL) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN keys.list IS NOT NULL THEN format('CREATE %sINDEX %s%I ON %I.%I USING %s (%s)%s%s%s%s%s',
        CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, CASE WHEN $6 IS NULL THEN '' ELSE 'CONCURRENTLY ' END,
        CASE WHEN $6 IS NULL THEN c.relname ELSE dataprotect._online_index_name(i.indexrelid) END, n.nspname, t.relname,
        coalesce($2, am.amname),
        keys.list,
        coalesce(' INCLUDE (' || keys.included || ')', ''),
        CASE WHEN i.indnullsnotdistinct THEN ' NULLS NOT DISTINCT' ELSE '' END,
        coalesce(' WITH (' || (SELECT string_agg(o, ', ') FROM unnest(c.reloptions) o
                               WHERE $2 IS NULL OR o LIKE 'fillfactor=%') || ')', ''),
        coalesce(' TABLESPACE ' || quote_ident(s.spcname), ''),
        coalesce(' WHERE ' || dataprotect._index_predicate_of(i.indexrelid, $3, coalesce($6, $3)), '')) END
    FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_am am ON am.oid = c.relam
        JOIN pg_class t ON t.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = t.relnamespace
        LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
        CROSS JOIN LATERAL (
            SELECT string_agg(coalesce(folded.expression, quote_ident(changed.target), pg_get_indexdef(i.indexrelid, p, false))
                || CASE WHEN $2 IS NOT NULL THEN ''
                        WHEN folded.expression IS NOT NULL THEN coalesce(' ' || folded.class, '')
                        WHEN changed.col IS NOT NULL THEN coalesce(' ' || changed.class, '')
                        ELSE coalesce((SELECT format(' COLLATE %I.%I', cn.nspname, l.collname) FROM pg_collation l
                                       JOIN pg_namespace cn ON cn.oid = l.collnamespace
                                       WHERE l.oid = i.indcollation[p - 1]), '')
                            || coalesce((SELECT format(' %I.%I', kn.nspname, k.opcname)
                                             || coalesce((SELECT ' (' || string_agg(format('%I = %L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', ') || ')'
                                                          FROM unnest(ia.attoptions) o), '')
                                         FROM pg_opclass k JOIN pg_namespace kn ON kn.oid = k.opcnamespace
                                         WHERE k.oid = i.indclass[p - 1] AND (NOT k.opcdefault OR ia.attoptions IS NOT NULL)), '') END
                || CASE WHEN $2 IS NOT NULL OR am.amname <> 'btree' THEN ''
                        ELSE CASE WHEN i.indoption[p - 1] & 1 = 1 THEN ' DESC' ELSE ' ASC' END
                            || CASE WHEN i.indoption[p - 1] & 2 = 2 THEN ' NULLS FIRST' ELSE ' NULLS LAST' END END,
                ', ' ORDER BY p) FILTER (WHERE p <= i.indnkeyatts AND ($2 IS NOT NULL OR changed.class IS DISTINCT FROM '')) AS list,
                string_agg(coalesce(quote_ident(changed.target), pg_get_indexdef(i.indexrelid, p, false)), ', ' ORDER BY p)
                    FILTER (WHERE p > i.indnkeyatts) AS included
            FROM generate_series(1, i.indnatts) p
                LEFT JOIN pg_attribute ia ON ia.attrelid = i.indexrelid AND ia.attnum = p
                LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[p - 1]
                    AND i.indkey[p - 1] > 0
                LEFT JOIN unnest($3, $4, $6) AS changed(col, class, target) ON changed.col = a.attname
                LEFT JOIN LATERAL (
                    -- a fold of the column: blind() of the protected one, and back
                    SELECT c.class,
                           CASE WHEN f.blind THEN '(' || dataprotect._unfold(f.folds, b.attname) || ')'
                                ELSE format('dataprotect.blind(%I, %L)', coalesce(c.target, b.attname), f.folds) END AS expression
                    FROM dataprotect._index_folds(i.indexrelid) f
                        JOIN pg_attribute b ON b.attrelid = i.indrelid AND b.attnum = f.attnum
                        JOIN unnest($3, $5, $6) AS c(col, class, target) ON c.col = b.attname
                    WHERE f.place = p) folded ON true) keys
    WHERE i.indexrelid = $1
$$;
COMMENT ON FUNCTION dataprotect._index_statement(oid, name, name[], text[], text[], name[]) IS
    'statement that makes an index again with another method, or other operator classes for some columns';

-- CREATE INDEX for one for search within a text, protected or plain again; NULL where
-- the class for that is not there.
CREATE FUNCTION dataprotect._word_index_statement(index_id oid, col name, protect bool, cols name[]) RETURNS text
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('CREATE INDEX %I ON %I.%I USING gin (%s)%s%s%s', c.relname, n.nspname, t.relname, k.key,
        coalesce(' WITH (' || (SELECT string_agg(o, ', ') FROM unnest(c.reloptions) o
                               WHERE o LIKE 'fastupdate=%' OR o LIKE 'gin\_pending\_list\_limit=%') || ')', ''),
        coalesce(' TABLESPACE ' || quote_ident(s.spcname), ''),
        coalesce(' WHERE ' || dataprotect._index_predicate(i.indexrelid, $4), ''))
    FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid
        JOIN pg_class t ON t.oid = i.indrelid
        JOIN pg_namespace n ON n.oid = t.relnamespace
        LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
        JOIN LATERAL (
            SELECT CASE WHEN NOT $3 THEN format('to_tsvector(%L::regconfig, %s)', x.config,
                                                CASE WHEN x.null_is_empty THEN format('coalesce(%I, '''')', $2) ELSE quote_ident($2) END)
                        ELSE format('%I pg_catalog.encrypted_text_lexeme_ops (salt = %s, config = %L%s)', $2, (random() * 2147483646)::int, x.config,
                                    CASE WHEN x.null_is_empty THEN ', null_is_empty = true' END) END
            FROM dataprotect._lexeme_index($1) x WHERE x.attnum IS NOT NULL
            UNION ALL
            -- a column of words itself
            SELECT CASE WHEN $3 THEN format('%I %s_lexeme_ops (salt = %s)', $2, dataprotect._encrypted_type('tsvector'), (random() * 2147483646)::int)
                        ELSE format('%I pg_catalog.tsvector_ops', $2) END
            WHERE EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                              AND 'tsvector'::regtype IN (a.atttypid, dataprotect._base_type(a.atttypid)))
            UNION ALL
            -- a document
            SELECT CASE WHEN $3 THEN format('%I pg_catalog.encrypted_jsonb_entry_ops (salt = %s)', $2, (random() * 2147483646)::int)
                        ELSE format('%I pg_catalog.jsonb_ops', $2) END
            WHERE EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                              AND 'jsonb'::regtype IN (a.atttypid, dataprotect._base_type(a.atttypid)))
            UNION ALL
            SELECT format('%I pg_catalog.encrypted_text_ngram_ops (salt = %s)', $2, (random() * 2147483646)::int) WHERE $3
            UNION ALL
            SELECT format('%I %I.%I', $2, y.nspname, o.opcname) FROM pg_opclass o JOIN pg_namespace y ON y.oid = o.opcnamespace
            WHERE o.opcname = 'gin_trgm_ops' AND NOT $3) k(key) ON true
    WHERE i.indexrelid = $1
    LIMIT 1
$$;
COMMENT ON FUNCTION dataprotect._word_index_statement(oid, name, bool, name[]) IS
    'statement that makes an index for search within a text again';

CREATE FUNCTION dataprotect._word_index_kind(index_id oid) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN (dataprotect._lexeme_index($1)).attnum IS NOT NULL
                    OR EXISTS (SELECT FROM pg_index i JOIN pg_opclass o ON o.oid = i.indclass[0] AND o.opcname = 'tsvector_ops' WHERE i.indexrelid = $1)
                THEN 'words'
                WHEN EXISTS (SELECT FROM pg_index i JOIN pg_opclass o ON o.oid = i.indclass[0] AND o.opcname IN ('jsonb_ops', 'jsonb_path_ops') WHERE i.indexrelid = $1)
                THEN 'names and values' ELSE 'three characters' END
$$;
COMMENT ON FUNCTION dataprotect._word_index_kind(oid) IS 'what an index for search within a text knows of it';

-- pg_get_constraintdef() leaves out where its index is and how it is stored.
CREATE FUNCTION dataprotect._key_definition(id oid) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT left(d.definition, length(d.definition) - length(d.timing))
        || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '')
        || coalesce(' USING INDEX TABLESPACE ' || quote_ident(s.spcname), '') || d.timing
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conindid
        LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
        CROSS JOIN LATERAL (SELECT pg_get_constraintdef(k.oid),
                                   CASE WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END
                                   || CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END) d(definition, timing)
    WHERE k.oid = $1
$$;
COMMENT ON FUNCTION dataprotect._key_definition(oid) IS
    'definition of a UNIQUE or PRIMARY KEY with the options and the tablespace of its index';

CREATE FUNCTION dataprotect._can_be_sorted(rel regclass, col name) RETURNS bool
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (SELECT FROM dataprotect._column_kind($1, $2) k
                       JOIN pg_opclass o ON o.opcdefault AND o.opcintype = dataprotect._base_type(k.base::regtype)
                       JOIN pg_am m ON m.oid = o.opcmethod AND m.amname = 'btree')
$$;
COMMENT ON FUNCTION dataprotect._can_be_sorted(regclass, name) IS 'whether the base type of a protected column has an order';

-- The indexes that do not stay as they are.  token_classes: what unique and
-- multi-column ones get, by column; NULL turns token indexes back into plain ones.
-- fold_classes: the same for those over lower(column) and its like, which know no
-- other order.
-- Partitions' indexes come first: their parents then adopt them by name.
-- Back again, a hash index becomes the btree that it was before; otherwise has, at the same
-- place as creates, what is made where values have become too long for that.
CREATE FUNCTION dataprotect._capture_indexes(rel regclass, cols name[], token_classes text[], fold_classes text[],
                                             OUT drops text[], OUT creates text[], OUT otherwise text[], OUT changes text[])
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    x       record;
    hash    bool;
    definition text;
BEGIN
    drops := '{}';
    creates := '{}';
    otherwise := '{}';
    changes := '{}';
    FOR x IN
        SELECT d.*, format('%I.%I', n.nspname, c.relname) AS index_name, n.nspname, i.indisreplident,
               format('%I.%I', tn.nspname, t.relname) AS table_name,
               t.relkind = 'p' AS has_partitions, descr.description,
               (SELECT string_agg(format('"%s"', u.col), ', ' ORDER BY u.n)
                FROM unnest(cols, token_classes) WITH ORDINALITY AS u(col, class, n) JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = u.col
                WHERE u.class = '' AND NOT d.simple AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) AS left_out,
               EXISTS (SELECT FROM unnest(cols) u(col) JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = u.col
                       WHERE dataprotect._predicate_computes(d.index_id, a.attnum)) AS loses_predicate
        FROM (SELECT ix.index_id, ix.name, ix.depth, ix.is_unique, ix.simple, ix.constraint_name, ix.attached, ix.words,
                     min(u.col) AS col, max(CASE WHEN ix.folded OR ix.words THEN u.fold_class ELSE u.token_class END) AS class,
                     ix.method = 'hash' AND bool_and(u.fold_class IS NULL) AND bool_and(ix.folded OR dataprotect._can_be_sorted(rel, u.col)) AS to_btree
              FROM unnest(cols, token_classes, fold_classes) AS u(col, token_class, fold_class)
                  CROSS JOIN LATERAL dataprotect._column_indexes(rel, u.col) ix
              WHERE ix.folded OR ix.words OR ix.method = 'btree' AND (u.token_class IS NOT NULL OR NOT ix.plain_class)
                  OR ix.method = 'hash' AND u.fold_class IS NULL AND dataprotect._can_be_sorted(rel, u.col)
                  OR dataprotect._index_predicate(ix.index_id, cols) IS DISTINCT FROM dataprotect._index_predicate(ix.index_id, '{}')
              GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, ix.method
              UNION ALL
              SELECT i.indexrelid, c.relname::text, m.depth, i.indisunique, false, NULL, c.relispartition, false, NULL, NULL, false
              FROM (SELECT DISTINCT s.member, s.depth FROM dataprotect._columns_members(rel, cols) s) m
                  JOIN pg_index i ON i.indrelid = m.member
                  JOIN pg_class c ON c.oid = i.indexrelid
              WHERE dataprotect._index_predicate(i.indexrelid, cols) IS DISTINCT FROM dataprotect._index_predicate(i.indexrelid, '{}')
                  AND i.indexrelid NOT IN (SELECT ix.index_id FROM unnest(cols) u(col) CROSS JOIN LATERAL dataprotect._column_indexes(rel, u.col) ix)) d
            JOIN pg_index i ON i.indexrelid = d.index_id
            JOIN pg_class c ON c.oid = d.index_id
            JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN pg_class t ON t.oid = i.indrelid
            JOIN pg_namespace tn ON tn.oid = t.relnamespace
            LEFT JOIN pg_description descr ON descr.classoid = 'pg_class'::regclass AND descr.objoid = d.index_id
        ORDER BY d.depth DESC, d.name
    LOOP
        hash := x.class IS NOT NULL AND x.simple AND NOT x.is_unique AND NOT x.words;
        IF NOT x.attached THEN
            drops := drops || CASE WHEN x.constraint_name IS NULL THEN format('DROP INDEX %s', x.index_name)
                ELSE format('ALTER TABLE %s DROP CONSTRAINT %I', x.table_name, x.constraint_name) END;
        END IF;
        -- a constraint over tokens is one like any other (token_constraint.h)
        IF x.constraint_name IS NOT NULL THEN
            SELECT creates || format('ALTER TABLE %s%s ADD CONSTRAINT %I %s', CASE WHEN x.has_partitions THEN '' ELSE 'ONLY ' END,
                                     x.table_name, k.conname, dataprotect._key_definition(k.oid))
                || CASE WHEN d.description IS NULL THEN '{}'
                        ELSE ARRAY[format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, x.table_name,
                                          d.description)] END
            INTO creates
            FROM pg_constraint k
                LEFT JOIN pg_description d ON d.classoid = 'pg_constraint'::regclass AND d.objoid = k.oid
            WHERE k.conindid = x.index_id AND k.contype IN ('p', 'u');
        ELSIF x.words THEN
            definition := dataprotect._word_index_statement(x.index_id, x.col, x.class IS NOT NULL, cols);
            IF definition IS NULL THEN
                RAISE NOTICE 'index "%" is dropped, since pg_trgm is not installed', x.name;
                CONTINUE;
            END IF;
            creates := creates || definition;
        ELSE
            definition := dataprotect._index_statement(x.index_id, CASE WHEN hash THEN 'hash' WHEN x.to_btree THEN 'btree' END, cols, token_classes, fold_classes);
            IF definition IS NULL THEN
                changes := changes || format('index "%s" is dropped: it would tell values of which there are few', x.name);
                CONTINUE;
            END IF;
            creates := creates || definition;
            IF x.to_btree THEN
                otherwise := otherwise || array_fill(NULL::text, ARRAY[cardinality(creates) - 1 - cardinality(otherwise)])
                    || dataprotect._index_statement(x.index_id, 'hash', cols, token_classes, fold_classes);
            END IF;
            creates := creates || ARRAY(
                SELECT format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', x.index_name, a.attnum, a.attstattarget)
                FROM pg_attribute a WHERE a.attrelid = x.index_id AND a.attstattarget >= 0 AND x.left_out IS NULL ORDER BY a.attnum)
                || ARRAY(SELECT e FROM dataprotect._extension_statements('pg_class'::regclass, x.index_id, format('INDEX %s', x.index_name)) e);
            IF NOT x.attached AND x.left_out IS NOT NULL THEN
                changes := changes || format('index "%s" goes on without column %s, whose values have no tokens', x.name, x.left_out);
            END IF;
            IF NOT x.attached AND x.loses_predicate THEN
                changes := changes || format('index "%s" goes on without the part of its predicate that uses the value: it has more rows', x.name);
            END IF;
        END IF;
        IF x.description IS NOT NULL THEN
            creates := creates || format('COMMENT ON INDEX %s IS %L', x.index_name, x.description);
        END IF;
        IF x.indisreplident THEN
            creates := creates || format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', x.table_name, x.name);
        END IF;
        IF (hash OR x.class <> '') AND NOT x.attached THEN
            changes := changes || CASE
                WHEN hash THEN format('index "%s" is now a hash index', x.name)
                WHEN x.words THEN format('index "%s" is now over keyed tokens of %s: most of the text can be guessed from it', x.name,
                                         dataprotect._word_index_kind(x.index_id))
                WHEN x.constraint_name IS NOT NULL THEN format('constraint "%s" is now over tokens', x.constraint_name)
                ELSE format('index "%s" is now over tokens', x.name) END;
        END IF;
    END LOOP;
    otherwise := otherwise || array_fill(NULL::text, ARRAY[cardinality(creates) - cardinality(otherwise)]);
END
$$;
COMMENT ON FUNCTION dataprotect._capture_indexes(regclass, name[], text[], text[]) IS
    'statements that drop and make again the indexes that change with columns';
