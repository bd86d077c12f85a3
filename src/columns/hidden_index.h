/*
 * hidden_index.h
 *	  Indexes over protected columns exist only for roles that may use them.
 *
 * The order in which an index returns rows, and whether it returns one at all,
 * disclose values without a comparison that the types' functions could check:
 * comparisons made by an index are taken for maintenance there.  Therefore
 *	- the planner does not see such an index where the current role lacks
 *	  reveal, or search for an index that knows equality only, which then is
 *	  good for looking its first column up and not for an order; plans over
 *	  a table with such an index depend on the role
 *	- a plan made earlier is checked again as it starts, since grants are
 *	  revoked and expire; for roles with search only, an index condition must
 *	  compare with a constant or a parameter, not with another row's value
 * Referential-integrity queries run as the table's owner and are exempt.
 */
#ifndef DP_COLUMNS_HIDDEN_INDEX_H
#define DP_COLUMNS_HIDDEN_INDEX_H

#include "postgres.h"

/* Install the hooks; from _PG_init only. */
extern void dp_hidden_index_init(void);

#endif							/* DP_COLUMNS_HIDDEN_INDEX_H */
