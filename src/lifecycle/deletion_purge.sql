-- Removing an account's rows, a batch at a time
--
-- Rows are chosen along foreign keys, with the keys' own operators, and changed,
-- both as their table's owner: reading a table of an ordinary role may run that
-- role's code (an index's expression, when the query is planned).

-- The tree of an account with its own row as node 0.
CREATE FUNCTION dataprotect._account_nodes(account dataprotect.account_type, id text,
        OUT ord bigint, OUT parent regclass, OUT child regclass, OUT child_columns name[], OUT sets_null bool,
        OUT action text, OUT loops bool, OUT alias text, OUT up text) RETURNS SETOF record
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 0, NULL::regclass, account.root, NULL::name[], false, dataprotect._account_root_action(account), false, 't',
           dataprotect._account_own_row(account, id)
     UNION ALL
    SELECT t.ord, t.parent, t.child, t.child_columns, t.sets_null, t.action, t.loops, t.alias, t.up
      FROM dataprotect._account_tree(account, id) t WHERE t.action IS NOT NULL AND (NOT t.loops OR t.action = 'nullify');
$$;
COMMENT ON FUNCTION dataprotect._account_nodes(dataprotect.account_type, text) IS
    'an account''s own row and the foreign keys that lead to its other rows';

CREATE FUNCTION dataprotect._locked_tids(leaf regclass, alias text, condition text, max_rows int) RETURNS tid[]
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN dataprotect._tids_as(leaf, format(
        'SELECT array_agg(x.c) FROM (SELECT %1$I.ctid AS c FROM ONLY %2$s %1$I WHERE %3$s%4$s FOR UPDATE OF %1$I) x',
        alias, leaf, condition, ' LIMIT ' || max_rows));
END $$;
COMMENT ON FUNCTION dataprotect._locked_tids(regclass, text, text, int) IS 'rows of a table that satisfy a condition, locked';

CREATE FUNCTION dataprotect._rows_held(leaf regclass, tids tid[]) RETURNS bool
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held text := dataprotect._held_condition(leaf, 't');
BEGIN
    IF held IS NULL OR tids IS NULL THEN
        RETURN false;
    END IF;
    RETURN dataprotect._value_as(leaf, format('SELECT EXISTS (SELECT 1 FROM ONLY %s t '
        'WHERE t.ctid OPERATOR(pg_catalog.=) ANY ($1) AND (%s))', leaf, held), tids)::bool;
END $$;
COMMENT ON FUNCTION dataprotect._rows_held(regclass, tid[]) IS 'whether one of these rows is under a legal hold';

-- Table in which a legal hold covers a row of the account that would be removed
-- or changed, or NULL.
CREATE FUNCTION dataprotect._account_held(account dataprotect.account_type, id text) RETURNS text
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    node record;
    away record;
    leaf regclass;
    tids tid[];
BEGIN
    IF NOT EXISTS (SELECT 1 FROM dataprotect.holds h WHERE h.active) THEN
        RETURN NULL;
    END IF;
    FOR node IN SELECT * FROM dataprotect._account_nodes(account, id) n WHERE n.action <> 'keep' LOOP
        FOR leaf IN SELECT * FROM dataprotect._leaves(node.child) LOOP
            CONTINUE WHEN dataprotect._held_condition(leaf, 't') IS NULL;
            tids := dataprotect._tids_as(leaf, format('SELECT array_agg(%1$I.ctid) FROM ONLY %2$s %1$I WHERE %3$s',
                                                      node.alias, leaf, node.up));
            IF dataprotect._rows_held(leaf, tids) THEN
                RETURN leaf::text;
            END IF;
        END LOOP;
        FOR away IN SELECT * FROM dataprotect._account_away(account, node.child) LOOP
            FOR leaf IN SELECT * FROM dataprotect._leaves(away.target) LOOP
                CONTINUE WHEN dataprotect._held_condition(leaf, 't') IS NULL;
                tids := dataprotect._tids_as(leaf, format(
                    'SELECT array_agg(x.ctid) FROM ONLY %1$s x WHERE EXISTS (SELECT 1 FROM %2$s %3$I WHERE %4$s AND %5$s)',
                    leaf, node.child, node.alias, node.up,
                    dataprotect._join_condition('x', away.target_columns, node.alias, away.columns, away.operators)));
                IF dataprotect._rows_held(leaf, tids) THEN
                    RETURN leaf::text;
                END IF;
            END LOOP;
        END LOOP;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._account_held(dataprotect.account_type, text) IS
    'a table in which a legal hold covers a row of an account, or NULL';

-- Annotated foreign keys that lead away from a table of the account to rows that
-- go, or are anonymised, with it.
CREATE FUNCTION dataprotect._account_away(account dataprotect.account_type, rel regclass,
        OUT columns name[], OUT target regclass, OUT target_columns name[], OUT operators text[], OUT action text)
    RETURNS SETOF record
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.columns, r.target, r.target_columns, r.operators, a.action
      FROM dataprotect._referenced_by($2) r
      JOIN dataprotect.account_rule a ON a.account_type = account.name AND a.rel = $2 AND a.columns = r.columns
     WHERE a.action IN ('delete', 'anonymise') AND r.target = ANY (a.targets)
       AND r.target <> ALL (ARRAY(SELECT t.child FROM dataprotect._account_tree(account, '0') t
                                   WHERE t.action IS NOT NULL) || account.root);
$$;
COMMENT ON FUNCTION dataprotect._account_away(dataprotect.account_type, regclass) IS
    'annotated foreign keys that lead away from a table of an account';

CREATE FUNCTION dataprotect._deletion_count(request bigint, leaf regclass, action text, rows bigint) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO dataprotect.deletion_work AS w (request, rel, action, rows)
        SELECT $1, dataprotect._top($2)::text, $3, $4 WHERE $4 > 0
        ON CONFLICT (request, rel, action) DO UPDATE SET rows = w.rows + excluded.rows;
    INSERT INTO dataprotect.deletion_scrub (request, rel) SELECT $1, $2 WHERE $4 > 0 AND $3 <> 'shared'
        ON CONFLICT (request, rel) DO UPDATE SET scrubbed_at = NULL;
    UPDATE dataprotect.deletion_request r SET purge_xid = pg_current_xact_id() WHERE r.id = $1 AND $4 > 0;
$$;
COMMENT ON FUNCTION dataprotect._deletion_count(bigint, regclass, text, bigint) IS 'count rows that a deletion dealt with';

CREATE FUNCTION dataprotect._deletion_change(request bigint, leaf regclass, tids tid[], assignments text, action text)
    RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed bigint := dataprotect._apply_as(leaf, CASE action
        WHEN 'delete' THEN format('DELETE FROM ONLY %s t WHERE t.ctid OPERATOR(pg_catalog.=) ANY ($1)', leaf)
        ELSE format('UPDATE ONLY %s t SET %s WHERE t.ctid OPERATOR(pg_catalog.=) ANY ($1)', leaf, assignments) END, tids);
BEGIN
    IF changed <> cardinality(tids) THEN
        PERFORM dataprotect._raise('triggered_action_exception',
            format('a trigger keeps rows of table "%s" from being removed', leaf), rel => leaf);
    END IF;
    PERFORM dataprotect._deletion_count(request, leaf, action, changed);
END $$;
COMMENT ON FUNCTION dataprotect._deletion_change(bigint, regclass, tid[], text, text) IS
    'delete or change rows of an account and count them';

-- Rows that the given rows reference and nothing else does, by table: they are
-- looked for before the given rows go and dealt with after.
CREATE FUNCTION dataprotect._deletion_orphans(account dataprotect.account_type, request bigint, rel regclass, leaf regclass,
        tids tid[], OUT target regclass, OUT action text, OUT orphans tid[]) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    away record;
    others text;
    found jsonb;
BEGIN
    FOR away IN SELECT * FROM dataprotect._account_away(account, rel) LOOP
        SELECT string_agg(format('NOT EXISTS (SELECT 1 FROM %s o WHERE %s AND NOT (o.tableoid OPERATOR(pg_catalog.=) %L::pg_catalog.oid '
                                 'AND o.ctid OPERATOR(pg_catalog.=) ANY ($1)))',
                                 r.child, dataprotect._join_condition('x', r.parent_columns, 'o', r.child_columns, r.operators),
                                 leaf::oid), ' AND ')
          INTO others FROM dataprotect._referencing(away.target) r;
        action := away.action;
        FOR target IN SELECT * FROM dataprotect._leaves(away.target) LOOP
            found := dataprotect._value_as(target, format(
                'SELECT jsonb_build_object(''alone'', (array_agg(y.c) FILTER (WHERE y.alone))::text, ''all'', count(*)) '
                'FROM (SELECT x.ctid AS c, %4$s AS alone FROM ONLY %1$s x '
                'WHERE EXISTS (SELECT 1 FROM ONLY %2$s a WHERE a.ctid = ANY ($1) AND %3$s) FOR UPDATE OF x) y', target, leaf,
                dataprotect._join_condition('x', away.target_columns, 'a', away.columns, away.operators), others), tids);
            orphans := (found ->> 'alone')::tid[];
            PERFORM dataprotect._deletion_count(request, target, 'shared',
                                                (found ->> 'all')::bigint - coalesce(cardinality(orphans), 0));
            IF orphans IS NOT NULL THEN
                RETURN NEXT;
            END IF;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_orphans(dataprotect.account_type, bigint, regclass, regclass, tid[]) IS
    'rows that only these rows reference';

-- Deal with rows of one table and with what only they referenced.
CREATE FUNCTION dataprotect._deletion_rows(account dataprotect.account_type, request bigint, rel regclass, leaf regclass,
        tids tid[], assignments text, action text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    orphan record;
    left_over record;
    left_overs jsonb := '[]';
BEGIN
    FOR orphan IN SELECT * FROM dataprotect._deletion_orphans(account, request, rel, leaf, tids) LOOP
        CONTINUE WHEN action <> 'delete' AND orphan.action = 'delete';
        left_overs := left_overs || jsonb_build_object('target', orphan.target::oid, 'action', orphan.action,
                                                       'tids', orphan.orphans::text);
    END LOOP;
    IF assignments IS NOT NULL OR action = 'delete' THEN
        PERFORM dataprotect._deletion_change(request, leaf, tids, assignments, action);
    END IF;
    FOR left_over IN SELECT (e ->> 'target')::oid::regclass AS target, e ->> 'action' AS action,
                            (e ->> 'tids')::tid[] AS tids FROM jsonb_array_elements(left_overs) e
    LOOP
        PERFORM dataprotect._deletion_change(request, left_over.target, left_over.tids,
            dataprotect._personal_assignments(account.name, dataprotect._top(left_over.target)), left_over.action);
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_rows(dataprotect.account_type, bigint, regclass, regclass, tid[], text, text) IS
    'deal with rows of one table of an account';

-- Phase 0: what is personal in rows that stay.  One transaction: it is not
-- repeated, because nothing tells afterwards which rows are done.
CREATE FUNCTION dataprotect._deletion_clear_columns(account dataprotect.account_type, request bigint, id text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    node record;
    leaf regclass;
    tids tid[];
    assignments text;
BEGIN
    FOR node IN SELECT * FROM dataprotect._account_nodes(account, id) n
                 WHERE n.action IN ('anonymise', 'nullify', 'keep') AND NOT n.loops ORDER BY n.ord DESC
    LOOP
        SELECT string_agg(format('%I = %s', p.col, p.value), ', ') INTO assignments
          FROM dataprotect._personal_columns(account.name, node.child) p
         WHERE p.named OR node.action = 'anonymise';
        CONTINUE WHEN assignments IS NULL AND node.action <> 'anonymise';
        FOR leaf IN SELECT * FROM dataprotect._leaves(node.child) LOOP
            tids := dataprotect._locked_tids(leaf, node.alias, node.up, NULL);
            CONTINUE WHEN tids IS NULL;
            PERFORM dataprotect._deletion_rows(account, request, node.child, leaf, tids, assignments, 'anonymise');
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_clear_columns(dataprotect.account_type, bigint, text) IS
    'clear what is personal in rows of an account that stay';

-- Phases 1 and 2: remove or cut off rows, the farthest first; at most max_rows.
-- True where there may be more.
CREATE FUNCTION dataprotect._deletion_remove_rows(account dataprotect.account_type, request bigint, id text,
        own_row bool, max_rows int) RETURNS bool
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    node record;
    leaf regclass;
    tids tid[];
    budget int := max_rows;
    cut text;
BEGIN
    FOR node IN SELECT n.*, 'delete' = ANY (dataprotect._account_row_actions(account, n.parent)) AS parent_goes
                  FROM dataprotect._account_nodes(account, id) n
                 WHERE (n.ord = 0) = own_row ORDER BY n.ord DESC
    LOOP
        CONTINUE WHEN node.action = 'keep'
                   OR node.action = 'anonymise' AND (own_row OR NOT node.parent_goes OR node.sets_null);
        cut := (SELECT string_agg(format('%I = NULL', c), ', ') FROM unnest(node.child_columns) c);
        FOR leaf IN SELECT * FROM dataprotect._leaves(node.child) LOOP
            tids := dataprotect._locked_tids(leaf, node.alias, node.up, budget);
            CONTINUE WHEN tids IS NULL;
            IF node.action = 'delete' THEN
                PERFORM dataprotect._deletion_rows(account, request, node.child, leaf, tids, NULL, 'delete');
            ELSE
                PERFORM dataprotect._deletion_change(request, leaf, tids, cut, 'nullify');
            END IF;
            budget := budget - cardinality(tids);
            IF budget <= 0 THEN
                RETURN true;
            END IF;
        END LOOP;
    END LOOP;
    RETURN false;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_remove_rows(dataprotect.account_type, bigint, text, bool, int) IS
    'remove or cut off the next rows of an account';
