/*
 * alert.c
 *	  Telling of alerts; see alert.h.
 */
#include "postgres.h"

#include "audit/alert.h"
#include "base/compat.h"
#include "base/report.h"
#include "base/text.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "events/event.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

static char *
text_of(DpSlice slice)
{
	char	   *copy = palloc(slice.len + 1);

	(void) dp_text_copy(copy, slice.len + 1, pnstrdup((const char *) slice.data, slice.len));
	return copy;
}

/* Not where the queue fills because somebody does not listen: the log must go on. */
static void
notify(int64 seq, const char *event, const char *role, const char *severity)
{
	StringInfoData payload;

	if (DatumGetFloat8(DirectFunctionCall1(pg_notification_queue_usage, (Datum) 0)) > 0.5)
		return;
	initStringInfo(&payload);
	appendStringInfo(&payload, "{\"seq\": " INT64_FORMAT ", \"event\": \"%s\", \"session_role\": ", seq, event);
	escape_json(&payload, role);
	appendStringInfo(&payload, ", \"severity\": \"%s\"}", severity);
	Async_Notify("dataprotect_alert", payload.data);
}

void
dp_alert_raise(const DpRecord *record, int64 seq)
{
	Oid			types[6] = {INT8OID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[6];
	char		nulls[] = "      ";
	const char *event;
	const char *severity;
	char	   *role;

	if (record->kind != DP_RECORD_ADMIN || !dp_event_alerts(record->event))
		return;
	event = dp_event_name(record->event);
	severity = dp_severity_name(dp_event_severity(record->event));
	role = text_of(record->session_role);
	notify(seq, event, role, severity);
	ereport(LOG,
			(errmsg("alert " INT64_FORMAT " of the audit log: %s, severity %s", seq, event, severity)));
	values[0] = Int64GetDatum(seq);
	values[1] = TimestampTzGetDatum(record->at);
	values[2] = CStringGetTextDatum(event);
	values[3] = CStringGetTextDatum(severity);
	values[4] = CStringGetTextDatum(role);
	values[5] = record->n_keys > 0 ? CStringGetTextDatum(text_of(record->keys[0].name)) : (Datum) 0;
	nulls[5] = record->n_keys > 0 ? ' ' : 'n';
	if (SPI_execute_with_args("INSERT INTO dataprotect.alert (id, at, event, severity, session_role, key) "
							  "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
							  6, types, values, nulls, false, 0) != SPI_OK_INSERT)
		dp_report_altered("could not store an alert");
}
