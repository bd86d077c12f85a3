/*
 * distributed.h
 *	  Tables whose rows Citus has on other servers.
 *
 * Here such a table is empty; its shards, on the other servers, have protected columns
 * of their own, over which those servers do what is done for a table here.
 */
#ifndef DP_TYPES_DISTRIBUTED_H
#define DP_TYPES_DISTRIBUTED_H

#include "postgres.h"

#include "nodes/parsenodes.h"

extern bool dp_is_distributed(Oid relid);

/* Does the query read one, in itself or in what it has in FROM? */
extern bool dp_reads_distributed(Query *query);

#endif							/* DP_TYPES_DISTRIBUTED_H */
