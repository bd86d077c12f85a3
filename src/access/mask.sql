-- Masks: checking and trying a specification

CREATE FUNCTION dataprotect._mask_canonical(spec text) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_mask_sql_canonical'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dataprotect._mask_canonical(text) IS
    'the one spelling of a mask, or an error that says what is wrong with it';
REVOKE ALL ON FUNCTION dataprotect._mask_canonical(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect._mask_canonical(text) TO dataprotect_admin;

CREATE FUNCTION dataprotect._mask_apply(spec text, value text) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_mask_sql_apply'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dataprotect._mask_apply(text, text) IS
    'what a mask makes of an ordinary text, for trying it out';
REVOKE ALL ON FUNCTION dataprotect._mask_apply(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION dataprotect._mask_apply(text, text) TO dataprotect_admin;
