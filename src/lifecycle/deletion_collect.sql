-- The rows of an account, collected table by table to a fixpoint
--
-- A row is noted once, by its key, whatever the number of ways to it.  Each edge
-- remembers how far it has looked; a round looks from every row that came since,
-- and the work is over when a round finds none: edges times rows, never paths.
-- What was noted is in an ordinary table of ours: a deletion that was interrupted
-- goes on with rows to which nothing leads any more.  Rows that are gone stay
-- noted to the end, so that what references them in spite of it is found.
--
-- Rows of a table that leads nowhere (plan_table.at_end) are noted for an export
-- alone: a deletion finds them by their edge, from the rows that they reference.

CREATE TABLE dataprotect.deletion_row (
    request bigint NOT NULL,            -- negative: of an export
    n int NOT NULL,                     -- table of the plan
    key text[] NOT NULL,
    vals text[] NOT NULL,               -- of the watched columns
    leaf oid NOT NULL,
    state "char" NOT NULL CHECK (state IN ('m', 'c', 'd')), -- of the account; referenced by it; dealt with
    seq bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (request, n, key)
) WITH (fillfactor = 50);              -- a row's state changes once, on its page
CREATE INDEX deletion_row_seq_idx ON dataprotect.deletion_row (request, n, seq);
COMMENT ON TABLE dataprotect.deletion_row IS 'rows of accounts that are being deleted or exported';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.deletion_row', 'WHERE request > 0');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.deletion_row_seq_seq', '');

-- Values at some positions of rows, one after the other, as parameters.
CREATE FUNCTION dataprotect._positions(vals text[], pos int[]) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT array_agg(vals[p] ORDER BY ord) FROM unnest(pos) WITH ORDINALITY AS x(p, ord));
END $$;
COMMENT ON FUNCTION dataprotect._positions(text[], int[]) IS 'some of the values of a row';

CREATE FUNCTION dataprotect._oids_at(types oid[], pos int[]) RETURNS oid[]
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT array_agg(types[p] ORDER BY ord) FROM unnest(pos) WITH ORDINALITY AS x(p, ord));
END $$;
COMMENT ON FUNCTION dataprotect._oids_at(oid[], int[]) IS 'some of the types of a row';

-- Note rows that a statement finds; one that came back after it was removed is
-- there again.
CREATE FUNCTION dataprotect._collect_rows(request bigint, tab dataprotect.plan_table, state "char", rel regclass, statement text,
        types oid[], vals text[]) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    k int := cardinality(tab.key_columns);
    added bigint;
BEGIN
    INSERT INTO dataprotect.deletion_row AS d (request, n, key, vals, leaf, state)
        SELECT _collect_rows.request, tab.n, r[2:k + 1], r[2:], r[1]::oid, _collect_rows.state
          FROM dataprotect._rows_as(rel, statement, types, _collect_rows.vals) r
        ON CONFLICT ON CONSTRAINT deletion_row_pkey DO UPDATE
           SET state = 'm', vals = excluded.vals, leaf = excluded.leaf
         WHERE tab.actions = '{delete}' AND d.state = 'd' AND excluded.state = 'm';
    GET DIAGNOSTICS added = ROW_COUNT;
    RETURN added;
END $$;
COMMENT ON FUNCTION dataprotect._collect_rows(bigint, dataprotect.plan_table, "char", regclass, text, oid[], text[]) IS
    'note rows of an account; how many came new';

-- Of the account's own rows that are gone, those whose values at an edge another row
-- has now (somebody registered again): what references them is of that one.
CREATE FUNCTION dataprotect._left_to_others(request bigint, source dataprotect.plan_table, columns name[], pos int[]) RETURNS bigint[]
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    m int := cardinality(pos);
    types oid[] := dataprotect._oids_at(source.watch_types, pos);
    vals text[];
BEGIN
    IF source.n <> 0 OR source.actions <> '{delete}' OR _left_to_others.request < 0 THEN
        RETURN '{}';
    END IF;
    SELECT array_agg(x.v || x.seq::text) INTO vals
      FROM (SELECT d.seq, dataprotect._positions(d.vals, pos) AS v FROM dataprotect.deletion_row d
             WHERE d.request = _left_to_others.request AND d.n = 0 AND d.state = 'd') x
     WHERE array_position(x.v, NULL) IS NULL;
    IF vals IS NULL THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(
        SELECT r[1]::bigint FROM dataprotect._rows_as(source.rel, format('SELECT v.c%s FROM %s t, %s WHERE %s', m + 1, source.rel, dataprotect._arrays(m + 1),
                   (SELECT string_agg(format(dataprotect._operator_template(dataprotect._equality_operator(types[ord], types[ord])),
                                             'v.c' || ord, format('t.%I', c)), ' AND ' ORDER BY ord)
                      FROM unnest(columns) WITH ORDINALITY AS x(c, ord))),
                   types || 'int8'::regtype::oid, vals) r);
END $$;
COMMENT ON FUNCTION dataprotect._left_to_others(bigint, dataprotect.plan_table, name[], int[]) IS
    'own rows of an account that are gone and whose values at an edge another row has now';

-- Rows at the other end of an edge, from the rows noted after seen; in portions.
-- Where the edge has looked to is returned.
CREATE FUNCTION dataprotect._collect_edge(request bigint, edge dataprotect.plan_edge, source dataprotect.plan_table,
        tab dataprotect.plan_table, pos int[], INOUT seen bigint, OUT added bigint) RETURNS record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    portion record;
    others bigint[] := CASE edge.direction WHEN 'in' THEN dataprotect._left_to_others(request, source, edge.target_columns, pos) ELSE '{}' END;
BEGIN
    added := 0;
    LOOP
        SELECT max(x.seq) AS last, array_agg(p.v) FILTER (WHERE array_position(p.v, NULL) IS NULL) AS vals INTO portion
          FROM (SELECT d.seq, d.vals FROM dataprotect.deletion_row d
                 WHERE d.request = _collect_edge.request AND d.n = source.n AND d.state <> 'c' AND d.seq > seen AND d.seq <> ALL (others)
                 ORDER BY d.seq LIMIT 10000) x, LATERAL (SELECT dataprotect._positions(x.vals, pos) AS v) p;
        EXIT WHEN portion.last IS NULL;
        seen := portion.last;
        IF portion.vals IS NOT NULL THEN
            added := added + dataprotect._collect_rows(request, tab, CASE edge.direction WHEN 'in' THEN 'm' ELSE 'c' END::"char",
                tab.rel, edge.statement, dataprotect._oids_at(source.watch_types, pos), portion.vals);
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._collect_edge(bigint, dataprotect.plan_edge, dataprotect.plan_table, dataprotect.plan_table, int[], bigint) IS
    'note the rows at the other end of an edge';

-- Rows of a satellite that only rows of the account reference are the account's.
-- True where there were some.
CREATE FUNCTION dataprotect._collect_alone(request bigint, plan_id bigint, tab dataprotect.plan_table) RETURNS bool
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    candidates bigint[] := ARRAY(SELECT d.seq FROM dataprotect.deletion_row d
                                  WHERE d.request = _collect_alone.request AND d.n = tab.n AND d.state = 'c' ORDER BY d.seq);
    edge record;
    params text[];
    taken int;
BEGIN
    FOR edge IN SELECT e.*, f.n AS from_n, f.key_columns AS from_key,
                       (SELECT count(*) FROM dataprotect.deletion_row d
                         WHERE d.request = _collect_alone.request AND d.n = f.n AND d.state IN ('m', 'd')) + 1 AS enough
                  FROM dataprotect.plan_edge e
                  LEFT JOIN dataprotect.plan_table f ON f.plan = plan_id AND f.rel = e.from_rel
                 WHERE e.plan = plan_id AND e.to_rel = tab.rel AND e.check_statement IS NOT NULL
                   AND (e.declared OR e.action IS NOT NULL)
    LOOP
        EXIT WHEN candidates = '{}';
        SELECT array_agg(dataprotect._positions(d.vals, edge.to_pos) || ARRAY[c.i::text, edge.enough::text]) INTO params
          FROM unnest(candidates) WITH ORDINALITY AS c(seq, i)
          JOIN dataprotect.deletion_row d ON d.request = _collect_alone.request AND d.n = tab.n AND d.seq = c.seq
         WHERE array_position(dataprotect._positions(d.vals, edge.to_pos), NULL) IS NULL;
        CONTINUE WHEN params IS NULL;
        candidates := ARRAY(
            SELECT c.seq FROM unnest(candidates) WITH ORDINALITY AS c(seq, i)
             WHERE c.i NOT IN (
                SELECT r[1]::int FROM dataprotect._rows_as(edge.from_rel, edge.check_statement,
                           dataprotect._oids_at(tab.watch_types, edge.to_pos) || ARRAY['int4'::regtype, 'int8'::regtype]::oid[], params) r
                 WHERE edge.from_n IS NULL OR NOT EXISTS (
                       SELECT FROM dataprotect.deletion_row d
                        WHERE d.request = _collect_alone.request AND d.n = edge.from_n AND d.state IN ('m', 'd') AND d.key = r[2:])));
    END LOOP;
    UPDATE dataprotect.deletion_row d SET state = 'm', seq = DEFAULT
     WHERE d.request = _collect_alone.request AND d.n = tab.n AND d.seq = ANY (candidates);
    GET DIAGNOSTICS taken = ROW_COUNT;
    RETURN taken > 0;
END $$;
COMMENT ON FUNCTION dataprotect._collect_alone(bigint, bigint, dataprotect.plan_table) IS
    'take rows of a table that only the account''s rows reference';

-- The account's own row by its id ($1, or a parameter for each of its columns).
CREATE FUNCTION dataprotect._own_row_statement(account dataprotect.account_type, root dataprotect.plan_table) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    types oid[] := dataprotect._id_column_types(account);
BEGIN
    RETURN format('SELECT %s FROM %s t, %s WHERE %s', root.select_list, root.rel, dataprotect._arrays(cardinality(types)),
                  (SELECT string_agg(format(dataprotect._operator_template(dataprotect._equality_operator(types[ord], types[ord])),
                                            'v.c' || ord, format('t.%I', c)), ' AND ' ORDER BY ord)
                     FROM unnest(account.id_columns) WITH ORDINALITY AS x(c, ord)));
END $$;
COMMENT ON FUNCTION dataprotect._own_row_statement(dataprotect.account_type, dataprotect.plan_table) IS 'statement that finds an account''s own row by its id';

-- An account is one row: its id may become another in the grace time, or another row's
-- (somebody removes the row and registers again).  So the row is noted by its primary
-- key with the request; where that is the id, or there is none, for what references
-- it: somebody may remove the row and leave the rest.
CREATE FUNCTION dataprotect._note_own_row(account dataprotect.account_type, plan_id bigint, request bigint, id text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    root dataprotect.plan_table := (SELECT t FROM dataprotect.plan_table t WHERE t.plan = plan_id AND t.n = 0);
BEGIN
    PERFORM dataprotect._collect_rows(request, root, 'm', root.rel, dataprotect._own_row_statement(account, root),
                                      dataprotect._id_column_types(account), dataprotect._id_values(account, id));
END $$;
COMMENT ON FUNCTION dataprotect._note_own_row(dataprotect.account_type, bigint, bigint, text) IS 'note an account''s own row by its primary key';

-- How the row that was noted is found now: by the account's id, by its key because the
-- id is another or another row's, or not at all.  id_now: the id that it has.  A row
-- that was gone once stays so: under its key stands another's.
CREATE FUNCTION dataprotect._find_own_row(account dataprotect.account_type, plan_id bigint, request bigint, id text,
        OUT found_by text, OUT id_now text) RETURNS record
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    root dataprotect.plan_table := (SELECT t FROM dataprotect.plan_table t WHERE t.plan = plan_id AND t.n = 0);
    k int := cardinality(root.key_columns);
    noted text[];
    gone bool;
    by_id text[] := (SELECT r[2:k + 1] FROM dataprotect._rows_as(root.rel, dataprotect._own_row_statement(account, root),
                         dataprotect._id_column_types(account), dataprotect._id_values(account, id)) r LIMIT 1);
BEGIN
    id_now := id;
    SELECT d.key, d.state = 'd' INTO noted, gone FROM dataprotect.deletion_row d
     WHERE d.request = _find_own_row.request AND d.n = 0 ORDER BY d.seq LIMIT 1;
    IF root.key_columns = '{tableoid,ctid,xmin}' AND by_id <> noted AND NOT gone THEN
        -- another version, of the same row for all that can be known
        DELETE FROM dataprotect.deletion_row d WHERE d.request = _find_own_row.request AND d.n = 0 AND d.key = noted;
        noted := NULL;
    END IF;
    IF noted IS NULL OR gone THEN
        found_by := CASE WHEN by_id IS NULL OR gone THEN 'nothing' ELSE 'id' END;
        RETURN;
    END IF;
    UPDATE dataprotect.deletion_row d SET vals = r[2:], leaf = r[1]::oid
      FROM dataprotect._rows_as(root.rel, format('SELECT %s FROM %s t, %s WHERE %s', root.select_list, root.rel, dataprotect._arrays(k), root.key_condition),
                                root.watch_types[1:k], noted) r
     WHERE d.request = _find_own_row.request AND d.n = 0 AND d.key = noted
    RETURNING CASE WHEN by_id = noted THEN id WHEN cardinality(account.id_columns) = 1 THEN d.vals[array_position(root.watch, account.id_column)]
                   ELSE (SELECT array_agg(d.vals[array_position(root.watch, c)] ORDER BY ord)::text FROM unnest(account.id_columns) WITH ORDINALITY AS x(c, ord))
              END INTO id_now;
    found_by := CASE WHEN NOT FOUND THEN 'nothing' WHEN by_id = noted THEN 'id' ELSE 'key' END;
    id_now := coalesce(id_now, id);
END $$;
COMMENT ON FUNCTION dataprotect._find_own_row(dataprotect.account_type, bigint, bigint, text) IS
    'how an account''s own row is found when its deletion begins';

-- Note every row of an account; what was noted before is looked from again.
CREATE FUNCTION dataprotect._account_collect(account dataprotect.account_type, plan_id bigint, request bigint, id text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tables dataprotect.plan_table[] := ARRAY(SELECT t FROM dataprotect.plan_table t WHERE t.plan = plan_id ORDER BY t.n);
    edges dataprotect.plan_edge[] := ARRAY(
        SELECT e FROM dataprotect.plan_edge e
         WHERE e.plan = plan_id AND e.statement IS NOT NULL AND NOT (e.direction = 'in' AND e.action = 'nullify')
           AND (_account_collect.request < 0 OR NOT EXISTS (
                SELECT FROM unnest(tables) t WHERE t.rel = e.from_rel AND t.at_end))
         ORDER BY e.direction, e.edge);
    root dataprotect.plan_table := tables[1];
    seen bigint[] := array_fill(0::bigint, ARRAY[greatest(cardinality(edges), 1)]);
    looked record;
    source dataprotect.plan_table;
    target dataprotect.plan_table;
    k int := cardinality(root.key_columns);
    versions bool := root.key_columns = '{tableoid,ctid,xmin}';
    -- Once its purge began an account is the row that was noted.  Where rows have no key of
    -- their own it is until it is removed whichever row has the id.
    by_key bool := (SELECT q.found_by <> 'id' OR CASE WHEN versions
                           THEN EXISTS (SELECT FROM dataprotect.deletion_work w
                                         WHERE w.request = q.id AND w.rel = dataprotect._top(root.rel)::text AND w.action NOT IN ('keep', 'shared'))
                           ELSE q.purge_started_at IS NOT NULL
                                AND EXISTS (SELECT FROM dataprotect.deletion_row d WHERE d.request = q.id AND d.n = 0) END
                      FROM dataprotect.deletion_request q WHERE q.id = _account_collect.request);
    keys text[];
    moved bool;
BEGIN
    -- a candidate is one as long as something of the account references it
    DELETE FROM dataprotect.deletion_row d WHERE d.request = _account_collect.request AND d.state = 'c';
    IF by_key THEN
        SELECT array_agg(d.key || d.seq::text) INTO keys FROM dataprotect.deletion_row d
         WHERE d.request = _account_collect.request AND d.n = 0 AND d.state = 'm';
        -- one that is not there any more will not be there again: whoever has its key is another
        WITH there AS MATERIALIZED (
            SELECT r FROM dataprotect._rows_as(root.rel, format('SELECT v.c%s, %s FROM %s t, %s WHERE %s', k + 1, root.select_list, root.rel,
                              dataprotect._arrays(k + 1), root.key_condition), root.watch_types[1:k] || 'int8'::regtype::oid, keys) r)
        UPDATE dataprotect.deletion_row d
           SET vals = coalesce(t.r[3:], d.vals), leaf = coalesce(t.r[2]::oid, d.leaf), state = CASE WHEN t.r IS NULL THEN 'd' ELSE 'm' END::"char"
          FROM dataprotect.deletion_row o LEFT JOIN there t ON o.seq = t.r[1]::bigint
         WHERE o.request = _account_collect.request AND o.n = 0 AND o.state = 'm'
           AND d.request = o.request AND d.n = 0 AND d.key = o.key
           AND (t.r IS NULL OR d.vals IS DISTINCT FROM t.r[3:] OR d.leaf <> t.r[2]::oid);
    ELSE
        PERFORM dataprotect._collect_rows(request, root, 'm', root.rel, dataprotect._own_row_statement(account, root),
                                          dataprotect._id_column_types(account), dataprotect._id_values(account, id));
    END IF;
    LOOP
        moved := false;
        FOR i IN 1..cardinality(edges) LOOP
            source := (SELECT t FROM unnest(tables) t WHERE t.rel = CASE edges[i].direction WHEN 'in' THEN edges[i].to_rel ELSE edges[i].from_rel END);
            target := (SELECT t FROM unnest(tables) t WHERE t.rel = CASE edges[i].direction WHEN 'in' THEN edges[i].from_rel ELSE edges[i].to_rel END);
            looked := dataprotect._collect_edge(request, edges[i], source, target,
                CASE edges[i].direction WHEN 'in' THEN edges[i].to_pos ELSE edges[i].from_pos END, seen[i]);
            moved := moved OR looked.added > 0;
            seen[i] := looked.seen;
        END LOOP;
        IF NOT moved THEN
            FOREACH target IN ARRAY tables LOOP
                CONTINUE WHEN NOT target.satellite;
                moved := dataprotect._collect_alone(request, plan_id, target) OR moved;
            END LOOP;
        END IF;
        EXIT WHEN NOT moved;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._account_collect(dataprotect.account_type, bigint, bigint, text) IS
    'note every row of an account';
