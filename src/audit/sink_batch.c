/*
 * sink_batch.c
 *	  Rows of the log, and digests of them, into a batch for one sink.
 */
#include "postgres.h"

#include "audit/sink.h"
#include "base/compat.h"
#include "base/report.h"
#include "catalog/pg_type.h"
#include "events/event.h"
#include "events/record.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define BATCH_BYTES		(1024 * 1024)
#define ROWS_AT_ONCE	500
#define DIGESTS_AT_ONCE	100

/*
 * Hand over rows after a number, at most so many, until the callback has enough;
 * the last one's number.  What a row's line needs is freed after each.
 */
int64
dp_sink_read_rows(int64 after, int limit, bool (*take) (const DpSinkRow *row, void *arg), void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "audit line", ALLOCSET_DEFAULT_SIZES);
	bool		enough = false;

	while (limit > 0 && !enough)
	{
		Oid			types[2] = {INT8OID, INT4OID};
		Datum		values[2];
		SPITupleTable *table;
		uint64		n;

		values[0] = Int64GetDatum(after);
		values[1] = Int32GetDatum(Min(limit, ROWS_AT_ONCE));
		if (SPI_execute_with_args("SELECT " DP_AUDIT_COLUMN_LIST " FROM dataprotect.audit_record "
								  "WHERE seq > $1 ORDER BY seq LIMIT $2", 2, types, values, NULL, true, 0) != SPI_OK_SELECT)
			dp_report_altered("could not read the audit log");
		table = SPI_tuptable;
		n = SPI_processed;
		for (uint64 i = 0; i < n && !enough; i++)
		{
			MemoryContext old = MemoryContextSwitchTo(context);
			DpSinkRow	row;

			heap_deform_tuple(table->vals[i], table->tupdesc, row.values, row.nulls);
			after = DatumGetInt64(row.values[DP_AUDIT_SEQ]);
			enough = !take(&row, arg);
			MemoryContextSwitchTo(old);
			MemoryContextReset(context);
		}
		SPI_freetuptable(table);
		limit -= (int) n;
		if (n < ROWS_AT_ONCE)
			break;
	}
	MemoryContextDelete(context);
	return after;
}

static void
end_line(DpSinkBatch *batch, TimestampTz at, int severity)
{
	appendStringInfoChar(&batch->text, '\n');
	batch->at[batch->n_lines] = at;
	batch->severity[batch->n_lines] = severity;
	batch->start[++batch->n_lines] = batch->text.len;
}

static bool
take_row(const DpSinkRow *row, void *arg)
{
	DpSink	   *sink = arg;
	DpSinkBatch *batch = sink->batch;
	int64		seq = DatumGetInt64(row->values[DP_AUDIT_SEQ]);

	batch->to = seq;
	if (sink->alerts_only && !(DatumGetChar(row->values[DP_AUDIT_KIND]) == DP_RECORD_ADMIN &&
							   dp_event_alerts(DatumGetInt16(row->values[DP_AUDIT_EVENT]))))
		return true;
	if (batch->from == 0)
		batch->from = seq;
	if (sink->cef)
		dp_sink_line_cef(&batch->text, row, sink->database_uid);
	else
		dp_sink_line(&batch->text, row, sink->database_uid);
	end_line(batch, DatumGetTimestampTz(row->values[DP_AUDIT_AT]), dp_sink_line_severity(row));
	return batch->text.len < BATCH_BYTES;
}

/* Digests of what the sink has, or gets with this batch. */
static void
add_digests(DpSink *sink)
{
	DpSinkBatch *batch = sink->batch;
	Oid			types[3] = {INT8OID, INT8OID, INT4OID};
	Datum		values[3];

	if (sink->alerts_only || sink->cef)
		return;
	values[0] = Int64GetDatum(sink->digest);
	values[1] = Int64GetDatum(batch->to);
	values[2] = Int32GetDatum(DIGESTS_AT_ONCE);
	if (SPI_execute_with_args("SELECT id, made_at, dataprotect._digest_line(d) FROM dataprotect.audit_digest d "
							  "WHERE id > $1 AND seq_to <= $2 ORDER BY id LIMIT $3",
							  3, types, values, NULL, true, 0) != SPI_OK_SELECT)
		dp_report_altered("could not read the digests of the audit log");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		batch->digest_to = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
		appendStringInfoString(&batch->text, TextDatumGetCString(SPI_getbinval(tuple, desc, 3, &isnull)));
		end_line(batch, DatumGetTimestampTz(SPI_getbinval(tuple, desc, 2, &isnull)), 1);
	}
}

DpSinkBatch *
dp_sink_batch(DpSink *sink)
{
	MemoryContext old = MemoryContextSwitchTo(sink->context);
	DpSinkBatch *batch = palloc0(sizeof(DpSinkBatch));
	int			room = sink->batch_size + DIGESTS_AT_ONCE;

	sink->batch = batch;
	batch->to = sink->cursor;
	batch->digest_to = sink->digest;
	batch->start = palloc0(sizeof(int) * (room + 1));
	batch->at = palloc0(sizeof(TimestampTz) * room);
	batch->severity = palloc0(sizeof(int) * room);
	initStringInfo(&batch->text);
	(void) dp_sink_read_rows(sink->cursor, sink->batch_size, take_row, sink);
	add_digests(sink);
	MemoryContextSwitchTo(old);
	if (batch->to == sink->cursor && batch->digest_to == sink->digest)
		sink->batch = NULL;
	return sink->batch;
}
