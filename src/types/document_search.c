/*
 * document_search.c
 *	  Tokens of the entries of documents; see document_search.h.
 */
#include "postgres.h"

#include "access/gin.h"
#include "access/reloptions.h"
#include "access/stratnum.h"
#include "base/compat.h"
#include "base/secret.h"
#include "fmgr.h"
#include "types/document_search.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "types/value.h"
#include "types/word_search.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dp_document_may_match);
PG_FUNCTION_INFO_V1(dp_document_extract_value);
PG_FUNCTION_INFO_V1(dp_document_extract_query);
PG_FUNCTION_INFO_V1(dp_document_tri_consistent);

#define GIN_EXTRACT_VALUE	2	/* support functions of a GIN class */

bool
dp_document_family(Oid opfamily, Oid type)
{
	Oid			extract = get_opfamily_proc(opfamily, type, type, GIN_EXTRACT_VALUE);

	return OidIsValid(extract) && dp_typeinfo_is_c_function(extract, "dp_document_extract_value");
}

int
dp_document_strategy(Oid function, int *document)
{
	*document = function == F_JSONB_CONTAINED ? 1 : 0;
	switch (function)
	{
		case F_JSONB_CONTAINS:
		case F_JSONB_CONTAINED:
			return JsonbContainsStrategyNumber;
		case F_JSONB_EXISTS:
			return JsonbExistsStrategyNumber;
		case F_JSONB_EXISTS_ANY:
			return JsonbExistsAnyStrategyNumber;
		case F_JSONB_EXISTS_ALL:
			return JsonbExistsAllStrategyNumber;
		default:
			return 0;
	}
}

Oid
dp_document_operator(Oid opfamily, Oid type, Oid asked, int strategy)
{
	return get_opfamily_member(opfamily, type, asked, strategy);
}

/*
 * dataprotect._may_match(value encrypted_jsonb, ...) returns bool
 * See document_search.h.
 */
Datum
dp_document_may_match(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(true);
}

/* Of entries, which are wiped. */
static Datum *
tokens_of(int salt, const Datum *entries, int32 n)
{
	Datum	   *tokens = palloc((n + 1) * sizeof(Datum));

	for (int i = 0; i < n; i++)
	{
		struct varlena *entry = (struct varlena *) DatumGetPointer(entries[i]);

		tokens[i] = dp_word_token(salt, DP_TOKEN_LEXEME, VARDATA_ANY(entry), VARSIZE_ANY_EXHDR(entry));
		dp_secret_wipe(VARDATA_ANY(entry), VARSIZE_ANY_EXHDR(entry));
		pfree(entry);
	}
	return tokens;
}

/* extractValue(value encrypted_jsonb, internal, internal) */
Datum
dp_document_extract_value(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_get(dp_typeinfo_signature(fcinfo->flinfo->fn_oid)->argtypes[0]);
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	int32	   *nkeys = (int32 *) PG_GETARG_POINTER(1);
	int			salt = dp_word_salt(fcinfo->flinfo);
	DpValue		value;
	Datum		plain;
	Datum	   *entries;
	Datum	   *keys;

	dp_value_parse(datum, false, &value);
	if (!dp_value_open(info, &value, DP_USE_MAINTAIN, false, &plain))
	{
		keys = palloc(sizeof(Datum));
		keys[0] = dp_word_token(salt, DP_TOKEN_GRAM, "", 0);
		*nkeys = 1;
		PG_RETURN_POINTER(keys);
	}
	entries = (Datum *) DatumGetPointer(DirectFunctionCall2(gin_extract_jsonb, plain, PointerGetDatum(nkeys)));
	keys = tokens_of(salt, entries, *nkeys);
	dp_value_dispose(info, plain);
	PG_RETURN_POINTER(keys);
}

/* extractQuery(jsonb, text or text[], internal, int2, internal, internal, internal, internal) */
Datum
dp_document_extract_query(PG_FUNCTION_ARGS)
{
	int32	   *nkeys = (int32 *) PG_GETARG_POINTER(1);
	int			salt = dp_word_salt(fcinfo->flinfo);
	Datum	   *entries;
	Datum	   *keys;
	int32		n = 0;

	entries = (Datum *) DatumGetPointer(DirectFunctionCall7(gin_extract_jsonb_query, PG_GETARG_DATUM(0), PointerGetDatum(&n),
															PG_GETARG_DATUM(2), PG_GETARG_DATUM(3), PG_GETARG_DATUM(4),
															PG_GETARG_DATUM(5), PG_GETARG_DATUM(6)));
	keys = tokens_of(salt, entries, n);
	keys[n] = dp_word_token(salt, DP_TOKEN_GRAM, "", 0);
	*nkeys = n + 1;
	PG_RETURN_POINTER(keys);
}

/*
 * triConsistent(internal, int2, jsonb, int4, internal, internal, internal)
 * The last key is the token of what could not be read.
 */
Datum
dp_document_tri_consistent(PG_FUNCTION_ARGS)
{
	GinTernaryValue *check = (GinTernaryValue *) PG_GETARG_POINTER(0);
	StrategyNumber strategy = PG_GETARG_UINT16(1);
	int32		nkeys = PG_GETARG_INT32(3);
	bool		any = false;
	bool		all = true;

	if (check[nkeys - 1] != GIN_FALSE)
		PG_RETURN_GIN_TERNARY_VALUE(GIN_MAYBE);
	for (int i = 0; i < nkeys - 1; i++)
	{
		any |= check[i] != GIN_FALSE;
		all &= check[i] != GIN_FALSE;
	}
	PG_RETURN_GIN_TERNARY_VALUE((strategy == JsonbExistsAnyStrategyNumber ? any : all) ? GIN_MAYBE : GIN_FALSE);
}
