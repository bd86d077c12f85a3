/*
 * kept_value.h
 *	  Where an UPDATE writes what is there already, the stored value stays.
 */
#ifndef DP_COLUMNS_KEPT_VALUE_H
#define DP_COLUMNS_KEPT_VALUE_H

#include "postgres.h"

#include "types/value.h"

/*
 * Is plain what the stored value holds, to the byte?  Counted as a comparison.
 * False for roles that may not compare: which envelope a row got would tell them
 * whether they guessed right.
 */
extern bool dp_kept_same(const DpTypeInfo *info, Datum plain, const DpValue *stored);

extern void dp_kept_value_init(void);

#endif							/* DP_COLUMNS_KEPT_VALUE_H */
