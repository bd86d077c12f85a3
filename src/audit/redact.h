/*
 * redact.h
 *	  Log hygiene: what the server log and pg_stat_activity show of statements.
 */
#ifndef DP_AUDIT_REDACT_H
#define DP_AUDIT_REDACT_H

#include "postgres.h"

/* Show a statement in pg_stat_activity without its constants. */
extern void dp_redact_activity(const char *source);

/* error_noted: hears the SQLSTATE of every error that reaches the log. */
extern void dp_redact_init(void (*error_noted) (int sqlstate));

#endif							/* DP_AUDIT_REDACT_H */
