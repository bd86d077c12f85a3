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
