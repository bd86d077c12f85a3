/*
 * activity.h
 *	  What pg_stat_activity shows of the statements of a database with the
 *	  extension: their text without constants, and nothing before that is made.
 *
 * PostgreSQL reports a text as soon as it has read it from the client, before
 * anything of ours runs.  So a session's reports are switched off whenever its
 * client may send a statement: from the messages on that end one (ReadyForQuery,
 * ParseComplete, BindComplete, in the extended protocol CommandComplete and
 * PortalSuspended), which are seen as they are sent.  The first hook that a
 * statement enters switches them on again and reports the redacted text; until
 * then (while its tables are looked up, which may wait for a lock) the state is
 * "disabled".  What never reaches a hook is shown as withheld.
 *
 * The setting track_activities is not touched: its storage is moved here, and
 * PostgreSQL's own variable follows it while reports are on.
 *
 * All state is of one backend; no lock.
 */
#ifndef DP_AUDIT_ACTIVITY_H
#define DP_AUDIT_ACTIVITY_H

/* From _PG_init only. */
extern void dp_activity_init(void);

#endif							/* DP_AUDIT_ACTIVITY_H */
