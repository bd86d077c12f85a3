/*
 * launcher.c
 *	  The process that decides which database is visited next.
 *
 * A sweep lists pg_database, at least every dataprotect.worker_naptime, so that
 * new databases are looked into and the slots of dropped ones become free.  In
 * between the launcher wakes for what is due: it orders a visit where the pool
 * has a process, longest overdue first, and where it has none asks those that
 * have had their time to leave.  On a standby it only lets the databases be
 * looked into: that tells which ones' log lines need care.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/guc.h"
#include "base/worker_shared.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"
#include "utils/wait_event.h"

/*
 * Looks again into a database without the extension after this.  On a primary
 * CREATE EXTENSION says so by itself.
 */
#define RECHECK_MS			600000
#define RECHECK_STANDBY_MS	30000

#define SHORT_TURN_MS		500 /* a visit lasts so long where others wait */
#define LONG_TURN_MS		10000	/* and a long round */
#define PRESSED_NAP_MS		100
#define NO_ROOM_NAP_MS		500
#define WARNING_EVERY_MS	60000

PGDLLEXPORT void dp_worker_launcher_main(Datum main_arg);

typedef struct Candidate
{
	int			slot;
	Oid			database;
	int64		due;
} Candidate;

/* What the slots say, at one moment. */
typedef struct Outlook
{
	Candidate	due[DP_WORKER_MAX_DATABASES];
	int			n_due;
	int64		next;			/* when the next one will be */
	bool		long_waits;		/* a long round is due and may not run */
} Outlook;

static Outlook outlook;

/* Does dataprotect.databases name it? */
static bool
is_wanted(const char *name)
{
	char	   *copy = pstrdup(dp_guc_databases ? dp_guc_databases : "*");
	List	   *names;
	ListCell   *cell;

	if (!SplitIdentifierString(copy, ',', &names))
		return false;
	foreach(cell, names)
	{
		const char *wanted = (const char *) lfirst(cell);

		if (strcmp(wanted, "*") == 0 || strcmp(wanted, name) == 0)
			return true;
	}
	return false;
}

static void
warn(const char *message, const char *hint)
{
	static TimestampTz warned_at = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(warned_at, now, WARNING_EVERY_MS))
		return;
	warned_at = now;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("%s", message), errhint("%s", hint)));
}

typedef struct Listed
{
	Oid			oid;
	bool		served;
} Listed;

static int
compare_listed(const void *a, const void *b)
{
	Oid			x = ((const Listed *) a)->oid;
	Oid			y = ((const Listed *) b)->oid;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* All databases, ascending; *out_n of them, palloc'd. */
static Listed *
list_databases(int *out_n)
{
	MemoryContext context = CurrentMemoryContext;
	int			size = 64;
	Listed	   *listed = palloc(sizeof(Listed) * size);
	int			n = 0;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (n == size)
			listed = repalloc(listed, sizeof(Listed) * (size *= 2));
		listed[n].oid = form->oid;
		listed[n].served = form->datallowconn && !form->datistemplate &&
			is_wanted(NameStr(form->datname));
		n++;
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	qsort(listed, n, sizeof(Listed), compare_listed);
	*out_n = n;
	return listed;
}

/*
 * Bring the slots up to the list.  began_at: a slot made since then may be of a
 * database that the list does not show yet.
 */
static bool
update_slots(const Listed *listed, int n, int64 began_at)
{
	bool		full = false;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < n; i++)
	{
		int			slot = dp_worker_find_slot(listed[i].oid, listed[i].served);

		if (slot >= 0)
			dp_worker_shared->database[slot].served = listed[i].served;
		else
			full |= listed[i].served;
	}
	for (int slot = 0; slot < dp_worker_shared->n_slots; slot++)
	{
		DpDatabaseSlot *database = &dp_worker_shared->database[slot];
		Listed		key = {.oid = dp_worker_shared->oid[slot]};

		if (OidIsValid(key.oid) && database->known_since < began_at && database->closed == 0 &&
			bsearch(&key, listed, n, sizeof(Listed), compare_listed) == NULL)
		{
			database->served = false;
			if (dp_pool_visitor(slot) < 0)
				dp_worker_free_slot(slot);
		}
	}
	LWLockRelease(dp_worker_shared->lock);
	return !full;
}

static void
sweep(void)
{
	int64		began_at = dp_worker_now();
	Listed	   *listed;
	Oid		   *oids;
	int			n;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	dp_worker_shared->sweep = false;
	LWLockRelease(dp_worker_shared->lock);
	listed = list_databases(&n);
	if (!update_slots(listed, n, began_at))
		warn("too many databases for dataprotect's background work",
			 "Name those that need it in \"dataprotect.databases\".");
	oids = palloc(sizeof(Oid) * n);
	for (int i = 0; i < n; i++)
		oids[i] = listed[i].oid;
	dp_worker_list_callbacks(oids, n);
	dp_pool_forget_lost();
}

/* When a visit of that slot is due, by what is known of it.  Under the lock. */
static int64
visit_due(const DpDatabaseSlot *database, bool standby, bool long_full)
{
	int64		due = PG_INT64_MAX;

	if (database->state == DP_DATABASE_UNKNOWN)
		due = 0;
	else if (database->state == DP_DATABASE_ABSENT)
		due = database->asked_at + (standby ? RECHECK_STANDBY_MS : RECHECK_MS);
	else
		for (int k = 0; k < dp_worker_n_kinds; k++)
		{
			int64		kind_due = dp_worker_kind_due(database, k);

			if (standby && !dp_worker_kinds[k].on_standbys)
				continue;
			if (!DP_WORKER_IS_LONG(k) || !long_full)
				due = Min(due, kind_due);
			else if (kind_due <= dp_worker_now())
				outlook.long_waits = true;
		}
	return Max(due, database->retry_at);
}

static int
compare_due(const void *a, const void *b)
{
	int64		x = ((const Candidate *) a)->due;
	int64		y = ((const Candidate *) b)->due;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* Fill the outlook.  A visitor that sleeps through its time is called here. */
static void
look_around(bool standby)
{
	int64		now = dp_worker_now();
	bool		long_full;

	outlook.n_due = 0;
	outlook.next = PG_INT64_MAX;
	outlook.long_waits = false;
	LWLockAcquire(dp_worker_shared->lock, LW_SHARED);
	long_full = dp_pool_long_rounds() >= dp_guc_max_workers - 1;
	for (int slot = 0; slot < dp_worker_shared->n_slots; slot++)
	{
		const DpDatabaseSlot *database = &dp_worker_shared->database[slot];
		int64		due;
		int			visitor;

		if (!OidIsValid(dp_worker_shared->oid[slot]) || !dp_worker_is_open(database))
			continue;
		due = visit_due(database, standby, long_full);
		visitor = dp_pool_visitor(slot);
		if (due > now)
		{
			if (visitor < 0)
				outlook.next = Min(outlook.next, due);
		}
		else if (visitor < 0)
		{
			outlook.due[outlook.n_due].slot = slot;
			outlook.due[outlook.n_due].database = dp_worker_shared->oid[slot];
			outlook.due[outlook.n_due++].due = due;
		}
		else if (dp_worker_shared->pool[visitor].latch != NULL &&
				 dp_worker_shared->pool[visitor].kind < 0)
			SetLatch(dp_worker_shared->pool[visitor].latch);
	}
	LWLockRelease(dp_worker_shared->lock);
	qsort(outlook.due, outlook.n_due, sizeof(Candidate), compare_due);
}

/* Ask up to n visits, the longest first, to make room; returns whether any may. */
static void
ask_to_leave(int n)
{
	int64		now = dp_worker_now();

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	for (; n > 0; n--)
	{
		DpPoolEntry *longest = NULL;

		for (int i = 0; i < dp_guc_max_workers; i++)
		{
			DpPoolEntry *entry = &dp_worker_shared->pool[i];

			if (entry->state == DP_POOL_VISIT && entry->connected && !entry->leave &&
				(entry->kind < 0 || !DP_WORKER_IS_LONG(entry->kind)) &&
				now - entry->since >= SHORT_TURN_MS &&
				(longest == NULL || entry->since < longest->since))
				longest = entry;
		}
		if (longest == NULL)
			break;
		longest->leave = true;
		SetLatch(longest->latch);
	}
	LWLockRelease(dp_worker_shared->lock);
}

/* A long round that has had its time lets another database's begin. */
static void
ask_to_yield(void)
{
	int64		now = dp_worker_now();
	DpPoolEntry *longest = NULL;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < dp_guc_max_workers; i++)
	{
		DpPoolEntry *entry = &dp_worker_shared->pool[i];

		if (entry->state == DP_POOL_VISIT && entry->kind >= 0 && DP_WORKER_IS_LONG(entry->kind) &&
			(longest == NULL || entry->idle_since < longest->idle_since))
			longest = entry;
	}
	if (longest != NULL && now - longest->idle_since >= LONG_TURN_MS)
		longest->yield = true;
	LWLockRelease(dp_worker_shared->lock);
}

/* Order what is due; returns how long to sleep. */
static long
dispatch(bool standby)
{
	int64		nap = dp_guc_worker_naptime * 1000L;
	int			ordered = 0;
	int			waiting;
	bool		room;

	look_around(standby);
	while (ordered < outlook.n_due &&
		   dp_pool_order_visit(outlook.due[ordered].slot, outlook.due[ordered].database))
		ordered++;
	LWLockAcquire(dp_worker_shared->lock, LW_SHARED);
	waiting = outlook.n_due - ordered + dp_worker_shared->requesters;
	LWLockRelease(dp_worker_shared->lock);
	room = dp_pool_start_spare();
	if (waiting > 0)
	{
		ask_to_leave(waiting);
		nap = Min(nap, PRESSED_NAP_MS);
	}
	if (outlook.long_waits)
	{
		ask_to_yield();
		nap = Min(nap, LONG_TURN_MS / 10);
	}
	if (!room)
	{
		warn("could not start a dataprotect background worker", "Increase \"max_worker_processes\".");
		nap = Min(nap, NO_ROOM_NAP_MS);
	}
	if (outlook.next != PG_INT64_MAX)
		nap = Min(nap, Max(outlook.next - dp_worker_now(), 1));
	return (long) nap;
}

static bool
sweep_is_due(int64 swept_at)
{
	bool		asked;

	LWLockAcquire(dp_worker_shared->lock, LW_SHARED);
	asked = dp_worker_shared->sweep;
	LWLockRelease(dp_worker_shared->lock);
	return asked || dp_worker_now() - swept_at >= dp_guc_worker_naptime * 1000L;
}

static void
leave_launcher(int code, Datum arg)
{
	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	dp_worker_shared->launcher = NULL;
	LWLockRelease(dp_worker_shared->lock);
}

void
dp_worker_launcher_main(Datum main_arg)
{
	MemoryContext round_context;
	int64		swept_at = PG_INT64_MIN / 2;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	round_context = AllocSetContextCreate(TopMemoryContext, "dataprotect launcher",
										  ALLOCSET_DEFAULT_SIZES);
	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	dp_worker_shared->launcher = MyLatch;
	LWLockRelease(dp_worker_shared->lock);
	before_shmem_exit(leave_launcher, (Datum) 0);

	while (!ShutdownRequestPending)
	{
		long		nap;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(round_context);
		if (sweep_is_due(swept_at))
		{
			pgstat_report_activity(STATE_RUNNING, "listing databases");
			sweep();
			swept_at = dp_worker_now();
			pgstat_report_activity(STATE_IDLE, NULL);
		}
		nap = dispatch(RecoveryInProgress());
		MemoryContextSwitchTo(TopMemoryContext);
		MemoryContextReset(round_context);
		if (!ShutdownRequestPending)
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 nap, PG_WAIT_EXTENSION);
	}
	/* status 0 would mean that no launcher is wanted any more */
	proc_exit(1);
}

void
dp_worker_init(void)
{
	BackgroundWorker worker;

	dp_worker_table_init();
	dp_worker_subscribe();

	/* pg_upgrade lets nobody else write */
	if (IsBinaryUpgrade)
		return;
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "dataprotect", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "dp_worker_launcher_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "dataprotect launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "dataprotect launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}
