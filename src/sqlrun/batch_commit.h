/*
 * batch_commit.h
 *	  Work in many transactions from a procedure.
 *
 * A procedure called outside a transaction block commits between its steps; a
 * step that fails is undone alone and reported, without the values that an
 * error message may quote.
 */
#ifndef DP_SQLRUN_BATCH_COMMIT_H
#define DP_SQLRUN_BATCH_COMMIT_H

#include "postgres.h"

#include "fmgr.h"

/*
 * Begin (true) and end the work of a procedure: connects to SPI so that
 * commits are allowed.  An error where the caller is inside a transaction.
 */
extern void dp_batch_begin(FunctionCallInfo fcinfo, const char *procedure);
extern void dp_batch_end(void);

/* Commit; the next statement is in a new READ COMMITTED transaction. */
extern void dp_batch_commit(void);

/*
 * Between two steps that are committed: in a background worker whose time is up
 * the work ends here, as if it had been cancelled; the next round goes on.
 */
extern void dp_batch_make_room(void);

/*
 * Run step(arg) in a subtransaction.  Returns NULL where it succeeded, else
 * where and how it failed (allocated in the caller's memory context), after
 * undoing it.  Cancellation and shutdown are not caught.
 */
typedef void (*DpBatchStep) (void *arg);
extern char *dp_batch_try(DpBatchStep step, void *arg);

/* The same; *out_sqlstate is set where it fails. */
extern char *dp_batch_try_state(DpBatchStep step, void *arg, int *out_sqlstate);

/*
 * A lock on a piece of work that outlives transactions; false where another
 * session has it and wait is false.  The caller releases it also on error.
 */
extern bool dp_batch_lock(Oid catalog, uint32 object, bool wait);
extern void dp_batch_unlock(Oid catalog, uint32 object);

/*
 * One statement of ours, as the bootstrap superuser under the strict search
 * path; first column of the first row as text in the caller's context, NULL
 * where there is none.
 */
extern char *dp_batch_query(const char *sql, int nargs, Oid *types, Datum *values);

#endif							/* DP_SQLRUN_BATCH_COMMIT_H */
