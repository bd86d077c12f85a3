/*
 * plan_ddl.c
 *	  What a change of the schema means for account types is said at once.
 *
 * After a command that makes, changes, renames or drops tables the plans of
 * account types are looked at: an edge that came and that nobody has decided is a
 * warning now, and not an obstacle on the day of a deletion; a bound table whose
 * column was renamed gets its trigger anew.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/report.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "keys/catalog.h"
#include "lifecycle/lifecycle.h"
#include "miscadmin.h"
#include "sqlrun/run_as.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* What is done here may itself be DDL. */
static bool looking = false;

static bool
concerns_tables(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_AlterTableStmt:
		case T_CreateStmt:
		case T_RenameStmt:
			return true;
		default:
			return false;
	}
}

/* Tables and partitions that a command put together or apart, one after the other. */
static List *
find_partitions(AlterTableStmt *statement)
{
	List	   *found = NIL;
	ListCell   *lc;

	foreach(lc, statement->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, lc);
		Oid			parent;
		Oid			part;

		if (command->subtype != AT_AttachPartition && command->subtype != AT_DetachPartition &&
			command->subtype != AT_DetachPartitionFinalize)
			continue;
		parent = RangeVarGetRelid(statement->relation, NoLock, true);
		part = RangeVarGetRelid(castNode(PartitionCmd, command->def)->name, NoLock, true);
		if (OidIsValid(parent) && OidIsValid(part) && get_rel_relkind(parent) == RELKIND_PARTITIONED_TABLE)
			found = lappend_oid(lappend_oid(found, parent), part);
	}
	return found;
}

/* Hidden rows are noted where they are looked for, by a key that stays. */
static void
look_at_hidden_rows(List *partitions)
{
	Oid			types[2] = {REGCLASSOID, REGCLASSOID};
	Datum		values[2];

	for (int i = 0; i + 1 < list_length(partitions); i += 2)
	{
		values[0] = ObjectIdGetDatum(list_nth_oid(partitions, i));
		values[1] = ObjectIdGetDatum(list_nth_oid(partitions, i + 1));
		if (SPI_execute_with_args("SELECT dataprotect._hidden_follow($1, $2)", 2, types, values, NULL, false, 0) != SPI_OK_SELECT)
			dp_report_altered("could not follow the hidden rows of a partition");
	}
	if (SPI_execute("SELECT dataprotect._hidden_keys_stay()", false, 0) != SPI_OK_SELECT)
		dp_report_altered("could not look at the keys of hidden rows");
}

static void
look_at_plans(Node *statement)
{
	DpRunAs		saved;
	List	   *partitions = IsA(statement, AlterTableStmt) ? find_partitions((AlterTableStmt *) statement) : NIL;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	dp_run_as_system(&saved);
	if (SPI_execute("SELECT dataprotect._plans_after_ddl()", false, 0) != SPI_OK_SELECT)
		dp_report_altered("could not look at the plans of account types");
	if (IsA(statement, AlterTableStmt))
		look_at_hidden_rows(partitions);
	dp_run_as_end(&saved);
	SPI_finish();
	PopActiveSnapshot();
}

static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	if (failed || looking || creating_extension || !IsTransactionState() || IsBinaryUpgrade ||
		!concerns_tables(utility->statement) || !dp_catalog_is_there())
		return;
	looking = true;
	PG_TRY();
	{
		look_at_plans(utility->statement);
	}
	PG_FINALLY();
	{
		looking = false;
	}
	PG_END_TRY();
}

static const DpSubscriber subscriber = {
	.name = "plans of account types",
	.end_utility = end_utility,
};

void
dp_plan_ddl_init(void)
{
	dp_statement_subscribe(&subscriber);
}
