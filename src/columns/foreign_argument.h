/*
 * foreign_argument.h
 *	  Values that a statement opens and hands to code of others over base types.
 *
 * A function over an encrypted type opens what it gets itself, as foreign code
 * (access/foreign_code.h).  One over the base type is handed a plaintext, which the
 * statement has opened before with the rights of whoever runs it.  So before a
 * query is planned, dataprotect._seen_by() is put around what is opened below a call of
 * such code (foreign_call.h, seen_by.h): around the encrypted value, where it is
 * opened there; around what a subquery, a WITH query, a join, a function in FROM or a
 * grouping has made of one.  The values are then what both may see, at each
 * execution anew.
 *
 * It follows values within one statement, not through a variable, a stored row
 * or the body of a function; nor does it hide that, and for which rows, a function
 * is called.
 */
#ifndef DP_COLUMNS_FOREIGN_ARGUMENT_H
#define DP_COLUMNS_FOREIGN_ARGUMENT_H

/* Subscribe; from _PG_init only. */
extern void dp_foreign_argument_init(void);

#endif							/* DP_COLUMNS_FOREIGN_ARGUMENT_H */
