/*
 * prepared.h
 *	  Acts in transactions that were prepared: the log says "prepared" of them, and
 *	  how they ended once that is seen; for audit/ only, inside SPI.
 *
 * Whoever ends a prepared transaction, in whatever session or after a crash, writes
 * no record of ours.  The transaction's number stands in the record of its PREPARE
 * (events/transaction.c) and, as long as it has not ended, in audit_prepared, where
 * each round of the collector looks it up.  Only for this server's own records:
 * those of others count transactions of their own.
 */
#ifndef DP_AUDIT_PREPARED_H
#define DP_AUDIT_PREPARED_H

#include "postgres.h"

#include "audit/batch.h"

/* Keep what was prepared. */
extern void dp_prepared_keep(const DpBatchEntry *entry, const uint8 *instance);

/* False where none has ended; else the instance of one that has. */
extern bool dp_prepared_ended(uint8 *out_instance);

/* Move ends of an instance's transactions into the batch. */
extern void dp_prepared_take_ends(DpBatch *batch);

/* From _PG_init only. */
extern void dp_prepared_init(void);

#endif							/* DP_AUDIT_PREPARED_H */
