--
-- Casts to json, for the base types that are no strings in JSON (src/types/json.c).
-- As strict as the base type's: jsonb casts on assignment, the others do not cast.
--
CREATE FUNCTION dataprotect._create_json_cast(enc text, base regtype) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v_function text := format('%s(%s)', dataprotect._member(enc, '_to_json'), enc);
BEGIN
    IF base <> ALL (ARRAY['bool', 'int2', 'int4', 'int8', 'float4', 'float8', 'numeric', 'date', 'timestamp',
                          'timestamptz', 'jsonb']::regtype[]) THEN
        RETURN;
    END IF;
    PERFORM dataprotect._declare(v_function, 'json', 'dp_to_json', 'STABLE STRICT PARALLEL SAFE', 'a value as JSON');
    EXECUTE format('CREATE CAST (%s AS json) WITH FUNCTION %s %s', enc, v_function,
                   CASE base WHEN 'jsonb'::regtype THEN 'AS ASSIGNMENT' ELSE '' END);
END $$;
COMMENT ON FUNCTION dataprotect._create_json_cast(text, regtype) IS 'declares the cast of an encrypted type to json';
