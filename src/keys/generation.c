/*
 * generation.c
 *	  When what this backend knows of the keys is void; see generation.h.
 */
#include "postgres.h"

#include "keys/generation.h"
#include "keys/keys.h"

#define MAX_SUBSCRIBERS 8

typedef struct Subscribers
{
	int			n;
	DpKeysCallback callback[MAX_SUBSCRIBERS];
} Subscribers;

uint64		dp_keys_cached_generation = 0;
int			dp_keys_looks = 0;
DpKeptLook	dp_keys_kept;

static uint64 local_changes = 0;	/* calls of dp_keys_forget() */
static uint64 local_policy_changes = 0; /* and of dp_policy_forget() */
static uint64 policy_generation = 0;	/* that this backend goes by */
static DpKeptLook policy_kept;
static Subscribers forgetting;
static Subscribers renewing;
static Subscribers rolling_back;

static void
subscribe(Subscribers *list, DpKeysCallback callback)
{
	if (list->n == MAX_SUBSCRIBERS)
		elog(ERROR, "too many subscribers to changes of keys");
	list->callback[list->n++] = callback;
}

static void
tell(const Subscribers *list)
{
	for (int i = 0; i < list->n; i++)
		list->callback[i] ();
}

void
dp_keys_on_forget(DpKeysCallback callback)
{
	subscribe(&forgetting, callback);
}

void
dp_keys_on_renew(DpKeysCallback callback)
{
	subscribe(&renewing, callback);
}

void
dp_keys_on_rollback(DpKeysCallback callback)
{
	subscribe(&rolling_back, callback);
}

void
dp_keys_start_afresh(void)
{
	uint64		generation = dp_arena_key_generation();

	dp_look_begin(&dp_keys_kept);
	tell(&forgetting);
	dp_keys_cached_generation = generation;
	tell(&renewing);
	dp_look_took(&dp_keys_kept, dp_keys_kept.since);
}

void
dp_keys_rolled_back(void)
{
	tell(&rolling_back);
}

void
dp_keys_look_again(void)
{
	if (dp_arena_key_generation() != dp_keys_cached_generation)
		dp_keys_forget();
}

/* Rows changed in this transaction, or, on a standby, by replay. */
void
dp_keys_forget(void)
{
	dp_keys_cached_generation = 0;
	local_changes++;
	local_policy_changes++;
}

void
dp_policy_forget(void)
{
	local_policy_changes++;
}

uint64
dp_keys_local_changes(void)
{
	return local_changes;
}

uint64
dp_policy_local_changes(void)
{
	return local_policy_changes;
}

uint64
dp_keys_generation(void)
{
	uint64		shared = dp_arena_key_generation();

	return likely(shared == dp_keys_cached_generation) || !dp_keys_are_kept() ? shared : dp_keys_cached_generation;
}

uint64
dp_policy_generation(void)
{
	uint64		shared = dp_arena_policy_generation();

	if (unlikely(shared != policy_generation) && !dp_look_is_kept(&policy_kept))
	{
		policy_generation = shared;
		dp_look_begin(&policy_kept);
	}
	return policy_generation;
}

void
dp_policy_look_took(TimestampTz began)
{
	dp_look_took(&policy_kept, began);
}
