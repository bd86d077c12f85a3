/*
 * own_tables.h
 *	  Our tables are written, and locked, by our functions.
 *
 * What stands in them decides whose rows go and who may read.  A role that is no
 * superuser changes or locks no row of a table of the extension, whatever it
 * was granted: pg_write_all_data, privileges on the table, default privileges.
 * Our own functions write as the extension's owner, a superuser.
 * Nor does it lock a whole table of ours against us, directly, through a view of
 * its own, by CLUSTER, REINDEX and VACUUM FULL (pg_maintain), or by a statement
 * that is prepared, explained or stored and never run, through views and rules too.
 * Reading locks nothing that anybody waits for: the one who would, the archiving of
 * the log, comes again later (audit/archive.c).
 */
#ifndef DP_SQLRUN_OWN_TABLES_H
#define DP_SQLRUN_OWN_TABLES_H

#include "postgres.h"

/* Register the check of every statement's permissions; from _PG_init only. */
extern void dp_own_tables_init(void);

#endif							/* DP_SQLRUN_OWN_TABLES_H */
