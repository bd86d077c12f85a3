/*
 * columns.h
 *	  Protected columns: what DDL may do with them, what their indexes show.
 */
#ifndef DP_COLUMNS_COLUMNS_H
#define DP_COLUMNS_COLUMNS_H

#include "postgres.h"

/* Hooks and callbacks of the layer; from _PG_init only. */
extern void dp_columns_init(void);

#endif							/* DP_COLUMNS_COLUMNS_H */
