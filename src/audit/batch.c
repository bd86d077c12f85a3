/*
 * batch.c
 *	  Merging records and turning them into rows.
 */
#include "postgres.h"

#include "audit/batch.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define BATCH_KEPT	(4 * 1024 * 1024)

typedef struct IntentRef
{
	uint64		ring_seq;		/* hash key */
	DpBatchEntry *entry;
} IntentRef;

typedef struct Row
{
	Datum		values[DP_AUDIT_N_COLUMNS];
	bool		nulls[DP_AUDIT_N_COLUMNS];
} Row;

static Row *rows = NULL;
static int	n_rows = 0;

PG_FUNCTION_INFO_V1(dp_audit_batch);

DpBatch *
dp_batch_create(const uint8 *instance)
{
	static MemoryContext context = NULL;
	DpBatch    *batch;
	HASHCTL		control;

	/* One for the process's life: pages given back each round would fault again. */
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "audit batch", BATCH_KEPT,
										ALLOCSET_DEFAULT_INITSIZE, ALLOCSET_DEFAULT_MAXSIZE);
	MemoryContextReset(context);
	batch = MemoryContextAllocZero(context, sizeof(DpBatch));

	batch->context = context;
	memcpy(batch->instance, instance, DP_RING_INSTANCE_LEN);
	control.keysize = sizeof(uint64);
	control.entrysize = sizeof(IntentRef);
	control.hcxt = context;
	batch->by_seq = hash_create("audit intents", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return batch;
}

static DpBatchEntry *
find_intent(DpBatch *batch, uint64 ring_seq)
{
	IntentRef  *ref = hash_search(batch->by_seq, &ring_seq, HASH_FIND, NULL);

	return ref ? ref->entry : NULL;
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
merge_result(DpBatch *batch, DpBatchEntry *entry)
{
	DpBatchEntry *intent = find_intent(batch, entry->record->ref_seq);

	if (intent == NULL || intent->result != NULL)
		return false;
	intent->result = entry->record;
	if (entry->record->outcome == DP_OUTCOME_OK && intent->record->kind == DP_RECORD_INTENT &&
		opened_nothing(entry->record))
		intent->dropped = true;
	return true;
}

/*
 * True where every record of the range is in this batch: then each has its
 * outcome now.  An act without an outcome gets the range's; a statement that
 * ended well keeps its result unless it was rolled back.
 */
static bool
merge_range(DpBatch *batch, DpBatchEntry *entry)
{
	const DpRecord *range = entry->record;

	if (find_intent(batch, range->ref_seq) == NULL)
		return false;
	for (int i = batch->n_entries - 1; i >= 0; i--)
	{
		DpBatchEntry *other = batch->entries[i];
		DpRecord   *record = other->record;

		if (other->ring_seq < range->ref_seq)
			break;
		if (record->session != range->session || other->ring_seq > range->ref_end)
			continue;
		if (record->kind == DP_RECORD_ADMIN && record->outcome == DP_OUTCOME_STARTED)
			record->outcome = range->outcome;
		else if (record->kind == DP_RECORD_INTENT && range->scope == DP_SCOPE_ALL &&
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
	Size		len = offsetof(DpRecord, columns) + record->n_columns * sizeof(DpSlice);

	entry->ring_seq = ring_seq;
	entry->record = MemoryContextAlloc(batch->context, len);
	memcpy(entry->record, record, len);
	return entry;
}

bool
dp_batch_add(DpBatch *batch, const DpFrame *frame, const void *payload)
{
	static DpRecord record;
	DpBatchEntry *entry;
	uint8	   *copy;
	bool		merged = false;
	bool		found;

	/* Bounded in rows, and in frames where most of them merge. */
	if (batch->n_entries >= DP_BATCH_MAX || batch->n_frames >= 2 * DP_BATCH_MAX)
		return false;
	batch->n_frames++;
	batch->last_seq = frame->seq;
	copy = MemoryContextAlloc(batch->context, frame->len);
	memcpy(copy, payload, frame->len);
	if (!dp_record_decode(copy, frame->len, &record))
	{
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("audit record " UINT64_FORMAT " is malformed and was skipped", frame->seq)));
		return true;
	}
	entry = new_entry(batch, frame->seq, &record);
	if (entry->record->kind == DP_RECORD_RESULT)
		merged = merge_result(batch, entry);
	else if (entry->record->kind == DP_RECORD_RANGE)
		merged = merge_range(batch, entry);
	if (merged)
		return true;
	batch->entries[batch->n_entries++] = entry;
	if (entry->record->kind == DP_RECORD_INTENT || entry->record->kind == DP_RECORD_ADMIN)
	{
		IntentRef  *ref = hash_search(batch->by_seq, &entry->ring_seq, HASH_ENTER, &found);

		ref->entry = entry;
	}
	return true;
}

void
dp_batch_add_lost(DpBatch *batch, uint64 ring_seq, uint64 session)
{
	DpBatchEntry *entry;
	DpRecord	record;

	if (batch->n_entries >= DP_BATCH_MAX)
		return;					/* in a later round */
	memset(&record, 0, offsetof(DpRecord, columns));
	record.kind = DP_RECORD_RESULT;
	record.outcome = DP_OUTCOME_LOST;
	record.at = GetCurrentTimestamp();
	record.session = session;
	record.ref_seq = ring_seq;
	entry = new_entry(batch, ring_seq, &record);
	if (!merge_result(batch, entry))
		batch->entries[batch->n_entries++] = entry;
}

void
dp_batch_seal(DpBatch *batch)
{
	MemoryContext old_context = MemoryContextSwitchTo(batch->context);

	for (int i = 0; i < batch->n_entries; i++)
	{
		DpRecord   *record = batch->entries[i]->record;
		bytea	   *sealed;

		if (record->sealed.len == 0 || record->sealed_format != DP_SEALED_PLAIN)
			continue;
		if (!dp_keys_audit_seal(record->sealed.data, record->sealed.len, &sealed))
			continue;
		record->sealed.data = (const uint8 *) VARDATA_ANY(sealed);
		record->sealed.len = VARSIZE_ANY_EXHDR(sealed);
		record->sealed_format = DP_SEALED_KEY;
	}
	MemoryContextSwitchTo(old_context);
}

static Datum
text_datum(DpSlice slice)
{
	return PointerGetDatum(cstring_to_text_with_len((const char *) slice.data, slice.len));
}

static void
set_text(Row *row, int column, DpSlice slice)
{
	row->nulls[column] = slice.len == 0;
	if (slice.len > 0)
		row->values[column] = text_datum(slice);
}

static void
set_columns(Row *row, const DpRecord *record, const DpRecord *result)
{
	Datum		elements[DP_RECORD_MAX_COLUMNS * 2];
	int			n = 0;

	for (int i = 0; i < record->n_columns; i++)
		elements[n++] = text_datum(record->columns[i]);
	for (int i = 0; result != NULL && i < result->n_columns; i++)
		elements[n++] = text_datum(result->columns[i]);
	row->nulls[DP_AUDIT_COLUMNS] = n == 0;
	if (n > 0)
		row->values[DP_AUDIT_COLUMNS] =
			PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false, TYPALIGN_INT));
}

static void
set_keys(Row *row, const DpRecord *record)
{
	Datum		names[DP_RECORD_MAX_KEYS];
	Datum		opened[DP_RECORD_MAX_KEYS];
	Datum		compared[DP_RECORD_MAX_KEYS];
	int			n = record->n_keys;

	row->nulls[DP_AUDIT_KEYS] = row->nulls[DP_AUDIT_OPENED] = row->nulls[DP_AUDIT_COMPARED] = n == 0;
	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		names[i] = text_datum(record->keys[i].name);
		opened[i] = Int64GetDatum(record->keys[i].opened);
		compared[i] = Int64GetDatum(record->keys[i].compared);
	}
	row->values[DP_AUDIT_KEYS] =
		PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
	row->values[DP_AUDIT_OPENED] =
		PointerGetDatum(construct_array(opened, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	row->values[DP_AUDIT_COMPARED] =
		PointerGetDatum(construct_array(compared, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The sealed column: one byte form (DP_SEALED_...), then the bytes. */
static void
set_sealed(Row *row, const DpRecord *record)
{
	bytea	   *sealed;

	row->nulls[DP_AUDIT_SEALED] = record->sealed.len == 0;
	if (record->sealed.len == 0)
		return;
	sealed = palloc(VARHDRSZ + 1 + record->sealed.len);
	SET_VARSIZE(sealed, VARHDRSZ + 1 + record->sealed.len);
	VARDATA(sealed)[0] = record->sealed_format;
	memcpy(VARDATA(sealed) + 1, record->sealed.data, record->sealed.len);
	row->values[DP_AUDIT_SEALED] = PointerGetDatum(sealed);
}

static void
set_row(Row *row, const DpBatch *batch, const DpBatchEntry *entry, int64 seq)
{
	const DpRecord *record = entry->record;
	const DpRecord *result = entry->result;
	bool		is_range = record->kind == DP_RECORD_RANGE;
	pg_uuid_t  *instance = palloc(sizeof(pg_uuid_t));

	memcpy(instance->data, batch->instance, UUID_LEN);
	memset(row->nulls, 0, sizeof(row->nulls));
	row->values[DP_AUDIT_SEQ] = Int64GetDatum(seq);
	row->values[DP_AUDIT_AT] = TimestampTzGetDatum(record->at);
	row->values[DP_AUDIT_KIND] = CharGetDatum(record->kind);
	row->values[DP_AUDIT_INSTANCE] = UUIDPGetDatum(instance);
	row->values[DP_AUDIT_RING_SEQ] = Int64GetDatum((int64) entry->ring_seq);
	row->values[DP_AUDIT_SESSION] = Int64GetDatum((int64) record->session);
	row->values[DP_AUDIT_EVENT] = Int16GetDatum(is_range ? record->scope : record->event);
	row->values[DP_AUDIT_OUTCOME] = CharGetDatum(result ? result->outcome : record->outcome);
	row->nulls[DP_AUDIT_REF_SEQ] = record->ref_seq == 0;
	row->values[DP_AUDIT_REF_SEQ] = Int64GetDatum((int64) record->ref_seq);
	row->nulls[DP_AUDIT_REF_END] = record->ref_end == 0;
	row->values[DP_AUDIT_REF_END] = Int64GetDatum((int64) record->ref_end);
	set_text(row, DP_AUDIT_SESSION_ROLE, record->session_role);
	set_text(row, DP_AUDIT_ROLE, record->role);
	set_columns(row, record, result);
	set_keys(row, result != NULL && result->n_keys > 0 ? result : record);
	set_sealed(row, record);
}

int
dp_batch_make_rows(DpBatch *batch, DpPrf *chain, DpChainPoint *head)
{
	MemoryContext old_context = MemoryContextSwitchTo(batch->context);

	rows = palloc(sizeof(Row) * Max(batch->n_entries, 1));
	n_rows = 0;
	for (int i = 0; i < batch->n_entries; i++)
	{
		Row		   *row = &rows[n_rows];
		bytea	   *mac;

		if (batch->entries[i]->dropped)
			continue;
		set_row(row, batch, batch->entries[i], head->seq + 1);
		mac = palloc(VARHDRSZ + DP_CHAIN_MAC_LEN);
		SET_VARSIZE(mac, VARHDRSZ + DP_CHAIN_MAC_LEN);
		if (!dp_chain_row_mac(chain, head->mac, row->values, row->nulls, (uint8 *) VARDATA(mac)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not compute the MAC of an audit record")));
		row->values[DP_AUDIT_MAC] = PointerGetDatum(mac);
		memcpy(head->mac, VARDATA(mac), DP_CHAIN_MAC_LEN);
		head->seq++;
		n_rows++;
	}
	MemoryContextSwitchTo(old_context);
	return n_rows;
}

void
dp_batch_clear_rows(void)
{
	rows = NULL;
	n_rows = 0;
}

Datum
dp_audit_batch(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < n_rows; i++)
		tuplestore_putvalues(result->setResult, result->setDesc, rows[i].values, rows[i].nulls);
	return (Datum) 0;
}
