/*
 * client_query.h
 *	  Is it a client's query that is analysed, or one of code that runs or is stored?
 *
 * A client's is what it sent itself, and what its PREPARE or EXPLAIN is about: its
 * result goes out as it is.  One that the plan cache keeps is analysed again by any
 * message or command that uses it, and must be judged then as at first.
 */
#ifndef DP_TYPES_CLIENT_QUERY_H
#define DP_TYPES_CLIENT_QUERY_H

#include "postgres.h"

#include "parser/parse_node.h"
#include "utils/plancache.h"

typedef enum DpQueryOrigin
{
	DP_QUERY_OF_CODE,			/* what stores results, or hands them to code */
	DP_QUERY_OF_CLIENT,			/* sent just now */
	DP_QUERY_OF_PLAN_CACHE		/* a client's, which the plan cache analyses again */
} DpQueryOrigin;

/* From an analyzed subscriber. */
extern DpQueryOrigin dp_client_query_origin(ParseState *pstate);

/* The entry of the plan cache that a text of such a query belongs to, or NULL. */
extern CachedPlanSource *dp_client_query_entry(const char *text);

/*
 * The prepared statement that a command runs by EXECUTE, or NULL; *stores: its rows
 * become a table.
 */
extern CachedPlanSource *dp_client_query_prepared(Node *statement, bool *stores);

/* Subscribe to statements; from _PG_init only. */
extern void dp_client_query_init(void);

#endif							/* DP_TYPES_CLIENT_QUERY_H */
