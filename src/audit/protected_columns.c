/*
 * protected_columns.c
 *	  Cache of the protected columns of each relation that a statement named.
 *
 * An invalidation only marks an entry, since somebody may hold it: what is void
 * is taken out at a later call, and all of it where a session names more
 * relations than are worth remembering.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "audit/protected_columns.h"
#include "audit/track.h"
#include "base/catalog_change.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#define SWEEP_RELATIONS	128		/* entries at which to look for void ones */
#define MAX_RELATIONS	1024

static bool (*is_protected_type) (Oid typid) = NULL;
static HTAB *relations = NULL;
static long sweep_at = SWEEP_RELATIONS;

void
dp_audit_set_protected_type(bool (*callback) (Oid typid))
{
	is_protected_type = callback;
}

static void
forget_relation(Oid relid)
{
	HASH_SEQ_STATUS status;
	DpAuditRelation *entry;

	if (OidIsValid(relid))
	{
		entry = hash_search(relations, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->valid = false;
		return;
	}
	hash_seq_init(&status, relations);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->valid = false;
}

static bool
is_protected(Oid typid)
{
	Oid			element;

	if (is_protected_type == NULL)
		return false;
	typid = getBaseType(typid);
	element = get_element_type(typid);
	return is_protected_type(OidIsValid(element) ? getBaseType(element) : typid);
}

bool
dp_audit_has_protected(Oid relid)
{
	Relation	catalog = table_open(AttributeRelationId, AccessShareLock);
	bool		found = false;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_attribute_attrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, AttributeRelidNumIndexId, true, NULL, 1, &key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_attribute att = (Form_pg_attribute) GETSTRUCT(tuple);

		found = att->attnum > 0 && !att->attisdropped && is_protected(att->atttypid);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return found;
}

static void
clear_entry(DpAuditRelation *entry)
{
	for (int i = 0; i < entry->n; i++)
		pfree(entry->columns[i].name);
	if (entry->columns != NULL)
		pfree(entry->columns);
	entry->columns = NULL;
	entry->n = 0;
}

static void
fill_entry(DpAuditRelation *entry)
{
	Relation	rel = try_relation_open(entry->relid, AccessShareLock);
	MemoryContext old_context;
	TupleDesc	desc;
	char	   *schema;

	if (rel == NULL)
		return;
	desc = RelationGetDescr(rel);
	schema = get_namespace_name(RelationGetNamespace(rel));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || !is_protected(att->atttypid))
			continue;
		old_context = MemoryContextSwitchTo(TopMemoryContext);
		if (entry->columns == NULL)
			entry->columns = palloc(sizeof(DpAuditColumnName) * desc->natts);
		entry->columns[entry->n].name = psprintf("%s.%s.%s", schema ? schema : "",
												 RelationGetRelationName(rel), NameStr(att->attname));
		entry->columns[entry->n].attnum = att->attnum;
		entry->n++;
		MemoryContextSwitchTo(old_context);
	}
	relation_close(rel, NoLock);
}

static void
make_room(void)
{
	bool		all = hash_get_num_entries(relations) >= MAX_RELATIONS;
	HASH_SEQ_STATUS status;
	DpAuditRelation *entry;

	hash_seq_init(&status, relations);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->valid && !all)
			continue;
		clear_entry(entry);
		(void) hash_search(relations, &entry->relid, HASH_REMOVE, NULL);
	}
	sweep_at = Min(MAX_RELATIONS, Max(SWEEP_RELATIONS, 2 * hash_get_num_entries(relations)));
}

const DpAuditRelation *
dp_audit_relation(Oid relid)
{
	DpAuditRelation *entry;
	bool		found;

	if (relations == NULL)
	{
		HASHCTL		control;

		control.keysize = sizeof(Oid);
		control.entrysize = sizeof(DpAuditRelation);
		relations = hash_create("audit relations", 64, &control, HASH_ELEM | HASH_BLOBS);
		dp_on_relation_change(forget_relation);
	}
	if (unlikely(hash_get_num_entries(relations) >= sweep_at))
		make_room();
	entry = hash_search(relations, &relid, HASH_ENTER, &found);
	if (found && entry->valid)
		return entry;
	if (!found)
	{
		entry->valid = false;
		entry->n = 0;
		entry->columns = NULL;
	}
	clear_entry(entry);

	/* Valid first: an invalidation while we read must not be lost. */
	entry->valid = true;
	fill_entry(entry);
	return entry;
}
