/*
 * change_events.c
 *	  Changed settings and definitions; see change_events.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "audit/change_events.h"
#include "audit/protected_columns.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_rewrite.h"
#include "commands/extension.h"
#include "events/event.h"
#include "keys/catalog.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

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

static void
tell_table(const DpUtility *utility, Oid relid, const char *name)
{
	StringInfoData detail;

	if (!OidIsValid(relid) || dp_audit_relation(relid)->n == 0)
		return;
	initStringInfo(&detail);
	put(&detail, "table", quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid)));
	put(&detail, "name", name);
	record(DP_EVENT_DEFINITION_CHANGED, utility, &detail);
}

static void
tell_relation(const DpUtility *utility, const RangeVar *relation, const char *name)
{
	tell_table(utility, RangeVarGetRelid(relation, NoLock, true), name);
}

static bool
runs_or_filters(const AlterTableStmt *alter)
{
	ListCell   *cell;

	foreach(cell, alter->cmds)
	{
		switch (((AlterTableCmd *) lfirst(cell))->subtype)
		{
			case AT_EnableTrig:
			case AT_EnableAlwaysTrig:
			case AT_EnableReplicaTrig:
			case AT_DisableTrig:
			case AT_EnableTrigAll:
			case AT_DisableTrigAll:
			case AT_EnableTrigUser:
			case AT_DisableTrigUser:
			case AT_EnableRule:
			case AT_EnableAlwaysRule:
			case AT_EnableReplicaRule:
			case AT_DisableRule:
			case AT_EnableRowSecurity:
			case AT_DisableRowSecurity:
			case AT_ForceRowSecurity:
			case AT_NoForceRowSecurity:
			case AT_ChangeOwner:
				return true;
			default:
				break;
		}
	}
	return false;
}

/* Triggers, rules and policies are named after their table. */
static void
tell_drop(const DpUtility *utility, const DropStmt *drop)
{
	ListCell   *cell;

	if (drop->removeType != OBJECT_TRIGGER && drop->removeType != OBJECT_RULE && drop->removeType != OBJECT_POLICY)
		return;
	foreach(cell, drop->objects)
	{
		List	   *names = (List *) lfirst(cell);
		List	   *table = list_truncate(list_copy(names), list_length(names) - 1);

		if (table != NIL)
			tell_relation(utility, makeRangeVarFromNameList(table), strVal(llast(names)));
	}
}

/* The tables that a view's rule reads; the rule is too new for a snapshot. */
static void
tell_view(const DpUtility *utility, const ViewStmt *view)
{
	Oid			relid = RangeVarGetRelid(view->view, NoLock, true);
	Relation	rewrite = table_open(RewriteRelationId, AccessShareLock);
	Relation	depend = table_open(DependRelationId, AccessShareLock);
	List	   *told = NIL;
	ScanKeyData key[2];
	SysScanDesc rules;
	HeapTuple	rule;

	ScanKeyInit(&key[0], Anum_pg_rewrite_ev_class, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	rules = systable_beginscan(rewrite, RewriteRelRulenameIndexId, true, SnapshotSelf, 1, key);
	while (HeapTupleIsValid(rule = systable_getnext(rules)))
	{
		SysScanDesc uses;
		HeapTuple	use;

		ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(RewriteRelationId));
		ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(((Form_pg_rewrite) GETSTRUCT(rule))->oid));
		uses = systable_beginscan(depend, DependDependerIndexId, true, SnapshotSelf, 2, key);
		while (HeapTupleIsValid(use = systable_getnext(uses)))
		{
			Form_pg_depend form = (Form_pg_depend) GETSTRUCT(use);

			if (form->refclassid == RelationRelationId && form->refobjid != relid)
				told = list_append_unique_oid(told, form->refobjid);
		}
		systable_endscan(uses);
	}
	systable_endscan(rules);
	table_close(depend, AccessShareLock);
	table_close(rewrite, AccessShareLock);
	for (int i = 0; i < list_length(told); i++)
		tell_table(utility, list_nth_oid(told, i), view->view->relname);
}

/* After the command: it had the right, and what it names is there. */
static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	Node	   *statement = utility->statement;

	switch (nodeTag(statement))
	{
		case T_AlterSystemStmt:
		case T_AlterDatabaseSetStmt:
		case T_AlterRoleSetStmt:
		case T_VariableSetStmt:
		case T_CreateTrigStmt:
		case T_RuleStmt:
		case T_CreatePolicyStmt:
		case T_AlterPolicyStmt:
		case T_AlterTableStmt:
		case T_DropStmt:
		case T_ViewStmt:
			break;
		default:
			return;
	}
	if (failed || creating_extension || dp_own_statement() || !dp_catalog_is_there())
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
		case T_CreateTrigStmt:
			tell_relation(utility, ((CreateTrigStmt *) statement)->relation, ((CreateTrigStmt *) statement)->trigname);
			break;
		case T_RuleStmt:
			tell_relation(utility, ((RuleStmt *) statement)->relation, ((RuleStmt *) statement)->rulename);
			break;
		case T_CreatePolicyStmt:
			tell_relation(utility, ((CreatePolicyStmt *) statement)->table, ((CreatePolicyStmt *) statement)->policy_name);
			break;
		case T_AlterPolicyStmt:
			tell_relation(utility, ((AlterPolicyStmt *) statement)->table, ((AlterPolicyStmt *) statement)->policy_name);
			break;
		case T_AlterTableStmt:
			if (runs_or_filters((AlterTableStmt *) statement))
				tell_relation(utility, ((AlterTableStmt *) statement)->relation, NULL);
			break;
		case T_DropStmt:
			tell_drop(utility, (DropStmt *) statement);
			break;
		case T_ViewStmt:
			tell_view(utility, (ViewStmt *) statement);
			break;
		default:
			break;
	}
}

static const DpSubscriber subscriber = {
	.name = "changes",
	.end_utility = end_utility,
};

void
dp_change_events_init(void)
{
	dp_statement_subscribe(&subscriber);
}
