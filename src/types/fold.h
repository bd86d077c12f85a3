/*
 * fold.h
 *	  What a text is folded to before it is compared: lower(email) and its like.
 *
 * dataprotect.blind(value, folds) gives the folded text of a protected value,
 * sealed under the same key and with a token: an index over it serves queries and
 * uniqueness by the folded text, and discloses equality of it, nothing more.  It
 * shows nothing to anybody: what is compared or shown of its result is judged as
 * of any protected value.  The functions are immutable.  Whole ones tell no more of
 * a value than which others are alike.  Others give a part of it: a prefix would let a
 * writer guess letter by letter against a unique index, a searcher by asking, and
 * the owner of the table by the size of an index that keeps the parts.  An index over
 * a part is therefore a hash index, and serves who may read alone.
 *
 * folds: the functions, the innermost first, with a blank between, each with its
 * constants where it has any: "lower", "split_part('@',2) lower".
 */
#ifndef DP_TYPES_FOLD_H
#define DP_TYPES_FOLD_H

#include "postgres.h"

#include "nodes/primnodes.h"

#define DP_FOLDS_MAX	4		/* of one expression */
#define DP_FOLDS_LEN	256		/* as they are written, with the end */

/*
 * Is the expression a chain of such functions over a column, plain or protected?
 * folds: DP_FOLDS_LEN bytes.
 */
extern bool dp_fold_of(Node *expr, char *folds, Var **out_var);

/* Do folds, as they are written, tell which values are alike and no more?  Errors where they are none. */
extern bool dp_folds_are_whole(const char *folds);

/* The expression of SQL that they stand for, of a column. */
extern char *dp_folds_print(const char *folds, const char *column);

/*
 * The column that a condition asks whether it is the empty text: column <> '', of a
 * plain or protected one, or dataprotect.not_empty(column) of the latter.  NULL where
 * it asks otherwise.  Everybody sees how long what is sealed is, and so whether it is
 * empty; but not of a padded value, for which an index must not tell either.
 */
extern Var *dp_fold_emptiness_of(Node *expr, bool *by_length);

/* Is a constant, plain or a literal of an encrypted type, the empty text? */
extern bool dp_fold_is_empty_text(const Const *constant);

/* Is that function dataprotect.blind? */
extern bool dp_fold_is_blind(Oid function);

#endif							/* DP_TYPES_FOLD_H */
