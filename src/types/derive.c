/*
 * derive.c
 *	  Values that are computed from protected ones and stay sealed; see derive.h.
 *
 * A pack: collation, number of values, the formula with its end; for each value its type,
 * whether it is null, its bytes.
 */
#include "postgres.h"

#include "access/access.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/statement.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "keys/keys.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "nodes/nodeFuncs.h"
#include "types/derive.h"
#include "types/formula.h"
#include "types/row_condition.h"
#include "types/seal.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dp_derive);
PG_FUNCTION_INFO_V1(dp_derive_seal);
PG_FUNCTION_INFO_V1(dp_derivation_in);
PG_FUNCTION_INFO_V1(dp_derivation_out);

/* ---- packs ---- */

static void
check_argument_type(Oid type)
{
	switch (type)
	{
		case TEXTOID:
		case VARCHAROID:
		case JSONBOID:
		case TSVECTOROID:
			return;
		default:
			break;
	}
	if (!dp_type_is_encrypted(type))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("nothing is computed from values of type %s", format_type_be(type))));
}

/*
 * dataprotect.computed(formula text, VARIADIC "any") returns dataprotect.derivation
 */
Datum
dp_derive(PG_FUNCTION_ARGS)
{
	int			n = PG_NARGS() - 1;
	StringInfoData buf;
	char	   *formula;

	if (PG_ARGISNULL(0) || get_fn_expr_variadic(fcinfo->flinfo) || n > DP_FORMULA_COLUMNS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a formula and up to %d columns are needed", DP_FORMULA_COLUMNS)));
	formula = text_to_cstring(PG_GETARG_TEXT_PP(0));
	pq_begintypsend(&buf);
	pq_sendint32(&buf, PG_GET_COLLATION());
	pq_sendint32(&buf, n);
	appendBinaryStringInfo(&buf, formula, strlen(formula) + 1);
	for (int i = 1; i <= n; i++)
	{
		Oid			type = get_fn_expr_argtype(fcinfo->flinfo, i);
		struct varlena *value;

		check_argument_type(type);
		pq_sendint32(&buf, type);
		pq_sendint8(&buf, PG_ARGISNULL(i));
		if (PG_ARGISNULL(i))
			continue;
		value = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(i));
		pq_sendint32(&buf, VARSIZE_ANY_EXHDR(value));
		appendBinaryStringInfo(&buf, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	}
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

typedef struct Pack
{
	DpFormula  *formula;
	Oid			collation;
	int			n;
	Oid			types[DP_FORMULA_COLUMNS];
	struct varlena *values[DP_FORMULA_COLUMNS]; /* NULL: null */
} Pack;

static void
read_pack(bytea *datum, Pack *pack)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum));
	pack->collation = pq_getmsgint(&buf, 4);
	pack->n = pq_getmsgint(&buf, 4);
	pack->formula = dp_formula_read(pq_getmsgrawstring(&buf));
	for (int i = 0; i < pack->n; i++)
	{
		Size		len;

		pack->types[i] = pq_getmsgint(&buf, 4);
		pack->values[i] = NULL;
		if (pq_getmsgbyte(&buf) != 0)
			continue;
		len = pq_getmsgint(&buf, 4);
		pack->values[i] = palloc(VARHDRSZ + len);
		SET_VARSIZE(pack->values[i], VARHDRSZ + len);
		memcpy(VARDATA(pack->values[i]), pq_getmsgbytes(&buf, len), len);
	}
}

/* Values of the type come from the function alone, and nobody keeps or sees them. */
Datum
dp_derivation_in(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot accept a value of type %s", "dataprotect.derivation")));
	PG_RETURN_NULL();
}

Datum
dp_derivation_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(pstrdup("(computed)"));
}

/* ---- sealed results ---- */

typedef struct Derivation
{
	Pack		pack;
	Datum		plain[DP_FORMULA_COLUMNS];
	bool		nulls[DP_FORMULA_COLUMNS];
	Size		len[DP_FORMULA_COLUMNS];	/* of a padded one, as long as it could be */
	bool		opened[DP_FORMULA_COLUMNS];
	bool		own;			/* all that is protected was sealed by the current role */
} Derivation;

static void
refuse_other_key(int32 family, const char *key)
{
	if (dp_keys_family_by_name(key)->family != family)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a value under another key than \"%s\" cannot go into a column under it", key),
				 errhint("Protect what is computed under the key of what it is computed from.")));
}

/*
 * A part would tell letter by letter to who may only search.  Anything that is computed
 * elsewhere than in a stored column tells of values that one may not read; so does what is
 * refused where it is too long, but where encrypt_column() keeps a column's own length.
 */
static void
check_place(FmgrInfo *flinfo, const DpFormula *formula, const DpModifier *modifier)
{
	bool		whole = dp_formula_is_whole(formula);
	int32		family;

	if (!whole && modifier->searchable)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a part of a protected value cannot be searchable"),
				 errdetail("Whoever may search, or write, could guess the value part by part.")));
	if (dp_row_condition_is_stored(flinfo))
		return;
	/* ALTER TABLE rewrites in its own frame, for columns that were checked as they were made. */
	if (whole && dp_frame->kind == DP_FRAME_UTILITY && (modifier->base_typmod < 0 || dp_own_statement()))
		return;
	family = dp_keys_family_by_name(NameStr(modifier->key))->family;
	if (dp_access_privilege(family) < DP_PRIV_REVEAL)
		dp_access_denied(family, "reveal");
}

/*
 * What the result is padded to must not depend on how long padded values are within their
 * steps, so they count as long as they could be; nor, in a tsvector, on which words are alike.
 * Its entries take 3.4 times the text that they come from, and more where words are single
 * letters, of which there are not many.
 */
#define LEAST_MAX (4 * 1024 * 1024)

static Size
least_len(const Derivation *d, const DpTypeInfo *info)
{
	Size		least = dp_formula_constants_len(d->pack.formula);

	for (int i = 0; i < d->pack.n; i++)
		least += dp_formula_uses(d->pack.formula, i) * Min(d->len[i], LEAST_MAX);
	if (info->base_oid == TSVECTOROID)
		least = 4 * least + 256;
	return Min(least, LEAST_MAX);
}

/* Open one value; false where its key is gone, and with it what would be computed. */
static bool
open_value(Derivation *d, int i, const DpModifier *modifier)
{
	const DpTypeInfo *info = dp_typeinfo_get(d->pack.types[i]);
	const struct varlena *datum = d->pack.values[i];
	DpValue		value;
	DpKey		key;

	dp_value_parse(datum, false, &value);
	if (!value.literal)
	{
		refuse_other_key(value.family, NameStr(modifier->key));
		if (dp_keys_get(value.env.key_id, DP_USE_MAINTAIN, false, &key) != DP_KEY_OK)
			return false;
		if (key.purpose == DP_PURPOSE_SUBJECT)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("nothing is computed from values that are sealed for an account"),
					 errdetail("The result would outlive the account.")));
		d->own &= dp_seal_is_own(datum);
	}
	if (!dp_value_open(info, &value, DP_USE_MAINTAIN, false, &d->plain[i]))
		return false;
	d->opened[i] = true;
	if ((value.env.flags & DP_ENV_PADDED) != 0)
		d->len[i] = value.env.ciphertext_len;
	else if (info->base_len == -1)
		d->len[i] = VARSIZE_ANY_EXHDR(DatumGetPointer(d->plain[i]));
	return true;
}

static bool
open_values(Derivation *d, const DpModifier *modifier)
{
	for (int i = 0; i < d->pack.n; i++)
	{
		d->nulls[i] = d->pack.values[i] == NULL;
		d->plain[i] = PointerGetDatum(d->pack.values[i]);
		d->len[i] = d->nulls[i] ? 0 : VARSIZE_ANY_EXHDR(d->pack.values[i]);
		if (!d->nulls[i] && dp_type_is_encrypted(d->pack.types[i]) && !open_value(d, i, modifier))
			return false;
	}
	return true;
}

static void
close_values(Derivation *d)
{
	for (int i = 0; i < d->pack.n; i++)
	{
		if (d->opened[i])
			dp_value_dispose(dp_typeinfo_get(d->pack.types[i]), d->plain[i]);
	}
}

/* An error within is raised again without what it would quote. */
static Datum
compute(const DpTypeInfo *info, void *arg)
{
	Derivation *d = arg;
	Datum		result;

	return dp_formula_compute(d->pack.formula, d->plain, d->nulls, d->pack.n,
							  OidIsValid(d->pack.collation) ? d->pack.collation : DEFAULT_COLLATION_OID, &result) ? result : (Datum) 0;
}

static void
check_types(const Derivation *d, const DpTypeInfo *info)
{
	Oid			types[DP_FORMULA_COLUMNS];
	Oid			type;

	for (int i = 0; i < d->pack.n; i++)
	{
		type = d->pack.types[i];
		types[i] = dp_type_is_encrypted(type) ? dp_typeinfo_get(type)->base_oid : type == VARCHAROID ? TEXTOID : type;
	}
	type = dp_formula_type(d->pack.formula, types, d->pack.n);
	if (type != info->base_oid)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("a formula gives type %s, and the column is of type %s", format_type_be(type), info->name)));
}

/* Is the result one of the values themselves? */
static bool
is_of_row(const Derivation *d, Datum plain)
{
	for (int i = 0; i < d->pack.n; i++)
	{
		if (!d->nulls[i] && d->plain[i] == plain)
			return true;
	}
	return false;
}

/* Assignment cast (derivation, typmod, explicit) -> encrypted. */
Datum
dp_derive_seal(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_get(dp_typeinfo_signature(fcinfo->flinfo->fn_oid)->rettype);
	int32		typmod = PG_GETARG_INT32(1);
	Derivation	d = {.own = true};
	struct varlena *result = NULL;
	DpModifier	modifier;
	Datum		plain;

	if (typmod < 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("what is computed is sealed for a column only"),
				 errhint("Name the key, as in CAST(dataprotect.computed(...) AS %s('pii', 'padded')).", info->name)));
	modifier = *dp_modifier_of(info->enc_oid, typmod);
	if (info->encoding == DP_ENC_TEXT && !modifier.padded)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a column that is computed from protected ones must be 'padded'"),
				 errdetail("The length of the result would tell of the values.")));
	/* columns/restored_rows.c has it computed when a restore brings the keys */
	if (dp_guc_input == DP_INPUT_CIPHERTEXT && dp_seal_awaits_keys())
		PG_RETURN_NULL();
	read_pack(PG_GETARG_BYTEA_PP(0), &d.pack);
	check_types(&d, info);
	check_place(fcinfo->flinfo, d.pack.formula, &modifier);
	if (open_values(&d, &modifier) && (plain = dp_seal_quietly(info, compute, &d)) != (Datum) 0)
	{
		Datum		fitted = dp_seal_apply_modifier(info, plain, typmod, false);

		result = dp_seal_computed(info, fitted, typmod, least_len(&d, info), d.own && dp_n_code == 0);
		if (fitted != plain)
			dp_value_dispose(info, fitted);
		if (!is_of_row(&d, plain))
			dp_value_dispose(info, plain);
	}
	close_values(&d);
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(result);
}

/* ---- expressions ---- */

char *
dp_derive_formula(Node *expr, List **columns)
{
	FuncExpr   *cast = (FuncExpr *) expr;
	FuncExpr   *call;
	ListCell   *lc;

	*columns = NIL;
	if (expr == NULL || !IsA(expr, FuncExpr) || list_length(cast->args) != 3 ||
		!dp_typeinfo_is_c_function(cast->funcid, "dp_derive_seal") || !IsA(linitial(cast->args), FuncExpr))
		return NULL;
	call = linitial_node(FuncExpr, cast->args);
	if (!dp_typeinfo_is_c_function(call->funcid, "dp_derive") || call->funcvariadic || call->args == NIL ||
		!IsA(linitial(call->args), Const) || linitial_node(Const, call->args)->constisnull)
		return NULL;
	for_each_from(lc, call->args, 1)
	{
		Node	   *arg = lfirst(lc);

		while (IsA(arg, RelabelType))
			arg = (Node *) ((RelabelType *) arg)->arg;
		if (!IsA(arg, Var) || ((Var *) arg)->varattno <= 0)
			return NULL;
		*columns = lappend(*columns, arg);
	}
	return TextDatumGetCString(linitial_node(Const, call->args)->constvalue);
}
