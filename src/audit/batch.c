/*
 * batch.c
 *	  Merging records and turning them into rows.
 */
#include "postgres.h"

#include "audit/alert.h"
#include "audit/batch.h"
#include "audit/packed.h"
#include "audit/store.h"
#include "base/compat.h"
#include "base/report.h"
#include "events/event.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define BATCH_KEPT	(8 * 1024 * 1024)
#define RECENT		8			/* entries where an intent is looked for first */

Datum
dp_batch_instance(const uint8 *instance)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	memcpy(uuid->data, instance, UUID_LEN);
	return UUIDPGetDatum(uuid);
}

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
	/* it is looked up later what became of the transaction */
	return range->outcome != DP_OUTCOME_PREPARED;
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
	if (entry->outcome == DP_OUTCOME_PREPARED && record->n_keys == 1)
		entry->transaction = record->keys[0].opened;
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

void
dp_batch_add_end(DpBatch *batch, uint64 session, uint64 first, uint64 last, DpOutcome outcome)
{
	DpRecord	record;

	memset(&record, 0, offsetof(DpRecord, keys));
	record.kind = DP_RECORD_RANGE;
	record.outcome = outcome;
	record.scope = DP_SCOPE_ADMIN;
	record.at = GetCurrentTimestamp();
	record.session = session;
	record.ref_seq = first;
	record.ref_end = last;
	batch->entries[batch->n_entries++] = new_entry(batch, last, &record);
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

/* What a record holds sealed, to be sealed with its batch: form and bytes. */
static DpSlice
sealed_part(const DpRecord *record)
{
	const uint8 *data = record->sealed.data;
	Size		len = record->sealed.len;
	uint8		form = record->sealed_format;
	DpSlice		part = {NULL, 0};
	bytea	   *opened;
	uint8	   *copy;

	if (len == 0)
		return part;
	/* What does not open stays as it came: some day it may. */
	if (form == DP_SEALED_KEY && dp_keys_audit_open(data, len, &opened))
	{
		data = (const uint8 *) VARDATA_ANY(opened);
		len = VARSIZE_ANY_EXHDR(opened);
		form = DP_SEALED_PLAIN;
	}
	copy = palloc(1 + len);
	copy[0] = form;
	memcpy(copy + 1, data, len);
	part.data = copy;
	part.len = 1 + len;
	return part;
}

/* Whose values a statement opened, from the sealed part of a record that tells of it; NULL: it cannot be read. */
static const DpSubjects *
read_subjects(DpSlice part)
{
	static DpSubjects subjects;
	DpPersonal	personal;
	uint64		statement;

	if (part.len < 1 || part.data[0] != DP_SEALED_PLAIN ||
		!dp_personal_decode(part.data + 1, part.len - 1, &personal) ||
		!dp_subjects_read(personal.detail, &statement, &subjects))
		return NULL;
	return &subjects;
}

/* Add an entry, merged with its result, to the batch of rows that is being made. */
static void
pack_entry(DpPacking *packing, const DpBatchEntry *entry, int64 seq)
{
	static DpRecord record;
	static DpRecord result;
	DpSlice		columns[DP_RECORD_MAX_COLUMNS * 2];
	DpPackedRecord packed;

	decode_entry(entry, &record);
	if (entry->kind == DP_RECORD_RANGE)
		record.n_keys = 0;		/* the transaction, which is of no use to readers */
	result.n_columns = result.n_keys = 0;
	if (entry->result != NULL)
		decode_entry(entry->result, &result);
	memcpy(columns, record.columns, record.n_columns * sizeof(DpSlice));
	memcpy(columns + record.n_columns, result.columns, result.n_columns * sizeof(DpSlice));
	packed.at = entry->at;
	packed.ring_seq = entry->ring_seq;
	packed.session = entry->session;
	packed.ref_seq = entry->ref_seq;
	packed.ref_end = entry->ref_end;
	packed.kind = entry->kind;
	packed.outcome = entry->result ? entry->result->outcome : entry->outcome;
	packed.event = (int16) (entry->kind == DP_RECORD_RANGE ? entry->scope : record.event);
	packed.session_role = record.session_role;
	packed.role = record.role;
	packed.columns = columns;
	packed.n_columns = record.n_columns + result.n_columns;
	packed.keys = result.n_keys > 0 ? result.keys : record.keys;
	packed.n_keys = result.n_keys > 0 ? result.n_keys : record.n_keys;
	packed.sealed = sealed_part(&record);
	packed.has_subjects = entry->kind == DP_RECORD_ADMIN && record.event == DP_EVENT_VALUE_SUBJECTS;
	packed.subjects = packed.has_subjects ? read_subjects(packed.sealed) : NULL;
	dp_packing_add(packing, &packed);
	dp_alert_raise(&record, seq);
}

/* Number of the month, of records that come in order. */
static int
month_of(TimestampTz at)
{
	static int64 day = PG_INT64_MIN;
	static int	month = 0;
	struct pg_tm tm;
	fsec_t		fsec;

	if (at / USECS_PER_DAY == day && at >= 0)
		return month;
	if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		return 0;
	day = at / USECS_PER_DAY;
	month = tm.tm_year * 12 + tm.tm_mon;
	return month;
}

/* Store what was packed as one row, behind head, which moves on. */
static void
put_row(DpStore *store, DpPacking *packing, const DpBatch *batch, DpChainPoint *head)
{
	TupleTableSlot *row = dp_store_next(store);
	Datum	   *values = row->tts_values;
	bytea	   *mac = palloc(VARHDRSZ + DP_CHAIN_MAC_LEN);

	memset(row->tts_isnull, 0, DP_BATCH_N_COLUMNS * sizeof(bool));
	dp_packing_end(packing, values, row->tts_isnull);
	values[DP_BATCH_SEQ_FROM] = Int64GetDatum(head->seq + 1);
	head->seq += dp_packing_n(packing);
	values[DP_BATCH_SEQ_TO] = Int64GetDatum(head->seq);
	values[DP_BATCH_INSTANCE] = UUIDPGetDatum((pg_uuid_t *) batch->instance);
	SET_VARSIZE(mac, VARHDRSZ + DP_CHAIN_MAC_LEN);
	if (!dp_chain_batch_mac(0, head->mac, values, row->tts_isnull, (uint8 *) VARDATA(mac)))
		dp_report_no_memory("could not compute the MAC of a batch of the audit log");
	values[DP_BATCH_MAC] = PointerGetDatum(mac);
	memcpy(head->mac, VARDATA(mac), DP_CHAIN_MAC_LEN);
	dp_store_put(store);
}

void
dp_batch_store_rows(DpBatch *batch, DpChainPoint *head)
{
	DpStore    *store = dp_store_begin();
	MemoryContext old_context = MemoryContextSwitchTo(dp_store_context(store));
	DpPacking  *packing = NULL;
	int			month = 0;

	for (int i = 0; i < batch->n_entries; i++)
	{
		const DpBatchEntry *entry = batch->entries[i];

		if (entry->dropped)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (packing != NULL && (dp_packing_is_full(packing) || month_of(entry->at) != month))
		{
			put_row(store, packing, batch, head);
			packing = NULL;
		}
		if (packing == NULL)
			packing = dp_packing_begin();
		month = month_of(entry->at);
		pack_entry(packing, entry, head->seq + dp_packing_n(packing) + 1);
	}
	if (packing != NULL)
		put_row(store, packing, batch, head);
	MemoryContextSwitchTo(old_context);
	dp_store_end(store);
}
