/*
 * kept_plan.h
 *	  Statements that are prepared once a session.
 *
 * A worker that deletes one account after the other runs the same statements each
 * time: parsing and analysing them costs more than a few rows do.
 */
#ifndef DP_SQLRUN_KEPT_PLAN_H
#define DP_SQLRUN_KEPT_PLAN_H

#include "postgres.h"

#include "executor/spi.h"

/*
 * dp_run_as_prepare() for the current role, or what it made of the same text and
 * types for that role before.  The plan is the session's: not to be freed, and good
 * until the next call.  One that is to be rewritten, or that depends on row security,
 * is made anew.  Still to be settled before each use (dp_run_as_settle()): rights are
 * asked then.
 */
extern SPIPlanPtr dp_kept_plan(const char *sql, int nargs, Oid *types);

#endif							/* DP_SQLRUN_KEPT_PLAN_H */
