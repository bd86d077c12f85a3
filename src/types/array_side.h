/*
 * array_side.h
 *	  The types that only operators over arrays have.
 *
 * NULLIF gives its first argument as the operator takes it: such a type may become
 * a column of what a query gives.
 */
#ifndef DP_TYPES_ARRAY_SIDE_H
#define DP_TYPES_ARRAY_SIDE_H

#include "postgres.h"

#include "nodes/pg_list.h"

/* What a query gives of such a type is the array itself. */
extern void dp_array_side_results(List *tlist);

#endif							/* DP_TYPES_ARRAY_SIDE_H */
