/*
 * transaction.c
 *	  Levels of the running transaction and their range records.
 */
#include "postgres.h"

#include "events/actor.h"
#include "events/ring.h"
#include "events/transaction.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A range record has no fields: header of record.c and frame. */
#define RANGE_LEN		64
#define RANGE_RESERVE	DP_FRAME_SIZE(RANGE_LEN)

/* What one (sub)transaction level has written; room for a range is reserved. */
typedef struct Level
{
	int			nest;
	uint64		first;
	uint64		last;
	bool		admin;			/* administrative acts among them */
	bool		reads;			/* statements among them */
} Level;

static Level *levels = NULL;	/* ascending by nest */
static int	n_levels = 0;
static int	max_levels = 0;
static const DpTransactionHooks *hooks = NULL;

void
dp_transaction_set_hooks(const DpTransactionHooks *new_hooks)
{
	hooks = new_hooks;
}

uint64
dp_transaction_append(const DpRecord *record, Size reserve)
{
	static uint8 buf[DP_RECORD_MAX];
	Size		len = dp_record_encode(record, buf, sizeof(buf));
	int			nest = GetCurrentTransactionNestLevel();
	bool		is_new;
	uint64		seq;
	Level	   *level;

	if (len == 0)
		elog(ERROR, "audit record is too long");
	if (nest == 0 || (record->kind == DP_RECORD_ADMIN && record->outcome != DP_OUTCOME_STARTED))
		return dp_ring_append(MyDatabaseId, buf, len, reserve);

	is_new = n_levels == 0 || levels[n_levels - 1].nest < nest;
	if (is_new && n_levels >= max_levels)
	{
		int			new_max = Max(8, max_levels * 2);

		levels = levels == NULL ?
			MemoryContextAlloc(TopMemoryContext, new_max * sizeof(Level)) :
			repalloc(levels, new_max * sizeof(Level));
		max_levels = new_max;
	}
	seq = dp_ring_append(MyDatabaseId, buf, len, reserve + (is_new ? RANGE_RESERVE : 0));
	if (is_new)
	{
		level = &levels[n_levels++];
		level->nest = nest;
		level->first = seq;
		level->admin = false;
		level->reads = false;
	}
	level = &levels[n_levels - 1];
	level->last = seq;
	if (record->kind == DP_RECORD_ADMIN)
		level->admin = true;
	else
		level->reads = true;
	return seq;
}

static void
write_range(const Level *level, DpOutcome outcome, int scope)
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
	record.ref_seq = level->first;
	record.ref_end = level->last;
	len = dp_record_encode(&record, buf, sizeof(buf));
	(void) dp_ring_append_reserved(MyDatabaseId, buf, len, RANGE_RESERVE);
}

/*
 * Whether an act took place is known to the session that ends a prepared
 * transaction, and that one writes no record of ours.
 */
static void
refuse_to_prepare(void)
{
	for (int i = 0; i < n_levels; i++)
	{
		if (levels[i].admin)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot PREPARE a transaction with an administrative act of dataprotect"),
					 errdetail("The audit log could not tell whether the act took place."),
					 errhint("Use COMMIT.")));
	}
}

static void
end_levels(bool committed)
{
	uint64		resolved = hooks != NULL ? hooks->ended(committed, true) : 0;

	while (n_levels > 0)
	{
		Level	   *level = &levels[--n_levels];

		if (committed && level->admin)
			write_range(level, DP_OUTCOME_OK, DP_SCOPE_ADMIN);
		else if (!committed && !(level->first == level->last && level->first == resolved))
			write_range(level, DP_OUTCOME_ROLLED_BACK, DP_SCOPE_ALL);
		else
			dp_ring_unreserve(RANGE_RESERVE);
	}
}

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			refuse_to_prepare();
			break;
		case XACT_EVENT_PREPARE:
			/* only statements: what they read was read, whatever becomes of it */
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
			end_levels(true);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			end_levels(false);
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
	outer->reads |= level->reads;
	n_levels--;
	dp_ring_unreserve(RANGE_RESERVE);
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
		/*
		 * Reads happened, whatever the statement's own subtransaction did; the
		 * acts in between are undone, but share the one room that is reserved
		 * with a later rollback of the whole: that one says it for them.
		 */
		if (level->admin)
		{
			write_range(level, DP_OUTCOME_ROLLED_BACK, DP_SCOPE_ADMIN);
			n_levels--;
		}
		else
			merge_level();
	}
	else if (level->first == level->last && level->first == resolved)
	{
		n_levels--;
		dp_ring_unreserve(RANGE_RESERVE);
	}
	else
	{
		write_range(level, DP_OUTCOME_ROLLED_BACK, DP_SCOPE_ALL);
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
