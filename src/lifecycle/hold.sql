-- Legal holds: rows that neither retention nor a deletion may touch

CREATE TABLE dataprotect.hold (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rel regclass NOT NULL,
    predicate text NOT NULL,
    names name[] NOT NULL DEFAULT '{}', -- columns that the predicate was written with, by number
    names_of oid NOT NULL DEFAULT 0,    -- of that table; of another they mean nothing
    reason text NOT NULL,
    until timestamptz,
    placed_by name NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT dataprotect._now(),
    released_by name,
    released_at timestamptz,
    release_reason text,
    seal bytea
);
COMMENT ON TABLE dataprotect.hold IS 'legal holds; see dataprotect.place_hold()';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.hold', '');
SELECT pg_catalog.pg_extension_config_dump('dataprotect.hold_id_seq', '');

CREATE VIEW dataprotect.holds AS
    SELECT id, rel, predicate, reason, until, placed_by, placed_at, released_by, released_at, release_reason,
           released_at IS NULL AND (until IS NULL OR until > dataprotect._now()) AS active
      FROM dataprotect.hold;
COMMENT ON VIEW dataprotect.holds IS 'legal holds, also those that ended';

-- Holds are read under a SHARE lock by whoever is about to remove rows, and
-- placing one needs ROW EXCLUSIVE: a hold takes effect between two batches, and
-- no batch that has not seen it is under way when place_hold() has committed.
CREATE FUNCTION dataprotect._do_place_hold(rel regclass, predicate text, reason text, until timestamptz) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    canonical text;
    hold_id bigint;
BEGIN
    PERFORM dataprotect._check_table_right(rel);
    IF coalesce(reason, '') = '' THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'a hold needs a reason');
    END IF;
    IF predicate IS NULL THEN
        PERFORM dataprotect._raise('null_value_not_allowed',
            'a hold needs a predicate',
            NULL,
            'The predicate "true" holds every row.');
    END IF;
    IF until <= dataprotect._now() THEN
        PERFORM dataprotect._raise('invalid_parameter_value', 'the end of the hold lies in the past');
    END IF;
    IF (SELECT c.relkind NOT IN ('r', 'p') FROM pg_catalog.pg_class c WHERE c.oid = rel) THEN
        PERFORM dataprotect._raise('wrong_object_type', pg_catalog.format('"%s" is not a table', rel));
    END IF;
    canonical := dataprotect._canonical_predicate(rel, predicate);
    -- What cannot be evaluated now would stop retention later.
    PERFORM dataprotect._value_as(rel, pg_catalog.format('SELECT count(*) FROM %s t WHERE (%s)', rel, canonical));
    INSERT INTO dataprotect.hold (rel, predicate, names, names_of, reason, until, placed_by)
        VALUES (rel, canonical, dataprotect._column_names(rel), rel::oid, reason, until, pg_catalog.pg_get_userbyid(dataprotect._caller()))
        RETURNING id INTO hold_id;
    PERFORM dataprotect._event('hold.placed', NULL, pg_catalog.jsonb_build_object(
        'hold', hold_id, 'rel', rel::text, 'predicate', canonical, 'reason', reason, 'until', until));
    RETURN hold_id;
END $$;
COMMENT ON FUNCTION dataprotect._do_place_hold(regclass, text, text, timestamptz) IS 'body of dataprotect.place_hold(); see definer.c';

CREATE FUNCTION dataprotect.place_hold(rel regclass, predicate text, reason text, until timestamptz = NULL) RETURNS bigint
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.place_hold(regclass, text, text, timestamptz) IS
    'keep the rows that satisfy a condition from retention and deletion';

CREATE FUNCTION dataprotect._do_release_hold(id bigint, reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    held dataprotect.hold;
BEGIN
    IF coalesce(_do_release_hold.reason, '') = '' THEN
        PERFORM dataprotect._raise('null_value_not_allowed', 'releasing a hold needs a reason');
    END IF;
    SELECT * INTO held FROM dataprotect.hold h WHERE h.id = _do_release_hold.id FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('undefined_object',
            pg_catalog.format('hold %s does not exist', _do_release_hold.id));
    END IF;
    IF held.released_at IS NOT NULL THEN
        PERFORM dataprotect._raise('object_not_in_prerequisite_state',
            pg_catalog.format('hold %s is released already', _do_release_hold.id));
    END IF;
    IF EXISTS (SELECT 1 FROM pg_catalog.pg_class c WHERE c.oid = held.rel) THEN
        PERFORM dataprotect._check_table_right(held.rel);
    END IF;
    PERFORM dataprotect._need_approval('release_hold', pg_catalog.jsonb_build_object('id', _do_release_hold.id));
    UPDATE dataprotect.hold h
       SET released_at = dataprotect._now(), release_reason = _do_release_hold.reason,
           released_by = pg_catalog.pg_get_userbyid(dataprotect._caller())
     WHERE h.id = _do_release_hold.id;
    PERFORM dataprotect._event('hold.released', NULL, pg_catalog.jsonb_build_object(
        'hold', _do_release_hold.id, 'rel', held.rel::text, 'reason', _do_release_hold.reason));
    PERFORM dataprotect._wake_maintenance();
END $$;
COMMENT ON FUNCTION dataprotect._do_release_hold(bigint, text) IS 'body of dataprotect.release_hold(); see definer.c';

CREATE FUNCTION dataprotect.release_hold(id bigint, reason text) RETURNS void
    AS 'MODULE_PATHNAME', 'dp_definer_enter'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.release_hold(bigint, text) IS 'end a legal hold';

-- What a hold says of a row under an alias.  Where a column of its predicate was
-- dropped nobody can tell its rows any more: it holds them all.
CREATE FUNCTION dataprotect._hold_predicate(held dataprotect.hold, alias name) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN dataprotect._stored_predicate(format('hold %s', held.id), held.rel, held.predicate,
                                         dataprotect._names_then(held.rel, held.names, held.names_of), alias);
EXCEPTION WHEN undefined_column THEN
    RAISE WARNING USING MESSAGE = format('hold %s holds every row of "%s"', held.id, held.rel),
        DETAIL = 'A column of its predicate was dropped.',
        HINT = 'Place another in its stead, then release it.';
    RETURN 'true';
END $$;
COMMENT ON FUNCTION dataprotect._hold_predicate(dataprotect.hold, name) IS 'the condition of a hold, over a row under an alias';

CREATE FUNCTION dataprotect._active_holds() RETURNS SETOF dataprotect.hold
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT h.* FROM dataprotect.hold h JOIN pg_catalog.pg_class c ON c.oid = h.rel
     WHERE h.released_at IS NULL AND (h.until IS NULL OR h.until > dataprotect._now());
$$;
COMMENT ON FUNCTION dataprotect._active_holds() IS 'holds in force on tables that exist';

-- Condition under which a row of rel (alias given) is held, or NULL where
-- nothing holds any.  A hold covers the partitions below its table; seen from
-- above, it covers the rows that lie in them.
CREATE FUNCTION dataprotect._held_condition(rel regclass, alias text) RETURNS text
    LANGUAGE sql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(
        CASE WHEN $1 IN (SELECT dataprotect._below(h.rel)) THEN format('(%s) IS TRUE', p.predicate)
             ELSE format('(%I.tableoid OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.oid[]) AND (%s) IS TRUE)', alias,
                         (SELECT array_agg(b::pg_catalog.oid) FROM dataprotect._below(h.rel) b)::text, p.predicate)
        END, ' OR ' ORDER BY h.id)
      FROM dataprotect._active_holds() h,
           LATERAL (SELECT dataprotect._hold_predicate(h, alias::name) AS predicate) p
     WHERE $1 IN (SELECT dataprotect._below(h.rel)) OR h.rel IN (SELECT dataprotect._below($1));
$$;
COMMENT ON FUNCTION dataprotect._held_condition(regclass, text) IS
    'condition under which a row is under a legal hold, or NULL';

-- The same, with the holds on what the row references, near and far: whoever must
-- keep an invoice must keep its lines.  trail: tables that the row was reached
-- through; they hold for themselves.
CREATE FUNCTION dataprotect._held_or_above(rel regclass, alias text, trail regclass[]) RETURNS text
    LANGUAGE plpgsql STABLE STRICT
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    held text;
    edge record;
    above text;
    parent_alias text := 'u' || cardinality(trail);
BEGIN
    IF NOT EXISTS (SELECT 1 FROM dataprotect._active_holds()) THEN
        RETURN NULL;
    END IF;
    held := dataprotect._held_condition(rel, alias);
    FOR edge IN
        SELECT p.parent, r.parent_columns, r.child_columns, r.operators, r.casts, r.constraint_name
          FROM (SELECT DISTINCT dataprotect._top(c.confrelid) AS parent FROM pg_constraint c
                 WHERE c.contype = 'f' AND c.conrelid IN (SELECT dataprotect._below(dataprotect._top(rel)))) p,
               LATERAL dataprotect._referencing(p.parent) r
         WHERE p.parent <> ALL (trail) AND r.child = dataprotect._top(rel)
         ORDER BY p.parent::text, r.child_columns::text
    LOOP
        above := dataprotect._held_or_above(edge.parent, parent_alias, trail || edge.parent);
        CONTINUE WHEN above IS NULL;
        IF edge.casts THEN
            PERFORM dataprotect._raise('feature_not_supported',
                format('foreign key "%s" of table "%s" compares by a cast', edge.constraint_name, rel),
                format('Rows that are held in "%s" cannot be followed along it.', edge.parent),
                'Give its columns the type of the columns that they reference.', rel);
        END IF;
        held := concat_ws(' OR ', held, format('EXISTS (SELECT 1 FROM %s %s WHERE %s AND (%s))', edge.parent, parent_alias,
            dataprotect._join_condition(parent_alias, edge.parent_columns, alias, edge.child_columns, edge.operators), above));
    END LOOP;
    RETURN held;
END $$;
COMMENT ON FUNCTION dataprotect._held_or_above(regclass, text, regclass[]) IS
    'condition under which a row, or one that it references, is under a legal hold, or NULL';
