/*
 * worker_view.c
 *	  dataprotect.workers: what the background workers do, in all databases.
 */
#include "postgres.h"

#include "base/worker_shared.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define VIEW_COLUMNS 9

PG_FUNCTION_INFO_V1(dp_worker_list);

/* One kind in one database, copied out of shared memory. */
typedef struct Row
{
	Oid			database;
	int			kind;
	const char *state;
	pid_t		pid;
	int64		began_at;
	int64		ended_at;
	int			failures;
	int64		next_due;
	char		error[DP_WORKER_ERROR_MAX];
} Row;

static const char *
state_name(const DpDatabaseSlot *database, const DpKindSlot *kind, int64 due, int64 now)
{
	if (kind->worker >= 0)
		return "running";
	if (!dp_worker_is_open(database))
		return "closed";
	if (kind->failures > 0)
		return "failing";
	if (due <= now)
		return "due";
	return "idle";
}

static void
fill_row(Row *row, int slot, int kind, int64 now)
{
	const DpDatabaseSlot *database = &dp_worker_shared->database[slot];
	const DpKindSlot *from = &database->kind[kind];

	row->database = dp_worker_shared->oid[slot];
	row->kind = kind;
	row->next_due = from->next_due;
	if (from->failures == 0 && from->woken_at != 0)
		row->next_due = from->woken_at;
	else if (from->worker < 0)
		row->next_due = dp_worker_kind_due(database, kind);
	row->state = state_name(database, from, row->next_due, now);
	row->pid = from->worker >= 0 ? dp_worker_shared->pool[from->worker].pid : 0;
	row->began_at = from->began_at;
	row->ended_at = from->ended_at;
	row->failures = from->failures;
	row->error[0] = '\0';
	if (from->sqlstate != 0 && database->error_kind == kind)
		strlcpy(row->error, database->error, DP_WORKER_ERROR_MAX);
	else if (from->sqlstate != 0)
		strlcpy(row->error, unpack_sql_state(from->sqlstate), DP_WORKER_ERROR_MAX);
}

static Row *
copy_rows(int *out_n, int64 now)
{
	int			n_slots = dp_worker_shared->n_slots;
	Row		   *rows = palloc(sizeof(Row) * Max(1, n_slots * dp_worker_n_kinds));
	int			n = 0;

	LWLockAcquire(dp_worker_shared->lock, LW_SHARED);
	for (int slot = 0; slot < n_slots; slot++)
	{
		if (!OidIsValid(dp_worker_shared->oid[slot]) ||
			dp_worker_shared->database[slot].state != DP_DATABASE_PRESENT)
			continue;
		for (int k = 0; k < dp_worker_n_kinds; k++)
			fill_row(&rows[n++], slot, k, now);
	}
	LWLockRelease(dp_worker_shared->lock);
	*out_n = n;
	return rows;
}

/* A moment of the monotonic clock as one of the wall clock; NULL for "never". */
static Datum
wall_time(int64 moment, int64 now, bool *isnull)
{
	*isnull = moment == 0;
	return TimestampTzGetDatum(GetCurrentTimestamp() + (moment - now) * 1000);
}

Datum
dp_worker_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		now = dp_worker_now();
	Row		   *rows;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	rows = copy_rows(&n, now);
	for (int i = 0; i < n; i++)
	{
		const Row  *row = &rows[i];
		Datum		values[VIEW_COLUMNS];
		bool		nulls[VIEW_COLUMNS] = {false};

		values[0] = ObjectIdGetDatum(row->database);
		values[1] = CStringGetTextDatum(dp_worker_kinds[row->kind].name);
		values[2] = CStringGetTextDatum(row->state);
		values[3] = Int32GetDatum(row->pid);
		nulls[3] = row->pid == 0;
		values[4] = wall_time(row->began_at, now, &nulls[4]);
		values[5] = wall_time(row->ended_at, now, &nulls[5]);
		values[6] = Int32GetDatum(row->failures);
		values[7] = CStringGetTextDatum(row->error);
		nulls[7] = row->error[0] == '\0';
		values[8] = wall_time(Max(row->next_due, 1), now, &nulls[8]);
		if (row->next_due < now)	/* "at once": since nobody knows when */
			values[8] = TimestampTzGetDatum(GetCurrentTimestamp());
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	pfree(rows);
	return (Datum) 0;
}
