/*
 * own_tables.c
 *	  Our tables are written, and locked, by our functions; see own_tables.h.
 *
 * The executor, COPY and MERGE all ask for a statement's permissions in one
 * place, views and rules included, so this is asked there.  TRUNCATE is of the
 * table's owner alone.  Commands that lock are looked at as they come.
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
		!IsA(statement, VacuumStmt))
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
	.permits = permits,
	.begin_utility = begin_utility,
	.end_utility = end_utility,
};

void
dp_own_tables_init(void)
{
	dp_statement_subscribe(&subscriber);
}
