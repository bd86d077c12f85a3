/*
 * client_statement.c
 *	  Run a statement in a worker as if a client had sent it; see client_statement.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/compat.h"
#include "base/statement.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/analyze.h"
#include "pgstat.h"
#include "sqlrun/client_statement.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

void
dp_client_statement_execute(const char *sql)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "top-level statement",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	RawStmt    *raw;
	List	   *planned;
	Portal		portal;
	QueryCompletion completion;
	int			level;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	MemoryContextSwitchTo(context);
	debug_query_string = sql;
	pgstat_report_activity(STATE_RUNNING, sql);

	raw = linitial_node(RawStmt, pg_parse_query(sql));
	PushActiveSnapshot(GetTransactionSnapshot());
	planned = pg_plan_queries(pg_analyze_and_rewrite_fixedparams(raw, sql, NULL, 0, NULL),
							  sql, CURSOR_OPT_PARALLEL_OK, NULL);
	PopActiveSnapshot();

	portal = CreatePortal("", true, true);
	portal->visible = false;
	level = dp_own_begin();
	PortalDefineQuery(portal, NULL, sql, CreateCommandTag(raw->stmt), planned, NULL);
	PortalStart(portal, NULL, 0, InvalidSnapshot);
	(void) dp_portal_run_all(portal, None_Receiver, &completion);
	dp_own_end(level);
	PortalDrop(portal, false);
	CommitTransactionCommand();

	pgstat_report_activity(STATE_IDLE, NULL);
	debug_query_string = NULL;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}
