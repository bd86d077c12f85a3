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
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "tcop/utility.h"
#include "types/context.h"
#include "types/preload.h"

typedef struct Frame
{
	bool		builds_index;
	ErrorContextCallback *error_context;
	struct Frame *outer;
} Frame;

static Frame *innermost = NULL;

static ExecutorStart_hook_type prev_ExecutorStart = NULL;
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

/* Keys that ordered indexes of the statement's tables need are loaded now. */
static void
start_executor(QueryDesc *desc, int eflags)
{
	ListCell   *lc;

	foreach(lc, desc->plannedstmt->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION)
			dp_preload_relation(rte->relid);
	}
	if (prev_ExecutorStart)
		prev_ExecutorStart(desc, eflags);
	else
		standard_ExecutorStart(desc, eflags);
}

static void
preload_for_utility(Node *stmt)
{
	RangeVar   *rel = NULL;
	Oid			relid;

	if (IsA(stmt, CopyStmt))
		rel = ((CopyStmt *) stmt)->relation;
	else if (IsA(stmt, IndexStmt))
		rel = ((IndexStmt *) stmt)->relation;
	else if (IsA(stmt, AlterTableStmt))
		rel = ((AlterTableStmt *) stmt)->relation;
	else if (IsA(stmt, ReindexStmt))
		rel = ((ReindexStmt *) stmt)->relation;
	else if (IsA(stmt, ClusterStmt))
		rel = ((ClusterStmt *) stmt)->relation;
	if (rel == NULL)
		return;
	relid = RangeVarGetRelid(rel, NoLock, true);
	if (OidIsValid(relid))
		dp_preload_relation(relid);
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

	preload_for_utility(stmt->utilityStmt);
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
	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = start_executor;
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = run_executor;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = run_utility;
}
