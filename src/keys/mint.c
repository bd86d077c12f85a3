/*
 * mint.c
 *	  The SQL-callable primitives under create_key() and its like.
 *
 * Each returns wrapped keys only; a plain key never becomes a Datum.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/progress.h"
#include "base/report.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/statement.h"
#include "base/worker.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/catalog.h"
#include "keys/keys_internal.h"
#include "kms/kms.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_keys_autonomous_sql);
PG_FUNCTION_INFO_V1(dp_keys_check_uri_sql);
PG_FUNCTION_INFO_V1(dp_keys_epoch_create_sql);
PG_FUNCTION_INFO_V1(dp_keys_epoch_probe_sql);
PG_FUNCTION_INFO_V1(dp_keys_epoch_rewrap_sql);
PG_FUNCTION_INFO_V1(dp_keys_wrap_new_sql);
PG_FUNCTION_INFO_V1(dp_keys_rewrap_sql);

static Datum
make_pair(FunctionCallInfo fcinfo, Datum first, Datum second, bool isnull)
{
	TupleDesc	desc;
	Datum		values[2] = {first, second};
	bool		nulls[2] = {isnull, isnull};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * The transaction, or part of it, that made the extension, or an invalid one where it
 * was committed before: it was made with its schema.
 */
static TransactionId
made_by(void)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum("dataprotect"));
	TransactionId xid = InvalidTransactionId;

	if (!HeapTupleIsValid(tuple))
		return xid;
	xid = HeapTupleHeaderGetXmin(tuple->t_data);
	ReleaseSysCache(tuple);
	return TransactionIdIsCurrentTransactionId(xid) ? xid : InvalidTransactionId;
}

/*
 * Here, where another transaction would not see the extension.  What makes a key's
 * own commit needless takes everything along: a rollback of the extension leaves
 * no type, no table and no index that an envelope could be in.
 */
static char *
run_here(const char *sql, bool own)
{
	Oid			user;
	int			context;
	int			level;
	char	   *volatile result = NULL;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, context | SECURITY_LOCAL_USERID_CHANGE);
	level = own ? dp_own_begin() : INT_MAX;
	PG_TRY();
	{
		MemoryContext caller = CurrentMemoryContext;

		if (SPI_connect() != SPI_OK_CONNECT || SPI_execute(sql, false, 1) < 0)
			elog(ERROR, "could not make a key");
		if (SPI_tuptable != NULL && SPI_processed > 0)
		{
			char	   *text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

			result = text != NULL ? MemoryContextStrdup(caller, text) : NULL;
		}
		SPI_finish();
	}
	PG_FINALLY();
	{
		dp_own_end(level);
		SetUserIdAndSecContext(user, context);
	}
	PG_END_TRY();
	return result;
}

char *
dp_keys_autonomous(const char *sql, bool own)
{
	return TransactionIdIsValid(made_by()) ? run_here(sql, own) : dp_worker_autonomous(sql, own);
}

/* Keys must not be rolled back without the extension: their envelopes may stay in an index. */
static void
refuse_within(void)
{
	TransactionId xid = made_by();

	if (TransactionIdIsValid(xid) && GetCurrentTransactionNestLevel() > 1 && xid != GetCurrentTransactionIdIfAny())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot make keys in a subtransaction while extension \"%s\" is not committed", "dataprotect"),
				 errdetail("A rollback of the subtransaction alone would take the keys and leave what they sealed."),
				 errhint("Call the function outside of savepoints and exception blocks, or commit CREATE EXTENSION first.")));
}

Datum
dp_keys_autonomous_sql(PG_FUNCTION_ARGS)
{
	char	   *result;

	refuse_within();
	result = dp_keys_autonomous(text_to_cstring(PG_GETARG_TEXT_PP(0)), dp_own_caller());

	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(result));
}

Datum
dp_keys_check_uri_sql(PG_FUNCTION_ARGS)
{
	dp_kms_check_uri(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

static void
raise_kms_error(const DpKmsError *error, const char *what)
{
	ereport(ERROR,
			(errcode(error->sqlstate),
			 errmsg("could not %s with the KMS", what),
			 errdetail("KMS \"%s\": %s", error->uri, error->detail)));
}

Datum
dp_keys_epoch_create_sql(PG_FUNCTION_ARGS)
{
	DpKmsContext context = {{0}};
	DpKmsError	error;
	DpKmsBlob  *blobs;
	Datum	   *elems;
	Datum		wrapped[DP_KMS_MAX_URIS];
	const char *uris[DP_KMS_MAX_URIS];
	uint64		key_id;
	int			n;
	int			i;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &elems, NULL, &n);
	if (n < 1 || n > DP_KMS_MAX_URIS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a key needs one to four KMS URIs")));
	for (i = 0; i < n; i++)
	{
		uris[i] = TextDatumGetCString(elems[i]);
		dp_kms_check_uri(uris[i]);
	}
	dp_catalog_database_uid(context.database_uid);
	context.version = PG_GETARG_INT32(1);
	context.purpose = DP_PURPOSE_EPOCH;
	blobs = palloc0(sizeof(DpKmsBlob) * n);
	if (!dp_kms_create(MyDatabaseId, &context, uris, n, &key_id, blobs, &error))
		raise_kms_error(&error, "make a key");
	for (i = 0; i < n; i++)
		wrapped[i] = dp_result_bytea(blobs[i].data, blobs[i].len);
	return make_pair(fcinfo, Int64GetDatum((int64) key_id),
					 PointerGetDatum(construct_array(wrapped, n, BYTEAOID, -1, false, TYPALIGN_INT)), false);
}

Datum
dp_keys_epoch_probe_sql(PG_FUNCTION_ARGS)
{
	DpEpochRow	row;
	DpKmsError	error;
	int			position = PG_GETARG_INT32(1);

	dp_catalog_require_epoch((uint64) PG_GETARG_INT64(0), position, &row);
	dp_progress_advance(DP_PROGRESS_DRILL, 1);
	if (dp_kms_drill(MyDatabaseId, &row.context, row.uris[position - 1], &row.blobs[position - 1], &error))
		return make_pair(fcinfo, (Datum) 0, (Datum) 0, true);
	return make_pair(fcinfo, CStringGetTextDatum(unpack_sql_state(error.sqlstate)),
					 CStringGetTextDatum(error.detail), false);
}

/* dataprotect._epoch_rewrap(epoch int8) returns bytea[]: under each of its URIs, as their roots are now */
Datum
dp_keys_epoch_rewrap_sql(PG_FUNCTION_ARGS)
{
	DpEpochRow	row;
	DpKmsError	error;
	Datum		wrapped[DP_KMS_MAX_URIS];

	dp_catalog_require_epoch((uint64) PG_GETARG_INT64(0), 1, &row);
	for (int i = 0; i < row.n_uris; i++)
	{
		if (!dp_kms_rewrap(MyDatabaseId, &row.context, row.uris[i], &row.blobs[i], &error))
			raise_kms_error(&error, "wrap a key anew");
		wrapped[i] = dp_result_bytea(row.blobs[i].data, row.blobs[i].len);
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(wrapped, row.n_uris, BYTEAOID, -1, false, TYPALIGN_INT));
}

Datum
dp_keys_wrap_new_sql(PG_FUNCTION_ARGS)
{
	uint64		epoch_id = (uint64) PG_GETARG_INT64(0);
	int			purpose = PG_GETARG_INT16(1);
	int32		version = PG_GETARG_INT32(2);
	DpArenaEntry epoch;
	uint8		uid[16];
	uint8		context[DP_WRAP_CONTEXT_LEN];
	uint8		key[DP_KEY_LEN];
	uint8		wrapped[DP_WRAPPED_LEN];
	uint64		key_id = 0;
	bool		ok;

	dp_catalog_database_uid(uid);
	dp_keys_get_epoch(epoch_id, 0, &epoch);
	ok = dp_random_key(key, sizeof(key)) && dp_key_id(key, (DpKeyPurpose) purpose, &key_id);
	if (ok)
	{
		dp_keys_wrap_context(uid, key_id, purpose, version, context);
		ok = dp_key_wrap(epoch.key, context, sizeof(context), key, wrapped);
	}
	dp_secret_wipe(key, sizeof(key));
	dp_secret_wipe(&epoch, sizeof(epoch));
	if (!ok)
		dp_report_no_memory("could not make a key");
	return make_pair(fcinfo, Int64GetDatum((int64) key_id),
					 dp_result_bytea(wrapped, sizeof(wrapped)), false);
}

Datum
dp_keys_rewrap_sql(PG_FUNCTION_ARGS)
{
	uint64		key_id = (uint64) PG_GETARG_INT64(0);
	bytea	   *wrapped = PG_GETARG_BYTEA_PP(1);
	int			purpose = PG_GETARG_INT16(2);
	DpArenaEntry from;
	DpArenaEntry to;
	uint8		uid[16];
	uint8		context[DP_WRAP_CONTEXT_LEN];
	uint8		key[DP_KEY_LEN];
	uint8		out[DP_WRAPPED_LEN];
	uint64		check;
	bool		ok;

	dp_catalog_database_uid(uid);
	dp_keys_wrap_context(uid, key_id, purpose, PG_GETARG_INT32(3), context);
	/* Both are in the arena before either is copied: an error leaves no copy. */
	dp_keys_get_epoch((uint64) PG_GETARG_INT64(5), 0, &to);
	dp_secret_wipe(&to, sizeof(to));
	dp_keys_get_epoch((uint64) PG_GETARG_INT64(4), 0, &from);
	if (!dp_arena_get_epoch(MyDatabaseId, (uint64) PG_GETARG_INT64(5), GetCurrentTimestamp(), &to))
		memset(&to, 0, sizeof(to));
	ok = to.has_key && dp_key_unwrap(from.key, context, sizeof(context), (uint8 *) VARDATA_ANY(wrapped),
									 VARSIZE_ANY_EXHDR(wrapped), key) &&
		dp_key_id(key, (DpKeyPurpose) purpose, &check) && check == key_id &&
		dp_key_wrap(to.key, context, sizeof(context), key, out);
	dp_secret_wipe(key, sizeof(key));
	dp_secret_wipe(&from, sizeof(from));
	dp_secret_wipe(&to, sizeof(to));
	if (!ok)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("a wrapped key does not open")));
	PG_RETURN_DATUM(dp_result_bytea(out, sizeof(out)));
}
