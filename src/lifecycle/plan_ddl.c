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
#include "commands/extension.h"
#include "executor/spi.h"
#include "keys/catalog.h"
#include "lifecycle/lifecycle.h"
#include "miscadmin.h"
#include "sqlrun/run_as.h"
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

static void
look_at_plans(void)
{
	DpRunAs		saved;

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	dp_run_as_system(&saved);
	if (SPI_execute("SELECT dataprotect._plans_after_ddl()", false, 0) != SPI_OK_SELECT)
		dp_report_altered("could not look at the plans of account types");
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
		look_at_plans();
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
