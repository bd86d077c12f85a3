/*
 * foreign_code.h
 *	  Whose functions count for what may be seen while they run.
 *
 * A function of an ordinary role that runs in somebody else's statement (called
 * in a view, policy, rule, trigger, CHECK, default, operator or cast, or by the
 * statement itself) sees of a value what its owner may see as well as the
 * current role: dp_access_privilege() gives the weaker of the two.  Functions of
 * superusers, of owners who may reveal every key, and those that an administrator
 * trusts are as good as the caller's own code; base/statement.h keeps the
 * stack of the others.  No function of an ordinary role is inlined.
 */
#ifndef DP_ACCESS_FOREIGN_CODE_H
#define DP_ACCESS_FOREIGN_CODE_H

#include "postgres.h"

/*
 * reveals: whether a role, by its own grants, may reveal values of every key;
 * has_more: whether one has more of some key than another.
 */
/*
 * Does a function count now?  Then *owner is whose code it is.  Not under a page
 * lock; follows every change at the next call.
 */
extern bool dp_foreign_code_counts(Oid function, Oid *owner);

extern void dp_foreign_code_init(bool (*reveals) (Oid role), bool (*has_more) (Oid role, Oid other));

#endif							/* DP_ACCESS_FOREIGN_CODE_H */
