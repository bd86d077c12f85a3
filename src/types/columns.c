/*
 * columns.c
 *	  What encrypt_column() and decrypt_column() ask that SQL cannot tell.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/htup_details.h"
#include "base/guc.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/keys.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "types/guard_index.h"
#include "types/inspect.h"
#include "types/types.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dp_columns_sql_computes);
PG_FUNCTION_INFO_V1(dp_columns_sql_order_obstacle);
PG_FUNCTION_INFO_V1(dp_columns_sql_may_reveal);
PG_FUNCTION_INFO_V1(dp_columns_sql_modifier_parts);
PG_FUNCTION_INFO_V1(dp_columns_sql_reseal_row);

/* Mentions of one column, other than whether it is null. */
static bool
computes_walker(Node *node, void *context)
{
	AttrNumber	attnum = *(AttrNumber *) context;

	if (node == NULL)
		return false;
	if (IsA(node, NullTest) && IsA(((NullTest *) node)->arg, Var) &&
		((Var *) ((NullTest *) node)->arg)->varattno == attnum)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varattno == attnum || ((Var *) node)->varattno == 0;
	return expression_tree_walker(node, computes_walker, context);
}

/*
 * dataprotect._computes_from(expression pg_node_tree, column_number int2)
 *		returns bool
 * True where an expression of a constraint, index or column default, all of
 * which know one table only, uses the column's value or the whole row.
 */
Datum
dp_columns_sql_computes(PG_FUNCTION_ARGS)
{
	Node	   *node = stringToNode(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	AttrNumber	attnum = PG_GETARG_INT16(1);

	PG_RETURN_BOOL(computes_walker(node, &attnum));
}

/*
 * dataprotect._order_obstacle(rel regclass, key text) returns text
 * 'bound', 'expires', or NULL where columns may be 'ordered'.
 */
Datum
dp_columns_sql_order_obstacle(PG_FUNCTION_ARGS)
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
dp_columns_sql_may_reveal(PG_FUNCTION_ARGS)
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
dp_columns_sql_modifier_parts(PG_FUNCTION_ARGS)
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

/*
 * dataprotect._reseal_row(whole anyelement, col name) returns anyelement
 * A table's row with the value of one column under its key's current version.
 * A field taken from a row keeps its column's modifier, so an UPDATE assigns it
 * as it is; a bare value would be opened, checked and sealed for the column
 * once more, which only a reader of it may ask for.
 */
Datum
dp_columns_sql_reseal_row(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(0);
	const char *col = NameStr(*PG_GETARG_NAME(1));
	TupleDesc	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header),
											  HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple;
	HeapTuple	result;
	Datum		value = (Datum) 0;
	bool		isnull = true;
	int			attnum = 0;
	int			i;

	for (i = 0; i < desc->natts && attnum == 0; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), col) == 0)
			attnum = i + 1;
	}
	if (attnum == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("row has no column \"%s\"", col)));

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	value = heap_getattr(&tuple, attnum, desc, &isnull);
	if (!isnull)
		value = PointerGetDatum(dp_inspect_reseal(dp_typeinfo_get(TupleDescAttr(desc, attnum - 1)->atttypid),
												  PG_DETOAST_DATUM_PACKED(value)));
	result = heap_modify_tuple_by_cols(&tuple, desc, 1, &attnum, &value, &isnull);
	ReleaseTupleDesc(desc);
	PG_RETURN_DATUM(HeapTupleGetDatum(result));
}
