-- Plans: an account type compiled against the schema as it is
--
-- Written by _account_compile() alone, under a new version whenever the digest of
-- what it was made from has changed: tables, columns, foreign keys, owners,
-- annotations, bindings.  A deletion collects the account's rows along plan_edge
-- to a fixpoint (deletion_collect.sql) and goes through plan_step in order
-- (deletion_purge.sql); a certificate names the version.
--
-- Directions.  "in": rows that reference a row of the account; they are its rows as
-- well, but for nullify (they are cut off) and shared.  "out": rows that rows of the
-- account reference; they go with it where nothing else references them.  An edge
-- has one direction: in, where its target is reached before its source.

CREATE TABLE dataprotect.plan (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_type text NOT NULL,
    version int NOT NULL,
    digest text NOT NULL,
    compiled_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    seal bytea,
    UNIQUE (account_type, version)
);
COMMENT ON TABLE dataprotect.plan IS 'versions of the plans of account types; see dataprotect.account_plan()';

CREATE TABLE dataprotect.plan_table (
    plan bigint NOT NULL REFERENCES dataprotect.plan ON DELETE CASCADE,
    n int NOT NULL,
    rel regclass NOT NULL,
    reached_by text NOT NULL,
    satellite bool NOT NULL,            -- reached by leading away only
    actions text[] NOT NULL DEFAULT '{}',
    key_columns name[],                 -- identity of a row: the primary key, or tableoid, ctid, xmin
    watch name[],                       -- the key, then what edges need
    watch_types oid[],
    select_list text,                       -- select list of the watched columns
    key_condition text,                 -- of a row t with one of unnest($1, ..) v(c1, ..)
    assignments text,                   -- what clearing its rows writes
    at_end bool NOT NULL DEFAULT false, -- deleted, and nothing leads on from its rows: found by their edges alone
    seal bytea,
    PRIMARY KEY (plan, n),
    UNIQUE (plan, rel)
);
COMMENT ON TABLE dataprotect.plan_table IS 'tables that an account''s rows are reached in';

CREATE TABLE dataprotect.plan_edge (
    plan bigint NOT NULL REFERENCES dataprotect.plan ON DELETE CASCADE,
    edge int NOT NULL,
    direction text NOT NULL CHECK (direction IN ('in', 'out')),
    from_rel regclass NOT NULL,
    columns name[] NOT NULL,
    match jsonb NOT NULL,
    to_rel regclass NOT NULL,
    target_columns name[] NOT NULL,
    operators text[],
    sets_null bool NOT NULL,
    name text NOT NULL,
    casts bool NOT NULL,
    declared bool NOT NULL,
    action text,
    basis text,
    from_pos int[],                     -- its columns among the watched ones of either table
    to_pos int[],
    statement text,                     -- finds the rows at the other end
    check_statement text,               -- finds who references rows at its target
    seal bytea,
    PRIMARY KEY (plan, edge)
);
COMMENT ON TABLE dataprotect.plan_edge IS 'edges of an account''s tables, with what was decided';

CREATE TABLE dataprotect.plan_step (
    plan bigint NOT NULL REFERENCES dataprotect.plan ON DELETE CASCADE,
    ord int NOT NULL,
    what text NOT NULL CHECK (what IN ('clear', 'cut', 'delete')),
    rel regclass NOT NULL,
    n int,                              -- whose rows: of the table, or of the edge's target
    edge int,                           -- by which rows are found that are not noted; cut, with clear
    assignments text,
    seal bytea,
    PRIMARY KEY (plan, ord)
);
COMMENT ON TABLE dataprotect.plan_step IS 'what a deletion changes, in order';

SELECT pg_catalog.pg_extension_config_dump('dataprotect.plan', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.plan_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.plan_table', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.plan_edge', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.plan_step', '');

-- Whether values of a type can be kept as text and read back without anybody's code.
CREATE FUNCTION dataprotect._is_plain_type(type oid) RETURNS bool
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT t.typtype IN ('b', 'e') AND t.typcategory <> 'A' AND t.typarray <> 0 AND NOT dataprotect._bears(t.oid)
      FROM pg_type t WHERE t.oid = dataprotect._undomained(type));
END $$;
COMMENT ON FUNCTION dataprotect._is_plain_type(oid) IS 'whether a column of this type can lead from table to table';

CREATE FUNCTION dataprotect._column_type(rel regclass, col name) RETURNS oid
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT dataprotect._undomained(a.atttypid) FROM pg_attribute a WHERE a.attrelid = rel AND a.attname = col AND NOT a.attisdropped);
END $$;
COMMENT ON FUNCTION dataprotect._column_type(regclass, name) IS 'type of a column, below its domain';

-- The primary key, where it tells rows apart and can be kept; else where a row
-- version is.
CREATE FUNCTION dataprotect._row_identity(rel regclass) RETURNS name[]
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT coalesce(
        (SELECT CASE WHEN bool_and(dataprotect._is_plain_type(a.atttypid) AND dataprotect._equality_operator(
                                       dataprotect._undomained(a.atttypid), dataprotect._undomained(a.atttypid)) IS NOT NULL)
                     THEN array_agg(a.attname ORDER BY k.ord) END
           FROM pg_constraint c, unnest(c.conkey) WITH ORDINALITY AS k(num, ord), pg_attribute a
          WHERE c.conrelid = rel AND c.contype = 'p' AND a.attrelid = rel AND a.attnum = k.num
            AND ((SELECT r.relkind FROM pg_class r WHERE r.oid = rel) = 'p'
                 OR NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = rel))),
        '{tableoid,ctid,xmin}'));
END $$;
COMMENT ON FUNCTION dataprotect._row_identity(regclass) IS 'columns that tell a table''s rows apart';

CREATE FUNCTION dataprotect._arrays(n int) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    -- of several arrays it is syntax and no call, which no search path can lead astray
    SELECT format('%sunnest(%s) v(%s)', CASE WHEN n = 1 THEN 'pg_catalog.' END, string_agg('$' || i, ', ' ORDER BY i),
                  string_agg('c' || i, ', ' ORDER BY i))
      FROM generate_series(1, n) i);
END $$;
COMMENT ON FUNCTION dataprotect._arrays(int) IS 'FROM item of n columns given as arrays';

-- t.parent = v.cN or v.cN = t.child, with the edge's own operators.
CREATE FUNCTION dataprotect._edge_condition(operators text[], columns name[], at_parent bool) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    SELECT string_agg(CASE WHEN at_parent THEN format(k.op, format('t.%I', k.c), 'v.c' || k.ord)
                           ELSE format(k.op, 'v.c' || k.ord, format('t.%I', k.c)) END, ' AND ' ORDER BY k.ord)
      FROM unnest(operators, columns) WITH ORDINALITY AS k(op, c, ord));
END $$;
COMMENT ON FUNCTION dataprotect._edge_condition(text[], name[], bool) IS 'condition that a row t is at one end of an edge whose other end is v';

-- Digest of everything that a plan over these tables is made from.
CREATE FUNCTION dataprotect._plan_digest(account dataprotect.account_type, tables regclass[]) RETURNS text
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN (
    WITH inside AS MATERIALIZED (SELECT DISTINCT b::oid AS oid FROM unnest(tables || account.root) t, dataprotect._below(t) b)
    SELECT md5(concat_ws('|', account.name, account.root::oid, array_to_string(account.id_columns, '|'),
        (SELECT string_agg(r::text, ';' ORDER BY r::text) FROM dataprotect._rules_of(account.name) r),
        (SELECT string_agg(b::text, ';' ORDER BY b::text) FROM dataprotect._bindings_of(account.name) b),
        (SELECT string_agg(concat_ws(',', c.oid, c.relname, c.relnamespace, c.relkind), ';' ORDER BY c.oid)
           FROM pg_class c WHERE c.oid IN (SELECT i.oid FROM inside i)),
        (SELECT string_agg(concat_ws(',', a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attisdropped), ';'
                           ORDER BY a.attrelid, a.attnum)
           FROM pg_attribute a WHERE a.attrelid = ANY (tables || account.root) AND a.attnum > 0),
        (SELECT string_agg(concat_ws(',', k.oid, k.conname, k.conrelid, k.confrelid, k.conkey, k.confkey, k.confdeltype, k.conparentid), ';' ORDER BY k.oid)
           FROM pg_constraint k WHERE k.contype = 'f' AND (k.conrelid IN (SELECT i.oid FROM inside i) OR k.confrelid IN (SELECT i.oid FROM inside i))),
        (SELECT string_agg(concat_ws(',', k.oid, k.conkey), ';' ORDER BY k.oid)
           FROM pg_constraint k WHERE k.contype IN ('p', 'u') AND k.conrelid IN (SELECT i.oid FROM inside i)))));
END $$;
COMMENT ON FUNCTION dataprotect._plan_digest(dataprotect.account_type, regclass[]) IS 'digest of what a plan over some tables is made from';

-- Edges into some tables of a plan ("in"), or away from all of them ("out").  Rows
-- that lead away to a satellite are asked whether they are alone in doing so, and
-- no account takes another along: both only ever lead away.
CREATE FUNCTION dataprotect._plan_add_edges(plan_id bigint, account dataprotect.account_type, way text, tables regclass[]) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    INSERT INTO dataprotect.plan_edge (plan, edge, direction, from_rel, columns, match, to_rel, target_columns, operators,
                                       sets_null, name, casts, declared, action, basis)
        SELECT plan_id, (SELECT coalesce(max(o.edge), 0) FROM dataprotect.plan_edge o WHERE o.plan = plan_id)
                        + row_number() OVER (ORDER BY x.from_rel::text, x.columns::text, x.to_rel::text, x.match::text),
               way, x.from_rel, x.columns, x.match, x.to_rel, x.target_columns, x.operators, x.sets_null, x.name, x.casts,
               x.declared, x.action, x.basis
          FROM dataprotect._account_edges(account, tables) x
          LEFT JOIN dataprotect.plan_table f ON f.plan = plan_id AND f.rel = x.from_rel
          LEFT JOIN dataprotect.plan_table t ON t.plan = plan_id AND t.rel = x.to_rel
         WHERE CASE WHEN way = 'out' THEN f.rel IS NOT NULL AND x.from_rel = ANY (tables)
                    ELSE x.to_rel = ANY (tables)
                         AND (x.action IS NOT DISTINCT FROM 'nullify'
                              OR x.from_rel <> account.root AND (NOT t.satellite OR f.rel IS NULL)) END
           AND NOT EXISTS (SELECT FROM dataprotect.plan_edge o WHERE o.plan = plan_id AND o.from_rel = x.from_rel
                              AND o.columns = x.columns AND o.match = x.match AND o.to_rel = x.to_rel
                              AND o.target_columns = x.target_columns);
$$;
COMMENT ON FUNCTION dataprotect._plan_add_edges(bigint, dataprotect.account_type, text, regclass[]) IS 'add the edges at some tables to a plan';

CREATE FUNCTION dataprotect._edge_text(from_rel regclass, columns name[], match jsonb, to_rel regclass) RETURNS text
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT format('%s(%s)%s -> %s', from_rel, array_to_string(columns, ', '), CASE WHEN match <> '{}' THEN ' ' || match::text ELSE '' END, to_rel);
$$;
COMMENT ON FUNCTION dataprotect._edge_text(regclass, name[], jsonb, regclass) IS 'an edge in words';

-- Tables reached from the ones in tables, those by their in-edges first; returns
-- what came new.
CREATE FUNCTION dataprotect._plan_add_tables(plan_id bigint, account dataprotect.account_type, way text, tables regclass[]) RETURNS regclass[]
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found regclass[];
BEGIN
    PERFORM dataprotect._plan_add_edges(plan_id, account, way, tables);
    WITH new AS (
        INSERT INTO dataprotect.plan_table (plan, n, rel, reached_by, satellite)
            SELECT plan_id, (SELECT max(o.n) FROM dataprotect.plan_table o WHERE o.plan = plan_id) + row_number() OVER (ORDER BY min(x.edge)),
                   x.rel, min(x.reached_by), way = 'out'
              FROM (SELECT e.edge, CASE way WHEN 'in' THEN e.from_rel ELSE e.to_rel END AS rel,
                           dataprotect._edge_text(e.from_rel, e.columns, e.match, e.to_rel) AS reached_by
                      FROM dataprotect.plan_edge e
                     WHERE e.plan = plan_id AND e.direction = way AND e.to_rel <> CASE way WHEN 'out' THEN account.root ELSE 0 END
                       AND e.action = ANY (CASE way WHEN 'in' THEN '{delete,anonymise,keep}'::text[] ELSE '{delete,anonymise}' END)) x
             WHERE NOT EXISTS (SELECT FROM dataprotect.plan_table o WHERE o.plan = plan_id AND o.rel = x.rel)
             GROUP BY x.rel
            RETURNING rel)
    SELECT array_agg(rel) INTO found FROM new;
    RETURN found;
END $$;
COMMENT ON FUNCTION dataprotect._plan_add_tables(bigint, dataprotect.account_type, text, regclass[]) IS
    'add the tables to a plan that are reached from some of it';

-- What happens to each table's rows, which columns are looked at, and the
-- statements that do it.
CREATE FUNCTION dataprotect._plan_statements(plan_id bigint, account dataprotect.account_type) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE dataprotect.plan_table t
       SET actions = CASE WHEN t.n = 0 THEN ARRAY[dataprotect._account_root_action(account)] ELSE coalesce(
                (SELECT array_agg(DISTINCT e.action ORDER BY e.action) FROM dataprotect.plan_edge e
                  WHERE e.plan = plan_id
                    AND (e.direction = 'in' AND e.from_rel = t.rel AND e.action IN ('delete', 'anonymise', 'keep')
                         OR e.direction = 'out' AND e.to_rel = t.rel AND t.satellite AND e.action IN ('delete', 'anonymise'))), '{}') END,
           key_columns = dataprotect._row_identity(t.rel)
     WHERE t.plan = plan_id;
    UPDATE dataprotect.plan_table t
       SET at_end = true
     WHERE t.plan = plan_id AND t.n > 0 AND t.actions = '{delete}' AND NOT t.satellite
       AND NOT EXISTS (SELECT FROM dataprotect.plan_edge e
                        WHERE e.plan = plan_id AND (e.to_rel = t.rel OR e.from_rel = t.rel
                                                    AND (e.direction = 'out' AND coalesce(e.action, 'delete') IN ('delete', 'anonymise')
                                                         OR e.casts)));
    UPDATE dataprotect.plan_table t
       SET watch = t.key_columns || ARRAY(
                SELECT DISTINCT c FROM (
                    SELECT unnest(e.target_columns) AS c FROM dataprotect.plan_edge e WHERE e.plan = plan_id AND e.to_rel = t.rel
                    UNION SELECT unnest(e.columns) FROM dataprotect.plan_edge e
                           WHERE e.plan = plan_id AND e.from_rel = t.rel AND e.direction = 'out'
                    UNION SELECT unnest(account.id_columns) WHERE t.n = 0) x
                 WHERE c <> ALL (t.key_columns) AND dataprotect._is_plain_type(dataprotect._column_type(t.rel, c)) ORDER BY c)
     WHERE t.plan = plan_id;
    UPDATE dataprotect.plan_table t
       SET watch_types = ARRAY(SELECT dataprotect._undomained(a.atttypid) FROM unnest(t.watch) WITH ORDINALITY AS w(c, ord)
                                 JOIN pg_attribute a ON a.attrelid = t.rel AND a.attname = w.c AND NOT a.attisdropped ORDER BY w.ord),
           select_list = 't.tableoid, ' || (SELECT string_agg(format('t.%I', w.c), ', ' ORDER BY w.ord) FROM unnest(t.watch) WITH ORDINALITY AS w(c, ord)),
           key_condition = (SELECT string_agg(format(dataprotect._operator_template(dataprotect._equality_operator(k.type, k.type)),
                                                     'v.c' || k.ord, format('t.%I', k.c)), ' AND ' ORDER BY k.ord)
                              FROM (SELECT w.c, w.ord, dataprotect._undomained(a.atttypid) AS type
                                      FROM unnest(t.key_columns) WITH ORDINALITY AS w(c, ord)
                                      JOIN pg_attribute a ON a.attrelid = t.rel AND a.attname = w.c AND NOT a.attisdropped) k)
     WHERE t.plan = plan_id;
    UPDATE dataprotect.plan_table t
       SET key_condition = 'v.c1 OPERATOR(pg_catalog.=) t.tableoid AND t.ctid OPERATOR(pg_catalog.=) v.c2 AND v.c3 OPERATOR(pg_catalog.=) t.xmin'
     WHERE t.plan = plan_id AND t.key_columns = '{tableoid,ctid,xmin}';
    UPDATE dataprotect.plan_edge e
       SET from_pos = (SELECT array_agg(array_position(t.watch, c.c) ORDER BY c.ord)
                         FROM dataprotect.plan_table t, unnest(e.columns) WITH ORDINALITY AS c(c, ord) WHERE t.plan = plan_id AND t.rel = e.from_rel),
           to_pos = (SELECT array_agg(array_position(t.watch, c.c) ORDER BY c.ord)
                       FROM dataprotect.plan_table t, unnest(e.target_columns) WITH ORDINALITY AS c(c, ord) WHERE t.plan = plan_id AND t.rel = e.to_rel)
     WHERE e.plan = plan_id;
    UPDATE dataprotect.plan_edge e
       SET statement = CASE
               WHEN e.direction = 'in' AND e.action IN ('delete', 'anonymise', 'keep') THEN
                    (SELECT format('SELECT %s FROM %s t, %s WHERE %s%s', t.select_list, e.from_rel, dataprotect._arrays(cardinality(e.columns)),
                                   dataprotect._edge_condition(e.operators, e.columns, false), dataprotect._match_condition(e.from_rel, e.match))
                       FROM dataprotect.plan_table t WHERE t.plan = plan_id AND t.rel = e.from_rel)
               WHEN e.direction = 'in' AND e.action = 'nullify' THEN
                    format('SELECT t.tableoid, t.ctid FROM %s t, %s WHERE %s%s', e.from_rel, dataprotect._arrays(cardinality(e.columns)),
                           dataprotect._edge_condition(e.operators, e.columns, false), dataprotect._match_condition(e.from_rel, e.match))
               WHEN e.direction = 'out' AND e.action IN ('delete', 'anonymise') THEN
                    (SELECT format('SELECT %s FROM %s t, %s WHERE %s', t.select_list, e.to_rel, dataprotect._arrays(cardinality(e.columns)),
                                   dataprotect._edge_condition(e.operators, e.target_columns, true))
                       FROM dataprotect.plan_table t WHERE t.plan = plan_id AND t.rel = e.to_rel AND t.satellite)
           END,
           check_statement = CASE WHEN e.direction = 'out' OR e.action IN ('keep', 'shared') THEN
               format('SELECT v.c%s, x.* FROM %s CROSS JOIN LATERAL (SELECT %s FROM %s t WHERE %s%s LIMIT ($%s)[1]) x',
                      cardinality(e.columns) + 1, dataprotect._arrays(cardinality(e.columns) + 2),
                      (SELECT coalesce(string_agg(format('t.%I', k), ', '), '1') FROM dataprotect.plan_table t, unnest(t.key_columns) k
                        WHERE t.plan = plan_id AND t.rel = e.from_rel),
                      e.from_rel, dataprotect._edge_condition(e.operators, e.columns, false),
                      dataprotect._match_condition(e.from_rel, e.match), cardinality(e.columns) + 2) END
     WHERE e.plan = plan_id AND NOT e.casts;
END $$;
COMMENT ON FUNCTION dataprotect._plan_statements(bigint, dataprotect.account_type) IS 'write the statements of a plan down';

-- Edges between tables whose rows go, that still have to be there when the
-- referenced row goes; one that can be cut where they run in a circle.
CREATE FUNCTION dataprotect._plan_steps(plan_id bigint, account dataprotect.account_type) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    left_over regclass[] := ARRAY(SELECT t.rel FROM dataprotect.plan_table t WHERE t.plan = plan_id AND t.actions = '{delete}' ORDER BY t.n DESC);
    cut int[] := '{}';
    sorted regclass[] := '{}';
    free regclass;
    circle record;
BEGIN
    WHILE left_over <> '{}' LOOP
        SELECT r INTO free FROM unnest(left_over) WITH ORDINALITY AS x(r, ord)
         WHERE NOT EXISTS (SELECT FROM dataprotect.plan_edge e
                            WHERE e.plan = plan_id AND e.declared AND e.to_rel = x.r AND e.from_rel <> x.r AND e.from_rel = ANY (left_over)
                              AND NOT (e.direction = 'in' AND e.action = 'nullify') AND e.edge <> ALL (cut))
         ORDER BY x.ord LIMIT 1;
        IF FOUND THEN
            sorted := sorted || free;
            left_over := array_remove(left_over, free);
            CONTINUE;
        END IF;
        SELECT e.edge, (SELECT a.attname FROM pg_attribute a WHERE a.attrelid = e.from_rel AND a.attname = ANY (e.columns)
                        AND NOT a.attnotnull ORDER BY a.attnum LIMIT 1) AS col INTO circle
          FROM dataprotect.plan_edge e
         WHERE e.plan = plan_id AND e.declared AND e.from_rel = ANY (left_over) AND e.to_rel = ANY (left_over) AND e.from_rel <> e.to_rel
           AND NOT (e.direction = 'in' AND e.action = 'nullify') AND e.edge <> ALL (cut)
         ORDER BY EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = e.from_rel AND a.attname = ANY (e.columns) AND NOT a.attnotnull) DESC, e.edge
         LIMIT 1;
        cut := cut || circle.edge;
    END LOOP;
    INSERT INTO dataprotect.plan_step (plan, ord, what, rel, n, edge, assignments)
        SELECT plan_id, row_number() OVER (ORDER BY s.phase, s.place, s.edge), s.what, s.rel, s.n, s.edge, s.assignments
          FROM (-- what is personal in rows that stay, and what they must not reference any more
                SELECT 1 AS phase, t.n AS place, 'clear' AS what, t.rel, t.n, NULL::int AS edge,
                       concat_ws(', ', (SELECT string_agg(format('%I = %s', p.col, p.value), ', ' ORDER BY p.col)
                                          FROM dataprotect._personal_columns(account.name, t.rel) p
                                         WHERE p.named OR t.actions = '{anonymise}'),
                                       (SELECT string_agg(DISTINCT format('%I = NULL', c), ', ') FROM dataprotect.plan_edge e, unnest(dataprotect._columns_to_null(e.from_rel, e.columns)) c
                                         WHERE e.plan = plan_id AND e.from_rel = t.rel AND t.actions = '{anonymise}'
                                           AND (e.direction = 'in' AND e.action = 'anonymise'
                                                AND (SELECT p.actions FROM dataprotect.plan_table p WHERE p.plan = plan_id AND p.rel = e.to_rel) = '{delete}'
                                                OR e.direction = 'out' AND e.action = 'nullify'))) AS assignments
                  FROM dataprotect.plan_table t WHERE t.plan = plan_id AND t.actions <> '{delete}'
                UNION ALL
                -- rows that stay without what they reference
                SELECT 2, e.edge, 'cut', e.from_rel, t.n, e.edge, concat_ws(', ',
                       dataprotect._cut_assignments(e.from_rel, e.columns),
                       (SELECT string_agg(format('%I = %s', p.col, p.value), ', ' ORDER BY p.col)
                          FROM dataprotect._personal_columns(account.name, e.from_rel) p
                         WHERE p.named AND p.col <> ALL (e.columns)
                           AND NOT EXISTS (SELECT FROM dataprotect.plan_table o WHERE o.plan = plan_id AND o.rel = e.from_rel)))
                  FROM dataprotect.plan_edge e JOIN dataprotect.plan_table t ON t.plan = plan_id AND t.rel = e.to_rel
                 WHERE e.plan = plan_id AND e.direction = 'in' AND e.action = 'nullify'
                UNION ALL
                -- rows that reference each other in a circle
                SELECT 3, e.edge, 'clear', e.from_rel, f.n, e.edge, dataprotect._cut_assignments(e.from_rel, e.columns)
                  FROM dataprotect.plan_edge e JOIN dataprotect.plan_table f ON f.plan = plan_id AND f.rel = e.from_rel
                 WHERE e.plan = plan_id AND e.edge = ANY (cut)
                UNION ALL
                SELECT 4, x.ord, 'delete', x.r, CASE WHEN t.at_end THEN f.n ELSE t.n END, f.edge, NULL
                  FROM unnest(sorted) WITH ORDINALITY AS x(r, ord) JOIN dataprotect.plan_table t ON t.plan = plan_id AND t.rel = x.r
                  LEFT JOIN LATERAL (
                       SELECT e.edge, o.n FROM dataprotect.plan_edge e JOIN dataprotect.plan_table o ON o.plan = plan_id AND o.rel = e.to_rel
                        WHERE e.plan = plan_id AND e.from_rel = x.r AND e.direction = 'in' AND e.action = 'delete') f ON t.at_end) s
         WHERE s.what = 'delete' OR s.assignments <> '' OR s.phase = 3;
END $$;
COMMENT ON FUNCTION dataprotect._plan_steps(bigint, dataprotect.account_type) IS 'put what a plan changes in an order that foreign keys allow';

-- A new version of an account type's plan.
CREATE FUNCTION dataprotect._account_compile(account dataprotect.account_type) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    plan_id bigint;
    fresh regclass[] := ARRAY[account.root];
    entered regclass[] := fresh;
    new regclass[];
BEGIN
    PERFORM dataprotect._settle_names(account.name);
    INSERT INTO dataprotect.plan (account_type, version, digest)
        SELECT account.name, coalesce(max(p.version), 0) + 1, '' FROM dataprotect.plan p WHERE p.account_type = account.name
        RETURNING id INTO plan_id;
    INSERT INTO dataprotect.plan_table (plan, n, rel, reached_by, satellite) VALUES (plan_id, 0, account.root, array_to_string(account.id_columns, ', '), false);
    WHILE fresh <> '{}' LOOP
        new := dataprotect._plan_add_tables(plan_id, account, 'in', fresh);
        WHILE new <> '{}' LOOP
            entered := entered || new;
            new := dataprotect._plan_add_tables(plan_id, account, 'in', new);
        END LOOP;
        fresh := dataprotect._plan_add_tables(plan_id, account, 'out', entered);
        entered := fresh;
    END LOOP;
    PERFORM dataprotect._plan_statements(plan_id, account);
    PERFORM dataprotect._plan_steps(plan_id, account);
    UPDATE dataprotect.plan p SET digest = dataprotect._plan_digest(account, ARRAY(SELECT t.rel FROM dataprotect.plan_table t WHERE t.plan = plan_id))
     WHERE p.id = plan_id;
    RETURN plan_id;
END $$;
COMMENT ON FUNCTION dataprotect._account_compile(dataprotect.account_type) IS 'compile an account type against the schema as it is';

-- The plan of an account type: the newest, where nothing has changed since.
CREATE FUNCTION dataprotect._account_current_plan(account dataprotect.account_type) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    newest dataprotect.plan;
BEGIN
    FOR attempt IN 1..2 LOOP
        SELECT * INTO newest FROM dataprotect.plan p WHERE p.account_type = account.name ORDER BY p.version DESC LIMIT 1;
        IF newest.digest IS NOT DISTINCT FROM dataprotect._plan_digest(account,
               ARRAY(SELECT t.rel FROM dataprotect.plan_table t WHERE t.plan = newest.id)) THEN
            RETURN newest.id;
        END IF;
        -- one compiles, the others find what he made
        PERFORM FROM dataprotect.account_type t WHERE t.name = account.name FOR NO KEY UPDATE;
    END LOOP;
    RETURN dataprotect._account_compile(account);
END $$;
COMMENT ON FUNCTION dataprotect._account_current_plan(dataprotect.account_type) IS 'the plan of an account type, made anew where the schema or a decision has changed';

CREATE FUNCTION dataprotect.account_plan(name text, OUT ord int, OUT rel regclass, OUT reached_by text, OUT action text, OUT statement text,
        OUT version int) RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    account dataprotect.account_type := dataprotect._find_account_type(name);
    plan_id bigint := dataprotect._account_current_plan(account);
    plan_version int := (SELECT p.version FROM dataprotect.plan p WHERE p.id = plan_id);
BEGIN
    RETURN QUERY
        SELECT (row_number() OVER (ORDER BY x.phase, x.place))::int, x.rel, x.reached_by, x.action, x.statement, plan_version
          FROM (SELECT 1 AS phase, t.n AS place, t.rel, t.reached_by, 'collect'::text AS action,
                       CASE WHEN t.n = 0 THEN dataprotect._own_row_statement(account, t)
                            ELSE (SELECT string_agg(e.statement, '; ' ORDER BY e.edge) FROM dataprotect.plan_edge e
                                   WHERE e.plan = plan_id AND e.statement IS NOT NULL
                                     AND (e.direction = 'in' AND e.action <> 'nullify' AND e.from_rel = t.rel OR e.direction = 'out' AND e.to_rel = t.rel))
                       END AS statement
                  FROM dataprotect.plan_table t WHERE t.plan = plan_id
                UNION ALL
                SELECT 2, s.ord, s.rel, CASE WHEN e.edge IS NULL THEN t.reached_by ELSE dataprotect._edge_text(e.from_rel, e.columns, e.match, e.to_rel) END,
                       CASE WHEN s.what = 'clear' AND s.edge IS NULL THEN t.actions[1] WHEN s.what = 'delete' THEN 'delete' ELSE 'nullify' END,
                       CASE s.what WHEN 'delete' THEN format('DELETE FROM %s', s.rel) ELSE format('UPDATE %s SET %s', s.rel, s.assignments) END
                  FROM dataprotect.plan_step s
                  LEFT JOIN dataprotect.plan_table t ON t.plan = plan_id AND t.n = s.n
                  LEFT JOIN dataprotect.plan_edge e ON e.plan = plan_id AND e.edge = s.edge
                 WHERE s.plan = plan_id
                UNION ALL
                SELECT 3, e.edge, e.from_rel, dataprotect._edge_text(e.from_rel, e.columns, e.match, e.to_rel), coalesce(e.action, 'undecided'), NULL
                  FROM dataprotect.plan_edge e
                 WHERE e.plan = plan_id AND (e.action IS NULL OR e.action IN ('shared', 'keep'))) x;
END $$;
COMMENT ON FUNCTION dataprotect.account_plan(text) IS
    'what deleting such an account does: tables and statements in order, then the edges that are kept, shared or undecided';

-- After DDL: edges that came and that nobody has decided, and triggers of bound
-- tables whose column was renamed.  Nothing of plans is written here: two sessions
-- that change two tables do not wait for each other.
CREATE FUNCTION dataprotect._plans_after_ddl() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    bound dataprotect.subject_binding;
    kind dataprotect.account_type;
    newest dataprotect.plan;
    tables regclass[];
    edge record;
    names_now name[];
BEGIN
    IF NOT EXISTS (SELECT FROM dataprotect.account_type) THEN
        RETURN;
    END IF;
    FOR bound IN SELECT b.* FROM dataprotect.subject_binding b JOIN pg_class c ON c.oid = b.rel LOOP
        names_now := dataprotect._names_now(bound.rel, bound.rel_oid, coalesce(bound.id_attnums, ARRAY[bound.id_attnum]),
                                            coalesce(bound.id_columns, ARRAY[bound.id_column]));
        CONTINUE WHEN names_now IS NULL OR array_position(names_now, NULL) IS NOT NULL OR bound.rel <> bound.rel_oid;
        bound.id_columns := names_now;
        IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = bound.rel AND t.tgname = 'zz_dataprotect_subject' AND t.tgnargs > 1
                      AND t.tgargs <> (SELECT string_agg(convert_to(a, getdatabaseencoding()) || '\x00'::bytea, ''::bytea ORDER BY ord)
                                         FROM unnest(bound.account_type || names_now::text[]) WITH ORDINALITY AS x(a, ord))) THEN
            EXECUTE format('DROP TRIGGER zz_dataprotect_subject ON %s', bound.rel);
            PERFORM dataprotect._bind_trigger(bound);
        END IF;
    END LOOP;
    FOR kind IN SELECT t.* FROM dataprotect.account_type t JOIN pg_class c ON c.oid = t.root LOOP
        SELECT * INTO newest FROM dataprotect.plan p WHERE p.account_type = kind.name ORDER BY p.version DESC LIMIT 1;
        CONTINUE WHEN NOT FOUND;
        tables := ARRAY(SELECT t.rel FROM dataprotect.plan_table t JOIN pg_class c ON c.oid = t.rel WHERE t.plan = newest.id);
        CONTINUE WHEN newest.digest = dataprotect._plan_digest(dataprotect._find_account_type(kind.name), tables);
        FOR edge IN SELECT * FROM dataprotect._account_edges(dataprotect._find_account_type(kind.name), tables) e
                     WHERE e.action IS NULL AND NOT EXISTS (
                           SELECT FROM dataprotect.plan_edge o WHERE o.plan = newest.id AND o.from_rel = e.from_rel AND o.to_rel = e.to_rel
                              AND o.columns = e.columns)
        LOOP
            RAISE WARNING USING MESSAGE = format('account type "%s" has an edge that nobody decided: %s', kind.name,
                                                 dataprotect._edge_text(edge.from_rel, edge.columns, edge.match, edge.to_rel)),
                DETAIL = 'Deletions of such accounts wait, and no request is accepted.',
                HINT = 'dataprotect.annotate_account() decides it.';
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION dataprotect._plans_after_ddl() IS 'say what a change of the schema means for account types';
