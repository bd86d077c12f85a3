/*
 * sink_state.c
 *	  Which sinks there are, and how far each is.
 *
 * dataprotect.sink is sealed policy: a row that our functions did not write is no
 * sink.  A cursor carries a code under the chain key: where it does not fit, the
 * sink is sent everything again, for nobody can tell what was left out.
 */
#include "postgres.h"

#include "access/xact.h"
#include "audit/chain_link.h"
#include "audit/collector.h"
#include "audit/sink.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/report.h"
#include "base/result.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "events/event.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "kms/uri.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dp_audit_sink_begin);
PG_FUNCTION_INFO_V1(dp_audit_sink_check);

#define FIRST_PAUSE_MS	1000
#define LAST_PAUSE_MS	60000
#define TELL_AFTER		3		/* failures in a row */

static void
cursor_mac(const char *name, int64 cursor, int64 digest, uint8 out[DP_CHAIN_MAC_LEN])
{
	if (!dp_chain_sink_mac(dp_audit_require_chain(), name, cursor, digest, out))
		dp_report_no_memory("could not compute a MAC of the audit log");
}

static int	own_level;

/* What is run in between is our own statement: it may call what is for internal use. */
static void
begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	dp_chain_hold();
	PushActiveSnapshot(GetTransactionSnapshot());
	own_level = dp_own_begin();
}

static void
commit(void)
{
	dp_own_end(own_level);
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
}

/* Columns of the query below. */
enum
{
	C_NAME = 1, C_URI, C_TOKEN, C_SECRET, C_INDEX, C_SOURCE_TYPE, C_KMS_KEY, C_FORMAT, C_SELECT, C_ACK, C_ACK_TIMEOUT, C_BATCH, C_ROTATE,
	C_CURSOR, C_DIGEST, C_MAC, C_FAILURES, C_RETRY, C_CHANNEL, C_ACK_ID, C_ACK_TO, C_ACK_DIGEST, C_ACK_SINCE,
	C_CLIENT_CERT, C_DATABASE, C_UID
};

static const char list_query[] =
"SELECT s.name, s.uri, s.options ->> 'token_file', s.options ->> 'secret_file', s.options ->> 'index', "
" s.options ->> 'sourcetype', s.options ->> 'kms_key_id', s.options ->> 'format', s.options ->> 'select', "
" coalesce((s.options ->> 'acknowledgement')::bool, true), coalesce((s.options ->> 'ack_timeout')::int4, 120), "
" coalesce((s.options ->> 'batch_size')::int4, 1000), "
" coalesce((s.options ->> 'rotate_kb')::int4, 65536), "
" coalesce(t.cursor, 0::int8), coalesce(t.digest, 0::int8), t.mac, coalesce(t.failures, 0), t.retry_at, t.channel::text, "
" t.ack_id, t.ack_to, t.ack_digest, t.ack_since, s.options ->> 'client_cert', current_database()::text, "
" (SELECT i.uid::text FROM dataprotect.instance i) "
"FROM dataprotect.sink s LEFT JOIN dataprotect.sink_state t ON t.name = s.name "
"WHERE dataprotect._sealed(s) ORDER BY s.name";

typedef struct Row
{
	HeapTuple	tuple;
	TupleDesc	desc;
} Row;

static char *
text_at(const Row *row, int column)
{
	return SPI_getvalue(row->tuple, row->desc, column);
}

static int64
number_at(const Row *row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row->tuple, row->desc, column, &isnull);

	return isnull ? 0 : DatumGetInt64(value);
}

static int
small_number_at(const Row *row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row->tuple, row->desc, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static bool
is_text(const char *text, const char *wanted)
{
	return text != NULL && strcmp(text, wanted) == 0;
}

/* What was stored of the sink's progress, if it is ours. */
static void
read_progress(const Row *row, DpSink *sink)
{
	uint8		expected[DP_CHAIN_MAC_LEN];
	bool		isnull;
	Datum		mac = SPI_getbinval(row->tuple, row->desc, C_MAC, &isnull);

	sink->cursor = number_at(row, C_CURSOR);
	sink->digest = number_at(row, C_DIGEST);
	if (isnull && sink->cursor == 0 && sink->digest == 0)
		return;
	cursor_mac(sink->name, sink->cursor, sink->digest, expected);
	if (!isnull && VARSIZE_ANY_EXHDR(DatumGetByteaPP(mac)) == DP_CHAIN_MAC_LEN &&
		dp_equal_ct(VARDATA_ANY(DatumGetByteaPP(mac)), expected, DP_CHAIN_MAC_LEN))
		return;
	sink->cursor = sink->digest = sink->ack_id = -1;
}

static DpSink *
read_sink(const Row *row, MemoryContext context)
{
	DpSink	   *sink = palloc0(sizeof(DpSink));
	const char *problem;
	char	   *uri = text_at(row, C_URI);

	sink->context = AllocSetContextCreate(context, "audit sink", ALLOCSET_DEFAULT_SIZES);
	sink->name = text_at(row, C_NAME);
	sink->token_file = text_at(row, C_TOKEN);
	sink->secret_file = text_at(row, C_SECRET);
	sink->client_cert = text_at(row, C_CLIENT_CERT);
	sink->index = text_at(row, C_INDEX);
	sink->source_type = text_at(row, C_SOURCE_TYPE);
	sink->kms_key = text_at(row, C_KMS_KEY);
	sink->cef = is_text(text_at(row, C_FORMAT), "cef");
	sink->alerts_only = is_text(text_at(row, C_SELECT), "alerts");
	sink->acknowledged = is_text(text_at(row, C_ACK), "t");
	sink->ack_timeout_ms = Max(1, Min(small_number_at(row, C_ACK_TIMEOUT), 86400)) * 1000;
	sink->batch_size = Max(1, Min(small_number_at(row, C_BATCH), 10000));
	sink->rotate_kb = Max(1, small_number_at(row, C_ROTATE));
	sink->timeout_ms = dp_guc_sink_timeout;
	sink->failures = small_number_at(row, C_FAILURES);
	sink->retry_at = number_at(row, C_RETRY);
	sink->channel = text_at(row, C_CHANNEL);
	sink->database = text_at(row, C_DATABASE);
	sink->database_uid = text_at(row, C_UID);
	sink->ack_id = -1;
	read_progress(row, sink);
	if (text_at(row, C_ACK_ID) != NULL && sink->cursor >= 0)
	{
		sink->ack_id = number_at(row, C_ACK_ID);
		sink->ack_to = number_at(row, C_ACK_TO);
		sink->ack_digest = number_at(row, C_ACK_DIGEST);
		sink->ack_since = number_at(row, C_ACK_SINCE);
		sink->status = DP_SINK_WAITING;
	}
	if (!dp_sink_uri_parse(uri, &sink->uri, &problem) || !dp_kms_uri_allowed(dp_guc_sinks_allowed, uri))
		dp_sink_fail(sink, "No pattern of dataprotect.sinks_allowed matches the URI.");
	return sink;
}

/* Somebody else moved a cursor: tell, and send everything again. */
static void
restart(DpSink *sink)
{
	sink->cursor = sink->digest = 0;
	sink->ack_id = -1;
	dp_event_admin(DP_EVENT_POLICY_TAMPERED, NULL, "{\"table\": \"dataprotect.sink_state\"}");
	ereport(LOG,
			(errmsg("progress of sink \"%s\" was changed by somebody else than extension \"dataprotect\"", sink->name),
			 errdetail("It is sent the whole audit log again.")));
}

/* A restored database has sinks without progress: it begins anew. */
static void
new_row(DpSink *sink)
{
	Oid			types[1] = {TEXTOID};
	Datum		values[1] = {CStringGetTextDatum(sink->name)};

	sink->finished = true;
	if (SPI_execute_with_args("SELECT dataprotect._sink_begin($1, 0, 0)", 1, types, values, NULL, false, 0) < 0)
		dp_report_altered("could not store the progress of a sink");
}

List *
dp_sink_list(MemoryContext context)
{
	List	   *result = NIL;
	SPITupleTable *table;
	uint64		n;
	Row			row;

	begin();
	if (SPI_execute(list_query, true, 0) != SPI_OK_SELECT)
		dp_report_altered("could not list the sinks of the audit log");
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		DpSink	   *sink;

		row.tuple = table->vals[i];
		row.desc = table->tupdesc;
		sink = read_sink(&row, context);
		if (sink->cursor < 0)
			restart(sink);
		if (sink->channel == NULL)
			new_row(sink);
		result = lappend(result, sink);
		MemoryContextSwitchTo(old);
	}
	commit();
	MemoryContextSwitchTo(context);
	return result;
}

/* The circuit: 1 s, 2 s, … a minute, and up to a quarter of it by chance. */
static TimestampTz
next_try(int failures)
{
	int64		pause = FIRST_PAUSE_MS;

	for (int i = 1; i < failures && pause < LAST_PAUSE_MS; i++)
		pause *= 2;
	pause = Min(pause, LAST_PAUSE_MS);
	pause += (int64) pg_prng_uint64_range(&pg_global_prng_state, 0, pause / 4);
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), pause);
}

static void
tell(const DpSink *sink, DpEventCode event, const char *problem)
{
	StringInfoData detail;

	initStringInfo(&detail);
	appendStringInfoString(&detail, "{\"sink\": ");
	escape_json(&detail, sink->name);
	if (problem != NULL)
	{
		appendStringInfoString(&detail, ", \"error\": ");
		escape_json(&detail, problem);
	}
	appendStringInfoChar(&detail, '}');
	dp_event_admin(event, NULL, detail.data);
	if (problem != NULL)
		ereport(LOG,
				(errmsg("audit records do not reach sink \"%s\"", sink->name),
				 errdetail_internal("%s", problem)));
}

/* failed, taken or waiting: what dp_sink_save() found. */
static void
write_state(DpSink *sink, bool taken, bool failed)
{
	Oid			types[12] = {TEXTOID, INT8OID, INT8OID, BYTEAOID, INT4OID, TIMESTAMPTZOID, TEXTOID, INT8OID, INT8OID,
	INT8OID, TIMESTAMPTZOID, BOOLOID};
	Datum		values[12];
	char		nulls[] = "            ";
	uint8		mac[DP_CHAIN_MAC_LEN];

	cursor_mac(sink->name, sink->cursor, sink->digest, mac);
	values[0] = CStringGetTextDatum(sink->name);
	values[1] = Int64GetDatum(sink->cursor);
	values[2] = Int64GetDatum(sink->digest);
	values[3] = dp_result_bytea(mac, sizeof(mac));
	values[4] = Int32GetDatum(sink->failures);
	values[5] = TimestampTzGetDatum(sink->retry_at);
	nulls[5] = sink->failures > 0 ? ' ' : 'n';
	values[6] = CStringGetTextDatum(sink->problem);
	nulls[6] = failed ? ' ' : 'n';
	values[7] = Int64GetDatum(sink->ack_id);
	values[8] = Int64GetDatum(sink->ack_to);
	values[9] = Int64GetDatum(sink->ack_digest);
	values[10] = TimestampTzGetDatum(sink->ack_since);
	for (int i = 7; i <= 10; i++)
		nulls[i] = sink->ack_id >= 0 ? ' ' : 'n';
	values[11] = BoolGetDatum(taken);
	if (SPI_execute_with_args("UPDATE dataprotect.sink_state t SET cursor = $2, digest = $3, mac = $4, failures = $5, "
							  "retry_at = $6, last_error = coalesce($7, t.last_error), "
							  "last_failure = CASE WHEN $7 IS NULL THEN t.last_failure ELSE pg_catalog.now() END, "
							  "last_success = CASE WHEN $12 THEN pg_catalog.now() ELSE t.last_success END, "
							  "ack_id = $8, ack_to = $9, ack_digest = $10, ack_since = $11 "
							  "WHERE t.name = $1", 12, types, values, nulls, false, 0) != SPI_OK_UPDATE)
		dp_report_altered("could not store the progress of a sink");
}

void
dp_sink_save(DpSink *sink)
{
	bool		taken = sink->status == DP_SINK_TAKEN;
	bool		failed = sink->status == DP_SINK_FAILED;
	bool		recovered = taken && sink->failures >= TELL_AFTER;

	if (taken && sink->ack_id >= 0)
	{
		sink->cursor = sink->ack_to;
		sink->digest = sink->ack_digest;
	}
	else if (taken)
	{
		sink->cursor = sink->batch->to;
		sink->digest = sink->batch->digest_to;
	}
	if (taken || failed)
		sink->ack_id = -1;
	if (taken)
		sink->failures = 0;
	if (failed)
	{
		sink->failures = Min(sink->failures + 1, 1000000);
		sink->retry_at = next_try(sink->failures);
	}
	begin();
	write_state(sink, taken, failed);
	if (recovered)
		tell(sink, DP_EVENT_SINK_RECOVERED, NULL);
	if (failed && sink->failures == TELL_AFTER)
		tell(sink, DP_EVENT_SINK_FAILING, sink->problem);
	commit();
}

/* dataprotect._sink_begin(name text, after bigint): the row of its progress. */
Datum
dp_audit_sink_begin(PG_FUNCTION_ARGS)
{
	Oid			types[3] = {TEXTOID, INT8OID, BYTEAOID};
	Datum		values[3];
	uint8		mac[DP_CHAIN_MAC_LEN];
	int64		digest = PG_GETARG_INT64(2);

	dp_chain_hold();
	cursor_mac(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT64(1), digest, mac);
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_GETARG_DATUM(1);
	values[2] = dp_result_bytea(mac, sizeof(mac));
	SPI_connect();
	if (SPI_execute_with_args(psprintf("INSERT INTO dataprotect.sink_state (name, cursor, digest, mac) "
									   "VALUES ($1, $2, " INT64_FORMAT ", $3) ON CONFLICT DO NOTHING", digest),
							  3, types, values, NULL, false, 0) < 0)
		dp_report_altered("could not store the progress of a sink");
	SPI_finish();
	PG_RETURN_VOID();
}

/* dataprotect._sink_check(uri text) returns text: the kind of sink, or an error. */
Datum
dp_audit_sink_check(PG_FUNCTION_ARGS)
{
	char	   *uri = text_to_cstring(PG_GETARG_TEXT_PP(0));
	DpSinkUri	parsed;
	const char *problem;

	if (!dp_sink_uri_parse(uri, &parsed, &problem))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid URI of a sink"),
				 errdetail("%s", problem)));
	if (!dp_kms_uri_allowed(dp_guc_sinks_allowed, uri))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("URI of the sink is not allowed"),
				 errdetail("No pattern of dataprotect.sinks_allowed matches it."),
				 errhint("Add it, or a prefix of it followed by *, to dataprotect.sinks_allowed in postgresql.conf and restart the server.")));
	PG_RETURN_TEXT_P(cstring_to_text(dp_sink_kind_name(parsed.kind)));
}
