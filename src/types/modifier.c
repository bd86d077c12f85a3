/*
 * modifier.c
 *	  Type modifiers of protected columns.
 *
 *	encrypted_text('pii', 'searchable', 'ordered', '(50)')
 *
 * First the key's name; then, in any order and each at most once, the words
 * "searchable" and "ordered" and, in parentheses, the modifier of the base type
 * (for text: a length, enforced as varchar's).  A key and a base modifier do
 * not fit into 31 bits together, so the modifier is a number: 30 bits of a
 * digest of the canonical text, registered in dataprotect.type_modifier by the
 * typmod input function.  The same text gives the same number in every
 * database, so that DDL restores before any key does.  Two texts with one
 * number are refused.
 *
 * Canonical text:	'pii','searchable','ordered','(50)'	(quotes doubled inside)
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "keys/catalog.h"
#include "miscadmin.h"
#include "types/types.h"
#include "types/typeinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dp_typmod_in);
PG_FUNCTION_INFO_V1(dp_typmod_out);

#define Anum_modifier_typmod		1
#define Anum_modifier_definition	2
#define Anum_modifier_key			3
#define Anum_modifier_searchable	4
#define Anum_modifier_ordered		5
#define Anum_modifier_base_typmod	6

typedef struct ModifierEntry
{
	int32		typmod;
	DpModifier	modifier;
	char	   *definition;		/* in TopMemoryContext */
} ModifierEntry;

/* Entries never change, so they are kept for good; a rolled-back one is harmless. */
static HTAB *modifiers = NULL;

static void
report_modifier(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid modifier of an encrypted type"),
			 errdetail("%s", detail),
			 errhint("Write the key's name, then any of 'searchable', 'ordered' and the base type's modifier, as in encrypted_text('pii', 'searchable', '(50)').")));
}

/* "(5,2)" to the base type's own modifier number; out_text: "(5,2)" tidied. */
static int32
parse_base_modifier(const DpTypeInfo *info, const char *text, char **out_text)
{
	StringInfoData tidy;
	Datum		elems[8];
	int			n = 0;
	const char *p = text + 1;
	ArrayType  *array;

	if (!OidIsValid(info->base_typmodin))
		report_modifier("The base type takes no modifier.");
	initStringInfo(&tidy);
	appendStringInfoChar(&tidy, '(');
	for (;;)
	{
		char	   *end;
		long		number;

		while (*p == ' ')
			p++;
		errno = 0;
		number = strtol(p, &end, 10);
		if (end == p || errno != 0 || number < -1000000000 || number > 1000000000 || n == 8)
			report_modifier("The base type's modifier is a list of numbers in parentheses.");
		elems[n++] = CStringGetDatum(psprintf("%ld", number));
		appendStringInfo(&tidy, n > 1 ? ",%ld" : "%ld", number);
		p = end;
		while (*p == ' ')
			p++;
		if (*p == ')' && p[1] == '\0')
			break;
		if (*p++ != ',')
			report_modifier("The base type's modifier is a list of numbers in parentheses.");
	}
	appendStringInfoChar(&tidy, ')');
	*out_text = tidy.data;
	array = construct_array(elems, n, CSTRINGOID, -2, false, TYPALIGN_CHAR);
	return DatumGetInt32(OidFunctionCall1(info->base_typmodin, PointerGetDatum(array)));
}

static void
append_quoted(StringInfo buf, const char *word)
{
	if (buf->len > 0)
		appendStringInfoChar(buf, ',');
	appendStringInfoChar(buf, '\'');
	for (; *word != '\0'; word++)
	{
		if (*word == '\'')
			appendStringInfoChar(buf, '\'');
		appendStringInfoChar(buf, *word);
	}
	appendStringInfoChar(buf, '\'');
}

/* Words of the modifier to its parts and its canonical text. */
static char *
parse_words(const DpTypeInfo *info, Datum *words, int n, DpModifier *out)
{
	StringInfoData canonical;
	char	   *base_text = NULL;
	int			i;

	memset(out, 0, sizeof(*out));
	out->base_typmod = -1;
	for (i = 0; i < n; i++)
	{
		char	   *word = DatumGetCString(words[i]);

		if (i == 0)
		{
			if (word[0] == '\0' || word[0] == '(' || strlen(word) >= NAMEDATALEN ||
				strcmp(word, "searchable") == 0 || strcmp(word, "ordered") == 0)
				report_modifier("The first word must be the name of a key.");
			namestrcpy(&out->key, word);
		}
		else if (strcmp(word, "searchable") == 0 && !out->searchable)
			out->searchable = true;
		else if (strcmp(word, "ordered") == 0 && !out->ordered)
			out->ordered = true;
		else if (word[0] == '(' && base_text == NULL)
			out->base_typmod = parse_base_modifier(info, word, &base_text);
		else
			report_modifier("A word is unknown or stands there twice.");
	}
	if (out->searchable && !info->can_token)
		report_modifier("Values of this type cannot be searchable: equality has no single form for them.");
	if (out->ordered && !OidIsValid(info->base_cmp.fn_oid))
		report_modifier("Values of this type have no order.");

	initStringInfo(&canonical);
	append_quoted(&canonical, NameStr(out->key));
	if (out->searchable)
		append_quoted(&canonical, "searchable");
	if (out->ordered)
		append_quoted(&canonical, "ordered");
	if (base_text != NULL)
		append_quoted(&canonical, base_text);
	return canonical.data;
}

static ModifierEntry *
remember(const DpModifier *modifier, const char *definition)
{
	ModifierEntry *entry;
	bool		found;

	if (modifiers == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(int32);
		ctl.entrysize = sizeof(ModifierEntry);
		ctl.hcxt = TopMemoryContext;
		modifiers = hash_create("dataprotect modifiers", 32, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(modifiers, &modifier->typmod, HASH_ENTER, &found);
	if (!found)
	{
		entry->modifier = *modifier;
		entry->definition = NULL;
	}
	if (entry->definition == NULL)
		entry->definition = MemoryContextStrdup(TopMemoryContext, definition);
	return entry;
}

/* From the table; NULL where it is not registered. */
static ModifierEntry *
read_modifier(int32 typmod)
{
	ModifierEntry *entry = NULL;
	Relation	rel;
	ScanKeyData key[1];
	SysScanDesc scan;
	HeapTuple	tuple;

	rel = table_open(dp_catalog_relation("type_modifier"), AccessShareLock);
	ScanKeyInit(&key[0], Anum_modifier_typmod, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(typmod));
	scan = systable_beginscan(rel, dp_catalog_relation("type_modifier_pkey"), true, NULL, 1, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		TupleDesc	desc = RelationGetDescr(rel);
		DpModifier	modifier;
		bool		isnull;
		char	   *definition;

		memset(&modifier, 0, sizeof(modifier));
		modifier.typmod = typmod;
		definition = TextDatumGetCString(heap_getattr(tuple, Anum_modifier_definition, desc, &isnull));
		namestrcpy(&modifier.key,
				   NameStr(*DatumGetName(heap_getattr(tuple, Anum_modifier_key, desc, &isnull))));
		modifier.searchable = DatumGetBool(heap_getattr(tuple, Anum_modifier_searchable, desc, &isnull));
		modifier.ordered = DatumGetBool(heap_getattr(tuple, Anum_modifier_ordered, desc, &isnull));
		modifier.base_typmod = DatumGetInt32(heap_getattr(tuple, Anum_modifier_base_typmod, desc, &isnull));
		entry = remember(&modifier, definition);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return entry;
}

static ModifierEntry *
lookup(int32 typmod)
{
	static ModifierEntry *last = NULL;	/* entries are never removed */

	if (likely(last != NULL && last->typmod == typmod))
		return last;
	last = modifiers != NULL ? hash_search(modifiers, &typmod, HASH_FIND, NULL) : NULL;
	return last != NULL ? last : read_modifier(typmod);
}

const DpModifier *
dp_modifier_get(int32 typmod)
{
	ModifierEntry *entry = lookup(typmod);

	if (entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type modifier %d of an encrypted type is not registered", typmod),
				 errhint("Write the modifier in words again: ALTER TABLE ... ALTER COLUMN ... TYPE encrypted_text('key').")));
	return &entry->modifier;
}

static void
insert_modifier(const DpModifier *m, const char *definition)
{
	Oid			argtypes[6] = {INT4OID, TEXTOID, NAMEOID, BOOLOID, BOOLOID, INT4OID};
	Datum		values[6];
	Oid			save_user;
	int			save_context;

	if (RecoveryInProgress() || XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot use a new modifier of an encrypted type in a read-only transaction")));
	values[0] = Int32GetDatum(m->typmod);
	values[1] = CStringGetTextDatum(definition);
	values[2] = NameGetDatum(&m->key);
	values[3] = BoolGetDatum(m->searchable);
	values[4] = BoolGetDatum(m->ordered);
	values[5] = Int32GetDatum(m->base_typmod);

	GetUserIdAndSecContext(&save_user, &save_context);
	SetUserIdAndSecContext(dp_catalog_owner(), save_context | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT ||
		SPI_execute_with_args("INSERT INTO dataprotect.type_modifier "
							  "(typmod, definition, key, searchable, ordered, base_typmod) "
							  "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
							  6, argtypes, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not register a type modifier");
	SPI_finish();
	SetUserIdAndSecContext(save_user, save_context);
}

Datum
dp_typmod_in(PG_FUNCTION_ARGS)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(0);
	const DpTypeInfo *info = dp_typeinfo_of_named(fcinfo->flinfo->fn_oid, "_typmod_in");
	DpModifier	modifier;
	ModifierEntry *entry;
	Datum	   *words;
	int			n;
	char	   *definition;
	uint8		digest[32];

	if (ARR_ELEMTYPE(array) != CSTRINGOID || ARR_NDIM(array) != 1 || array_contains_nulls(array))
		report_modifier("The modifier must be a list of words.");
	deconstruct_array(array, CSTRINGOID, -2, false, TYPALIGN_CHAR, &words, NULL, &n);
	definition = parse_words(info, words, n, &modifier);
	if (!dp_sha256((uint8 *) definition, strlen(definition), digest))
		elog(ERROR, "could not compute a digest");
	modifier.typmod = (int32) ((((uint32) digest[0] << 24) | ((uint32) digest[1] << 16) |
								((uint32) digest[2] << 8) | digest[3]) >> 2);

	/* A remembered one may have been rolled back since: ask the table. */
	entry = read_modifier(modifier.typmod);
	if (entry == NULL)
	{
		insert_modifier(&modifier, definition);
		entry = remember(&modifier, definition);
	}
	if (strcmp(entry->definition, definition) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("modifier %s collides with modifier %s", definition, entry->definition),
				 errhint("Use another name for the key.")));
	PG_RETURN_INT32(modifier.typmod);
}

Datum
dp_typmod_out(PG_FUNCTION_ARGS)
{
	int32		typmod = PG_GETARG_INT32(0);
	ModifierEntry *entry = IsTransactionState() ? lookup(typmod) : NULL;

	PG_RETURN_CSTRING(entry != NULL ? psprintf("(%s)", entry->definition) : psprintf("(%d)", typmod));
}
