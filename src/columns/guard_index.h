/*
 * guard_index.h
 *	  The part of the DDL guard that concerns indexes.
 */
#ifndef DP_COLUMNS_GUARD_INDEX_H
#define DP_COLUMNS_GUARD_INDEX_H

#include "postgres.h"

#include "catalog/pg_attribute.h"

/* Errors where the new index discloses more than its columns allow. */
extern void dp_guard_check_index(Oid index_relid);

/* Errors where a new constraint, if it is a foreign key, compares protected values for who may not. */
extern void dp_guard_check_foreign_key(Oid constraint);

/*
 * True where an index orders or compares values that contain encrypted ones and
 * are not columns of an encrypted type: none such can be made.
 */
extern bool dp_guard_index_bears(Oid index_relid);

/* Errors where an index marked for CLUSTER contains a protected column. */
extern void dp_guard_check_clustered(Oid index_relid);

/* Why no column of relid may be 'ordered' under that key. */
typedef enum DpOrderObstacle
{
	DP_ORDER_ALLOWED,
	DP_ORDER_BOUND,				/* its rows are sealed for accounts */
	DP_ORDER_EXPIRES			/* the key's versions are destroyed in time */
} DpOrderObstacle;

extern DpOrderObstacle dp_guard_order_obstacle(Oid relid, const char *key);

/* Errors where the column of relid must not be 'ordered'. */
extern void dp_guard_check_ordered(Oid relid, Form_pg_attribute att);

/* An error where values of a column may not carry a token under that key. */
extern void dp_guard_check_searchable(const char *column, const char *key);

#endif							/* DP_COLUMNS_GUARD_INDEX_H */
