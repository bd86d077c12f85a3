/*
 * open_memo.c
 *	  The values that a statement's frame has opened; see open_memo.h.
 *
 * Entries lie in a table of pointers, in the bucket that the first bytes of their
 * nonce name, which are random.  The table grows where a bucket is full; as large
 * as it may be, a new entry takes the place of one in its bucket.  An entry that is
 * not in the table (just opened, or replaced while held) is freed
 * by its last holder.  Memory of a frame's memo is the memo's own context, which
 * the next frame takes over, emptied.
 *
 * Entries of short envelopes are of one size and used again.  A long envelope's
 * copy has its own allocation; together the long ones take a quarter of work_mem
 * at most: where another would exceed it, all of them leave.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/secret.h"
#include "base/statement.h"
#include "miscadmin.h"
#include "types/open_memo.h"
#include "utils/memutils.h"

#define SHORT_MAX		128		/* bytes of an envelope that lies in its entry */
#define ENVELOPE_MAX	8192	/* longer values are opened each time */
#define WAYS			8		/* entries of a bucket */
#define N_FIRST			64		/* powers of two */
#define N_MAX			1048576
#define N_BRIEF			1024	/* those that stay briefly make no larger table */
#define BYTES_AN_ENTRY	512		/* entry, plaintext and memory's overhead, at most */
#define NONCE_AT		9		/* in an envelope: behind flags and key id */
#define BYTES_A_TUPLE	96		/* of a sort, at least: the envelope, headers, and what a
								 * SortTuple takes */

/*
 * The tag tells most other values apart without a look at their entries, and the
 * number where they belong.
 */
typedef struct Slot
{
	DpMemoEntry *entry;			/* NULL: free */
	uint32		tag;
	uint32		number;
} Slot;

/* What a sort keeps by number. */
typedef struct DpMemoRing
{
	struct DpMemoRing *newer;
	struct DpMemoRing *older;
	uint32		size;
	DpMemoKept	kept[FLEXIBLE_ARRAY_MEMBER];
} DpMemoRing;

typedef struct DpOpenMemo
{
	MemoryContext context;
	uint64		generation;		/* of keys, when the entries were opened */
	uint64		changes;
	uint64		round;			/* counts the times that everything was forgotten */
	uint64		life;			/* no two memos, nor two uses of one, have the same */
	uint32		n_slots;		/* WAYS a bucket; 0 until something is remembered */
	uint32		n_found;		/* entries in the table */
	uint32		victim;			/* way of a full bucket that goes next */
	Size		long_bytes;		/* of entries in the table with long envelopes */
	Slot	   *slots;
	DpMemoEntry *in_use;		/* newest first */
	DpMemoEntry *unused;
	DpMemoRing *rings;			/* newest first */
} DpOpenMemo;

/* Emptied, for the next frame that needs one. */
static DpOpenMemo *spare = NULL;
static uint64 lives = 0;

static void
follow_keys(DpOpenMemo *memo)
{
	memo->generation = dp_keys_generation();
	memo->changes = dp_keys_local_changes();
}

static inline bool
keys_changed(const DpOpenMemo *memo)
{
	return memo->generation != dp_keys_generation() || memo->changes != dp_keys_local_changes();
}

static DpOpenMemo *
memo_of_frame(void)
{
	DpOpenMemo *memo = dp_frame->memo;

	if (likely(memo != NULL))
		return memo;
	if (spare != NULL)
	{
		memo = spare;
		spare = NULL;
	}
	else
	{
		memo = MemoryContextAllocZero(TopMemoryContext, sizeof(DpOpenMemo));
		memo->context = AllocSetContextCreate(TopMemoryContext, "dataprotect opened values",
											  ALLOCSET_SMALL_SIZES);
	}
	follow_keys(memo);
	memo->life = ++lives;
	dp_frame->memo = memo;
	return memo;
}

/* Wipe an entry's plaintext, where it lies and in the entry. */
static void
wipe_entry(DpMemoEntry *entry)
{
	if (!entry->base_byval)
	{
		void	   *pointer = DatumGetPointer(entry->plain);

		dp_secret_wipe(pointer,
					   entry->base_len == -1 ? VARSIZE_ANY(pointer) : (Size) entry->base_len);
	}
	dp_secret_wipe(&entry->plain, sizeof(entry->plain));
}

static void
free_entry(DpMemoEntry *entry)
{
	DpOpenMemo *memo = entry->memo;
	void	   *pointer = entry->base_byval ? NULL : DatumGetPointer(entry->plain);

	wipe_entry(entry);
	if (pointer != NULL)
		pfree(pointer);
	if (entry->long_envelope != NULL)
		pfree(entry->long_envelope);
	if (entry->newer != NULL)
		entry->newer->older = entry->older;
	else
		memo->in_use = entry->older;
	if (entry->older != NULL)
		entry->older->newer = entry->newer;
	entry->older = memo->unused;
	memo->unused = entry;
}

/* What a long one takes: its envelope, and a plaintext of about that size. */
static inline Size
long_size(const DpMemoEntry *entry)
{
	return entry->len <= SHORT_MAX ? 0 : 2 * entry->len;
}

static void
leave_table(DpMemoEntry *entry)
{
	entry->is_found = false;
	entry->memo->n_found--;
	entry->memo->long_bytes -= long_size(entry);
	if (entry->holders == 0)
		free_entry(entry);
}

/* Entries whose envelopes are longer than so many bytes leave. */
static void
forget_longer(DpOpenMemo *memo, Size len)
{
	for (uint32 i = 0; i < memo->n_slots && memo->n_found > 0; i++)
	{
		DpMemoEntry *entry = memo->slots[i].entry;

		if (entry == NULL || entry->len <= len)
			continue;
		memo->slots[i].entry = NULL;
		leave_table(entry);
	}
}

static void
wipe_ring(DpMemoRing *ring)
{
	dp_secret_wipe(ring->kept, sizeof(DpMemoKept) * ring->size);
}

/* The frame ends: whoever held an entry is gone. */
static void
end_memo(DpOpenMemo *memo)
{
	for (DpMemoEntry *entry = memo->in_use; entry != NULL; entry = entry->older)
		wipe_entry(entry);
	for (DpMemoRing *ring = memo->rings; ring != NULL; ring = ring->older)
		wipe_ring(ring);
	MemoryContextReset(memo->context);
	if (spare != NULL)
	{
		MemoryContextDelete(memo->context);
		pfree(memo);
		return;
	}
	memo->n_slots = 0;
	memo->n_found = 0;
	memo->long_bytes = 0;
	memo->slots = NULL;
	memo->in_use = NULL;
	memo->unused = NULL;
	memo->rings = NULL;
	spare = memo;
}

static inline const uint8 *
envelope_of(const DpMemoEntry *entry)
{
	return entry->long_envelope != NULL ? entry->long_envelope : entry->envelope;
}

static inline uint32
number_of(const uint8 *envelope)
{
	uint32		number;

	memcpy(&number, envelope + NONCE_AT, sizeof(number));
	return number;
}

/* A bucket: WAYS slots. */
static inline Slot *
bucket_at(const DpOpenMemo *memo, uint32 number)
{
	return &memo->slots[(number & (memo->n_slots / WAYS - 1)) * WAYS];
}

static inline Slot *
bucket_for(const DpOpenMemo *memo, const uint8 *envelope)
{
	return bucket_at(memo, number_of(envelope));
}

static inline uint32
tag_of(const uint8 *envelope)
{
	uint32		tag;

	memcpy(&tag, envelope + NONCE_AT + sizeof(uint32), sizeof(tag));
	return tag;
}

static Slot *
free_slot(Slot *bucket)
{
	for (int way = 0; way < WAYS; way++)
		if (bucket[way].entry == NULL)
			return &bucket[way];
	return NULL;
}

static uint32
max_slots(void)
{
	uint32		n = N_FIRST;

	while (n < N_MAX && (Size) n * 2 * BYTES_AN_ENTRY <= (Size) work_mem * 1024 * 4)
		n *= 2;
	return n;
}

static void
make_room(DpOpenMemo *memo)
{
	Slot	   *old_slots = memo->slots;
	uint32		n_old = memo->n_slots;
	uint32		n_new = n_old == 0 ? N_FIRST : n_old * 2;

	/* Allocated first: where that fails, the old table stays. */
	memo->slots = MemoryContextAllocZero(memo->context, sizeof(Slot) * n_new);
	memo->n_slots = n_new;
	for (uint32 i = 0; i < n_old; i++)
	{
		/* Those of a new bucket were in one old bucket: there is room. */
		if (old_slots[i].entry != NULL)
			*free_slot(bucket_at(memo, old_slots[i].number)) = old_slots[i];
	}
	if (old_slots != NULL)
		pfree(old_slots);
}

/* A slot for an envelope, in a table of so many at most; the entry that is in its way goes. */
static Slot *
make_slot(DpOpenMemo *memo, const uint8 *envelope, uint32 most)
{
	Slot	   *slot = NULL;

	if (memo->n_slots == 0)
		make_room(memo);
	while ((slot = free_slot(bucket_for(memo, envelope))) == NULL && memo->n_slots < most)
		make_room(memo);
	if (slot == NULL)
	{
		slot = &bucket_for(memo, envelope)[memo->victim++ % WAYS];
		leave_table(slot->entry);
	}
	return slot;
}

void
dp_open_memo_follow(void)
{
	DpOpenMemo *memo = dp_frame->memo;

	if (memo != NULL && unlikely(keys_changed(memo)))
	{
		forget_longer(memo, 0);
		memo->round++;
		follow_keys(memo);
	}
}

DpMemoEntry *
dp_open_memo_find(const DpTypeInfo *info, const struct varlena *datum)
{
	DpOpenMemo *memo = dp_frame->memo;
	const uint8 *envelope = (const uint8 *) VARDATA_ANY(datum);
	Size		len = VARSIZE_ANY_EXHDR(datum);
	uint32		tag;
	Slot	   *bucket;
	DpMemoEntry *entry;

	if (memo == NULL || memo->n_found == 0 || len > ENVELOPE_MAX || len < DP_ENV_OVERHEAD)
		return NULL;
	bucket = bucket_for(memo, envelope);
	tag = tag_of(envelope);
	for (int way = 0; way < WAYS; way++)
	{
		entry = bucket[way].entry;
		if (entry != NULL && bucket[way].tag == tag && entry->len == len && entry->code == info->code &&
			memcmp(envelope_of(entry), envelope, len) == 0)
		{
			entry->holders++;
			return entry;
		}
	}
	return NULL;
}

/* So that new_entry() cannot fail between an opening and what wipes its plaintext. */
static void
need_entry(DpOpenMemo *memo)
{
	if (memo->unused == NULL)
	{
		memo->unused = MemoryContextAlloc(memo->context, offsetof(DpMemoEntry, envelope) + SHORT_MAX);
		memo->unused->older = NULL;
	}
}

static DpMemoEntry *
new_entry(DpOpenMemo *memo)
{
	DpMemoEntry *entry = memo->unused;

	memo->unused = entry->older;
	entry->memo = memo;
	entry->long_envelope = NULL;
	entry->is_found = false;
	entry->newer = NULL;
	entry->older = memo->in_use;
	if (memo->in_use != NULL)
		memo->in_use->newer = entry;
	memo->in_use = entry;
	return entry;
}

DpMemoEntry *
dp_open_memo_open(const DpTypeInfo *info, const DpValue *value, DpKeyUse use, bool in_comparator)
{
	DpOpenMemo *memo = memo_of_frame();
	MemoryContext old_context;
	DpMemoEntry *entry;
	DpKey		key;
	Datum		plain;

	if (dp_keys_get(value->env.key_id, use, in_comparator, &key) != DP_KEY_OK)
		return NULL;
	need_entry(memo);
	old_context = MemoryContextSwitchTo(memo->context);
	plain = dp_value_open_keyed(info, value, &key);
	MemoryContextSwitchTo(old_context);
	need_entry(memo);			/* for what was opened within: usually there */
	entry = new_entry(memo);
	entry->plain = plain;
	entry->base_byval = info->base_byval;
	entry->base_len = info->base_len;
	entry->family = value->family;
	entry->literal = value->literal;
	entry->holders = 1;
	entry->code = info->code;
	entry->len = VARSIZE_ANY_EXHDR(value->datum);
	entry->datum = value->datum;
	entry->round = memo->round;
	return entry;
}

/* Let others find an entry; false where it is not one to keep. */
static bool
enter_table(DpMemoEntry *entry, DpMemoStay stay)
{
	DpOpenMemo *memo = entry->memo;
	Slot	   *slot;

	/*
	 * Opened before keys changed: it may not be readable any more.  One that was replaced while
	 * it was held does not come back.
	 */
	if (entry->len > ENVELOPE_MAX || entry->datum == NULL || entry->round != memo->round ||
		keys_changed(memo))
		return false;
	if (entry->len <= SHORT_MAX)
		memcpy(entry->envelope, VARDATA_ANY(entry->datum), entry->len);
	else
	{
		Size		most = (Size) work_mem * 1024 / 4;

		if (long_size(entry) > most)
			return false;
		if (memo->long_bytes + long_size(entry) > most)
			forget_longer(memo, SHORT_MAX);
		entry->long_envelope = MemoryContextAlloc(memo->context, entry->len);
		memcpy(entry->long_envelope, VARDATA_ANY(entry->datum), entry->len);
	}
	entry->datum = NULL;
	slot = make_slot(memo, envelope_of(entry),
					 stay == DP_MEMO_STAY_BRIEFLY ? Min(N_BRIEF, max_slots()) : max_slots());
	slot->entry = entry;
	slot->tag = tag_of(envelope_of(entry));
	slot->number = number_of(envelope_of(entry));
	entry->is_found = true;
	memo->n_found++;
	memo->long_bytes += long_size(entry);
	return true;
}

void
dp_open_memo_remember(DpMemoEntry *entry)
{
	if (!entry->is_found)
		(void) enter_table(entry, DP_MEMO_STAY);
	entry->datum = NULL;
}

void
dp_open_memo_release(DpMemoEntry *entry, DpMemoStay stay)
{
	Assert(entry->holders > 0);
	if (--entry->holders > 0 || entry->is_found)
		return;
	if (stay == DP_MEMO_GO || !enter_table(entry, stay))
		free_entry(entry);
}

/*
 * The frame may be gone, by an error, and its memo with it: then nothing is left to
 * wipe.  Others of the frame may have followed a change of keys first.
 */
static inline bool
is_alive(const DpMemoKeep *keep)
{
	return keep->memo != NULL && dp_frame->memo == keep->memo && keep->memo->life == keep->life;
}

static inline Size
kept_size(const DpMemoEntry *entry)
{
	return sizeof(DpMemoEntry) + SHORT_MAX + 2 * MAXALIGN(entry->len);
}

static void
let_oldest_go(DpMemoKeep *keep)
{
	DpMemoEntry *oldest = keep->ring[keep->first++ & (keep->size - 1)].entry;

	keep->bytes -= kept_size(oldest);
	dp_open_memo_release(oldest, DP_MEMO_GO);
}

static void
free_ring(DpMemoKeep *keep)
{
	DpMemoRing *ring = keep->room;

	if (ring == NULL)
		return;
	wipe_ring(ring);
	if (ring->newer != NULL)
		ring->newer->older = ring->older;
	else
		keep->memo->rings = ring->older;
	if (ring->older != NULL)
		ring->older->newer = ring->newer;
	pfree(ring);
}

void
dp_open_memo_let_go(DpMemoKeep *keep)
{
	if (is_alive(keep))
	{
		while (keep->first < keep->next)
			let_oldest_go(keep);
		free_ring(keep);
	}
	keep->room = NULL;
	keep->ring = NULL;
	keep->size = 0;
	keep->first = keep->next = 0;
	keep->memo = NULL;
	keep->bytes = 0;
	keep->over = true;
}

bool
dp_open_memo_keeps(DpMemoKeep *keep)
{
	if (unlikely(!is_alive(keep)))
		return false;
	if (likely(keep->memo->round == keep->round && !keys_changed(keep->memo)))
		return true;
	dp_open_memo_let_go(keep);
	return false;
}

static inline bool
may_grow(const DpMemoKeep *keep)
{
	return keep->size == 0 || (Size) keep->size * BYTES_A_TUPLE < keep->memory;
}

/* Room for one more: a larger ring, or that of the oldest. */
static void
make_kept_room(DpMemoKeep *keep)
{
	DpOpenMemo *memo = keep->memo;
	uint32		size = keep->size == 0 ? N_FIRST : keep->size * 2;
	DpMemoRing *ring;

	if (keep->size > 0 && keep->next - keep->first < keep->size)
		return;
	if (!may_grow(keep))
	{
		let_oldest_go(keep);
		return;
	}
	ring = MemoryContextAllocHuge(memo->context, offsetof(DpMemoRing, kept) + sizeof(DpMemoKept) * size);
	ring->size = size;
	for (uint64 number = keep->first; number < keep->next; number++)
		ring->kept[number & (size - 1)] = keep->ring[number & (keep->size - 1)];
	free_ring(keep);
	ring->newer = NULL;
	ring->older = memo->rings;
	if (memo->rings != NULL)
		memo->rings->newer = ring;
	memo->rings = ring;
	keep->room = ring;
	keep->ring = ring->kept;
	keep->size = size;
}

bool
dp_open_memo_may_keep(DpMemoKeep *keep)
{
	if (unlikely(keep->memo == NULL && !keep->over))
	{
		dp_open_memo_follow();
		keep->memo = memo_of_frame();
		keep->life = keep->memo->life;
		keep->round = keep->memo->round;
		keep->first = keep->next = 1;
	}
	return !keep->over && dp_open_memo_keeps(keep);
}

bool
dp_open_memo_has_room(const DpMemoKeep *keep, const DpMemoEntry *entry)
{
	return keep->bytes + kept_size(entry) <= 3 * keep->memory &&
		(keep->next - keep->first < keep->size || may_grow(keep));
}

uint64
dp_open_memo_keep(DpMemoKeep *keep, DpMemoEntry *entry, Datum quick)
{
	DpMemoKept *kept;

	make_kept_room(keep);
	keep->bytes += kept_size(entry);
	kept = &keep->ring[keep->next++ & (keep->size - 1)];
	kept->entry = entry;
	kept->quick = quick;
	kept->plain = entry->plain;
	kept->family = entry->family;
	kept->literal = entry->literal;
	while (keep->bytes > 3 * keep->memory && keep->first + 1 < keep->next)
		let_oldest_go(keep);
	return keep->next - 1;
}

void
dp_open_memo_init(void)
{
	dp_statement_set_memo_release(end_memo);
}
