--
-- What generated columns compute from protected ones (derive.h).  Before the types, which
-- have a cast from it.
--
CREATE TYPE dataprotect.derivation;
CREATE FUNCTION dataprotect._derivation_in(cstring) RETURNS dataprotect.derivation
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_derivation_in';
COMMENT ON FUNCTION dataprotect._derivation_in(cstring) IS 'input: an error';
CREATE FUNCTION dataprotect._derivation_out(dataprotect.derivation) RETURNS cstring
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_derivation_out';
COMMENT ON FUNCTION dataprotect._derivation_out(dataprotect.derivation) IS 'output: no value';
CREATE TYPE dataprotect.derivation (INPUT = dataprotect._derivation_in, OUTPUT = dataprotect._derivation_out,
                                    INTERNALLENGTH = VARIABLE, STORAGE = plain);
COMMENT ON TYPE dataprotect.derivation IS 'a formula and what it computes from, on the way into a protected column';

CREATE FUNCTION dataprotect.computed(formula text, VARIADIC columns "any") RETURNS dataprotect.derivation
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'dp_derive';
COMMENT ON FUNCTION dataprotect.computed(text, "any") IS
    'what a generated column computes from protected ones, as in computed(''lower($1)'', email): sealed when it is assigned to the column';

-- The base types that formulas give.
CREATE FUNCTION dataprotect._create_derive_cast(enc text, base regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_function text := dataprotect._member(enc, '_compute') || '(dataprotect.derivation, int4, bool)';
BEGIN
    IF base NOT IN ('text'::regtype, 'tsvector'::regtype) THEN
        RETURN;
    END IF;
    PERFORM dataprotect._declare(v_function, enc, 'dp_derive_seal', 'IMMUTABLE STRICT PARALLEL SAFE', 'computes and seals what a generated column holds');
    EXECUTE format('CREATE CAST (dataprotect.derivation AS %s) WITH FUNCTION %s AS ASSIGNMENT', enc, v_function);
END $$;
COMMENT ON FUNCTION dataprotect._create_derive_cast(text, regtype) IS 'declares the cast that seals what a generated column computes';
