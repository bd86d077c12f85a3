/*
 * audit_workers.h
 *	  The two processes behind the audit log; for audit/ only.
 */
#ifndef DP_AUDIT_AUDIT_WORKERS_H
#define DP_AUDIT_AUDIT_WORKERS_H

#include "postgres.h"

#define DP_AUDIT_WORKER_KIND	"audit"
#define DP_SINK_WORKER			"sinks"
#define DP_DIGEST_WORKER		"digests"
#define DP_ARCHIVE_WORKER		"log archive"

/* Static process: ring to segments.  From _PG_init only. */
extern void dp_audit_writer_register(void);

/* A round of the per-database worker: on a standby, segments to its primary ... */
extern bool dp_audit_round(void);

/* ... otherwise to the table. */
extern bool dp_audit_collect(void);

#endif							/* DP_AUDIT_AUDIT_WORKERS_H */
