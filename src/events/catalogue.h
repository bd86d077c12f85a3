/*
 * catalogue.h
 *	  The closed catalogue of events.  Append only: codes are stored.
 */
#ifndef DP_EVENTS_CATALOGUE_H
#define DP_EVENTS_CATALOGUE_H

/* X(code, number, name): name is what dataprotect.audit_log.event shows. */
#define DP_EVENT_CATALOGUE(X) \
	X(DP_EVENT_VALUE_REVEALED,		1,	"value.revealed") \
	X(DP_EVENT_ACCESS_DENIED,		2,	"access.denied") \
	X(DP_EVENT_SEARCH_ALERT,		3,	"access.searched") \
	X(DP_EVENT_VALUE_SUBJECTS,		4,	"value.subjects") \
	X(DP_EVENT_KEY_CREATED,			10, "key.created") \
	X(DP_EVENT_KEY_ROTATED,			11, "key.rotated") \
	X(DP_EVENT_KEY_SUSPENDED,		12, "key.suspended") \
	X(DP_EVENT_KEY_RESUMED,			13, "key.resumed") \
	X(DP_EVENT_KEY_DESTROYED,		14, "key.destroyed") \
	X(DP_EVENT_SUBJECT_SUSPENDED,	15, "subject.suspended") \
	X(DP_EVENT_SUBJECT_RESUMED,		16, "subject.resumed") \
	X(DP_EVENT_SUBJECT_DESTROYED,	17, "subject.destroyed") \
	X(DP_EVENT_LOCKDOWN_STARTED,	18, "lockdown.started") \
	X(DP_EVENT_LOCKDOWN_LIFTED,		19, "lockdown.lifted") \
	X(DP_EVENT_ACCESS_GRANTED,		20, "access.granted") \
	X(DP_EVENT_ACCESS_REVOKED,		21, "access.revoked") \
	X(DP_EVENT_KEY_REWRAPPED,		22, "key.rewrapped") \
	X(DP_EVENT_KEY_IMPORTED,		23, "key.imported") \
	X(DP_EVENT_KEYS_EXPORTED,		24, "keys.exported") \
	X(DP_EVENT_KEYS_DRILLED,		25, "keys.drilled") \
	X(DP_EVENT_KEY_ALTERED,			26, "key.altered") \
	X(DP_EVENT_KEY_RENAMED,			27, "key.renamed") \
	X(DP_EVENT_KEY_DROPPED,			28, "key.dropped") \
	X(DP_EVENT_DRILL_OVERDUE,		29, "drill.overdue") \
	X(DP_EVENT_COLUMN_ENCRYPTED,	30, "column.encrypted") \
	X(DP_EVENT_COLUMN_DECRYPTED,	31, "column.decrypted") \
	X(DP_EVENT_COLUMN_REENCRYPTED,	32, "column.reencrypted") \
	X(DP_EVENT_COLUMN_BOUND,		33, "column.bound") \
	X(DP_EVENT_COLUMN_UNBOUND,		37, "column.unbound") \
	X(DP_EVENT_TYPE_CREATED,		34, "type.created") \
	X(DP_EVENT_RETENTION_CREATED,	40, "retention.created") \
	X(DP_EVENT_RETENTION_ACTIVATED, 41, "retention.activated") \
	X(DP_EVENT_RETENTION_PAUSED,	42, "retention.paused") \
	X(DP_EVENT_RETENTION_RUN,		43, "retention.run") \
	X(DP_EVENT_HOLD_PLACED,			44, "hold.placed") \
	X(DP_EVENT_HOLD_RELEASED,		45, "hold.released") \
	X(DP_EVENT_RETENTION_ALTERED,	46, "retention.altered") \
	X(DP_EVENT_RETENTION_DROPPED,	47, "retention.dropped") \
	X(DP_EVENT_RETENTION_FAILED,	48, "retention.failed") \
	X(DP_EVENT_ACCOUNT_TYPE_CREATED, 50, "account_type.created") \
	X(DP_EVENT_ACCOUNT_ANNOTATED,	51, "account_type.annotated") \
	X(DP_EVENT_DELETION_REQUESTED,	52, "deletion.requested") \
	X(DP_EVENT_DELETION_CANCELLED,	53, "deletion.cancelled") \
	X(DP_EVENT_DELETION_ADVANCED,	54, "deletion.advanced") \
	X(DP_EVENT_ACCOUNT_RETAINED,	55, "account.retained") \
	X(DP_EVENT_ACCOUNT_EXPORTED,	56, "account.exported") \
	X(DP_EVENT_CORRECTION_REQUESTED, 57, "correction.requested") \
	X(DP_EVENT_CORRECTION_DONE,		58, "correction.done") \
	X(DP_EVENT_ERASURES_REPLAYED,	59, "erasures.replayed") \
	X(DP_EVENT_WORKER_FAILED,		60, "worker.failed") \
	X(DP_EVENT_FUNCTION_TRUSTED,	70, "function.trusted") \
	X(DP_EVENT_FUNCTION_DISTRUSTED, 71, "function.distrusted") \
	X(DP_EVENT_ROLE_GRANTED,		80, "role.granted") \
	X(DP_EVENT_ROLE_REVOKED,		81, "role.revoked") \
	X(DP_EVENT_ROLE_CREATED,		82, "role.created") \
	X(DP_EVENT_ROLE_ALTERED,		83, "role.altered") \
	X(DP_EVENT_ROLE_DROPPED,		84, "role.dropped") \
	X(DP_EVENT_POLICY_TAMPERED,		90,	"policy.tampered") \
	X(DP_EVENT_POLICY_RESEALED,		91, "policy.resealed") \
	X(DP_EVENT_CLOCK_STOPPED,		100, "clock.stopped") \
	X(DP_EVENT_CLOCK_RESUMED,		101, "clock.resumed") \
	X(DP_EVENT_CLOCK_CONFIRMED,		102, "clock.confirmed") \
	X(DP_EVENT_DEADLINE_NEAR,		103, "deadline.near") \
	X(DP_EVENT_DEADLINE_MISSED,		104, "deadline.missed") \
	X(DP_EVENT_EPOCH_ROLLED,		110, "epoch.rolled") \
	X(DP_EVENT_EPOCH_EMPTIED,		111, "epoch.emptied") \
	X(DP_EVENT_EPOCH_DESTROYED,		112, "epoch.destroyed") \
	X(DP_EVENT_ROOT_SCHEDULED,		113, "root.scheduled") \
	X(DP_EVENT_ROOT_CANCELLED,		114, "root.cancelled") \
	X(DP_EVENT_KEY_EXPIRED,			115, "key.expired") \
	X(DP_EVENT_VERSION_DESTROYED,	116, "version.destroyed") \
	X(DP_EVENT_SINK_CREATED,		140, "sink.created") \
	X(DP_EVENT_SINK_DROPPED,		141, "sink.dropped") \
	X(DP_EVENT_SINK_FAILING,		142, "sink.failing") \
	X(DP_EVENT_SINK_RECOVERED,		143, "sink.recovered") \
	X(DP_EVENT_ALERT_ACKNOWLEDGED,	144, "alert.acknowledged") \
	X(DP_EVENT_SETTING_CHANGED,		145, "setting.changed") \
	X(DP_EVENT_DEFINITION_CHANGED,	146, "definition.changed") \
	X(DP_EVENT_ERASURES_UNKNOWN,	147, "erasures.unknown") \
	X(DP_EVENT_ERASURES_SETTLED,	148, "erasures.settled") \
	X(DP_EVENT_RESTORE_ACCEPTED,	149, "restore.accepted") \
	X(DP_EVENT_IDENTITY_AUTHENTICATED, 150, "identity.authenticated") \
	X(DP_EVENT_IDENTITY_REFUSED,	151, "identity.refused") \
	X(DP_EVENT_APPROVAL_REQUESTED,	152, "approval.requested") \
	X(DP_EVENT_APPROVAL_GIVEN,		153, "approval.given") \
	X(DP_EVENT_APPROVAL_USED,		154, "approval.used") \
	X(DP_EVENT_APPROVAL_REFUSED,	155, "approval.refused") \
	X(DP_EVENT_ACCESS_CONFIRMED,	156, "access.confirmed") \
	X(DP_EVENT_ACCESS_UNCONFIRMED,	157, "access.unconfirmed") \
	X(DP_EVENT_ACCESS_LAPSED,		158, "access.lapsed") \
	X(DP_EVENT_ACCESS_FIRST_USED,	159, "access.first_used") \
	X(DP_EVENT_INCIDENT_OPENED,		160, "incident.opened") \
	X(DP_EVENT_INCIDENT_NOTED,		161, "incident.noted") \
	X(DP_EVENT_INCIDENT_CLOSED,		162, "incident.closed") \
	X(DP_EVENT_LOG_ARCHIVED,		163, "log.archived") \
	X(DP_EVENT_KMS_FAILING,			164, "kms.failing") \
	X(DP_EVENT_KMS_RECOVERED,		165, "kms.recovered") \
	X(DP_EVENT_PRIVILEGE_DENIED,	166, "privilege.denied") \
	X(DP_EVENT_ERASURES_EXPORTED,	167, "erasures.exported") \
	X(DP_EVENT_MAINTENANCE_SCHEDULED, 168, "maintenance.scheduled") \
	X(DP_EVENT_ONLINE_CANCELLED,	169, "column.online_cancelled")

typedef enum DpEventCode
{
#define X(code, number, name) code = number,
	DP_EVENT_CATALOGUE(X)
#undef X
} DpEventCode;

#endif							/* DP_EVENTS_CATALOGUE_H */
