/*
 * rows_as.c
 *	  Statements over rows that are known by their keys.
 *
 * Keys are kept as text in a table of ours and handed over as arrays of the
 * columns' own types: no statement contains a value, and no cast that somebody
 * may have made is called.
 */
#include "postgres.h"

#include "base/argument.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "sqlrun/change_as.h"
#include "sqlrun/kept_plan.h"
#include "sqlrun/run_as.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dp_run_as_rows);

/* Parameters of a statement: one array a column. */
typedef struct Columns
{
	int			count;
	Oid		   *types;			/* of the arrays */
	Datum	   *arrays;
} Columns;

/* Column n of values, rows one after the other, as an array of a type. */
static Datum
make_column(Oid type, int n, int width, Datum *values, bool *nulls, int count)
{
	int			rows = count / width;
	Datum	   *column = palloc(Max(rows, 1) * sizeof(Datum));
	bool	   *column_nulls = palloc(Max(rows, 1) * sizeof(bool));
	int			dims[1] = {rows};
	int			bounds[1] = {1};
	Oid			input;
	Oid			io_parameter;
	FmgrInfo	flinfo;
	int16		typlen;
	bool		typbyval;
	char		typalign;

	getTypeInputInfo(type, &input, &io_parameter);
	fmgr_info(input, &flinfo);
	for (int i = 0; i < rows; i++)
	{
		int			at = i * width + n;

		column_nulls[i] = nulls[at];
		column[i] = nulls[at] ? (Datum) 0
			: InputFunctionCall(&flinfo, TextDatumGetCString(values[at]), io_parameter, -1);
	}
	get_typlenbyvalalign(type, &typlen, &typbyval, &typalign);
	if (rows == 0)
		return PointerGetDatum(construct_empty_array(type));
	return PointerGetDatum(construct_md_array(column, column_nulls, 1, dims, bounds, type, typlen, typbyval, typalign));
}

static void
make_columns(Columns *columns, ArrayType *types, ArrayType *values)
{
	Datum	   *type_values;
	Datum	   *cells;
	bool	   *nulls;
	bool	   *type_nulls;
	int			count;

	deconstruct_array(types, OIDOID, sizeof(Oid), true, TYPALIGN_INT, &type_values, &type_nulls, &columns->count);
	deconstruct_array(values, TEXTOID, -1, false, TYPALIGN_INT, &cells, &nulls, &count);
	if (columns->count == 0 || count % columns->count != 0)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("values do not fill their columns")));
	columns->types = palloc(columns->count * sizeof(Oid));
	columns->arrays = palloc(columns->count * sizeof(Datum));
	for (int i = 0; i < columns->count; i++)
	{
		Oid			type = type_nulls[i] ? InvalidOid : DatumGetObjectId(type_values[i]);

		dp_argument_type(type);
		columns->types[i] = get_array_type(type);
		if (!OidIsValid(columns->types[i]) || get_typtype(type) == TYPTYPE_PSEUDO)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("type %s has no arrays", format_type_be(type))));
		columns->arrays[i] = make_column(type, i, columns->count, cells, nulls, count);
	}
}

/* What the statement returned, a row an array of text, into the result. */
static void
store_rows(ReturnSetInfo *result)
{
	TupleDesc	tupdesc = SPI_tuptable->tupdesc;
	Datum	   *fields = palloc(tupdesc->natts * sizeof(Datum));
	bool	   *nulls = palloc(tupdesc->natts * sizeof(bool));
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "row", ALLOCSET_DEFAULT_SIZES);

	for (uint64 row = 0; row < SPI_tuptable->numvals; row++)
	{
		MemoryContext old = MemoryContextSwitchTo(row_context);
		int			dims[1] = {tupdesc->natts};
		int			bounds[1] = {1};
		Datum		array;
		bool		isnull = false;

		for (int i = 0; i < tupdesc->natts; i++)
		{
			char	   *value = SPI_getvalue(SPI_tuptable->vals[row], tupdesc, i + 1);

			nulls[i] = value == NULL;
			fields[i] = value == NULL ? (Datum) 0 : CStringGetTextDatum(value);
		}
		array = PointerGetDatum(construct_md_array(fields, nulls, 1, dims, bounds, TEXTOID, -1, false, TYPALIGN_INT));
		tuplestore_putvalues(result->setResult, result->setDesc, &array, &isnull);
		MemoryContextSwitchTo(old);
		MemoryContextReset(row_context);
	}
	MemoryContextDelete(row_context);
}

static void
store_count(ReturnSetInfo *result, uint64 count)
{
	Datum		text = CStringGetTextDatum(psprintf(UINT64_FORMAT, count));
	Datum		array = PointerGetDatum(construct_array(&text, 1, TEXTOID, -1, false, TYPALIGN_INT));
	bool		isnull = false;

	tuplestore_putvalues(result->setResult, result->setDesc, &array, &isnull);
}

/*
 * dataprotect._rows_as(rel regclass, sql text, types oid[], vals text[], changes bool)
 *   returns setof text[]
 *
 * Run a statement as rel's owner with $1, $2, .. an array of each of these types;
 * vals has their values row by row.  changes: under the search path of rel's
 * triggers, constraints immediate, as dataprotect._apply_as(); where the statement
 * returns nothing, the one row says how many it changed.
 */
Datum
dp_run_as_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			relid = dp_argument_oid(fcinfo, 0);
	Oid			owner = dp_run_as_owner(relid);
	char	   *sql = dp_argument_text(fcinfo, 1);
	bool		changes = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	Columns		columns;
	SPIPlanPtr	plan;
	DpRunAs		saved;
	int			rc;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (PG_ARGISNULL(2) || PG_ARGISNULL(3))
		return (Datum) 0;
	SPI_connect();
	if (changes && SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) < 0)
		elog(ERROR, "could not make constraints immediate");
	dp_run_as_begin(&saved, owner, changes ? dp_run_as_trigger_path(relid) : DP_RUN_AS_STRICT_PATH);
	make_columns(&columns, PG_GETARG_ARRAYTYPE_P(2), PG_GETARG_ARRAYTYPE_P(3));
	if (changes)
		dp_run_as_check_triggers(relid, false);
	plan = dp_kept_plan(sql, columns.count, columns.types);
	dp_run_as_settle(plan);
	rc = SPI_execute_plan(plan, columns.arrays, NULL, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan returned %s", SPI_result_code_string(rc));
	if (SPI_tuptable != NULL && SPI_tuptable->tupdesc->natts > 0)
		store_rows(result);
	else if (changes)
		store_count(result, SPI_processed);
	dp_run_as_end(&saved);
	SPI_finish();
	return (Datum) 0;
}
