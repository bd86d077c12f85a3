/*
 * worker.c
 *	  Registration of kinds of rounds, and the table of databases: which ones
 *	  have the extension, and when which kind is due there.
 *
 * worker_shared.h explains the data.  launcher.c chooses the next visit and
 * worker_order.c finds a process for it, worker_process.c is that process,
 * worker_visit.c what it does in a database, autonomous.c a statement in a
 * transaction of its own; worker_ddl.c notices CREATE EXTENSION and makes room
 * for DROP DATABASE.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "base/worker_shared.h"
#include "miscadmin.h"

/* A kind that somebody asked for goes before one whose nap is over, by this. */
#define HEAD_START_MS	5000

/* A database in which rounds found nothing is visited more rarely, up to this. */
#define IDLE_FACTOR		5

#define MAX_CALLBACKS	4

DpWorkerShared *dp_worker_shared = NULL;
DpWorkerKind dp_worker_kinds[DP_WORKER_MAX_KINDS];
int			dp_worker_n_kinds = 0;

static DpWorkerFailure failure_callbacks[MAX_CALLBACKS];
static int	n_failure_callbacks = 0;
static DpWorkerDatabaseList list_callbacks[MAX_CALLBACKS];
static int	n_list_callbacks = 0;

void
dp_worker_register(const char *kind, DpWorkerRound round, int naptime_ms)
{
	Assert(process_shared_preload_libraries_in_progress);
	if (dp_worker_n_kinds >= DP_WORKER_MAX_KINDS)
		elog(ERROR, "too many kinds of background workers");
	dp_worker_kinds[dp_worker_n_kinds].name = kind;
	dp_worker_kinds[dp_worker_n_kinds].round = round;
	dp_worker_kinds[dp_worker_n_kinds].naptime_ms = naptime_ms;
	dp_worker_n_kinds++;
}

void
dp_worker_serve_standbys(const char *kind)
{
	for (int i = 0; i < dp_worker_n_kinds; i++)
		if (strcmp(dp_worker_kinds[i].name, kind) == 0)
			dp_worker_kinds[i].on_standbys = true;
}

bool
dp_worker_kind_runs(int kind)
{
	return dp_worker_kinds[kind].on_standbys || !RecoveryInProgress();
}

void
dp_worker_on_failure(DpWorkerFailure callback)
{
	if (n_failure_callbacks >= MAX_CALLBACKS)
		elog(ERROR, "too many callbacks for failures of rounds");
	failure_callbacks[n_failure_callbacks++] = callback;
}

void
dp_worker_failure_callbacks(const char *kind, int sqlstate, const char *error)
{
	for (int i = 0; i < n_failure_callbacks; i++)
		failure_callbacks[i] (kind, sqlstate, error);
}

void
dp_worker_on_database_list(DpWorkerDatabaseList callback)
{
	if (n_list_callbacks >= MAX_CALLBACKS)
		elog(ERROR, "too many callbacks for the list of databases");
	list_callbacks[n_list_callbacks++] = callback;
}

void
dp_worker_list_callbacks(const Oid *databases, int n)
{
	for (int i = 0; i < n_list_callbacks; i++)
		list_callbacks[i] (databases, n);
}

int
dp_worker_naptime(int kind)
{
	return DP_WORKER_IS_LONG(kind) ? dp_guc_worker_naptime * 1000 : dp_worker_kinds[kind].naptime_ms;
}

int
dp_worker_pause(int failures)
{
	int			pause = DP_WORKER_FIRST_PAUSE_MS;

	for (int i = 1; i < failures && pause < DP_WORKER_LAST_PAUSE_MS; i++)
		pause *= 2;
	return Min(pause, DP_WORKER_LAST_PAUSE_MS);
}

bool
dp_worker_is_open(const DpDatabaseSlot *database)
{
	return database->served && !database->gone && database->closed == 0;
}

int64
dp_worker_kind_due(const DpDatabaseSlot *database, int kind)
{
	const DpKindSlot *slot = &database->kind[kind];

	if (slot->worker >= 0)
		return PG_INT64_MAX;
	if (slot->failures > 0)
		return slot->next_due;
	if (slot->woken_at != 0)
		return slot->woken_at - HEAD_START_MS;
	return slot->next_due + (int64) Min(slot->idle, IDLE_FACTOR) * dp_worker_naptime(kind);
}

int
dp_pool_long_rounds(void)
{
	int			n = 0;

	for (int i = 0; i < dp_guc_max_workers; i++)
	{
		const DpPoolEntry *entry = &dp_worker_shared->pool[i];

		if (entry->state == DP_POOL_VISIT && entry->kind >= 0 && DP_WORKER_IS_LONG(entry->kind))
			n++;
	}
	return n;
}

int
dp_pool_visitor(int slot)
{
	for (int i = 0; i < dp_guc_max_workers; i++)
	{
		const DpPoolEntry *entry = &dp_worker_shared->pool[i];

		if (entry->slot != slot)
			continue;
		if (entry->state == DP_POOL_STARTING && entry->order == DP_ORDER_VISIT)
			return i;
		if (entry->state == DP_POOL_VISIT && !entry->leave &&
			(entry->kind < 0 || !DP_WORKER_IS_LONG(entry->kind)))
			return i;
	}
	return -1;
}

/* A slot that was never used, or one that nobody misses; -1: none. */
static int
find_room(void)
{
	int			found = -1;

	for (int i = 0; i < dp_worker_shared->n_slots; i++)
		if (!OidIsValid(dp_worker_shared->oid[i]))
			return i;
	if (dp_worker_shared->n_slots < DP_WORKER_MAX_DATABASES)
		return dp_worker_shared->n_slots;
	for (int i = 0; i < dp_worker_shared->n_slots; i++)
	{
		const DpDatabaseSlot *database = &dp_worker_shared->database[i];

		if (database->state == DP_DATABASE_ABSENT && database->closed == 0 &&
			dp_pool_visitor(i) < 0 &&
			(found < 0 || database->asked_at < dp_worker_shared->database[found].asked_at))
			found = i;
	}
	return found;
}

int
dp_worker_find_slot(Oid database, bool create)
{
	int			n = dp_worker_shared->n_slots;
	DpDatabaseSlot *slot;
	int			room;

	for (int i = 0; i < n; i++)
		if (dp_worker_shared->oid[i] == database)
			return i;
	if (!create || (room = find_room()) < 0)
		return -1;

	slot = &dp_worker_shared->database[room];
	memset(slot, 0, sizeof(*slot));
	slot->known_since = dp_worker_now();
	for (int k = 0; k < DP_WORKER_MAX_KINDS; k++)
		slot->kind[k].worker = -1;
	pg_write_barrier();
	dp_worker_shared->oid[room] = database;
	pg_write_barrier();
	dp_worker_shared->n_slots = Max(n, room + 1);
	return room;
}

void
dp_worker_free_slot(int slot)
{
	dp_worker_shared->oid[slot] = InvalidOid;
}

/*
 * Only a database that was asked and does not have the extension counts as
 * without it: for the log's sake a doubt is a yes.
 */
bool
dp_worker_database_known(Oid database)
{
	int			slot;

	if (!OidIsValid(database) || dp_worker_shared == NULL)
		return false;
	slot = dp_worker_find_slot(database, false);
	return slot < 0 || dp_worker_shared->database[slot].state != DP_DATABASE_ABSENT;
}

int
dp_worker_databases(Oid **out)
{
	int			n = 0;

	*out = palloc(sizeof(Oid) * DP_WORKER_MAX_DATABASES);
	LWLockAcquire(dp_worker_shared->lock, LW_SHARED);
	for (int i = 0; i < DP_WORKER_MAX_DATABASES; i++)
		if (OidIsValid(dp_worker_shared->oid[i]) &&
			dp_worker_shared->database[i].state == DP_DATABASE_PRESENT)
			(*out)[n++] = dp_worker_shared->oid[i];
	LWLockRelease(dp_worker_shared->lock);
	return n;
}

void
dp_worker_wake_launcher(bool sweep)
{
	Latch	   *launcher;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	dp_worker_shared->sweep |= sweep;
	launcher = dp_worker_shared->launcher;
	LWLockRelease(dp_worker_shared->lock);
	if (launcher != NULL)
		SetLatch(launcher);
}

static int
find_kind(const char *kind)
{
	for (int k = 0; k < dp_worker_n_kinds; k++)
		if (strcmp(dp_worker_kinds[k].name, kind) == 0)
			return k;
	elog(ERROR, "there is no kind of background work named \"%s\"", kind);
	return -1;					/* keep compiler quiet */
}

/* Set a kind's time under the lock, then call whoever has to know. */
static void
ask_for_round(Oid database, int kind, int within_ms)
{
	int64		now = dp_worker_now();
	DpKindSlot *asked;
	Latch	   *latch;
	int			visitor;
	int			slot;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	slot = dp_worker_find_slot(database, true);
	if (slot < 0)
	{
		LWLockRelease(dp_worker_shared->lock);
		return;
	}
	asked = &dp_worker_shared->database[slot].kind[kind];
	asked->idle = 0;
	if (within_ms == 0 && asked->woken_at == 0)
		asked->woken_at = now;
	if (asked->failures == 0)
		asked->next_due = Min(asked->next_due, now + within_ms);
	/* of a database made a moment ago the launcher does not know yet */
	if (!dp_worker_shared->database[slot].served)
		dp_worker_shared->sweep |= dp_worker_shared->database[slot].known_since >= now;
	visitor = dp_pool_visitor(slot);
	latch = visitor >= 0 && dp_worker_shared->pool[visitor].latch != NULL ?
		dp_worker_shared->pool[visitor].latch : dp_worker_shared->launcher;
	LWLockRelease(dp_worker_shared->lock);
	if (latch != NULL)
		SetLatch(latch);
}

void
dp_worker_wake(Oid database, const char *kind)
{
	if (OidIsValid(database))
		ask_for_round(database, find_kind(kind), 0);
}

void
dp_worker_wake_within(Oid database, const char *kind, int ms)
{
	int			number = find_kind(kind);
	bool		due;
	int			slot;

	if (!OidIsValid(database))
		return;
	LWLockAcquire(dp_worker_shared->lock, LW_SHARED);
	slot = dp_worker_find_slot(database, false);
	due = slot >= 0 &&
		(dp_worker_shared->database[slot].kind[number].failures > 0 ||
		 (dp_worker_shared->database[slot].kind[number].idle == 0 &&
		  dp_worker_shared->database[slot].kind[number].next_due <= dp_worker_now() + ms));
	LWLockRelease(dp_worker_shared->lock);
	if (!due)
		ask_for_round(database, number, ms);
}

void
dp_worker_announce(bool present)
{
	Latch	   *latches[DP_WORKER_MAX_POOL];
	int			n_latches = 0;
	int			slot;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	slot = dp_worker_find_slot(MyDatabaseId, true);
	if (slot >= 0)
	{
		DpDatabaseSlot *database = &dp_worker_shared->database[slot];

		database->state = present ? DP_DATABASE_PRESENT : DP_DATABASE_ABSENT;
		database->asked_at = dp_worker_now();
		database->installation++;
		database->error[0] = '\0';
		for (int k = 0; k < dp_worker_n_kinds; k++)
		{
			int			worker = database->kind[k].worker;

			memset(&database->kind[k], 0, sizeof(DpKindSlot));
			database->kind[k].worker = worker;
		}
		/* whoever works with an earlier installation leaves */
		for (int i = 0; i < dp_guc_max_workers; i++)
			if (dp_worker_shared->pool[i].state == DP_POOL_VISIT &&
				dp_worker_shared->pool[i].slot == slot && dp_worker_shared->pool[i].latch != NULL)
				latches[n_latches++] = dp_worker_shared->pool[i].latch;
	}
	LWLockRelease(dp_worker_shared->lock);
	for (int i = 0; i < n_latches; i++)
		SetLatch(latches[i]);
	dp_worker_wake_launcher(true);
}

static void
attach(void *area, LWLockPadded *locks, bool is_new)
{
	dp_worker_shared = area;
	if (is_new)
		dp_worker_shared->lock = &locks->lock;
}

void
dp_worker_table_init(void)
{
	dp_shmem_register("dataprotect workers", sizeof(DpWorkerShared), 1, attach);
}
