/*
 * restored_rows.c
 *	  Rows of the extension's tables that a restore brings.
 *
 * pg_restore with several processes fills tables in any order, each in a transaction
 * of its own: keys would be there before what they are wrapped for, rows before what
 * they reference.  In a database without keys what an administrator's restore (a
 * superuser, dataprotect.input = 'ciphertext') writes into these tables is held in
 * dataprotect.restored_row.  A dump says how many rows it has of each
 * (src/restored_tables.sql); the statement that brings the last of them moves all
 * to their places, in an order that their references allow, has generated columns of rows
 * that came before computed (till then they are null), runs what was put off
 * (put_off.h), and looks whether the values of bound tables that came before their keys
 * belong to their rows' accounts, as those that come later are looked at one by one.  Until
 * that commits there are no keys; where it fails, there are none either, and that
 * table's rows can be restored again.
 *
 * The rows go where they were going, as they came: by statements that are not our own,
 * so that they keep their seals (keys/policy_trigger.c).
 */
#include "postgres.h"

#include "base/pinned_settings.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "columns/put_off.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "keys/catalog.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "types/seal.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dp_hold_restored_row);
PG_FUNCTION_INFO_V1(dp_release_restored);

static const char all_are_there[] =
"SELECT true FROM dataprotect.zz_restored z WHERE z.rows IS NOT NULL AND NOT EXISTS ("
"SELECT FROM jsonb_each_text(z.rows) r WHERE r.value::int8 > "
"(SELECT count(*) FROM dataprotect.restored_row h WHERE h.tbl = r.key))";

static bool releasing = false;

static bool
is_restoring(void)
{
	return !releasing && dp_seal_awaits_keys() && superuser() && !dp_own_statement();
}

static TriggerData *
trigger_of(FunctionCallInfo fcinfo, const char *name)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger", name)));
	return (TriggerData *) fcinfo->context;
}

/* The text of a row, which reads the same wherever and whenever it is moved. */
static Datum
line_of(Datum row)
{
	int			level = NewGUCNestLevel();
	char	   *line;

	dp_pinned_settings_set_text_form();
	line = OidOutputFunctionCall(F_RECORD_OUT, row);
	AtEOXact_GUC(false, level);
	return CStringGetTextDatum(line);
}

/* Row trigger, before INSERT. */
Datum
dp_hold_restored_row(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = trigger_of(fcinfo, "_hold_restored_row");
	Oid			types[2] = {NAMEOID, TEXTOID};
	Datum		values[2];
	Datum		row;

	if (!is_restoring())
		return PointerGetDatum(trigger->tg_trigtuple);
	row = heap_copy_tuple_as_datum(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation));
	values[0] = NameGetDatum(&trigger->tg_relation->rd_rel->relname);
	values[1] = line_of(row);
	SPI_connect();
	if (SPI_execute_with_args("INSERT INTO dataprotect.restored_row (tbl, line) VALUES ($1, $2)",
							  2, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not hold a restored row");
	SPI_finish();
	return PointerGetDatum(NULL);
}

/* A query's rows, of texts; the memory is SPI's. */
static List *
read_rows(const char *sql)
{
	List	   *result = NIL;

	if (SPI_execute(sql, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read what is restored");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		List	   *row = NIL;

		for (int column = 1; column <= SPI_tuptable->tupdesc->natts; column++)
			row = lappend(row, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, column));
		result = lappend(result, row);
	}
	return result;
}

static void
run(const char *sql)
{
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not put restored rows in their places");
}

/* In a block of its own, so that it is not the extension's own statement. */
static void
run_as_theirs(const char *sql)
{
	run(psprintf("DO %s", quote_literal_cstr(psprintf("BEGIN EXECUTE %s; END", quote_literal_cstr(sql)))));
}

static void
set_setting(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

static void
move_rows(void)
{
	List	   *tables = read_rows("SELECT o, quote_literal(o) FROM dataprotect._restore_order() o");
	int			level = NewGUCNestLevel();
	ListCell   *lc;

	dp_pinned_settings_set_text_form();
	foreach(lc, tables)
	{
		const char *table = quote_identifier(linitial(lfirst(lc)));

		run_as_theirs(psprintf("INSERT INTO dataprotect.%s OVERRIDING SYSTEM VALUE SELECT (q.r).* FROM "
							   "(SELECT h.line::dataprotect.%s AS r FROM dataprotect.restored_row h WHERE h.tbl = %s ORDER BY h.ctid OFFSET 0) q",
							   table, table, (char *) lsecond(lfirst(lc))));
	}
	AtEOXact_GUC(false, level);
	/* Values may come later still. */
	run_as_theirs("UPDATE dataprotect.key_version SET state_since = now(), looked_at = NULL, unused_at = NULL "
				  "WHERE key_id IN (SELECT dataprotect._replaced_keys())");
	run("DELETE FROM dataprotect.restored_row");
	run("UPDATE dataprotect.zz_restored SET rows = NULL");
}

/*
 * What will be sealed is counted here, since no other session sees these keys yet.  Where this
 * transaction fails, so many seals of them remain that no row counts: few, of what one may.
 */
static void
reserve_seals(const char *rel_literal)
{
	List	   *keys = read_rows(psprintf("SELECT k.id, k.n FROM (SELECT k.current_key_id AS id, "
										  "(least(pg_relation_size(%1$s) / 40, 1 << 24) * count(*))::int4 + 4096 AS n "
										  "FROM dataprotect.protected_columns p JOIN dataprotect.key k ON k.name = p.key "
										  "JOIN pg_attribute a ON a.attrelid = p.rel AND a.attname = p.col AND a.attgenerated <> '' "
										  "WHERE p.rel = pg_partition_root(%1$s) OR p.rel = %1$s GROUP BY 1) k "
										  "WHERE dataprotect._reserve_seals(k.id, k.n) = 'reserved'", rel_literal));
	ListCell   *lc;

	foreach(lc, keys)
		dp_keys_give_seals((uint64) pg_strtoint64(linitial(lfirst(lc))), (uint32) pg_strtoint32(lsecond(lfirst(lc))));
}

static const char tables_with_generated[] =
"SELECT x.rel::regclass, quote_literal(x.rel) || '::regclass', "
"string_agg(DISTINCT format('%1$I = %1$I', i.attname), ', '), string_agg(DISTINCT format('%I IS NULL', x.made), ' OR ') "
"FROM (SELECT f.adrelid AS rel, f.oid AS def, f.adnum AS num, a.attname AS made FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid "
"JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum JOIN pg_class c ON c.oid = f.adrelid AND c.relkind = 'r' "
"WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = 'dataprotect.computed(text, \"any\")'::regprocedure "
"AND d.classid = 'pg_attrdef'::regclass) x "
"JOIN pg_depend u ON u.classid = 'pg_attrdef'::regclass AND u.objid = x.def AND u.refclassid = 'pg_class'::regclass "
"AND u.refobjid = x.rel AND u.refobjsubid > 0 AND u.refobjsubid <> x.num "
"JOIN pg_attribute i ON i.attrelid = x.rel AND i.attnum = u.refobjsubid GROUP BY x.rel ORDER BY x.rel";

/*
 * Rows that are written meanwhile are waited for; those after them find the keys.  As their owner,
 * and past his triggers: nothing changes but what is computed.
 */
static void
compute_generated(void)
{
	List	   *tables = read_rows(tables_with_generated);
	ListCell   *lc;

	foreach(lc, tables)
	{
		List	   *row = lfirst(lc);
		char	   *rel = linitial(row);

		run(psprintf("LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE", rel));
		reserve_seals(lsecond(row));
		run(psprintf("SELECT dataprotect._apply_as(%s, %s, NULL, true)", (char *) lsecond(row),
					 quote_literal_cstr(psprintf("UPDATE ONLY %s SET %s WHERE %s", rel, (char *) lthird(row), (char *) lfourth(row)))));
	}
}

static void
run_put_off(void)
{
	List	   *statements = read_rows("SELECT statement, search_path, default_tablespace FROM dataprotect.put_off ORDER BY noted_at");
	ListCell   *lc;

	foreach(lc, statements)
	{
		List	   *row = lfirst(lc);
		int			level = NewGUCNestLevel();

		if (!dp_put_off_is_one(linitial(row)))
			elog(ERROR, "what was put off is not an index, a constraint or a comment");
		set_setting("search_path", lsecond(row));
		set_setting("default_tablespace", lthird(row));
		run_as_theirs(linitial(row));
		AtEOXact_GUC(false, level);
	}
	run("DELETE FROM dataprotect.put_off");
}

/*
 * Rows that are written meanwhile are waited for; those after them find the keys.  What is
 * written in a CHECK, and what runs as a query on its table is planned, is its owner's: it
 * runs with his rights.
 */
static void
check_bound(void)
{
	List	   *checks = read_rows("SELECT c.conrelid::regclass, quote_literal(c.conrelid) || '::regclass', pg_get_expr(c.conbin, c.conrelid) "
								   "FROM pg_depend d, pg_constraint c WHERE d.refclassid = 'pg_proc'::regclass "
								   "AND d.refobjid = 'dataprotect._sealed_for(anyelement, text, text)'::regprocedure "
								   "AND d.classid = 'pg_constraint'::regclass AND c.oid = d.objid AND c.contype = 'c' AND c.conrelid <> 0");
	ListCell   *lc;

	foreach(lc, checks)
	{
		char	   *rel = linitial(lfirst(lc));

		run(psprintf("LOCK TABLE ONLY %s IN SHARE MODE", rel));
		if (read_rows(psprintf("SELECT FROM dataprotect._value_as(%s, %s) found WHERE found IS NOT NULL", (char *) lsecond(lfirst(lc)),
							   quote_literal_cstr(psprintf("SELECT 'found' FROM ONLY %s WHERE NOT (%s) LIMIT 1", rel, (char *) lthird(lfirst(lc)))))) != NIL)
			ereport(ERROR,
					(errcode(ERRCODE_CHECK_VIOLATION),
					 errmsg("a restored value of relation \"%s\" is sealed for another account", rel),
					 errdetail("Its rows came before their keys, and are not as they were dumped.")));
	}
}

static void
release(void)
{
	int			level = NewGUCNestLevel();

	set_setting("search_path", "pg_catalog, pg_temp");
	if (read_rows(all_are_there) != NIL)
	{
		move_rows();
		compute_generated();
		run_put_off();
		check_bound();
	}
	AtEOXact_GUC(false, level);
}

/* Statement trigger, after INSERT. */
Datum
dp_release_restored(PG_FUNCTION_ARGS)
{
	(void) trigger_of(fcinfo, "_release_restored");
	if (!is_restoring())
		return PointerGetDatum(NULL);
	/* Of two that bring the last of their tables one sees the other's. */
	dp_put_off_lock();
	SPI_connect();
	releasing = true;
	PG_TRY();
	{
		release();
	}
	PG_FINALLY();
	{
		releasing = false;
	}
	PG_END_TRY();
	SPI_finish();
	return PointerGetDatum(NULL);
}
