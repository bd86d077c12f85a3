-- What stands in the way of deleting an account

-- What is wrong with one edge of a plan, or NULL.
CREATE FUNCTION dataprotect._account_edge_problem(account dataprotect.account_type, edge dataprotect.plan_edge) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    edge_name text := CASE WHEN edge.declared THEN format('foreign key "%s" to "%s"', edge.name, edge.to_rel)
                           ELSE format('the reference to "%s" (%s)', edge.to_rel, edge.name) END;
    followed bool := CASE edge.direction WHEN 'in' THEN edge.action IN ('delete', 'nullify', 'anonymise', 'keep')
                                         ELSE edge.action IN ('delete', 'anonymise') END;
    target text[] := (SELECT t.actions FROM dataprotect.plan_table t WHERE t.plan = edge.plan AND t.rel = edge.to_rel);
    source text[] := (SELECT t.actions FROM dataprotect.plan_table t WHERE t.plan = edge.plan AND t.rel = edge.from_rel);
    fixed name := (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = edge.from_rel AND a.attname = ANY (edge.columns)
                      AND a.attnotnull AND dataprotect._columns_to_null(edge.from_rel, edge.columns) = '{}' ORDER BY a.attnum LIMIT 1);
    elements bool := EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = edge.from_rel AND a.attname = ANY (edge.columns)
                                AND dataprotect._element_type(a.atttypid) IS NOT NULL);
BEGIN
    IF edge.action IS NULL THEN
        RETURN CASE edge.name WHEN 'bind_subject' THEN 'the table is bound to the account, and nothing says what becomes of its rows'
                              ELSE edge_name || ' is not annotated' END;
    END IF;
    IF NOT followed AND edge.direction = 'out' THEN
        RETURN NULL;
    END IF;
    IF edge.casts THEN
        RETURN edge_name || ' compares by a cast';
    END IF;
    IF followed AND (array_position(edge.to_pos, NULL) IS NOT NULL OR EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = edge.from_rel AND a.attname = ANY (edge.columns)
               AND NOT dataprotect._is_plain_type(coalesce(dataprotect._element_type(a.atttypid), a.atttypid)))) THEN
        RETURN edge_name || ' is over columns of a type that cannot be followed (protected, composite or range)';
    END IF;
    IF followed AND elements THEN
        IF edge.direction = 'out' OR cardinality(edge.columns) > 1 THEN
            RETURN edge_name || ' is over an array, which is followed to the rows that have the account''s id in it, not away from them';
        ELSIF edge.action = 'nullify' THEN
            RETURN CASE WHEN edge.to_rel <> account.root THEN edge_name || ' is over an array: only the id of the account itself can be taken out of one' END;
        END IF;
    END IF;
    IF edge.direction = 'out' THEN
        IF edge.to_rel = account.root OR target IS NOT NULL AND NOT (SELECT t.satellite FROM dataprotect.plan_table t
                                                                      WHERE t.plan = edge.plan AND t.rel = edge.to_rel) THEN
            RETURN CASE WHEN edge.to_rel = account.root
                        THEN format('rows of "%s" reference the account''s rows in a circle; they can only be nullified', edge.from_rel)
                        ELSE format('rows of "%s" belong to the account by what references it; this reference can only be nullified, kept or shared', edge.to_rel) END;
        END IF;
        IF edge.action = 'delete' AND source <> '{delete}' THEN
            RETURN format('its rows stay, and what they reference in "%s" with them', edge.to_rel);
        END IF;
        RETURN NULL;
    END IF;
    IF edge.action = 'nullify' THEN
        IF fixed IS NOT NULL THEN
            RETURN format('column "%s" does not allow nulls', fixed);
        END IF;
        -- what stays says nothing, but where it alone says whose the row was
        SELECT k.c INTO fixed FROM unnest(edge.columns, edge.target_columns) AS k(c, p)
         WHERE cardinality(edge.columns) > 1 AND k.c <> ALL (dataprotect._columns_to_null(edge.from_rel, edge.columns))
           AND EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                        WHERE i.indrelid = edge.to_rel AND i.indisunique AND i.indnkeyatts = 1 AND a.attname = k.p)
           AND NOT EXISTS (SELECT FROM pg_constraint o WHERE o.conrelid = edge.from_rel AND o.contype = 'f'
                              AND o.conkey <> dataprotect._attnums(edge.from_rel, edge.columns)
                              AND (dataprotect._attnums(edge.from_rel, ARRAY[k.c]))[1] = ANY (o.conkey)) LIMIT 1;
        RETURN CASE WHEN FOUND THEN format('column "%s" would stay, which says by itself what the row referenced', fixed) END;
    END IF;
    IF edge.action IN ('keep', 'shared') AND target = '{delete}' AND edge.declared AND edge.sets_null THEN
        SELECT a.attname INTO fixed FROM pg_attribute a, pg_constraint c
         WHERE c.conrelid = edge.from_rel AND c.contype = 'f' AND c.confdeltype = 'n' AND c.conkey = dataprotect._attnums(edge.from_rel, edge.columns)
           AND a.attrelid = edge.from_rel AND a.attname = ANY (dataprotect._columns_the_key_clears(edge.from_rel, edge.columns)) AND a.attnotnull
         ORDER BY a.attnum LIMIT 1;
        IF FOUND THEN
            RETURN format('it clears column "%s", which does not allow nulls, when what it references goes', fixed);
        END IF;
    END IF;
    -- (rows of a satellite stay as long as anything else references them)
    IF edge.action <> 'delete' AND target = '{delete}' AND edge.declared AND NOT edge.sets_null
       AND NOT (SELECT t.satellite FROM dataprotect.plan_table t WHERE t.plan = edge.plan AND t.rel = edge.to_rel)
       AND (edge.action IN ('keep', 'shared') OR fixed IS NOT NULL) THEN
        RETURN format('its rows stay, but the rows of "%s" that they reference are deleted', edge.to_rel);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._account_edge_problem(dataprotect.account_type, dataprotect.plan_edge) IS
    'why an edge cannot be dealt with as annotated, or NULL';

-- What is wrong with what happens to a table's rows, or NULL.
CREATE FUNCTION dataprotect._account_table_problem(account dataprotect.account_type, tab dataprotect.plan_table) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bound bool := EXISTS (SELECT 1 FROM dataprotect.subject_binding b
                           WHERE b.rel = tab.rel AND b.account_type = account.name);
    bad name;
BEGIN
    SELECT c.relname INTO bad FROM dataprotect._below(tab.rel) b JOIN pg_class c ON c.oid = b
     WHERE c.relkind NOT IN ('r', 'p') LIMIT 1;
    IF FOUND THEN
        RETURN format('"%s" is not an ordinary table', bad);
    END IF;
    IF bound AND dataprotect._unbindable(tab.rel) IS NOT NULL THEN
        RETURN format('column "%s" contains encrypted values that cannot be sealed under the account''s own key',
                      dataprotect._unbindable(tab.rel));
    END IF;
    IF cardinality(tab.actions) > 1 THEN
        RETURN format('annotations contradict each other: %s', array_to_string(tab.actions, ', '));
    END IF;
    IF tab.actions = '{keep}' AND bound THEN
        SELECT p INTO bad FROM dataprotect._protected_attributes(tab.rel) p LIMIT 1;
        IF FOUND THEN
            RETURN format('its rows are kept, but column "%s" is sealed under the account''s own key', bad);
        END IF;
    END IF;
    IF tab.actions = '{anonymise}' THEN
        SELECT p.col INTO bad FROM dataprotect._personal_columns(account.name, tab.rel) p WHERE p.value IS NULL LIMIT 1;
        IF FOUND THEN
            RETURN format('no neutral value fits column "%s"', bad);
        END IF;
        SELECT p.col INTO bad FROM dataprotect._personal_columns(account.name, tab.rel) p
          JOIN dataprotect._protected_attributes(tab.rel) a ON a = p.col WHERE p.value <> 'NULL' LIMIT 1;
        IF FOUND AND bound THEN
            RETURN format('column "%s" does not allow nulls and is sealed under the account''s own key', bad);
        END IF;
    END IF;
    -- rows that reference each other in a circle
    IF EXISTS (SELECT FROM dataprotect.plan_step s WHERE s.plan = tab.plan AND s.rel = tab.rel AND s.what = 'clear'
                  AND s.edge IS NOT NULL AND coalesce(s.assignments, '') = '') THEN
        RETURN 'its rows and others reference each other in a circle, and no column of it allows nulls';
    END IF;
    -- unreadable at once is promised where there is a grace time
    IF NOT bound AND NOT account.grace_readable AND account.grace > interval '0'
       AND EXISTS (SELECT FROM dataprotect._protected_attributes(tab.rel)) THEN
        RETURN format('its protected columns (%s) are not bound to the account and stay readable in the grace time; '
                      'use bind_subject(), or say grace_readable => true',
                      (SELECT string_agg(p, ', ') FROM dataprotect._protected_attributes(tab.rel) p));
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._account_table_problem(dataprotect.account_type, dataprotect.plan_table) IS
    'why a table''s rows cannot be dealt with as annotated, or NULL';

-- Whoever decided what happens to rows could have changed them himself; that is
-- asked again whenever the decision is used.
CREATE FUNCTION dataprotect._account_rights_problem(decided_by name, tables regclass[]) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    role oid := (SELECT r.oid FROM pg_roles r WHERE r.rolname = decided_by);
    strange regclass;
BEGIN
    IF role IS NULL THEN
        RETURN format('role "%s", who decided it, does not exist any more', decided_by);
    END IF;
    SELECT c.oid::regclass INTO strange FROM pg_class c
     WHERE c.oid = ANY (tables) AND NOT pg_has_role(role, c.relowner, 'USAGE')
     ORDER BY array_position(tables, c.oid::regclass) LIMIT 1;
    IF FOUND THEN
        RETURN format('role "%s", who decided it, has not the rights of the owner of "%s"', decided_by, strange);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._account_rights_problem(name, regclass[]) IS
    'why a decision about tables is none any more, or NULL';

CREATE FUNCTION dataprotect._account_check(account dataprotect.account_type, plan_id bigint,
        OUT rel regclass, OUT columns name[], OUT action text, OUT problem text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_class c WHERE c.oid = account.root) THEN
        RETURN QUERY SELECT account.root, account.id_columns, NULL::text,
                            'the root table does not exist any more; dataprotect.drop_account_type() removes the type'::text;
        RETURN;
    END IF;
    RETURN QUERY SELECT account.root, account.id_columns, dataprotect._account_root_action(account),
                        coalesce(dataprotect._account_rights_problem(account.created_by, ARRAY[account.root]),
                                 (SELECT dataprotect._account_table_problem(account, t) FROM dataprotect.plan_table t
                                   WHERE t.plan = plan_id AND t.n = 0));
    -- who decided
    RETURN QUERY
        SELECT p.* FROM (
            SELECT a.rel, a.columns, a.action, dataprotect._account_rights_problem(a.annotated_by, a.rel ||
                       CASE WHEN a.action IN ('delete', 'anonymise') THEN a.targets END) AS problem
              FROM dataprotect._rules_of(account.name) a) p
         WHERE p.problem IS NOT NULL;
    RETURN QUERY
        WITH tables AS MATERIALIZED (
            SELECT t.rel, dataprotect._account_table_problem(account, t) AS problem FROM dataprotect.plan_table t
             WHERE t.plan = plan_id AND t.n > 0)
        SELECT e.from_rel, e.columns, e.action, coalesce(dataprotect._account_edge_problem(account, e), t.problem)
          FROM dataprotect.plan_edge e
          LEFT JOIN tables t ON t.rel = CASE e.direction WHEN 'in' THEN e.from_rel ELSE e.to_rel END
                            AND e.action IN ('delete', 'anonymise', 'keep')
         WHERE e.plan = plan_id ORDER BY e.edge;
    -- annotations that are never used
    RETURN QUERY
        SELECT a.rel, a.columns, a.action, 'nothing leads from the account to this table'::text
          FROM dataprotect._rules_of(account.name) a
         WHERE a.action NOT IN ('shared', 'keep')
           AND NOT EXISTS (SELECT FROM dataprotect.plan_table t WHERE t.plan = plan_id AND t.rel = a.rel)
           AND NOT EXISTS (SELECT FROM dataprotect.plan_edge e WHERE e.plan = plan_id AND e.from_rel = a.rel);
END $$;
COMMENT ON FUNCTION dataprotect._account_check(dataprotect.account_type, bigint) IS
    'edges and annotations of an account type, with what is wrong about them';

-- Materialized views that are computed from a plan's tables, by views or by others of
-- their kind as well; those that hold rows.
CREATE FUNCTION dataprotect._materialized_from(plan_id bigint) RETURNS SETOF regclass
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE readers(oid) AS (
        SELECT b::oid FROM dataprotect.plan_table t, dataprotect._below(t.rel) b WHERE t.plan = plan_id
        UNION
        SELECT w.ev_class FROM readers r
          JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid AND d.classid = 'pg_rewrite'::regclass
          JOIN pg_rewrite w ON w.oid = d.objid)
    SELECT c.oid::regclass FROM readers r JOIN pg_class c ON c.oid = r.oid
     WHERE c.relkind = 'm' AND c.relispopulated ORDER BY c.oid::regclass::text;
END $$;
COMMENT ON FUNCTION dataprotect._materialized_from(bigint) IS 'materialized views that are computed from a plan''s tables';

-- Columns of a plan's tables that may hold the numbers of large objects.
CREATE FUNCTION dataprotect._large_object_columns(account_type text, plan_id bigint, OUT rel regclass, OUT col name) RETURNS SETOF record
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT t.rel, a.attname
      FROM dataprotect.plan_table t JOIN pg_attribute a ON a.attrelid = t.rel AND a.attnum > 0 AND NOT a.attisdropped
     WHERE t.plan = plan_id AND dataprotect._undomained(a.atttypid) = 'oid'::regtype
       AND NOT EXISTS (SELECT FROM dataprotect.plan_edge e WHERE e.plan = plan_id AND e.from_rel = t.rel AND a.attname = ANY (e.columns))
       AND NOT EXISTS (SELECT FROM dataprotect._rules_of($1) r WHERE r.rel = t.rel AND a.attname = ANY (r.columns))
     ORDER BY t.n, a.attnum;
END $$;
COMMENT ON FUNCTION dataprotect._large_object_columns(text, bigint) IS 'columns that may refer to large objects of accounts';

-- Whether one of the first thousand documents in a column has a member, however deep, of
-- one of these names.
CREATE FUNCTION dataprotect._documents_name(rel regclass, col name, members text[]) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    path text := (SELECT 'lax $.** ? (' || string_agg('exists (@.' || to_json(m)::text || ')', ' || ') || ')' FROM unnest(members) m);
BEGIN
    RETURN dataprotect._value_as(rel, format('SELECT EXISTS (SELECT 1 FROM (SELECT t.%I AS d FROM %s t WHERE t.%I IS NOT NULL LIMIT 1000) x '
               'WHERE pg_catalog.jsonb_path_exists(x.d::pg_catalog.jsonb, %L::pg_catalog.jsonpath))', col, rel, col, path))::bool;
EXCEPTION WHEN insufficient_privilege OR feature_not_supported OR data_exception OR program_limit_exceeded THEN
    RETURN true;        -- tables of several owners are not read, nor what is no jsonb; who knows them answers
END $$;
COMMENT ON FUNCTION dataprotect._documents_name(regclass, name, text[]) IS 'whether documents of a column have a member of one of these names';

-- Columns elsewhere that look as if they belonged to such accounts.  Nobody can
-- decide that but who knows the tables: annotate_account() answers, with a
-- reference or with "shared".
CREATE FUNCTION dataprotect._account_questions(account dataprotect.account_type, plan_id bigint,
        OUT rel regclass, OUT columns name[], OUT question text) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    inside oid[] := ARRAY(SELECT b::oid FROM dataprotect.plan_table t, dataprotect._below(t.rel) b WHERE t.plan = plan_id
                          UNION SELECT r.rel FROM dataprotect._rules_of(account.name) r WHERE r.targets = '{}' AND r.action = 'shared'
                          UNION SELECT e.from_rel FROM dataprotect.plan_edge e WHERE e.plan = plan_id);
    singular text := (SELECT CASE WHEN c.relname ~ 'ies$' THEN left(c.relname, -3) || 'y' ELSE regexp_replace(c.relname, 's$', '') END
                        FROM pg_class c WHERE c.oid = account.root);
    root_name name := (SELECT c.relname FROM pg_class c WHERE c.oid = account.root);
    id_type oid := dataprotect._column_type(account.root, account.id_column);
    by_edges text[] := ARRAY(SELECT e.columns[array_position(e.target_columns, account.id_column)] FROM dataprotect.plan_edge e
                              WHERE e.plan = plan_id AND e.to_rel = account.root AND cardinality(e.columns) = cardinality(account.id_columns)
                                AND account.id_column = ANY (e.target_columns));
    names text[] := ARRAY[lower(singular) || '_id', lower(singular) || 'id', lower(singular), lower(root_name) || '_id', lower(account.name) || '_id'];
    lists text[] := ARRAY[lower(singular) || '_ids', lower(singular) || 'ids', lower(root_name), lower(root_name) || '_ids', account.id_column || 's'];
BEGIN
    RETURN QUERY
        SELECT a.attrelid::regclass, ARRAY[a.attname],
               format('column "%s" has the type and a name of the account''s id: is it a reference to "%s"?', a.attname, account.root)
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
           AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'dataprotect')
           AND dataprotect._equality_operator(id_type, coalesce(dataprotect._element_type(a.atttypid), dataprotect._undomained(a.atttypid))) IS NOT NULL
           AND (lower(a.attname) = ANY (names)
                OR dataprotect._element_type(a.atttypid) IS NOT NULL AND lower(a.attname) = ANY (lists)
                OR a.attname = account.id_column AND account.id_column <> 'id'
                OR a.attname = ANY (by_edges)
                -- polymorphic: author_type beside author_id
                OR a.attname ~ '_id$' AND EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = c.oid AND NOT t.attisdropped
                                                     AND t.attname = regexp_replace(a.attname, '_id$', '_type')))
           AND NOT (c.oid = account.root AND a.attname = ANY (account.id_columns))
           AND NOT EXISTS (SELECT FROM dataprotect.plan_edge e WHERE e.plan = plan_id AND e.from_rel = c.oid AND a.attname = ANY (e.columns))
           AND NOT EXISTS (SELECT FROM dataprotect._rules_of(account.name) r WHERE r.rel = c.oid AND a.attname = ANY (r.columns))
           AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.conrelid = c.oid AND a.attnum = ANY (k.conkey));
    RETURN QUERY
        SELECT c.oid::regclass, ARRAY(SELECT p FROM dataprotect._protected_attributes(c.oid) p), 'protected columns of a table outside the plan: are its rows those of such accounts?'::text
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname <> 'dataprotect' AND c.oid <> ALL (inside)
           AND EXISTS (SELECT FROM dataprotect._protected_attributes(c.oid));
    -- documents with the id in them
    RETURN QUERY
        SELECT c.oid::regclass, ARRAY[a.attname], format('documents with members that are named like the id of "%s": are they of such accounts? '
                   '(A generated column of the id, annotated, makes an edge of them.)', account.root)
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' AND c.oid <> ALL (inside)
           AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'dataprotect')
           AND NOT EXISTS (SELECT FROM dataprotect._rules_of(account.name) r WHERE r.rel = c.oid AND a.attname = ANY (r.columns))
           AND CASE WHEN dataprotect._undomained(a.atttypid) IN ('json'::regtype, 'jsonb'::regtype) THEN
               dataprotect._documents_name(c.oid, a.attname, ARRAY(SELECT DISTINCT m FROM unnest(names || by_edges || lists || (singular || 'Id')
                   || CASE WHEN account.id_column <> 'id' THEN account.id_column::text END) m WHERE m <> '')) END;
    -- copies that are no rows of the plan's tables
    RETURN QUERY
        SELECT m, NULL::name[], 'materialized view of rows of such accounts: it shows them until it is refreshed'::text
          FROM dataprotect._materialized_from(plan_id) m;
    RETURN QUERY
        SELECT l.rel, ARRAY[l.col], 'a column that may refer to large objects: they stay where the row goes'::text
          FROM dataprotect._large_object_columns(account.name, plan_id) l;
    -- where our own policies put rows, and triggers that read whole rows
    RETURN QUERY
        SELECT t.rel, NULL::name[], format('retention policy "%s" archives its rows: the archive is not searched', p.name)
          FROM dataprotect.plan_table t JOIN dataprotect.retention_policies p ON p.rel = t.rel AND p.action = 'archive'
         WHERE t.plan = plan_id;
    RETURN QUERY
        SELECT t.rel, NULL::name[], format('trigger "%s" calls %s, which may copy rows to where nothing is searched', g.tgname, g.tgfoid::regproc)
          FROM dataprotect.plan_table t JOIN pg_trigger g ON g.tgrelid = t.rel AND NOT g.tgisinternal AND g.tgenabled <> 'D'
          JOIN pg_proc f ON f.oid = g.tgfoid
         WHERE t.plan = plan_id AND g.tgparentid = 0 AND g.tgname <> 'zz_dataprotect_subject'
           AND f.prosrc ~* '\minsert\s+into\M|\mexecute\M';
    -- what can be read in the grace time
    IF account.grace > interval '0' THEN
        RETURN QUERY
            SELECT t.rel, x.cols, 'plain columns, readable in the grace time'::text
              FROM dataprotect.plan_table t,
                   LATERAL (SELECT array_agg(p.col ORDER BY p.col) AS cols FROM dataprotect._personal_columns(account.name, t.rel) p
                             WHERE NOT EXISTS (SELECT FROM dataprotect._protected_attributes(t.rel) a WHERE a = p.col)) x
             WHERE t.plan = plan_id AND x.cols IS NOT NULL AND NOT (account.grace_hides AND dataprotect._can_hide(t));
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._account_questions(dataprotect.account_type, bigint) IS
    'what an administrator should ask about an account type: columns and tables that may hold data of its accounts';

CREATE FUNCTION dataprotect.check_account_type(name text,
        OUT rel regclass, OUT columns name[], OUT action text, OUT problem text, OUT question text) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type($1);
    plan_id bigint := CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.oid = account.root) THEN dataprotect._account_current_plan(account) END;
BEGIN
    RETURN QUERY
        SELECT c.rel, c.columns, c.action, c.problem, c.question
          FROM (SELECT k.rel, k.columns, k.action, k.problem, NULL::text AS question FROM dataprotect._account_check(account, plan_id) k
                UNION ALL
                SELECT q.rel, q.columns, NULL, NULL, q.question FROM dataprotect._account_questions(account, plan_id) q WHERE plan_id IS NOT NULL) c
         ORDER BY c.problem IS NULL, c.question IS NULL, c.rel::text, c.columns::text;
END $$;
COMMENT ON FUNCTION dataprotect.check_account_type(text) IS
    'edges of an account type with what was decided about them; problem is NULL where nothing is wrong; question: what else may belong to such accounts';
