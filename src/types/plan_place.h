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
 * Partitions that are found while the plan runs get copies of what the plan assigns
 * and returns: the place of a node that the given one may be a copy of, by the function or
 * operator that it calls.  Part of dp_plan_place().
 */
extern DpPlace dp_plan_place_of_copy(const PlannedStmt *plan, Node *node);

#endif							/* DP_TYPES_PLAN_PLACE_H */
