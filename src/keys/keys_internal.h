/*
 * keys_internal.h
 *	  Shared between the files of this folder only.
 */
#ifndef DP_KEYS_KEYS_INTERNAL_H
#define DP_KEYS_KEYS_INTERNAL_H

#include "postgres.h"

#include "keys/arena.h"
#include "keys/catalog.h"
#include "keys/keys.h"

#define DP_WRAP_CONTEXT_LEN (16 + 8 + 1 + 4)

/* Authenticated data of a wrapped key; see unwrap_key.c. */
extern void dp_keys_wrap_context(const uint8 uid[16], uint64 key_id, int purpose, int32 version,
								 uint8 out[DP_WRAP_CONTEXT_LEN]);

/* Copy out an epoch key, from the KMS if need be; errors name the family. */
extern void dp_keys_get_epoch(uint64 epoch, int32 family, DpArenaEntry *out);

/* A key from its row, put into the arena as well; errors where it has none. */
extern void dp_keys_load_row(uint64 key_id, DpArenaEntry *entry);

/* The row of a key, perhaps from memory; false where there is none. */
extern bool dp_keys_read_version(uint64 key_id, DpVersionRow *out);

/* Make the epoch key of a key known, if it can be; raises nothing for a KMS. */
extern bool dp_keys_try_epoch_of(uint64 key_id);

/* Load a key into this backend and keep it there until keys change. */
extern void dp_keys_pin(uint64 key_id);

/* Have the epoch key of a key fetched again, without waiting. */
extern void dp_keys_refresh_epoch(uint64 key_id);

/* Errors: no such key in this database; a miss where nothing may be read. */
extern void dp_keys_report_missing(void);
extern void dp_keys_report_retry(void);

/* The worker that loads what ordered indexes need, where it was missing under a page lock. */
#define DP_INDEX_KEYS_WORKER "index keys"

/* Whether dp_keys_family() would read no table; true for system keys. */
extern bool dp_keys_family_is_cached(int32 family);

/* Stands for the literal key where a database has none yet; see cache.c. */
#define DP_OPEN_LITERAL_ID UINT64CONST(0x6f70656e6c697465)

/*
 * Count one seal of a key.  False where this backend has none left: then refill,
 * which may wait and so voids contexts, and look again; refill returns false
 * where the key is used up and its family has a new version.
 */
extern bool dp_keys_take_seal(uint64 key_id);
extern bool dp_keys_refill_seals(uint64 key_id);

/*
 * Is a period over that ends at over_at, which is not 0?  Where nothing may be read
 * and the time on record is not known, it is.
 */
extern bool dp_keys_is_over(TimestampTz over_at, bool may_read);

/* Worker: destroy the versions that are over. */
extern void dp_keys_expire(void);

/*
 * Where a key expires, and the version that seals is over: have it replaced.  False
 * where that cannot be.
 */
extern bool dp_keys_renew_version(DpFamily *family);

/*
 * A statement in a transaction of its own (base/worker.h); in this one while the
 * extension itself is not committed.
 */
extern char *dp_keys_autonomous(const char *sql, bool own);

/* Go on with an epoch that is given up; true where more can be done at once. */
extern bool dp_keys_epoch_round(void);

/* Has this transaction changed keys?  What others know of them is not what it sees. */
extern bool dp_keys_are_changing(void);

/* Watch the key tables for invalidations; before the first row is cached. */
extern void dp_keys_watch_tables(void);

/* Called by dp_keys_init(), in this order. */
extern void dp_keys_invalidation_init(void);
extern void dp_keys_family_init(void);
extern void dp_keys_budget_init(void);
extern void dp_keys_cache_init(void);
extern void dp_keys_system_init(void);
extern void dp_keys_pinned_init(void);
extern void dp_keys_subject_init(void);
extern void dp_policy_trigger_init(void);

#endif							/* DP_KEYS_KEYS_INTERNAL_H */
