/*
 * preload_keys.c
 *	  Keys of ordered indexes, loaded before the index is opened.
 *
 * Which keys a table needs is remembered until its relcache entry is
 * invalidated; most tables need none, and are asked once.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "base/catalog_change.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "columns/preload_keys.h"
#include "keys/catalog.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "types/types.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#define MAX_FAMILIES 16
#define MAX_TABLES 512			/* remembered; beyond that all are asked anew */

typedef struct OrderedEntry
{
	Oid			relid;
	bool		is_protected;	/* false: nothing to load */
	int			n;
	int32		family[MAX_FAMILIES];
	uint64		loaded;			/* key generation for which they were loaded */
	uint64		changes;		/* changes() then */
} OrderedEntry;

static HTAB *tables = NULL;

static void
forget_relation(Oid relid)
{
	if (tables == NULL)
		return;
	if (OidIsValid(relid))
		(void) hash_search(tables, &relid, HASH_REMOVE, NULL);
	else
	{
		hash_destroy(tables);
		tables = NULL;
	}
}

static void
add_family(OrderedEntry *entry, int32 family)
{
	int			i;

	for (i = 0; i < entry->n; i++)
	{
		if (entry->family[i] == family)
			return;
	}
	if (entry->n < MAX_FAMILIES)
		entry->family[entry->n++] = family;
}

/*
 * Families of a table's ordered columns.  False where a key or modifier does not
 * exist: the table of a dump is restored before its keys are, and is asked again.
 */
static bool
find_families(Oid relid, OrderedEntry *entry)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);
	TupleDesc	desc;
	DpFamily	family;
	bool		all_there = true;
	int			i;

	if (rel == NULL)
		return true;
	desc = RelationGetDescr(rel);
	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const DpModifier *modifier;

		if (att->attisdropped || att->atttypmod < 0 || !dp_type_is_encrypted(att->atttypid))
			continue;
		entry->is_protected = true;
		modifier = dp_modifier_find(att->atttypmod);
		if (modifier != NULL && !modifier->ordered)
			continue;
		if (modifier != NULL && dp_catalog_read_family_by_name(NameStr(modifier->key), &family))
			add_family(entry, family.family);
		else
			all_there = false;
	}
	relation_close(rel, AccessShareLock);
	return all_there;
}

static void
load_keys(const OrderedEntry *entry)
{
	int			i;

	if (entry->is_protected)
		dp_keys_preload_system();
	for (i = 0; i < entry->n; i++)
		dp_keys_preload(entry->family[i]);
}

/* Moves when what this backend has loaded is gone. */
static uint64
changes(void)
{
	return dp_keys_local_changes() + dp_keys_times_let_go();
}

void
dp_preload_keys_relation(Oid relid)
{
	OrderedEntry *entry;
	OrderedEntry fresh;

	if (relid < FirstNormalObjectId)
		return;
	if (tables != NULL && hash_get_num_entries(tables) >= MAX_TABLES &&
		hash_search(tables, &relid, HASH_FIND, NULL) == NULL)
	{
		hash_destroy(tables);
		tables = NULL;
	}
	if (tables == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(OrderedEntry);
		ctl.hcxt = TopMemoryContext;
		tables = hash_create("dataprotect ordered columns", 64, &ctl,
							 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(tables, &relid, HASH_FIND, NULL);
	if (entry == NULL)
	{
		memset(&fresh, 0, sizeof(fresh));
		fresh.relid = relid;
		/* Opening the relation may have swept the table away. */
		if (!find_families(relid, &fresh) || tables == NULL)
		{
			load_keys(&fresh);
			return;
		}
		entry = hash_search(tables, &relid, HASH_ENTER, NULL);
		*entry = fresh;
	}
	if (!entry->is_protected ||
		(entry->loaded == dp_keys_generation() && entry->changes == changes()))
		return;
	fresh = *entry;
	load_keys(&fresh);
	entry = tables != NULL ? hash_search(tables, &relid, HASH_FIND, NULL) : NULL;
	if (entry != NULL)
	{
		entry->loaded = dp_keys_generation();
		entry->changes = changes();
	}
}

static void
preload_for_utility(Node *stmt)
{
	RangeVar   *rel = NULL;
	Oid			relid;

	if (IsA(stmt, CopyStmt))
		rel = ((CopyStmt *) stmt)->relation;
	else if (IsA(stmt, IndexStmt))
		rel = ((IndexStmt *) stmt)->relation;
	else if (IsA(stmt, AlterTableStmt))
		rel = ((AlterTableStmt *) stmt)->relation;
	else if (IsA(stmt, ReindexStmt))
		rel = ((ReindexStmt *) stmt)->relation;
	else if (IsA(stmt, ClusterStmt))
		rel = ((ClusterStmt *) stmt)->relation;
	else if (IsA(stmt, VacuumStmt) && ((VacuumStmt *) stmt)->is_vacuumcmd)
		dp_keys_preload_all();	/* an index looks for the place of a page that it has emptied */
	if (rel == NULL)
		return;
	relid = RangeVarGetRelid(rel, NoLock, true);
	if (OidIsValid(relid))
		dp_preload_keys_relation(relid);
}

static void
starting(QueryDesc *query)
{
	ListCell   *lc;

	foreach(lc, query->plannedstmt->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION)
			dp_preload_keys_relation(rte->relid);
	}
}

static void
begin_utility(const DpUtility *utility, Datum *state)
{
	preload_for_utility(utility->statement);
}

static const DpSubscriber subscriber = {
	.name = "keys of ordered indexes",
	.starting = starting,
	.begin_utility = begin_utility,
};

void
dp_preload_keys_init(void)
{
	dp_on_relation_change(forget_relation);
	dp_statement_subscribe(&subscriber);
}
