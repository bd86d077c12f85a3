/*
 * sort.c
 *	  Sort support of encrypted values: a sort opens each of them once.
 *
 * What a sort has in place of an abbreviated key is the number of a kept value
 * (open_memo.h), or 0: then PostgreSQL compares the values themselves.  The order
 * of what is kept is the whole order, so that comparisons by numbers and by values
 * go together.
 *
 * The build of an index (maintenance.h) keeps the newest values.  A user's sort has
 * his right asked, and is counted, at each comparison all the same; and DISTINCT and
 * aggregates over an order take values with different abbreviated keys to be
 * different.  So equal values, by the base type's hash and equality, have one number
 * as long as the sort has written nothing to a file, with which PostgreSQL forgets
 * abbreviated keys: until then nothing is let go, and a value that could not be kept
 * has no number for good.  What tells which values were kept when their plaintexts
 * are gone, since keys have changed, is their hash alone, under a seed of the sort's.
 */
#include "postgres.h"

#include "access/access.h"
#include "audit/track.h"
#include "base/compat.h"
#include "base/secret.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "crypto/aead.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "types/compare.h"
#include "types/maintenance.h"
#include "types/open_memo.h"
#include "utils/fmgrprotos.h"
#include "utils/sortsupport.h"
#include "utils/typcache.h"

#define N_FIRST		256			/* power of two */

/* What a sort takes of memory for a tuple beside its values, at least. */
#define TUPLE_MIN	24

typedef struct Numbered
{
	uint64		hash;
	uint64		number;			/* 0: free */
} Numbered;

/* A sort: what it compares, and the values that it keeps. */
typedef struct ValueSort
{
	DpComparisonCall call;
	DpMemoKeep	keep;
	bool		tied;			/* sort_kept() has just found two values equal */
	SortSupportData base;		/* the base type's own abbreviated keys, where it has some */
	MemoryContextCallback end;
	/* of a user's sort */
	List	   *families;		/* of all values that were kept */
	DpAccessMark may_read;		/* valid: the answer was yes */
	Size		memory;			/* for its tuples */
	Size		seen;			/* bytes that its tuples take at least */
	bool		full;			/* no value gets a number that has none yet */
	FmgrInfo	hash;
	uint64		seed;
	Numbered   *numbered;		/* open addressing; by hash */
	uint64		n_numbered;
	uint64		size;			/* of it: a power of two, or 0 */
} ValueSort;

/*
 * Sort support: the comparators without the function manager between, and the
 * place where the build of an index is told from a user's sort.
 */
static int
sort_plain(Datum left, Datum right, SortSupport ssup)
{
	DpComparisonCall *call = &((ValueSort *) ssup->ssup_extra)->call;
	int			order = 0;

	call->left = left;
	call->right = right;
	(void) dp_compare(call, &order);
	return order;
}

static uint64
keep_entry(ValueSort *sort, DpMemoEntry *entry)
{
	SortSupport base = &sort->base;

	return dp_open_memo_keep(&sort->keep, entry,
							 base->abbrev_converter != NULL ? base->abbrev_converter(entry->plain, base) : 0);
}

static uint64
keep_for_index(ValueSort *sort, struct varlena *datum)
{
	const DpTypeInfo *info = sort->call.state->info;
	DpMemoEntry *entry;
	DpValue		value;

	dp_value_parse(datum, false, &value);
	if (!dp_open_memo_may_keep(&sort->keep) ||
		(entry = dp_open_memo_open(info, &value, DP_USE_MAINTAIN, false)) == NULL)
		return 0;
	entry->datum = NULL;
	return keep_entry(sort, entry);
}

/* --- a user's --- */

static bool
may_read(ValueSort *sort)
{
	ListCell   *cell;

	if (likely(dp_access_is_unchanged(&sort->may_read)))
		return true;
	foreach(cell, sort->families)
		if (dp_access_privilege(lfirst_int(cell)) != DP_PRIV_REVEAL)
		return false;
	dp_access_mark(&sort->may_read);
	return true;
}

static void
note_family(ValueSort *sort, int32 family, MemoryContext context)
{
	MemoryContext old;

	if (list_member_int(sort->families, family))
		return;
	old = MemoryContextSwitchTo(context);
	sort->families = lappend_int(sort->families, family);
	sort->may_read.valid = false;
	MemoryContextSwitchTo(old);
}

static void
count_comparing(const DpMemoKept *kept)
{
	if (!kept->literal && !dp_audit_comparing_again(kept->family))
		dp_audit_comparing(kept->family, NameStr(dp_keys_family(kept->family)->name));
}

static void
forget_numbers(ValueSort *sort)
{
	if (sort->numbered == NULL)
		return;
	dp_secret_wipe(sort->numbered, sizeof(Numbered) * sort->size);
	pfree(sort->numbered);
	sort->numbered = NULL;
	sort->size = 0;
}

/* The place of a value, or of the first free one. */
static Numbered *
find_numbered(ValueSort *sort, uint64 hash, Datum plain)
{
	const DpTypeInfo *info = sort->call.state->info;
	bool		keeps = dp_open_memo_keeps(&sort->keep);
	uint64		at = hash;

	for (;; at++)
	{
		Numbered   *numbered = &sort->numbered[at & (sort->size - 1)];
		const DpMemoKept *kept;

		if (numbered->number == 0)
			return numbered;
		if (numbered->hash != hash)
			continue;
		kept = keeps ? dp_open_memo_kept(&sort->keep, numbered->number) : NULL;
		if (kept == NULL || dp_compare_plain(sort->call.state, kept->plain, plain, sort->call.collation,
											 OidIsValid(info->base_eq.fn_oid)) == 0)
			return numbered;
	}
}

static void
make_number_room(ValueSort *sort, MemoryContext context)
{
	Numbered   *old = sort->numbered;
	uint64		n_old = sort->size;
	uint64		size = n_old == 0 ? N_FIRST : n_old * 2;

	if (sort->n_numbered * 2 < n_old)
		return;
	sort->numbered = MemoryContextAllocExtended(context, sizeof(Numbered) * size, MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	sort->size = size;
	for (uint64 i = 0; i < n_old; i++)
	{
		uint64		at = old[i].hash;

		if (old[i].number == 0)
			continue;
		while (sort->numbered[at & (size - 1)].number != 0)
			at++;
		sort->numbered[at & (size - 1)] = old[i];
	}
	if (old != NULL)
	{
		dp_secret_wipe(old, sizeof(Numbered) * n_old);
		pfree(old);
	}
}

/* The number of an opened value: that of an equal one, or its own. */
static uint64
number_entry(ValueSort *sort, DpMemoEntry *entry, MemoryContext context)
{
	Numbered   *numbered;
	uint64		hash;

	make_number_room(sort, context);
	hash = DatumGetUInt64(FunctionCall2Coll(&sort->hash, sort->call.collation, entry->plain,
											UInt64GetDatum(sort->seed)));
	numbered = find_numbered(sort, hash, entry->plain);
	if (numbered->number == 0 &&
		(sort->full || !dp_open_memo_may_keep(&sort->keep) || !dp_open_memo_has_room(&sort->keep, entry)))
		sort->full = true;
	if (numbered->number != 0 || sort->full)
	{
		dp_open_memo_release(entry, DP_MEMO_STAY);
		return numbered->number;
	}
	numbered->hash = hash;
	numbered->number = keep_entry(sort, entry);
	sort->n_numbered++;
	return numbered->number;
}

/*
 * A user's values are opened here for what sort_plain() is going to ask; what he may
 * not see is left to it.  size: as the sort has the value.
 */
static uint64
keep_for_user(ValueSort *sort, struct varlena *datum, Size size, MemoryContext context)
{
	const DpTypeInfo *info = sort->call.state->info;
	bool		spilled = sort->seen > sort->memory;
	DpOperand	op;

	sort->seen += size + TUPLE_MIN;
	if (spilled)
		forget_numbers(sort);
	dp_open_memo_follow();
	dp_operand_fill(&op, true, sort->call.state, PointerGetDatum(datum));
	if (!op.value.literal && dp_access_privilege(op.value.family) != DP_PRIV_REVEAL)
	{
		dp_operand_close(&op, DP_MEMO_GO);
		return 0;
	}
	dp_operand_count(&op);
	dp_operand_open(info, &op, DP_USE_READ);
	if (!op.readable)
		return 0;
	if (!op.value.literal)
		note_family(sort, op.value.family, context);
	dp_open_memo_remember(op.entry);
	if (!spilled)
		return number_entry(sort, op.entry, context);
	if (dp_open_memo_may_keep(&sort->keep))
		return keep_entry(sort, op.entry);
	dp_operand_close(&op, DP_MEMO_STAY);
	return 0;
}

/* --- the functions of a sort --- */

static Datum
keep_value(Datum original, SortSupport ssup)
{
	ValueSort  *sort = ssup->ssup_extra;
	struct varlena *datum = PG_DETOAST_DATUM_PACKED(original);
	uint64		number;

	number = sort->call.maintenance ? keep_for_index(sort, datum) :
		keep_for_user(sort, datum, VARSIZE_ANY(DatumGetPointer(original)), ssup->ssup_cxt);
	if (datum != (struct varlena *) DatumGetPointer(original))
		pfree(datum);
	return UInt64GetDatum(number);
}

static bool
never_give_up(int count, SortSupport ssup)
{
	return false;
}

static int
sort_kept(Datum left, Datum right, SortSupport ssup)
{
	ValueSort  *sort = ssup->ssup_extra;
	const DpMemoKept *left_kept;
	const DpMemoKept *right_kept;
	int			order = 0;

	/* 0 has tuplesort ask sort_equals() */
	sort->tied = false;
	if (left == 0 || right == 0 || !dp_open_memo_keeps(&sort->keep) ||
		(left_kept = dp_open_memo_kept(&sort->keep, DatumGetUInt64(left))) == NULL ||
		(right_kept = dp_open_memo_kept(&sort->keep, DatumGetUInt64(right))) == NULL)
		return 0;
	if (!sort->call.maintenance)
	{
		if (!may_read(sort))
			return 0;
		count_comparing(left_kept);
		count_comparing(right_kept);
	}
	if (left_kept != right_kept)
	{
		if (sort->base.abbrev_converter != NULL)
			order = sort->base.comparator(left_kept->quick, right_kept->quick, &sort->base);
		if (order == 0)
			order = dp_compare_plain(sort->call.state, left_kept->plain, right_kept->plain,
									 sort->call.collation, false);
	}
	sort->tied = order == 0;
	return order;
}

/* Called for a pair behind sort_kept(), with no other call between. */
static int
sort_equals(Datum left, Datum right, SortSupport ssup)
{
	ValueSort  *sort = ssup->ssup_extra;

	if (sort->tied)
	{
		sort->tied = false;
		return 0;
	}
	return sort_plain(left, right, ssup);
}

static void
end_sort(void *arg)
{
	ValueSort  *sort = arg;

	dp_open_memo_let_go(&sort->keep);
	forget_numbers(sort);
	sort->seed = 0;
}

static int
sort_tokens(Datum left, Datum right, SortSupport ssup)
{
	DpComparisonCall *call = &((ValueSort *) ssup->ssup_extra)->call;

	call->left = left;
	call->right = right;
	return dp_compare_tokens(call);
}

/* --- setting up --- */

static ValueSort *
prepare_sort(SortSupport ssup, const DpTypeInfo *info)
{
	ValueSort  *sort = MemoryContextAllocZero(ssup->ssup_cxt, sizeof(ValueSort));
	DpComparisonCall *call = &sort->call;
	DpCallState *state = MemoryContextAllocZero(ssup->ssup_cxt, sizeof(DpCallState));

	state->info = info;
	call->state = state;
	call->sides = SIDES_EE;
	call->comparison = CMP_ORDER;
	call->maintenance = dp_maintenance_sorts(ssup);
	call->collation = ssup->ssup_collation;
	ssup->ssup_extra = sort;
	return sort;
}

/* The first bytes, in the order of the bytes. */
static Datum
first_bytes(Datum plain, SortSupport ssup)
{
	uint8		bytes[sizeof(uint64)] = {0};
	uint64		number = 0;

	memcpy(bytes, VARDATA_ANY(DatumGetPointer(plain)),
		   Min(VARSIZE_ANY_EXHDR(DatumGetPointer(plain)), sizeof(bytes)));
	for (int i = 0; i < (int) sizeof(bytes); i++)
		number = number << 8 | bytes[i];
	dp_secret_wipe(bytes, sizeof(bytes));
	return UInt64GetDatum(number);
}

static int
compare_first_bytes(Datum left, Datum right, SortSupport ssup)
{
	return left < right ? -1 : left > right;
}

/*
 * Abbreviated keys of the base type, for plaintexts that are kept.  Its own where they
 * are known to leave no plaintext behind.
 */
static void
prepare_base(ValueSort *sort, SortSupport ssup)
{
	SortSupport base = &sort->base;
	Oid			type = sort->call.state->info->base_oid;

	base->ssup_cxt = ssup->ssup_cxt;
	base->ssup_collation = ssup->ssup_collation;
	base->abbreviate = true;
	if (type == NUMERICOID)
		DirectFunctionCall1(numeric_sortsupport, PointerGetDatum(base));
	else if (type == TEXTOID && base->ssup_collation == C_COLLATION_OID)
	{
		base->abbrev_converter = first_bytes;
		base->comparator = compare_first_bytes;
	}
}

/* False where equal values could not be found. */
static bool
prepare_numbers(ValueSort *sort, MemoryContext context)
{
	const DpTypeInfo *info = sort->call.state->info;
	TypeCacheEntry *cache = lookup_type_cache(info->base_oid, TYPECACHE_HASH_EXTENDED_PROC);
	uint8		random[DP_NONCE_LEN];

	if (!OidIsValid(cache->hash_extended_proc) || !OidIsValid(info->base_eq.fn_oid))
		return false;
	fmgr_info_cxt(cache->hash_extended_proc, &sort->hash, context);
	if (!dp_random_nonce(random))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not get random bytes")));
	memcpy(&sort->seed, random, sizeof(sort->seed));
	return true;
}

PG_FUNCTION_INFO_V1(dp_sort_support);
PG_FUNCTION_INFO_V1(dp_token_sort_support);

Datum
dp_sort_support(PG_FUNCTION_ARGS)
{
	SortSupport ssup = (SortSupport) PG_GETARG_POINTER(0);
	ValueSort  *sort = prepare_sort(ssup, dp_typeinfo_served(fcinfo->flinfo->fn_oid));

	ssup->comparator = sort_plain;
	if (ssup->abbreviate && SIZEOF_DATUM == sizeof(uint64) &&
		(sort->call.maintenance || prepare_numbers(sort, ssup->ssup_cxt)))
	{
		sort->memory = (Size) (sort->call.maintenance ? maintenance_work_mem : work_mem) * 1024;
		sort->keep.memory = sort->memory;
		prepare_base(sort, ssup);
		ssup->comparator = sort_kept;
		ssup->abbrev_full_comparator = sort_equals;
		ssup->abbrev_converter = keep_value;
		ssup->abbrev_abort = never_give_up;
		sort->end.func = end_sort;
		sort->end.arg = sort;
		MemoryContextRegisterResetCallback(ssup->ssup_cxt, &sort->end);
	}
	PG_RETURN_VOID();
}

Datum
dp_token_sort_support(PG_FUNCTION_ARGS)
{
	SortSupport ssup = (SortSupport) PG_GETARG_POINTER(0);

	(void) prepare_sort(ssup, dp_typeinfo_served(fcinfo->flinfo->fn_oid));
	ssup->comparator = sort_tokens;
	PG_RETURN_VOID();
}
