/*
 * subjects.h
 *	  Whose values a statement has opened; for audit/ only.
 *
 * A subject is known by the id of its key (of tables that are bound to accounts), which
 * is its pseudonym: it names nobody once the account is gone.  Up to DP_SUBJECTS_EXACT
 * are kept as they are; more become a filter of bits that never misses one and may name
 * too many.  Key ids are uniform already: a subject's bits are cut out of its id.
 */
#ifndef DP_AUDIT_SUBJECTS_H
#define DP_AUDIT_SUBJECTS_H

#include "postgres.h"

#include "events/record.h"

#define DP_SUBJECTS_EXACT	16
#define DP_SUBJECTS_BITS	2048
#define DP_SUBJECTS_SLICES	4	/* bits a subject; cut: 11 each */

typedef struct DpSubjects
{
	int			n;				/* more than DP_SUBJECTS_EXACT: the filter has them */
	uint64		last;			/* added last */
	uint64		ids[DP_SUBJECTS_EXACT];
	uint8		filter[DP_SUBJECTS_BITS / 8];
} DpSubjects;

/* None; only as much as is read before it is written. */
static inline void
dp_subjects_clear(DpSubjects *subjects)
{
	subjects->n = 0;
	subjects->last = 0;
}

extern void dp_subjects_add(DpSubjects *subjects, uint64 id);
extern void dp_subjects_merge(DpSubjects *into, const DpSubjects *from);

/*
 * The detail of a record, NUL-terminated; its length.
 *		{"statement": 12, "ids": ["0123456789abcdef", ...]}
 *		{"statement": 12, "filter": "..."}		bit n is bit n % 8 of byte n / 8
 */
#define DP_SUBJECTS_TEXT (64 + 2 * DP_SUBJECTS_BITS / 8)
extern Size dp_subjects_print(const DpSubjects *subjects, uint64 statement, char out[DP_SUBJECTS_TEXT]);

/* Read it again; false for anything else. */
extern bool dp_subjects_read(DpSlice detail, uint64 *statement, DpSubjects *out);

/* Is the account's key there, or (of a filter) could it be? */
extern bool dp_subjects_has(const DpSubjects *subjects, uint64 id);
extern bool dp_subjects_filter_has(const uint8 filter[DP_SUBJECTS_BITS / 8], uint64 id);

#endif							/* DP_AUDIT_SUBJECTS_H */
