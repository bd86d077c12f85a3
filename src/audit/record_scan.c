/*
 * record_scan.c
 *	  Executing reads of dataprotect.audit_record; see record_scan.h.
 *
 * Rows of audit_batch come by one of three indexes of each partition: by number,
 * all partitions merged, where an order is wanted or nothing better is known; by
 * time; by what results and ends refer to.  A batch that may have what is asked for
 * is unpacked, and its records are gone through.
 *
 * Whoever reads has been checked by the executor for audit_record; audit_batch is
 * read here for everybody.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "audit/chain.h"
#include "audit/collector.h"
#include "audit/log_batch.h"
#include "audit/record_filter.h"
#include "audit/record_scan.h"
#include "base/compat.h"
#include "base/report.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/geo_decls.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/uuid.h"

typedef enum Way
{
	WAY_SEQ,
	WAY_AT,
	WAY_REFS
} Way;

/* One partition's rows. */
typedef struct Source
{
	Relation	partition;
	Relation	index;			/* WAY_SEQ */
	Oid			index_id;
	SysScanDesc scan;
	BOX			box;			/* WAY_REFS: what is looked for */
	bool		has_row;
	Datum		values[DP_BATCH_N_COLUMNS];
	bool		nulls[DP_BATCH_N_COLUMNS];
} Source;

typedef struct RecordScan
{
	CustomScanState css;
	DpRecordOrder order;
	Way			way;
	int			n_filters;
	int		   *kinds;
	ExprState **exprs;
	bool		needed[DP_AUDIT_N_COLUMNS];

	/* of this run */
	bool		started;
	bool		is_empty;		/* a filter is NULL: nothing fits */
	DpRecordFilters filters;
	int			n_sources;
	Source	   *sources;
	int			current;		/* that the batch came from, or is being read */
	DpLogBatch *batch;			/* pinned; NULL: none */
	int			position;		/* in it: of the next record, or of the next in refs */
	int			last;			/* after the last one */
	bool		fits[DP_PACKED_MAX];	/* its shapes */
	uint64		n_seen;			/* batches that were looked at, for EXPLAIN */
	uint64		n_unpacked;
	MemoryContext filters_context;	/* of the filters' values */
	MemoryContext scratch;		/* of a look at a row of audit_batch */
} RecordScan;

/* The values of the filters, in memory that lasts until the next run. */
static void
read_filters(RecordScan *scan)
{
	ExprContext *context = scan->css.ss.ps.ps_ExprContext;

	MemoryContextReset(scan->filters_context);
	dp_filters_clear(&scan->filters);
	scan->is_empty = false;
	for (int i = 0; i < scan->n_filters; i++)
	{
		bool		isnull;
		Datum		value = ExecEvalExprSwitchContext(scan->exprs[i], context, &isnull);
		MemoryContext old = MemoryContextSwitchTo(scan->filters_context);
		int			kind = scan->kinds[i];

		if (isnull)
			scan->is_empty = true;
		else if (kind == DP_FILTER_ROLE || kind == DP_FILTER_SESSION_ROLE || kind == DP_FILTER_KEY || kind == DP_FILTER_SUBJECTS)
			dp_filters_set(&scan->filters, kind, PointerGetDatum(PG_DETOAST_DATUM_COPY(value)));
		else
			dp_filters_set(&scan->filters, kind, kind == DP_FILTER_INSTANCE ? datumCopy(value, false, UUID_LEN) : value);
		MemoryContextSwitchTo(old);
	}
	/* Which batches are left out tells of whom they are. */
	if (scan->filters.is_set[DP_FILTER_SUBJECTS])
		dp_audit_require_auditor();
}

static bool
wants_refs(const RecordScan *scan)
{
	return scan->filters.is_set[DP_FILTER_REF_MAX] && (scan->filters.is_set[DP_FILTER_REF_MIN] || scan->filters.is_set[DP_FILTER_END_MIN]);
}

static void
choose_way(RecordScan *scan)
{
	if (scan->order != DP_ORDER_NONE)
		scan->way = WAY_SEQ;
	else if (wants_refs(scan))
		scan->way = WAY_REFS;
	else if (scan->filters.is_set[DP_FILTER_AT_MIN] && !scan->filters.is_set[DP_FILTER_SEQ_MIN])
		scan->way = WAY_AT;
	else
		scan->way = WAY_SEQ;
}

/* Begin to read a partition. */
static void
begin_source(RecordScan *scan, Source *source)
{
	Snapshot	snapshot = scan->css.ss.ps.state->es_snapshot;
	ScanKeyData keys[2];
	int			n_keys = 1;
	int64		max;

	if (scan->way == WAY_SEQ)
	{
		source->index_id = dp_log_index(source->partition, DP_BATCH_SEQ_TO);
		if (!OidIsValid(source->index_id))
			dp_report_altered("a partition of the audit log has lost its index");
		source->index = index_open(source->index_id, AccessShareLock);
		ScanKeyInit(&keys[0], DP_BATCH_SEQ_TO + 1, BTGreaterEqualStrategyNumber, F_INT8GE,
					scan->filters.is_set[DP_FILTER_SEQ_MIN] ? scan->filters.values[DP_FILTER_SEQ_MIN] : Int64GetDatum(PG_INT64_MIN));
		if (scan->filters.is_set[DP_FILTER_SEQ_MAX])
		{
			/* A batch that has it ends no further than this. */
			max = dp_filters_int(&scan->filters, DP_FILTER_SEQ_MAX);
			max = max < PG_INT64_MAX - DP_PACKED_MAX ? max + DP_PACKED_MAX : PG_INT64_MAX;
			ScanKeyInit(&keys[n_keys++], DP_BATCH_SEQ_TO + 1, BTLessEqualStrategyNumber, F_INT8LE, Int64GetDatum(max));
		}
		source->scan = systable_beginscan_ordered(source->partition, source->index, snapshot, n_keys, keys);
		return;
	}
	if (scan->way == WAY_AT)
	{
		source->index_id = dp_log_index(source->partition, DP_BATCH_AT_TO);
		ScanKeyInit(&keys[0], DP_BATCH_AT_TO + 1, BTGreaterEqualStrategyNumber, F_TIMESTAMPTZ_GE, scan->filters.values[DP_FILTER_AT_MIN]);
	}
	else
	{
		source->index_id = dp_log_index(source->partition, DP_BATCH_REFS);
		memset(&source->box, 0, sizeof(BOX));
		source->box.low.x = (float8) dp_filters_int(&scan->filters, scan->filters.is_set[DP_FILTER_REF_MIN] ? DP_FILTER_REF_MIN : DP_FILTER_END_MIN);
		source->box.low.x = Min(source->box.low.x, (float8) dp_filters_int(&scan->filters, DP_FILTER_REF_MAX));
		source->box.high.x = (float8) dp_filters_int(&scan->filters, DP_FILTER_REF_MAX);
		ScanKeyInit(&keys[0], DP_BATCH_REFS + 1, RTOverlapStrategyNumber, F_BOX_OVERLAP, BoxPGetDatum(&source->box));
	}
	source->scan = systable_beginscan(source->partition, source->index_id, OidIsValid(source->index_id), snapshot, n_keys, keys);
}

static void
end_source(RecordScan *scan, Source *source)
{
	if (source->scan == NULL)
		return;
	if (scan->way == WAY_SEQ)
	{
		systable_endscan_ordered(source->scan);
		index_close(source->index, NoLock);
	}
	else
		systable_endscan(source->scan);
	source->scan = NULL;
	source->has_row = false;
}

static bool
fits_batch(const RecordScan *scan, const Source *source)
{
	MemoryContext old = MemoryContextSwitchTo(scan->scratch);
	bool		fits = dp_filters_fit_row(&scan->filters, source->values, source->nulls);

	MemoryContextSwitchTo(old);
	MemoryContextReset(scan->scratch);
	return fits;
}

/* The partition's next row that could; false at its end. */
static bool
advance(RecordScan *scan, Source *source)
{
	HeapTuple	tuple;

	source->has_row = false;
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		tuple = scan->way != WAY_SEQ ? systable_getnext(source->scan) :
			systable_getnext_ordered(source->scan, scan->order == DP_ORDER_DOWN ? BackwardScanDirection : ForwardScanDirection);
		if (!HeapTupleIsValid(tuple))
			return false;
		heap_deform_tuple(tuple, RelationGetDescr(source->partition), source->values, source->nulls);
		scan->n_seen++;
		if (!fits_batch(scan, source))
			continue;
		source->has_row = true;
		return true;
	}
}

/* The source whose row comes next by number; -1: none has one. */
static int
next_by_number(const RecordScan *scan)
{
	int			best = -1;

	for (int i = 0; i < scan->n_sources; i++)
	{
		int64		seq;
		int64		best_seq;

		if (!scan->sources[i].has_row)
			continue;
		seq = DatumGetInt64(scan->sources[i].values[DP_BATCH_SEQ_TO]);
		best_seq = best >= 0 ? DatumGetInt64(scan->sources[best].values[DP_BATCH_SEQ_TO]) : 0;
		if (best < 0 || (scan->order == DP_ORDER_DOWN ? seq > best_seq : seq < best_seq))
			best = i;
	}
	return best;
}

/* Go to the next row; NULL at the end. */
static Source *
next_row(RecordScan *scan)
{
	if (scan->way == WAY_SEQ)
	{
		if (scan->current >= 0)
			(void) advance(scan, &scan->sources[scan->current]);
		scan->current = next_by_number(scan);
		return scan->current >= 0 ? &scan->sources[scan->current] : NULL;
	}
	if (scan->current < 0)
		scan->current = 0;
	for (; scan->current < scan->n_sources; scan->current++)
	{
		Source	   *source = &scan->sources[scan->current];

		if (source->scan == NULL)
			begin_source(scan, source);
		if (advance(scan, source))
			return source;
		end_source(scan, source);
	}
	return NULL;
}

/* The first in refs of that session; its records are in the order of what they refer to. */
static int
first_ref(const RecordScan *scan, const DpUnpacked *unpacked)
{
	uint64		session = scan->filters.is_set[DP_FILTER_SESSION] ? (uint64) dp_filters_int(&scan->filters, DP_FILTER_SESSION) : 0;
	int			low = 0;
	int			high = unpacked->n_refs;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		const DpUnpackedRecord *record = &unpacked->records[unpacked->refs[middle]];

		if (record->session < session ||
			(record->session == session && scan->filters.is_set[DP_FILTER_REF_MIN] &&
			 (int64) record->ref_seq < dp_filters_int(&scan->filters, DP_FILTER_REF_MIN)))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Unpack the row's batch, and say which of its records come into question. */
static void
enter_batch(RecordScan *scan, const Source *source)
{
	MemoryContext old = MemoryContextSwitchTo(scan->scratch);
	DpLogBatch *batch = dp_log_batch(source->values, source->nulls);

	MemoryContextSwitchTo(old);
	MemoryContextReset(scan->scratch);
	scan->batch = batch;
	scan->n_unpacked++;
	scan->position = scan->last = 0;
	if (!dp_filters_fit_shapes(&scan->filters, &batch->unpacked, scan->fits))
		return;
	dp_log_batch_read(batch);
	scan->last = batch->unpacked.n;
	if (scan->way == WAY_REFS)
	{
		scan->position = first_ref(scan, &batch->unpacked);
		scan->last = batch->unpacked.n_refs;
		return;
	}
	/* Compared first: a difference of any two numbers may wrap around. */
	if (scan->filters.is_set[DP_FILTER_SEQ_MIN] && dp_filters_int(&scan->filters, DP_FILTER_SEQ_MIN) > batch->seq_from)
		scan->position = dp_filters_int(&scan->filters, DP_FILTER_SEQ_MIN) > batch->seq_to ? batch->unpacked.n :
			(int) (dp_filters_int(&scan->filters, DP_FILTER_SEQ_MIN) - batch->seq_from);
	if (scan->filters.is_set[DP_FILTER_SEQ_MAX] && dp_filters_int(&scan->filters, DP_FILTER_SEQ_MAX) < batch->seq_to)
		scan->last = dp_filters_int(&scan->filters, DP_FILTER_SEQ_MAX) < batch->seq_from ? 0 :
			(int) (dp_filters_int(&scan->filters, DP_FILTER_SEQ_MAX) - batch->seq_from) + 1;
}

/* Could it be the record that is asked for?  *last: nor any behind it in refs. */
static bool
fits_record(const RecordScan *scan, const DpUnpackedRecord *record, bool *last)
{
	*last = scan->way == WAY_REFS && scan->filters.is_set[DP_FILTER_SESSION] &&
		(record->session != (uint64) dp_filters_int(&scan->filters, DP_FILTER_SESSION) ||
		 (int64) record->ref_seq > dp_filters_int(&scan->filters, DP_FILTER_REF_MAX));
	return !*last && scan->fits[record->shape] && dp_filters_fit_record(&scan->filters, record);
}

/* The next record of the batch that comes into question; -1: none. */
static int
next_of_batch(RecordScan *scan)
{
	const DpUnpacked *unpacked = &scan->batch->unpacked;
	bool		last = false;

	while (!last && scan->position < scan->last)
	{
		int			i = scan->position;

		if (scan->way == WAY_REFS)
			i = unpacked->refs[scan->position++];
		else if (scan->order == DP_ORDER_DOWN)
			i = --scan->last;
		else
			scan->position++;
		if (unlikely(i < 0 || i >= unpacked->n))
			dp_report_altered("a batch of the audit log does not have the records that it should have");
		if (fits_record(scan, &unpacked->records[i], &last))
			return i;
	}
	return -1;
}

static void
leave_batch(RecordScan *scan)
{
	if (scan->batch != NULL)
		dp_log_batch_release(scan->batch);
	scan->batch = NULL;
}

static void
start(RecordScan *scan)
{
	scan->started = true;
	read_filters(scan);
	choose_way(scan);
	scan->current = -1;
	if (scan->is_empty || scan->way != WAY_SEQ)
		return;
	for (int i = 0; i < scan->n_sources; i++)
	{
		begin_source(scan, &scan->sources[i]);
		(void) advance(scan, &scan->sources[i]);
	}
}

static void
stop(RecordScan *scan)
{
	leave_batch(scan);
	for (int i = 0; i < scan->n_sources; i++)
		end_source(scan, &scan->sources[i]);
	scan->started = false;
}

static TupleTableSlot *
next_record(ScanState *state)
{
	RecordScan *scan = (RecordScan *) state;
	TupleTableSlot *slot = state->ss_ScanTupleSlot;
	MemoryContext old;
	Source	   *source;
	int			i;

	ExecClearTuple(slot);
	if (!scan->started)
		start(scan);
	while (!scan->is_empty)
	{
		if (scan->batch == NULL)
		{
			source = next_row(scan);
			if (source == NULL)
				break;
			enter_batch(scan, source);
		}
		i = next_of_batch(scan);
		if (i < 0)
		{
			leave_batch(scan);
			CHECK_FOR_INTERRUPTS();
			continue;
		}
		old = MemoryContextSwitchTo(state->ps.ps_ExprContext->ecxt_per_tuple_memory);
		dp_log_row(scan->batch, i, scan->needed, slot->tts_values, slot->tts_isnull);
		MemoryContextSwitchTo(old);
		slot->tts_tableOid = RelationGetRelid(state->ss_currentRelation);
		return ExecStoreVirtualTuple(slot);
	}
	return slot;
}

static bool
recheck_record(ScanState *state, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *
exec_scan(CustomScanState *css)
{
	return ExecScan(&css->ss, next_record, recheck_record);
}

static void
note_needed(RecordScan *scan, const CustomScan *plan)
{
	Bitmapset  *attributes = NULL;

	pull_varattnos((Node *) plan->scan.plan.targetlist, plan->scan.scanrelid, &attributes);
	pull_varattnos((Node *) plan->scan.plan.qual, plan->scan.scanrelid, &attributes);
	for (int i = 0; i < DP_AUDIT_N_COLUMNS; i++)
		scan->needed[i] = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, attributes) ||
			bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, attributes);
}

static void
begin_scan(CustomScanState *css, EState *estate, int flags)
{
	RecordScan *scan = (RecordScan *) css;
	CustomScan *plan = (CustomScan *) css->ss.ps.plan;
	List	   *partitions;
	ListCell   *lc;
	int			n = 0;

	if (RelationGetDescr(css->ss.ss_currentRelation)->natts != DP_AUDIT_N_COLUMNS)
		dp_report_altered("table \"dataprotect.audit_record\" does not have its columns");
	scan->order = linitial_int(plan->custom_private);
	scan->n_filters = list_length(plan->custom_exprs);
	scan->kinds = palloc(sizeof(int) * (scan->n_filters + 1));
	scan->exprs = palloc(sizeof(ExprState *) * (scan->n_filters + 1));
	foreach(lc, plan->custom_exprs)
	{
		scan->kinds[n] = list_nth_int(plan->custom_private, n + 1);
		scan->exprs[n++] = ExecInitExpr((Expr *) lfirst(lc), &css->ss.ps);
	}
	note_needed(scan, plan);
	scan->filters_context = AllocSetContextCreate(estate->es_query_cxt, "audit record filters", ALLOCSET_SMALL_SIZES);
	scan->scratch = AllocSetContextCreate(estate->es_query_cxt, "audit record rows", ALLOCSET_SMALL_SIZES);
	if (flags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	partitions = dp_log_partitions();
	scan->sources = palloc0(sizeof(Source) * (list_length(partitions) + 1));
	foreach(lc, partitions)
		scan->sources[scan->n_sources++].partition = (Relation) lfirst(lc);
}

static void
rescan(CustomScanState *css)
{
	stop((RecordScan *) css);
	ExecScanReScan(&css->ss);
}

static void
end_scan(CustomScanState *css)
{
	RecordScan *scan = (RecordScan *) css;

	stop(scan);
	for (int i = 0; i < scan->n_sources; i++)
		table_close(scan->sources[i].partition, NoLock);
	scan->n_sources = 0;
}

static void
explain_scan(CustomScanState *css, List *ancestors, ExplainState *es)
{
	const RecordScan *scan = (RecordScan *) css;

	if (!es->analyze)
		return;
	ExplainPropertyInteger("Batches Seen", NULL, (int64) scan->n_seen, es);
	ExplainPropertyInteger("Batches Unpacked", NULL, (int64) scan->n_unpacked, es);
}

static const CustomExecMethods exec_methods = {
	.CustomName = "dataprotect audit records",
	.BeginCustomScan = begin_scan,
	.ExecCustomScan = exec_scan,
	.EndCustomScan = end_scan,
	.ReScanCustomScan = rescan,
	.ExplainCustomScan = explain_scan,
};

static Node *
create_state(CustomScan *plan)
{
	RecordScan *scan = (RecordScan *) newNode(sizeof(RecordScan), T_CustomScanState);

	scan->css.methods = &exec_methods;
	return (Node *) scan;
}

const CustomScanMethods dp_record_scan_methods = {
	.CustomName = "dataprotect audit records",
	.CreateCustomScanState = create_state,
};
