/*
 * packed.c
 *	  Packing the records of a batch; see packed.h.
 */
#include "postgres.h"

#include <zlib.h>

#include "audit/name_filter.h"
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
#define NAME_BITS		12		/* of hints, a name */
#define SUBJECT_BITS	16
#define MAX_HINTS		1024	/* bytes: they stay in their row */

StaticAssertDecl(BUCKETS >= 2 * DP_PACKED_MAX, "there is always an empty bucket");

/* Forms of what lies in subjects (packed.h). */
enum
{
	SUBJECTS_EXACT = 0,
	SUBJECTS_ANY = 1,
	SUBJECTS_BITS = 2
};

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
	DpNameSet	names;			/* hashes of what hints are of */
	DpNameSet	subjects;		/* of ids */
	bool		has_subjects;
	uint8		subjects_form;
	uint8		subject_bits[DP_SUBJECTS_BITS / 8]; /* of those that opened too many */
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

uint64
dp_hint_hash(DpHint what, const void *data, Size len)
{
	return dp_name_hash((uint8) what, data, len);
}

uint64
dp_hint_hash_event(uint8 kind, int16 event)
{
	uint8		bytes[3] = {kind, (uint8) event, (uint8) ((uint16) event >> 8)};

	return dp_name_hash(DP_HINT_EVENT, bytes, sizeof(bytes));
}

uint64
dp_hint_hash_outcome(uint8 kind, uint8 outcome)
{
	uint8		bytes[2] = {kind, outcome};

	return dp_name_hash(DP_HINT_OUTCOME, bytes, sizeof(bytes));
}

static uint64
subject_hash(uint64 id)
{
	uint8		bytes[8];

	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8) (id >> (8 * i));
	return dp_name_hash('s', bytes, sizeof(bytes));
}

bool
dp_packed_has_subject(const uint8 *subjects, Size len, const uint64 *ids, int n)
{
	Size		head = 1 + (len > 0 && subjects[0] == SUBJECTS_BITS ? DP_SUBJECTS_BITS / 8 : 0);

	if (len <= head || subjects[0] == SUBJECTS_ANY)
		return true;
	for (int i = 0; i < n; i++)
		if ((head > 1 && dp_subjects_filter_has(subjects + 1, ids[i])) ||
			dp_name_filter_has(subjects + head, len - head, subject_hash(ids[i])))
			return true;
	return false;
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
add_names(DpPacking *packing, const DpPackedRecord *record)
{
	DpNameSet  *names = &packing->names;

	dp_name_set_add(names, dp_hint_hash_event(record->kind, record->event));
	dp_name_set_add(names, dp_hint_hash_outcome(record->kind, record->outcome));
	dp_name_set_add(names, dp_hint_hash(DP_HINT_ROLE, record->role.data, record->role.len));
	dp_name_set_add(names, dp_hint_hash(DP_HINT_ROLE, record->session_role.data, record->session_role.len));
	for (int i = 0; i < record->n_keys; i++)
		dp_name_set_add(names, dp_hint_hash(DP_HINT_KEY, record->keys[i].name.data, record->keys[i].name.len));
}

/* Whose values a statement opened. */
static void
add_subjects(DpPacking *packing, const DpSubjects *subjects)
{
	packing->has_subjects = true;
	if (subjects == NULL)
		packing->subjects_form = SUBJECTS_ANY;
	else if (subjects->n > DP_SUBJECTS_EXACT)
	{
		packing->subjects_form = packing->subjects_form == SUBJECTS_ANY ? SUBJECTS_ANY : SUBJECTS_BITS;
		for (int i = 0; i < lengthof(subjects->filter); i++)
			packing->subject_bits[i] |= subjects->filter[i];
	}
	else
		for (int i = 0; i < subjects->n; i++)
			dp_name_set_add(&packing->subjects, subject_hash(subjects->ids[i]));
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
		add_names(packing, record);
	if (record->has_subjects)
		add_subjects(packing, record->subjects);
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

static Datum
seal(const char *data, int len)
{
	bytea	   *sealed;

	if (!dp_keys_audit_seal((const uint8 *) data, len, &sealed))
		elog(ERROR, "audit log has no key");
	return PointerGetDatum(sealed);
}

/* The sealed column: its block under the audit key. */
static Datum
seal_parts(const DpPacking *packing)
{
	StringInfoData plain;
	StringInfoData block;

	initStringInfo(&plain);
	initStringInfo(&block);
	put_table(&plain, &packing->sealed, true);
	put_block(&block, &plain);
	return seal(block.data, block.len);
}

static Datum
seal_subjects(const DpPacking *packing)
{
	Size		head = 1 + (packing->subjects_form == SUBJECTS_BITS ? sizeof(packing->subject_bits) : 0);
	Size		len = dp_name_set_size(&packing->subjects, SUBJECT_BITS);
	uint8	   *bytes = palloc(head + len);

	bytes[0] = packing->subjects_form;
	memcpy(bytes + 1, packing->subject_bits, head - 1);
	dp_name_set_write(&packing->subjects, bytes + head, len);
	return seal((const char *) bytes, (int) (head + len));
}

static Datum
hints_datum(const DpPacking *packing)
{
	Size		len = Min(dp_name_set_size(&packing->names, NAME_BITS), MAX_HINTS);
	bytea	   *bytes;

	len += len == DP_HINTS_OLD;
	bytes = palloc(VARHDRSZ + len);
	SET_VARSIZE(bytes, VARHDRSZ + len);
	dp_name_set_write(&packing->names, (uint8 *) VARDATA(bytes), len);
	return PointerGetDatum(bytes);
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
	values[DP_BATCH_HINTS] = hints_datum(packing);
	values[DP_BATCH_DATA] = bytes_datum(data.data, data.len);
	nulls[DP_BATCH_SEALED] = packing->sealed.n == 0;
	if (packing->sealed.n > 0)
		values[DP_BATCH_SEALED] = seal_parts(packing);
	nulls[DP_BATCH_SUBJECTS] = !packing->has_subjects;
	if (packing->has_subjects)
		values[DP_BATCH_SUBJECTS] = seal_subjects(packing);
}
