/*
 * frames.h
 *	  From the hooks (frames.c) to the tracker (track.c); for audit/ only.
 */
#ifndef DP_AUDIT_FRAMES_H
#define DP_AUDIT_FRAMES_H

#include "postgres.h"

#include "executor/execdesc.h"
#include "nodes/plannodes.h"

/*
 * Number of our hooks on the stack.  0 between statements, and while a
 * statement's rows go out after its executor has ended.
 */
extern int	dp_audit_depth;

/* Frames of a COPY TO among them. */
extern int	dp_audit_copy_to_depth;

/* A new statement of the client begins; what came before is complete. */
extern void dp_audit_begin(const char *source, bool planning);

/* The executor starts or goes on with a query. */
extern void dp_audit_start_query(QueryDesc *query);
extern void dp_audit_run_query(QueryDesc *query);
extern void dp_audit_end_query(QueryDesc *query);

/* A utility statement: columns that it reads by itself. */
extern void dp_audit_utility(Node *statement);

/* The SQLSTATE of the last error, to tell a cancel from a failure. */
extern void dp_audit_note_error(int sqlstate);

extern void dp_audit_install_hooks(void);

/* Log hygiene (redact.c). */
extern void dp_audit_install_redaction(void);

/* Show a statement in pg_stat_activity without its constants. */
extern void dp_audit_report_activity(const char *source);

#endif							/* DP_AUDIT_FRAMES_H */
