/*
 * guard_object.c
 *	  What certain objects may not be made over; see guard_object.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "columns/contains_encrypted.h"
#include "columns/guard_catalog.h"
#include "columns/guard_object.h"
#include "nodes/parsenodes.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"

bool
dp_guard_statistics_bear(Oid statoid)
{
	HeapTuple	tuple;
	Form_pg_statistic_ext stat;
	Node	   *exprs;
	bool		bears = false;
	int			i;

	tuple = dp_guard_fetch(StatisticExtRelationId, StatisticExtOidIndexId,
						   Anum_pg_statistic_ext_oid, statoid, InvalidAttrNumber, 0);
	if (!HeapTupleIsValid(tuple))
		return false;
	stat = (Form_pg_statistic_ext) GETSTRUCT(tuple);
	for (i = 0; i < stat->stxkeys.dim1 && !bears; i++)
	{
		HeapTuple	att = dp_guard_fetch_attribute(stat->stxrelid, stat->stxkeys.values[i]);

		bears = HeapTupleIsValid(att) &&
			dp_contains_encrypted_type(((Form_pg_attribute) GETSTRUCT(att))->atttypid);
	}
	exprs = dp_guard_stored_node(tuple, Anum_pg_statistic_ext_stxexprs,
								 StatisticExtRelationId);
	return bears || (exprs != NULL && dp_contains_encrypted_expression(exprs));
}

/* The query of a materialized view, as it is stored. */
bool
dp_guard_rule_computes(Oid ruleoid, Oid *out_relid)
{
	HeapTuple	tuple;
	List	   *actions;

	*out_relid = InvalidOid;
	tuple = dp_guard_fetch(RewriteRelationId, RewriteOidIndexId,
						   Anum_pg_rewrite_oid, ruleoid, InvalidAttrNumber, 0);
	if (!HeapTupleIsValid(tuple))
		return false;
	*out_relid = ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class;
	if (get_rel_relkind(*out_relid) != RELKIND_MATVIEW)
		return false;
	actions = (List *) dp_guard_stored_node(tuple, Anum_pg_rewrite_ev_action,
											RewriteRelationId);
	return dp_contains_encrypted_computes(linitial_node(Query, actions));
}

bool
dp_guard_partition_key_bears(Oid relid)
{
	Relation	rel;
	PartitionKey key;
	bool		bears = false;
	int			i;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return false;
	rel = table_open(relid, NoLock);
	key = RelationGetPartitionKey(rel);
	for (i = 0; i < key->partnatts; i++)
		bears |= dp_contains_encrypted_type(key->parttypid[i]);
	bears |= key->partexprs != NIL && dp_contains_encrypted_expression((Node *) key->partexprs);
	table_close(rel, NoLock);
	return bears;
}
