/*
 * worker.c
 *	  Registration of worker kinds, the array of databases, and the loop that
 *	  every per-database worker runs.
 *
 * The launcher is in launcher.c, statements in a transaction of their own are
 * in autonomous.c, the hooks that notice CREATE EXTENSION and make room for
 * DROP DATABASE in worker_ddl.c.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "base/worker_shared.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

DpWorkerShared *dp_worker_shared = NULL;
DpWorkerKind dp_worker_kinds[DP_WORKER_MAX_KINDS];
int			dp_worker_n_kinds = 0;


/* In a worker: what it is. */
static int	my_slot = -1;
static int	my_kind = -1;

PGDLLEXPORT void dp_worker_main(Datum main_arg);
PGDLLEXPORT void dp_worker_probe_main(Datum main_arg);

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

int
dp_worker_process_of(int kind)
{
	if (dp_worker_kinds[kind].naptime_ms == 0)
		return kind;
	for (int k = 0; k < kind; k++)
		if (dp_worker_kinds[k].naptime_ms > 0)
			return k;
	return kind;
}

int
dp_worker_find_slot(Oid database, bool create)
{
	int			n = dp_worker_shared->n_databases;
	DpDatabaseSlot *slot;

	for (int i = 0; i < n; i++)
		if (dp_worker_shared->database[i].oid == database)
			return i;
	if (!create || n >= DP_WORKER_MAX_DATABASES)
		return -1;

	slot = &dp_worker_shared->database[n];
	memset(slot, 0, sizeof(*slot));
	slot->oid = database;
	pg_write_barrier();
	dp_worker_shared->n_databases = n + 1;
	return n;
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

void
dp_worker_wake(Oid database, const char *kind)
{
	Latch	   *latch = NULL;
	int			slot;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	slot = dp_worker_find_slot(database, false);
	for (int k = 0; slot >= 0 && k < dp_worker_n_kinds; k++)
	{
		DpWorkerSlot *worker = &dp_worker_shared->database[slot].kind[k];

		if (strcmp(dp_worker_kinds[k].name, kind) != 0)
			continue;
		worker->woken = true;
		latch = worker->latch;
	}
	LWLockRelease(dp_worker_shared->lock);
	if (latch != NULL)
		SetLatch(latch);
}

void
dp_worker_announce(bool present)
{
	Latch	   *launcher;
	int			slot;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	slot = dp_worker_find_slot(MyDatabaseId, true);
	if (slot >= 0)
	{
		DpDatabaseSlot *database = &dp_worker_shared->database[slot];

		database->state = present ? DP_DATABASE_PRESENT : DP_DATABASE_ABSENT;
		database->asked_at = GetCurrentTimestamp();
		for (int k = 0; !present && k < dp_worker_n_kinds; k++)
			if (database->kind[k].latch != NULL)
				SetLatch(database->kind[k].latch);
	}
	launcher = dp_worker_shared->launcher;
	LWLockRelease(dp_worker_shared->lock);
	if (launcher != NULL)
		SetLatch(launcher);
}

void
dp_worker_configure_session(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"synchronous_commit", "local"},
		{"statement_timeout", "0"},
		{"lock_timeout", "10s"},
		{"idle_in_transaction_session_timeout", "0"},
		{"row_security", "off"},
		{"check_function_bodies", "off"},
		{"xmloption", "content"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"bytea_output", "hex"},
		{"extra_float_digits", "1"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

static bool
is_mine(int kind)
{
	return dp_worker_process_of(kind) == my_kind;
}

static void
leave_slot(int code, Datum arg)
{
	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	for (int k = 0; k < dp_worker_n_kinds; k++)
	{
		DpWorkerSlot *mine = &dp_worker_shared->database[my_slot].kind[k];

		if (mine->pid == MyProcPid)
		{
			mine->pid = 0;
			mine->latch = NULL;
		}
	}
	LWLockRelease(dp_worker_shared->lock);
}

/* Take my slot; false where another worker has it or the database is closed. */
static bool
enter_slot(void)
{
	DpDatabaseSlot *database;
	bool		taken = false;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	database = &dp_worker_shared->database[my_slot];
	if (database->kind[my_kind].pid == 0 && database->state == DP_DATABASE_PRESENT &&
		database->vacate_until <= GetCurrentTimestamp())
	{
		for (int k = 0; k < dp_worker_n_kinds; k++)
		{
			if (!is_mine(k))
				continue;
			database->kind[k].pid = MyProcPid;
			database->kind[k].latch = MyLatch;
		}
		taken = true;
	}
	LWLockRelease(dp_worker_shared->lock);
	if (taken)
		before_shmem_exit(leave_slot, (Datum) 0);
	return taken;
}

static bool
must_leave(void)
{
	DpDatabaseSlot *database = &dp_worker_shared->database[my_slot];
	bool		leave;

	LWLockAcquire(dp_worker_shared->lock, LW_SHARED);
	leave = database->state != DP_DATABASE_PRESENT ||
		database->vacate_until > GetCurrentTimestamp();
	LWLockRelease(dp_worker_shared->lock);
	return leave;
}

/* SIGTERM: between rounds leave quietly, inside one as any backend does. */
static void
handle_sigterm(SIGNAL_ARGS)
{
	ShutdownRequestPending = true;
	die(postgres_signal_arg);
}

static bool
run_round(MemoryContext context, int kind)
{
	volatile bool more = false;

	pgstat_report_activity(STATE_RUNNING, dp_worker_kinds[kind].name);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		more = dp_worker_kinds[kind].round();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		error_context_stack = NULL;
		errhidestmt(true);
		EmitErrorReport();
		LWLockReleaseAll();
		pgstat_report_wait_end();
		AbortCurrentTransaction();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextReset(context);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return more;
}

/* Was the kind asked for?  Forgets it. */
static bool
take_wake(int kind)
{
	DpWorkerSlot *mine = &dp_worker_shared->database[my_slot].kind[kind];
	bool		woken;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	woken = mine->woken;
	mine->woken = false;
	LWLockRelease(dp_worker_shared->lock);
	return woken;
}

/* Run what is due or asked for; returns how long to sleep. */
static long
run_due_rounds(MemoryContext context)
{
	static TimestampTz due[DP_WORKER_MAX_KINDS];
	long		nap = dp_guc_worker_naptime * 1000L;

	for (int k = 0; k < dp_worker_n_kinds; k++)
	{
		long		naptime = dp_worker_kinds[k].naptime_ms;
		TimestampTz now = GetCurrentTimestamp();
		bool		more = false;

		if (!is_mine(k))
			continue;
		if (naptime == 0)
			naptime = dp_guc_worker_naptime * 1000L;

		/* A clock that was set back must not make us sleep for long. */
		if (take_wake(k) || now >= due[k] ||
			due[k] > TimestampTzPlusMilliseconds(now, naptime))
		{
			more = run_round(context, k);
			now = GetCurrentTimestamp();
			due[k] = TimestampTzPlusMilliseconds(now, naptime);
		}
		if (more)
			due[k] = now;
		nap = Min(nap, TimestampDifferenceMilliseconds(now, due[k]));
	}
	return nap;
}

/* The process of one kind, or of several short ones, in one database. */
void
dp_worker_main(Datum main_arg)
{
	MemoryContext context;
	Oid			database;

	my_slot = DatumGetInt32(main_arg) / DP_WORKER_MAX_KINDS;
	my_kind = DatumGetInt32(main_arg) % DP_WORKER_MAX_KINDS;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, handle_sigterm);
	BackgroundWorkerUnblockSignals();

	if (!enter_slot())
		proc_exit(0);
	database = dp_worker_shared->database[my_slot].oid;
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	dp_worker_configure_session();
	context = AllocSetContextCreate(TopMemoryContext, "dataprotect worker round",
									ALLOCSET_DEFAULT_SIZES);

	for (;;)
	{
		long		nap;

		if (ShutdownRequestPending || must_leave())
			proc_exit(0);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		nap = run_due_rounds(context);
		if (nap > 0)
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 nap, PG_WAIT_EXTENSION);
	}
}

/* Look whether a database has the extension, and go. */
void
dp_worker_probe_main(Datum main_arg)
{
	int			slot = DatumGetInt32(main_arg);
	Oid			database = dp_worker_shared->database[slot].oid;
	bool		present;

	pqsignal(SIGTERM, handle_sigterm);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);

	StartTransactionCommand();
	present = OidIsValid(get_extension_oid("dataprotect", true));
	CommitTransactionCommand();
	dp_worker_announce(present);
	proc_exit(0);
}

static void
attach(void *area, LWLockPadded *locks, bool is_new)
{
	dp_worker_shared = area;
	if (is_new)
		dp_worker_shared->lock = &locks->lock;
}

void
dp_worker_init(void)
{
	BackgroundWorker worker;

	dp_shmem_register("dataprotect workers", sizeof(DpWorkerShared), 1, attach);
	dp_worker_subscribe();

	/* pg_upgrade lets nobody else write */
	if (IsBinaryUpgrade)
		return;
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = 5;
	strlcpy(worker.bgw_library_name, "dataprotect", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "dp_worker_launcher_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "dataprotect launcher", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "dataprotect launcher", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}
