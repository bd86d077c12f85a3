/*
 * reencrypt.c
 *	  Stored values under the current version of their key, without showing them.
 *
 * Rows are found by a scan and changed by the executor's functions for single
 * rows, never by a query: nothing of the table's owner is planned.  What must run
 * all the same (expressions of indexes, CHECK constraints, triggers that are
 * enabled ALWAYS) runs as the owner, in a security-restricted operation.
 *
 * A batch waits for nobody while it holds rows that others may wait for: where the next
 * one is locked it ends before that row's block, and who calls commits and goes on
 * there.  So an application whose order of rows is another is never part of a deadlock.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/argument.h"
#include "base/compat.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "columns/preload_keys.h"
#include "columns/reseal.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dp_reencrypt_blocks);
PG_FUNCTION_INFO_V1(dp_touch_blocks);

/* ---- the table's owner ---- */

typedef struct AsOwner
{
	Oid			user;
	int			context;
	int			guc_level;
} AsOwner;

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* An error in between is undone by the abort of the (sub)transaction. */
static void
become_owner(Relation rel, AsOwner *saved)
{
	GetUserIdAndSecContext(&saved->user, &saved->context);
	saved->guc_level = NewGUCNestLevel();
	set_local("search_path",
			  psprintf("pg_catalog, %s, pg_temp",
					   quote_identifier(get_namespace_name(RelationGetNamespace(rel)))));
	/* the row says what it said before: only triggers that are ENABLE ALWAYS fire */
	set_local("session_replication_role", "replica");
	SetUserIdAndSecContext(rel->rd_rel->relowner,
						   saved->context | SECURITY_RESTRICTED_OPERATION);
}

static void
become_caller(const AsOwner *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->user, saved->context);
}

/* ---- rows ---- */

typedef struct Writer
{
	Relation	rel;
	int			n_columns;		/* that are sealed anew */
	AttrNumber *attnums;
	Oid		   *typids;
	int64	   *done;			/* values of each so far */
	DpReseal   *reseal;
	AttrNumber	source;			/* of a plain column, in whose place ... */
	AttrNumber	target;			/* ... comes this one, which a trigger fills; 0 for none */
	bool		holds_rows;		/* locked by this call */
	BlockNumber busy;			/* where the next one was locked by others; else
								 * InvalidBlockNumber */
	EState	   *estate;
	EPQState	epq;
	ResultRelInfo *result;
	TupleTableSlot *old;
	TupleTableSlot *new;
	MemoryContext row;			/* reset after each row */
} Writer;

static Bitmapset *
updated_columns(const Writer *writer)
{
	Bitmapset  *updated = NULL;

	for (int i = 0; i < writer->n_columns; i++)
		updated = bms_add_member(updated, writer->attnums[i] - FirstLowInvalidHeapAttributeNumber);
	if (writer->n_columns == 0)
		updated = bms_make_singleton(writer->source - FirstLowInvalidHeapAttributeNumber);
	return updated;
}

static void
open_writer(Writer *writer)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	EState	   *estate = CreateExecutorState();

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(writer->rel);
	rte->relkind = writer->rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	dp_init_range_table(estate, rte, updated_columns(writer));
	estate->es_output_cid = GetCurrentCommandId(true);
	estate->es_snapshot = GetActiveSnapshot();
	writer->estate = estate;
	writer->result = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->result, writer->rel, 1, NULL, 0);
	dp_init_eval_plan_qual(&writer->epq, estate);
	ExecOpenIndices(writer->result, false);
	writer->old = table_slot_create(writer->rel, NULL);
	writer->new = MakeSingleTupleTableSlot(RelationGetDescr(writer->rel), &TTSOpsVirtual);
	writer->row = AllocSetContextCreate(CurrentMemoryContext, "dataprotect reencrypt",
										ALLOCSET_DEFAULT_SIZES);
	AfterTriggerBeginQuery();
}

static void
close_writer(Writer *writer)
{
	AfterTriggerEndQuery(writer->estate);
	EvalPlanQualEnd(&writer->epq);
	ExecCloseIndices(writer->result);
	ExecDropSingleTupleTableSlot(writer->old);
	ExecDropSingleTupleTableSlot(writer->new);
	ExecResetTupleTable(writer->estate->es_tupleTable, false);
	FreeExecutorState(writer->estate);
	MemoryContextDelete(writer->row);
}

/* The locked row once more, without what it holds of dropped columns. */
static void
store_copy(Writer *writer)
{
	TupleDesc	desc = RelationGetDescr(writer->rel);
	int			i;

	slot_getallattrs(writer->old);
	ExecClearTuple(writer->new);
	for (i = 0; i < desc->natts; i++)
	{
		writer->new->tts_values[i] = writer->old->tts_values[i];
		writer->new->tts_isnull[i] = writer->old->tts_isnull[i] || TupleDescAttr(desc, i)->attisdropped;
	}
	ExecStoreVirtualTuple(writer->new);
}

static void
write_row(Writer *writer)
{
	ExecSimpleRelationUpdate(writer->result, writer->estate, &writer->epq, writer->old, writer->new);
	ExecClearTuple(writer->old);
	ResetPerTupleExprContext(writer->estate);
}

static bool
lock_row(Writer *writer, TupleTableSlot *found)
{
	TM_FailureData failure;
	TM_Result	result = table_tuple_lock(writer->rel, &found->tts_tid, GetActiveSnapshot(), writer->old,
										  GetCurrentCommandId(false), LockTupleNoKeyExclusive,
										  writer->holds_rows ? LockWaitSkip : LockWaitBlock, 0, &failure);

	if (result == TM_WouldBlock)
		writer->busy = ItemPointerGetBlockNumber(&found->tts_tid);
	writer->holds_rows |= result == TM_Ok;
	return result == TM_Ok;
}

static bool
wants_reseal(Writer *writer, TupleTableSlot *slot)
{
	for (int i = 0; i < writer->n_columns; i++)
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, writer->attnums[i], &isnull);

		if (!isnull && dp_reseal_wants(writer->reseal, writer->typids[i], value))
			return true;
	}
	return false;
}

/* Change a row that has something to bring over; one that moves at this moment is left alone. */
static void
reencrypt_row(Writer *writer, TupleTableSlot *found)
{
	bool		changed = false;

	if (!wants_reseal(writer, found) || !lock_row(writer, found))
		return;
	store_copy(writer);
	for (int i = 0; i < writer->n_columns; i++)
	{
		int			place = writer->attnums[i] - 1;
		int64		before = dp_reseal_count(writer->reseal);

		if (writer->new->tts_isnull[place])
			continue;
		changed |= dp_reseal_value(writer->reseal, writer->typids[i], writer->new->tts_values[place],
								   &writer->new->tts_values[place]);
		writer->done[i] += dp_reseal_count(writer->reseal) - before;
	}
	if (changed)
		write_row(writer);
}

/* Has it no sealed value where it has a plain one, or anything of a dropped column? */
static bool
wants_touch(Writer *writer, TupleTableSlot *slot)
{
	TupleDesc	desc = RelationGetDescr(writer->rel);
	bool		wants = false;

	slot_getallattrs(slot);
	if (writer->target > 0)
		wants = slot->tts_isnull[writer->target - 1] && !slot->tts_isnull[writer->source - 1];
	for (int i = 0; i < desc->natts && !wants; i++)
		wants = TupleDescAttr(desc, i)->attisdropped && !slot->tts_isnull[i];
	return wants;
}

/* The table's triggers do the rest. */
static int
touch_row(Writer *writer, TupleTableSlot *found)
{
	if (!wants_touch(writer, found) || !lock_row(writer, found) || !wants_touch(writer, writer->old))
		return 0;
	store_copy(writer);
	write_row(writer);
	return 1;
}

/* How many rows were only touched. */
static int64
write_rows(Writer *writer, BlockNumber first, BlockNumber end)
{
	TupleTableSlot *slot = table_slot_create(writer->rel, NULL);
	TableScanDesc scan;
	ItemPointerData from;
	ItemPointerData to;
	int64		touched = 0;

	ItemPointerSet(&from, first, FirstOffsetNumber);
	ItemPointerSet(&to, end - 1, MaxOffsetNumber);
	scan = table_beginscan_tidrange(writer->rel, GetActiveSnapshot(), &from, &to);
	while (writer->busy == InvalidBlockNumber && table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(writer->row);

		CHECK_FOR_INTERRUPTS();
		if (writer->reseal != NULL)
			reencrypt_row(writer, slot);
		else
			touched += touch_row(writer, slot);
		MemoryContextSwitchTo(old);
		MemoryContextReset(writer->row);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return touched;
}

/* A table that the caller's role owns, or shares the rights of. */
static void
open_table(Writer *writer, Oid relid)
{
	writer->rel = try_relation_open(relid, RowExclusiveLock);
	if (writer->rel == NULL || writer->rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("only tables and partitions can be re-encrypted")));
	if (!has_privs_of_role(GetUserId(), writer->rel->rd_rel->relowner))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(writer->rel));
	if (writer->rel->rd_tableam->scan_set_tidrange == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" cannot be scanned by ranges of blocks",
						RelationGetRelationName(writer->rel)),
				 errdetail("Its access method does not support it.")));
}

static void
open_columns(Writer *writer, Oid relid, ArrayType *columns)
{
	Datum	   *names;
	bool	   *nulls;

	open_table(writer, relid);
	deconstruct_array(columns, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &names, &nulls, &writer->n_columns);
	writer->attnums = palloc(sizeof(AttrNumber) * (writer->n_columns + 1));
	writer->typids = palloc(sizeof(Oid) * (writer->n_columns + 1));
	writer->done = palloc0(sizeof(int64) * (writer->n_columns + 1));
	for (int i = 0; i < writer->n_columns; i++)
	{
		AttrNumber	attnum = nulls[i] ? InvalidAttrNumber : get_attnum(relid, NameStr(*DatumGetName(names[i])));

		if (attnum > 0)
			writer->typids[i] = TupleDescAttr(RelationGetDescr(writer->rel), attnum - 1)->atttypid;
		if (attnum <= 0 || !dp_contains_encrypted_type(writer->typids[i]))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("table \"%s\" has no protected column \"%s\"",
							RelationGetRelationName(writer->rel),
							nulls[i] ? "" : NameStr(*DatumGetName(names[i])))));
		writer->attnums[i] = attnum;
	}
}

/*
 * Rows of blocks [first, end), as the table's owner: columns sealed anew, or, where
 * there are none, rows touched, whose number is returned.  *out_next: where to go on.
 */
static int64
write_blocks(Writer *writer, int64 first, int64 end, int64 *out_next)
{
	int64		touched = 0;
	AsOwner		saved;

	writer->busy = InvalidBlockNumber;
	*out_next = end;
	end = Min(end, (int64) RelationGetNumberOfBlocks(writer->rel));
	if (first >= 0 && first < end)
	{
		dp_preload_keys_relation(RelationGetRelid(writer->rel));
		become_owner(writer->rel, &saved);
		PushActiveSnapshot(GetLatestSnapshot());
		open_writer(writer);
		if (writer->n_columns > 0)
			writer->reseal = dp_reseal_begin();
		touched = write_rows(writer, (BlockNumber) first, (BlockNumber) end);
		close_writer(writer);
		PopActiveSnapshot();
		become_caller(&saved);
	}
	if (writer->busy != InvalidBlockNumber)
		*out_next = writer->busy;
	relation_close(writer->rel, NoLock);
	CommandCounterIncrement();
	return touched;
}

/*
 * dataprotect._reencrypt_blocks(rel regclass, cols name[], first bigint, "end" bigint)
 *		returns bigint[]
 * Seal the values of columns in a table's blocks [first, end) under their keys'
 * current versions; how many values there were of each, and the block to go on with.
 */
Datum
dp_reencrypt_blocks(PG_FUNCTION_ARGS)
{
	Writer		writer = {NULL};
	Datum	   *done;
	int64		next;

	open_columns(&writer, PG_GETARG_OID(0), PG_GETARG_ARRAYTYPE_P(1));
	(void) write_blocks(&writer, PG_GETARG_INT64(2), writer.n_columns > 0 ? PG_GETARG_INT64(3) : 0, &next);
	done = palloc(sizeof(Datum) * (writer.n_columns + 1));
	for (int i = 0; i < writer.n_columns; i++)
		done[i] = Int64GetDatum(writer.done[i]);
	done[writer.n_columns] = Int64GetDatum(next);
	PG_RETURN_ARRAYTYPE_P(construct_array(done, writer.n_columns + 1, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/*
 * dataprotect._touch_blocks(rel regclass, source name, target name, first bigint, "end" bigint)
 *		returns bigint[]
 * Write rows of blocks [first, end) anew: where target is NULL and source is not,
 * and where there are values of dropped columns; how many, and the block to go on with.
 */
Datum
dp_touch_blocks(PG_FUNCTION_ARGS)
{
	Writer		writer = {NULL};
	Oid			relid = PG_GETARG_OID(0);
	const char *target = NameStr(*PG_GETARG_NAME(2));
	Datum		done[2];
	int64		next;

	open_table(&writer, relid);
	if (target[0] != '\0')
	{
		writer.source = get_attnum(relid, NameStr(*PG_GETARG_NAME(1)));
		writer.target = get_attnum(relid, target);
		dp_argument_column(writer.rel, writer.source);
		dp_argument_column(writer.rel, writer.target);
	}
	done[0] = Int64GetDatum(write_blocks(&writer, PG_GETARG_INT64(3), PG_GETARG_INT64(4), &next));
	done[1] = Int64GetDatum(next);
	PG_RETURN_ARRAYTYPE_P(construct_array(done, 2, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
