-- Changing an account's rows: the steps of its plan, a batch at a time
--
-- Rows are chosen by their keys and locked, and changed, as their table's owner:
-- reading a table of an ordinary role may run that role's code (an index's
-- expression, when the query is planned).  A row that somebody else has locked is
-- met again later; what waits says for whom.

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

-- Whether a hold can cover rows of a table at all.
CREATE FUNCTION dataprotect._may_be_held(rel regclass) RETURNS bool
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT EXISTS (SELECT FROM dataprotect.holds h JOIN pg_class c ON c.oid = h.rel
                    WHERE h.active AND (h.rel IN (SELECT dataprotect._below($1)) OR $1 IN (SELECT dataprotect._below(h.rel)))));
END $$;
COMMENT ON FUNCTION dataprotect._may_be_held(regclass) IS 'whether an active hold is on a table, or on some of it';

-- Where rows are now: by keys (state 'm' and 'd'), as (leaf, tid).
CREATE FUNCTION dataprotect._rows_now(request bigint, tab dataprotect.plan_table, OUT leaf regclass, OUT tids tid[]) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k int := cardinality(tab.key_columns);
    portion record;
    last bigint := 0;
BEGIN
    LOOP
        SELECT max(x.seq) AS last, array_agg(x.key) AS keys INTO portion
          FROM (SELECT d.seq, d.key FROM dataprotect.deletion_row d
                 WHERE d.request = _rows_now.request AND d.n = tab.n AND d.seq > last ORDER BY d.seq LIMIT 10000) x;
        EXIT WHEN portion.last IS NULL;
        last := portion.last;
        RETURN QUERY
            SELECT r[1]::oid::regclass, array_agg(r[2]::tid)
              FROM dataprotect._rows_as(tab.rel, format('SELECT t.tableoid, t.ctid FROM %s t, %s WHERE %s', tab.rel,
                       dataprotect._arrays(k), tab.key_condition), tab.watch_types[1:k], portion.keys) r
             GROUP BY r[1];
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._rows_now(bigint, dataprotect.plan_table) IS 'where an account''s rows of a table are';

-- Table in which a legal hold covers a row of the account, one that would be cut
-- off included, or NULL.
CREATE FUNCTION dataprotect._account_held(plan_id bigint, request bigint) RETURNS text
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tab dataprotect.plan_table;
    found_rows record;
    step record;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM dataprotect.holds h WHERE h.active) THEN
        RETURN NULL;
    END IF;
    FOR tab IN SELECT t.* FROM dataprotect.plan_table t
                WHERE t.plan = plan_id AND t.actions <> '{keep}' AND dataprotect._may_be_held(t.rel) ORDER BY t.n
    LOOP
        FOR found_rows IN SELECT * FROM dataprotect._rows_now(request, tab) LOOP
            IF dataprotect._rows_held(found_rows.leaf, found_rows.tids) THEN
                RETURN found_rows.leaf::text;
            END IF;
        END LOOP;
    END LOOP;
    FOR step IN SELECT s.* FROM dataprotect.plan_step s
                 WHERE s.plan = plan_id AND s.what <> 'clear' AND s.edge IS NOT NULL AND dataprotect._may_be_held(s.rel) ORDER BY s.ord
    LOOP
        FOR found_rows IN SELECT * FROM dataprotect._rows_to_cut(plan_id, request, step.edge, NULL) LOOP
            IF dataprotect._rows_held(found_rows.leaf, found_rows.tids) THEN
                RETURN found_rows.leaf::text;
            END IF;
        END LOOP;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._account_held(bigint, bigint) IS
    'a table in which a legal hold covers a row of an account, or NULL';

CREATE FUNCTION dataprotect._deletion_count(request bigint, leaf regclass, action text, rows bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF $4 IS NULL OR $4 <= 0 THEN
        RETURN;
    END IF;
    INSERT INTO dataprotect.deletion_work AS w (request, rel, action, rows)
        VALUES ($1, dataprotect._top($2)::text, $3, $4)
        ON CONFLICT (request, rel, action) DO UPDATE SET rows = w.rows + excluded.rows;
    IF $3 IN ('keep', 'shared') THEN
        RETURN;
    END IF;
    -- old versions matter where values of the account were sealed
    IF EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = $2 AND a.attnum > 0 AND NOT a.attisdropped AND dataprotect._bears(a.atttypid)) THEN
        INSERT INTO dataprotect.deletion_scrub (request, rel) VALUES ($1, $2)
            ON CONFLICT (request, rel) DO UPDATE SET scrubbed_at = NULL;
    END IF;
    UPDATE dataprotect.deletion_request r SET purge_xid = pg_current_xact_id() WHERE r.id = $1;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_count(bigint, regclass, text, bigint) IS 'count rows that a deletion dealt with';

-- Triggers and rules that may be why a change did not take place.
CREATE FUNCTION dataprotect._who_interferes(rel regclass) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT coalesce(string_agg(x.name, ', ' ORDER BY x.name), 'none is enabled now')
      FROM (SELECT format('trigger "%s"', t.tgname) AS name FROM pg_trigger t
             WHERE t.tgrelid = rel AND NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgname <> 'zz_dataprotect_subject'
            UNION ALL
            SELECT format('rule "%s"', r.rulename) FROM pg_rewrite r WHERE r.ev_class = rel AND r.ev_enabled <> 'D') x);
END $$;
COMMENT ON FUNCTION dataprotect._who_interferes(regclass) IS 'triggers and rules of a table, in words';

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
            format('%s of table "%s" keeps rows from being %s', dataprotect._who_interferes(leaf), leaf,
                   CASE action WHEN 'delete' THEN 'removed' ELSE 'changed' END), rel => leaf);
    END IF;
    PERFORM dataprotect._deletion_count(request, leaf, action, changed);
END $$;
COMMENT ON FUNCTION dataprotect._deletion_change(bigint, regclass, tid[], text, text) IS
    'delete or change rows of an account and count them';

CREATE FUNCTION dataprotect._edge_rows_condition(edge dataprotect.plan_edge) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN dataprotect._edge_condition(edge.operators, edge.columns, false) || dataprotect._match_condition(edge.from_rel, edge.match);
END $$;
COMMENT ON FUNCTION dataprotect._edge_rows_condition(dataprotect.plan_edge) IS 'condition that a row t references a row v of the account by an edge';

-- Which rows t reference rows of the account by an edge, those of them given as arrays.
CREATE FUNCTION dataprotect._edge_rows(edge dataprotect.plan_edge) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN format('%s t, %s WHERE %s', edge.from_rel, dataprotect._arrays(cardinality(edge.columns)), dataprotect._edge_rows_condition(edge));
END $$;
COMMENT ON FUNCTION dataprotect._edge_rows(dataprotect.plan_edge) IS 'FROM and WHERE of the rows at the end of an edge';

-- What the rows of the account that an edge leads to have in its columns, in portions.
CREATE FUNCTION dataprotect._edge_values(edge dataprotect.plan_edge, request bigint, n int) RETURNS SETOF text[]
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    last bigint := 0;
    portion record;
    others bigint[] := dataprotect._left_to_others(request, (SELECT t FROM dataprotect.plan_table t WHERE t.plan = edge.plan AND t.n = _edge_values.n),
                                                   edge.target_columns, edge.to_pos);
BEGIN
    LOOP
        SELECT max(x.seq) AS last, array_agg(p.v) FILTER (WHERE array_position(p.v, NULL) IS NULL) AS vals INTO portion
          FROM (SELECT d.seq, d.vals FROM dataprotect.deletion_row d
                 WHERE d.request = _edge_values.request AND d.n = _edge_values.n AND d.state <> 'c' AND d.seq > last
                   AND d.seq <> ALL (others)
                 ORDER BY d.seq LIMIT 10000) x, LATERAL (SELECT dataprotect._positions(x.vals, edge.to_pos) AS v) p;
        EXIT WHEN portion.last IS NULL;
        last := portion.last;
        IF portion.vals IS NOT NULL THEN
            RETURN NEXT portion.vals;
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._edge_values(dataprotect.plan_edge, bigint, int) IS 'values that rows at the end of an edge have in its columns';

-- A step's assignments, with the ids that are taken out of an array; each is compared as
-- the edge does, which a number that no element can be is as well.  NULL where none is known.
CREATE FUNCTION dataprotect._step_assignments(step dataprotect.plan_step, edge dataprotect.plan_edge, request bigint) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    elements oid := CASE WHEN step.what = 'cut' THEN dataprotect._element_type(dataprotect._column_type(step.rel, edge.columns[1])) END;
    id_type oid := (SELECT t.watch_types[edge.to_pos[1]] FROM dataprotect.plan_table t WHERE t.plan = edge.plan AND t.n = 0);
    ids text[];
BEGIN
    IF elements IS NULL THEN
        RETURN step.assignments;
    END IF;
    SELECT array_agg(DISTINCT d.vals[edge.to_pos[1]]) INTO ids FROM dataprotect.deletion_row d
     WHERE d.request = _step_assignments.request AND d.n = 0 AND d.vals[edge.to_pos[1]] IS NOT NULL;
    RETURN format('%1$I = ARRAY(SELECT u.e FROM pg_catalog.unnest(t.%1$I) WITH ORDINALITY u(e, i) WHERE NOT EXISTS ('
                  'SELECT FROM pg_catalog.unnest(%2$L%3$s[]) v(c1) WHERE %4$s) ORDER BY u.i)',
                  edge.columns[1], ids, replace(dataprotect._operand_cast(id_type), '%%', '%'),
                  format(dataprotect._operator_template(dataprotect._equality_operator(id_type, elements)), 'v.c1', 'u.e'))
           || substr(step.assignments, 1 + length(dataprotect._cut_assignments(step.rel, edge.columns)));
END $$;
COMMENT ON FUNCTION dataprotect._step_assignments(dataprotect.plan_step, dataprotect.plan_edge, bigint) IS
    'what a step of a plan sets for one request';

-- Rows that reference the account's rows by an edge, as (leaf, tid), locked; at
-- most max_rows.  NULL: all, and none is locked.
CREATE FUNCTION dataprotect._rows_to_cut(plan_id bigint, request bigint, edge_id int, max_rows int, OUT leaf regclass, OUT tids tid[])
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    edge dataprotect.plan_edge := (SELECT e FROM dataprotect.plan_edge e WHERE e.plan = plan_id AND e.edge = edge_id);
    source dataprotect.plan_table := (SELECT t FROM dataprotect.plan_table t WHERE t.plan = plan_id AND t.rel = edge.to_rel);
    vals text[];
BEGIN
    FOR vals IN SELECT v FROM dataprotect._edge_values(edge, request, source.n) v LOOP
        RETURN QUERY
            SELECT r[1]::oid::regclass, array_agg(r[2]::tid)
              FROM dataprotect._rows_as(edge.from_rel, 'SELECT t.tableoid, t.ctid FROM ' || dataprotect._edge_rows(edge)
                           || coalesce(' LIMIT ' || max_rows || ' FOR UPDATE OF t SKIP LOCKED', ''),
                       dataprotect._oids_at(source.watch_types, edge.to_pos), vals) r
             GROUP BY r[1];
        EXIT WHEN FOUND AND max_rows IS NOT NULL;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._rows_to_cut(bigint, bigint, int, int) IS 'rows that reference an account''s rows by one edge';

-- Whether nothing but our own statement decides what becomes of rows of these tables:
-- no trigger of anybody, no rule, no table below.
CREATE FUNCTION dataprotect._nobody_interferes(tables regclass[]) RETURNS bool
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = ANY (tables) AND (c.relkind <> 'r' OR c.relhassubclass OR c.relhasrules))
           AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = ANY (tables) AND NOT t.tgisinternal AND t.tgenabled <> 'D'
                                                  AND t.tgname <> 'zz_dataprotect_subject');
END $$;
COMMENT ON FUNCTION dataprotect._nobody_interferes(regclass[]) IS 'whether tables are ordinary ones without triggers and rules of anybody';

-- The same rows, changed by one statement, max_rows at most; how many there were.  A look
-- tells how many there are, and, where they are more, which of them to change.
-- Only of a table by itself, without rules, on which no hold is: those ask for
-- rows one by one.  A row that somebody else has locked is waited for a moment only:
-- then nothing is changed, the answer is NULL, and the others are met one by one.
-- One that was changed while it was waited for may be another account's now: PostgreSQL
-- asks the conditions again of what it has become.  missed: some were found, and not changed.
CREATE FUNCTION dataprotect._cut_at_once(plan_id bigint, request bigint, step dataprotect.plan_step, max_rows int,
        OUT total int, OUT missed bool) RETURNS record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    edge dataprotect.plan_edge := (SELECT e FROM dataprotect.plan_edge e WHERE e.plan = plan_id AND e.edge = step.edge);
    source dataprotect.plan_table := (SELECT t FROM dataprotect.plan_table t WHERE t.plan = plan_id AND t.rel = edge.to_rel);
    types oid[] := dataprotect._oids_at(source.watch_types, edge.to_pos);
    condition text := dataprotect._edge_rows_condition(edge);
    change text := CASE step.what WHEN 'delete' THEN format('DELETE FROM ONLY %s t USING ', step.rel)
                                  ELSE format('UPDATE ONLY %s t SET %s FROM ', step.rel, dataprotect._step_assignments(step, edge, request)) END
                   || dataprotect._arrays(cardinality(edge.columns)) || ' WHERE ' || condition;
    patience text := current_setting('lock_timeout');
    vals text[];
    look record;
    done bigint;
BEGIN
    missed := false;
    IF EXISTS (SELECT FROM pg_class c WHERE c.oid = step.rel AND (c.relkind <> 'r' OR c.relhassubclass OR c.relhasrules))
       OR dataprotect._may_be_held(step.rel) THEN
        RETURN;
    END IF;
    total := 0;
    BEGIN
        PERFORM set_config('lock_timeout', '200ms', true);
        FOR vals IN SELECT v FROM dataprotect._edge_values(edge, request, source.n) v LOOP
            SELECT r[1]::int AS found, r[2] AS rows INTO STRICT look
              FROM dataprotect._rows_as(step.rel, format('SELECT pg_catalog.count(*), pg_catalog.array_agg(x.c) FROM (SELECT t.ctid AS c FROM ONLY %s LIMIT %s) x',
                       dataprotect._edge_rows(edge), max_rows), types, vals) r;
            CONTINUE WHEN look.found = 0;
            SELECT r[1]::bigint INTO STRICT done
              FROM dataprotect._rows_as(step.rel, change || CASE WHEN look.found < max_rows THEN ''
                       ELSE format(' AND t.ctid OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.tid[])', look.rows) END, types, vals, true) r;
            total := total + done;
            missed := missed OR done < look.found;
            EXIT WHEN total >= max_rows;
        END LOOP;
        PERFORM set_config('lock_timeout', patience, true);
    EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
        total := NULL;
        RETURN;
    END;
    PERFORM dataprotect._deletion_count(request, step.rel, CASE step.what WHEN 'delete' THEN 'delete' ELSE 'nullify' END, total);
END $$;
COMMENT ON FUNCTION dataprotect._cut_at_once(bigint, bigint, dataprotect.plan_step, int) IS
    'change the next rows that reference an account''s rows by one edge, in one statement';

-- Who has locked one of these rows, in words; NULL where nobody has.
CREATE FUNCTION dataprotect._who_locks(leaf regclass, tids tid[]) RETURNS text
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    lockers text[] := dataprotect._value_as(leaf, format('SELECT array_agg(DISTINCT t.xmax::pg_catalog.text) FROM ONLY %s t '
        'WHERE t.ctid OPERATOR(pg_catalog.=) ANY ($1) AND t.xmax OPERATOR(pg_catalog.<>) ''0''::pg_catalog.xid', leaf), tids);
BEGIN
    RETURN (SELECT string_agg(DISTINCT format('process %s', l.pid), ', ') FROM pg_locks l
             WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted AND l.pid <> pg_backend_pid()
               AND l.transactionid::text = ANY (lockers));
END $$;
COMMENT ON FUNCTION dataprotect._who_locks(regclass, tid[]) IS 'who has locked one of some rows, in words';

CREATE FUNCTION dataprotect._waits_for_rows(leaf regclass, tids tid[]) RETURNS text
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('waits: rows of %s are locked by %s', dataprotect._top(leaf), coalesce(dataprotect._who_locks(leaf, tids), 'another transaction'));
$$;
COMMENT ON FUNCTION dataprotect._waits_for_rows(regclass, tid[]) IS 'why rows cannot be changed now, in words';

-- What clearing wrote is what stands there; a trigger may have put a value back.
CREATE FUNCTION dataprotect._check_cleared(account dataprotect.account_type, tab dataprotect.plan_table, keys text[]) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k int := cardinality(tab.key_columns);
    item record;
BEGIN
    FOR item IN SELECT p.col, p.value FROM dataprotect._personal_columns(account.name, tab.rel) p
                 WHERE (p.named OR tab.actions = '{anonymise}') AND p.value NOT LIKE '%gen_random_uuid%'
    LOOP
        IF EXISTS (SELECT FROM dataprotect._rows_as(tab.rel, format('SELECT 1 FROM %s t, %s WHERE %s AND %s LIMIT 1', tab.rel,
                       dataprotect._arrays(k), tab.key_condition,
                       CASE WHEN item.value = 'NULL' THEN format('t.%I IS NOT NULL', item.col)
                            ELSE format('pg_catalog.concat(t.%I) OPERATOR(pg_catalog.<>) pg_catalog.concat((%s)::%s)', item.col, item.value,
                                        (SELECT format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
                                          WHERE a.attrelid = tab.rel AND a.attname = item.col AND NOT a.attisdropped)) END),
                       tab.watch_types[1:k], keys) r) THEN
            PERFORM dataprotect._raise('triggered_action_exception',
                format('%s of table "%s" puts a value of column "%s" back', dataprotect._who_interferes(tab.rel), tab.rel, item.col),
                rel => tab.rel);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._check_cleared(dataprotect.account_type, dataprotect.plan_table, text[]) IS
    'error where a column that was cleared has its value again';

-- Ids of an account's own rows that are locked, as parameters: those of several columns
-- one value after the other.
CREATE FUNCTION dataprotect._own_ids(account dataprotect.account_type, leaf regclass, tids tid[]) RETURNS text[]
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN ARRAY(SELECT v FROM dataprotect._rows_as(leaf,
                     format('SELECT %s FROM ONLY %s t, pg_catalog.unnest($1) v(c1) WHERE t.ctid OPERATOR(pg_catalog.=) v.c1',
                            (SELECT string_agg(format('t.%I', c), ', ' ORDER BY ord) FROM unnest(account.id_columns) WITH ORDINALITY AS x(c, ord)), leaf),
                     ARRAY['tid'::regtype]::oid[], tids::text[]) r, unnest(r) v WHERE array_position(r, NULL) IS NULL);
END $$;
COMMENT ON FUNCTION dataprotect._own_ids(dataprotect.account_type, regclass, tid[]) IS 'ids that rows of accounts have';

-- The account's own row was removed by this transaction: as long as that is so nobody
-- else can have the id that it had, so that a row that has it was put back by what hangs
-- on the table.  (The id that was requested may be another's since.)
CREATE FUNCTION dataprotect._check_own_row_gone(account dataprotect.account_type, ids text[], root dataprotect.plan_table) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF EXISTS (SELECT FROM dataprotect._rows_as(root.rel, dataprotect._own_row_statement(account, root),
                                                dataprotect._id_column_types(account), ids)) THEN
        PERFORM dataprotect._raise('triggered_action_exception',
            format('%s of table "%s" puts the account''s row back', dataprotect._who_interferes(root.rel), root.rel), rel => root.rel);
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._check_own_row_gone(dataprotect.account_type, text[], dataprotect.plan_table) IS
    'error where an account''s own row is there again';

-- The next rows of one table: removed, or cleared.  waits says why rows were
-- left; dealt how many were dealt with, or were not there any more.
CREATE FUNCTION dataprotect._deletion_apply(account dataprotect.account_type, request bigint, step dataprotect.plan_step,
        tab dataprotect.plan_table, max_rows int, OUT dealt int, OUT waits text, OUT held text, OUT moved bool) RETURNS record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k int := cardinality(tab.key_columns);
    seqs bigint[];
    keys text[];
    chosen record;
    rows int[] := '{}';
    ids text[] := '{}';
    versions bool := tab.key_columns = '{tableoid,ctid,xmin}';
    action text := CASE WHEN step.what = 'delete' THEN 'delete' WHEN step.edge IS NOT NULL THEN 'nullify' ELSE 'anonymise' END;
BEGIN
    dealt := 0;
    moved := false;
    SELECT array_agg(x.seq ORDER BY x.i), array_agg(x.key || x.i::text ORDER BY x.i) INTO seqs, keys
      FROM (SELECT d.seq, d.key, row_number() OVER (ORDER BY d.seq DESC) AS i FROM dataprotect.deletion_row d
             WHERE d.request = _deletion_apply.request AND d.n = tab.n AND d.state = 'm' ORDER BY d.seq DESC LIMIT max_rows) x;
    IF seqs IS NULL THEN
        RETURN;
    END IF;
    FOR chosen IN
        SELECT r[1]::oid::regclass AS leaf, array_agg(r[2]::tid) AS tids, array_agg(r[3]::int) AS rows
          FROM dataprotect._rows_as(tab.rel, format('SELECT t.tableoid, t.ctid, v.c%s FROM %s t, %s WHERE %s FOR UPDATE OF t SKIP LOCKED',
                   k + 1, tab.rel, dataprotect._arrays(k + 1), tab.key_condition), tab.watch_types[1:k] || 'int4'::regtype::oid, keys) r
         GROUP BY r[1]
    LOOP
        IF dataprotect._rows_held(chosen.leaf, chosen.tids) THEN
            held := chosen.leaf::text;
            RETURN;
        END IF;
        IF action = 'delete' AND tab.n = 0 THEN
            ids := ids || dataprotect._own_ids(account, chosen.leaf, chosen.tids);
        END IF;
        PERFORM dataprotect._deletion_change(request, chosen.leaf, chosen.tids, step.assignments, action);
        rows := rows || chosen.rows;
    END LOOP;
    IF action = 'delete' AND tab.n = 0 AND rows <> '{}' THEN
        PERFORM dataprotect._check_own_row_gone(account, ids, tab);
    END IF;
    IF action = 'anonymise' AND rows <> '{}' AND NOT versions THEN
        SELECT array_agg(d.key) INTO keys FROM dataprotect.deletion_row d
         WHERE d.request = _deletion_apply.request AND d.n = tab.n AND d.seq = ANY (ARRAY(SELECT seqs[i] FROM unnest(rows) i));
        PERFORM dataprotect._check_cleared(account, tab, keys);
    END IF;
    IF step.edge IS NULL THEN
        UPDATE dataprotect.deletion_row d SET state = 'd'
         WHERE d.request = _deletion_apply.request AND d.n = tab.n AND d.seq = ANY (ARRAY(SELECT seqs[i] FROM unnest(rows) i));
    END IF;
    dealt := cardinality(rows);
    -- the others are locked, or not where they were noted any more
    IF dealt < cardinality(seqs) THEN
        SELECT array_agg(d.key || i::text) INTO keys
          FROM (SELECT i FROM generate_subscripts(seqs, 1) i EXCEPT SELECT unnest(rows)) x(i) JOIN dataprotect.deletion_row d
            ON d.request = _deletion_apply.request AND d.n = tab.n AND d.seq = seqs[i];
        FOR chosen IN
            SELECT r[1]::oid::regclass AS leaf, array_agg(r[2]::tid) AS tids, array_agg(r[3]::int) AS rows
              FROM dataprotect._rows_as(tab.rel, format('SELECT t.tableoid, t.ctid, v.c%s FROM %s t, %s WHERE %s',
                       k + 1, tab.rel, dataprotect._arrays(k + 1), tab.key_condition), tab.watch_types[1:k] || 'int4'::regtype::oid, keys) r
             GROUP BY r[1]
        LOOP
            waits := dataprotect._waits_for_rows(chosen.leaf, chosen.tids);
            rows := rows || chosen.rows;
        END LOOP;
        UPDATE dataprotect.deletion_row d SET state = 'd'
         WHERE d.request = _deletion_apply.request AND d.n = tab.n
           AND d.seq = ANY (ARRAY(SELECT seqs[i] FROM (SELECT i FROM generate_subscripts(seqs, 1) i EXCEPT SELECT unnest(rows)) x(i)));
        IF FOUND THEN
            moved := versions;
            dealt := dealt + 1;
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_apply(dataprotect.account_type, bigint, dataprotect.plan_step, dataprotect.plan_table, int) IS
    'remove or clear the next rows of an account in one table';

-- Rows that an edge finds: those of others are cut off from the account's rows, those
-- of a table where nothing leads on are removed.
CREATE FUNCTION dataprotect._deletion_cut(plan_id bigint, request bigint, step dataprotect.plan_step, max_rows int,
        OUT dealt int, OUT waits text, OUT held text) RETURNS record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    chosen record;
    before int;
    -- rows that are merely removed take less than a microsecond each
    most int := max_rows * CASE step.what WHEN 'delete' THEN 50 ELSE 10 END;
    whole record;
    at_once int;
    edge dataprotect.plan_edge := (SELECT e FROM dataprotect.plan_edge e WHERE e.plan = plan_id AND e.edge = step.edge);
BEGIN
    SELECT c.total, c.missed INTO STRICT whole FROM dataprotect._cut_at_once(plan_id, request, step, most) c;
    at_once := coalesce(whole.total, 0);
    dealt := at_once;
    IF whole.total < most AND NOT whole.missed AND dataprotect._nobody_interferes(ARRAY[step.rel]) THEN
        RETURN;     -- these were all of them
    END IF;
    LOOP
        EXIT WHEN dealt >= max_rows;
        before := dealt;
        FOR chosen IN SELECT * FROM dataprotect._rows_to_cut(plan_id, request, step.edge, max_rows - dealt) LOOP
            IF dataprotect._rows_held(chosen.leaf, chosen.tids) THEN
                held := chosen.leaf::text;
                RETURN;
            END IF;
            PERFORM dataprotect._deletion_change(request, chosen.leaf, chosen.tids, dataprotect._step_assignments(step, edge, request),
                                                 CASE step.what WHEN 'delete' THEN 'delete' ELSE 'nullify' END);
            dealt := dealt + cardinality(chosen.tids);
        END LOOP;
        EXIT WHEN dealt = before;
        IF before > at_once AND dealt < max_rows THEN
            PERFORM dataprotect._raise('triggered_action_exception',
                format('%s of table "%s" puts %s back', dataprotect._who_interferes(step.rel), step.rel,
                       CASE step.what WHEN 'delete' THEN 'rows' ELSE 'a reference' END), rel => step.rel);
        END IF;
    END LOOP;
    IF dealt < max_rows THEN
        FOR chosen IN SELECT * FROM dataprotect._rows_to_cut(plan_id, request, step.edge, NULL) LIMIT 1 LOOP
            waits := dataprotect._waits_for_rows(chosen.leaf, chosen.tids);
        END LOOP;
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_cut(bigint, bigint, dataprotect.plan_step, int) IS
    'cut off or remove the next rows that an edge finds';

-- A request goes on under a newer plan: what was noted is noted under its tables.
CREATE FUNCTION dataprotect._deletion_follow_plan(request dataprotect.deletion_request, plan_id bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tab dataprotect.plan_table;
    k int;
BEGIN
    WITH old AS (
        DELETE FROM dataprotect.deletion_row d WHERE d.request = _deletion_follow_plan.request.id RETURNING d.*)
    INSERT INTO dataprotect.deletion_row (request, n, key, vals, leaf, state)
        SELECT o.request, n.n, o.key, ARRAY(SELECT o.vals[array_position(p.watch, w.c)] FROM unnest(n.watch) WITH ORDINALITY AS w(c, ord) ORDER BY w.ord),
               o.leaf, o.state
          FROM old o
          JOIN dataprotect.plan_table p ON p.plan = _deletion_follow_plan.request.plan AND p.n = o.n
          JOIN dataprotect.plan_table n ON n.plan = plan_id AND n.rel = p.rel AND n.key_columns = p.key_columns
         ORDER BY o.seq;
    FOR tab IN SELECT t.* FROM dataprotect.plan_table t WHERE t.plan = plan_id LOOP
        k := cardinality(tab.key_columns);
        UPDATE dataprotect.deletion_row d SET vals = r[2:]
          FROM dataprotect._rows_as(tab.rel, format('SELECT %s FROM %s t, %s WHERE %s', tab.select_list, tab.rel, dataprotect._arrays(k), tab.key_condition),
                   tab.watch_types[1:k], (SELECT array_agg(o.key) FROM dataprotect.deletion_row o
                                           WHERE o.request = _deletion_follow_plan.request.id AND o.n = tab.n)) r
         WHERE d.request = _deletion_follow_plan.request.id AND d.n = tab.n AND d.key = r[2:k + 1];
    END LOOP;
    UPDATE dataprotect.deletion_request q SET plan = plan_id, phase = 0 WHERE q.id = _deletion_follow_plan.request.id;
END $$;
COMMENT ON FUNCTION dataprotect._deletion_follow_plan(dataprotect.deletion_request, bigint) IS 'let a deletion go on under another plan';

-- A table in which rows of the account are that should be gone or cleared, or NULL.
CREATE FUNCTION dataprotect._rows_remain(plan_id bigint, request bigint) RETURNS regclass
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found regclass;
    step record;
BEGIN
    SELECT t.rel INTO found FROM dataprotect.plan_table t
     WHERE t.plan = plan_id AND EXISTS (SELECT FROM dataprotect.plan_step s WHERE s.plan = plan_id AND s.n = t.n AND s.edge IS NULL)
       AND EXISTS (SELECT FROM dataprotect.deletion_row d WHERE d.request = _rows_remain.request AND d.n = t.n AND d.state = 'm')
     ORDER BY t.n LIMIT 1;
    IF found IS NOT NULL THEN
        RETURN found;
    END IF;
    FOR step IN SELECT s.* FROM dataprotect.plan_step s WHERE s.plan = plan_id AND s.what <> 'clear' AND s.edge IS NOT NULL ORDER BY s.ord LOOP
        IF EXISTS (SELECT FROM dataprotect._rows_to_cut(plan_id, request, step.edge, NULL)) THEN
            RETURN step.rel;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION dataprotect._rows_remain(bigint, bigint) IS 'a table with rows that a deletion has still to deal with, or NULL';
