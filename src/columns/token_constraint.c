/*
 * token_constraint.c
 *	  UNIQUE and PRIMARY KEY over searchable columns; see token_constraint.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "columns/token_constraint.h"
#include "nodes/makefuncs.h"
#include "types/types.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* The name of the class for a column of that table, or NIL where the default will do. */
static List *
token_class(Oid relid, const char *column)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, column);
	Form_pg_attribute att;
	List	   *name = NIL;

	if (!HeapTupleIsValid(tuple))
		return NIL;
	att = (Form_pg_attribute) GETSTRUCT(tuple);
	if (dp_type_is_encrypted(att->atttypid) && att->atttypmod >= 0 && (att->atttypmod & DP_MODIFIER_TOKENS) != 0)
	{
		HeapTuple	type_tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(att->atttypid));

		if (HeapTupleIsValid(type_tuple))
		{
			Form_pg_type form = (Form_pg_type) GETSTRUCT(type_tuple);

			name = list_make2(makeString(get_namespace_name(form->typnamespace)),
							  makeString(psprintf("%s_token_ops", NameStr(form->typname))));
			ReleaseSysCache(type_tuple);
		}
	}
	ReleaseSysCache(tuple);
	return name;
}

/* Give the index's columns the classes they need; false where none needs one. */
static bool
set_classes(Oid relid, List *params)
{
	bool		changed = false;
	ListCell   *lc;

	foreach(lc, params)
	{
		IndexElem  *elem = lfirst_node(IndexElem, lc);

		if (elem->name == NULL || elem->opclass != NIL)
			continue;
		elem->opclass = token_class(relid, elem->name);
		changed |= elem->opclass != NIL;
	}
	return changed;
}

static List *
make_params(List *names)
{
	List	   *params = NIL;
	ListCell   *lc;

	foreach(lc, names)
	{
		IndexElem  *elem = makeNode(IndexElem);

		elem->name = pstrdup(strVal(lfirst(lc)));
		elem->ordering = SORTBY_DEFAULT;
		elem->nulls_ordering = SORTBY_NULLS_DEFAULT;
		params = lappend(params, elem);
	}
	return params;
}

/* The index that such a constraint is made of, as PostgreSQL's own analysis would give it, or NULL. */
static IndexStmt *
constraint_index(Oid relid, RangeVar *relation, Constraint *constraint)
{
	IndexStmt  *index;

	if ((constraint->contype != CONSTR_UNIQUE && constraint->contype != CONSTR_PRIMARY) ||
		constraint->indexname != NULL || constraint->keys == NIL || dp_constraint_of_periods(constraint))
		return NULL;
	index = makeNode(IndexStmt);
	index->indexParams = make_params(constraint->keys);
	if (!set_classes(relid, index->indexParams))
		return NULL;
	index->indexIncludingParams = make_params(constraint->including);
	index->relation = copyObject(relation);
	index->idxname = constraint->conname;
	index->accessMethod = "btree";
	index->options = constraint->options;
	index->tableSpace = constraint->indexspace;
	index->reset_default_tblspc = constraint->reset_default_tblspc;
	index->unique = true;
	index->primary = constraint->contype == CONSTR_PRIMARY;
	index->nulls_not_distinct = constraint->nulls_not_distinct;
	index->isconstraint = true;
	index->deferrable = constraint->deferrable;
	index->initdeferred = constraint->initdeferred;
	index->transformed = true;
	return index;
}

static List *
set_not_null(List *cmds, List *names)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		AlterTableCmd *cmd = makeNode(AlterTableCmd);

		cmd->subtype = AT_SetNotNull;
		cmd->name = pstrdup(strVal(lfirst(lc)));
		cmds = lappend(cmds, cmd);
	}
	return cmds;
}

/* In a copy: ADD CONSTRAINT becomes ADD INDEX, as it does within ALTER TABLE. */
static void
change_alter(Oid relid, AlterTableStmt *stmt)
{
	List	   *not_null = NIL;
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		IndexStmt  *index;

		if (cmd->subtype != AT_AddConstraint)
			continue;
		index = constraint_index(relid, stmt->relation, (Constraint *) cmd->def);
		if (index == NULL)
			continue;
		if (index->primary)
			not_null = set_not_null(not_null, ((Constraint *) cmd->def)->keys);
		cmd->subtype = AT_AddIndex;
		cmd->def = (Node *) index;
	}
	stmt->cmds = list_concat(not_null, stmt->cmds);
}

static bool
adds_constraint(AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		if (lfirst_node(AlterTableCmd, lc)->subtype == AT_AddConstraint)
			return true;
	}
	return false;
}

static RangeVar *
changed_relation(Node *statement)
{
	if (IsA(statement, IndexStmt) && ((IndexStmt *) statement)->isconstraint)
		return ((IndexStmt *) statement)->relation;
	if (IsA(statement, AlterTableStmt) && adds_constraint((AlterTableStmt *) statement))
		return ((AlterTableStmt *) statement)->relation;
	return NULL;
}

/* Without a lock: a table that changes meanwhile is judged by the guard. */
static PlannedStmt *
rewrite_utility(PlannedStmt *planned)
{
	RangeVar   *relation = changed_relation(planned->utilityStmt);
	Oid			relid = relation != NULL ? RangeVarGetRelid(relation, NoLock, true) : InvalidOid;
	Oid			row_type = OidIsValid(relid) ? get_rel_type_id(relid) : InvalidOid;

	if (!OidIsValid(row_type) || !dp_contains_encrypted_type(row_type))
		return planned;
	planned = copyObject(planned);
	if (IsA(planned->utilityStmt, IndexStmt))
		(void) set_classes(relid, ((IndexStmt *) planned->utilityStmt)->indexParams);
	else
		change_alter(relid, (AlterTableStmt *) planned->utilityStmt);
	return planned;
}

static bool
permits(DP_CHECK_PERMS_PARAMS)
{
	ListCell   *lc;

	if (ereport_on_violation)
		return true;
	foreach(lc, rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
		Oid			row_type = rte->rtekind == RTE_RELATION ? get_rel_type_id(rte->relid) : InvalidOid;

		if (OidIsValid(row_type) && dp_contains_encrypted_type(row_type))
			return false;
	}
	return true;
}

static const DpSubscriber subscriber = {
	.name = "token constraints",
	.permits = permits,
	.rewrite_utility = rewrite_utility,
};

void
dp_token_constraint_init(void)
{
	dp_statement_subscribe(&subscriber);
}
