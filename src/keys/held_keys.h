/*
 * held_keys.h
 *	  When a process lets go of the keys that it copied out of the arena; for keys/
 *	  only.
 *
 * Contexts with a scheduled key lie in the private memory of whoever uses them, where
 * a debugger, a core file or swap would show them; the arena is out of their reach.
 * So they are wiped at the end of a transaction, outside of all frames:
 *
 *	a client's session	HOLD_MS after it took the first one, idle or not: a signal of
 *						the timer makes an idle one run an empty transaction, as it
 *						does for invalidations that it is late with
 *	any other process	at once
 *	each				where the transaction failed, or keys have changed since
 *
 * A session inside an open transaction keeps what it used, until the keys that are
 * wiped by a change of named keys or by lockdown(): that sends the same signal to every
 * session of the database once it has committed.
 *
 * Who keeps such a context says so (dp_keys_hold), before it does, and subscribes.
 * Callbacks wipe contexts and nothing else: they read no table and raise no error.
 */
#ifndef DP_KEYS_HELD_KEYS_H
#define DP_KEYS_HELD_KEYS_H

#include "keys/generation.h"

/* This process is about to keep a context with a key in it. */
extern void dp_keys_hold(void);

extern void dp_keys_on_let_go(DpKeysCallback callback);

/* An invalidation of a key table arrived: let go where the session is idle. */
extern void dp_keys_let_go_if_idle(void);

/* Once this transaction has committed, have every session of the database do so. */
extern void dp_keys_wake_sessions(void);

extern void dp_keys_held_init(void);

#endif							/* DP_KEYS_HELD_KEYS_H */
