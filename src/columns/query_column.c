/*
 * query_column.c
 *	  Columns that variables of queries stand for; see query_column.h.
 */
#include "postgres.h"

#include "base/statement.h"
#include "catalog/pg_class.h"
#include "columns/query_column.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "types/types.h"

bool
dp_query_column(DpQueryLevel *level, const Var *var, Oid *relid, AttrNumber *attnum)
{
	Query	   *query;
	RangeTblEntry *rte;
	TargetEntry *tle;
	DpQueryLevel inner;

	check_stack_depth();
	for (Index up = var->varlevelsup; up > 0; up--)
	{
		if (level->outer == NULL)
			return false;
		level = level->outer;
	}
	query = level->query;
	if (var->varattno <= 0 || var->varno > list_length(query->rtable))
		return false;
	rte = rt_fetch(var->varno, query->rtable);
	switch (rte->rtekind)
	{
		case RTE_RELATION:
			*relid = rte->relid;
			*attnum = var->varattno;
			return rte->relkind == RELKIND_RELATION || rte->relkind == RELKIND_PARTITIONED_TABLE;
		case RTE_JOIN:
			if (!IsA(list_nth(rte->joinaliasvars, var->varattno - 1), Var))
				return false;
			return dp_query_column(level, list_nth(rte->joinaliasvars, var->varattno - 1), relid, attnum);
		case RTE_SUBQUERY:
			tle = list_nth(rte->subquery->targetList, var->varattno - 1);
			if (!IsA(tle->expr, Var) || rte->subquery->setOperations != NULL)
				return false;
			inner.query = rte->subquery;
			inner.outer = level;
			return dp_query_column(&inner, (Var *) tle->expr, relid, attnum);
		default:
			return false;
	}
}

DpPrivilege
dp_query_column_privilege(const Var *var)
{
	const DpFamily *family;

	if (var->vartypmod < 0)
		return DP_PRIV_NONE;
	family = dp_keys_family_find(NameStr(dp_modifier_get(var->vartypmod)->key));
	dp_statement_depends_on_role();
	return family != NULL ? dp_access_privilege(family->family) : DP_PRIV_NONE;
}

/* Mentions of one column, other than whether it is null. */
static bool
computes_walker(Node *node, void *context)
{
	AttrNumber	attnum = *(AttrNumber *) context;

	if (node == NULL)
		return false;
	if (IsA(node, NullTest) && IsA(((NullTest *) node)->arg, Var) &&
		((Var *) ((NullTest *) node)->arg)->varattno == attnum)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varattno == attnum || ((Var *) node)->varattno == 0;
	return expression_tree_walker(node, computes_walker, context);
}

bool
dp_column_mentioned(Node *expr, AttrNumber attnum)
{
	return computes_walker(expr, &attnum);
}
