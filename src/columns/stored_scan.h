/*
 * stored_scan.h
 *	  The protected values that a table stores, without a query.
 *
 * Planning or executing a query runs code of the table's owner: expressions of
 * its indexes and constraints, its policies.  Here rows are read from the table
 * as they lie, so that whoever calls needs no right and lends none.  Callers
 * check what their own callers may do.
 */
#ifndef DP_COLUMNS_STORED_SCAN_H
#define DP_COLUMNS_STORED_SCAN_H

#include "postgres.h"

#include "types/typeinfo.h"
#include "utils/rel.h"

/* One value, detoasted; valid during the call. */
typedef void (*DpStoredVisit) (const DpTypeInfo *info, struct varlena *value, void *context);

/*
 * Every protected value inside one value of a type: itself, or, at any depth,
 * elements of an array and attributes of a row.
 */
extern void dp_stored_visit(Oid typid, Datum value, DpStoredVisit visit, void *context);

/*
 * The number of a column of a table or materialized view that stores its own
 * rows, which stays open and locked (ACCESS SHARE) until the caller closes it.
 * NULL where the relation is gone or stores none, or has no such column.
 */
extern Relation dp_stored_open(Oid relid, const char *column, AttrNumber *out_attnum);

/* One column, and what visit() is given for its values. */
typedef struct DpStoredColumn
{
	AttrNumber	attnum;
	void	   *context;
} DpStoredColumn;

/*
 * Every value of some columns that a snapshot of this moment sees, in one scan; of a
 * sample (0 to 1), those in so many of the table's blocks, chosen at random.
 */
extern void dp_stored_scan(Relation rel, const DpStoredColumn *columns, int n_columns, double sample,
						   DpStoredVisit visit);

#endif							/* DP_COLUMNS_STORED_SCAN_H */
