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

#include "base/compat.h"
#include "executor/spi.h"
#include "nodes/nodes.h"

/* Only our own text and system catalogs: for everything that chooses rows. */
#define DP_RUN_AS_STRICT_PATH "pg_catalog, pg_temp"

typedef struct DpRunAs
{
	Oid			saved_user;
	int			saved_context;
	int			guc_level;
	int			outer_running;
} DpRunAs;

/* Register the transaction callbacks; from _PG_init only. */
extern void dp_run_as_init(void);

/*
 * Is the planner at work for a statement between dp_run_as_begin() and
 * dp_run_as_end(), and not for what that calls?
 */
extern bool dp_run_as_plans(void);

/*
 * Become role until dp_run_as_end().  row_security is off: a statement that a
 * policy would silently narrow is an error instead.  An error in between is
 * undone by the abort of the surrounding (sub)transaction.
 */
extern void dp_run_as_begin(DpRunAs *state, Oid role, const char *search_path);
extern void dp_run_as_end(DpRunAs *state);

/*
 * SPI_prepare() as the current role, with the policies of its own tables set
 * aside where FORCE ROW LEVEL SECURITY puts it under them: the owner could lift
 * that anyway, and rows that are due hide from nobody.  Policies of tables of
 * others stay, and so does the error.  Only parse and rewrite are in that state:
 * no code of a user runs, and what is executed is no referential integrity
 * (types/maintenance.h).  So a plan must be executed as the same role, before
 * anything that makes it be rewritten: at once, or while dp_run_as_keeps() says
 * so.  Raises an error where the statement cannot be prepared.
 */
extern SPIPlanPtr dp_run_as_prepare(const char *sql, int nargs, Oid *types, int cursor_options);

/* May a plan serve in a later transaction?  Not one that depends on row security. */
extern bool dp_run_as_keeps(SPIPlanPtr plan);

/* A setting until dp_run_as_end(). */
extern void dp_run_as_set(const char *name, const char *value);

/* Between dp_run_as_begin() and dp_run_as_end(): is that inside of another such pair? */
extern bool dp_run_as_is_nested(void);

/*
 * Become the bootstrap superuser, for our own catalogs only: no user-defined
 * code may run before dp_run_as_end().
 */
extern void dp_run_as_system(DpRunAs *state);

/*
 * Between dp_run_as_begin() and the execution of a plan: code that hangs on a
 * table (expressions of its indexes, its constraints) runs already when a query
 * on it is planned.  So a plan names only tables whose owners have the rights of
 * the current role anyway; any other, partitions and children included, is an
 * error that names the table and its owner.
 *
 * Where the current role is a superuser and the plan names a table of an
 * ordinary role, that role is the current one from here on; where it calls a
 * function of an ordinary role, that is an error.
 */
extern void dp_run_as_settle(SPIPlanPtr plan);

/* Does an expression or a query call functions of somebody who is no superuser? */
extern bool dp_run_as_foreign_code(Node *node);

/* The error for a table whose owner's code ("a trigger") would get the rights of a role. */
pg_noreturn extern void dp_run_as_report_owner(Oid relid, Oid owner, Oid role, const char *code);

/* Owner of a relation; an error where it is gone. */
extern Oid	dp_run_as_owner(Oid relid);

/*
 * The search path under which triggers of a relation run: the system's, then
 * the relation's schema (palloc'd).
 */
extern char *dp_run_as_trigger_path(Oid relid);

#endif							/* DP_SQLRUN_RUN_AS_H */
