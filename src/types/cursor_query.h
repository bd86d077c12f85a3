/*
 * cursor_query.h
 *	  FETCH as a query, so that a client gets a cursor's rows as its base types.
 *
 * The rows of a cursor WITH HOLD outlive the transaction and whoever declared it, and
 * those of a cursor that a function opened were chosen by its code: both stay of the
 * encrypted types, where they are kept as where they are executed.  What is to be cast is the
 * result of each FETCH, by the rights of whoever fetches.  A command cannot have its
 * result cast; therefore a client's FETCH of such a cursor becomes
 *		SELECT ... FROM dataprotect._fetch(name, direction, number, secret) AS c(...)
 * which executes the same command, with all that is asked of one, into a store.  MOVE and FETCH by code stay
 * as they are.  The client is told "FETCH n" as before: PostgreSQL takes that from the
 * text that was sent.
 *
 * PostgreSQL plans no FETCH, and so does not set a snapshot for that: the planner's hook
 * does (base/statement.c).  A prepared FETCH whose cursor has become another with other
 * types is an error of PostgreSQL's.
 */
#ifndef DP_TYPES_CURSOR_QUERY_H
#define DP_TYPES_CURSOR_QUERY_H

#include "postgres.h"

#include "nodes/parsenodes.h"

/*
 * The query in place of an analysed FETCH, with the types that the cursor has; NULL
 * where it is another command, there is no such cursor, or none of its columns is of an encrypted type.
 */
extern Query *dp_cursor_query(const Query *command);

#endif							/* DP_TYPES_CURSOR_QUERY_H */
