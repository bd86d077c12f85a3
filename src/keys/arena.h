/*
 * arena.h
 *	  The fixed shared arena of unwrapped keys, and what belongs beside it.
 *
 * The arena is a mapping of its own, inherited by fork, locked into memory and
 * left out of core dumps where the system allows it.  Keys are copied out
 * under a partition's lock, never pointed at; an entry that goes is wiped.
 *
 * Lock order: a partition lock is taken alone; nothing is called under it.
 */
#ifndef DP_KEYS_ARENA_H
#define DP_KEYS_ARENA_H

#include "postgres.h"

#include "crypto/aead.h"
#include "utils/timestamp.h"

/* One unwrapped key and what a reader must know before using it. */
typedef struct DpArenaEntry
{
	uint64		key_id;			/* 0: free */
	Oid			database;
	int32		family;
	uint8		purpose;		/* DpKeyPurpose */
	char		state;			/* DpKeyState of its row when it was read */
	bool		has_key;		/* false: known, but destroyed */
	uint32		used;			/* clock of the last use, for eviction */
	TimestampTz refresh_at;		/* fetch again in the background from here on */
	TimestampTz expires_at;		/* not used any more from here on */
	TimestampTz over_at;		/* what it sealed opens no more from here on; 0: it never ends */
	uint8		key[DP_KEY_LEN];
} DpArenaEntry;

/* Key ids of a database's system keys: 0 where not known yet. */
typedef struct DpSystemKeys
{
	uint64		literal;
	uint64		prf;
	uint64		audit_seal;
	uint64		audit_chain;
	uint64		policy;
} DpSystemKeys;

extern void dp_arena_init(void);

/* No core dump of this process; called in every one that copies keys out. */
extern void dp_arena_shield_process(void);

/* Copy out; false where it is absent or expired at "now". */
extern bool dp_arena_get(Oid database, uint64 key_id, TimestampTz now, DpArenaEntry *out);

/*
 * Put a key in.  Where generation is not 0 and the shared key generation has
 * moved on since the caller read it, nothing is stored (the row may be stale).
 */
extern void dp_arena_put(const DpArenaEntry *entry, uint64 generation);

/* Epoch keys live in a table of their own, so that no flood of keys evicts one. */
extern bool dp_arena_get_epoch(Oid database, uint64 key_id, TimestampTz now, DpArenaEntry *out);
extern bool dp_arena_has_epoch(Oid database, uint64 key_id);
extern void dp_arena_put_epoch(Oid database, uint64 key_id, const uint8 key[DP_KEY_LEN]);
extern void dp_arena_drop_epoch(Oid database, uint64 key_id);

/* Use it no longer than until then. */
extern void dp_arena_shorten_epoch(Oid database, uint64 key_id, TimestampTz until);

/* Wipe those whose time is over, of all databases. */
extern void dp_arena_sweep_epochs(void);

/* Forget every key of a database except its epoch keys. */
extern void dp_arena_purge(Oid database);

/* Forget its epoch keys: whatever is used next asks the KMS. */
extern void dp_arena_purge_epochs(Oid database);

extern bool dp_arena_get_system(Oid database, DpSystemKeys *out);
extern void dp_arena_put_system(Oid database, const DpSystemKeys *keys);

extern uint64 dp_arena_key_generation(void);
extern uint64 dp_arena_policy_generation(void);
extern void dp_arena_bump_keys(void);
extern void dp_arena_bump_policy(void);

/*
 * Spare subject keys: minted and committed, not claimed yet.  A key id taken is
 * never given back: a rolled-back claim's envelopes may still lie in an index.
 * Who takes one owns the row of spare_key only once it is locked: see
 * subject_key.c.
 */
extern bool dp_arena_pop_spare(Oid database, int32 family, uint64 *out_key_id);
extern void dp_arena_push_spares(Oid database, int32 family, const uint64 *key_ids, int n);

/* What is left of the block of seals reserved last for a key; see seal_budget.c. */
extern uint32 dp_arena_take_seals(Oid database, uint64 key_id, uint32 max);
extern void dp_arena_add_seals(Oid database, uint64 key_id, uint32 n);

#endif							/* DP_KEYS_ARENA_H */
