/*
 * changed_row.c
 *	  Trigger conditions that ask whether anything in a row changed; see
 *	  changed_row.h.
 *
 * The executor has its own copy of a relation's triggers, with conditions still in
 * their stored form, which is changed before the first row.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "audit/protected_columns.h"
#include "base/statement.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "columns/changed_row.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "rewrite/prs2lock.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"
#include "utils/typcache.h"

typedef struct Rewriting
{
	TupleDesc	desc;			/* of the table */
	bool		done;			/* something was replaced */
} Rewriting;

static Expr *
column_differs(Form_pg_attribute att, Oid equals)
{
	DistinctExpr *distinct = makeNode(DistinctExpr);

	distinct->opno = equals;
	distinct->opfuncid = get_opcode(equals);
	distinct->opresulttype = BOOLOID;
	distinct->inputcollid = att->attcollation;
	distinct->args = list_make2(makeVar(PRS2_OLD_VARNO, att->attnum, att->atttypid, att->atttypmod, att->attcollation, 0),
								makeVar(PRS2_NEW_VARNO, att->attnum, att->atttypid, att->atttypmod, att->attcollation, 0));
	distinct->location = -1;
	return (Expr *) distinct;
}

/* Does a column differ?  NULL where one has no equality: the rows' own comparison says so. */
static Expr *
any_column_differs(TupleDesc desc)
{
	List	   *columns = NIL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Oid			equals;

		if (att->attisdropped)
			continue;
		equals = lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR)->eq_opr;
		if (!OidIsValid(equals))
			return NULL;
		columns = lappend(columns, column_differs(att, equals));
	}
	return columns != NIL ? makeBoolExpr(OR_EXPR, columns, -1) : NULL;
}

/* The old and the new row as a whole, in either order. */
static bool
compares_rows(List *args)
{
	Var		   *left = linitial(args);
	Var		   *right = lsecond(args);

	return IsA(left, Var) && IsA(right, Var) && left->varattno == 0 && right->varattno == 0 &&
		left->varno != right->varno && left->varno + right->varno == PRS2_OLD_VARNO + PRS2_NEW_VARNO;
}

static Node *
rewrite_mutator(Node *node, void *context)
{
	Rewriting  *rewriting = context;
	Expr	   *differs;
	char	   *name;

	if (node == NULL)
		return NULL;
	/* a DistinctExpr has the members of an OpExpr */
	if (!(IsA(node, DistinctExpr) || IsA(node, OpExpr)) || list_length(((OpExpr *) node)->args) != 2 ||
		!compares_rows(((OpExpr *) node)->args))
		return expression_tree_mutator(node, rewrite_mutator, context);
	name = get_opname(((OpExpr *) node)->opno);
	if (name == NULL || (strcmp(name, "=") != 0 && strcmp(name, "<>") != 0))
		return node;
	differs = any_column_differs(rewriting->desc);
	if (differs == NULL)
		return node;
	rewriting->done = true;
	if (IsA(node, OpExpr) && strcmp(name, "=") == 0)
		differs = makeBoolExpr(NOT_EXPR, list_make1(differs), -1);
	return (Node *) differs;
}

static void
rewrite_conditions(Relation rel, TriggerDesc *triggers)
{
	Rewriting	rewriting = {RelationGetDescr(rel), false};

	for (int i = 0; i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];
		Node	   *condition;

		if (trigger->tgqual == NULL || !TRIGGER_FOR_UPDATE(trigger->tgtype))
			continue;
		rewriting.done = false;
		condition = rewrite_mutator(stringToNode(trigger->tgqual), &rewriting);
		if (rewriting.done)
			trigger->tgqual = nodeToString(condition);
	}
}

/* After the executor was set up: the tables that it may change are open. */
static void
started(QueryDesc *query)
{
	MemoryContext old;
	ListCell   *lc;

	if (query->operation == CMD_SELECT && !query->plannedstmt->hasModifyingCTE)
		return;
	old = MemoryContextSwitchTo(query->estate->es_query_cxt);
	foreach(lc, query->estate->es_opened_result_relations)
	{
		ResultRelInfo *result = lfirst(lc);

		if (result->ri_TrigDesc != NULL && dp_audit_relation(RelationGetRelid(result->ri_RelationDesc))->n > 0)
			rewrite_conditions(result->ri_RelationDesc, result->ri_TrigDesc);
	}
	MemoryContextSwitchTo(old);
}

static const DpSubscriber subscriber = {
	.name = "conditions over rows",
	.started = started,
};

void
dp_changed_row_init(void)
{
	dp_statement_subscribe(&subscriber);
}
