/*
 * own_sequence.c
 *	  Numbers of our rows, whatever was done to their sequences; see own_sequence.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_index_d.h"
#include "catalog/pg_type_d.h"
#include "commands/sequence.h"
#include "keys/own_sequence.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* Numbers this far on are nobody's that counts one by one. */
#define FAR_ON(type) ((type) == INT4OID ? PG_INT32_MAX / 2 : PG_INT64_MAX / 2)

/*
 * The largest number in an index over the column that is not far on, whoever wrote it,
 * or 0; false where there is no index.
 */
static bool
largest_number(Relation rel, AttrNumber column, Oid type, int64 *largest)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	bool		found = false;

	*largest = 0;
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		found = index->rd_index->indisvalid && index->rd_rel->relam == BTREE_AM_OID &&
			index->rd_index->indkey.values[0] == column && heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
		if (found)
		{
			ScanKeyData key;
			SysScanDesc scan;
			HeapTuple	row;
			bool		isnull;

			ScanKeyInit(&key, column, BTLessStrategyNumber, type == INT4OID ? F_INT4LT : F_INT8LT,
						type == INT4OID ? Int32GetDatum(FAR_ON(type)) : Int64GetDatum(FAR_ON(type)));
			scan = systable_beginscan_ordered(rel, index, SnapshotAny, 1, &key);
			row = systable_getnext_ordered(scan, BackwardScanDirection);
			if (HeapTupleIsValid(row))
			{
				Datum		number = heap_getattr(row, column, RelationGetDescr(rel), &isnull);

				*largest = type == INT4OID ? DatumGetInt32(number) : DatumGetInt64(number);
			}
			systable_endscan_ordered(scan);
		}
		index_close(index, AccessShareLock);
		if (found)
			break;
	}
	list_free(indexes);
	return found;
}

void
dp_own_sequence_keep(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);
		Oid			sequence;
		Datum		last;
		int64		largest;

		LOCAL_FCINFO(fcinfo, 1);

		if (column->attidentity == '\0' || column->attisdropped)
			continue;
		sequence = get_relname_relid(psprintf("%s_%s_seq", RelationGetRelationName(rel), NameStr(column->attname)), RelationGetNamespace(rel));
		if (!OidIsValid(sequence) || !largest_number(rel, column->attnum, column->atttypid, &largest))
			continue;
		InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
		fcinfo->args[0].value = ObjectIdGetDatum(sequence);
		fcinfo->args[0].isnull = false;
		last = pg_sequence_last_value(fcinfo);
		if (!fcinfo->isnull && DatumGetInt64(last) >= largest && DatumGetInt64(last) < FAR_ON(column->atttypid))
			continue;
		DirectFunctionCall3(setval3_oid, ObjectIdGetDatum(sequence), Int64GetDatum(Max(largest, 1)), BoolGetDatum(largest > 0));
	}
	table_close(rel, NoLock);
}
