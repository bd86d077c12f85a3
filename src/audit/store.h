/*
 * store.h
 *	  Rows into the partitions of dataprotect.audit_batch; for audit/ only.
 *
 * Many rows at a time, past the executor: no trigger or rule comes between the
 * chain and the table.
 */
#ifndef DP_AUDIT_STORE_H
#define DP_AUDIT_STORE_H

#include "postgres.h"

#include "executor/tuptable.h"

typedef struct DpStore DpStore;

/* Within a transaction; the partitions exist. */
extern DpStore *dp_store_begin(void);

/*
 * Room for the next row: values and nulls in the order of DpBatchColumn.  What
 * they point to is allocated in dp_store_context(), or lives until dp_store_end().
 */
extern TupleTableSlot *dp_store_next(DpStore *store);
extern MemoryContext dp_store_context(DpStore *store);
extern void dp_store_put(DpStore *store);

/* Write what is left, and close. */
extern void dp_store_end(DpStore *store);

#endif							/* DP_AUDIT_STORE_H */
