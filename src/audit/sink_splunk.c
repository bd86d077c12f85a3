/*
 * sink_splunk.c
 *	  Splunk's HTTP Event Collector, with indexer acknowledgement.
 *
 * A batch is taken when the indexer has acknowledged it, not when the collector
 * has: until then its number is kept with the sink's state, and asked for in
 * later rounds and by other processes.  What is not acknowledged in time is sent
 * again, with a new number.
 */
#include "postgres.h"

#include "audit/sink.h"
#include "audit/sink_reply.h"
#include "base/guc.h"
#include "base/secret.h"
#include "utils/builtins.h"
#include "utils/json.h"

#define ACK_POLL_MS			500

/* {"time":…,"source":…,"sourcetype":…,"index":…,"event":LINE}, one after another. */
static char *
wrap_lines(DpSink *sink, Size *out_len)
{
	const DpSinkBatch *batch = sink->batch;
	StringInfoData about;
	StringInfoData body;

	initStringInfo(&about);
	appendStringInfo(&about, ",\"source\":");
	escape_json(&about, psprintf("dataprotect:%s", sink->database));
	appendStringInfo(&about, ",\"sourcetype\":");
	escape_json(&about, sink->source_type != NULL ? sink->source_type : "dataprotect:ocsf");
	if (sink->index != NULL)
	{
		appendStringInfo(&about, ",\"index\":");
		escape_json(&about, sink->index);
	}
	initStringInfo(&body);
	for (int i = 0; i < batch->n_lines; i++)
	{
		int64		ms = batch->at[i] / 1000 + ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * SECS_PER_DAY * 1000;

		appendStringInfo(&body, "{\"time\":" INT64_FORMAT ".%03d%s,\"event\":", ms / 1000, (int) (ms % 1000), about.data);
		appendBinaryStringInfo(&body, batch->text.data + batch->start[i], batch->start[i + 1] - batch->start[i] - 1);
		appendStringInfoString(&body, "}\n");
	}
	return dp_sink_gzip(body.data, body.len, out_len);
}

/* Ask the collector something; path after its base. */
static void
ask(DpSink *sink, const char *path, const char *body, Size len, const char *encoding,
	void (*done) (DpHttpTransfer *transfer, void *arg))
{
	DpHttpRequest request = {0};
	char		token[DP_SINK_SECRET_MAX];
	char		authorization[DP_SINK_SECRET_MAX + 32];
	const char *headers[6] = {"Content-Type: application/json", "Expect:"};

	if (!dp_sink_secret(sink, sink->token_file, token))
		return;
	snprintf(authorization, sizeof(authorization), "Authorization: Splunk %s", token);
	dp_secret_wipe(token, sizeof(token));
	headers[2] = authorization;
	headers[3] = psprintf("X-Splunk-Request-Channel: %s", sink->channel);
	headers[4] = encoding;
	request.url = dp_sink_url(sink, path);
	request.loopback = sink->uri.loopback;
	request.headers = headers;
	request.body = body;
	request.body_len = len;
	request.done = done;
	dp_sink_request(sink, &request);
	dp_secret_wipe(authorization, sizeof(authorization));
}

static void
on_sent(DpHttpTransfer *transfer, void *arg)
{
	DpSink	   *sink = arg;
	char	   *text;
	Size		len;
	int64		ack;

	if (!dp_sink_reply(sink, &text, &len))
		return;
	if (!dp_hec_reply_taken(text, len, &ack))
		dp_sink_fail(sink, "The reply of the collector is not the one expected.");
	else if (!sink->acknowledged)
		dp_sink_done(sink);
	else if (ack < 0)
		dp_sink_fail(sink, "The collector gave no number to ask the indexer's acknowledgement by; enable it for this token.");
	else
	{
		dp_sink_stop(sink);
		sink->ack_id = ack;
		sink->ack_to = sink->batch->to;
		sink->ack_digest = sink->batch->digest_to;
		sink->ack_since = GetCurrentTimestamp();
		sink->next_poll = sink->ack_since;
		sink->status = DP_SINK_WAITING;
	}
}

static void
on_asked(DpHttpTransfer *transfer, void *arg)
{
	DpSink	   *sink = arg;
	TimestampTz now = GetCurrentTimestamp();
	char	   *text;
	Size		len;

	if (!dp_sink_reply(sink, &text, &len))
		return;
	if (dp_hec_reply_acked(text, len, sink->ack_id))
		dp_sink_done(sink);
	else if (now < sink->ack_since || TimestampDifferenceExceeds(sink->ack_since, now, sink->ack_timeout_ms))
		dp_sink_fail(sink, "The indexer has not acknowledged a batch in time; it is sent again.");
	else
	{
		dp_sink_stop(sink);
		sink->status = DP_SINK_WAITING;
		sink->next_poll = TimestampTzPlusMilliseconds(now, ACK_POLL_MS);
	}
}

static void
start_splunk(DpSink *sink)
{
	Size		len;

	sink->body = wrap_lines(sink, &len);
	ask(sink, "/services/collector/event", sink->body, len, "Content-Encoding: gzip", on_sent);
}

static void
poll_splunk(DpSink *sink)
{
	if (sink->status != DP_SINK_WAITING || GetCurrentTimestamp() < sink->next_poll)
		return;
	sink->body = psprintf("{\"acks\":[" INT64_FORMAT "]}", sink->ack_id);
	ask(sink, psprintf("/services/collector/ack?channel=%s", sink->channel), sink->body, strlen(sink->body),
		NULL, on_asked);
}

const DpSinkTarget dp_sink_splunk = {start_splunk, poll_splunk};
