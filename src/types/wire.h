/*
 * wire.h
 *	  What a client is told of protected columns and parameters: their base types.
 *
 * A client knows the types of results and parameters by their OIDs, and no driver
 * knows an encrypted type.  Therefore, after a query that a client sent has been
 * analysed, and for a role that may read the values,
 *	- its result columns get the cast to the base type, with the base type's own
 *	  modifier.  Where it sorts, groups, limits or locks rows, it becomes the
 *	  subquery of a query that does nothing but cast: sorts, hashes and their files
 *	  keep ciphertext, indexes and uniqueness are used as before, and nothing is
 *	  opened that is not sent
 *	- parameters whose type was found to be an encrypted one become its base type,
 *	  with a cast inside; this for every role, since writing needs no right.
 *	- FETCH of a cursor that has encrypted types becomes such a query (cursor_query.h)
 * What stores a query's result, or hands it to code, keeps the encrypted types:
 * views, rules, CREATE TABLE AS, COPY, bodies of functions, what they run.
 *
 * The right at the time of the analysis decides the types, never what is shown:
 * the cast looks at the right in force when it runs, and gives a mask (or NULL)
 * or an error.  A query of a plan cache that is analysed again under another right
 * and comes out with other types is refused by PostgreSQL ("cached plan must not
 * change result type").
 */
#ifndef DP_TYPES_WIRE_H
#define DP_TYPES_WIRE_H

#include "postgres.h"

/* The columns that FETCH gives a client now, of a cursor with encrypted types; NIL where it gives those. */
extern struct List *dp_wire_cursor_columns(const char *cursor);

/* Subscribe to statements; from _PG_init only. */
extern void dp_wire_init(void);

#endif							/* DP_TYPES_WIRE_H */
