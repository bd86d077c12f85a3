/*
 * own_function.h
 *	  Which functions are the extension's own; see base/statement.h.
 *
 * A function in schema "dataprotect" that is a member of the extension, belongs
 * to a superuser, and runs with settings or rights of its own, as all of ours do
 * that write tables.  One whose name begins with "_" is for internal use: whatever
 * its privileges say, only our own code and superusers call it, a few aside
 * (is_open() says which, and why), so that one that the public functions need
 * under their caller's rights can be granted to him and yet not be called by him.
 * Superusers can put functions of theirs there: that is beyond what this sees.
 */
#ifndef DP_KEYS_OWN_FUNCTION_H
#define DP_KEYS_OWN_FUNCTION_H

#include "postgres.h"

#include "base/statement.h"

/* Reads catalogs where it is not known yet; none is, outside a transaction. */
extern DpOwnKind dp_own_function_kind(Oid function);

extern void dp_own_function_init(void);

#endif							/* DP_KEYS_OWN_FUNCTION_H */
