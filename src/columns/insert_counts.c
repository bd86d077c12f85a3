/*
 * insert_counts.c
 *	  Insertions into indexes over protected columns all count the same; see
 *	  insert_counts.h.
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/relation.h"
#include "access/xact.h"
#include "base/catalog_change.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "columns/contains_encrypted.h"
#include "columns/insert_counts.h"
#include "executor/instrument.h"
#include "parser/parsetree.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#define MAX_TABLES	512			/* remembered; beyond that all are looked at anew */
#define MAX_METHODS 8			/* access methods that such an index may have */

/* A table whose indexes were seen to, those of its partitions included. */
typedef struct SeenTable
{
	Oid			relid;
	uint64		changes;
} SeenTable;

static HTAB *tables = NULL;
static uint64 changes = 1;		/* relation cache entries that went, of tables or indexes seen */
static HTAB *indexes = NULL;	/* Oid: where the stand-in was put */

static struct
{
	Oid			method;
	aminsert_function insert;
}			originals[MAX_METHODS];
static int	n_originals = 0;

static WalUsage hidden_wal;		/* of this transaction */

static aminsert_function
original_of(Oid method)
{
	for (int i = 0; i < n_originals; i++)
	{
		if (originals[i].method == method)
			return originals[i].insert;
	}
	elog(ERROR, "access method %u was never seen", method);
}

static bool
insert_uncounted(Relation index, Datum *values, bool *isnull, ItemPointer heap_tid, Relation heap,
				 IndexUniqueCheck check, bool unchanged, struct IndexInfo *info)
{
	aminsert_function insert = original_of(index->rd_rel->relam);
	BufferUsage buffers = pgBufferUsage;
	WalUsage	wal = pgWalUsage;
	DpBlockCounts blocks = dp_block_counts(index);
	bool		result = false;

	PG_TRY();
	{
		result = insert(index, values, isnull, heap_tid, heap, check, unchanged, info);
	}
	PG_FINALLY();
	{
		WalUsageAccumDiff(&hidden_wal, &pgWalUsage, &wal);
		pgWalUsage = wal;
		pgBufferUsage = buffers;
		pgBufferUsage.shared_blks_hit++;
		blocks.fetched++;
		blocks.hit++;
		dp_set_block_counts(index, blocks);
	}
	PG_END_TRY();
	return result;
}

/* Remember the method's own function; false where there is no room. */
static bool
keep_original(Oid method, aminsert_function insert)
{
	for (int i = 0; i < n_originals; i++)
	{
		if (originals[i].method == method)
			return true;
	}
	if (n_originals == MAX_METHODS)
		return false;
	originals[n_originals].method = method;
	originals[n_originals++].insert = insert;
	return true;
}

static bool
is_over_protected(Relation index)
{
	TupleDesc	desc = RelationGetDescr(index);

	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
	{
		/* what the index holds (for a hash a number) or what it is asked with */
		if (dp_contains_encrypted_type(TupleDescAttr(desc, i)->atttypid) ||
			dp_contains_encrypted_type(index->rd_opcintype[i]))
			return true;
	}
	return false;
}

static HTAB *
make_table(const char *name, Size entry_size)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = entry_size;
	ctl.hcxt = TopMemoryContext;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
stand_in(Relation index)
{
	Oid			oid = RelationGetRelid(index);

	if (index->rd_indam->aminsert == insert_uncounted || !is_over_protected(index) ||
		!keep_original(index->rd_rel->relam, index->rd_indam->aminsert))
		return;
	if (indexes == NULL)
		indexes = make_table("dataprotect uncounted indexes", sizeof(Oid));
	(void) hash_search(indexes, &oid, HASH_ENTER, NULL);
	index->rd_indam->aminsert = insert_uncounted;
}

static void
see_to_table(Oid relid)
{
	Relation	rel = try_relation_open(relid, NoLock);
	ListCell   *lc;
	List	   *list;

	if (rel == NULL)
		return;
	list = rel->rd_rel->relhasindex ? RelationGetIndexList(rel) : NIL;
	foreach(lc, list)
	{
		Relation	index = try_relation_open(lfirst_oid(lc), AccessShareLock);

		if (index == NULL)
			continue;
		if (index->rd_rel->relkind == RELKIND_INDEX)
			stand_in(index);
		relation_close(index, AccessShareLock);
	}
	list_free(list);
	relation_close(rel, NoLock);
}

/* Whoever calls has a lock on the table; rows may be routed to any partition. */
static void
see_to(Oid relid)
{
	SeenTable  *seen;

	if (relid < FirstNormalObjectId)
		return;
	if (tables != NULL && hash_get_num_entries(tables) >= MAX_TABLES)
	{
		hash_destroy(tables);
		tables = NULL;
	}
	seen = tables != NULL ? hash_search(tables, &relid, HASH_FIND, NULL) : NULL;
	if (seen != NULL && seen->changes == changes)
		return;
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
	{
		ListCell   *lc;

		foreach(lc, find_all_inheritors(relid, AccessShareLock, NULL))
		{
			see_to_table(lfirst_oid(lc));
		}
	}
	else
		see_to_table(relid);
	if (tables == NULL)
		tables = make_table("dataprotect tables seen", sizeof(SeenTable));
	seen = hash_search(tables, &relid, HASH_ENTER, NULL);
	seen->changes = changes;
}

static void
started(QueryDesc *query)
{
	ListCell   *lc;

	foreach(lc, query->plannedstmt->resultRelations)
	{
		RangeTblEntry *rte = rt_fetch(lfirst_int(lc), query->plannedstmt->rtable);

		if (rte->rtekind == RTE_RELATION)
			see_to(rte->relid);
	}
}

static void
begin_utility(const DpUtility *utility, Datum *state)
{
	CopyStmt   *copy = (CopyStmt *) utility->statement;
	Oid			relid;

	if (!IsA(copy, CopyStmt) || !copy->is_from || copy->relation == NULL)
		return;
	relid = RangeVarGetRelid(copy->relation, AccessShareLock, true);
	if (OidIsValid(relid))
		see_to(relid);
}

/* An entry that went took the stand-in with it; a table may have a new index. */
static void
forget_relation(Oid relid)
{
	if (!OidIsValid(relid) ||
		(indexes != NULL && hash_search(indexes, &relid, HASH_FIND, NULL) != NULL) ||
		(tables != NULL && hash_search(tables, &relid, HASH_FIND, NULL) != NULL))
		changes++;
}

static void
at_xact_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			{
				WalUsage	none = {0};

				WalUsageAccumDiff(&pgWalUsage, &hidden_wal, &none);
				hidden_wal = none;
			}
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

static const DpSubscriber subscriber = {
	.name = "counts of insertions",
	.started = started,
	.begin_utility = begin_utility,
};

void
dp_insert_counts_init(void)
{
	dp_on_relation_change(forget_relation);
	RegisterXactCallback(at_xact_end, NULL);
	dp_statement_subscribe(&subscriber);
}
