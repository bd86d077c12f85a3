/*
 * retention_batch.h
 *	  One batch of a retention run over the table at hand (run->leaf).
 *
 * The statements of a batch are made for a state (the policy, the holds, whether
 * rows are locked as they are chosen), and anew where it has changed.  Choice and
 * change see one snapshot, under a SHARE lock on the holds: one that is placed from
 * then on waits for the batch, an earlier one is seen.
 */
#ifndef DP_LIFECYCLE_RETENTION_BATCH_H
#define DP_LIFECYCLE_RETENTION_BATCH_H

#include "postgres.h"

#include "lifecycle/retention_table.h"

/*
 * For dp_batch_try(), arg is the run: choose rows and change them.  Out: chosen,
 * next_bound, rows, left_behind, and more, which is false where nothing was chosen
 * or the policy is not active any more.
 */
extern void dp_retention_batch_step(void *arg);

/* How many rows an array of places has; NULL has none. */
extern int	dp_retention_batch_count(ArrayType *tids);

/* Let the statements go, which the next batch makes anew. */
extern void dp_retention_batch_forget(DpRetentionRun *run);

#endif							/* DP_LIFECYCLE_RETENTION_BATCH_H */
