/*
 * storing.c
 *	  Where what a function gives of a value goes; see storing.h.
 *
 * A function is told from others by its node of the plan: fn_expr points into it,
 * wherever the executor has put the expression.  What is called with a node that
 * the plan does not have, and with nothing entered since the frame began, belongs
 * to the table: constraints, trigger conditions.  What is called without a node
 * (output functions, the columns of a row) may be anywhere, but for error messages.
 */
#include "postgres.h"

#include "access/access.h"
#include "audit/protected_columns.h"
#include "base/compat.h"
#include "base/statement.h"
#include "events/event.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "types/maintenance.h"
#include "types/plan_place.h"
#include "types/storing.h"
#include "utils/lsyscache.h"

static int	strict_depth = 0;

void
dp_storing_begin_strict(void)
{
	strict_depth++;
}

void
dp_storing_end_strict(void)
{
	strict_depth--;
}

bool
dp_storing_is_strict(void)
{
	return strict_depth > 0;
}

/* Does a frame around this one write? */
static bool
writes_around(const DpStatementFrame *frame)
{
	for (frame = frame->outer; frame != NULL; frame = frame->outer)
	{
		if (frame->writes)
			return true;
	}
	return false;
}

/*
 * Is the detail of an error being made?  The executor does that, and referential
 * integrity, in memory where no expression is evaluated.
 */
static bool
is_reporting(void)
{
	return strcmp(CurrentMemoryContext->name, "ExecutorState") == 0 ||
		strcmp(CurrentMemoryContext->name, "SPI Proc") == 0;
}

/* Is the result of the call stored, as far as can be told? */
static bool
is_stored(FmgrInfo *flinfo, DpNotShown why)
{
	const DpStatementFrame *frame = dp_frame;
	Node	   *node = flinfo != NULL ? flinfo->fn_expr : NULL;
	bool		around;

	if (strict_depth > 0)
		return true;
	around = writes_around(frame) &&
		!(frame->writes && frame->outer->kind == DP_FRAME_UTILITY && !writes_around(frame->outer));
	if (around)
		return frame->kind != DP_FRAME_PLAN || !dp_maintenance_nothing_entered();
	if (!frame->writes || frame->kind == DP_FRAME_PLAN)
		return frame->writes && !dp_maintenance_nothing_entered();
	if (frame->plan == NULL || !dp_maintenance_nothing_entered())
		return true;
	if (node == NULL)
		return !is_reporting();
	switch (dp_plan_place(frame->plan, node))
	{
		case DP_PLACE_CONDITION:
			return why == DP_NOT_ALLOWED;
		case DP_PLACE_RETURNED:
		case DP_PLACE_NOWHERE:
			return false;
		case DP_PLACE_ELSEWHERE:
			break;
	}
	return true;
}

bool
dp_storing_would_store(FmgrInfo *flinfo)
{
	return is_stored(flinfo, DP_NOT_ALLOWED);
}

/* ---- the error ---- */

static bool
find_var(Node *node, void *found)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		*(Var **) found = (Var *) node;
		return true;
	}
	return expression_tree_walker(node, find_var, found);
}

/* Name of the column that a call reads, or NULL where it cannot be told. */
static char *
column_name(FmgrInfo *flinfo)
{
	List	   *rtable = dp_frame->plan != NULL ? dp_frame->plan->rtable : NIL;
	RangeTblEntry *rte;
	Var		   *var = NULL;

	if (flinfo == NULL || flinfo->fn_expr == NULL || !expression_tree_walker(flinfo->fn_expr, find_var, &var) ||
		var->varnosyn == 0 || var->varnosyn > list_length(rtable) || var->varattnosyn <= 0)
		return NULL;
	rte = rt_fetch(var->varnosyn, rtable);
	if (rte->rtekind == RTE_RELATION)
		return get_attname(rte->relid, var->varattnosyn, true);
	if (rte->eref == NULL || var->varattnosyn > list_length(rte->eref->colnames))
		return NULL;
	return strVal(list_nth(rte->eref->colnames, var->varattnosyn - 1));
}

static void
report_masked(const char *key, const char *column)
{
	dp_event_admin(DP_EVENT_ACCESS_DENIED, key, NULL);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 column != NULL ?
			 errmsg("permission denied to compute from column \"%s\" in a statement that writes", column) :
			 errmsg("permission denied to compute from protected values in a statement that writes"),
			 errdetail("Role \"%s\" sees a mask of the value under key \"%s\", and the mask would be stored.",
					   GetUserNameFromId(GetUserId(), true), key),
			 errhint("Write values of your own, leave the column out, or ask for privilege \"reveal\" on the key.")));
}

static void
report_unreadable(const char *key, const char *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 column != NULL ?
			 errmsg("a value of column \"%s\" under key \"%s\" cannot be read", column, key) :
			 errmsg("a value under key \"%s\" cannot be read", key),
			 errdetail("Its key is suspended, expired or destroyed; NULL would be stored in its place."),
			 errhint("Leave such rows out, or resume the key; nothing was changed.")));
}

void
dp_storing_refuse(FmgrInfo *flinfo, const DpValue *value, DpNotShown why)
{
	NameData	key;

	if (likely(!is_stored(flinfo, why)))
		return;
	/* a change of types needs the right, whatever it computes */
	if (why == DP_NOT_ALLOWED && dp_storing_is_strict())
		dp_access_denied(value->family, "reveal");
	key = dp_keys_family(value->family)->name;
	if (why == DP_NOT_ALLOWED)
		report_masked(NameStr(key), column_name(flinfo));
	report_unreadable(NameStr(key), column_name(flinfo));
}

/* ---- hooks ---- */

/*
 * A parallel worker does not know what runs around it: the leader does all.  Queries that read
 * no protected column go on as planned.
 */
static void
starting(QueryDesc *query)
{
	PlannedStmt *plan = query->plannedstmt;
	ListCell   *lc;

	if (likely(!plan->parallelModeNeeded) || !(dp_frame->writes || writes_around(dp_frame)))
		return;
	foreach(lc, plan->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION && dp_audit_relation(rte->relid)->n > 0)
			plan->parallelModeNeeded = false;
	}
}

static const DpSubscriber subscriber = {
	.name = "statements that store",
	.starting = starting,
};

void
dp_storing_init(void)
{
	dp_statement_subscribe(&subscriber);
}
