/*
 * open_memo.h
 *	  The values that a statement's frame has opened: sorts, index inserts,
 *	  rechecks and output open each of them once.
 *
 * A sort compares each value some twenty times, an insert meets the same upper
 * pages again and again, an index's recheck opens what output shows next;
 * opening costs more than everything else.  Each frame (base/statement.h) keeps a
 * bounded number of plaintexts (of envelopes up to 8 kB), each beside the type and
 * the whole envelope that it came from, so many that a sort finds all that it has in
 * memory: about three times work_mem, and a million.  They are
 * wiped when another takes their place, when the frame next looks after keys have
 * changed (an outer frame looks when it goes on), and when the frame ends, by an
 * error too.
 *
 * An entry is held (pinned) while a caller uses its plaintext: whatever is
 * opened, forgotten or grown meanwhile, by itself or by a comparison within a
 * comparison, its plaintext stays.  Keys are looked at once a comparison, by
 * dp_open_memo_follow(), before the first operand is taken.
 *
 * Whether the current role may compare or see is asked each time all the same,
 * and so is whether the key may still be read.
 *
 * A sort keeps its values by number (DpMemoKeep; sort.c): what its SortTuples have is
 * the number and not a byte of the value.  A sort has as many tuples in memory as fit
 * into work_mem (maintenance_work_mem, for an index), and asks for no others: the newest
 * values are kept, so many that these are among them.  They take up to three times
 * as much.  They are wiped when the sort ends, when keys change, and with the frame.
 */
#ifndef DP_TYPES_OPEN_MEMO_H
#define DP_TYPES_OPEN_MEMO_H

#include "postgres.h"

#include "types/value.h"

typedef struct DpMemoEntry
{
	Datum		plain;			/* valid while held */
	int32		family;
	bool		literal;
	const struct varlena *datum;	/* its opener's, who must clear it before that goes */
	/* what follows is open_memo.c's */
	bool		base_byval;
	int16		base_len;
	uint32		holders;
	bool		is_found;		/* dp_open_memo_find() may return it */
	uint32		code;			/* of the base type */
	Size		len;			/* of the envelope */
	uint64		round;			/* of the memo, when it was opened */
	struct DpOpenMemo *memo;
	struct DpMemoEntry *newer;	/* list of entries in use */
	struct DpMemoEntry *older;	/* the same, or of free ones */
	uint8	   *long_envelope;	/* NULL: it is short, and lies here */
	uint8		envelope[FLEXIBLE_ARRAY_MEMBER];
} DpMemoEntry;

/* Forget everything where keys have changed since. */
extern void dp_open_memo_follow(void);

/* The entry of that very envelope, held; NULL: there is none. */
extern DpMemoEntry *dp_open_memo_find(const DpTypeInfo *info, const struct varlena *datum);

/* Open a value into a new entry, held; NULL where its key is unreadable. */
extern DpMemoEntry *dp_open_memo_open(const DpTypeInfo *info, const DpValue *value, DpKeyUse use,
									  bool in_comparator);

/* Have others find an entry that is held from now on. */
extern void dp_open_memo_remember(DpMemoEntry *entry);

/*
 * What becomes of an entry that nobody holds any more: wiped, found by whoever meets
 * its envelope soon (a row that a condition holds for is shown next, and thousands may
 * never be), or found until the frame ends.
 */
typedef enum DpMemoStay
{
	DP_MEMO_GO,
	DP_MEMO_STAY_BRIEFLY,
	DP_MEMO_STAY
} DpMemoStay;

/* Let go.  An entry that others find already is left to them. */
extern void dp_open_memo_release(DpMemoEntry *entry, DpMemoStay stay);

/* What a comparison asks of a kept value, in one piece of memory. */
typedef struct DpMemoKept
{
	Datum		quick;			/* tells the order of most, as the sort has it */
	Datum		plain;
	DpMemoEntry *entry;
	int32		family;
	bool		literal;
} DpMemoKept;

/* The newest values of one sort; zeroed at its beginning, but for memory. */
typedef struct DpMemoKeep
{
	Size		memory;			/* that the sort has for its tuples, in bytes */
	bool		over;			/* keys have changed: no more */
	struct DpOpenMemo *memo;	/* of the frame that the sort runs in; NULL: none yet, or no more */
	uint64		life;			/* of that memo */
	uint64		round;			/* likewise */
	Size		bytes;
	struct DpMemoRing *room;	/* of the ring, in the memo's context */
	DpMemoKept *ring;
	uint32		size;			/* of it: a power of two, or 0 */
	uint64		first;			/* numbers of those that are kept: first to next - 1 */
	uint64		next;
} DpMemoKeep;

/* May a value be kept?  False for good once keys have changed. */
extern bool dp_open_memo_may_keep(DpMemoKeep *keep);

/* While dp_open_memo_may_keep(): would no other have to go for it? */
extern bool dp_open_memo_has_room(const DpMemoKeep *keep, const DpMemoEntry *entry);

/*
 * While dp_open_memo_may_keep(): keep an entry that the caller holds, in the place of
 * the oldest where there is no room; its number, never 0.  The keep holds it now.
 */
extern uint64 dp_open_memo_keep(DpMemoKeep *keep, DpMemoEntry *entry, Datum quick);

/* May plaintexts that were kept be looked at?  False for good once keys have changed. */
extern bool dp_open_memo_keeps(DpMemoKeep *keep);

/* While dp_open_memo_keeps(): what was kept by that number, or NULL. */
static inline const DpMemoKept *
dp_open_memo_kept(const DpMemoKeep *keep, uint64 number)
{
	return number >= keep->first && number < keep->next ? &keep->ring[number & (keep->size - 1)] : NULL;
}

/* The sort is over. */
extern void dp_open_memo_let_go(DpMemoKeep *keep);

extern void dp_open_memo_init(void);

#endif							/* DP_TYPES_OPEN_MEMO_H */
