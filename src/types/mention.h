/*
 * mention.h
 *	  Could a query have to do with protected values at all?
 *
 * Asked of every query that is planned, before those who look for something in it:
 * most queries of most servers touch nothing that is protected, and one short walk
 * tells.  It errs on the side of yes: a type, function or operator that was not
 * there before the first extension, or a node that it does not know.
 */
#ifndef DP_TYPES_MENTION_H
#define DP_TYPES_MENTION_H

#include "postgres.h"

#include "nodes/parsenodes.h"

#define DP_MENTIONS_OTHER_TYPES	0x1 /* else no encrypted type, function or operator of ours is in
									 * it */
#define DP_MENTIONS_COLUMNS		0x2 /* else pg_attribute is not in it */

/*
 * For subscribers of "planning", of the query that is about to be planned: what they
 * find in it is worked out once for all of them.
 */
extern int	dp_query_mentions(Query *query);

#endif							/* DP_TYPES_MENTION_H */
