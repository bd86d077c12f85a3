/*
 * replaced_view.c
 *	  CREATE OR REPLACE VIEW over protected columns; see replaced_view.h.
 */
#include "postgres.h"

#include "access/table.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_class_d.h"
#include "nodes/parsenodes.h"
#include "types/query_result.h"
#include "types/replaced_view.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Does a column have another name in its place, or none?  PostgreSQL refuses that by name. */
static bool
names_are_kept(List *tlist, TupleDesc declared)
{
	ListCell   *lc;

	foreach(lc, tlist)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk && tle->resno <= declared->natts && tle->resname != NULL &&
			strcmp(tle->resname, NameStr(TupleDescAttr(declared, tle->resno - 1)->attname)) != 0)
			return false;
	}
	return true;
}

static void
look_at_query(ParseState *pstate, Query *query, JumbleState *jumble)
{
	const ViewStmt *stmt = (const ViewStmt *) dp_frame->utility;
	Relation	view;
	Oid			relid;

	/* the command's own query: not one that it causes to run */
	if (likely(stmt == NULL) || !IsA(stmt, ViewStmt) || !stmt->replace || query->commandType != CMD_SELECT ||
		error_context_stack != dp_frame->error_context)
		return;
	relid = RangeVarGetRelid(stmt->view, AccessShareLock, true);
	if (!OidIsValid(relid) || get_rel_relkind(relid) != RELKIND_VIEW)
		return;
	view = table_open(relid, NoLock);
	if (names_are_kept(query->targetList, RelationGetDescr(view)))
		dp_result_cast_results(query, RelationGetDescr(view));
	table_close(view, NoLock);
}

static const DpSubscriber subscriber = {
	.name = "replaced views",
	.analyzed = look_at_query,
};

void
dp_replaced_view_init(void)
{
	dp_statement_subscribe(&subscriber);
}
