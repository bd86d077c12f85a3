/*
 * lexeme_search.c
 *	  Tokens of lexemes; see lexeme_search.h.
 */
#include "postgres.h"

#include "access/gin.h"
#include "access/reloptions.h"
#include "base/compat.h"
#include "base/secret.h"
#include "catalog/namespace.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "tsearch/ts_type.h"
#include "tsearch/ts_utils.h"
#include "types/lexeme_search.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "types/value.h"
#include "types/word_search.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(dp_lexeme_may_match);
PG_FUNCTION_INFO_V1(dp_lexeme_extract_value);
PG_FUNCTION_INFO_V1(dp_lexeme_extract_query);
PG_FUNCTION_INFO_V1(dp_lexeme_tri_consistent);
PG_FUNCTION_INFO_V1(dp_lexeme_options);

#define GIN_EXTRACT_VALUE	2	/* support functions of a GIN class */
#define MATCH_STRATEGY		1
#define NO_KEY				(-1)	/* of a prefix, which no token tells */

bool
dp_lexeme_family(Oid opfamily, Oid type)
{
	Oid			extract = get_opfamily_proc(opfamily, type, type, GIN_EXTRACT_VALUE);

	return OidIsValid(extract) && dp_typeinfo_is_c_function(extract, "dp_lexeme_extract_value");
}

Oid
dp_lexeme_operator(Oid opfamily, Oid type)
{
	return get_opfamily_member(opfamily, type, TSQUERYOID, MATCH_STRATEGY);
}

static List *
names_of(const char *name)
{
	return textToQualifiedNameList(cstring_to_text(name));
}

static const char *
config_name(const DpLexemeOptions *options)
{
	return options == NULL || options->config == 0 ? "" : (const char *) options + options->config;
}

Oid
dp_lexeme_config(const bytea *options)
{
	const char *name = config_name((const DpLexemeOptions *) options);

	return *name == '\0' ? InvalidOid : get_ts_config_oid(names_of(name), true);
}

/*
 * dataprotect._may_match(value encrypted_text, query tsquery) returns bool
 * See lexeme_search.h.
 */
Datum
dp_lexeme_may_match(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(true);
}

static const DpLexemeOptions *
options_of(FmgrInfo *flinfo, const DpTypeInfo *info)
{
	static const DpLexemeOptions none;
	const DpLexemeOptions *options = has_fn_opclass_options(flinfo) ? (DpLexemeOptions *) get_fn_opclass_options(flinfo) : &none;

	if (info->base_oid == TEXTOID && *config_name(options) == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an index over lexemes needs a text search configuration"),
				 errhint("Name it with its schema, as in encrypted_text_lexeme_ops (config = 'pg_catalog.english').")));
	return options;
}

/* ---- values ---- */

/* What a text says by a configuration; what is words already, as it is.  Wiped by the caller. */
static TSVector
lexemes_of(const DpTypeInfo *info, const DpLexemeOptions *options, Datum plain)
{
	TSVector	lexemes;
	Oid			config;

	if (info->base_oid != TEXTOID)
		return DatumGetTSVector(plain);
	config = get_ts_config_oid(names_of(config_name(options)), false);
	lexemes = DatumGetTSVector(DirectFunctionCall2(to_tsvector_byid, ObjectIdGetDatum(config), plain));
	dp_value_dispose(info, plain);
	return lexemes;
}

/* extractValue(value encrypted_text or encrypted_tsvector, internal, internal) */
Datum
dp_lexeme_extract_value(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_get(dp_typeinfo_signature(fcinfo->flinfo->fn_oid)->argtypes[0]);
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	int32	   *nkeys = (int32 *) PG_GETARG_POINTER(1);
	const DpLexemeOptions *options = options_of(fcinfo->flinfo, info);
	DpValue		value;
	Datum		plain;
	Datum	   *keys;
	TSVector	lexemes;

	dp_value_parse(datum, false, &value);
	if (!dp_value_open(info, &value, DP_USE_MAINTAIN, false, &plain))
	{
		keys = palloc(sizeof(Datum));
		keys[0] = dp_word_token(options->salt, DP_TOKEN_GRAM, "", 0);
		*nkeys = 1;
		PG_RETURN_POINTER(keys);
	}
	lexemes = lexemes_of(info, options, plain);
	keys = palloc(Max(1, lexemes->size) * sizeof(Datum));
	for (int i = 0; i < lexemes->size; i++)
	{
		const WordEntry *entry = &ARRPTR(lexemes)[i];

		keys[i] = dp_word_token(options->salt, DP_TOKEN_LEXEME, STRPTR(lexemes) + entry->pos, entry->len);
	}
	*nkeys = lexemes->size;
	dp_secret_wipe(VARDATA(lexemes), VARSIZE(lexemes) - VARHDRSZ);
	pfree(lexemes);
	PG_RETURN_POINTER(keys);
}

/* ---- queries ---- */

/* What is known of a row's tokens, by the operands of a query. */
typedef struct Asked
{
	const QueryItem *items;
	const int  *key_of;			/* by item; NO_KEY: unknown */
	const GinTernaryValue *check;	/* by key; NULL: no token is there */
} Asked;

static TSTernaryValue
may_have(void *arg, QueryOperand *operand, ExecPhraseData *data)
{
	const Asked *asked = arg;
	int			key = asked->key_of[(QueryItem *) operand - asked->items];

	if (key == NO_KEY)
		return TS_MAYBE;
	return asked->check == NULL || asked->check[key] == GIN_FALSE ? TS_NO : TS_MAYBE;
}

static TSTernaryValue
may_match(TSQuery query, const int *key_of, const GinTernaryValue *check)
{
	Asked		asked = {GETQUERY(query), key_of, check};

	return TS_execute_ternary(GETQUERY(query), &asked, TS_EXEC_PHRASE_NO_POS, may_have);
}

/* extractQuery(tsquery, internal, int2, internal, internal, internal, internal) */
Datum
dp_lexeme_extract_query(PG_FUNCTION_ARGS)
{
	TSQuery		query = PG_GETARG_TSQUERY(0);
	int32	   *nkeys = (int32 *) PG_GETARG_POINTER(1);
	Pointer   **extra = (Pointer **) PG_GETARG_POINTER(4);
	int32	   *search_mode = (int32 *) PG_GETARG_POINTER(6);
	const DpLexemeOptions *options = options_of(fcinfo->flinfo, dp_typeinfo_get(dp_typeinfo_signature(fcinfo->flinfo->fn_oid)->argtypes[0]));
	Datum	   *keys;
	int		   *key_of;
	int			n = 0;

	*nkeys = 0;
	if (query->size == 0)
		PG_RETURN_POINTER(NULL);
	keys = palloc((query->size + 1) * sizeof(Datum));
	key_of = palloc0(query->size * sizeof(int));
	for (int i = 0; i < query->size; i++)
	{
		const QueryItem *item = &GETQUERY(query)[i];

		if (item->type != QI_VAL)
			continue;
		key_of[i] = item->qoperand.prefix ? NO_KEY : n;
		if (!item->qoperand.prefix)
			keys[n++] = dp_word_token(options->salt, DP_TOKEN_LEXEME, GETOPERAND(query) + item->qoperand.distance, item->qoperand.length);
	}
	if (may_match(query, key_of, NULL) != TS_NO)
		*search_mode = GIN_SEARCH_MODE_ALL;
	keys[n++] = dp_word_token(options->salt, DP_TOKEN_GRAM, "", 0);
	*extra = palloc(n * sizeof(Pointer));
	for (int i = 0; i < n; i++)
		(*extra)[i] = (Pointer) key_of;
	*nkeys = n;
	PG_RETURN_POINTER(keys);
}

/*
 * triConsistent(internal, int2, tsquery, int4, internal, internal, internal)
 * The last key is the token of what could not be read.
 */
Datum
dp_lexeme_tri_consistent(PG_FUNCTION_ARGS)
{
	GinTernaryValue *check = (GinTernaryValue *) PG_GETARG_POINTER(0);
	TSQuery		query = PG_GETARG_TSQUERY(2);
	int32		nkeys = PG_GETARG_INT32(3);
	Pointer    *extra = (Pointer *) PG_GETARG_POINTER(4);

	if (nkeys == 0)
		PG_RETURN_GIN_TERNARY_VALUE(GIN_FALSE);
	if (check[nkeys - 1] == GIN_FALSE && may_match(query, (const int *) extra[0], check) == TS_NO)
		PG_RETURN_GIN_TERNARY_VALUE(GIN_FALSE);
	PG_RETURN_GIN_TERNARY_VALUE(GIN_MAYBE);
}

/* ---- options ---- */

static void
check_config(const char *name)
{
	List	   *names;

	if (name == NULL || *name == '\0')
		return;
	names = names_of(name);
	if (list_length(names) != 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("text search configuration \"%s\" of an index needs its schema", name)));
	(void) get_ts_config_oid(names, false);
}

/* options(internal) */
Datum
dp_lexeme_options(PG_FUNCTION_ARGS)
{
	local_relopts *relopts = (local_relopts *) PG_GETARG_POINTER(0);

	init_local_reloptions(relopts, sizeof(DpLexemeOptions));
	add_local_int_reloption(relopts, "salt", "number that sets the tokens of this index apart", 0, 0, PG_INT32_MAX,
							offsetof(DpLexemeOptions, salt));
	add_local_string_reloption(relopts, "config", "text search configuration, with its schema", "", check_config, NULL,
							   offsetof(DpLexemeOptions, config));
	add_local_bool_reloption(relopts, "null_is_empty", "the index stands for one over coalesce(column, '')", false,
							 offsetof(DpLexemeOptions, null_is_empty));
	PG_RETURN_VOID();
}
