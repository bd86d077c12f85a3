/*
 * seal_budget.c
 *	  How often one key may seal, and when it is replaced.
 *
 * With random 96-bit nonces a key must not seal without bound (NIST SP 800-38D,
 * section 8.3, allows 2^32 at the most); a version of a named key is replaced
 * before 2^28.  Seals are counted in blocks that are reserved, and committed,
 * ahead of use: whatever a crash takes away was counted already.
 *
 *	key_version.seals		reserved by this database so far; committed
 *	shared budget			what is left of the block reserved last
 *	local allowance			taken from the shared budget by one backend
 *
 * A version whose blocks are used up, or whose rotation period is over, gets a
 * successor from the worker's round or, where sealing comes first, from the
 * backend that needs it.  Subjects' keys seal a handful of values each and the
 * literal key seals nothing that is stored: neither is counted.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/worker.h"
#include "executor/spi.h"
#include "keys/arena.h"
#include "keys/keys_internal.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#define BLOCK_SEALS		(1 << 22)	/* committed at once */
#define LOCAL_SEALS		(1 << 12)	/* taken by a backend at once */
#define ROUND_NAPTIME	60000	/* ms */

/*
 * Take LOCAL_SEALS seals of a key for this backend.  Returns how many may be
 * used; 0 where the key is used up and its family has a new version now.
 */
uint32
dp_keys_take_seals(uint64 key_id)
{
	char	   *answer;

	if (dp_arena_take_seals(MyDatabaseId, key_id, LOCAL_SEALS))
		return LOCAL_SEALS;
	answer = dp_worker_autonomous(psprintf("SELECT dataprotect._reserve_seals(" INT64_FORMAT ", %d)",
										   (int64) key_id, BLOCK_SEALS));
	if (answer == NULL || strcmp(answer, "reserved") != 0)
		return 0;
	dp_arena_add_seals(MyDatabaseId, key_id, BLOCK_SEALS - LOCAL_SEALS);
	return LOCAL_SEALS;
}

/* Worker: replace the versions whose time is over. */
static bool
rotate_due(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute("SELECT dataprotect._rotate_due()", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for keys to rotate");
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return false;
}

void
dp_keys_budget_init(void)
{
	dp_worker_register("keys", rotate_due, ROUND_NAPTIME);
}
