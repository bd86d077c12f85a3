/*
 * argument.c
 *	  What C functions ask of arguments that come from SQL; see argument.h.
 */
#include "postgres.h"

#include "access/relation.h"
#include "base/argument.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/syscache.h"

Relation
dp_argument_relation(Oid relid, LOCKMODE lock, const char *kinds)
{
	Relation	rel = try_relation_open(relid, lock);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (strchr(kinds, rel->rd_rel->relkind) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table of the kind that is asked for", RelationGetRelationName(rel))));
	return rel;
}

static void
check_not_null(FunctionCallInfo fcinfo, int n)
{
	if (n >= PG_NARGS() || PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument %d must not be null", n + 1)));
}

Oid
dp_argument_oid(FunctionCallInfo fcinfo, int n)
{
	check_not_null(fcinfo, n);
	return PG_GETARG_OID(n);
}

char *
dp_argument_text(FunctionCallInfo fcinfo, int n)
{
	check_not_null(fcinfo, n);
	return text_to_cstring(PG_GETARG_TEXT_PP(n));
}

void
dp_argument_type(Oid typid)
{
	if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(typid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("type with OID %u does not exist", typid)));
}

void
dp_argument_column(Relation rel, int attnum)
{
	if (attnum < 1 || attnum > RelationGetNumberOfAttributes(rel) ||
		TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attisdropped)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column %d of relation \"%s\" does not exist", attnum, RelationGetRelationName(rel))));
}
