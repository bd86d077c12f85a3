/*
 * packed.h
 *	  Records of the audit log as a batch holds them; for audit/ only.
 *
 * Records are alike: whoever reads, reads the same columns under the same keys, as
 * the same role, from the same place.  A batch keeps each combination once (a
 * shape), and of each record the number of its shape, what changes from the one
 * before, and its counts.
 *
 *	data	1 byte version (1) | block
 *	sealed	block under the audit key
 *	block	1 byte: 0 as it is, 1 deflated | 4 bytes length | bytes
 *
 *	of data, numbers being varints (7 bits a byte, low ones first) and signed ones
 *	zigzagged:
 *	records | shapes | each: length, then kind, outcome, event (2 bytes), texts of
 *			session role and role, number of columns and their texts, number of keys
 *			and their names
 *	sessions | each: 8 bytes
 *	each record: shape | time since the one before (signed) | ring number since the one
 *			before (signed) | session | ref_seq: 0 none, else 1 + (ring number - ref_seq,
 *			signed) | ref_end: 0 none, else 1 + (ref_end - ref_seq, signed) |
 *			opened and compared of each key | sealed part: 0 none, else 1 + number
 *	of sealed: parts | each: length, then one byte form (DP_SEALED_...) and the bytes
 *
 * A text is a length and bytes.  Times begin at 0, ring numbers too.
 *
 * hints: a filter (name_filter.h) over the names of roles and keys, over events and
 * over outcomes that are in it.  Of DP_HINTS_OLD bytes they are 0.1.0's, and tell nothing.
 *
 *	subjects	what lies under the audit key; NULL where no record tells of accounts:
 *			1 byte form: 0 filter over the ids of accounts' keys, 1 any may be in it,
 *			2 like 0, behind 256 bytes: bits of statements that opened too many (subjects.h)
 */
#ifndef DP_AUDIT_PACKED_H
#define DP_AUDIT_PACKED_H

#include "postgres.h"

#include "audit/chain.h"
#include "audit/subjects.h"
#include "events/record.h"
#include "utils/timestamp.h"

#define DP_PACKED_MAX	1000	/* records of a batch */
#define DP_HINTS_OLD	64

/* What hints are of. */
typedef enum DpHint
{
	DP_HINT_ROLE = 'r',			/* current or session role */
	DP_HINT_KEY = 'k',
	DP_HINT_EVENT = 'e',		/* kind and the two bytes of an event */
	DP_HINT_OUTCOME = 'o'		/* kind and outcome */
} DpHint;

extern uint64 dp_hint_hash(DpHint what, const void *data, Size len);
extern uint64 dp_hint_hash_event(uint8 kind, int16 event);
extern uint64 dp_hint_hash_outcome(uint8 kind, uint8 outcome);

/* Could one of the accounts with these keys be in what lies in subjects? */
extern bool dp_packed_has_subject(const uint8 *subjects, Size len, const uint64 *ids, int n);

/* One record, merged with its result. */
typedef struct DpPackedRecord
{
	TimestampTz at;
	uint64		ring_seq;
	uint64		session;
	uint64		ref_seq;		/* 0: none */
	uint64		ref_end;		/* 0: none */
	uint8		kind;
	uint8		outcome;
	int16		event;
	DpSlice		session_role;
	DpSlice		role;
	int			n_columns;
	const DpSlice *columns;
	int			n_keys;
	const DpRecordKey *keys;
	DpSlice		sealed;			/* form and bytes; empty: none */
	bool		has_subjects;	/* it tells whose values a statement opened */
	const DpSubjects *subjects; /* NULL: what it tells cannot be read now */
} DpPackedRecord;

/* A batch that is being made, in the memory context it was begun in. */
typedef struct DpPacking DpPacking;

extern DpPacking *dp_packing_begin(void);
extern void dp_packing_add(DpPacking *packing, const DpPackedRecord *record);
extern int	dp_packing_n(const DpPacking *packing);
extern bool dp_packing_is_full(const DpPacking *packing);

/* The columns of the batch but seq_from, seq_to, instance and mac. */
extern void dp_packing_end(DpPacking *packing, Datum *values, bool *nulls);

/*
 * A batch that was read.  All of it lies in one memory context, and refers to the
 * bytes that it was read from.
 */
typedef struct DpShape
{
	uint8		kind;
	uint8		outcome;
	int16		event;
	int			n_columns;
	int			n_keys;
	DpSlice		session_role;	/* empty: NULL, also below */
	DpSlice		role;
	DpSlice		columns;		/* their texts, one after the other */
	DpSlice		keys;
	Datum	   *made;			/* of the reader; NULL: not yet */
} DpShape;

typedef struct DpUnpackedRecord
{
	TimestampTz at;
	uint64		ring_seq;
	uint64		session;
	uint64		ref_seq;
	uint64		ref_end;
	int			shape;
	int			sealed;			/* -1: none */
	int			counts;			/* where its keys' are: opened, compared */
} DpUnpackedRecord;

typedef struct DpUnpacked
{
	int			n;
	int			n_shapes;
	DpShape    *shapes;
	DpSlice		rest;			/* sessions and records, not read yet */
	DpUnpackedRecord *records;	/* NULL: likewise */
	uint64	   *counts;
	int			n_refs;			/* results and ends, by session, ref_seq, and the longest first */
	int		   *refs;
} DpUnpacked;

/*
 * The shapes of a batch, and then its records: what looks for something reads
 * the second only where one of the first has it.  False where data, which stays, is
 * malformed.  In the current memory context.
 */
extern bool dp_unpack(bytea *data, DpUnpacked *out);
extern bool dp_unpack_records(DpUnpacked *batch);

/* The next of a shape's texts; they are all there. */
extern DpSlice dp_unpack_text(DpSlice *texts);

/* The parts of a sealed column that was opened: DpSlice of form and bytes; false likewise. */
extern bool dp_unpack_sealed(const uint8 *data, Size len, int *out_n, DpSlice **out);

#endif							/* DP_AUDIT_PACKED_H */
