/*
 * array_side.c
 *	  The types that only operators over arrays have (type_overloads.sql): a value of
 *	  one is the array itself, and goes nowhere but into such an operator.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "parser/parse_coerce.h"
#include "parser/parse_func.h"
#include "types/array_side.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dp_array_side_in);
PG_FUNCTION_INFO_V1(dp_array_side_out);
PG_FUNCTION_INFO_V1(dp_array_side);

Datum
dp_array_side_in(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("type %s has no values to read", format_type_be(get_func_rettype(fcinfo->flinfo->fn_oid))),
			 errdetail("Operators between arrays of protected and of plain values have it for a side."),
			 errhint("Use the array itself.")));
	PG_RETURN_NULL();
}

/* As the array shows its elements. */
Datum
dp_array_side_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(OidOutputFunctionCall(F_ARRAY_OUT, PG_GETARG_DATUM(0)));
}

/* The cast of an array to such a type, and the way back. */
Datum
dp_array_side(PG_FUNCTION_ARGS)
{
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/* The array type that a type is a side for, or InvalidOid. */
static Oid
array_of_side(Oid type)
{
	char		category;
	bool		preferred;
	Oid			function;

	if (type < FirstNormalObjectId)
		return InvalidOid;
	get_type_category_preferred(type, &category, &preferred);
	if (category != TYPCATEGORY_USER || get_typtype(type) != TYPTYPE_BASE)
		return InvalidOid;
	function = LookupFuncName(list_make2(makeString("dataprotect"), makeString("_array")), 1, &type, true);
	return OidIsValid(function) ? get_func_rettype(function) : InvalidOid;
}

void
dp_array_side_results(List *tlist)
{
	ListCell   *lc;

	foreach(lc, tlist)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);
		Oid			type = exprType((Node *) tle->expr);
		Oid			array = array_of_side(type);
		Node	   *result;

		if (!OidIsValid(array))
			continue;
		result = coerce_to_target_type(NULL, (Node *) tle->expr, type, array, -1, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
		if (result == NULL)
			continue;
		exprSetCollation(result, exprCollation((Node *) tle->expr));
		tle->expr = (Expr *) result;
	}
}
