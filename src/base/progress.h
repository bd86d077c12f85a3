/*
 * progress.h
 *	  How far long work of this backend is, for dataprotect.progress and for whoever waits.
 *
 * PostgreSQL's own slots for progress (pg_stat_progress_*) are written, under a
 * command number that none of its views asks for: no memory, no lock and no clean-up
 * of ours.  There is one per backend.  A command of PostgreSQL's within ours, such as
 * an index that is built at the end of a rewrite, takes its place and then stands in
 * that command's view; an error ends it.  Nothing is counted where track_activities
 * is off.
 *
 * Whoever waits is told by NOTICE what part is done, each dataprotect.progress_interval.
 */
#ifndef DP_BASE_PROGRESS_H
#define DP_BASE_PROGRESS_H

#include "postgres.h"

#include "utils/backend_status.h"

typedef enum DpProgressCommand
{
	DP_PROGRESS_ENCRYPT,		/* in values, of about so many */
	DP_PROGRESS_VERIFY,			/* in blocks */
	DP_PROGRESS_DRILL			/* in keys and their KMSs */
} DpProgressCommand;

/* No ProgressCommandType of PostgreSQL's. */
#define DP_PROGRESS_SLOT 0x4450

/* attnum: InvalidAttrNumber where the work is no column's; total: 0 where unknown. */
extern void dp_progress_begin(DpProgressCommand command, Oid rel, AttrNumber attnum, int64 total);
extern void dp_progress_count(DpProgressCommand command, int64 n);
extern void dp_progress_end(void);

/* Done n more; nothing where that command is not going on.  Cheap enough for each value. */
static inline void
dp_progress_advance(DpProgressCommand command, int64 n)
{
	if (unlikely(MyBEEntry != NULL && (int) MyBEEntry->st_progress_command == DP_PROGRESS_SLOT))
		dp_progress_count(command, n);
}

#endif							/* DP_BASE_PROGRESS_H */
