--
-- Functions that an administrator trusts with the rights of whoever runs them.
-- C code reads trusted_function by attribute number: append only.
--
-- By name: OIDs of functions survive neither a dump nor pg_upgrade.
CREATE TABLE dataprotect.trusted_function (
    function text COLLATE "C" PRIMARY KEY,
    digest bytea NOT NULL,
    reason text NOT NULL,
    trusted_by name NOT NULL,
    trusted_at timestamptz NOT NULL DEFAULT now(),
    seal bytea
);
COMMENT ON TABLE dataprotect.trusted_function IS
    'functions of ordinary roles that see what whoever runs them sees; digest: of the function as it was trusted';
SELECT pg_catalog.pg_extension_config_dump('dataprotect.trusted_function', '');

CREATE TRIGGER keys_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON dataprotect.trusted_function
    FOR EACH STATEMENT EXECUTE FUNCTION dataprotect._keys_changed('policy');
ALTER TABLE dataprotect.trusted_function ENABLE ALWAYS TRIGGER keys_changed;

CREATE FUNCTION dataprotect._function_digest(function regprocedure) RETURNS bytea
    LANGUAGE c STABLE STRICT AS 'MODULE_PATHNAME', 'dp_function_digest_sql';
COMMENT ON FUNCTION dataprotect._function_digest(regprocedure) IS
    'SHA-256 of what a function does and whose it is, or null where it does not exist';

CREATE FUNCTION dataprotect._function_identity(function regprocedure) RETURNS text
    LANGUAGE sql STABLE STRICT SET search_path = pg_catalog, pg_temp AS $$
    SELECT o.identity FROM pg_identify_object('pg_proc'::regclass, function, 0) o
$$;
COMMENT ON FUNCTION dataprotect._function_identity(regprocedure) IS
    'name of a function with its schema and the types of its arguments, whatever the search path';

CREATE VIEW dataprotect.trusted_functions AS
    SELECT coalesce(p.oid::regprocedure::text, t.function) AS function, p.proowner::regrole::text AS owner, t.reason, t.trusted_by, t.trusted_at,
           coalesce(t.digest = dataprotect._function_digest(p.oid), false) AS in_force
    FROM dataprotect.trusted_function t LEFT JOIN pg_catalog.pg_proc p ON p.oid = pg_catalog.to_regprocedure(t.function);
COMMENT ON VIEW dataprotect.trusted_functions IS
    'functions that see what whoever runs them sees; in_force: unchanged since an administrator said so';

CREATE FUNCTION dataprotect.trust_function(function regprocedure, reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF trust_function.function IS NULL OR dataprotect._function_digest(trust_function.function) IS NULL THEN
        PERFORM dataprotect._raise('undefined_function', 'function does not exist');
    END IF;
    IF coalesce(trust_function.reason, '') = '' THEN
        PERFORM dataprotect._raise('invalid_parameter_value',
            'trusting a function needs a reason',
            NULL,
            'The reason is kept in dataprotect.trusted_functions and in the audit log.');
    END IF;
    PERFORM dataprotect._need_approval('trust_function', jsonb_build_object(
        'function', dataprotect._function_identity(trust_function.function),
        'digest', encode(dataprotect._function_digest(trust_function.function), 'hex')));
    PERFORM dataprotect._event('function.trusted', NULL, jsonb_build_object(
        'function', trust_function.function::text, 'reason', trust_function.reason,
        'digest', encode(dataprotect._function_digest(trust_function.function), 'hex')));
    INSERT INTO dataprotect.trusted_function AS t (function, digest, reason, trusted_by)
        VALUES (dataprotect._function_identity(trust_function.function), dataprotect._function_digest(trust_function.function), trust_function.reason, session_user)
        ON CONFLICT ON CONSTRAINT trusted_function_pkey
        DO UPDATE SET digest = excluded.digest, reason = excluded.reason, trusted_by = excluded.trusted_by, trusted_at = now();
END $$;
COMMENT ON FUNCTION dataprotect.trust_function(regprocedure, text) IS
    'lets a function of an ordinary role see what whoever runs it may see, until it is changed';

CREATE FUNCTION dataprotect.distrust_function(function regprocedure, reason text) RETURNS void
    LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM dataprotect._event('function.distrusted', NULL, jsonb_build_object(
        'function', distrust_function.function::text, 'reason', distrust_function.reason));
    DELETE FROM dataprotect.trusted_function t WHERE t.function = dataprotect._function_identity(distrust_function.function);
    IF NOT FOUND THEN
        PERFORM dataprotect._raise('undefined_object',
            format('function %s is not trusted', distrust_function.function::text));
    END IF;
END $$;
COMMENT ON FUNCTION dataprotect.distrust_function(regprocedure, text) IS
    'takes back what trust_function() gave, in every session at once after commit';
