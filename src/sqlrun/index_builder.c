/*
 * index_builder.c
 *	  The worker's round: indexes that tables being encrypted online lack; see
 *	  index_builder.h.
 *
 * Which they are is read from the catalogs each time, so a round that is killed, or
 * that fails, leaves nothing to remember: an index that was not finished is dropped
 * by the next.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/statement.h"
#include "base/worker.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "sqlrun/client_statement.h"
#include "sqlrun/index_builder.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define INDEX_BUILDER	"online index"

PG_FUNCTION_INFO_V1(dp_index_builder_wake);

/* In the caller's context; NULL where nothing is to be done. */
static char *
next_statement(void)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *result;
	int			level;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	level = dp_own_begin();
	SPI_connect();
	if (SPI_execute("SELECT dataprotect._online_index_due()", false, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not look for indexes to build");
	result = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (result != NULL)
		result = MemoryContextStrdup(context, result);
	SPI_finish();
	dp_own_end(level);
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return result;
}

/* It waits for every transaction there is, as long as that takes, and locks nobody out. */
static bool
build_indexes(void)
{
	char	   *sql;

	while ((sql = next_statement()) != NULL)
	{
		char	   *timeout = pstrdup(GetConfigOption("lock_timeout", false, false));

		dp_worker_note_work();
		SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
		dp_client_statement_execute(sql);
		SetConfigOption("lock_timeout", timeout, PGC_SUSET, PGC_S_OVERRIDE);
		if (dp_worker_should_yield())
			return true;
	}
	return false;
}

/* dataprotect._online_index_wake() returns void */
Datum
dp_index_builder_wake(PG_FUNCTION_ARGS)
{
	dp_worker_wake(MyDatabaseId, INDEX_BUILDER);
	PG_RETURN_VOID();
}

void
dp_index_builder_init(void)
{
	dp_worker_register(INDEX_BUILDER, build_indexes, 0);
}
