/*
 * foreign_argument.c
 *	  Values that a statement opens for code of others; see foreign_argument.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "columns/foreign_argument.h"
#include "columns/foreign_call.h"
#include "columns/own_runner.h"
#include "columns/seen_by.h"
#include "columns/value_origin.h"
#include "keys/catalog.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "types/resolve.h"
#include "types/types.h"
#include "utils/lsyscache.h"

/* Where in the query a node stands. */
typedef struct Place
{
	List	   *queries;		/* around it, the innermost first, as they were */
	DpForeignCalls calls;		/* of others, below which it stands */
	bool		limited;		/* ... there is any */
	bool		aggregated;		/* below an aggregate of the innermost query */
	bool		compared;		/* argument of what compares */
	SubLink    *sublink;		/* whose test it is part of */
} Place;

static bool
bears(Oid type)
{
	return OidIsValid(type) && dp_contains_encrypted_type(type);
}

static bool
brings(Node *node, const Place *place)
{
	return dp_value_origin_brings(node, place->queries, false);
}

/* ---- what is put around ---- */

static Node *put_around(Node *node, void *context);

static Node *
seen(Node *node, const Place *place, bool compared)
{
	return dp_seen_by_make(node, &place->calls, compared);
}

/*
 * What the statement has sealed again as a literal has no key that would say who may see it:
 * it is handed on where those may see everything that the current role may.
 */
static Node *
made(Node *node, const Place *place)
{
	CaseExpr   *result = makeNode(CaseExpr);
	CaseWhen   *when = makeNode(CaseWhen);

	when->expr = (Expr *) dp_seen_by_make(makeBoolConst(true, false), &place->calls, false);
	when->result = (Expr *) node;
	when->location = -1;
	result->casetype = exprType(node);
	result->casecollid = exprCollation(node);
	result->args = list_make1(when);
	result->defresult = (Expr *) makeNullConst(exprType(node), -1, exprCollation(node));
	result->location = -1;
	return (Node *) result;
}

/* The same place, below no call of others. */
static Place
free_place(const Place *place)
{
	Place		free = {place->queries};

	return free;
}

static Place
place_below(const Place *place)
{
	Place		below = *place;

	below.compared = false;
	return below;
}

/* Does a node compare its arguments, so that a mask would give a wrong answer? */
static bool
compares(Node *node)
{
	switch (nodeTag(node))
	{
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
		case T_RowCompareExpr:
		case T_MinMaxExpr:
			return true;
		case T_OpExpr:
			return ((OpExpr *) node)->opresulttype == BOOLOID;
		case T_FuncExpr:
			return ((FuncExpr *) node)->funcresulttype == BOOLOID ||
				((FuncExpr *) node)->funcformat == DP_COMPARED_FORMAT;
		default:
			return false;
	}
}

/* What a query is grouped by is computed before, as it stands there. */
static bool
is_grouped_by(Node *node, const Place *place)
{
	Query	   *query = place->queries != NIL ? linitial_node(Query, place->queries) : NULL;
	ListCell   *lc;

	if (place->aggregated || query == NULL || query->groupClause == NIL || IsA(node, Var) ||
		!OidIsValid(dp_value_origin_type(node)))
		return false;
	foreach(lc, query->groupClause)
	{
		if (equal(get_sortgroupclause_expr(lfirst(lc), query->targetList), node))
			return true;
	}
	return false;
}

/* A value as it is in a row, an array or a parameter. */
static Node *
put_around_source(Node *node, Place *place)
{
	Oid			type = exprType(node);

	if (bears(type) && dp_value_origin_makes(node, place->queries))
		return made(copyObject(node), place);
	if (dp_type_is_encrypted(getBaseType(type)))
		return seen(copyObject(node), place, place->compared);
	if (bears(type) || brings(node, place))
		return seen(copyObject(node), place, false);
	return copyObject(node);
}

/* The result of the subquery of a test, one parameter a column. */
static Node *
put_around_param(Param *param, Place *place)
{
	Place		within = *place;
	Query	   *query;

	if (param->paramkind != PARAM_SUBLINK || place->sublink == NULL || bears(param->paramtype))
		return put_around_source((Node *) param, place);
	query = (Query *) place->sublink->subselect;
	within.queries = lcons(query, list_copy(place->queries));
	return brings((Node *) query->targetList, &within) || dp_contains_encrypted_computes(query) ?
		seen(copyObject((Node *) param), place, false) : copyObject((Node *) param);
}

/* What a subquery chooses by tells as much as what it gives. */
static Node *
put_around_sublink(SubLink *sublink, Place *place)
{
	Place		free = free_place(place);
	Place		below = place_below(place);
	SubLink    *result = copyObject(sublink);
	Query	   *query = (Query *) sublink->subselect;
	bool		one_value = dp_type_is_encrypted(getBaseType(exprType((Node *) sublink))) &&
		!dp_contains_encrypted_computes(query);

	below.sublink = sublink;
	result->subselect = put_around((Node *) query, &free);
	result->testexpr = put_around(sublink->testexpr, &below);
	if (!place->limited || !brings((Node *) query, place))
		return (Node *) result;
	if (bears(exprType((Node *) sublink)) && dp_value_origin_makes((Node *) query, place->queries))
		return made((Node *) result, place);
	return seen((Node *) result, place, one_value && place->compared);
}

/* The order of a window tells of what it is ordered by. */
static bool
window_brings(WindowFunc *func, const Place *place)
{
	Query	   *query = place->queries != NIL ? linitial_node(Query, place->queries) : NULL;
	ListCell   *lc;
	ListCell   *clause;

	foreach(lc, query != NULL ? query->windowClause : NIL)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (window->winref != func->winref)
			continue;
		foreach(clause, list_concat_copy(window->partitionClause, window->orderClause))
		{
			if (brings(get_sortgroupclause_expr(lfirst(clause), query->targetList), place))
				return true;
		}
	}
	return false;
}

/* An argument that its function opens itself stays an envelope, for it. */
static List *
direct_arguments(List *args, Place *outer, Place *inner)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, args)
	{
		Node	   *arg = lfirst(lc);
		bool		direct = (IsA(arg, Var) || IsA(arg, Param)) && bears(exprType(arg)) &&
			!dp_value_origin_makes(arg, inner->queries);

		result = lappend(result, put_around(arg, direct ? outer : inner));
	}
	return result;
}

/* A call of others' code. */
static Node *
put_around_arguments(Node *node, Place *place, const DpForeignCalls *calls)
{
	Place		outer = place_below(place);
	Place		inner = outer;
	Node	   *result;
	ListCell   *f;
	ListCell   *a;

	inner.limited = true;
	inner.calls = *calls;
	forboth(f, place->calls.functions, a, place->calls.authors)
		dp_foreign_call_add(&inner.calls, lfirst_oid(f), lfirst_oid(a));
	inner.aggregated |= IsA(node, Aggref);
	if (IsA(node, FuncExpr) && dp_foreign_call_is_direct(node, calls))
	{
		result = palloc(sizeof(FuncExpr));
		memcpy(result, node, sizeof(FuncExpr));
		((FuncExpr *) result)->args = direct_arguments(((FuncExpr *) node)->args, &outer, &inner);
		return result;
	}
	if (dp_foreign_call_is_direct(node, calls))
	{
		result = palloc(sizeof(OpExpr));
		memcpy(result, node, sizeof(OpExpr));
		((OpExpr *) result)->args = direct_arguments(((OpExpr *) node)->args, &outer, &inner);
		return result;
	}
	result = expression_tree_mutator(node, put_around, &inner);
	/* which rows are aggregated is a condition of the statement's */
	if (IsA(node, Aggref))
		((Aggref *) result)->aggfilter = (Expr *) put_around((Node *) ((Aggref *) node)->aggfilter, &outer);
	if (IsA(node, WindowFunc))
		((WindowFunc *) result)->aggfilter = (Expr *) put_around((Node *) ((WindowFunc *) node)->aggfilter, &outer);
	return result;
}

/* Not a call: go on below it. */
static Node *
put_around_below(Node *node, Place *place)
{
	Place		below = place_below(place);
	Node	   *result;

	below.compared = place->limited && (compares(node) || (IsA(node, CaseExpr) && ((CaseExpr *) node)->arg != NULL));
	below.aggregated |= IsA(node, Aggref);
	result = expression_tree_mutator(node, put_around, &below);
	if (!place->limited)
		return result;
	if (IsA(node, WindowFunc) && window_brings((WindowFunc *) node, place))
		return seen(result, place, false);
	/* a function that fetches a value itself; casts and aggregates hand on what they got */
	if (IsA(node, FuncExpr) && ((FuncExpr *) node)->funcformat == COERCE_EXPLICIT_CALL && bears(exprType(node)))
		return seen(result, place, place->compared);
	return result;
}

static Node *
put_around_limited(Node *node, Place *place, bool *done)
{
	Place		free = free_place(place);

	*done = true;
	if (dp_value_origin_asks_for_null(node))
		return copyObject(node);
	if (is_grouped_by(node, place))
		return brings(node, place) ? seen(put_around(node, &free), place, false) : put_around(node, &free);
	switch (nodeTag(node))
	{
		case T_Var:
		case T_FieldSelect:
			if (IsA(node, Var) || IsA(((FieldSelect *) node)->arg, Var))
				return put_around_source(node, place);
			break;
		case T_SubscriptingRef:
			if (IsA(((SubscriptingRef *) node)->refexpr, Var) && ((SubscriptingRef *) node)->refassgnexpr == NULL)
				return put_around_source(node, place);
			break;
		case T_Param:
			return put_around_param((Param *) node, place);
		default:
			break;
	}
	*done = false;
	return NULL;
}

static Node *
put_around(Node *node, void *context)
{
	Place	   *place = context;
	DpForeignCalls calls = {NIL, NIL};

	if (node == NULL)
		return NULL;
	check_stack_depth();
	if (IsA(node, List) || IsA(node, TargetEntry))
		return expression_tree_mutator(node, put_around, place);
	if (IsA(node, Query))
	{
		Query	   *query = palloc(sizeof(Query));
		Place		inner = {NIL};

		/* as it was, while the copy is made */
		memcpy(query, node, sizeof(Query));
		inner.queries = lcons(query, list_copy(place->queries));
		return (Node *) query_tree_mutator(query, put_around, &inner, 0);
	}
	if (place->limited)
	{
		bool		done;
		Node	   *result = put_around_limited(node, place, &done);

		if (done)
			return result;
	}
	if (IsA(node, SubLink))
		return put_around_sublink((SubLink *) node, place);
	if (dp_foreign_call_collect(node, &calls))
		return put_around_arguments(node, place, &calls);
	return put_around_below(node, place);
}

/* ---- statements ---- */

/* What a statement calls that is not taken as it stands. */
typedef struct Called
{
	bool		others;			/* code of others, and then it was looked no further */
	bool		runner;			/* what runs SQL that it is told, or was stored */
} Called;

/* Most have no such call, and stay as they are. */
static bool
calls_walker(Node *node, void *context)
{
	Called	   *called = context;
	DpForeignCalls calls = {NIL, NIL};

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, calls_walker, context, 0);
	called->runner |= IsA(node, FuncExpr) && dp_own_runner_may_take((FuncExpr *) node);
	if (dp_foreign_call_collect(node, &calls))
	{
		called->others = called->runner = true;
		return true;
	}
	return expression_tree_walker(node, calls_walker, context);
}

static void
planning(Query *query, const char *source)
{
	Query	   *original;
	Place		place = {NIL};
	Called		called = {false, false};

	if (query->commandType == CMD_UTILITY || !dp_catalog_is_there())
		return;
	dp_foreign_call_begin((Node *) query);
	(void) calls_walker((Node *) query, &called);
	if (called.runner)
		dp_own_runner_take((Node *) query);
	if (!called.others)
		return;
	original = palloc(sizeof(Query));
	memcpy(original, query, sizeof(Query));
	place.queries = list_make1(original);
	(void) query_tree_mutator(query, put_around, &place, QTW_DONT_COPY_QUERY);
}

/* The arguments of CALL are planned by the command itself. */
static PlannedStmt *
rewrite_utility(PlannedStmt *planned)
{
	Place		place = {NIL};
	Called		called = {false, false};
	CallStmt   *call;

	if (!IsA(planned->utilityStmt, CallStmt) || !IsTransactionState() || !dp_catalog_is_there())
		return planned;
	call = (CallStmt *) planned->utilityStmt;
	if (call->funcexpr == NULL)
		return planned;
	dp_foreign_call_begin((Node *) call->funcexpr);
	(void) calls_walker((Node *) call->funcexpr, &called);
	if (!called.runner)
		return planned;
	planned = copyObject(planned);
	call = (CallStmt *) planned->utilityStmt;
	dp_own_runner_take((Node *) call->funcexpr);
	if (called.others)
		call->funcexpr = (FuncExpr *) put_around((Node *) call->funcexpr, &place);
	return planned;
}

static const DpSubscriber subscriber = {
	.name = "arguments of foreign code",
	.planning = planning,
	.rewrite_utility = rewrite_utility,
};

void
dp_foreign_argument_init(void)
{
	dp_foreign_call_init();
	dp_statement_subscribe(&subscriber);
}
