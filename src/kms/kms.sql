-- What the key agent knows of each KMS key that it was asked to use.
CREATE FUNCTION dataprotect._kms_status(
	OUT kms_uri text, OUT provider text, OUT calls bigint, OUT failures bigint,
	OUT last_success timestamptz, OUT last_failure timestamptz, OUT last_error text,
	OUT circuit text, OUT mean_ms float8, OUT max_ms float8, OUT credentials_expire timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'dp_kms_status';
COMMENT ON FUNCTION dataprotect._kms_status() IS 'calls, failures and circuit of each KMS URI since the server started, times of its last 64 calls; the view is in keys/key_views.sql';

-- Roots that sign, and the end of roots.  Callers decide when a root may go.
CREATE FUNCTION dataprotect._kms_sign(kms_uri text, digest bytea,
	OUT algorithm text, OUT signature bytea, OUT public_key bytea, OUT version int, OUT openssl_options text)
RETURNS record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dp_kms_sql_sign';
COMMENT ON FUNCTION dataprotect._kms_sign(text, bytea) IS 'a KMS root''s signature of 32 bytes, its public key in DER, and how openssl pkeyutl -verify -rawin takes them';

CREATE FUNCTION dataprotect._kms_verify(kms_uri text, digest bytea, signature bytea, version int)
RETURNS bool
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dp_kms_sql_verify';
COMMENT ON FUNCTION dataprotect._kms_verify(text, bytea, bytea, int) IS 'whether a signature is the root''s, by the public key that its KMS shows now';

CREATE FUNCTION dataprotect._kms_root_state(kms_uri text, OUT state text, OUT delete_at timestamptz, OUT root_uri text)
RETURNS record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dp_kms_sql_root_state';
COMMENT ON FUNCTION dataprotect._kms_root_state(text) IS 'what a KMS says of a root now: enabled, disabled, pending deletion (with the date), deleted, unknown';

CREATE FUNCTION dataprotect._kms_destroy_root(kms_uri text, days int, OUT state text, OUT delete_at timestamptz, OUT root_uri text)
RETURNS record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'dp_kms_sql_destroy_root';
COMMENT ON FUNCTION dataprotect._kms_destroy_root(text, int) IS 'destroy a KMS root: after so many days at AWS, at once in a file, in Vault and in a token; what is wrapped under it alone is lost';
