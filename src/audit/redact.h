/*
 * redact.h
 *	  Log hygiene: what the server log shows of statements.
 */
#ifndef DP_AUDIT_REDACT_H
#define DP_AUDIT_REDACT_H

#include "postgres.h"

#define DP_WITHHELD "(withheld by dataprotect)"

/* SQL with its constants replaced by "?", or DP_WITHHELD; palloc'd. */
extern char *dp_redact_sql(const char *sql);

/* error_noted: hears the SQLSTATE of every error that reaches the log. */
extern void dp_redact_init(void (*error_noted) (int sqlstate));

#endif							/* DP_AUDIT_REDACT_H */
