/*
 * retention_batch.c
 *	  One batch of a retention run, and the statements it is made of; see
 *	  retention_batch.h.
 */
#include "postgres.h"

#include "access/table.h"
#include "base/report.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "lifecycle/retention_batch.h"
#include "sqlrun/batch_commit.h"
#include "sqlrun/change_as.h"
#include "sqlrun/run_as.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Lock waits longer than this are somebody's who holds on: come back later. */
#define BUSY_MS				"300ms"

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

static void
set_for_batch(const char *name, const char *value)
{
	const char *current = GetConfigOption(name, true, false);

	if (current == NULL || strcmp(current, value) != 0)
		(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/* Become the table's owner, under the policy's own settings. */
static void
become_owner(DpRetentionRun *run, DpRunAs *saved, Oid owner, const char *path)
{
	dp_run_as_begin(saved, owner, path);
	set_for_batch("timezone", run->timezone);
	set_for_batch("datestyle", run->datestyle);
	set_for_batch("lock_timeout", BUSY_MS);
}

void
dp_retention_batch_forget(DpRetentionRun *run)
{
	if (run->choose != NULL)
		SPI_freeplan(run->choose);
	if (run->apply != NULL)
		SPI_freeplan(run->apply);
	if (run->left != NULL)
		SPI_freeplan(run->left);
	run->choose = run->apply = run->left = NULL;
	run->state = NULL;
	MemoryContextReset(run->context);
}

/*
 * Execute a statement that is planned once and kept.  Plans are made here,
 * under the role and path of their execution; they serve for every batch.
 */
static void
execute_kept(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types, Datum *values)
{
	if (*plan != NULL && !dp_run_as_keeps(*plan))
	{
		SPI_freeplan(*plan);
		*plan = NULL;
	}
	if (*plan == NULL)
	{
		*plan = dp_run_as_prepare(sql, nargs, types, CURSOR_OPT_GENERIC_PLAN);
		SPI_keepplan(*plan);
	}
	dp_run_as_settle(*plan);
	if (SPI_execute_plan(*plan, values, NULL, false, 0) < 0)
		elog(ERROR, "could not execute \"%s\"", sql);
}

/* Whether the policy is active, and the holds in force. */
static char *
look_at_state(DpRetentionRun *run)
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
add_to_count(DpRetentionRun *run)
{
	Oid			types[2] = {INT8OID, INT8OID};
	Datum		values[2];
	DpRunAs		saved;

	values[0] = Int64GetDatum(run->id);
	values[1] = Int64GetDatum(run->rows);
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

/* The row of _retention_statements(), in the run's context. */
static void
make_statements(DpRetentionRun *run)
{
	Oid			types[6] = {INT8OID, OIDOID, INT4OID, BOOLOID, BOOLOID, TEXTOID};
	Datum		values[6];
	char	   *row[9];
	DpRunAs		saved;

	values[0] = Int64GetDatum(run->id);
	values[1] = ObjectIdGetDatum(run->leaf);
	values[2] = Int32GetDatum(run->limit);
	values[3] = BoolGetDatum(run->locking);
	values[4] = BoolGetDatum(run->n_kept > 0);
	values[5] = CStringGetTextDatum(run->began_xid);
	dp_run_as_system(&saved);
	if (SPI_execute_with_args("SELECT choose_sql, apply_sql, left_sql, code, has_children, own_keys, skips, spares, delivers"
							  "  FROM dataprotect._retention_statements($1, $2, $3, $4, $5, $6)",
							  6, types, values, NULL, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not make statements of retention");
	for (int i = 0; i < lengthof(row); i++)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1);

		row[i] = value ? MemoryContextStrdup(run->context, value) : NULL;
	}
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
	run->choose_sql = row[0];
	run->apply_sql = row[1];
	run->left_sql = row[2];
	run->code = row[3] ? MemoryContextStrdup(PortalContext, row[3]) : NULL;
	run->has_children = row[4][0] == 't';
	run->own_keys = row[5][0] == 't';
	run->skips = row[6][0] == 't';
	run->spares |= row[7][0] == 't';
	run->delivers = row[8][0] == 't';
}

/* What the statements depend on; NULL where the policy is not active. */
static char *
state_now(DpRetentionRun *run)
{
	char	   *state = look_at_state(run);

	if (state == NULL || strncmp(state, "active/", 7) != 0)
		return NULL;
	return psprintf("%s/%d/%d/%d", state, run->limit, run->locking, run->n_kept > 0);
}

/*
 * Make the statements for the table at hand, unless nothing changed since they
 * were made.  False where the policy is not active any more.
 */
static bool
prepare_statements(DpRetentionRun *run)
{
	char	   *state = state_now(run);

	if (state == NULL)
		return false;
	if (run->state != NULL && strcmp(run->state, state) == 0)
		return true;
	dp_retention_batch_forget(run);
	make_statements(run);
	run->state = MemoryContextStrdup(run->context, state);
	return true;
}

static ArrayType *
make_tids(ItemPointerData *tids, int count)
{
	Datum	   *elements = palloc(count * sizeof(Datum));

	for (int i = 0; i < count; i++)
		elements[i] = PointerGetDatum(&tids[i]);
	return construct_array(elements, count, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT);
}

int
dp_retention_batch_count(ArrayType *tids)
{
	return tids == NULL ? 0 : ArrayGetNItems(ARR_NDIM(tids), ARR_DIMS(tids));
}

/* A tid[] of the result at hand, copied into context. */
static ArrayType *
result_tids(MemoryContext context)
{
	MemoryContext old;
	ArrayType  *tids = NULL;
	bool		isnull;
	Datum		array = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);

	if (!isnull)
	{
		old = MemoryContextSwitchTo(context);
		tids = DatumGetArrayTypePCopy(array);
		MemoryContextSwitchTo(old);
	}
	return tids;
}

/* Fill run->chosen and run->next_bound. */
static void
choose_batch(DpRetentionRun *run, Oid owner)
{
	MemoryContext context = CurrentMemoryContext;
	DpRunAs		saved;
	Oid			types[2] = {TEXTOID, TIDARRAYOID};
	Datum		values[2];

	become_owner(run, &saved, owner, DP_RUN_AS_STRICT_PATH);
	values[0] = CStringGetTextDatum(run->bound ? run->bound : run->own_keys ? "infinity" : "-infinity");
	values[1] = (Datum) 0;
	if (run->n_kept > 0)
		values[1] = PointerGetDatum(make_tids(run->kept, run->n_kept));
	execute_kept(&run->choose, run->choose_sql, run->n_kept > 0 ? 2 : 1, types, values);
	run->chosen = result_tids(context);
	if (run->chosen != NULL)
		run->next_bound = MemoryContextStrdup(context,
											  SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2));
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
}

/* One of our functions over (run, leaf, tids) that returns tid[]. */
static ArrayType *
ask_about(DpRetentionRun *run, const char *sql, ArrayType *tids)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			types[3] = {INT8OID, OIDOID, TIDARRAYOID};
	Datum		values[3];
	ArrayType  *result;
	DpRunAs		saved;

	values[0] = Int64GetDatum(run->id);
	values[1] = ObjectIdGetDatum(run->leaf);
	values[2] = PointerGetDatum(tids);
	dp_run_as_system(&saved);
	if (SPI_execute_with_args(sql, 3, types, values, NULL, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not execute \"%s\"", sql);
	result = result_tids(context);
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
	return result;
}

/* Deferrable constraints are triggers too. */
static bool
has_triggers(Oid relid)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	bool		has = rel->trigdesc != NULL;

	table_close(rel, NoLock);
	return has;
}

/* Change the rows; what of the chosen is there all the same goes to left_behind. */
static void
apply_batch(DpRetentionRun *run, Oid owner, ArrayType *tids)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			type = TIDARRAYOID;
	Datum		value = PointerGetDatum(tids);
	DpRunAs		saved;

	/* a deferred trigger would fire at commit, with the rights of who commits */
	if (has_triggers(run->leaf) && SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) < 0)
		elog(ERROR, "could not make constraints immediate");
	if (run->has_children || run->own_keys)
		(void) ask_about(run, "SELECT NULL::pg_catalog.tid[] FROM dataprotect._retention_clear_children($1, $2, $3)", tids);
	become_owner(run, &saved, owner, dp_run_as_trigger_path(run->leaf));
	dp_run_as_check_triggers(run->leaf, false);
	execute_kept(&run->apply, run->apply_sql, 1, &type, &value);
	run->rows = (int64) SPI_processed;
	dp_run_as_end(&saved);

	if (run->rows >= dp_retention_batch_count(run->chosen))
		return;
	become_owner(run, &saved, owner, DP_RUN_AS_STRICT_PATH);
	value = PointerGetDatum(run->chosen);
	execute_kept(&run->left, run->left_sql, 1, &type, &value);
	run->left_behind = result_tids(context);
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Deliver the rows before they are removed.  Whoever places a hold does not wait for
 * that: holds are locked afterwards, and where one came meanwhile the batch is undone.
 */
static void
deliver(DpRetentionRun *run, ArrayType *tids)
{
	Oid			types[4] = {INT8OID, OIDOID, TIDARRAYOID, INT8OID};
	Datum		values[4];
	DpRunAs		saved;
	char	   *state;

	values[0] = Int64GetDatum(run->id);
	values[1] = ObjectIdGetDatum(run->leaf);
	values[2] = PointerGetDatum(tids);
	values[3] = Int64GetDatum(++run->deliveries);
	run->undelivered = true;
	dp_run_as_system(&saved);
	if (SPI_execute_with_args("SELECT dataprotect._retention_deliver($1, $2, $3, $4)", 4, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not deliver rows");
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
	run->undelivered = false;
	lock_holds();
	state = state_now(run);
	if (state == NULL || strcmp(state, run->state) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("holds or the policy changed while rows were archived")));
}

void
dp_retention_batch_step(void *arg)
{
	DpRetentionRun *run = arg;
	ArrayType  *tids;
	Oid			owner;
	Snapshot	pinned;

	run->more = false;
	run->rows = 0;
	run->chosen = run->left_behind = NULL;
	if (run->state == NULL && !prepare_statements(run))
		return;
	if (!run->delivers)
		lock_holds();
	if (!prepare_statements(run))
		return;
	/* one snapshot over choice and change: no tid can be used anew between */
	owner = dp_run_as_owner(run->leaf);
	pinned = RegisterSnapshot(GetTransactionSnapshot());
	choose_batch(run, owner);
	tids = run->chosen;
	if (tids != NULL && run->own_keys)
	{
		tids = ask_about(run, "SELECT dataprotect._retention_close($1, $2, $3)", tids);
		if (tids == NULL)
			run->left_behind = run->chosen;
	}
	if (tids != NULL && run->delivers)
		deliver(run, tids);
	if (tids != NULL)
		apply_batch(run, owner, tids);
	UnregisterSnapshot(pinned);
	if (run->chosen == NULL)
		return;
	if (run->rows > 0)
		add_to_count(run);
	run->more = true;
}
