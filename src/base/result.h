/*
 * result.h
 *	  What C functions give to SQL; palloc'd.
 */
#ifndef DP_BASE_RESULT_H
#define DP_BASE_RESULT_H

#include "postgres.h"

#include "fmgr.h"

/* A bytea of these bytes. */
extern Datum dp_result_bytea(const void *data, Size len);

/* The row that the function's declaration says, of these columns. */
extern Datum dp_result_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls);

#endif							/* DP_BASE_RESULT_H */
