/*
 * sink_line.h
 *	  A row of dataprotect.audit_record as it leaves the host.
 *
 * One line of JSON in UTF-8, without its newline, with the names of the Open
 * Cybersecurity Schema Framework where they fit and the rest under "unmapped".
 * The line is the same bytes whenever and for whomever it is made: digests are of
 * these bytes (digest.h).  So it depends on the row and the database's uid alone,
 * on no setting and no name that can change, and the members of an event once
 * published, their order and class are fixed for good.
 */
#ifndef DP_AUDIT_SINK_LINE_H
#define DP_AUDIT_SINK_LINE_H

#include "postgres.h"

#include "audit/chain.h"
#include "lib/stringinfo.h"
#include "utils/timestamp.h"

/* What the columns of a row are, in the order of DP_AUDIT_COLUMN_LIST; mac included. */
typedef struct DpSinkRow
{
	Datum		values[DP_AUDIT_N_COLUMNS];
	bool		nulls[DP_AUDIT_N_COLUMNS];
} DpSinkRow;

#define DP_SINK_UID_LEN 36		/* of text */

extern void dp_sink_line(StringInfo out, const DpSinkRow *row, const char *uid);

/* ArcSight's Common Event Format, for syslog. */
extern void dp_sink_line_cef(StringInfo out, const DpSinkRow *row, const char *uid);

/* 1 (informational) to 5 (critical), as OCSF counts. */
extern int	dp_sink_line_severity(const DpSinkRow *row);

/* 2026-11-27T19:00:00.123456Z */
#define DP_SINK_TIME_MAX 40
extern void dp_sink_time(TimestampTz at, char out[DP_SINK_TIME_MAX]);

#endif							/* DP_AUDIT_SINK_LINE_H */
