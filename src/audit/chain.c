/*
 * chain.c
 *	  Canonical bytes of an audit row, and MACs over them.
 */
#include "postgres.h"

#include "access/tupmacs.h"
#include "audit/chain.h"
#include "base/compat.h"
#include "events/ring.h"
#include "port/pg_bswap.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#define DOMAIN_ROW		'c'
#define DOMAIN_HEAD		'h'
#define DOMAIN_CURSOR	'u'
#define DOMAIN_NAME		'n'
#define DOMAIN_ARCHIVE	'a'

static void
put_int64(StringInfo out, int64 value)
{
	uint64		big = pg_hton64((uint64) value);

	appendBinaryStringInfo(out, (const char *) &big, sizeof(big));
}

static void
put_bytes(StringInfo out, const void *data, Size len)
{
	uint32		big = pg_hton32((uint32) len);

	appendBinaryStringInfo(out, (const char *) &big, sizeof(big));
	appendBinaryStringInfo(out, data, len);
}

static void
put_varlena(StringInfo out, Datum value)
{
	struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);

	put_bytes(out, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
}

/* Elements one after the other, as arrays have them in memory. */
static void
put_array(StringInfo out, Datum value, bool is_text)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	const bits8 *present = ARR_NULLBITMAP(array);
	char	   *element = ARR_DATA_PTR(array);
	uint32		big = pg_hton32((uint32) n);

	appendBinaryStringInfo(out, (const char *) &big, sizeof(big));
	for (int i = 0; i < n; i++)
	{
		bool		is_null = present != NULL && (present[i / 8] & (1 << (i % 8))) == 0;

		appendStringInfoChar(out, is_null ? 0 : 1);
		if (is_null)
			continue;
		if (is_text)
		{
			element = (char *) att_align_pointer(element, TYPALIGN_INT, -1, element);
			put_bytes(out, VARDATA_ANY(element), VARSIZE_ANY_EXHDR(element));
			element += VARSIZE_ANY(element);
		}
		else
		{
			put_int64(out, *(int64 *) element);
			element += sizeof(int64);
		}
	}
	if ((Pointer) array != DatumGetPointer(value))
		pfree(array);
}

static void
put_column(StringInfo out, int column, Datum value)
{
	switch (column)
	{
		case DP_AUDIT_SEQ:
		case DP_AUDIT_AT:
		case DP_AUDIT_RING_SEQ:
		case DP_AUDIT_SESSION:
		case DP_AUDIT_REF_SEQ:
		case DP_AUDIT_REF_END:
			put_int64(out, DatumGetInt64(value));
			break;
		case DP_AUDIT_KIND:
		case DP_AUDIT_OUTCOME:
			put_int64(out, (uint8) DatumGetChar(value));
			break;
		case DP_AUDIT_EVENT:
			put_int64(out, DatumGetInt16(value));
			break;
		case DP_AUDIT_INSTANCE:
			put_bytes(out, DatumGetUUIDP(value)->data, UUID_LEN);
			break;
		case DP_AUDIT_SESSION_ROLE:
		case DP_AUDIT_ROLE:
		case DP_AUDIT_SEALED:
			put_varlena(out, value);
			break;
		case DP_AUDIT_COLUMNS:
		case DP_AUDIT_KEYS:
			put_array(out, value, true);
			break;
		case DP_AUDIT_OPENED:
		case DP_AUDIT_COMPARED:
			put_array(out, value, false);
			break;
	}
}

bool
dp_chain_row_mac(DpPrf *chain, const uint8 *previous, const Datum *values, const bool *nulls,
				 uint8 *out_mac)
{
	static StringInfoData buf;	/* kept: there are many rows */

	if (buf.data == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

		initStringInfo(&buf);
		MemoryContextSwitchTo(old_context);
	}
	resetStringInfo(&buf);
	appendBinaryStringInfo(&buf, (const char *) previous, DP_CHAIN_MAC_LEN);
	for (int i = 0; i < DP_AUDIT_MAC; i++)
	{
		appendStringInfoChar(&buf, nulls[i] ? 0 : 1);
		if (!nulls[i])
			put_column(&buf, i, values[i]);
	}
	return dp_prf(chain, DOMAIN_ROW, (const uint8 *) buf.data, buf.len, out_mac);
}

bool
dp_chain_head_mac(DpPrf *chain, const DpChainPoint *head, uint8 *out_mac)
{
	uint8		buf[8 + DP_CHAIN_MAC_LEN];
	uint64		big = pg_hton64((uint64) head->seq);

	memcpy(buf, &big, 8);
	memcpy(buf + 8, head->mac, DP_CHAIN_MAC_LEN);
	return dp_prf(chain, DOMAIN_HEAD, buf, sizeof(buf), out_mac);
}

bool
dp_chain_cursor_mac(DpPrf *chain, const uint8 *instance, int64 ring_seq, uint8 *out_mac)
{
	uint8		buf[DP_RING_INSTANCE_LEN + 8];
	uint64		big = pg_hton64((uint64) ring_seq);

	memcpy(buf, instance, DP_RING_INSTANCE_LEN);
	memcpy(buf + DP_RING_INSTANCE_LEN, &big, 8);
	return dp_prf(chain, DOMAIN_CURSOR, buf, sizeof(buf), out_mac);
}

bool
dp_chain_archive_mac(DpPrf *chain, const DpChainArchive *archive, uint8 *out_mac)
{
	uint8		buf[16 + 2 * DP_CHAIN_MAC_LEN + sizeof(archive->sha256)];
	uint64		from = pg_hton64((uint64) archive->from);
	uint64		to = pg_hton64((uint64) archive->to);

	memcpy(buf, &from, 8);
	memcpy(buf + 8, &to, 8);
	memcpy(buf + 16, archive->before, DP_CHAIN_MAC_LEN);
	memcpy(buf + 16 + DP_CHAIN_MAC_LEN, archive->mac, DP_CHAIN_MAC_LEN);
	memcpy(buf + 16 + 2 * DP_CHAIN_MAC_LEN, archive->sha256, sizeof(archive->sha256));
	return dp_prf(chain, DOMAIN_ARCHIVE, buf, sizeof(buf), out_mac);
}

bool
dp_chain_name(DpPrf *chain, uint64 *out_name)
{
	uint8		mac[DP_PRF_OUT_LEN];

	if (!dp_prf(chain, DOMAIN_NAME, (const uint8 *) "", 0, mac))
		return false;
	memcpy(out_name, mac, sizeof(*out_name));
	return true;
}
