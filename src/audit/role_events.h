/*
 * role_events.h
 *	  Changes of roles that give or take rights, in the audit log.
 *
 * Recorded are membership of a role that holds, itself or through others, a
 * grant on a key or a role of dataprotect; a role with a grant that is dropped;
 * and the attributes SUPERUSER and CREATEROLE.  A change that is rolled back
 * leaves its record, as rolled back, and a line in the server log.
 *
 * Roles belong to the whole server: every other database with the extension has
 * a record, too, of all changes of memberships and of these attributes, for what
 * they mean there is not known here.  It says in which database they were made.
 */
#ifndef DP_AUDIT_ROLE_EVENTS_H
#define DP_AUDIT_ROLE_EVENTS_H

/* From _PG_init only. */
extern void dp_role_events_init(void);

#endif							/* DP_AUDIT_ROLE_EVENTS_H */
