/*
 * activity.c
 *	  What pg_stat_activity shows of statements; see activity.h.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "audit/activity.h"
#include "audit/redact.h"
#include "base/compat.h"
#include "base/statement.h"
#include "base/text.h"
#include "base/worker.h"
#include "common/hashfn.h"
#include "libpq/libpq.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#define TEXT_KEPT 8192			/* longer texts are redacted each time */

static bool wanted = true;		/* the setting track_activities */
static bool hidden = false;		/* nothing is reported for now */
static bool reported = false;	/* a text was, since the last ReadyForQuery */
static bool extended = false;	/* since then the client has sent Parse or Bind */
static TimestampTz command_since = 0;	/* first report since then */
static TimestampTz idle_since = 0;	/* idle in a transaction, while hidden */

/*
 * The text reported last is kept: most sessions run few statements again and
 * again.  Of its source only a digest is, which tells nothing of constants.
 */
static char kept[TEXT_KEPT];
static uint64 kept_digest = 0;
static Size kept_len = 0;		/* of the source; 0: none kept */

static const PQcommMethods *inner = NULL;
static PQcommMethods outer;

static void
hide(void)
{
	if (hidden || !dp_worker_database_known(MyDatabaseId))
		return;
	hidden = true;
	pgstat_track_activities = false;
}

/* Reports are on again; what PostgreSQL could not report meanwhile is made up for. */
static void
unhide(void)
{
	hidden = false;
	pgstat_track_activities = wanted;
	if (IsTransactionState())
		pgstat_report_xact_timestamp(GetCurrentTransactionStartTimestamp());
}

static void
report_text(const char *source)
{
	Size		len = strlen(source);
	uint64		digest = hash_bytes_extended((const unsigned char *) source, (int) len, 0);

	if (len != kept_len || digest != kept_digest)
	{
		char	   *redacted = dp_redact_sql(source);

		kept_len = 0;
		(void) dp_text_copy(kept, TEXT_KEPT, redacted);
		if (strlen(redacted) < TEXT_KEPT)
		{
			kept_digest = digest;
			kept_len = len;
		}
		pfree(redacted);
	}
	pgstat_report_activity(STATE_RUNNING, kept);
}

/* The first hook of a statement: source is what the client sent. */
static void
show(const char *source)
{
	TimestampTz now = GetCurrentStatementStartTimestamp();

	if (likely(!hidden))
		return;
	unhide();
	if (idle_since != 0 && now > idle_since)
		pgstat_count_conn_txn_idle_time(now - idle_since);
	idle_since = 0;
	if (command_since == 0)
		command_since = now;
	reported = true;
	report_text(debug_query_string != NULL ? debug_query_string : source);
}

/* What PostgreSQL reports before ReadyForQuery, where that was hidden. */
static void
report_idle(char status)
{
	TimestampTz now = GetCurrentTimestamp();

	if (hidden)
	{
		unhide();
		if (reported && now > command_since)
			pgstat_count_conn_active_time(now - command_since);
		pgstat_report_activity(STATE_RUNNING, reported ? kept : DP_WITHHELD);
		pgstat_report_activity(status == 'T' ? STATE_IDLEINTRANSACTION :
							   status == 'E' ? STATE_IDLEINTRANSACTION_ABORTED : STATE_IDLE, NULL);
	}
	idle_since = status == 'I' ? 0 : now;
	command_since = 0;
	reported = false;
	extended = false;
}

static int
put_message(char type, const char *bytes, size_t len)
{
	int			rc;

	if (type == 'Z' && len == 1)
		report_idle(bytes[0]);
	rc = inner->putmessage(type, bytes, len);
	if (type == '1' || type == '2')
		extended = true;
	if (type == 'Z' || (extended && (type == '1' || type == '2' || type == 'C' || type == 's')))
		hide();
	return rc;
}

static void
watch_client(Port *port, int status)
{
	if (status != STATUS_OK || inner != NULL)
		return;
	inner = PqCommMethods;
	outer = *inner;
	outer.putmessage = put_message;
	PqCommMethods = &outer;
}

static void
show_analyzed(ParseState *pstate, Query *query, JumbleState *jumble)
{
	if (pstate->p_sourcetext != NULL)
		show(pstate->p_sourcetext);
}

static void
show_planning(Query *query, const char *source)
{
	if (source != NULL)
		show(source);
}

static void
show_query(QueryDesc *query)
{
	if (unlikely(hidden) && query->sourceText != NULL)
	{
		show(query->sourceText);
		pgstat_report_query_id(query->plannedstmt->queryId, true);
	}
}

/* Parallel workers report the text that the executor's state has. */
static void
hide_from_workers(QueryDesc *query)
{
	if (query->plannedstmt->parallelModeNeeded && !IsParallelWorker() &&
		query->estate->es_sourceText != NULL && dp_worker_database_known(MyDatabaseId))
	{
		MemoryContext old_context = MemoryContextSwitchTo(query->estate->es_query_cxt);

		query->estate->es_sourceText = dp_redact_sql(query->estate->es_sourceText);
		MemoryContextSwitchTo(old_context);
	}
}

/* ... or, those that build an index, the one for the server log. */
static void
show_utility(const DpUtility *utility, Datum *state)
{
	*state = PointerGetDatum(NULL);
	if (utility->source != NULL)
		show(utility->source);
	if (DP_IN_STATEMENT() || debug_query_string == NULL || utility->context != PROCESS_UTILITY_TOPLEVEL ||
		!dp_worker_database_known(MyDatabaseId))
		return;
	*state = PointerGetDatum(dp_redact_hide_statement());
}

static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	if (DatumGetPointer(state) != NULL)
		dp_redact_show_statement((const char *) DatumGetPointer(state));
}

/* The setting changes. */
static void
follow_setting(bool value, void *extra)
{
	if (!hidden)
		pgstat_track_activities = value;
}

static const DpSubscriber subscriber = {
	.name = "activity",
	.client = watch_client,
	.analyzed = show_analyzed,
	.planning = show_planning,
	.starting = show_query,
	.started = hide_from_workers,
	.running = show_query,
	.begin_utility = show_utility,
	.end_utility = end_utility,
};

void
dp_activity_init(void)
{
	struct config_bool *setting = dp_guc_find_bool("track_activities");

	if (setting == NULL || setting->variable != &pgstat_track_activities ||
		setting->assign_hook != NULL)
		elog(ERROR, "setting \"track_activities\" is not what it was");
	wanted = pgstat_track_activities;
	setting->variable = &wanted;
	setting->assign_hook = follow_setting;
	dp_statement_subscribe(&subscriber);
}
