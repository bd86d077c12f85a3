/*
 * plan_place.c
 *	  In which part of a plan an expression's node stands; see plan_place.h.
 *
 * Expressions of a plan node are conditions, or they are made into its rows.  A
 * kind of node that is not listed here may hold the expression anywhere.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "types/plan_place.h"

typedef struct Search
{
	Node	   *wanted;
	const Plan *top;			/* of the statement itself */
	DpPlace		place;
} Search;

static bool
find_walker(Node *node, void *wanted)
{
	if (node == NULL)
		return false;
	return node == (Node *) wanted || expression_tree_walker(node, find_walker, wanted);
}

static bool
has(const Search *search, void *expressions)
{
	return expressions != NULL && find_walker((Node *) expressions, search->wanted);
}

static bool
found(Search *search, DpPlace place)
{
	search->place = place;
	return true;
}

static bool
search_condition(Search *search, void *expressions)
{
	return has(search, expressions) && found(search, DP_PLACE_CONDITION);
}

static bool
search_rows(Search *search, void *expressions)
{
	return has(search, expressions) && found(search, DP_PLACE_ELSEWHERE);
}

static bool search_plan(Search *search, const Plan *plan);

static bool
search_plans(Search *search, List *plans)
{
	ListCell   *lc;

	foreach(lc, plans)
	{
		if (search_plan(search, (const Plan *) lfirst(lc)))
			return true;
	}
	return false;
}

static bool
search_modify(Search *search, const ModifyTable *modify)
{
	ListCell   *lc;

	if (has(search, modify->returningLists))
		return found(search, &modify->plan == search->top ? DP_PLACE_RETURNED : DP_PLACE_ELSEWHERE);
	if (search_condition(search, modify->withCheckOptionLists) ||
		search_condition(search, modify->onConflictWhere) ||
		search_rows(search, modify->onConflictSet))
		return true;
	foreach(lc, modify->mergeActionLists)
	{
		ListCell   *action;

		foreach(action, (List *) lfirst(lc))
		{
			MergeAction *merge = lfirst_node(MergeAction, action);

			if (search_condition(search, merge->qual) || search_rows(search, merge->targetList))
				return true;
		}
	}
	return false;
}

static bool
search_join(Search *search, const Join *join)
{
	ListCell   *lc;

	if (search_condition(search, join->joinqual))
		return true;
	if (IsA(join, MergeJoin))
		return search_condition(search, ((const MergeJoin *) join)->mergeclauses);
	if (IsA(join, HashJoin))
		return search_condition(search, ((const HashJoin *) join)->hashclauses) ||
			search_condition(search, ((const HashJoin *) join)->hashkeys);
	foreach(lc, ((const NestLoop *) join)->nestParams)
	{
		if (search_rows(search, lfirst_node(NestLoopParam, lc)->paramval))
			return true;
	}
	return false;
}

static bool
search_scan(Search *search, const Plan *plan)
{
	switch (nodeTag(plan))
	{
		case T_IndexScan:
			return search_condition(search, ((const IndexScan *) plan)->indexqual) ||
				search_condition(search, ((const IndexScan *) plan)->indexqualorig) ||
				search_condition(search, ((const IndexScan *) plan)->indexorderby) ||
				search_condition(search, ((const IndexScan *) plan)->indexorderbyorig);
		case T_IndexOnlyScan:
			return search_condition(search, ((const IndexOnlyScan *) plan)->indexqual) ||
				search_condition(search, ((const IndexOnlyScan *) plan)->recheckqual) ||
				search_condition(search, ((const IndexOnlyScan *) plan)->indexorderby) ||
				search_rows(search, ((const IndexOnlyScan *) plan)->indextlist);
		case T_BitmapIndexScan:
			return search_condition(search, ((const BitmapIndexScan *) plan)->indexqual) ||
				search_condition(search, ((const BitmapIndexScan *) plan)->indexqualorig);
		case T_BitmapHeapScan:
			return search_condition(search, ((const BitmapHeapScan *) plan)->bitmapqualorig);
		case T_TidScan:
			return search_condition(search, ((const TidScan *) plan)->tidquals);
		case T_TidRangeScan:
			return search_condition(search, ((const TidRangeScan *) plan)->tidrangequals);
		case T_FunctionScan:
			return search_rows(search, ((const FunctionScan *) plan)->functions);
		case T_TableFuncScan:
			return search_rows(search, ((const TableFuncScan *) plan)->tablefunc);
		case T_ValuesScan:
			return search_rows(search, ((const ValuesScan *) plan)->values_lists);
		case T_SampleScan:
			return search_condition(search, ((const SampleScan *) plan)->tablesample);
		case T_SubqueryScan:
			return search_plan(search, ((const SubqueryScan *) plan)->subplan);
		case T_SeqScan:
		case T_CteScan:
		case T_NamedTuplestoreScan:
		case T_WorkTableScan:
			return false;
		default:
			return found(search, DP_PLACE_ELSEWHERE);
	}
}

/* What a kind of node has beside target list, qualification and two inputs. */
static bool
search_own(Search *search, const Plan *plan)
{
	switch (nodeTag(plan))
	{
		case T_ModifyTable:
			return search_modify(search, (const ModifyTable *) plan);
		case T_NestLoop:
		case T_MergeJoin:
		case T_HashJoin:
			return search_join(search, (const Join *) plan);
		case T_Result:
			return search_condition(search, ((const Result *) plan)->resconstantqual);
		case T_Append:
			return search_plans(search, ((const Append *) plan)->appendplans);
		case T_MergeAppend:
			return search_plans(search, ((const MergeAppend *) plan)->mergeplans);
		case T_BitmapAnd:
			return search_plans(search, ((const BitmapAnd *) plan)->bitmapplans);
		case T_BitmapOr:
			return search_plans(search, ((const BitmapOr *) plan)->bitmapplans);
		case T_Memoize:
			return search_condition(search, ((const Memoize *) plan)->param_exprs);
		case T_WindowAgg:
			return search_rows(search, ((const WindowAgg *) plan)->startOffset) ||
				search_rows(search, ((const WindowAgg *) plan)->endOffset) ||
				search_condition(search, ((const WindowAgg *) plan)->runCondition) ||
				search_condition(search, ((const WindowAgg *) plan)->runConditionOrig);
		case T_Hash:
			return search_condition(search, ((const Hash *) plan)->hashkeys);
		case T_Limit:
			return search_rows(search, ((const Limit *) plan)->limitOffset) ||
				search_rows(search, ((const Limit *) plan)->limitCount);
		case T_ProjectSet:
		case T_RecursiveUnion:
		case T_Material:
		case T_Sort:
		case T_IncrementalSort:
		case T_Group:
		case T_Agg:
		case T_Unique:
		case T_Gather:
		case T_GatherMerge:
		case T_SetOp:
		case T_LockRows:
			return false;
		default:
			return search_scan(search, plan);
	}
}

static bool
search_plan(Search *search, const Plan *plan)
{
	if (plan == NULL)
		return false;
	check_stack_depth();
	/* the target list of a ModifyTable is what it returns */
	return search_condition(search, plan->qual) ||
		(!IsA(plan, ModifyTable) && search_rows(search, plan->targetlist)) ||
		search_own(search, plan) ||
		search_plan(search, plan->lefttree) || search_plan(search, plan->righttree);
}

/* ---- copies ---- */

static Oid
called(Node *node)
{
	switch (nodeTag(node))
	{
		case T_FuncExpr:
			return ((FuncExpr *) node)->funcid;
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			return ((OpExpr *) node)->opno;
		case T_ScalarArrayOpExpr:
			return ((ScalarArrayOpExpr *) node)->opno;
		default:
			return InvalidOid;
	}
}

static bool
calls_same_walker(Node *node, void *wanted)
{
	if (node == NULL)
		return false;
	return (nodeTag(node) == nodeTag(wanted) && called(node) == called(wanted)) ||
		expression_tree_walker(node, calls_same_walker, wanted);
}

static DpPlace
place_of_copy(const Plan *plan, Node *node)
{
	const ModifyTable *modify = (const ModifyTable *) plan;
	bool		condition = false;
	ListCell   *lc;

	if (plan == NULL || !IsA(plan, ModifyTable) || modify->rootRelation == 0 ||
		(modify->operation != CMD_INSERT && modify->operation != CMD_MERGE))
		return DP_PLACE_NOWHERE;
	if (calls_same_walker((Node *) modify->onConflictSet, node))
		return DP_PLACE_ELSEWHERE;
	foreach(lc, modify->mergeActionLists)
	{
		ListCell   *action;

		foreach(action, (List *) lfirst(lc))
		{
			MergeAction *merge = lfirst_node(MergeAction, action);

			if (calls_same_walker((Node *) merge->targetList, node))
				return DP_PLACE_ELSEWHERE;
			condition |= calls_same_walker(merge->qual, node);
		}
	}
	if (condition || calls_same_walker(modify->onConflictWhere, node))
		return DP_PLACE_CONDITION;
	return calls_same_walker((Node *) modify->returningLists, node) ? DP_PLACE_RETURNED : DP_PLACE_NOWHERE;
}

DpPlace
dp_plan_place_of_copy(const PlannedStmt *plan, Node *node)
{
	DpPlace		place = place_of_copy(plan->planTree, node);
	ListCell   *lc;

	foreach(lc, plan->hasModifyingCTE ? plan->subplans : NIL)
	{
		if (place != DP_PLACE_NOWHERE)
			break;
		place = place_of_copy(lfirst(lc), node);
		/* what a WITH query returns may go on */
		if (place == DP_PLACE_RETURNED)
			place = DP_PLACE_ELSEWHERE;
	}
	return place;
}

DpPlace
dp_plan_place(const PlannedStmt *plan, Node *node)
{
	Search		search = {node, plan->planTree, DP_PLACE_NOWHERE};

	if (search_plan(&search, plan->planTree))
	{
		/* Of a SELECT over WITH queries that write, nothing is stored but what they store. */
		if (search.place == DP_PLACE_ELSEWHERE && plan->commandType == CMD_SELECT && plan->hasModifyingCTE)
			return DP_PLACE_RETURNED;
		return search.place;
	}
	if (search_plans(&search, plan->subplans))
		return search.place;
	return dp_plan_place_of_copy(plan, node);
}
