/*
 * open_query.h
 *	  For whom the queries that are open were begun.
 *
 * A cursor that was opened before a function of another role began holds values that were opened
 * for whoever began it (in a sort, a hash table, a CTE), and every function can fetch from it by
 * its name.  So each query keeps as whom, and under whose functions, it was begun; a function
 * that began later, of an owner who is none of these and may see less, reads no row of it.
 *
 * One entry for each query between ExecutorStart and ExecutorEnd, in the query's own memory.
 */
#ifndef DP_ACCESS_OPEN_QUERY_H
#define DP_ACCESS_OPEN_QUERY_H

#include "postgres.h"

#include "base/statement.h"

/* The function that runs and may not read on in a query; NULL: none. */
extern const DpStranger *dp_open_query_stranger(QueryDesc *query);

extern void dp_open_query_began(QueryDesc *query);

/* has_more: has one role more of some key than another? */
extern void dp_open_query_init(bool (*has_more) (Oid role, Oid other));

#endif							/* DP_ACCESS_OPEN_QUERY_H */
