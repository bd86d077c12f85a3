/*
 * chain.c
 *	  Canonical bytes of a batch of the audit log, and MACs over them.
 */
#include "postgres.h"

#include "audit/chain.h"
#include "base/compat.h"
#include "events/ring.h"
#include "keys/keys.h"
#include "port/pg_bswap.h"
#include "utils/geo_decls.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#define DOMAIN_BATCH	'b'
#define DOMAIN_HEAD		'h'
#define DOMAIN_CURSOR	'u'
#define DOMAIN_NAME		'n'
#define DOMAIN_ARCHIVE	'a'
#define DOMAIN_FORWARD	'f'
#define DOMAIN_SINK		'k'
#define DOMAIN_LINK		'l'

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

/* Its bits, whatever they say. */
static void
put_float8(StringInfo out, float8 value)
{
	int64		bits;

	memcpy(&bits, &value, sizeof(bits));
	put_int64(out, bits);
}

static void
put_column(StringInfo out, int column, Datum value)
{
	switch (column)
	{
		case DP_BATCH_INSTANCE:
			put_bytes(out, DatumGetUUIDP(value)->data, UUID_LEN);
			break;
		case DP_BATCH_REFS:
			put_float8(out, DatumGetBoxP(value)->low.x);
			put_float8(out, DatumGetBoxP(value)->high.x);
			break;
		case DP_BATCH_HINTS:
		case DP_BATCH_DATA:
		case DP_BATCH_SEALED:
		case DP_BATCH_SUBJECTS:
			put_varlena(out, value);
			break;
		default:
			put_int64(out, DatumGetInt64(value));
			break;
	}
}

bool
dp_chain_batch_mac(uint64 key_id, const uint8 *previous, const Datum *values, const bool *nulls, uint8 *out_mac)
{
	static StringInfoData buf;	/* kept: there are many batches */
	DpPrf	   *chain;

	if (buf.data == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

		initStringInfo(&buf);
		MemoryContextSwitchTo(old_context);
	}
	resetStringInfo(&buf);
	appendBinaryStringInfo(&buf, (const char *) previous, DP_CHAIN_MAC_LEN);
	for (int i = 0; i < DP_BATCH_MAC; i++)
	{
		appendStringInfoChar(&buf, nulls[i] ? 0 : 1);
		if (!nulls[i])
			put_column(&buf, i, values[i]);
	}
	if (!nulls[DP_BATCH_SUBJECTS])
	{
		appendStringInfoChar(&buf, 1);
		put_column(&buf, DP_BATCH_SUBJECTS, values[DP_BATCH_SUBJECTS]);
	}
	/* Only now: detoasting and sealing look at catalogs, and so may drop what was held before. */
	chain = dp_keys_audit_chain_of(key_id);
	return chain != NULL && dp_prf(chain, DOMAIN_BATCH, (const uint8 *) buf.data, buf.len, out_mac);
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
dp_chain_forward_mac(DpPrf *chain, const uint8 *instance, uint64 boot_seq, const void *frames, Size len,
					 uint8 *out_mac)
{
	StringInfoData buf;
	bool		ok;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, (const char *) instance, DP_RING_INSTANCE_LEN);
	put_int64(&buf, (int64) boot_seq);
	appendBinaryStringInfo(&buf, frames, len);
	ok = dp_prf(chain, DOMAIN_FORWARD, (const uint8 *) buf.data, buf.len, out_mac);
	pfree(buf.data);
	return ok;
}

bool
dp_chain_sink_mac(DpPrf *chain, const char *name, int64 cursor, int64 digest, uint8 *out_mac)
{
	StringInfoData message;

	initStringInfo(&message);
	appendStringInfo(&message, INT64_FORMAT " " INT64_FORMAT " %s", cursor, digest, name);
	return dp_prf(chain, DOMAIN_SINK, (const uint8 *) message.data, message.len, out_mac);
}

bool
dp_chain_link_mac(DpPrf *chain, const DpChainLink *link, uint8 *out_mac)
{
	StringInfoData message;
	bool		ok;

	initStringInfo(&message);
	put_int64(&message, link->number);
	put_int64(&message, link->seq);
	appendBinaryStringInfo(&message, (const char *) link->mac, DP_CHAIN_MAC_LEN);
	put_int64(&message, (int64) link->old_key);
	put_int64(&message, (int64) link->new_key);
	ok = dp_prf(chain, DOMAIN_LINK, (const uint8 *) message.data, message.len, out_mac);
	pfree(message.data);
	return ok;
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
