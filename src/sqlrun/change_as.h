/*
 * change_as.h
 *	  Changing rows of a table as its owner.
 */
#ifndef DP_SQLRUN_CHANGE_AS_H
#define DP_SQLRUN_CHANGE_AS_H

#include "postgres.h"

/*
 * Before the current role changes rows of a table: an error where that would
 * run code of a role that has not the current role's rights with these rights.
 *
 *	- a trigger of the table whose function is such a role's (whoever has the
 *	  TRIGGER privilege puts triggers on another's table)
 *	- a trigger after the change of a table that a foreign key of it changes in
 *	  its turn: what referential integrity executes runs as the owner of the
 *	  referencing table, but triggers after it as whoever made the first change
 *
 * The tables that are reached stay locked against new triggers and foreign keys
 * to the end of the transaction.  silent: only triggers that fire in replicas
 * count, and no foreign key does.
 */
extern void dp_run_as_check_triggers(Oid relid, bool silent);

#endif							/* DP_SQLRUN_CHANGE_AS_H */
