/*
 * launcher.c
 *	  The process that keeps one worker of each kind in every database that has
 *	  the extension.
 *
 * A round lists pg_database, sends a short-lived probe into databases nobody
 * has looked at (again, after RECHECK_ABSENT_MS, where one was found without
 * the extension), and starts what should run and does not.  A worker that dies
 * soon after its start is started again after a growing pause.  On a standby
 * only probes run: they tell which databases' log lines need care.
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

#define RECHECK_ABSENT_MS	60000
#define MAX_PROBES			2
#define FIRST_PAUSE_MS		1000
#define LAST_PAUSE_MS		60000
#define WARNING_EVERY_MS	60000

/* What the launcher itself knows of a worker that it started. */
typedef struct Child
{
	BackgroundWorkerHandle *handle; /* NULL: none */
	TimestampTz started_at;
	int			pause_ms;		/* before the next start */
} Child;

static Child *children = NULL;	/* [DP_WORKER_MAX_DATABASES][DP_WORKER_MAX_KINDS] */
static Child *probes = NULL;	/* [DP_WORKER_MAX_DATABASES] */
static int	n_probes_running = 0;

PGDLLEXPORT void dp_worker_launcher_main(Datum main_arg);

typedef struct Candidate
{
	Oid			oid;
	NameData	name;
} Candidate;

/* Databases that accept connections and are no templates; palloc'd. */
static List *
list_databases(void)
{
	MemoryContext result_context = CurrentMemoryContext;
	List	   *result = NIL;
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
		MemoryContext old_context;
		Candidate  *candidate;

		if (!form->datallowconn || form->datistemplate)
			continue;
		old_context = MemoryContextSwitchTo(result_context);
		candidate = palloc(sizeof(Candidate));
		candidate->oid = form->oid;
		candidate->name = form->datname;
		result = lappend(result, candidate);
		MemoryContextSwitchTo(old_context);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(result_context);
	return result;
}

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

static bool
is_running(Child *child)
{
	pid_t		pid;

	if (child->handle == NULL)
		return false;
	if (GetBackgroundWorkerPid(child->handle, &pid) != BGWH_STOPPED)
		return true;
	pfree(child->handle);
	child->handle = NULL;
	return false;
}

static void
warn_no_room(void)
{
	static TimestampTz warned_at = 0;
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(warned_at, now, WARNING_EVERY_MS))
		return;
	warned_at = now;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("could not start a dataprotect background worker"),
			 errhint("Increase \"max_worker_processes\".")));
}

static void
start_child(Child *child, const char *function, int arg, const char *kind, const char *database)
{
	BackgroundWorker worker;
	MemoryContext old_context;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "dataprotect", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, function, sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "dataprotect %s worker for %s", kind, database);
	snprintf(worker.bgw_type, sizeof(worker.bgw_type), "dataprotect %s worker", kind);
	worker.bgw_main_arg = Int32GetDatum(arg);
	worker.bgw_notify_pid = MyProcPid;

	old_context = MemoryContextSwitchTo(TopMemoryContext);
	child->started_at = GetCurrentTimestamp();
	if (!RegisterDynamicBackgroundWorker(&worker, &child->handle))
	{
		child->handle = NULL;
		warn_no_room();
	}
	MemoryContextSwitchTo(old_context);
}

/* Start a kind's worker unless it runs or died a moment ago. */
static void
keep_child(Child *child, int slot, int kind, const char *database)
{
	TimestampTz now = GetCurrentTimestamp();

	if (is_running(child))
	{
		if (TimestampDifferenceExceeds(child->started_at, now, LAST_PAUSE_MS))
			child->pause_ms = 0;
		return;
	}
	if (child->pause_ms > 0 && !TimestampDifferenceExceeds(child->started_at, now, child->pause_ms))
		return;
	child->pause_ms = Min(Max(child->pause_ms * 2, FIRST_PAUSE_MS), LAST_PAUSE_MS);
	start_child(child, "dp_worker_main", slot * DP_WORKER_MAX_KINDS + kind,
				dp_worker_kinds[kind].naptime_ms > 0 ? "maintenance" : dp_worker_kinds[kind].name,
				database);
}

static void
probe_database(int slot, const char *database)
{
	Child	   *probe = &probes[slot];

	if (n_probes_running >= MAX_PROBES)
		return;
	if (probe->handle == NULL && probe->pause_ms > 0 &&
		!TimestampDifferenceExceeds(probe->started_at, GetCurrentTimestamp(), probe->pause_ms))
		return;
	probe->pause_ms = Min(Max(probe->pause_ms * 2, FIRST_PAUSE_MS), LAST_PAUSE_MS);
	start_child(probe, "dp_worker_probe_main", slot, "probe", database);
	if (probe->handle != NULL)
		n_probes_running++;
}

static void
keep_database(Candidate *candidate, bool standby)
{
	TimestampTz now = GetCurrentTimestamp();
	DpDatabaseState state;
	bool		closed;
	bool		recheck;
	int			slot;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	slot = dp_worker_find_slot(candidate->oid, true);
	if (slot < 0)
	{
		LWLockRelease(dp_worker_shared->lock);
		return;
	}
	state = dp_worker_shared->database[slot].state;
	closed = dp_worker_shared->database[slot].vacate_until > now;
	recheck = TimestampDifferenceExceeds(dp_worker_shared->database[slot].asked_at, now,
										 RECHECK_ABSENT_MS);
	LWLockRelease(dp_worker_shared->lock);

	if (closed)
		return;
	if (state == DP_DATABASE_UNKNOWN || (state == DP_DATABASE_ABSENT && recheck))
	{
		if (!is_running(&probes[slot]))
			probe_database(slot, NameStr(candidate->name));
		return;
	}
	probes[slot].pause_ms = 0;
	if (state != DP_DATABASE_PRESENT || standby || !is_wanted(NameStr(candidate->name)))
		return;
	for (int k = 0; k < dp_worker_n_kinds; k++)
		if (dp_worker_process_of(k) == k)
			keep_child(&children[slot * DP_WORKER_MAX_KINDS + k], slot, k, NameStr(candidate->name));
}

/* One look at everything; returns how long to sleep. */
static long
run_round(void)
{
	bool		standby = RecoveryInProgress();
	long		nap = dp_guc_worker_naptime * 1000L;
	ListCell   *cell;

	pgstat_report_activity(STATE_RUNNING, "launcher");
	n_probes_running = 0;
	for (int i = 0; i < dp_worker_shared->n_databases; i++)
		if (is_running(&probes[i]))
			n_probes_running++;
	foreach(cell, list_databases())
		keep_database((Candidate *) lfirst(cell), standby);
	pgstat_report_activity(STATE_IDLE, NULL);

	/* A child in its pause is due before the nap may be over. */
	for (int i = 0; i < dp_worker_shared->n_databases * DP_WORKER_MAX_KINDS; i++)
		if (children[i].handle == NULL && children[i].pause_ms > 0)
			nap = Min(nap, children[i].pause_ms);
	return nap;
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

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	children = MemoryContextAllocZero(TopMemoryContext,
									  sizeof(Child) * DP_WORKER_MAX_DATABASES * DP_WORKER_MAX_KINDS);
	probes = MemoryContextAllocZero(TopMemoryContext, sizeof(Child) * DP_WORKER_MAX_DATABASES);
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
		nap = run_round();
		MemoryContextSwitchTo(TopMemoryContext);
		MemoryContextReset(round_context);
		if (!ShutdownRequestPending)
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 nap, PG_WAIT_EXTENSION);
	}
	proc_exit(0);
}
