/*
 * partition.c
 *	  Until when a partition can receive rows.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_partition_upper);

/*
 * dataprotect._partition_upper(rel regclass) returns text
 *
 * The exclusive upper bound of a range partition with a single key column, in
 * the text form of the key's type; NULL where there is none (DEFAULT,
 * MAXVALUE, another kind of partition, no partition).
 */
Datum
dp_lifecycle_partition_upper(PG_FUNCTION_ARGS)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, PG_GETARG_DATUM(0));
	Datum		bound;
	bool		isnull;
	PartitionBoundSpec *spec;
	PartitionRangeDatum *upper;
	Const	   *value;
	Oid			output;
	bool		varlena;

	if (!HeapTupleIsValid(tuple))
		PG_RETURN_NULL();
	bound = SysCacheGetAttr(RELOID, tuple, Anum_pg_class_relpartbound, &isnull);
	if (isnull)
	{
		ReleaseSysCache(tuple);
		PG_RETURN_NULL();
	}
	spec = castNode(PartitionBoundSpec, stringToNode(TextDatumGetCString(bound)));
	ReleaseSysCache(tuple);
	if (spec->is_default || spec->strategy != 'r' || list_length(spec->upperdatums) != 1)
		PG_RETURN_NULL();
	upper = castNode(PartitionRangeDatum, linitial(spec->upperdatums));
	if (upper->kind != PARTITION_RANGE_DATUM_VALUE)
		PG_RETURN_NULL();
	value = castNode(Const, upper->value);
	getTypeOutputInfo(value->consttype, &output, &varlena);
	PG_RETURN_TEXT_P(cstring_to_text(OidOutputFunctionCall(output, value->constvalue)));
}
