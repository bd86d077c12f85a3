/*
 * io.c
 *	  Input, output and casts of encrypted types: one C function each for every
 *	  encrypted type.
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
 * with one warning a statement where a key is suspended or destroyed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/access.h"
#include "access/mask.h"
#include "audit/track.h"
#include "base/guc.h"
#include "base/secret.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "types/codec.h"
#include "types/context.h"
#include "types/io.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dp_type_in);
PG_FUNCTION_INFO_V1(dp_type_out);
PG_FUNCTION_INFO_V1(dp_type_recv);
PG_FUNCTION_INFO_V1(dp_type_send);
PG_FUNCTION_INFO_V1(dp_coerce);
PG_FUNCTION_INFO_V1(dp_from_base);
PG_FUNCTION_INFO_V1(dp_to_base);
PG_FUNCTION_INFO_V1(dp_to_other);
PG_FUNCTION_INFO_V1(dp_concat_ee);
PG_FUNCTION_INFO_V1(dp_concat_eb);
PG_FUNCTION_INFO_V1(dp_concat_be);

#define UNREADABLE_TEXT "****"
#define WARNED_MAX 64			/* keys named by the warnings of one statement */

void
dp_io_warn_unreadable(int32 family)
{
	static TimestampTz warned_statement = 0;
	static int32 warned[WARNED_MAX];
	static int	n_warned = 0;
	int			i;

	if (warned_statement != GetCurrentStatementStartTimestamp())
	{
		warned_statement = GetCurrentStatementStartTimestamp();
		n_warned = 0;
	}
	for (i = 0; i < n_warned; i++)
	{
		if (warned[i] == family)
			return;
	}
	if (n_warned == WARNED_MAX)
		return;
	warned[n_warned++] = family;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("values under key \"%s\" are unreadable",
					NameStr(dp_keys_family(family)->name)),
			 errdetail("Their key is suspended, expired or destroyed.")));
}

/* Seal for a column of that modifier, or, with -1, as a literal. */
static struct varlena *
seal_for(const DpTypeInfo *info, Datum plain, int32 typmod)
{
	const DpModifier *modifier;
	DpKey		key;

	if (typmod < 0)
	{
		bool		has_prf = dp_keys_literal(&key);

		return dp_value_seal(info, plain, &key, true, has_prf && info->can_token);
	}
	modifier = dp_modifier_get(typmod);
	dp_keys_for_seal(dp_keys_family_by_name(NameStr(modifier->key)), &key);
	return dp_value_seal(info, plain, &key, false, modifier->searchable);
}

/*
 * Run a function of the base type whose errors would quote the plaintext: they
 * are raised again without it.
 */
typedef Datum (*BaseCall) (const DpTypeInfo *info, void *arg);

static Datum
call_quietly(const DpTypeInfo *info, BaseCall call, void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		result = (Datum) 0;

	PG_TRY();
	{
		result = call(info, arg);
	}
	PG_CATCH();
	{
		int			code = geterrcode();

		if (code == ERRCODE_QUERY_CANCELED || code == ERRCODE_ADMIN_SHUTDOWN ||
			code == ERRCODE_OUT_OF_MEMORY)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		ereport(ERROR,
				(errcode(code),
				 errmsg("invalid value for type %s", info->name),
				 errhint("The value is not shown because it may be personal data.")));
	}
	PG_END_TRY();
	return result;
}

typedef struct CoercionArg
{
	Datum		plain;
	int32		typmod;
	bool		is_explicit;
} CoercionArg;

static Datum
call_coercion(const DpTypeInfo *info, void *arg)
{
	CoercionArg *c = arg;

	return OidFunctionCall3Coll(info->base_coercion, DEFAULT_COLLATION_OID, c->plain,
								Int32GetDatum(c->typmod), BoolGetDatum(c->is_explicit));
}

/* Apply the base type's own modifier, as an assignment to such a column would. */
static Datum
apply_base_modifier(const DpTypeInfo *info, Datum plain, int32 typmod, bool is_explicit)
{
	CoercionArg arg;

	if (typmod < 0)
		return plain;
	arg.typmod = dp_modifier_get(typmod)->base_typmod;
	if (arg.typmod < 0 || !OidIsValid(info->base_coercion))
		return plain;
	arg.plain = plain;
	arg.is_explicit = is_explicit;
	return call_quietly(info, call_coercion, &arg);
}

static struct varlena *
accept_ciphertext(const char *armor, const DpTypeInfo *info)
{
	if (!superuser() && !has_privs_of_role(GetUserId(), get_role_oid("dataprotect_admin", false)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write ciphertext"),
				 errdetail("Only administrators of dataprotect may restore values in their encrypted form.")));
	return dp_value_from_armor(armor, info->name);
}

/* The text form under "plaintext" is a restore that forgot the setting, or a paste. */
static void
refuse_ciphertext(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("a protected value in its encrypted form is not accepted as plaintext"),
			 errhint("To restore a dump, an administrator sets \"dataprotect.input\" to \"ciphertext\".")));
}

static Datum
call_input(const DpTypeInfo *info, void *arg)
{
	return InputFunctionCall(unconstify(FmgrInfo *, &info->base_in), arg, info->base_ioparam, -1);
}

Datum
dp_type_in(PG_FUNCTION_ARGS)
{
	char	   *text = PG_GETARG_CSTRING(0);
	const DpTypeInfo *info = dp_typeinfo_get(PG_GETARG_OID(1));
	int32		typmod = PG_GETARG_INT32(2);
	Datum		plain;
	struct varlena *result;

	if (dp_value_is_armor(text))
	{
		if (dp_guc_input == DP_INPUT_CIPHERTEXT)
			PG_RETURN_POINTER(accept_ciphertext(text, info));
		refuse_ciphertext();
	}
	if (info->encoding == DP_ENC_TEXT)
		plain = PointerGetDatum(cstring_to_text(text));
	else
		plain = call_quietly(info, call_input, text);
	plain = apply_base_modifier(info, plain, typmod, false);
	result = seal_for(info, plain, typmod);
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
	const DpTypeInfo *info = dp_typeinfo_get(PG_GETARG_OID(1));
	int32		typmod = PG_GETARG_INT32(2);
	Size		prefix = strlen(DP_ARMOR_PREFIX);
	Datum		plain;
	struct varlena *result;

	if (buf->len - buf->cursor > (int) prefix &&
		memcmp(buf->data + buf->cursor, DP_ARMOR_PREFIX, prefix) == 0)
	{
		int			len = buf->len - buf->cursor;
		char	   *text;

		if (dp_guc_input != DP_INPUT_CIPHERTEXT)
			refuse_ciphertext();
		text = pnstrdup(pq_getmsgbytes(buf, len), len);
		PG_RETURN_POINTER(accept_ciphertext(text, info));
	}
	if (!OidIsValid(info->base_recv.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("type %s has no binary form", info->name)));
	plain = call_quietly(info, call_receive, buf);
	plain = apply_base_modifier(info, plain, typmod, false);
	result = seal_for(info, plain, typmod);
	dp_value_dispose(info, plain);
	PG_RETURN_POINTER(result);
}

/* What the current role may be shown of a value. */
static DpPrivilege
shown_privilege(const DpValue *value)
{
	DpPrivilege privilege;

	if (value->literal)
		return DP_PRIV_REVEAL;
	if (dp_guc_output == DP_OUTPUT_CIPHERTEXT || HistoricSnapshotActive())
		return DP_PRIV_NONE;
	privilege = dp_access_privilege(value->family);
	if (dp_guc_output == DP_OUTPUT_MASK)
		privilege = Min(privilege, DP_PRIV_MASK);
	return privilege == DP_PRIV_SEARCH ? DP_PRIV_MASK : privilege;
}

static const DpMask *
family_mask(int32 family)
{
	static DpMask mask;
	static char spec[64];
	const DpFamily *row = dp_keys_family(family);

	if (spec[0] == '\0' || strcmp(spec, row->mask) != 0)
	{
		dp_mask_parse_strict(row->mask, &mask);
		strlcpy(spec, row->mask, sizeof(spec));
	}
	return &mask;
}

/*
 * Count an opening in the audit log, except of literals.  False where the key is
 * unreadable.  The key comes first: where its KMS is away, the error names this
 * key and not that of the audit log, and what cannot be read is not counted.
 */
static inline bool
count_opening(const DpValue *value)
{
	DpKey		key;

	if (value->literal)
		return true;
	if (dp_keys_get(value->env.key_id, DP_USE_READ, DP_IN_COMPARATOR(), &key) != DP_KEY_OK)
		return false;
	dp_audit_opening(value->family, NameStr(dp_keys_family(value->family)->name));
	return true;
}

/* Open for showing; false where the key is unreadable. */
static bool
open_to_show(const DpTypeInfo *info, const DpValue *value, Datum *out)
{
	return count_opening(value) &&
		dp_value_open(info, value, DP_USE_READ, DP_IN_COMPARATOR(), out);
}

static void
mask_pseudonym(const DpTypeInfo *info, const DpMask *mask, Datum plain, uint8 out[DP_MASK_TOKEN_LEN])
{
	if (mask->kind == DP_MASK_TOKEN)
		dp_value_pseudonym(info, plain, GetUserNameFromId(GetUserId(), false), out);
}

/*
 * The mask as text; NULL for SQL NULL.  Masks that say nothing of the value are
 * made without opening it.
 */
static char *
mask_as_text(const DpTypeInfo *info, const DpValue *value)
{
	const DpMask mask = *family_mask(value->family);
	uint8		token[DP_MASK_TOKEN_LEN];
	Datum		plain;
	Datum		masked;
	char	   *result;

	if (mask.kind == DP_MASK_FULL || mask.kind == DP_MASK_NULL)
		return dp_mask_opaque_text(&mask, NULL);
	if (!open_to_show(info, value, &plain))
		return pstrdup(UNREADABLE_TEXT);
	mask_pseudonym(info, &mask, plain, token);
	if (info->base_oid == TEXTOID)
		result = dp_mask_text(&mask, VARDATA_ANY(DatumGetPointer(plain)),
							  VARSIZE_ANY_EXHDR(DatumGetPointer(plain)), token);
	else if (dp_mask_datum(&mask, info->base_oid, plain, &masked))
		result = OutputFunctionCall(unconstify(FmgrInfo *, &info->base_out), masked);
	else
		result = dp_mask_opaque_text(&mask, token);
	dp_value_dispose(info, plain);
	return result;
}

/* The mask in the base type; false for SQL NULL. */
static bool
mask_as_base(const DpTypeInfo *info, const DpValue *value, Datum *out)
{
	const DpMask mask = *family_mask(value->family);
	char	   *text;
	Datum		plain;
	bool		has_form;

	if (info->base_oid == TEXTOID)
	{
		text = mask_as_text(info, value);
		if (text != NULL)
			*out = PointerGetDatum(cstring_to_text(text));
		return text != NULL;
	}
	if (mask.kind != DP_MASK_YEAR)
		return false;
	if (!open_to_show(info, value, &plain))
		return false;
	has_form = dp_mask_datum(&mask, info->base_oid, plain, out);
	dp_value_dispose(info, plain);
	return has_form;
}

static void
refuse_masked_copy(void)
{
	if (dp_audit_in_copy_to())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot COPY masked values"),
				 errdetail("A copy of masks would look like data when it is loaded again."),
				 errhint("Leave protected columns out, or set \"dataprotect.output\" to \"ciphertext\".")));
}

/* Text of a value for the current role. */
static char *
show_as_text(const DpTypeInfo *info, const DpValue *value)
{
	Datum		plain;
	char	   *result;
	bool		readable;

	switch (shown_privilege(value))
	{
		case DP_PRIV_NONE:
			return dp_value_to_armor(value->datum);
		case DP_PRIV_MASK:
		case DP_PRIV_SEARCH:
			refuse_masked_copy();
			result = mask_as_text(info, value);
			return result != NULL ? result : pstrdup("");
		case DP_PRIV_REVEAL:
			break;
	}
	if (info->encoding == DP_ENC_TEXT)
		readable = count_opening(value) &&
			dp_value_open_text(info, value, DP_USE_READ, DP_IN_COMPARATOR(), &result);
	else if ((readable = open_to_show(info, value, &plain)))
	{
		result = OutputFunctionCall(unconstify(FmgrInfo *, &info->base_out), plain);
		dp_value_dispose(info, plain);
	}
	if (readable)
		return result;
	refuse_masked_copy();
	dp_io_warn_unreadable(value->family);
	return pstrdup(UNREADABLE_TEXT);
}

Datum
dp_type_out(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	DpValue		value;

	dp_value_parse(datum, DP_IN_COMPARATOR(), &value);
	PG_RETURN_CSTRING(show_as_text(info, &value));
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
	privilege = shown_privilege(&value);
	if (privilege == DP_PRIV_MASK)
		refuse_masked_copy();
	if (privilege == DP_PRIV_NONE || info->base_oid == TEXTOID)
	{
		StringInfoData buf;
		char	   *text = show_as_text(info, &value);

		pq_begintypsend(&buf);
		pq_sendtext(&buf, text, strlen(text));
		PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
	}
	if (!(privilege == DP_PRIV_MASK ? mask_as_base(info, &value, &plain) : open_to_show(info, &value, &plain)))
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
	const DpModifier *modifier;
	DpValue		value;
	Datum		plain;
	struct varlena *result;

	if (typmod < 0)
		PG_RETURN_POINTER(datum);
	dp_value_parse(datum, false, &value);
	if (!value.literal)
	{
		modifier = dp_modifier_get(typmod);
		if (modifier->base_typmod < 0 && modifier->searchable == (value.env.token != NULL) &&
			dp_keys_family_by_name(NameStr(modifier->key))->family == value.family)
			PG_RETURN_POINTER(datum);
		if (dp_access_privilege(value.family) < DP_PRIV_REVEAL)
			dp_access_denied(value.family, "reveal");
	}
	if (!open_to_show(info, &value, &plain))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a value whose key is suspended or destroyed cannot be moved to another column")));
	plain = apply_base_modifier(info, plain, typmod, PG_GETARG_BOOL(2));
	result = seal_for(info, plain, typmod);
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

	if (fcinfo->flinfo->fn_extra == NULL)
		fcinfo->flinfo->fn_extra =
			unconstify(DpTypeInfo *, dp_typeinfo_get(signature->rettype));
	info = fcinfo->flinfo->fn_extra;
	plain = dp_io_convert(argtype, info->base_oid, plain, PG_GET_COLLATION());
	plain = detoast_base(info, plain);
	if (info->encoding == DP_ENC_TEXT && is_armored_text(DatumGetPointer(plain)))
	{
		/* Parameters of drivers come this way, declared as text or varchar. */
		if (dp_guc_input != DP_INPUT_CIPHERTEXT)
			refuse_ciphertext();
		PG_RETURN_POINTER(accept_ciphertext(text_to_cstring((text *) DatumGetPointer(plain)), info));
	}
	plain = apply_base_modifier(info, plain, typmod, PG_GETARG_BOOL(2));
	PG_RETURN_POINTER(seal_for(info, plain, typmod));
}

static bool
open_for_cast(const DpTypeInfo *info, struct varlena *datum, Datum *out)
{
	DpValue		value;

	dp_value_parse(datum, false, &value);
	switch (shown_privilege(&value))
	{
		case DP_PRIV_NONE:
			dp_access_denied(value.family, "reveal");
		case DP_PRIV_MASK:
		case DP_PRIV_SEARCH:
			return mask_as_base(info, &value, out);
		case DP_PRIV_REVEAL:
			break;
	}
	if (open_to_show(info, &value, out))
		return true;
	dp_io_warn_unreadable(value.family);
	return false;
}

Datum
dp_to_base(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);
	Datum		plain;

	if (!open_for_cast(info, PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0)), &plain))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(plain);
}

/* Cast to another type that the base type casts to. */
Datum
dp_to_other(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);
	Datum		plain;

	if (!open_for_cast(info, PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0)), &plain))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(dp_io_convert(info->base_oid, get_func_rettype(fcinfo->flinfo->fn_oid), plain,
								  PG_GET_COLLATION()));
}

/* Value of one type as another, by the cast that pg_cast has between them. */
Datum
dp_io_convert(Oid from, Oid to, Datum value, Oid collation)
{
	CoercionPathType path;
	Oid			func;

	if (from == to)
		return value;
	path = find_coercion_pathway(to, from, COERCION_EXPLICIT, &func);
	if (path == COERCION_PATH_RELABELTYPE)
		return value;
	if (path != COERCION_PATH_FUNC)
		ereport(ERROR,
				(errcode(ERRCODE_CANNOT_COERCE),
				 errmsg("cannot cast type %s to %s", format_type_be(from), format_type_be(to))));
	switch (get_func_nargs(func))
	{
		case 1:
			return OidFunctionCall1Coll(func, collation, value);
		case 2:
			return OidFunctionCall2Coll(func, collation, value, Int32GetDatum(-1));
		default:
			return OidFunctionCall3Coll(func, collation, value, Int32GetDatum(-1), BoolGetDatum(true));
	}
}

/* || with a text result; NULL where a value is masked to NULL or unreadable. */
static Datum
concat(FunctionCallInfo fcinfo, bool left_encrypted, bool right_encrypted)
{
	const DpTypeInfo *info = dp_typeinfo_of_call(fcinfo);
	Datum		left = PG_GETARG_DATUM(0);
	Datum		right = PG_GETARG_DATUM(1);

	if (left_encrypted && !open_for_cast(info, PG_DETOAST_DATUM_PACKED(left), &left))
		PG_RETURN_NULL();
	if (right_encrypted && !open_for_cast(info, PG_DETOAST_DATUM_PACKED(right), &right))
		PG_RETURN_NULL();
	return DirectFunctionCall2(textcat, left, right);
}

Datum
dp_concat_ee(PG_FUNCTION_ARGS)
{
	return concat(fcinfo, true, true);
}

Datum
dp_concat_eb(PG_FUNCTION_ARGS)
{
	return concat(fcinfo, true, false);
}

Datum
dp_concat_be(PG_FUNCTION_ARGS)
{
	return concat(fcinfo, false, true);
}
