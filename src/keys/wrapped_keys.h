/*
 * wrapped_keys.h
 *	  Keys that the arena has no room for, in ordinary shared memory.
 *
 * The arena is of memory that is locked, of which there is little.  Behind it are
 * eight times as many places for keys that are wrapped under one that lies in the
 * arena's mapping and nowhere else: whoever reads this memory, a core dump or swap
 * space has nothing.  Opening one costs a hundredth of what its row does.
 *
 * Only what was put in under the generation of keys that counts now is given out.  A
 * change of keys replaces the wrapping key: what was here is gone for everybody.
 *
 * Locks: a partition's is taken alone, and nothing is called under it.
 */
#ifndef DP_KEYS_WRAPPED_KEYS_H
#define DP_KEYS_WRAPPED_KEYS_H

#include "postgres.h"

#include "keys/arena.h"

/* From dp_arena_init(). */
extern void dp_wrapped_keys_init(void);

/*
 * wrapping: the arena's, random, another after each purge.  The caller wipes what it
 * gets.  Never an error.
 */
extern bool dp_wrapped_keys_get(const uint8 wrapping[DP_KEY_LEN], Oid database, uint64 key_id, TimestampTz now,
								uint64 generation, DpArenaEntry *out);
extern void dp_wrapped_keys_put(const uint8 wrapping[DP_KEY_LEN], const DpArenaEntry *entry, uint64 generation);

#endif							/* DP_KEYS_WRAPPED_KEYS_H */
