/*
 * mixed_width.c
 *	  Protected values beside values of another width; see mixed_width.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/transam.h"
#include "base/compat.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_type_d.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "types/mixed_width.h"
#include "types/resolve.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* The place of a comparison in btree families, or 0; all that have it agree. */
static int
btree_strategy(Oid opno)
{
	CatCList   *list = SearchSysCacheList1(AMOPOPID, ObjectIdGetDatum(opno));
	int			result = 0;

	for (int i = 0; i < list->n_members && result == 0; i++)
	{
		Form_pg_amop member = (Form_pg_amop) GETSTRUCT(&list->members[i]->tuple);

		if (member->amopmethod == BTREE_AM_OID && member->amoppurpose == AMOP_SEARCH)
			result = member->amopstrategy;
	}
	ReleaseSysCacheList(list);
	return result;
}

/* ---- what is narrower ---- */

/* A value of another type as the base type, its protected one opened; or NULL. */
static Node *
widened(Node *value, Oid target)
{
	Oid			type = exprType(value);

	if (dp_type_is_encrypted(type))
	{
		const DpTypeInfo *info = dp_typeinfo_get(type);

		value = coerce_type(NULL, copyObject(value), type, info->base_oid, -1, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
		if (IsA(value, FuncExpr))
			((FuncExpr *) value)->funcformat = DP_COMPARED_FORMAT;
		type = info->base_oid;
	}
	return coerce_to_target_type(NULL, value, type, target, -1, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
}

/* The operator between a type and its base type that is like another; or InvalidOid. */
static Oid
own_operator(const DpTypeInfo *info, int strategy, bool base_on_left)
{
	Oid			class = GetDefaultOpClass(info->enc_oid, BTREE_AM_OID);

	if (!OidIsValid(class))
		return InvalidOid;
	return get_opfamily_member(get_opclass_family(class), base_on_left ? info->base_oid : info->enc_oid,
							   base_on_left ? info->enc_oid : info->base_oid, strategy);
}

void
dp_mixed_width_widen(OpExpr *op)
{
	Node	   *sides[2] = {linitial(op->args), lsecond(op->args)};
	int			strategy;

	if (!dp_type_is_encrypted(exprType(sides[0])) || !dp_type_is_encrypted(exprType(sides[1])) ||
		exprType(sides[0]) == exprType(sides[1]))
		return;
	strategy = btree_strategy(op->opno);
	for (int i = 0; strategy != 0 && i < 2; i++)
	{
		const DpTypeInfo *info = dp_typeinfo_get(exprType(sides[i]));
		Oid			opno = own_operator(info, strategy, i == 1);
		Node	   *other = OidIsValid(opno) ? widened(sides[1 - i], info->base_oid) : NULL;

		if (other == NULL)
			continue;
		op->opno = opno;
		op->opfuncid = get_opcode(opno);
		list_nth_cell(op->args, 1 - i)->ptr_value = other;
		return;
	}
}

void
dp_mixed_width_widen_list(ScalarArrayOpExpr *op)
{
	Node	   *protected = linitial(op->args);
	Oid			element = get_element_type(exprType(lsecond(op->args)));
	const DpTypeInfo *info;
	int			strategy;
	Oid			opno;
	Node	   *list;

	if (!dp_type_is_encrypted(exprType(protected)) || dp_type_is_encrypted(element))
		return;
	info = dp_typeinfo_get(exprType(protected));
	strategy = element == info->base_oid ? 0 : btree_strategy(op->opno);
	opno = strategy != 0 ? own_operator(info, strategy, false) : InvalidOid;
	list = OidIsValid(opno) ? widened(lsecond(op->args), get_array_type(info->base_oid)) : NULL;
	if (list == NULL)
		return;
	op->opno = opno;
	op->opfuncid = get_opcode(opno);
	lsecond(op->args) = list;
}

/* ---- what is wider ---- */

/* The function that finds the bound, or InvalidOid. */
static Oid
bound_function(Oid wide, Oid base)
{
	Oid			types[2] = {wide, INT4OID};
	const char *name;

	switch (base)
	{
		case INT2OID:
			name = "_as_int2";
			break;
		case INT4OID:
			name = "_as_int4";
			break;
		case FLOAT4OID:
			name = "_as_float4";
			break;
		case DATEOID:
			name = "_as_date";
			break;
		case TIMESTAMPOID:
			name = "_as_timestamp";
			break;
		default:
			return InvalidOid;
	}
	return LookupFuncName(list_make2(makeString("dataprotect"), makeString(pstrdup(name))), 2, types, true);
}

/* The bound of a value, or of a list; NULL where there can be none. */
static Node *
bound(Node *value, const DpTypeInfo *info, int strategy, bool is_list)
{
	Oid			function = bound_function(exprType(value), info->base_oid);
	Const	   *place = makeConst(INT4OID, -1, InvalidOid, sizeof(int32), Int32GetDatum(strategy), false, true);

	if (!OidIsValid(function))
		return NULL;
	return (Node *) makeFuncExpr(function, is_list ? get_array_type(info->base_oid) : info->base_oid,
								 list_make2(value, place), InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

bool
dp_mixed_width_is_given(Node *node)
{
	if (IsA(node, Const))
		return true;
	if (IsA(node, Param))
		return ((Param *) node)->paramkind == PARAM_EXTERN;
	if (IsA(node, FuncExpr) && list_length(((FuncExpr *) node)->args) == 2 &&
		(dp_typeinfo_is_c_function(((FuncExpr *) node)->funcid, "dp_narrow_int8_int4") ||
		 dp_typeinfo_is_c_function(((FuncExpr *) node)->funcid, "dp_narrow_int8_int2") ||
		 dp_typeinfo_is_c_function(((FuncExpr *) node)->funcid, "dp_narrow_int4_int2") ||
		 dp_typeinfo_is_c_function(((FuncExpr *) node)->funcid, "dp_narrow_float8_float4") ||
		 dp_typeinfo_is_c_function(((FuncExpr *) node)->funcid, "dp_narrow_timestamp_date") ||
		 dp_typeinfo_is_c_function(((FuncExpr *) node)->funcid, "dp_narrow_list")))
		return dp_mixed_width_is_given(linitial(((FuncExpr *) node)->args));
	return false;
}

/* The protected side is the one, the other is plain, and no base value. */
static bool
stands_beside_wider(Node *protected, Node *other, const DpTypeInfo **info)
{
	Oid			type = exprType(other);

	if (!dp_type_is_encrypted(exprType(protected)) || dp_type_is_encrypted(type))
		return false;
	*info = dp_typeinfo_get(exprType(protected));
	return type != (*info)->base_oid;
}

/* A bound lies on this side of the value: what is below one is at most the other. */
static int
closed(int strategy)
{
	if (strategy == BTEqualStrategyNumber)
		return strategy;
	return strategy < BTEqualStrategyNumber ? BTLessEqualStrategyNumber : BTGreaterEqualStrategyNumber;
}

static Node *
narrow_comparison(OpExpr *op)
{
	static const int commuted[] = {0, BTGreaterStrategyNumber, BTGreaterEqualStrategyNumber, BTEqualStrategyNumber,
	BTLessEqualStrategyNumber, BTLessStrategyNumber};
	Node	   *protected = linitial(op->args);
	Node	   *other = lsecond(op->args);
	bool		leaves_room;
	const DpTypeInfo *info;
	int			strategy;
	Oid			opno;
	Node	   *value;
	Expr	   *result;

	if (!stands_beside_wider(protected, other, &info))
	{
		if (!stands_beside_wider(other, protected, &info))
			return (Node *) op;
		protected = lsecond(op->args);
		other = linitial(op->args);
	}
	leaves_room = exprType(other) == TIMESTAMPTZOID;
	strategy = btree_strategy(op->opno);
	if (strategy == 0 || (leaves_room && strategy == BTEqualStrategyNumber))
		return (Node *) op;
	if (other == linitial(op->args))
		strategy = commuted[strategy];
	opno = own_operator(info, closed(strategy), false);
	value = OidIsValid(opno) ? bound(copyObject(other), info, strategy, false) : NULL;
	if (value == NULL)
		return (Node *) op;
	result = make_opclause(opno, BOOLOID, false, copyObject((Expr *) protected), (Expr *) value, InvalidOid, InvalidOid);
	set_opfuncid((OpExpr *) result);
	return leaves_room ? (Node *) makeBoolExpr(AND_EXPR, list_make2(result, op), -1) : (Node *) result;
}

static Node *
narrow_list(ScalarArrayOpExpr *op)
{
	Node	   *protected = linitial(op->args);
	const DpTypeInfo *info;
	Oid			opno;
	Node	   *list;

	if (!op->useOr || !dp_type_is_encrypted(exprType(protected)) ||
		dp_type_is_encrypted(get_element_type(exprType(lsecond(op->args)))) ||
		btree_strategy(op->opno) != BTEqualStrategyNumber)
		return (Node *) op;
	info = dp_typeinfo_get(exprType(protected));
	opno = own_operator(info, BTEqualStrategyNumber, false);
	list = OidIsValid(opno) ? bound(lsecond(op->args), info, BTEqualStrategyNumber, true) : NULL;
	if (list == NULL)
		return (Node *) op;
	op->opno = opno;
	op->opfuncid = get_opcode(opno);
	lsecond(op->args) = list;
	return (Node *) op;
}

static Node *
narrow_condition(Node *node)
{
	ListCell   *lc;

	if (node == NULL)
		return NULL;
	if (IsA(node, List))
	{
		foreach(lc, (List *) node)
			lfirst(lc) = narrow_condition(lfirst(lc));
	}
	else if (IsA(node, BoolExpr) && ((BoolExpr *) node)->boolop != NOT_EXPR)
	{
		foreach(lc, ((BoolExpr *) node)->args)
			lfirst(lc) = narrow_condition(lfirst(lc));
	}
	else if (IsA(node, OpExpr) && list_length(((OpExpr *) node)->args) == 2 && ((OpExpr *) node)->opno >= FirstNormalObjectId)
		return narrow_comparison((OpExpr *) node);
	else if (IsA(node, ScalarArrayOpExpr) && ((ScalarArrayOpExpr *) node)->opno >= FirstNormalObjectId)
		return narrow_list((ScalarArrayOpExpr *) node);
	return node;
}

static void
narrow_joins(Node *node)
{
	ListCell   *lc;

	if (node != NULL && IsA(node, FromExpr))
	{
		foreach(lc, ((FromExpr *) node)->fromlist)
			narrow_joins(lfirst(lc));
		((FromExpr *) node)->quals = narrow_condition(((FromExpr *) node)->quals);
	}
	else if (node != NULL && IsA(node, JoinExpr))
	{
		narrow_joins(((JoinExpr *) node)->larg);
		narrow_joins(((JoinExpr *) node)->rarg);
		((JoinExpr *) node)->quals = narrow_condition(((JoinExpr *) node)->quals);
	}
}

void
dp_mixed_width_narrow(Query *query)
{
	narrow_joins((Node *) query->jointree);
}
