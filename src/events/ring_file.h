/*
 * ring_file.h
 *	  The file behind the ring; for ring*.c and witness.c only.
 *
 *	offset	length	content
 *	0		4096	RingHeader
 *	4096	262144	4096 witnesses (DpRingWitnessSlot, 64 bytes each)
 *	266240	32768	64 counts of refused reads (DpDenial, 512 bytes each)
 *	299008	size	frames
 */
#ifndef DP_EVENTS_RING_FILE_H
#define DP_EVENTS_RING_FILE_H

#include "postgres.h"

#include "base/worker.h"
#include "events/denial.h"
#include "events/ring.h"

#define DP_RING_FILE		"pg_dynshmem/dataprotect.ring"
#define DP_RING_ASIDE		"pg_dynshmem/dataprotect.ring.drain"
#define DP_RING_MAGIC		UINT64CONST(0x646e697274636470)
#define DP_RING_VERSION		4
#define DP_RING_HEADER_LEN	4096
#define DP_RING_WITNESSES	DP_WORKER_MAX_DATABASES
#define DP_RING_DENIALS_AT	(DP_RING_HEADER_LEN + DP_RING_WITNESSES * 64)
#define DP_RING_DENIAL_LEN	512
#define DP_RING_DATA_AT		(DP_RING_DENIALS_AT + DP_DENIAL_PLACES * DP_RING_DENIAL_LEN)

/* A start raises the next sequence number by this much; the header goes to disk
 * at every start and each time a quarter of it was used.  Little, or the numbers
 * run away from the clock (ring_file.c). */
#define DP_RING_SEQ_JUMP	(UINT64CONST(1) << 20)

typedef struct DpRingWitnessSlot
{
	DpWitness	witness;
	uint32		crc;			/* of the witness */
	uint32		doubted;		/* see witness.c */
} DpRingWitnessSlot;

StaticAssertDecl(sizeof(DpDenial) <= DP_RING_DENIAL_LEN, "counts of refused reads fit their place");
StaticAssertDecl(sizeof(DpRingWitnessSlot) == 64, "witness slots fit their place");

typedef struct DpRingHeader
{
	uint64		magic;
	uint32		version;
	uint32		crc;			/* of the fields below up to the positions */
	uint64		system_id;
	uint64		size;			/* bytes of frames */
	uint64		inode;			/* of the file: a copied one is another instance's */
	uint8		instance[DP_RING_INSTANCE_LEN];

	/* Positions: each written by one process at a time, 8 bytes at once. */
	uint64		tail;			/* by the writer */
	uint64		flushed_seq;	/* by the writer */
	uint64		head;			/* under the ring's lock */
	uint64		next_seq;		/* under the ring's lock */
	uint64		boot_seq;		/* at start */
} DpRingHeader;

/*
 * Map the ring, make it where there is none, set one aside that is another
 * cluster's or of another size, repair what a crash left.  In the postmaster.
 */
extern char *dp_ring_file_open(Size size);

/* Have header and witnesses on disk; raises an error where that fails. */
extern void dp_ring_file_sync_header(char *base);

/* The frame at pos of a mapped ring, or NULL at the end; skips fillers. */
extern const DpRecordFrame *dp_ring_file_next(const char *base, uint64 *pos);

/* Same for the ring set aside. */
extern bool dp_ring_file_drain(DpRingDrain each, void (*before_unlink) (void));

/* witness.c: its places in the mapped file, and its shared memory. */
extern void dp_witness_attach(DpRingWitnessSlot *mapped);
extern void dp_witness_init(void);

#endif							/* DP_EVENTS_RING_FILE_H */
