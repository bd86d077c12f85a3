/*
 * store.c
 *	  Rows into the partitions of dataprotect.audit_batch.
 *
 * INSERT ... SELECT by SPI costs the machine more than all else that becomes of
 * a record.  Rows are routed one by one, and written together while they go to
 * the same partition.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "audit/chain.h"
#include "audit/store.h"
#include "base/compat.h"
#include "base/report.h"
#include "catalog/namespace.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#define ROWS_AT_ONCE	16

struct DpStore
{
	Relation	table;
	EState	   *estate;
	ModifyTableState *state;
	ResultRelInfo *root;
	PartitionTupleRouting *routing;
	ResultRelInfo *partition;	/* of the rows below */
	MemoryContext context;		/* of their values */
	int			n;
	TupleTableSlot *rows[ROWS_AT_ONCE]; /* as the parent has its columns */
	TupleTableSlot *put[ROWS_AT_ONCE];	/* as the partition has them */
};

DpStore *
dp_store_begin(void)
{
	DpStore    *store = palloc0(sizeof(DpStore));

	store->context = AllocSetContextCreate(CurrentMemoryContext, "audit rows",
										   ALLOCSET_DEFAULT_SIZES);
	store->table = table_open(get_relname_relid("audit_batch", get_namespace_oid("dataprotect", false)),
							  RowExclusiveLock);
	if (RelationGetDescr(store->table)->natts != DP_BATCH_N_COLUMNS)
		dp_report_altered("table \"dataprotect.audit_batch\" does not have its columns");
	store->estate = CreateExecutorState();
	store->root = makeNode(ResultRelInfo);
	InitResultRelInfo(store->root, store->table, 0, NULL, 0);
	store->state = makeNode(ModifyTableState);
	store->state->ps.state = store->estate;
	store->state->operation = CMD_INSERT;
	store->state->mt_nrels = 1;
	store->state->resultRelInfo = store->root;
	store->state->rootResultRelInfo = store->root;
	store->routing = ExecSetupPartitionTupleRouting(store->estate, store->table);
	return store;
}

MemoryContext
dp_store_context(DpStore *store)
{
	return store->context;
}

TupleTableSlot *
dp_store_next(DpStore *store)
{
	if (store->rows[store->n] == NULL)
		store->rows[store->n] = ExecAllocTableSlot(&store->estate->es_tupleTable,
												   RelationGetDescr(store->table), &TTSOpsHeapTuple);
	return ExecClearTuple(store->rows[store->n]);
}

static void
write_rows(DpStore *store)
{
	ResultRelInfo *partition = store->partition;
	MemoryContext old_context;

	if (store->n == 0)
		return;
	old_context = MemoryContextSwitchTo(store->context);
	table_multi_insert(partition->ri_RelationDesc, store->put, store->n,
					   GetCurrentCommandId(true), 0, NULL);
	MemoryContextSwitchTo(old_context);
	for (int i = 0; i < store->n && partition->ri_NumIndices > 0; i++)
	{
		(void) dp_insert_index_tuples(partition, store->put[i], store->estate);
		ResetPerTupleExprContext(store->estate);
	}
	store->n = 0;
}

/* The row as its partition has its columns. */
static TupleTableSlot *
convert_row(DpStore *store, ResultRelInfo *partition, TupleTableSlot *row)
{
	TupleConversionMap *map = dp_root_to_partition_map(partition, store->estate);

	if (map == NULL)
		return row;
	return execute_attr_map_slot(map->attrMap, row,
								 ExecAllocTableSlot(&store->estate->es_tupleTable,
													RelationGetDescr(partition->ri_RelationDesc),
													&TTSOpsHeapTuple));
}

void
dp_store_put(DpStore *store)
{
	TupleTableSlot *row = ExecStoreVirtualTuple(store->rows[store->n]);
	ResultRelInfo *partition;

	partition = ExecFindPartition(store->state, store->root, store->routing, row, store->estate);
	ResetPerTupleExprContext(store->estate);
	if (partition != store->partition && store->n > 0)
	{
		int			last = store->n;

		/* The row keeps its slot's values: it becomes the first of its own lot. */
		write_rows(store);
		store->rows[last] = store->rows[0];
		store->rows[0] = row;
	}
	store->partition = partition;
	store->put[store->n++] = convert_row(store, partition, row);
	if (store->n == ROWS_AT_ONCE)
		write_rows(store);
}

void
dp_store_end(DpStore *store)
{
	write_rows(store);
	ExecCleanupTupleRouting(store->state, store->routing);
	ExecResetTupleTable(store->estate->es_tupleTable, false);
	FreeExecutorState(store->estate);
	table_close(store->table, NoLock);
	MemoryContextDelete(store->context);
	pfree(store);
}
