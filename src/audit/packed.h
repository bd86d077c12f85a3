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
 * hints: a filter of 512 bits over the names of roles and keys and over events
 * that are in it.  It never misses one.
 */
#ifndef DP_AUDIT_PACKED_H
#define DP_AUDIT_PACKED_H

#include "postgres.h"

#include "audit/chain.h"
#include "events/record.h"
#include "utils/timestamp.h"

#define DP_PACKED_MAX	1000	/* records of a batch */
#define DP_HINTS_LEN	64

/* What hints are of. */
typedef enum DpHint
{
	DP_HINT_ROLE = 'r',			/* current or session role */
	DP_HINT_KEY = 'k',
	DP_HINT_EVENT = 'e'			/* kind and the two bytes of an event */
} DpHint;

extern bool dp_hint_has(const uint8 *hints, DpHint what, const void *data, Size len);
extern bool dp_hint_has_event(const uint8 *hints, uint8 kind, int16 event);

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
} DpPackedRecord;

/* A batch that is being made, in the memory context it was begun in. */
typedef struct DpPacking DpPacking;

extern DpPacking *dp_packing_begin(void);
extern void dp_packing_add(DpPacking *packing, const DpPackedRecord *record);
extern int	dp_packing_n(const DpPacking *packing);
extern bool dp_packing_is_full(const DpPacking *packing);

/* The columns of the batch but seq_from, seq_to, instance and mac. */
extern void dp_packing_end(DpPacking *packing, Datum *values, bool *nulls);

/* A batch that was read.  All of it lies in one memory context. */
typedef struct DpShape
{
	uint8		kind;
	uint8		outcome;
	int16		event;
	int			n_keys;
	Datum		session_role;	/* 0: NULL, also below */
	Datum		role;
	Datum		columns;
	Datum		keys;
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
	DpUnpackedRecord *records;
	DpShape    *shapes;
	uint64	   *counts;
	int			n_refs;			/* results and ends, by session, ref_seq, and the longest first */
	int		   *refs;
} DpUnpacked;

/* False where data is malformed.  In the current memory context. */
extern bool dp_unpack(bytea *data, DpUnpacked *out);

/* The parts of a sealed column that was opened: DpSlice of form and bytes; false likewise. */
extern bool dp_unpack_sealed(const uint8 *data, Size len, int *out_n, DpSlice **out);

#endif							/* DP_AUDIT_PACKED_H */
