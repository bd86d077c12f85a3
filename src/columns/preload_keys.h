/*
 * preload_keys.h
 *	  Keys of ordered indexes, loaded before the index is opened.
 */
#ifndef DP_COLUMNS_PRELOAD_KEYS_H
#define DP_COLUMNS_PRELOAD_KEYS_H

#include "postgres.h"

/*
 * Load the search key for a table with protected columns, and every version of
 * the keys of its 'ordered' ones: its index comparators may neither wait nor
 * read a table.  The caller has, or is about
 * to take, a lock on the table.  Cheap for tables without such columns.
 */
extern void dp_preload_keys_relation(Oid relid);

extern void dp_preload_keys_init(void);

#endif							/* DP_COLUMNS_PRELOAD_KEYS_H */
