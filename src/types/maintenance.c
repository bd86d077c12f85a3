/*
 * maintenance.c
 *	  Telling index maintenance from a user's comparison.
 *
 * An index access method calls its support functions with fn_expr set to the
 * index's options, a Const of type bytea (PostgreSQL 13 and newer), which nothing
 * in SQL can do, or, for the operators of a scan, without fn_expr, with a page
 * locked and interrupts held.  Interrupts are held as well in what a support
 * function calls (subtype_diff of a range): but there a procedural language, SQL
 * included, has pushed an error context, or an executor begun.  (A user's index scan reaches a
 * comparator with a page locked as well; the planner does not show such indexes
 * to roles without the right: hidden_index.c.)
 *
 * The sort of an index build does neither.  It is recognised when it is set up,
 * by the operator class's sort support function, and only there: a sort over
 * tuples (ssup_attno > 0) that begins while no executor runs inside the innermost
 * utility command, and with the error context that this command began with, so
 * that no procedural language is running either.  A user's sort over tuples needs
 * an executor; what else compares within a utility command (arrays and records in
 * USING, CHECK, index expressions) sets up no such sort.
 *
 * A referential-integrity query is recognised as the executor run that enters the
 * security context NOFORCE_RLS.  The context itself is not enough: triggers that
 * a cascade fires run within it.  Nor is the run: CHECK constraints, generated
 * columns, index expressions and WHEN conditions are evaluated in it, and functions
 * are folded and inlined while it is planned.  What is exempt is "=", in an
 * expression of its own plan, between a column and the value that the RI trigger
 * passes, with nothing entered in between: no error context, no other executor or
 * planner, no function of an ordinary role (base/statement.h).
 */
#include "postgres.h"

#include "access/parallel.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "commands/copy.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "replication/logicalworker.h"
#include "types/maintenance.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/memutils.h"

/*
 * COPY's own context is the one that may lie above it.  Workers that apply a
 * subscription's changes, and constraints checked at commit, have no frame.
 */
bool
dp_maintenance_nothing_entered(void)
{
	ErrorContextCallback *top = error_context_stack;

	if (dp_n_code > dp_frame->n_code)
		return false;
	if (!DP_IN_STATEMENT())
		return top == NULL || IsLogicalWorker();
	if (top != dp_frame->error_context && top != NULL && top->callback == CopyFromErrorCallback)
		top = top->previous;
	return top == dp_frame->error_context;
}

/* Is a page locked that was not when the innermost frame began? */
static bool
page_locked_since(void)
{
	return InterruptHoldoffCount > dp_frame->held;
}

/* Is the innermost frame a referential-integrity query's own, and nothing in it? */
static bool
in_ri_query(void)
{
	return dp_frame->is_ri && dp_maintenance_nothing_entered();
}

/* A stored value, put into a plan in a parameter's place. */
static bool
is_stored_constant(Const *constant)
{
	return !constant->constisnull && dp_type_is_encrypted(constant->consttype) &&
		dp_value_is_stored(constant->constvalue);
}

/* What the RI trigger passed: its parameter, or what a custom plan made of it. */
static bool
is_passed(Node *arg)
{
	if (IsA(arg, RelabelType))
		arg = (Node *) ((RelabelType *) arg)->arg;
	return (IsA(arg, Param) && ((Param *) arg)->paramkind == PARAM_EXTERN) ||
		(IsA(arg, Const) && is_stored_constant((Const *) arg));
}

static bool
is_column(Node *arg)
{
	if (IsA(arg, RelabelType))
		arg = (Node *) ((RelabelType *) arg)->arg;
	return IsA(arg, Var);
}

/*
 * Does an operator of an RI query compare a column with what the RI trigger
 * passed?  Nothing else in it does: a CHECK, an index's expression or a generated
 * column that is evaluated within has no parameter.
 */
static bool
compares_for_ri(Node *expr)
{
	Node	   *left;
	Node	   *right;

	if (!IsA(expr, OpExpr) || list_length(((OpExpr *) expr)->args) != 2)
		return false;
	left = linitial(((OpExpr *) expr)->args);
	right = lsecond(((OpExpr *) expr)->args);
	return (is_column(left) && is_passed(right)) || (is_passed(left) && is_column(right));
}

/*
 * Does referential integrity ask whether a row's key has changed?  It keeps the
 * operators for that, alone among all callers, in TopMemoryContext, and calls
 * them without an expression.
 */
static bool
compares_keys_for_ri(FmgrInfo *flinfo)
{
	return flinfo != NULL && flinfo->fn_mcxt == TopMemoryContext && dp_maintenance_nothing_entered();
}

bool
dp_maintenance_calls(FunctionCallInfo fcinfo, bool equality)
{
	Node	   *expr = fcinfo->flinfo != NULL ? fcinfo->flinfo->fn_expr : NULL;

	if (expr == NULL)
		return (page_locked_since() && dp_maintenance_nothing_entered()) ||
			(equality && compares_keys_for_ri(fcinfo->flinfo));
	if (IsA(expr, Const))
		return ((Const *) expr)->consttype == BYTEAOID;
	return equality && in_ri_query() && (dp_frame->kind == DP_FRAME_RUN || dp_frame->kind == DP_FRAME_START) &&
		compares_for_ri(expr);
}

bool
dp_maintenance_is_referential(void)
{
	/* Its planner's frame, or between its frames: the trigger is about to enter one. */
	return InNoForceRLSOperation() && (!dp_frame->within_ri || in_ri_query());
}

bool
dp_maintenance_sorts(SortSupport ssup)
{
	if (ssup->ssup_attno <= 0)
		return false;
	if (!DP_IN_STATEMENT())
		return IsParallelWorker() && error_context_stack == NULL;
	return dp_frame->kind == DP_FRAME_UTILITY && error_context_stack == dp_frame->error_context;
}
