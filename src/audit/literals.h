/*
 * literals.h
 *	  Take the constants out of SQL text.  Free of PostgreSQL: it runs inside
 *	  the log hook, where nothing may raise an error.
 */
#ifndef DP_AUDIT_LITERALS_H
#define DP_AUDIT_LITERALS_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Copy SQL with every string and number replaced by "?" and every comment by a
 * blank.  out: in_len + 1 bytes are always enough.  False, and out is empty,
 * where the text is not lexed with certainty (an open quote or comment, a
 * backslash before a quote in a plain string).
 */
extern bool dp_literals_remove(const char *in, size_t in_len, char *out);

/* May the text contain a constant at all?  Cheap; wrong only towards yes. */
extern bool dp_literals_possible(const char *in);

/* Does any string constant of sql (3 bytes and longer) occur in text? */
extern bool dp_literals_leak(const char *sql, const char *text);

#endif							/* DP_AUDIT_LITERALS_H */
