/*
 * parallel.h
 *	  Where parallel workers leave their counts for the leader; for audit/ only.
 *
 * A leader claims a slot before it runs a parallel query that reads protected
 * columns (its intent is written then, too).  Its workers find the slot by the
 * leader's pid, add to it when they end, and the leader takes the sums when the
 * statement ends.  Where all slots are taken, and for roles other than the one
 * that claimed, a worker writes records of its own.
 */
#ifndef DP_AUDIT_PARALLEL_H
#define DP_AUDIT_PARALLEL_H

#include "postgres.h"

#include "audit/subjects.h"

typedef struct DpAuditCount
{
	int32		family;
	uint64		opened;
	uint64		compared;
	char		name[NAMEDATALEN];
} DpAuditCount;

#define DP_AUDIT_MAX_COUNTS 16	/* keys of one statement; more share the last */

/* Add to counts[], which has *n entries. */
extern DpAuditCount *dp_audit_count(DpAuditCount *counts, int *n, int32 family, const char *name);

extern bool dp_parallel_claim(void);	/* for the current role */
extern bool dp_parallel_has_leader(void);	/* in a worker: the leader has a slot, for this role */
extern void dp_parallel_add(const DpAuditCount *counts, int n, const DpSubjects *subjects); /* in a worker */
extern void dp_parallel_take(DpAuditCount *counts, int *n, DpSubjects *subjects);	/* in the leader;
																					 * releases */

extern void dp_parallel_init(void);

#endif							/* DP_AUDIT_PARALLEL_H */
