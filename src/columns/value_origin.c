/*
 * value_origin.c
 *	  Whether an expression holds what a statement opens; see value_origin.h.
 */
#include "postgres.h"

#include "base/compat.h"
#include "columns/contains_encrypted.h"
#include "columns/foreign_call.h"
#include "columns/value_origin.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "types/types.h"
#include "utils/lsyscache.h"

typedef struct Origin
{
	List	   *queries;
	List	   *seen;			/* common table expressions that were followed */
	bool		outside;		/* of calls of others' code */
	bool		(*walker) (Node *node, void *context);	/* what is asked of an expression */
} Origin;

static bool brings_walker(Node *node, void *context);

static bool
brings_within(Node *node, const Origin *origin, List *queries)
{
	Origin		inner = *origin;

	inner.queries = queries;
	return origin->walker(node, &inner);
}

/* One column of a query's result, or any (attno 0). */
static bool
result_brings(Query *query, AttrNumber attno, const Origin *origin, List *outer)
{
	List	   *queries = lcons(query, list_copy(outer));
	ListCell   *lc;

	check_stack_depth();
	foreach(lc, query->commandType == CMD_SELECT ? query->targetList : query->returningList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk && (attno == 0 || tle->resno == attno) &&
			brings_within((Node *) tle->expr, origin, queries))
			return true;
	}
	if (query->setOperations == NULL)
		return false;
	/* its branches, in the range table */
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_SUBQUERY && result_brings(rte->subquery, attno, origin, queries))
			return true;
	}
	return false;
}

static bool
cte_brings(RangeTblEntry *rte, AttrNumber attno, const Origin *origin, List *queries)
{
	List	   *around = list_copy_tail(queries, rte->ctelevelsup);
	Query	   *query = around != NIL ? linitial_node(Query, around) : NULL;
	Origin		inner;
	ListCell   *lc;

	foreach(lc, query != NULL ? query->cteList : NIL)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);

		if (strcmp(cte->ctename, rte->ctename) != 0)
			continue;
		if (list_member_ptr(origin->seen, cte))
			return false;
		inner = *origin;
		inner.queries = around;
		inner.seen = lappend(list_copy(origin->seen), cte);
		return result_brings((Query *) cte->ctequery, attno, &inner, around);
	}
	return true;				/* not found: deny on doubt */
}

static bool
list_brings(List *exprs, AttrNumber attno, const Origin *origin, List *queries)
{
	if (attno > 0 && attno <= list_length(exprs))
		return brings_within(list_nth(exprs, attno - 1), origin, queries);
	return brings_within((Node *) exprs, origin, queries);
}

/* Was a column of the range table made of a value that the statement opens? */
static bool
column_brings(Var *var, const Origin *origin)
{
	List	   *queries = list_copy_tail(origin->queries, var->varlevelsup);
	Query	   *query = queries != NIL ? linitial_node(Query, queries) : NULL;
	RangeTblEntry *rte;
	ListCell   *lc;

	/* EXCLUDED and the like are tables, too; no range table: an expression alone */
	if (query == NULL || var->varno <= 0 || var->varno > list_length(query->rtable))
		return false;
	rte = rt_fetch(var->varno, query->rtable);
	switch (rte->rtekind)
	{
		case RTE_SUBQUERY:
			return result_brings(rte->subquery, Max(0, var->varattno), origin, queries);
		case RTE_CTE:
			return cte_brings(rte, Max(0, var->varattno), origin, queries);
		case RTE_JOIN:
			return list_brings(rte->joinaliasvars, var->varattno, origin, queries);
		case RTE_FUNCTION:
			return brings_within((Node *) rte->functions, origin, queries);
		case RTE_TABLEFUNC:
			return brings_within((Node *) rte->tablefunc, origin, queries);
		case RTE_VALUES:
			foreach(lc, rte->values_lists)
			{
				if (list_brings(lfirst(lc), var->varattno, origin, queries))
					return true;
			}
			return false;
		default:
			return dp_rte_group_exprs(rte) != NIL &&
				list_brings(dp_rte_group_exprs(rte), var->varattno, origin, queries);
	}
}

Oid
dp_value_origin_type(Node *node)
{
	switch (nodeTag(node))
	{
		case T_Var:
		case T_Param:
		case T_FuncExpr:
		case T_OpExpr:
		case T_Aggref:
		case T_WindowFunc:
		case T_FieldSelect:
		case T_SubscriptingRef:
		case T_CoerceViaIO:
		case T_CoerceToDomain:
		case T_CoerceToDomainValue:
		case T_ArrayCoerceExpr:
		case T_CaseTestExpr:
		case T_MinMaxExpr:
			return exprType(node);
		default:
			return InvalidOid;
	}
}

static bool
bears(Oid type)
{
	return OidIsValid(type) && dp_contains_encrypted_type(type);
}

bool
dp_value_origin_asks_for_null(Node *node)
{
	return IsA(node, NullTest) && IsA(((NullTest *) node)->arg, Var) &&
		dp_type_is_encrypted(getBaseType(exprType((Node *) ((NullTest *) node)->arg)));
}

/* A field of a table's row that bears nothing, whatever the others hold. */
static bool
takes_plain_field(Node *node, const Origin *origin)
{
	Node	   *arg;

	if (!IsA(node, FieldSelect) || bears(((FieldSelect *) node)->resulttype))
		return false;
	arg = (Node *) ((FieldSelect *) node)->arg;
	while (IsA(arg, FieldSelect))
		arg = (Node *) ((FieldSelect *) arg)->arg;
	return IsA(arg, Var) && !column_brings((Var *) arg, origin);
}

/* Does an expression hold an encrypted value, or anything that was made of one? */
static bool
brings_walker(Node *node, void *context)
{
	Origin	   *origin = context;
	DpForeignCalls calls = {NIL, NIL};

	if (node == NULL || dp_value_origin_asks_for_null(node) || takes_plain_field(node, origin))
		return false;
	if (bears(dp_value_origin_type(node)))
		return !origin->outside || !dp_foreign_call_collect(node, &calls);
	if (IsA(node, Var))
		return column_brings((Var *) node, origin);
	if (IsA(node, Query))
	{
		Origin		inner = *origin;

		inner.queries = lcons(node, list_copy(origin->queries));
		return query_tree_walker((Query *) node, brings_walker, &inner, 0);
	}
	if (origin->outside && dp_foreign_call_collect(node, &calls))
		return false;
	return expression_tree_walker(node, brings_walker, context);
}

bool
dp_value_origin_brings(Node *node, List *queries, bool outside)
{
	Origin		origin = {queries, NIL, outside, brings_walker};

	return brings_walker(node, &origin);
}

/* What an expression converts: the arguments of the node alone. */
static List *
converted(Node *node)
{
	switch (nodeTag(node))
	{
		case T_FuncExpr:
			return ((FuncExpr *) node)->args;
		case T_OpExpr:
			return ((OpExpr *) node)->args;
		case T_CoerceViaIO:
			return list_make1(((CoerceViaIO *) node)->arg);
		case T_ArrayCoerceExpr:
			return list_make1(((ArrayCoerceExpr *) node)->arg);
		default:
			return NIL;
	}
}

static bool
makes_walker(Node *node, void *context)
{
	Origin	   *origin = context;
	ListCell   *lc;

	if (node == NULL)
		return false;
	check_stack_depth();
	if (IsA(node, Var))
		return bears(((Var *) node)->vartype) && column_brings((Var *) node, origin);
	if (IsA(node, Query))
	{
		Origin		inner = *origin;

		inner.queries = lcons(node, list_copy(origin->queries));
		return query_tree_walker((Query *) node, makes_walker, &inner, 0);
	}
	foreach(lc, bears(dp_value_origin_type(node)) ? converted(node) : NIL)
	{
		if (!bears(exprType(lfirst(lc))) && dp_value_origin_brings(lfirst(lc), origin->queries, false))
			return true;
	}
	return expression_tree_walker(node, makes_walker, context);
}

bool
dp_value_origin_makes(Node *node, List *queries)
{
	Origin		origin = {queries, NIL, false, makes_walker};

	return makes_walker(node, &origin);
}
