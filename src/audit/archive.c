/*
 * archive.c
 *	  Writing months of the audit log to files, and dropping them; see archive.h.
 *
 * One month a transaction: verify, read and write it; put the file into its place;
 * note, event, drop, commit.  What comes into the month meanwhile (a standby's late
 * record) is found under the lock, and lets it wait for the next round.  What a crash leaves is a file that the next round
 * writes again.  Numbers follow the order of storing, months that of events: a
 * record that came late (of a standby, say) makes a month several runs of numbers,
 * each with its note.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "audit/archive.h"
#include "audit/audit_workers.h"
#include "audit/chain_link.h"
#include "audit/collector.h"
#include "audit/sink_line.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/report.h"
#include "base/result.h"
#include "base/statement.h"
#include "base/worker.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "events/event.h"
#include "executor/spi.h"
#include "keys/keys.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define LOOK_EVERY_MS	(60 * 60 * 1000)
#define ROWS_AT_ONCE	1000
#define BATCHES_AT_ONCE	100
#define FILE_BUFFER		(256 * 1024)

/* Records whose numbers follow each other: batches, one after the other. */
typedef struct Run
{
	DpChainArchive archive;
	TimestampTz at_from;
	TimestampTz at_to;
} Run;

typedef struct Archiving
{
	const char *partition;
	TimestampTz end;			/* of its month */
	char	   *uid;
	char		name[MAXPGPATH];	/* of the file, set with the first record */
	char		path[MAXPGPATH];
	char		temporary[MAXPGPATH];
	int			fd;
	StringInfoData buffer;
	MemoryContext context;		/* of one row */
	pg_cryptohash_ctx *hash;	/* of the run that is written */
	Run		   *run;			/* the one that is verified, or written */
	List	   *runs;
	DpChainLinks *links;
	int64		batches;
	int64		records;		/* written */
} Archiving;

static void
select_rows(const char *sql, int n_args, Oid *types, Datum *values)
{
	if (SPI_execute_with_args(sql, n_args, types, values, NULL, false, 0) != SPI_OK_SELECT)
		dp_report_altered("could not read the audit log");
}

static Datum
column(uint64 row, int number)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, number, &isnull);

	return isnull ? (Datum) 0 : value;
}

static bool
copy_bytes(Datum datum, uint8 *out, Size len)
{
	bytea	   *bytes = (bytea *) DatumGetPointer(datum);

	if (bytes == NULL)
		return false;
	bytes = DatumGetByteaPP(datum);
	if (VARSIZE_ANY_EXHDR(bytes) != len)
		return false;
	memcpy(out, VARDATA_ANY(bytes), len);
	return true;
}

static void
sign(const DpChainArchive *archive, uint8 out[DP_CHAIN_MAC_LEN])
{
	if (!dp_chain_archive_mac(dp_audit_require_chain(), archive, out))
		dp_report_no_memory("could not compute a MAC of the audit log");
}

DpChainArchive *
dp_archive_list(int *out_n)
{
	DpChainArchive *list;
	int			n = 0;

	if (SPI_execute("SELECT seq_from, seq_to, mac_before, mac, sha256, sig FROM dataprotect.audit_archive ORDER BY seq_from",
					true, 0) != SPI_OK_SELECT)
		dp_report_altered("could not read what was archived of the audit log");
	list = palloc(sizeof(DpChainArchive) * (SPI_processed + 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		DpChainArchive *archive = &list[n];
		uint8		expected[DP_CHAIN_MAC_LEN];
		uint8		sig[DP_CHAIN_MAC_LEN];

		archive->from = DatumGetInt64(column(i, 1));
		archive->to = DatumGetInt64(column(i, 2));
		if (!copy_bytes(column(i, 3), archive->before, DP_CHAIN_MAC_LEN) ||
			!copy_bytes(column(i, 4), archive->mac, DP_CHAIN_MAC_LEN) ||
			!copy_bytes(column(i, 5), archive->sha256, sizeof(archive->sha256)) ||
			!copy_bytes(column(i, 6), sig, sizeof(sig)))
			continue;
		sign(archive, expected);
		if (dp_equal_ct(expected, sig, sizeof(sig)))
			n++;
	}
	*out_n = n;
	return list;
}

pg_noreturn static void
fail(Archiving *work, const char *what)
{
	int			error = errno;

	close(work->fd);
	errno = error;
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not %s an archive of the audit log in directory \"%s\": %m", what, dp_guc_audit_archive_directory)));
}

static void
write_out(Archiving *work)
{
	int			done = 0;

	while (done < work->buffer.len)
	{
		ssize_t		n = write(work->fd, work->buffer.data + done, work->buffer.len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			fail(work, "write");
		done += n;
	}
	resetStringInfo(&work->buffer);
}

static void
open_file(Archiving *work, int64 first)
{
	snprintf(work->name, sizeof(work->name), "dataprotect-%s-%s-%020lld.jsonl", work->uid,
			 work->partition + strlen("audit_batch_"), (long long) first);
	snprintf(work->path, sizeof(work->path), "%s/%s", dp_guc_audit_archive_directory, work->name);
	snprintf(work->temporary, sizeof(work->temporary), "%s/.%s", dp_guc_audit_archive_directory, work->name);
	work->fd = open(work->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (work->fd < 0)
		fail(work, "create");
}

static void
put_line(Archiving *work, const char *line, int len)
{
	appendBinaryStringInfo(&work->buffer, line, len);
	appendStringInfoChar(&work->buffer, '\n');
	if (work->buffer.len >= FILE_BUFFER)
		write_out(work);
}

/* The file is whole, and on disk under its name. */
static void
close_file(Archiving *work)
{
	int			dir;

	write_out(work);
	if (fsync(work->fd) != 0)
		fail(work, "write");
	if (close(work->fd) != 0 || rename(work->temporary, work->path) != 0)
	{
		work->fd = -1;
		fail(work, "write");
	}
	work->fd = open(dp_guc_audit_archive_directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = work->fd;
	if (dir < 0 || fsync(dir) != 0)
		fail(work, "write");
	close(dir);
}

/* The MAC of the batch before a run: in the table, or the end of what was archived. */
static void
read_mac_before(int64 seq, uint8 out[DP_CHAIN_MAC_LEN])
{
	Oid			types[1] = {INT8OID};
	Datum		values[1] = {Int64GetDatum(seq - 1)};

	memset(out, 0, DP_CHAIN_MAC_LEN);
	if (seq == 1)
		return;
	select_rows("SELECT b.mac FROM dataprotect.audit_batch b WHERE b.seq_to = $1 "
				"UNION ALL SELECT a.mac FROM dataprotect.audit_archive a WHERE a.seq_to = $1", 1, types, values);
	if (SPI_processed == 0 || !copy_bytes(column(0, 1), out, DP_CHAIN_MAC_LEN))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record " INT64_FORMAT " of the audit log is missing", seq - 1),
				 errhint("Call dataprotect.verify_audit_log().")));
}

static void
begin_run(Archiving *work, int64 seq, TimestampTz at)
{
	work->run = palloc0(sizeof(Run));
	work->run->archive.from = seq;
	work->run->at_from = work->run->at_to = at;
	read_mac_before(seq, work->run->archive.before);
	memcpy(work->run->archive.mac, work->run->archive.before, DP_CHAIN_MAC_LEN);
	work->runs = lappend(work->runs, work->run);
}

/* Only what the chain vouches for goes: whether its time is over says the batch itself. */
static void
check_batch(Archiving *work, const Datum *values, const bool *nulls)
{
	int64		from = DatumGetInt64(values[DP_BATCH_SEQ_FROM]);
	int64		to = DatumGetInt64(values[DP_BATCH_SEQ_TO]);
	TimestampTz at_from = DatumGetTimestampTz(values[DP_BATCH_AT_FROM]);
	TimestampTz at_to = DatumGetTimestampTz(values[DP_BATCH_AT_TO]);
	MemoryContext outer = CurrentMemoryContext;
	uint8		expected[DP_CHAIN_MAC_LEN];
	uint8		mac[DP_CHAIN_MAC_LEN];

	if (work->run == NULL || from != work->run->archive.to + 1)
		begin_run(work, from, at_from);
	MemoryContextSwitchTo(work->context);
	if (!dp_chain_batch_mac(dp_chain_key_of(work->links, from), work->run->archive.mac, values, nulls, expected))
		dp_report_no_memory("could not compute the MAC of a batch of the audit log");
	if (at_to >= work->end || !copy_bytes(values[DP_BATCH_MAC], mac, sizeof(mac)) || !dp_equal_ct(mac, expected, sizeof(mac)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("record " INT64_FORMAT " of the audit log, or one stored with it, was altered, or is not the one that was written", from),
				 errhint("Call dataprotect.verify_audit_log(). Nothing of its month is dropped.")));
	MemoryContextSwitchTo(outer);
	MemoryContextReset(work->context);
	memcpy(work->run->archive.mac, expected, DP_CHAIN_MAC_LEN);
	work->run->archive.to = to;
	work->run->at_to = Max(work->run->at_to, at_to);
	work->run->at_from = Min(work->run->at_from, at_from);
	work->batches++;
}

static void
take_row(Archiving *work, const DpSinkRow *row)
{
	int64		seq = DatumGetInt64(row->values[DP_AUDIT_SEQ]);
	MemoryContext outer = CurrentMemoryContext;
	StringInfoData line;

	if (work->fd < 0)
		open_file(work, seq);
	MemoryContextSwitchTo(work->context);
	initStringInfo(&line);
	dp_sink_line(&line, row, work->uid);
	MemoryContextSwitchTo(outer);
	put_line(work, line.data, line.len);
	if (pg_cryptohash_update(work->hash, (uint8 *) line.data, line.len) != 0 ||
		pg_cryptohash_update(work->hash, (const uint8 *) "\n", 1) != 0)
		dp_report_no_memory("could not hash the audit log");
	MemoryContextReset(work->context);
	work->records++;
}

/* Hand over what a query gives, so many rows at a time. */
static void
read_query(Archiving *work, const char *query, int at_once, void (*take) (Archiving *work, const Datum *values, const bool *nulls))
{
	SPIPlanPtr	plan = SPI_prepare(query, 0, NULL);
	Portal		cursor;

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	cursor = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	for (;;)
	{
		SPITupleTable *table;
		uint64		n;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(cursor, true, at_once);
		table = SPI_tuptable;
		n = SPI_processed;
		for (uint64 i = 0; i < n; i++)
		{
			DpSinkRow	row;	/* has room for both tables' columns */

			heap_deform_tuple(table->vals[i], table->tupdesc, row.values, row.nulls);
			take(work, row.values, row.nulls);
		}
		SPI_freetuptable(table);
		if (n == 0)
			break;
	}
	SPI_cursor_close(cursor);
}

StaticAssertDecl((int) DP_AUDIT_N_COLUMNS >= (int) DP_BATCH_N_COLUMNS, "a row has room for a batch");

static void
take_record(Archiving *work, const Datum *values, const bool *nulls)
{
	DpSinkRow	row;

	memcpy(row.values, values, sizeof(row.values));
	memcpy(row.nulls, nulls, sizeof(row.nulls));
	take_row(work, &row);
}

/* Write the lines of each run, whose batches were verified by the same snapshot. */
static void
write_runs(Archiving *work)
{
	ListCell   *lc;

	foreach(lc, work->runs)
	{
		DpChainArchive *archive = &((Run *) lfirst(lc))->archive;
		int64		before = work->records;

		if (pg_cryptohash_init(work->hash) != 0)
			dp_report_no_memory("could not hash the audit log");
		read_query(work, psprintf("SELECT " DP_AUDIT_COLUMN_LIST " FROM dataprotect.audit_record "
								  "WHERE seq >= " INT64_FORMAT " AND seq <= " INT64_FORMAT " ORDER BY seq", archive->from, archive->to),
				   ROWS_AT_ONCE, take_record);
		if (work->records - before != archive->to - archive->from + 1)
			dp_report_altered("records of the audit log are missing");
		if (pg_cryptohash_final(work->hash, archive->sha256, PG_SHA256_DIGEST_LENGTH) != 0)
			dp_report_no_memory("could not hash the audit log");
	}
}

/* Under the lock: has nothing come into the month since it was read? */
static bool
is_complete(const Archiving *work)
{
	select_rows(psprintf("SELECT count(*) FROM dataprotect.%s", work->partition), 0, NULL, NULL);
	return DatumGetInt64(column(0, 1)) == work->batches;
}

/* The digests that are of these records, beside them. */
static void
write_digests(Archiving *work)
{
	ListCell   *lc;

	foreach(lc, work->runs)
	{
		const Run  *run = lfirst(lc);
		Oid			types[2] = {INT8OID, INT8OID};
		Datum		values[2];

		values[0] = Int64GetDatum(run->archive.from);
		values[1] = Int64GetDatum(run->archive.to);
		select_rows("SELECT dataprotect._digest_line(d) FROM dataprotect.audit_digest d "
					"WHERE d.seq_to >= $1 AND d.seq_from <= $2 ORDER BY d.id", 2, types, values);
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			char	   *line = TextDatumGetCString(column(i, 1));

			put_line(work, line, strlen(line));
		}
	}
}

static void
write_note(const Archiving *work, const Run *run)
{
	Oid			types[9] = {INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, BYTEAOID, BYTEAOID, BYTEAOID, TEXTOID, BYTEAOID};
	Datum		values[9];
	uint8		sig[DP_CHAIN_MAC_LEN];

	sign(&run->archive, sig);
	values[0] = Int64GetDatum(run->archive.from);
	values[1] = Int64GetDatum(run->archive.to);
	values[2] = TimestampTzGetDatum(run->at_from);
	values[3] = TimestampTzGetDatum(run->at_to);
	values[4] = dp_result_bytea(run->archive.before, DP_CHAIN_MAC_LEN);
	values[5] = dp_result_bytea(run->archive.mac, DP_CHAIN_MAC_LEN);
	values[6] = dp_result_bytea(run->archive.sha256, sizeof(run->archive.sha256));
	values[7] = CStringGetTextDatum(work->name);
	values[8] = dp_result_bytea(sig, sizeof(sig));
	if (SPI_execute_with_args("INSERT INTO dataprotect.audit_archive (seq_from, seq_to, at_from, at_to, mac_before, mac, sha256, file, archived_at, sig) "
							  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, pg_catalog.now(), $9) "
							  "ON CONFLICT (seq_from) DO UPDATE SET seq_to = excluded.seq_to, at_from = excluded.at_from, at_to = excluded.at_to, "
							  "mac_before = excluded.mac_before, mac = excluded.mac, sha256 = excluded.sha256, file = excluded.file, "
							  "archived_at = excluded.archived_at, sig = excluded.sig",
							  9, types, values, NULL, false, 0) != SPI_OK_INSERT)
		dp_report_altered("could not note what was archived of the audit log");
}

static void
tell(const Archiving *work)
{
	const Run  *first = linitial(work->runs);
	const Run  *last = llast(work->runs);

	dp_event_admin(DP_EVENT_LOG_ARCHIVED, NULL,
				   psprintf("{\"records\": " INT64_FORMAT ", \"from\": " INT64_FORMAT ", \"to\": " INT64_FORMAT ", \"file\": \"%s\"}",
							work->records, first->archive.from, last->archive.to, work->name));
}

/*
 * The oldest month that may go: its time is over by the clock that deadlines are
 * told by, its digests are made, every sink has it, and no incident that is open
 * asks about it.
 */
static const char due_query[] =
"SELECT p.relname::text, p.month_end FROM ("
"    SELECT c.oid, c.relname, make_timestamptz(substr(c.relname, 14, 4)::int, substr(c.relname, 19, 2)::int, 1, 0, 0, 0, 'UTC') "
"           + interval '32 days' AS month_end "
"    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
"    WHERE i.inhparent = 'dataprotect.audit_batch'::regclass AND c.relname ~ '^audit_batch_y[0-9]{4}m(0[1-9]|1[0-2])$') p, "
"    LATERAL (SELECT max(b.seq_to) AS seq FROM dataprotect.audit_batch b WHERE b.tableoid = p.oid) newest "
"WHERE p.month_end <= dataprotect._now() - make_interval(mins => $1) AND (dataprotect._clock_status()).ok "
"    AND (newest.seq IS NULL OR newest.seq <= (SELECT max(d.seq_to) FROM dataprotect.audit_digest d)) "
"    AND NOT EXISTS (SELECT FROM dataprotect.sink_state t WHERE t.cursor < newest.seq) "
"    AND NOT EXISTS (SELECT FROM dataprotect.incident n WHERE n.closed_at IS NULL AND coalesce(n.from_time, '-infinity') < p.month_end) "
"ORDER BY p.relname LIMIT 1";

static bool
find_due(Archiving *work)
{
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(dp_guc_audit_keep)};

	select_rows(due_query, 1, types, values);
	if (SPI_processed == 0)
		return false;
	work->partition = TextDatumGetCString(column(0, 1));
	work->end = DatumGetTimestampTz(column(0, 2));
	return true;
}

/*
 * The parent is locked against everybody for the drop.  Where somebody reads it, or
 * stores records, the month waits for the next round, rather than having them wait.
 * Nothing is lost by a transaction that never ends: the months stay until it does.
 */
static bool
lock_log(void)
{
	return ConditionalLockRelationOid(get_relname_relid("audit_batch", get_namespace_oid("dataprotect", false)),
									  AccessExclusiveLock);
}

/*
 * What is under a key that was replaced is vouched for by the link alone, which may be
 * in a later month: then by the whole chain.
 */
static void
check_older_key(const Archiving *work)
{
	const Run  *first = work->runs != NIL ? linitial(work->runs) : NULL;

	if (first == NULL || dp_chain_key_of(work->links, first->archive.from) == 0)
		return;
	select_rows("SELECT v.ok FROM dataprotect.verify_audit_log() v", 0, NULL, NULL);
	if (SPI_processed == 1 && DatumGetBool(column(0, 1)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the audit log is not the one that was written"),
			 errhint("Call dataprotect.verify_audit_log(). Nothing of its months is dropped.")));
}

/* True where a month went. */
static bool
archive_month(Archiving *work)
{
	ListCell   *lc;

	initStringInfo(&work->buffer);
	work->fd = -1;
	work->context = AllocSetContextCreate(CurrentMemoryContext, "audit archive", ALLOCSET_DEFAULT_SIZES);
	select_rows("SELECT uid::text FROM dataprotect.instance", 0, NULL, NULL);
	work->uid = TextDatumGetCString(column(0, 1));
	work->links = dp_chain_links();
	work->hash = pg_cryptohash_create(PG_SHA256);
	if (work->hash == NULL)
		dp_report_no_memory("could not hash the audit log");
	read_query(work, psprintf("SELECT " DP_BATCH_COLUMN_LIST " FROM dataprotect.%s ORDER BY seq_to", work->partition),
			   BATCHES_AT_ONCE, check_batch);
	check_older_key(work);
	write_runs(work);
	pg_cryptohash_free(work->hash);
	if (work->runs != NIL)
	{
		write_digests(work);
		close_file(work);
	}
	if (!lock_log() || !is_complete(work))
		return false;
	if (work->runs != NIL)
	{
		foreach(lc, work->runs)
			write_note(work, lfirst(lc));
		tell(work);
	}
	if (SPI_execute(psprintf("DROP TABLE dataprotect.%s", work->partition), false, 0) != SPI_OK_UTILITY)
		dp_report_altered("could not drop a month of the audit log");
	return true;
}

static bool
is_ready(void)
{
	return OidIsValid(get_namespace_oid("dataprotect", true)) &&
		OidIsValid(get_relname_relid("audit_archive", get_namespace_oid("dataprotect", true))) &&
		dp_keys_audit_chain() != NULL;
}

static bool
archive_round(void)
{
	Archiving	work = {0};
	bool		gone = false;
	bool		roll_back = false;

	if (dp_guc_audit_keep == 0 || dp_guc_audit_archive_directory[0] == '\0' || RecoveryInProgress())
		return false;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	dp_chain_hold();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (is_ready())
	{
		int			level = dp_own_begin();

		if (find_due(&work))
		{
			gone = archive_month(&work);
			roll_back = !gone;
		}
		dp_own_end(level);
	}
	PopActiveSnapshot();
	SPI_finish();
	if (roll_back)
		AbortCurrentTransaction();
	else
		CommitTransactionCommand();
	if (gone)
		dp_worker_note_work();
	return gone;
}

void
dp_archive_init(void)
{
	dp_worker_register(DP_ARCHIVE_WORKER, archive_round, LOOK_EVERY_MS);
}
