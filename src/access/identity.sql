-- Who is behind the session: a token of the organisation's issuer.

CREATE FUNCTION dataprotect.authenticate(jwt text, for_transaction bool DEFAULT NULL) RETURNS jsonb
    AS 'MODULE_PATHNAME', 'dp_identity_authenticate'
    LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION dataprotect.authenticate(text, bool) IS
    'verifies a JSON Web Token: its subject is the actor in the audit log, its claims count for grants, until the end of the session or transaction';
