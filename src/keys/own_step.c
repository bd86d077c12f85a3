/*
 * own_step.c
 *	  A step of a worker that one of our SQL functions does; see own_step.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/report.h"
#include "base/statement.h"
#include "executor/spi.h"
#include "keys/own_step.h"
#include "utils/snapmgr.h"

bool
dp_own_step(const char *sql, const char *problem)
{
	bool		isnull;
	bool		answer;
	int			level;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	level = dp_own_begin();
	if (SPI_connect() != SPI_OK_CONNECT || SPI_execute(sql, false, 0) != SPI_OK_SELECT || SPI_processed != 1)
		dp_report_altered(problem);
	answer = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) && !isnull;
	SPI_finish();
	dp_own_end(level);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return answer;
}
