/*
 * plan_place.h
 *	  In which part of a plan an expression's node stands.
 */
#ifndef DP_TYPES_PLAN_PLACE_H
#define DP_TYPES_PLAN_PLACE_H

#include "postgres.h"

#include "nodes/plannodes.h"

typedef enum DpPlace
{
	DP_PLACE_NOWHERE,			/* not in the plan */
	DP_PLACE_CONDITION,			/* decides which rows there are */
	DP_PLACE_RETURNED,			/* what the statement gives whoever runs it */
	DP_PLACE_ELSEWHERE			/* may become part of a row that is stored */
} DpPlace;

/* By the node's address, not its contents.  In doubt DP_PLACE_ELSEWHERE. */
extern DpPlace dp_plan_place(const PlannedStmt *plan, Node *node);

/*
 * True where the executor copies what the plan assigns, so that nodes outside of
 * the plan may be stored: partitions found while the plan runs get copies.
 */
extern bool dp_plan_place_copies(const PlannedStmt *plan);

#endif							/* DP_TYPES_PLAN_PLACE_H */
