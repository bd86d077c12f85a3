/*
 * distributed.c
 *	  Tables whose rows Citus has on other servers; see distributed.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "nodes/nodeFuncs.h"
#include "types/distributed.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Its catalog, which only a superuser can have made. */
static Oid
catalog_of_distributed(void)
{
	return get_relname_relid("pg_dist_partition", PG_CATALOG_NAMESPACE);
}

bool
dp_is_distributed(Oid relid)
{
	Oid			catalog = catalog_of_distributed();
	Relation	rel;
	SysScanDesc scan;
	ScanKeyData key;
	bool		found;

	if (!OidIsValid(catalog))
		return false;
	rel = table_open(catalog, AccessShareLock);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, get_relname_relid("pg_dist_partition_logical_relid_index", PG_CATALOG_NAMESPACE),
							  true, NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static bool
distributed_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
		return ((RangeTblEntry *) node)->rtekind == RTE_RELATION &&
			dp_is_distributed(((RangeTblEntry *) node)->relid);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, distributed_walker, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, distributed_walker, context);
}

bool
dp_reads_distributed(Query *query)
{
	return OidIsValid(catalog_of_distributed()) && distributed_walker((Node *) query, NULL);
}
