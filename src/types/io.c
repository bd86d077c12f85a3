/*
 * io.c
 *	  Input and output of encrypted types: one C function each for every encrypted
 *	  type.  Casts are in cast.c.
 *
 * Input seals: for a column (typmod known) under its key, otherwise, a literal,
 * under the database's literal key.  Output and casts to the base type show
 * what the current role's privilege on the value's key allows:
 *
 *	privilege		output						cast to the base type
 *	none			enc:v1:... 					error 42501
 *	mask, search	mask						mask, or NULL where it has no form
 *	reveal			plaintext					plaintext
 *	key unreadable	****						NULL
 *
 * with one warning a statement where a key is suspended or destroyed.  In a
 * statement that writes, what is not the value itself is an error (storing.h).
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/guc.h"
#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "types/maintenance.h"
#include "types/seal.h"
#include "types/show.h"
#include "types/storing.h"
#include "types/value.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dp_type_in);
PG_FUNCTION_INFO_V1(dp_type_out);
PG_FUNCTION_INFO_V1(dp_type_recv);
PG_FUNCTION_INFO_V1(dp_type_send);

static Datum
call_input(const DpTypeInfo *info, void *arg)
{
	return InputFunctionCall(unconstify(FmgrInfo *, &info->base_in), arg, info->base_ioparam, -1);
}

Datum
dp_type_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);	/* whatever type is asked for */
	int32		typmod = PG_GETARG_INT32(2);
	Datum		plain;
	struct varlena *result;

	if (dp_value_is_armor(text) && !dp_seal_takes_as_text(text))
	{
		if (dp_guc_input == DP_INPUT_CIPHERTEXT)
			PG_RETURN_POINTER(dp_seal_accept_ciphertext(text, info));
		dp_seal_refuse_ciphertext();
	}
	if (info->encoding == DP_ENC_TEXT)
		plain = PointerGetDatum(cstring_to_text(text));
	else
		plain = dp_seal_quietly(info, call_input, text);
	plain = dp_seal_apply_modifier(info, plain, typmod, false);
	result = dp_seal_for(info, plain, typmod);
	dp_value_dispose(info, plain);
	PG_RETURN_POINTER(result);
}

static Datum
call_receive(const DpTypeInfo *info, void *arg)
{
	return ReceiveFunctionCall(unconstify(FmgrInfo *, &info->base_recv), arg, info->base_ioparam, -1);
}

Datum
dp_type_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);	/* whatever type is asked for */
	int32		typmod = PG_GETARG_INT32(2);
	Size		prefix = strlen(DP_ARMOR_PREFIX);
	Datum		plain;
	struct varlena *result;

	if (buf->len - buf->cursor > (int) prefix &&
		memcmp(buf->data + buf->cursor, DP_ARMOR_PREFIX, prefix) == 0)
	{
		int			len = buf->len - buf->cursor;
		char	   *text = pnstrdup(buf->data + buf->cursor, len);

		if (!dp_seal_takes_as_text(text))
		{
			if (dp_guc_input != DP_INPUT_CIPHERTEXT)
				dp_seal_refuse_ciphertext();
			(void) pq_getmsgbytes(buf, len);
			PG_RETURN_POINTER(dp_seal_accept_ciphertext(text, info));
		}
		pfree(text);
	}
	if (!OidIsValid(info->base_recv.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("type %s has no binary form", info->name)));
	plain = dp_seal_quietly(info, call_receive, buf);
	plain = dp_seal_apply_modifier(info, plain, typmod, false);
	result = dp_seal_for(info, plain, typmod);
	dp_value_dispose(info, plain);
	PG_RETURN_POINTER(result);
}

Datum
dp_type_out(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	DpValue		value;

	dp_value_parse(datum, DP_IN_COMPARATOR(), &value);
	PG_RETURN_CSTRING(dp_show_text(info, &value));
}

Datum
dp_type_send(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	DpValue		value;
	DpPrivilege privilege;
	Datum		plain;
	bytea	   *result;

	dp_value_parse(datum, DP_IN_COMPARATOR(), &value);
	privilege = dp_show_privilege(&value);
	if (privilege == DP_PRIV_MASK)
	{
		dp_show_refuse_copy();
		dp_storing_refuse(NULL, &value, DP_NOT_ALLOWED);
	}
	if (privilege == DP_PRIV_NONE || info->base_oid == TEXTOID)
	{
		StringInfoData buf;
		char	   *text = dp_show_text(info, &value);

		pq_begintypsend(&buf);
		pq_sendtext(&buf, text, strlen(text));
		PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
	}
	if (!(privilege == DP_PRIV_MASK ? dp_show_mask(info, &value, &plain) : dp_show_open(info, &value, &plain)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a masked or unreadable value of type %s has no binary form", info->name),
				 errhint("Cast the column to its base type: it is null then; or ask for the text format.")));
	if (!OidIsValid(info->base_send.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("type %s has no binary form", info->name)));
	result = SendFunctionCall(unconstify(FmgrInfo *, &info->base_send), plain);
	dp_value_dispose(info, plain);
	PG_RETURN_BYTEA_P(result);
}
