/*
 * log_batch.c
 *	  Batches of the log that were read and unpacked; see log_batch.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "audit/log_batch.h"
#include "base/compat.h"
#include "base/report.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "keys/keys.h"
#include "port/pg_bswap.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#define KEPT		16
#define REFERENCE	13			/* bytes: form, 8, 4 */

static DpLogBatch *kept[KEPT];
static uint64 now_used = 0;
static MemoryContext kept_context = NULL;

/* The transaction's memory goes, and all batches with it. */
static void
forget_all(void *arg)
{
	memset(kept, 0, sizeof(kept));
	kept_context = NULL;
}

static MemoryContext
batches_context(void)
{
	MemoryContextCallback *callback;

	if (kept_context != NULL)
		return kept_context;
	kept_context = AllocSetContextCreate(TopTransactionContext, "audit log batches", ALLOCSET_DEFAULT_SIZES);
	callback = MemoryContextAlloc(kept_context, sizeof(MemoryContextCallback));
	callback->func = forget_all;
	callback->arg = NULL;
	MemoryContextRegisterResetCallback(kept_context, callback);
	return kept_context;
}

/* A place for one more: an empty one, or that of the batch used longest ago; -1: all are pinned. */
static int
find_place(void)
{
	int			best = -1;

	for (int i = 0; i < KEPT; i++)
	{
		if (kept[i] == NULL)
			return i;
		if (kept[i]->pins == 0 && (best < 0 || kept[i]->used < kept[best]->used))
			best = i;
	}
	if (best >= 0)
	{
		MemoryContextDelete(kept[best]->context);
		kept[best] = NULL;
	}
	return best;
}

pg_noreturn static void
report_damaged(int64 from, int64 to)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("records " INT64_FORMAT " to " INT64_FORMAT " of the audit log are damaged", from, to),
			 errhint("Call dataprotect.verify_audit_log(). Records before and after them can be read by their seq.")));
}

static DpLogBatch *
unpack(const Datum *values, const bool *nulls)
{
	MemoryContext context = AllocSetContextCreate(batches_context(), "audit log batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	DpLogBatch *batch = palloc0(sizeof(DpLogBatch));

	batch->context = context;
	batch->seq_from = DatumGetInt64(values[DP_BATCH_SEQ_FROM]);
	batch->seq_to = DatumGetInt64(values[DP_BATCH_SEQ_TO]);
	batch->instance = datumCopy(values[DP_BATCH_INSTANCE], false, UUID_LEN);
	batch->mac = PointerGetDatum(DatumGetByteaPCopy(values[DP_BATCH_MAC]));
	if (!nulls[DP_BATCH_SEALED])
		batch->sealed = datumCopy(values[DP_BATCH_SEALED], false, -1);
	batch->n_parts = -1;
	if (!dp_unpack(DatumGetByteaPCopy(values[DP_BATCH_DATA]), &batch->unpacked) ||
		batch->unpacked.n != batch->seq_to - batch->seq_from + 1)
		report_damaged(batch->seq_from, batch->seq_to);
	MemoryContextSwitchTo(old);
	return batch;
}

static bool
is_that(const DpLogBatch *batch, const Datum *values)
{
	return batch->seq_from == DatumGetInt64(values[DP_BATCH_SEQ_FROM]) &&
		batch->seq_to == DatumGetInt64(values[DP_BATCH_SEQ_TO]) &&
		datumIsEqual(batch->mac, PointerGetDatum(DatumGetByteaP(values[DP_BATCH_MAC])), false, -1);
}

DpLogBatch *
dp_log_batch(const Datum *values, const bool *nulls)
{
	DpLogBatch *batch = NULL;
	int			place;

	for (int i = 0; i < KEPT && batch == NULL; i++)
		if (kept[i] != NULL && is_that(kept[i], values))
			batch = kept[i];
	if (batch == NULL)
	{
		batch = unpack(values, nulls);
		place = find_place();
		if (place >= 0)
			kept[place] = batch;
	}
	batch->pins++;
	batch->used = ++now_used;
	return batch;
}

void
dp_log_batch_read(DpLogBatch *batch)
{
	MemoryContext old;
	bool		read;

	if (batch->unpacked.records != NULL)
		return;
	old = MemoryContextSwitchTo(batch->context);
	read = dp_unpack_records(&batch->unpacked);
	MemoryContextSwitchTo(old);
	if (!read)
		report_damaged(batch->seq_from, batch->seq_to);
}

void
dp_log_batch_release(DpLogBatch *batch)
{
	batch->pins--;
	if (batch->pins > 0)
		return;
	for (int i = 0; i < KEPT; i++)
		if (kept[i] == batch)
			return;
	MemoryContextDelete(batch->context);
}

static Datum
counts_datum(const DpUnpacked *unpacked, const DpUnpackedRecord *record, int n_keys, int offset)
{
	Datum		counts[2 * DP_RECORD_MAX_COLUMNS];

	for (int i = 0; i < n_keys; i++)
		counts[i] = Int64GetDatum((int64) unpacked->counts[record->counts + 2 * i + offset]);
	return PointerGetDatum(construct_array(counts, n_keys, INT8OID, 8, true, TYPALIGN_DOUBLE));
}

static Datum
reference_datum(const DpLogBatch *batch, int part)
{
	bytea	   *bytes = palloc(VARHDRSZ + REFERENCE);
	uint64		seq = pg_hton64((uint64) batch->seq_from);
	uint32		number = pg_hton32((uint32) part);

	SET_VARSIZE(bytes, VARHDRSZ + REFERENCE);
	VARDATA(bytes)[0] = DP_SEALED_BATCH;
	memcpy(VARDATA(bytes) + 1, &seq, 8);
	memcpy(VARDATA(bytes) + 9, &number, 4);
	return PointerGetDatum(bytes);
}

static Datum
text_datum(DpSlice slice)
{
	return slice.len == 0 ? (Datum) 0 :
		PointerGetDatum(cstring_to_text_with_len((const char *) slice.data, (int) slice.len));
}

static Datum
texts_datum(DpSlice slices, int n)
{
	Datum		texts[2 * DP_RECORD_MAX_COLUMNS];

	if (n == 0)
		return (Datum) 0;
	for (int i = 0; i < n; i++)
	{
		DpSlice		slice = dp_unpack_text(&slices);

		texts[i] = PointerGetDatum(cstring_to_text_with_len((const char *) slice.data, (int) slice.len));
	}
	return PointerGetDatum(construct_array(texts, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* What all records of a shape have in common, made for the first of them. */
enum
{
	MADE_SESSION_ROLE,
	MADE_ROLE,
	MADE_COLUMNS,
	MADE_KEYS,
	MADE_N
};

static const Datum *
made_of(DpLogBatch *batch, DpShape *shape)
{
	MemoryContext old;
	Datum	   *made;

	if (shape->made != NULL)
		return shape->made;
	old = MemoryContextSwitchTo(batch->context);
	made = palloc(sizeof(Datum) * MADE_N);
	made[MADE_SESSION_ROLE] = text_datum(shape->session_role);
	made[MADE_ROLE] = text_datum(shape->role);
	made[MADE_COLUMNS] = texts_datum(shape->columns, shape->n_columns);
	made[MADE_KEYS] = texts_datum(shape->keys, shape->n_keys);
	MemoryContextSwitchTo(old);
	return shape->made = made;
}

/* Of a column that may be NULL. */
static void
set_column(Datum *values, bool *nulls, int column, Datum value, bool is_null)
{
	nulls[column] = is_null;
	values[column] = value;
}

void
dp_log_row(DpLogBatch *batch, int i, const bool *needed, Datum *values, bool *nulls)
{
	const DpUnpackedRecord *record = &batch->unpacked.records[i];
	DpShape    *shape = &batch->unpacked.shapes[record->shape];
	const Datum *made = made_of(batch, shape);

	memset(nulls, 0, sizeof(bool) * DP_AUDIT_N_COLUMNS);
	values[DP_AUDIT_SEQ] = Int64GetDatum(batch->seq_from + i);
	values[DP_AUDIT_AT] = TimestampTzGetDatum(record->at);
	values[DP_AUDIT_KIND] = CharGetDatum(shape->kind);
	values[DP_AUDIT_INSTANCE] = batch->instance;
	values[DP_AUDIT_RING_SEQ] = Int64GetDatum((int64) record->ring_seq);
	values[DP_AUDIT_SESSION] = Int64GetDatum((int64) record->session);
	values[DP_AUDIT_EVENT] = Int16GetDatum(shape->event);
	values[DP_AUDIT_OUTCOME] = CharGetDatum(shape->outcome);
	set_column(values, nulls, DP_AUDIT_REF_SEQ, Int64GetDatum((int64) record->ref_seq), record->ref_seq == 0);
	set_column(values, nulls, DP_AUDIT_REF_END, Int64GetDatum((int64) record->ref_end), record->ref_end == 0);
	set_column(values, nulls, DP_AUDIT_SESSION_ROLE, made[MADE_SESSION_ROLE], made[MADE_SESSION_ROLE] == 0);
	set_column(values, nulls, DP_AUDIT_ROLE, made[MADE_ROLE], made[MADE_ROLE] == 0);
	set_column(values, nulls, DP_AUDIT_COLUMNS, made[MADE_COLUMNS], made[MADE_COLUMNS] == 0);
	set_column(values, nulls, DP_AUDIT_KEYS, made[MADE_KEYS], made[MADE_KEYS] == 0);
	values[DP_AUDIT_MAC] = batch->mac;
	nulls[DP_AUDIT_OPENED] = shape->n_keys == 0 || !needed[DP_AUDIT_OPENED];
	if (!nulls[DP_AUDIT_OPENED])
		values[DP_AUDIT_OPENED] = counts_datum(&batch->unpacked, record, shape->n_keys, 0);
	nulls[DP_AUDIT_COMPARED] = shape->n_keys == 0 || !needed[DP_AUDIT_COMPARED];
	if (!nulls[DP_AUDIT_COMPARED])
		values[DP_AUDIT_COMPARED] = counts_datum(&batch->unpacked, record, shape->n_keys, 1);
	nulls[DP_AUDIT_SEALED] = record->sealed < 0 || !needed[DP_AUDIT_SEALED];
	if (!nulls[DP_AUDIT_SEALED])
		values[DP_AUDIT_SEALED] = reference_datum(batch, record->sealed);
}

/* One that is read as indexes of the column are, and has all rows: of refs, those that are not NULL. */
static bool
is_index_of(HeapTuple tuple, DpBatchColumn column)
{
	Form_pg_index index = (Form_pg_index) GETSTRUCT(tuple);
	HeapTuple	relation;
	bool		fits;

	if (!index->indisvalid || index->indkey.values[0] != column + 1 ||
		(column != DP_BATCH_REFS && !heap_attisnull(tuple, Anum_pg_index_indpred, NULL)))
		return false;
	relation = SearchSysCache1(RELOID, ObjectIdGetDatum(index->indexrelid));
	if (!HeapTupleIsValid(relation))
		return false;
	fits = ((Form_pg_class) GETSTRUCT(relation))->relam == (column == DP_BATCH_REFS ? GIST_AM_OID : BTREE_AM_OID);
	ReleaseSysCache(relation);
	return fits;
}

Oid
dp_log_index(Relation partition, DpBatchColumn column)
{
	List	   *indexes = RelationGetIndexList(partition);
	Oid			found = InvalidOid;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(lc)));

		if (!HeapTupleIsValid(tuple))
			continue;
		if (is_index_of(tuple, column))
			found = lfirst_oid(lc);
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	return found;
}

List *
dp_log_partitions(void)
{
	Oid			parent = get_relname_relid("audit_batch", get_namespace_oid("dataprotect", false));
	List	   *partitions = NIL;
	ListCell   *lc;

	if (!OidIsValid(parent))
		dp_report_altered("table \"dataprotect.audit_batch\" does not exist");
	LockRelationOid(parent, AccessShareLock);
	foreach(lc, find_inheritance_children(parent, AccessShareLock))
	{
		Relation	partition = table_open(lfirst_oid(lc), NoLock);

		if (RelationGetDescr(partition)->natts != DP_BATCH_N_COLUMNS)
			dp_report_altered("a partition of \"dataprotect.audit_batch\" does not have its columns");
		partitions = lappend(partitions, partition);
	}
	return partitions;
}

void
dp_log_close(List *partitions)
{
	ListCell   *lc;

	foreach(lc, partitions)
		table_close((Relation) lfirst(lc), NoLock);
}

/* Look a batch up by the number of its first record; NULL: there is none. */
static DpLogBatch *
find_batch(int64 seq_from)
{
	DpLogBatch *batch = NULL;
	List	   *partitions;
	ListCell   *lc;

	for (int i = 0; i < KEPT; i++)
	{
		if (kept[i] == NULL || kept[i]->seq_from != seq_from)
			continue;
		kept[i]->pins++;
		return kept[i];
	}
	partitions = dp_log_partitions();
	foreach(lc, partitions)
	{
		Relation	partition = (Relation) lfirst(lc);
		Oid			index = dp_log_index(partition, DP_BATCH_SEQ_TO);
		ScanKeyData keys[2];
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&keys[0], DP_BATCH_SEQ_TO + 1, BTGreaterEqualStrategyNumber, F_INT8GE, Int64GetDatum(seq_from));
		ScanKeyInit(&keys[1], DP_BATCH_SEQ_TO + 1, BTLessStrategyNumber, F_INT8LT, Int64GetDatum(seq_from + DP_PACKED_MAX));
		scan = systable_beginscan(partition, index, OidIsValid(index), GetActiveSnapshot(), 2, keys);
		while (batch == NULL && HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			Datum		values[DP_BATCH_N_COLUMNS];
			bool		nulls[DP_BATCH_N_COLUMNS];

			heap_deform_tuple(tuple, RelationGetDescr(partition), values, nulls);
			if (DatumGetInt64(values[DP_BATCH_SEQ_FROM]) == seq_from)
				batch = dp_log_batch(values, nulls);
		}
		systable_endscan(scan);
		if (batch != NULL)
			break;
	}
	dp_log_close(partitions);
	return batch;
}

/* Open the sealed column of a batch, once; n_parts is 0 where that fails. */
static void
open_parts(DpLogBatch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	bytea	   *sealed = batch->sealed == 0 ? NULL : DatumGetByteaPP(batch->sealed);
	bytea	   *plain;
	int			n = 0;

	if (sealed != NULL && dp_keys_audit_open((const uint8 *) VARDATA_ANY(sealed), VARSIZE_ANY_EXHDR(sealed), &plain) &&
		!dp_unpack_sealed((const uint8 *) VARDATA_ANY(plain), VARSIZE_ANY_EXHDR(plain), &n, &batch->parts))
		n = 0;
	batch->n_parts = n;
	MemoryContextSwitchTo(old);
}

bool
dp_log_sealed(const uint8 *reference, Size len, DpSlice *out)
{
	DpLogBatch *batch;
	uint64		seq;
	uint32		part;
	uint8	   *copy;

	if (len != REFERENCE)
		return false;
	memcpy(&seq, reference + 1, 8);
	memcpy(&part, reference + 9, 4);
	batch = find_batch((int64) pg_ntoh64(seq));
	if (batch == NULL)
		return false;
	if (batch->n_parts < 0)
		open_parts(batch);
	part = pg_ntoh32(part);
	if (part < (uint32) batch->n_parts)
	{
		out->len = batch->parts[part].len;
		copy = palloc(out->len + 1);
		memcpy(copy, batch->parts[part].data, out->len);
		out->data = copy;
	}
	else
		out->len = 0;
	dp_log_batch_release(batch);
	return out->len > 0;
}
