/*
 * track.h
 *	  Which statement opens values, and how many.
 *
 * The types layer calls these immediately before it lets the caller have, or
 * compares, a plaintext.  The first call of a statement writes the intent into
 * the ring (and, in durable mode, waits until it is on disk); later calls only
 * count.  Calls for index maintenance, referential integrity, literals and
 * re-sealing for a subject are not reads and are not made.
 *
 * family: number of the named key within the database; key_name: its name,
 * which is copied before anything that may process invalidations.
 * May raise errors (a cancelled wait), never after the plaintext was given.  It
 * looks keys up: what the caller holds of the key cache is void after it.
 *
 * The form with "again" comes first: it counts where the statement has its intent
 * and this key was counted last, touches nothing else, and returns whether it did.
 */
#ifndef DP_AUDIT_TRACK_H
#define DP_AUDIT_TRACK_H

#include "postgres.h"

extern bool dp_audit_opening_again(int32 family);
extern bool dp_audit_comparing_again(int32 family);
extern void dp_audit_opening(int32 family, const char *key_name);
extern void dp_audit_comparing(int32 family, const char *key_name);

/*
 * The value counted last belongs to an account, whose key has this id.  True where it
 * had to wait for room: what the caller holds of the key cache is void.
 */
extern bool dp_audit_subject(uint64 key_id);

/* True while the current statement is a COPY TO: masks are errors there. */
extern bool dp_audit_in_copy_to(void);

/*
 * Which types are protected: the types layer, above, says it at _PG_init.  Not
 * asked about arrays and domains, but about what they are made of.
 */
extern void dp_audit_set_protected_type(bool (*callback) (Oid typid));

/* Hooks, shared memory, workers; from _PG_init only. */
extern void dp_audit_init(void);

#endif							/* DP_AUDIT_TRACK_H */
