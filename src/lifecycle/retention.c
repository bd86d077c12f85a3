/*
 * retention.c
 *	  CALL dataprotect.run_retention(): batches with a commit each.
 *
 * A run of one policy:
 *
 *	lock the policy (a session lock: it outlives the commits)
 *	write the run down, commit
 *	for each table that stores rows, batches (retention_table.c); or for each
 *	partition, drop it
 *	write down how it ended and what stayed, commit
 *
 * Each table and each partition is by itself: one that fails is reported and the
 * others are gone through.
 *
 * Whatever kills the session leaves whole batches and a run that says
 * "running"; the next run marks that one interrupted and finds what is left,
 * because a row that was dealt with is not chosen again.
 */
#include "postgres.h"

#include "base/report.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "lifecycle/retention_table.h"
#include "sqlrun/batch_commit.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_run_retention);

/* The partition at hand of the action drop_partition. */
typedef struct DropStep
{
	DpRetentionRun *run;
	Oid			part;
} DropStep;

/* Drop one partition, unless a row of it must stay. */
static void
drop_step(void *arg)
{
	DropStep   *step = arg;
	Oid			types[2] = {INT8OID, OIDOID};
	Datum		values[2];

	values[0] = Int64GetDatum(step->run->id);
	values[1] = ObjectIdGetDatum(step->part);
	(void) dp_batch_query("SELECT dataprotect._retention_drop($1, $2)", 2, types, values);
}

/* What must be so for the run to begin; an error says what is not. */
static void
preflight_step(void *arg)
{
	DpRetentionRun *run = arg;
	Oid			types[1] = {INT8OID};
	Datum		values[1];

	values[0] = Int64GetDatum(run->id);
	dp_batch_query("SELECT dataprotect._retention_run_preflight($1)",
				   1, types, values);
}

/* The OIDs that a query about the run returns, in PortalContext. */
static List *
list_tables(DpRetentionRun *run, const char *sql)
{
	Oid			types[1] = {INT8OID};
	Datum		values[1];
	List	   *tables = NIL;
	DpRunAs		saved;
	MemoryContext old;

	values[0] = Int64GetDatum(run->id);
	dp_run_as_system(&saved);
	if (SPI_execute_with_args(sql, 1, types, values, NULL, false, 0) < 0)
		dp_report_altered("could not list tables");
	old = MemoryContextSwitchTo(PortalContext);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		tables = lappend_oid(tables, DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
																	SPI_tuptable->tupdesc, 1, &isnull)));
	}
	MemoryContextSwitchTo(old);
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
	return tables;
}

/* One partition that cannot go does not keep the others. */
static void
drop_partitions(DpRetentionRun *run)
{
	List	   *parts = list_tables(run, "SELECT p::oid FROM dataprotect._retention_run_partitions($1) p");
	ListCell   *lc;

	dp_batch_commit();
	foreach(lc, parts)
	{
		DropStep	step = {run, lfirst_oid(lc)};
		char	   *failure = dp_batch_try(drop_step, &step);

		if (failure != NULL)
		{
			run->failed = true;
			dp_retention_note(run, "%s: %s", get_rel_name(step.part) ? get_rel_name(step.part) : "partition", failure);
		}
		dp_batch_commit();
		dp_retention_pause(run);
		if (run->waits)
			break;
	}
}

/* Do the work of a run that was begun. */
static void
do_run(DpRetentionRun *run, bool drops)
{
	char	   *failure = dp_batch_try(preflight_step, run);
	List	   *leaves;
	ListCell   *lc;
	char	   *spared;
	Oid			types[1] = {INT8OID};
	Datum		values[1];

	if (failure != NULL)
	{
		run->failed = true;
		dp_retention_note(run, "%s", failure);
		return;
	}
	if (drops)
		drop_partitions(run);
	else
	{
		leaves = list_tables(run, "SELECT l::oid FROM dataprotect.retention_run r JOIN dataprotect.retention_policy p ON p.id = r.policy,"
							 " LATERAL dataprotect._leaves(p.base) l WHERE r.id = $1");
		dp_batch_commit();
		foreach(lc, leaves)
		{
			run->leaf = lfirst_oid(lc);
			dp_retention_table(run);
			if (run->waits)
				break;
		}
	}
	if (run->waits || !(drops || run->spares))
		return;
	values[0] = Int64GetDatum(run->id);
	spared = dp_batch_query("SELECT dataprotect._retention_spared_summary($1)", 1, types, values);
	if (spared != NULL)
		dp_retention_note(run, "%s", spared);
	dp_batch_commit();
}

/*
 * Run one policy to its end.  Returns NULL, or how it failed (the run says so
 * as well), in PortalContext.
 */
static char *
run_policy(const char *name)
{
	DpRetentionRun run = {0};
	Oid			types[4] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[4];
	MemoryContext old = MemoryContextSwitchTo(PortalContext);
	bool		drops;
	char	   *begun;
	char	   *part;

	values[0] = CStringGetTextDatum(name);
	begun = dp_batch_query("SELECT concat_ws('/', r.run, (r.action = 'drop_partition')::int, r.date_order, r.timezone)"
						   "  FROM dataprotect._retention_begin($1) r", 1, types, values);
	run.id = strtoll(begun, &part, 10);
	drops = part[1] == '1';
	part += 3;
	run.datestyle = psprintf("ISO, %.*s", (int) strcspn(part, "/"), part);
	run.timezone = strchr(part, '/') + 1;
	run.report = makeStringInfo();
	dp_batch_commit();

	run.context = AllocSetContextCreate(PortalContext, "retention run", ALLOCSET_DEFAULT_SIZES);
	do_run(&run, drops);
	MemoryContextDelete(run.context);
	if (run.look != NULL)
		SPI_freeplan(run.look);
	if (run.count != NULL)
		SPI_freeplan(run.count);

	values[0] = CStringGetTextDatum(psprintf(INT64_FORMAT, run.id));
	values[1] = CStringGetTextDatum(run.waits ? "waiting" : run.failed ? "error" : "ok");
	values[2] = CStringGetTextDatum(run.report->data);
	values[3] = CStringGetTextDatum(run.locked ? "true" : "false");
	dp_batch_query("SELECT dataprotect._retention_finish($1::pg_catalog.int8, $2, nullif($3, ''), $4::pg_catalog.bool)",
				   4, types, values);
	dp_batch_commit();
	MemoryContextSwitchTo(old);
	return run.failed && !run.waits ? run.report->data : NULL;
}

/*
 * Lock, run, unlock.  A policy that another session is running is waited for
 * where it was named, left to that session otherwise.  What fails is in the
 * record of the run; the caller gets a warning.
 */
static void
run_locked(const char *name, bool named)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1];
	char	   *found;
	char	   *volatile failure = NULL;
	Oid			catalog;
	int32		policy;

	values[0] = CStringGetTextDatum(name);
	found = dp_batch_query("SELECT (dataprotect._find_retention_policy($1)).id", 1, types, values);
	policy = pg_strtoint32(found);
	catalog = get_relname_relid("retention_policy", get_namespace_oid("dataprotect", false));
	dp_batch_commit();
	if (!dp_batch_lock(catalog, (uint32) policy, named))
		return;
	PG_TRY();
	{
		failure = run_policy(name);
	}
	PG_FINALLY();
	{
		dp_batch_unlock(catalog, (uint32) policy);
	}
	PG_END_TRY();
	if (failure != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("retention policy \"%s\" failed", name),
				 errdetail("%s.", failure)));
}

/* Names of the active policies, in PortalContext. */
static List *
list_active(void)
{
	List	   *names = NIL;
	DpRunAs		saved;
	MemoryContext old;

	dp_run_as_system(&saved);
	if (SPI_execute("SELECT p.name FROM dataprotect.retention_policy p WHERE p.state = 'active' ORDER BY p.id",
					false, 0) < 0)
		dp_report_altered("could not list retention policies");
	old = MemoryContextSwitchTo(PortalContext);
	for (uint64 i = 0; i < SPI_processed; i++)
		names = lappend(names, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	MemoryContextSwitchTo(old);
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
	return names;
}

Datum
dp_lifecycle_run_retention(PG_FUNCTION_ARGS)
{
	char	   *name = NULL;

	if (!PG_ARGISNULL(0))
		name = MemoryContextStrdup(PortalContext, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	dp_batch_begin(fcinfo, "dataprotect.run_retention()");
	(void) dp_batch_query("SELECT dataprotect._refuse_wrong_clock()", 0, NULL, NULL);
	if (name != NULL)
		run_locked(name, true);
	else
	{
		List	   *names = list_active();
		ListCell   *lc;

		foreach(lc, names)
			run_locked(lfirst(lc), false);
	}
	dp_batch_end();
	PG_RETURN_VOID();
}
