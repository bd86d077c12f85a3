/*
 * batch.h
 *	  Records on their way from segments into audit_batch; for audit/ only.
 *
 * A batch holds records of one instance, in order.  Results are merged into
 * intents of the same batch (one record instead of two), ends of transactions into
 * the records they concern where all of those are here.  What cannot be merged
 * stays a record of its own, and the view merges it.  What is left is packed, up to
 * DP_PACKED_MAX records of a month a row (packed.h).
 */
#ifndef DP_AUDIT_BATCH_H
#define DP_AUDIT_BATCH_H

#include "postgres.h"

#include "audit/chain.h"
#include "events/record.h"
#include "events/ring.h"
#include "utils/timestamp.h"

#define DP_BATCH_MAX	8000

/* A record, still encoded; what merging needs of it beside it. */
typedef struct DpBatchEntry
{
	uint64		ring_seq;
	uint64		session;
	uint64		ref_seq;
	uint64		ref_end;
	uint64		transaction;	/* that was prepared, or 0 */
	TimestampTz at;
	const uint8 *payload;		/* in the batch's context; NULL: nobody wrote it */
	uint32		len;
	uint8		kind;			/* DpRecordKind */
	uint8		outcome;		/* DpOutcome; may change by merging */
	uint8		scope;
	bool		dropped;		/* merged elsewhere, or opened nothing */
	struct DpBatchEntry *result;	/* merged into this one, or NULL */
} DpBatchEntry;

typedef struct DpBatch
{
	MemoryContext context;
	uint8		instance[DP_RING_INSTANCE_LEN];
	int			n_frames;
	int			n_read;			/* entries made of frames: first, ascending by ring_seq */
	int			n_entries;
	DpBatchEntry *entries[DP_BATCH_MAX];
} DpBatch;

/* Valid until the next call: one batch at a time. */
extern DpBatch *dp_batch_create(const uint8 *instance);

/* An instance as the tables of the log have it: a uuid, in the caller's memory. */
extern Datum dp_batch_instance(const uint8 *instance);

/* False where the batch is full.  Malformed records are reported and skipped. */
extern bool dp_batch_add(DpBatch *batch, const DpRecordFrame *frame, const void *payload);

/* A result that nobody wrote: the backend is gone. */
extern void dp_batch_add_lost(DpBatch *batch, uint64 ring_seq, uint64 session);

/* How the acts of a range of records ended. */
extern void dp_batch_add_end(DpBatch *batch, uint64 session, uint64 first, uint64 last, DpOutcome outcome);

/* Is there anything to store? */
extern bool dp_batch_has_rows(const DpBatch *batch);

/*
 * Store the batch, chained after head, which moves on.  Seals what was written before
 * a key existed.
 */
extern void dp_batch_store_rows(DpBatch *batch, DpChainPoint *head);

#endif							/* DP_AUDIT_BATCH_H */
