/*
 * own_runner.h
 *	  Functions that run SQL, called in a statement's own words.
 *
 * A built-in function that runs SQL that it is told is refused where it is called
 * (access/sql_runner.h).  Before a query is planned, what stands in its own words, or in
 * a superuser's view or a function's body, is put in terms of functions of ours, which nobody can call
 * otherwise (calls of set_config() wherever they stand): they ask for the right on the function and do what it does.  Other calls there
 * that were stored get a location (dp_call_is_stored()).
 */
#ifndef DP_COLUMNS_OWN_RUNNER_H
#define DP_COLUMNS_OWN_RUNNER_H

#include "postgres.h"

#include "nodes/primnodes.h"

/* Could it be one that is changed?  Else a statement with it is not looked at. */
extern bool dp_own_runner_may_take(FuncExpr *call);

/* Change a query, or an expression, in its place. */
extern void dp_own_runner_take(Node *node);

#endif							/* DP_COLUMNS_OWN_RUNNER_H */
