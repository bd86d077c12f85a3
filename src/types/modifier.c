/*
 * modifier.c
 *	  Type modifiers of protected columns: input and output.
 *
 * What the words may be is in modifier_words.h; how they become the number that
 * a column carries is in modifier_registry.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "types/modifier_ddl.h"
#include "types/modifier_registry.h"
#include "types/modifier_words.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dp_typmod_in);
PG_FUNCTION_INFO_V1(dp_typmod_out);

StaticAssertDecl(DP_MODIFIER_KEY_SIZE == NAMEDATALEN, "keys are names");

static void
report_modifier(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid modifier of an encrypted type"),
			 errdetail("%s", detail),
			 errhint("Write the key's name, then any of 'searchable', 'ordered', 'padded' and the base type's modifier, as in encrypted_text('pii', 'searchable', '(50)').")));
}

/* The base type's own number for its modifier. */
static int32
base_modifier(const DpTypeInfo *info, const DpModifierWords *words)
{
	Datum		elems[DP_MODIFIER_MAX_NUMBERS + 1];
	int			n = 0;
	ArrayType  *array;

	if (words->n_numbers == 0)
		return -1;
	if (!OidIsValid(info->base_typmodin))
		report_modifier("The base type takes no modifier.");
	/* interval(3) is grammar: its function wants the set of fields first */
	if (info->base_oid == INTERVALOID && words->n_numbers == 1)
		elems[n++] = CStringGetDatum(psprintf("%d", INTERVAL_FULL_RANGE));
	for (int i = 0; i < words->n_numbers; i++)
		elems[n++] = CStringGetDatum(psprintf("%d", words->numbers[i]));
	array = construct_array(elems, n, CSTRINGOID, -2, false, TYPALIGN_CHAR);
	return DatumGetInt32(OidFunctionCall1(info->base_typmodin, PointerGetDatum(array)));
}

/*
 * A number alone, as the dump of an upgrade writes it; see dp_typmod_out().  The
 * type's casts, and our tables, may not be there yet.
 */
static bool
number_of_upgrade(const char *word, int32 *out)
{
	char	   *end;
	unsigned long number;

	if (!IsBinaryUpgrade || strspn(word, "0123456789") != strlen(word) || word[0] == '\0')
		return false;
	errno = 0;
	number = strtoul(word, &end, 10);
	if (errno != 0 || number > PG_INT32_MAX)
		return false;
	*out = (int32) number;
	return true;
}

Datum
dp_typmod_in(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	const DpTypeInfo *info;
	DpModifierWords words;
	DpModifier	modifier;
	char		definition[DP_MODIFIER_TEXT_SIZE];
	Datum	   *elems;
	const char **texts;
	int			n;
	int32		number;
	const char *problem;

	if (ARR_ELEMTYPE(array) != CSTRINGOID || ARR_NDIM(array) != 1 || array_contains_nulls(array))
		report_modifier("The modifier must be a list of words.");
	deconstruct_array(array, CSTRINGOID, -2, false, TYPALIGN_CHAR, &elems, NULL, &n);
	texts = palloc(n * sizeof(char *));
	for (int i = 0; i < n; i++)
		texts[i] = DatumGetCString(elems[i]);
	if (n == 1 && number_of_upgrade(texts[0], &number))
		PG_RETURN_INT32(number);
	info = dp_typeinfo_served(fcinfo->flinfo->fn_oid);
	problem = dp_modifier_words_read(texts, n, &words);
	if (problem != NULL)
		report_modifier(problem);
	if (words.searchable && !info->can_token)
		report_modifier("Values of this type cannot be searchable: equality has no single form for them.");
	if (words.ordered && !OidIsValid(info->base_cmp.fn_oid))
		report_modifier("Values of this type have no order.");

	memset(&modifier, 0, sizeof(modifier));
	modifier.type = info->enc_oid;
	namestrcpy(&modifier.key, words.key);
	modifier.searchable = words.searchable;
	modifier.ordered = words.ordered;
	modifier.padded = words.padded;
	modifier.base_typmod = base_modifier(info, &words);
	dp_modifier_words_write(&words, definition);
	PG_RETURN_INT32(dp_modifier_number(&modifier, definition, dp_modifier_in_ddl()));
}

/*
 * Words, or the number where none are known.  pg_upgrade takes the files of the
 * tables over, and with them the rows that the numbers of the old cluster stand
 * in: its dump hands the numbers on.
 */
Datum
dp_typmod_out(PG_FUNCTION_ARGS)
{
	int32		typmod = PG_GETARG_INT32(0);
	const char *words = !IsBinaryUpgrade && IsTransactionState() ? dp_modifier_words(typmod) : NULL;

	PG_RETURN_CSTRING(words != NULL ? psprintf("(%s)", words) : psprintf("(%d)", typmod));
}
