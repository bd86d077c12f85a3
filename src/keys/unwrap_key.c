/*
 * unwrap_key.c
 *	  Keys that are not in the arena: from their rows, unwrapped under their epoch
 *	  keys, which the key agent fetches.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "base/secret.h"
#include "keys/arena.h"
#include "keys/catalog.h"
#include "keys/keys.h"
#include "keys/keys_internal.h"
#include "keys/policy_alarm.h"
#include "kms/kms.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#define LOCKED_EPOCH_TIME (2 * USECS_PER_SEC)

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
		dp_keys_report_missing();
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

void
dp_keys_refresh_epoch(uint64 key_id)
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

	/*
	 * What writes the audit log goes on in a lockdown, and brings back no more than its own keys:
	 * an epoch key opens all the others.  It stays for those who wait for it.
	 */
	if (row->family == 0 && dp_catalog_in_lockdown())
		dp_arena_shorten_epoch(MyDatabaseId, row->epoch, GetCurrentTimestamp() + LOCKED_EPOCH_TIME);
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
 * An account's key whose row is an old one, from before the account was suspended or
 * destroyed: what stands elsewhere about the account counts.
 */
static char
state_of_subject(const DpVersionRow *row)
{
	DpSubjectRow subject;

	if (row->purpose != DP_PURPOSE_SUBJECT || (row->state != DP_KEY_ACTIVE && row->state != DP_KEY_SPARE) ||
		!dp_catalog_read_subject_of(row->key_id, &subject))
		return row->state;
	if (dp_catalog_has_tombstone(subject.account_type, subject.subject))
		return DP_KEY_DESTROYED;
	return dp_catalog_is_suspended(subject.account_type, subject.subject) ? DP_KEY_SUSPENDED : row->state;
}

/*
 * The row of a key: the one that was read last, where no key has changed since.
 * Whose value it is comes first, and the key itself next.
 */
bool
dp_keys_read_version(uint64 key_id, DpVersionRow *out)
{
	static DpVersionRow last;
	static uint64 last_generation = 0;
	static uint64 last_changes = 0;
	uint64		generation = dp_arena_key_generation();
	uint64		changes = dp_keys_local_changes();

	if (last_generation == generation && last_changes == changes && last.key_id == key_id && !RecoveryInProgress())
	{
		*out = last;
		return true;
	}
	last_generation = 0;
	if (!dp_catalog_read_version(key_id, out))
		return false;
	last = *out;
	last_generation = generation;
	last_changes = changes;
	return true;
}

/*
 * When what a key sealed opens no more.  An account's key is of the version of the
 * named key that it was claimed for; on doubt it is over.
 */
static TimestampTz
end_of_period(const DpVersionRow *row)
{
	DpSubjectRow subject;
	DpVersionRow version;

	if (row->purpose == DP_PURPOSE_DATA)
		return row->expires_at == DT_NOEND ? 0 : row->expires_at;
	if (row->purpose != DP_PURPOSE_SUBJECT || !dp_keys_family(row->family)->has_keep)
		return 0;
	if (!dp_catalog_read_subject_of(row->key_id, &subject) ||
		!dp_catalog_read_numbered(subject.family, subject.version, &version) ||
		version.seal == DP_SEAL_BAD || version.state == DP_KEY_DESTROYED || version.expires_at == DT_NOEND)
		return DT_NOBEGIN;
	return version.expires_at;
}

/*
 * Key from its row, put into the arena as well.  A change that commits while
 * we read keeps the arena free of what we read: the generation says so.
 */
void
dp_keys_load_row(uint64 key_id, DpArenaEntry *entry)
{
	uint64		generation = dp_arena_key_generation();
	DpVersionRow row;

	if (!dp_keys_read_version(key_id, &row))
		dp_keys_report_missing();
	memset(entry, 0, sizeof(*entry));
	entry->key_id = key_id;
	entry->database = MyDatabaseId;
	entry->family = row.family;
	entry->purpose = (uint8) row.purpose;
	entry->state = state_of_subject(&row);
	if (entry->state != row.state)
		dp_policy_alarm(DP_SEALED_KEY_VERSION, 0);
	if (row.seal == DP_SEAL_BAD)
		dp_policy_alarm(DP_SEALED_KEY_VERSION, 0);
	entry->has_key = entry->state != DP_KEY_DESTROYED && row.has_wrapped && row.seal != DP_SEAL_BAD;
	if (entry->has_key)
	{
		entry->over_at = end_of_period(&row);
		unwrap_row(&row, entry);
	}
	else
		entry->refresh_at = entry->expires_at = DT_NOEND;
	if (row.purpose != DP_PURPOSE_SUBJECT || !RecoveryInProgress())
		dp_arena_put(entry, generation);
}

/* Make an epoch key known, if it can be; the KMS's errors are the reader's. */
bool
dp_keys_try_epoch_of(uint64 key_id)
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
