/*
 * word_index.c
 *	  Conditions for indexes over the words of a protected text; see word_index.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "base/statement.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "columns/query_column.h"
#include "columns/word_index.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "types/mention.h"
#include "types/types.h"
#include "types/word_search.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#define TEXT_ILIKE 1627			/* "~~*" of text and text */

static Node *
skip_relabels(Node *expr)
{
	while (expr != NULL && IsA(expr, RelabelType))
		expr = (Node *) ((RelabelType *) expr)->arg;
	return expr;
}

/* The protected text that is matched, as it is or in lower case; NULL for anything else. */
static Var *
matched_column(Node *expr)
{
	FuncExpr   *call = (FuncExpr *) skip_relabels(expr);

	if (call != NULL && IsA(call, FuncExpr) && call->funcid == F_LOWER_TEXT)
		call = (FuncExpr *) skip_relabels(linitial(call->args));
	/* the cast that opens it */
	if (call == NULL || !IsA(call, FuncExpr) || list_length(call->args) != 1 || call->funcresulttype != TEXTOID ||
		call->funcformat == COERCE_EXPLICIT_CALL)
		return NULL;
	expr = skip_relabels(linitial(call->args));
	return IsA(expr, Var) && dp_type_is_encrypted(((Var *) expr)->vartype) ? (Var *) expr : NULL;
}

/* The index's operator of a column of a table, or InvalidOid. */
static Oid
index_operator(Oid relid, AttrNumber attnum, Oid type)
{
	Relation	rel = table_open(relid, NoLock);
	Oid			result = InvalidOid;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index) && !OidIsValid(result); i++)
		{
			if (index->rd_rel->relam == GIN_AM_OID && index->rd_index->indkey.values[i] == attnum &&
				dp_word_family(index->rd_opfamily[i], type))
				result = dp_word_operator(index->rd_opfamily[i], type);
		}
		index_close(index, AccessShareLock);
		if (OidIsValid(result))
			break;
	}
	table_close(rel, NoLock);
	return result;
}

/* The condition for the index, beside one that was written; or the latter alone. */
static Node *
beside(DpQueryLevel *level, OpExpr *op)
{
	Var		   *var;
	AttrNumber	attnum;
	Oid			relid;
	Oid			operator;
	Expr	   *added;

	if ((op->opno != OID_TEXT_LIKE_OP && op->opno != TEXT_ILIKE) ||
		(var = matched_column(linitial(op->args))) == NULL ||
		dp_query_column_privilege(var) < DP_PRIV_REVEAL || !dp_query_column(level, var, &relid, &attnum) ||
		contain_volatile_functions(lsecond(op->args)))
		return (Node *) op;
	operator = index_operator(relid, attnum, var->vartype);
	if (!OidIsValid(operator))
		return (Node *) op;
	added = make_opclause(operator, BOOLOID, false, copyObject((Expr *) var), copyObject((Expr *) lsecond(op->args)),
						  InvalidOid, op->inputcollid);
	set_opfuncid((OpExpr *) added);
	return (Node *) makeBoolExpr(AND_EXPR, list_make2(op, added), -1);
}

static Node *
rewrite_condition(DpQueryLevel *level, Node *node)
{
	if (node != NULL && IsA(node, OpExpr))
		return beside(level, (OpExpr *) node);
	if (node != NULL && IsA(node, BoolExpr))
	{
		ListCell   *lc;

		foreach(lc, ((BoolExpr *) node)->args)
			lfirst(lc) = rewrite_condition(level, lfirst(lc));
	}
	return node;
}

static bool
word_walker(Node *node, void *context)
{
	DpQueryLevel *level = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		DpQueryLevel inner = {(Query *) node, level};

		return query_tree_walker((Query *) node, word_walker, &inner, 0);
	}
	if (IsA(node, FromExpr))
		((FromExpr *) node)->quals = rewrite_condition(level, ((FromExpr *) node)->quals);
	else if (IsA(node, JoinExpr))
		((JoinExpr *) node)->quals = rewrite_condition(level, ((JoinExpr *) node)->quals);
	return expression_tree_walker(node, word_walker, context);
}

/* Most queries match no protected text: they are not changed. */
static bool
matches_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, matches_walker, context, 0);
	if (IsA(node, OpExpr) &&
		(((OpExpr *) node)->opno == OID_TEXT_LIKE_OP || ((OpExpr *) node)->opno == TEXT_ILIKE) &&
		matched_column(linitial(((OpExpr *) node)->args)) != NULL)
		return true;
	return expression_tree_walker(node, matches_walker, context);
}

static void
planning(Query *query, const char *source)
{
	if (query->commandType != CMD_UTILITY && (dp_query_mentions(query) & DP_MENTIONS_OTHER_TYPES) != 0 &&
		matches_walker((Node *) query, NULL))
		(void) word_walker((Node *) query, NULL);
}

static const DpSubscriber subscriber = {
	.name = "word search",
	.planning = planning,
};

void
dp_word_index_init(void)
{
	dp_statement_subscribe(&subscriber);
}
