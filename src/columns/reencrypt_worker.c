/*
 * reencrypt_worker.c
 *	  What reencrypt(background => true) leaves to the worker: a batch a
 *	  transaction, with dataprotect.retention_cost_delay between them.
 *
 * Where it stands is committed with each batch (reencrypt.sql), so a round that
 * is killed, or that another database is waiting for, is gone on with.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/worker.h"
#include "columns/reencrypt_worker.h"
#include "fmgr.h"
#include "keys/own_step.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#define REENCRYPT_WORKER	"reencrypt"

PG_FUNCTION_INFO_V1(dp_reencrypt_wake);

/* Asked again where another database waits for its turn. */
static bool
reencrypt_round(void)
{
	while (dp_own_step("SELECT dataprotect._reencrypt_step()", "could not go on with a table to re-encrypt"))
	{
		dp_worker_note_work();
		if (dp_guc_retention_cost_delay > 0)
		{
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 dp_guc_retention_cost_delay, PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
		}
		CHECK_FOR_INTERRUPTS();
		if (dp_worker_should_yield())
			return true;
	}
	return false;
}

/* dataprotect._reencrypt_wake() returns void */
Datum
dp_reencrypt_wake(PG_FUNCTION_ARGS)
{
	dp_worker_wake(MyDatabaseId, REENCRYPT_WORKER);
	PG_RETURN_VOID();
}

void
dp_reencrypt_worker_init(void)
{
	dp_worker_register(REENCRYPT_WORKER, reencrypt_round, 0);
}
