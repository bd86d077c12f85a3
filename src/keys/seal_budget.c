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
 * An allowance belongs to a key id, whatever is forgotten or rolled back, and
 * what is left of it goes back when another key needs its place or the backend
 * ends.  So a value costs one seal, and only a crash costs more: nobody can use
 * a version up without sealing that many values.
 *
 * A version that is three quarters used, or whose rotation period is over, gets
 * a successor by _rotate_due(), in the worker's round or, where sealing comes
 * first, in the transaction that could reserve no more.  Subjects' keys seal a
 * handful of values each and the literal key seals nothing that is stored:
 * neither is counted.
 */
#include "postgres.h"

#include "base/worker.h"
#include "keys/arena.h"
#include "keys/keys_internal.h"
#include "keys/own_step.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"

#define BLOCK_SEALS		(1 << 22)	/* committed at once */
#define LOCAL_SEALS		(1 << 12)	/* taken by a backend at once */
#define ROUND_NAPTIME	60000	/* ms */

#define N_ALLOWANCES	16		/* a power of two */

typedef struct Allowance
{
	uint64		key_id;
	uint32		left;
} Allowance;

static Allowance allowances[N_ALLOWANCES];	/* direct-mapped by key id */

static inline Allowance *
allowance_of(uint64 key_id)
{
	return &allowances[key_id & (N_ALLOWANCES - 1)];
}

static void
give_back(Allowance *allowance)
{
	if (allowance->left > 0)
		dp_arena_add_seals(MyDatabaseId, allowance->key_id, allowance->left);
	allowance->left = 0;
}

static void
give_all_back(int code, Datum arg)
{
	for (int i = 0; i < N_ALLOWANCES; i++)
		give_back(&allowances[i]);
}

bool
dp_keys_take_seal(uint64 key_id)
{
	Allowance  *allowance = allowance_of(key_id);

	if (unlikely(allowance->key_id != key_id || allowance->left == 0))
		return false;
	allowance->left--;
	return true;
}

bool
dp_keys_refill_seals(uint64 key_id)
{
	static bool at_exit = false;
	Allowance  *allowance = allowance_of(key_id);
	uint32		taken = dp_arena_take_seals(MyDatabaseId, key_id, LOCAL_SEALS);
	char	   *answer;

	if (!at_exit)
		before_shmem_exit(give_all_back, (Datum) 0);
	at_exit = true;
	if (taken == 0)
	{
		answer = dp_keys_autonomous(psprintf("SELECT dataprotect._reserve_seals(" INT64_FORMAT ", %d)",
											 (int64) key_id, BLOCK_SEALS), true);
		if (answer == NULL || strcmp(answer, "reserved") != 0)
			return false;
		dp_arena_add_seals(MyDatabaseId, key_id, BLOCK_SEALS - LOCAL_SEALS);
		taken = LOCAL_SEALS;
	}
	give_back(allowance);
	allowance->key_id = key_id;
	allowance->left = taken;
	return true;
}

void
dp_keys_give_seals(uint64 key_id, uint32 n)
{
	dp_arena_add_seals(MyDatabaseId, key_id, n);
}

/* Worker: replace the versions whose time is over. */
static bool
rotate_due(void)
{
	bool		more;

	(void) dp_own_step("SELECT dataprotect._rotate_due()", "could not look for keys to rotate");
	more = dp_own_step("SELECT dataprotect._destroy_unused_version()", "could not look for key versions without values");
	dp_keys_expire();
	return dp_keys_epoch_round() || more;
}

void
dp_keys_budget_init(void)
{
	dp_worker_register("keys", rotate_due, ROUND_NAPTIME);
}
