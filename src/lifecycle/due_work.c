/*
 * due_work.c
 *	  The worker's round: start what is due.
 *
 * The worker runs the same procedures that an administrator may call, each as
 * a statement of its own through a portal, as if a client had sent it: they
 * commit between their batches.
 */
#include "postgres.h"

#include "access/restored.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/statement.h"
#include "base/worker.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/retention_table.h"
#include "miscadmin.h"
#include "sqlrun/client_statement.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_wake);

#define COLLECT_EVERY_MS	(10 * 60 * 1000)

/* Wake the worker when this transaction commits; it does not wake itself. */
static bool wake_wanted = false;
static bool am_worker = false;

/*
 * Elements of a text[] that a query returns, in the caller's context; NIL
 * where it returns NULL.
 */
static List *
query_texts(const char *sql)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *result = NIL;
	bool		isnull;
	Datum		array;
	int			level;

	SetCurrentStatementStartTimestamp();	/* what now() returns */
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	level = dp_own_begin();
	if (SPI_execute(sql, false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not execute \"%s\"", sql);
	dp_own_end(level);
	array = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
	{
		Datum	   *values;
		int			count;
		MemoryContext old;

		deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT,
						  &values, NULL, &count);
		old = MemoryContextSwitchTo(context);
		for (int i = 0; i < count; i++)
			result = lappend(result, text_to_cstring(DatumGetTextPP(values[i])));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return result;
}

/*
 * Vacuum and re-index the tables that deletions went through, then let the
 * deletions go on.  False where there was none.
 */
static bool
clear_tables(void)
{
	List	   *tables = query_texts("SELECT dataprotect._scrubs_due()");
	ListCell   *table;
	ListCell   *statement;

	if (tables == NIL)
		return false;
	foreach(table, tables)
	{
		List	   *statements = query_texts(psprintf("SELECT dataprotect._scrub_statements(%s)",
													  (char *) lfirst(table)));

		foreach(statement, statements)
			dp_client_statement_execute(lfirst(statement));
	}
	dp_client_statement_execute("CALL dataprotect.run_deletions()");
	return true;
}

/* What columns were under leaves its modifiers behind. */
static bool
collect_modifiers(void)
{
	dp_client_statement_execute("SELECT dataprotect._collect_modifiers()");
	return false;
}

/* Does this database know what was erased, or was it restored? */
static void
look_at_erasures(void)
{
	if (dp_erasure_wanted())
		dp_client_statement_execute("SELECT dataprotect._look_at_erasures()");
}

/* Deletions come before everything else: they have deadlines. */
static void
run_deletions(void)
{
	if (query_texts("SELECT dataprotect._deletions_due()") == NIL)
		return;
	dp_worker_note_work();
	dp_client_statement_execute("CALL dataprotect.run_deletions()");
	/* first the account's tables, then the table of its destroyed keys */
	for (int i = 0; i < 2; i++)
	{
		if (!clear_tables())
			break;
	}
	look_at_erasures();
}

/*
 * Deletions, then a turn for each policy that is due, the one that waits longest
 * first; between two of them deletions again.  A policy whose turn is over is due
 * again at once, behind the others: the round asks to be called again.
 */
static bool
work_round(void)
{
	List	   *due;
	ListCell   *lc;

	am_worker = true;
	look_at_erasures();
	if (query_texts("SELECT CASE WHEN dataprotect._check_clock() THEN ARRAY['']::pg_catalog.text[] END") == NIL)
		return false;
	dp_client_statement_execute("SELECT dataprotect._end_orphaned_grants()");
	dp_client_statement_execute("SELECT dataprotect._review_grants()");
	dp_client_statement_execute("SELECT dataprotect._tell_deadlines()");
	dp_client_statement_execute("SELECT dataprotect._tell_drills()");
	dp_client_statement_execute("SELECT dataprotect._tell_kms()");
	dp_client_statement_execute("SELECT dataprotect._tell_incidents()");
	due = query_texts("SELECT dataprotect._retention_due_names()");
	run_deletions();
	foreach(lc, due)
	{
		dp_worker_note_work();
		dp_retention_take_turns();
		dp_client_statement_execute(psprintf("CALL dataprotect.run_retention(%s)",
											 quote_literal_cstr((char *) lfirst(lc))));
		if (dp_worker_should_yield())
			return true;
		run_deletions();
	}
	return query_texts("SELECT array_agg(p.name) FROM dataprotect.retention_run r JOIN dataprotect.retention_policy p ON p.id = r.policy"
					   " WHERE r.outcome = 'waiting' AND p.state = 'active'") != NIL;
}

/*
 * What a prepared transaction asked for waits for the next round: whoever ends
 * it does not know that it asked.
 */
static void
wake_after_commit(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (wake_wanted)
				dp_worker_wake(MyDatabaseId, DP_LIFECYCLE_WORKER);
			wake_wanted = false;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			wake_wanted = false;
			break;
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

Datum
dp_lifecycle_wake(PG_FUNCTION_ARGS)
{
	wake_wanted = !am_worker;
	PG_RETURN_VOID();
}

void
dp_lifecycle_init(void)
{
	RegisterXactCallback(wake_after_commit, NULL);
	dp_plan_ddl_init();
	dp_hidden_row_init();
	dp_erasure_file_init();
	dp_worker_register(DP_LIFECYCLE_WORKER, work_round, 0);
	dp_worker_register("modifiers", collect_modifiers, COLLECT_EVERY_MS);
}
