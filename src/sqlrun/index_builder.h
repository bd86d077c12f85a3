/*
 * index_builder.h
 *	  CREATE INDEX CONCURRENTLY, which runs in no function, for what encrypts a
 *	  table in use (columns/online.sql).
 */
#ifndef DP_SQLRUN_INDEX_BUILDER_H
#define DP_SQLRUN_INDEX_BUILDER_H

/* Register the worker's kind of round; from _PG_init only. */
extern void dp_index_builder_init(void);

#endif							/* DP_SQLRUN_INDEX_BUILDER_H */
