-- Masks: checking and trying a specification

CREATE FUNCTION dataprotect._mask_canonical(spec text) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_mask_sql_canonical'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dataprotect._mask_canonical(text) IS
    'the one spelling of a mask, or an error that says what is wrong with it';

CREATE FUNCTION dataprotect._mask_apply(spec text, value text) RETURNS text
    AS 'MODULE_PATHNAME', 'dp_mask_sql_apply'
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION dataprotect._mask_apply(text, text) IS
    'what a mask makes of an ordinary text, for trying it out';
