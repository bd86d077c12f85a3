/*
 * retention_table.c
 *	  The batches of a retention run over one table; see retention_table.h.
 */
#include "postgres.h"

#include <unistd.h>

#include "access/transam.h"
#include "base/guc.h"
#include "base/report.h"
#include "catalog/pg_type.h"
#include "lifecycle/retention_batch.h"
#include "lifecycle/retention_table.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "sqlrun/batch_commit.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#define BUSY_PAUSE_MS		200
#define MAX_BUSY			10
/* place_hold() waits for a batch: one that takes longer is made smaller. */
#define LONG_BATCH_MS		500
/* Rows at fault after which a table is left alone. */
#define MAX_FAILURES		20
#define MAX_SKIPPING_LIMIT	65536
/* What else is due waits no longer than this and a batch. */
#define TURN_MS				2000
#define LOAD_EVERY_MS		1000
#define MAX_LAG_MS			60000

static bool takes_turns = false;
static instr_time turn_began;
static instr_time load_seen;

void
dp_retention_note(DpRetentionRun *run, const char *format,...)
{
	int			needed = 1;

	if (run->report->len > 0)
		appendStringInfoString(run->report, "; ");
	while (needed > 0)
	{
		va_list		args;

		va_start(args, format);
		needed = appendStringInfoVA(run->report, format, args);
		va_end(args);
		if (needed > 0)
			enlargeStringInfo(run->report, needed);
	}
}

void
dp_retention_take_turns(void)
{
	takes_turns = true;
	INSTR_TIME_SET_CURRENT(turn_began);
}

static double
ms_since(instr_time began)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, began);
	return INSTR_TIME_GET_MILLISEC(now);
}

static void
nap(int ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * How long to stand back: while a standby is too far behind, but no longer than
 * MAX_LAG_MS for each batch (one that is stuck keeps nobody's data for ever); and
 * as long as the batch took where more sessions are at work than there are
 * processors.
 */
static void
stand_back(double batch_ms)
{
	instr_time	began;
	double		lag;
	int			sessions;

	if (ms_since(load_seen) < LOAD_EVERY_MS)
		return;
	INSTR_TIME_SET_CURRENT(began);
	do
	{
		char	   *load = dp_batch_query("SELECT l.replica_lag || ' ' || l.sessions FROM dataprotect._load() l", 0, NULL, NULL);

		dp_batch_commit();
		if (load == NULL || sscanf(load, "%lf %d", &lag, &sessions) != 2)
			break;
		if (sessions > sysconf(_SC_NPROCESSORS_ONLN))
			nap(Max(1, Min((int) batch_ms, LONG_BATCH_MS)));
		if (dp_guc_retention_replica_lag == 0 || lag <= dp_guc_retention_replica_lag)
			break;
		nap(BUSY_PAUSE_MS);
	} while (ms_since(began) < MAX_LAG_MS);
	INSTR_TIME_SET_CURRENT(load_seen);
}

void
dp_retention_pause(DpRetentionRun *run)
{
	if (dp_guc_retention_cost_delay > 0)
		nap(dp_guc_retention_cost_delay);
	CHECK_FOR_INTERRUPTS();
	dp_batch_make_room();
	stand_back(run->batch_ms);
	if (takes_turns && ms_since(turn_began) > TURN_MS)
	{
		Oid			type = INT8OID;
		Datum		value = Int64GetDatum(run->id);
		char	   *due = dp_batch_query("SELECT dataprotect._other_work_due($1)", 1, &type, &value);

		run->waits = due != NULL && due[0] == 't';
		dp_batch_commit();
		INSTR_TIME_SET_CURRENT(turn_began);
	}
}

/* A table's name for the report. */
static char *
table_name(Oid relid)
{
	char	   *name = get_rel_name(relid);
	char	   *schema = get_namespace_name(get_rel_namespace(relid));

	if (name == NULL || schema == NULL)
		return psprintf("table %u", relid);
	return quote_qualified_identifier(schema, name);
}

/* Leave rows behind: those of the bound's own age by their place. */
static void
leave_behind(DpRetentionRun *run, ArrayType *tids)
{
	bool		moved = run->bound == NULL || strcmp(run->bound, run->next_bound) != 0;
	Datum	   *elements;
	int			count;

	if (moved)
	{
		if (run->bound != NULL)
			pfree(run->bound);
		run->bound = MemoryContextStrdup(PortalContext, run->next_bound);
		run->n_kept = 0;
	}
	if (tids == NULL)
		return;
	deconstruct_array(tids, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT, &elements, NULL, &count);
	if (run->n_kept + count > run->max_kept)
	{
		run->max_kept = Max(2 * run->max_kept, run->n_kept + count);
		run->kept = run->kept ? repalloc(run->kept, run->max_kept * sizeof(ItemPointerData)) :
			MemoryContextAlloc(PortalContext, run->max_kept * sizeof(ItemPointerData));
	}
	for (int i = 0; i < count; i++)
		run->kept[run->n_kept++] = *(ItemPointer) DatumGetPointer(elements[i]);
	run->any_kept = true;
}

static void
note_failure(DpRetentionRun *run, const char *failure)
{
	run->failed = true;
	if (run->failures++ == 0)
		dp_retention_note(run, "%s: %s", table_name(run->leaf), failure);
}

/* After a batch that succeeded: where and how large the next one is. */
static void
adopt_batch(DpRetentionRun *run)
{
	if (run->chosen == NULL)
		return;
	leave_behind(run, run->left_behind);
	if (run->rows > 0 && run->batch_ms > LONG_BATCH_MS)
	{
		/* where half of the rows took as long, it is not the rows that take it */
		if (run->halved_ms > 0 && run->batch_ms > run->halved_ms * 3 / 4)
			run->floor = Min(run->limit * 2, dp_guc_retention_batch_size);
		run->halved_ms = run->batch_ms;
	}
	else
		run->halved_ms = 0;
	if (run->rows == 0)
		run->limit = Min(run->limit * 2, MAX_SKIPPING_LIMIT);
	else if (run->batch_ms > LONG_BATCH_MS || run->limit > dp_guc_retention_batch_size)
		run->limit = Max(Min(run->limit / 2, dp_guc_retention_batch_size), run->floor);
	else if (run->limit < dp_guc_retention_batch_size && run->batch_ms < LONG_BATCH_MS / 4)
		run->limit = Min(run->limit * 2, dp_guc_retention_batch_size);
}

/* After a batch that failed and was undone: how to go on; run->more says whether. */
static void
mend_batch(DpRetentionRun *run, const char *failure, int sqlstate, int *busy)
{
	int			chosen = dp_retention_batch_count(run->chosen);

	run->more = true;
	if ((sqlstate == ERRCODE_OUT_OF_MEMORY || sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED) && chosen > 1)
	{
		/* lines of a batch that is delivered are one text */
		run->undelivered = false;
		run->limit = Max(Min(run->limit, chosen) / 8, 1);
	}
	else if (run->undelivered)
	{
		/* the same would come of every row */
		run->undelivered = false;
		note_failure(run, failure);
		run->more = false;
	}
	else if (sqlstate == ERRCODE_LOCK_NOT_AVAILABLE || sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED ||
			 sqlstate == ERRCODE_T_R_SERIALIZATION_FAILURE)
	{
		run->locking = true;
		if (++*busy > MAX_BUSY)
		{
			note_failure(run, failure);
			run->more = false;
		}
		else if (*busy > 1)
		{
			nap(BUSY_PAUSE_MS);
		}
	}
	else if (chosen > 1)
		run->limit = Max(Min(run->limit, chosen) / 8, 1);
	else if (chosen == 1)
	{
		note_failure(run, failure);
		leave_behind(run, run->chosen);
		run->more = run->failures < MAX_FAILURES;
	}
	else
	{
		note_failure(run, failure);
		run->more = false;
	}
}

/* Batches until one finds nothing more to do. */
static void
repeat_batches(DpRetentionRun *run)
{
	MemoryContext scratch = AllocSetContextCreate(PortalContext, "retention batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	int			busy = 0;

	do
	{
		instr_time	began;
		int			sqlstate = 0;
		char	   *failure;

		MemoryContextReset(scratch);
		MemoryContextSwitchTo(scratch);
		run->chosen = NULL;
		INSTR_TIME_SET_CURRENT(began);
		failure = dp_batch_try_state(dp_retention_batch_step, run, &sqlstate);
		dp_batch_commit();
		run->batch_ms = ms_since(began);
		MemoryContextSwitchTo(old);
		if (failure == NULL)
		{
			busy = 0;
			adopt_batch(run);
		}
		else
			mend_batch(run, failure, sqlstate, &busy);
		if (run->more)
			dp_retention_pause(run);
	} while (run->more && !run->waits);
	MemoryContextDelete(scratch);
}

/* Say what is left of a table, and why, where something may be. */
static void
tell_left(DpRetentionRun *run)
{
	Oid			types[2] = {INT8OID, OIDOID};
	Datum		values[2];
	char	   *left;
	int64		unlocked = 0;
	int64		locked = 0;

	if (run->code == NULL && !run->skips && !run->any_kept)
		return;
	values[0] = Int64GetDatum(run->id);
	values[1] = ObjectIdGetDatum(run->leaf);
	left = dp_batch_query("SELECT l.unlocked || ' ' || l.locked FROM dataprotect._retention_left($1, $2) l", 2, types, values);
	if (left == NULL || sscanf(left, INT64_FORMAT " " INT64_FORMAT, &unlocked, &locked) != 2)
		dp_report_altered("could not count what is left of a table");
	dp_batch_commit();
	if (locked > 0)
	{
		run->locked = true;
		dp_retention_note(run, "%s: " INT64_FORMAT " rows are locked by others", table_name(run->leaf), locked);
	}
	unlocked -= run->failures;
	if (run->code != NULL && unlocked > 0)
	{
		run->failed = true;
		dp_retention_note(run, "%s: " INT64_FORMAT " rows were kept by %s", table_name(run->leaf), unlocked, run->code);
	}
	if (run->failures > 1)
		dp_retention_note(run, "%s: %d rows could not be changed", table_name(run->leaf), run->failures);
}

void
dp_retention_table(DpRetentionRun *run)
{
	run->limit = dp_guc_retention_batch_size;
	run->floor = 1;
	run->halved_ms = 0;
	run->locking = false;
	run->bound = NULL;
	run->n_kept = run->failures = 0;
	run->any_kept = run->skips = false;
	run->code = NULL;
	snprintf(run->began_xid, sizeof(run->began_xid), "%u", ReadNextTransactionId());
	repeat_batches(run);
	dp_retention_batch_forget(run);
	if (!run->waits)
		tell_left(run);
}
