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

-- What the planner makes of calls, in a statement's own words, of functions that run SQL:
-- the function's number before its arguments, however many; run by whoever asks, so open
-- to all, who cannot call it.
CREATE FUNCTION dataprotect._own_sql(function internal, query internal) RETURNS internal
    LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'dp_own_sql';
COMMENT ON FUNCTION dataprotect._own_sql(internal, internal) IS
    'what a built-in function that runs SQL gives, called in a statement''s own words';
CREATE FUNCTION dataprotect._own_ts_stat(query internal, OUT word text, OUT ndoc int4, OUT nentry int4) RETURNS SETOF record
    LANGUAGE internal VOLATILE STRICT ROWS 10000 AS 'ts_stat1';
COMMENT ON FUNCTION dataprotect._own_ts_stat(internal) IS 'what ts_stat() gives, called in a statement''s own words';
CREATE FUNCTION dataprotect._own_ts_stat(query internal, weights internal, OUT word text, OUT ndoc int4, OUT nentry int4) RETURNS SETOF record
    LANGUAGE internal VOLATILE STRICT ROWS 10000 AS 'ts_stat2';
COMMENT ON FUNCTION dataprotect._own_ts_stat(internal, internal) IS 'what ts_stat() gives, called in a statement''s own words';

-- What bind_subject() puts on a table.

CREATE FUNCTION dataprotect._seal_subject() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'dp_seal_subject';
COMMENT ON FUNCTION dataprotect._seal_subject() IS 'row trigger of subject-bound tables: seals protected columns under the account''s own key';

-- Evaluated in CHECK constraints by whoever writes the row, so open to all;
-- whom else it answers is said in bound_row.c.
CREATE FUNCTION dataprotect._sealed_for(value anyelement, account_type text, id text) RETURNS bool
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'dp_sealed_for_sql';
COMMENT ON FUNCTION dataprotect._sealed_for(anyelement, text, text) IS 'whether a protected value is sealed for an account; opens nothing';
