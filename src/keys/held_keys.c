/*
 * held_keys.c
 *	  When a process lets go of the keys that it copied out of the arena; see
 *	  held_keys.h.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "base/compat.h"
#include "base/statement.h"
#include "keys/held_keys.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "storage/sinval.h"
#include "tcop/tcopprot.h"
#include "utils/resowner.h"
#include "utils/timeout.h"

#define HOLD_MS			1000
#define MAX_HOLDERS		4

static DpKeysCallback holders[MAX_HOLDERS];
static int	n_holders = 0;

static bool holding = false;
static uint64 times_let_go = 0;
static bool has_timer = false;
static TimeoutId timer;
static volatile sig_atomic_t is_due = false;
static bool wake_pending = false;

void
dp_keys_on_let_go(DpKeysCallback callback)
{
	if (n_holders == MAX_HOLDERS)
		elog(ERROR, "too many holders of keys");
	holders[n_holders++] = callback;
}

uint64
dp_keys_times_let_go(void)
{
	return times_let_go;
}

static bool
is_client(void)
{
	return MyBackendType == B_BACKEND;
}

static void
let_go(void)
{
	for (int i = 0; i < n_holders; i++)
		holders[i] ();
	holding = false;
	is_due = false;
	times_let_go++;
	/* Workers are never idle for long: they sweep for all. */
	if (!is_client())
		dp_arena_sweep_epochs();
}

/*
 * In a signal handler.  Where the session is idle, the interrupt runs an empty
 * transaction, whose end is what we wait for.
 */
static void
on_timer(void)
{
	is_due = true;
	HandleCatchupInterrupt();
}

void
dp_keys_hold(void)
{
	if (holding)
		return;
	holding = true;
	if (!is_client())
		return;
	if (!has_timer)
		timer = RegisterTimeout(USER_TIMEOUT, on_timer);
	has_timer = true;
	is_due = false;
	enable_timeout_after(timer, HOLD_MS);
}

/* An error on the way has taken every timer away. */
static bool
is_time(void)
{
	return !is_client() || is_due || !get_timeout_active(timer) ||
		dp_keys_cached_generation != dp_arena_key_generation();
}

static void
at_xact_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_PARALLEL_COMMIT:
			/* A command of several transactions, or a procedure, goes on. */
			if (holding && !DP_IN_STATEMENT() && is_time())
				let_go();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			if (holding && !DP_IN_STATEMENT())
				let_go();
			wake_pending = false;
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			break;
	}
}

/*
 * Between two messages of its client a session has no query; in an open transaction
 * only this tells that nobody uses what would be wiped.
 */
void
dp_keys_let_go_if_idle(void)
{
	if (holding && is_client() && !DP_IN_STATEMENT() && debug_query_string == NULL &&
		dp_keys_cached_generation != dp_arena_key_generation())
		let_go();
}

void
dp_keys_wake_sessions(void)
{
	wake_pending = true;
}

/* After the invalidations of this transaction were sent: they are what is to be found. */
static void
after_commit(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *arg)
{
	if (!wake_pending || phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_commit || !is_top_level)
		return;
	wake_pending = false;
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		/* Without a lock: a signal too many makes a session look for nothing. */
		const PGPROC *proc = &ProcGlobal->allProcs[i];
		int			pid = proc->pid;

		if (pid != 0 && pid != MyProcPid && proc->databaseId == MyDatabaseId)
			(void) SendProcSignal(pid, PROCSIG_CATCHUP_INTERRUPT, DP_NO_PROC_NUMBER);
	}
}

void
dp_keys_held_init(void)
{
	RegisterXactCallback(at_xact_end, NULL);
	RegisterResourceReleaseCallback(after_commit, NULL);
}
