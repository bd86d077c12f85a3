/*
 * guard.c
 *	  DDL that would store or disclose a protected value is refused; see
 *	  guard.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "base/statement.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "columns/foreign_expression.h"
#include "columns/generated.h"
#include "columns/guard.h"
#include "columns/guard_alter.h"
#include "columns/guard_catalog.h"
#include "columns/guard_drop.h"
#include "columns/guard_index.h"
#include "columns/guard_object.h"
#include "columns/guard_shadow.h"
#include "columns/guard_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_type.h"
#include "partitioning/partdefs.h"
#include "types/types.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* ---- columns ---- */

/* Only these store their columns' values. */
static bool
relkind_stores(char relkind)
{
	return relkind == RELKIND_RELATION || relkind == RELKIND_PARTITIONED_TABLE ||
		relkind == RELKIND_FOREIGN_TABLE || relkind == RELKIND_MATVIEW ||
		relkind == RELKIND_COMPOSITE_TYPE;
}

static void
check_column(Form_pg_class class, Form_pg_attribute att)
{
	Oid			encrypted;
	char	   *type_name;
	int32		typmod = att->atttypmod;
	Oid			base;

	if (att->attisdropped || att->attnum <= 0)
		return;
	dp_guard_note_column(class->oid, att->atttypid);
	if (!relkind_stores(class->relkind))
		return;
	if (dp_contains_encrypted_unkeyed(att->atttypid, att->atttypmod, &encrypted))
	{
		type_name = format_type_be(encrypted);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("column \"%s\" of \"%s\" has type %s without a key",
						NameStr(att->attname), NameStr(class->relname), type_name),
				 errdetail("A stored protected value is sealed under the key that its column names."),
				 errhint("Write the key after the type, as in %s('pii'), or cast the expression that makes the column.",
						 type_name)));
	}
	if (dp_type_is_encrypted(att->atttypid) &&
		dp_modifier_get(att->atttypmod)->ordered)
		dp_guard_check_ordered(class->oid, att);
	base = getBaseTypeAndTypmod(att->atttypid, &typmod);
	if (dp_type_is_encrypted(base) && dp_modifier_get(typmod)->searchable)
		dp_guard_check_searchable(NameStr(att->attname), NameStr(dp_modifier_get(typmod)->key));
}

static void
check_relation(Oid relid)
{
	HeapTuple	class_tuple;
	Form_pg_class class;
	int			i;

	class_tuple = dp_guard_fetch(RelationRelationId, ClassOidIndexId,
								 Anum_pg_class_oid, relid, InvalidAttrNumber, 0);
	if (!HeapTupleIsValid(class_tuple))
		return;
	class = (Form_pg_class) GETSTRUCT(class_tuple);
	if (class->relkind == RELKIND_INDEX || class->relkind == RELKIND_PARTITIONED_INDEX)
		dp_guard_check_index(relid);
	else if (class->relkind != RELKIND_SEQUENCE && class->relkind != RELKIND_TOASTVALUE)
	{
		for (i = 1; i <= class->relnatts; i++)
		{
			HeapTuple	att = dp_guard_fetch_attribute(relid, i);

			if (HeapTupleIsValid(att))
				check_column(class, (Form_pg_attribute) GETSTRUCT(att));
		}
	}
	heap_freetuple(class_tuple);
}

static void
check_one_column(Oid relid, AttrNumber attnum)
{
	HeapTuple	class_tuple;
	HeapTuple	att;
	Form_pg_class class;

	class_tuple = dp_guard_fetch(RelationRelationId, ClassOidIndexId,
								 Anum_pg_class_oid, relid, InvalidAttrNumber, 0);
	att = dp_guard_fetch_attribute(relid, attnum);
	if (!HeapTupleIsValid(class_tuple) || !HeapTupleIsValid(att))
		return;
	class = (Form_pg_class) GETSTRUCT(class_tuple);
	check_column(class, (Form_pg_attribute) GETSTRUCT(att));
}

/* ---- what stores derived values ---- */

/* The hook names the relation and column that the expression belongs to. */
static void
check_generated(Oid relid, AttrNumber attnum)
{
	HeapTuple	att = dp_guard_fetch_attribute(relid, attnum);
	HeapTuple	def;
	Node	   *expr;

	if (!HeapTupleIsValid(att) ||
		((Form_pg_attribute) GETSTRUCT(att))->attgenerated != ATTRIBUTE_GENERATED_STORED)
		return;
	def = dp_guard_fetch(AttrDefaultRelationId, AttrDefaultIndexId,
						 Anum_pg_attrdef_adrelid, relid,
						 Anum_pg_attrdef_adnum, attnum);
	if (!HeapTupleIsValid(def))
		return;
	expr = dp_guard_stored_node(def, Anum_pg_attrdef_adbin, AttrDefaultRelationId);
	if (expr != NULL)
		dp_generated_check(relid, (Form_pg_attribute) GETSTRUCT(att), expr);
}

static void
check_statistics(Oid statoid)
{
	HeapTuple	tuple;

	if (!dp_guard_statistics_bear(statoid))
		return;
	tuple = dp_guard_fetch(StatisticExtRelationId, StatisticExtOidIndexId,
						   Anum_pg_statistic_ext_oid, statoid, InvalidAttrNumber, 0);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("statistics object \"%s\" cannot cover a protected column",
					NameStr(((Form_pg_statistic_ext) GETSTRUCT(tuple))->stxname)),
			 errdetail("It would store values, or what follows from them, as plaintext."),
			 errhint("Leave the column out; declare n_distinct with ALTER TABLE ... ALTER COLUMN ... SET.")));
}

static void
refuse_matview(Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			 errmsg("materialized view \"%s\" cannot compute from a protected column",
					get_rel_name(relid)),
			 errdetail("It would store a result of a function, cast, comparison or sort as plaintext."),
			 errhint("Hand the protected columns on as they are, or use an ordinary view.")));
}

static void
check_rule(Oid ruleoid)
{
	Oid			relid;

	if (dp_guard_rule_computes(ruleoid, &relid))
		refuse_matview(relid);
}

/*
 * A CHECK or the condition of a trigger runs in the statement of whoever writes,
 * with what he may see and what he writes (types/row_condition.h).
 */
static void
check_condition(Oid catalog, Oid index, AttrNumber oid_column, Oid oid, AttrNumber expr_column,
				AttrNumber name_column, const char *what)
{
	HeapTuple	tuple = dp_guard_fetch(catalog, index, oid_column, oid, InvalidAttrNumber, 0);
	Node	   *expr = HeapTupleIsValid(tuple) ?
		dp_guard_stored_node(tuple, expr_column, catalog) : NULL;
	Relation	rel;
	bool		isnull;

	if (expr == NULL || !dp_foreign_expression_passes_on(expr))
		return;
	rel = table_open(catalog, AccessShareLock);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
			 errmsg("%s \"%s\" cannot call functions that are volatile, or an ordinary role's, over a protected value", what,
					NameStr(*DatumGetName(heap_getattr(tuple, name_column, RelationGetDescr(rel), &isnull)))),
			 errdetail("The function would run for whoever writes, and could pass the value on."),
			 errhint("Use stable or immutable functions of PostgreSQL, or of an extension that a superuser owns.")));
}

/* ---- hooks ---- */

static void
guard_created(Oid class_id, Oid object_id, int sub_id)
{
	switch (class_id)
	{
		case RelationRelationId:
			if (sub_id == 0)
				check_relation(object_id);
			else
				check_one_column(object_id, sub_id);
			break;
		case AttrDefaultRelationId:
			check_generated(object_id, sub_id);
			break;
		case StatisticExtRelationId:
			check_statistics(object_id);
			break;
		case RewriteRelationId:
			check_rule(object_id);
			break;
		case ConstraintRelationId:
			dp_guard_check_foreign_key(object_id);
			check_condition(class_id, ConstraintOidIndexId, Anum_pg_constraint_oid, object_id,
							Anum_pg_constraint_conbin, Anum_pg_constraint_conname, "constraint");
			break;
		case TriggerRelationId:
			check_condition(class_id, TriggerOidIndexId, Anum_pg_trigger_oid, object_id,
							Anum_pg_trigger_tgqual, Anum_pg_trigger_tgname, "the condition of trigger");
			break;
		default:
			break;
	}
}

static void
guard_altered(Oid class_id, Oid object_id, int sub_id)
{
	switch (class_id)
	{
		case RelationRelationId:
			if (sub_id > 0)
				check_one_column(object_id, sub_id);
			break;
		case IndexRelationId:
			dp_guard_check_clustered(object_id);
			break;
		case RewriteRelationId:
			check_rule(object_id);
			break;
		default:
			break;
	}
}

static void
guard_object_access(ObjectAccessType access, Oid class_id, Oid object_id,
					int sub_id, void *arg)
{
	/* before bootstrap ends there is no extension, and no catalog to read */
	if (!IsNormalProcessingMode() || object_id < FirstNormalObjectId)
		return;
	if (access == OAT_DROP && class_id == ProcedureRelationId)
		dp_guard_function_dropped(object_id);
	else if (access == OAT_POST_CREATE)
		guard_created(class_id, object_id, sub_id);
	else if (access == OAT_POST_ALTER)
		guard_altered(class_id, object_id, sub_id);
	if (access == OAT_POST_CREATE || access == OAT_POST_ALTER)
		dp_guard_shadow(class_id, object_id);
}

/* A range type's subtype is in no catalog when the type is announced. */
static void
check_range(CreateRangeStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->params)
	{
		DefElem    *def = lfirst_node(DefElem, lc);
		Oid			typid;

		if (strcmp(def->defname, "subtype") != 0)
			continue;
		typid = typenameTypeId(NULL, defGetTypeName(def));
		if (dp_contains_encrypted_type(typid))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("cannot create a range over type %s", format_type_be(typid)),
					 errdetail("A range keeps its bounds in plaintext order."),
					 errhint("Protect the two bounds as two columns.")));
	}
}

/* Nor is a partition key when the table is. */
static void
check_partition_key(CreateStmt *stmt)
{
	Oid			relid = RangeVarGetRelid(stmt->relation, NoLock, true);

	if (OidIsValid(relid) && dp_guard_partition_key_bears(relid))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("cannot partition table \"%s\" by a protected column",
						get_rel_name(relid)),
				 errdetail("The partition in which a row lies would disclose the value."),
				 errhint("Partition by another column.")));
}

/* A view below it may have been replaced since it was created. */
static void
check_refresh(RefreshMatViewStmt *stmt)
{
	Oid			relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	Relation	rel;
	bool		computes;

	if (stmt->skipData || !OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_MATVIEW)
		return;
	rel = table_open(relid, AccessShareLock);
	computes = rel->rd_rules != NULL && rel->rd_rules->numLocks == 1 &&
		dp_contains_encrypted_computes(linitial_node(Query, rel->rd_rules->rules[0]->actions));
	table_close(rel, NoLock);
	if (computes)
		refuse_matview(relid);
}

static void
begin_utility(const DpUtility *utility, Datum *state)
{
	if (IsA(utility->statement, CreateRangeStmt))
		check_range((CreateRangeStmt *) utility->statement);
	else if (IsA(utility->statement, RefreshMatViewStmt))
		check_refresh((RefreshMatViewStmt *) utility->statement);
}

/* Nothing is committed yet: an error takes the table back. */
static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	if (failed)
		return;
	if (IsA(utility->statement, CreateStmt) &&
		((CreateStmt *) utility->statement)->partspec != NULL)
		check_partition_key((CreateStmt *) utility->statement);
	dp_guard_judge_types();
}

static const DpSubscriber subscriber = {
	.name = "guard",
	.begin_utility = begin_utility,
	.end_utility = end_utility,
	.object_access = guard_object_access,
};

void
dp_guard_init(void)
{
	dp_guard_type_init();
	dp_guard_alter_init();
	dp_guard_drop_init();
	dp_statement_subscribe(&subscriber);
}
