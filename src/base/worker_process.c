/*
 * worker_process.c
 *	  A process of the pool: takes its entry, waits for its order as a spare, and
 *	  leaves so that nobody waits for what will not come.
 *
 * Whoever ends, in whatever way short of a crash, passes leave_entry(), which
 * gives back its claims.  A crash resets all of shared memory.
 */
#include "postgres.h"

#include "base/worker_shared.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/wait_event.h"

/* In a process of the pool: its entry. */
static int	my_entry = -1;

PGDLLEXPORT void dp_worker_main(Datum main_arg);

/* Give back what this process claimed in its database.  Under the lock. */
static void
release_claims(const DpPoolEntry *entry)
{
	DpDatabaseSlot *database = &dp_worker_shared->database[entry->slot];
	int64		now = dp_worker_now();

	if (dp_worker_shared->oid[entry->slot] != entry->database)
		return;
	if (entry->inside && !entry->connected && !ShutdownRequestPending)
		database->retry_at = now + dp_worker_pause(++database->refused);
	for (int k = 0; k < dp_worker_n_kinds; k++)
	{
		DpKindSlot *kind = &database->kind[k];

		if (kind->worker == my_entry)
		{
			kind->worker = -1;
			kind->ended_at = now;
			kind->next_due = now;
			if (!ShutdownRequestPending)
			{
				kind->sqlstate = ERRCODE_SYSTEM_ERROR;
				kind->next_due += dp_worker_pause(++kind->failures);
				database->error_kind = k;
				strlcpy(database->error, "its process ended", DP_WORKER_ERROR_MAX);
			}
		}
		/* who was sent away is replaced at once */
		if (ShutdownRequestPending && entry->connected && kind->woken_at == 0)
			kind->woken_at = now;
	}
}

static void
leave_entry(int code, Datum arg)
{
	DpPoolEntry *entry = &dp_worker_shared->pool[my_entry];
	Latch	   *launcher;
	Latch	   *requester;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	if (entry->state == DP_POOL_VISIT)
		release_claims(entry);
	requester = entry->state == DP_POOL_STATEMENT ? entry->requester : NULL;
	dp_pool_free_entry(entry);
	launcher = dp_worker_shared->launcher;
	LWLockRelease(dp_worker_shared->lock);
	if (requester != NULL)
		SetLatch(requester);
	if (launcher != NULL)
		SetLatch(launcher);
}

/* Take the entry that this process was registered for; false: too late. */
static bool
take_entry(uint32 ticket)
{
	DpPoolEntry *entry = &dp_worker_shared->pool[my_entry];
	bool		taken;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	taken = entry->ticket == ticket && entry->state == DP_POOL_STARTING;
	if (taken)
	{
		entry->pid = MyProcPid;
		entry->latch = MyLatch;
		dp_pool_accept_order(entry);
	}
	LWLockRelease(dp_worker_shared->lock);
	return taken;
}

static bool
read_order(DpPoolEntry *out)
{
	LWLockAcquire(dp_worker_shared->lock, LW_SHARED);
	*out = dp_worker_shared->pool[my_entry];
	LWLockRelease(dp_worker_shared->lock);
	return out->state != DP_POOL_SPARE;
}

/* SIGTERM: between rounds leave quietly, inside one as any backend does. */
static void
handle_sigterm(SIGNAL_ARGS)
{
	ShutdownRequestPending = true;
	die(postgres_signal_arg);
}

void
dp_worker_main(Datum main_arg)
{
	uint32		arg = DatumGetUInt32(main_arg);
	DpPoolEntry order;

	my_entry = arg & 0xff;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, handle_sigterm);
	BackgroundWorkerUnblockSignals();

	if (!take_entry(arg >> 8))
		proc_exit(0);
	/* after the one that takes us off the list of the database's processes */
	on_shmem_exit(leave_entry, (Datum) 0);

	while (!read_order(&order))
	{
		if (ShutdownRequestPending)
			proc_exit(0);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
	dp_worker_wake_launcher(false); /* for the next spare */
	if (order.state == DP_POOL_STATEMENT)
		dp_statement_run(order.exchange, order.requester);
	dp_visit_run(my_entry, order.slot, order.database);
}
