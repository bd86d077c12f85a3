/*
 * analyze.c
 *	  ANALYZE of encrypted types: statistics that depend on no value.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/relation.h"
#include "base/compat.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "commands/vacuum.h"
#include "fmgr.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

/*
 * What a column without an index is taken to have, as a part of its values: names,
 * numbers and addresses are mostly that or more.  The planner's own 200, whatever
 * the table's size, would have it sort where a hash serves.
 */
#define DISTINCT_PART	0.1

PG_FUNCTION_INFO_V1(dp_type_analyze);

/*
 * Does an index for equality lie on this very column?  One for order or for
 * tokens serves as well; one for words or entries does not.
 */
static bool
has_equality_index(Oid relid, AttrNumber attnum)
{
	Relation	rel = try_relation_open(relid, NoLock);
	bool		found = false;
	List	   *indexes;
	ListCell   *cell;

	if (rel == NULL)
		return false;
	indexes = RelationGetIndexList(rel);
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		found |= (index->rd_rel->relam == BTREE_AM_OID || index->rd_rel->relam == HASH_AM_OID) &&
			IndexRelationGetNumberOfKeyAttributes(index) == 1 &&
			index->rd_index->indkey.values[0] == attnum;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	relation_close(rel, NoLock);
	return found;
}

/* A value of the type can be one of many. */
static bool
has_many_values(Oid type)
{
	Oid			encrypted = getBaseType(type);
	Oid			base;

	if (!dp_type_is_encrypted(encrypted))
		return false;
	base = dp_typeinfo_get(encrypted)->base_oid;
	return base != BOOLOID && !type_is_enum(base);
}

/*
 * Null fraction and width only: no values, no comparisons, and a number of
 * distinct values that does not depend on the values, or pg_stats and EXPLAIN
 * would tell whoever may ANALYZE whether two of them are equal.  Where there is
 * an index to find a value by, values are taken to differ, elsewhere to be a part
 * of the rows that is always the same; the column's option n_distinct says otherwise.
 */
static void
compute_width(VacAttrStatsP stats, AnalyzeAttrFetchFunc fetch, int n_rows, double total_rows)
{
	double		width = 0;
	int			nulls = 0;
	int			i;

	for (i = 0; i < n_rows; i++)
	{
		bool		isnull;
		Datum		value;

		dp_vacuum_delay_point();
		value = fetch(stats, i, &isnull);
		if (isnull)
			nulls++;
		else
			width += (double) toast_raw_datum_size(value);
	}
	if (n_rows == 0)
		return;
	stats->stats_valid = true;
	stats->stanullfrac = (float4) nulls / n_rows;
	stats->stawidth = nulls < n_rows ? (int32) (width / (n_rows - nulls)) : 0;
	stats->stadistinct = 0;
	if (stats->tupDesc != NULL)
	{
		Form_pg_attribute att = TupleDescAttr(stats->tupDesc, stats->tupattnum - 1);

		if (has_equality_index(att->attrelid, att->attnum))
			stats->stadistinct = -1 + stats->stanullfrac;
		else if (has_many_values(att->atttypid))
			stats->stadistinct = -DISTINCT_PART * (1 - stats->stanullfrac);
	}
}

Datum
dp_type_analyze(PG_FUNCTION_ARGS)
{
	VacAttrStats *stats = (VacAttrStats *) PG_GETARG_POINTER(0);

	stats->compute_stats = compute_width;
	stats->minrows = 3000;
	PG_RETURN_BOOL(true);
}
