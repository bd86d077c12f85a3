/*
 * generation.h
 *	  When what this backend knows of the keys is void; for keys/ only.
 *
 * The lowest file of keys/ that has state in the backend.  Whoever caches
 * something read from the key tables subscribes here instead of being called
 * by the files below it.  Callbacks take no lock, read no table and raise no
 * error, unless said otherwise.
 *
 *	forget		the shared generation moved, or dp_keys_forget() was called:
 *				run before the next look at a cache, never under a page lock
 *	renew		after all have forgotten; may read tables and raise errors
 *	rolled back	a subtransaction or transaction ended without being committed
 *				by this backend: run at once
 */
#ifndef DP_KEYS_GENERATION_H
#define DP_KEYS_GENERATION_H

#include "postgres.h"

#include "keys/arena.h"
#include "keys/kept_look.h"
#include "miscadmin.h"

typedef void (*DpKeysCallback) (void);

extern void dp_keys_on_forget(DpKeysCallback callback);
extern void dp_keys_on_renew(DpKeysCallback callback);
extern void dp_keys_on_rollback(DpKeysCallback callback);

/* The generation that this backend's caches belong to; 0: none. */
extern uint64 dp_keys_cached_generation;

/* Since they were emptied last. */
extern DpKeptLook dp_keys_kept;

/*
 * How many looks hold the caches as they are: what is read for one look is read
 * under one generation, however fast keys change meanwhile.  A look starts by
 * following, so that what it holds is no older than itself; the first look after
 * it finds that the generation has moved, and starts afresh.  Set back by whoever
 * raised it, on errors too.
 */
extern int	dp_keys_looks;

extern void dp_keys_start_afresh(void);
extern void dp_keys_rolled_back(void);

/* Keys changed, and the statement goes on with what it knows for a moment. */
static inline bool
dp_keys_are_kept(void)
{
	return dp_keys_cached_generation != 0 && dp_look_is_kept(&dp_keys_kept);
}

/*
 * Start afresh where keys changed.  Under a page lock the statement goes on with
 * what it has: nothing could be looked up, and comparisons show nothing.
 */
static inline void
dp_keys_follow_generation(void)
{
	if (unlikely(dp_arena_key_generation() != dp_keys_cached_generation) &&
		InterruptHoldoffCount == 0 && dp_keys_looks == 0 && !dp_keys_are_kept())
		dp_keys_start_afresh();
}

#endif							/* DP_KEYS_GENERATION_H */
