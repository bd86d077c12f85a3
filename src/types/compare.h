/*
 * compare.h
 *	  Comparisons, for those who come without the function manager (sort.c).
 */
#ifndef DP_TYPES_COMPARE_H
#define DP_TYPES_COMPARE_H

#include "postgres.h"

#include "types/operand.h"

/* One comparison: what, by whom, for what. */
typedef struct DpComparisonCall
{
	DpCallState *state;
	DpSides		sides;
	DpComparison comparison;
	bool		maintenance;
	FmgrInfo   *flinfo;			/* NULL within a sort */
	Oid			collation;
	Datum		left;
	Datum		right;
} DpComparisonCall;

/* Compare.  Returns false where the answer is NULL; for CMP_ORDER it never is. */
extern bool dp_compare(const DpComparisonCall *call, int *out);

/* The order of the tokens. */
extern int	dp_compare_tokens(const DpComparisonCall *call);

/* Order of two readable plaintexts; equality where only that is asked for. */
extern int	dp_compare_plain(const DpCallState *state, Datum left, Datum right, Oid collation,
							 bool equality_only);

#endif							/* DP_TYPES_COMPARE_H */
