/*
 * role_events.h
 *	  Changes of roles that give or take rights, in the audit log.
 *
 * Recorded are membership of a role that holds, itself or through others, a
 * grant on a key or a role of dataprotect; a role with a grant that is dropped;
 * and the attributes SUPERUSER and CREATEROLE.  A change that is rolled back
 * leaves its record, as rolled back, and a line in the server log.
 *
 * Roles belong to the whole server.  A command in a database without the
 * extension is seen there by no log: the server log alone has it.
 */
#ifndef DP_AUDIT_ROLE_EVENTS_H
#define DP_AUDIT_ROLE_EVENTS_H

/* From _PG_init only. */
extern void dp_role_events_init(void);

#endif							/* DP_AUDIT_ROLE_EVENTS_H */
