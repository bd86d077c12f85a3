/*
 * foreign_utility.h
 *	  Which commands code of others may execute for a role that has more.
 *
 * What such code leaves behind would run later without it on the stack, as the current
 * role: held cursors, prepared statements, functions, triggers, rules, views, tables with
 * defaults.  And what gives away a role's rights (GRANT, ALTER ROLE, ALTER TABLE, SET ROLE)
 * gives what it may see.  So a few commands are known to do neither, and all others are
 * refused, those of future versions included.
 *
 * Temporary tables are made and dropped as ever, within the limits of foreign_temporary.h.
 */
#ifndef DP_ACCESS_FOREIGN_UTILITY_H
#define DP_ACCESS_FOREIGN_UTILITY_H

#include "postgres.h"

#include "nodes/nodes.h"

extern bool dp_foreign_utility_is_harmless(Node *statement);

/* May such code change a setting?  By set_config() as by SET. */
extern bool dp_foreign_setting_is_harmless(const char *name);

#endif							/* DP_ACCESS_FOREIGN_UTILITY_H */
