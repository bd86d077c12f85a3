/*
 * transaction.c
 *	  Levels of the running transaction and their range records.
 */
#include "postgres.h"

#include "events/actor.h"
#include "events/catalogue.h"
#include "events/ring.h"
#include "events/transaction.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A range record is the header of record.c alone. */
#define RANGE_LEN		40
#define RANGE_RESERVE	DP_RECORD_FRAME_SIZE(RANGE_LEN)

/* What one (sub)transaction level has written. */
typedef struct Level
{
	int			nest;
	uint64		first;
	uint64		last;
	bool		admin;			/* administrative acts among them */
	bool		own;			/* acts of our functions among those */
	bool		reads;			/* statements among them */
} Level;

/*
 * Room in the ring is the same for any number of levels: levels that end one
 * after the other make one range, for nothing was written in between.  It is
 * written before the transaction's next record, or at its end.
 */
typedef struct RolledBack
{
	bool		any;
	int			scope;			/* DP_SCOPE_... */
	uint64		first;
	uint64		last;
} RolledBack;

static Level *levels = NULL;	/* ascending by nest */
static int	n_levels = 0;
static int	max_levels = 0;
static RolledBack rolled_back;
static int	held = 0;			/* ranges whose room is put aside: 2 from the first record on */
static const DpTransactionHooks *hooks = NULL;

void
dp_transaction_set_hooks(const DpTransactionHooks *new_hooks)
{
	hooks = new_hooks;
}

/* Write a range into room that was put aside. */
static void
write_range(uint64 first, uint64 last, DpOutcome outcome, int scope)
{
	uint8		buf[RANGE_LEN];
	DpRecord	record;
	Size		len;

	memset(&record, 0, offsetof(DpRecord, keys));
	record.kind = DP_RECORD_RANGE;
	record.outcome = outcome;
	record.scope = scope;
	record.at = GetCurrentTimestamp();
	record.session = dp_actor_session();
	record.ref_seq = first;
	record.ref_end = last;
	len = dp_record_encode(&record, buf, sizeof(buf));
	Assert(len > 0 && held > 0);
	(void) dp_ring_append_reserved(MyDatabaseId, buf, len, RANGE_RESERVE);
	held--;
}

static void
write_rolled_back(void)
{
	if (rolled_back.any)
		write_range(rolled_back.first, rolled_back.last, DP_OUTCOME_ROLLED_BACK, rolled_back.scope);
	rolled_back.any = false;
}

/*
 * Everything that this transaction wrote from first on was rolled back.  A wider
 * range takes the place of those inside it; one that does not fit is written.
 */
static void
note_rolled_back(uint64 first, uint64 last, int scope)
{
	if (rolled_back.any && (first > rolled_back.first ||
							(scope == DP_SCOPE_ADMIN && rolled_back.scope == DP_SCOPE_ALL)))
		write_rolled_back();
	rolled_back.last = rolled_back.any ? Max(last, rolled_back.last) : last;
	rolled_back.first = first;
	rolled_back.scope = scope;
	rolled_back.any = true;
}

static Level *
level_of(int nest, bool is_new, uint64 seq)
{
	Level	   *level;

	if (!is_new)
		return &levels[n_levels - 1];
	level = &levels[n_levels++];
	level->nest = nest;
	level->first = seq;
	level->admin = false;
	level->own = false;
	level->reads = false;
	return level;
}

/* Have a free element in levels. */
static void
make_level(void)
{
	int			new_max = Max(8, max_levels * 2);

	if (n_levels < max_levels)
		return;
	levels = levels == NULL ?
		MemoryContextAlloc(TopMemoryContext, new_max * sizeof(Level)) :
		repalloc_huge(levels, new_max * sizeof(Level));
	max_levels = new_max;
}

/*
 * Tells of a command of PostgreSQL's, whose effect is in its catalogs alone: it may
 * be prepared.  What our functions do has a part outside of the transaction.
 */
static bool
is_of_command(int event)
{
	switch (event)
	{
		case DP_EVENT_DEFINITION_CHANGED:
		case DP_EVENT_SETTING_CHANGED:
		case DP_EVENT_ROLE_ALTERED:
		case DP_EVENT_ROLE_CREATED:
		case DP_EVENT_ROLE_DROPPED:
		case DP_EVENT_ROLE_GRANTED:
		case DP_EVENT_ROLE_REVOKED:
			return true;
		default:
			return false;
	}
}

uint64
dp_transaction_append(const DpRecord *record, Size reserve)
{
	static uint8 buf[DP_RECORD_MAX];
	Size		len = dp_record_encode(record, buf, sizeof(buf));
	int			nest = GetCurrentTransactionNestLevel();
	DpRingShare share = record->kind == DP_RECORD_ADMIN && record->outcome == DP_OUTCOME_STARTED ?
		DP_RING_ADMIN : DP_RING_ORDINARY;
	bool		is_new;
	int			wanted;
	uint64		seq;
	Level	   *level;

	if (len == 0)
		elog(ERROR, "audit record is too long");
	if (nest == 0 || (record->kind == DP_RECORD_ADMIN && record->outcome != DP_OUTCOME_STARTED))
		return dp_ring_append(MyDatabaseId, buf, len, reserve, share);

	is_new = n_levels == 0 || levels[n_levels - 1].nest < nest;
	if (is_new)
		make_level();
	wanted = (rolled_back.any ? 3 : 2) - held;
	seq = dp_ring_append(MyDatabaseId, buf, len, reserve + wanted * RANGE_RESERVE, share);
	held += wanted;
	write_rolled_back();
	level = level_of(nest, is_new, seq);
	level->last = seq;
	if (record->kind == DP_RECORD_ADMIN)
	{
		level->admin = true;
		level->own |= !is_of_command(record->event);
	}
	else
		level->reads = true;
	return seq;
}

/*
 * Whether what was prepared takes place is known to the session that ends it, which
 * writes no record of ours.  So the transaction is written down, before it is
 * prepared; the collector looks what has become of it (audit/prepared.h).
 */
static void
write_prepared(void)
{
	uint8		buf[DP_RECORD_MAX];
	DpRecord	record;
	bool		admin = false;

	for (int i = 0; i < n_levels; i++)
	{
		admin |= levels[i].admin;
		if (levels[i].own)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction with an administrative act of dataprotect"),
					 errdetail("The audit log could not tell whether the act took place."),
					 errhint("Use COMMIT.")));
	}
	if (!admin)
		return;
	memset(&record, 0, sizeof(record));
	record.kind = DP_RECORD_RANGE;
	record.outcome = DP_OUTCOME_PREPARED;
	record.scope = DP_SCOPE_ADMIN;
	record.at = GetCurrentTimestamp();
	record.session = dp_actor_session();
	record.ref_seq = levels[0].first;
	record.ref_end = levels[n_levels - 1].last;
	record.n_keys = 1;
	record.keys[0].opened = U64FromFullTransactionId(GetTopFullTransactionId());
	(void) dp_ring_append(MyDatabaseId, buf, dp_record_encode(&record, buf, sizeof(buf)), 0, DP_RING_ADMIN);
}

/*
 * Neither waits nor raises: at most the two ranges whose room is held.  prepared: how
 * its acts end is not known.
 */
static void
end_levels(bool committed, bool prepared)
{
	uint64		resolved = hooks != NULL ? hooks->ended(committed, true) : 0;
	uint64		first = n_levels > 0 ? levels[0].first : 0;
	uint64		last = n_levels > 0 ? levels[n_levels - 1].last : 0;
	bool		admin = false;

	for (int i = 0; i < n_levels; i++)
		admin |= levels[i].admin;
	if (!committed && n_levels > 0 && !(first == last && first == resolved))
		note_rolled_back(first, last, DP_SCOPE_ALL);
	write_rolled_back();
	if (committed && !prepared && admin)
		write_range(first, last, DP_OUTCOME_OK, DP_SCOPE_ADMIN);
	dp_ring_unreserve(held * RANGE_RESERVE);
	held = 0;
	n_levels = 0;
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			write_prepared();
			break;
		case XACT_EVENT_PREPARE:
			/* what statements have read was read, whatever becomes of it */
			end_levels(true, true);
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
			end_levels(true, false);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			end_levels(false, false);
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			break;
	}
}

/* Give a level's records to the level around it. */
static void
merge_level(void)
{
	Level	   *level = &levels[n_levels - 1];
	Level	   *outer = n_levels > 1 ? level - 1 : NULL;

	if (outer == NULL || outer->nest < level->nest - 1)
	{
		level->nest--;
		return;
	}
	outer->last = level->last;
	outer->admin |= level->admin;
	outer->own |= level->own;
	outer->reads |= level->reads;
	n_levels--;
}

static void
end_level(bool committed)
{
	bool		inside = hooks != NULL && hooks->running();
	uint64		resolved = hooks != NULL ? hooks->ended(committed, false) : 0;
	Level	   *level;

	if (n_levels == 0 || levels[n_levels - 1].nest != GetCurrentTransactionNestLevel())
		return;
	level = &levels[n_levels - 1];
	if (committed)
		merge_level();
	else if (inside && level->reads)
	{
		/* Reads happened, whatever the statement's own subtransaction did; acts did not. */
		if (level->admin)
			note_rolled_back(level->first, level->last, DP_SCOPE_ADMIN);
		level->admin = level->own = false;
		merge_level();
	}
	else
	{
		if (!(level->first == level->last && level->first == resolved))
			note_rolled_back(level->first, level->last, level->reads ? DP_SCOPE_ALL : DP_SCOPE_ADMIN);
		n_levels--;
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	switch (event)
	{
		case SUBXACT_EVENT_COMMIT_SUB:
			end_level(true);
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			end_level(false);
			break;
		case SUBXACT_EVENT_START_SUB:
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			break;
	}
}

void
dp_transaction_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}
