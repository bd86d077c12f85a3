/*
 * subjects.c
 *	  Whose values a statement has opened; see subjects.h.
 */
#include "postgres.h"

#include "audit/subjects.h"

#define SLICE_BITS 11

StaticAssertDecl((1 << SLICE_BITS) == DP_SUBJECTS_BITS, "a slice of an id is the place of a bit");
StaticAssertDecl(DP_SUBJECTS_EXACT * 20 < DP_SUBJECTS_BITS / 4, "the filter is the longer text");

static void
set_bits(uint8 *filter, uint64 id)
{
	for (int i = 0; i < DP_SUBJECTS_SLICES; i++)
	{
		uint32		bit = (uint32) (id >> (i * SLICE_BITS)) % DP_SUBJECTS_BITS;

		filter[bit / 8] |= (uint8) (1 << (bit % 8));
	}
}

void
dp_subjects_add(DpSubjects *subjects, uint64 id)
{
	if (subjects->n > 0 && subjects->last == id)
		return;
	subjects->last = id;
	if (subjects->n > DP_SUBJECTS_EXACT)
	{
		set_bits(subjects->filter, id);
		return;
	}
	for (int i = 0; i < subjects->n; i++)
	{
		if (subjects->ids[i] == id)
			return;
	}
	if (subjects->n < DP_SUBJECTS_EXACT)
	{
		subjects->ids[subjects->n++] = id;
		return;
	}
	memset(subjects->filter, 0, sizeof(subjects->filter));
	for (int i = 0; i < DP_SUBJECTS_EXACT; i++)
		set_bits(subjects->filter, subjects->ids[i]);
	set_bits(subjects->filter, id);
	subjects->n = DP_SUBJECTS_EXACT + 1;
}

void
dp_subjects_merge(DpSubjects *into, const DpSubjects *from)
{
	if (from->n <= DP_SUBJECTS_EXACT)
	{
		for (int i = 0; i < from->n; i++)
			dp_subjects_add(into, from->ids[i]);
		return;
	}
	if (into->n <= DP_SUBJECTS_EXACT)
	{
		memset(into->filter, 0, sizeof(into->filter));
		for (int i = 0; i < into->n; i++)
			set_bits(into->filter, into->ids[i]);
		into->n = DP_SUBJECTS_EXACT + 1;
	}
	for (int i = 0; i < lengthof(into->filter); i++)
		into->filter[i] |= from->filter[i];
}

Size
dp_subjects_print(const DpSubjects *subjects, uint64 statement, char out[DP_SUBJECTS_TEXT])
{
	Size		len = (Size) snprintf(out, DP_SUBJECTS_TEXT, "{\"statement\": " UINT64_FORMAT ", ", statement);

	if (subjects->n > DP_SUBJECTS_EXACT)
	{
		len += (Size) snprintf(out + len, DP_SUBJECTS_TEXT - len, "\"filter\": \"");
		for (int i = 0; i < lengthof(subjects->filter); i++)
			len += (Size) snprintf(out + len, DP_SUBJECTS_TEXT - len, "%02x", subjects->filter[i]);
		return len + (Size) snprintf(out + len, DP_SUBJECTS_TEXT - len, "\"}");
	}
	len += (Size) snprintf(out + len, DP_SUBJECTS_TEXT - len, "\"ids\": [");
	for (int i = 0; i < subjects->n; i++)
		len += (Size) snprintf(out + len, DP_SUBJECTS_TEXT - len, "%s\"%08x%08x\"", i > 0 ? ", " : "",
							   (uint32) (subjects->ids[i] >> 32), (uint32) subjects->ids[i]);
	return len + (Size) snprintf(out + len, DP_SUBJECTS_TEXT - len, "]}");
}

/* Take text from the front of what is left; false where something else is there. */
static bool
take(DpSlice *left, const char *text)
{
	size_t		len = strlen(text);

	if (left->len < len || memcmp(left->data, text, len) != 0)
		return false;
	left->data += len;
	left->len -= len;
	return true;
}

static bool
take_number(DpSlice *left, uint64 *out)
{
	size_t		digits = 0;

	*out = 0;
	for (; left->len > 0 && *left->data >= '0' && *left->data <= '9' && digits < 20; digits++)
	{
		*out = *out * 10 + (uint64) (*left->data - '0');
		left->data++;
		left->len--;
	}
	return digits > 0;
}

static bool
take_hex(DpSlice *left, int digits, uint64 *out)
{
	*out = 0;
	for (int i = 0; i < digits; i++)
	{
		uint8		c = left->len > 0 ? *left->data : 0;

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
		*out = *out << 4 | (uint64) (c <= '9' ? c - '0' : c - 'a' + 10);
		left->data++;
		left->len--;
	}
	return true;
}

static bool
take_ids(DpSlice *left, DpSubjects *out)
{
	uint64		id;

	for (int i = 0; i < DP_SUBJECTS_EXACT; i++)
	{
		if (!take(left, i > 0 ? ", \"" : "\"") || !take_hex(left, 16, &id) || !take(left, "\""))
			return false;
		out->ids[out->n++] = id;
		if (take(left, "]}"))
			return true;
	}
	return false;
}

static bool
take_filter(DpSlice *left, DpSubjects *out)
{
	uint64		byte;

	out->n = DP_SUBJECTS_EXACT + 1;
	for (int i = 0; i < lengthof(out->filter); i++)
	{
		if (!take_hex(left, 2, &byte))
			return false;
		out->filter[i] = (uint8) byte;
	}
	return take(left, "\"}");
}

bool
dp_subjects_read(DpSlice detail, uint64 *statement, DpSubjects *out)
{
	DpSlice		left = detail;
	bool		read;

	dp_subjects_clear(out);
	if (!take(&left, "{\"statement\": ") || !take_number(&left, statement) || !take(&left, ", "))
		return false;
	if (take(&left, "\"ids\": ["))
		read = take_ids(&left, out);
	else
		read = take(&left, "\"filter\": \"") && take_filter(&left, out);
	return read && left.len == 0;
}

bool
dp_subjects_filter_has(const uint8 filter[DP_SUBJECTS_BITS / 8], uint64 id)
{
	for (int i = 0; i < DP_SUBJECTS_SLICES; i++)
	{
		uint32		bit = (uint32) (id >> (i * SLICE_BITS)) % DP_SUBJECTS_BITS;

		if ((filter[bit / 8] & 1 << (bit % 8)) == 0)
			return false;
	}
	return true;
}

bool
dp_subjects_has(const DpSubjects *subjects, uint64 id)
{
	if (subjects->n > DP_SUBJECTS_EXACT)
		return dp_subjects_filter_has(subjects->filter, id);
	for (int i = 0; i < subjects->n; i++)
		if (subjects->ids[i] == id)
			return true;
	return false;
}
