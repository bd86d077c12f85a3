/*
 * ttlv.c
 *	  Reading and writing KMIP's encoding; see ttlv.h.
 */
#include <string.h>

#include "kms/ttlv.h"

static uint32_t
read_number(const uint8_t *bytes, int n)
{
	uint32_t	number = 0;

	for (int i = 0; i < n; i++)
		number = number << 8 | bytes[i];
	return number;
}

static size_t
filled(size_t len)
{
	return (len + 7) / 8 * 8;
}

int64_t
dp_ttlv_size(const uint8_t *bytes, size_t len)
{
	if (len < DP_TTLV_HEADER)
		return -1;
	if (bytes[3] != DP_TTLV_STRUCTURE)
		return 0;
	return DP_TTLV_HEADER + (int64_t) filled(read_number(bytes + 4, 4));
}

bool
dp_ttlv_next(const uint8_t **cursor, const uint8_t *end, DpTtlvItem *out)
{
	const uint8_t *bytes = *cursor;
	size_t		room = end - bytes;

	if (room < DP_TTLV_HEADER)
		return false;
	room -= DP_TTLV_HEADER;
	out->tag = read_number(bytes, 3);
	out->type = bytes[3];
	out->len = read_number(bytes + 4, 4);
	out->value = bytes + DP_TTLV_HEADER;
	if (out->len > room || filled(out->len) > room)
		return false;
	if ((out->type == DP_TTLV_INTEGER || out->type == DP_TTLV_ENUMERATION) && out->len != 4)
		return false;
	*cursor = out->value + filled(out->len);
	return true;
}

static bool
is_well_formed(const DpTtlvItem *item, int depth)
{
	const uint8_t *cursor = item->value;
	const uint8_t *end = item->value + item->len;
	DpTtlvItem	within;

	if (item->type != DP_TTLV_STRUCTURE)
		return true;
	if (depth == DP_TTLV_DEPTH)
		return false;
	while (cursor < end)
	{
		if (!dp_ttlv_next(&cursor, end, &within) || !is_well_formed(&within, depth + 1))
			return false;
	}
	return true;
}

bool
dp_ttlv_read(const uint8_t *bytes, size_t len, DpTtlvItem *out)
{
	const uint8_t *cursor = bytes;

	return dp_ttlv_next(&cursor, bytes + len, out) && cursor == bytes + len && is_well_formed(out, 0);
}

bool
dp_ttlv_find(const DpTtlvItem *structure, uint32_t tag, DpTtlvItem *out)
{
	const uint8_t *cursor = structure->value;
	const uint8_t *end = structure->value + structure->len;

	if (structure->type != DP_TTLV_STRUCTURE)
		return false;
	while (cursor < end && dp_ttlv_next(&cursor, end, out))
	{
		if (out->tag == tag)
			return true;
	}
	return false;
}

bool
dp_ttlv_find_number(const DpTtlvItem *structure, uint32_t tag, DpTtlvType type, uint32_t *out)
{
	DpTtlvItem	item;

	if (!dp_ttlv_find(structure, tag, &item) || item.type != type || item.len != 4)
		return false;
	*out = read_number(item.value, 4);
	return true;
}

static void
write_number(uint8_t *bytes, uint32_t number, int n)
{
	for (int i = n - 1; i >= 0; i--)
	{
		bytes[i] = (uint8_t) number;
		number >>= 8;
	}
}

/* An item's header, and its value as zeros; NULL where there is no room. */
static uint8_t *
write_item(DpTtlvWriter *writer, uint32_t tag, DpTtlvType type, size_t len)
{
	uint8_t    *bytes = writer->data + writer->len;
	size_t		room = writer->room - writer->len;

	if (writer->full || len > room || DP_TTLV_HEADER + filled(len) > room)
	{
		writer->full = true;
		return NULL;
	}
	write_number(bytes, tag, 3);
	bytes[3] = (uint8_t) type;
	write_number(bytes + 4, (uint32_t) len, 4);
	memset(bytes + DP_TTLV_HEADER, 0, filled(len));
	writer->len += DP_TTLV_HEADER + filled(len);
	return bytes + DP_TTLV_HEADER;
}

void
dp_ttlv_begin(DpTtlvWriter *writer, uint32_t tag)
{
	size_t		start = writer->len;

	if (writer->depth == DP_TTLV_DEPTH)
		writer->full = true;
	else if (write_item(writer, tag, DP_TTLV_STRUCTURE, 0) != NULL)
		writer->open[writer->depth++] = start;
}

void
dp_ttlv_end(DpTtlvWriter *writer)
{
	size_t		start;

	if (writer->full || writer->depth == 0)
		return;
	start = writer->open[--writer->depth];
	write_number(writer->data + start + 4, (uint32_t) (writer->len - start - DP_TTLV_HEADER), 4);
}

void
dp_ttlv_number(DpTtlvWriter *writer, uint32_t tag, DpTtlvType type, uint32_t value)
{
	uint8_t    *bytes = write_item(writer, tag, type, 4);

	if (bytes != NULL)
		write_number(bytes, value, 4);
}

void
dp_ttlv_bytes(DpTtlvWriter *writer, uint32_t tag, DpTtlvType type, const void *value, size_t len)
{
	uint8_t    *bytes = write_item(writer, tag, type, len);

	if (bytes != NULL && len > 0)
		memcpy(bytes, value, len);
}
