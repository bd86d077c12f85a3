/*
 * server_checks.c
 *	  What reports about the server ask of the operating system and the library.
 */
#include "postgres.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/result.h"
#include "base/server_checks.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dp_file_mode_sql);
PG_FUNCTION_INFO_V1(dp_core_limit_sql);
PG_FUNCTION_INFO_V1(dp_library_version_sql);

/*
 * dataprotect._file_mode(path text) returns int4
 * Permission bits of a file or directory; NULL where it cannot be looked at.
 */
Datum
dp_file_mode_sql(PG_FUNCTION_ARGS)
{
	char	   *path = text_to_cstring(PG_GETARG_TEXT_PP(0));
	struct stat status;

	if (stat(path, &status) != 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32((int32) (status.st_mode & 07777));
}

/* dataprotect._core_limit() returns int8: bytes that a core file may have, -1: any number */
Datum
dp_core_limit_sql(PG_FUNCTION_ARGS)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CORE, &limit) != 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(limit.rlim_cur == RLIM_INFINITY ? -1 : (int64) limit.rlim_cur);
}

const char *
dp_library_version(void)
{
	return DP_VERSION;
}

void
dp_need_own_column(TupleDesc desc, int attnum)
{
	if (attnum > desc->natts)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a table of dataprotect is of another version than the loaded library"),
				 errdetail("It has %d columns, and column %d is wanted.", desc->natts, attnum),
				 errhint("Install the extension anew, or load the library that it was installed with.")));
}

/*
 * dataprotect._library_version() returns (version text, released text)
 * As the Makefile knows them; released is "unreleased" before a release.
 */
Datum
dp_library_version_sql(PG_FUNCTION_ARGS)
{
	Datum		values[2];
	bool		nulls[2] = {false, false};

	values[0] = CStringGetTextDatum(DP_VERSION);
	values[1] = CStringGetTextDatum(DP_RELEASED);
	return dp_result_row(fcinfo, values, nulls);
}
