--
-- What a client's queries of pg_attribute pass (src/types/reflection.h).
--
CREATE FUNCTION dataprotect._catalog_type(type oid, typmod int4) RETURNS oid
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_catalog_type';
COMMENT ON FUNCTION dataprotect._catalog_type(oid, int4) IS 'type that a client finds a column to have';

CREATE FUNCTION dataprotect._catalog_modifier(type oid, typmod int4) RETURNS int4
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_catalog_modifier';
COMMENT ON FUNCTION dataprotect._catalog_modifier(oid, int4) IS 'type modifier that a client finds a column to have';

CREATE FUNCTION dataprotect._catalog_length(type oid, typmod int4, length int2) RETURNS int2
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_catalog_length';
COMMENT ON FUNCTION dataprotect._catalog_length(oid, int4, int2) IS 'length that a client finds a column''s type to have';

-- What a client's FETCH becomes (src/types/cursor_query.h).
CREATE FUNCTION dataprotect._fetch(cursor text, direction int4, number int8, secret int8) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'dp_cursor_fetch';
COMMENT ON FUNCTION dataprotect._fetch(text, int4, int8, int8) IS 'rows of a cursor, by the command FETCH';

-- Called by the queries that wire.c makes, of whichever role.
CREATE FUNCTION dataprotect._for_client(value anyelement) RETURNS anyelement
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_for_client';
COMMENT ON FUNCTION dataprotect._for_client(anyelement) IS 'a row, or rows in an array, whose fields are of the base types, in the result of a query';
