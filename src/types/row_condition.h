/*
 * row_condition.h
 *	  Conditions that a table puts to the rows that are written to it: CHECK
 *	  constraints and the WHEN of triggers.
 *
 * Writing needs no right to read, and such a condition is the table's: it must
 * hold whoever writes, and must show nothing to a writer who may not read.
 *
 *	a value of the row							is
 *	sealed by the writer in this transaction	compared and opened: he had the
 *												plaintext; not a read, not counted
 *	one he may read								as everywhere
 *	another, in a row that he changes			not seen: NULL, which satisfies a
 *												CHECK; the value satisfied it before
 *	another, in a row that he inserts			an error: it comes from elsewhere
 *
 * A trigger's WHEN that asks whether a column changed is told so by the
 * envelopes, where the writer may not read what was there.
 *
 * Only the executor's own evaluation of such a condition counts, which keeps its
 * expressions in the executor's memory, where no plan lies; with foreign code
 * running nothing does.  Functions of ordinary roles are kept out of such
 * conditions by the guard (columns/guard.h).
 */
#ifndef DP_TYPES_ROW_CONDITION_H
#define DP_TYPES_ROW_CONDITION_H

#include "postgres.h"

#include "fmgr.h"
#include "types/value.h"

typedef enum DpRowView
{
	DP_ROW_NONE,				/* no such condition, or the role's right decides */
	DP_ROW_OWN,
	DP_ROW_UNSEEN
} DpRowView;

/*
 * How a call at this site sees the value, which is no literal.  An error where
 * it comes from elsewhere and the role may not read it.
 */
extern DpRowView dp_row_condition_view(FmgrInfo *flinfo, const DpValue *value);

/*
 * Is that stored value of such a condition one that a restore brings before its
 * key?  It is not seen either: it satisfied the condition where it was dumped.
 */
extern bool dp_row_condition_awaits_key(FmgrInfo *flinfo, const struct varlena *datum);

/*
 * Is the call part of an expression that the executor itself took from the catalogs
 * (of an index, a constraint), and in no plan?
 */
extern bool dp_row_condition_is_stored(FmgrInfo *flinfo);

/* Does the call compare the same column of the row before and after a change? */
extern bool dp_row_condition_asks_change(FmgrInfo *flinfo);

#endif							/* DP_TYPES_ROW_CONDITION_H */
