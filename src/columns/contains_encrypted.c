/*
 * contains_encrypted.c
 *	  Does a type, an expression or a query carry encrypted values?
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "base/compat.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "types/types.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

/* ---- types ---- */

/*
 * Walk into a type.  With unkeyed, only encrypted types without a modifier
 * count; else any.
 */
static bool
find_encrypted(Oid typid, int32 typmod, bool unkeyed, Oid *out_type)
{
	Oid			inner;
	int32		inner_typmod = -1;
	TupleDesc	desc;
	bool		found = false;
	int			i;

	/* nothing built in holds one, but RECORD, which names no columns here */
	if (typid < FirstNormalObjectId)
		return false;
	check_stack_depth();
	if (dp_type_is_encrypted(typid))
	{
		*out_type = typid;
		return !unkeyed || typmod < 0;
	}
	switch (get_typtype(typid))
	{
		case TYPTYPE_DOMAIN:
			inner = getBaseTypeAndTypmod(typid, &inner_typmod);
			return find_encrypted(inner, inner_typmod, unkeyed, out_type);
		case TYPTYPE_RANGE:
			return find_encrypted(get_range_subtype(typid), -1, unkeyed, out_type);
		case TYPTYPE_MULTIRANGE:
			return find_encrypted(get_multirange_range(typid), -1, unkeyed, out_type);
		case TYPTYPE_COMPOSITE:
			/* An ALTER of the type and who builds upon it wait for each other. */
			LockRelationOid(get_typ_typrelid(typid), AccessShareLock);
			desc = lookup_rowtype_tupdesc(typid, -1);
			for (i = 0; i < desc->natts && !found; i++)
			{
				Form_pg_attribute att = TupleDescAttr(desc, i);

				found = !att->attisdropped &&
					find_encrypted(att->atttypid, att->atttypmod, unkeyed, out_type);
			}
			ReleaseTupleDesc(desc);
			return found;
		default:
			inner = get_element_type(typid);
			return OidIsValid(inner) &&
				find_encrypted(inner, typmod, unkeyed, out_type);
	}
}

bool
dp_contains_encrypted_type(Oid typid)
{
	Oid			inner;

	return find_encrypted(typid, -1, false, &inner);
}

bool
dp_contains_encrypted_unkeyed(Oid typid, int32 typmod, Oid *out_type)
{
	return find_encrypted(typid, typmod, true, out_type);
}

/* ---- expressions ---- */

/* The type of a node that brings a stored value in, or InvalidOid. */
static Oid
source_type(Node *node)
{
	if (IsA(node, Var))
		return ((Var *) node)->vartype;
	if (IsA(node, CoerceToDomainValue))
		return ((CoerceToDomainValue *) node)->typeId;
	return InvalidOid;
}

/* context: the types that count, or NIL for all that bear encrypted values. */
static bool
mentions_walker(Node *node, void *context)
{
	List	   *types = context;
	Oid			source;

	if (node == NULL)
		return false;
	if (IsA(node, NullTest) && IsA(((NullTest *) node)->arg, Var))
		return false;
	/* One field of a row: what the others hold does not come through. */
	if (IsA(node, FieldSelect) && !dp_contains_encrypted_type(((FieldSelect *) node)->resulttype))
	{
		Node	   *arg = (Node *) ((FieldSelect *) node)->arg;

		while (IsA(arg, FieldSelect))
			arg = (Node *) ((FieldSelect *) arg)->arg;
		if (OidIsValid(source_type(arg)))
			return false;
	}
	source = source_type(node);
	if (OidIsValid(source))
		return types != NIL ? list_member_oid(types, source) : dp_contains_encrypted_type(source);
	return expression_tree_walker(node, mentions_walker, context);
}

bool
dp_contains_encrypted_expression(Node *expr)
{
	return mentions_walker(expr, NIL);
}

bool
dp_contains_encrypted_mention(Node *expr, List *types)
{
	return mentions_walker(expr, types);
}

/* ---- queries ---- */

/* True where any column of any relation in the query tree is encrypted. */
static bool
reads_encrypted_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return dp_contains_encrypted_type(((Var *) node)->vartype);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_encrypted_walker, context, 0);
	return expression_tree_walker(node, reads_encrypted_walker, context);
}

bool
dp_contains_encrypted_reads(Node *node)
{
	return reads_encrypted_walker(node, NULL);
}

/*
 * Direct arguments of a function, operator or the like; context is the whole
 * query.  A record names no columns: it counts where the query reads an
 * encrypted column at all.
 */
static bool
argument_bears(Node *node, void *context)
{
	Oid			typid;

	if (node == NULL)
		return false;
	if (IsA(node, List))
		return expression_tree_walker(node, argument_bears, context);
	if (IsA(node, TargetEntry))
		return argument_bears((Node *) ((TargetEntry *) node)->expr, context);
	if (IsA(node, SortGroupClause))
		return false;
	typid = exprType(node);
	if (typid == RECORDOID || typid == RECORDARRAYOID)
		return reads_encrypted_walker((Node *) context, NULL);
	return dp_contains_encrypted_type(typid);
}

static bool
clauses_bear(List *clauses, List *tlist)
{
	ListCell   *lc;

	foreach(lc, clauses)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		TargetEntry *tle = get_sortgroupclause_tle(clause, tlist);

		if (dp_contains_encrypted_type(exprType((Node *) tle->expr)))
			return true;
	}
	return false;
}

static bool
set_operation_compares(Node *node)
{
	SetOperationStmt *op;
	ListCell   *lc;

	if (node == NULL || !IsA(node, SetOperationStmt))
		return false;
	op = (SetOperationStmt *) node;
	if (op->groupClauses != NIL)
	{
		foreach(lc, op->colTypes)
		{
			if (dp_contains_encrypted_type(lfirst_oid(lc)))
				return true;
		}
	}
	return set_operation_compares(op->larg) || set_operation_compares(op->rarg);
}

static bool
view_computes(Oid relid)
{
	Relation	view = table_open(relid, AccessShareLock);
	bool		computes;

	computes = dp_contains_encrypted_computes(get_view_query(view));
	table_close(view, AccessShareLock);
	return computes;
}

static bool
query_clauses_compute(Query *query)
{
	ListCell   *lc;

	if (clauses_bear(query->sortClause, query->targetList) ||
		clauses_bear(query->groupClause, query->targetList) ||
		clauses_bear(query->distinctClause, query->targetList) ||
		set_operation_compares(query->setOperations))
		return true;
	foreach(lc, query->windowClause)
	{
		WindowClause *window = lfirst_node(WindowClause, lc);

		if (clauses_bear(window->partitionClause, query->targetList) ||
			clauses_bear(window->orderClause, query->targetList))
			return true;
	}
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		/* a stored view's own OLD and NEW entries are not in its FROM clause */
		if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW &&
			rte->inFromCl && view_computes(rte->relid))
			return true;
	}
	return false;
}

static bool query_computes(Query *query, Query *top);

static bool
computes_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Query:
			return query_computes((Query *) node, (Query *) context);
		case T_FuncExpr:
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
		case T_ScalarArrayOpExpr:
		case T_RelabelType:
		case T_CoerceViaIO:
		case T_ArrayCoerceExpr:
		case T_RowCompareExpr:
		case T_MinMaxExpr:
		case T_XmlExpr:
		case T_Aggref:
		case T_WindowFunc:
			if (expression_tree_walker(node, argument_bears, context))
				return true;
			break;
		default:
			if (dp_node_is_json(node) &&
				expression_tree_walker(node, argument_bears, context))
				return true;
			break;
	}
	return expression_tree_walker(node, computes_walker, context);
}

static bool
query_computes(Query *query, Query *top)
{
	check_stack_depth();
	return query_clauses_compute(query) ||
		query_tree_walker(query, computes_walker, (void *) top, 0);
}

bool
dp_contains_encrypted_computes(Query *query)
{
	return query_computes(query, query);
}
