/*
 * modifier_ddl.c
 *	  When the modifier of a type name is about to be stored; see
 *	  modifier_ddl.h.
 *
 * A type's modifier function is not told why it is called.  It is told here, by
 * the innermost frame: a utility command that makes or changes an object that
 * keeps types or expressions is DDL; everything else, queries inside such a
 * command included, is an expression.
 *
 * CREATE TABLE AS and its like are read before they become commands: what their
 * columns have got is registered as the table is made.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/statement.h"
#include "catalog/indexing.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "types/modifier_ddl.h"
#include "types/modifier_registry.h"
#include "types/types.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

typedef enum Command
{
	COMMAND_OTHER,				/* stores no type name */
	COMMAND_DDL,
	COMMAND_AS_QUERY			/* makes a table from a query */
} Command;

static Command current = COMMAND_OTHER;

static Command
kind_of(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_AlterDomainStmt:
		case T_AlterPolicyStmt:
		case T_AlterPublicationStmt:
		case T_AlterTableStmt:
		case T_CompositeTypeStmt:
		case T_CreateCastStmt:
		case T_CreateDomainStmt:
		case T_CreateForeignTableStmt:
		case T_CreateFunctionStmt:
		case T_CreatePolicyStmt:
		case T_CreatePublicationStmt:
		case T_CreateSchemaStmt:
		case T_CreateStatsStmt:
		case T_CreateStmt:
		case T_CreateTrigStmt:
		case T_DefineStmt:
		case T_IndexStmt:
		case T_RuleStmt:
		case T_ViewStmt:
			return COMMAND_DDL;
		case T_CreateTableAsStmt:
			return COMMAND_AS_QUERY;
		default:
			return COMMAND_OTHER;
	}
}

bool
dp_modifier_in_ddl(void)
{
	return current == COMMAND_DDL && dp_frame->kind == DP_FRAME_UTILITY;
}

/* ---- tables made from queries ---- */

static void
store_column(Form_pg_attribute att)
{
	Oid			element = get_element_type(att->atttypid);
	Oid			type = OidIsValid(element) ? element : att->atttypid;

	if (att->attnum > 0 && att->atttypmod >= 0 && dp_type_is_encrypted(type))
		dp_modifier_store(type, att->atttypmod);
}

/* The columns of a table that this command has just written. */
static void
store_columns(Oid relid)
{
	Relation	rel = table_open(AttributeRelationId, AccessShareLock);
	ScanKeyData key[1];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key[0], Anum_pg_attribute_attrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, AttributeRelidNumIndexId, true, SnapshotSelf, 1, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		store_column((Form_pg_attribute) GETSTRUCT(tuple));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* ---- hooks ---- */

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (current == COMMAND_AS_QUERY && access == OAT_POST_CREATE && class_id == RelationRelationId &&
		sub_id == 0)
		store_columns(object_id);
}

/* A parallel worker does not know what only this backend knows. */
static void
starting(QueryDesc *query)
{
	if (dp_modifier_count_local() > 0)
		query->plannedstmt->parallelModeNeeded = false;
}

static void
begin_utility(const DpUtility *utility, Datum *state)
{
	*state = Int32GetDatum(current);
	current = kind_of(utility->statement);
}

static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	current = (Command) DatumGetInt32(state);
}

static const DpSubscriber subscriber = {
	.name = "modifiers",
	.starting = starting,
	.begin_utility = begin_utility,
	.end_utility = end_utility,
	.object_access = object_access,
};

void
dp_modifier_ddl_init(void)
{
	dp_statement_subscribe(&subscriber);
}
