/*
 * changed_row.h
 *	  Trigger conditions that ask whether anything in a row changed.
 *
 * WHEN (OLD.* IS DISTINCT FROM NEW.*), and <> and = of the two rows, are asked in
 * the statement of whoever writes, who may not be able to compare protected
 * columns.  Column by column such a condition is answered for him
 * (types/row_condition.h); so a comparison of whole rows becomes one of columns.
 */
#ifndef DP_COLUMNS_CHANGED_ROW_H
#define DP_COLUMNS_CHANGED_ROW_H

extern void dp_changed_row_init(void);

#endif							/* DP_COLUMNS_CHANGED_ROW_H */
