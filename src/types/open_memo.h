/*
 * open_memo.h
 *	  The values that one sort has opened last.
 *
 * A sort compares each value some twenty times; opening it each time costs more
 * than everything else.  A fixed number of plaintexts is kept, each beside the
 * whole envelope that it came from, and wiped when another takes its place, when
 * keys change, and when the sort's memory context goes, by an error too.
 * Whether the current role may compare is still asked at each comparison.
 */
#ifndef DP_TYPES_OPEN_MEMO_H
#define DP_TYPES_OPEN_MEMO_H

#include "postgres.h"

#include "types/value.h"

typedef struct DpOpenMemo DpOpenMemo;

extern DpOpenMemo *dp_open_memo_create(const DpTypeInfo *info, MemoryContext context);

/* Where plaintexts to be kept must be palloc'd. */
extern MemoryContext dp_open_memo_context(const DpOpenMemo *opened);

/*
 * The plaintext of an envelope, valid until the next dp_open_memo_keep(); fills
 * only datum, family and literal of *value.
 */
extern bool dp_open_memo_find(DpOpenMemo *opened, const struct varlena *datum, DpValue *value,
						   Datum *plain);

/* Take a plaintext over; false where it is not kept and stays the caller's. */
extern bool dp_open_memo_keep(DpOpenMemo *opened, const DpValue *value, Datum plain);

#endif							/* DP_TYPES_OPEN_MEMO_H */
