/*
 * record_plan.c
 *	  Planning reads of dataprotect.audit_record; see record_scan.h.
 *
 * The table has no rows, and nothing of what a planner would do with it makes
 * sense: its paths are replaced where it is read.  Where it is the target of a
 * command, that finds nothing to change.
 */
#include "postgres.h"

#include "access/table.h"
#include "audit/chain.h"
#include "audit/log_batch.h"
#include "audit/record_filter.h"
#include "audit/record_scan.h"
#include "base/compat.h"
#include "base/report.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "events/event.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define BYTES_A_RECORD	40		/* guess */
#define COST_A_BATCH	1.0		/* of reading and unpacking it, in pages */
#define COST_A_RECORD	0.02

static set_rel_pathlist_hook_type previous_pathlist = NULL;

/* Which filters a comparison of a column with a value makes. */
typedef struct Comparison
{
	DpAuditColumn column;
	Oid			function;
	int			filters[2];		/* -1: none */
} Comparison;

static const Comparison comparisons[] = {
	{DP_AUDIT_SEQ, F_INT8EQ, {DP_FILTER_SEQ_MIN, DP_FILTER_SEQ_MAX}},
	{DP_AUDIT_SEQ, F_INT8GT, {DP_FILTER_SEQ_MIN, -1}},
	{DP_AUDIT_SEQ, F_INT8GE, {DP_FILTER_SEQ_MIN, -1}},
	{DP_AUDIT_SEQ, F_INT8LT, {DP_FILTER_SEQ_MAX, -1}},
	{DP_AUDIT_SEQ, F_INT8LE, {DP_FILTER_SEQ_MAX, -1}},
	{DP_AUDIT_SEQ, F_INT84EQ, {DP_FILTER_SEQ_MIN, DP_FILTER_SEQ_MAX}},
	{DP_AUDIT_SEQ, F_INT84GT, {DP_FILTER_SEQ_MIN, -1}},
	{DP_AUDIT_SEQ, F_INT84GE, {DP_FILTER_SEQ_MIN, -1}},
	{DP_AUDIT_SEQ, F_INT84LT, {DP_FILTER_SEQ_MAX, -1}},
	{DP_AUDIT_SEQ, F_INT84LE, {DP_FILTER_SEQ_MAX, -1}},
	{DP_AUDIT_AT, F_TIMESTAMPTZ_EQ, {DP_FILTER_AT_MIN, DP_FILTER_AT_MAX}},
	{DP_AUDIT_AT, F_TIMESTAMPTZ_GT, {DP_FILTER_AT_MIN, -1}},
	{DP_AUDIT_AT, F_TIMESTAMPTZ_GE, {DP_FILTER_AT_MIN, -1}},
	{DP_AUDIT_AT, F_TIMESTAMPTZ_LT, {DP_FILTER_AT_MAX, -1}},
	{DP_AUDIT_AT, F_TIMESTAMPTZ_LE, {DP_FILTER_AT_MAX, -1}},
	{DP_AUDIT_KIND, F_CHAREQ, {DP_FILTER_KIND, -1}},
	{DP_AUDIT_SESSION, F_INT8EQ, {DP_FILTER_SESSION, -1}},
	{DP_AUDIT_INSTANCE, F_UUID_EQ, {DP_FILTER_INSTANCE, -1}},
	{DP_AUDIT_RING_SEQ, F_INT8EQ, {DP_FILTER_RING, -1}},
	{DP_AUDIT_OUTCOME, F_CHAREQ, {DP_FILTER_OUTCOME, -1}},
	{DP_AUDIT_REF_SEQ, F_INT8EQ, {DP_FILTER_REF_MIN, DP_FILTER_REF_MAX}},
	{DP_AUDIT_REF_SEQ, F_INT8LE, {DP_FILTER_REF_MAX, -1}},
	{DP_AUDIT_REF_END, F_INT8GE, {DP_FILTER_END_MIN, -1}},
	{DP_AUDIT_ROLE, F_TEXTEQ, {DP_FILTER_ROLE, -1}},
	{DP_AUDIT_SESSION_ROLE, F_TEXTEQ, {DP_FILTER_SESSION_ROLE, -1}},
	{DP_AUDIT_EVENT, F_INT2EQ, {DP_FILTER_EVENT, -1}},
	{DP_AUDIT_EVENT, F_INT24EQ, {DP_FILTER_EVENT, -1}}
};

static bool
is_audit_record(Oid relid)
{
	char	   *name = get_rel_name(relid);

	return name != NULL && strcmp(name, "audit_record") == 0 &&
		get_rel_namespace(relid) == get_namespace_oid("dataprotect", true);
}

/* One that has become another would be read as what it is by itself: empty. */
static void
check_shape(const RelOptInfo *rel, const RangeTblEntry *rte)
{
	if (rte->relkind != RELKIND_RELATION || rte->inh || rel->max_attr != DP_AUDIT_N_COLUMNS || rel->indexlist != NIL)
		dp_report_altered("table \"dataprotect.audit_record\" has other columns, or an index or tables below it");
}

/* A column of the relation, or NULL. */
static Var *
column_of(Node *node, Index relid)
{
	Var		   *var;

	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	var = (Var *) node;
	return IsA(node, Var) && var->varno == relid && var->varlevelsup == 0 && var->varattno > 0 ? var : NULL;
}

/* The value as its filter has it; NULL where it cannot be had before the scan. */
static Expr *
value_of(Node *node)
{
	if (contain_var_clause(node) || contain_volatile_functions(node) || contain_subplans(node))
		return NULL;
	if (exprType(node) == INT4OID)
		return (Expr *) makeFuncExpr(F_INT8_INT4, INT8OID, list_make1(copyObject(node)), InvalidOid, InvalidOid,
									 COERCE_IMPLICIT_CAST);
	if (exprType(node) == INT2OID)
		return (Expr *) makeFuncExpr(F_INT8_INT2, INT8OID, list_make1(copyObject(node)), InvalidOid, InvalidOid,
									 COERCE_IMPLICIT_CAST);
	return (Expr *) copyObject(node);
}

/* A call of a function of ours with so many arguments. */
static bool
is_call(const Node *node, const char *name, int n_args)
{
	const FuncExpr *function = (const FuncExpr *) node;

	return IsA(node, FuncExpr) && list_length(function->args) == n_args && function->funcid >= FirstNormalObjectId &&
		strcmp(get_func_name(function->funcid), name) == 0 &&
		get_func_namespace(function->funcid) == get_namespace_oid("dataprotect", true);
}

/* That column of the relation itself. */
static bool
is_column(Node *node, Index relid, DpAuditColumn column)
{
	Var		   *var = column_of(node, relid);

	return var != NULL && var->varattno == column + 1;
}

/*
 * A condition on the name of an event, as audit_log has it: the event's number; NULL where it is
 * none.
 */
static Expr *
event_of(Node *call, Node *name)
{
	DpEventCode code;
	Const	   *constant = (Const *) name;

	if (!IsA(name, Const) || constant->consttype != TEXTOID || constant->constisnull || !is_call(call, "_event_name", 1) ||
		!dp_event_code(TextDatumGetCString(constant->constvalue), &code))
		return NULL;
	return (Expr *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64), Int64GetDatum(code), false, true);
}

static void
add_filter(DpRecordFilter filter, Expr *value, List **kinds, List **values)
{
	if (value == NULL)
		return;
	*kinds = lappend_int(*kinds, filter);
	*values = lappend(*values, value);
}

/* What such a collation takes for equal need not be the same bytes. */
static bool
compares_bytes(Oid collation)
{
	return !OidIsValid(collation) || get_collation_isdeterministic(collation);
}

/*
 * value = ANY (keys): the column's, or audit_log's, which are its result's where
 * that is another record.
 */
static void
add_key_filter(const ScalarArrayOpExpr *clause, Index relid, List **kinds, List **values)
{
	Node	   *keys = lsecond(clause->args);

	if (!clause->useOr || get_opcode(clause->opno) != F_TEXTEQ || !compares_bytes(clause->inputcollid))
		return;
	if (is_column(keys, relid, DP_AUDIT_KEYS) ||
		(is_call(keys, "_known_keys", 3) && is_column(linitial(((FuncExpr *) keys)->args), relid, DP_AUDIT_OUTCOME) &&
		 is_column(lsecond(((FuncExpr *) keys)->args), relid, DP_AUDIT_KEYS)))
		add_filter(DP_FILTER_KEY, value_of(linitial(clause->args)), kinds, values);
}

/* Add the filters of a comparison. */
static void
add_comparison(Expr *clause, Index relid, List **kinds, List **values)
{
	OpExpr	   *op = (OpExpr *) clause;
	Oid			operator;
	Var		   *var;
	Expr	   *value;

	if (!IsA(clause, OpExpr) || list_length(op->args) != 2)
		return;
	if (!compares_bytes(op->inputcollid))
		return;
	operator = op->opno;
	value = get_opcode(operator) == F_TEXTEQ ? event_of(linitial(op->args), lsecond(op->args)) : NULL;
	if (value != NULL && column_of(linitial(((FuncExpr *) linitial(op->args))->args), relid) != NULL)
	{
		add_filter(DP_FILTER_EVENT, value, kinds, values);
		return;
	}
	var = column_of(linitial(op->args), relid);
	value = var != NULL ? value_of(lsecond(op->args)) : NULL;
	if (var == NULL && (var = column_of(lsecond(op->args), relid)) != NULL)
	{
		operator = get_commutator(operator);
		value = value_of(linitial(op->args));
	}
	if (var == NULL || value == NULL || !OidIsValid(operator))
		return;
	for (int i = 0; i < lengthof(comparisons); i++)
	{
		if (comparisons[i].column != var->varattno - 1 || comparisons[i].function != get_opcode(operator))
			continue;
		for (int f = 0; f < 2 && comparisons[i].filters[f] >= 0; f++)
			add_filter(comparisons[i].filters[f], copyObject(value), kinds, values);
	}
}

/* Add the filters of one condition. */
static void
add_filters(Expr *clause, Index relid, List **kinds, List **values)
{
	if (IsA(clause, ScalarArrayOpExpr))
		add_key_filter((ScalarArrayOpExpr *) clause, relid, kinds, values);
	else if (is_call((Node *) clause, "_names_subject", 2) && is_column(linitial(((FuncExpr *) clause)->args), relid, DP_AUDIT_SEALED))
		add_filter(DP_FILTER_SUBJECTS, value_of(lsecond(((FuncExpr *) clause)->args)), kinds, values);
	else
		add_comparison(clause, relid, kinds, values);
}

/* May an outer join put NULLs in the place of its rows? */
static bool
is_nullable(const PlannerInfo *root, Index relid)
{
	ListCell   *lc;

	foreach(lc, root->join_info_list)
	{
		const SpecialJoinInfo *join = lfirst(lc);

		if (join->jointype != JOIN_INNER && join->jointype != JOIN_SEMI &&
			(bms_is_member(relid, join->syn_righthand) || (join->jointype == JOIN_FULL && bms_is_member(relid, join->syn_lefthand))))
			return true;
	}
	return false;
}

/*
 * Conditions that other relations take part in: those on keys can be told by the
 * record alone.  Not those of an outer join, for its rows come either way.
 */
static void
add_join_filters(const PlannerInfo *root, const RelOptInfo *rel, List **kinds, List **values)
{
	ListCell   *lc;

	if (is_nullable(root, rel->relid))
		return;
	foreach(lc, rel->joininfo)
	{
		const RestrictInfo *info = lfirst_node(RestrictInfo, lc);

		if (info->is_pushed_down && IsA(info->clause, ScalarArrayOpExpr))
			add_key_filter((ScalarArrayOpExpr *) info->clause, rel->relid, kinds, values);
	}
}

static Plan *
plan_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *targets, List *clauses, List *plans)
{
	CustomScan *scan = makeNode(CustomScan);
	ListCell   *lc;

	scan->custom_private = list_copy(path->custom_private);
	clauses = extract_actual_clauses(clauses, false);
	foreach(lc, clauses)
		add_filters((Expr *) lfirst(lc), rel->relid, &scan->custom_private, &scan->custom_exprs);
	add_join_filters(root, rel, &scan->custom_private, &scan->custom_exprs);
	scan->scan.plan.targetlist = targets;
	scan->scan.plan.qual = clauses;
	scan->scan.scanrelid = rel->relid;
	scan->flags = path->flags;
	scan->methods = &dp_record_scan_methods;
	return &scan->scan.plan;
}

static const CustomPathMethods path_methods = {
	.CustomName = "dataprotect audit records",
	.PlanCustomPath = plan_scan,
};

/* How many records the log has, about. */
static double
guess_records(void)
{
	List	   *partitions = dp_log_partitions();
	double		pages = 0;
	ListCell   *lc;

	foreach(lc, partitions)
	{
		Relation	partition = (Relation) lfirst(lc);
		Oid			toast = partition->rd_rel->reltoastrelid;

		pages += RelationGetNumberOfBlocks(partition);
		if (OidIsValid(toast))
		{
			Relation	relation = table_open(toast, AccessShareLock);

			pages += RelationGetNumberOfBlocks(relation);
			table_close(relation, AccessShareLock);
		}
	}
	dp_log_close(partitions);
	return Max(1000, pages * BLCKSZ / BYTES_A_RECORD);
}

static void
add_scan(PlannerInfo *root, RelOptInfo *rel, DpRecordOrder order)
{
	CustomPath *custom = makeNode(CustomPath);
	Path	   *path = &custom->path;
	Oid			sort = order == DP_ORDER_UP ? Int8LessOperator : get_commutator(Int8LessOperator);
	Var		   *seq = makeVar(rel->relid, DP_AUDIT_SEQ + 1, INT8OID, -1, InvalidOid, 0);

	path->pathtype = T_CustomScan;
	path->parent = rel;
	path->pathtarget = rel->reltarget;
	path->param_info = get_baserel_parampathinfo(root, rel, rel->lateral_relids);
	path->rows = path->param_info != NULL ? path->param_info->ppi_rows : rel->rows;
	/* Batches outside of what is asked for cost nothing; the order costs a little. */
	path->startup_cost = 10;
	path->total_cost = path->startup_cost + COST_A_BATCH * (1 + 4 * path->rows / DP_PACKED_MAX) + 4 * COST_A_RECORD * path->rows;
	if (order != DP_ORDER_NONE)
	{
		path->total_cost *= 1.1;
		path->pathkeys = dp_expression_pathkey(root, (Expr *) seq, sort, rel->relids);
		if (path->pathkeys == NIL)
			return;				/* nobody asks for it */
	}
	custom->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	custom->custom_private = list_make1_int(order);
	custom->methods = &path_methods;
	add_path(rel, path);
}

/* Records have no place in a table: none can be locked, and there are no pages to sample. */
static void
refuse_other_reads(PlannerInfo *root, Index rti, const RangeTblEntry *rte)
{
	if (get_parse_rowmark(root->parse, rti) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot lock rows of \"%s\"", "dataprotect.audit_record"),
				 errdetail("Records of the audit log do not change.")));
	if (rte->tablesample != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot sample \"%s\"", "dataprotect.audit_record"),
				 errhint("Choose records by \"seq\" or \"at\".")));
}

static void
add_paths(PlannerInfo *root, RelOptInfo *rel, Index rti, RangeTblEntry *rte)
{
	if (previous_pathlist != NULL)
		previous_pathlist(root, rel, rti, rte);
	if (rte->rtekind != RTE_RELATION || !is_audit_record(rte->relid) || (int) rti == root->parse->resultRelation || IS_DUMMY_REL(rel))
		return;
	check_shape(rel, rte);
	refuse_other_reads(root, rti, rte);
	rel->tuples = guess_records();
	rel->rows = clamp_row_est(rel->tuples * clauselist_selectivity(root, rel->baserestrictinfo, 0, JOIN_INNER, NULL));
	rel->pathlist = NIL;
	rel->partial_pathlist = NIL;
	rel->consider_parallel = false;
	add_scan(root, rel, DP_ORDER_NONE);
	add_scan(root, rel, DP_ORDER_UP);
	add_scan(root, rel, DP_ORDER_DOWN);
}

/* COPY reads a table without a plan, and would find nothing in this one. */
static void
begin_utility(const DpUtility *utility, Datum *state)
{
	CopyStmt   *copy = (CopyStmt *) utility->statement;
	Oid			relid;

	if (!IsA(copy, CopyStmt) || copy->is_from || copy->relation == NULL || strcmp(copy->relation->relname, "audit_record") != 0)
		return;
	relid = RangeVarGetRelid(copy->relation, NoLock, true);
	if (OidIsValid(relid) && is_audit_record(relid) && pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot copy table \"%s\"", "dataprotect.audit_record"),
				 errdetail("Nothing is stored in it."),
				 errhint("Use COPY (SELECT * FROM dataprotect.audit_record) TO.")));
}

static const DpSubscriber subscriber = {
	.name = "audit records",
	.begin_utility = begin_utility,
};

void
dp_record_plan_init(void)
{
	dp_statement_subscribe(&subscriber);
	RegisterCustomScanMethods(&dp_record_scan_methods);
	previous_pathlist = set_rel_pathlist_hook;
	set_rel_pathlist_hook = add_paths;
}
