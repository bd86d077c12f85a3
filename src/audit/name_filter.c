/*
 * name_filter.c
 *	  Which names are in a batch of the log; see name_filter.h.
 */
#include "postgres.h"

#include "audit/name_filter.h"
#include "utils/memutils.h"

#define FIRST_SLOTS	64
#define PROBES		4
#define MIN_BYTES	8

/* FNV-1a, and a finalizer: each bit of the hash depends on each of the name. */
uint64
dp_name_hash(uint8 what, const void *data, Size len)
{
	const uint8 *bytes = data;
	uint64		h = (UINT64CONST(0xcbf29ce484222325) ^ what) * UINT64CONST(0x100000001b3);

	for (Size i = 0; i < len; i++)
		h = (h ^ bytes[i]) * UINT64CONST(0x100000001b3);
	h = (h ^ h >> 33) * UINT64CONST(0xff51afd7ed558ccd);
	h = (h ^ h >> 33) * UINT64CONST(0xc4ceb9fe1a85ec53);
	h ^= h >> 33;
	return h;
}

/* A slot that has the hash, or the empty one where it belongs. */
static uint64 *
find_slot(const DpNameSet *set, uint64 hash)
{
	int			i = (int) (hash & (uint64) (set->max - 1));

	while (set->slots[i] != 0 && set->slots[i] != hash)
		i = (i + 1) & (set->max - 1);
	return &set->slots[i];
}

static void
grow(DpNameSet *set)
{
	DpNameSet	old = *set;

	set->max = old.max > 0 ? 2 * old.max : FIRST_SLOTS;
	set->slots = palloc0(sizeof(uint64) * set->max);
	for (int i = 0; i < old.max; i++)
		if (old.slots[i] != 0)
			*find_slot(set, old.slots[i]) = old.slots[i];
	if (old.slots != NULL)
		pfree(old.slots);
}

void
dp_name_set_add(DpNameSet *set, uint64 hash)
{
	uint64	   *slot;

	hash = hash != 0 ? hash : 1;
	if (2 * set->n >= set->max)
		grow(set);
	slot = find_slot(set, hash);
	set->n += *slot == 0;
	*slot = hash;
}

Size
dp_name_set_size(const DpNameSet *set, int bits)
{
	return Max(MIN_BYTES, ((Size) set->n * bits + 7) / 8);
}

/* Places are multiplied into the range, so that it may have any size. */
static uint32
place(uint64 hash, int probe, Size len)
{
	uint32		h = (uint32) hash + (uint32) probe * ((uint32) (hash >> 32) | 1);

	return (uint32) (((uint64) h * (len * 8)) >> 32);
}

void
dp_name_set_write(const DpNameSet *set, uint8 *out, Size len)
{
	memset(out, 0, len);
	for (int i = 0; i < set->max; i++)
	{
		for (int probe = 0; set->slots[i] != 0 && probe < PROBES; probe++)
		{
			uint32		bit = place(set->slots[i], probe, len);

			out[bit / 8] |= (uint8) (1 << (bit % 8));
		}
	}
}

bool
dp_name_filter_has(const uint8 *filter, Size len, uint64 hash)
{
	hash = hash != 0 ? hash : 1;
	for (int probe = 0; probe < PROBES; probe++)
	{
		uint32		bit = place(hash, probe, len);

		if ((filter[bit / 8] & 1 << (bit % 8)) == 0)
			return false;
	}
	return true;
}
