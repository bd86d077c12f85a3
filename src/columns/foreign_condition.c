/*
 * foreign_condition.c
 *	  Conditions that others put around calls of their code; see
 *	  foreign_condition.h.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/statement.h"
#include "catalog/pg_class.h"
#include "columns/foreign_call.h"
#include "columns/foreign_condition.h"
#include "columns/foreign_expression.h"
#include "columns/seen_by.h"
#include "columns/value_origin.h"
#include "keys/catalog.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

/* ---- what is called ---- */

typedef struct Calling
{
	DpForeignCalls calls;
	Oid			author;
} Calling;

static bool
carries(Oid function, void *context)
{
	Calling    *calling = context;

	if (dp_foreign_expression_carries(function))
		dp_foreign_call_add(&calling->calls, function, calling->author);
	return false;
}

static bool
calling_walker(Node *node, void *context)
{
	Calling    *calling = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, calling_walker, context, 0);
	(void) dp_foreign_call_collect(node, &calling->calls);
	(void) check_functions_in_node(node, carries, context);
	return expression_tree_walker(node, calling_walker, context);
}

static DpForeignCalls
calls_of(Node *node, Oid author)
{
	Calling		calling = {{NIL, NIL}, author};

	(void) calling_walker(node, &calling);
	return calling.calls;
}

/* ---- what decides ---- */

typedef struct Deciding
{
	List	   *queries;
	Oid			author;
} Deciding;

static bool
opens(const void *node, List *queries)
{
	return dp_value_origin_brings(unconstify(Node *, (const Node *) node), queries, true);
}

/* Do any of those clauses (SortGroupClause) go by an opened value? */
static bool
clauses_open(List *clauses, Query *query, List *queries)
{
	ListCell   *lc;

	foreach(lc, clauses)
	{
		if (opens(get_sortgroupclause_expr(lfirst_node(SortGroupClause, lc), query->targetList), queries))
			return true;
	}
	return false;
}

/* Does any part of a set operation tell rows apart? */
static bool
tells_apart(Node *node)
{
	SetOperationStmt *op = (SetOperationStmt *) node;

	if (node == NULL || !IsA(node, SetOperationStmt))
		return false;
	return op->op != SETOP_UNION || !op->all || tells_apart(op->larg) || tells_apart(op->rarg);
}

static bool
windows_open(Query *query, List *queries)
{
	ListCell   *lc;

	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (clauses_open(window->partitionClause, query, queries) || clauses_open(window->orderClause, query, queries))
			return true;
	}
	return false;
}

/* Does an entry of the range table give rows by an opened value? */
static bool
entry_opens(RangeTblEntry *rte, bool told_apart, List *queries)
{
	return opens(rte->securityQuals, queries) || opens(rte->functions, queries) || opens(rte->tablefunc, queries) ||
		(told_apart && rte->rtekind == RTE_SUBQUERY &&
		 opens(rte->subquery->targetList, lcons(rte->subquery, list_copy(queries))));
}

/*
 * Which rows there are, in which groups and in which order: a volatile function is
 * called after the sort.
 */
static bool
rows_are_chosen(Query *query, List *queries)
{
	bool		told_apart = tells_apart(query->setOperations);
	ListCell   *lc;

	if (opens(query->jointree, queries) || opens(query->havingQual, queries) ||
		opens(query->limitCount, queries) || opens(query->limitOffset, queries) ||
		clauses_open(query->groupClause, query, queries) || clauses_open(query->distinctClause, query, queries) ||
		clauses_open(query->sortClause, query, queries) || windows_open(query, queries) ||
		(query->hasTargetSRFs && opens(query->targetList, queries)))
		return true;
	foreach(lc, query->rtable)
	{
		if (entry_opens(lfirst_node(RangeTblEntry, lc), told_apart, queries))
			return true;
	}
	return false;
}

static bool
case_decides(CaseExpr *expr, List *queries)
{
	ListCell   *lc;

	if (opens(expr->arg, queries))
		return true;
	foreach(lc, expr->args)
	{
		if (opens(lfirst_node(CaseWhen, lc)->expr, queries))
			return true;
	}
	return false;
}

/* Does a node go by an opened value in evaluating what stands below it? */
static bool
evaluates_by_value(Node *node, List *queries)
{
	switch (nodeTag(node))
	{
		case T_CaseExpr:
			return case_decides((CaseExpr *) node, queries);
		case T_CoalesceExpr:
		case T_BoolExpr:
		case T_RowCompareExpr:
			return opens(node, queries);
		case T_SubLink:
			return opens(((SubLink *) node)->testexpr, queries);
		case T_Aggref:
			return opens(((Aggref *) node)->aggfilter, queries);
		case T_WindowFunc:
			return opens(((WindowFunc *) node)->aggfilter, queries);
		default:
			return dp_node_is_json(node) && opens(node, queries);
	}
}

static bool
node_decides(Node *node, Deciding *deciding)
{
	return evaluates_by_value(node, deciding->queries) && calls_of(node, deciding->author).functions != NIL;
}

static bool
decides_walker(Node *node, void *context)
{
	Deciding   *deciding = context;

	if (node == NULL)
		return false;
	check_stack_depth();
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		Deciding	inner = {lcons(query, list_copy(deciding->queries)), deciding->author};

		return rows_are_chosen(query, inner.queries) || query_tree_walker(query, decides_walker, &inner, 0);
	}
	return node_decides(node, deciding) || expression_tree_walker(node, decides_walker, context);
}

/* ---- statements ---- */

/* An ordinary role, or InvalidOid. */
static Oid
ordinary_owner(Oid relid)
{
	Oid			owner = dp_foreign_expression_owner(relid);

	return OidIsValid(owner) && !superuser_arg(owner) ? owner : InvalidOid;
}

/* A view's query, with those around it. */
static void
check_query(Query *query, List *outer, Oid owner)
{
	Deciding	deciding = {outer, owner};
	DpForeignCalls calls = calls_of((Node *) query, owner);

	if (calls.functions != NIL && decides_walker((Node *) query, &deciding))
		dp_seen_by_guard(query, &calls);
}

/* What decides and calls in conditions that were added to a query. */
static void
check_conditions(Query *query, List *queries, Node *conditions, Oid owner)
{
	DpForeignCalls calls = calls_of(conditions, owner);

	if (calls.functions != NIL && opens(conditions, queries))
		dp_seen_by_guard(query, &calls);
}

static void
check_entry(Query *query, List *queries, RangeTblEntry *rte)
{
	Oid			view = rte->rtekind == RTE_SUBQUERY ? dp_view_of_subquery(rte) : InvalidOid;
	Oid			owner;

	if (OidIsValid(view))
	{
		owner = ordinary_owner(view);
		if (OidIsValid(owner))
			check_query(rte->subquery, queries, owner);
	}
	else if (rte->rtekind == RTE_RELATION && rte->securityQuals != NIL)
	{
		owner = ordinary_owner(rte->relid);
		if (OidIsValid(owner))
			check_conditions(query, queries, (Node *) rte->securityQuals, owner);
	}
	else if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW && query->commandType != CMD_SELECT)
	{
		/* its conditions and columns are in the query itself */
		owner = ordinary_owner(rte->relid);
		if (OidIsValid(owner))
			check_query(query, list_copy_tail(queries, 1), owner);
	}
}

static bool
statement_walker(Node *node, void *context)
{
	List	   *queries;
	Query	   *query;
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, statement_walker, context);
	check_stack_depth();
	query = (Query *) node;
	queries = lcons(query, list_copy(context));
	foreach(lc, query->rtable)
		check_entry(query, queries, lfirst_node(RangeTblEntry, lc));
	if (query->withCheckOptions != NIL && OidIsValid(ordinary_owner(rt_fetch(query->resultRelation, query->rtable)->relid)))
		check_conditions(query, queries, (Node *) query->withCheckOptions,
						 ordinary_owner(rt_fetch(query->resultRelation, query->rtable)->relid));
	return query_tree_walker(query, statement_walker, queries, 0);
}

static void
planning(Query *query, const char *source)
{
	if (query->commandType != CMD_UTILITY && dp_foreign_expression_may_be(query) && dp_catalog_is_there())
	{
		dp_foreign_call_begin((Node *) query);
		(void) statement_walker((Node *) query, NIL);
	}
}

static const DpSubscriber subscriber = {
	.name = "conditions of foreign code",
	.planning = planning,
};

void
dp_foreign_condition_init(void)
{
	dp_statement_subscribe(&subscriber);
}
