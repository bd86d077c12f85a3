/*
 * plain_type.c
 *	  The type that an expression would have, were the columns in it plain.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "types/client_type.h"
#include "types/plain_type.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "utils/lsyscache.h"

/* A value that is of an encrypted type, or of any other. */
static DpPlainType
type_of(Node *node)
{
	DpPlainType result = {exprType(node), exprTypmod(node)};
	int32		typmod = result.typmod;
	bool		is_array;
	Oid			encrypted = dp_client_encrypted_type(result.type, &typmod, &is_array);

	if (!OidIsValid(encrypted) || is_array)
		return result;
	result.type = dp_typeinfo_get(encrypted)->base_oid;
	result.typmod = typmod < 0 ? -1 : dp_client_base_modifier(encrypted, typmod);
	if (result.type == TEXTOID && result.typmod >= 0)
		result.type = VARCHAROID;
	return result;
}

static bool
is_encrypted(Node *node)
{
	return dp_type_is_encrypted(getBaseType(exprType(node)));
}

/* A column of a subquery is what the subquery makes of it. */
static DpPlainType
type_of_column(Query *query, Var *var)
{
	RangeTblEntry *rte;
	TargetEntry *column;

	if (!is_encrypted((Node *) var) || query == NULL || var->varlevelsup != 0 ||
		var->varno > list_length(query->rtable))
		return type_of((Node *) var);
	rte = rt_fetch(var->varno, query->rtable);
	if (rte->rtekind == RTE_JOIN && var->varattno > 0 && var->varattno <= list_length(rte->joinaliasvars))
		return dp_plain_type(query, list_nth(rte->joinaliasvars, var->varattno - 1));
	if (rte->rtekind != RTE_SUBQUERY || rte->subquery->setOperations != NULL)
		return type_of((Node *) var);
	column = get_tle_by_resno(rte->subquery->targetList, var->varattno);
	return column != NULL ? dp_plain_type(rte->subquery, (Node *) column->expr) : type_of((Node *) var);
}

List *
dp_plain_branches(Node *node)
{
	List	   *branches = NIL;
	ListCell   *lc;

	switch (nodeTag(node))
	{
		case T_CaseExpr:
			/* in the order in which PostgreSQL looks for a common type */
			branches = list_make1(((CaseExpr *) node)->defresult);
			foreach(lc, ((CaseExpr *) node)->args)
				branches = lappend(branches, lfirst_node(CaseWhen, lc)->result);
			return branches;
		case T_CoalesceExpr:
			return list_copy(((CoalesceExpr *) node)->args);
		case T_MinMaxExpr:
			return list_copy(((MinMaxExpr *) node)->args);
		case T_ArrayExpr:
			return list_copy(((ArrayExpr *) node)->elements);
		case T_ScalarArrayOpExpr:
			if (IsA(lsecond(((ScalarArrayOpExpr *) node)->args), ArrayExpr))
				return list_concat(list_make1(linitial(((ScalarArrayOpExpr *) node)->args)),
								   ((ArrayExpr *) lsecond(((ScalarArrayOpExpr *) node)->args))->elements);
			return NIL;
		default:
			return NIL;
	}
}

DpPlainType
dp_plain_common(Query *query, List *branches)
{
	DpPlainType common = {UNKNOWNOID, -1};
	bool		first = true;
	ListCell   *lc;

	foreach(lc, branches)
	{
		DpPlainType branch = dp_plain_type(query, lfirst(lc));

		if (first)
			common.typmod = branch.typmod;
		if (common.type == UNKNOWNOID)
			common.type = branch.type;
		if (branch.type != common.type || branch.typmod != common.typmod)
			common.typmod = -1;
		first = false;
	}
	return common;
}

static DpPlainType
type_of_call(Query *query, FuncExpr *call)
{
	Node	   *arg = call->args != NIL ? linitial(call->args) : NULL;
	int32		typmod;
	bool		result_encrypted = is_encrypted((Node *) call);

	/* a cast between an encrypted type and another one, which nobody wrote */
	if (arg != NULL && call->funcformat == COERCE_IMPLICIT_CAST && !exprIsLengthCoercion((Node *) call, &typmod) &&
		(result_encrypted || is_encrypted(arg)))
		return dp_plain_type(query, arg);
	return type_of((Node *) call);
}

DpPlainType
dp_plain_type(Query *query, Node *node)
{
	DpPlainType result;
	List	   *branches;

	check_stack_depth();
	switch (nodeTag(node))
	{
		case T_Var:
			return type_of_column(query, (Var *) node);
		case T_Const:
		case T_Param:
			if (is_encrypted(node))
				return (DpPlainType)
			{
				UNKNOWNOID, -1
			};
			return type_of(node);
		case T_FuncExpr:
			return type_of_call(query, (FuncExpr *) node);
		case T_NullIfExpr:
			/* as its operator takes it, and that is text's for varchar */
			result = dp_plain_type(query, linitial(((NullIfExpr *) node)->args));
			if (result.type == VARCHAROID)
				return (DpPlainType)
			{
				TEXTOID, -1
			};
			return result;
		default:
			branches = dp_plain_branches(node);
			if (branches == NIL || !is_encrypted(node))
				return type_of(node);
			result = dp_plain_common(query, branches);
			if (result.type == UNKNOWNOID)
				result.type = type_of(node).type;
			return result;
	}
}
