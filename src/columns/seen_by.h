/*
 * seen_by.h
 *	  A value as those may see it who wrote what is called with it.
 *
 * dataprotect._seen_by(value, functions, authors, compared) gives the value itself where
 * the functions, were they running, and the authors would take nothing away from the
 * current role (access/access.h).  Else it gives, instead of a value of an encrypted type,
 * its mask, sealed as a literal is, or NULL where the mask has no form in the base
 * type; it raises an error
 *	- where they have no right at all
 *	- where the value is compared: a mask would give a wrong answer
 *	- where the statement would store what becomes of it (types/storing.h)
 *	- for anything but one value of an encrypted type: rows, arrays, and what was
 *	  opened elsewhere in the statement
 */
#ifndef DP_COLUMNS_SEEN_BY_H
#define DP_COLUMNS_SEEN_BY_H

#include "postgres.h"

#include "columns/foreign_call.h"
#include "nodes/parsenodes.h"

/* The call, around an expression; the expression itself where there is no such function. */
extern Node *dp_seen_by_make(Node *expr, const DpForeignCalls *calls, bool compared);

/*
 * Put what asks at each execution into a query, before the first row is
 * read of what it joins; of a set operation, into its branches.
 */
extern void dp_seen_by_guard(Query *query, const DpForeignCalls *calls);

#endif							/* DP_COLUMNS_SEEN_BY_H */
