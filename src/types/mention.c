/*
 * mention.c
 *	  Could a query have to do with protected values at all? See mention.h.
 */
#include "postgres.h"

#include "access/transam.h"
#include "base/statement.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "types/mention.h"

/* The answer for the query that was asked about last, and when that was. */
static Query *asked = NULL;
static uint64 asked_at = 0;
static int	answer = 0;

/* Rows of no declared type may have fields of any. */
static inline bool
is_other_type(Oid type)
{
	return type >= FirstNormalObjectId || type == RECORDOID || type == RECORDARRAYOID;
}

#define IS_OTHER(object) ((object) >= FirstNormalObjectId)

static bool
any_other(const List *objects)
{
	ListCell   *lc;

	foreach(lc, objects)
	{
		if (IS_OTHER(lfirst_oid(lc)))
			return true;
	}
	return false;
}

static bool
functions_declare_other(const RangeTblEntry *rte)
{
	ListCell   *lc;

	foreach(lc, rte->functions)
	{
		if (any_other(lfirst_node(RangeTblFunction, lc)->funccoltypes))
			return true;
	}
	return false;
}

/* The node itself, not what is below it. */
static bool
is_other(Node *node)
{
	switch (nodeTag(node))
	{
		case T_Var:
			return is_other_type(((Var *) node)->vartype);
		case T_Const:
			return is_other_type(((Const *) node)->consttype);
		case T_Param:
			return is_other_type(((Param *) node)->paramtype);
		case T_FuncExpr:
			return IS_OTHER(((FuncExpr *) node)->funcid) || is_other_type(((FuncExpr *) node)->funcresulttype);
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			return IS_OTHER(((OpExpr *) node)->opno);
		case T_ScalarArrayOpExpr:
			return IS_OTHER(((ScalarArrayOpExpr *) node)->opno);
		case T_RowCompareExpr:
			return any_other(((RowCompareExpr *) node)->opnos);
		case T_Aggref:
			return IS_OTHER(((Aggref *) node)->aggfnoid);
		case T_WindowFunc:
			return IS_OTHER(((WindowFunc *) node)->winfnoid);
		case T_RelabelType:
			return is_other_type(((RelabelType *) node)->resulttype);
		case T_CoerceViaIO:
			return is_other_type(((CoerceViaIO *) node)->resulttype);
		case T_ArrayCoerceExpr:
			return is_other_type(((ArrayCoerceExpr *) node)->resulttype);
		case T_ArrayExpr:
			return is_other_type(((ArrayExpr *) node)->array_typeid);
		case T_RowExpr:
			/* of no type: its fields are below */
			return IS_OTHER(((RowExpr *) node)->row_typeid);
		case T_CaseTestExpr:
			return is_other_type(((CaseTestExpr *) node)->typeId);
			/* of the type of what is below, or of one of PostgreSQL's own */
		case T_BoolExpr:
		case T_NullTest:
		case T_BooleanTest:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CoalesceExpr:
		case T_MinMaxExpr:
		case T_CollateExpr:
		case T_NamedArgExpr:
		case T_SQLValueFunction:
		case T_SubLink:
		case T_GroupingFunc:
			/* no expressions */
		case T_Query:
		case T_List:
		case T_TargetEntry:
		case T_RangeTblRef:
		case T_FromExpr:
		case T_JoinExpr:
		case T_SortGroupClause:
		case T_SetOperationStmt:
		case T_CommonTableExpr:
		case T_WindowClause:
		case T_OnConflictExpr:
		case T_WithCheckOption:
			return false;
		default:
			return true;
	}
}

static bool
mention_walker(Node *node, void *context)
{
	int		   *found = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION && rte->relid == AttributeRelationId)
			*found |= DP_MENTIONS_COLUMNS;
		if (rte->rtekind == RTE_FUNCTION && functions_declare_other(rte))
			*found |= DP_MENTIONS_OTHER_TYPES;
		return false;
	}
	if (is_other(node))
		*found |= DP_MENTIONS_OTHER_TYPES;
	if (*found == (DP_MENTIONS_OTHER_TYPES | DP_MENTIONS_COLUMNS))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, mention_walker, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, mention_walker, context);
}

int
dp_query_mentions(Query *query)
{
	/* the moment moves before and after they are called: the query may be freed then */
	if (asked != query || asked_at != dp_statement_moment)
	{
		answer = 0;
		(void) mention_walker((Node *) query, &answer);
		asked = query;
		asked_at = dp_statement_moment;
	}
	return answer;
}
