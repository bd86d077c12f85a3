/*
 * mixed_width.h
 *	  Comparisons of a protected value with one of another width (int8 beside a
 *	  protected int4, a timestamp beside a protected date), put in terms of the
 *	  protected one's base type, which indexes and joins know.
 *
 * What is narrower becomes the base type, and that is all.  What is wider does not;
 * but a condition (WHERE, ON) is met where it is true; whether it is false or NULL
 * otherwise is nobody's business.  Within one, under AND and OR,
 *
 *		e < wide	is true where	e <= the greatest base value below wide
 *		e = wide	is true where	e = the base value that equals wide
 *
 * and where there is no such base value the bound is NULL.  The functions that
 * find it, dataprotect._as_TYPE(wide, strategy), see plain values only.  Times
 * with a zone have no exact bound (a clock that is set back gives an hour twice):
 * theirs leaves room, and the condition itself stays beside it.
 */
#ifndef DP_TYPES_MIXED_WIDTH_H
#define DP_TYPES_MIXED_WIDTH_H

#include "postgres.h"

#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"

/* Two protected values, or one and a list: becomes a comparison with the base type. */
extern void dp_mixed_width_widen(OpExpr *op);
extern void dp_mixed_width_widen_list(ScalarArrayOpExpr *op);

/* The conditions of the query itself; subqueries are queries of their own. */
extern void dp_mixed_width_narrow(Query *query);

/* Is it a constant or a parameter, or what this file makes of one? */
extern bool dp_mixed_width_is_given(Node *node);

#endif							/* DP_TYPES_MIXED_WIDTH_H */
