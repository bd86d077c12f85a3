/*
 * client_statement.h
 *	  Run a statement in a worker as if a client had sent it.
 */
#ifndef DP_SQLRUN_CLIENT_STATEMENT_H
#define DP_SQLRUN_CLIENT_STATEMENT_H

#include "postgres.h"

/*
 * Parse, plan and run one statement at the top level, in transactions of its
 * own: VACUUM works, and a procedure may commit.  Rows are thrown away.  Only
 * outside a transaction.  An error is the caller's.
 */
extern void dp_client_statement_execute(const char *sql);

#endif							/* DP_SQLRUN_CLIENT_STATEMENT_H */
