/*
 * change_as.c
 *	  Statements that choose and change rows as a table's owner; see change_as.h.
 */
#include "postgres.h"

#include "access/table.h"
#include "base/argument.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "sqlrun/change_as.h"
#include "sqlrun/kept_plan.h"
#include "sqlrun/run_as.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dp_run_as_tids);
PG_FUNCTION_INFO_V1(dp_run_as_value);
PG_FUNCTION_INFO_V1(dp_run_as_apply);

/*
 * Tables that a change of table $1 changes by foreign keys, itself included,
 * partitions and inheritance children as well.
 */
#define REACH_SQL \
	"WITH RECURSIVE reach(rel) AS (" \
	"  SELECT $1 UNION SELECT x.oid FROM reach, LATERAL (" \
	"    SELECT c.conrelid AS oid FROM pg_catalog.pg_constraint c WHERE c.contype = 'f' AND c.confrelid = rel" \
	"       AND (c.confdeltype IN ('c', 'n', 'd') OR c.confupdtype IN ('c', 'n', 'd'))" \
	"    UNION ALL SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = rel AND rel <> $1) x)"

/* Lock them, until no other is found; what is locked gets no foreign key or trigger. */
static void
lock_reached(Oid relid)
{
	Oid			types[1] = {OIDOID};
	Datum		values[1];
	uint64		before;
	uint64		found = 0;
	SPIPlanPtr	plan = dp_kept_plan(REACH_SQL " SELECT rel FROM reach", 1, types);

	values[0] = ObjectIdGetDatum(relid);
	do
	{
		before = found;
		if (SPI_execute_plan(plan, values, NULL, false, 0) < 0)
			elog(ERROR, "could not look for foreign keys");
		found = SPI_processed;
		for (uint64 i = 0; i < found; i++)
		{
			bool		isnull;

			LockRelationOid(DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)),
							RowExclusiveLock);
		}
		SPI_freetuptable(SPI_tuptable);
	} while (found != before);
}

/*
 * Triggers of referential integrity itself count for none: what they execute
 * runs as the referencing table's owner.
 */
static const char *const triggers_sql =
REACH_SQL
" SELECT rel, p.proowner FROM reach JOIN pg_catalog.pg_class r ON r.oid = rel"
"   JOIN pg_catalog.pg_trigger t ON t.tgrelid = rel JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
"  WHERE t.tgenabled <> 'D' AND NOT (t.tgisinternal AND p.proname LIKE 'RI\\_FKey\\_%')"
"    AND (NOT $2 OR rel = $1 AND t.tgenabled IN ('A', 'R'))"
"    AND (NOT p.prosecdef AND NOT pg_catalog.pg_has_role(p.proowner, $3, 'USAGE')"
"         OR rel <> $1 AND t.tgtype & 66 = 0 AND NOT pg_catalog.pg_has_role(r.relowner, $3, 'USAGE'))"
"  LIMIT 1";

void
dp_run_as_check_triggers(Oid relid, bool silent)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	bool		fires = rel->trigdesc != NULL;
	Oid			types[3] = {OIDOID, BOOLOID, OIDOID};
	Datum		values[3];

	table_close(rel, NoLock);
	/* a table that a foreign key references has triggers as well */
	if (!fires)
		return;
	if (!silent)
		lock_reached(relid);
	values[0] = ObjectIdGetDatum(relid);
	values[1] = BoolGetDatum(silent);
	values[2] = ObjectIdGetDatum(GetUserId());
	if (SPI_execute_plan(dp_kept_plan(triggers_sql, 3, types), values, NULL, false, 1) < 0)
		elog(ERROR, "could not look for triggers");
	if (SPI_processed > 0)
	{
		bool		isnull;
		Oid			reached = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		Oid			owner = dp_run_as_owner(reached);

		if (has_privs_of_role(owner, GetUserId()))
			owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
		dp_run_as_report_owner(reached, owner, GetUserId(), "a trigger");
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Execute sql, whose only parameter is a tid[]; the result stays in SPI.
 */
static uint64
execute_with_tids(const char *sql, Datum tids, bool tids_null)
{
	Oid			types[1] = {TIDARRAYOID};
	char		nulls[1];
	SPIPlanPtr	plan = dp_run_as_prepare(sql, 1, types, 0);
	int			rc;

	dp_run_as_settle(plan);
	nulls[0] = tids_null ? 'n' : ' ';
	rc = SPI_execute_plan(plan, &tids, nulls, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan returned %s", SPI_result_code_string(rc));
	return SPI_processed;
}

static bool
returns_columns(void)
{
	return SPI_tuptable != NULL && SPI_tuptable->tupdesc->natts > 0;
}

/*
 * dataprotect._tids_as(rel regclass, sql text, tids tid[]) returns tid[]: the
 * first column of the first row of sql, run as rel's owner under the strict
 * search path.
 */
Datum
dp_run_as_tids(PG_FUNCTION_ARGS)
{
	Oid			owner = dp_run_as_owner(dp_argument_oid(fcinfo, 0));
	char	   *sql = dp_argument_text(fcinfo, 1);
	Datum		result = (Datum) 0;
	bool		isnull = true;
	DpRunAs		saved;

	SPI_connect();
	dp_run_as_begin(&saved, owner, DP_RUN_AS_STRICT_PATH);
	if (execute_with_tids(sql, PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2),
						  PG_ARGISNULL(2)) > 0)
	{
		if (!returns_columns() || SPI_gettypeid(SPI_tuptable->tupdesc, 1) != TIDARRAYOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("statement does not return tid[]")));
		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		if (!isnull)
			result = SPI_datumTransfer(result, false, -1);
	}
	dp_run_as_end(&saved);
	SPI_finish();
	if (isnull)
		PG_RETURN_NULL();
	return result;
}

/*
 * dataprotect._value_as(rel regclass, sql text, tids tid[]) returns text: the
 * same for any first column, as text.
 */
Datum
dp_run_as_value(PG_FUNCTION_ARGS)
{
	Oid			owner = dp_run_as_owner(dp_argument_oid(fcinfo, 0));
	char	   *sql = dp_argument_text(fcinfo, 1);
	text	   *result = NULL;
	DpRunAs		saved;

	SPI_connect();
	dp_run_as_begin(&saved, owner, DP_RUN_AS_STRICT_PATH);
	if (execute_with_tids(sql, PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2),
						  PG_ARGISNULL(2)) > 0 && returns_columns())
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		if (value != NULL)
		{
			Size		len = VARHDRSZ + strlen(value);

			result = (text *) SPI_palloc(len);
			SET_VARSIZE(result, len);
			memcpy(VARDATA(result), value, len - VARHDRSZ);
		}
	}
	dp_run_as_end(&saved);
	SPI_finish();
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(result);
}

/*
 * dataprotect._apply_as(rel regclass, sql text, tids tid[], silent bool)
 * returns bigint: run a changing statement as rel's owner under the search
 * path of rel's triggers; the number of rows that it changed.  silent: only
 * triggers that are enabled ALWAYS or for replicas fire.
 */
Datum
dp_run_as_apply(PG_FUNCTION_ARGS)
{
	Oid			relid = dp_argument_oid(fcinfo, 0);
	Oid			owner = dp_run_as_owner(relid);
	char	   *sql = dp_argument_text(fcinfo, 1);
	bool		silent = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	int64		rows;
	DpRunAs		saved;

	SPI_connect();
	/* a deferred trigger would fire at commit, with the rights of who commits */
	if (SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) < 0)
		elog(ERROR, "could not make constraints immediate");
	dp_run_as_begin(&saved, owner, dp_run_as_trigger_path(relid));
	dp_run_as_check_triggers(relid, silent);
	if (silent)
		dp_run_as_set("session_replication_role", "replica");
	rows = (int64) execute_with_tids(sql, PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2),
									 PG_ARGISNULL(2));
	dp_run_as_end(&saved);
	SPI_finish();
	PG_RETURN_INT64(rows);
}
