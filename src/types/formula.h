/*
 * formula.h
 *	  What a generated column computes, written down: lower($1), concat($1,$2).
 *
 * A formula names its table's columns by place and the functions of a closed list, all of
 * PostgreSQL and immutable.  None of them fails or takes longer by what it meets, calls
 * anybody's code: an owner who may not read cannot ask questions by it.  A result's length may
 * tell of more than the lengths of what it comes from; derive.h hides it.
 *
 * Whole formulas tell no more of a value than which others are alike.  Others give a part
 * of it, which would let whoever may search find it letter by letter: their results have no
 * tokens (derive.h).
 */
#ifndef DP_TYPES_FORMULA_H
#define DP_TYPES_FORMULA_H

#include "postgres.h"

#include "nodes/primnodes.h"

#define DP_FORMULA_COLUMNS 16

typedef struct DpFormula DpFormula;

/* As it is written; an error where it is none. */
extern DpFormula *dp_formula_read(const char *text);

extern bool dp_formula_is_whole(const DpFormula *formula);

/* How often a column, from 0, stands in it; how long its constants are together. */
extern int	dp_formula_uses(const DpFormula *formula, int column);
extern Size dp_formula_constants_len(const DpFormula *formula);

/* The type of its result, over columns of those base types (varchar's is text); an error where they do not fit. */
extern Oid	dp_formula_type(const DpFormula *formula, const Oid *types, int n);

/* The expression of SQL that it stands for, over columns of those names, quoted already. */
extern char *dp_formula_print(const DpFormula *formula, char *const *columns, int n);

/*
 * The formula of an expression over one table's columns, and those: DP_FORMULA_COLUMNS of
 * them at most.  NULL where it is none.
 */
extern char *dp_formula_of(Node *expr, AttrNumber *columns, int *n);

/* Compute; false: NULL.  What was computed on the way is wiped. */
extern bool dp_formula_compute(const DpFormula *formula, const Datum *values, const bool *nulls, int n,
							   Oid collation, Datum *result);

#endif							/* DP_TYPES_FORMULA_H */
