/*
 * argument.h
 *	  What C functions ask of arguments that come from SQL.
 *
 * An OID, a number, a value of a pseudo-type is whatever the caller wrote: it is
 * looked at before it is used, by whomever the function may be called.  A text,
 * an array, a row is what its type says (the parser and the input functions saw to
 * that), a value of anyelement is what get_fn_expr_argtype() says.
 */
#ifndef DP_BASE_ARGUMENT_H
#define DP_BASE_ARGUMENT_H

#include "postgres.h"

#include "fmgr.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"

/*
 * Domain of messages that name objects and roles and never a value: they are
 * kept whole where an error is written down (batch_commit.h).
 */
#define DP_MESSAGE_DOMAIN "dataprotect"

/*
 * Open a relation of one of these relkinds; an error where there is none (42P01),
 * or it is something else (42809).  The caller closes it.
 */
extern Relation dp_argument_relation(Oid relid, LOCKMODE lock, const char *kinds);

/* Arguments of functions that are called on NULL; an error (22004) where one is. */
extern Oid	dp_argument_oid(FunctionCallInfo fcinfo, int n);
extern char *dp_argument_text(FunctionCallInfo fcinfo, int n);

/* An error (42704) where no such type exists. */
extern void dp_argument_type(Oid typid);

/* An error (42703) where a relation has no such column, or has dropped it. */
extern void dp_argument_column(Relation rel, int attnum);

#endif							/* DP_BASE_ARGUMENT_H */
