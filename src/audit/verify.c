/*
 * verify.c
 *	  verify_audit_log(): the chain over every batch, its head, and the witness.
 *
 *	what was done to the table			how it shows
 *	a batch altered, inserted, swapped	its MAC, or a number, is wrong
 *	a batch removed						numbers are missing
 *	the newest batches removed			the head, and the witness, know a later one
 *	and the head put back as well		the witness in the ring file knows
 *
 * A batch is altered as a whole: what is packed together has no record that could be
 * altered by itself.  first_bad is the first of its records.
 *
 * Where the key was replaced, a link says so (chain_link.h): what is before it is checked
 * with the replaced key, and must come to the MAC that the newer key has signed.
 *
 * Batches that were archived and dropped (archive.h) are no fault: a signed note says
 * from which MAC to which the chain goes over them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "audit/archive.h"
#include "audit/chain_link.h"
#include "audit/collector.h"
#include "base/compat.h"
#include "base/report.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define BATCHES_AT_ONCE	100

typedef struct Verdict
{
	int64		checked;
	int64		first_bad;		/* 0: none */
	const char *detail;
	DpChainPoint last;			/* newest batch that fits */
	DpChainLinks *links;
	DpChainPoint witness;
	bool		has_witness;
	bool		witness_seen;
	DpChainArchive *archives;	/* ascending */
	int			n_archives;
	int			next_archive;
} Verdict;

PG_FUNCTION_INFO_V1(dp_audit_verify);

static void
find_fault(Verdict *verdict, int64 seq, const char *detail)
{
	if (verdict->first_bad != 0)
		return;
	verdict->first_bad = seq;
	verdict->detail = detail;
}

/* Is what the chain has come to what a later key vouches for? */
static void
check_link(Verdict *verdict, int64 from)
{
	if (dp_chain_link_denies(verdict->links, verdict->last.seq, verdict->last.mac))
		find_fault(verdict, from, "the record, or one before it, is not the one that was there when the key of the chain was replaced");
}

/* Go on behind rows that were archived. */
static void
step_over_archives(Verdict *verdict)
{
	while (verdict->next_archive < verdict->n_archives)
	{
		const DpChainArchive *archive = &verdict->archives[verdict->next_archive];

		if (archive->from > verdict->last.seq + 1)
			return;
		verdict->next_archive++;
		if (archive->from != verdict->last.seq + 1 || archive->to < archive->from)
			continue;			/* its rows are here */
		if (!dp_equal_ct(archive->before, verdict->last.mac, DP_CHAIN_MAC_LEN))
			find_fault(verdict, archive->from, "the records before those that were archived are not the ones that were there");
		verdict->last.seq = archive->to;
		memcpy(verdict->last.mac, archive->mac, DP_CHAIN_MAC_LEN);
		check_link(verdict, archive->from);
	}
}

static void
check_batch(Verdict *verdict, HeapTuple tuple, TupleDesc desc)
{
	Datum		values[DP_BATCH_N_COLUMNS];
	bool		nulls[DP_BATCH_N_COLUMNS];
	uint8		expected[DP_CHAIN_MAC_LEN];
	bytea	   *mac;
	int64		from;
	int64		to;

	heap_deform_tuple(tuple, desc, values, nulls);
	from = DatumGetInt64(values[DP_BATCH_SEQ_FROM]);
	to = DatumGetInt64(values[DP_BATCH_SEQ_TO]);
	mac = DatumGetByteaPP(values[DP_BATCH_MAC]);
	verdict->checked += to - from + 1;
	if (from != verdict->last.seq + 1)
		step_over_archives(verdict);
	if (from != verdict->last.seq + 1)
	{
		find_fault(verdict, Min(from, verdict->last.seq + 1),
				   from > verdict->last.seq ? "records are missing" : "records were added");
		return;
	}
	if (!dp_chain_batch_mac(dp_chain_key_of(verdict->links, from), verdict->last.mac, values, nulls, expected))
		dp_report_no_memory("could not compute the MAC of a batch of the audit log");
	if (to < from || VARSIZE_ANY_EXHDR(mac) != DP_CHAIN_MAC_LEN ||
		!dp_equal_ct(VARDATA_ANY(mac), expected, DP_CHAIN_MAC_LEN))
	{
		find_fault(verdict, from, "the record, or one stored with it, was altered, or is not the one that was written");
		return;
	}
	verdict->last.seq = to;
	memcpy(verdict->last.mac, expected, DP_CHAIN_MAC_LEN);
	check_link(verdict, from);
	if (verdict->has_witness && to == verdict->witness.seq)
	{
		verdict->witness_seen = true;
		if (!dp_equal_ct(expected, verdict->witness.mac, DP_CHAIN_MAC_LEN))
			find_fault(verdict, from, "the records differ from those the ring file remembers");
	}
}

static void
check_batches(Verdict *verdict)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "verify audit batches",
												  ALLOCSET_DEFAULT_SIZES);
	Portal		cursor;
	SPIPlanPtr	plan = SPI_prepare("SELECT " DP_BATCH_COLUMN_LIST
								   " FROM dataprotect.audit_batch ORDER BY seq_to, seq_from, at_from", 0, NULL);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	cursor = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	while (verdict->first_bad == 0)
	{
		MemoryContext old_context;
		SPITupleTable *table;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(cursor, true, BATCHES_AT_ONCE);
		if (SPI_processed == 0)
			break;
		table = SPI_tuptable;
		old_context = MemoryContextSwitchTo(context);
		for (uint64 i = 0; i < SPI_processed && verdict->first_bad == 0; i++)
			check_batch(verdict, table->vals[i], table->tupdesc);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(context);
		SPI_freetuptable(table);
	}
	SPI_cursor_close(cursor);
	MemoryContextDelete(context);
}

static void
check_end(Verdict *verdict)
{
	DpChainPoint head;
	bool		has_head = dp_audit_read_head(&head, false);

	step_over_archives(verdict);
	if (has_head && head.seq > verdict->last.seq)
		find_fault(verdict, verdict->last.seq + 1, "the newest records are missing");
	else if (has_head && (head.seq < verdict->last.seq ||
						  !dp_equal_ct(head.mac, verdict->last.mac, DP_CHAIN_MAC_LEN)))
		find_fault(verdict, head.seq, "the head of the log does not fit its newest record");
	else if (!has_head && (head.seq != 0 || verdict->last.seq > 0))
		find_fault(verdict, Max(verdict->last.seq, 1), "the head of the log is missing or was altered");
	if (verdict->has_witness && !verdict->witness_seen && verdict->witness.seq > verdict->last.seq)
		find_fault(verdict, verdict->last.seq + 1,
				   "the newest records are missing: the ring file remembers a later one");
}

/* Is there anything that only a chained log leaves behind? */
static bool
log_has_traces(void)
{
	return SPI_execute("SELECT FROM dataprotect.audit_head UNION ALL SELECT FROM dataprotect.audit_batch LIMIT 1",
					   true, 1) == SPI_OK_SELECT && SPI_processed > 0;
}

/* Before what it tells of can be missed: a link cut off, or of others. */
static void
check_links(Verdict *verdict)
{
	verdict->links = dp_chain_links();
	if (verdict->links->first_bad != 0)
		find_fault(verdict, verdict->links->first_bad, "what links the keys of the chain was altered");
}

/*
 * The key that is used now, as the snapshot of the batches has it: on a standby, which
 * cannot keep it from being replaced, it may have been overtaken.
 */
static void
check_current_key(void)
{
	for (int i = 0; i < 2; i++)
	{
		bool		isnull;

		if (SPI_execute("SELECT v.key_id FROM dataprotect.key_version v WHERE v.family = 0 AND v.purpose = 7 AND v.state = 'a'",
						true, 0) != SPI_OK_SELECT || SPI_processed != 1 ||
			(uint64) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) == dp_keys_audit_chain_id())
			return;
		dp_keys_forget();
	}
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("the key of the audit log's chain is being replaced"),
			 errhint("Try again.")));
}

/*
 * No row is locked: a caller's transaction may stay open, and the collector
 * must go on.  Batches and head are read by one snapshot, which has both of each of
 * its transactions; the witness is set after a batch was committed, so that one read
 * before the snapshot is never newer than what the snapshot has.
 */
static void
check_log(Verdict *verdict)
{
	memset(verdict, 0, sizeof(*verdict));
	dp_chain_hold();
	if (dp_keys_audit_chain() != NULL)
		verdict->has_witness = dp_audit_read_witness(&verdict->witness);
	/* what is archived goes from the table and to its note between two snapshots */
	LockRelationOid(get_relname_relid("audit_batch", get_namespace_oid("dataprotect", false)), AccessShareLock);
	PushActiveSnapshot(GetLatestSnapshot());
	if (dp_keys_audit_chain() != NULL)
	{
		check_current_key();
		check_links(verdict);
		verdict->archives = dp_archive_list(&verdict->n_archives);
		check_batches(verdict);
		check_end(verdict);
	}
	else if (log_has_traces())
		find_fault(verdict, 1, "the key of the log's chain is missing");
	PopActiveSnapshot();
	dp_chain_let_go();			/* whoever calls may stay in the transaction */
}

Datum
dp_audit_verify(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Verdict		verdict;
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	SPI_connect();
	check_log(&verdict);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	values[0] = BoolGetDatum(verdict.first_bad == 0);
	values[1] = Int64GetDatum(verdict.checked);
	values[2] = Int64GetDatum(verdict.first_bad);
	nulls[2] = verdict.first_bad == 0;
	nulls[3] = verdict.detail == NULL;
	if (verdict.detail != NULL)
		values[3] = CStringGetTextDatum(verdict.detail);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
