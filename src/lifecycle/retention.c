/*
 * retention.c
 *	  CALL dataprotect.run_retention(): batches with a commit each.
 *
 * A run of one policy:
 *
 *	lock the policy (a session lock: it outlives the commits)
 *	write the run down, commit
 *	for each table that stores rows:
 *		repeat until a batch finds nothing:
 *			lock the holds, see whether anything changed since the statements
 *			were made, choose rows, clear what references them, change them,
 *			add to the run's count, commit
 *	write down how it ended, commit
 *
 * Whatever kills the session leaves whole batches and a run that says
 * "running"; the next run marks that one interrupted and finds what is left,
 * because a row that was dealt with is not chosen again.
 *
 * The lower bound of the age moves along with the batches, so that the index
 * is not read again from its dead beginning each time.
 */
#include "postgres.h"

#include "base/guc.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "sqlrun/batch_commit.h"
#include "sqlrun/run_as.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_run_retention);

typedef struct RetentionRun
{
	int64		id;
	int32		policy;
	bool		drops;			/* action drop_partition */
	bool		more;			/* out of a step: call it again */

	/* the table at hand, and the statements made for it */
	Oid			leaf;
	char	   *state;			/* what the statements were made for */
	char	   *choose_sql;
	char	   *apply_sql;
	bool		has_children;
	SPIPlanPtr	choose;
	SPIPlanPtr	apply;
	SPIPlanPtr	look;			/* state_sql */
	SPIPlanPtr	count;			/* count_sql */
	char	   *lower;			/* age at which the next batch begins */
	bool		immediate;		/* constraints may be deferred: see apply_batch */
	MemoryContext context;		/* outlives the batches */
} RetentionRun;

/*
 * Changes whenever the statements of a run must be made anew: a hold came or
 * went (or ran out), the policy was paused.
 */
static const char *const state_sql =
"SELECT p.state || '/' || coalesce((SELECT string_agg(h.id::text, ',' ORDER BY h.id) FROM dataprotect.hold h"
" WHERE h.released_at IS NULL AND (h.until IS NULL OR h.until > dataprotect._now())), '')"
" FROM dataprotect.retention_run r JOIN dataprotect.retention_policy p ON p.id = r.policy WHERE r.id = $1";

static const char *const count_sql =
"UPDATE dataprotect.retention_run r SET rows_done = r.rows_done + $2 WHERE r.id = $1";

/* A row of text columns from one of our functions, in the current context. */
static char **
query_row(const char *sql, int64 run, Oid leaf, int columns)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[3] = {INT8OID, OIDOID, INT4OID};
	Datum		values[3];
	char	  **result = palloc0(columns * sizeof(char *));
	DpRunAs		saved;

	values[0] = Int64GetDatum(run);
	values[1] = ObjectIdGetDatum(leaf);
	values[2] = Int32GetDatum(dp_guc_retention_batch_size);
	dp_run_as_system(&saved);
	if (SPI_execute_with_args(sql, 3, types, values, NULL, false, 1) < 0)
		elog(ERROR, "could not execute \"%s\"", sql);
	if (SPI_processed > 0)
	{
		for (int i = 0; i < columns; i++)
		{
			char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1);

			result[i] = value ? MemoryContextStrdup(context, value) : NULL;
		}
	}
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
	return result;
}

static void
forget_statements(RetentionRun *run)
{
	if (run->choose != NULL)
		SPI_freeplan(run->choose);
	if (run->apply != NULL)
		SPI_freeplan(run->apply);
	run->choose = run->apply = NULL;
	run->state = NULL;
	MemoryContextReset(run->context);
}

/*
 * Execute a statement that is planned once and kept.  Plans are made here,
 * under the role and path of their execution.
 */
static void
execute_kept(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *values)
{
	if (*plan == NULL)
	{
		*plan = SPI_prepare(sql, nargs, types);
		if (*plan == NULL)
			elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
		SPI_keepplan(*plan);
	}
	dp_run_as_settle(*plan);
	if (SPI_execute_plan(*plan, values, NULL, false, 0) < 0)
		elog(ERROR, "could not execute \"%s\"", sql);
}

/* Whether the policy is active, and the holds in force. */
static char *
look_at_state(RetentionRun *run)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {INT8OID};
	Datum		values[1];
	char	   *state = NULL;
	DpRunAs		saved;

	values[0] = Int64GetDatum(run->id);
	dp_run_as_system(&saved);
	execute_kept(&run->look, state_sql, 1, types, values);
	if (SPI_processed > 0)
		state = MemoryContextStrdup(context, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
	return state;
}

static void
add_to_count(RetentionRun *run, int64 rows)
{
	Oid			types[2] = {INT8OID, INT8OID};
	Datum		values[2];
	DpRunAs		saved;

	values[0] = Int64GetDatum(run->id);
	values[1] = Int64GetDatum(rows);
	dp_run_as_system(&saved);
	execute_kept(&run->count, count_sql, 2, types, values);
	dp_run_as_end(&saved);
}

/* Holds placed from now on wait for this transaction; earlier ones are seen. */
static void
lock_holds(void)
{
	LockRelationOid(get_relname_relid("hold", get_namespace_oid("dataprotect", false)), ShareLock);
}

/*
 * Make the statements for the table at hand, unless nothing changed since they
 * were made.  False where the policy is not active any more.
 */
static bool
prepare_statements(RetentionRun *run)
{
	char	   *state = look_at_state(run);
	char	  **row;
	char	   *lower;
	MemoryContext saved;

	if (state == NULL || strncmp(state, "active/", 7) != 0)
		return false;
	if (run->state != NULL && strcmp(run->state, state) == 0)
		return true;

	lower = run->lower ? pstrdup(run->lower) : NULL;
	forget_statements(run);
	saved = MemoryContextSwitchTo(run->context);
	run->state = pstrdup(state);
	run->lower = lower ? pstrdup(lower) : pstrdup("-infinity");
	row = query_row("SELECT choose_sql, apply_sql, has_children"
					"  FROM dataprotect._retention_statements($1, $2, $3)", run->id, run->leaf, 3);
	run->choose_sql = row[0];
	run->apply_sql = row[1];
	run->has_children = row[2] != NULL && row[2][0] == 't';
	MemoryContextSwitchTo(saved);
	return true;
}

/*
 * The next rows of the table at hand as tid[] (in the current context); moves
 * the lower bound.  *out_moved: the bound is another than before.
 */
static ArrayType *
choose_batch(RetentionRun *run, Oid owner, bool *out_moved)
{
	MemoryContext context = CurrentMemoryContext;
	ArrayType  *tids = NULL;
	DpRunAs		saved;
	Oid			type = TEXTOID;
	Datum		lower;
	bool		isnull;
	Datum		array;

	*out_moved = false;
	dp_run_as_begin(&saved, owner, DP_RUN_AS_STRICT_PATH);
	lower = CStringGetTextDatum(run->lower);
	execute_kept(&run->choose, run->choose_sql, 1, &type, &lower);
	array = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
	{
		char	   *last = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
		MemoryContext old = MemoryContextSwitchTo(context);

		tids = DatumGetArrayTypePCopy(array);
		MemoryContextSwitchTo(old);
		*out_moved = strcmp(last, run->lower) != 0;
		run->lower = MemoryContextStrdup(run->context, last);
	}
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
	return tids;
}

/* Change the chosen rows; returns how many were. */
static int64
apply_batch(RetentionRun *run, Oid owner, ArrayType *tids)
{
	Oid			type = TIDARRAYOID;
	Datum		chosen = PointerGetDatum(tids);
	int64		rows;
	DpRunAs		saved;

	/* a deferred trigger would fire at commit, with the rights of who commits */
	if (SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) < 0)
		elog(ERROR, "could not make constraints immediate");
	if (run->has_children)
	{
		Oid			types[3] = {INT8OID, OIDOID, TIDARRAYOID};
		Datum		values[3];

		values[0] = Int64GetDatum(run->id);
		values[1] = ObjectIdGetDatum(run->leaf);
		values[2] = PointerGetDatum(tids);
		dp_batch_query("SELECT dataprotect._retention_clear_children($1, $2, $3)", 3, types, values);
	}
	dp_run_as_begin(&saved, owner, dp_run_as_trigger_path(run->leaf));
	dp_run_as_check_triggers(run->leaf, false);
	execute_kept(&run->apply, run->apply_sql, 1, &type, &chosen);
	rows = (int64) SPI_processed;
	dp_run_as_end(&saved);
	return rows;
}

/* One batch; run->more says whether another may find rows. */
static void
batch_step(void *arg)
{
	RetentionRun *run = arg;
	ArrayType  *tids = NULL;
	bool		moved = false;
	int64		rows = 0;

	run->more = false;
	lock_holds();
	if (!prepare_statements(run))
		return;
	{
		/* one snapshot over choice and change: no tid can be used anew between */
		Oid			owner = dp_run_as_owner(run->leaf);
		Snapshot	pinned = RegisterSnapshot(GetTransactionSnapshot());

		tids = choose_batch(run, owner, &moved);
		if (tids != NULL)
			rows = apply_batch(run, owner, tids);
		UnregisterSnapshot(pinned);
	}
	if (tids == NULL)
		return;
	add_to_count(run, rows);
	/* rows that a trigger kept must not be tried for ever */
	run->more = rows > 0 || moved;
}

/* Drop one partition. */
static void
drop_step(void *arg)
{
	RetentionRun *run = arg;
	Oid			types[1] = {INT8OID};
	Datum		values[1];
	char	   *more;

	values[0] = Int64GetDatum(run->id);
	lock_holds();
	more = dp_batch_query("SELECT dataprotect._retention_drop_next($1)"
						  " FROM dataprotect.retention_run r JOIN dataprotect.retention_policy p ON p.id = r.policy"
						  " WHERE r.id = $1 AND p.state = 'active'", 1, types, values);
	run->more = more != NULL && more[0] == 't';
}

/* What must be so for the run to begin; an error says what is not. */
static void
preflight_step(void *arg)
{
	RetentionRun *run = arg;
	Oid			types[1] = {INT8OID};
	Datum		values[1];

	values[0] = Int64GetDatum(run->id);
	dp_batch_query("SELECT dataprotect._retention_preflight(dataprotect._retention_of_run($1))",
				   1, types, values);
}

static void
pause_between_batches(void)
{
	if (dp_guc_retention_cost_delay > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 dp_guc_retention_cost_delay, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	CHECK_FOR_INTERRUPTS();
	dp_batch_make_room();
}

/* Steps until one finds nothing more to do; returns NULL, or how it failed. */
static char *
repeat_step(RetentionRun *run, DpBatchStep step)
{
	MemoryContext scratch = AllocSetContextCreate(PortalContext, "retention batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = CurrentMemoryContext;
	char	   *failure = NULL;

	do
	{
		MemoryContextReset(scratch);
		MemoryContextSwitchTo(scratch);
		failure = dp_batch_try(step, run);
		MemoryContextSwitchTo(old);
		if (failure != NULL)
			failure = MemoryContextStrdup(PortalContext, failure);
		dp_batch_commit();
		if (run->more && failure == NULL)
			pause_between_batches();
	} while (run->more && failure == NULL);
	MemoryContextDelete(scratch);
	return failure;
}

/* The tables that store the policy's rows, in PortalContext. */
static List *
list_leaves(RetentionRun *run)
{
	Oid			types[1] = {INT8OID};
	Datum		values[1];
	List	   *leaves = NIL;
	DpRunAs		saved;
	MemoryContext old;

	values[0] = Int64GetDatum(run->id);
	dp_run_as_system(&saved);
	if (SPI_execute_with_args("SELECT l::oid FROM dataprotect._leaves((dataprotect._retention_of_run($1)).base) l",
							  1, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not list tables");
	old = MemoryContextSwitchTo(PortalContext);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;

		leaves = lappend_oid(leaves, DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
																	SPI_tuptable->tupdesc, 1, &isnull)));
	}
	MemoryContextSwitchTo(old);
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
	return leaves;
}

/* Do the work of a run that was begun; NULL, or how it failed. */
static char *
do_run(RetentionRun *run)
{
	char	   *failure = dp_batch_try(preflight_step, run);
	List	   *leaves;
	ListCell   *lc;

	if (failure != NULL)
		return failure;
	if (run->drops)
		return repeat_step(run, drop_step);
	leaves = list_leaves(run);
	dp_batch_commit();
	foreach(lc, leaves)
	{
		run->leaf = lfirst_oid(lc);
		run->lower = NULL;
		failure = repeat_step(run, batch_step);
		forget_statements(run);
		if (failure != NULL)
			break;
	}
	return failure;
}

/*
 * Run one policy to its end.  Returns NULL, or how it failed (the run says so
 * as well).
 */
static char *
run_policy(const char *name, int32 policy)
{
	RetentionRun run = {0};
	Oid			types[3] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[3];
	char	   *begun;
	char	   *failure;

	values[0] = CStringGetTextDatum(name);
	begun = dp_batch_query("SELECT r.run || ' ' || (r.action = 'drop_partition')::int"
						   "  FROM dataprotect._retention_begin($1) r", 1, types, values);
	if (sscanf(begun, INT64_FORMAT " %d", &run.id, &policy) != 2)
		elog(ERROR, "could not begin run of retention policy \"%s\"", name);
	run.drops = policy != 0;
	dp_batch_commit();

	run.context = AllocSetContextCreate(PortalContext, "retention run", ALLOCSET_DEFAULT_SIZES);
	failure = do_run(&run);
	MemoryContextDelete(run.context);
	if (run.look != NULL)
		SPI_freeplan(run.look);
	if (run.count != NULL)
		SPI_freeplan(run.count);

	values[0] = CStringGetTextDatum(psprintf(INT64_FORMAT, run.id));
	values[1] = CStringGetTextDatum(failure ? "error" : "ok");
	values[2] = CStringGetTextDatum(failure ? failure : "");
	dp_batch_query("SELECT dataprotect._retention_finish($1::pg_catalog.int8, $2, nullif($3, ''))", 3, types, values);
	dp_batch_commit();
	return failure;
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
		failure = run_policy(name, policy);
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
		elog(ERROR, "could not list retention policies");
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
