/*
 * arena.c
 *	  The fixed shared arena of unwrapped keys.
 *
 *	control (ordinary shared memory)	generations, locks, system key ids, spares
 *	secret mapping (own, MAP_SHARED)	epoch entries | buckets of 8 entries each | wrapping key
 *
 * An entry is found by (database, key id): key ids are pseudo-random already,
 * so their low bits choose the bucket.  Within a full bucket the entry that was
 * used longest ago goes.  Locks: partition p guards the buckets b with
 * b mod N_PARTITIONS = p; epoch_lock the epoch entries and the wrapping key;
 * control_lock the rest.
 */
#include "postgres.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/compat.h"
#include "base/guc.h"
#include "base/secret.h"
#include "base/shmem.h"
#include "base/statement.h"
#include "fmgr.h"
#include "keys/arena.h"
#include "keys/wrapped_keys.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"

#define N_PARTITIONS	32
#define BUCKET_WAYS		8
#define MAX_EPOCHS		256
#define MAX_DATABASES	64
#define MAX_POOLS		32
#define POOL_SIZE		1024

typedef struct SparePool
{
	Oid			database;
	int32		family;
	int			n;
	uint64		key_id[POOL_SIZE];
} SparePool;

#define MAX_BUDGETS		128

/* Seals that are reserved for a key and not taken by a backend yet. */
typedef struct SealBudget
{
	Oid			database;
	uint64		key_id;
	uint32		left;
} SealBudget;

typedef struct DatabaseSlot
{
	Oid			database;
	DpSystemKeys keys;
} DatabaseSlot;

typedef struct DpArenaShared
{
	pg_atomic_uint64 key_generation;	/* starts at 1; no lock */
	pg_atomic_uint64 policy_generation;
	pg_atomic_uint32 clock;		/* of uses; no lock, wraps */
	LWLock	   *partition[N_PARTITIONS];
	LWLock	   *epoch_lock;
	bool		has_wrapping_key;	/* epoch_lock */
	LWLock	   *control_lock;	/* guards all below */
	DatabaseSlot databases[MAX_DATABASES];
	SealBudget	budgets[MAX_BUDGETS];
	int			next_budget;
	int			next_pool;
	SparePool	pools[MAX_POOLS];
} DpArenaShared;

static DpArenaShared *shared = NULL;
static DpArenaEntry *epochs = NULL; /* MAX_EPOCHS, in the secret mapping */
static DpArenaEntry *buckets = NULL;	/* n_buckets * BUCKET_WAYS */
static uint8 *wrapping_key = NULL;	/* of keys outside; after the buckets */
static uint32 n_buckets = 0;
static bool arena_locked = false;	/* never in swap space; known since server start */

PG_FUNCTION_INFO_V1(dp_arena_locked_sql);

static uint32
bucket_count(void)
{
	uint32		n = 16;

	while (n * BUCKET_WAYS < (uint32) dp_guc_key_cache_size)
		n *= 2;
	return n;
}

static Size
secret_size(void)
{
	Size		page = (Size) sysconf(_SC_PAGESIZE);
	Size		size = sizeof(DpArenaEntry) * (MAX_EPOCHS + (Size) bucket_count() * BUCKET_WAYS) + DP_KEY_LEN;

	return (size + page - 1) / page * page;
}

/*
 * Map the memory that holds keys: secret memory where the kernel has it, else
 * anonymous shared memory, locked and kept out of core dumps.
 */
static void *
map_secret(Size size)
{
	void	   *map = MAP_FAILED;

#ifdef SYS_memfd_secret
	int			fd = (int) syscall(SYS_memfd_secret, 0);

	if (fd >= 0)
	{
		if (ftruncate(fd, (off_t) size) == 0)
			map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	if (map != MAP_FAILED)
	{
		arena_locked = true;
		return map;
	}
#endif
	map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map the key arena: %m"),
				 errhint("Reduce \"%s\".", "dataprotect.key_cache_size")));
	arena_locked = mlock(map, size) == 0;
	if (!arena_locked)
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not lock the key arena into memory: %m"),
				 errdetail("Keys may reach the swap space."),
				 errhint("Raise the limit of locked memory (LimitMEMLOCK, ulimit -l) or reduce \"%s\".",
						 "dataprotect.key_cache_size")));
	if (madvise(map, size, MADV_DONTDUMP) != 0)
		ereport(WARNING,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not keep the key arena out of core dumps: %m")));
	return map;
}

static void
attach(void *area, LWLockPadded *locks, bool is_new)
{
	shared = area;
	if (!is_new)
		return;
	pg_atomic_init_u64(&shared->key_generation, 1);
	pg_atomic_init_u64(&shared->policy_generation, 1);
	pg_atomic_init_u32(&shared->clock, 1);
	for (int i = 0; i < N_PARTITIONS; i++)
		shared->partition[i] = &locks[i].lock;
	shared->epoch_lock = &locks[N_PARTITIONS].lock;
	shared->control_lock = &locks[N_PARTITIONS + 1].lock;

	/* After a crash restart the postmaster has the mapping already. */
	if (epochs == NULL)
	{
		epochs = map_secret(secret_size());
		n_buckets = bucket_count();
		buckets = epochs + MAX_EPOCHS;
		wrapping_key = (uint8 *) (buckets + (Size) n_buckets * BUCKET_WAYS);
	}
	dp_secret_wipe(epochs, secret_size());
	shared->has_wrapping_key = dp_random_key(wrapping_key, DP_KEY_LEN);
}

/*
 * No core dump of, and no ptrace by peers to, a process that uses keys.  Not in
 * the postmaster: its children could no longer set their OOM score, which
 * Debian's packages have them do.
 */
void
dp_arena_shield_process(void)
{
	if (prctl(PR_SET_DUMPABLE, 0) != 0)
		ereport(WARNING,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not make a server process undumpable: %m")));
}

static void
authenticate_client(Port *port, int status)
{
	dp_arena_shield_process();
}

static const DpSubscriber subscriber = {
	.name = "arena",
	.client = authenticate_client,
};

void
dp_arena_init(void)
{
	dp_shmem_register("dataprotect arena", sizeof(DpArenaShared), N_PARTITIONS + 2, attach);
	dp_wrapped_keys_init();
	dp_statement_subscribe(&subscriber);
}

static DpArenaEntry *
bucket_of(uint64 key_id, LWLock **out_lock)
{
	uint32		b = (uint32) (key_id & (n_buckets - 1));

	*out_lock = shared->partition[b % N_PARTITIONS];
	return buckets + (Size) b * BUCKET_WAYS;
}

static bool
get_near(Oid database, uint64 key_id, TimestampTz now, DpArenaEntry *out)
{
	LWLock	   *lock;
	DpArenaEntry *bucket = bucket_of(key_id, &lock);
	bool		found = false;
	int			i;

	LWLockAcquire(lock, LW_SHARED);
	for (i = 0; i < BUCKET_WAYS; i++)
	{
		if (bucket[i].key_id == key_id && bucket[i].database == database)
		{
			found = bucket[i].expires_at > now;
			if (found)
			{
				/* A lost update of the clock costs nothing. */
				bucket[i].used = pg_atomic_fetch_add_u32(&shared->clock, 1);
				*out = bucket[i];
			}
			break;
		}
	}
	LWLockRelease(lock);
	return found;
}

static void
put_near(const DpArenaEntry *entry, uint64 generation)
{
	LWLock	   *lock;
	DpArenaEntry *bucket = bucket_of(entry->key_id, &lock);
	DpArenaEntry *victim = NULL;
	uint32		clock = pg_atomic_fetch_add_u32(&shared->clock, 1);
	int			i;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (generation == 0 || pg_atomic_read_u64(&shared->key_generation) == generation)
	{
		for (i = 0; i < BUCKET_WAYS; i++)
		{
			DpArenaEntry *e = &bucket[i];

			if (e->key_id == entry->key_id && e->database == entry->database)
			{
				victim = e;
				break;
			}
			if (victim == NULL || (victim->key_id != 0 &&
								   (e->key_id == 0 || clock - e->used > clock - victim->used)))
				victim = e;
		}
		*victim = *entry;
		victim->used = clock;
	}
	LWLockRelease(lock);
}

/* What keys behind the arena are wrapped under, for the caller to wipe; false where there is none. */
static bool
copy_wrapping_key(uint8 out[DP_KEY_LEN])
{
	bool		there;

	LWLockAcquire(shared->epoch_lock, LW_SHARED);
	there = shared->has_wrapping_key;
	memcpy(out, wrapping_key, DP_KEY_LEN);
	LWLockRelease(shared->epoch_lock);
	return there;
}

bool
dp_arena_get(Oid database, uint64 key_id, TimestampTz now, DpArenaEntry *out)
{
	uint64		generation = dp_arena_key_generation();
	uint8		wrapping[DP_KEY_LEN];
	bool		found;

	if (get_near(database, key_id, now, out))
		return true;
	found = copy_wrapping_key(wrapping) && dp_wrapped_keys_get(wrapping, database, key_id, now, generation, out);
	dp_secret_wipe(wrapping, sizeof(wrapping));
	if (found)
		put_near(out, generation);
	return found;
}

void
dp_arena_put(const DpArenaEntry *entry, uint64 generation)
{
	uint8		wrapping[DP_KEY_LEN];

	put_near(entry, generation);
	/* A key that was read before a commit that destroyed it is not wrapped under what came after. */
	if (copy_wrapping_key(wrapping) && (generation == 0 || dp_arena_key_generation() == generation))
		dp_wrapped_keys_put(wrapping, entry, generation != 0 ? generation : dp_arena_key_generation());
	dp_secret_wipe(wrapping, sizeof(wrapping));
}

/* What was wrapped under the old one opens no more.  Raises nothing: a commit is under way. */
static void
replace_wrapping_key(void)
{
	uint8		key[DP_KEY_LEN];
	bool		ok = dp_random_key(key, sizeof(key));

	LWLockAcquire(shared->epoch_lock, LW_EXCLUSIVE);
	memcpy(wrapping_key, key, DP_KEY_LEN);
	shared->has_wrapping_key = ok;
	LWLockRelease(shared->epoch_lock);
	dp_secret_wipe(key, sizeof(key));
}

bool
dp_arena_get_epoch(Oid database, uint64 key_id, TimestampTz now, DpArenaEntry *out)
{
	bool		found = false;
	int			i;

	LWLockAcquire(shared->epoch_lock, LW_SHARED);
	for (i = 0; i < MAX_EPOCHS && !found; i++)
	{
		if (epochs[i].key_id == key_id && epochs[i].database == database &&
			epochs[i].expires_at > now)
		{
			*out = epochs[i];
			found = true;
		}
	}
	LWLockRelease(shared->epoch_lock);
	return found;
}

bool
dp_arena_has_epoch(Oid database, uint64 key_id)
{
	DpArenaEntry entry;
	bool		found = dp_arena_get_epoch(database, key_id, GetCurrentTimestamp(), &entry);

	dp_secret_wipe(&entry, sizeof(entry));
	return found;
}

/* Called by the key agent. */
void
dp_arena_put_epoch(Oid database, uint64 key_id, const uint8 key[DP_KEY_LEN])
{
	TimestampTz now = GetCurrentTimestamp();
	DpArenaEntry *victim = NULL;
	int			i;

	LWLockAcquire(shared->epoch_lock, LW_EXCLUSIVE);
	for (i = 0; i < MAX_EPOCHS; i++)
	{
		DpArenaEntry *e = &epochs[i];

		if (e->key_id == key_id && e->database == database)
		{
			victim = e;
			break;
		}
		if (victim == NULL || (victim->key_id != 0 &&
							   (e->key_id == 0 || e->expires_at < victim->expires_at)))
			victim = e;
	}
	victim->key_id = key_id;
	victim->database = database;
	victim->family = 0;
	victim->purpose = DP_PURPOSE_EPOCH;
	victim->state = 'a';
	victim->has_key = true;
	victim->refresh_at = now + (TimestampTz) dp_guc_key_cache_soft_ttl * USECS_PER_SEC;
	victim->expires_at = now + (TimestampTz) dp_guc_key_cache_hard_ttl * USECS_PER_SEC;
	memcpy(victim->key, key, DP_KEY_LEN);
	LWLockRelease(shared->epoch_lock);
}

void
dp_arena_drop_epoch(Oid database, uint64 key_id)
{
	LWLockAcquire(shared->epoch_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_EPOCHS; i++)
	{
		if (epochs[i].key_id == key_id && epochs[i].database == database)
			dp_secret_wipe(&epochs[i], sizeof(DpArenaEntry));
	}
	LWLockRelease(shared->epoch_lock);
}

void
dp_arena_shorten_epoch(Oid database, uint64 key_id, TimestampTz until)
{
	LWLockAcquire(shared->epoch_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_EPOCHS; i++)
	{
		if (epochs[i].key_id == key_id && epochs[i].database == database)
			epochs[i].expires_at = Min(epochs[i].expires_at, until);
	}
	LWLockRelease(shared->epoch_lock);
}

void
dp_arena_sweep_epochs(void)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(shared->epoch_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_EPOCHS; i++)
	{
		if (epochs[i].key_id != 0 && epochs[i].expires_at <= now)
			dp_secret_wipe(&epochs[i], sizeof(DpArenaEntry));
	}
	LWLockRelease(shared->epoch_lock);
}

void
dp_arena_purge(Oid database)
{
	uint32		b;

	replace_wrapping_key();
	for (b = 0; b < n_buckets; b++)
	{
		DpArenaEntry *bucket = buckets + (Size) b * BUCKET_WAYS;
		LWLock	   *lock = shared->partition[b % N_PARTITIONS];
		int			i;

		LWLockAcquire(lock, LW_EXCLUSIVE);
		for (i = 0; i < BUCKET_WAYS; i++)
		{
			if (bucket[i].key_id != 0 && bucket[i].database == database)
				dp_secret_wipe(&bucket[i], sizeof(DpArenaEntry));
		}
		LWLockRelease(lock);
	}
}

void
dp_arena_purge_epochs(Oid database)
{
	LWLockAcquire(shared->epoch_lock, LW_EXCLUSIVE);
	for (int i = 0; i < MAX_EPOCHS; i++)
	{
		if (epochs[i].key_id != 0 && epochs[i].database == database)
			dp_secret_wipe(&epochs[i], sizeof(DpArenaEntry));
	}
	LWLockRelease(shared->epoch_lock);
}

static DatabaseSlot *
database_slot(Oid database, bool create)
{
	DatabaseSlot *free_slot = NULL;
	int			i;

	for (i = 0; i < MAX_DATABASES; i++)
	{
		if (shared->databases[i].database == database)
			return &shared->databases[i];
		if (free_slot == NULL && shared->databases[i].database == InvalidOid)
			free_slot = &shared->databases[i];
	}
	if (create && free_slot != NULL)
		free_slot->database = database;
	return create ? free_slot : NULL;
}

bool
dp_arena_get_system(Oid database, DpSystemKeys *out)
{
	DatabaseSlot *slot;
	bool		found;

	LWLockAcquire(shared->control_lock, LW_SHARED);
	slot = database_slot(database, false);
	found = slot != NULL && slot->keys.prf != 0;
	if (found)
		*out = slot->keys;
	LWLockRelease(shared->control_lock);
	return found;
}

void
dp_arena_put_system(Oid database, const DpSystemKeys *keys)
{
	DatabaseSlot *slot;

	LWLockAcquire(shared->control_lock, LW_EXCLUSIVE);
	slot = database_slot(database, true);
	if (slot != NULL)
		slot->keys = *keys;
	LWLockRelease(shared->control_lock);
}

uint64
dp_arena_key_generation(void)
{
	return pg_atomic_read_u64(&shared->key_generation);
}

uint64
dp_arena_policy_generation(void)
{
	return pg_atomic_read_u64(&shared->policy_generation);
}

void
dp_arena_bump_keys(void)
{
	pg_atomic_fetch_add_u64(&shared->key_generation, 1);
}

void
dp_arena_bump_policy(void)
{
	pg_atomic_fetch_add_u64(&shared->policy_generation, 1);
}

bool
dp_arena_pop_spare(Oid database, int32 family, uint64 *out_key_id)
{
	bool		found = false;
	int			i;

	LWLockAcquire(shared->control_lock, LW_EXCLUSIVE);
	for (i = 0; i < MAX_POOLS && !found; i++)
	{
		SparePool  *pool = &shared->pools[i];

		if (pool->database == database && pool->family == family && pool->n > 0)
		{
			*out_key_id = pool->key_id[--pool->n];
			found = true;
		}
	}
	LWLockRelease(shared->control_lock);
	return found;
}

void
dp_arena_push_spares(Oid database, int32 family, const uint64 *key_ids, int n)
{
	SparePool  *pool = NULL;
	int			i;

	LWLockAcquire(shared->control_lock, LW_EXCLUSIVE);
	for (i = 0; i < MAX_POOLS && pool == NULL; i++)
	{
		if (shared->pools[i].database == database && shared->pools[i].family == family)
			pool = &shared->pools[i];
	}
	if (pool == NULL)
	{
		/* The pools go round: what is pushed out is only never claimed. */
		pool = &shared->pools[shared->next_pool];
		shared->next_pool = (shared->next_pool + 1) % MAX_POOLS;
		pool->database = database;
		pool->family = family;
		pool->n = 0;
	}
	for (i = 0; i < n && pool->n < POOL_SIZE; i++)
		pool->key_id[pool->n++] = key_ids[i];
	LWLockRelease(shared->control_lock);
}

static SealBudget *
find_budget(Oid database, uint64 key_id)
{
	int			i;

	for (i = 0; i < MAX_BUDGETS; i++)
	{
		if (shared->budgets[i].key_id == key_id && shared->budgets[i].database == database)
			return &shared->budgets[i];
	}
	return NULL;
}

uint32
dp_arena_take_seals(Oid database, uint64 key_id, uint32 max)
{
	SealBudget *budget;
	uint32		taken = 0;

	LWLockAcquire(shared->control_lock, LW_EXCLUSIVE);
	budget = find_budget(database, key_id);
	if (budget != NULL)
	{
		taken = Min(budget->left, max);
		budget->left -= taken;
	}
	LWLockRelease(shared->control_lock);
	return taken;
}

void
dp_arena_add_seals(Oid database, uint64 key_id, uint32 n)
{
	SealBudget *budget;

	LWLockAcquire(shared->control_lock, LW_EXCLUSIVE);
	budget = find_budget(database, key_id);
	if (budget == NULL)
	{
		/* What is pushed out was counted and is only never used. */
		budget = &shared->budgets[shared->next_budget];
		shared->next_budget = (shared->next_budget + 1) % MAX_BUDGETS;
		budget->database = database;
		budget->key_id = key_id;
		budget->left = 0;
	}
	budget->left += n;
	LWLockRelease(shared->control_lock);
}

/* dataprotect._memory_locked() returns bool: are keys kept out of swap space? */
Datum
dp_arena_locked_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(arena_locked);
}
