/*
 * sink_rows.c
 *	  Rows that a retention policy takes out of a table, to where sinks are.
 *
 * A batch is delivered within the transaction that removes its rows, and the
 * removal is committed after the target has taken the batch: what dies in between
 * is delivered again.  Each series (a policy's) has files of its own, each batch an
 * object of its own, whose name has a random part: neither a run that goes on nor a
 * restored database, which counts from where it was, writes over what is there.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "audit/sink.h"
#include "base/guc.h"
#include "crypto/aead.h"
#include "fmgr.h"
#include "kms/kms.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dp_audit_deliver_rows);

#define WAIT_MS		100
#define ROTATE_KB	(256 * 1024)

/* A file that was made is on disk when its directory is. */
static void
sync_directory(DpSink *sink)
{
	int			fd = open(sink->uri.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) != 0)
		dp_sink_fail(sink, "The directory could not be written: %s.", strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void
send_and_wait(DpSink *sink, const DpSinkTarget *target)
{
	sink->began_at = GetCurrentTimestamp();
	PG_TRY();
	{
		target->start(sink);
		while (sink->status == DP_SINK_SENDING)
		{
			dp_http_perform();
			if (target->poll != NULL)
				target->poll(sink);
			if (sink->status == DP_SINK_SENDING)
				dp_http_wait(WAIT_MS);
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
	}
	PG_FINALLY();
	{
		dp_sink_stop(sink);
	}
	PG_END_TRY();
}

static char *
random_mark(void)
{
	uint8		bytes[DP_NONCE_LEN];
	char	   *mark = palloc(2 * sizeof(bytes) + 1);

	if (!dp_random_nonce(bytes))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random value")));
	mark[hex_encode((const char *) bytes, sizeof(bytes), mark)] = '\0';
	return mark;
}

static void
fill_batch(DpSinkBatch *batch, int64 from, int64 to, const char *lines, TimestampTz *at)
{
	char	   *utf8 = pg_server_to_any(lines, strlen(lines), PG_UTF8);

	batch->from = from;
	batch->to = to;
	batch->n_lines = 1;
	batch->text.data = utf8;
	batch->text.len = strlen(utf8);
	batch->at = at;
	batch->mark = random_mark();
}

/*
 * dataprotect._deliver_rows(uri text, series text, run bigint, batch bigint, lines text)
 *
 * Lines are stored below uri, a file:// or s3:// one that is allowed, when this
 * returns; an error otherwise.
 */
Datum
dp_audit_deliver_rows(PG_FUNCTION_ARGS)
{
	char	   *uri = text_to_cstring(PG_GETARG_TEXT_PP(0));
	DpSink		sink = {0};
	DpSinkBatch batch = {0};
	TimestampTz now = GetCurrentTimestamp();
	const char *problem;
	MemoryContext old;

	if (!dp_sink_uri_parse(uri, &sink.uri, &problem) || !dp_kms_uri_allowed(dp_guc_sinks_allowed, uri) ||
		(sink.uri.kind != DP_SINK_FILE && sink.uri.kind != DP_SINK_S3))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("rows cannot be archived to \"%s\"", uri),
				 errdetail("It is no file:// or s3:// URI that dataprotect.sinks_allowed allows.")));
	sink.name = uri;
	sink.database_uid = text_to_cstring(PG_GETARG_TEXT_PP(1));
	sink.rotate_kb = ROTATE_KB;
	sink.timeout_ms = dp_guc_sink_timeout;
	sink.context = AllocSetContextCreate(CurrentMemoryContext, "archived rows", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(sink.context);
	fill_batch(&batch, PG_GETARG_INT64(2), PG_GETARG_INT64(3), text_to_cstring(PG_GETARG_TEXT_PP(4)), &now);
	sink.batch = &batch;
	send_and_wait(&sink, sink.uri.kind == DP_SINK_FILE ? &dp_sink_file : &dp_sink_s3);
	if (sink.status == DP_SINK_TAKEN && sink.uri.kind == DP_SINK_FILE)
		sync_directory(&sink);
	MemoryContextSwitchTo(old);
	if (sink.status != DP_SINK_TAKEN)
		ereport(ERROR,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("rows could not be archived to \"%s\"", uri),
				 sink.problem[0] != '\0' ? errdetail("%s", sink.problem) : 0));
	MemoryContextDelete(sink.context);
	PG_RETURN_VOID();
}
