/*
 * guard_type.c
 *	  Types that come to contain encrypted values; see guard_type.h.
 *
 * From the relation that gained a column, dependencies (pg_depend) lead to
 * everything that stores, orders or computes from its values:
 *
 *	row type -> array, domain, range over it
 *			 -> column of a relation -> that relation's row type, and so on
 *			 -> function that takes or returns it
 *	relation, type, function -> index, statistics object, constraint, column
 *			 default, rule (of a view, which is followed, or of a
 *			 materialized view)
 *
 * Each object found is judged by the rules that hold where one is made.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_index.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "columns/generated.h"
#include "columns/guard_catalog.h"
#include "columns/guard_index.h"
#include "columns/guard_object.h"
#include "columns/guard_type.h"
#include "lib/stringinfo.h"
#include "types/types.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/*
 * Relations noted since the last command ended.  What a failed command leaves is
 * judged with the next one, which is harmless: a subtransaction may fail inside
 * a command that goes on.
 */
static List *noted = NIL;

/* What the walk has found. */
typedef struct Walk
{
	List	   *types;			/* contain values of the type, or are it */
	List	   *relations;		/* have columns of these types, or read such */
	List	   *functions;		/* take or return these types */
	List	   *column_types;	/* of stored columns */
	StringInfoData in_way;		/* descriptions, one a line */
	ObjectAddresses *judged;
} Walk;

static void
forget_noted(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			list_free(noted);
			noted = NIL;
			break;
	}
}

void
dp_guard_type_init(void)
{
	RegisterXactCallback(forget_noted, NULL);
}

void
dp_guard_note_column(Oid relid, Oid typid)
{
	MemoryContext old;

	if (!dp_contains_encrypted_type(typid))
		return;
	old = MemoryContextSwitchTo(TopMemoryContext);
	noted = list_append_unique_oid(noted, relid);
	MemoryContextSwitchTo(old);
}

/* ---- ANALYZE ---- */

/* dataprotect._typanalyze, or InvalidOid while there is none. */
static Oid
analyze_function(void)
{
	Oid			nsp = get_namespace_oid("dataprotect", true);
	Oid			argtype = INTERNALOID;

	if (!OidIsValid(nsp))
		return InvalidOid;
	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("_typanalyze"),
						   PointerGetDatum(buildoidvector(&argtype, 1)), ObjectIdGetDatum(nsp));
}

static void
set_analyze(Relation catalog, HeapTuple tuple, Oid function)
{
	HeapTuple	copy = heap_copytuple(tuple);

	((Form_pg_type) GETSTRUCT(copy))->typanalyze = function;
	CatalogTupleUpdate(catalog, &copy->t_self, copy);
	heap_freetuple(copy);
}

/*
 * ANALYZE asks the type of a column how to go about it; rows, arrays and
 * domains would compare and keep values.  No command sets this for them.
 */
static void
quiet_type(Oid typid)
{
	Oid			function = analyze_function();
	Relation	catalog;
	HeapTuple	tuple;

	if (!OidIsValid(function))
		return;
	catalog = table_open(TypeRelationId, RowExclusiveLock);
	tuple = SearchSysCacheCopy1(TYPEOID, ObjectIdGetDatum(typid));
	if (HeapTupleIsValid(tuple) && ((Form_pg_type) GETSTRUCT(tuple))->typanalyze != function)
	{
		set_analyze(catalog, tuple, function);
		CommandCounterIncrement();
	}
	table_close(catalog, RowExclusiveLock);
}

/* Types of users outlive the extension: they get back what they had. */
void
dp_guard_function_dropped(Oid funcid)
{
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (funcid != analyze_function())
		return;
	catalog = table_open(TypeRelationId, RowExclusiveLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_type form = (Form_pg_type) GETSTRUCT(tuple);

		if (form->typanalyze == funcid)
			set_analyze(catalog, tuple, IsTrueArrayType(form) ? F_ARRAY_TYPANALYZE : InvalidOid);
	}
	systable_endscan(scan);
	table_close(catalog, RowExclusiveLock);
}

/* ---- one object ---- */

static bool
relkind_keeps_rows(char relkind)
{
	return relkind == RELKIND_RELATION || relkind == RELKIND_PARTITIONED_TABLE ||
		relkind == RELKIND_FOREIGN_TABLE || relkind == RELKIND_MATVIEW;
}

static bool
constraint_mentions(Oid oid, List *types)
{
	HeapTuple	tuple = dp_guard_fetch(ConstraintRelationId, ConstraintOidIndexId,
									   Anum_pg_constraint_oid, oid, InvalidAttrNumber, 0);
	Node	   *expr;

	if (!HeapTupleIsValid(tuple) ||
		((Form_pg_constraint) GETSTRUCT(tuple))->contype != CONSTRAINT_CHECK)
		return false;
	expr = dp_guard_stored_node(tuple, Anum_pg_constraint_conbin, ConstraintRelationId);
	return expr != NULL && dp_contains_encrypted_mention(expr, types);
}

/* An expression that computes a stored column; *out: that column. */
static bool
generated_mentions(Oid oid, List *types, ObjectAddress *out)
{
	HeapTuple	tuple = dp_guard_fetch(AttrDefaultRelationId, AttrDefaultOidIndexId,
									   Anum_pg_attrdef_oid, oid, InvalidAttrNumber, 0);
	HeapTuple	att;
	Form_pg_attrdef def;
	Node	   *expr;

	if (!HeapTupleIsValid(tuple))
		return false;
	def = (Form_pg_attrdef) GETSTRUCT(tuple);
	att = dp_guard_fetch_attribute(def->adrelid, def->adnum);
	if (!HeapTupleIsValid(att) ||
		((Form_pg_attribute) GETSTRUCT(att))->attgenerated != ATTRIBUTE_GENERATED_STORED)
		return false;
	ObjectAddressSubSet(*out, RelationRelationId, def->adrelid, def->adnum);
	expr = dp_guard_stored_node(tuple, Anum_pg_attrdef_adbin, AttrDefaultRelationId);
	return expr != NULL && !dp_generated_is_sealed(expr) && dp_contains_encrypted_mention(expr, types);
}

static void
stands_in_way(Walk *walk, const ObjectAddress *object, const char *what)
{
	char	   *description = getObjectDescription(object, false);

	if (walk->in_way.len > 0)
		appendStringInfoString(&walk->in_way, "; ");
	appendStringInfo(&walk->in_way, "%s%s", what, description);
	pfree(description);
}

/* ---- the walk ---- */

static void
reach_relation(Walk *walk, Oid relid)
{
	Oid			row_type = get_rel_type_id(relid);

	walk->relations = list_append_unique_oid(walk->relations, relid);
	if (OidIsValid(row_type))
		walk->types = list_append_unique_oid(walk->types, row_type);
}

static void
reach_column(Walk *walk, Oid relid, Oid typid)
{
	if (relkind_keeps_rows(get_rel_relkind(relid)))
		walk->column_types = list_append_unique_oid(walk->column_types, typid);
	reach_relation(walk, relid);
}

static void
judge_rule(Walk *walk, const ObjectAddress *object)
{
	Oid			relid;
	ObjectAddress view;

	if (dp_guard_rule_computes(object->objectId, &relid))
	{
		ObjectAddressSet(view, RelationRelationId, relid);
		stands_in_way(walk, &view, "");
	}
	else if (OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW)
		walk->relations = list_append_unique_oid(walk->relations, relid);
}

/* An object that depends on a relation, type or function that was reached. */
static void
judge(Walk *walk, const ObjectAddress *object)
{
	ObjectAddress column;
	char		relkind;

	if (object_address_present(object, walk->judged))
		return;
	add_exact_object_address(object, walk->judged);
	switch (object->classId)
	{
		case RelationRelationId:
			relkind = get_rel_relkind(object->objectId);
			if ((relkind == RELKIND_INDEX || relkind == RELKIND_PARTITIONED_INDEX) &&
				dp_guard_index_bears(object->objectId))
				stands_in_way(walk, object, "");
			break;
		case StatisticExtRelationId:
			if (dp_guard_statistics_bear(object->objectId))
				stands_in_way(walk, object, "");
			break;
		case ConstraintRelationId:
			if (constraint_mentions(object->objectId, walk->types))
				stands_in_way(walk, object, "");
			break;
		case AttrDefaultRelationId:
			if (generated_mentions(object->objectId, walk->types, &column))
				stands_in_way(walk, &column, "generated ");
			break;
		case RewriteRelationId:
			judge_rule(walk, object);
			break;
		default:
			break;
	}
}

/* What depends on a type leads further. */
static void
follow_type(Walk *walk, Oid typid, const ObjectAddress *object)
{
	char		relkind;

	if (object->classId == TypeRelationId)
		walk->types = list_append_unique_oid(walk->types, object->objectId);
	else if (object->classId == ProcedureRelationId)
		walk->functions = list_append_unique_oid(walk->functions, object->objectId);
	else if (object->classId == RelationRelationId && object->objectSubId > 0)
	{
		relkind = get_rel_relkind(object->objectId);
		if (relkind != RELKIND_INDEX && relkind != RELKIND_PARTITIONED_INDEX)
			reach_column(walk, object->objectId, typid);
	}
}

/* Dependents of one object; judged only where judging is set. */
static void
visit_dependents(Walk *walk, Oid class_id, Oid object_id, bool judging)
{
	Relation	catalog = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(class_id));
	ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(object_id));
	scan = systable_beginscan(catalog, DependReferenceIndexId, true, NULL, 2, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress object;

		ObjectAddressSubSet(object, depend->classid, depend->objid, depend->objsubid);
		if (judging)
			judge(walk, &object);
		else if (class_id == TypeRelationId)
			follow_type(walk, object_id, &object);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

/* All of them: those of constraints depend on the constraint, not on the table. */
static void
judge_indexes(Walk *walk, Oid relid)
{
	Relation	catalog = table_open(IndexRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_index_indrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, IndexIndrelidIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		ObjectAddress object;

		ObjectAddressSet(object, RelationRelationId,
						 ((Form_pg_index) GETSTRUCT(tuple))->indexrelid);
		judge(walk, &object);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
}

/* What is not found as a dependent. */
static void
judge_own(Walk *walk)
{
	ObjectAddress object;
	ListCell   *lc;

	foreach(lc, walk->types)
	{
		Oid			typid = lfirst_oid(lc);

		if (get_typtype(typid) != TYPTYPE_RANGE)
			continue;
		ObjectAddressSet(object, TypeRelationId, typid);
		stands_in_way(walk, &object, "range ");
	}
	foreach(lc, walk->relations)
	{
		judge_indexes(walk, lfirst_oid(lc));
		if (!dp_guard_partition_key_bears(lfirst_oid(lc)))
			continue;
		ObjectAddressSet(object, RelationRelationId, lfirst_oid(lc));
		stands_in_way(walk, &object, "partition key of ");
	}
}

/* Lists grow while they are walked: by index. */
static void
judge_relation(Oid relid)
{
	Walk		walk = {NIL};
	int			i;

	if (!OidIsValid(get_rel_type_id(relid)) || !dp_contains_encrypted_type(get_rel_type_id(relid)))
		return;
	initStringInfo(&walk.in_way);
	walk.judged = new_object_addresses();
	reach_relation(&walk, relid);
	for (i = 0; i < list_length(walk.types); i++)
		visit_dependents(&walk, TypeRelationId, list_nth_oid(walk.types, i), false);

	for (i = 0; i < list_length(walk.types); i++)
		visit_dependents(&walk, TypeRelationId, list_nth_oid(walk.types, i), true);
	for (i = 0; i < list_length(walk.functions); i++)
		visit_dependents(&walk, ProcedureRelationId, list_nth_oid(walk.functions, i), true);
	for (i = 0; i < list_length(walk.relations); i++)
		visit_dependents(&walk, RelationRelationId, list_nth_oid(walk.relations, i), true);
	judge_own(&walk);
	if (walk.in_way.len > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("type %s cannot contain a protected value",
						format_type_be(get_rel_type_id(relid))),
				 errdetail("Made over it before, and able to order, compare or keep it: %s.", walk.in_way.data),
				 errhint("Drop these first.")));

	for (i = 0; i < list_length(walk.column_types); i++)
		quiet_type(list_nth_oid(walk.column_types, i));
	free_object_addresses(walk.judged);
}

/* Types of the relation's own columns. */
static void
quiet_columns(Oid relid)
{
	AttrNumber	attnum;
	HeapTuple	att;

	if (!relkind_keeps_rows(get_rel_relkind(relid)))
		return;
	for (attnum = 1; HeapTupleIsValid(att = dp_guard_fetch_attribute(relid, attnum)); attnum++)
	{
		Form_pg_attribute form = (Form_pg_attribute) GETSTRUCT(att);

		if (!form->attisdropped && !dp_type_is_encrypted(form->atttypid) &&
			dp_contains_encrypted_type(form->atttypid))
			quiet_type(form->atttypid);
	}
}

void
dp_guard_judge_types(void)
{
	List	   *relations;
	ListCell   *lc;

	/* ROLLBACK of a failed transaction is a command, too */
	if (noted == NIL || !IsTransactionState())
		return;
	relations = list_copy(noted);
	list_free(noted);
	noted = NIL;				/* first: an error must not keep it */
	CommandCounterIncrement();
	foreach(lc, relations)
	{
		quiet_columns(lfirst_oid(lc));
		judge_relation(lfirst_oid(lc));
	}
}
