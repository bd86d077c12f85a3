/*
 * event.h
 *	  Record one administrative act in the audit log.
 *
 * The act's intent is in the ring when dp_event_admin() returns; its result
 * (ok or rolled_back) follows at the end of the transaction.  Statements that
 * read values are tracked by audit/track.h, not here.
 */
#ifndef DP_EVENTS_EVENT_H
#define DP_EVENTS_EVENT_H

#include "postgres.h"

#include "events/catalogue.h"

/*
 * key_name: NULL where the act concerns no key.  detail_json: NULL or a JSON
 * object in the server's encoding, without secrets and without plaintext.
 * Waits for space where the ring is full.  Repeated refusals are counted instead
 * (denial.h).
 */
extern void dp_event_admin(DpEventCode code, const char *key_name, const char *detail_json);

/*
 * Record an act that concerns every database, in the log of each that has the
 * extension but this one.  They are told that the command succeeded: what becomes
 * of its transaction is known here alone.  detail_json is short, and lies
 * unsealed in the ring until it is collected there.
 */
extern void dp_event_elsewhere(DpEventCode code, const char *detail_json);

/* NULL, or false, where the catalogue has no such event. */
extern const char *dp_event_name(int code);
extern bool dp_event_code(const char *name, DpEventCode *out_code);

/*
 * How much an event matters to whoever watches: the closed list of alerts, that is
 * of events about which somebody is told at once (audit/alert.h).
 */
typedef enum DpSeverity
{
	DP_SEVERITY_NONE,			/* no alert */
	DP_SEVERITY_LOW,
	DP_SEVERITY_MEDIUM,
	DP_SEVERITY_HIGH,
	DP_SEVERITY_CRITICAL
} DpSeverity;

extern DpSeverity dp_event_severity(int code);
extern const char *dp_severity_name(DpSeverity severity);
extern bool dp_event_alerts(int code);

/* The ring and the transaction callbacks; from _PG_init only. */
extern void dp_event_init(void);

#endif							/* DP_EVENTS_EVENT_H */
