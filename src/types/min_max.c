/*
 * min_max.c
 *	  min and max by an index in plaintext order; see min_max.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/transam.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_type_d.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "types/client_type.h"
#include "types/min_max.h"
#include "types/types.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

typedef struct Search
{
	Query	   *query;
	int			rtindex;		/* of the only relation */
	int			n;				/* aggregates found */
	bool		other;			/* something that is no such aggregate */
} Search;

/* ---- can it be done? ---- */

/* The relation that is all that the query reads, or 0. */
static int
only_relation(Query *query)
{
	Node	   *node = (Node *) query->jointree;
	RangeTblEntry *rte;

	while (node != NULL && IsA(node, FromExpr) && list_length(((FromExpr *) node)->fromlist) == 1 &&
		   (node == (Node *) query->jointree || ((FromExpr *) node)->quals == NULL))
		node = linitial(((FromExpr *) node)->fromlist);
	if (node == NULL || !IsA(node, RangeTblRef))
		return 0;
	rte = rt_fetch(((RangeTblRef *) node)->rtindex, query->rtable);
	if (rte->rtekind != RTE_RELATION || rte->securityQuals != NIL || rte->tablesample != NULL ||
		OidIsValid(dp_rte_check_as_user(rte, dp_query_perminfos(query))))
		return 0;
	return ((RangeTblRef *) node)->rtindex;
}

/* Has the relation an index that begins with the column, in that order? */
static bool
has_ordered_index(Oid relid, AttrNumber attnum, Oid family, Oid collation)
{
	Relation	relation = table_open(relid, AccessShareLock);
	List	   *indexes = RelationGetIndexList(relation);
	bool		found = false;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		found |= index->rd_rel->relam == BTREE_AM_OID && index->rd_index->indisvalid && RelationGetIndexPredicate(index) == NIL &&
			index->rd_index->indkey.values[0] == attnum && index->rd_opfamily[0] == family &&
			index->rd_indcollation[0] == collation;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	table_close(relation, AccessShareLock);
	return found;
}

/* The place of an aggregate's sort operator in its type's order, or 0. */
static int
sort_strategy(Oid aggregate, Oid base)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
	Oid			operator = InvalidOid;
	Oid			class = GetDefaultOpClass(base, BTREE_AM_OID);

	if (HeapTupleIsValid(tuple))
	{
		operator = ((Form_pg_aggregate) GETSTRUCT(tuple))->aggsortop;
		ReleaseSysCache(tuple);
	}
	return OidIsValid(operator) && OidIsValid(class) ? get_op_opfamily_strategy(operator, get_opclass_family(class)) : 0;
}

/* The protected column that the aggregate's argument opens, or NULL. */
static Var *
opened_column(Aggref *aggref)
{
	Node	   *arg;

	if (list_length(aggref->args) != 1 || aggref->aggorder != NIL || aggref->aggfilter != NULL || aggref->agglevelsup != 0)
		return NULL;
	arg = (Node *) linitial_node(TargetEntry, aggref->args)->expr;
	if (!IsA(arg, FuncExpr) || ((FuncExpr *) arg)->funcid < FirstNormalObjectId || ((FuncExpr *) arg)->args == NIL ||
		((FuncExpr *) arg)->funcformat != COERCE_IMPLICIT_CAST)
		return NULL;
	arg = linitial(((FuncExpr *) arg)->args);
	if (!IsA(arg, Var) || !dp_type_is_encrypted(exprType(arg)))
		return NULL;
	return (Var *) arg;
}

static bool
is_by_order(Search *search, Aggref *aggref)
{
	Var		   *column = opened_column(aggref);
	RangeTblEntry *rte = rt_fetch(search->rtindex, search->query->rtable);
	Oid			class;

	if (column == NULL || column->varno != search->rtindex || column->varlevelsup != 0 || column->varattno <= 0 ||
		column->vartypmod < 0 || aggref->inputcollid != column->varcollid)
		return false;
	class = GetDefaultOpClass(column->vartype, BTREE_AM_OID);
	dp_statement_depends_on_role();
	return OidIsValid(class) &&
		sort_strategy(aggref->aggfnoid, exprType((Node *) linitial_node(TargetEntry, aggref->args)->expr)) != 0 &&
		dp_client_reveals(column->vartypmod) &&
		has_ordered_index(rte->relid, column->varattno, get_opclass_family(class), column->varcollid);
}

/* Aggregates of the query, those in its subqueries as well. */
static bool
search_walker(Node *node, Search *search)
{
	if (node == NULL || search->other)
		return false;
	if (IsA(node, Aggref))
	{
		search->n++;
		search->other |= !is_by_order(search, (Aggref *) node);
		return false;
	}
	if (IsA(node, SubLink) || IsA(node, GroupingFunc) || IsA(node, Query))
	{
		search->other = true;
		return false;
	}
	return expression_tree_walker(node, search_walker, search);
}

static bool
storing_around(void)
{
	const DpStatementFrame *frame;

	for (frame = dp_frame; frame != NULL; frame = frame->outer)
		if (frame->writes)
			return true;
	return false;
}

/* ---- doing it ---- */

static Node *
not_null(Node *arg)
{
	NullTest   *test = makeNode(NullTest);

	test->arg = (Expr *) arg;
	test->nulltesttype = IS_NOT_NULL;
	test->location = -1;
	return (Node *) test;
}

/* What a column is put in order by: junk, since the value that is given is opened. */
static TargetEntry *
sort_key(Query *query, Var *column, int strategy)
{
	Oid			family = get_opclass_family(GetDefaultOpClass(column->vartype, BTREE_AM_OID));
	TargetEntry *key = makeTargetEntry(copyObject((Expr *) column), 2, NULL, true);
	SortGroupClause *clause = makeNode(SortGroupClause);

	key->ressortgroupref = 1;
	clause->tleSortGroupRef = 1;
	clause->eqop = get_opfamily_member(family, column->vartype, column->vartype, BTEqualStrategyNumber);
	clause->sortop = get_opfamily_member(family, column->vartype, column->vartype, strategy);
	clause->nulls_first = strategy == BTGreaterStrategyNumber;
	dp_sort_clause_set_descending(clause, strategy == BTGreaterStrategyNumber);
	clause->hashable = false;
	query->sortClause = list_make1(clause);
	return key;
}

static Node *
first_value(Query *query, Aggref *aggref)
{
	Node	   *value = (Node *) linitial_node(TargetEntry, aggref->args)->expr;
	Var		   *column = opened_column(aggref);
	Query	   *inner = copyObject(query);
	SubLink    *result = makeNode(SubLink);
	TargetEntry *shown = makeTargetEntry(copyObject((Expr *) value), 1, pstrdup("value"), false);

	inner->hasAggs = false;
	inner->havingQual = NULL;
	inner->distinctClause = NIL;
	inner->hasDistinctOn = false;
	inner->limitOffset = NULL;
	inner->targetList = list_make2(shown, sort_key(inner, column, sort_strategy(aggref->aggfnoid, exprType(value))));
	inner->limitCount = (Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(1), false, FLOAT8PASSBYVAL);
	inner->limitOption = LIMIT_OPTION_COUNT;
	inner->jointree->quals = make_and_qual(inner->jointree->quals,
										   make_and_qual(not_null((Node *) copyObject(column)), not_null(copyObject(value))));
	/* what was outside of the query is one level further out */
	IncrementVarSublevelsUp((Node *) inner, 1, 1);
	result->subLinkType = EXPR_SUBLINK;
	result->subselect = (Node *) inner;
	result->location = -1;
	return (Node *) result;
}

static Node *
replace_mutator(Node *node, Query *query)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Aggref))
		return first_value(query, (Aggref *) node);
	return expression_tree_mutator(node, replace_mutator, query);
}

void
dp_min_max_by_order(Query *query)
{
	Search		search = {query, 0, 0, false};
	Query	   *whole;

	if (!query->hasAggs || query->commandType != CMD_SELECT || query->groupClause != NIL || query->groupingSets != NIL ||
		query->hasWindowFuncs || query->cteList != NIL || query->rowMarks != NIL || query->setOperations != NULL)
		return;
	search.rtindex = only_relation(query);
	if (search.rtindex == 0 || storing_around())
		return;
	(void) expression_tree_walker((Node *) query->targetList, search_walker, &search);
	(void) search_walker(query->havingQual, &search);
	/* two of them may be two scans, which a condition could make long ones */
	if (search.other || search.n == 0 || (search.n > 1 && query->jointree->quals != NULL) ||
		contain_volatile_functions(query->jointree->quals))
		return;

	whole = copyObject(query);
	query->targetList = (List *) replace_mutator((Node *) query->targetList, whole);
	query->jointree = makeFromExpr(NIL, replace_mutator(query->havingQual, whole));
	query->havingQual = NULL;
	dp_query_clear_rtable(query);
	query->hasAggs = false;
	query->hasSubLinks = true;
}
