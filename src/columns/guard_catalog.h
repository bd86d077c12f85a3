/*
 * guard_catalog.h
 *	  Catalog rows that the current command has just written, for the guard.
 *
 * Read with SnapshotSelf: no snapshot of the command shows them yet.  Rows are
 * copies in the current memory context.
 */
#ifndef DP_COLUMNS_GUARD_CATALOG_H
#define DP_COLUMNS_GUARD_CATALOG_H

#include "postgres.h"

#include "access/attnum.h"
#include "access/htup.h"
#include "nodes/nodes.h"

extern HeapTuple dp_guard_fetch(Oid catalog, Oid index, AttrNumber key1, Oid value1,
								AttrNumber key2, AttrNumber value2);
extern HeapTuple dp_guard_fetch_attribute(Oid relid, AttrNumber attnum);
extern Node *dp_guard_stored_node(HeapTuple tuple, AttrNumber attnum, Oid catalog);

#endif							/* DP_COLUMNS_GUARD_CATALOG_H */
