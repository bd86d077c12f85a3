/*
 * foreign_call.h
 *	  Which code of ordinary roles a node of an expression calls.
 *
 * A call names more than the function that stands in it: an aggregate its support
 * functions, a cast to a domain the functions of its CHECKs, a built-in function
 * that makes a row the domains in that, an operator those that the planner may put in its
 * place, a range or enum its casts to json, which what makes JSON looks up by itself.  Functions of superusers do not count here,
 * nor do PostgreSQL's own, but for those that act and that an ordinary role made an
 * operator, an aggregate or a domain of: these are its code.
 *
 * What is found is a superset, for the planner: whose function it is when it runs,
 * and whether that counts, is asked then (access/foreign_code.h).  A function that
 * a plan does not depend on by itself (of an aggregate, of a CHECK) is in whoever's
 * it is; plans are made again when a role changes, or a type that was looked at.
 */
#ifndef DP_COLUMNS_FOREIGN_CALL_H
#define DP_COLUMNS_FOREIGN_CALL_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "nodes/nodes.h"

typedef struct DpForeignCalls
{
	List	   *functions;		/* OIDs; InvalidOid: whatever the author has written */
	List	   *authors;		/* for each, who made it part of an object of his, or InvalidOid */
} DpForeignCalls;

/*
 * Does a call of one of PostgreSQL's own functions do something: is it volatile, or felt by others although
 * it only reads?  test/attack/36 calls all of them.
 */
extern bool dp_foreign_call_acts(Oid function, char volatility);

extern void dp_foreign_call_add(DpForeignCalls *calls, Oid function, Oid author);

/* The statement, or the expression, whose nodes are looked at from now on. */
extern void dp_foreign_call_begin(Node *node);

/* Add what the node itself calls, not what stands below it; true where there is any. */
extern bool dp_foreign_call_collect(Node *node, DpForeignCalls *calls);

/*
 * Does the node pass what it gets to one of those functions as it is, which opens it itself?  A cast
 * of ours opens it, and what it makes may be handed to one.
 */
extern bool dp_foreign_call_is_direct(Node *node, const DpForeignCalls *calls);

/* Is a role no superuser?  Plans in which that was asked are made again when it becomes one, or none. */
extern bool dp_foreign_call_is_ordinary(Oid role);

extern void dp_foreign_call_init(void);

#endif							/* DP_COLUMNS_FOREIGN_CALL_H */
