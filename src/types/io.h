/*
 * io.h
 *	  Shared by the functions that show or seal values.
 */
#ifndef DP_TYPES_IO_H
#define DP_TYPES_IO_H

#include "postgres.h"

/* One warning a statement and key. */
extern void dp_io_warn_unreadable(int32 family);

/* Value of one type as another, by their cast; error where there is none. */
extern Datum dp_io_convert(Oid from, Oid to, Datum value, Oid collation);

#endif							/* DP_TYPES_IO_H */
