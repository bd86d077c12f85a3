/*
 * server_checks.c
 *	  What dataprotect.lint_configuration() asks of the operating system.
 */
#include "postgres.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fmgr.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dp_file_mode_sql);
PG_FUNCTION_INFO_V1(dp_core_limit_sql);

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
