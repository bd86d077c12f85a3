/*
 * foreign_temporary.c
 *	  Temporary tables of code of others; see foreign_temporary.h.
 */
#include "postgres.h"

#include "access/foreign_temporary.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "base/compat.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_type.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

static bool
catalog_has(Oid catalog, Oid index, AttrNumber name_column, AttrNumber schema_column, const char *name)
{
	Relation	rel = table_open(catalog, AccessShareLock);
	ScanKeyData key[1];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	ScanKeyInit(&key[0], name_column, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum(name));
	scan = systable_beginscan(rel, index, true, NULL, 1, key);
	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		bool		isnull;

		found = !isAnyTempNamespace(DatumGetObjectId(heap_getattr(tuple, schema_column, RelationGetDescr(rel), &isnull)));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

bool
dp_foreign_name_is_free(const char *name)
{
	return name == NULL ||
		(!catalog_has(RelationRelationId, ClassNameNspIndexId, Anum_pg_class_relname, Anum_pg_class_relnamespace, name) &&
		 !catalog_has(TypeRelationId, TypeNameNspIndexId, Anum_pg_type_typname, Anum_pg_type_typnamespace, name));
}

static bool
is_plain_temporary(RangeVar *name)
{
	if (name->schemaname == NULL ? name->relpersistence != RELPERSISTENCE_TEMP : strcmp(name->schemaname, "pg_temp") != 0)
		return false;
	return dp_foreign_name_is_free(name->relname);
}

/* Does a value of the type come to be without a call of somebody's function? */
static bool
is_plain_type(Oid type)
{
	Oid			element = get_element_type(type);
	char		kind;

	if (OidIsValid(element))
		type = element;
	if (type < FirstNormalObjectId)
		return true;
	kind = get_typtype(type);
	return kind == TYPTYPE_BASE || kind == TYPTYPE_ENUM;
}

static bool
calls_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_FuncCall:
		case T_A_Expr:
		case T_SubLink:
			return true;
		case T_TypeCast:
			{
				Type		type = LookupTypeName(NULL, ((TypeCast *) node)->typeName, NULL, true);
				bool		plain = type != NULL && is_plain_type(typeTypeId(type));

				if (type != NULL)
					ReleaseSysCache(type);
				if (!plain)
					return true;
				break;
			}
		default:
			break;
	}
	return raw_expression_tree_walker(node, calls_walker, context);
}

static bool
is_plain_constraint(Constraint *constraint)
{
	switch (constraint->contype)
	{
		case CONSTR_NULL:
		case CONSTR_NOTNULL:
		case CONSTR_ATTR_DEFERRABLE:
		case CONSTR_ATTR_NOT_DEFERRABLE:
		case CONSTR_ATTR_DEFERRED:
		case CONSTR_ATTR_IMMEDIATE:
			return true;
		case CONSTR_DEFAULT:
			return !calls_walker(constraint->raw_expr, NULL);
		case CONSTR_PRIMARY:
		case CONSTR_UNIQUE:
			return dp_foreign_name_is_free(constraint->conname);
		default:
			return false;
	}
}

static bool
is_plain_column(ColumnDef *column)
{
	Type		type = LookupTypeName(NULL, column->typeName, NULL, true);
	bool		plain;
	ListCell   *lc;

	/* serial is no type; what is none is refused by PostgreSQL */
	plain = type == NULL || is_plain_type(typeTypeId(type));
	if (type != NULL)
		ReleaseSysCache(type);
	foreach(lc, column->constraints)
		plain = plain && is_plain_constraint(lfirst_node(Constraint, lc));
	return plain;
}

/* LIKE without anything beside the columns */
static bool
is_plain_like(TableLikeClause *like)
{
	Oid			relid = RangeVarGetRelid(like->relation, NoLock, true);
	HeapTuple	tuple;
	int			n = 0;

	if (like->options != 0 || !OidIsValid(relid))
		return false;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	if (HeapTupleIsValid(tuple))
	{
		n = ((Form_pg_class) GETSTRUCT(tuple))->relnatts;
		ReleaseSysCache(tuple);
	}
	for (int i = 1; i <= n; i++)
	{
		Oid			type = get_atttype(relid, i);

		if (OidIsValid(type) && !is_plain_type(type))
			return false;
	}
	return true;
}

bool
dp_foreign_temporary_table(CreateStmt *create)
{
	ListCell   *lc;

	if (!is_plain_temporary(create->relation) || create->inhRelations != NIL || create->partbound != NULL ||
		create->partspec != NULL || create->ofTypename != NULL)
		return false;
	foreach(lc, create->tableElts)
	{
		Node	   *element = lfirst(lc);
		bool		plain = IsA(element, ColumnDef) ? is_plain_column((ColumnDef *) element) :
			IsA(element, Constraint) ? is_plain_constraint((Constraint *) element) :
			IsA(element, TableLikeClause) && is_plain_like((TableLikeClause *) element);

		if (!plain)
			return false;
	}
	return true;
}

bool
dp_foreign_temporary_table_as(CreateTableAsStmt *create)
{
	Query	   *query = (Query *) create->query;
	ListCell   *lc;

	if (create->objtype != OBJECT_TABLE || !is_plain_temporary(create->into->rel) || !IsA(query, Query) ||
		query->commandType == CMD_UTILITY)
		return false;
	foreach(lc, query->targetList)
	{
		if (!is_plain_type(exprType((Node *) lfirst_node(TargetEntry, lc)->expr)))
			return false;
	}
	return true;
}
