/*
 * sink_line.c
 *	  Records as JSON and as CEF; see sink_line.h.
 */
#include "postgres.h"

#include "audit/collector.h"
#include "audit/personal.h"
#include "audit/sink_line.h"
#include "base/compat.h"
#include "base/text.h"
#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "events/event.h"
#include "events/record.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

/* Classes of OCSF 1.3 and what our events are in them. */
#define CLASS_ACCOUNT	3001	/* Account Change */
#define CLASS_ACCESS	3005	/* User Access Management */
#define CLASS_API		6003	/* API Activity */
#define CLASS_DATASTORE	6005	/* Datastore Activity */

typedef struct Class
{
	int			uid;
	int			activity;
} Class;

static inline Class
class_as(int class_uid, int activity)
{
	Class		result = {class_uid, activity};

	return result;
}

static Class
class_of(int kind, int event)
{
	if (kind == DP_RECORD_INTENT || kind == DP_RECORD_RESULT)
		return class_as(CLASS_DATASTORE, 1);	/* read */
	if (kind == DP_RECORD_RANGE)
		return class_as(CLASS_API, 99);
	switch (event)
	{
		case DP_EVENT_VALUE_REVEALED:
		case DP_EVENT_ACCESS_DENIED:
		case DP_EVENT_SEARCH_ALERT:
			return class_as(CLASS_DATASTORE, 1);
		case DP_EVENT_ACCESS_GRANTED:
			return class_as(CLASS_ACCESS, 1);	/* assign privileges */
		case DP_EVENT_ACCESS_REVOKED:
			return class_as(CLASS_ACCESS, 2);	/* revoke privileges */
		case DP_EVENT_ROLE_CREATED:
			return class_as(CLASS_ACCOUNT, 1);	/* create */
		case DP_EVENT_ROLE_DROPPED:
			return class_as(CLASS_ACCOUNT, 6);	/* delete */
		case DP_EVENT_ROLE_GRANTED:
			return class_as(CLASS_ACCOUNT, 7);	/* attach policy */
		case DP_EVENT_ROLE_REVOKED:
			return class_as(CLASS_ACCOUNT, 8);	/* detach policy */
		case DP_EVENT_ROLE_ALTERED:
			return class_as(CLASS_ACCOUNT, 99);
		case DP_EVENT_KEY_CREATED:
		case DP_EVENT_TYPE_CREATED:
		case DP_EVENT_RETENTION_CREATED:
		case DP_EVENT_ACCOUNT_TYPE_CREATED:
		case DP_EVENT_SINK_CREATED:
			return class_as(CLASS_API, 1);
		case DP_EVENT_KEY_DESTROYED:
		case DP_EVENT_KEY_DROPPED:
		case DP_EVENT_RETENTION_DROPPED:
		case DP_EVENT_SINK_DROPPED:
			return class_as(CLASS_API, 4);	/* delete */
		case DP_EVENT_ACCOUNT_EXPORTED:
		case DP_EVENT_KEYS_EXPORTED:
			return class_as(CLASS_API, 2);	/* read */
		default:
			return class_as(CLASS_API, 3);	/* update */
	}
}

static const char *
kind_name(int kind)
{
	switch (kind)
	{
		case DP_RECORD_INTENT:
			return "statement";
		case DP_RECORD_RESULT:
			return "result";
		case DP_RECORD_ADMIN:
			return "act";
		default:
			return "end";
	}
}

static const char *
outcome_name(int outcome)
{
	switch (outcome)
	{
		case DP_OUTCOME_STARTED:
			return "started";
		case DP_OUTCOME_OK:
			return "ok";
		case DP_OUTCOME_ERROR:
			return "error";
		case DP_OUTCOME_ROLLED_BACK:
			return "rolled_back";
		case DP_OUTCOME_CANCELLED:
			return "cancelled";
		case DP_OUTCOME_DENIED:
			return "denied";
		case DP_OUTCOME_PREPARED:
			return "prepared";
		default:
			return "lost";
	}
}

void
dp_sink_time(TimestampTz at, char out[DP_SINK_TIME_MAX])
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (TIMESTAMP_NOT_FINITE(at) || timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		strlcpy(out, "1970-01-01T00:00:00.000000Z", DP_SINK_TIME_MAX);
	else
		snprintf(out, DP_SINK_TIME_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ",
				 tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int) fsec);
}

static int
kind_of(const DpSinkRow *row)
{
	return DatumGetChar(row->values[DP_AUDIT_KIND]);
}

static int
event_of(const DpSinkRow *row)
{
	return DatumGetInt16(row->values[DP_AUDIT_EVENT]);
}

static const char *
event_name_of(const DpSinkRow *row)
{
	const char *name;

	if (kind_of(row) == DP_RECORD_RANGE)
		return event_of(row) == DP_SCOPE_ADMIN ? "acts.ended" : "transaction.ended";
	name = dp_event_name(kind_of(row) == DP_RECORD_RESULT ? DP_EVENT_VALUE_REVEALED : event_of(row));
	return name != NULL ? name : psprintf("unknown.%d", event_of(row));
}

int
dp_sink_line_severity(const DpSinkRow *row)
{
	DpSeverity	severity = kind_of(row) == DP_RECORD_ADMIN ? dp_event_severity(event_of(row)) : DP_SEVERITY_NONE;

	return severity == DP_SEVERITY_NONE ? 1 : 1 + (int) severity;
}

/* Text of this database that JSON and UTF-8 can hold; NULL for none. */
static char *
text_of_slice(DpSlice slice)
{
	char	   *copy;

	if (slice.len == 0)
		return NULL;
	copy = palloc(slice.len + 1);
	(void) dp_text_copy(copy, slice.len + 1, pnstrdup((const char *) slice.data, slice.len));
	return copy;
}

static char *
text_of(const DpSinkRow *row, DpAuditColumn column)
{
	return row->nulls[column] ? NULL : text_to_cstring(DatumGetTextPP(row->values[column]));
}

/* "name":"text", with a comma before it unless an object or array begins there. */
static void
put_name(StringInfo out, const char *name)
{
	char		last = out->len > 0 ? out->data[out->len - 1] : '{';

	if (last != '{' && last != '[')
		appendStringInfoChar(out, ',');
	appendStringInfo(out, "\"%s\":", name);
}

static void
put_text(StringInfo out, const char *name, const char *text)
{
	if (text == NULL)
		return;
	put_name(out, name);
	escape_json(out, text);
}

static void
put_int(StringInfo out, const char *name, int64 value)
{
	put_name(out, name);
	appendStringInfo(out, INT64_FORMAT, value);
}

static void
put_texts(StringInfo out, const char *name, const DpSinkRow *row, DpAuditColumn column)
{
	Datum	   *elements;
	int			n;

	if (row->nulls[column])
		return;
	deconstruct_array(DatumGetArrayTypeP(row->values[column]), TEXTOID, -1, false, TYPALIGN_INT,
					  &elements, NULL, &n);
	put_name(out, name);
	appendStringInfoChar(out, '[');
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		escape_json(out, TextDatumGetCString(elements[i]));
	}
	appendStringInfoChar(out, ']');
}

static int64
sum_of(const DpSinkRow *row, DpAuditColumn column)
{
	Datum	   *elements;
	int64		sum = 0;
	int			n;

	if (row->nulls[column])
		return 0;
	deconstruct_array(DatumGetArrayTypeP(row->values[column]), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		sum += DatumGetInt64(elements[i]);
	return sum;
}

/* As a JSON object where it is one. */
static void
put_detail(StringInfo out, DpSlice detail)
{
	Jsonb	   *jsonb;

	if (detail.len == 0)
		return;
	jsonb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
											   CStringGetDatum(pnstrdup((const char *) detail.data, detail.len))));
	put_name(out, "detail");
	(void) JsonbToCString(out, &jsonb->root, VARSIZE(jsonb));
}

static bool
personal_of(const DpSinkRow *row, DpPersonal *out)
{
	memset(out, 0, sizeof(*out));
	if (row->nulls[DP_AUDIT_SEALED] || dp_audit_open_sealed(DatumGetByteaPP(row->values[DP_AUDIT_SEALED]), out))
		return true;
	/* Where the KMS is away it opens later; otherwise it was altered, and that is told. */
	(void) dp_audit_require_chain();
	memset(out, 0, sizeof(*out));
	return false;
}

/* How it ended, as OCSF counts: 1 success, 2 failure, 99 other. */
static int
status_of(int outcome)
{
	if (outcome == DP_OUTCOME_OK)
		return 1;
	return outcome == DP_OUTCOME_ERROR || outcome == DP_OUTCOME_DENIED || outcome == DP_OUTCOME_CANCELLED ? 2 : 99;
}

static void
put_head(StringInfo out, const DpSinkRow *row, const char *uid)
{
	pg_uuid_t  *instance = DatumGetUUIDP(row->values[DP_AUDIT_INSTANCE]);
	TimestampTz at = DatumGetTimestampTz(row->values[DP_AUDIT_AT]);
	int			outcome = DatumGetChar(row->values[DP_AUDIT_OUTCOME]);
	Class		class = class_of(kind_of(row), event_of(row));

	appendStringInfo(out, "{\"metadata\":{\"sequence\":" INT64_FORMAT ",\"version\":\"1.3.0\","
					 "\"product\":{\"name\":\"dataprotect\",\"vendor_name\":\"dataprotect\"},\"log_provider\":\"%s\",\"uid\":\"",
					 DatumGetInt64(row->values[DP_AUDIT_SEQ]), uid);
	for (int i = 0; i < UUID_LEN; i++)
		appendStringInfo(out, "%02x", instance->data[i]);
	appendStringInfo(out, ":" INT64_FORMAT "\"}", DatumGetInt64(row->values[DP_AUDIT_RING_SEQ]));
	put_int(out, "time", at / 1000 + ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * SECS_PER_DAY * 1000);
	put_int(out, "category_uid", class.uid / 1000);
	put_int(out, "class_uid", class.uid);
	put_int(out, "activity_id", class.activity);
	put_int(out, "type_uid", (int64) class.uid * 100 + class.activity);
	put_text(out, "activity_name", event_name_of(row));
	put_int(out, "severity_id", dp_sink_line_severity(row));
	put_int(out, "status_id", status_of(outcome));
	put_text(out, "status", outcome_name(outcome));
}

static void
put_unmapped(StringInfo out, const DpSinkRow *row, const DpPersonal *personal)
{
	char		time[DP_SINK_TIME_MAX];
	bytea	   *mac = DatumGetByteaPP(row->values[DP_AUDIT_MAC]);

	dp_sink_time(DatumGetTimestampTz(row->values[DP_AUDIT_AT]), time);
	put_name(out, "unmapped");
	appendStringInfoChar(out, '{');
	put_text(out, "kind", kind_name(kind_of(row)));
	put_text(out, "at", time);
	put_text(out, "role", text_of(row, DP_AUDIT_ROLE));
	put_texts(out, "columns", row, DP_AUDIT_COLUMNS);
	put_texts(out, "keys", row, DP_AUDIT_KEYS);
	if (!row->nulls[DP_AUDIT_OPENED])
	{
		put_int(out, "values_opened", sum_of(row, DP_AUDIT_OPENED));
		put_int(out, "values_compared", sum_of(row, DP_AUDIT_COMPARED));
	}
	put_text(out, "purpose", text_of_slice(personal->purpose));
	put_detail(out, personal->detail);
	put_int(out, "record", DatumGetInt64(row->values[DP_AUDIT_RING_SEQ]));
	if (!row->nulls[DP_AUDIT_REF_SEQ])
		put_int(out, "of_record", DatumGetInt64(row->values[DP_AUDIT_REF_SEQ]));
	if (!row->nulls[DP_AUDIT_REF_END])
		put_int(out, "to_record", DatumGetInt64(row->values[DP_AUDIT_REF_END]));
	put_name(out, "mac");
	appendStringInfoChar(out, '"');
	for (Size i = 0; i < VARSIZE_ANY_EXHDR(mac); i++)
		appendStringInfo(out, "%02x", (uint8) VARDATA_ANY(mac)[i]);
	appendStringInfoString(out, "\"}");
}

void
dp_sink_line(StringInfo out, const DpSinkRow *row, const char *uid)
{
	StringInfoData line;
	DpPersonal	personal;
	char	   *utf8;
	bool		opened;

	opened = personal_of(row, &personal);
	initStringInfo(&line);
	put_head(&line, row, uid);
	put_name(&line, "actor");
	appendStringInfoString(&line, "{\"user\":{");
	put_text(&line, "name", text_of(row, DP_AUDIT_SESSION_ROLE));
	appendStringInfo(&line, "},\"session\":{\"uid\":\"%016llx\"}",
					 (unsigned long long) DatumGetInt64(row->values[DP_AUDIT_SESSION]));
	put_text(&line, "invoked_by", text_of_slice(personal.actor));
	put_text(&line, "app_name", text_of_slice(personal.application));
	appendStringInfoChar(&line, '}');
	if (personal.client.len > 0)
	{
		put_name(&line, "src_endpoint");
		appendStringInfoChar(&line, '{');
		put_text(&line, "name", text_of_slice(personal.client));
		appendStringInfoChar(&line, '}');
	}
	put_unmapped(&line, row, &personal);
	if (!opened)
		appendStringInfoString(&line, ",\"unreadable\":true");
	appendStringInfoChar(&line, '}');

	utf8 = pg_server_to_any(line.data, line.len, PG_UTF8);
	appendStringInfoString(out, utf8);
}

/* A field of CEF's header ("|") or extension ("="), with what needs it escaped. */
static void
put_cef(StringInfo out, const char *text, char special)
{
	for (const char *c = text; *c != '\0'; c++)
	{
		if (*c == '\n' || *c == '\r')
			appendStringInfoString(out, special == '=' ? "\\n" : " ");
		else
		{
			if (*c == '\\' || *c == special)
				appendStringInfoChar(out, '\\');
			appendStringInfoChar(out, *c);
		}
	}
}

static void
put_cef_field(StringInfo out, const char *name, const char *text)
{
	if (text == NULL)
		return;
	appendStringInfo(out, " %s=", name);
	put_cef(out, text, '=');
}

static char *
joined(const DpSinkRow *row, DpAuditColumn column)
{
	StringInfoData list;

	if (row->nulls[column])
		return NULL;
	initStringInfo(&list);
	put_texts(&list, "", row, column);
	return list.data + strlen("\"\":") + (list.data[0] == ',' ? 1 : 0);
}

void
dp_sink_line_cef(StringInfo out, const DpSinkRow *row, const char *uid)
{
	StringInfoData line;
	DpPersonal	personal;
	char	   *utf8;
	int64		at = DatumGetTimestampTz(row->values[DP_AUDIT_AT]) / 1000 +
		((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * SECS_PER_DAY * 1000;

	(void) personal_of(row, &personal);
	initStringInfo(&line);
	appendStringInfoString(&line, "CEF:0|dataprotect|dataprotect|1|");
	put_cef(&line, event_name_of(row), '|');
	appendStringInfoChar(&line, '|');
	put_cef(&line, event_name_of(row), '|');
	appendStringInfo(&line, "|%d|rt=" INT64_FORMAT, dp_sink_line_severity(row) * 2, at);
	put_cef_field(&line, "externalId", psprintf(INT64_FORMAT, DatumGetInt64(row->values[DP_AUDIT_SEQ])));
	put_cef_field(&line, "outcome", outcome_name(DatumGetChar(row->values[DP_AUDIT_OUTCOME])));
	put_cef_field(&line, "suser", text_of(row, DP_AUDIT_SESSION_ROLE));
	put_cef_field(&line, "duser", text_of(row, DP_AUDIT_ROLE));
	put_cef_field(&line, "shost", text_of_slice(personal.client));
	put_cef_field(&line, "requestClientApplication", text_of_slice(personal.application));
	put_cef_field(&line, "reason", text_of_slice(personal.purpose));
	put_cef_field(&line, "cn1Label", "values opened");
	put_cef_field(&line, "cn1", psprintf(INT64_FORMAT, sum_of(row, DP_AUDIT_OPENED)));
	put_cef_field(&line, "cs1Label", "columns");
	put_cef_field(&line, "cs1", joined(row, DP_AUDIT_COLUMNS));
	put_cef_field(&line, "cs2Label", "keys");
	put_cef_field(&line, "cs2", joined(row, DP_AUDIT_KEYS));
	put_cef_field(&line, "cs3Label", "detail");
	put_cef_field(&line, "cs3", text_of_slice(personal.detail));
	put_cef_field(&line, "deviceExternalId", uid);
	put_cef_field(&line, "flexString1", kind_name(kind_of(row)));
	utf8 = pg_server_to_any(line.data, line.len, PG_UTF8);
	appendStringInfoString(out, utf8);
}
