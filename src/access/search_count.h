/*
 * search_count.h
 *	  How many values a role with "search" has asked for.
 *
 * "search" answers whether a value equals a constant; asked with every date of
 * birth there is, it tells all of them.  So the distinct constants of each role
 * are counted, by the hour: beyond dataprotect.search_alert an alert is raised
 * once, beyond dataprotect.search_limit, or the limit of the grant by which the role
 * searches, further ones are refused.
 *
 * Counted are keyed hashes of constants, in a sketch (HyperLogLog, 512 registers):
 * within about a tenth of the truth, whoever counts, in one session or a
 * thousand.  A constant that is asked for with two kinds of index counts twice.
 * Where more roles search in an hour than there are places, the last place
 * counts the rest together.
 */
#ifndef DP_ACCESS_SEARCH_COUNT_H
#define DP_ACCESS_SEARCH_COUNT_H

#include "postgres.h"

#include "miscadmin.h"

/* The role that was last found to have "search" and no more on some key; its grant's limit, 0: none. */
extern Oid	dp_search_role;
extern int32 dp_search_limit;

static inline bool
dp_search_counts(void)
{
	return unlikely(OidIsValid(dp_search_role)) && dp_search_role == GetUserId();
}

/*
 * The current role, which dp_search_counts(), compares with a constant of that
 * keyed hash.  May be called under a page lock; errors: the limit is reached.
 */
extern void dp_search_note(uint64 hash);

extern void dp_search_count_init(void);

#endif							/* DP_ACCESS_SEARCH_COUNT_H */
