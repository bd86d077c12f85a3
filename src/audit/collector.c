/*
 * collector.c
 *	  The worker of each database that moves records from segment files into
 *	  dataprotect.audit_batch.
 *
 * Exactly once: the cursor of each instance moves in the transaction that
 * stores the rows.  Until a first key exists in the database there is no chain
 * key, and the records wait in their segments.
 *
 * A record whose backend is gone without a result (everything written before
 * the ring's boot_seq, once all of that is stored) is given the outcome "lost".
 */
#include "postgres.h"

#include "access/xact.h"
#include "audit/audit_workers.h"
#include "audit/batch.h"
#include "audit/chain_link.h"
#include "audit/collector.h"
#include "audit/prepared.h"
#include "audit/segment.h"
#include "base/compat.h"
#include "base/report.h"
#include "base/result.h"
#include "base/worker.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "events/denial.h"
#include "executor/spi.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define SINK_DELAY_MS	500		/* more may come */

/* Where reading of an instance's segments goes on; valid for the cursor beside it. */
typedef struct Progress
{
	uint8		instance[DP_RING_INSTANCE_LEN];
	uint64		cursor;
	uint64		first_seq;		/* of the segment */
	off_t		offset;
} Progress;

static List *progresses = NIL;	/* in TopMemoryContext */

static Progress *
find_progress(const uint8 *instance)
{
	MemoryContext old_context;
	Progress   *progress;
	ListCell   *cell;

	foreach(cell, progresses)
	{
		progress = (Progress *) lfirst(cell);
		if (memcmp(progress->instance, instance, DP_RING_INSTANCE_LEN) == 0)
			return progress;
	}
	old_context = MemoryContextSwitchTo(TopMemoryContext);
	progress = palloc0(sizeof(Progress));
	memcpy(progress->instance, instance, DP_RING_INSTANCE_LEN);
	progresses = lappend(progresses, progress);
	MemoryContextSwitchTo(old_context);
	return progress;
}

static void
run_sql(const char *sql, int n_args, Oid *types, Datum *values)
{
	int			rc = SPI_execute_with_args(sql, n_args, types, values, NULL, false, 0);

	if (rc < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
}

static bool
bytes_equal(Datum datum, const uint8 *expected, Size len)
{
	bytea	   *bytes = DatumGetByteaPP(datum);

	return VARSIZE_ANY_EXHDR(bytes) == len && dp_equal_ct(VARDATA_ANY(bytes), expected, len);
}

DpPrf *
dp_audit_require_chain(void)
{
	DpPrf	   *chain = dp_keys_audit_chain();

	if (chain == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the audit log has no key yet"),
				 errhint("Create a key with dataprotect.create_key().")));
	return chain;
}

static void
check_prf(bool ok)
{
	if (!ok)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not compute a MAC of the audit log")));
}

bool
dp_audit_read_head(DpChainPoint *out, bool lock)
{
	uint8		expected[DP_CHAIN_MAC_LEN];
	bool		isnull;
	bool		ok;

	memset(out, 0, sizeof(*out));
	if (lock)
		run_sql("SELECT seq, mac, sig FROM dataprotect.audit_head FOR UPDATE", 0, NULL, NULL);
	else if (SPI_execute("SELECT seq, mac, sig FROM dataprotect.audit_head", true, 0) < 0)
		dp_report_altered("could not read the head of the audit log");
	if (SPI_processed != 1)
		return false;
	out->seq = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	{
		bytea	   *mac = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));

		if (VARSIZE_ANY_EXHDR(mac) != DP_CHAIN_MAC_LEN)
			return false;
		memcpy(out->mac, VARDATA_ANY(mac), DP_CHAIN_MAC_LEN);
	}
	check_prf(dp_chain_head_mac(dp_audit_require_chain(), out, expected));
	ok = bytes_equal(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &isnull),
					 expected, DP_CHAIN_MAC_LEN);
	return ok;
}

/*
 * The name of the database's first chain key, which stays when it is replaced: what was
 * put back from before that has the same.
 */
static uint64
chain_name(void)
{
	int			n;
	uint64	   *older = dp_chain_older_keys(&n);
	DpPrf	   *first = n > 0 ? dp_keys_audit_chain_of(older[n - 1]) : NULL;
	uint64		name;

	check_prf(dp_chain_name(first != NULL ? first : dp_audit_require_chain(), &name));
	return name;
}

bool
dp_audit_read_witness(DpChainPoint *out)
{
	DpWitness	witness;

	if (!dp_ring_witness_get(MyDatabaseId, &witness) || witness.chain != chain_name())
		return false;
	out->seq = (int64) witness.seq;
	memcpy(out->mac, witness.mac, DP_CHAIN_MAC_LEN);
	return true;
}

/*
 * The point to go on from.  A damaged or missing head is not a reason to stop
 * storing evidence: the witness stands in, and verify_audit_log() tells.
 */
static void
read_chain_point(DpChainPoint *out)
{
	DpChainPoint witness;
	bool		isnull;

	if (dp_audit_read_head(out, true))
		return;
	if (dp_audit_read_witness(&witness))
	{
		*out = witness;
		return;
	}
	memset(out, 0, sizeof(*out));
	run_sql("SELECT greatest((SELECT max(seq_to) FROM dataprotect.audit_batch), (SELECT max(seq_to) FROM dataprotect.audit_archive), 0::int8)", 0, NULL, NULL);
	out->seq = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static void
write_head(const DpChainPoint *head)
{
	Oid			types[3] = {INT8OID, BYTEAOID, BYTEAOID};
	Datum		values[3];
	uint8		sig[DP_CHAIN_MAC_LEN];

	check_prf(dp_chain_head_mac(dp_audit_require_chain(), head, sig));
	values[0] = Int64GetDatum(head->seq);
	values[1] = dp_result_bytea(head->mac, DP_CHAIN_MAC_LEN);
	values[2] = dp_result_bytea(sig, DP_CHAIN_MAC_LEN);
	run_sql("INSERT INTO dataprotect.audit_head (seq, mac, sig) VALUES ($1, $2, $3) "
			"ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, mac = excluded.mac, sig = excluded.sig",
			3, types, values);
}

/*
 * A cursor with a wrong signature is replaced by what the table itself says; before
 * the first row, an empty signature is that of _audit_start().
 */
uint64
dp_audit_read_cursor(const uint8 *instance)
{
	Oid			types[1] = {UUIDOID};
	Datum		values[1];
	uint8		expected[DP_CHAIN_MAC_LEN];
	int64		cursor;
	bool		isnull;

	values[0] = dp_batch_instance(instance);
	run_sql("SELECT ring_seq, sig, EXISTS (SELECT FROM dataprotect.audit_head) "
			"FROM dataprotect.audit_cursor WHERE instance = $1", 1, types, values);
	if (SPI_processed == 1)
	{
		Datum		sig = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull);

		bool		begun = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
													   SPI_tuptable->tupdesc, 3, &isnull));

		cursor = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		check_prf(dp_chain_cursor_mac(dp_audit_require_chain(), instance, cursor, expected));
		if (bytes_equal(sig, expected, DP_CHAIN_MAC_LEN) || (!begun && bytes_equal(sig, expected, 0)))
			return (uint64) cursor;
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("cursor of the audit log was altered outside dataprotect")));
	}
	run_sql("SELECT coalesce(max(ring_to), 0) FROM dataprotect.audit_batch WHERE instance = $1",
			1, types, values);
	return (uint64) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

static void
write_cursor(const uint8 *instance, uint64 cursor)
{
	Oid			types[3] = {UUIDOID, INT8OID, BYTEAOID};
	Datum		values[3];
	uint8		sig[DP_CHAIN_MAC_LEN];

	check_prf(dp_chain_cursor_mac(dp_audit_require_chain(), instance, (int64) cursor, sig));
	values[0] = dp_batch_instance(instance);
	values[1] = Int64GetDatum((int64) cursor);
	values[2] = dp_result_bytea(sig, DP_CHAIN_MAC_LEN);
	run_sql("INSERT INTO dataprotect.audit_cursor (instance, ring_seq, sig) VALUES ($1, $2, $3) "
			"ON CONFLICT (instance) DO UPDATE SET ring_seq = excluded.ring_seq, sig = excluded.sig",
			3, types, values);
}

/* Make the partition of a month where it is missing. */
static void
ensure_partition(TimestampTz at)
{
	static int	known[24];		/* year * 12 + month; a small cache */
	static int	n_known = 0;
	struct pg_tm tm;
	fsec_t		fsec;
	char		name[NAMEDATALEN];
	int			month;
	int			next_year;
	int			next_month;

	if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		return;
	month = tm.tm_year * 12 + tm.tm_mon;
	for (int i = 0; i < Min(n_known, lengthof(known)); i++)
		if (known[i] == month)
			return;
	snprintf(name, sizeof(name), "audit_batch_y%04dm%02d", tm.tm_year, tm.tm_mon);
	next_year = tm.tm_mon == 12 ? tm.tm_year + 1 : tm.tm_year;
	next_month = tm.tm_mon == 12 ? 1 : tm.tm_mon + 1;
	if (!OidIsValid(get_relname_relid(name, get_namespace_oid("dataprotect", false))))
	{
		run_sql(psprintf("CREATE TABLE dataprotect.%s (LIKE dataprotect.audit_batch INCLUDING ALL, "
						 "PRIMARY KEY (seq_to))", name), 0, NULL, NULL);
		run_sql(psprintf("CREATE INDEX ON dataprotect.%s (at_to)", name), 0, NULL, NULL);
		run_sql(psprintf("CREATE INDEX ON dataprotect.%s USING gist (refs) WHERE refs IS NOT NULL", name), 0, NULL, NULL);
		run_sql(psprintf("COMMENT ON TABLE dataprotect.%s IS 'audit records of one month'", name),
				0, NULL, NULL);
		run_sql(psprintf("SELECT dataprotect._close('pg_catalog.pg_class'::pg_catalog.regclass, "
						 "'dataprotect.%s'::pg_catalog.regclass)", name), 0, NULL, NULL);
		run_sql(psprintf("SELECT dataprotect._keep_no_statistics('dataprotect.%s')", name),
				0, NULL, NULL);
		run_sql(psprintf("ALTER TABLE dataprotect.audit_batch ATTACH PARTITION dataprotect.%s "
						 "FOR VALUES FROM ('%04d-%02d-01 00:00:00+00') TO ('%04d-%02d-01 00:00:00+00')",
						 name, tm.tm_year, tm.tm_mon, next_year, next_month), 0, NULL, NULL);
		return;					/* known once it is committed and found */
	}
	known[n_known++ % lengthof(known)] = month;
}

static void
ensure_partitions(const DpBatch *batch)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		day = now / USECS_PER_DAY;

	ensure_partition(now);
	ensure_partition(now + 7 * USECS_PER_DAY);
	for (int i = 0; i < batch->n_entries; i++)
	{
		TimestampTz at = batch->entries[i]->at;

		if (at / USECS_PER_DAY == day)
			continue;
		ensure_partition(at);
		day = at / USECS_PER_DAY;
	}
}

static Datum
int8_array(const Datum *values, int n)
{
	return PointerGetDatum(construct_array((Datum *) values, n, INT8OID, 8, FLOAT8PASSBYVAL,
										   TYPALIGN_DOUBLE));
}

/* Keep audit_open: what has no outcome yet. */
static void
note_open_records(const DpBatch *batch)
{
	Datum	   *seqs = palloc(sizeof(Datum) * (batch->n_entries + 1));
	Datum	   *sessions = palloc(sizeof(Datum) * (batch->n_entries + 1));
	Datum	   *kinds = palloc(sizeof(Datum) * (batch->n_entries + 1));
	Oid			types[4] = {UUIDOID, INT8ARRAYOID, INT8ARRAYOID, CHARARRAYOID};
	Datum		values[4];
	int			n = 0;

	for (int i = 0; i < batch->n_entries; i++)
	{
		const DpBatchEntry *entry = batch->entries[i];

		if (entry->dropped || entry->result != NULL || entry->outcome != DP_OUTCOME_STARTED)
			continue;
		seqs[n] = Int64GetDatum((int64) entry->ring_seq);
		sessions[n] = Int64GetDatum((int64) entry->session);
		kinds[n++] = CharGetDatum(entry->kind);
	}
	if (n == 0)
		return;
	values[0] = dp_batch_instance(batch->instance);
	values[1] = int8_array(seqs, n);
	values[2] = int8_array(sessions, n);
	values[3] = PointerGetDatum(construct_array(kinds, n, CHAROID, 1, true, TYPALIGN_CHAR));
	run_sql("INSERT INTO dataprotect.audit_open (instance, ring_seq, session, kind) "
			"SELECT $1, o.ring_seq, o.session, o.kind "
			"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) "
			"AS o(ring_seq, session, kind) ON CONFLICT DO NOTHING",
			4, types, values);
}

static void
forget_open_records(const DpBatch *batch)
{
	Datum	   *seqs = palloc(sizeof(Datum) * (batch->n_entries + 1));
	Oid			types[2] = {UUIDOID, INT8ARRAYOID};
	Datum		values[2];
	int			n = 0;

	for (int i = 0; i < batch->n_entries; i++)
	{
		const DpBatchEntry *record = batch->entries[i];

		if (record->kind == DP_RECORD_RESULT)
			seqs[n++] = Int64GetDatum((int64) record->ref_seq);
		else if (record->kind == DP_RECORD_RANGE)
		{
			Oid			range_types[5] = {UUIDOID, INT8OID, INT8OID, INT8OID, INT4OID};
			Datum		range[5];

			if (record->transaction != 0 && memcmp(batch->instance, dp_ring_instance(), DP_RING_INSTANCE_LEN) == 0)
				dp_prepared_keep(record, batch->instance);
			range[0] = dp_batch_instance(batch->instance);
			range[1] = Int64GetDatum((int64) record->session);
			range[2] = Int64GetDatum((int64) record->ref_seq);
			range[3] = Int64GetDatum((int64) record->ref_end);
			range[4] = Int32GetDatum(record->scope);
			run_sql("DELETE FROM dataprotect.audit_open WHERE instance = $1 AND session = $2 "
					"AND ring_seq BETWEEN $3 AND $4 AND ($5 = 0 OR kind = 'e')", 5, range_types, range);
		}
	}
	if (n == 0)
		return;
	values[0] = dp_batch_instance(batch->instance);
	values[1] = int8_array(seqs, n);
	run_sql("DELETE FROM dataprotect.audit_open WHERE instance = $1 AND ring_seq = ANY ($2)",
			2, types, values);
}

/* Records below boot_seq: their backends are gone. */
static void
add_lost_records(DpBatch *batch, uint64 boot_seq)
{
	Oid			types[2] = {UUIDOID, INT8OID};
	Datum		values[2];

	for (int i = 0; i < batch->n_entries; i++)
	{
		DpBatchEntry *entry = batch->entries[i];

		if (entry->result == NULL && entry->outcome == DP_OUTCOME_STARTED && entry->ring_seq < boot_seq)
			dp_batch_add_lost(batch, entry->ring_seq, entry->session);
	}
	values[0] = dp_batch_instance(batch->instance);
	values[1] = Int64GetDatum((int64) boot_seq);
	run_sql("SELECT ring_seq, session FROM dataprotect.audit_open WHERE instance = $1 AND ring_seq < $2",
			2, types, values);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		bool		isnull;

		dp_batch_add_lost(batch,
						  DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull)),
						  DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull)));
	}
}

/* Read segments into the batch; true where nothing is left. */
static bool
read_segments(DpBatch *batch, List *segments, Progress *next)
{
	ListCell   *cell;

	foreach(cell, segments)
	{
		DpSegment  *segment = (DpSegment *) lfirst(cell);
		bool		resume = segment->first_seq == next->first_seq;
		DpSegmentScan *scan;
		const DpRecordFrame *frame;
		const void *payload;
		bool		full = false;

		if (memcmp(segment->instance, batch->instance, DP_RING_INSTANCE_LEN) != 0 ||
			segment->first_seq < next->first_seq)
			continue;
		scan = dp_segment_open(segment, resume ? next->offset : 0);
		if (scan == NULL)
			continue;
		next->first_seq = segment->first_seq;
		next->offset = dp_segment_offset(scan);
		while (!full && dp_segment_next(scan, &frame, &payload))
		{
			if (frame->seq > next->cursor)
				full = !dp_batch_add(batch, frame, payload);
			if (!full)
			{
				next->offset = dp_segment_offset(scan);
				next->cursor = Max(next->cursor, frame->seq);
			}
		}
		dp_segment_close(scan);
		if (full)
			return false;
	}
	return true;
}

static void
store_batch(DpBatch *batch, const Progress *next, uint64 old_cursor, DpChainPoint *head)
{
	read_chain_point(head);
	if (dp_batch_has_rows(batch))
	{
		ensure_partitions(batch);
		dp_batch_store_rows(batch, head);
		note_open_records(batch);
		forget_open_records(batch);
		write_head(head);
		run_sql("SELECT FROM dataprotect.sink LIMIT 1", 0, NULL, NULL);
		if (SPI_processed > 0)
			dp_worker_wake_within(MyDatabaseId, DP_SINK_WORKER, SINK_DELAY_MS);
	}
	if (next->cursor > old_cursor)
		write_cursor(batch->instance, next->cursor);
}

/* After the commit of what was stored. */
static void
set_witness(const DpChainPoint *head, uint64 name)
{
	DpWitness	witness = {.database = MyDatabaseId,.chain = name,.seq = (uint64) head->seq};

	dp_worker_note_work();
	if (head->seq == 0)
		return;
	memcpy(witness.mac, head->mac, DP_CHAIN_MAC_LEN);
	dp_ring_witness_set(&witness);
}

/* Ends of prepared transactions, an instance at a time; true where there may be more. */
static bool
collect_ends(void)
{
	uint8		instance[DP_RING_INSTANCE_LEN];
	Progress	none = {0};
	DpChainPoint head = {0};
	uint64		name = 0;
	bool		ended;

	StartTransactionCommand();
	SPI_connect();
	dp_chain_hold();
	PushActiveSnapshot(GetTransactionSnapshot());
	ended = dp_prepared_ended(instance);
	if (ended)
	{
		DpBatch    *batch = dp_batch_create(instance);

		dp_prepared_take_ends(batch);
		store_batch(batch, &none, 0, &head);
		name = chain_name();
	}
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	if (ended)
		set_witness(&head, name);
	return ended;
}

/* An instance that is neither this one nor a standby's has no backend left. */
static uint64
boot_seq_of(List *segments, const uint8 *instance, bool own)
{
	uint64		boot_seq = own ? dp_ring_boot_seq() : dp_segment_boot_seq(segments, instance);

	return boot_seq > 0 ? boot_seq : PG_INT64_MAX;
}

/*
 * One transaction for one instance's records; true where more wait.
 * flushed: the ring was in segments up to here when the list was made.
 */
static bool
collect_instance(List *segments, const uint8 *instance, uint64 flushed)
{
	bool		own = memcmp(instance, dp_ring_instance(), DP_RING_INSTANCE_LEN) == 0;
	Progress   *progress = find_progress(instance);
	DpBatch    *batch = dp_batch_create(instance);
	Progress	next;
	uint64		cursor;
	DpChainPoint head = {0};
	bool		at_end;
	bool		stored = false;
	uint64		name = 0;

	StartTransactionCommand();
	SPI_connect();
	dp_chain_hold();
	PushActiveSnapshot(GetTransactionSnapshot());
	cursor = dp_audit_read_cursor(instance);
	next = *progress;
	if (next.cursor != cursor)
	{
		memset(&next, 0, sizeof(next));
		memcpy(next.instance, instance, DP_RING_INSTANCE_LEN);
		next.cursor = cursor;
	}
	at_end = read_segments(batch, segments, &next);
	if (at_end && (!own || flushed + 1 >= dp_ring_boot_seq()))
		add_lost_records(batch, boot_seq_of(segments, instance, own));
	if (batch->n_entries > 0 || next.cursor > cursor)
	{
		store_batch(batch, &next, cursor, &head);
		stored = true;
		name = chain_name();
	}
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();

	if (stored)
		set_witness(&head, name);
	*progress = next;
	if (own && at_end)
		dp_ring_set_collected(MyDatabaseId, flushed);
	dp_segment_remove_stored(segments, instance, next.cursor);
	return !at_end;
}

bool
dp_audit_is_ready(void)
{
	bool		ready;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	ready = OidIsValid(get_namespace_oid("dataprotect", true)) &&
		OidIsValid(get_relname_relid("audit_head", get_namespace_oid("dataprotect", true))) &&
		dp_keys_audit_chain() != NULL;
	if (ready)
		dp_denial_write_counts(false);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return ready;
}

bool
dp_audit_collect(void)
{
	MemoryContext context;
	MemoryContext old_context;
	uint64		flushed = dp_ring_flushed_seq();
	const uint8 *last = NULL;
	bool		own_done = false;
	bool		more = false;
	List	   *segments;
	ListCell   *cell;

	if (!dp_audit_is_ready())
		return false;
	context = AllocSetContextCreate(CurrentMemoryContext, "audit collector", ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);
	segments = dp_segment_list(MyDatabaseId);
	foreach(cell, segments)
	{
		DpSegment  *segment = (DpSegment *) lfirst(cell);

		if (last != NULL && memcmp(last, segment->instance, DP_RING_INSTANCE_LEN) == 0)
			continue;
		last = segment->instance;
		own_done |= memcmp(last, dp_ring_instance(), DP_RING_INSTANCE_LEN) == 0;
		more |= collect_instance(segments, last, flushed);
		MemoryContextSwitchTo(context);
	}
	if (!own_done)
		dp_ring_set_collected(MyDatabaseId, flushed);
	more |= collect_ends();
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
	return more;
}
