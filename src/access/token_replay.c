/*
 * token_replay.c
 *	  Tokens that were used; see token_replay.h.
 *
 * An open hash: a token lies in one of the N_PROBES places from its hash on.  Where
 * all of them hold tokens that have not run out it is refused, whatever it is.
 */
#include "postgres.h"

#include "access/token_replay.h"
#include "base/shmem.h"
#include "crypto/aead.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#define N_PLACES	32768		/* a power of two */
#define N_PROBES	128

typedef struct UsedToken
{
	uint64		digest[2];
	TimestampTz until;			/* 0: free */
} UsedToken;

typedef struct UsedTokens
{
	TimestampTz since;			/* what was used before is not here */
	UsedToken	places[N_PLACES];
} UsedTokens;

static LWLock *lock;
static UsedTokens *used;		/* under the lock */

static void
attach(void *area, LWLockPadded *locks, bool is_new)
{
	used = area;
	lock = &locks[0].lock;
	if (is_new)
		used->since = GetCurrentTimestamp();
}

static void
digest_of(const char *issuer, const char *id, uint64 out[2])
{
	char	   *both = psprintf("%zu:%s%s", strlen(issuer), issuer, id);
	uint8		digest[32];

	if (!dp_sha256((uint8 *) both, strlen(both), digest))
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not compute a digest")));
	memcpy(out, digest, 2 * sizeof(uint64));
	pfree(both);
}

/* Under the lock. */
static DpTokenUse
take_place(const uint64 digest[2], TimestampTz now, TimestampTz until)
{
	UsedToken  *free_place = NULL;

	for (int i = 0; i < N_PROBES; i++)
	{
		UsedToken  *place = &used->places[(digest[0] + i) % N_PLACES];

		if (place->until <= now)
		{
			if (free_place == NULL)
				free_place = place;
		}
		else if (place->digest[0] == digest[0] && place->digest[1] == digest[1])
			return DP_TOKEN_USED;
	}
	if (free_place == NULL)
		return DP_TOKEN_NO_ROOM;
	free_place->digest[0] = digest[0];
	free_place->digest[1] = digest[1];
	free_place->until = until;
	return DP_TOKEN_FIRST;
}

DpTokenUse
dp_token_use(const char *issuer, const char *id, TimestampTz issued, TimestampTz until)
{
	uint64		digest[2];
	DpTokenUse	use;

	digest_of(issuer, id, digest);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	use = issued < used->since ? DP_TOKEN_FORGOTTEN : take_place(digest, GetCurrentTimestamp(), until);
	LWLockRelease(lock);
	return use;
}

void
dp_token_replay_init(void)
{
	dp_shmem_register("dataprotect tokens", sizeof(UsedTokens), 1, attach);
}
