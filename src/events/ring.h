/*
 * ring.h
 *	  The ring that every audit record enters first: a memory-mapped file.
 *
 * An append is a memcpy into pages that the kernel keeps: it survives kill -9
 * of every server process.  It does not survive a power failure; the writer
 * process moves records into fsynced segments within a moment, and durable mode
 * waits for that.  Nothing is ever dropped: where the ring is full, append
 * waits.  A record may reserve room for later ones of the same backend, which
 * then never wait (they are written while a transaction aborts).
 *
 * Sequence numbers are unique and ascending within one instance (one ring
 * file's life), with holes.  Positions never wrap.
 */
#ifndef DP_EVENTS_RING_H
#define DP_EVENTS_RING_H

#include "postgres.h"

#include "events/record_frame.h"
#include "storage/latch.h"

#define DP_RING_INSTANCE_LEN	16
#define DP_WITNESS_MAC_LEN		32

/*
 * Append a record; returns its sequence number.  reserve: room to put aside as
 * well, in bytes of DP_RECORD_FRAME_SIZE.  Waits, interruptible, where the ring is
 * full; where interrupts are held the wait is bounded and ends in an error
 * (ERRCODE_INSUFFICIENT_RESOURCES).
 *
 * Room that is put aside does not come back by waiting: all of it together is
 * at most half of the ring, that of one authenticated role a quarter, and what
 * exceeds that is an error (ERRCODE_CONFIGURATION_LIMIT_EXCEEDED) before
 * anything was appended.  The last eighth of the ring, and of what may be put
 * aside, is for DP_RING_ADMIN: what administrators do finds room while others
 * wait.
 */
typedef enum DpRingShare
{
	DP_RING_ORDINARY,
	DP_RING_ADMIN
} DpRingShare;

extern uint64 dp_ring_append(Oid database, const void *payload, Size len, Size reserve,
							 DpRingShare share);

/* Put room aside, as dp_ring_append() does. */
extern void dp_ring_reserve(Size reserve, DpRingShare share);

/* Append into room that was put aside.  Never waits, never raises. */
extern uint64 dp_ring_append_reserved(Oid database, const void *payload, Size len, Size reserved);

/* Give room back unused. */
extern void dp_ring_unreserve(Size reserved);

/* Wait until a record is on disk.  Interruptible; bounded where interrupts are held. */
extern void dp_ring_wait_durable(uint64 seq);

/* Ask the writer to move everything now, without waiting. */
extern void dp_ring_wake_writer(void);

extern uint64 dp_ring_last_seq(void);	/* newest appended */
extern uint64 dp_ring_flushed_seq(void);	/* everything up to it is in segments */
extern uint64 dp_ring_boot_seq(void);	/* records below it: their backends are gone */
extern const uint8 *dp_ring_instance(void); /* DP_RING_INSTANCE_LEN bytes */

/*
 * For the writer alone: frames from the tail on.  *pos: 0 to begin at the tail.
 * Pointers are valid until dp_ring_consume().
 */
extern bool dp_ring_next(uint64 *pos, const DpRecordFrame **out_frame, const void **out_payload);
extern void dp_ring_consume(uint64 pos, uint64 flushed_seq);
extern void dp_ring_set_writer(Latch *latch);
extern void dp_ring_set_writer_sleeping(bool sleeping);

/*
 * Frames of a ring of another size that was set aside at start: calls back for
 * each, then removes the file.  False where there is none.
 */
typedef void (*DpRingDrain) (const DpRecordFrame *frame, const void *payload);
extern bool dp_ring_drain_aside(DpRingDrain each, void (*before_unlink) (void));

/*
 * Second witness of each database's chain: the newest chained row.  chain:
 * names the chain key, so that a new installation starts afresh.
 */
typedef struct DpWitness
{
	Oid			database;
	uint32		unused;
	uint64		chain;
	uint64		seq;
	uint8		mac[DP_WITNESS_MAC_LEN];
} DpWitness;

extern bool dp_ring_witness_get(Oid database, DpWitness *out);
extern void dp_ring_witness_set(const DpWitness *witness);

/* Where events/denial.c counts, and the lock of it. */
struct DpDenial;
extern struct DpDenial *dp_ring_denials(void);
extern struct LWLock *dp_ring_denial_lock(void);

/* Progress of a database's collector: everything up to seq is in its table. */
extern void dp_ring_set_collected(Oid database, uint64 seq);
extern uint64 dp_ring_collected(Oid database);

/*
 * The newest number that segments hold of an instance, 0 where there are none:
 * asked in the postmaster before a start takes new numbers.  From _PG_init only.
 */
typedef uint64 (*DpRingNewestStored) (const uint8 *instance);
extern void dp_ring_set_newest_stored(DpRingNewestStored callback);

/* Shared memory and the file; from _PG_init only. */
extern void dp_ring_init(void);

#endif							/* DP_EVENTS_RING_H */
