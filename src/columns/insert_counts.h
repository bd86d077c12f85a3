/*
 * insert_counts.h
 *	  Insertions into indexes over protected columns all count the same.
 *
 * How many pages an insertion visits depends on what the index holds: a value
 * that is there many times has a chain of pages of its own, a duplicate changes
 * less than a new entry.  EXPLAIN (BUFFERS, WAL), pg_stat_statements and
 * pg_statio_* would tell it to whoever may insert.  So each such insertion
 * counts as one block found in the cache, and as no WAL of its statement; the WAL
 * is added to the server's total as the transaction ends.
 *
 * Done by standing in for the access method's function in the relation cache's
 * entry of the index, before the statement inserts.  Times are not hidden.
 */
#ifndef DP_COLUMNS_INSERT_COUNTS_H
#define DP_COLUMNS_INSERT_COUNTS_H

extern void dp_insert_counts_init(void);

#endif							/* DP_COLUMNS_INSERT_COUNTS_H */
