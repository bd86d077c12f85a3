/*
 * internal.h
 *	  Shared between the files of this folder only.
 */
#ifndef DP_KEYS_INTERNAL_H
#define DP_KEYS_INTERNAL_H

#include "postgres.h"

#include "keys/arena.h"

#define DP_WRAP_CONTEXT_LEN (16 + 8 + 1 + 4)

/* Authenticated data of a wrapped key; see cache.c. */
extern void dp_keys_wrap_context(const uint8 uid[16], uint64 key_id, int purpose, int32 version,
								 uint8 out[DP_WRAP_CONTEXT_LEN]);

/* Copy out an epoch key, from the KMS if need be; errors name the family. */
extern void dp_keys_get_epoch(uint64 epoch, int32 family, DpArenaEntry *out);

/* Forget which keys were claimed: a claim may have been rolled back. */
extern void dp_keys_subject_forget(void);

extern int32 dp_keys_subject_lock(const char *account_type, const char *subject);

/* See budget.c. */
extern uint32 dp_keys_take_seals(uint64 key_id, int32 family);
extern void dp_keys_budget_init(void);

/* Watch the key tables for invalidations; before the first row is cached. */
extern void dp_keys_watch_tables(void);

#endif							/* DP_KEYS_INTERNAL_H */
