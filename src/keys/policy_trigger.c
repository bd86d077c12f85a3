/*
 * policy_trigger.c
 *	  Sealing rows as our own code writes them, and asking for their seals in SQL.
 *
 * A row that anybody else writes keeps the seal that came with it, which does not
 * fit: so a restored dump does, in the database that its keys are wrapped for.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "base/report.h"
#include "base/statement.h"
#include "base/worker.h"
#include "catalog/pg_proc.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/catalog.h"
#include "keys/keys.h"
#include "keys/keys_internal.h"
#include "keys/own_function.h"
#include "keys/policy_root.h"
#include "miscadmin.h"
#include "rewrite/prs2lock.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dp_policy_seal_sql);
PG_FUNCTION_INFO_V1(dp_policy_sealed_sql);
PG_FUNCTION_INFO_V1(dp_policy_reseal_sql);
PG_FUNCTION_INFO_V1(dp_policy_tables_sql);

#define ROUND_NAPTIME	60000	/* ms */
#define MAX_TRIGGERS	16		/* of a table of ours */

/* Rows that are not sealed are sealed as well: see _reseal_rows(). */
static bool resealing = false;

/*
 * Does nothing but our own hang on the table?  A trigger could change the row
 * before it is sealed, a rule add rows to our statement.
 *
 * What the relation cache says of triggers goes with the next look at a catalog,
 * where another session has changed a row of the table meanwhile.
 */
static bool
is_untouched(Relation rel)
{
	Oid			functions[MAX_TRIGGERS];
	int			n = 0;

	if (rel->rd_rules != NULL)
		return false;
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgisinternal)
			continue;
		if (n == MAX_TRIGGERS)
			return false;
		functions[n++] = trigger->tgfoid;
	}
	for (int i = 0; i < n; i++)
	{
		if (!dp_catalog_is_member(ProcedureRelationId, functions[i]))
			return false;
	}
	return true;
}

/* A row that takes something away may do so while the KMS is away; it counts all the same. */
static bool
takes_away(DpSealedTable table, Relation rel, HeapTuple row)
{
	const char *column = table == DP_SEALED_ACCESS_GRANT ? "revoked_at" :
		table == DP_SEALED_INSTANCE ? "lockdown_since" : "state";
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), column);
	bool		isnull;
	Datum		value;

	if (table == DP_SEALED_SUSPENDED_SUBJECT || table == DP_SEALED_TOMBSTONE)
		return true;
	if (table != DP_SEALED_ACCESS_GRANT && table != DP_SEALED_INSTANCE && table != DP_SEALED_KEY &&
		table != DP_SEALED_KEY_VERSION)
		return false;
	value = heap_getattr(row, attnum, RelationGetDescr(rel), &isnull);
	if (strcmp(column, "state") != 0)
		return !isnull;
	return !isnull && (DatumGetChar(value) == DP_KEY_SUSPENDED || DatumGetChar(value) == DP_KEY_DESTROYED);
}

static void
report_key(DpPolicyKey key)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 key == DP_POLICY_AWAY ? errmsg("could not fetch the policy key from KMS") :
			 errmsg("the policy key of this database is gone"),
			 errdetail("What decides about protected data is sealed under it."),
			 key == DP_POLICY_AWAY ? errhint("Retry when the KMS answers.") :
			 errhint("Restore the key tables from a backup.")));
}

static HeapTuple
set_seal(Relation rel, HeapTuple row, bytea *seal)
{
	int			column = get_attnum(RelationGetRelid(rel), "seal");
	Datum		value = PointerGetDatum(seal);
	bool		isnull = seal == NULL;

	return heap_modify_tuple_by_cols(row, RelationGetDescr(rel), 1, &column, &value, &isnull);
}

/* Trigger, BEFORE INSERT OR UPDATE, FOR EACH ROW. */
Datum
dp_policy_seal_sql(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	before = NULL;
	HeapTuple	row;
	Relation	rel;
	DpSealedTable table;
	DpPolicyKey key;
	DpPrf	   *prf;
	uint8		uid[16];

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a row trigger before a change", "_seal_row")));
	rel = trigger->tg_relation;
	row = trigger->tg_trigtuple;
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		before = row;
		row = trigger->tg_newtuple;
	}
	table = dp_sealed_table_find(RelationGetRelationName(rel));
	if (table == DP_N_SEALED_TABLES || !dp_own_statement() || GetUserId() != rel->rd_rel->relowner || !is_untouched(rel))
		return PointerGetDatum(row);
	if (before != NULL && !resealing && dp_seal_same(table, rel, before, row))
		return PointerGetDatum(row);
	key = dp_seal_key(&prf, uid);
	if (key == DP_POLICY_NONE || (key != DP_POLICY_READY && takes_away(table, rel, row)))
		return PointerGetDatum(set_seal(rel, row, NULL));
	if (key != DP_POLICY_READY)
		report_key(key);
	/* What somebody else wrote is not made ours by a change of ours. */
	if (before != NULL && !resealing && !dp_seal_check_with(prf, uid, table, rel, before))
		return PointerGetDatum(row);
	return PointerGetDatum(set_seal(rel, row, dp_seal_make(prf, uid, table, rel, row)));
}

/* dataprotect._sealed(anyelement) returns bool: a row of a sealed table, as its seal says */
Datum
dp_policy_sealed_sql(PG_FUNCTION_ARGS)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid			relid = OidIsValid(type) ? get_typ_typrelid(type) : InvalidOid;
	char	   *name = OidIsValid(relid) ? get_rel_name(relid) : NULL;
	DpSealedTable table = name != NULL ? dp_sealed_table_find(name) : DP_N_SEALED_TABLES;
	HeapTupleHeader header;
	HeapTupleData row;
	Relation	rel;
	DpSealVerdict verdict;

	if (table == DP_N_SEALED_TABLES || relid != dp_catalog_relation(name))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the value is no row of a sealed table")));
	header = PG_GETARG_HEAPTUPLEHEADER(0);
	if (HeapTupleHeaderGetTypeId(header) != type)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("the value is no row of a sealed table")));
	row.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&row.t_self);
	row.t_tableOid = relid;
	row.t_data = header;
	rel = table_open(relid, AccessShareLock);
	verdict = dp_seal_check(table, rel, &row);
	table_close(rel, AccessShareLock);
	if (verdict == DP_SEAL_UNKNOWN)
		report_key(DP_POLICY_AWAY);
	PG_RETURN_BOOL(verdict == DP_SEAL_GOOD);
}

/*
 * dataprotect._reseal_rows(tbl text, mine bool, only_new bool) returns int8
 * Seal the rows of a table that are not sealed; mine: only those that this
 * transaction wrote, otherwise those that nobody has locked; only_new: only
 * those that have no seal at all.
 */
Datum
dp_policy_reseal_sql(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		mine = PG_GETARG_BOOL(1);
	const char *which = PG_GETARG_BOOL(2) ? "u.seal IS NULL" : "NOT dataprotect._sealed(u)";
	uint64		n = 0;
	char	   *sql;
	int			level;

	if (!dp_own_caller() || dp_sealed_table_find(name) == DP_N_SEALED_TABLES)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function \"%s\" is for the extension's own use", "_reseal_rows")));
	sql = mine ? psprintf("UPDATE dataprotect.%s u SET seal = NULL WHERE dataprotect._is_mine(u.xmin) AND %s",
						  quote_identifier(name), which) :
		psprintf("UPDATE dataprotect.%s t SET seal = NULL WHERE t.ctid = ANY (ARRAY("
				 "SELECT u.ctid FROM dataprotect.%s u WHERE %s FOR UPDATE SKIP LOCKED))",
				 quote_identifier(name), quote_identifier(name), which);
	level = dp_own_begin();
	resealing = true;
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT || SPI_execute(sql, false, 0) != SPI_OK_UPDATE)
			dp_report_altered("could not seal the rows of a table");
		n = SPI_processed;
		SPI_finish();
	}
	PG_FINALLY();
	{
		resealing = false;
		dp_own_end(level);
	}
	PG_END_TRY();
	PG_RETURN_INT64((int64) n);
}

PG_FUNCTION_INFO_V1(dp_policy_is_mine_sql);

/* dataprotect._is_mine(xid) returns bool: is it this transaction, or a part of it? */
Datum
dp_policy_is_mine_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(TransactionIdIsCurrentTransactionId(PG_GETARG_TRANSACTIONID(0)));
}

/* Worker: look at what nobody has asked for. */
static bool
watch_policy(void)
{
	DpPrf	   *prf;
	uint8		uid[16];
	int			level;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	level = dp_own_begin();
	if (dp_seal_key(&prf, uid) == DP_POLICY_READY &&
		(SPI_connect() != SPI_OK_CONNECT ||
		 SPI_execute("SELECT dataprotect._watch_policy()", false, 0) != SPI_OK_SELECT ||
		 SPI_finish() != SPI_OK_FINISH))
		dp_report_altered("could not look at the sealed tables");
	dp_own_end(level);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return false;
}

void
dp_policy_trigger_init(void)
{
	dp_worker_register("policy", watch_policy, ROUND_NAPTIME);
}

/* dataprotect._sealed_tables() returns setof (tbl text, scope_column text, rooted bool) */
Datum
dp_policy_tables_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < DP_N_SEALED_TABLES; i++)
	{
		const DpSealedTableInfo *info = &dp_sealed_tables[i];
		Datum		values[3];
		bool		nulls[3] = {false, info->scope == NULL, false};

		values[0] = CStringGetTextDatum(info->name);
		values[1] = info->scope != NULL ? CStringGetTextDatum(info->scope) : (Datum) 0;
		values[2] = BoolGetDatum(info->rooted);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
