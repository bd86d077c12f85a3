/*
 * policy_root.c
 *	  Whether the rows of a sealed table are all there; see policy_root.h.
 *
 * Rows and notes are read under one catalog snapshot: it sees what is committed and
 * what this transaction did, in REPEATABLE READ and in parallel workers as well.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/compat.h"
#include "base/result.h"
#include "base/statement.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "keys/catalog.h"
#include "keys/keys.h"
#include "keys/keys_internal.h"
#include "keys/policy_alarm.h"
#include "keys/own_sequence.h"
#include "keys/policy_root.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dp_policy_note_sql);
PG_FUNCTION_INFO_V1(dp_policy_whole_sql);
PG_FUNCTION_INFO_V1(dp_policy_adds_up_sql);
PG_FUNCTION_INFO_V1(dp_policy_fold_sql);

#define WEIGHT_DOMAIN	'r'		/* of the PRF under the policy key */
#define NOTE_DOMAIN		'j'
#define WEIGHT_WORDS	4		/* of 64 bits, the lowest first */
#define WEIGHT_LEN		(WEIGHT_WORDS * 8)

#define Anum_journal_id			1
#define Anum_journal_tbl		2
#define Anum_journal_scope		3
#define Anum_journal_change		4
#define Anum_journal_statements	5
#define Anum_journal_mac		6
#define Natts_journal			6

/* Numbers modulo 2^256. */
typedef struct Weight
{
	uint64		word[WEIGHT_WORDS];
} Weight;

static void
add_weight(Weight *sum, const Weight *other, bool subtract)
{
	uint64		carry = subtract ? 1 : 0;

	for (int i = 0; i < WEIGHT_WORDS; i++)
	{
		uint64		word = subtract ? ~other->word[i] : other->word[i];
		uint64		result = sum->word[i] + word;
		uint64		next = result < word;

		sum->word[i] = result + carry;
		carry = next | (sum->word[i] < result);
	}
}

static bool
weight_is_zero(const Weight *weight)
{
	uint64		all = 0;

	for (int i = 0; i < WEIGHT_WORDS; i++)
		all |= weight->word[i];
	return all == 0;
}

static void
compute_prf(DpPrf *prf, uint8 domain, const StringInfoData *message, uint8 out[DP_PRF_OUT_LEN])
{
	if (!dp_prf(prf, domain, (const uint8 *) message->data, message->len, out))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not authenticate rows of dataprotect")));
}

static void
weigh_row(DpPrf *prf, DpSealedTable table, Relation rel, HeapTuple row, Weight *out)
{
	bytea	   *seal = dp_seal_of(rel, row);
	StringInfoData message;
	uint8		mac[DP_PRF_OUT_LEN];

	initStringInfo(&message);
	appendBinaryStringInfo(&message, dp_sealed_tables[table].name, strlen(dp_sealed_tables[table].name) + 1);
	appendBinaryStringInfo(&message, VARDATA_ANY(seal), VARSIZE_ANY_EXHDR(seal));
	compute_prf(prf, WEIGHT_DOMAIN, &message, mac);
	pfree(message.data);
	memcpy(out->word, mac, WEIGHT_LEN);
}

static void
note_mac(DpPrf *prf, const uint8 uid[16], int64 id, const char *table, int64 scope, const Weight *change,
		 int64 statements, uint8 mac[DP_PRF_OUT_LEN])
{
	StringInfoData message;
	uint64		numbers[3] = {pg_hton64((uint64) id), pg_hton64((uint64) scope), pg_hton64((uint64) statements)};

	initStringInfo(&message);
	appendBinaryStringInfo(&message, (const char *) uid, 16);
	appendBinaryStringInfo(&message, (char *) numbers, sizeof(numbers));
	appendBinaryStringInfo(&message, (const char *) change->word, WEIGHT_LEN);
	appendStringInfoString(&message, table);
	compute_prf(prf, NOTE_DOMAIN, &message, mac);
	pfree(message.data);
}

static void
append_note(DpPrf *prf, const uint8 uid[16], DpSealedTable table, int64 scope, const Weight *change, int64 statements)
{
	Relation	rel = table_open(dp_catalog_relation("policy_journal"), RowExclusiveLock);
	int64		id;
	Datum		values[Natts_journal];
	bool		nulls[Natts_journal] = {false};
	uint8		mac[DP_PRF_OUT_LEN];
	NameData	name;
	HeapTuple	tuple;

	dp_own_sequence_keep(RelationGetRelid(rel));
	id = nextval_internal(dp_catalog_relation("policy_journal_id_seq"), false);
	namestrcpy(&name, dp_sealed_tables[table].name);
	note_mac(prf, uid, id, NameStr(name), scope, change, statements, mac);
	values[Anum_journal_id - 1] = Int64GetDatum(id);
	values[Anum_journal_tbl - 1] = NameGetDatum(&name);
	values[Anum_journal_scope - 1] = Int64GetDatum(scope);
	values[Anum_journal_change - 1] = dp_result_bytea(change->word, WEIGHT_LEN);
	values[Anum_journal_statements - 1] = Int64GetDatum(statements);
	values[Anum_journal_mac - 1] = dp_result_bytea(mac, sizeof(mac));
	tuple = heap_form_tuple(RelationGetDescr(rel), values, nulls);
	CatalogTupleInsert(rel, tuple);
	heap_freetuple(tuple);
	table_close(rel, NoLock);
}

/* Is a note ours?  Then what it adds. */
static bool
read_note(DpPrf *prf, const uint8 uid[16], const char *table, int64 scope, TupleDesc desc, HeapTuple tuple,
		  Weight *out_change, int64 *out_statements)
{
	bool		isnull[3];
	bytea	   *change = DatumGetByteaPP(heap_getattr(tuple, Anum_journal_change, desc, &isnull[0]));
	bytea	   *stored = DatumGetByteaPP(heap_getattr(tuple, Anum_journal_mac, desc, &isnull[1]));
	int64		id = DatumGetInt64(heap_getattr(tuple, Anum_journal_id, desc, &isnull[2]));
	uint8		mac[DP_PRF_OUT_LEN];

	*out_statements = DatumGetInt64(heap_getattr(tuple, Anum_journal_statements, desc, &isnull[2]));
	if (VARSIZE_ANY_EXHDR(change) != WEIGHT_LEN || VARSIZE_ANY_EXHDR(stored) != sizeof(mac))
		return false;
	memcpy(out_change->word, VARDATA_ANY(change), WEIGHT_LEN);
	note_mac(prf, uid, id, table, scope, out_change, *out_statements, mac);
	return dp_equal_ct(mac, VARDATA_ANY(stored), sizeof(mac));
}

/* Subtract the notes of a scope; false where one is not ours. */
static bool
subtract_notes(DpPrf *prf, const uint8 uid[16], DpSealedTable table, int64 scope, Snapshot snapshot, Weight *sum)
{
	Relation	rel = table_open(dp_catalog_relation("policy_journal"), AccessShareLock);
	ScanKeyData keys[2];
	NameData	name;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		ours = true;

	namestrcpy(&name, dp_sealed_tables[table].name);
	ScanKeyInit(&keys[0], Anum_journal_tbl, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&name));
	ScanKeyInit(&keys[1], Anum_journal_scope, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(scope));
	scan = systable_beginscan(rel, dp_catalog_relation("policy_journal_scope_idx"), true, snapshot, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Weight		change;
		int64		statements;

		if (read_note(prf, uid, NameStr(name), scope, RelationGetDescr(rel), tuple, &change, &statements))
			add_weight(sum, &change, true);
		else
			ours = false;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return ours;
}

/* One scope's sum into what is hashed; a sum of nothing leaves no trace. */
static void
append_scope(StringInfo message, const char *table, int64 scope, const Weight *sum)
{
	uint64		number = pg_hton64((uint64) scope);

	if (weight_is_zero(sum))
		return;
	appendBinaryStringInfo(message, table, strlen(table) + 1);
	appendBinaryStringInfo(message, (const char *) &number, sizeof(number));
	appendBinaryStringInfo(message, (const char *) sum->word, WEIGHT_LEN);
}

bool
dp_policy_state(int64 *out_statements, uint8 out_root[32])
{
	DpPrf	   *prf;
	uint8		uid[16];
	bool		ours = dp_seal_key(&prf, uid) == DP_POLICY_READY;
	Relation	rel = table_open(dp_catalog_relation("policy_journal"), AccessShareLock);
	Relation	index = index_open(dp_catalog_relation("policy_journal_scope_idx"), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(rel)));
	SysScanDesc scan = systable_beginscan_ordered(rel, index, snapshot, 0, NULL);
	StringInfoData message;
	NameData	table = {{0}};
	int64		scope = 0;
	Weight		sum = {{0}};
	HeapTuple	tuple;

	*out_statements = 0;
	initStringInfo(&message);
	while (ours && HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		bool		isnull;
		Name		next = DatumGetName(heap_getattr(tuple, Anum_journal_tbl, RelationGetDescr(rel), &isnull));
		int64		next_scope = DatumGetInt64(heap_getattr(tuple, Anum_journal_scope, RelationGetDescr(rel), &isnull));
		Weight		change = {{0}};
		int64		statements;

		if (strcmp(NameStr(*next), NameStr(table)) != 0 || next_scope != scope)
		{
			append_scope(&message, NameStr(table), scope, &sum);
			memset(&sum, 0, sizeof(sum));
			table = *next;
			scope = next_scope;
		}
		ours = read_note(prf, uid, NameStr(table), scope, RelationGetDescr(rel), tuple, &change, &statements);
		add_weight(&sum, &change, false);
		*out_statements += statements;
	}
	append_scope(&message, NameStr(table), scope, &sum);
	systable_endscan_ordered(scan);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	if (!dp_sha256((const uint8 *) message.data, message.len, out_root))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not authenticate rows of dataprotect")));
	pfree(message.data);
	return ours;
}

/* Add up the rows of a scope that are sealed; false where one is not. */
static bool
add_rows(DpPrf *prf, const uint8 uid[16], DpSealedTable table, int64 scope, Relation rel, Snapshot snapshot, Weight *sum)
{
	const DpSealedTableInfo *info = &dp_sealed_tables[table];
	ScanKeyData key[1];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		sealed = true;
	int			n_keys = 0;

	if (info->scope != NULL)
	{
		AttrNumber	column = get_attnum(RelationGetRelid(rel), info->scope);
		bool		wide = TupleDescAttr(RelationGetDescr(rel), column - 1)->atttypid == INT8OID;

		ScanKeyInit(&key[n_keys++], column, BTEqualStrategyNumber, wide ? F_INT8EQ : F_INT4EQ,
					wide ? Int64GetDatum(scope) : Int32GetDatum((int32) scope));
	}
	scan = systable_beginscan(rel, info->index != NULL ? dp_catalog_relation(info->index) : InvalidOid,
							  info->index != NULL, snapshot, n_keys, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (dp_seal_check_with(prf, uid, table, rel, tuple))
		{
			Weight		weight;

			weigh_row(prf, table, rel, tuple, &weight);
			add_weight(sum, &weight, false);
		}
		else
			sealed = false;
	}
	systable_endscan(scan);
	return sealed;
}

typedef struct Findings
{
	bool		sealed;			/* every row is */
	bool		adds_up;		/* and they are the ones that the journal tells of */
} Findings;

static DpPolicyKey
examine(DpSealedTable table, int64 scope, Findings *out)
{
	DpPrf	   *prf;
	uint8		uid[16];
	DpPolicyKey key = dp_seal_key(&prf, uid);
	Weight		sum = {{0}};
	Relation	rel;
	Snapshot	snapshot;

	out->sealed = out->adds_up = key != DP_POLICY_LOST;
	if (key != DP_POLICY_READY)
		return key;
	rel = table_open(dp_catalog_relation(dp_sealed_tables[table].name), AccessShareLock);
	snapshot = HistoricSnapshotActive() ? SnapshotSelf :
		RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(rel)));
	out->sealed = add_rows(prf, uid, table, scope, rel, snapshot, &sum);
	out->adds_up = !dp_sealed_tables[table].rooted ||
		(subtract_notes(prf, uid, table, scope, snapshot, &sum) && weight_is_zero(&sum));
	if (snapshot != SnapshotSelf)
		UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	if (unlikely(!out->sealed || !out->adds_up) && dp_seal_key_is_overtaken())
		return examine(table, scope, out);
	return key;
}

/* ---- what this backend knows ---- */

typedef struct KnownScope
{
	int64		scope;
	int64		table;
} KnownScope;

typedef struct KnownEntry
{
	KnownScope	key;
	bool		whole;
} KnownEntry;

static HTAB *known = NULL;
static uint64 known_keys = 0;
static uint64 known_changes = 0;

/*
 * Named keys are asked about under page locks.  Their rows are cached before and
 * forgotten with this answer; other rows may be read after it.
 */
static bool
is_cached(DpSealedTable table)
{
	return table == DP_SEALED_KEY;
}

static void
follow_generations(void)
{
	if (known_keys == dp_keys_generation() && known_changes == dp_keys_local_changes())
		return;
	if (InterruptHoldoffCount > 0)
		return;
	if (known != NULL)
		hash_destroy(known);
	known = NULL;
	known_keys = dp_keys_generation();
	known_changes = dp_keys_local_changes();
}

static KnownEntry *
find_known(DpSealedTable table, int64 scope)
{
	KnownScope	key = {scope, table};

	follow_generations();
	return known != NULL ? hash_search(known, &key, HASH_FIND, NULL) : NULL;
}

static void
remember(DpSealedTable table, int64 scope, bool whole)
{
	KnownScope	key = {scope, table};

	if (known == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(KnownScope);
		ctl.entrysize = sizeof(KnownEntry);
		ctl.hcxt = TopMemoryContext;
		known = hash_create("dataprotect whole tables", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	((KnownEntry *) hash_search(known, &key, HASH_ENTER, NULL))->whole = whole;
}

bool
dp_policy_is_known(DpSealedTable table, int64 scope)
{
	return find_known(table, scope) != NULL;
}

DpSealVerdict
dp_policy_whole(DpSealedTable table, int64 scope)
{
	KnownEntry *entry = is_cached(table) ? find_known(table, scope) : NULL;
	Findings	findings;
	uint64		keys;
	uint64		changes;
	bool		whole;

	if (entry != NULL)
		return entry->whole ? DP_SEAL_GOOD : DP_SEAL_BAD;
	if (InterruptHoldoffCount > 0)
		dp_keys_report_retry();
	keys = dp_keys_generation();
	changes = dp_keys_local_changes();
	if (examine(table, scope, &findings) == DP_POLICY_AWAY)
		return DP_SEAL_UNKNOWN;
	whole = findings.sealed && findings.adds_up;
	if (whole)
		dp_policy_all_clear(table, scope);
	else
		dp_policy_alarm(table, scope);
	follow_generations();
	if (is_cached(table) && keys == known_keys && changes == known_changes)
		remember(table, scope, whole);
	return whole ? DP_SEAL_GOOD : DP_SEAL_BAD;
}

/* ---- for SQL ---- */

static DpSealedTable
table_argument(FunctionCallInfo fcinfo)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	DpSealedTable table = dp_sealed_table_find(name);

	if (table == DP_N_SEALED_TABLES)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" is not sealed", name)));
	return table;
}

/*
 * Trigger, AFTER, FOR EACH ROW: notes what our own code changed.  A row that is
 * not sealed weighs nothing.
 */
Datum
dp_policy_note_sql(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	DpSealedTable table;
	Relation	rel;
	HeapTuple	before = NULL;
	HeapTuple	after = NULL;
	DpPrf	   *prf;
	uint8		uid[16];
	Weight		change = {{0}};
	Weight		weight;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || !TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a row trigger after a change", "_note_change")));
	rel = trigger->tg_relation;
	table = dp_sealed_table_find(RelationGetRelationName(rel));
	if (table == DP_N_SEALED_TABLES || !dp_own_statement() || dp_seal_key(&prf, uid) != DP_POLICY_READY)
		return PointerGetDatum(NULL);
	if (!TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		before = trigger->tg_trigtuple;
	if (!TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		after = before != NULL ? trigger->tg_newtuple : trigger->tg_trigtuple;
	if (before != NULL && dp_seal_check_with(prf, uid, table, rel, before))
	{
		weigh_row(prf, table, rel, before, &weight);
		add_weight(&change, &weight, true);
	}
	if (after != NULL && dp_seal_check_with(prf, uid, table, rel, after))
	{
		weigh_row(prf, table, rel, after, &weight);
		add_weight(&change, &weight, false);
	}
	if (!weight_is_zero(&change))
		append_note(prf, uid, table, dp_seal_scope(table, rel, after != NULL ? after : before), &change, 1);
	return PointerGetDatum(NULL);
}

static void
report_away(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the policy key cannot be fetched from its KMS"),
			 errhint("Retry when the KMS answers.")));
}

/* dataprotect._policy_whole(tbl text, scope int8) returns bool; an error where the KMS is away */
Datum
dp_policy_whole_sql(PG_FUNCTION_ARGS)
{
	DpSealVerdict verdict = dp_policy_whole(table_argument(fcinfo), PG_GETARG_INT64(1));

	if (verdict == DP_SEAL_UNKNOWN)
		report_away();
	PG_RETURN_BOOL(verdict == DP_SEAL_GOOD);
}

/* dataprotect._policy_adds_up(tbl text, scope int8) returns bool: rows that are not sealed aside */
Datum
dp_policy_adds_up_sql(PG_FUNCTION_ARGS)
{
	Findings	findings;

	if (examine(table_argument(fcinfo), PG_GETARG_INT64(1), &findings) == DP_POLICY_AWAY)
		report_away();
	PG_RETURN_BOOL(findings.adds_up);
}

/*
 * dataprotect._fold_journal(tbl text, scope int8, anew bool, since int8) returns int8
 * Put one note in the place of those of a scope that are committed: their sum, or,
 * anew, what its rows weigh now.  How many statements it stands for, those included
 * that notes under an earlier policy key stood for.
 */
Datum
dp_policy_fold_sql(PG_FUNCTION_ARGS)
{
	DpSealedTable table = table_argument(fcinfo);
	int64		scope = PG_GETARG_INT64(1);
	bool		anew = PG_GETARG_BOOL(2);
	DpPrf	   *prf;
	uint8		uid[16];
	Relation	rel = table_open(dp_catalog_relation("policy_journal"), RowExclusiveLock);
	Relation	rows = table_open(dp_catalog_relation(dp_sealed_tables[table].name), AccessShareLock);
	Snapshot	snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(rel)));
	ScanKeyData keys[2];
	NameData	name;
	SysScanDesc scan;
	HeapTuple	tuple;
	Weight		sum = {{0}};
	int64		total = PG_GETARG_INT64(3);
	bool		ours = true;

	if (!dp_own_caller())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function \"%s\" is for the extension's own use", "_fold_journal")));
	if (dp_seal_key(&prf, uid) != DP_POLICY_READY)
		report_away();
	if (anew)
		(void) add_rows(prf, uid, table, scope, rows, snapshot, &sum);
	namestrcpy(&name, dp_sealed_tables[table].name);
	ScanKeyInit(&keys[0], Anum_journal_tbl, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&name));
	ScanKeyInit(&keys[1], Anum_journal_scope, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(scope));
	scan = systable_beginscan(rel, dp_catalog_relation("policy_journal_scope_idx"), true, snapshot, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Weight		change;
		int64		statements;

		if (read_note(prf, uid, NameStr(name), scope, RelationGetDescr(rel), tuple, &change, &statements))
			total += statements;
		else
			ours = false;
		if (!anew)
			add_weight(&sum, &change, false);
		if (anew || ours)
			CatalogTupleDelete(rel, &tuple->t_self);
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	/* A note that is not ours stays in the way until an administrator has looked. */
	if (!anew && !ours)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"%s\" was changed by somebody else than extension \"%s\"", "policy_journal", "dataprotect"),
				 errhint("See dataprotect.verify_policy().")));
	append_note(prf, uid, table, scope, &sum, total + (anew ? 1 : 0));
	table_close(rows, NoLock);
	table_close(rel, NoLock);
	PG_RETURN_INT64(total);
}
