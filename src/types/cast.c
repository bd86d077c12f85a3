/*
 * cast.c
 *	  Casts to, from and between encrypted types, length coercion.
 */
#include "postgres.h"

#include "access/foreign_code.h"
#include "access/transam.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "parser/parse_coerce.h"
#include "types/row_condition.h"
#include "types/resolve.h"
#include "types/seal.h"
#include "types/show.h"
#include "types/storing.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dp_coerce);
PG_FUNCTION_INFO_V1(dp_from_base);
PG_FUNCTION_INFO_V1(dp_to_base);
PG_FUNCTION_INFO_V1(dp_to_other);
PG_FUNCTION_INFO_V1(dp_recast);

/*
 * Value of one type as another, by the cast that pg_cast has between them, which
 * may give NULL (the time of an infinite timestamp).
 */
static Datum
convert(Oid from, Oid to, int32 typmod, bool explicit, Datum value, Oid collation, bool *out_isnull)
{
	LOCAL_FCINFO(call, 3);
	CoercionPathType path;
	FmgrInfo	flinfo;
	Oid			func;
	Datum		result;

	*out_isnull = false;
	if (from == to)
		return value;
	path = find_coercion_pathway(to, from, COERCION_EXPLICIT, &func);
	if (path == COERCION_PATH_RELABELTYPE)
		return value;
	if (path != COERCION_PATH_FUNC)
		ereport(ERROR,
				(errcode(ERRCODE_CANNOT_COERCE),
				 errmsg("cannot cast type %s to %s", format_type_be(from), format_type_be(to))));
	fmgr_info(func, &flinfo);
	InitFunctionCallInfoData(*call, &flinfo, Min(get_func_nargs(func), 3), collation, NULL, NULL);
	call->args[0].value = value;
	call->args[1].value = Int32GetDatum(typmod);
	call->args[2].value = BoolGetDatum(explicit);
	call->args[0].isnull = call->args[1].isnull = call->args[2].isnull = false;
	result = FunctionCallInvoke(call);
	*out_isnull = call->isnull;
	return result;
}

/*
 * The cast between two types may be code of one's owner: it is entered before the value is opened.
 * dp_statement_leave_code() takes what is returned.
 */
static int
enter_cast(Oid from, Oid to)
{
	int			level = dp_n_code;
	Oid			func;
	Oid			owner;

	if ((from >= FirstNormalObjectId || to >= FirstNormalObjectId) && from != to &&
		find_coercion_pathway(to, from, COERCION_EXPLICIT, &func) == COERCION_PATH_FUNC &&
		func >= FirstNormalObjectId && dp_foreign_code_counts(func, &owner))
		dp_statement_enter_code(func, owner);
	return level;
}

/* Is the value sealed as a column of that modifier wants it, but for the base type's own? */
static bool
is_sealed_for(const DpValue *value, const DpModifier *modifier)
{
	return dp_value_has_form(&value->env, modifier) &&
		dp_keys_family_by_name(NameStr(modifier->key))->family == value->family;
}

/*
 * Does the value satisfy the base type's own modifier, as far as can be told
 * without opening it?  A restore's values were fitted when they were written; a text of
 * no more bytes has no more characters.
 */
static bool
surely_fits(const DpTypeInfo *info, const DpValue *value, const DpModifier *modifier)
{
	return modifier->base_typmod < 0 || dp_seal_takes_ciphertext() ||
		(info->base_oid == TEXTOID && (value->env.flags & DP_ENV_COMPRESSED) == 0 &&
		 value->env.ciphertext_len <= (Size) (modifier->base_typmod - VARHDRSZ));
}

/* Does a restore bring the value, in the form that the column wants, before its key? */
static bool
is_restored_for(const struct varlena *datum, const DpTypeInfo *info, int32 typmod)
{
	DpEnvelope	env;

	return unlikely(dp_guc_input == DP_INPUT_CIPHERTEXT) && dp_value_is_stored(PointerGetDatum(datum)) &&
		dp_seal_awaits_keys() &&
		dp_envelope_parse((const uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &env) &&
		dp_value_has_form(&env, dp_modifier_of(info->enc_oid, typmod));
}

/*
 * Length coercion (encrypted, typmod, explicit): seals literals, and values of
 * another column, for the column they go to.  A value that fits the column as
 * it is stays what it is; opening another key's value needs its reveal.
 */
Datum
dp_coerce(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	int32		typmod = PG_GETARG_INT32(1);
	DpValue		value;
	Datum		plain;
	struct varlena *result;

	if (typmod < 0 || is_restored_for(datum, info, typmod))
		PG_RETURN_POINTER(datum);
	dp_value_parse(datum, false, &value);
	if (!value.literal && is_sealed_for(&value, dp_modifier_of(info->enc_oid, typmod)) &&
		surely_fits(info, &value, dp_modifier_of(info->enc_oid, typmod)))
		PG_RETURN_POINTER(datum);
	/* whether it fits tells of it, so it is counted */
	plain = dp_show_open_to_store(info, &value);
	plain = dp_seal_apply_modifier(info, plain, typmod, PG_GETARG_BOOL(2));
	result = dp_seal_for(info, plain, typmod);
	dp_value_dispose(info, plain);
	PG_RETURN_POINTER(result);
}

/* A base value that is not compressed or stored out of line. */
static Datum
detoast_base(const DpTypeInfo *info, Datum value)
{
	return info->base_len == -1 ? PointerGetDatum(PG_DETOAST_DATUM_PACKED(value)) : value;
}

static bool
is_armored_text(const void *datum)
{
	Size		prefix = strlen(DP_ARMOR_PREFIX);

	return VARSIZE_ANY_EXHDR(datum) >= prefix &&
		memcmp(VARDATA_ANY(datum), DP_ARMOR_PREFIX, prefix) == 0;
}

/* Cast (base or a type that casts to it, typmod, explicit) -> encrypted. */
Datum
dp_from_base(PG_FUNCTION_ARGS)
{
	const DpSignature *signature = dp_typeinfo_signature(fcinfo->flinfo->fn_oid);
	Oid			argtype = signature->argtypes[0];
	const DpTypeInfo *info;
	int32		typmod = PG_GETARG_INT32(1);
	Datum		plain = PG_GETARG_DATUM(0);
	bool		isnull;

	if (fcinfo->flinfo->fn_extra == NULL)
		fcinfo->flinfo->fn_extra =
			unconstify(DpTypeInfo *, dp_typeinfo_get(signature->rettype));
	info = fcinfo->flinfo->fn_extra;
	plain = convert(argtype, info->base_oid, -1, true, plain, PG_GET_COLLATION(), &isnull);
	if (isnull)
		PG_RETURN_NULL();
	plain = detoast_base(info, plain);
	if (info->encoding == DP_ENC_TEXT && is_armored_text(DatumGetPointer(plain)))
	{
		/* Parameters of drivers come this way, declared as text or varchar. */
		if (dp_guc_input != DP_INPUT_CIPHERTEXT)
			dp_seal_refuse_ciphertext();
		PG_RETURN_POINTER(dp_seal_accept_ciphertext(text_to_cstring((text *) DatumGetPointer(plain)), info));
	}
	plain = dp_seal_apply_modifier(info, plain, typmod, PG_GETARG_BOOL(2));
	PG_RETURN_POINTER(dp_seal_for(info, plain, typmod));
}

/*
 * A comparison that no operator of the encrypted type makes (an int4 against a
 * numeric) was planned with this mark on its casts (src/types/resolve.c): it gets a
 * value in the clear or an error, never a mask, which would be a wrong answer.
 */
static bool
is_compared(FmgrInfo *flinfo)
{
	Node	   *expr = flinfo->fn_expr;

	return expr != NULL && IsA(expr, FuncExpr) && ((FuncExpr *) expr)->funcformat == DP_COMPARED_FORMAT;
}

/* False where the result is NULL. */
static bool
open_for_cast(FmgrInfo *flinfo, const DpTypeInfo *info, struct varlena *datum, Datum *out)
{
	DpValue		value;

	if (dp_row_condition_awaits_key(flinfo, datum))
		return false;
	dp_value_parse(datum, false, &value);
	if (!value.literal)
	{
		DpRowView	view = dp_row_condition_view(flinfo, &value);

		if (view != DP_ROW_NONE)
			return view == DP_ROW_OWN && dp_value_open(info, &value, DP_USE_READ, false, out);
	}
	if (is_compared(flinfo) && !value.literal && dp_access_privilege(value.family) < DP_PRIV_REVEAL)
		dp_access_denied(value.family, "reveal");
	switch (dp_show_privilege(&value))
	{
		case DP_PRIV_NONE:
			dp_access_denied(value.family, "reveal");
		case DP_PRIV_MASK:
		case DP_PRIV_SEARCH:
			dp_storing_refuse(flinfo, &value, DP_NOT_ALLOWED);
			return dp_show_mask(info, &value, out);
		case DP_PRIV_REVEAL:
			break;
	}
	if (dp_show_open(info, &value, out))
		return true;
	dp_storing_refuse(flinfo, &value, DP_NOT_READABLE);
	dp_show_warn_unreadable(value.family);
	return false;
}

Datum
dp_to_base(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);
	Datum		plain;

	if (!open_for_cast(fcinfo->flinfo, info, PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0)), &plain))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(plain);
}

/* Likewise, for the base type's own cast to that type, which may be code of others. */
static bool
open_for_code(FmgrInfo *flinfo, const DpTypeInfo *info, Oid to, struct varlena *datum, Datum *out)
{
	int			level = enter_cast(info->base_oid, to);
	volatile bool opened = false;

	if (likely(dp_n_code == level))
		return open_for_cast(flinfo, info, datum, out);
	PG_TRY();
	{
		opened = open_for_cast(flinfo, info, datum, out);
	}
	PG_FINALLY();
	{
		dp_statement_leave_code(level);
	}
	PG_END_TRY();
	return opened;
}

/*
 * Cast (encrypted[, typmod, explicit]) to another type that the base type casts
 * to; with the modifier where the base type's own cast takes it.
 */
Datum
dp_to_other(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);
	Oid			to = dp_typeinfo_signature(fcinfo->flinfo->fn_oid)->rettype;
	Datum		plain;
	Datum		result;
	bool		isnull;

	if (!open_for_code(fcinfo->flinfo, info, to, PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0)), &plain))
		PG_RETURN_NULL();
	result = convert(info->base_oid, to,
					 PG_NARGS() == 3 ? PG_GETARG_INT32(1) : -1, PG_NARGS() == 3 ? PG_GETARG_BOOL(2) : true,
					 plain, PG_GET_COLLATION(), &isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

/* Cast (encrypted, typmod, explicit) to another encrypted type. */
Datum
dp_recast(PG_FUNCTION_ARGS)
{
	const DpSignature *signature = dp_typeinfo_signature(fcinfo->flinfo->fn_oid);
	const DpTypeInfo *from = dp_typeinfo_get(signature->argtypes[0]);
	const DpTypeInfo *to = dp_typeinfo_get(signature->rettype);
	int32		typmod = PG_GETARG_INT32(1);
	Datum		plain;
	bool		isnull;

	if (!open_for_code(fcinfo->flinfo, from, to->base_oid, PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0)), &plain))
		PG_RETURN_NULL();
	plain = convert(from->base_oid, to->base_oid, -1, true, plain, PG_GET_COLLATION(), &isnull);
	if (isnull)
		PG_RETURN_NULL();
	plain = dp_seal_apply_modifier(to, detoast_base(to, plain), typmod, PG_GETARG_BOOL(2));
	PG_RETURN_POINTER(dp_seal_for(to, plain, typmod));
}
