/*
 * guard.h
 *	  DDL that would store or disclose a protected value is refused.
 *
 * Refused, wherever the DDL comes from (clients, pg_restore, extension
 * scripts, plpgsql, partitions made for a parent's index):
 *	- a stored column of an encrypted type without a modifier, also inside
 *	  arrays, domains and composites
 *	- an index in plaintext order on a column that is not 'ordered', and
 *	  'ordered' on subject-bound tables and under keys that expire
 *	- token classes on columns without tokens, equality indexes on types of
 *	  two or few values
 *	- expressions over an encrypted value in indexes, predicates, generated
 *	  columns and statistics objects, whatever their functions' volatility
 *	- partitioning by, ranges over, and CLUSTER by an encrypted value
 *	- materialized views that compute anything from an encrypted value
 *	- CHECK constraints and trigger conditions that hand one to a volatile function
 *	- an encrypted attribute or column in a type over which one of these was
 *	  made before (guard_type.h)
 *
 * The checks run as the object is made, before a row is read or written; they
 * read the catalogs with SnapshotSelf because the object's rows are not
 * visible to the command yet.  They open no value and need no key.
 */
#ifndef DP_COLUMNS_GUARD_H
#define DP_COLUMNS_GUARD_H

#include "postgres.h"

/* Install the hooks; from _PG_init only. */
extern void dp_guard_init(void);

#endif							/* DP_COLUMNS_GUARD_H */
