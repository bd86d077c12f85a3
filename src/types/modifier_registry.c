/*
 * modifier_registry.c
 *	  The numbers that stand for modifiers; see modifier_registry.h.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/catalog_change.h"
#include "base/compat.h"
#include "base/report.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "types/modifier_registry.h"
#include "types/modifier_seal.h"
#include "types/modifier_table.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/rel.h"

/* So many numbers are tried for one modifier: chance alone never needs two. */
#define MAX_ATTEMPTS 16

#define NUMBER_DOMAIN	'n'		/* of the PRF */

typedef struct Entry
{
	int32		typmod;			/* hash key */
	DpModifier	modifier;
	char	   *definition;
	bool		local;			/* no row of the table is known */
	bool		contradicted;	/* local, and the table says something else */
	bool		forged;			/* the table's row is not as the extension wrote it */
	uint64		checked;		/* generation in which the table was asked */
	uint64		used;			/* for local ones: when, in calls */
} Entry;

static MemoryContext context = NULL;
static HTAB *entries = NULL;
static Entry *last = NULL;		/* found last */
static int	n_local = 0;
static uint64 calls = 0;
static uint64 generation = 1;	/* moves whenever the table has changed */
static Oid	table_seen = InvalidOid;

/* ---- what this backend knows ---- */

static void
table_changed(Oid relid)
{
	if (relid == InvalidOid || relid == table_seen)
		generation++;
}

static void
make_entries(void)
{
	HASHCTL		ctl = {0};

	context = AllocSetContextCreate(TopMemoryContext, "dataprotect modifiers", ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = sizeof(int32);
	ctl.entrysize = sizeof(Entry);
	ctl.hcxt = context;
	entries = hash_create("dataprotect modifiers", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	dp_on_relation_change(table_changed);
}

static Entry *
find_entry(int32 typmod)
{
	return entries != NULL ? hash_search(entries, &typmod, HASH_FIND, NULL) : NULL;
}

static void
set_local(Entry *entry, bool local)
{
	n_local += (local ? 1 : 0) - (entry->local ? 1 : 0);
	entry->local = local;
}

static Entry *
find_local(Oid type, const char *definition)
{
	HASH_SEQ_STATUS scan;
	Entry	   *entry;

	if (n_local == 0)
		return NULL;
	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (entry->local && !entry->contradicted && entry->modifier.type == type &&
			strcmp(entry->definition, definition) == 0)
		{
			hash_seq_term(&scan);
			return entry;
		}
	}
	return NULL;
}

/*
 * Forget the half of the local modifiers that was not used for longest.  Plans
 * that hold their numbers are made again from their text.
 */
static void
forget_local(void)
{
	HASH_SEQ_STATUS scan;
	Entry	   *entry;
	uint64		oldest = calls;
	uint64		limit;

	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
		if (entry->local)
			oldest = Min(oldest, entry->used);
	limit = oldest + (calls - oldest) / 2;

	hash_seq_init(&scan, entries);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (!entry->local || entry->used > limit)
			continue;
		set_local(entry, false);
		pfree(entry->definition);
		hash_search(entries, &entry->typmod, HASH_REMOVE, NULL);
	}
	last = NULL;
	ResetPlanCache();
}

/* Set an entry to these words; made where there was none. */
static Entry *
remember(const DpModifier *modifier, const char *definition, bool local)
{
	Entry	   *entry;
	char	   *copy;
	bool		found;

	if (entries == NULL)
		make_entries();
	copy = MemoryContextStrdup(context, definition);
	entry = hash_search(entries, &modifier->typmod, HASH_ENTER, &found);
	if (!found)
		entry->local = false;
	else
		pfree(entry->definition);
	entry->modifier = *modifier;
	entry->definition = copy;
	entry->contradicted = false;
	entry->forged = false;
	entry->checked = 0;
	entry->used = ++calls;
	set_local(entry, local);
	return entry;
}

static Relation
open_watched(LOCKMODE mode, bool missing_ok)
{
	Relation	rel = dp_modifier_table_open(mode, missing_ok);

	if (entries == NULL)
		make_entries();
	if (rel != NULL)
		table_seen = RelationGetRelid(rel);
	return rel;
}

/* ---- numbers ---- */

/* Make sure that a row says so at the end of this transaction. */
static void
register_number(Relation rel, const DpModifier *modifier, const char *definition)
{
	DpModifierRow row;
	bool		found;

	LockDatabaseObject(RelationGetRelid(rel), modifier->typmod, 0, AccessShareLock);
	found = dp_modifier_table_find_number(rel, modifier->typmod, true, &row);
	if (found && row.sealed && !dp_modifier_row_says(&row, modifier->type, definition))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("another transaction has taken the number of modifier (%s)", definition),
				 errhint("Try again.")));
	if (!found || !row.certain || !row.sealed)
		dp_modifier_table_insert(rel, modifier, definition);
}

static int32
derive_number(DpPrf *prf, uint8 attempt, Oid type, const char *definition)
{
	StringInfoData message;
	uint8		out[DP_PRF_OUT_LEN];
	bool		ok;

	initStringInfo(&message);
	appendStringInfoChar(&message, (char) attempt);
	appendBinaryStringInfo(&message, (char *) &type, sizeof(type));
	appendStringInfoString(&message, definition);
	ok = dp_prf(prf, NUMBER_DOMAIN, (uint8 *) message.data, message.len, out);
	pfree(message.data);
	if (!ok)
		dp_report_no_memory("could not compute a number of a modifier");
	return (int32) ((((uint32) out[0] << 24) | ((uint32) out[1] << 16) | ((uint32) out[2] << 8) | out[3]) &
					PG_INT32_MAX);
}

/* May these words have the number?  Not where it stands for something already, here or in the table. */
static bool
is_free(Relation rel, int32 number, Oid type, const char *definition)
{
	Entry	   *entry = find_entry(number);
	DpModifierRow row;

	if (entry != NULL && (entry->modifier.type != type || strcmp(entry->definition, definition) != 0))
		return false;
	if (!dp_modifier_table_find_number(rel, number, true, &row))
		return true;
	/* a row that somebody has spoiled, and whose words these were */
	return !row.sealed && dp_modifier_row_says(&row, type, definition);
}

static int32
try_numbers(Relation rel, DpPrf *prf, const DpModifier *modifier, const char *definition)
{
	bool		tokens = modifier->searchable && !modifier->ordered;

	for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++)
	{
		int32		derived = derive_number(prf, attempt, modifier->type, definition);
		int32		number = tokens ? derived | DP_MODIFIER_TOKENS : derived & ~DP_MODIFIER_TOKENS;

		if (is_free(rel, number, modifier->type, definition))
			return number;
	}
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("no number is free for modifier (%s)", definition)));
	return -1;					/* keep compiler quiet */
}

/* By the policy key, which nobody can replace, or, where there is none, by the table's secret. */
static int32
free_number(Relation rel, const DpModifier *modifier, const char *definition)
{
	DpPrf	   *prf = dp_modifier_policy_prf();
	int32		number = -1;

	if (prf != NULL)
		return try_numbers(rel, prf, modifier, definition);
	prf = dp_modifier_table_prf();
	PG_TRY();
	{
		number = try_numbers(rel, prf, modifier, definition);
	}
	PG_FINALLY();
	{
		dp_prf_free(prf);
	}
	PG_END_TRY();
	return number;
}

/* ---- where modifiers are used ---- */

/* Who writes the words of a key into an expression, and in no column's name. */
static void
check_expression(const DpModifier *modifier)
{
	const DpFamily *family = dp_keys_family_by_name(NameStr(modifier->key));
	Oid			role = GetUserId();

	if (dp_access_privilege(family->family) == DP_PRIV_NONE && !superuser() &&
		!has_privs_of_role(role, get_role_oid("dataprotect_admin", false)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for key \"%s\"", NameStr(modifier->key)),
				 errdetail("No column has this modifier, and role \"%s\" has no right on the key.",
						   GetUserNameFromId(role, false)),
				 errhint("Leave the modifier out: a column seals what is assigned to it under its own key.")));
}

static int32
number_in_ddl(Relation rel, DpModifier *modifier, const char *definition)
{
	DpModifierRow row;
	Entry	   *entry;

	if (XactReadOnly || RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot register a modifier of an encrypted type in a read-only transaction")));
	if (dp_modifier_table_find_words(rel, modifier->type, definition, true, &row) && row.sealed)
		modifier->typmod = row.modifier.typmod;
	else if ((entry = find_local(modifier->type, definition)) != NULL)
		modifier->typmod = entry->typmod;
	else
		modifier->typmod = free_number(rel, modifier, definition);
	register_number(rel, modifier, definition);
	(void) remember(modifier, definition, false);
	return modifier->typmod;
}

static int32
number_in_expression(Relation rel, DpModifier *modifier, const char *definition)
{
	DpModifierRow row;
	Entry	   *entry;

	if (dp_modifier_table_find_words(rel, modifier->type, definition, false, &row) && row.sealed)
		return row.modifier.typmod;
	check_expression(modifier);
	entry = find_local(modifier->type, definition);
	if (entry != NULL)
	{
		entry->used = ++calls;
		return entry->typmod;
	}
	if (n_local >= DP_MODIFIERS_LOCAL)
		forget_local();
	modifier->typmod = free_number(rel, modifier, definition);
	return remember(modifier, definition, true)->typmod;
}

int32
dp_modifier_number(const DpModifier *modifier, const char *definition, bool stores)
{
	DpModifier	m = *modifier;
	Relation	rel = open_watched(stores ? RowExclusiveLock : AccessShareLock, false);
	int32		number;

	if (stores)
		number = number_in_ddl(rel, &m, definition);
	else
		number = number_in_expression(rel, &m, definition);
	table_close(rel, NoLock);
	return number;
}

/* A relation was made from a query whose modifiers were not DDL when it was read. */
void
dp_modifier_store(Oid type, int32 typmod)
{
	Entry	   *entry = find_entry(typmod);
	Relation	rel;
	DpModifierRow row;

	rel = open_watched(RowExclusiveLock, false);
	if (dp_modifier_table_find_number(rel, typmod, true, &row) && row.sealed)
		register_number(rel, &row.modifier, row.definition);
	else if (entry != NULL && entry->local && entry->modifier.type == type)
	{
		register_number(rel, &entry->modifier, entry->definition);
		set_local(entry, false);
	}
	table_close(rel, NoLock);
}

int
dp_modifier_count_local(void)
{
	return n_local;
}

/* ---- looking up ---- */

static Entry *
ask_table(int32 typmod, Entry *entry)
{
	uint64		asked = generation;
	Relation	rel = open_watched(AccessShareLock, true);
	DpModifierRow row;

	if (rel == NULL)
		return entry;
	if (dp_modifier_table_find_number(rel, typmod, false, &row))
	{
		if (!row.sealed)
		{
			dp_modifier_alarm();
			entry = remember(&row.modifier, row.definition, false);
			entry->forged = true;
		}
		else if (entry != NULL && entry->local && !dp_modifier_row_says(&row, entry->modifier.type, entry->definition))
			entry->contradicted = true;
		else
			entry = remember(&row.modifier, row.definition, false);
	}
	else if (entry != NULL && !entry->local)
		set_local(entry, true);
	if (entry != NULL)
		entry->checked = asked;
	table_close(rel, AccessShareLock);
	return entry;
}

static Entry *
lookup(int32 typmod)
{
	Entry	   *entry = last;

	if (entry == NULL || entry->typmod != typmod)
		entry = find_entry(typmod);
	if (entry == NULL || entry->checked != generation)
		entry = ask_table(typmod, entry);
	last = entry;
	if (entry != NULL)
		entry->used = ++calls;
	return entry;
}

const DpModifier *
dp_modifier_get(int32 typmod)
{
	Entry	   *entry = lookup(typmod);

	if (entry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type modifier %d of an encrypted type is not registered", typmod),
				 errhint("Write the modifier in words again: ALTER TABLE ... ALTER COLUMN ... TYPE encrypted_text('key').")));
	if (entry->forged)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("type modifier %d of an encrypted type is not as extension \"%s\" registered it", typmod, "dataprotect"),
				 errdetail("Its row in table \"%s\" was written or changed by somebody else.", "dataprotect.type_modifier"),
				 errhint("dataprotect.verify_policy() shows it; an administrator who has looked calls dataprotect.reseal_policy().")));
	if (entry->contradicted)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("another transaction has taken the number of modifier (%s)", entry->definition),
				 errhint("Connect again.")));
	return &entry->modifier;
}

const DpModifier *
dp_modifier_of(Oid type, int32 typmod)
{
	const DpModifier *modifier = dp_modifier_get(typmod);

	if (modifier->type != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("type modifier %d belongs to type %s, not to %s", typmod,
						format_type_be(modifier->type), format_type_be(type))));
	return modifier;
}

static Entry *
find_usable(int32 typmod)
{
	Entry	   *entry = lookup(typmod);

	return entry != NULL && !entry->contradicted && !entry->forged ? entry : NULL;
}

const DpModifier *
dp_modifier_find(int32 typmod)
{
	Entry	   *entry = find_usable(typmod);

	return entry != NULL ? &entry->modifier : NULL;
}

const char *
dp_modifier_words(int32 typmod)
{
	Entry	   *entry = find_usable(typmod);

	return entry != NULL ? entry->definition : NULL;
}
