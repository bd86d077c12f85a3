/*
 * toplevel.h
 *	  Run a statement in a worker as if a client had sent it.
 */
#ifndef DP_LIFECYCLE_TOPLEVEL_H
#define DP_LIFECYCLE_TOPLEVEL_H

#include "postgres.h"

/*
 * Parse, plan and run one statement at the top level, in transactions of its
 * own: VACUUM works, and a procedure may commit.  Rows are thrown away.  Only
 * outside a transaction.  An error is the caller's.
 */
extern void dp_toplevel_execute(const char *sql);

#endif							/* DP_LIFECYCLE_TOPLEVEL_H */
