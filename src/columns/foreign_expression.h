/*
 * foreign_expression.h
 *	  Expressions that others put into a reader's query.
 *
 * Functions of ordinary roles are foreign code wherever they run
 * (access/foreign_code.h).  An expression of a view, a policy or a rule may do
 * without one: a volatile function of PostgreSQL's own (pg_notify(),
 * set_config(), lo_put()) carries a value off just as well, and so does a rule's
 * action by an assignment.  Where the owner of such an expression may see less
 * of some key than the current role, planning is refused, and execution of a plan that
 * was made before,
 *	- of a view or policy that hands anything but constants to a volatile
 *	  function, over tables with protected columns
 *	- of a rule's action that computes anything from a protected column
 * Views and policies with other built-in functions and operators go on, unless
 * they decide by a value what is called (foreign_condition.h).  A CHECK
 * and the condition of a trigger are planned by nobody: the guard refuses such
 * ones as they are made (guard.h).
 */
#ifndef DP_COLUMNS_FOREIGN_EXPRESSION_H
#define DP_COLUMNS_FOREIGN_EXPRESSION_H

#include "postgres.h"

#include "nodes/parsenodes.h"

/* Does an expression hand an encrypted value to a volatile function, or to an ordinary role's? */
extern bool dp_foreign_expression_passes_on(Node *expr);

/* A volatile function of a superuser's that could carry something off. */
extern bool dp_foreign_expression_carries(Oid function);

/* Owner of a relation, or InvalidOid. */
extern Oid	dp_foreign_expression_owner(Oid relid);

/* May there be expressions of others in a query?  Most have none. */
extern bool dp_foreign_expression_may_be(Query *query);

/* Subscribe; from _PG_init only. */
extern void dp_foreign_expression_init(void);

#endif							/* DP_COLUMNS_FOREIGN_EXPRESSION_H */
