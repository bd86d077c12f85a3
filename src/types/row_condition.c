/*
 * row_condition.c
 *	  Conditions that a table puts to the rows that are written to it; see
 *	  row_condition.h.
 */
#include "postgres.h"

#include "access/access.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/statement.h"
#include "nodes/plannodes.h"
#include "nodes/primnodes.h"
#include "replication/logicalworker.h"
#include "types/plan_place.h"
#include "types/row_condition.h"
#include "types/seal.h"
#include "types/storing.h"
#include "utils/memutils.h"

/* The names that PostgreSQL gives to the memory of an executor's state, and of domains' constraints. */
#define EXECUTOR_CONTEXT "ExecutorState"
#define DOMAIN_CONTEXT "Domain constraints"

/*
 * Was the call's expression prepared by the executor itself, which reads
 * constraints and conditions from the catalogs?  Those of plans are older than
 * its memory.  Or is it the condition of a domain?
 */
static bool
is_prepared_in(FmgrInfo *flinfo, const char *context)
{
	Node	   *expr = flinfo != NULL ? flinfo->fn_expr : NULL;

	if (expr == NULL)
		return false;
	switch (nodeTag(expr))
	{
		case T_FuncExpr:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
			return strcmp(GetMemoryChunkContext(expr)->name, context) == 0;
		default:
			return false;
	}
}

static bool
updates_on_conflict(const Plan *plan)
{
	return plan != NULL && IsA(plan, ModifyTable) &&
		((const ModifyTable *) plan)->onConflictAction == ONCONFLICT_UPDATE;
}

/* May the row hold values that were in it before? */
static bool
changes_rows(void)
{
	if (dp_seal_takes_ciphertext())
		return true;
	if (!DP_IN_STATEMENT())
		return IsLogicalWorker();
	switch (dp_frame->command)
	{
		case CMD_UPDATE:
		case CMD_MERGE:
			return true;
		case CMD_INSERT:
			return dp_frame->plan != NULL && updates_on_conflict(dp_frame->plan->planTree);
		case CMD_UTILITY:
			/* the type of another column changes, and the table's rules are made again */
			return dp_storing_is_strict();
		default:
			return false;
	}
}

bool
dp_row_condition_is_stored(FmgrInfo *flinfo)
{
	return dp_frame->command != CMD_SELECT && is_prepared_in(flinfo, EXECUTOR_CONTEXT) &&
		(dp_frame->plan == NULL || dp_plan_place_of_copy(dp_frame->plan, flinfo->fn_expr) == DP_PLACE_NOWHERE);
}

static bool
is_row_condition(FmgrInfo *flinfo)
{
	return dp_n_code == 0 && dp_row_condition_is_stored(flinfo);
}

bool
dp_row_condition_awaits_key(FmgrInfo *flinfo, const struct varlena *datum)
{
	return unlikely(dp_guc_input == DP_INPUT_CIPHERTEXT) &&
		(is_row_condition(flinfo) || (dp_n_code == 0 && is_prepared_in(flinfo, DOMAIN_CONTEXT))) &&
		dp_seal_awaits_keys() && dp_value_is_stored(PointerGetDatum(datum));
}

DpRowView
dp_row_condition_view(FmgrInfo *flinfo, const DpValue *value)
{
	if (!is_row_condition(flinfo))
		return DP_ROW_NONE;
	if (dp_seal_is_own(value->datum))
		return DP_ROW_OWN;
	if (dp_access_privilege(value->family) == DP_PRIV_REVEAL)
		return DP_ROW_NONE;
	if (!changes_rows())
		dp_access_denied(value->family, "reveal");
	return DP_ROW_UNSEEN;
}

/* OLD and NEW of a trigger's condition are told by these two numbers alone. */
bool
dp_row_condition_asks_change(FmgrInfo *flinfo)
{
	List	   *args;
	Var		   *left;
	Var		   *right;

	if (!IsA(flinfo->fn_expr, DistinctExpr) && !IsA(flinfo->fn_expr, OpExpr))
		return false;
	args = ((OpExpr *) flinfo->fn_expr)->args;
	left = linitial(args);
	right = lsecond(args);
	return IsA(left, Var) && IsA(right, Var) && left->varattno == right->varattno &&
		((left->varno == INNER_VAR && right->varno == OUTER_VAR) ||
		 (left->varno == OUTER_VAR && right->varno == INNER_VAR));
}
