-- What the planner puts around what UPDATE assigns to a protected column; run by
-- whoever writes, so open to all, who cannot call it.
CREATE FUNCTION dataprotect._kept_value(new internal, old internal) RETURNS internal
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'dp_kept_value';
COMMENT ON FUNCTION dataprotect._kept_value(internal, internal) IS
    'the stored value where an UPDATE writes what is there already, else the new one';

-- What the planner puts around values that are opened for code of other roles; run
-- by whoever asks, so open to all, who cannot call it.
CREATE FUNCTION dataprotect._seen_by(value internal, functions internal, authors internal, compared internal) RETURNS internal
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_seen_by';
COMMENT ON FUNCTION dataprotect._seen_by(internal, internal, internal, internal) IS
    'a protected value as those may see it whose functions are called with what it becomes';

-- What bind_subject() puts on a table.

CREATE FUNCTION dataprotect._seal_subject() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_seal_subject';
COMMENT ON FUNCTION dataprotect._seal_subject() IS 'row trigger of subject-bound tables: seals protected columns under the account''s own key';

-- Evaluated in CHECK constraints by whoever writes the row, so open to all;
-- whom else it answers is said in bound_row.c.
CREATE FUNCTION dataprotect._sealed_for(value anyelement, account_type text, id text) RETURNS bool
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'dp_sealed_for_sql';
COMMENT ON FUNCTION dataprotect._sealed_for(anyelement, text, text) IS 'whether a protected value is sealed for an account; opens nothing';
