/*
 * min_max.h
 *	  min and max of a protected column that has an index in plaintext order.
 *
 * PostgreSQL reads such an aggregate from an index where it knows the aggregate's
 * sort operator; the aggregates of a protected column are those of its base type,
 * over opened values, which no index is in the order of.  Here
 *
 *		SELECT min(c) FROM t WHERE q
 *
 * becomes
 *
 *		SELECT (SELECT c::base FROM t WHERE q AND c IS NOT NULL AND c::base IS NOT NULL
 *				ORDER BY c LIMIT 1)
 *
 * which leaves out what cannot be read, as the aggregate does.  Done only for a role
 * that may read the column, in a statement that stores nothing (there, an unreadable
 * value is an error), and where an index is there to be used: without one, the first
 * of a sort costs what the aggregate does.
 */
#ifndef DP_TYPES_MIN_MAX_H
#define DP_TYPES_MIN_MAX_H

#include "postgres.h"

#include "nodes/parsenodes.h"

/* The query itself, its aggregates resolved already. */
extern void dp_min_max_by_order(Query *query);

#endif							/* DP_TYPES_MIN_MAX_H */
