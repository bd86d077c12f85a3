/*
 * forward.c
 *	  What a standby records reaches the log of its primary while both live.
 *
 *	standby								primary
 *	segments -> whole frames, MAC  ->	take_standby_log() -> a segment file of the
 *										standby's instance -> collector -> audit_batch
 *	files removed		<- replay		<- audit_cursor
 *
 * The standby keeps its segments until the cursor that it has replayed says that
 * they are in the table: whichever server dies, nothing is lost, and the cursor of
 * the instance sees to it that nothing is stored twice, a promoted standby's own
 * collector included.  take_standby_log() writes no table, so that a standby takes
 * the records of those that follow it, and sends them on.
 *
 * The connection is that of primary_conninfo, to the database, for one round: a session
 * that stayed would be in the way of DROP DATABASE there.  Who asks is not
 * enough: the frames carry a MAC under the chain key, which a role that may only
 * replicate does not have.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "audit/audit_workers.h"
#include "audit/chain_link.h"
#include "audit/collector.h"
#include "audit/segment.h"
#include "base/compat.h"
#include "base/report.h"
#include "base/worker.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "common/hashfn.h"
#include "events/ring.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "replication/walreceiver.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"
#include "utils/varlena.h"

PG_FUNCTION_INFO_V1(dp_audit_take);

#define SHIPMENT_MAX	(256 * 1024)	/* frames in one call */
#define FRAMES_MAX		(1024 * 1024)	/* that are taken */
#define LOOK_AGAIN_MS	1000	/* whether the cursor has come */
#define CONNECTION_NAME	"dataprotect"
#define NOTHING_GONE	1		/* as boot_seq */
#define OWN_RECORDS		PG_INT64_MAX	/* answer: they are of the primary's own instance */
#define TAKING_LOCK		3		/* as the last field of an advisory lock: none of SQL has it */

/* How far an instance's records have been sent. */
typedef struct Sender
{
	uint8		instance[DP_RING_INSTANCE_LEN];
	bool		asked;			/* the primary said how far it is, on this connection */
	uint64		sent;			/* or OWN_RECORDS: came with a base backup, are never sent */
	uint64		cursor;			/* stored, as far as it was replayed here */
	uint64		first_seq;		/* of the segment where reading goes on */
	off_t		offset;
} Sender;

static List *senders = NIL;		/* in TopMemoryContext */
static WalReceiverConn *primary = NULL;
static char *followed = NULL;	/* primary_conninfo that the senders are of; in TopMemoryContext */

static Sender *
find_sender(const uint8 *instance)
{
	MemoryContext old_context;
	Sender	   *sender;
	ListCell   *cell;

	foreach(cell, senders)
	{
		sender = (Sender *) lfirst(cell);
		if (memcmp(sender->instance, instance, DP_RING_INSTANCE_LEN) == 0)
			return sender;
	}
	old_context = MemoryContextSwitchTo(TopMemoryContext);
	sender = palloc0(sizeof(Sender));
	memcpy(sender->instance, instance, DP_RING_INSTANCE_LEN);
	senders = lappend(senders, sender);
	MemoryContextSwitchTo(old_context);
	return sender;
}

/* Go on behind seq, wherever that is. */
static void
restart_sender(Sender *sender, uint64 seq)
{
	sender->sent = seq;
	sender->first_seq = 0;
	sender->offset = 0;
}

/* A value of a connection string, quoted. */
static void
append_quoted(StringInfo out, const char *value)
{
	appendStringInfoChar(out, '\'');
	for (const char *c = value; *c != '\0'; c++)
	{
		if (*c == '\'' || *c == '\\')
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, *c);
	}
	appendStringInfoChar(out, '\'');
}

/*
 * primary_conninfo, to this database, and not under the name of the standby, by which
 * pg_stat_replication is asked how far it is: of two values of a keyword the later counts.
 */
static char *
primary_conninfo(const char *database)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoString(&out, PrimaryConnInfo);
	if (strncmp(PrimaryConnInfo, "postgresql://", 13) != 0 && strncmp(PrimaryConnInfo, "postgres://", 11) != 0)
	{
		appendStringInfoString(&out, " dbname=");
		append_quoted(&out, database);
		appendStringInfoString(&out, " application_name=" CONNECTION_NAME);
		return out.data;
	}
	appendStringInfo(&out, "%cdbname=", strchr(PrimaryConnInfo, '?') != NULL ? '&' : '?');
	for (const unsigned char *c = (const unsigned char *) database; *c != '\0'; c++)
		appendStringInfo(&out, "%%%02X", *c);
	appendStringInfoString(&out, "&application_name=" CONNECTION_NAME);
	return out.data;
}

/* In a transaction. */
static void
connect_primary(void)
{
	MemoryContext old_context;
	char	   *database = get_database_name(MyDatabaseId);
	char	   *problem = NULL;
	ListCell   *cell;

	if (primary != NULL)
		return;
	if (WalReceiverFunctions == NULL)
		load_file("libpqwalreceiver", false);
	if (WalReceiverFunctions == NULL || database == NULL)
		elog(ERROR, "libpqwalreceiver did not initialize correctly");
	old_context = MemoryContextSwitchTo(TopMemoryContext);
	primary = dp_walrcv_connect_sql(primary_conninfo(database), CONNECTION_NAME, &problem);
	MemoryContextSwitchTo(old_context);
	if (primary == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not send audit records to the primary: %s", problem ? problem : "no reason is known"),
				 errhint("The role of \"primary_conninfo\" must be let into database \"%s\" of the primary.", database)));
	foreach(cell, senders)
		((Sender *) lfirst(cell))->asked = false;
}

static void
disconnect_primary(void)
{
	WalReceiverConn *connection = primary;

	primary = NULL;
	if (connection != NULL)
		walrcv_disconnect(connection);
}

/* What one primary has said is nothing to another. */
static void
note_primary(void)
{
	if (followed != NULL && strcmp(followed, PrimaryConnInfo) == 0)
		return;
	disconnect_primary();
	list_free_deep(senders);
	senders = NIL;
	if (followed != NULL)
		pfree(followed);
	followed = NULL;
	followed = MemoryContextStrdup(TopMemoryContext, PrimaryConnInfo);
}

static void
append_hex(StringInfo out, const void *data, Size len)
{
	enlargeStringInfo(out, (int) len * 2);
	out->len += hex_encode(data, len, out->data + out->len);
	out->data[out->len] = '\0';
}

/* Have the primary take frames; returns how far it is.  In a transaction. */
static uint64
call_primary(const uint8 *instance, uint64 boot_seq, const StringInfo frames)
{
	Oid			types[1] = {INT8OID};
	uint8		mac[DP_CHAIN_MAC_LEN];
	StringInfoData call;
	WalRcvExecResult *result;
	TupleTableSlot *slot;
	uint64		answer;
	bool		isnull;

	dp_chain_hold();			/* one that has just been replaced is refused, and sent again under the next */
	if (!dp_chain_forward_mac(dp_audit_require_chain(), instance, boot_seq, frames->data, frames->len, mac))
		dp_report_no_memory("could not compute a MAC of the audit log");
	connect_primary();
	initStringInfo(&call);
	appendStringInfoString(&call, "SELECT dataprotect.take_standby_log('");
	append_hex(&call, instance, DP_RING_INSTANCE_LEN);
	appendStringInfo(&call, "', " UINT64_FORMAT ", pg_catalog.decode('", boot_seq);
	append_hex(&call, frames->data, frames->len);
	appendStringInfoString(&call, "', 'hex'), pg_catalog.decode('");
	append_hex(&call, mac, sizeof(mac));
	appendStringInfoString(&call, "', 'hex'))");
	result = walrcv_exec(primary, call.data, 1, types);
	if (result->status != WALRCV_OK_TUPLES)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not send audit records to the primary: %s", result->err ? result->err : "no reason is known")));
	slot = MakeSingleTupleTableSlot(result->tupledesc, &TTSOpsMinimalTuple);
	if (!tuplestore_gettupleslot(result->tuplestore, true, false, slot))
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not send audit records to the primary: %s", "it gave no answer")));
	answer = (uint64) DatumGetInt64(slot_getattr(slot, 1, &isnull));
	ExecDropSingleTupleTableSlot(slot);
	walrcv_clear_result(result);
	pfree(call.data);
	return answer;
}

/* What comes after next->sent, as much as one call takes; true where nothing is left. */
static bool
gather_frames(List *segments, Sender *next, StringInfo out)
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

		if (memcmp(segment->instance, next->instance, DP_RING_INSTANCE_LEN) != 0 ||
			segment->first_seq < next->first_seq)
			continue;
		scan = dp_segment_open(segment, resume ? next->offset : 0);
		if (scan == NULL)
			continue;
		next->first_seq = segment->first_seq;
		next->offset = dp_segment_offset(scan);
		while (!full && dp_segment_next(scan, &frame, &payload))
		{
			Size		len = DP_RECORD_FRAME_SIZE(frame->len);

			full = out->len + len > SHIPMENT_MAX;
			if (full)
				break;
			if (frame->seq > next->sent)
			{
				appendBinaryStringInfo(out, (const char *) frame, len);
				next->sent = frame->seq;
			}
			next->offset = dp_segment_offset(scan);
		}
		dp_segment_close(scan);
		if (full)
			return false;
	}
	return true;
}

/* Whose backends are gone, of what was sent so far. */
static uint64
gone_below(List *segments, const uint8 *instance, bool at_end, uint64 flushed)
{
	if (!at_end)
		return NOTHING_GONE;
	if (memcmp(instance, dp_ring_instance(), DP_RING_INSTANCE_LEN) != 0)
		return dp_segment_boot_seq(segments, instance);
	return flushed + 1 >= dp_ring_boot_seq() ? dp_ring_boot_seq() : NOTHING_GONE;
}

/* One call for one instance's records; true where more wait. */
static bool
forward_instance(List *segments, Sender *sender, uint64 flushed)
{
	StringInfoData frames;
	Sender		next;
	bool		at_end;

	initStringInfo(&frames);
	StartTransactionCommand();
	if (sender->cursor > sender->sent)
		restart_sender(sender, sender->cursor);
	next = *sender;
	at_end = gather_frames(segments, &next, &frames);
	if (frames.len > 0 && !sender->asked)
	{
		uint64		known;

		resetStringInfo(&frames);
		known = call_primary(sender->instance, NOTHING_GONE, &frames);
		known = Max(known, sender->cursor);
		if (known != sender->sent)
			restart_sender(sender, known);
		sender->asked = true;
		next = *sender;
		at_end = gather_frames(segments, &next, &frames);
	}
	if (frames.len > 0)
	{
		uint64		known = call_primary(sender->instance,
										 gone_below(segments, sender->instance, at_end, flushed), &frames);

		/* Less than was sent: the file system of the primary has lost something. */
		if (known < next.sent || known == OWN_RECORDS)
			restart_sender(&next, Max(known, sender->cursor));
		dp_worker_note_work();
	}
	*sender = next;
	CommitTransactionCommand();
	pfree(frames.data);
	dp_segment_remove_stored(segments, sender->instance, sender->cursor);
	return !at_end;
}

/* Cursors as they were replayed. */
static void
look_at_cursors(List *segments)
{
	const uint8 *last = NULL;
	ListCell   *cell;

	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(cell, segments)
	{
		DpSegment  *segment = (DpSegment *) lfirst(cell);

		if (last != NULL && memcmp(last, segment->instance, DP_RING_INSTANCE_LEN) == 0)
			continue;
		last = segment->instance;
		find_sender(last)->cursor = dp_audit_read_cursor(last);
	}
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
}

static bool
forward(void)
{
	MemoryContext context;
	MemoryContext old_context;
	uint64		flushed = dp_ring_flushed_seq();
	const uint8 *last = NULL;
	bool		all_stored = true;
	bool		more = false;
	List	   *segments;
	ListCell   *cell;

	if (PrimaryConnInfo == NULL || PrimaryConnInfo[0] == '\0' || !dp_audit_is_ready())
		return false;
	note_primary();
	context = AllocSetContextCreate(CurrentMemoryContext, "audit sender", ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);
	segments = dp_segment_list(MyDatabaseId);
	look_at_cursors(segments);
	MemoryContextSwitchTo(context);
	foreach(cell, segments)
	{
		DpSegment  *segment = (DpSegment *) lfirst(cell);
		Sender	   *sender;

		if (last != NULL && memcmp(last, segment->instance, DP_RING_INSTANCE_LEN) == 0)
			continue;
		last = segment->instance;
		sender = find_sender(last);
		more |= forward_instance(segments, sender, flushed);
		all_stored &= sender->sent <= sender->cursor || sender->sent == OWN_RECORDS;
		MemoryContextSwitchTo(context);
	}
	if (!more)
		disconnect_primary();
	if (all_stored && !more)
		dp_ring_set_collected(MyDatabaseId, flushed);
	else if (!more)
		dp_worker_wake_within(MyDatabaseId, DP_AUDIT_WORKER_KIND, LOOK_AGAIN_MS);
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
	return more;
}

bool
dp_audit_round(void)
{
	volatile bool more = false;

	if (!RecoveryInProgress())
	{
		disconnect_primary();
		return dp_audit_collect();
	}
	PG_TRY();
	{
		more = forward();
	}
	PG_CATCH();
	{
		disconnect_primary();
		PG_RE_THROW();
	}
	PG_END_TRY();
	return more;
}

/* An error unless these are whole frames of this database, ascending; the first after known. */
static const char *
check_frames(const char *data, Size len, uint64 known, uint64 *out_last)
{
	const char *end = data + len;
	const char *first = end;
	uint64		last = 0;

	while (data < end)
	{
		const DpRecordFrame *frame = (const DpRecordFrame *) data;
		Size		left = end - data;

		if (left < sizeof(DpRecordFrame) || frame->len > DP_RING_FRAME_MAX - sizeof(DpRecordFrame) ||
			left < DP_RECORD_FRAME_SIZE(frame->len) || !dp_record_frame_check(frame, frame + 1) ||
			frame->database != MyDatabaseId || frame->seq <= last || frame->seq >= PG_INT64_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("audit records of a standby are malformed")));
		last = frame->seq;
		if (last > known && first == end)
			first = data;
		data += DP_RECORD_FRAME_SIZE(frame->len);
	}
	*out_last = last;
	return first;
}

/*
 * Until the transaction ends, nobody else adds records of the instance: two that found the same
 * "known" would make the same file, each with its own frames.  An advisory lock, since a standby
 * that others follow takes no stronger one of another kind.
 */
static void
lock_taking(const uint8 *instance)
{
	LOCKTAG		tag;
	uint64		hash = DatumGetUInt64(hash_any_extended(instance, DP_RING_INSTANCE_LEN, 0));

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) (hash >> 32), (uint32) hash, TAKING_LOCK);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

Datum
dp_audit_take(PG_FUNCTION_ARGS)
{
	const uint8 *instance = PG_GETARG_UUID_P(0)->data;
	uint64		boot_seq = (uint64) PG_GETARG_INT64(1);
	bytea	   *frames = PG_GETARG_BYTEA_PP(2);
	bytea	   *mac = PG_GETARG_BYTEA_PP(3);
	Size		len = VARSIZE_ANY_EXHDR(frames);
	uint8		expected[DP_CHAIN_MAC_LEN];
	uint64		known;
	uint64		last;
	char	   *copy;
	const char *first;

	if (!has_rolreplication(GetSessionUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to add audit records of a standby"),
				 errdetail("Only roles with the %s attribute may send them.", "REPLICATION")));
	dp_chain_hold();
	if (len > FRAMES_MAX ||
		!dp_chain_forward_mac(dp_audit_require_chain(), instance, boot_seq, VARDATA_ANY(frames), len, expected) ||
		VARSIZE_ANY_EXHDR(mac) != sizeof(expected) || !dp_equal_ct(VARDATA_ANY(mac), expected, sizeof(expected)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("audit records of a standby do not come from a server with the keys of this database")));
	if (memcmp(instance, dp_ring_instance(), DP_RING_INSTANCE_LEN) == 0)
		PG_RETURN_INT64(OWN_RECORDS);

	lock_taking(instance);
	SPI_connect();
	known = dp_audit_read_cursor(instance);
	SPI_finish();
	known = Max(known, dp_segment_newest_in(MyDatabaseId, instance));
	copy = palloc(len + 1);		/* aligned */
	memcpy(copy, VARDATA_ANY(frames), len);
	first = check_frames(copy, len, known, &last);
	if (first < copy + len)
	{
		dp_segment_store(MyDatabaseId, instance, ((const DpRecordFrame *) first)->seq, boot_seq,
						 first, copy + len - first);
		known = last;
		dp_worker_wake_within(MyDatabaseId, DP_AUDIT_WORKER_KIND, LOOK_AGAIN_MS);
	}
	PG_RETURN_INT64((int64) known);
}
