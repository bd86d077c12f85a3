/*
 * sink_syslog.c
 *	  RFC 5424 messages over TLS, framed by their length (RFC 5425).
 *
 * Syslog acknowledges nothing.  A batch counts as taken when the peer's host has
 * confirmed all of its bytes and the connection still stands a moment later; what
 * the peer's process then loses is lost.  Each batch has a connection of its own.
 */
#include "postgres.h"

#include <unistd.h>

#include "audit/sink.h"
#include "base/guc.h"
#include "utils/builtins.h"

#define FACILITY		13		/* log audit */
#define CONFIRM_MS		200

/* OCSF's severity as syslog's. */
static int
syslog_severity(int severity)
{
	static const int severities[] = {6, 6, 5, 4, 3, 2};

	return severities[Max(0, Min(severity, 5))];
}

static char *
frame_lines(DpSink *sink, Size *out_len)
{
	const DpSinkBatch *batch = sink->batch;
	StringInfoData body;
	char		host[256];

	if (gethostname(host, sizeof(host)) != 0 || host[0] == '\0')
		strlcpy(host, "-", sizeof(host));
	host[sizeof(host) - 1] = '\0';
	initStringInfo(&body);
	for (int i = 0; i < batch->n_lines; i++)
	{
		char		time[DP_SINK_TIME_MAX];
		char	   *head;
		int			len = batch->start[i + 1] - batch->start[i] - 1;

		dp_sink_time(batch->at[i], time);
		head = psprintf("<%d>1 %s %s dataprotect %s audit - ", FACILITY * 8 + syslog_severity(batch->severity[i]),
						time, host, sink->database_uid);
		appendStringInfo(&body, "%d %s", (int) strlen(head) + len, head);
		appendBinaryStringInfo(&body, batch->text.data + batch->start[i], len);
		pfree(head);
	}
	*out_len = body.len;
	return body.data;
}

static void
on_connected(DpHttpTransfer *transfer, void *arg)
{
	DpSink	   *sink = arg;
	const char *problem;
	char	   *text;
	Size		len;

	if (dp_http_result(transfer, &text, &len, &problem) == 0)
		dp_sink_fail(sink, "The sink could not be reached: %s.", problem);
	else
		sink->next_poll = GetCurrentTimestamp();
}

static void
start_syslog(DpSink *sink)
{
	DpHttpRequest request = {0};

	request.url = psprintf("https://%s%s", sink->uri.host,
						   strchr(strchr(sink->uri.host, ']') ? strchr(sink->uri.host, ']') : sink->uri.host, ':') ?
						   "" : ":6514");
	request.connect_only = true;
	request.done = on_connected;
	sink->next_poll = DT_NOEND;
	sink->sent = 0;
	sink->confirmed = false;
	{
		Size		len;

		sink->body = frame_lines(sink, &len);
		/* poll_syslog() wants to know where it ends */
		sink->batch->text.cursor = (int) len;
	}
	dp_sink_request(sink, &request);
}

static void
poll_syslog(DpSink *sink)
{
	TimestampTz now = GetCurrentTimestamp();
	int			len = sink->batch != NULL ? sink->batch->text.cursor : 0;
	int			unconfirmed;

	if (sink->status != DP_SINK_SENDING || now < sink->next_poll)
		return;
	while (sink->sent < len)
	{
		ssize_t		n = dp_http_send(sink->http, sink->body + sink->sent, Min(len - sink->sent, 16384));

		if (n < 0)
		{
			dp_sink_fail(sink, "The connection to the sink was lost.");
			return;
		}
		if (n == 0)
			break;
		sink->sent += n;
	}
	unconfirmed = dp_http_unconfirmed(sink->http);
	if (unconfirmed < 0)
		dp_sink_fail(sink, "The connection to the sink was lost.");
	else if (sink->sent == len && unconfirmed == 0 && sink->confirmed)
		dp_sink_done(sink);
	else if (TimestampDifferenceExceeds(sink->began_at, now, sink->timeout_ms))
		dp_sink_fail(sink, "The sink does not take what it is sent.");
	else if (sink->sent == len && unconfirmed == 0)
	{
		sink->confirmed = true;
		sink->next_poll = TimestampTzPlusMilliseconds(now, CONFIRM_MS);
	}
}

const DpSinkTarget dp_sink_syslog = {start_syslog, poll_syslog};
