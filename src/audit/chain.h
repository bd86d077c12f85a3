/*
 * chain.h
 *	  The keyed chain over the rows of dataprotect.audit_batch.
 *
 *	mac(n)  = HMAC(chain key, 'b' || mac(n-1) || canonical bytes of batch n)
 *	mac(0)  = 32 zero bytes
 *	head    : HMAC(chain key, 'h' || seq || mac), of the newest batch; seq: its last record
 *	cursor  : HMAC(chain key, 'u' || instance || ring_seq)
 *	archive : HMAC(chain key, 'a' || first seq || last seq || mac before the first ||
 *			  mac of the last || SHA-256 of their lines), of batches that were archived and
 *			  dropped: the chain goes on from one mac to the other
 *	forward : HMAC(chain key, 'f' || instance || boot_seq || frames), of what a standby sends
 *	sink	: HMAC(chain key, 'k' || cursor, digest and name as text), how far a sink is
 *	link	: HMAC(chain key, 'l' || number || seq || mac || old key id || new key id), under
 *			  the old key and under the new: batches after seq are under the new (chain_link.h)
 *
 * Canonical bytes: every column but mac in the table's order (subjects, which 0.1.0
 * did not have, only where it is not NULL): one byte 0 for NULL, else 1, then the value: integers, times and the
 * bits of a box's two ends 8 bytes big endian, bytes and uuids with a 4-byte length.  Nothing in it
 * depends on the machine.  The mac of a record is that of its batch.
 */
#ifndef DP_AUDIT_CHAIN_H
#define DP_AUDIT_CHAIN_H

#include "postgres.h"

#include "crypto/aead.h"
#include "lib/stringinfo.h"

/* Columns of dataprotect.audit_batch, in order (audit.sql). */
typedef enum DpBatchColumn
{
	DP_BATCH_SEQ_FROM,			/* int8 */
	DP_BATCH_SEQ_TO,			/* int8 */
	DP_BATCH_AT_FROM,			/* timestamptz */
	DP_BATCH_AT_TO,				/* timestamptz */
	DP_BATCH_INSTANCE,			/* uuid */
	DP_BATCH_RING_TO,			/* int8 */
	DP_BATCH_REFS,				/* box: what its results and ends refer to; may be NULL */
	DP_BATCH_HINTS,				/* bytea */
	DP_BATCH_DATA,				/* bytea */
	DP_BATCH_SEALED,			/* bytea; may be NULL */
	DP_BATCH_MAC,				/* bytea; not part of the canonical bytes */
	DP_BATCH_SUBJECTS,			/* bytea; may be NULL */
	DP_BATCH_N_COLUMNS
} DpBatchColumn;

#define DP_BATCH_COLUMN_LIST \
	"seq_from, seq_to, at_from, at_to, instance, ring_to, refs, hints, data, sealed, mac, subjects"

/* Columns of dataprotect.audit_record, in order (audit.sql). */
typedef enum DpAuditColumn
{
	DP_AUDIT_SEQ,				/* int8 */
	DP_AUDIT_AT,				/* timestamptz */
	DP_AUDIT_KIND,				/* "char" */
	DP_AUDIT_INSTANCE,			/* uuid */
	DP_AUDIT_RING_SEQ,			/* int8 */
	DP_AUDIT_SESSION,			/* int8 */
	DP_AUDIT_EVENT,				/* int2; for a range: its scope */
	DP_AUDIT_OUTCOME,			/* "char" */
	DP_AUDIT_REF_SEQ,			/* int8 */
	DP_AUDIT_REF_END,			/* int8 */
	DP_AUDIT_SESSION_ROLE,		/* text */
	DP_AUDIT_ROLE,				/* text */
	DP_AUDIT_COLUMNS,			/* text[] */
	DP_AUDIT_KEYS,				/* text[] */
	DP_AUDIT_OPENED,			/* int8[] */
	DP_AUDIT_COMPARED,			/* int8[] */
	DP_AUDIT_SEALED,			/* bytea */
	DP_AUDIT_MAC,				/* bytea */
	DP_AUDIT_N_COLUMNS
} DpAuditColumn;

#define DP_AUDIT_COLUMN_LIST \
	"seq, at, kind, instance, ring_seq, session, event, outcome, ref_seq, ref_end, " \
	"session_role, role, columns, keys, opened, compared, sealed, mac"

#define DP_CHAIN_MAC_LEN DP_PRF_OUT_LEN

typedef struct DpChainPoint
{
	int64		seq;
	uint8		mac[DP_CHAIN_MAC_LEN];
} DpChainPoint;

/* mac of the batch after previous, under a chain key (0: the current); false only where the PRF fails. */
extern bool dp_chain_batch_mac(uint64 key_id, const uint8 *previous, const Datum *values,
							   const bool *nulls, uint8 *out_mac) DP_MUST_CHECK;
extern bool dp_chain_head_mac(DpPrf *chain, const DpChainPoint *head, uint8 *out_mac) DP_MUST_CHECK;
extern bool dp_chain_cursor_mac(DpPrf *chain, const uint8 *instance, int64 ring_seq,
								uint8 *out_mac) DP_MUST_CHECK;

/* Rows that are no longer in the table. */
typedef struct DpChainArchive
{
	int64		from;
	int64		to;
	uint8		before[DP_CHAIN_MAC_LEN];	/* mac of the row before them */
	uint8		mac[DP_CHAIN_MAC_LEN];	/* of the last */
	uint8		sha256[32];
} DpChainArchive;

extern bool dp_chain_archive_mac(DpPrf *chain, const DpChainArchive *archive, uint8 *out_mac) DP_MUST_CHECK;

/* Of whole frames on their way from a standby (forward.c). */
extern bool dp_chain_forward_mac(DpPrf *chain, const uint8 *instance, uint64 boot_seq,
								 const void *frames, Size len, uint8 *out_mac) DP_MUST_CHECK;

extern bool dp_chain_sink_mac(DpPrf *chain, const char *name, int64 cursor, int64 digest, uint8 *out_mac) DP_MUST_CHECK;

/* Where one chain key takes the place of another. */
typedef struct DpChainLink
{
	int32		number;			/* 1, 2, ... */
	int64		seq;			/* the last record under the old key */
	uint8		mac[DP_CHAIN_MAC_LEN];	/* of its batch */
	uint64		old_key;
	uint64		new_key;
} DpChainLink;

extern bool dp_chain_link_mac(DpPrf *chain, const DpChainLink *link, uint8 *out_mac) DP_MUST_CHECK;

/* A number that names the chain key. */
extern bool dp_chain_name(DpPrf *chain, uint64 *out_name) DP_MUST_CHECK;

#endif							/* DP_AUDIT_CHAIN_H */
