-- Rows of accounts in their grace time that nobody is shown (hidden_row.c)
--
-- Where the type says grace_hides, a request notes the account's rows in every table
-- whose rows will go or be anonymised.  Nothing of these tables is changed.

-- Queries on these tables ask for each row.  A table stays in once a row of it was
-- hidden: two requests would have to wait for each other to take it out.
CREATE TABLE dataprotect.hidden_table (
    rel regclass PRIMARY KEY,
    key int2[] NOT NULL,                -- columns by which its rows were noted last, of the
    rel_oid oid NOT NULL                -- table that it was then: a restored one is another
);
COMMENT ON TABLE dataprotect.hidden_table IS 'tables of which rows are or were hidden';

CREATE TABLE dataprotect.hidden_row (
    rel regclass NOT NULL,
    key text COLLATE "C" NOT NULL,      -- its primary key: 'length:text,length:text'
    request bigint NOT NULL REFERENCES dataprotect.deletion_request ON DELETE CASCADE,
    PRIMARY KEY (rel, key, request)
);
CREATE INDEX hidden_row_request_idx ON dataprotect.hidden_row (request);
COMMENT ON TABLE dataprotect.hidden_row IS 'rows of accounts in their grace time, hidden from queries';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.hidden_table', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.hidden_row', '');

CREATE FUNCTION dataprotect._hidden_table_changed() RETURNS trigger
    AS 'MODULE_PATHNAME', 'dp_lifecycle_hidden_table_changed'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect._hidden_table_changed() IS 'lets plans of a table be made anew';
CREATE TRIGGER hidden_table_changed AFTER INSERT OR UPDATE OR DELETE ON dataprotect.hidden_table
    FOR EACH ROW EXECUTE FUNCTION dataprotect._hidden_table_changed();

CREATE FUNCTION dataprotect._row_shown(top oid, VARIADIC key "any") RETURNS bool
    AS 'MODULE_PATHNAME', 'dp_lifecycle_row_shown'
    LANGUAGE C STABLE CALLED ON NULL INPUT LEAKPROOF COST 10 PARALLEL RESTRICTED;
COMMENT ON FUNCTION dataprotect._row_shown(oid, "any") IS
    'condition that the planner gets for tables with hidden rows; nobody else can call it';

-- A key whose text depends on no setting tells rows apart in any session.
CREATE FUNCTION dataprotect._can_hide(tab dataprotect.plan_table) RETURNS bool
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT tab.actions && '{delete,anonymise}' AND tab.key_columns <> '{tableoid,ctid,xmin}'
       AND NOT EXISTS (SELECT FROM unnest(tab.key_columns) k, pg_attribute a
                        JOIN pg_type t ON t.oid = dataprotect._undomained(a.atttypid)
                        WHERE a.attrelid = tab.rel AND a.attname = k
                          AND NOT (t.typtype = 'e' OR t.typcategory = 'S' OR t.oid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype,
                                   'numeric'::regtype, 'oid'::regtype, 'uuid'::regtype, 'bool'::regtype, 'date'::regtype,
                                   'timestamp'::regtype)));
$$;
COMMENT ON FUNCTION dataprotect._can_hide(dataprotect.plan_table) IS 'whether rows of a table can be hidden in the grace time';

CREATE FUNCTION dataprotect._hide_rows(account dataprotect.account_type, plan_id bigint, request bigint, id text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    note bigint := -1 - abs(hashtextextended(gen_random_uuid()::text, 0) / 2);
    tab dataprotect.plan_table;
BEGIN
    PERFORM dataprotect._account_collect(account, plan_id, note, id);
    FOR tab IN SELECT t.* FROM dataprotect.plan_table t WHERE t.plan = plan_id AND dataprotect._can_hide(t) ORDER BY t.n LOOP
        INSERT INTO dataprotect.hidden_row (rel, key, request)
            SELECT tab.rel, (SELECT string_agg(octet_length(k) || ':' || k, ',' ORDER BY ord) FROM unnest(d.key) WITH ORDINALITY AS x(k, ord)),
                   _hide_rows.request
              FROM dataprotect.deletion_row d WHERE d.request = note AND d.n = tab.n AND d.state = 'm'
            ON CONFLICT DO NOTHING;
        INSERT INTO dataprotect.hidden_table AS h (rel, key, rel_oid) VALUES (tab.rel, dataprotect._attnums(tab.rel, tab.key_columns), tab.rel)
            ON CONFLICT ON CONSTRAINT hidden_table_pkey DO UPDATE SET key = excluded.key, rel_oid = excluded.rel_oid
            WHERE h.key <> excluded.key OR h.rel_oid <> excluded.rel_oid;
    END LOOP;
    DELETE FROM dataprotect.deletion_row d WHERE d.request = note;
END $$;
COMMENT ON FUNCTION dataprotect._hide_rows(dataprotect.account_type, bigint, bigint, text) IS 'hide the rows of an account';

CREATE FUNCTION dataprotect._show_rows(request bigint) RETURNS void
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM dataprotect.hidden_row h WHERE h.request = $1;
$$;
COMMENT ON FUNCTION dataprotect._show_rows(bigint) IS 'hide the rows of a request no more';

-- After DDL: rows stay hidden that are known by their key, so it stays as well, or comes
-- again as it was.
CREATE FUNCTION dataprotect._hidden_keys_stay() RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed regclass;
BEGIN
    SELECT h.rel INTO changed FROM dataprotect.hidden_table h JOIN pg_constraint c ON c.conrelid = h.rel AND c.contype = 'p'
     WHERE h.rel_oid = h.rel AND c.conkey <> h.key AND EXISTS (SELECT FROM dataprotect.hidden_row r WHERE r.rel = h.rel);
    IF FOUND THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            format('primary key of table "%s" cannot become another', changed),
            'Rows of accounts that are being deleted are hidden, and known by it.',
            'Make it of the same columns in the same order, or wait for the end of these deletions.', changed);
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect._hidden_keys_stay() IS 'error where rows are hidden by a primary key that a table has not any more';

-- Where a partition leaves its table, or a table becomes a partition, its hidden rows
-- are noted where they are looked for from now on.
CREATE FUNCTION dataprotect._hidden_follow(parent regclass, part regclass) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    top regclass := dataprotect._top(parent);
    away bool := dataprotect._top(part) <> top;
    from_rel regclass := CASE WHEN away THEN top ELSE part END;
    to_rel regclass := CASE WHEN away THEN part ELSE top END;
    names name[];
BEGIN
    IF from_rel = to_rel OR NOT EXISTS (SELECT FROM dataprotect.hidden_row r WHERE r.rel = from_rel) THEN
        RETURN;
    END IF;
    SELECT dataprotect._attnames(h.rel, coalesce(c.conkey, h.key)) INTO names
      FROM dataprotect.hidden_table h LEFT JOIN pg_constraint c ON c.conrelid = h.rel AND c.contype = 'p' WHERE h.rel = from_rel;
    INSERT INTO dataprotect.hidden_table (rel, key, rel_oid) VALUES (to_rel, dataprotect._attnums(to_rel, names), to_rel)
        ON CONFLICT ON CONSTRAINT hidden_table_pkey DO NOTHING;
    INSERT INTO dataprotect.hidden_row (rel, key, request)
        SELECT to_rel, r.key, r.request FROM dataprotect.hidden_row r WHERE r.rel = from_rel
        ON CONFLICT ON CONSTRAINT hidden_row_pkey DO NOTHING;
END $$;
COMMENT ON FUNCTION dataprotect._hidden_follow(regclass, regclass) IS 'note hidden rows of a partition that came or went';
