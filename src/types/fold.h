/*
 * fold.h
 *	  What a text is folded to before it is compared: lower(email) and its like.
 *
 * dataprotect.blind(value, folds) gives the folded text of a protected value,
 * sealed under the same key and with a token: an index over it serves queries and
 * uniqueness by the folded text, and discloses equality of it, nothing more.  It
 * shows nothing to anybody: what is compared or shown of its result is judged as
 * of any protected value.  Only functions stand here that are total, immutable,
 * and tell no more of a value than which others are alike: a prefix would let a
 * writer guess letter by letter against a unique index.
 *
 * folds: names of the functions, the innermost first, with a blank between.
 */
#ifndef DP_TYPES_FOLD_H
#define DP_TYPES_FOLD_H

#include "postgres.h"

#include "nodes/primnodes.h"

#define DP_FOLDS_MAX	4		/* of one expression */
#define DP_FOLDS_LEN	64		/* of their names, with the end */

/*
 * Is the expression a chain of such functions over a column, plain or protected?
 * folds: DP_FOLDS_LEN bytes.
 */
extern bool dp_fold_of(Node *expr, char *folds, Var **out_var);

/* Is that function dataprotect.blind? */
extern bool dp_fold_is_blind(Oid function);

#endif							/* DP_TYPES_FOLD_H */
