/*
 * guard_object.h
 *	  What statistics objects, materialized views and partition keys may not be
 *	  made over: asked as they are made, and when a type comes to contain
 *	  encrypted values afterwards.
 */
#ifndef DP_COLUMNS_GUARD_OBJECT_H
#define DP_COLUMNS_GUARD_OBJECT_H

#include "postgres.h"

/* True where the object stores or compares what contains encrypted values. */
extern bool dp_guard_statistics_bear(Oid statoid);
extern bool dp_guard_partition_key_bears(Oid relid);

/*
 * True for the rule of a materialized view that computes from encrypted values.
 * *out_relid is the relation of the rule, or InvalidOid where there is no rule.
 */
extern bool dp_guard_rule_computes(Oid ruleoid, Oid *out_relid);

#endif							/* DP_COLUMNS_GUARD_OBJECT_H */
