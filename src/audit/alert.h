/*
 * alert.h
 *	  Telling somebody of a record whose event is an alert (events/event.h).
 *
 * By the collector, in the transaction that stores the record: a row of
 * dataprotect.alert, NOTIFY dataprotect_alert, and a line of the server log.
 */
#ifndef DP_AUDIT_ALERT_H
#define DP_AUDIT_ALERT_H

#include "postgres.h"

#include "events/record.h"

/* seq: the record's number in the log, which is the alert's.  Inside SPI. */
extern void dp_alert_raise(const DpRecord *record, int64 seq);

#endif							/* DP_AUDIT_ALERT_H */
