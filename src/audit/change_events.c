/*
 * change_events.c
 *	  Changed settings and definitions; see change_events.h.
 */
#include "postgres.h"

#include "audit/change_events.h"
#include "audit/changed_tables.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "events/event.h"
#include "keys/catalog.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#define PREFIX "dataprotect."

/* Sessions' own: how they read, and for what. */
static const char *const of_sessions[] = {PREFIX "catalog_types", PREFIX "input", PREFIX "output", PREFIX "purpose"};

static void
put(StringInfo detail, const char *member, const char *text)
{
	if (text == NULL)
		return;
	appendStringInfoString(detail, detail->len > 0 ? ", " : "{");
	escape_json(detail, member);
	appendStringInfoString(detail, ": ");
	escape_json(detail, text);
}

static void
record(DpEventCode event, const DpUtility *utility, StringInfo detail)
{
	put(detail, "command", CreateCommandName(utility->statement));
	appendStringInfoChar(detail, '}');
	dp_event_admin(event, NULL, detail->data);
}

/* ---- settings ---- */

static bool
setting_counts(const VariableSetStmt *set, bool session)
{
	if (set->kind == VAR_RESET_ALL)
		return !session;
	if (set->name == NULL || pg_strncasecmp(set->name, PREFIX, strlen(PREFIX)) != 0)
		return false;
	for (int i = 0; session && i < lengthof(of_sessions); i++)
	{
		if (pg_strcasecmp(set->name, of_sessions[i]) == 0)
			return false;
	}
	return true;
}

static void
tell_setting(const DpUtility *utility, VariableSetStmt *set, bool session, const char *member, const char *of)
{
	StringInfoData detail;

	if (!setting_counts(set, session))
		return;
	initStringInfo(&detail);
	put(&detail, "setting", set->kind == VAR_RESET_ALL ? "all" : set->name);
	if (set->kind == VAR_SET_VALUE)
		put(&detail, "value", ExtractSetVariableArgs(set));
	put(&detail, member, of);
	record(DP_EVENT_SETTING_CHANGED, utility, &detail);
}

/* ---- definitions ---- */

/* A command that is under way, and what is known of it before its end. */
typedef struct Change
{
	const Node *statement;
	List	   *told;			/* of Told */
	Oid			function;		/* that it has made */
	struct Change *outer;
} Change;

static Change *innermost = NULL;	/* one for each begin_utility that returned one */

/* A table as it was called before the command. */
typedef struct Told
{
	Oid			relid;
	char	   *name;
} Told;

/* Add the tables that are not in the list of Told yet. */
static List *
note_tables(List *told, List *tables)
{
	ListCell   *cell;

	foreach(cell, tables)
	{
		Told	   *table = palloc(sizeof(Told));
		char	   *name = get_rel_name(lfirst_oid(cell));
		char	   *schema = name != NULL ? get_namespace_name(get_rel_namespace(lfirst_oid(cell))) : NULL;
		bool		known = schema == NULL;
		ListCell   *other;

		table->relid = lfirst_oid(cell);
		foreach(other, told)
			known |= ((Told *) lfirst(other))->relid == table->relid;
		if (known)
			continue;
		table->name = quote_qualified_identifier(schema, name);
		told = lappend(told, table);
	}
	return told;
}

/* Part of another command, which tells of it; CREATE SCHEMA tells nothing itself. */
static bool
is_part(const DpUtility *utility)
{
	return utility->context == PROCESS_UTILITY_SUBCOMMAND &&
		!(dp_frame->utility != NULL && IsA(dp_frame->utility, CreateSchemaStmt));
}

/* Before the command: what it drops is there, and has the name that it uses. */
static void
begin_utility(const DpUtility *utility, Datum *state)
{
	Change	   *change;

	*state = (Datum) 0;
	if (!dp_changes_tables(utility->statement) || is_part(utility) ||
		creating_extension || dp_own_told() || !dp_catalog_is_there())
		return;
	change = palloc0(sizeof(Change));
	change->statement = utility->statement;
	change->told = note_tables(NIL, dp_changed_tables(utility->statement, false, InvalidOid));
	change->outer = innermost;
	innermost = change;
	*state = PointerGetDatum(change);
}

static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (access == OAT_POST_CREATE && class_id == ProcedureRelationId && innermost != NULL &&
		innermost->statement == dp_frame->utility && IsA(innermost->statement, CreateFunctionStmt))
		innermost->function = object_id;
}

static void
tell_definitions(const DpUtility *utility, const Change *change)
{
	List	   *told;
	ListCell   *cell;

	told = note_tables(change->told, dp_changed_tables(utility->statement, true, change->function));
	foreach(cell, told)
	{
		StringInfoData detail;

		initStringInfo(&detail);
		put(&detail, "table", ((Told *) lfirst(cell))->name);
		put(&detail, "name", dp_changed_object(utility->statement));
		record(DP_EVENT_DEFINITION_CHANGED, utility, &detail);
	}
}

/* After the command: it had the right, and what it names is there. */
static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	Node	   *statement = utility->statement;
	const Change *change = (const Change *) DatumGetPointer(state);

	if (change != NULL)
		innermost = change->outer;
	switch (nodeTag(statement))
	{
		case T_AlterSystemStmt:
		case T_AlterDatabaseSetStmt:
		case T_AlterRoleSetStmt:
		case T_VariableSetStmt:
			break;
		default:
			if (change == NULL)
				return;
			break;
	}
	if (failed || creating_extension || dp_own_told() || !dp_catalog_is_there())
		return;
	switch (nodeTag(statement))
	{
		case T_AlterSystemStmt:
			tell_setting(utility, ((AlterSystemStmt *) statement)->setstmt, false, "of", "system");
			break;
		case T_AlterDatabaseSetStmt:
			tell_setting(utility, ((AlterDatabaseSetStmt *) statement)->setstmt, false, "database",
						 ((AlterDatabaseSetStmt *) statement)->dbname);
			break;
		case T_AlterRoleSetStmt:
			{
				AlterRoleSetStmt *alter = (AlterRoleSetStmt *) statement;

				tell_setting(utility, alter->setstmt, false, "role",
							 alter->role == NULL ? "all" : alter->role->rolename ? alter->role->rolename : "current");
				break;
			}
		case T_VariableSetStmt:
			tell_setting(utility, (VariableSetStmt *) statement, true, "of", "session");
			break;
		default:
			tell_definitions(utility, change);
			break;
	}
}

static const DpSubscriber subscriber = {
	.name = "changes",
	.begin_utility = begin_utility,
	.end_utility = end_utility,
	.object_access = object_access,
};

void
dp_change_events_init(void)
{
	dp_statement_subscribe(&subscriber);
}
