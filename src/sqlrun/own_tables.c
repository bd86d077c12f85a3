/*
 * own_tables.c
 *	  Our tables are written, and locked, by our functions; see own_tables.h.
 *
 * The executor, COPY and MERGE all ask for a statement's permissions in one
 * place, views and rules included, so this is asked there.  TRUNCATE is of the
 * table's owner alone.  Commands that lock are looked at as they come.
 *
 * The parser locks what a statement writes, and the rewriter what that leads to,
 * before anybody asks for permissions; a statement that is prepared and never run
 * keeps the lock until its transaction ends.  So what is written is looked at once
 * it is parsed, and in the commands that parse statements without being told of
 * (CREATE RULE, CREATE FUNCTION .. BEGIN ATOMIC).  SELECT .. FOR UPDATE takes no
 * lock that any of ours waits for.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "commands/defrem.h"
#include "keys/own_sequence.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "sqlrun/own_tables.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define WRITES (ACL_INSERT | ACL_UPDATE | ACL_DELETE | ACL_TRUNCATE)

static void
refuse(Oid relid)
{
	aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(get_rel_relkind(relid)), get_rel_name(relid));
}

static bool
permits(DP_CHECK_PERMS_PARAMS)
{
	Oid			schema = InvalidOid;
	DpPermission asked;

	for (int i = 0; dp_next_permission(rtable, DP_CHECK_PERMS_INFOS, &i, &asked);)
	{
		if ((asked.required & WRITES) == 0)
			continue;
		if (!OidIsValid(schema))
			schema = get_namespace_oid("dataprotect", true);
		if (!OidIsValid(schema) || get_rel_namespace(asked.relid) != schema)
			continue;
		if (superuser_arg(OidIsValid(asked.role) ? asked.role : GetUserId()))
		{
			if ((asked.required & ACL_INSERT) != 0 && superuser())
				dp_own_sequence_keep(asked.relid);
			continue;
		}
		if (ereport_on_violation)
			refuse(asked.relid);
		return false;
	}
	return true;
}

/* ---- what is written ---- */

typedef struct Target
{
	Oid			schema;			/* ours */
	Oid			role;			/* with whose rights */
	Oid			found;			/* a relation of ours that it may not write */
	List	   *rules;			/* of relations looked into already */
} Target;

static bool query_writes_ours(Query *query, Target *target);

/* Do triggers of a view do its work, and not the tables below it? */
static bool
is_done_by_triggers(Relation view, CmdType command)
{
	const TriggerDesc *triggers = view->trigdesc;

	if (triggers == NULL)
		return false;
	return command == CMD_INSERT ? triggers->trig_insert_instead_row :
		command == CMD_UPDATE ? triggers->trig_update_instead_row :
		command == CMD_DELETE ? triggers->trig_delete_instead_row : false;
}

/* The relation that is written where a view is; else InvalidOid. */
static Oid
below_view(Relation view)
{
	Query	   *query = get_view_query(view);
	Node	   *from = list_length(query->jointree->fromlist) == 1 ? linitial(query->jointree->fromlist) : NULL;
	RangeTblEntry *rte;

	if (from == NULL || !IsA(from, RangeTblRef))
		return InvalidOid;
	rte = rt_fetch(((RangeTblRef *) from)->rtindex, query->rtable);
	return rte->rtekind == RTE_RELATION ? rte->relid : InvalidOid;
}

/* As below_view() and rules say, with the rights that those have. */
static bool
writes_ours(Oid relid, CmdType command, Target *target)
{
	Oid			role = target->role;
	Oid			below = InvalidOid;
	Relation	rel;
	bool		found = false;

	check_stack_depth();
	if (get_rel_namespace(relid) == target->schema)
	{
		target->found = relid;
		return !superuser_arg(role);
	}
	rel = relation_open(relid, AccessShareLock);
	if (rel->rd_rel->relkind == RELKIND_VIEW && !is_done_by_triggers(rel, command))
		below = below_view(rel);
	if (OidIsValid(below))
	{
		if (!RelationHasSecurityInvoker(rel))
			target->role = rel->rd_rel->relowner;
		found = writes_ours(below, command, target);
	}
	target->role = rel->rd_rel->relowner;
	if (!found && rel->rd_rules != NULL && !list_member_oid(target->rules, relid))
	{
		target->rules = lappend_oid(target->rules, relid);
		for (int i = 0; i < rel->rd_rules->numLocks && !found; i++)
		{
			ListCell   *lc;

			if (rel->rd_rules->rules[i]->event == CMD_SELECT)
				continue;
			foreach(lc, rel->rd_rules->rules[i]->actions)
				found = found || query_writes_ours(lfirst_node(Query, lc), target);
		}
	}
	target->role = role;
	relation_close(rel, NoLock);
	return found;
}

static bool
query_writes_ours(Query *query, Target *target)
{
	ListCell   *lc;

	foreach(lc, query->cteList)
	{
		Node	   *cte = lfirst_node(CommonTableExpr, lc)->ctequery;

		if (IsA(cte, Query) && query_writes_ours((Query *) cte, target))
			return true;
	}
	return query->resultRelation > 0 &&
		writes_ours(rt_fetch(query->resultRelation, query->rtable)->relid, query->commandType, target);
}

/* The statement within a command; else NULL. */
static Query *
query_of(Node *utility)
{
	Node	   *query = IsA(utility, ExplainStmt) ? ((ExplainStmt *) utility)->query :
		IsA(utility, CreateTableAsStmt) ? ((CreateTableAsStmt *) utility)->query :
		IsA(utility, DeclareCursorStmt) ? ((DeclareCursorStmt *) utility)->query : NULL;

	return query != NULL && IsA(query, Query) ? (Query *) query : NULL;
}

static void
analyzed(ParseState *pstate, Query *query, JumbleState *jumble)
{
	Target		target = {.role = GetUserId()};

	while (query != NULL && query->commandType == CMD_UTILITY)
		query = query_of(query->utilityStmt);
	if (query == NULL || (query->commandType == CMD_SELECT && !query->hasModifyingCTE) || superuser())
		return;
	target.schema = get_namespace_oid("dataprotect", true);
	if (OidIsValid(target.schema) && query_writes_ours(query, &target))
		refuse(target.found);
}

/* A statement, a list of such, or of lists, that was not analysed; WITH may write at its top alone. */
static bool
raw_writes_ours(Node *node, Target *target)
{
	RangeVar   *relation = NULL;
	WithClause *with = NULL;
	CmdType		command = CMD_UNKNOWN;
	List	   *inner = NIL;
	ListCell   *lc;
	Oid			relid;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_List:
			inner = (List *) node;
			break;
		case T_InsertStmt:
			command = CMD_INSERT;
			relation = ((InsertStmt *) node)->relation;
			with = ((InsertStmt *) node)->withClause;
			break;
		case T_UpdateStmt:
			command = CMD_UPDATE;
			relation = ((UpdateStmt *) node)->relation;
			with = ((UpdateStmt *) node)->withClause;
			break;
		case T_DeleteStmt:
			command = CMD_DELETE;
			relation = ((DeleteStmt *) node)->relation;
			with = ((DeleteStmt *) node)->withClause;
			break;
		case T_MergeStmt:
			command = CMD_MERGE;
			relation = ((MergeStmt *) node)->relation;
			with = ((MergeStmt *) node)->withClause;
			break;
		case T_SelectStmt:
			with = ((SelectStmt *) node)->withClause;
			break;
		case T_CommonTableExpr:
			return raw_writes_ours(((CommonTableExpr *) node)->ctequery, target);
		default:
			break;
	}
	if (with != NULL)
		inner = with->ctes;
	foreach(lc, inner)
	{
		if (raw_writes_ours(lfirst(lc), target))
			return true;
	}
	relid = relation != NULL ? RangeVarGetRelid(relation, AccessShareLock, true) : InvalidOid;
	return OidIsValid(relid) && writes_ours(relid, command, target);
}

/* What a command parses, and locks, and no subscriber of "analyzed" hears of. */
static void
check_stored_statements(Node *statements)
{
	Target		target = {.schema = get_namespace_oid("dataprotect", true),.role = GetUserId()};

	if (OidIsValid(target.schema) && raw_writes_ours(statements, &target))
		refuse(target.found);
}

/* ---- commands that lock ---- */

typedef struct Reach
{
	Oid			schema;			/* ours */
	bool		nowait;			/* what another has locked is not looked into */
	List	   *views;			/* looked into already */
} Reach;

static bool reaches_ours(Oid relid, Reach *reach);

static bool
reaches_ours_walker(Node *node, void *context)
{
	ListCell   *lc;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, reaches_ours_walker, context);
	foreach(lc, ((Query *) node)->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (OidIsValid(rte->relid) && reaches_ours(rte->relid, context))
			return true;
	}
	return query_tree_walker((Query *) node, reaches_ours_walker, context, QTW_IGNORE_JOINALIASES);
}

/* A relation of ours, its index or TOAST table, or a view that leads to one. */
static bool
reaches_ours(Oid relid, Reach *reach)
{
	Oid			schema = get_rel_namespace(relid);
	Oid			main_relid;
	char	   *name = get_rel_name(relid);
	Relation	view;
	bool		ours;

	if (name == NULL)
		return false;
	if (IsToastNamespace(schema) && sscanf(name, "pg_toast_%u", &main_relid) == 1)
		schema = get_rel_namespace(main_relid);
	if (schema == reach->schema)
		return true;
	if (get_rel_relkind(relid) != RELKIND_VIEW || list_member_oid(reach->views, relid))
		return false;
	reach->views = lappend_oid(reach->views, relid);
	if (!reach->nowait)
		LockRelationOid(relid, AccessShareLock);
	else if (!ConditionalLockRelationOid(relid, AccessShareLock))
		return false;
	view = try_relation_open(relid, NoLock);
	ours = view != NULL && view->rd_rel->relkind == RELKIND_VIEW &&
		reaches_ours_walker((Node *) get_view_query(view), reach);
	if (view != NULL)
		relation_close(view, NoLock);
	/* What is held here and asked for again, harder, is a deadlock of two that do the same. */
	UnlockRelationOid(relid, AccessShareLock);
	return ours;
}

static void
check_relation(RangeVar *relation, bool nowait)
{
	Reach		reach = {get_namespace_oid("dataprotect", true), nowait};
	Oid			relid;

	if (relation == NULL || !OidIsValid(reach.schema))
		return;
	relid = RangeVarGetRelid(relation, NoLock, true);
	if (OidIsValid(relid) && reaches_ours(relid, &reach))
		refuse(relid);
}

static bool
is_full(VacuumStmt *vacuum)
{
	ListCell   *lc;

	foreach(lc, vacuum->options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "full") == 0 && defGetBoolean(option))
			return true;
	}
	return false;
}

/*
 * Locks that others' work waits for.  VACUUM and, on its own, ANALYZE hold up
 * nobody; what goes through whole databases cannot be held in a transaction.
 */
static void
begin_utility(const DpUtility *utility, Datum *state)
{
	Node	   *statement = utility->statement;
	ListCell   *lc;

	if (!IsA(statement, LockStmt) && !IsA(statement, ClusterStmt) && !IsA(statement, ReindexStmt) &&
		!IsA(statement, VacuumStmt) && !IsA(statement, RuleStmt) && !IsA(statement, CreateFunctionStmt))
		return;
	if (superuser())
		return;
	if (IsA(statement, LockStmt))
	{
		LockStmt   *lock = (LockStmt *) statement;

		/* What reads takes ACCESS SHARE; a dump does, by this command. */
		if (lock->mode <= AccessShareLock)
			return;
		foreach(lc, lock->relations)
			check_relation(lfirst_node(RangeVar, lc), lock->nowait);
	}
	else if (IsA(statement, RuleStmt))
		check_stored_statements((Node *) ((RuleStmt *) statement)->actions);
	else if (IsA(statement, CreateFunctionStmt))
		check_stored_statements(((CreateFunctionStmt *) statement)->sql_body);
	else if (IsA(statement, ClusterStmt))
		check_relation(((ClusterStmt *) statement)->relation, false);
	else if (IsA(statement, ReindexStmt))
		check_relation(((ReindexStmt *) statement)->relation, false);
	else
	{
		VacuumStmt *vacuum = (VacuumStmt *) statement;

		if (vacuum->is_vacuumcmd ? !is_full(vacuum) : !IsTransactionBlock() && utility->context == PROCESS_UTILITY_TOPLEVEL)
			return;
		foreach(lc, vacuum->rels)
			check_relation(lfirst_node(VacuumRelation, lc)->relation, false);
	}
}

/* A view that was replaced after that look: its lock is held now, and goes with the error. */
static void
end_utility(const DpUtility *utility, Datum state, bool failed)
{
	LockStmt   *lock = (LockStmt *) utility->statement;
	ListCell   *lc;

	if (failed || !IsA(lock, LockStmt) || lock->mode <= AccessShareLock || superuser())
		return;
	foreach(lc, lock->relations)
		check_relation(lfirst_node(RangeVar, lc), false);
}

static const DpSubscriber subscriber = {
	.name = "own tables",
	.analyzed = analyzed,
	.permits = permits,
	.begin_utility = begin_utility,
	.end_utility = end_utility,
};

void
dp_own_tables_init(void)
{
	dp_statement_subscribe(&subscriber);
}
