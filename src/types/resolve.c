/*
 * resolve.c
 *	  What a query says of encrypted values, put in terms of operators that indexes
 *	  and joins know, before it is planned.
 *
 * PostgreSQL may resolve a comparison to the base type's operator over an implicit
 * cast of the encrypted side: where the encrypted type's own operator cannot have a
 * name in pg_catalog (_mixed_schema in type_operators.sql), where a made type's schema
 * is not in search_path, or where the value is promoted (int4 beside numeric); or
 * to the operator of two encrypted values, one of which was sealed for it.  Here
 *
 *	  opened(e) op b, e op sealed(b)	become the member of e's operator family
 *										between e and b
 *	  any other comparison of opened(e)	keeps its operator; its cast shows no mask
 *	  e op a value of another width		becomes one with the base type (mixed_width.h)
 *	  aggregate(e)						becomes the base type's over opened(e)
 *	  min and max over opened(e)		become the first of e's order (min_max.h)
 *	  a row op a row					over opened fields where their types differ (row_value.h)
 *
 * Only casts that the parser put there are touched: who writes a cast means it.
 */
#include "postgres.h"

#include "access/hash.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/transam.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_namespace_d.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type_d.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_oper.h"
#include "types/mention.h"
#include "types/min_max.h"
#include "types/mixed_width.h"
#include "types/resolve.h"
#include "types/row_value.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* The strategy of "<>", which families do not have. */
#define NOT_EQUAL (-1)

/* ---- casts that the parser put there ---- */

static FuncExpr *
implicit_cast(Node *node)
{
	FuncExpr   *cast = (FuncExpr *) node;

	if (node == NULL || !IsA(node, FuncExpr) || cast->funcformat != COERCE_IMPLICIT_CAST ||
		cast->funcid < FirstNormalObjectId || cast->args == NIL)
		return NULL;
	return cast;
}

/* The cast that opens an encrypted value, and of which type; or NULL. */
static FuncExpr *
opening_cast(Node *node, const DpTypeInfo **info)
{
	FuncExpr   *cast = implicit_cast(node);
	Oid			source;

	if (cast == NULL || dp_type_is_encrypted(cast->funcresulttype))
		return NULL;
	source = exprType(linitial(cast->args));
	if (!dp_type_is_encrypted(source))
		return NULL;
	*info = dp_typeinfo_get(source);
	return cast;
}

static Node *
opened(Node *arg)
{
	Oid			type = exprType(arg);

	if (!dp_type_is_encrypted(type))
		return arg;
	return coerce_type(NULL, arg, type, dp_typeinfo_get(type)->base_oid, -1, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
}

/* What was sealed for an operator, as a value of the base type; or NULL. */
static Node *
unsealed(Node *node, const DpTypeInfo *info)
{
	FuncExpr   *cast = implicit_cast(node);
	Node	   *arg;
	Oid			source;

	if (cast == NULL || cast->funcresulttype != info->enc_oid)
		return NULL;
	arg = opened(linitial(cast->args));
	source = exprType(arg);
	if (!can_coerce_type(1, &source, &info->base_oid, COERCION_IMPLICIT))
		return NULL;
	return coerce_type(NULL, arg, source, info->base_oid, -1, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
}

/* ---- operators ---- */

static Oid
default_family(Oid type, Oid method)
{
	Oid			class = GetDefaultOpClass(type, method);

	return OidIsValid(class) ? get_opclass_family(class) : InvalidOid;
}

/* What an operator is to an operator family: its strategy, NOT_EQUAL, or 0. */
static int
strategy_in(Oid opno, Oid family, int equal)
{
	Oid			negator;
	int			strategy;

	if (!OidIsValid(family))
		return 0;
	strategy = get_op_opfamily_strategy(opno, family);
	if (strategy != 0)
		return strategy;
	negator = get_negator(opno);
	return OidIsValid(negator) && get_op_opfamily_strategy(negator, family) == equal ? NOT_EQUAL : 0;
}

/*
 * The operator of an encrypted type's family that is to it what opno is to the
 * family of the type "of", for sides of the given types; InvalidOid where there is none.
 */
static Oid
counterpart(Oid opno, Oid of, const DpTypeInfo *info, Oid left, Oid right)
{
	static const struct
	{
		Oid			method;
		int			equal;
	}			methods[] =

	{
		{BTREE_AM_OID, BTEqualStrategyNumber},
		{HASH_AM_OID, HTEqualStrategyNumber},
	};

	for (int i = 0; i < lengthof(methods); i++)
	{
		int			strategy = strategy_in(opno, default_family(of, methods[i].method), methods[i].equal);
		Oid			family = default_family(info->enc_oid, methods[i].method);
		Oid			result;

		if (strategy == 0 || !OidIsValid(family))
			continue;
		result = get_opfamily_member(family, left, right, strategy == NOT_EQUAL ? methods[i].equal : strategy);
		if (OidIsValid(result) && strategy == NOT_EQUAL)
			result = get_negator(result);
		if (OidIsValid(result))
			return result;
	}
	return InvalidOid;
}

/* One side of a comparison, as it could stand beside an encrypted value. */
typedef struct Side
{
	Node	   *expr;
	Oid			type;
} Side;

/* opened(e) op b: both sides e or of its base type. */
static Side
side_of_opened(Node *arg, const DpTypeInfo *info)
{
	const DpTypeInfo *its = NULL;
	FuncExpr   *cast = opening_cast(arg, &its);
	Side		side = {arg, exprType(arg)};

	if (cast != NULL && its == info && cast->funcresulttype == info->base_oid)
	{
		side.expr = linitial(cast->args);
		side.type = info->enc_oid;
	}
	return side;
}

static Side
side_of_sealed(Node *arg, const DpTypeInfo *info)
{
	Side		side = {arg, exprType(arg)};
	Node	   *plain = unsealed(arg, info);

	if (plain != NULL)
	{
		side.expr = plain;
		side.type = info->base_oid;
	}
	return side;
}

static bool
put(Oid *opno, Oid *opfuncid, List *args, Oid of, const DpTypeInfo *info, Side left, Side right)
{
	Oid			found;

	if ((left.type != info->enc_oid && left.type != info->base_oid) ||
		(right.type != info->enc_oid && right.type != info->base_oid) ||
		(left.type != info->enc_oid && right.type != info->enc_oid) ||
		(left.expr == linitial(args) && right.expr == lsecond(args)))
		return false;
	found = counterpart(*opno, of, info, left.type, right.type);
	if (!OidIsValid(found))
		return false;
	*opno = found;
	*opfuncid = get_opcode(found);
	linitial(args) = left.expr;
	lsecond(args) = right.expr;
	return true;
}

static void
mark_compared(Oid opno, List *args)
{
	ListCell   *lc;

	if (!dp_is_btree_comparison(opno))
		return;
	foreach(lc, args)
	{
		const DpTypeInfo *info;
		FuncExpr   *cast = opening_cast(lfirst(lc), &info);

		if (cast != NULL)
			cast->funcformat = DP_COMPARED_FORMAT;
	}
}

static void
resolve_comparison(Oid *opno, Oid *opfuncid, List *args)
{
	const DpTypeInfo *info = NULL;
	Node	   *left;
	Node	   *right;

	if (list_length(args) != 2)
		return;
	left = linitial(args);
	right = lsecond(args);
	if (opening_cast(left, &info) != NULL || opening_cast(right, &info) != NULL)
	{
		if (!put(opno, opfuncid, args, info->base_oid, info, side_of_opened(left, info), side_of_opened(right, info)))
			mark_compared(*opno, args);
	}
	else if (*opno >= FirstNormalObjectId && dp_type_is_encrypted(exprType(left)) && exprType(left) == exprType(right))
	{
		info = dp_typeinfo_get(exprType(left));
		(void) put(opno, opfuncid, args, info->enc_oid, info, side_of_sealed(left, info), side_of_sealed(right, info));
	}
}

/* ---- aggregates ---- */

/* The aggregate over base types that one over encrypted types stands in for, or InvalidOid. */
static Oid
base_aggregate(Oid aggregate, List *argtypes)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
	Oid			transition = InvalidOid;
	Oid			types[FUNC_MAX_ARGS];
	int			n = 0;
	ListCell   *lc;

	if (HeapTupleIsValid(tuple))
	{
		transition = ((Form_pg_aggregate) GETSTRUCT(tuple))->aggtransfn;
		ReleaseSysCache(tuple);
	}
	if (!OidIsValid(transition) || !dp_typeinfo_is_c_function(transition, "dp_stand_in"))
		return InvalidOid;
	foreach(lc, argtypes)
		types[n++] = dp_type_is_encrypted(lfirst_oid(lc)) ? dp_typeinfo_get(lfirst_oid(lc))->base_oid : lfirst_oid(lc);
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(get_func_name(aggregate)),
						   PointerGetDatum(buildoidvector(types, n)), ObjectIdGetDatum(PG_CATALOG_NAMESPACE));
}

/* ORDER BY and DISTINCT of an argument that has become one of the base type. */
static void
follow_argument(List *clauses, TargetEntry *argument)
{
	ListCell   *lc;

	foreach(lc, clauses)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		bool		descends;
		Oid			less;
		Oid			greater;

		if (clause->tleSortGroupRef != argument->ressortgroupref)
			continue;
		descends = OidIsValid(clause->sortop) && strcmp(get_opname(clause->sortop), ">") == 0;
		get_sort_group_operators(exprType((Node *) argument->expr), false, true, false, &less, &clause->eqop, &greater, &clause->hashable);
		if (OidIsValid(clause->sortop))
			clause->sortop = descends ? greater : less;
	}
}

static void
resolve_aggregate(Aggref *aggref)
{
	Oid			found = aggref->aggfnoid >= FirstNormalObjectId ? base_aggregate(aggref->aggfnoid, aggref->aggargtypes) : InvalidOid;
	ListCell   *lc;

	if (!OidIsValid(found))
		return;
	aggref->aggfnoid = found;
	foreach(lc, aggref->aggargtypes)
	{
		if (dp_type_is_encrypted(lfirst_oid(lc)))
			lfirst_oid(lc) = dp_typeinfo_get(lfirst_oid(lc))->base_oid;
	}
	foreach(lc, aggref->args)
	{
		TargetEntry *argument = lfirst_node(TargetEntry, lc);

		if (!dp_type_is_encrypted(exprType((Node *) argument->expr)))
			continue;
		argument->expr = (Expr *) opened((Node *) argument->expr);
		if (argument->ressortgroupref != 0)
		{
			follow_argument(aggref->aggorder, argument);
			follow_argument(aggref->aggdistinct, argument);
		}
	}
}

static void
resolve_window_aggregate(WindowFunc *call)
{
	List	   *argtypes = NIL;
	Oid			found;
	ListCell   *lc;

	if (!call->winagg || call->winfnoid < FirstNormalObjectId)
		return;
	foreach(lc, call->args)
		argtypes = lappend_oid(argtypes, exprType(lfirst(lc)));
	found = base_aggregate(call->winfnoid, argtypes);
	if (!OidIsValid(found))
		return;
	call->winfnoid = found;
	foreach(lc, call->args)
		lfirst(lc) = opened(lfirst(lc));
}

/* ---- the walk ---- */

static void resolve_one(Query *query);

static bool
resolve_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		resolve_one((Query *) node);
		return false;
	}
	if (expression_tree_walker(node, resolve_walker, context))
		return true;
	if (IsA(node, OpExpr))
	{
		OpExpr	   *op = (OpExpr *) node;

		dp_row_comparison_resolve(op->opno, op->args);
		resolve_comparison(&op->opno, &op->opfuncid, op->args);
		if (op->opno >= FirstNormalObjectId && list_length(op->args) == 2)
			dp_mixed_width_widen(op);
	}
	else if (IsA(node, DistinctExpr) || IsA(node, NullIfExpr))
		dp_row_comparison_resolve(((OpExpr *) node)->opno, ((OpExpr *) node)->args);
	else if (IsA(node, ScalarArrayOpExpr))
	{
		ScalarArrayOpExpr *op = (ScalarArrayOpExpr *) node;
		const DpTypeInfo *info;

		if (opening_cast(linitial(op->args), &info) != NULL)
		{
			Side		array = {lsecond(op->args), get_base_element_type(exprType(lsecond(op->args)))};

			if (!put(&op->opno, &op->opfuncid, op->args, info->base_oid, info, side_of_opened(linitial(op->args), info), array))
				mark_compared(op->opno, op->args);
		}
		else if (op->opno >= FirstNormalObjectId)
			dp_mixed_width_widen_list(op);
	}
	else if (IsA(node, Aggref))
		resolve_aggregate((Aggref *) node);
	else if (IsA(node, WindowFunc))
		resolve_window_aggregate((WindowFunc *) node);
	return false;
}

static void
resolve_one(Query *query)
{
	(void) query_tree_walker(query, resolve_walker, NULL, 0);
	dp_mixed_width_narrow(query);
	dp_min_max_by_order(query);
}

static void
resolve_query(Query *query, const char *source)
{
	if ((dp_query_mentions(query) & DP_MENTIONS_OTHER_TYPES) != 0)
		resolve_one(query);
}

static const DpSubscriber subscriber = {
	.name = "resolution",
	.planning = resolve_query,
};

void
dp_resolve_init(void)
{
	dp_statement_subscribe(&subscriber);
}
