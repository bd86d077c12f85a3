/*
 * resolve.h
 *	  What a query says of encrypted values, put in terms of operators that indexes
 *	  and joins know, before it is planned.
 */
#ifndef DP_TYPES_RESOLVE_H
#define DP_TYPES_RESOLVE_H

#include "postgres.h"

/*
 * The format of a cast that was put under a comparison: it shows no mask.  No
 * parser makes it for a function of ours, and it goes with the plan.
 */
#define DP_COMPARED_FORMAT	COERCE_SQL_SYNTAX

extern void dp_resolve_init(void);

#endif							/* DP_TYPES_RESOLVE_H */
