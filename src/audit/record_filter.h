/*
 * record_filter.h
 *	  What a read of dataprotect.audit_record is after; for audit/ only.
 *
 * Filters are hints: they leave out batches, shapes and records that cannot be
 * asked for, and the executor checks every condition itself.  Each is of the type
 * that is named; a value that is referred to belongs to the caller.
 */
#ifndef DP_AUDIT_RECORD_FILTER_H
#define DP_AUDIT_RECORD_FILTER_H

#include "postgres.h"

#include "audit/packed.h"

typedef enum DpRecordFilter
{
	DP_FILTER_SEQ_MIN,			/* int8 */
	DP_FILTER_SEQ_MAX,
	DP_FILTER_AT_MIN,			/* timestamptz */
	DP_FILTER_AT_MAX,
	DP_FILTER_KIND,				/* "char" */
	DP_FILTER_SESSION,			/* int8 */
	DP_FILTER_REF_MIN,			/* int8: ref_seq */
	DP_FILTER_REF_MAX,
	DP_FILTER_END_MIN,			/* int8: ref_end */
	DP_FILTER_ROLE,				/* text */
	DP_FILTER_SESSION_ROLE,
	DP_FILTER_EVENT,			/* int2 */
	DP_FILTER_OUTCOME,			/* "char" */
	DP_FILTER_RING,				/* int8: ring_seq */
	DP_FILTER_INSTANCE,			/* uuid */
	DP_FILTER_KEY,				/* text: among its keys, or its result is another record */
	DP_FILTER_SUBJECTS,			/* int8[]: tells that values under one of these keys were opened */
	DP_FILTER_N
} DpRecordFilter;

typedef struct DpRecordFilters
{
	bool		is_set[DP_FILTER_N];
	Datum		values[DP_FILTER_N];
	uint64		hashes[DP_FILTER_N];	/* of names, where they are set */
	DpSlice		names[DP_FILTER_N];
	const uint64 *subjects;
	int			n_subjects;
} DpRecordFilters;

extern void dp_filters_clear(DpRecordFilters *filters);

/* Of two bounds the narrower counts; of two values any one.  The value is not toasted. */
extern void dp_filters_set(DpRecordFilters *filters, DpRecordFilter filter, Datum value);

static inline int64
dp_filters_int(const DpRecordFilters *filters, DpRecordFilter filter)
{
	return DatumGetInt64(filters->values[filter]);
}

/* Could the batch of a row of audit_batch have what is asked for?  Leaks memory. */
extern bool dp_filters_fit_row(const DpRecordFilters *filters, const Datum *values, const bool *nulls);

/* Which of the batch's shapes could; false where none. */
extern bool dp_filters_fit_shapes(const DpRecordFilters *filters, const DpUnpacked *batch, bool *out_fits);

/* Could the record, whose shape could? */
extern bool dp_filters_fit_record(const DpRecordFilters *filters, const DpUnpackedRecord *record);

#endif							/* DP_AUDIT_RECORD_FILTER_H */
