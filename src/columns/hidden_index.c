/*
 * hidden_index.c
 *	  Indexes over protected columns exist only for roles that may use them; see
 *	  hidden_index.h.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/table.h"
#include "access/transam.h"
#include "base/statement.h"
#include "catalog/pg_am_d.h"
#include "columns/folded_index.h"
#include "columns/hidden_index.h"
#include "commands/defrem.h"
#include "executor/executor.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "types/maintenance.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

/* What the current role may do with one index. */
typedef enum IndexUse
{
	INDEX_PLAIN,				/* no protected key column */
	INDEX_DENIED,
	INDEX_SEARCH,				/* equality with a constant or a parameter */
	INDEX_ALL
} IndexUse;

/* True where the index knows equality only: hash, or a token class. */
static bool
knows_equality_only(Oid am, Oid opfamily, Oid typid)
{
	Oid			default_class;

	if (am == HASH_AM_OID)
		return true;
	if (am != BTREE_AM_OID)
		return false;
	default_class = GetDefaultOpClass(typid, BTREE_AM_OID);
	return OidIsValid(default_class) && get_opclass_family(default_class) != opfamily;
}

/*
 * The current role's privilege on a column's key.  None where the row of the key
 * (a schema restored without its data) or of the modifier is not there or not
 * ours: nothing can be read then, and statements that read nothing must still be
 * planned.
 */
static DpPrivilege
column_privilege(Form_pg_attribute att)
{
	const DpModifier *modifier = dp_modifier_find(att->atttypmod);
	const DpFamily *family = modifier != NULL ? dp_keys_family_find(NameStr(modifier->key)) : NULL;

	return family != NULL ? dp_access_privilege(family->family) : DP_PRIV_NONE;
}

static IndexUse
column_use(Oid am, Oid opfamily, Form_pg_attribute att)
{
	if (att->atttypid < FirstNormalObjectId || !dp_type_is_encrypted(att->atttypid))
		return INDEX_PLAIN;
	switch (column_privilege(att))
	{
		case DP_PRIV_REVEAL:
			return INDEX_ALL;
		case DP_PRIV_SEARCH:
			return knows_equality_only(am, opfamily, att->atttypid) ?
				INDEX_SEARCH : INDEX_DENIED;
		case DP_PRIV_MASK:
		case DP_PRIV_NONE:
			break;
	}
	return INDEX_DENIED;
}

/* The strictest of its protected columns decides. */
static IndexUse
strictest(IndexUse so_far, IndexUse column)
{
	if (so_far == INDEX_PLAIN || column == INDEX_PLAIN)
		return Max(so_far, column);
	return Min(so_far, column);
}

/* ---- planning ---- */

/* The column of a key that is blind(column, folds); InvalidAttrNumber for another. */
static AttrNumber
folded_attnum(Node *expr)
{
	Var		   *column = dp_folded_column(expr);

	return column != NULL ? column->varattno : InvalidAttrNumber;
}

/* An index over a part of the column answers what a search must not ask. */
static IndexUse
key_use(Oid am, Oid opfamily, Form_pg_attribute att, bool part)
{
	IndexUse	use = column_use(am, opfamily, att);

	return use == INDEX_SEARCH && part ? INDEX_DENIED : use;
}

static IndexUse
planned_index_use(Relation rel, IndexOptInfo *index)
{
	IndexUse	use = INDEX_PLAIN;
	ListCell   *expr = list_head(index->indexprs);
	int			i;

	for (i = 0; i < index->nkeycolumns; i++)
	{
		int			attnum = index->indexkeys[i];
		bool		part = false;

		if (attnum == 0)
		{
			attnum = folded_attnum(lfirst(expr));
			part = dp_folded_part(lfirst(expr));
			expr = lnext(index->indexprs, expr);
		}
		if (attnum > 0)
			use = strictest(use, key_use(index->relam, index->opfamily[i],
										 TupleDescAttr(RelationGetDescr(rel), attnum - 1), part));
	}
	return use;
}

/* Leave the index nothing but look-ups: no order, no scan of the whole. */
static void
restrict_to_lookups(IndexOptInfo *index)
{
	index->sortopfamily = NULL;
	index->amoptionalkey = false;
	index->amsearchnulls = false;
}

static void
hide_indexes(PlannerInfo *root, Oid relid, bool inhparent, RelOptInfo *rel)
{
	Relation	relation;
	List	   *visible = NIL;
	ListCell   *lc;

	if (rel->indexlist == NIL)
		return;

	relation = table_open(relid, NoLock);
	foreach(lc, rel->indexlist)
	{
		IndexOptInfo *index = lfirst_node(IndexOptInfo, lc);
		IndexUse	use = planned_index_use(relation, index);

		if (use != INDEX_PLAIN)
			root->glob->dependsOnRole = true;
		if (use == INDEX_SEARCH && !dp_maintenance_is_referential())
			restrict_to_lookups(index);
		if (use != INDEX_DENIED || dp_maintenance_is_referential())
			visible = lappend(visible, index);
	}
	table_close(relation, NoLock);
	rel->indexlist = visible;
}

/* ---- execution ---- */

/* A stored value, which a guess must not be: comparing two of them joins. */
static bool
is_stored_param(Param *param, ParamListInfo params)
{
	ParamExternData space;
	ParamExternData *value;

	if (params == NULL || !dp_type_is_encrypted(param->paramtype) ||
		param->paramid < 1 || param->paramid > params->numParams)
		return false;
	value = params->paramFetch != NULL ?
		params->paramFetch(params, param->paramid, false, &space) : &params->params[param->paramid - 1];
	return !value->isnull && value->ptype == param->paramtype && dp_value_is_stored(value->value);
}

static bool
varies_walker(Node *node, void *params)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return true;
	if (IsA(node, Param))
		return ((Param *) node)->paramkind != PARAM_EXTERN || is_stored_param((Param *) node, params);
	if (IsA(node, Const))
		return dp_type_is_encrypted(((Const *) node)->consttype) && !((Const *) node)->constisnull &&
			dp_value_is_stored(((Const *) node)->constvalue);
	return expression_tree_walker(node, varies_walker, params);
}

/*
 * True where an index condition compares with something that changes within the
 * statement (joins, correlated subqueries, results of others), or with a value
 * that is stored somewhere.
 */
static bool
conditions_vary(List *conditions, ParamListInfo params)
{
	ListCell   *lc;

	foreach(lc, conditions)
	{
		Node	   *condition = lfirst(lc);

		if (IsA(condition, OpExpr) && varies_walker(get_rightop((Expr *) condition), params))
			return true;
		if (IsA(condition, ScalarArrayOpExpr) &&
			varies_walker(lsecond(((ScalarArrayOpExpr *) condition)->args), params))
			return true;
		if (IsA(condition, RowCompareExpr) &&
			varies_walker((Node *) ((RowCompareExpr *) condition)->rargs, params))
			return true;
	}
	return false;
}

/*
 * Do the conditions ask an index column for equality only?  Its first one must
 * be asked: the order of a whole token index groups equal values.
 */
static bool
looks_up(Relation index, int position, List *conditions)
{
	bool		found = position > 0;
	ListCell   *lc;

	foreach(lc, conditions)
	{
		Node	   *condition = lfirst(lc);
		Node	   *column;
		Oid			op;

		if (IsA(condition, OpExpr))
		{
			column = get_leftop((Expr *) condition);
			op = ((OpExpr *) condition)->opno;
		}
		else if (IsA(condition, ScalarArrayOpExpr))
		{
			column = linitial(((ScalarArrayOpExpr *) condition)->args);
			op = ((ScalarArrayOpExpr *) condition)->opno;
		}
		else
			return false;
		if (IsA(column, RelabelType))
			column = (Node *) ((RelabelType *) column)->arg;
		if (!IsA(column, Var) || ((Var *) column)->varattno != position + 1)
			continue;
		if (index->rd_rel->relam == BTREE_AM_OID &&
			get_op_opfamily_strategy(op, index->rd_opfamily[position]) != BTEqualStrategyNumber)
			return false;
		found = true;
	}
	return found;
}

static void
check_index_scan(Relation index, List *conditions, ParamListInfo params)
{
	Relation	table;
	List	   *exprs;
	ListCell   *expr;
	int			i;

	if (index == NULL)
		return;
	exprs = RelationGetIndexExpressions(index);
	expr = list_head(exprs);
	table = table_open(index->rd_index->indrelid, NoLock);
	for (i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];
		Form_pg_attribute att;
		IndexUse	use;
		bool		part = false;

		if (attnum == 0)
		{
			attnum = folded_attnum(lfirst(expr));
			part = dp_folded_part(lfirst(expr));
			expr = lnext(exprs, expr);
		}
		if (attnum <= 0)
			continue;
		att = TupleDescAttr(RelationGetDescr(table), attnum - 1);
		use = key_use(index->rd_rel->relam, index->rd_opfamily[i], att, part);
		if (use == INDEX_DENIED)
			ResetPlanCache();	/* made under a grant that is gone: not again */
		if (use == INDEX_DENIED ||
			(use == INDEX_SEARCH && (conditions_vary(conditions, params) || !looks_up(index, i, conditions))))
			dp_access_denied(dp_keys_family_by_name(NameStr(dp_modifier_get(att->atttypmod)->key))->family,
							 "reveal");
	}
	table_close(table, NoLock);
}

static bool
check_plan_walker(PlanState *state, void *params)
{
	switch (nodeTag(state))
	{
		case T_IndexScanState:
			check_index_scan(((IndexScanState *) state)->iss_RelationDesc,
							 ((IndexScan *) state->plan)->indexqual, params);
			break;
		case T_IndexOnlyScanState:
			check_index_scan(((IndexOnlyScanState *) state)->ioss_RelationDesc,
							 ((IndexOnlyScan *) state->plan)->indexqual, params);
			break;
		case T_BitmapIndexScanState:
			check_index_scan(((BitmapIndexScanState *) state)->biss_RelationDesc,
							 ((BitmapIndexScan *) state->plan)->indexqual, params);
			break;
		default:
			break;
	}
	return planstate_tree_walker(state, check_plan_walker, params);
}

static void
check_started(QueryDesc *query)
{
	if (query->plannedstmt->dependsOnRole && query->planstate != NULL &&
		!dp_maintenance_is_referential())
		(void) check_plan_walker(query->planstate, query->params);
}

static const DpSubscriber subscriber = {
	.name = "hidden indexes",
	.relation_info = hide_indexes,
	.started = check_started,
};

void
dp_hidden_index_init(void)
{
	dp_statement_subscribe(&subscriber);
}
