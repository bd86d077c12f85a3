/*
 * folded_index.h
 *	  Indexes over dataprotect.blind(column, folds), and queries that use them as
 *	  they are written.
 *
 * An index over lower(email) becomes one over blind(email, 'lower') when email is
 * protected.  The application goes on to ask for lower(email) = $1, to join by
 * it and to name it in ON CONFLICT: as such a query is planned, a fold of a
 * protected column for which its table has such an index is replaced by the
 * index's own expression, where it is compared for equality by a role with search
 * or reveal.  Stored views, rules and functions keep what was written.
 */
#ifndef DP_COLUMNS_FOLDED_INDEX_H
#define DP_COLUMNS_FOLDED_INDEX_H

#include "postgres.h"

#include "nodes/primnodes.h"

/* The column under blind(column, constant), or NULL where the expression is another. */
extern Var *dp_folded_column(Node *expr);

/* Is it of a part of the column (types/fold.h), which serves who may read alone? */
extern bool dp_folded_part(Node *expr);

/* Subscribe; from _PG_init only. */
extern void dp_folded_index_init(void);

#endif							/* DP_COLUMNS_FOLDED_INDEX_H */
