/*
 * guard_catalog.c
 *	  Reading catalogs that the current command has just written.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "columns/guard_catalog.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * A copy of the row of a catalog whose first (and second) index column has the
 * given value, the command's own changes included; NULL where there is none.
 */
HeapTuple
dp_guard_fetch(Oid catalog, Oid index, AttrNumber key1, Oid value1,
			   AttrNumber key2, AttrNumber value2)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], key1, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(value1));
	if (key2 != InvalidAttrNumber)
		ScanKeyInit(&key[1], key2, BTEqualStrategyNumber, F_INT2EQ,
					Int16GetDatum(value2));
	scan = systable_beginscan(rel, index, true, SnapshotSelf,
							  key2 != InvalidAttrNumber ? 2 : 1, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		tuple = heap_copytuple(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return tuple;
}

HeapTuple
dp_guard_fetch_attribute(Oid relid, AttrNumber attnum)
{
	return dp_guard_fetch(AttributeRelationId, AttributeRelidNumIndexId,
						  Anum_pg_attribute_attrelid, relid,
						  Anum_pg_attribute_attnum, attnum);
}

/* The expression stored in a catalog row's text column, or NULL. */
Node *
dp_guard_stored_node(HeapTuple tuple, AttrNumber attnum, Oid catalog)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	bool		isnull;
	Datum		value;
	Node	   *node = NULL;

	value = heap_getattr(tuple, attnum, RelationGetDescr(rel), &isnull);
	if (!isnull)
		node = stringToNode(TextDatumGetCString(value));
	table_close(rel, AccessShareLock);
	return node;
}
