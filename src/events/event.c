/*
 * event.c
 *	  Administrative events.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/text.h"
#include "base/worker.h"
#include "events/actor.h"
#include "events/denial.h"
#include "events/event.h"
#include "events/ring.h"
#include "events/transaction.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/json.h"

const char *
dp_event_name(int code)
{
	switch (code)
	{
#define X(code, number, name) case number: return name;
			DP_EVENT_CATALOGUE(X)
#undef X
	}
	return NULL;
}

bool
dp_event_code(const char *name, DpEventCode *out_code)
{
#define X(code, number, text) if (strcmp(name, text) == 0) { *out_code = code; return true; }
	DP_EVENT_CATALOGUE(X)
#undef X
		return false;
}

DpSeverity
dp_event_severity(int code)
{
	switch (code)
	{
		case DP_EVENT_POLICY_TAMPERED:
		case DP_EVENT_LOCKDOWN_STARTED:
			return DP_SEVERITY_CRITICAL;
		case DP_EVENT_CLOCK_STOPPED:
		case DP_EVENT_COLUMN_DECRYPTED:
		case DP_EVENT_DEADLINE_MISSED:
		case DP_EVENT_INCIDENT_OPENED:
		case DP_EVENT_ERASURES_UNKNOWN:
		case DP_EVENT_KEY_DESTROYED:
		case DP_EVENT_LOCKDOWN_LIFTED:
		case DP_EVENT_POLICY_RESEALED:
		case DP_EVENT_RESTORE_ACCEPTED:
		case DP_EVENT_ROLE_ALTERED:
		case DP_EVENT_ROLE_GRANTED:
		case DP_EVENT_SINK_DROPPED:
		case DP_EVENT_SINK_FAILING:
		case DP_EVENT_KMS_FAILING:
			return DP_SEVERITY_HIGH;
		case DP_EVENT_ACCESS_GRANTED:
		case DP_EVENT_ACCESS_LAPSED:
		case DP_EVENT_ACCESS_UNCONFIRMED:
		case DP_EVENT_APPROVAL_GIVEN:
		case DP_EVENT_APPROVAL_REFUSED:
		case DP_EVENT_APPROVAL_REQUESTED:
		case DP_EVENT_CLOCK_CONFIRMED:
		case DP_EVENT_DEADLINE_NEAR:
		case DP_EVENT_DEFINITION_CHANGED:
		case DP_EVENT_DRILL_OVERDUE:
		case DP_EVENT_LOG_ARCHIVED:
		case DP_EVENT_RETENTION_FAILED:
		case DP_EVENT_ROLE_CREATED:
		case DP_EVENT_ROLE_DROPPED:
		case DP_EVENT_ROLE_REVOKED:
		case DP_EVENT_SEARCH_ALERT:
		case DP_EVENT_SETTING_CHANGED:
			return DP_SEVERITY_MEDIUM;
		case DP_EVENT_ACCESS_FIRST_USED:
		case DP_EVENT_SINK_CREATED:
		case DP_EVENT_KMS_RECOVERED:
		case DP_EVENT_SINK_RECOVERED:
			return DP_SEVERITY_LOW;
		default:
			return DP_SEVERITY_NONE;
	}
}

const char *
dp_severity_name(DpSeverity severity)
{
	static const char *const names[] = {"none", "low", "medium", "high", "critical"};

	return names[severity];
}

bool
dp_event_alerts(int code)
{
	return dp_event_severity(code) != DP_SEVERITY_NONE;
}

/* Tells of something that failed: the transaction's end changes nothing in it. */
static bool
is_failure(DpEventCode code)
{
	return code == DP_EVENT_ACCESS_DENIED || code == DP_EVENT_IDENTITY_REFUSED || code == DP_EVENT_APPROVAL_REFUSED || code == DP_EVENT_WORKER_FAILED ||
		code == DP_EVENT_RETENTION_FAILED || code == DP_EVENT_POLICY_TAMPERED || code == DP_EVENT_SINK_FAILING || code == DP_EVENT_KMS_FAILING;
}

void
dp_event_admin(DpEventCode code, const char *key_name, const char *detail_json)
{
	DpRecord	record;
	char		name[NAMEDATALEN];
	char		columns[DP_DENIAL_COLUMNS] = "";

	if (code == DP_EVENT_ACCESS_DENIED)
	{
		dp_denial_columns(columns);
		if (!dp_denial_note(key_name, columns))
			return;				/* counted */
	}
	memset(&record, 0, sizeof(record));
	record.kind = DP_RECORD_ADMIN;
	record.outcome = code == DP_EVENT_ACCESS_DENIED ? DP_OUTCOME_DENIED : is_failure(code) ? DP_OUTCOME_ERROR : DP_OUTCOME_STARTED;
	dp_denial_add_columns(&record, columns);
	record.event = code;
	dp_actor_fill(&record, detail_json);
	if (key_name != NULL)
	{
		record.n_keys = 1;
		record.keys[0].name.data = (const uint8 *) name;
		record.keys[0].name.len = dp_text_copy(name, NAMEDATALEN, key_name);
	}
	(void) dp_transaction_append(&record, 0);
}

void
dp_event_elsewhere(DpEventCode code, const char *detail_json)
{
	uint8		buf[DP_RECORD_MAX];
	DpRecord	record;
	Oid		   *databases;
	int			n = dp_worker_databases(&databases);
	Size		len;

	memset(&record, 0, sizeof(record));
	record.kind = DP_RECORD_ADMIN;
	record.outcome = DP_OUTCOME_OK;
	record.event = code;
	dp_actor_fill_elsewhere(&record, detail_json);
	len = dp_record_encode(&record, buf, sizeof(buf));
	for (int i = 0; i < n && len > 0; i++)
		if (databases[i] != MyDatabaseId)
			(void) dp_ring_append(databases[i], buf, len, 0, DP_RING_ADMIN);
	pfree(databases);
}

/* A round of a background worker has failed; it runs outside a transaction. */
static void
record_worker_failure(const char *kind, int sqlstate, const char *error)
{
	StringInfoData detail;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	initStringInfo(&detail);
	appendStringInfoString(&detail, "{\"kind\": ");
	escape_json(&detail, kind);
	appendStringInfoString(&detail, ", \"error\": ");
	escape_json(&detail, error);
	appendStringInfoChar(&detail, '}');
	dp_event_admin(DP_EVENT_WORKER_FAILED, NULL, detail.data);
	CommitTransactionCommand();
}

void
dp_event_init(void)
{
	dp_worker_on_failure(record_worker_failure);
	dp_ring_init();
	dp_transaction_init();
}
