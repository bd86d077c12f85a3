/*
 * foreign_utility.c
 *	  Which commands code of others may execute; see foreign_utility.h.
 */
#include "postgres.h"

#include "access/foreign_temporary.h"
#include "access/foreign_utility.h"
#include "base/compat.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "utils/lsyscache.h"

/* Does a name stand for a temporary table of this session, or for none? */
static bool
is_temporary(RangeVar *name)
{
	Oid			relid = RangeVarGetRelid(name, NoLock, true);

	return !OidIsValid(relid) || isTempNamespace(get_rel_namespace(relid));
}

static bool
drops_temporary(DropStmt *drop)
{
	ListCell   *lc;

	if (drop->removeType != OBJECT_TABLE)
		return false;
	foreach(lc, drop->objects)
	{
		if (!is_temporary(makeRangeVarFromNameList(lfirst_node(List, lc))))
			return false;
	}
	return true;
}

static bool
analyzes_temporary(VacuumStmt *vacuum)
{
	ListCell   *lc;

	if (vacuum->is_vacuumcmd || vacuum->rels == NIL)
		return false;
	foreach(lc, vacuum->rels)
	{
		RangeVar   *name = lfirst_node(VacuumRelation, lc)->relation;

		if (name == NULL || !is_temporary(name))
			return false;
	}
	return true;
}

/* Settings by which a role is changed, or told apart, or which say what a statement means. */
bool
dp_foreign_setting_is_harmless(const char *name)
{
	static const char *const refused[] = {"role", "session_authorization", "search_path", "session_replication_role",
	"row_security", "standard_conforming_strings"};

	for (int i = 0; i < lengthof(refused); i++)
	{
		if (pg_strcasecmp(name, refused[i]) == 0)
			return false;
	}
	return pg_strncasecmp(name, "dataprotect.", strlen("dataprotect.")) != 0;
}

static bool
sets_identity(VariableSetStmt *set)
{
	return set->kind == VAR_RESET_ALL || set->name == NULL || !dp_foreign_setting_is_harmless(set->name);
}

/* EXPLAIN ANALYZE does what it explains. */
static bool
explains_harmless(ExplainStmt *explain)
{
	Query	   *query = (Query *) explain->query;

	return IsA(query, Query) &&
		(query->commandType != CMD_UTILITY || dp_foreign_utility_is_harmless(query->utilityStmt));
}

bool
dp_foreign_utility_is_harmless(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_TransactionStmt:
			return ((TransactionStmt *) statement)->kind != TRANS_STMT_PREPARE;
		case T_FetchStmt:
		case T_ExecuteStmt:		/* of what the role has prepared itself */
		case T_DeallocateStmt:
		case T_CallStmt:
		case T_DoStmt:
		case T_NotifyStmt:
		case T_ListenStmt:
		case T_UnlistenStmt:
		case T_LockStmt:
		case T_TruncateStmt:
		case T_VariableShowStmt:
		case T_ConstraintsSetStmt:
			return true;
		case T_ExplainStmt:
			return explains_harmless((ExplainStmt *) statement);
		case T_VariableSetStmt:
			return !sets_identity((VariableSetStmt *) statement);
		case T_CreateStmt:
			return dp_foreign_temporary_table((CreateStmt *) statement);
		case T_CreateTableAsStmt:
			return dp_foreign_temporary_table_as((CreateTableAsStmt *) statement);
		case T_IndexStmt:
			return is_temporary(((IndexStmt *) statement)->relation) &&
				dp_foreign_name_is_free(((IndexStmt *) statement)->idxname);
		case T_DropStmt:
			return drops_temporary((DropStmt *) statement);
		case T_VacuumStmt:
			return analyzes_temporary((VacuumStmt *) statement);
		default:
			return false;
	}
}
