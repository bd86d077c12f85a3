/*
 * worker_order.c
 *	  The entries of the pool: giving an order to a spare or to a new process.
 *
 * A process that was registered and never came is noticed by the launcher; if
 * it comes after that, its ticket is not the entry's any more.
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/worker_shared.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"

/* Longest time from registration to the process's first step. */
#define START_MS	60000

static void
set_state(DpPoolEntry *entry, DpPoolState state)
{
	entry->state = state;
	entry->since = entry->idle_since = dp_worker_now();
}

void
dp_pool_accept_order(DpPoolEntry *entry)
{
	if (entry->order == DP_ORDER_VISIT)
		set_state(entry, DP_POOL_VISIT);
	else if (entry->order == DP_ORDER_STATEMENT)
		set_state(entry, DP_POOL_STATEMENT);
	else
		set_state(entry, DP_POOL_SPARE);
}

static void
write_order(DpPoolEntry *entry, const DpPoolEntry *order)
{
	entry->order = order->order;
	entry->slot = order->slot;
	entry->database = order->database;
	entry->exchange = order->exchange;
	entry->requester = order->requester;
	entry->inside = entry->connected = false;
	entry->leave = entry->yield = false;
	entry->kind = -1;
}

void
dp_pool_free_entry(DpPoolEntry *entry)
{
	entry->order = DP_ORDER_NONE;
	entry->pid = 0;
	entry->latch = NULL;
	entry->requester = NULL;
	entry->slot = -1;
	entry->kind = -1;
	entry->inside = false;
	set_state(entry, DP_POOL_FREE);
}

static bool
register_process(int number, uint32 ticket)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "dataprotect", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "dp_worker_main", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "dataprotect worker %d", number + 1);
	strlcpy(worker.bgw_type, "dataprotect worker", sizeof(worker.bgw_type));
	worker.bgw_main_arg = UInt32GetDatum((ticket << 8) | number);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/* An entry in that state without an order, or -1.  Under the lock. */
static int
find_entry(DpPoolState state)
{
	for (int i = 0; i < dp_guc_max_workers; i++)
		if (dp_worker_shared->pool[i].state == state)
			return i;
	return -1;
}

static bool
give_order(const DpPoolEntry *order, int *out_entry, uint32 *out_ticket)
{
	int			number;
	uint32		ticket = 0;
	Latch	   *latch = NULL;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	number = order->order == DP_ORDER_NONE ? -1 : find_entry(DP_POOL_SPARE);
	if (number >= 0)
	{
		latch = dp_worker_shared->pool[number].latch;
		write_order(&dp_worker_shared->pool[number], order);
		dp_pool_accept_order(&dp_worker_shared->pool[number]);
		ticket = dp_worker_shared->pool[number].ticket;
	}
	else if ((number = find_entry(DP_POOL_FREE)) >= 0)
	{
		write_order(&dp_worker_shared->pool[number], order);
		set_state(&dp_worker_shared->pool[number], DP_POOL_STARTING);
		ticket = dp_worker_shared->pool[number].ticket =
			(dp_worker_shared->pool[number].ticket + 1) & 0xffffff;
	}
	LWLockRelease(dp_worker_shared->lock);
	if (number < 0)
		return false;
	if (out_entry != NULL)
	{
		*out_entry = number;
		*out_ticket = ticket;
	}
	if (latch != NULL)
		SetLatch(latch);
	else if (!register_process(number, ticket))
	{
		LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
		if (dp_worker_shared->pool[number].ticket == ticket &&
			dp_worker_shared->pool[number].state == DP_POOL_STARTING)
			dp_pool_free_entry(&dp_worker_shared->pool[number]);
		LWLockRelease(dp_worker_shared->lock);
		return false;
	}
	return true;
}

bool
dp_pool_order_visit(int slot, Oid database)
{
	DpPoolEntry order = {.order = DP_ORDER_VISIT,.slot = slot,.database = database};

	return give_order(&order, NULL, NULL);
}

bool
dp_pool_order_statement(Oid database, dsm_handle exchange, int *out_entry, uint32 *out_ticket)
{
	DpPoolEntry order = {.order = DP_ORDER_STATEMENT,.slot = -1,.database = database,
	.exchange = exchange,.requester = MyLatch};

	return give_order(&order, out_entry, out_ticket);
}

/* False where there is no process to be had; true also where none is wanted. */
bool
dp_pool_start_spare(void)
{
	DpPoolEntry order = {.order = DP_ORDER_NONE,.slot = -1};
	bool		wanted;

	LWLockAcquire(dp_worker_shared->lock, LW_SHARED);
	wanted = find_entry(DP_POOL_FREE) >= 0 && find_entry(DP_POOL_SPARE) < 0;
	for (int i = 0; i < dp_guc_max_workers; i++)
		if (dp_worker_shared->pool[i].state == DP_POOL_STARTING &&
			dp_worker_shared->pool[i].order == DP_ORDER_NONE)
			wanted = false;
	LWLockRelease(dp_worker_shared->lock);
	return !wanted || give_order(&order, NULL, NULL);
}

bool
dp_pool_has_order(int entry, uint32 ticket)
{
	const DpPoolEntry *ordered = &dp_worker_shared->pool[entry];
	bool		has;

	LWLockAcquire(dp_worker_shared->lock, LW_SHARED);
	has = ordered->ticket == ticket && ordered->order == DP_ORDER_STATEMENT &&
		ordered->state != DP_POOL_FREE;
	LWLockRelease(dp_worker_shared->lock);
	return has;
}

void
dp_pool_forget_lost(void)
{
	int64		now = dp_worker_now();

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < dp_guc_max_workers; i++)
	{
		DpPoolEntry *entry = &dp_worker_shared->pool[i];

		if (entry->state == DP_POOL_STARTING && now - entry->since > START_MS)
		{
			entry->ticket = (entry->ticket + 1) & 0xffffff;
			dp_pool_free_entry(entry);
		}
	}
	LWLockRelease(dp_worker_shared->lock);
}
