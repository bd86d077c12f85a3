-- What the key agent knows of each KMS key that it was asked to use.
CREATE FUNCTION dataprotect._kms_status(
	OUT kms_uri text, OUT provider text, OUT calls bigint, OUT failures bigint,
	OUT last_success timestamptz, OUT last_failure timestamptz, OUT last_error text,
	OUT circuit text)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'dp_kms_status';
COMMENT ON FUNCTION dataprotect._kms_status() IS 'calls, failures and circuit of each KMS URI since the server started';

CREATE VIEW dataprotect.kms_status AS
	SELECT kms_uri, provider, calls, failures, last_success, last_failure, last_error, circuit
	FROM dataprotect._kms_status();
COMMENT ON VIEW dataprotect.kms_status IS 'health of each KMS key that the key agent was asked to use since the server started, all databases together';
