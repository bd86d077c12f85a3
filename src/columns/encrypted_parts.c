/*
 * encrypted_parts.c
 *	  Where in a type encrypted values lie.
 *
 * A part is reached through domains, arrays (path "[]") and attributes of
 * composite types (path ".name"); the path of a value that is its column's own is
 * empty.  Ranges take no part: no range over an encrypted type can be made.
 */
#include "postgres.h"

#include "access/transam.h"
#include "base/compat.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "types/modifier_registry.h"
#include "types/types.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dp_encrypted_parts_sql);

typedef void (*PartVisit) (const char *path, Oid type, int32 typmod, void *context);

static void walk(const char *path, Oid typid, int32 typmod, PartVisit visit, void *context);

static void
walk_row(const char *path, Oid typid, PartVisit visit, void *context)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(typid, -1);
	int			i;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped)
			walk(psprintf("%s.%s", path, quote_identifier(NameStr(att->attname))),
				 att->atttypid, att->atttypmod, visit, context);
	}
	FreeTupleDesc(desc);
}

static void
walk(const char *path, Oid typid, int32 typmod, PartVisit visit, void *context)
{
	/* nothing built in holds one, but RECORD, which no column has */
	if (typid < FirstNormalObjectId)
		return;
	check_stack_depth();
	if (dp_type_is_encrypted(typid))
		visit(path, typid, typmod, context);
	else if (get_typtype(typid) == TYPTYPE_DOMAIN)
	{
		int32		base_typmod = -1;
		Oid			base = getBaseTypeAndTypmod(typid, &base_typmod);

		walk(path, base, base_typmod, visit, context);
	}
	else if (OidIsValid(get_element_type(typid)))
		walk(psprintf("%s[]", path), get_element_type(typid), typmod, visit, context);
	else if (get_typtype(typid) == TYPTYPE_COMPOSITE)
		walk_row(path, typid, visit, context);
}

/* A part whose type names no key, or a number that nobody knows, has nulls. */
static void
return_part(const char *path, Oid type, int32 typmod, void *context)
{
	ReturnSetInfo *rsinfo = context;
	const DpModifier *modifier = typmod >= 0 && dp_modifier_words(typmod) != NULL ? dp_modifier_get(typmod) : NULL;
	Datum		values[5] = {0};
	bool		nulls[5] = {false, false, true, true, true};
	NameData	key;

	values[0] = CStringGetTextDatum(path);
	values[1] = ObjectIdGetDatum(type);
	if (modifier != NULL)
	{
		key = modifier->key;
		values[2] = NameGetDatum(&key);
		values[3] = BoolGetDatum(modifier->searchable);
		values[4] = BoolGetDatum(modifier->ordered);
		nulls[2] = nulls[3] = nulls[4] = false;
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * dataprotect._encrypted_parts(typ oid, typmod int4, OUT path text,
 *		OUT type regtype, OUT key name, OUT searchable bool, OUT ordered bool)
 *		returns setof record
 */
Datum
dp_encrypted_parts_sql(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, 0);
	walk("", PG_GETARG_OID(0), PG_GETARG_INT32(1), return_part, fcinfo->resultinfo);
	return (Datum) 0;
}
