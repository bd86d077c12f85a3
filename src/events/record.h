/*
 * record.h
 *	  The compact form of one audit record.  Free of PostgreSQL: libc only.
 *
 * Slices point into memory of the caller (encode) or into the buffer that was
 * decoded (decode); nothing is allocated.  Texts are not NUL-terminated.
 */
#ifndef DP_EVENTS_RECORD_H
#define DP_EVENTS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DP_RECORD_MAX			7168	/* largest encoded record */
#define DP_RECORD_MAX_COLUMNS	48
#define DP_RECORD_MAX_KEYS		16
#define DP_RECORD_MAX_NAME		512 /* longest name of a column or role */
#define DP_RECORD_MAX_SEALED	4096

typedef enum DpRecordKind
{
	DP_RECORD_INTENT = 'i',		/* a statement is about to open its first value */
	DP_RECORD_RESULT = 'r',		/* and this is what became of it: ref_seq */
	DP_RECORD_ADMIN = 'e',		/* an administrative act */
	DP_RECORD_RANGE = 'x'		/* outcome of this session's records ref_seq..ref_end */
} DpRecordKind;

typedef enum DpOutcome
{
	DP_OUTCOME_STARTED = 's',
	DP_OUTCOME_OK = 'o',
	DP_OUTCOME_ERROR = 'e',
	DP_OUTCOME_ROLLED_BACK = 'b',
	DP_OUTCOME_CANCELLED = 'c',
	DP_OUTCOME_LOST = 'l',
	DP_OUTCOME_DENIED = 'd',
	DP_OUTCOME_PREPARED = 'p'	/* a range alone: keys[0].opened is the transaction */
} DpOutcome;

/* all of them; the view audit_log and the sinks have a name for each */
#define DP_OUTCOME_LETTERS "soebcldp"

/* DpRecord.scope of a range */
#define DP_SCOPE_ALL	0
#define DP_SCOPE_ADMIN	1		/* only administrative acts */

/* DpRecord.sealed_format */
#define DP_SEALED_PLAIN 0		/* no key existed yet */
#define DP_SEALED_KEY	1

typedef struct DpSlice
{
	const uint8_t *data;
	size_t		len;
} DpSlice;

typedef struct DpRecordKey
{
	int32_t		family;
	uint64_t	opened;
	uint64_t	compared;
	DpSlice		name;
} DpRecordKey;

typedef struct DpRecord
{
	uint8_t		kind;			/* DpRecordKind */
	uint8_t		outcome;		/* DpOutcome */
	uint8_t		sealed_format;
	uint8_t		scope;
	uint16_t	event;			/* DpEventCode */
	int64_t		at;				/* TimestampTz */
	uint64_t	session;		/* one backend's life */
	uint64_t	ref_seq;
	uint64_t	ref_end;
	DpSlice		role;
	DpSlice		session_role;
	DpSlice		sealed;
	int			n_columns;
	int			n_keys;
	DpRecordKey keys[DP_RECORD_MAX_KEYS];
	DpSlice		columns[DP_RECORD_MAX_COLUMNS]; /* last: a copy may end after those used */
} DpRecord;

/* Bytes written, or 0 where the record does not fit. */
extern size_t dp_record_encode(const DpRecord *record, uint8_t *out, size_t out_max);

/* False for anything but a well-formed record; never reads outside buf. */
extern bool dp_record_decode(const uint8_t *buf, size_t len, DpRecord *out);

/*
 * The sealed part: who, from where, for what.  Same encoding of fields.
 */
typedef struct DpPersonal
{
	DpSlice		actor;
	DpSlice		client;
	DpSlice		application;
	DpSlice		purpose;
	DpSlice		detail;			/* a JSON object */
} DpPersonal;

extern size_t dp_personal_encode(const DpPersonal *personal, uint8_t *out, size_t out_max);
extern bool dp_personal_decode(const uint8_t *buf, size_t len, DpPersonal *out);

#endif							/* DP_EVENTS_RECORD_H */
