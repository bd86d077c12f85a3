/*
 * value_origin.h
 *	  Does an expression hold an encrypted value, or anything that the statement has
 *	  made of one?
 *
 * Columns are followed through subqueries, WITH queries, joins, functions in FROM,
 * VALUES and groupings; a doubt is a yes.  queries: those around the expression,
 * the innermost first.
 */
#ifndef DP_COLUMNS_VALUE_ORIGIN_H
#define DP_COLUMNS_VALUE_ORIGIN_H

#include "postgres.h"

#include "nodes/parsenodes.h"

/* outside: what stands below a call of others' code (foreign_call.h) is left out. */
extern bool dp_value_origin_brings(Node *node, List *queries, bool outside);

/*
 * Does it hold a value of an encrypted type that the statement has made of what it opened,
 * and sealed again as anybody's literal?
 */
extern bool dp_value_origin_makes(Node *node, List *queries);

/* The type that an expression's value has, or InvalidOid for what is none. */
extern Oid	dp_value_origin_type(Node *node);

/* "is null" of a column opens nothing. */
extern bool dp_value_origin_asks_for_null(Node *node);

#endif							/* DP_COLUMNS_VALUE_ORIGIN_H */
