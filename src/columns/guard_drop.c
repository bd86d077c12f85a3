/*
 * guard_drop.c
 *	  Protected columns are not dropped with what they depend on; see
 *	  guard_drop.h.
 *
 * Each command has a list of its own of the columns that went: what runs inside
 * it (DO, event triggers, functions) is judged by itself.
 *
 * A type's functions may go before the columns that have it, which are then no
 * longer known by it.  A command that can take types along is therefore given the
 * columns there are beforehand; of the others the columns are noted as they go.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "base/statement.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "columns/guard_catalog.h"
#include "columns/guard_drop.h"
#include "commands/extension.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "types/types.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#define MOST_NAMED	5			/* columns that an error names */

typedef struct Dropped
{
	Oid			lives;			/* the relation or type that may be left without it */
	bool		is_type;
	AttrNumber	attnum;			/* of a column that was there beforehand, else 0 */
	char	   *name;
} Dropped;

typedef struct Drops
{
	List	   *lost;			/* of Dropped */
	bool		beforehand;		/* columns were noted beforehand */
	MemoryContext context;		/* lives as long as the command */
} Drops;

/* Of the innermost command; NULL where it is none that drops. */
static Drops *innermost = NULL;

static void
note(Drops *drops, Oid lives, bool is_type, AttrNumber attnum, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(drops->context);
	Dropped    *dropped = palloc(sizeof(Dropped));

	dropped->lives = lives;
	dropped->is_type = is_type;
	dropped->attnum = attnum;
	dropped->name = pstrdup(name);
	drops->lost = lappend(drops->lost, dropped);
	MemoryContextSwitchTo(old);
}

static void
note_column(Drops *drops, Form_pg_attribute att)
{
	Oid			relid = att->attrelid;
	char		relkind;
	char	   *nsp;
	char	   *name;

	if (att->attisdropped || att->attnum <= 0 || !dp_contains_encrypted_type(att->atttypid))
		return;
	relkind = get_rel_relkind(relid);
	nsp = get_namespace_name(get_rel_namespace(relid));
	name = get_rel_name(relid);
	/* views and indexes have no values of their own; what is just dropped has no name */
	if (relkind == '\0' || strchr("rpmfc", relkind) == NULL || nsp == NULL || name == NULL)
		return;
	note(drops, relid, false, drops->beforehand ? att->attnum : 0, psprintf("%s.%s", quote_qualified_identifier(nsp, name),
																			quote_identifier(NameStr(att->attname))));
}

/* Every protected column there is. */
static void
note_all_columns(Drops *drops)
{
	Relation	rel = table_open(AttributeRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_attribute att = (Form_pg_attribute) GETSTRUCT(tuple);

		if (att->atttypid >= FirstNormalObjectId)
			note_column(drops, att);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* The cast to its base type is what makes a type an encrypted one: without, nothing opens. */
static void
note_cast(Oid castoid)
{
	HeapTuple	tuple = dp_guard_fetch(CastRelationId, CastOidIndexId, Anum_pg_cast_oid, castoid,
									   InvalidAttrNumber, 0);
	Form_pg_cast cast;

	if (!HeapTupleIsValid(tuple))
		return;
	cast = (Form_pg_cast) GETSTRUCT(tuple);
	if (cast->castcontext == COERCION_CODE_IMPLICIT && dp_type_is_encrypted(cast->castsource))
		note(innermost, cast->castsource, true, 0, psprintf("type %s", format_type_be(cast->castsource)));
}

/* Has a column, or a domain, a type or arrays of it? */
static bool
is_used(Oid typid)
{
	Oid			array = get_array_type(typid);
	Oid			of[2] = {typid, array};
	Relation	rel = table_open(DependRelationId, AccessShareLock);
	bool		used = false;

	for (int i = 0; i < 2 && OidIsValid(of[i]); i++)
	{
		ScanKeyData key[2];
		SysScanDesc scan;
		HeapTuple	tuple;

		ScanKeyInit(&key[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(TypeRelationId));
		ScanKeyInit(&key[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(of[i]));
		scan = systable_beginscan(rel, DependReferenceIndexId, true, NULL, 2, key);
		while (!used && HeapTupleIsValid(tuple = systable_getnext(scan)))
		{
			Form_pg_depend depend = (Form_pg_depend) GETSTRUCT(tuple);

			used = (depend->classid == RelationRelationId && depend->objsubid > 0) ||
				(depend->classid == TypeRelationId && depend->objid != array);
		}
		systable_endscan(scan);
	}
	table_close(rel, AccessShareLock);
	return used;
}

static bool
is_there(Oid relid, AttrNumber attnum)
{
	HeapTuple	tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relid), Int16GetDatum(attnum));
	bool		there = HeapTupleIsValid(tuple) && !((Form_pg_attribute) GETSTRUCT(tuple))->attisdropped;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return there;
}

/* Does it outlive the command, and stand for itself? */
static bool
outlives(const Dropped *dropped)
{
	HeapTuple	tuple;
	bool		part;

	if (dropped->is_type)
		return SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(dropped->lives)) && is_used(dropped->lives);
	if (dropped->attnum > 0 && is_there(dropped->lives, dropped->attnum))
		return false;			/* did not go */
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(dropped->lives));
	if (!HeapTupleIsValid(tuple))
		return false;			/* went as a whole */
	part = ((Form_pg_class) GETSTRUCT(tuple))->relispartition;
	ReleaseSysCache(tuple);
	return !part;				/* its parent's column is noted, too */
}

static int
by_name(const ListCell *a, const ListCell *b)
{
	return strcmp(((Dropped *) lfirst(a))->name, ((Dropped *) lfirst(b))->name);
}

static void
refuse_losses(List *drops)
{
	StringInfoData names;
	int			lost = 0;
	ListCell   *lc;

	list_sort(drops, by_name);
	initStringInfo(&names);
	foreach(lc, drops)
	{
		Dropped    *dropped = lfirst(lc);

		if (!outlives(dropped))
			continue;
		if (++lost <= MOST_NAMED)
			appendStringInfo(&names, "%s%s", lost > 1 ? ", " : "", dropped->name);
	}
	if (lost > MOST_NAMED)
		appendStringInfo(&names, " and %d more", lost - MOST_NAMED);
	if (lost > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("cannot drop what protected columns depend on"),
				 errdetail("Their values would be lost: %s.", names.data),
				 errhint("Call dataprotect.decrypt_column() for each column, or drop the columns or their tables first.")));
}

/* ---- hooks ---- */

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (access != OAT_DROP || innermost == NULL || object_id < FirstNormalObjectId)
		return;
	if (class_id == RelationRelationId && sub_id > 0 && !innermost->beforehand)
	{
		HeapTuple	tuple = dp_guard_fetch_attribute(object_id, sub_id);

		if (HeapTupleIsValid(tuple))
			note_column(innermost, (Form_pg_attribute) GETSTRUCT(tuple));
	}
	else if (class_id == CastRelationId)
		note_cast(object_id);
}

/*
 * DROP EXTENSION would lock every member, and meet the workers there, before its
 * end.  Whoever may not drop it is told so by the command.
 */
static void
refuse_extension(const DropStmt *stmt)
{
	ListCell   *lc;
	bool		ours = false;
	Drops		drops = {.context = CurrentMemoryContext};

	foreach(lc, stmt->objects)
		ours |= strcmp(strVal(lfirst(lc)), "dataprotect") == 0;
	if (!ours || !superuser() || !OidIsValid(get_extension_oid("dataprotect", true)))
		return;
	note_all_columns(&drops);
	refuse_losses(drops.lost);
}

/* May the command take along a type, or the functions that make one? */
static bool
takes_types(const Node *statement)
{
	const DropStmt *stmt = (const DropStmt *) statement;

	if (IsA(statement, DropOwnedStmt))
		return ((const DropOwnedStmt *) statement)->behavior == DROP_CASCADE;
	if (stmt->behavior != DROP_CASCADE)
		return false;
	switch (stmt->removeType)
	{
		case OBJECT_TABLE:
		case OBJECT_VIEW:
		case OBJECT_MATVIEW:
		case OBJECT_INDEX:
		case OBJECT_SEQUENCE:
		case OBJECT_TRIGGER:
		case OBJECT_RULE:
		case OBJECT_POLICY:
			return false;		/* the row type of a table has no functions */
		default:
			return true;
	}
}

/* No other command drops what it does not name, and none a column but ALTER TABLE. */
static void
begin_utility(const DpUtility *utility, Datum *state)
{
	if (IsA(utility->statement, DropStmt) &&
		((DropStmt *) utility->statement)->removeType == OBJECT_EXTENSION &&
		((DropStmt *) utility->statement)->behavior == DROP_CASCADE)
		refuse_extension((DropStmt *) utility->statement);
	*state = PointerGetDatum(innermost);
	innermost = NULL;
	if (IsA(utility->statement, DropStmt) || IsA(utility->statement, DropOwnedStmt))
	{
		innermost = palloc0(sizeof(Drops));
		innermost->context = CurrentMemoryContext;
		if (takes_types(utility->statement))
		{
			innermost->beforehand = true;
			note_all_columns(innermost);
		}
	}
}

static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	Drops	   *drops = innermost;

	innermost = (Drops *) DatumGetPointer(state);
	if (!failed && drops != NULL)
		refuse_losses(drops->lost);
}

static const DpSubscriber subscriber = {
	.name = "lost columns",
	.begin_utility = begin_utility,
	.end_utility = end_utility,
	.object_access = object_access,
};

void
dp_guard_drop_init(void)
{
	dp_statement_subscribe(&subscriber);
}
