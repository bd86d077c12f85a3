/*
 * query_result.c
 *	  Casts of what an analysed query gives; see query_result.h.
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "types/client_type.h"
#include "types/distributed.h"
#include "types/query_result.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "utils/lsyscache.h"

/* The cast functions of a coercion have no part in collations but to pass them on. */
void
dp_result_set_collation(Node *node, Oid collation)
{
	if (node != NULL && IsA(node, FuncExpr))
		((FuncExpr *) node)->inputcollid = collation;
	else if (node != NULL && IsA(node, ArrayCoerceExpr))
		dp_result_set_collation((Node *) ((ArrayCoerceExpr *) node)->elemexpr, collation);
	exprSetCollation(node, OidIsValid(get_typcollation(exprType(node))) ? collation : InvalidOid);
}

/*
 * Must the query finish before anything is cast?  What it sorts, compares, skips
 * or leaves locked stays ciphertext then.
 */
bool
dp_result_cast_comes_after(Query *query, Bitmapset *columns)
{
	ListCell   *lc;

	if (query->sortClause != NIL || query->distinctClause != NIL || query->setOperations != NULL ||
		query->limitCount != NULL || query->limitOffset != NULL || query->rowMarks != NIL)
		return true;
	foreach(lc, query->targetList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (tle->ressortgroupref != 0 && bms_is_member(tle->resno, columns))
			return true;
	}
	return false;
}

/* References to the query's own common table expressions, which move one level up. */
static bool
raise_cte_walker(Node *node, int *depth)
{
	bool		result;

	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_CTE && rte->ctelevelsup == *depth)
			rte->ctelevelsup++;
		return false;			/* the walker goes into it */
	}
	if (!IsA(node, Query))
		return expression_tree_walker(node, raise_cte_walker, depth);
	(*depth)++;
	result = query_tree_walker((Query *) node, raise_cte_walker, depth, QTW_EXAMINE_RTES_BEFORE);
	(*depth)--;
	return result;
}

/* The columns of a subquery, as it gives them. */
static List *
columns_of(Query *inner, List **names)
{
	List	   *tlist = NIL;
	ListCell   *lc;

	foreach(lc, inner->targetList)
	{
		TargetEntry *from = lfirst_node(TargetEntry, lc);
		TargetEntry *to;
		Var		   *var;

		if (from->resjunk)
			continue;
		var = makeVar(1, from->resno, exprType((Node *) from->expr), exprTypmod((Node *) from->expr),
					  exprCollation((Node *) from->expr), 0);
		to = makeTargetEntry((Expr *) var, from->resno, from->resname, false);
		to->resorigtbl = from->resorigtbl;
		to->resorigcol = from->resorigcol;
		tlist = lappend(tlist, to);
		*names = lappend(*names, makeString(pstrdup(from->resname != NULL ? from->resname : "?column?")));
	}
	return tlist;
}

/*
 * The order of the inner query's rows is said of the outer one, too: Citus keeps none
 * that only a subquery has.  By columns that are not given: those are cast afterwards.
 */
static void
raise_order(Query *outer, Query *inner, List **names)
{
	int			resno = list_length(outer->targetList);
	Index		ref = 0;
	ListCell   *lc;

	foreach(lc, inner->sortClause)
	{
		SortGroupClause *clause = copyObject(lfirst_node(SortGroupClause, lc));
		TargetEntry *from = get_sortgroupclause_tle(clause, inner->targetList);
		TargetEntry *to;

		if (from->resjunk)
		{
			from->resjunk = false;
			while (list_length(*names) < from->resno)
				*names = lappend(*names, makeString("?sort?"));
		}
		to = makeTargetEntry((Expr *) makeVar(1, from->resno, exprType((Node *) from->expr),
											  exprTypmod((Node *) from->expr),
											  exprCollation((Node *) from->expr), 0),
							 ++resno, NULL, true);
		to->ressortgroupref = clause->tleSortGroupRef = ++ref;
		outer->targetList = lappend(outer->targetList, to);
		outer->sortClause = lappend(outer->sortClause, clause);
	}
}

/*
 * Make the query the subquery of another that gives its columns.  Common table
 * expressions go to the outer one: those that change data must be there.
 */
void
dp_result_wrap(Query *query)
{
	Query	   *inner = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List	   *names = NIL;
	int			depth = 0;

	memcpy(inner, query, sizeof(Query));
	memset(query, 0, sizeof(Query));
	query->type = T_Query;
	query->commandType = CMD_SELECT;
	query->querySource = inner->querySource;
	query->queryId = inner->queryId;
	query->canSetTag = inner->canSetTag;
	query->stmt_location = inner->stmt_location;
	query->stmt_len = inner->stmt_len;
	query->cteList = inner->cteList;
	query->hasRecursive = inner->hasRecursive;
	query->hasModifyingCTE = inner->hasModifyingCTE;
	inner->cteList = NIL;
	inner->hasRecursive = false;
	inner->hasModifyingCTE = false;
	if (query->cteList != NIL)
		(void) query_tree_walker(inner, raise_cte_walker, &depth, QTW_EXAMINE_RTES_BEFORE);

	query->targetList = columns_of(inner, &names);
	if (inner->sortClause != NIL && dp_reads_distributed(inner))
		raise_order(query, inner, &names);
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = inner;
	rte->eref = makeAlias("unnamed_subquery", names);
	rte->inFromCl = true;
	ref->rtindex = 1;
	query->rtable = list_make1(rte);
	query->jointree = makeFromExpr(list_make1(ref), NULL);
}

/* ---- results that are declared ---- */

/* The type that a value has once it is opened; a length makes text varchar. */
static Oid
opened_type(Oid type)
{
	if (dp_type_is_encrypted(type))
		type = dp_typeinfo_get(type)->base_oid;
	return type == VARCHAROID ? TEXTOID : type;
}

bool
dp_result_is_cast(Oid type, int32 typmod, Form_pg_attribute declared)
{
	bool		encrypted = dp_type_is_encrypted(type);

	if (!encrypted && !dp_type_is_encrypted(declared->atttypid))
		return false;
	if (type == declared->atttypid)
		return declared->atttypmod >= 0 && declared->atttypmod != typmod;
	if (!encrypted)
	{
		int32		length = dp_client_base_modifier(declared->atttypid, declared->atttypmod);

		if (length >= 0 && length != typmod)
			return false;
	}
	return opened_type(type) == opened_type(declared->atttypid);
}

/* Where a column of a row type stands among those that were not dropped. */
Form_pg_attribute
dp_result_declared(TupleDesc declared, int place)
{
	for (int i = 0; i < declared->natts; i++)
		if (!TupleDescAttr(declared, i)->attisdropped && place-- == 0)
			return TupleDescAttr(declared, i);
	return NULL;
}

/* The value as it is declared, or itself where that needs no cast of an encrypted type. */
static Node *
as_declared(Node *value, Form_pg_attribute att)
{
	Node	   *result = NULL;

	if (att != NULL && dp_result_is_cast(exprType(value), exprTypmod(value), att))
		result = coerce_to_target_type(NULL, value, exprType(value), att->atttypid, att->atttypmod,
									   COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
	if (result == NULL)
		return value;
	dp_result_set_collation(result, exprCollation(value));
	return result;
}

void
dp_result_cast_row(RowExpr *row, TupleDesc declared)
{
	ListCell   *lc;

	foreach(lc, row->args)
		lfirst(lc) = as_declared(lfirst(lc), dp_result_declared(declared, foreach_current_index(lc)));
}

void
dp_result_cast_results(Query *query, TupleDesc declared)
{
	bool		selects = query->commandType == CMD_SELECT;
	Bitmapset  *columns = NULL;
	ListCell   *lc;

	foreach(lc, selects ? query->targetList : query->returningList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Form_pg_attribute att = tle->resjunk ? NULL : dp_result_declared(declared, tle->resno - 1);

		if (att != NULL && dp_result_is_cast(exprType((Node *) tle->expr), exprTypmod((Node *) tle->expr), att))
			columns = bms_add_member(columns, tle->resno);
	}
	if (columns == NULL)
		return;
	if (selects && dp_result_cast_comes_after(query, columns))
		dp_result_wrap(query);
	foreach(lc, selects ? query->targetList : query->returningList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (bms_is_member(tle->resno, columns))
			tle->expr = (Expr *) as_declared((Node *) tle->expr, dp_result_declared(declared, tle->resno - 1));
	}
	bms_free(columns);
}
