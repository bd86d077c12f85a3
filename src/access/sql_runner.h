/*
 * sql_runner.h
 *	  Functions that run SQL that they are told.
 *
 * query_to_xml(), ts_stat() and their like run a text as a statement of whoever
 * evaluates the expression in which they stand, and that may be an expression
 * that somebody else has stored: a default, a view, a policy, a rule, a CHECK, a
 * domain's, a trigger's condition, an argument's default.  The function manager's
 * hook does not see PostgreSQL's own functions, so
 *	- those of PostgreSQL are refused, as their expression is made ready to run,
 *	  to a role that has something to lose.  What a statement says in its own words, and
 *	  what superusers' views say, runs by columns/own_runner.h instead.
 *	- those in C of extensions that may run SQL count, where they stand in a stored
 *	  expression or are a trigger's, as code of somebody who may see nothing
 *	- superusers' in procedural languages whose source runs statements that it puts together
 *	  (EXECUTE), and that take more than numbers and times, count likewise; so do those, in SQL
 *	  too, whose source calls such a function by its name, or one that does
 *	- those that leave the session (dblink, pg_cron) are refused there, and to code of others
 *
 * set_config() is one of them, as it changes what later statements of the role mean.  Its calls run
 * by columns/own_runner.h wherever a statement has them, and are judged with their arguments
 * (foreign_code.h).
 *
 * A stored expression is told by dp_call_is_stored() (base/statement.h).
 */
#ifndef DP_ACCESS_SQL_RUNNER_H
#define DP_ACCESS_SQL_RUNNER_H

#include "postgres.h"

typedef enum DpSqlRunner
{
	DP_RUNNER_NONE,
	DP_RUNNER_BODY,				/* a superuser's in SQL that calls one: never inlined, and its own
								 * code */
	DP_RUNNER_HERE,				/* may run SQL in this session */
	DP_RUNNER_TRIGGER,			/* ... as a trigger */
	DP_RUNNER_ELSEWHERE			/* ... in another session, as the same role */
} DpSqlRunner;

/* One of PostgreSQL's own? */
extern bool dp_sql_runner_is_builtin(Oid function);

/* What a superuser's function, or one in C of an extension, may do; reads the catalog. */
extern DpSqlRunner dp_sql_runner_kind(Oid function);

/* Is a role an administrator's or an auditor's, superusers included? */
extern bool dp_sql_runner_administers(Oid role);

/* Has the current role, as limited by what runs, something to lose: a right on a key, or power? */
extern bool dp_sql_runner_at_stake(void);

/*
 * any_right: has the current role, as limited by what runs, a right on some key?  lesser: does
 * code of others run that may see less than the current role (foreign_code.h)?
 */
extern void dp_sql_runner_init(bool (*any_right) (void), bool (*lesser) (void));

#endif							/* DP_ACCESS_SQL_RUNNER_H */
