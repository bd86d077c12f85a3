/*
 * foreign_trigger.h
 *	  INSTEAD OF triggers of views that compute from protected values.
 *
 * Such a trigger is handed the row that the view gave: what is computed there was opened
 * with the rights of whoever runs the statement, and by which values the view
 * chooses its rows tells as much.  Where a view, or one that it is written through,
 * computes, compares or sorts by anything from a protected value, UPDATE, DELETE
 * and MERGE of it are an error at execution, unless the owners of its
 * triggers' functions may see as much as the current role (seen_by.h).  A
 * column that is only handed on stays an envelope, which the trigger opens itself.
 *
 * What the statement itself assigns, and which rows it asks for, are the reader's own words.
 */
#ifndef DP_COLUMNS_FOREIGN_TRIGGER_H
#define DP_COLUMNS_FOREIGN_TRIGGER_H

/* Subscribe; from _PG_init only. */
extern void dp_foreign_trigger_init(void);

#endif							/* DP_COLUMNS_FOREIGN_TRIGGER_H */
