/*
 * deletion.c
 *	  CALL dataprotect.run_deletions(): every request as far as it goes.
 *
 * The states and what leads from one to the next are in deletion_run.sql; a
 * step is one call of dataprotect._deletion_step() and one commit.  VACUUM and
 * REINDEX between the purge and the destruction of the keys are the worker's
 * (due_work.c): they cannot run in a procedure.
 */
#include "postgres.h"

#include "access/restored.h"
#include "base/compat.h"
#include "base/report.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "sqlrun/batch_commit.h"
#include "sqlrun/run_as.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_run_deletions);

typedef struct DeletionStep
{
	int64		request;
	bool		more;
} DeletionStep;

static void
deletion_step(void *arg)
{
	DeletionStep *step = arg;
	Oid			types[1] = {INT8OID};
	Datum		values[1];
	char	   *more;

	values[0] = Int64GetDatum(step->request);
	more = dp_batch_query("SELECT dataprotect._deletion_step($1)", 1, types, values);
	step->more = more != NULL && more[0] == 't';
}

/* So that an erasure is never certified that a restored backup could forget. */
static void
list_step(void *arg)
{
	(void) dp_batch_query("SELECT dataprotect._list_erasures()", 0, NULL, NULL);
}

static void
list_erasures(void)
{
	char	   *failure;

	if (!dp_erasure_wanted())
		return;
	failure = dp_batch_try(list_step, NULL);
	if (failure != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("could not write the list of erasures"),
				 errdetail("%s.", failure)));
	dp_batch_commit();
}

static void
advance_request(int64 request)
{
	DeletionStep step = {request, true};
	MemoryContext scratch = AllocSetContextCreate(PortalContext, "deletion step", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);

	while (step.more)
	{
		char	   *failure;

		MemoryContextReset(scratch);
		step.more = false;
		failure = dp_batch_try(deletion_step, &step);
		if (failure != NULL)
		{
			Oid			types[2] = {INT8OID, TEXTOID};
			Datum		values[2];

			values[0] = Int64GetDatum(request);
			values[1] = CStringGetTextDatum(failure);
			dp_batch_query("SELECT dataprotect._deletion_failed($1, $2)", 2, types, values);
			ereport(WARNING,
					(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
					 errmsg("deletion request " INT64_FORMAT " failed", request),
					 errdetail("%s.", failure)));
		}
		dp_batch_commit();
		list_erasures();
		dp_batch_make_room();
		MemoryContextSwitchTo(scratch);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

/* The same unless another session is at it. */
static void
advance_locked(Oid catalog, int64 request)
{
	if (!dp_batch_lock(catalog, (uint32) request, false))
		return;
	PG_TRY();
	{
		advance_request(request);
	}
	PG_FINALLY();
	{
		dp_batch_unlock(catalog, (uint32) request);
	}
	PG_END_TRY();
}

/* Requests for which something may be done, most urgent first, in PortalContext. */
static List *
list_requests(void)
{
	List	   *requests = NIL;
	DpRunAs		saved;
	MemoryContext old;

	dp_run_as_system(&saved);
	if (SPI_execute("SELECT u::pg_catalog.int8 FROM pg_catalog.unnest(dataprotect._deletions_due()) WITH ORDINALITY x(u, n)"
					" ORDER BY n", false, 0) < 0)
		dp_report_altered("could not list deletion requests");
	old = MemoryContextSwitchTo(PortalContext);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int64	   *request = palloc(sizeof(int64));

		*request = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		requests = lappend(requests, request);
	}
	MemoryContextSwitchTo(old);
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
	return requests;
}

Datum
dp_lifecycle_run_deletions(PG_FUNCTION_ARGS)
{
	List	   *requests;
	ListCell   *lc;
	Oid			catalog;

	dp_batch_begin(fcinfo, "dataprotect.run_deletions()");
	(void) dp_batch_query("SELECT dataprotect._refuse_wrong_clock()", 0, NULL, NULL);
	requests = list_requests();
	catalog = get_relname_relid("deletion_request", get_namespace_oid("dataprotect", false));
	dp_batch_commit();
	foreach(lc, requests)
		advance_locked(catalog, *(int64 *) lfirst(lc));
	dp_batch_end();
	PG_RETURN_VOID();
}
