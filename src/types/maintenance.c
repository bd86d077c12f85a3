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
 * a cascade fires run within it.  Nor is the run: CHECK constraints and WHEN
 * conditions are evaluated in that of a cascade, so there only an operator with
 * the value that the RI trigger passes is exempt.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "base/compat.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/copy.h"
#include "executor/executor.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "replication/logicalworker.h"
#include "tcop/utility.h"
#include "types/maintenance.h"
#include "types/types.h"
#include "types/value.h"

typedef enum FrameKind
{
	FRAME_START,				/* ExecutorStart */
	FRAME_EXECUTOR,				/* ExecutorRun */
	FRAME_AFTER,				/* ExecutorFinish: AFTER triggers fire */
	FRAME_UTILITY				/* ProcessUtility */
} FrameKind;

typedef struct Frame
{
	FrameKind	kind;
	CmdType		command;
	bool		within_ri;		/* NOFORCE_RLS when it was entered */
	uint32		held;			/* InterruptHoldoffCount when it was entered */
	ErrorContextCallback *error_context;	/* when it was entered */
	struct Frame *outer;
} Frame;

static Frame *innermost = NULL;

static ExecutorStart_hook_type prev_ExecutorStart = NULL;
static ExecutorRun_hook_type prev_ExecutorRun = NULL;
static ExecutorFinish_hook_type prev_ExecutorFinish = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;

static void
push_frame(Frame *frame, FrameKind kind, CmdType command)
{
	frame->kind = kind;
	frame->command = command;
	frame->within_ri = InNoForceRLSOperation();
	frame->held = InterruptHoldoffCount;
	frame->error_context = error_context_stack;
	frame->outer = innermost;
	innermost = frame;
}

static void
start_executor(QueryDesc *desc, int eflags)
{
	Frame		frame;

	push_frame(&frame, FRAME_START, desc->operation);
	PG_TRY();
	{
		if (prev_ExecutorStart)
			prev_ExecutorStart(desc, eflags);
		else
			standard_ExecutorStart(desc, eflags);
	}
	PG_FINALLY();
	{
		innermost = frame.outer;
	}
	PG_END_TRY();
}

static void
run_executor(QueryDesc *desc, ScanDirection direction, uint64 count DP_EXECUTE_ONCE_PARAM)
{
	Frame		frame;

	dp_keys_follow_replay();
	push_frame(&frame, FRAME_EXECUTOR, desc->operation);
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
	Frame		frame;

	dp_keys_follow_replay();
	push_frame(&frame, FRAME_UTILITY, CMD_UTILITY);
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

static void
finish_executor(QueryDesc *desc)
{
	Frame		frame;

	push_frame(&frame, FRAME_AFTER, desc->operation);
	PG_TRY();
	{
		if (prev_ExecutorFinish)
			prev_ExecutorFinish(desc);
		else
			standard_ExecutorFinish(desc);
	}
	PG_FINALLY();
	{
		innermost = frame.outer;
	}
	PG_END_TRY();
}

/*
 * Has nothing that a user wrote been entered since the innermost frame began?
 * COPY's own context is the one that may lie above it.  Workers that apply a
 * subscription's changes, and constraints checked at commit, have no frame.
 */
static bool
nothing_entered_since(void)
{
	ErrorContextCallback *top = error_context_stack;

	if (innermost == NULL)
		return top == NULL || IsLogicalWorker();
	if (top != innermost->error_context && top != NULL && top->callback == CopyFromErrorCallback)
		top = top->previous;
	return top == innermost->error_context;
}

/* Is a page locked that was not when the innermost frame began? */
static bool
page_locked_since(void)
{
	return InterruptHoldoffCount > (innermost != NULL ? innermost->held : 0);
}

/* Is the innermost thing running a referential-integrity query itself? */
static bool
in_ri_query(void)
{
	return innermost != NULL && innermost->within_ri &&
		(innermost->kind == FRAME_EXECUTOR || innermost->kind == FRAME_START) &&
		(innermost->outer == NULL || !innermost->outer->within_ri) && nothing_entered_since();
}

/* A stored value, put into a plan in a parameter's place. */
static bool
is_stored_constant(Const *constant)
{
	return !constant->constisnull && dp_type_is_encrypted(constant->consttype) &&
		dp_value_is_stored(constant->constvalue);
}

/* Does an operator of an RI query compare with what the RI trigger passed? */
static bool
compares_for_ri(Node *expr)
{
	ListCell   *lc;

	if (!IsA(expr, OpExpr))
		return false;
	if (innermost->command == CMD_SELECT)
		return true;			/* it looks a row up and does nothing else */
	foreach(lc, ((OpExpr *) expr)->args)
	{
		Node	   *arg = lfirst(lc);

		if (IsA(arg, RelabelType))
			arg = (Node *) ((RelabelType *) arg)->arg;
		if ((IsA(arg, Param) && ((Param *) arg)->paramkind == PARAM_EXTERN) ||
			(IsA(arg, Const) && is_stored_constant((Const *) arg)))
			return true;
	}
	return false;
}

bool
dp_maintenance_calls(FunctionCallInfo fcinfo)
{
	Node	   *expr = fcinfo->flinfo != NULL ? fcinfo->flinfo->fn_expr : NULL;

	if (expr == NULL)
		return page_locked_since() && nothing_entered_since();
	if (IsA(expr, Const))
		return ((Const *) expr)->consttype == BYTEAOID;
	return in_ri_query() && compares_for_ri(expr);
}

bool
dp_maintenance_is_referential(void)
{
	return InNoForceRLSOperation() &&
		(innermost == NULL || !innermost->within_ri || in_ri_query());
}

bool
dp_maintenance_sorts(SortSupport ssup)
{
	if (ssup->ssup_attno <= 0)
		return false;
	if (innermost == NULL)
		return IsParallelWorker() && error_context_stack == NULL;
	return innermost->kind == FRAME_UTILITY && error_context_stack == innermost->error_context;
}

void
dp_maintenance_init(void)
{
	prev_ExecutorStart = ExecutorStart_hook;
	ExecutorStart_hook = start_executor;
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = run_executor;
	prev_ExecutorFinish = ExecutorFinish_hook;
	ExecutorFinish_hook = finish_executor;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = run_utility;
}
