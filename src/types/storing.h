/*
 * storing.h
 *	  Where what a function gives of a value goes: is it stored?
 *
 * A mask, or the NULL that stands for an unreadable value, may be shown and may
 * never be stored in the value's place.  So in a statement that writes, functions
 * that would give one raise an error, but for these:
 *	- the constraints, and trigger conditions, of the table that is written: they
 *	  are the table's, and keep nothing
 *	- what RETURNING gives, unless another statement that writes runs the statement
 *	- what decides which rows a statement concerns, where a value is unreadable
 *
 * Functions that run within such a statement are part of it.  One that reads into
 * a variable in one statement and writes the variable in the next is not seen.
 */
#ifndef DP_TYPES_STORING_H
#define DP_TYPES_STORING_H

#include "postgres.h"

#include "fmgr.h"
#include "types/value.h"

/* Is a result, which is a mask or stands for an unreadable value, used? */
typedef enum DpNotShown
{
	DP_NOT_ALLOWED,				/* the role sees a mask */
	DP_NOT_READABLE				/* the key is suspended, expired or destroyed */
} DpNotShown;

/*
 * An error, which names key and column, where the call that flinfo belongs to
 * would have its result stored.  Else nothing.
 */
extern void dp_storing_refuse(FmgrInfo *flinfo, const DpValue *value, DpNotShown why);

/* Would the result of the call be stored, were it a mask? */
extern bool dp_storing_would_store(FmgrInfo *flinfo);

/*
 * The same error for whatever is called: for commands that store what casts give.
 * Nests; whoever begins ends it, after an error too.
 */
extern void dp_storing_begin_strict(void);
extern void dp_storing_end_strict(void);
extern bool dp_storing_is_strict(void);

extern void dp_storing_init(void);

#endif							/* DP_TYPES_STORING_H */
