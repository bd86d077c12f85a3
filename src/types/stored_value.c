/*
 * stored_value.c
 *	  What may be asked of a stored value without showing it.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/secret.h"
#include "fmgr.h"
#include "types/value.h"

PG_FUNCTION_INFO_V1(dp_envelope_key_id_sql);
PG_FUNCTION_INFO_V1(dp_check_value_sql);

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

/* Can a value be opened?  Opens it and keeps nothing. */
Datum
dp_check_value_sql(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = argument_info(fcinfo);
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	DpEnvelope	env;
	DpKey		key;
	uint8	   *buf;
	bool		ok;

	if (!dp_envelope_parse((uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &env))
		PG_RETURN_BOOL(false);
	/* A suspended key opens for maintenance: one that does not is gone for good. */
	if (dp_keys_get(env.key_id, DP_USE_MAINTAIN, false, &key) != DP_KEY_OK)
		PG_RETURN_BOOL(false);
	buf = palloc(env.ciphertext_len + 1);
	ok = dp_envelope_open(key.aead, &env, info->code, buf);
	dp_secret_wipe(buf, env.ciphertext_len);
	pfree(buf);
	PG_RETURN_BOOL(ok);
}
