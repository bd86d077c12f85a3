/*
 * cache.c
 *	  Keys by id: this backend's contexts, then the arena, then the tables and
 *	  the key agent.
 *
 * A local slot holds what is needed to use a key without a lock: its scheduled
 * cipher contexts, its family, whether it may be read.  Slots are direct-mapped
 * by key id.  Everything local is forgotten when the shared key generation
 * moves, which happens after the commit of any change of keys.
 *
 *	slot states:	free -> known (row read: family, state) -> keyed (contexts ready)
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/secret.h"
#include "keys/arena.h"
#include "keys/catalog.h"
#include "keys/internal.h"
#include "keys/keys.h"
#include "kms/kms.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define N_SLOTS 128				/* a power of two */

#define OPEN_LITERAL_ID UINT64CONST(0x6f70656e6c697465)

typedef struct LocalSlot
{
	uint64		key_id;			/* 0: free */
	int32		family;
	DpKeyPurpose purpose;
	bool		readable;		/* for DP_USE_READ */
	bool		maintainable;	/* for DP_USE_MAINTAIN */
	bool		keyed;
	uint32		seals_left;		/* of this backend's allowance */
	TimestampTz refresh_at;
	TimestampTz expires_at;
	DpAead	   *aead;			/* kept over uses, re-keyed; NULL until first */
} LocalSlot;

static LocalSlot slots[N_SLOTS];
static uint64 local_generation = 0;
static uint64 local_changes = 0;	/* calls of dp_keys_forget() */
static HTAB *families = NULL;	/* int32 -> DpFamily */
static const DpFamily *last_family = NULL;	/* found last; in families */
static DpSystemKeys system_keys;
static bool system_keys_known = false;
static DpPrf *prf = NULL;
static uint64 prf_key_id = 0;
static DpPrf *chain = NULL;
static uint64 chain_key_id = 0;

static void
forget_all(void)
{
	int			i;

	for (i = 0; i < N_SLOTS; i++)
	{
		LocalSlot  *slot = &slots[i];

		if (slot->key_id == 0)
			continue;
		if (slot->keyed)
			dp_aead_clear(slot->aead);
		slot->keyed = false;
		slot->key_id = 0;
	}
	if (families != NULL)
	{
		hash_destroy(families);
		families = NULL;
		last_family = NULL;
	}
	system_keys_known = false;
	/* The search PRF stays: its key has no state, and its id is compared. */
	dp_prf_free(chain);
	chain = NULL;
}

static inline void
follow_generation(void)
{
	uint64		generation = dp_arena_key_generation();

	if (unlikely(generation != local_generation))
	{
		forget_all();
		local_generation = generation;
	}
}

/* Rows changed in this transaction, or, on a standby, by replay. */
void
dp_keys_forget(void)
{
	local_generation = 0;
	local_changes++;
}

uint64
dp_keys_local_changes(void)
{
	return local_changes;
}

static inline TimestampTz
statement_now(void)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();

	return now != 0 ? now : GetCurrentTimestamp();
}

static void
report_missing_key(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the key of a protected value does not exist in this database"),
			 errhint("Values moved between databases need their keys moved too: see dataprotect.export_keys().")));
}

/* Name a family in an error, whatever state things are in. */
static const char *
family_label(int32 family)
{
	DpFamily	row;

	if (family == 0)
		return "system";
	return dp_catalog_read_family(family, &row) ? pstrdup(NameStr(row.name)) : "?";
}

/* Load an epoch key into the arena through the agent, or raise an error. */
static void
fetch_epoch(uint64 epoch, int32 family)
{
	DpEpochRow	row;
	DpKmsError	error;

	if (!dp_catalog_read_epoch(epoch, &row))
		report_missing_key();
	if (!dp_kms_fetch(MyDatabaseId, &row.context, (const char *const *) row.uris, row.blobs,
					  row.n_uris, &error))
		ereport(ERROR,
				(errcode(error.sqlstate),
				 errmsg("could not fetch key \"%s\" from KMS", family_label(family)),
				 errdetail("KMS \"%s\": %s", error.uri, error.detail),
				 errhint("Unprotected tables work. Values under this key can be read again as soon as the KMS answers; no restart is needed.")));
}

/* Copy out an epoch key; the caller wipes it. */
void
dp_keys_get_epoch(uint64 epoch, int32 family, DpArenaEntry *out)
{
	int			attempt;

	for (attempt = 0; attempt < 3; attempt++)
	{
		if (dp_arena_get_epoch(MyDatabaseId, epoch, GetCurrentTimestamp(), out))
			return;
		fetch_epoch(epoch, family);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("could not keep key \"%s\" in the key cache", family_label(family)),
			 errhint("Raise \"%s\" or the hard TTL.", "dataprotect.key_cache_size")));
}

static void
refresh_epoch(uint64 key_id)
{
	DpVersionRow version;
	DpEpochRow	row;

	if (dp_catalog_read_version(key_id, &version) && dp_catalog_read_epoch(version.epoch, &row))
		dp_kms_refresh(MyDatabaseId, &row.context, (const char *const *) row.uris, row.blobs,
					   row.n_uris);
}

/*
 * The bytes that authenticate a wrapped key, big endian:
 * database uid (16) | key id (8) | purpose (1) | version (4).
 */
void
dp_keys_wrap_context(const uint8 uid[16], uint64 key_id, int purpose, int32 version,
					 uint8 out[DP_WRAP_CONTEXT_LEN])
{
	int			i;

	memcpy(out, uid, 16);
	for (i = 0; i < 8; i++)
		out[16 + i] = (uint8) (key_id >> (56 - 8 * i));
	out[24] = (uint8) purpose;
	for (i = 0; i < 4; i++)
		out[25 + i] = (uint8) ((uint32) version >> (24 - 8 * i));
}

/* Unwrap a row's key under its epoch key and check its id. */
static void
unwrap_row(const DpVersionRow *row, DpArenaEntry *entry)
{
	DpArenaEntry epoch;
	uint8		uid[16];
	uint8		context[DP_WRAP_CONTEXT_LEN];
	uint64		key_id;
	bool		ok;

	dp_catalog_database_uid(uid);
	dp_keys_get_epoch(row->epoch, row->family, &epoch);
	dp_keys_wrap_context(uid, row->key_id, row->purpose, row->version, context);
	ok = dp_key_unwrap(epoch.key, context, sizeof(context), row->wrapped, DP_WRAPPED_LEN, entry->key) &&
		dp_key_id(entry->key, (DpKeyPurpose) row->purpose, &key_id) && key_id == row->key_id;
	entry->refresh_at = epoch.refresh_at;
	entry->expires_at = epoch.expires_at;
	dp_secret_wipe(&epoch, sizeof(epoch));
	if (!ok)
	{
		dp_secret_wipe(entry->key, DP_KEY_LEN);
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a wrapped key of \"%s\" does not open", family_label(row->family)),
				 errhint("The key tables were altered or belong to another database.")));
	}
}

/*
 * Key from its row, put into the arena as well.  A change that commits while
 * we read keeps the arena free of what we read: the generation says so.
 */
static void
load_from_row(uint64 key_id, DpArenaEntry *entry)
{
	uint64		generation = dp_arena_key_generation();
	DpVersionRow row;

	if (!dp_catalog_read_version(key_id, &row))
		report_missing_key();
	memset(entry, 0, sizeof(*entry));
	entry->key_id = key_id;
	entry->database = MyDatabaseId;
	entry->family = row.family;
	entry->purpose = (uint8) row.purpose;
	entry->state = row.state;
	entry->has_key = row.state != DP_KEY_DESTROYED && row.has_wrapped;
	if (entry->has_key)
		unwrap_row(&row, entry);
	else
		entry->refresh_at = entry->expires_at = DT_NOEND;
	if (row.purpose != DP_PURPOSE_SUBJECT || !RecoveryInProgress())
		dp_arena_put(entry, generation);
}

/* Under a page lock nothing may be read from a table. */
static void
report_retry(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("a key needed by an index was not in the key cache"),
			 errhint("Retry the statement.")));
}

static bool
family_is_active(int32 family)
{
	return family == 0 || dp_keys_family(family)->state == DP_KEY_ACTIVE;
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
fill_slot(LocalSlot *slot, const DpArenaEntry *entry)
{
	bool		gone = !entry->has_key || family_is_gone(entry->family);

	if (!IsUnderPostmaster || MyProcPort == NULL)
		shield_worker();
	slot->family = entry->family;
	slot->purpose = (DpKeyPurpose) entry->purpose;
	slot->maintainable = !gone;
	slot->readable = !gone && entry->state != DP_KEY_SUSPENDED && family_is_active(entry->family);
	slot->refresh_at = entry->refresh_at;
	slot->expires_at = entry->expires_at;
	slot->keyed = false;
	slot->seals_left = 0;
	if (!gone)
	{
		if (slot->aead == NULL)
			slot->aead = dp_aead_new(entry->key);
		else if (!dp_aead_rekey(slot->aead, entry->key))
		{
			dp_aead_free(slot->aead);
			slot->aead = NULL;
		}
		if (slot->aead == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not prepare a cipher context")));
		slot->keyed = true;
	}
	slot->key_id = entry->key_id;
}

static bool
family_is_cached(int32 family)
{
	return family == 0 ||
		(families != NULL && hash_search(families, &family, HASH_FIND, NULL) != NULL);
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
	refresh_epoch(entry->key_id);
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
	entry->key_id = OPEN_LITERAL_ID;
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

/*
 * Load a slot once.  False where keys changed meanwhile: what was read is stale,
 * and nothing would forget it again.
 */
static bool
try_load_slot(LocalSlot *slot, uint64 key_id, bool in_comparator, TimestampTz now)
{
	uint64		generation = local_generation;
	DpArenaEntry entry;

	slot->key_id = 0;
	if (key_id == OPEN_LITERAL_ID)
		make_open_literal(&entry);
	else if (!find_in_arena(key_id, in_comparator, now, &entry))
	{
		if (in_comparator)
			report_retry();
		load_from_row(key_id, &entry);
	}
	else if (in_comparator && !family_is_cached(entry.family))
	{
		dp_secret_wipe(&entry, sizeof(entry));
		report_retry();
	}
	PG_TRY();
	{
		if (entry.refresh_at <= now && !in_comparator)
			refresh_arena_entry(&entry, generation, now);
		fill_slot(slot, &entry);
	}
	PG_FINALLY();
	{
		dp_secret_wipe(&entry, sizeof(entry));
	}
	PG_END_TRY();
	return dp_arena_key_generation() == generation;
}

static LocalSlot *
load_slot(LocalSlot *slot, uint64 key_id, bool in_comparator, TimestampTz now)
{
	while (!try_load_slot(slot, key_id, in_comparator, now))
	{
		local_generation = 0;
		if (in_comparator)
			report_retry();
		CHECK_FOR_INTERRUPTS();
		follow_generation();
	}
	return slot;
}

static inline LocalSlot *
find_slot(uint64 key_id, bool in_comparator)
{
	LocalSlot  *slot = &slots[key_id & (N_SLOTS - 1)];
	TimestampTz now = statement_now();

	follow_generation();
	if (likely(slot->key_id == key_id && slot->expires_at > now))
	{
		if (unlikely(slot->refresh_at <= now) && !in_comparator)
		{
			slot->refresh_at = now + USECS_PER_SEC; /* ask at most once a second */
			refresh_epoch(key_id);
		}
		return slot;
	}
	return load_slot(slot, key_id, in_comparator, now);
}

DpKeyStatus
dp_keys_get(uint64 key_id, DpKeyUse use, bool in_comparator, DpKey *out)
{
	LocalSlot  *slot = find_slot(key_id, in_comparator);
	bool		usable = use == DP_USE_READ ? slot->readable : slot->maintainable;

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
	LocalSlot  *slot = &slots[key_id & (N_SLOTS - 1)];
	DpVersionRow row;

	follow_generation();
	if (likely(slot->key_id == key_id))
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
	if (key_id == OPEN_LITERAL_ID)
	{
		*out_purpose = DP_PURPOSE_LITERAL;
		return 0;
	}
	if (!dp_catalog_read_version(key_id, &row))
		report_missing_key();
	*out_purpose = (DpKeyPurpose) row.purpose;
	return row.family;
}

static const DpFamily *
remember_family(const DpFamily *row)
{
	DpFamily   *entry;

	if (families == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(int32);
		ctl.entrysize = sizeof(DpFamily);
		ctl.hcxt = TopMemoryContext;
		families = hash_create("dataprotect families", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(families, &row->family, HASH_ENTER, NULL);
	*entry = *row;
	return entry;
}

const DpFamily *
dp_keys_family(int32 family)
{
	const DpFamily *entry;
	DpFamily	row;

	follow_generation();
	if (likely(last_family != NULL && last_family->family == family))
		return last_family;
	entry = families != NULL ? hash_search(families, &family, HASH_FIND, NULL) : NULL;
	if (entry != NULL)
		return last_family = entry;
	if (InterruptHoldoffCount > 0)
		report_retry();			/* keys changed under a page lock */
	if (!dp_catalog_read_family(family, &row))
		report_missing_key();
	return remember_family(&row);
}

const DpFamily *
dp_keys_family_find(const char *name)
{
	DpFamily	row;

	follow_generation();
	if (likely(last_family != NULL && strcmp(NameStr(last_family->name), name) == 0))
		return last_family;
	if (families != NULL)
	{
		HASH_SEQ_STATUS seq;
		DpFamily   *entry;

		hash_seq_init(&seq, families);
		while ((entry = hash_seq_search(&seq)) != NULL)
		{
			if (strcmp(NameStr(entry->name), name) == 0)
			{
				hash_seq_term(&seq);
				return last_family = entry;
			}
		}
	}
	return dp_catalog_read_family_by_name(name, &row) ? remember_family(&row) : NULL;
}

const DpFamily *
dp_keys_family_by_name(const char *name)
{
	const DpFamily *family = dp_keys_family_find(name);

	if (family == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("key \"%s\" does not exist", name),
				 errhint("Create it with dataprotect.create_key().")));
	return family;
}

static void
report_unsealable(const DpFamily *family)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("key \"%s\" is %s", NameStr(family->name),
					family->state == DP_KEY_DESTROYED ? "destroyed" : "suspended"),
			 errdetail("Nothing can be written under it."),
			 errhint("See dataprotect.keys for the reason.")));
}

void
dp_keys_for_seal(const DpFamily *family, DpKey *out)
{
	DpFamily	copy = *family;
	int			attempt;

	for (attempt = 0; attempt < 3; attempt++)
	{
		LocalSlot  *slot;
		uint32		taken;

		if (copy.state != DP_KEY_ACTIVE || copy.current_key_id == 0 ||
			dp_keys_get(copy.current_key_id, DP_USE_READ, false, out) != DP_KEY_OK)
			report_unsealable(&copy);
		slot = &slots[copy.current_key_id & (N_SLOTS - 1)];
		if (likely(slot->seals_left > 0))
		{
			slot->seals_left--;
			return;
		}
		taken = dp_keys_take_seals(copy.current_key_id, copy.family);
		if (taken == 0)
			dp_keys_forget();	/* there is a new version */
		else
		{
			/* Taking may have waited: see whether the slot is still this key's. */
			(void) dp_keys_get(copy.current_key_id, DP_USE_READ, false, out);
			slot->seals_left = taken;
		}
		copy = *dp_keys_family(copy.family);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("could not reserve the use of key \"%s\"", NameStr(copy.name)),
			 errhint("Retry the statement.")));
}

/* The ids of the system's keys; false where no key was ever created. */
static bool
know_system_keys(void)
{
	follow_generation();
	if (system_keys_known)
		return true;
	if (!dp_arena_get_system(MyDatabaseId, &system_keys))
	{
		if (!dp_catalog_read_system(&system_keys))
			return false;
		dp_arena_put_system(MyDatabaseId, &system_keys);
	}
	system_keys_known = true;
	return true;
}

static void
need_system_keys(void)
{
	if (!know_system_keys())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no key was created in this database yet"),
				 errhint("Create one with dataprotect.create_key(), or, while a dump is restored, restore the rows of schema \"%s\" first.", "dataprotect")));
}

bool
dp_keys_literal(DpKey *out)
{
	bool		there = know_system_keys();

	if (dp_keys_get(there ? system_keys.literal : OPEN_LITERAL_ID, DP_USE_READ, false, out) != DP_KEY_OK)
		report_missing_key();
	return there;
}

/* A PRF context of a system key, made again when keys changed. */
static DpPrf *
system_prf(uint64 key_id, DpPrf **cached, uint64 *cached_id)
{
	DpArenaEntry entry;

	if (*cached != NULL && *cached_id == key_id)
		return *cached;
	if (InterruptHoldoffCount > 0)
		report_retry();			/* under a page lock: see preload */
	if (!dp_arena_get(MyDatabaseId, key_id, GetCurrentTimestamp(), &entry))
		load_from_row(key_id, &entry);
	if (entry.has_key)
	{
		dp_prf_free(*cached);
		*cached = dp_prf_new(entry.key);
		*cached_id = key_id;
	}
	dp_secret_wipe(&entry, sizeof(entry));
	if (*cached == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not prepare a MAC context")));
	return *cached;
}

DpPrf *
dp_keys_prf(void)
{
	/* Under a page lock nothing can be looked up, and preload saw to it. */
	if (InterruptHoldoffCount > 0 && prf != NULL)
		return prf;
	need_system_keys();
	return system_prf(system_keys.prf, &prf, &prf_key_id);
}

DpPrf *
dp_keys_audit_chain(void)
{
	DpVersionRow row;

	if (!know_system_keys())
		return NULL;
	/* A key row that somebody removed is for verify_audit_log() to tell. */
	if (chain == NULL && !dp_catalog_read_version(system_keys.audit_chain, &row))
		return NULL;
	return system_prf(system_keys.audit_chain, &chain, &chain_key_id);
}

/*
 * Audit fields are sealed as envelopes of their own type code, so that nothing
 * sealed elsewhere can be passed off as one.
 */
#define AUDIT_TYPE_CODE 0x41554454

bool
dp_keys_audit_seal(const uint8 *in, Size len, bytea **out)
{
	DpKey		key;
	Size		size = dp_envelope_size(len, 0);
	bytea	   *result;

	if (!know_system_keys())
		return false;
	if (dp_keys_get(system_keys.audit_seal, DP_USE_READ, false, &key) != DP_KEY_OK)
		report_missing_key();
	result = palloc(VARHDRSZ + size);
	SET_VARSIZE(result, VARHDRSZ + size);
	if (!dp_envelope_seal(key.aead, key.key_id, 0, AUDIT_TYPE_CODE, NULL, in, len,
						  (uint8 *) VARDATA(result)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not seal an audit record")));
	*out = result;
	return true;
}

bool
dp_keys_audit_open(const uint8 *in, Size len, bytea **out)
{
	DpKey		key;
	DpEnvelope	env;
	bytea	   *result;

	if (!know_system_keys() || !dp_envelope_parse(in, len, &env) ||
		env.key_id != system_keys.audit_seal ||
		dp_keys_get(system_keys.audit_seal, DP_USE_READ, false, &key) != DP_KEY_OK)
		return false;
	result = palloc(VARHDRSZ + env.ciphertext_len);
	SET_VARSIZE(result, VARHDRSZ + env.ciphertext_len);
	if (!dp_envelope_open(key.aead, &env, AUDIT_TYPE_CODE, (uint8 *) VARDATA(result)))
	{
		pfree(result);
		return false;
	}
	*out = result;
	return true;
}

/* Make an epoch key known, if it can be; the KMS's errors are the reader's. */
static bool
try_epoch_of(uint64 key_id)
{
	DpVersionRow version;
	DpEpochRow	row;
	DpArenaEntry entry;
	DpKmsError	error;
	bool		known;

	known = dp_arena_get(MyDatabaseId, key_id, GetCurrentTimestamp(), &entry);
	if (!known && dp_catalog_read_version(key_id, &version))
	{
		known = dp_arena_get_epoch(MyDatabaseId, version.epoch, GetCurrentTimestamp(), &entry) ||
			(dp_catalog_read_epoch(version.epoch, &row) &&
			 dp_kms_fetch(MyDatabaseId, &row.context, (const char *const *) row.uris, row.blobs,
						  row.n_uris, &error));
	}
	dp_secret_wipe(&entry, sizeof(entry));
	return known;
}

void
dp_keys_preload(int32 family)
{
	uint64	   *ids;
	int			n = dp_catalog_list_versions(family, &ids);
	int			i;

	for (i = 0; i < n; i++)
	{
		DpArenaEntry entry;

		if (!dp_arena_get(MyDatabaseId, ids[i], statement_now(), &entry))
			load_from_row(ids[i], &entry);
		dp_secret_wipe(&entry, sizeof(entry));
	}
	if (n > 0)
		(void) dp_keys_family(family);
	pfree(ids);
}

/*
 * Nothing is raised where the KMS is away: a statement over a protected table
 * that opens nothing must run.
 */
void
dp_keys_preload_system(void)
{
	DpKey		literal;
	DpKey		audit_seal;

	if (!know_system_keys())
		return;
	if (!try_epoch_of(system_keys.prf))
		return;
	dp_keys_literal(&literal);
	(void) dp_keys_get(system_keys.audit_seal, DP_USE_READ, false, &audit_seal);
	(void) dp_keys_prf();
}

uint64
dp_keys_generation(void)
{
	return dp_arena_key_generation();
}

uint64
dp_policy_generation(void)
{
	return dp_arena_policy_generation();
}
