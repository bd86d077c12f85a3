/*
 * word_search.c
 *	  Tokens of three characters; see word_search.h.
 */
#include "postgres.h"

#include "access/gin.h"
#include "access/reloptions.h"
#include "base/compat.h"
#include "base/secret.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "keys/keys.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "types/value.h"
#include "types/word_search.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dp_word_may_match);
PG_FUNCTION_INFO_V1(dp_word_extract_value);
PG_FUNCTION_INFO_V1(dp_word_extract_query);
PG_FUNCTION_INFO_V1(dp_word_tri_consistent);
PG_FUNCTION_INFO_V1(dp_word_options);

#define GIN_EXTRACT_VALUE	2	/* support functions of a GIN class */
#define LIKE_STRATEGY		1
#define GRAM				3	/* characters of a token */
#define MAX_QUERY_TOKENS	64	/* more than these hardly narrow a search down */

typedef struct Options
{
	int32		vl_len_;
	int			salt;
} Options;

bool
dp_word_family(Oid opfamily, Oid type)
{
	Oid			extract = get_opfamily_proc(opfamily, type, type, GIN_EXTRACT_VALUE);

	return OidIsValid(extract) && dp_typeinfo_is_c_function(extract, "dp_word_extract_value");
}

Oid
dp_word_operator(Oid opfamily, Oid type)
{
	return get_opfamily_member(opfamily, type, TEXTOID, LIKE_STRATEGY);
}

/*
 * dataprotect._may_match(value encrypted_text, pattern text) returns bool
 * See word_search.h.
 */
Datum
dp_word_may_match(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(true);
}

/* ---- tokens ---- */

typedef struct Tokens
{
	Datum	   *list;
	int32		n;
	int32		room;
	int32		max;
	int			salt;
} Tokens;

Datum
dp_word_token(int salt, DpTokenKind kind, const char *bytes, int len)
{
	uint8		small[64];
	uint8		full[DP_PRF_OUT_LEN];
	int			at = sizeof(int32);
	uint8	   *message = at + 1 + len <= (int) sizeof(small) ? small : palloc(at + 1 + len);
	int32		token;
	bool		done;

	for (int i = 0; i < (int) sizeof(int32); i++)
		message[i] = (uint8) ((uint32) salt >> (8 * i));
	/* no folded character is this one */
	if (kind == DP_TOKEN_LEXEME)
		message[at++] = 'L';
	memcpy(message + at, bytes, len);
	done = dp_prf(dp_keys_prf(), DP_PRF_WORD, message, at + len, full);
	dp_secret_wipe(message, at + len);
	if (message != small)
		pfree(message);
	if (!done)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not compute a search token")));
	memcpy(&token, full, sizeof(token));
	return Int32GetDatum(token);
}

static void
add_token(Tokens *tokens, Datum token)
{
	if (tokens->n == tokens->room)
	{
		tokens->room = Max(32, 2 * tokens->room);
		tokens->list = tokens->list == NULL ? palloc(tokens->room * sizeof(Datum)) :
			repalloc(tokens->list, tokens->room * sizeof(Datum));
	}
	tokens->list[tokens->n++] = token;
}

/* The tokens of a folded text, which is wiped and freed. */
static void
add_grams(Tokens *tokens, char *folded, int len)
{
	int			starts[GRAM] = {0};
	int			n = 0;

	for (int at = 0; at < len && tokens->n < tokens->max;)
	{
		CHECK_FOR_INTERRUPTS();
		starts[n++ % GRAM] = at;
		at += Min(pg_mblen(folded + at), len - at);
		if (n >= GRAM)
			add_token(tokens, dp_word_token(tokens->salt, DP_TOKEN_GRAM, folded + starts[n % GRAM], at - starts[n % GRAM]));
	}
	dp_secret_wipe(folded, len);
	pfree(folded);
}

/* One character, folded, at the end of out; returns how many bytes that took. */
static int
fold_character(const char *character, int len, Oid collation, char *out, int room)
{
	static const char final_sigma[] = "\xCF\x82";
	static const char sigma[] = "\xCF\x83";
	char	   *lower;
	int			n;

	if (len == 1 && !IS_HIGHBIT_SET(*character) && !(*character >= 'A' && *character <= 'Z'))
	{
		*out = *character;
		return 1;
	}
	lower = str_tolower(character, len, collation);
	n = Min((int) strlen(lower), room);
	memcpy(out, lower, n);
	dp_secret_wipe(lower, strlen(lower));
	pfree(lower);
	if (n == 2 && GetDatabaseEncoding() == PG_UTF8 && memcmp(out, final_sigma, 2) == 0)
		memcpy(out, sigma, 2);
	return n;
}

/* How much longer lower() may make a character. */
#define GROWTH 3

static char *
fold_text(const char *text, int len, Oid collation, int *out_len)
{
	char	   *out = palloc((Size) len * GROWTH + 1);
	int			n = 0;

	for (int at = 0; at < len;)
	{
		int			width = Min(pg_mblen(text + at), len - at);

		n += fold_character(text + at, width, collation, out + n, GROWTH * width);
		at += width;
	}
	*out_len = n;
	return out;
}

/* A run of characters of a pattern that must stand in the text as they are. */
static void
add_run(Tokens *tokens, const char *run, int len, Oid collation)
{
	int			folded_len;
	char	   *folded;

	if (len == 0)
		return;
	folded = fold_text(run, len, collation, &folded_len);
	add_grams(tokens, folded, folded_len);
}

static void
add_pattern(Tokens *tokens, const char *pattern, int len, Oid collation)
{
	char	   *run = palloc(len + 1);
	int			n = 0;

	for (int at = 0; at < len;)
	{
		int			width;

		if (pattern[at] == '%' || pattern[at] == '_')
		{
			add_run(tokens, run, n, collation);
			n = 0;
			at++;
			continue;
		}
		/* one at the end is an error of LIKE's own */
		if (pattern[at] == '\\' && at + 1 < len)
			at++;
		width = Min(pg_mblen(pattern + at), len - at);
		memcpy(run + n, pattern + at, width);
		n += width;
		at += width;
	}
	add_run(tokens, run, n, collation);
	dp_secret_wipe(run, len);
	pfree(run);
}

/* ---- support functions ---- */

int
dp_word_salt(FmgrInfo *flinfo)
{
	return has_fn_opclass_options(flinfo) ? ((Options *) get_fn_opclass_options(flinfo))->salt : 0;
}

/* extractValue(value encrypted_text, internal, internal) */
Datum
dp_word_extract_value(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = dp_typeinfo_get(dp_typeinfo_signature(fcinfo->flinfo->fn_oid)->argtypes[0]);
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	int32	   *nkeys = (int32 *) PG_GETARG_POINTER(1);
	Tokens		tokens = {.salt = dp_word_salt(fcinfo->flinfo),.max = PG_INT32_MAX};
	DpValue		value;
	Datum		plain;

	dp_value_parse(datum, false, &value);
	if (!dp_value_open(info, &value, DP_USE_MAINTAIN, false, &plain))
		add_token(&tokens, dp_word_token(tokens.salt, DP_TOKEN_GRAM, "", 0));
	else
	{
		text	   *words = DatumGetTextPP(plain);
		int			len;
		char	   *folded = fold_text(VARDATA_ANY(words), VARSIZE_ANY_EXHDR(words), PG_GET_COLLATION(), &len);

		dp_value_dispose(info, plain);
		add_grams(&tokens, folded, len);
	}
	*nkeys = tokens.n;
	PG_RETURN_POINTER(tokens.list);
}

/* extractQuery(pattern, internal, int2, internal, internal, internal, internal) */
Datum
dp_word_extract_query(PG_FUNCTION_ARGS)
{
	text	   *pattern = PG_GETARG_TEXT_PP(0);
	int32	   *nkeys = (int32 *) PG_GETARG_POINTER(1);
	int32	   *search_mode = (int32 *) PG_GETARG_POINTER(6);
	Tokens		tokens = {.salt = dp_word_salt(fcinfo->flinfo),.max = MAX_QUERY_TOKENS};

	add_pattern(&tokens, VARDATA_ANY(pattern), VARSIZE_ANY_EXHDR(pattern), PG_GET_COLLATION());
	if (tokens.n == 0)
		*search_mode = GIN_SEARCH_MODE_ALL;
	else
		add_token(&tokens, dp_word_token(tokens.salt, DP_TOKEN_GRAM, "", 0));
	*nkeys = tokens.n;
	PG_RETURN_POINTER(tokens.list);
}

/*
 * triConsistent(internal, int2, pattern, int4, internal, internal, internal)
 * All tokens but the last, or the last: that of what could not be read.
 */
Datum
dp_word_tri_consistent(PG_FUNCTION_ARGS)
{
	GinTernaryValue *check = (GinTernaryValue *) PG_GETARG_POINTER(0);
	int32		nkeys = PG_GETARG_INT32(3);

	if (nkeys > 0 && check[nkeys - 1] != GIN_FALSE)
		PG_RETURN_GIN_TERNARY_VALUE(GIN_MAYBE);
	for (int i = 0; i < nkeys - 1; i++)
	{
		if (check[i] == GIN_FALSE)
			PG_RETURN_GIN_TERNARY_VALUE(GIN_FALSE);
	}
	PG_RETURN_GIN_TERNARY_VALUE(GIN_MAYBE);
}

/* options(internal), of every class whose only option is the salt */
Datum
dp_word_options(PG_FUNCTION_ARGS)
{
	local_relopts *relopts = (local_relopts *) PG_GETARG_POINTER(0);

	init_local_reloptions(relopts, sizeof(Options));
	add_local_int_reloption(relopts, "salt", "number that sets the tokens of this index apart", 0, 0, PG_INT32_MAX,
							offsetof(Options, salt));
	PG_RETURN_VOID();
}
