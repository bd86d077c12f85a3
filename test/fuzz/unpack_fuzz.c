/*
 * unpack_fuzz.c
 *	  Batches of the audit log that somebody altered: reading stays inside, and what
 *	  was read refers to nothing that is not there.  An input is a batch as it is
 *	  stored, or (its first byte odd) what a block holds.
 */
#include "postgres.h"

#include "audit/packed.h"
#include "fuzz.h"

#define MAX_PIECES 100000

/* What the server's memory context is to the parser: all of it goes at the end. */
static void *pieces[MAX_PIECES];
static int	n_pieces = 0;

void *
palloc(Size size)
{
	must(n_pieces < MAX_PIECES);
	return pieces[n_pieces++] = exact(size);
}

void *
palloc0(Size size)
{
	return memset(palloc(size), 0, size);
}

void *
repalloc(void *old, Size size)
{
	for (int i = 0; i < n_pieces; i++)
		if (pieces[i] == old)
			return pieces[i] = realloc(old, size);
	abort();
}

static uint64
read_texts(DpSlice texts, int n)
{
	uint64		sum = 0;

	for (int i = 0; i < n; i++)
	{
		DpSlice		text = dp_unpack_text(&texts);

		sum += text.len > 0 ? text.data[0] + text.data[text.len - 1] : 1;
	}
	must(texts.len == 0);
	return sum;
}

static void
check_batch(const uint8_t *data, size_t size)
{
	bytea	   *batch = palloc(VARHDRSZ + size);
	DpUnpacked	read;
	uint64		sum = 0;

	SET_VARSIZE(batch, VARHDRSZ + size);
	memcpy(VARDATA(batch), data, size);
	if (!dp_unpack(batch, &read))
		return;
	for (int i = 0; i < read.n_shapes; i++)
		sum += read_texts(read.shapes[i].columns, read.shapes[i].n_columns) + read_texts(read.shapes[i].keys, read.shapes[i].n_keys);
	if (!dp_unpack_records(&read))
		return;
	must(read.n >= 1 && read.n <= DP_PACKED_MAX && read.n_refs <= read.n);
	for (int i = 0; i < read.n; i++)
	{
		const DpUnpackedRecord *record = &read.records[i];

		must(record->sealed >= -1 && record->sealed < DP_PACKED_MAX);
		for (int k = 0; k < 2 * read.shapes[record->shape].n_keys; k++)
			sum += read.counts[record->counts + k];
	}
	for (int i = 0; i < read.n_refs; i++)
		sum += read.records[read.refs[i]].ref_seq;
	must(sum != UINT64_C(0x5bd1e995deadbeef));	/* it was read */
}

static void
check_sealed(const uint8_t *data, size_t size)
{
	uint8_t    *copy = palloc(size);
	DpSlice    *parts;
	int			n;

	memcpy(copy, data, size);
	if (!dp_unpack_sealed(copy, size, &n, &parts))
		return;
	must(n >= 0 && n <= DP_PACKED_MAX);
	for (int i = 0; i < n; i++)
		must(parts[i].len == 0 || parts[i].data[parts[i].len - 1] <= 0xff);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t    *batch = exact(size + 8);
	size_t		len = size > 0 ? size - 1 : 0;

	if (size > 0 && (data[0] & 1) != 0)
	{
		/* version, then a block that is not deflated */
		const uint8_t head[] = {1, 0, (uint8_t) len, (uint8_t) (len >> 8), (uint8_t) (len >> 16), 0};

		memcpy(batch, head, sizeof(head));
		memcpy(batch + sizeof(head), data + 1, len);
		check_batch(batch, sizeof(head) + len);
		check_sealed(batch + 1, sizeof(head) - 1 + len);
	}
	else if (size > 0)
	{
		check_batch(data + 1, len);
		check_sealed(data + 1, len);
	}
	free(batch);
	while (n_pieces > 0)
		free(pieces[--n_pieces]);
	return 0;
}
