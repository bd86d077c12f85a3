/*
 * batch.c
 *	  Merging records and turning them into rows.
 */
#include "postgres.h"

#include "audit/alert.h"
#include "audit/batch.h"
#include "audit/store.h"
#include "base/compat.h"
#include "base/report.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "events/event.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define BATCH_KEPT	(8 * 1024 * 1024)
#define RECENT		8			/* entries where an intent is looked for first */

DpBatch *
dp_batch_create(const uint8 *instance)
{
	static MemoryContext context = NULL;
	DpBatch    *batch;

	/* One for the process's life: pages given back each round would fault again. */
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "audit batch", BATCH_KEPT,
										ALLOCSET_DEFAULT_INITSIZE, ALLOCSET_DEFAULT_MAXSIZE);
	MemoryContextReset(context);
	batch = MemoryContextAlloc(context, sizeof(DpBatch));
	memset(batch, 0, offsetof(DpBatch, entries));
	batch->context = context;
	memcpy(batch->instance, instance, DP_RING_INSTANCE_LEN);
	return batch;
}

static DpBatchEntry *
find_entry(DpBatch *batch, uint64 ring_seq)
{
	int			low = 0;
	int			high = batch->n_read - 1;

	for (int i = high; i >= Max(low, high - RECENT); i--)
		if (batch->entries[i]->ring_seq == ring_seq)
			return batch->entries[i];
	while (low <= high)
	{
		int			middle = (low + high) / 2;
		uint64		seq = batch->entries[middle]->ring_seq;

		if (seq == ring_seq)
			return batch->entries[middle];
		if (seq < ring_seq)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

static DpBatchEntry *
find_intent(DpBatch *batch, uint64 ring_seq)
{
	DpBatchEntry *entry = find_entry(batch, ring_seq);

	if (entry == NULL || (entry->kind != DP_RECORD_INTENT && entry->kind != DP_RECORD_ADMIN))
		return NULL;
	return entry;
}

static bool
opened_nothing(const DpRecord *record)
{
	for (int i = 0; i < record->n_keys; i++)
		if (record->keys[i].opened > 0 || record->keys[i].compared > 0)
			return false;
	return true;
}

/* True where the result found its intent here. */
static bool
merge_result(DpBatch *batch, DpBatchEntry *entry, const DpRecord *record)
{
	DpBatchEntry *intent = find_intent(batch, entry->ref_seq);

	if (intent == NULL || intent->result != NULL)
		return false;
	intent->result = entry;
	if (entry->outcome == DP_OUTCOME_OK && intent->kind == DP_RECORD_INTENT &&
		opened_nothing(record))
		intent->dropped = true;
	return true;
}

/*
 * True where every record of the range is in this batch: then each has its
 * outcome now.  An act without an outcome gets the range's; a statement that
 * ended well keeps its result unless it was rolled back.
 */
static bool
merge_range(DpBatch *batch, const DpBatchEntry *range)
{
	if (find_intent(batch, range->ref_seq) == NULL)
		return false;
	for (int i = batch->n_entries - 1; i >= 0; i--)
	{
		DpBatchEntry *other = batch->entries[i];

		if (other->ring_seq < range->ref_seq)
			break;
		if (other->session != range->session || other->ring_seq > range->ref_end)
			continue;
		if (other->kind == DP_RECORD_ADMIN && other->outcome == DP_OUTCOME_STARTED)
			other->outcome = range->outcome;
		else if (other->kind == DP_RECORD_INTENT && range->scope == DP_SCOPE_ALL &&
				 range->outcome == DP_OUTCOME_ROLLED_BACK)
		{
			if (other->result == NULL)
				return false;	/* a statement still runs: the range stays a row */
			if (other->result->outcome == DP_OUTCOME_OK)
				other->result->outcome = DP_OUTCOME_ROLLED_BACK;
		}
	}
	return true;
}

static DpBatchEntry *
new_entry(DpBatch *batch, uint64 ring_seq, const DpRecord *record)
{
	DpBatchEntry *entry = MemoryContextAllocZero(batch->context, sizeof(DpBatchEntry));

	entry->ring_seq = ring_seq;
	entry->session = record->session;
	entry->ref_seq = record->ref_seq;
	entry->ref_end = record->ref_end;
	entry->at = record->at;
	entry->kind = record->kind;
	entry->outcome = record->outcome;
	entry->scope = record->scope;
	return entry;
}

bool
dp_batch_add(DpBatch *batch, const DpRecordFrame *frame, const void *payload)
{
	static DpRecord record;
	DpBatchEntry *entry;
	uint8	   *copy;
	bool		merged = false;

	/* Bounded in rows, and in frames where most of them merge. */
	if (batch->n_entries >= DP_BATCH_MAX || batch->n_frames >= 2 * DP_BATCH_MAX)
		return false;
	batch->n_frames++;
	if (!dp_record_decode(payload, frame->len, &record))
	{
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("audit record " UINT64_FORMAT " is malformed and was skipped", frame->seq)));
		return true;
	}
	entry = new_entry(batch, frame->seq, &record);
	if (entry->kind == DP_RECORD_RESULT)
		merged = merge_result(batch, entry, &record);
	else if (entry->kind == DP_RECORD_RANGE)
		merged = merge_range(batch, entry);
	if (merged && entry->kind == DP_RECORD_RANGE)
		return true;
	copy = MemoryContextAlloc(batch->context, frame->len);
	memcpy(copy, payload, frame->len);
	entry->payload = copy;
	entry->len = frame->len;
	if (merged)
		return true;
	batch->entries[batch->n_entries++] = entry;
	batch->n_read = batch->n_entries;
	return true;
}

void
dp_batch_add_lost(DpBatch *batch, uint64 ring_seq, uint64 session)
{
	DpBatchEntry *entry;
	DpRecord	record;

	if (batch->n_entries >= DP_BATCH_MAX)
		return;					/* in a later round */
	memset(&record, 0, offsetof(DpRecord, keys));
	record.kind = DP_RECORD_RESULT;
	record.outcome = DP_OUTCOME_LOST;
	record.at = GetCurrentTimestamp();
	record.session = session;
	record.ref_seq = ring_seq;
	entry = new_entry(batch, ring_seq, &record);
	if (!merge_result(batch, entry, &record))
		batch->entries[batch->n_entries++] = entry;
}

bool
dp_batch_has_rows(const DpBatch *batch)
{
	for (int i = 0; i < batch->n_entries; i++)
		if (!batch->entries[i]->dropped)
			return true;
	return false;
}

/* An entry's record; well-formed, for it was read before. */
static void
decode_entry(const DpBatchEntry *entry, DpRecord *out)
{
	if (entry->payload == NULL)
	{
		memset(out, 0, offsetof(DpRecord, keys));
		out->kind = entry->kind;
	}
	else if (!dp_record_decode(entry->payload, entry->len, out))
		elog(ERROR, "audit record " UINT64_FORMAT " changed in memory", entry->ring_seq);
}

static void
set_text(TupleTableSlot *row, int column, DpSlice slice)
{
	row->tts_isnull[column] = slice.len == 0;
	if (slice.len > 0)
		row->tts_values[column] =
			PointerGetDatum(cstring_to_text_with_len((const char *) slice.data, slice.len));
}

/* An array of one dimension without nulls, len bytes of elements. */
static ArrayType *
new_array(Oid element_type, int n, Size len)
{
	ArrayType  *array = palloc0(ARR_OVERHEAD_NONULLS(1) + len);

	SET_VARSIZE(array, ARR_OVERHEAD_NONULLS(1) + len);
	array->ndim = 1;
	array->dataoffset = 0;
	array->elemtype = element_type;
	ARR_DIMS(array)[0] = n;
	ARR_LBOUND(array)[0] = 1;
	return array;
}

/* An array of texts, or NULL; made in one piece, for every row has some. */
static void
set_texts(TupleTableSlot *row, int column, const DpSlice *slices, int n)
{
	ArrayType  *array;
	char	   *element;
	Size		len = 0;

	row->tts_isnull[column] = n == 0;
	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		len += INTALIGN(VARHDRSZ + slices[i].len);
	array = new_array(TEXTOID, n, len);
	element = ARR_DATA_PTR(array);
	for (int i = 0; i < n; i++)
	{
		SET_VARSIZE(element, VARHDRSZ + slices[i].len);
		memcpy(VARDATA(element), slices[i].data, slices[i].len);
		element += INTALIGN(VARHDRSZ + slices[i].len);
	}
	row->tts_values[column] = PointerGetDatum(array);
}

static void
set_columns(TupleTableSlot *row, const DpRecord *record, const DpRecord *result)
{
	DpSlice		columns[DP_RECORD_MAX_COLUMNS * 2];
	int			n = record->n_columns;

	memcpy(columns, record->columns, n * sizeof(DpSlice));
	if (result != NULL)
	{
		memcpy(columns + n, result->columns, result->n_columns * sizeof(DpSlice));
		n += result->n_columns;
	}
	set_texts(row, DP_AUDIT_COLUMNS, columns, n);
}

static void
set_keys(TupleTableSlot *row, const DpRecord *record)
{
	DpSlice		names[DP_RECORD_MAX_KEYS];
	int			n = record->n_keys;
	ArrayType  *opened;
	ArrayType  *compared;

	row->tts_isnull[DP_AUDIT_OPENED] = row->tts_isnull[DP_AUDIT_COMPARED] = n == 0;
	for (int i = 0; i < n; i++)
		names[i] = record->keys[i].name;
	set_texts(row, DP_AUDIT_KEYS, names, n);
	if (n == 0)
		return;
	opened = new_array(INT8OID, n, n * sizeof(int64));
	compared = new_array(INT8OID, n, n * sizeof(int64));
	for (int i = 0; i < n; i++)
	{
		((int64 *) ARR_DATA_PTR(opened))[i] = (int64) record->keys[i].opened;
		((int64 *) ARR_DATA_PTR(compared))[i] = (int64) record->keys[i].compared;
	}
	row->tts_values[DP_AUDIT_OPENED] = PointerGetDatum(opened);
	row->tts_values[DP_AUDIT_COMPARED] = PointerGetDatum(compared);
}

/* The sealed column: one byte form (DP_SEALED_...), then the bytes. */
static void
set_sealed(TupleTableSlot *row, const DpRecord *record)
{
	const uint8 *data = record->sealed.data;
	Size		len = record->sealed.len;
	uint8		format = record->sealed_format;
	bytea	   *under_key;
	bytea	   *sealed;

	row->tts_isnull[DP_AUDIT_SEALED] = len == 0;
	if (len == 0)
		return;
	if (format == DP_SEALED_PLAIN && dp_keys_audit_seal(data, len, &under_key))
	{
		data = (const uint8 *) VARDATA_ANY(under_key);
		len = VARSIZE_ANY_EXHDR(under_key);
		format = DP_SEALED_KEY;
	}
	sealed = palloc(VARHDRSZ + 1 + len);
	SET_VARSIZE(sealed, VARHDRSZ + 1 + len);
	VARDATA(sealed)[0] = format;
	memcpy(VARDATA(sealed) + 1, data, len);
	row->tts_values[DP_AUDIT_SEALED] = PointerGetDatum(sealed);
}

static void
set_row(TupleTableSlot *row, const DpBatch *batch, const DpBatchEntry *entry, int64 seq)
{
	static DpRecord record;
	static DpRecord merged;
	const DpRecord *result = NULL;
	Datum	   *values = row->tts_values;
	bool	   *nulls = row->tts_isnull;

	decode_entry(entry, &record);
	if (entry->result != NULL)
	{
		decode_entry(entry->result, &merged);
		result = &merged;
	}
	memset(nulls, 0, DP_AUDIT_N_COLUMNS * sizeof(bool));
	values[DP_AUDIT_SEQ] = Int64GetDatum(seq);
	values[DP_AUDIT_AT] = TimestampTzGetDatum(entry->at);
	values[DP_AUDIT_KIND] = CharGetDatum(entry->kind);
	values[DP_AUDIT_INSTANCE] = UUIDPGetDatum((pg_uuid_t *) batch->instance);
	values[DP_AUDIT_RING_SEQ] = Int64GetDatum((int64) entry->ring_seq);
	values[DP_AUDIT_SESSION] = Int64GetDatum((int64) entry->session);
	values[DP_AUDIT_EVENT] = Int16GetDatum(entry->kind == DP_RECORD_RANGE ? entry->scope : record.event);
	values[DP_AUDIT_OUTCOME] = CharGetDatum(entry->result ? entry->result->outcome : entry->outcome);
	nulls[DP_AUDIT_REF_SEQ] = entry->ref_seq == 0;
	values[DP_AUDIT_REF_SEQ] = Int64GetDatum((int64) entry->ref_seq);
	nulls[DP_AUDIT_REF_END] = entry->ref_end == 0;
	values[DP_AUDIT_REF_END] = Int64GetDatum((int64) entry->ref_end);
	set_text(row, DP_AUDIT_SESSION_ROLE, record.session_role);
	set_text(row, DP_AUDIT_ROLE, record.role);
	set_columns(row, &record, result);
	set_keys(row, result != NULL && result->n_keys > 0 ? result : &record);
	set_sealed(row, &record);
	dp_alert_raise(&record, seq);
}

void
dp_batch_store_rows(DpBatch *batch, DpPrf *chain, DpChainPoint *head)
{
	DpStore    *store = dp_store_begin();

	for (int i = 0; i < batch->n_entries; i++)
	{
		MemoryContext old_context;
		TupleTableSlot *row;
		bytea	   *mac;

		if (batch->entries[i]->dropped)
			continue;
		CHECK_FOR_INTERRUPTS();
		row = dp_store_next(store);
		old_context = MemoryContextSwitchTo(dp_store_context(store));
		set_row(row, batch, batch->entries[i], head->seq + 1);
		mac = palloc(VARHDRSZ + DP_CHAIN_MAC_LEN);
		SET_VARSIZE(mac, VARHDRSZ + DP_CHAIN_MAC_LEN);
		if (!dp_chain_row_mac(chain, head->mac, row->tts_values, row->tts_isnull,
							  (uint8 *) VARDATA(mac)))
			dp_report_no_memory("could not compute the MAC of an audit record");
		row->tts_values[DP_AUDIT_MAC] = PointerGetDatum(mac);
		memcpy(head->mac, VARDATA(mac), DP_CHAIN_MAC_LEN);
		head->seq++;
		MemoryContextSwitchTo(old_context);
		dp_store_put(store);
	}
	dp_store_end(store);
}
