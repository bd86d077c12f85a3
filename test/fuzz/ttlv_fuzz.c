/*
 * ttlv_fuzz.c
 *	  Messages of a hostile KMIP server: reading stays inside them, and what was read
 *	  as well formed reads the same after it was written again.
 */
#include <string.h>

#include "kms/ttlv.h"

#include "fuzz.h"

static void
write_again(DpTtlvWriter *writer, const DpTtlvItem *item)
{
	const uint8_t *cursor;
	DpTtlvItem	within;

	if (item->type != DP_TTLV_STRUCTURE)
	{
		dp_ttlv_bytes(writer, item->tag, (DpTtlvType) item->type, item->value, item->len);
		return;
	}
	dp_ttlv_begin(writer, item->tag);
	for (cursor = item->value; cursor < item->value + item->len;)
	{
		int64_t		size;
		uint8_t		header[DP_TTLV_HEADER];

		/* The size of any item, by that of a structure of its length. */
		memcpy(header, cursor, sizeof(header));
		header[3] = DP_TTLV_STRUCTURE;
		size = dp_ttlv_size(header, sizeof(header));
		must(size >= DP_TTLV_HEADER && size <= item->value + item->len - cursor);
		must(dp_ttlv_read(cursor, (size_t) size, &within));
		write_again(writer, &within);
		cursor += size;
	}
	dp_ttlv_end(writer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t    *bytes = exact(size);
	DpTtlvItem	item;
	DpTtlvItem	found;
	uint32_t	number;

	memcpy(bytes, data, size);
	if (dp_ttlv_read(bytes, size, &item))
	{
		DpTtlvWriter writer = {.data = exact(size),.room = size};

		must(item.value == bytes + DP_TTLV_HEADER && item.len <= size - DP_TTLV_HEADER);
		if (item.type == DP_TTLV_STRUCTURE)
			must(dp_ttlv_size(bytes, size) == (int64_t) size);
		if (dp_ttlv_find(&item, 0x42000F, &found))
		{
			must(found.tag == 0x42000F && found.value > bytes && found.value + found.len <= bytes + size);
			(void) dp_ttlv_find_number(&found, 0x42007F, DP_TTLV_ENUMERATION, &number);
		}
		write_again(&writer, &item);
		must(!writer.full && writer.len == size && writer.depth == 0);
		/* Headers alike; what items are filled up with may have been anything. */
		must(memcmp(writer.data, bytes, DP_TTLV_HEADER) == 0);
		must(dp_ttlv_read(writer.data, writer.len, &found) && found.len == item.len);
		free(writer.data);
	}
	free(bytes);
	return 0;
}
