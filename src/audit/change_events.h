/*
 * change_events.h
 *	  Changes of what protection rests on besides our own functions, in the audit
 *	  log: settings of dataprotect, and what is put on a table with protected
 *	  columns and runs, filters or shows there.
 *
 * setting.changed: ALTER SYSTEM, ALTER DATABASE and ALTER ROLE ... SET, and SET of a
 * setting that superusers alone may change (others hold for their session's own
 * reads, and stand in the records of these).  definition.changed: whatever command
 * changes such a table, gives rights on it, publishes it, drops it, or puts a trigger, rule,
 * policy, index, view or function over it (changed_tables.h).  What own code
 * does is not told here: its functions have events of their own.
 */
#ifndef DP_AUDIT_CHANGE_EVENTS_H
#define DP_AUDIT_CHANGE_EVENTS_H

/* From _PG_init only. */
extern void dp_change_events_init(void);

#endif							/* DP_AUDIT_CHANGE_EVENTS_H */
