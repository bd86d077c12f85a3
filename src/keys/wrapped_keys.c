/*
 * wrapped_keys.c
 *	  Keys that the arena has no room for; see wrapped_keys.h.
 *
 * An entry is found as in the arena: the low bits of the key id choose a bucket, in
 * which the one that was used longest ago goes.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "keys/wrapped_keys.h"
#include "port/atomics.h"
#include "storage/lwlock.h"

#define N_PARTITIONS	32
#define BUCKET_WAYS		8
#define PLACES_BEHIND	8		/* for each of the arena's ... */
#define MAX_PLACES		(1024 * 1024)	/* ... up to so many in all, or as many as the arena has */

/* What is authenticated with the key; no padding that is not zero. */
typedef struct WrappedHead
{
	uint64		key_id;			/* 0: free */
	uint64		generation;
	TimestampTz refresh_at;
	TimestampTz expires_at;
	TimestampTz over_at;
	Oid			database;
	int32		family;
	uint8		purpose;
	char		state;
	bool		has_key;
	uint8		zero[5];
} WrappedHead;

StaticAssertDecl(sizeof(WrappedHead) <= DP_WRAP_CONTEXT_MAX, "the head of a wrapped key is its context");

typedef struct WrappedKey
{
	WrappedHead head;
	uint32		used;			/* clock of the last use */
	uint8		wrapped[DP_WRAPPED_LEN];
} WrappedKey;

typedef struct WrappedKeysShared
{
	pg_atomic_uint32 clock;		/* no lock, wraps */
	LWLock	   *partition[N_PARTITIONS];	/* p: the buckets b with b mod N_PARTITIONS = p */
	WrappedKey	places[FLEXIBLE_ARRAY_MEMBER];
} WrappedKeysShared;

static WrappedKeysShared *shared = NULL;
static uint32 n_buckets = 0;	/* a power of two */

static uint32
bucket_count(void)
{
	uint32		places = Max((uint32) dp_guc_key_cache_size,
							 Min((uint32) dp_guc_key_cache_size * PLACES_BEHIND, MAX_PLACES));
	uint32		n = N_PARTITIONS;

	while (n * BUCKET_WAYS < places)
		n *= 2;
	return n;
}

static void
attach(void *area, LWLockPadded *locks, bool is_new)
{
	shared = area;
	n_buckets = bucket_count();
	if (!is_new)
		return;
	pg_atomic_init_u32(&shared->clock, 1);
	for (int i = 0; i < N_PARTITIONS; i++)
		shared->partition[i] = &locks[i].lock;
}

void
dp_wrapped_keys_init(void)
{
	dp_shmem_register("dataprotect wrapped keys",
					  offsetof(WrappedKeysShared, places) + sizeof(WrappedKey) * BUCKET_WAYS * bucket_count(), N_PARTITIONS, attach);
}

static WrappedKey *
bucket_of(uint64 key_id, LWLock **out_lock)
{
	uint32		b = (uint32) (key_id & (n_buckets - 1));

	*out_lock = shared->partition[b % N_PARTITIONS];
	return shared->places + (Size) b * BUCKET_WAYS;
}

static bool
copy_out(Oid database, uint64 key_id, TimestampTz now, uint64 generation, WrappedKey *out)
{
	LWLock	   *lock;
	WrappedKey *bucket = bucket_of(key_id, &lock);
	bool		found = false;

	LWLockAcquire(lock, LW_SHARED);
	for (int i = 0; i < BUCKET_WAYS && !found; i++)
	{
		WrappedKey *place = &bucket[i];

		if (place->head.key_id != key_id || place->head.database != database)
			continue;
		if (place->head.generation != generation || place->head.expires_at <= now)
			break;
		/* A lost update of the clock costs nothing. */
		place->used = pg_atomic_fetch_add_u32(&shared->clock, 1);
		*out = *place;
		found = true;
	}
	LWLockRelease(lock);
	return found;
}

bool
dp_wrapped_keys_get(const uint8 wrapping[DP_KEY_LEN], Oid database, uint64 key_id, TimestampTz now, uint64 generation,
					DpArenaEntry *out)
{
	WrappedKey	copy;

	if (!copy_out(database, key_id, now, generation, &copy))
		return false;
	memset(out, 0, sizeof(*out));
	if (!dp_key_unwrap(wrapping, (uint8 *) &copy.head, sizeof(copy.head), copy.wrapped, sizeof(copy.wrapped), out->key))
		return false;
	out->key_id = copy.head.key_id;
	out->database = copy.head.database;
	out->family = copy.head.family;
	out->purpose = copy.head.purpose;
	out->state = copy.head.state;
	out->has_key = copy.head.has_key;
	out->refresh_at = copy.head.refresh_at;
	out->expires_at = copy.head.expires_at;
	out->over_at = copy.head.over_at;
	return true;
}

void
dp_wrapped_keys_put(const uint8 wrapping[DP_KEY_LEN], const DpArenaEntry *entry, uint64 generation)
{
	LWLock	   *lock;
	WrappedKey *bucket = bucket_of(entry->key_id, &lock);
	WrappedKey *victim = &bucket[0];
	WrappedKey	place = {0};

	place.head.key_id = entry->key_id;
	place.head.generation = generation;
	place.head.refresh_at = entry->refresh_at;
	place.head.expires_at = entry->expires_at;
	place.head.over_at = entry->over_at;
	place.head.database = entry->database;
	place.head.family = entry->family;
	place.head.purpose = entry->purpose;
	place.head.state = entry->state;
	place.head.has_key = entry->has_key;
	if (!dp_key_wrap(wrapping, (uint8 *) &place.head, sizeof(place.head), entry->key, place.wrapped))
		return;
	place.used = pg_atomic_fetch_add_u32(&shared->clock, 1);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	for (int i = 0; i < BUCKET_WAYS; i++)
	{
		WrappedKey *other = &bucket[i];

		if (other->head.key_id == place.head.key_id && other->head.database == place.head.database)
		{
			victim = other;
			break;
		}
		if (victim->head.key_id != 0 && (other->head.key_id == 0 || place.used - other->used > place.used - victim->used))
			victim = other;
	}
	*victim = place;
	LWLockRelease(lock);
}
