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

/*
 * Have the text that parallel workers copy (debug_query_string) without its
 * constants; returns the original, which dp_redact_show_statement() puts back.
 * Messages are still compared with the original.
 */
extern const char *dp_redact_hide_statement(void);
extern void dp_redact_show_statement(const char *original);

/* A value is about to be opened, for whatever the client has sent: from now on messages are about it. */
extern void dp_redact_values_opened(void);

/* A query goes on that may hold values which an earlier statement of the transaction has opened. */
extern void dp_redact_goes_on(void);

/* error_noted: hears of every error that reaches the log. */
extern void dp_redact_init(void (*error_noted) (const ErrorData *edata));

#endif							/* DP_AUDIT_REDACT_H */
