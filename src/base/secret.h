/*
 * secret.h
 *	  Buffers for secret bytes (plaintext, keys), wiped on every way out.
 *
 * A buffer comes from a per-backend pool and goes back to it wiped, either
 * by dp_secret_release() or, when an error takes the stack away, by the
 * transaction and subtransaction callbacks (a buffer belongs to the
 * subtransaction in which it was acquired).  No buffer outlives its
 * transaction.  Single-threaded, per backend; nothing here takes a lock.
 *
 * Failure: ERRCODE_OUT_OF_MEMORY, nothing else.
 */
#ifndef DP_BASE_SECRET_H
#define DP_BASE_SECRET_H

#include "postgres.h"

/* Memory of at least len bytes, max-aligned, content undefined. */
extern void *dp_secret_acquire(Size len);

/* Wipe and give back.  NULL is allowed. */
extern void dp_secret_release(void *buf);

/* Wipe bytes in place; never optimised away. */
extern void dp_secret_wipe(void *buf, Size len);

/* Register the transaction callbacks.  Called once a process, from _PG_init. */
extern void dp_secret_init(void);

#endif							/* DP_BASE_SECRET_H */
