/*
 * key_errors.c
 *	  Errors that several files of this folder raise.
 *
 * The same text whatever the value: what is wrong with it is nobody's business.
 */
#include "postgres.h"

#include "keys/keys_internal.h"

void
dp_keys_report_missing(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the key of a protected value does not exist in this database"),
			 errhint("Values moved between databases need their keys moved too: see dataprotect.export_keys(). A restored dump brings its keys with the last rows of the extension's tables: look for errors before.")));
}

/* Under a page lock nothing may be read from a table. */
void
dp_keys_report_retry(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("a key needed by an index was not in the key cache"),
			 errhint("Retry the statement.")));
}
