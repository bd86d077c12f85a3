/*
 * stored_value.c
 *	  What may be asked of a stored value without showing it.
 */
#include "postgres.h"

#include "base/compat.h"
#include "fmgr.h"
#include "types/value.h"

PG_FUNCTION_INFO_V1(dp_envelope_key_id_sql);

static const DpTypeInfo *
argument_info(FunctionCallInfo fcinfo)
{
	return dp_typeinfo_get(get_fn_expr_argtype(fcinfo->flinfo, 0));
}

/* Key id of a stored value; needs no right and no key. */
Datum
dp_envelope_key_id_sql(PG_FUNCTION_ARGS)
{
	struct varlena *datum;
	DpEnvelope	env;

	(void) argument_info(fcinfo);
	datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	if (!dp_envelope_parse((uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &env))
		PG_RETURN_NULL();
	PG_RETURN_INT64((int64) env.key_id);
}
