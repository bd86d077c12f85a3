/*
 * run_as.h
 *	  Run statements with another role's rights.
 *
 * Retention and deletion are started by an administrator or a worker (the
 * bootstrap superuser) but touch tables on which their owners may have put
 * triggers.  Whoever wrote such a trigger must gain nothing by it, so the
 * statement runs as the table's owner inside a security-restricted operation:
 * no SET ROLE, no deferred trigger that would fire later with our rights, and
 * every setting that the code changed is taken back.
 */
#ifndef DP_SQLRUN_RUN_AS_H
#define DP_SQLRUN_RUN_AS_H

#include "postgres.h"

#include "executor/spi.h"
#include "nodes/nodes.h"

/* Only our own text and system catalogs: for everything that chooses rows. */
#define DP_RUN_AS_STRICT_PATH "pg_catalog, pg_temp"

typedef struct DpRunAs
{
	Oid			saved_user;
	int			saved_context;
	int			guc_level;
} DpRunAs;

/*
 * Become role until dp_run_as_end().  row_security is off: a statement that a
 * policy would silently narrow is an error instead.  An error in between is
 * undone by the abort of the surrounding (sub)transaction.
 */
extern void dp_run_as_begin(DpRunAs *state, Oid role, const char *search_path);
extern void dp_run_as_end(DpRunAs *state);

/*
 * Become the bootstrap superuser, for our own catalogs only: no user-defined
 * code may run before dp_run_as_end().
 */
extern void dp_run_as_system(DpRunAs *state);

/*
 * Between dp_run_as_begin() and the execution of a plan: code that hangs on a
 * table (expressions of its indexes, its constraints) runs already when a query
 * on it is planned, so a superuser reads no table of an ordinary role.  Where
 * the current role is a superuser and the plan names such a table, that table's
 * owner is the role from here on; where it calls a function of an ordinary role,
 * that is an error.
 */
extern void dp_run_as_settle(SPIPlanPtr plan);

/*
 * An error where the current role is a superuser and a change of the table
 * would fire a trigger that is an ordinary role's.
 */
extern void dp_run_as_check_triggers(Oid relid);

/* Does an expression or a query call functions of somebody who is no superuser? */
extern bool dp_run_as_foreign_code(Node *node);

/* Owner of a relation; an error where it is gone. */
extern Oid	dp_run_as_owner(Oid relid);

/*
 * The search path under which triggers of a relation run: the system's, then
 * the relation's schema (palloc'd).
 */
extern char *dp_run_as_trigger_path(Oid relid);

#endif							/* DP_SQLRUN_RUN_AS_H */
