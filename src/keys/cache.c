/*
 * cache.c
 *	  Keys by id: this backend's contexts, then the arena, then the tables and
 *	  the key agent.
 *
 * A local slot holds what is needed to use a key without a lock: its scheduled
 * cipher contexts, its family, whether it may be read.  A key may stand in either of
 * two buckets, which its id names; there are few of them until one is full, as in a
 * session that meets many accounts.  A pinned slot that another key displaces moves
 * into a table beside them, for under a page lock it could not be loaded again.
 * Everything local is forgotten when the shared key generation moves, which happens
 * after the commit of any change of keys.
 *
 * Whoever looks up a key may make another one's slot move or go: no pointer to a slot,
 * and no context of a key, outlives the next look.
 *
 *	slot states:	free -> known (row read: family, state) -> keyed (contexts ready)
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/secret.h"
#include "base/worker.h"
#include "keys/arena.h"
#include "keys/catalog.h"
#include "keys/generation.h"
#include "keys/held_keys.h"
#include "keys/keys.h"
#include "keys/keys_internal.h"
#include "keys/policy_root.h"
#include "kms/kms.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define WAYS		4			/* slots of a bucket */
#define FEW_BUCKETS	32			/* powers of two */
#define MANY_BUCKETS	512

typedef struct LocalSlot
{
	uint64		key_id;			/* 0: free */
	int32		family;
	DpKeyPurpose purpose;
	bool		readable;		/* for DP_USE_READ */
	bool		maintainable;	/* for DP_USE_MAINTAIN */
	bool		keyed;
	bool		pinned;			/* an ordered index that is open may need it */
	bool		judged;			/* whether it is readable was found out; else for one use only */
	TimestampTz refresh_at;
	TimestampTz expires_at;
	TimestampTz over_at;		/* of an expiring key's period; 0: none */
	DpAead	   *aead;			/* kept over uses, re-keyed; NULL until first */
} LocalSlot;

static LocalSlot few_slots[FEW_BUCKETS * WAYS];
static LocalSlot *slots = few_slots;	/* those, or more in TopMemoryContext */
static uint32 n_buckets = FEW_BUCKETS;
static uint32 next_victim = 0;
static HTAB *displaced = NULL;	/* key id -> LocalSlot; pinned ones only */

static inline LocalSlot *
bucket(uint64 key_id, int which)
{
	return &slots[((which == 0 ? key_id : key_id >> 32) & (n_buckets - 1)) * WAYS];
}

/* The slot of a key, or NULL; of id 0, of a free one in the key's buckets. */
static inline LocalSlot *
look_for(uint64 key_id, uint64 wanted)
{
	for (int which = 0; which < 2; which++)
	{
		LocalSlot  *slot = bucket(key_id, which);

		for (int i = 0; i < WAYS; i++)
		{
			if (slot[i].key_id == wanted)
				return &slot[i];
		}
	}
	return NULL;
}

static void
forget_displaced(void)
{
	HASH_SEQ_STATUS seq;
	LocalSlot  *slot;

	if (displaced == NULL)
		return;
	hash_seq_init(&seq, displaced);
	while ((slot = hash_seq_search(&seq)) != NULL)
		dp_aead_free(slot->aead);
	hash_destroy(displaced);
	displaced = NULL;
}

/* Make room in a slot. */
static void
displace_pinned(LocalSlot *slot)
{
	LocalSlot  *copy;
	bool		found;

	if (slot->key_id == 0 || !slot->pinned)
		return;
	if (displaced == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(uint64);
		ctl.entrysize = sizeof(LocalSlot);
		ctl.hcxt = TopMemoryContext;
		displaced = hash_create("dataprotect pinned keys", 16, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	copy = hash_search(displaced, &slot->key_id, HASH_ENTER, &found);
	if (found)
		dp_aead_free(copy->aead);	/* it had expired */
	*copy = *slot;
	slot->aead = NULL;			/* the copy has it now */
	slot->keyed = slot->pinned = false;
	slot->key_id = 0;
}

static LocalSlot *
find_displaced(uint64 key_id, TimestampTz now)
{
	LocalSlot  *slot = NULL;

	if (displaced != NULL)
		slot = hash_search(displaced, &key_id, HASH_FIND, NULL);
	return slot != NULL && slot->expires_at > now ? slot : NULL;
}

/* Slots for many keys, with what is known; not where there is no memory for them. */
static void
make_many(void)
{
	LocalSlot  *old = slots;
	LocalSlot  *many = MemoryContextAllocExtended(TopMemoryContext, sizeof(LocalSlot) * MANY_BUCKETS * WAYS,
												  MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);

	if (many == NULL)
		return;
	slots = many;
	n_buckets = MANY_BUCKETS;
	for (int i = 0; i < FEW_BUCKETS * WAYS; i++)
	{
		LocalSlot  *slot = old[i].key_id != 0 ? look_for(old[i].key_id, 0) : NULL;

		if (slot != NULL)
			*slot = old[i];
		else
			dp_aead_free(old[i].aead);
	}
	memset(old, 0, sizeof(few_slots));
}

static void
forget_many(void)
{
	for (uint32 i = 0; i < n_buckets * WAYS; i++)
		dp_aead_free(slots[i].aead);
	pfree(slots);
	slots = few_slots;
	n_buckets = FEW_BUCKETS;
}

/* An empty slot for a key, whatever stood there before. */
static LocalSlot *
place_for(uint64 key_id)
{
	LocalSlot  *slot = look_for(key_id, key_id);

	if (slot == NULL && (slot = look_for(key_id, 0)) == NULL && n_buckets == FEW_BUCKETS)
	{
		make_many();
		slot = look_for(key_id, 0);
	}
	if (slot == NULL)
	{
		slot = bucket(key_id, next_victim & 1) + (next_victim >> 1) % WAYS;
		next_victim++;
	}
	displace_pinned(slot);
	if (slot->keyed)
		dp_aead_clear(slot->aead);
	slot->keyed = false;
	slot->key_id = 0;
	return slot;
}

static void
forget_slots(void)
{
	int			i;

	forget_displaced();
	if (slots != few_slots)
		forget_many();

	for (i = 0; i < lengthof(few_slots); i++)
	{
		LocalSlot  *slot = &few_slots[i];

		if (slot->key_id == 0)
			continue;
		if (slot->keyed)
			dp_aead_clear(slot->aead);
		slot->keyed = false;
		slot->pinned = false;
		slot->key_id = 0;
	}
}

/* Start of the statement: what caches compare with, without a system call. */
static TimestampTz
statement_now(void)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();

	return now != 0 ? now : GetCurrentTimestamp();
}

static bool
family_is_active(int32 family)
{
	return family == 0 || dp_keys_family(family)->state == DP_KEY_ACTIVE;
}

/* Its row is not what an administrator made it: nothing is read under the key. */
static bool
family_is_closed(int32 family)
{
	return family != 0 && dp_policy_whole(DP_SEALED_KEY, family) == DP_SEAL_BAD;
}

static bool
family_is_gone(int32 family)
{
	return family != 0 && dp_keys_family(family)->state == DP_KEY_DESTROYED;
}

/* Clients' processes are shielded when they log in; the others, here. */
static void
shield_worker(void)
{
	static bool shielded = false;

	if (!shielded)
		dp_arena_shield_process();
	shielded = true;
}

static void
schedule(LocalSlot *slot, const uint8 key[DP_KEY_LEN])
{
	dp_keys_hold();
	if (slot->aead == NULL)
		slot->aead = dp_aead_new(key);
	else if (!dp_aead_rekey(slot->aead, key))
	{
		dp_aead_free(slot->aead);
		slot->aead = NULL;
	}
	if (slot->aead == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not prepare a cipher context")));
	slot->keyed = true;
}

/*
 * May it be found out under a page lock whether a key is readable?  VACUUM, which compares
 * there, has loaded nothing before: maintenance goes without.
 */
static bool
may_judge(const DpArenaEntry *entry, bool in_comparator)
{
	return !in_comparator || entry->family == 0 ||
		(dp_keys_family_is_cached(entry->family) && dp_policy_is_known(DP_SEALED_KEY, entry->family));
}

static LocalSlot *
fill_slot(const DpArenaEntry *entry, bool judged)
{
	/* asked before there is a slot: the answers may need keys of their own */
	bool		gone = !entry->has_key || (judged && family_is_gone(entry->family));
	bool		readable = judged && !gone && entry->state != DP_KEY_SUSPENDED && family_is_active(entry->family) &&
		!family_is_closed(entry->family);
	LocalSlot  *slot;

	if (!IsUnderPostmaster || MyProcPort == NULL)
		shield_worker();
	slot = place_for(entry->key_id);
	slot->family = entry->family;
	slot->purpose = (DpKeyPurpose) entry->purpose;
	slot->maintainable = !gone;
	slot->readable = readable;
	slot->refresh_at = entry->refresh_at;
	slot->expires_at = judged ? entry->expires_at : DT_NOBEGIN;
	slot->judged = judged;
	slot->over_at = entry->over_at;
	slot->keyed = false;
	slot->pinned = false;
	if (!gone)
		schedule(slot, entry->key);
	slot->key_id = entry->key_id;
	return slot;
}

/*
 * A key found in the arena past its soft TTL: have its epoch key refreshed, and
 * let nobody else ask for this one until the next soft TTL.
 */
static void
refresh_arena_entry(DpArenaEntry *entry, uint64 generation, TimestampTz now)
{
	entry->refresh_at = now + (TimestampTz) dp_guc_key_cache_soft_ttl * USECS_PER_SEC;
	dp_arena_put(entry, generation);
	dp_keys_refresh_epoch(entry->key_id);
}

bool
dp_keys_is_open_literal(uint64 key_id)
{
	return key_id == DP_OPEN_LITERAL_ID;
}

/*
 * The key of literals in a database that has none: DEFAULTs and views of a dump
 * are restored before its keys are.  It hides nothing; a definition shows its
 * literals anyway, and no column ever holds one.
 */
static void
make_open_literal(DpArenaEntry *entry)
{
	memset(entry, 0, sizeof(*entry));
	entry->key_id = DP_OPEN_LITERAL_ID;
	entry->purpose = DP_PURPOSE_LITERAL;
	entry->state = DP_KEY_ACTIVE;
	entry->has_key = true;
	entry->refresh_at = entry->expires_at = DT_NOEND;
}

/*
 * On a standby nobody purges the arena while no session is there to hear of a
 * replayed change: rows are asked, except under a page lock.
 */
static bool
find_in_arena(uint64 key_id, bool in_comparator, TimestampTz now, DpArenaEntry *entry)
{
	return (in_comparator || !RecoveryInProgress()) &&
		dp_arena_get(MyDatabaseId, key_id, now, entry);
}

/* A key by id: from the arena, else from its row, which a page lock rules out. */
static void
read_entry(uint64 key_id, bool in_comparator, TimestampTz now, DpArenaEntry *entry)
{
	if (key_id == DP_OPEN_LITERAL_ID)
		make_open_literal(entry);
	else if (!find_in_arena(key_id, in_comparator, now, entry))
	{
		if (in_comparator)
		{
			dp_worker_wake(MyDatabaseId, DP_INDEX_KEYS_WORKER);
			dp_keys_report_retry();
		}
		dp_keys_load_row(key_id, entry);
	}
}

/*
 * Load a slot.  Where keys change meanwhile, what was read is still no older than
 * the look that asked, and lasts no longer: see dp_keys_looks.
 */
static LocalSlot *
load_slot(uint64 key_id, bool in_comparator, TimestampTz now)
{
	LocalSlot  *volatile slot = NULL;
	uint64		generation = dp_keys_cached_generation;
	TimestampTz began = GetCurrentTimestamp();
	DpArenaEntry entry;

	dp_keys_looks++;
	PG_TRY();
	{
		read_entry(key_id, in_comparator, now, &entry);
		if (entry.refresh_at <= now && !in_comparator)
			refresh_arena_entry(&entry, generation, now);
		slot = fill_slot(&entry, may_judge(&entry, in_comparator));
	}
	PG_FINALLY();
	{
		dp_keys_looks--;
		dp_secret_wipe(&entry, sizeof(entry));
	}
	PG_END_TRY();
	dp_look_took(&dp_keys_kept, began);
	return slot;
}

static inline LocalSlot *
find_slot(uint64 key_id, bool in_comparator)
{
	TimestampTz now = statement_now();
	LocalSlot  *slot;

	dp_keys_follow_generation();
	slot = look_for(key_id, key_id);
	if (likely(slot != NULL && slot->expires_at > now))
	{
		if (unlikely(slot->refresh_at <= now) && !in_comparator)
		{
			slot->refresh_at = now + USECS_PER_SEC; /* ask at most once a second */
			dp_keys_refresh_epoch(key_id);
			slot = look_for(key_id, key_id);	/* that has looked up keys */
			if (slot == NULL)
				return load_slot(key_id, in_comparator, now);
		}
		return slot;
	}
	if (unlikely(displaced != NULL))
	{
		LocalSlot  *kept = find_displaced(key_id, now);

		if (kept != NULL)
			return kept;
	}
	return load_slot(key_id, in_comparator, now);
}

/* Load a key and keep it until keys change; where it is unreadable, nothing. */
void
dp_keys_pin(uint64 key_id)
{
	LocalSlot  *slot = find_slot(key_id, false);

	slot->pinned = true;
}

DpKeyStatus
dp_keys_get(uint64 key_id, DpKeyUse use, bool in_comparator, DpKey *out)
{
	LocalSlot  *slot = find_slot(key_id, in_comparator);
	bool		over = false;
	bool		usable;

	if (unlikely(slot->over_at != 0))
	{
		over = dp_keys_is_over(slot->over_at, !in_comparator);
		slot = find_slot(key_id, in_comparator);	/* a look at the clock's record may void slots */
	}
	if (unlikely(!slot->judged && use == DP_USE_READ))
		dp_keys_report_retry();
	usable = !over && (use == DP_USE_READ ? slot->readable : slot->maintainable);
	out->key_id = key_id;
	out->family = slot->family;
	out->purpose = slot->purpose;
	out->aead = usable && slot->keyed ? slot->aead : NULL;
	return out->aead != NULL ? DP_KEY_OK : DP_KEY_UNREADABLE;
}

/*
 * Which family a value belongs to, without needing its key: what decides about
 * access must work while the KMS is away.
 */
int32
dp_keys_family_of(uint64 key_id, bool in_comparator, DpKeyPurpose *out_purpose)
{
	LocalSlot  *slot;
	DpVersionRow row;
	DpArenaEntry entry;
	int32		family;

	dp_keys_follow_generation();
	slot = look_for(key_id, key_id);
	if (likely(slot != NULL))
	{
		*out_purpose = slot->purpose;
		return slot->family;
	}
	if (in_comparator)
	{
		slot = find_slot(key_id, true);
		*out_purpose = slot->purpose;
		return slot->family;
	}
	if (key_id == DP_OPEN_LITERAL_ID)
	{
		*out_purpose = DP_PURPOSE_LITERAL;
		return 0;
	}
	/* A key that is in use belongs to whom its row said when it was loaded. */
	if (find_in_arena(key_id, false, statement_now(), &entry))
	{
		*out_purpose = (DpKeyPurpose) entry.purpose;
		family = entry.family;
		dp_secret_wipe(&entry, sizeof(entry));
		return family;
	}
	if (!dp_keys_read_version(key_id, &row))
		dp_keys_report_missing();
	*out_purpose = (DpKeyPurpose) row.purpose;
	return row.family;
}

bool
dp_keys_renew_version(DpFamily *family)
{
	DpKey		key;

	if (!family->has_keep || family->state != DP_KEY_ACTIVE ||
		dp_keys_get(family->current_key_id, DP_USE_READ, false, &key) == DP_KEY_OK)
		return true;
	(void) dp_keys_autonomous("SELECT dataprotect._rotate_due()", true);
	dp_keys_forget();
	*family = *dp_keys_family(family->family);
	return dp_keys_get(family->current_key_id, DP_USE_READ, false, &key) == DP_KEY_OK;
}

static void
report_unsealable(const DpFamily *family)
{
	if (family->state == DP_KEY_ACTIVE && family->has_keep && !family_is_closed(family->family))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the period of key \"%s\" is over", NameStr(family->name)),
				 errdetail("Nothing can be written under it before it has another version."),
				 errhint("See whether the clock of this server is right: dataprotect.clock_status.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("key \"%s\" is %s", NameStr(family->name),
					family->state == DP_KEY_DESTROYED ? "destroyed" :
					family->state == DP_KEY_SUSPENDED ? "suspended" : "closed"),
			 errdetail("Nothing can be written under it."),
			 family->state == DP_KEY_ACTIVE ?
			 errhint("Its row was changed by somebody else than the extension: see dataprotect.verify_policy().") :
			 errhint("See dataprotect.keys for the reason.")));
}

void
dp_keys_for_seal(const DpFamily *family, DpKey *out)
{
	DpFamily	copy = *family;
	int			attempt;

	for (attempt = 0; attempt < 20; attempt++)
	{
		if (unlikely(copy.has_keep))
			(void) dp_keys_renew_version(&copy);
		if (copy.state != DP_KEY_ACTIVE || copy.current_key_id == 0 ||
			dp_keys_get(copy.current_key_id, DP_USE_READ, false, out) != DP_KEY_OK)
			report_unsealable(&copy);
		if (likely(dp_keys_take_seal(copy.current_key_id)))
			return;
		if (!dp_keys_refill_seals(copy.current_key_id))
			dp_keys_forget();	/* there is a new version */
		copy = *dp_keys_family(copy.family);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("could not reserve the use of key \"%s\"", NameStr(copy.name)),
			 errhint("Retry the statement.")));
}

void
dp_keys_cache_init(void)
{
	dp_keys_on_forget(forget_slots);
	dp_keys_on_let_go(forget_slots);
}
