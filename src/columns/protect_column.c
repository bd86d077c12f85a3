/*
 * protect_column.c
 *	  What encrypt_column() and decrypt_column() ask that SQL cannot tell.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/htup_details.h"
#include "base/guc.h"
#include "columns/guard_index.h"
#include "columns/query_column.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/keys.h"
#include "nodes/primnodes.h"
#include "types/types.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dp_column_computes);
PG_FUNCTION_INFO_V1(dp_column_order_obstacle);
PG_FUNCTION_INFO_V1(dp_column_may_reveal);
PG_FUNCTION_INFO_V1(dp_column_modifier_parts);

/*
 * dataprotect._computes_from(expression pg_node_tree, column_number int2)
 *		returns bool
 * True where an expression of a constraint, index or column default, all of
 * which know one table only, uses the column's value or the whole row.
 */
Datum
dp_column_computes(PG_FUNCTION_ARGS)
{
	Node	   *node = stringToNode(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	AttrNumber	attnum = PG_GETARG_INT16(1);

	PG_RETURN_BOOL(dp_column_mentioned(node, attnum));
}

/*
 * dataprotect._order_obstacle(rel regclass, key text) returns text
 * 'bound', 'expires', or NULL where columns may be 'ordered'.
 */
Datum
dp_column_order_obstacle(PG_FUNCTION_ARGS)
{
	switch (dp_guard_order_obstacle(PG_GETARG_OID(0),
									text_to_cstring(PG_GETARG_TEXT_PP(1))))
	{
		case DP_ORDER_BOUND:
			PG_RETURN_TEXT_P(cstring_to_text("bound"));
		case DP_ORDER_EXPIRES:
			PG_RETURN_TEXT_P(cstring_to_text("expires"));
		case DP_ORDER_ALLOWED:
			break;
	}
	PG_RETURN_NULL();
}

/*
 * dataprotect._may_reveal(key text) returns bool
 * Whether values under the key appear to the current role as they are.
 */
Datum
dp_column_may_reveal(PG_FUNCTION_ARGS)
{
	const DpFamily *family = dp_keys_family_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)));

	PG_RETURN_BOOL(dp_guc_output == DP_OUTPUT_AUTO &&
				   dp_access_privilege(family->family) == DP_PRIV_REVEAL);
}

/*
 * dataprotect._modifier_parts(typmod int4, OUT key name, OUT searchable bool,
 *		OUT ordered bool)
 */
Datum
dp_column_modifier_parts(PG_FUNCTION_ARGS)
{
	const DpModifier *modifier = dp_modifier_get(PG_GETARG_INT32(0));
	TupleDesc	desc;
	NameData	key = modifier->key;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = NameGetDatum(&key);
	values[1] = BoolGetDatum(modifier->searchable);
	values[2] = BoolGetDatum(modifier->ordered);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
