/*
 * changed_tables.c
 *	  Which tables with protected columns a utility command changes; see changed_tables.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "audit/changed_tables.h"
#include "audit/protected_columns.h"
#include "base/compat.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

bool
dp_changes_tables(const Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_AlterTableStmt:
		case T_RenameStmt:
		case T_AlterObjectSchemaStmt:
		case T_IndexStmt:
		case T_CreateStatsStmt:
		case T_TruncateStmt:
		case T_GrantStmt:
		case T_CreatePublicationStmt:
		case T_AlterPublicationStmt:
		case T_CreateTableAsStmt:
		case T_ViewStmt:
		case T_CreateFunctionStmt:
		case T_CreateTrigStmt:
		case T_RuleStmt:
		case T_CreatePolicyStmt:
		case T_AlterPolicyStmt:
		case T_DropStmt:
		case T_DropOwnedStmt:
		case T_ReassignOwnedStmt:
			return true;
		default:
			return false;
	}
}

static List *
add_table(List *tables, Oid relid)
{
	if (OidIsValid(relid) && !list_member_oid(tables, relid) && dp_audit_has_protected(relid))
		tables = lappend_oid(tables, relid);
	return tables;
}

static List *
add_named(List *tables, const RangeVar *relation)
{
	return relation == NULL ? tables : add_table(tables, RangeVarGetRelid(relation, NoLock, true));
}

/* Of a schema, of an owner, or all: InvalidOid says any. */
static List *
add_all(List *tables, Oid schema, Oid owner)
{
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(pg_class, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	List	   *found = NIL;
	ListCell   *cell;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if ((form->relkind == RELKIND_RELATION || form->relkind == RELKIND_PARTITIONED_TABLE) &&
			(!OidIsValid(schema) || form->relnamespace == schema) && (!OidIsValid(owner) || form->relowner == owner))
			found = lappend_oid(found, form->oid);
	}
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	foreach(cell, found)
		tables = add_table(tables, lfirst_oid(cell));
	return tables;
}

static List *
add_schema(List *tables, const char *name)
{
	Oid			schema = get_namespace_oid(name, true);

	return OidIsValid(schema) ? add_all(tables, schema, InvalidOid) : tables;
}

static List *
add_current_schema(List *tables)
{
	List	   *path = fetch_search_path(false);

	return path == NIL ? tables : add_all(tables, linitial_oid(path), InvalidOid);
}

static List *
add_owners(List *tables, List *roles)
{
	ListCell   *cell;

	foreach(cell, roles)
	{
		Oid			role = get_rolespec_oid(lfirst(cell), true);

		if (OidIsValid(role))
			tables = add_all(tables, InvalidOid, role);
	}
	return tables;
}

/* The tables, and the tables whose rows are values, that an object depends on. */
static List *
add_used(List *tables, Oid class_id, Oid object_id, Oid but)
{
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	ScanKeyData key[2];
	SysScanDesc uses;
	HeapTuple	use;

	ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(class_id));
	ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(object_id));
	uses = systable_beginscan(depend, DependDependerIndexId, true, SnapshotSelf, 2, key);
	while (HeapTupleIsValid(use = systable_getnext(uses)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(use);

		if (form->refclassid == RelationRelationId && form->refobjid != but)
			tables = add_table(tables, form->refobjid);
		else if (form->refclassid == TypeRelationId)
			tables = add_table(tables, get_typ_typrelid(form->refobjid));
	}
	systable_endscan(uses);
	table_close(depend, AccessShareLock);
	return tables;
}

/* What a view's rule reads; the rule is too new for a snapshot. */
static List *
add_read_by_view(List *tables, const RangeVar *view)
{
	Oid			relid = RangeVarGetRelid(view, NoLock, true);
	Relation	rewrite;
	ScanKeyData key;
	SysScanDesc rules;
	HeapTuple	rule;

	if (!OidIsValid(relid))
		return tables;
	rewrite = table_open(RewriteRelationId, AccessShareLock);
	ScanKeyInit(&key, Anum_pg_rewrite_ev_class, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	rules = systable_beginscan(rewrite, RewriteRelRulenameIndexId, true, SnapshotSelf, 1, &key);
	while (HeapTupleIsValid(rule = systable_getnext(rules)))
		tables = add_used(tables, RewriteRelationId, ((Form_pg_rewrite) GETSTRUCT(rule))->oid, relid);
	systable_endscan(rules);
	table_close(rewrite, AccessShareLock);
	return tables;
}

static List *
add_granted(List *tables, const GrantStmt *grant)
{
	ListCell   *cell;

	if (grant->objtype != OBJECT_TABLE)
		return tables;
	foreach(cell, grant->objects)
		tables = grant->targtype == ACL_TARGET_OBJECT ? add_named(tables, lfirst(cell)) :
		grant->targtype == ACL_TARGET_ALL_IN_SCHEMA ? add_schema(tables, strVal(lfirst(cell))) : tables;
	return tables;
}

static List *
add_published(List *tables, List *objects, bool all)
{
	ListCell   *cell;

	if (all)
		return add_all(tables, InvalidOid, InvalidOid);
	foreach(cell, objects)
	{
		PublicationObjSpec *object = (PublicationObjSpec *) lfirst(cell);

		if (object->pubobjtype == PUBLICATIONOBJ_TABLE)
			tables = add_named(tables, object->pubtable->relation);
		else if (object->pubobjtype == PUBLICATIONOBJ_TABLES_IN_SCHEMA)
			tables = add_schema(tables, object->name);
		else if (object->pubobjtype == PUBLICATIONOBJ_TABLES_IN_CUR_SCHEMA)
			tables = add_current_schema(tables);
	}
	return tables;
}

/* Triggers, rules and policies are named after their table. */
static List *
add_dropped(List *tables, const DropStmt *drop)
{
	ListCell   *cell;

	foreach(cell, drop->objects)
	{
		List	   *names = (List *) lfirst(cell);

		switch (drop->removeType)
		{
			case OBJECT_TABLE:
				tables = add_named(tables, makeRangeVarFromNameList(names));
				break;
			case OBJECT_SCHEMA:
				tables = add_schema(tables, strVal(lfirst(cell)));
				break;
			case OBJECT_TRIGGER:
			case OBJECT_RULE:
			case OBJECT_POLICY:
				names = list_truncate(list_copy(names), list_length(names) - 1);
				if (names != NIL)
					tables = add_named(tables, makeRangeVarFromNameList(names));
				break;
			default:
				break;
		}
	}
	return tables;
}

List *
dp_changed_tables(Node *statement, bool after, Oid function)
{
	ListCell   *cell;
	List	   *tables = NIL;

	switch (nodeTag(statement))
	{
		case T_AlterTableStmt:
			return add_named(NIL, ((AlterTableStmt *) statement)->relation);
		case T_RenameStmt:
			return after ? NIL : add_named(NIL, ((RenameStmt *) statement)->relation);
		case T_AlterObjectSchemaStmt:
			return after ? NIL : add_named(NIL, ((AlterObjectSchemaStmt *) statement)->relation);
		case T_IndexStmt:
			return add_named(NIL, ((IndexStmt *) statement)->relation);
		case T_CreateTrigStmt:
			return add_named(NIL, ((CreateTrigStmt *) statement)->relation);
		case T_RuleStmt:
			return add_named(NIL, ((RuleStmt *) statement)->relation);
		case T_CreatePolicyStmt:
			return add_named(NIL, ((CreatePolicyStmt *) statement)->table);
		case T_AlterPolicyStmt:
			return add_named(NIL, ((AlterPolicyStmt *) statement)->table);
		case T_TruncateStmt:
			foreach(cell, ((TruncateStmt *) statement)->relations)
				tables = add_named(tables, lfirst(cell));
			return tables;
		case T_CreateStatsStmt:
			foreach(cell, ((CreateStatsStmt *) statement)->relations)
				if (IsA(lfirst(cell), RangeVar))
				tables = add_named(tables, lfirst(cell));
			return tables;
		case T_GrantStmt:
			return add_granted(NIL, (GrantStmt *) statement);
		case T_CreatePublicationStmt:
			return add_published(NIL, ((CreatePublicationStmt *) statement)->pubobjects,
								 ((CreatePublicationStmt *) statement)->for_all_tables);
		case T_AlterPublicationStmt:
			return add_published(NIL, ((AlterPublicationStmt *) statement)->pubobjects, false);
		case T_CreateTableAsStmt:
			return after && ((CreateTableAsStmt *) statement)->objtype == OBJECT_MATVIEW ?
				add_read_by_view(NIL, ((CreateTableAsStmt *) statement)->into->rel) : NIL;
		case T_ViewStmt:
			return after ? add_read_by_view(NIL, ((ViewStmt *) statement)->view) : NIL;
		case T_CreateFunctionStmt:
			/* arguments, result and parsed body; a body that is text says nothing */
			return OidIsValid(function) ? add_used(NIL, ProcedureRelationId, function, InvalidOid) : NIL;
		case T_DropStmt:
			return after ? NIL : add_dropped(NIL, (DropStmt *) statement);
		case T_DropOwnedStmt:
			return after ? NIL : add_owners(NIL, ((DropOwnedStmt *) statement)->roles);
		case T_ReassignOwnedStmt:
			return after ? NIL : add_owners(NIL, ((ReassignOwnedStmt *) statement)->roles);
		default:
			return NIL;
	}
}

const char *
dp_changed_object(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_CreateTrigStmt:
			return ((CreateTrigStmt *) statement)->trigname;
		case T_RuleStmt:
			return ((RuleStmt *) statement)->rulename;
		case T_CreatePolicyStmt:
			return ((CreatePolicyStmt *) statement)->policy_name;
		case T_AlterPolicyStmt:
			return ((AlterPolicyStmt *) statement)->policy_name;
		case T_IndexStmt:
			return ((IndexStmt *) statement)->idxname;
		case T_ViewStmt:
			return ((ViewStmt *) statement)->view->relname;
		case T_CreateTableAsStmt:
			return ((CreateTableAsStmt *) statement)->into->rel->relname;
		case T_CreateFunctionStmt:
			return strVal(llast(((CreateFunctionStmt *) statement)->funcname));
		case T_CreatePublicationStmt:
			return ((CreatePublicationStmt *) statement)->pubname;
		case T_AlterPublicationStmt:
			return ((AlterPublicationStmt *) statement)->pubname;
		case T_RenameStmt:
			return ((RenameStmt *) statement)->newname;
		case T_DropStmt:
			{
				const DropStmt *drop = (DropStmt *) statement;

				return drop->removeType == OBJECT_TRIGGER || drop->removeType == OBJECT_RULE || drop->removeType == OBJECT_POLICY ?
					strVal(llast((List *) linitial(drop->objects))) : NULL;
			}
		default:
			return NULL;
	}
}
