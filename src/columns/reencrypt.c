/*
 * reencrypt.c
 *	  Stored values under the current version of their key, without showing them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/keys.h"
#include "types/value.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dp_reseal_sql);
PG_FUNCTION_INFO_V1(dp_column_reseal_row);

/*
 * The same value under its named key's current version: palloc'd, or datum
 * itself where it needs no change, belongs to an account, or is unreadable.
 * Not a read.  Errors where it does not authenticate.
 */
static struct varlena *
reseal_value(const DpTypeInfo *info, struct varlena *datum)
{
	struct varlena *result;
	DpValue		value;
	DpKey		key;
	Datum		plain;

	dp_value_parse(datum, false, &value);
	if (value.literal ||
		dp_keys_get(value.env.key_id, DP_USE_MAINTAIN, false, &key) != DP_KEY_OK ||
		key.purpose != DP_PURPOSE_DATA ||
		dp_keys_family(value.family)->current_key_id == value.env.key_id ||
		!dp_value_open(info, &value, DP_USE_MAINTAIN, false, &plain))
		return datum;
	dp_keys_for_seal(dp_keys_family(value.family), &key);
	result = dp_value_seal(info, plain, &key, false, value.env.token != NULL);
	dp_value_dispose(info, plain);
	return result;
}

/* dataprotect._reseal(value anyelement) returns anyelement */
Datum
dp_reseal_sql(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_get(get_fn_expr_argtype(fcinfo->flinfo, 0));

	PG_RETURN_POINTER(reseal_value(info, PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0))));
}

/*
 * dataprotect._reseal_row(whole anyelement, col name) returns anyelement
 * A table's row with the value of one column under its key's current version.
 * A field taken from a row keeps its column's modifier, so an UPDATE assigns it
 * as it is; a bare value would be opened, checked and sealed for the column
 * once more, which only a reader of it may ask for.
 */
Datum
dp_column_reseal_row(PG_FUNCTION_ARGS)
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
		value = PointerGetDatum(reseal_value(dp_typeinfo_get(TupleDescAttr(desc, attnum - 1)->atttypid),
												  PG_DETOAST_DATUM_PACKED(value)));
	result = heap_modify_tuple_by_cols(&tuple, desc, 1, &attnum, &value, &isnull);
	ReleaseTupleDesc(desc);
	PG_RETURN_DATUM(HeapTupleGetDatum(result));
}
