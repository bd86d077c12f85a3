/*
 * export.c
 *	  Rows of an account as JSON, for a caller who runs nobody's code.
 *
 * Planning a query on a table runs what its owner put there (expressions of
 * indexes), with the rights of whoever asks.  So the rows are chosen as the
 * tables' owner, and read here without a query: the only statement makes JSON of
 * parameters.  It runs as the caller, who sees of protected values what he may.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "base/argument.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_rows_as_json);

/* Attributes of a table that are exported, and the statement that writes them. */
typedef struct ExportPlan
{
	int			count;
	int		   *attributes;		/* index into the tuple descriptor */
	SPIPlanPtr	plan;
} ExportPlan;

/* The caller may read the whole of the table that the account type names. */
static void
check_reading(Oid named, Oid leaf)
{
	AclResult	result = pg_class_aclcheck(named, GetUserId(), ACL_SELECT);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, OBJECT_TABLE, get_rel_name(named));
	if (check_enable_rls(named, InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("rows of table \"%s\" may be hidden by row-level security", get_rel_name(named)),
				 errhint("Set row_security to off.")));
	if (!list_member_oid(find_all_inheritors(named, AccessShareLock, NULL), leaf))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("table \"%s\" is not part of \"%s\"", get_rel_name(leaf), get_rel_name(named))));
}

/*
 * Values of built-in types become JSON as to_jsonb() has it, others their text:
 * to_jsonb() calls a cast to json that anybody may have made.  A column is a
 * parameter of the type below its domain, so no constraint is asked.
 */
static void
prepare_export(ExportPlan *export, TupleDesc tupdesc)
{
	StringInfoData sql;
	Oid		   *types = palloc(tupdesc->natts * sizeof(Oid));

	export->count = 0;
	export->attributes = palloc(tupdesc->natts * sizeof(int));
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT '{}'::pg_catalog.jsonb");
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(tupdesc, i);
		char	   *name = quote_literal_cstr(NameStr(attribute->attname));
		Oid			type = getBaseType(attribute->atttypid);
		int			n = export->count + 1;

		/* what is computed when it is read is computed by its owner's code */
		if (attribute->attisdropped || (attribute->attgenerated != '\0' && attribute->attgenerated != 's'))
			continue;
		if (type < FirstNormalObjectId && get_typtype(type) != TYPTYPE_COMPOSITE)
			appendStringInfo(&sql, " OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object(%s, pg_catalog.to_jsonb($%d))", name, n);
		else
			appendStringInfo(&sql, " OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object(%s, CASE WHEN"
							 " pg_catalog.num_nulls($%d) OPERATOR(pg_catalog.=) 0"
							 " THEN pg_catalog.to_jsonb(pg_catalog.concat($%d)) END)", name, n, n);
		types[export->count] = type;
		export->attributes[export->count++] = i;
	}
	export->plan = SPI_prepare(sql.data, export->count, types);
	if (export->plan == NULL)
		elog(ERROR, "could not prepare export: %s", SPI_result_code_string(SPI_result));
}

/* One row, read by its place, as JSON into the result. */
static void
export_row(ExportPlan *export, Relation rel, TupleTableSlot *slot, ItemPointer tid, ReturnSetInfo *result)
{
	Datum	   *values = palloc(export->count * sizeof(Datum));
	char	   *nulls = palloc(export->count);
	Datum		json;
	bool		isnull;

	if (!table_tuple_fetch_row_version(rel, tid, GetActiveSnapshot(), slot))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("a row of table \"%s\" was changed while the account was exported", RelationGetRelationName(rel)),
				 errhint("Export it again.")));
	slot_getallattrs(slot);
	for (int i = 0; i < export->count; i++)
	{
		values[i] = slot->tts_values[export->attributes[i]];
		nulls[i] = slot->tts_isnull[export->attributes[i]] ? 'n' : ' ';
	}
	if (SPI_execute_plan(export->plan, values, nulls, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not export a row");
	json = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	tuplestore_putvalues(result->setResult, result->setDesc, &json, &isnull);
	SPI_freetuptable(SPI_tuptable);
	pfree(values);
	pfree(nulls);
}

/*
 * dataprotect._rows_as_json(named regclass, leaf regclass, tids tid[])
 *   returns setof jsonb
 *
 * Rows of leaf, which stores rows of the table that was named.  Everybody who
 * may call it gets what he may read.
 */
Datum
dp_lifecycle_rows_as_json(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(2);
	ExportPlan	export;
	Relation	rel;
	TupleTableSlot *slot;
	Datum	   *tids;
	bool	   *nulls;
	int			count;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	rel = dp_argument_relation(PG_GETARG_OID(1), AccessShareLock, "r");
	check_reading(PG_GETARG_OID(0), RelationGetRelid(rel));
	deconstruct_array(array, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT, &tids, &nulls, &count);
	slot = table_slot_create(rel, NULL);
	SPI_connect();
	prepare_export(&export, RelationGetDescr(rel));
	for (int i = 0; i < count; i++)
	{
		if (!nulls[i])
			export_row(&export, rel, slot, (ItemPointer) DatumGetPointer(tids[i]), result);
	}
	SPI_finish();
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, AccessShareLock);
	return (Datum) 0;
}
