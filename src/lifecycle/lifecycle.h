/*
 * lifecycle.h
 *	  Retention, legal holds, accounts and their deletion.
 *
 * What decides lives in SQL (the NN_*.sql files beside this one); C does what
 * SQL cannot: run statements as another role without lending it ours, commit
 * between batches, run VACUUM from a worker, and look into pages.
 */
#ifndef DP_LIFECYCLE_LIFECYCLE_H
#define DP_LIFECYCLE_LIFECYCLE_H

#include "postgres.h"

/* Kind under which the worker is registered (base/worker.h). */
#define DP_LIFECYCLE_WORKER "lifecycle"

/* Register the worker and the transaction callback; from _PG_init only. */
extern void dp_lifecycle_init(void);

/* Subscribe to commands that change tables; see plan_ddl.c. */
extern void dp_plan_ddl_init(void);

/* Subscribe to the planner, for rows that are hidden; see hidden_row.c. */
extern void dp_hidden_row_init(void);

/* Register the transaction callback that lets go of a list of erasures; see erasure_file.c. */
extern void dp_erasure_file_init(void);

#endif							/* DP_LIFECYCLE_LIFECYCLE_H */
