/*
 * drill.c
 *	  SQL access to dp_kms_drill().
 */
#include "postgres.h"

#include "base/compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "kms/kms.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#define DRILL_COLUMNS 3

PG_FUNCTION_INFO_V1(dp_kms_drill_sql);

/*
 * dataprotect._kms_drill(instance, key_id, version, kms_uri, wrapped): whether
 * that URI opens the wrapped epoch key now, and if not, why.  The key goes
 * nowhere.
 */
Datum
dp_kms_drill_sql(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *instance = PG_GETARG_UUID_P(0);
	char	   *uri = text_to_cstring(PG_GETARG_TEXT_PP(3));
	bytea	   *wrapped = PG_GETARG_BYTEA_PP(4);
	DpKmsContext context;
	DpKmsBlob	blob;
	DpKmsError	error;
	TupleDesc	tupdesc;
	Datum		values[DRILL_COLUMNS];
	bool		nulls[DRILL_COLUMNS] = {false};
	bool		ok;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (strlen(uri) >= DP_KMS_URI_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("KMS URI is too long")));
	if (VARSIZE_ANY_EXHDR(wrapped) > DP_KMS_BLOB_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("wrapped key is too long")));

	memset(&context, 0, sizeof(context));
	memcpy(context.database_uid, instance->data, UUID_LEN);
	context.key_id = (uint64) PG_GETARG_INT64(1);
	context.version = PG_GETARG_INT32(2);
	context.purpose = DP_PURPOSE_EPOCH;
	memset(&blob, 0, sizeof(blob));
	blob.len = VARSIZE_ANY_EXHDR(wrapped);
	memcpy(blob.data, VARDATA_ANY(wrapped), blob.len);

	ok = dp_kms_drill(MyDatabaseId, &context, uri, &blob, &error);

	values[0] = BoolGetDatum(ok);
	nulls[1] = nulls[2] = ok;
	if (!ok)
	{
		values[1] = CStringGetTextDatum(unpack_sql_state(error.sqlstate));
		values[2] = CStringGetTextDatum(error.detail);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}
