/*
 * audit_log.c
 *	  SQL functions around the audit log: reading its sealed fields, recording
 *	  an administrative act, waiting for the collector.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "audit/audit_workers.h"
#include "audit/collector.h"
#include "audit/log_batch.h"
#include "audit/personal.h"
#include "audit/subjects.h"
#include "base/compat.h"
#include "base/report.h"
#include "base/text.h"
#include "base/worker.h"
#include "catalog/pg_type.h"
#include "events/denial.h"
#include "events/event.h"
#include "events/record.h"
#include "events/ring.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(dp_audit_unseal);
PG_FUNCTION_INFO_V1(dp_audit_event_name);
PG_FUNCTION_INFO_V1(dp_audit_event);
PG_FUNCTION_INFO_V1(dp_audit_flush);
PG_FUNCTION_INFO_V1(dp_audit_start);
PG_FUNCTION_INFO_V1(dp_audit_known_keys);
PG_FUNCTION_INFO_V1(dp_audit_names_subject);
PG_FUNCTION_INFO_V1(dp_audit_may_read);

/*
 * Membership counts, superuser-ness does not; and it counts for whoever logged
 * in as well, so that a superuser gains nothing by SET ROLE.
 */
void
dp_audit_require_auditor(void)
{
	Oid			auditor = get_role_oid("dataprotect_auditor", false);

	if (!is_member_of_role_nosuper(GetUserId(), auditor) ||
		!is_member_of_role_nosuper(GetAuthenticatedUserId(), auditor))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read the audit log"),
				 errdetail("Being a superuser is not enough."),
				 errhint("Only members of role \"dataprotect_auditor\" may read it.")));
}

/* Text as this database can show it, wherever the record was made. */
static void
set_text(Datum *value, bool *null, DpSlice slice)
{
	char	   *copy;

	*null = slice.len == 0;
	if (slice.len == 0)
		return;
	copy = palloc(slice.len + 1);
	(void) dp_text_copy(copy, slice.len + 1, pnstrdup((const char *) slice.data, slice.len));
	*value = PointerGetDatum(cstring_to_text(copy));
}

/* Form and bytes (packed.h). */
static bool
open_part(const uint8 *data, Size len, DpPersonal *out)
{
	bytea	   *plain;

	if (len < 1)
		return false;
	if (data[0] == DP_SEALED_PLAIN)
		return dp_personal_decode(data + 1, len - 1, out);
	return data[0] == DP_SEALED_KEY && dp_keys_audit_open(data + 1, len - 1, &plain) &&
		dp_personal_decode((const uint8 *) VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain), out);
}

/* The sealed column refers to a part of its batch. */
bool
dp_audit_open_sealed(bytea *sealed, DpPersonal *out)
{
	const uint8 *data = (const uint8 *) VARDATA_ANY(sealed);
	Size		len = VARSIZE_ANY_EXHDR(sealed);
	DpSlice		part;

	return len > 0 && data[0] == DP_SEALED_BATCH && dp_log_sealed(data, len, &part) &&
		open_part(part.data, part.len, out);
}

Datum
dp_audit_unseal(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	Datum		values[5];
	bool		nulls[5] = {true, true, true, true, true};
	DpPersonal	personal;

	dp_audit_require_auditor();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	if (!PG_ARGISNULL(0) && dp_audit_open_sealed(PG_GETARG_BYTEA_PP(0), &personal))
	{
		set_text(&values[0], &nulls[0], personal.actor);
		set_text(&values[1], &nulls[1], personal.client);
		set_text(&values[2], &nulls[2], personal.application);
		set_text(&values[3], &nulls[3], personal.purpose);
		nulls[4] = personal.detail.len == 0;
		if (!nulls[4])
			values[4] = DirectFunctionCall1(jsonb_in,
											CStringGetDatum(pnstrdup((const char *) personal.detail.data,
																	 personal.detail.len)));
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}

Datum
dp_audit_may_read(PG_FUNCTION_ARGS)
{
	dp_audit_require_auditor();
	PG_RETURN_BOOL(true);
}

/* Does a record tell that values under one of these keys of accounts were opened? */
Datum
dp_audit_names_subject(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(1);
	DpPersonal	personal;
	DpSubjects *subjects = palloc(sizeof(DpSubjects));
	uint64		statement;
	Datum	   *ids;
	bool	   *nulls;
	int			n;

	dp_audit_require_auditor();
	if (!dp_audit_open_sealed(PG_GETARG_BYTEA_PP(0), &personal) ||
		!dp_subjects_read(personal.detail, &statement, subjects))
		PG_RETURN_BOOL(false);
	deconstruct_array(array, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &ids, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i] && dp_subjects_has(subjects, (uint64) DatumGetInt64(ids[i])))
			PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(false);
}

/* outcome, keys, keys of its result: the planner knows this call (record_plan.c). */
Datum
dp_audit_known_keys(PG_FUNCTION_ARGS)
{
	if (!PG_ARGISNULL(0) && PG_GETARG_CHAR(0) == DP_OUTCOME_STARTED && !PG_ARGISNULL(2))
		PG_RETURN_DATUM(PG_GETARG_DATUM(2));
	if (!PG_ARGISNULL(1))
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	PG_RETURN_ARRAYTYPE_P(construct_empty_array(TEXTOID));
}

Datum
dp_audit_event_name(PG_FUNCTION_ARGS)
{
	const char *name = dp_event_name(PG_GETARG_INT16(0));

	PG_RETURN_TEXT_P(cstring_to_text(name ? name : psprintf("unknown.%d", PG_GETARG_INT16(0))));
}

Datum
dp_audit_event(PG_FUNCTION_ARGS)
{
	DpEventCode code;
	char	   *name;
	char	   *key = NULL;
	char	   *detail = NULL;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("event must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!dp_event_code(name, &code))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event \"%s\" is not in the catalogue", name)));
	if (!PG_ARGISNULL(1))
		key = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!PG_ARGISNULL(2))
	{
		Jsonb	   *jsonb = PG_GETARG_JSONB_P(2);

		detail = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));
	}
	dp_event_admin(code, key, detail);
	PG_RETURN_VOID();
}

Datum
dp_audit_flush(PG_FUNCTION_ARGS)
{
	Interval   *timeout = PG_GETARG_INTERVAL_P(0);
	TimestampTz deadline;
	uint64		target;

	deadline = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
													   TimestampTzGetDatum(GetCurrentTimestamp()),
													   IntervalPGetDatum(timeout)));
	dp_denial_write_counts(true);
	target = dp_ring_last_seq();
	while (dp_ring_collected(MyDatabaseId) < target)
	{
		if (GetCurrentTimestamp() >= deadline)
			PG_RETURN_BOOL(false);
		if (dp_ring_flushed_seq() < target)
			dp_ring_wake_writer();
		else
			dp_worker_wake(MyDatabaseId, DP_AUDIT_WORKER_KIND);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 10,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	PG_RETURN_BOOL(true);
}

/*
 * Called by the install script: segments of an earlier installation in this
 * database are not this one's.  No key exists yet, so the row has no signature.
 */
Datum
dp_audit_start(PG_FUNCTION_ARGS)
{
	Oid			types[2] = {UUIDOID, INT8OID};
	Datum		values[2];
	pg_uuid_t	instance;

	memcpy(instance.data, dp_ring_instance(), UUID_LEN);
	values[0] = UUIDPGetDatum(&instance);
	values[1] = Int64GetDatum((int64) dp_ring_last_seq());
	SPI_connect();
	if (SPI_execute_with_args("INSERT INTO dataprotect.audit_cursor (instance, ring_seq, sig) "
							  "VALUES ($1, $2, '')", 2, types, values, NULL, false, 0) < 0)
		dp_report_altered("could not store the start of the audit log");
	SPI_finish();
	PG_RETURN_VOID();
}
