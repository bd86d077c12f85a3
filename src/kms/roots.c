/*
 * roots.c
 *	  SQL functions about roots themselves: sign, verify, state, end.  For
 *	  administrators, and for the layers above, which know when a root may go.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/result.h"
#include "fmgr.h"
#include "funcapi.h"
#include "kms/kms.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dp_kms_sql_sign);
PG_FUNCTION_INFO_V1(dp_kms_sql_verify);
PG_FUNCTION_INFO_V1(dp_kms_sql_root_state);
PG_FUNCTION_INFO_V1(dp_kms_sql_destroy_root);

static void
raise_error(const DpKmsError *error, const char *what)
{
	ereport(ERROR,
			(errcode(error->sqlstate),
			 errmsg("could not %s KMS root \"%s\"", what, error->uri),
			 errdetail_internal("%s", error->detail)));
}

static const uint8 *
digest_arg(FunctionCallInfo fcinfo, int n)
{
	bytea	   *digest = PG_GETARG_BYTEA_PP(n);

	if (VARSIZE_ANY_EXHDR(digest) != DP_KMS_DIGEST_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("digest must have %d bytes", DP_KMS_DIGEST_LEN),
				 errhint("Use sha256().")));
	return (const uint8 *) VARDATA_ANY(digest);
}

static char *
uri_arg(FunctionCallInfo fcinfo, int n)
{
	char	   *uri = text_to_cstring(PG_GETARG_TEXT_PP(n));

	dp_kms_check_uri(uri);
	return uri;
}

/* dataprotect._kms_sign(kms_uri, digest) */
Datum
dp_kms_sql_sign(PG_FUNCTION_ARGS)
{
	char	   *uri = uri_arg(fcinfo, 0);
	DpKmsSignature signature;
	DpKmsError	error;
	Datum		values[5];
	bool		nulls[5] = {false};

	if (!dp_kms_sign(uri, digest_arg(fcinfo, 1), &signature, &error))
		raise_error(&error, "sign with");
	values[0] = CStringGetTextDatum(dp_signature_name(signature.algorithm));
	values[1] = dp_result_bytea(signature.signature, signature.len);
	values[2] = dp_result_bytea(signature.public_key, signature.public_key_len);
	values[3] = Int32GetDatum(signature.version);
	values[4] = CStringGetTextDatum(dp_signature_openssl(signature.algorithm));
	PG_RETURN_DATUM(dp_result_row(fcinfo, values, nulls));
}

/* dataprotect._kms_verify(kms_uri, digest, signature, version) */
Datum
dp_kms_sql_verify(PG_FUNCTION_ARGS)
{
	char	   *uri = uri_arg(fcinfo, 0);
	const uint8 *digest = digest_arg(fcinfo, 1);
	bytea	   *bytes = PG_GETARG_BYTEA_PP(2);
	DpKmsSignature signature = {0};
	DpKmsError	error;
	bool		good;

	if (VARSIZE_ANY_EXHDR(bytes) > DP_KMS_SIGNATURE_MAX)
		PG_RETURN_BOOL(false);
	signature.len = VARSIZE_ANY_EXHDR(bytes);
	memcpy(signature.signature, VARDATA_ANY(bytes), signature.len);
	signature.version = PG_GETARG_INT32(3);
	if (!dp_kms_verify(uri, digest, &signature, &good, &error))
		raise_error(&error, "verify with");
	PG_RETURN_BOOL(good);
}

static Datum
root_datum(FunctionCallInfo fcinfo, const DpKmsRoot *root)
{
	static const char *const names[] = {
		[DP_KMS_ROOT_UNKNOWN] = "unknown",
		[DP_KMS_ROOT_ENABLED] = "enabled",
		[DP_KMS_ROOT_DISABLED] = "disabled",
		[DP_KMS_ROOT_PENDING] = "pending deletion",
		[DP_KMS_ROOT_DELETED] = "deleted"
	};
	Datum		values[3];
	bool		nulls[3] = {false};

	values[0] = CStringGetTextDatum(names[root->state]);
	nulls[1] = root->delete_at <= 0 || root->delete_at > (INT64CONST(1) << 40);
	values[1] = TimestampTzGetDatum(nulls[1] ? 0 : time_t_to_timestamptz((pg_time_t) root->delete_at));
	values[2] = CStringGetTextDatum(root->uri);
	return dp_result_row(fcinfo, values, nulls);
}

/* dataprotect._kms_root_state(kms_uri) */
Datum
dp_kms_sql_root_state(PG_FUNCTION_ARGS)
{
	char	   *uri = uri_arg(fcinfo, 0);
	DpKmsRoot	root;
	DpKmsError	error;

	if (!dp_kms_root_state(uri, &root, &error))
		raise_error(&error, "ask about");
	PG_RETURN_DATUM(root_datum(fcinfo, &root));
}

/* dataprotect._kms_destroy_root(kms_uri, days) */
Datum
dp_kms_sql_destroy_root(PG_FUNCTION_ARGS)
{
	char	   *uri = uri_arg(fcinfo, 0);
	int			days = PG_GETARG_INT32(1);
	DpKmsRoot	root;
	DpKmsError	error;

	if (days < 7 || days > 30)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("waiting period must be 7 to 30 days")));
	if (!dp_kms_schedule_destroy(uri, days, &root, &error))
		raise_error(&error, "destroy");
	PG_RETURN_DATUM(root_datum(fcinfo, &root));
}
