/*
 * inspect.h
 *	  Handling encrypted values without showing them.
 */
#ifndef DP_TYPES_INSPECT_H
#define DP_TYPES_INSPECT_H

#include "postgres.h"

#include "types/typeinfo.h"

/*
 * The same value under its named key's current version: palloc'd, or datum
 * itself where it needs no change, belongs to an account, or is unreadable.
 * Not a read.  Errors where it does not authenticate.
 */
extern struct varlena *dp_inspect_reseal(const DpTypeInfo *info, struct varlena *datum);

#endif							/* DP_TYPES_INSPECT_H */
