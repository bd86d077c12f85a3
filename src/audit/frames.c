/*
 * frames.c
 *	  Planner, executor and utility hooks.  They count depth and pass on which
 *	  query runs; what is opened is counted by the functions that open it.
 */
#include "postgres.h"

#include "audit/frames.h"
#include "base/compat.h"
#include "executor/executor.h"
#include "optimizer/planner.h"
#include "tcop/utility.h"
#include "utils/elog.h"

int			dp_audit_depth = 0;
int			dp_audit_copy_to_depth = 0;

static planner_hook_type previous_planner = NULL;
static ExecutorStart_hook_type previous_start = NULL;
static ExecutorRun_hook_type previous_run = NULL;
static ExecutorFinish_hook_type previous_finish = NULL;
static ExecutorEnd_hook_type previous_end = NULL;
static ProcessUtility_hook_type previous_utility = NULL;

/* Around a call: deeper, and back whatever happens. */
#define BEGIN_FRAME() \
	dp_audit_depth++; \
	PG_TRY(); \
	{
#define END_FRAME() \
	} \
	PG_CATCH(); \
	{ \
		dp_audit_depth--; \
		dp_audit_note_error(geterrcode()); \
		PG_RE_THROW(); \
	} \
	PG_END_TRY(); \
	dp_audit_depth--

static PlannedStmt *
plan_query(Query *query, const char *source, int options, ParamListInfo params)
{
	PlannedStmt *volatile result = NULL;

	if (dp_audit_depth == 0)
		dp_audit_begin(source, true);
	BEGIN_FRAME();
	result = previous_planner ? previous_planner(query, source, options, params) :
		standard_planner(query, source, options, params);
	END_FRAME();
	return result;
}

static void
start_executor(QueryDesc *query, int flags)
{
	dp_audit_start_query(query);
	BEGIN_FRAME();
	if (previous_start)
		previous_start(query, flags);
	else
		standard_ExecutorStart(query, flags);
	END_FRAME();
}

static void
run_executor(QueryDesc *query, ScanDirection direction, DP_EXECUTOR_RUN_PARAMS)
{
	dp_audit_run_query(query);
	BEGIN_FRAME();
	if (previous_run)
		previous_run(query, direction, DP_EXECUTOR_RUN_ARGS);
	else
		standard_ExecutorRun(query, direction, DP_EXECUTOR_RUN_ARGS);
	END_FRAME();
}

static void
finish_executor(QueryDesc *query)
{
	BEGIN_FRAME();
	if (previous_finish)
		previous_finish(query);
	else
		standard_ExecutorFinish(query);
	END_FRAME();
}

static void
end_executor(QueryDesc *query)
{
	dp_audit_end_query(query);
	BEGIN_FRAME();
	if (previous_end)
		previous_end(query);
	else
		standard_ExecutorEnd(query);
	END_FRAME();
}

/* Apart from run_utility(), since PG_TRY blocks must not nest in one function. */
static void
run_next_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
				 ProcessUtilityContext context, ParamListInfo params,
				 QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	BEGIN_FRAME();
	if (previous_utility)
		previous_utility(pstmt, query, read_only_tree, context, params, environment, dest, completion);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest,
								completion);
	END_FRAME();
}

static void
run_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion)
{
	Node	   *statement = pstmt->utilityStmt;
	bool		is_copy_to = IsA(statement, CopyStmt) && !((CopyStmt *) statement)->is_from;
	int			old_copy_to_depth = dp_audit_copy_to_depth;

	if (dp_audit_depth == 0)
		dp_audit_begin(query, false);
	dp_audit_utility(statement);
	PG_TRY();
	{
		if (is_copy_to)
			dp_audit_copy_to_depth++;
		run_next_utility(pstmt, query, read_only_tree, context, params, environment, dest,
						 completion);
	}
	PG_FINALLY();
	{
		dp_audit_copy_to_depth = old_copy_to_depth;
	}
	PG_END_TRY();
}

void
dp_audit_install_hooks(void)
{
	previous_planner = planner_hook;
	planner_hook = plan_query;
	previous_start = ExecutorStart_hook;
	ExecutorStart_hook = start_executor;
	previous_run = ExecutorRun_hook;
	ExecutorRun_hook = run_executor;
	previous_finish = ExecutorFinish_hook;
	ExecutorFinish_hook = finish_executor;
	previous_end = ExecutorEnd_hook;
	ExecutorEnd_hook = end_executor;
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = run_utility;
}
