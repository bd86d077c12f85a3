/*
 * server_checks.h
 *	  What the library knows of itself.
 */
#ifndef DP_BASE_SERVER_CHECKS_H
#define DP_BASE_SERVER_CHECKS_H

#include "postgres.h"

#include "access/tupdesc.h"

/* The version that the library was built as: of dataprotect.control. */
extern const char *dp_library_version(void);

/*
 * Before a column of a table of ours is read by number: error where there is none.
 * Versions tell libraries of releases apart; this is for what was built in between.
 */
extern void dp_need_own_column(TupleDesc desc, int attnum);

#endif							/* DP_BASE_SERVER_CHECKS_H */
