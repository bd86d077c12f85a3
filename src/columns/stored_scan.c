/*
 * stored_scan.c
 *	  The protected values that a table stores; see stored_scan.h.
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "base/compat.h"
#include "base/progress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "columns/stored_scan.h"
#include "common/pg_prng.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "types/types.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/sampling.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

/* ---- one value ---- */

static void
visit_array(Oid element, Datum value, DpStoredVisit visit, void *context)
{
	int16		len;
	bool		byval;
	char		align;
	Datum	   *values;
	bool	   *nulls;
	int			n;
	int			i;

	get_typlenbyvalalign(element, &len, &byval, &align);
	deconstruct_array(DatumGetArrayTypeP(value), element, len, byval, align, &values, &nulls, &n);
	for (i = 0; i < n; i++)
	{
		if (!nulls[i])
			dp_stored_visit(element, values[i], visit, context);
	}
}

static void
visit_row(Datum value, DpStoredVisit visit, void *context)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(HeapTupleHeaderGetTypeId(header),
												   HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {0};
	int			i;

	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	tuple.t_data = header;
	for (i = 0; i < desc->natts; i++)
	{
		bool		isnull;
		Datum		field;

		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		field = heap_getattr(&tuple, i + 1, desc, &isnull);
		if (!isnull)
			dp_stored_visit(TupleDescAttr(desc, i)->atttypid, field, visit, context);
	}
}

void
dp_stored_visit(Oid typid, Datum value, DpStoredVisit visit, void *context)
{
	Oid			base;

	if (typid < FirstNormalObjectId)
		return;
	check_stack_depth();
	if (dp_type_is_encrypted(typid))
	{
		visit(dp_typeinfo_get(typid), (struct varlena *) PG_DETOAST_DATUM_PACKED(value), context);
		return;
	}
	base = getBaseType(typid);
	if (base != typid)
		dp_stored_visit(base, value, visit, context);
	else if (OidIsValid(get_element_type(typid)))
		visit_array(get_element_type(typid), value, visit, context);
	else if (get_typtype(typid) == TYPTYPE_COMPOSITE)
		visit_row(value, visit, context);
}

/* ---- a column ---- */

Relation
dp_stored_open(Oid relid, const char *column, AttrNumber *out_attnum)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);

	if (rel == NULL)
		return NULL;
	*out_attnum = get_attnum(relid, column);
	if ((rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_MATVIEW) &&
		*out_attnum > 0 && (rel->rd_rel->relpersistence != RELPERSISTENCE_TEMP || rel->rd_islocaltemp))
		return rel;
	relation_close(rel, AccessShareLock);
	return NULL;
}

typedef struct Visitor
{
	const DpStoredColumn *columns;
	int			n_columns;
	DpStoredVisit visit;
	MemoryContext row;			/* reset after each row */
} Visitor;

static void
visit_slot(Visitor *visitor, TupleTableSlot *slot)
{
	MemoryContext old;

	CHECK_FOR_INTERRUPTS();
	old = MemoryContextSwitchTo(visitor->row);
	for (int i = 0; i < visitor->n_columns; i++)
	{
		AttrNumber	attnum = visitor->columns[i].attnum;
		bool		isnull;
		Datum		value = slot_getattr(slot, attnum, &isnull);

		if (!isnull)
			dp_stored_visit(TupleDescAttr(slot->tts_tupleDescriptor, attnum - 1)->atttypid, value,
							visitor->visit, visitor->columns[i].context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(visitor->row);
}

static void
scan_all(Relation rel, Snapshot snapshot, TupleTableSlot *slot, Visitor *visitor)
{
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	BlockNumber block = InvalidBlockNumber;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		visit_slot(visitor, slot);
		if (ItemPointerGetBlockNumberNoCheck(&slot->tts_tid) != block)
			dp_progress_advance(DP_PROGRESS_VERIFY, 1);
		block = ItemPointerGetBlockNumberNoCheck(&slot->tts_tid);
	}
	table_endscan(scan);
}

static void
scan_sample(Relation rel, Snapshot snapshot, TupleTableSlot *slot, Visitor *visitor, double sample)
{
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);
	TableScanDesc scan = NULL;
	BlockSamplerData sampler;

	(void) BlockSampler_Init(&sampler, blocks, (int) Min(ceil(sample * blocks), INT_MAX),
							 pg_prng_uint32(&pg_global_prng_state));
	while (BlockSampler_HasMore(&sampler))
	{
		BlockNumber block = BlockSampler_Next(&sampler);
		ItemPointerData first;
		ItemPointerData last;

		ItemPointerSet(&first, block, FirstOffsetNumber);
		ItemPointerSet(&last, block, MaxOffsetNumber);
		if (scan == NULL)
			scan = table_beginscan_tidrange(rel, snapshot, &first, &last);
		else
			table_rescan_tidrange(scan, &first, &last);
		while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, slot))
			visit_slot(visitor, slot);
		dp_progress_advance(DP_PROGRESS_VERIFY, 1);
	}
	if (scan != NULL)
		table_endscan(scan);
}

void
dp_stored_scan(Relation rel, const DpStoredColumn *columns, int n_columns, double sample,
			   DpStoredVisit visit)
{
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	Visitor		visitor = {columns, n_columns, visit, NULL};

	visitor.row = AllocSetContextCreate(CurrentMemoryContext, "dataprotect stored values",
										ALLOCSET_DEFAULT_SIZES);
	if (sample < 1 && rel->rd_tableam->scan_set_tidrange != NULL)
		scan_sample(rel, snapshot, slot, &visitor, sample);
	else
		scan_all(rel, snapshot, slot, &visitor);
	MemoryContextDelete(visitor.row);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
}
