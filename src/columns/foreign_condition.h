/*
 * foreign_condition.h
 *	  Conditions that others put around calls of their code.
 *
 * That a function is called tells as much as an argument where its author has
 * written when: CASE WHEN email < 'm' THEN f('m') END, or a view's WHERE.  So where a
 * view, a policy, or a query over a view that is written through
 *	- calls code of ordinary roles, or has its owner, who is one, call a volatile
 *	  function of PostgreSQL's,
 *	- and opens a value to decide on it: in WHERE, ON, HAVING, FILTER, CASE, AND, OR,
 *	  COALESCE, in what sorts, groups or tells rows apart, or how many there are,
 * it is an error at execution, unless whose code it is may see as much as the current
 * role (seen_by.h).  What stands in the arguments of such a call does not count:
 * that is limited by itself (foreign_argument.h).
 *
 * In the reader's own words it is the reader who decides what is called for which rows.
 */
#ifndef DP_COLUMNS_FOREIGN_CONDITION_H
#define DP_COLUMNS_FOREIGN_CONDITION_H

/* Subscribe; from _PG_init only. */
extern void dp_foreign_condition_init(void);

#endif							/* DP_COLUMNS_FOREIGN_CONDITION_H */
