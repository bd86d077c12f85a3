/*
 * context.c
 *	  Telling index maintenance from a user's comparison.
 *
 * An index access method calls its support functions with fn_expr set to the
 * index's options, a Const of type bytea (PostgreSQL 13 and newer), or, for the
 * operators of a scan, with a page locked and interrupts held.  The sort of an
 * index build does neither: its comparator has no fn_expr.  Arrays and records
 * compare without fn_expr too, so for that case we ask in addition that the
 * innermost thing running is the utility command that builds the index, and
 * that no procedural language has pushed an error context since it began:
 * nothing that a user wrote can run then.
 *
 * A user's index scan reaches a comparator with a page locked as well; the
 * planner does not show such indexes to roles without the right (hide.c).
 */
#include "postgres.h"

#include "access/parallel.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "tcop/utility.h"
#include "types/context.h"

typedef struct Frame
{
	bool		builds_index;
	ErrorContextCallback *error_context;
	struct Frame *outer;
} Frame;

static Frame *innermost = NULL;

static ExecutorRun_hook_type prev_ExecutorRun = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;

static bool
builds_index(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_IndexStmt:
		case T_ReindexStmt:
		case T_ClusterStmt:
		case T_VacuumStmt:
		case T_AlterTableStmt:
		case T_CreateStmt:
		case T_TruncateStmt:
			return true;
		default:
			return false;
	}
}

static void
run_executor(QueryDesc *desc, ScanDirection direction, uint64 count DP_EXECUTE_ONCE_PARAM)
{
	Frame		frame = {false, error_context_stack, innermost};

	innermost = &frame;
	PG_TRY();
	{
		if (prev_ExecutorRun)
			prev_ExecutorRun(desc, direction, count DP_EXECUTE_ONCE_ARG);
		else
			standard_ExecutorRun(desc, direction, count DP_EXECUTE_ONCE_ARG);
	}
	PG_FINALLY();
	{
		innermost = frame.outer;
	}
	PG_END_TRY();
}

static void
run_utility(PlannedStmt *stmt, const char *query, bool read_only, ProcessUtilityContext context,
			ParamListInfo params, QueryEnvironment *env, DestReceiver *dest, QueryCompletion *qc)
{
	Frame		frame = {builds_index(stmt->utilityStmt), error_context_stack, innermost};

	innermost = &frame;
	PG_TRY();
	{
		if (prev_ProcessUtility)
			prev_ProcessUtility(stmt, query, read_only, context, params, env, dest, qc);
		else
			standard_ProcessUtility(stmt, query, read_only, context, params, env, dest, qc);
	}
	PG_FINALLY();
	{
		innermost = frame.outer;
	}
	PG_END_TRY();
}

bool
dp_context_is_maintenance(FunctionCallInfo fcinfo)
{
	Node	   *expr = fcinfo->flinfo != NULL ? fcinfo->flinfo->fn_expr : NULL;

	if (InterruptHoldoffCount > 0)
		return true;
	if (expr != NULL)
		return (IsA(expr, Const) && ((Const *) expr)->consttype == BYTEAOID) ||
			InNoForceRLSOperation();
	if (InNoForceRLSOperation())
		return true;
	if (innermost == NULL)
		return IsParallelWorker() && error_context_stack == NULL;
	return innermost->builds_index && error_context_stack == innermost->error_context;
}

void
dp_context_init(void)
{
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = run_executor;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = run_utility;
}
