/*
 * report.c
 *	  Errors that the same cause raises in many places; see report.h.
 */
#include "postgres.h"

#include "base/report.h"

void
dp_report_no_memory(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg_internal("%s", what),
			 errdetail("A cryptographic or compressing function had no memory."),
			 errhint("Retry when memory is free.")));
}

void
dp_report_altered(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg_internal("%s", what),
			 errdetail("A statement over a table of schema \"%s\" did something else than it says.", "dataprotect"),
			 errhint("Take away the rules and triggers that somebody has put on the extension's tables.")));
}
