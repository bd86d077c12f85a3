/*
 * unpack.c
 *	  Reading the records of a batch; see packed.h.
 *
 * A batch may have been altered: nothing is read outside it, and no number in it
 * decides about memory before it was found to be possible.
 */
#include "postgres.h"

#include <zlib.h>

#include "audit/packed.h"
#include "base/compat.h"

#define VERSION		1
#define MAX_PLAIN	(64 * 1024 * 1024)
#define MAX_TEXTS	(2 * DP_RECORD_MAX_COLUMNS)

typedef struct Reader
{
	const uint8 *at;
	const uint8 *end;
	bool		failed;
} Reader;

static uint64
get_number(Reader *in)
{
	uint64		value = 0;

	for (int shift = 0; shift < 64; shift += 7)
	{
		if (in->at >= in->end)
			break;
		value |= (uint64) (*in->at & 0x7f) << shift;
		if ((*in->at++ & 0x80) == 0)
			return value;
	}
	in->failed = true;
	return 0;
}

static int64
get_signed(Reader *in)
{
	uint64		value = get_number(in);

	return (int64) (value >> 1) ^ -(int64) (value & 1);
}

/* A number below a bound; -1 after a failure. */
static int
get_index(Reader *in, uint64 bound)
{
	uint64		value = get_number(in);

	if (value >= bound)
		in->failed = true;
	return in->failed ? -1 : (int) value;
}

static DpSlice
get_bytes(Reader *in, uint64 len)
{
	DpSlice		slice = {in->at, (size_t) len};

	if (in->failed || len > (uint64) (in->end - in->at))
	{
		in->failed = true;
		slice.len = 0;
		return slice;
	}
	in->at += len;
	return slice;
}

static DpSlice
get_slice(Reader *in)
{
	return get_bytes(in, get_number(in));
}

/* The bytes of a block, which is all that is left of in; in may read them in place. */
static bool
open_block(Reader *in)
{
	DpSlice		head = get_bytes(in, 5);
	uLongf		len = 0;
	uint8	   *plain;

	if (in->failed)
		return false;
	for (int i = 0; i < 4; i++)
		len |= (uLongf) head.data[1 + i] << (8 * i);
	if (head.data[0] == 0)
		return len == (uLongf) (in->end - in->at);
	if (head.data[0] != 1 || len > MAX_PLAIN)
		return false;
	plain = palloc(len + 1);
	if (uncompress(plain, &len, in->at, (uLong) (in->end - in->at)) != Z_OK)
		return false;
	in->at = plain;
	in->end = plain + len;
	return true;
}

/* Go over n texts, and say where they are. */
static DpSlice
get_texts(Reader *in, int *out_n)
{
	DpSlice		texts = {in->at, 0};
	int			n = get_index(in, MAX_TEXTS + 1);

	texts.data = in->at;
	for (int i = 0; i < n; i++)
		(void) get_slice(in);
	*out_n = in->failed ? 0 : n;
	texts.len = in->failed ? 0 : (size_t) (in->at - texts.data);
	return texts;
}

DpSlice
dp_unpack_text(DpSlice *texts)
{
	Reader		in = {texts->data, texts->data + texts->len, false};
	DpSlice		text = get_slice(&in);

	texts->data = in.at;
	texts->len = (size_t) (in.end - in.at);
	return text;
}

static void
get_shape(Reader *in, DpShape *out)
{
	Reader		shape = {0};
	DpSlice		slice = get_slice(in);
	DpSlice		head;

	shape.at = slice.data;
	shape.end = slice.data + slice.len;
	shape.failed = in->failed;
	head = get_bytes(&shape, 4);
	if (!shape.failed)
	{
		out->kind = head.data[0];
		out->outcome = head.data[1];
		out->event = (int16) (head.data[2] | head.data[3] << 8);
	}
	out->session_role = get_slice(&shape);
	out->role = get_slice(&shape);
	out->columns = get_texts(&shape, &out->n_columns);
	out->keys = get_texts(&shape, &out->n_keys);
	in->failed |= shape.failed;
}

static void
get_record(Reader *in, DpUnpacked *out, const DpSlice *sessions, int *n_counts, int *max_counts, int i)
{
	DpUnpackedRecord *record = &out->records[i];
	const DpUnpackedRecord *before = i > 0 ? record - 1 : NULL;
	int			shape = get_index(in, out->n_shapes);
	int			session;
	uint64		ref;
	int			n;

	record->shape = Max(shape, 0);
	record->at = (TimestampTz) ((uint64) get_signed(in) + (before ? (uint64) before->at : 0));
	record->ring_seq = (uint64) get_signed(in) + (before ? before->ring_seq : 0);
	session = get_index(in, sessions[0].len / sizeof(uint64));
	if (session >= 0)
		memcpy(&record->session, sessions[0].data + session * sizeof(uint64), sizeof(uint64));
	ref = get_number(in);
	if (ref > 0)
		record->ref_seq = record->ring_seq - (uint64) ((int64) ((ref - 1) >> 1) ^ -(int64) ((ref - 1) & 1));
	ref = get_number(in);
	if (ref > 0)
		record->ref_end = record->ref_seq + (uint64) ((int64) ((ref - 1) >> 1) ^ -(int64) ((ref - 1) & 1));
	n = in->failed ? 0 : out->shapes[record->shape].n_keys;
	if (*n_counts + 2 * n > *max_counts)
	{
		*max_counts = 2 * (*max_counts + 2 * n);
		out->counts = repalloc(out->counts, sizeof(uint64) * *max_counts);
	}
	record->counts = *n_counts;
	for (int k = 0; k < 2 * n; k++)
		out->counts[(*n_counts)++] = get_number(in);
	record->sealed = get_index(in, DP_PACKED_MAX + 1) - 1;
}

static int
compare_refs(const void *a, const void *b, void *arg)
{
	const DpUnpackedRecord *records = arg;
	const DpUnpackedRecord *x = &records[*(const int *) a];
	const DpUnpackedRecord *y = &records[*(const int *) b];

	if (x->session != y->session)
		return x->session < y->session ? -1 : 1;
	if (x->ref_seq != y->ref_seq)
		return x->ref_seq < y->ref_seq ? -1 : 1;
	if (x->ref_end != y->ref_end)
		return x->ref_end > y->ref_end ? -1 : 1;
	return *(const int *) a - *(const int *) b;
}

static void
sort_refs(DpUnpacked *out)
{
	out->refs = palloc(sizeof(int) * out->n);
	out->n_refs = 0;
	for (int i = 0; i < out->n; i++)
		if (out->records[i].ref_seq != 0)
			out->refs[out->n_refs++] = i;
	qsort_arg(out->refs, out->n_refs, sizeof(int), compare_refs, out->records);
}

bool
dp_unpack(bytea *data, DpUnpacked *out)
{
	Reader		in = {(const uint8 *) VARDATA_ANY(data), (const uint8 *) VARDATA_ANY(data) + VARSIZE_ANY_EXHDR(data), false};
	DpSlice		version = get_bytes(&in, 1);

	memset(out, 0, sizeof(*out));
	if (in.failed || version.data[0] != VERSION || !open_block(&in))
		return false;
	out->n = get_index(&in, DP_PACKED_MAX + 1);
	out->n_shapes = get_index(&in, DP_PACKED_MAX + 1);
	if (in.failed || out->n < 1 || out->n_shapes < 1)
		return false;
	out->shapes = palloc0(sizeof(DpShape) * out->n_shapes);
	for (int i = 0; i < out->n_shapes && !in.failed; i++)
		get_shape(&in, &out->shapes[i]);
	out->rest.data = in.at;
	out->rest.len = (size_t) (in.end - in.at);
	return !in.failed;
}

bool
dp_unpack_records(DpUnpacked *batch)
{
	Reader		in = {batch->rest.data, batch->rest.data + batch->rest.len, false};
	int			n_sessions = get_index(&in, DP_PACKED_MAX + 1);
	DpSlice		sessions = get_bytes(&in, (uint64) Max(n_sessions, 0) * sizeof(uint64));
	int			n_counts = 0;
	int			max_counts = 2 * DP_PACKED_MAX;
	DpUnpacked	read = *batch;

	read.records = palloc0(sizeof(DpUnpackedRecord) * read.n);
	read.counts = palloc(sizeof(uint64) * max_counts);
	for (int i = 0; i < read.n && !in.failed; i++)
		get_record(&in, &read, &sessions, &n_counts, &max_counts, i);
	if (in.failed || in.at != in.end)
		return false;
	sort_refs(&read);
	/* all of it or nothing: a batch whose reading an error has ended is kept */
	*batch = read;
	return true;
}

bool
dp_unpack_sealed(const uint8 *data, Size len, int *out_n, DpSlice **out)
{
	Reader		in = {data, data + len, false};
	int			n;

	if (!open_block(&in))
		return false;
	n = get_index(&in, DP_PACKED_MAX + 1);
	if (n < 0)
		return false;
	*out = palloc0(sizeof(DpSlice) * (n + 1));
	for (int i = 0; i < n && !in.failed; i++)
		(*out)[i] = get_slice(&in);
	*out_n = n;
	return !in.failed && in.at == in.end;
}
