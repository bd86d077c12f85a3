/*
 * epoch.c
 *	  The SQL-callable primitives under roll_epoch(): roots, and what shows that a
 *	  wrapped key opens.  The order of things is in epoch.sql.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/argument.h"
#include "base/compat.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/statement.h"
#include "base/worker.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/arena.h"
#include "keys/catalog.h"
#include "keys/keys_internal.h"
#include "keys/own_step.h"
#include "kms/kms.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dp_keys_epoch_opens_sql);
PG_FUNCTION_INFO_V1(dp_keys_epoch_probe_as_sql);
PG_FUNCTION_INFO_V1(dp_keys_epoch_forget_sql);
PG_FUNCTION_INFO_V1(dp_keys_epoch_wake_sql);
PG_FUNCTION_INFO_V1(dp_keys_root_make_sql);
PG_FUNCTION_INFO_V1(dp_keys_root_state_sql);
PG_FUNCTION_INFO_V1(dp_keys_root_destroy_sql);
PG_FUNCTION_INFO_V1(dp_keys_roots_elsewhere_sql);

#define EPOCH_WORKER		"keys"	/* its round takes the steps: seal_budget.c */

/* By their DpKmsRootState. */
static const char *const state_names[] = {"unknown", "enabled", "disabled", "pending", "deleted"};

/*
 * dataprotect._epoch_opens(key_id int8, wrapped bytea, purpose int2, version int4,
 * epoch int8) returns bool: does a wrapped key open under that epoch, and is it the
 * key of this id?
 */
Datum
dp_keys_epoch_opens_sql(PG_FUNCTION_ARGS)
{
	uint64		key_id = (uint64) PG_GETARG_INT64(0);
	bytea	   *wrapped = PG_GETARG_BYTEA_PP(1);
	int			purpose = PG_GETARG_INT16(2);
	DpArenaEntry epoch;
	uint8		uid[16];
	uint8		context[DP_WRAP_CONTEXT_LEN];
	uint8		key[DP_KEY_LEN];
	uint64		check;
	bool		ok;

	dp_catalog_database_uid(uid);
	dp_keys_wrap_context(uid, key_id, purpose, PG_GETARG_INT32(3), context);
	dp_keys_get_epoch((uint64) PG_GETARG_INT64(4), 0, &epoch);
	ok = dp_key_unwrap(epoch.key, context, sizeof(context), (uint8 *) VARDATA_ANY(wrapped),
					   VARSIZE_ANY_EXHDR(wrapped), key) &&
		dp_key_id(key, (DpKeyPurpose) purpose, &check) && check == key_id;
	dp_secret_wipe(key, sizeof(key));
	dp_secret_wipe(&epoch, sizeof(epoch));
	PG_RETURN_BOOL(ok);
}

/*
 * dataprotect._epoch_probe_as(epoch int8, ordinal int4, uri text, OUT problem text)
 * Open an epoch key's form under its ordinal-th URI by another URI of that root.
 */
Datum
dp_keys_epoch_probe_as_sql(PG_FUNCTION_ARGS)
{
	DpEpochRow	row;
	DpKmsError	error;
	int			position = PG_GETARG_INT32(1);

	dp_catalog_require_epoch((uint64) PG_GETARG_INT64(0), position, &row);
	if (dp_kms_drill(MyDatabaseId, &row.context, text_to_cstring(PG_GETARG_TEXT_PP(2)),
					 &row.blobs[position - 1], &error))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(error.detail));
}

/* dataprotect._epoch_forget(epoch int8): its key leaves the shared memory. */
Datum
dp_keys_epoch_forget_sql(PG_FUNCTION_ARGS)
{
	dp_arena_drop_epoch(MyDatabaseId, (uint64) PG_GETARG_INT64(0));
	PG_RETURN_VOID();
}

Datum
dp_keys_epoch_wake_sql(PG_FUNCTION_ARGS)
{
	dp_worker_wake(MyDatabaseId, EPOCH_WORKER);
	PG_RETURN_VOID();
}

/* dataprotect._root_make(uri text) returns text: what went wrong, or NULL */
Datum
dp_keys_root_make_sql(PG_FUNCTION_ARGS)
{
	char	   *uri = text_to_cstring(PG_GETARG_TEXT_PP(0));
	DpKmsError	error;

	dp_kms_check_uri(uri);
	if (dp_kms_make_root(uri, &error))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(error.detail));
}

static Datum
root_row(FunctionCallInfo fcinfo, bool ok, const DpKmsRoot *root, const DpKmsError *error)
{
	Datum		values[4] = {0};
	bool		nulls[4] = {!ok, !ok || root->delete_at == 0, !ok, ok};

	if (ok)
	{
		values[0] = CStringGetTextDatum(state_names[root->state]);
		values[1] = TimestampTzGetDatum(time_t_to_timestamptz((pg_time_t) root->delete_at));
		values[2] = CStringGetTextDatum(root->uri);
	}
	else
		values[3] = CStringGetTextDatum(error->detail);
	return dp_result_row(fcinfo, values, nulls);
}

/* dataprotect._root_state(uri text, OUT state, OUT delete_at, OUT root_uri, OUT problem) */
Datum
dp_keys_root_state_sql(PG_FUNCTION_ARGS)
{
	DpKmsRoot	root;
	DpKmsError	error;
	bool		ok = dp_kms_root_state(text_to_cstring(PG_GETARG_TEXT_PP(0)), &root, &error);

	return root_row(fcinfo, ok, &root, &error);
}

/* dataprotect._root_destroy(uri text, days int4, ...): the same afterwards */
Datum
dp_keys_root_destroy_sql(PG_FUNCTION_ARGS)
{
	DpKmsRoot	root;
	DpKmsError	error;
	bool		ok;

	if (!dp_own_caller())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function \"%s\" is for the extension's own use", "_root_destroy")));
	ok = dp_kms_schedule_destroy(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1), &root, &error);
	return root_row(fcinfo, ok, &root, &error);
}

/*
 * dataprotect._roots_elsewhere(uris text[]) returns text
 * A database of this server that wraps keys under one of these URIs as well, or
 * NULL.  One that cannot be asked is an error: it may.
 */
Datum
dp_keys_roots_elsewhere_sql(PG_FUNCTION_ARGS)
{
	Oid			type;
	bool		varlena;
	Oid		   *databases;
	int			n = dp_worker_databases(&databases);
	char	   *sql;

	getTypeOutputInfo(TEXTARRAYOID, &type, &varlena);
	sql = psprintf("SELECT 'x' FROM dataprotect.epoch e WHERE e.state <> 'd' AND e.kms_uri && %s::pg_catalog.text[] LIMIT 1",
				   quote_literal_cstr(OidOutputFunctionCall(type, PG_GETARG_DATUM(0))));
	for (int i = 0; i < n; i++)
	{
		if (databases[i] != MyDatabaseId && dp_worker_autonomous_in(databases[i], sql) != NULL)
			PG_RETURN_TEXT_P(cstring_to_text(get_database_name(databases[i])));
	}
	PG_RETURN_NULL();
}

/* One step of the worker's; true where the next can follow at once. */
bool
dp_keys_epoch_round(void)
{
	return dp_own_step("SELECT dataprotect._epoch_step()", "could not go on with an epoch");
}
