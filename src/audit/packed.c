/*
 * packed.c
 *	  Packing the records of a batch; see packed.h.
 */
#include "postgres.h"

#include <zlib.h>

#include "audit/packed.h"
#include "base/compat.h"
#include "base/report.h"
#include "keys/keys.h"
#include "utils/builtins.h"
#include "utils/geo_decls.h"

#define VERSION			1
#define FULL_BYTES		(1024 * 1024)
#define BUCKETS			2048	/* of a table of at most DP_PACKED_MAX */
#define DEFLATE_LEVEL	1

StaticAssertDecl(BUCKETS >= 2 * DP_PACKED_MAX, "there is always an empty bucket");

/* Byte strings, each kept once. */
typedef struct Table
{
	StringInfoData bytes;
	int			n;
	int			start[DP_PACKED_MAX + 1];
	int			bucket[BUCKETS];	/* 0: empty, else 1 + number */
} Table;

struct DpPacking
{
	int			n;
	Table		shapes;
	Table		sessions;
	Table		sealed;
	StringInfoData records;
	StringInfoData scratch;
	TimestampTz last_at;
	uint64		last_ring_seq;
	TimestampTz at_from;
	TimestampTz at_to;
	uint64		ring_to;
	uint64		ref_from;		/* 0: none */
	uint64		ref_to;
	uint8		hints[DP_HINTS_LEN];
};

/* FNV-1a: the same on every machine. */
static uint64
hash(uint64 state, const uint8 *data, Size len)
{
	for (Size i = 0; i < len; i++)
		state = (state ^ data[i]) * UINT64CONST(0x100000001b3);
	return state;
}

#define HASH_START UINT64CONST(0xcbf29ce484222325)

static uint64
hint_hash(DpHint what, const void *data, Size len)
{
	uint8		tag = (uint8) what;
	uint64		h = hash(hash(HASH_START, &tag, 1), data, len);

	return h ^ h >> 32;
}

static void
hint_add(uint8 hints[DP_HINTS_LEN], DpHint what, const void *data, Size len)
{
	uint64		h = hint_hash(what, data, len);

	for (int i = 0; i < 3; i++)
		hints[h >> (9 * i + 3) & 63] |= (uint8) (1 << (h >> (9 * i) & 7));
}

bool
dp_hint_has(const uint8 *hints, DpHint what, const void *data, Size len)
{
	uint64		h = hint_hash(what, data, len);

	for (int i = 0; i < 3; i++)
		if ((hints[h >> (9 * i + 3) & 63] & 1 << (h >> (9 * i) & 7)) == 0)
			return false;
	return true;
}

static void
event_bytes(uint8 kind, int16 event, uint8 out[3])
{
	out[0] = kind;
	out[1] = (uint8) event;
	out[2] = (uint8) ((uint16) event >> 8);
}

static void
hint_add_event(uint8 hints[DP_HINTS_LEN], uint8 kind, int16 event)
{
	uint8		bytes[3];

	event_bytes(kind, event, bytes);
	hint_add(hints, DP_HINT_EVENT, bytes, sizeof(bytes));
}

bool
dp_hint_has_event(const uint8 *hints, uint8 kind, int16 event)
{
	uint8		bytes[3];

	event_bytes(kind, event, bytes);
	return dp_hint_has(hints, DP_HINT_EVENT, bytes, sizeof(bytes));
}

static int
table_add(Table *table, const void *data, int len)
{
	uint64		h = hash(HASH_START, data, len);
	int			i = (int) ((h ^ h >> 32) % BUCKETS);

	for (; table->bucket[i] != 0; i = (i + 1) % BUCKETS)
	{
		int			n = table->bucket[i] - 1;

		if (table->start[n + 1] - table->start[n] == len &&
			memcmp(table->bytes.data + table->start[n], data, len) == 0)
			return n;
	}
	appendBinaryStringInfo(&table->bytes, data, len);
	table->start[table->n + 1] = table->bytes.len;
	table->bucket[i] = ++table->n;
	return table->n - 1;
}

static void
put_byte(StringInfo out, uint8 byte)
{
	appendStringInfoCharMacro(out, (char) byte);
}

static void
put_number(StringInfo out, uint64 value)
{
	for (; value >= 0x80; value >>= 7)
		put_byte(out, (uint8) (value | 0x80));
	put_byte(out, (uint8) value);
}

static uint64
zigzag(int64 value)
{
	return ((uint64) value << 1) ^ (uint64) (value >> 63);
}

static void
put_slice(StringInfo out, DpSlice slice)
{
	put_number(out, slice.len);
	appendBinaryStringInfo(out, (const char *) slice.data, (int) slice.len);
}

DpPacking *
dp_packing_begin(void)
{
	DpPacking  *packing = palloc0(sizeof(DpPacking));

	initStringInfo(&packing->shapes.bytes);
	initStringInfo(&packing->sessions.bytes);
	initStringInfo(&packing->sealed.bytes);
	initStringInfo(&packing->records);
	initStringInfo(&packing->scratch);
	return packing;
}

static int
add_shape(DpPacking *packing, const DpPackedRecord *record)
{
	StringInfo	out = &packing->scratch;

	resetStringInfo(out);
	put_byte(out, record->kind);
	put_byte(out, record->outcome);
	put_byte(out, (uint8) record->event);
	put_byte(out, (uint8) ((uint16) record->event >> 8));
	put_slice(out, record->session_role);
	put_slice(out, record->role);
	put_number(out, record->n_columns);
	for (int i = 0; i < record->n_columns; i++)
		put_slice(out, record->columns[i]);
	put_number(out, record->n_keys);
	for (int i = 0; i < record->n_keys; i++)
		put_slice(out, record->keys[i].name);
	return table_add(&packing->shapes, out->data, out->len);
}

static void
add_hints(DpPacking *packing, const DpPackedRecord *record)
{
	hint_add_event(packing->hints, record->kind, record->event);
	hint_add(packing->hints, DP_HINT_ROLE, record->role.data, record->role.len);
	hint_add(packing->hints, DP_HINT_ROLE, record->session_role.data, record->session_role.len);
	for (int i = 0; i < record->n_keys; i++)
		hint_add(packing->hints, DP_HINT_KEY, record->keys[i].name.data, record->keys[i].name.len);
}

static void
widen(DpPacking *packing, const DpPackedRecord *record)
{
	packing->at_from = packing->n == 0 ? record->at : Min(packing->at_from, record->at);
	packing->at_to = packing->n == 0 ? record->at : Max(packing->at_to, record->at);
	packing->ring_to = Max(packing->ring_to, record->ring_seq);
	if (record->ref_seq == 0)
		return;
	packing->ref_from = packing->ref_from == 0 ? record->ref_seq : Min(packing->ref_from, record->ref_seq);
	packing->ref_to = Max(packing->ref_to, Max(record->ref_seq, record->ref_end));
}

void
dp_packing_add(DpPacking *packing, const DpPackedRecord *record)
{
	StringInfo	out = &packing->records;
	int			n_shapes = packing->shapes.n;
	int			shape = add_shape(packing, record);

	Assert(packing->n < DP_PACKED_MAX);
	if (packing->shapes.n > n_shapes)
		add_hints(packing, record);
	put_number(out, shape);
	put_number(out, zigzag(record->at - packing->last_at));
	put_number(out, zigzag((int64) (record->ring_seq - packing->last_ring_seq)));
	put_number(out, table_add(&packing->sessions, &record->session, sizeof(uint64)));
	put_number(out, record->ref_seq == 0 ? 0 : 1 + zigzag((int64) (record->ring_seq - record->ref_seq)));
	put_number(out, record->ref_end == 0 ? 0 : 1 + zigzag((int64) (record->ref_end - record->ref_seq)));
	for (int i = 0; i < record->n_keys; i++)
	{
		put_number(out, record->keys[i].opened);
		put_number(out, record->keys[i].compared);
	}
	put_number(out, record->sealed.len == 0 ? 0 :
			   1 + table_add(&packing->sealed, record->sealed.data, (int) record->sealed.len));
	widen(packing, record);
	packing->last_at = record->at;
	packing->last_ring_seq = record->ring_seq;
	packing->n++;
}

int
dp_packing_n(const DpPacking *packing)
{
	return packing->n;
}

bool
dp_packing_is_full(const DpPacking *packing)
{
	return packing->n >= DP_PACKED_MAX ||
		packing->sealed.bytes.len + packing->shapes.bytes.len + packing->records.len >= FULL_BYTES;
}

static void
put_table(StringInfo out, const Table *table, bool with_length)
{
	put_number(out, table->n);
	for (int i = 0; i < table->n; i++)
	{
		int			len = table->start[i + 1] - table->start[i];

		if (with_length)
			put_number(out, len);
		appendBinaryStringInfo(out, table->bytes.data + table->start[i], len);
	}
}

/* Append a block, deflated where that is shorter. */
static void
put_block(StringInfo out, const StringInfoData *block)
{
	uLongf		len = compressBound(block->len);
	uint32		plain_len = (uint32) block->len;
	int			at;

	enlargeStringInfo(out, (int) len + 16);
	at = out->len;
	put_byte(out, 1);
	for (int i = 0; i < 4; i++)
		put_byte(out, (uint8) (plain_len >> (8 * i)));
	if (compress2((Bytef *) out->data + out->len, &len, (const Bytef *) block->data, block->len, DEFLATE_LEVEL) != Z_OK)
		dp_report_no_memory("could not compress a batch of the audit log");
	if (len < (uLongf) block->len)
	{
		out->len += (int) len;
		out->data[out->len] = '\0';
		return;
	}
	out->data[at] = 0;
	appendBinaryStringInfo(out, block->data, block->len);
}

static Datum
bytes_datum(const char *data, Size len)
{
	bytea	   *bytes = palloc(VARHDRSZ + len);

	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), data, len);
	return PointerGetDatum(bytes);
}

/* The sealed column: its block under the audit key. */
static Datum
seal_parts(const DpPacking *packing)
{
	StringInfoData plain;
	StringInfoData block;
	bytea	   *sealed;

	initStringInfo(&plain);
	initStringInfo(&block);
	put_table(&plain, &packing->sealed, true);
	put_block(&block, &plain);
	if (!dp_keys_audit_seal((const uint8 *) block.data, block.len, &sealed))
		elog(ERROR, "audit log has no key");
	return PointerGetDatum(sealed);
}

void
dp_packing_end(DpPacking *packing, Datum *values, bool *nulls)
{
	StringInfoData plain;
	StringInfoData data;
	BOX		   *refs;

	initStringInfo(&plain);
	initStringInfo(&data);
	put_number(&plain, packing->n);
	put_table(&plain, &packing->shapes, true);
	put_table(&plain, &packing->sessions, false);
	appendBinaryStringInfo(&plain, packing->records.data, packing->records.len);
	put_byte(&data, VERSION);
	put_block(&data, &plain);
	values[DP_BATCH_AT_FROM] = TimestampTzGetDatum(packing->at_from);
	values[DP_BATCH_AT_TO] = TimestampTzGetDatum(packing->at_to);
	values[DP_BATCH_RING_TO] = Int64GetDatum((int64) packing->ring_to);
	nulls[DP_BATCH_REFS] = packing->ref_from == 0;
	if (packing->ref_from != 0)
	{
		refs = palloc0(sizeof(BOX));
		refs->low.x = (float8) packing->ref_from;
		refs->high.x = (float8) packing->ref_to;
		values[DP_BATCH_REFS] = BoxPGetDatum(refs);
	}
	values[DP_BATCH_HINTS] = bytes_datum((const char *) packing->hints, DP_HINTS_LEN);
	values[DP_BATCH_DATA] = bytes_datum(data.data, data.len);
	nulls[DP_BATCH_SEALED] = packing->sealed.n == 0;
	if (packing->sealed.n > 0)
		values[DP_BATCH_SEALED] = seal_parts(packing);
}
