/*
 * open_memo.c
 *	  The values that one sort has opened last; see open_memo.h.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/secret.h"
#include "types/open_memo.h"
#include "utils/memutils.h"

#define N_FIRST			64		/* entries of a small sort; powers of two */
#define N_MAX			4096
#define ENVELOPE_MAX	128		/* longer values are opened each time */

typedef struct Entry
{
	Size		len;			/* of the envelope; 0: free */
	int32		family;
	bool		literal;
	Datum		plain;
	uint8		envelope[ENVELOPE_MAX];
} Entry;

struct DpOpenMemo
{
	const DpTypeInfo *info;
	MemoryContext context;
	MemoryContextCallback at_end;
	uint64		generation;		/* of keys, when the entries were opened */
	uint64		changes;
	uint32		n_entries;		/* 0 until something is kept */
	uint32		n_kept;			/* since they were made */
	Entry	   *entries;
};

static void
clear_entry(const DpOpenMemo *opened, Entry *entry)
{
	if (entry->len == 0)
		return;
	dp_value_dispose(opened->info, entry->plain);
	dp_secret_wipe(&entry->plain, sizeof(entry->plain));
	entry->len = 0;
}

static void
forget_all(DpOpenMemo *opened)
{
	uint32		i;

	for (i = 0; i < opened->n_entries; i++)
		clear_entry(opened, &opened->entries[i]);
}

static void
end_sort(void *arg)
{
	forget_all(arg);
}

DpOpenMemo *
dp_open_memo_create(const DpTypeInfo *info, MemoryContext context)
{
	DpOpenMemo   *opened = MemoryContextAllocZero(context, sizeof(DpOpenMemo));

	opened->info = info;
	opened->context = context;
	opened->at_end.func = end_sort;
	opened->at_end.arg = opened;
	MemoryContextRegisterResetCallback(context, &opened->at_end);
	return opened;
}

MemoryContext
dp_open_memo_context(const DpOpenMemo *opened)
{
	return opened->context;
}

/* By the end of the envelope, its tag: as good as random. */
static inline Entry *
entry_for(const DpOpenMemo *opened, const uint8 *envelope, Size len)
{
	uint32		number;

	memcpy(&number, envelope + len - sizeof(number), sizeof(number));
	return &opened->entries[number & (opened->n_entries - 1)];
}

/* What is kept moves to its new place; by value that leaves a copy to wipe. */
static void
make_room(DpOpenMemo *opened)
{
	Entry	   *old_entries = opened->entries;
	uint32		n_old = opened->n_entries;
	uint32		i;

	opened->n_entries = n_old == 0 ? N_FIRST : n_old * 4;
	opened->entries = MemoryContextAllocZero(opened->context, sizeof(Entry) * opened->n_entries);
	opened->n_kept = 0;
	for (i = 0; i < n_old; i++)
	{
		Entry	   *from = &old_entries[i];

		if (from->len > 0)
			*entry_for(opened, from->envelope, from->len) = *from;
		dp_secret_wipe(&from->plain, sizeof(from->plain));
	}
	if (old_entries != NULL)
		pfree(old_entries);
}

bool
dp_open_memo_find(DpOpenMemo *opened, const struct varlena *datum, DpValue *value, Datum *plain)
{
	const uint8 *envelope = (const uint8 *) VARDATA_ANY(datum);
	Size		len = VARSIZE_ANY_EXHDR(datum);
	const Entry *entry;

	if (unlikely(opened->generation != dp_keys_generation() ||
				 opened->changes != dp_keys_local_changes()))
	{
		forget_all(opened);
		opened->generation = dp_keys_generation();
		opened->changes = dp_keys_local_changes();
	}
	if (opened->n_entries == 0 || len < DP_ENV_OVERHEAD)
		return false;
	entry = entry_for(opened, envelope, len);
	if (entry->len != len || memcmp(entry->envelope, envelope, len) != 0)
		return false;
	value->datum = datum;
	value->family = entry->family;
	value->literal = entry->literal;
	*plain = entry->plain;
	return true;
}

bool
dp_open_memo_keep(DpOpenMemo *opened, const DpValue *value, Datum plain)
{
	const uint8 *envelope = value->env.header;
	Size		len = VARSIZE_ANY_EXHDR(value->datum);
	Entry	   *entry;

	/* Opened before keys changed: it may not be readable any more. */
	if (opened->generation != dp_keys_generation() || opened->changes != dp_keys_local_changes())
		return false;
	if (len > ENVELOPE_MAX)
		return false;
	if (opened->n_kept >= opened->n_entries && opened->n_entries < N_MAX)
		make_room(opened);
	entry = entry_for(opened, envelope, len);
	clear_entry(opened, entry);
	opened->n_kept++;
	entry->len = len;
	entry->family = value->family;
	entry->literal = value->literal;
	entry->plain = plain;
	memcpy(entry->envelope, envelope, len);
	return true;
}
