/*
 * foreign_trigger.c
 *	  INSTEAD OF triggers of others' views; see foreign_trigger.h.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/sql_runner.h"
#include "access/transam.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "columns/contains_encrypted.h"
#include "columns/foreign_call.h"
#include "columns/foreign_expression.h"
#include "columns/foreign_trigger.h"
#include "columns/seen_by.h"
#include "keys/catalog.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/rel.h"

static bool
is_fired(const Trigger *trigger, CmdType command)
{
	if (!TRIGGER_FOR_ROW(trigger->tgtype) || !TRIGGER_FOR_INSTEAD(trigger->tgtype))
		return false;
	switch (command)
	{
		case CMD_UPDATE:
			return TRIGGER_FOR_UPDATE(trigger->tgtype);
		case CMD_DELETE:
			return TRIGGER_FOR_DELETE(trigger->tgtype);
		default:				/* MERGE: any */
			return true;
	}
}

/*
 * Whoever's the functions are: that can change, and is asked at execution.  One that runs
 * SQL it is told is the view's owner's, who has told it.
 */
static DpForeignCalls
triggers_of(Oid relid, CmdType command)
{
	DpForeignCalls calls = {NIL, NIL};
	Relation	view = relation_open(relid, AccessShareLock);
	Oid			owner = view->rd_rel->relowner;

	List	   *functions = NIL;
	ListCell   *lc;

	/* what the relation cache says of triggers goes with the next look at a catalog */
	for (int i = 0; view->trigdesc != NULL && i < view->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &view->trigdesc->triggers[i];

		if (trigger->tgfoid >= FirstNormalObjectId && is_fired(trigger, command))
			functions = lappend_oid(functions, trigger->tgfoid);
	}
	foreach(lc, functions)
		dp_foreign_call_add(&calls, lfirst_oid(lc),
							dp_sql_runner_kind(lfirst_oid(lc)) != DP_RUNNER_NONE &&
							dp_foreign_call_is_ordinary(owner) ? owner : InvalidOid);
	relation_close(view, NoLock);
	return calls;
}

/* Is the row, or which there are, made of more than columns that are handed on? */
static bool
view_computes(Query *query, Oid view)
{
	ListCell   *lc;

	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_SUBQUERY && dp_view_of_subquery(rte) == view &&
			dp_contains_encrypted_computes(rte->subquery))
			return true;
		/* another view that was written through has its conditions in the query itself */
		if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW && rte->relid != view &&
			dp_contains_encrypted_computes(query))
			return true;
	}
	return false;
}

static void
check_target(Query *query)
{
	RangeTblEntry *target = rt_fetch(query->resultRelation, query->rtable);
	DpForeignCalls calls;

	/* a view is still the target where its triggers do the work */
	if (target->rtekind != RTE_RELATION || target->relkind != RELKIND_VIEW ||
		!view_computes(query, target->relid))
		return;
	calls = triggers_of(target->relid, query->commandType);
	if (calls.functions != NIL)
		dp_seen_by_guard(query, &calls);
}

static bool
statement_walker(Node *node, void *context)
{
	Query	   *query = (Query *) node;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, statement_walker, context);
	check_stack_depth();
	if (query->commandType == CMD_UPDATE || query->commandType == CMD_DELETE || query->commandType == CMD_MERGE)
		check_target(query);
	return query_tree_walker(query, statement_walker, context, 0);
}

static void
planning(Query *query, const char *source)
{
	if (query->commandType != CMD_UTILITY &&
		(query->hasModifyingCTE || query->commandType != CMD_SELECT) &&
		dp_foreign_expression_may_be(query) && dp_catalog_is_there())
		(void) statement_walker((Node *) query, NULL);
}

static const DpSubscriber subscriber = {
	.name = "triggers of foreign views",
	.planning = planning,
};

void
dp_foreign_trigger_init(void)
{
	dp_statement_subscribe(&subscriber);
}
