/*
 * batch.h
 *	  Records on their way from segments into audit_record; for audit/ only.
 *
 * A batch holds records of one instance, in order.  Results are merged into
 * intents of the same batch (one row instead of two), ends of transactions into
 * the records they concern where all of those are here.  What cannot be merged
 * becomes a row of its own, and the view merges it.
 */
#ifndef DP_AUDIT_BATCH_H
#define DP_AUDIT_BATCH_H

#include "postgres.h"

#include "audit/chain.h"
#include "events/record.h"
#include "events/ring.h"
#include "utils/hsearch.h"

#define DP_BATCH_MAX	2000

typedef struct DpBatchEntry
{
	uint64		ring_seq;
	bool		dropped;		/* merged elsewhere, or opened nothing */
	DpRecord   *record;			/* its slices point into the batch's context */
	DpRecord   *result;			/* merged into this one, or NULL */
} DpBatchEntry;

typedef struct DpBatch
{
	MemoryContext context;
	uint8		instance[DP_RING_INSTANCE_LEN];
	uint64		last_seq;		/* newest frame seen, merged or not */
	int			n_frames;
	int			n_entries;
	DpBatchEntry *entries[DP_BATCH_MAX];
	HTAB	   *by_seq;			/* intents of the batch */
} DpBatch;

/* Valid until the next call: one batch at a time. */
extern DpBatch *dp_batch_create(const uint8 *instance);

/* False where the batch is full.  Malformed records are reported and skipped. */
extern bool dp_batch_add(DpBatch *batch, const DpFrame *frame, const void *payload);

/* A result that nobody wrote: the backend is gone. */
extern void dp_batch_add_lost(DpBatch *batch, uint64 ring_seq, uint64 session);

/* Seal what was written before a key existed. */
extern void dp_batch_seal(DpBatch *batch);

/*
 * Rows of the batch, chained after head, which moves on.  The tuples appear in
 * dataprotect._audit_batch() of this process until dp_batch_clear_rows().
 */
extern int	dp_batch_make_rows(DpBatch *batch, DpPrf *chain, DpChainPoint *head);
extern void dp_batch_clear_rows(void);

#endif							/* DP_AUDIT_BATCH_H */
