/*
 * log_batch.h
 *	  Batches of the log that were read and unpacked; for audit/ only.
 *
 * A backend keeps some, until the transaction ends.  One that is pinned stays;
 * pins go with the transaction as well.
 *
 * The sealed column of a record is a reference (DP_SEALED_BATCH, number of the
 * batch's first record, number of the part), so that nobody but
 * dp_audit_open_sealed() meets what is in it, and a batch is opened once.
 */
#ifndef DP_AUDIT_LOG_BATCH_H
#define DP_AUDIT_LOG_BATCH_H

#include "postgres.h"

#include "audit/packed.h"
#include "utils/relcache.h"

#define DP_SEALED_BATCH	2		/* after DP_SEALED_KEY (events/record.h) */

typedef struct DpLogBatch
{
	int64		seq_from;
	int64		seq_to;
	Datum		instance;
	Datum		mac;
	Datum		sealed;			/* as stored; 0: none */
	DpUnpacked	unpacked;
	int			n_parts;		/* -1: not opened yet */
	DpSlice    *parts;
	int			pins;
	uint64		used;			/* when it was last asked for */
	MemoryContext context;
} DpLogBatch;

/*
 * The batch of a row of audit_batch, pinned.  Raises an error where it was damaged.
 */
extern DpLogBatch *dp_log_batch(const Datum *values, const bool *nulls);
extern void dp_log_batch_release(DpLogBatch *batch);

/*
 * Read its records too, from when on dp_log_row() may be called.  Raises the same error.
 */
extern void dp_log_batch_read(DpLogBatch *batch);

/* Columns of record i that are needed, as audit_record has them; others are NULL. */
extern void dp_log_row(DpLogBatch *batch, int i, const bool *needed, Datum *values, bool *nulls);

/* What a reference stands for: form and bytes.  False where it does not open. */
extern bool dp_log_sealed(const uint8 *reference, Size len, DpSlice *out);

/* The index of a partition whose first column is that one; InvalidOid: none. */
extern Oid	dp_log_index(Relation partition, DpBatchColumn column);

/* Partitions of audit_batch, opened; both they and it are locked until the transaction ends. */
extern List *dp_log_partitions(void);
extern void dp_log_close(List *partitions);

#endif							/* DP_AUDIT_LOG_BATCH_H */
