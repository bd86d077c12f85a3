/*
 * sink_round.c
 *	  The worker's round that sends the audit log away.
 *
 * All sinks of a database have their transfers beside each other in one process:
 * a dead one costs the others nothing.  A sink that failed is left alone until
 * its pause is over.  The round leaves when nothing is under way, or soon after it
 * was asked to; what waits for an acknowledgement is taken up by the next.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "audit/audit_workers.h"
#include "audit/sink.h"
#include "base/worker.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define LONGEST_MS		20000	/* no new batch after this */
#define WAIT_MS			100

static const DpSinkTarget *
target_of(const DpSink *sink)
{
	switch (sink->uri.kind)
	{
		case DP_SINK_SPLUNK:
			return &dp_sink_splunk;
		case DP_SINK_WEBHOOK:
			return &dp_sink_webhook;
		case DP_SINK_S3:
			return &dp_sink_s3;
		case DP_SINK_SYSLOG:
			return &dp_sink_syslog;
		case DP_SINK_FILE:
			return &dp_sink_file;
	}
	return NULL;				/* keep compiler quiet */
}

/* Store how it went, and forget the batch. */
static void
settle(DpSink *sink)
{
	dp_sink_save(sink);
	dp_worker_note_work();
	sink->finished = sink->status == DP_SINK_FAILED;
	sink->status = DP_SINK_IDLE;
	sink->batch = NULL;
	sink->body = NULL;
	MemoryContextReset(sink->context);
}

/* Begin the next batch of an idle sink, if there is one. */
static void
start_next(DpSink *sink)
{
	MemoryContext old;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	sink->began_at = GetCurrentTimestamp();
	sink->problem[0] = '\0';
	if (dp_sink_batch(sink) == NULL)
	{
		sink->finished = true;
		MemoryContextReset(sink->context);
	}
	else if (sink->batch->n_lines == 0)
		sink->status = DP_SINK_TAKEN;	/* nothing in it is for this sink */
	else
	{
		/* Within the transaction: its resource owner keeps hashes. */
		old = MemoryContextSwitchTo(sink->context);
		target_of(sink)->start(sink);
		MemoryContextSwitchTo(old);
	}
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
}

/* One step of one sink; true while something of it is under way here. */
static bool
step(DpSink *sink, bool leaving)
{
	MemoryContext old;

	if (sink->status == DP_SINK_IDLE && !sink->finished && !leaving)
		start_next(sink);
	if ((sink->status == DP_SINK_SENDING || sink->status == DP_SINK_WAITING) && target_of(sink)->poll != NULL)
	{
		DpSinkStatus before = sink->status;

		old = MemoryContextSwitchTo(sink->context);
		if (!leaving || before == DP_SINK_SENDING)
			target_of(sink)->poll(sink);
		MemoryContextSwitchTo(old);
	}
	if (sink->status == DP_SINK_TAKEN || sink->status == DP_SINK_FAILED)
		settle(sink);
	return sink->status == DP_SINK_SENDING || (sink->status == DP_SINK_WAITING && !leaving) ||
		(sink->status == DP_SINK_IDLE && !sink->finished && !leaving);
}

/* What has been taken, and not acknowledged, is stored as such once. */
static void
note_waiting(DpSink *sink, int64 *noted)
{
	if (sink->status != DP_SINK_WAITING || sink->ack_id == *noted)
		return;
	*noted = sink->ack_id;
	dp_sink_save(sink);
	sink->finished = false;
}

static void
run(List *sinks)
{
	TimestampTz began = GetCurrentTimestamp();
	int64	   *noted = palloc(sizeof(int64) * list_length(sinks));
	bool		busy = true;

	for (int i = 0; i < list_length(sinks); i++)
	{
		DpSink	   *sink = list_nth(sinks, i);

		noted[i] = sink->ack_id;
		if (sink->failures > 0 && sink->retry_at > began &&
			sink->retry_at < TimestampTzPlusMilliseconds(began, 120000) && sink->status != DP_SINK_WAITING)
		{
			sink->finished = true;
			sink->status = DP_SINK_IDLE;
		}
	}
	while (busy && !ShutdownRequestPending)
	{
		bool		leaving = dp_worker_should_yield() ||
			TimestampDifferenceExceeds(began, GetCurrentTimestamp(), LONGEST_MS);

		busy = false;
		dp_http_perform();
		for (int i = 0; i < list_length(sinks); i++)
		{
			busy |= step(list_nth(sinks, i), leaving);
			note_waiting(list_nth(sinks, i), &noted[i]);
		}
		if (!busy)
			break;
		dp_http_wait(WAIT_MS);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Is there a chain, and a sink? */
static bool
is_ready(void)
{
	bool		ready;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	ready = OidIsValid(get_namespace_oid("dataprotect", true)) &&
		OidIsValid(get_relname_relid("sink", get_namespace_oid("dataprotect", true))) &&
		dp_keys_audit_chain() != NULL;
	PopActiveSnapshot();
	CommitTransactionCommand();
	return ready;
}

static bool
work_round(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *sinks;
	volatile bool more = false;

	if (RecoveryInProgress() || !is_ready())
		return false;
	MemoryContextSwitchTo(context);
	sinks = dp_sink_list(context);
	if (sinks == NIL)
		return false;
	PG_TRY();
	{
		run(sinks);
	}
	PG_FINALLY();
	{
		for (int i = 0; i < list_length(sinks); i++)
		{
			DpSink	   *sink = list_nth(sinks, i);

			dp_sink_stop(sink);
			more = more || (!sink->finished && sink->status == DP_SINK_IDLE);
		}
	}
	PG_END_TRY();
	return more;
}

void
dp_sink_init(void)
{
	dp_worker_register(DP_SINK_WORKER, work_round, 0);
}
