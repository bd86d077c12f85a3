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
 * stack of the others.  No function of an ordinary role is inlined.  So does, of one in C
 * that runs SQL (sql_runner.h), a call by an expression that was stored.
 *
 * While a function of another role runs that nobody has trusted, and the current role may see
 * more than its owner or administers the extension, commands are refused but for those of
 * foreign_utility.h.
 */
#ifndef DP_ACCESS_FOREIGN_CODE_H
#define DP_ACCESS_FOREIGN_CODE_H

#include "postgres.h"

#include "access/htup.h"

/*
 * Does a function count now?  Then *owner is whose code it is.  Not under a page
 * lock; follows every change at the next call.
 */
extern bool dp_foreign_code_counts(Oid function, Oid *owner);

/*
 * Of a row of pg_proc, as it stands there or is about to: what trust hangs on, and has an administrator
 * said that he trusts it?  Whether what he said is sealed is not asked.
 */
extern bytea *dp_foreign_code_digest(HeapTuple function);
extern bool dp_foreign_code_is_trusted(HeapTuple function);

/* Is a function running that is refused commands? */
extern bool dp_foreign_code_is_lesser(void);

/*
 * A cursor of that name, if there is one, is about to be read: refuses it to such a function that
 * it was not begun for.  An executor that runs asks by itself; rows that were stored are read without one.
 */
extern void dp_foreign_code_reads_cursor(const char *name);

/*
 * The current role is about to have a setting changed by set_config(): refuses it to such a function,
 * and to an expression that was stored.
 */
extern void dp_foreign_code_sets(const char *name, bool stored);

/*
 * reveals: whether a role, by its own grants, may reveal values of every key;
 * has_more: whether one has more of some key than another; has_power: whether one is an
 * administrator or auditor.
 */
extern void dp_foreign_code_init(bool (*reveals) (Oid role), bool (*has_more) (Oid role, Oid other),
								 bool (*has_power) (Oid role));

#endif							/* DP_ACCESS_FOREIGN_CODE_H */
