/*
 * derive.h
 *	  Values that are computed from protected ones and stay sealed: generated columns.
 *
 *		mail text GENERATED ALWAYS AS (lower(email)) STORED
 * becomes
 *		mail encrypted_text('pii','padded') GENERATED ALWAYS AS (dataprotect.computed('lower($1)', email)) STORED
 *
 * computed() packs a formula (formula.h) with the values of a row, which it leaves sealed;
 * the assignment of the pack to a column opens, computes and seals again, in one step of
 * C: no plaintext passes through an expression, and nobody's code but PostgreSQL's runs.
 * Nobody needs a right to read, since nobody is shown anything: a writer who changes one
 * column makes another's be computed anew.
 *
 * Refused: values of another key than the column's, so that nothing moves between keys;
 * values under an account's key, which the result would outlive; text columns that are not
 * declared padded; tokens of a part, and of what is held to a length; any of it but for the
 * executor's own evaluation of a stored column and for who may read.
 *
 * Every result is padded as the longest is that could come of values padded to the same
 * lengths, tsvectors too: its length tells no more than theirs.
 *
 * A result counts as the writer's own (seal.h) only where he sealed all that it comes from.
 */
#ifndef DP_TYPES_DERIVE_H
#define DP_TYPES_DERIVE_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "nodes/primnodes.h"

/*
 * The formula of an expression computed(formula, columns) under the assignment that seals;
 * *columns: its Vars.  NULL where it is another expression.
 */
extern char *dp_derive_formula(Node *expr, List **columns);

#endif							/* DP_TYPES_DERIVE_H */
