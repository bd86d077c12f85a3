/*
 * modifier_collect.c
 *	  What the collector of unused modifiers asks that SQL cannot tell.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "keys/catalog.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"

PG_FUNCTION_INFO_V1(dp_modifier_claim);
PG_FUNCTION_INFO_V1(dp_modifier_in_tree);
PG_FUNCTION_INFO_V1(dp_modifier_collected);

/*
 * dataprotect._claim_modifier(typmod int4) returns bool
 * Until the end of the transaction nobody begins to use the number; false where
 * somebody does.
 */
Datum
dp_modifier_claim(PG_FUNCTION_ARGS)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, MyDatabaseId, dp_catalog_relation("type_modifier"), PG_GETARG_INT32(0), 0);
	PG_RETURN_BOOL(LockAcquire(&tag, AccessExclusiveLock, false, true) != LOCKACQUIRE_NOT_AVAIL);
}

/*
 * dataprotect._modifiers_collected() returns void
 * Backends ask the table again.
 */
Datum
dp_modifier_collected(PG_FUNCTION_ARGS)
{
	CacheInvalidateRelcacheByRelid(dp_catalog_relation("type_modifier"));
	PG_RETURN_VOID();
}

static void
add_number(List **numbers, int32 typmod)
{
	if (typmod >= 0)
		*numbers = list_append_unique_int(*numbers, typmod);
}

static void
add_list(List **numbers, List *typmods)
{
	ListCell   *lc;

	foreach(lc, typmods)
		add_number(numbers, lfirst_int(lc));
}

static void
add_range_table(List **numbers, RangeTblEntry *rte)
{
	ListCell   *lc;

	add_list(numbers, rte->coltypmods);
	if (rte->tablefunc != NULL)
		add_list(numbers, rte->tablefunc->coltypmods);
	foreach(lc, rte->functions)
		add_list(numbers, lfirst_node(RangeTblFunction, lc)->funccoltypmods);
}

/* Modifiers of any type: who asks looks for numbers of ours. */
static bool
collect_numbers(Node *node, void *out)
{
	List	  **numbers = out;
	int32		typmod;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Query:
			return query_tree_walker((Query *) node, collect_numbers, out, QTW_EXAMINE_RTES_BEFORE);
		case T_RangeTblEntry:
			add_range_table(numbers, (RangeTblEntry *) node);
			return false;
		case T_CommonTableExpr:
			add_list(numbers, ((CommonTableExpr *) node)->ctecoltypmods);
			break;
		case T_FuncExpr:
			if (exprIsLengthCoercion(node, &typmod))
				add_number(numbers, typmod);
			break;
		case T_Var:
		case T_Const:
		case T_Param:
		case T_SubscriptingRef:
		case T_SubLink:
		case T_FieldSelect:
		case T_RelabelType:
		case T_ArrayCoerceExpr:
		case T_CaseTestExpr:
		case T_CoerceToDomain:
		case T_CoerceToDomainValue:
		case T_SetToDefault:
			add_number(numbers, exprTypmod(node));
			break;
		default:
			break;
	}
	return expression_tree_walker(node, collect_numbers, out);
}

/*
 * dataprotect._modifiers_in_tree(tree pg_node_tree) returns int4[]
 * Type modifiers that a stored expression or query mentions.
 */
Datum
dp_modifier_in_tree(PG_FUNCTION_ARGS)
{
	Node	   *node = stringToNode(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	List	   *numbers = NIL;
	Datum	   *values;
	int			n = 0;
	ListCell   *lc;

	(void) collect_numbers(node, &numbers);
	values = palloc(Max(list_length(numbers), 1) * sizeof(Datum));
	foreach(lc, numbers)
		values[n++] = Int32GetDatum(lfirst_int(lc));
	PG_RETURN_ARRAYTYPE_P(construct_array(values, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}
