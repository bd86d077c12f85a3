/*
 * foreign_expression.c
 *	  Expressions that others put into a reader's query; see
 *	  foreign_expression.h.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/htup_details.h"
#include "access/sql_runner.h"
#include "access/transam.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/pg_class.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "columns/foreign_call.h"
#include "columns/foreign_expression.h"
#include "columns/seen_by.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* ---- whose ---- */

Oid
dp_foreign_expression_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

static bool
is_ordinary(Oid owner)
{
	return OidIsValid(owner) && dp_foreign_call_is_ordinary(owner);
}

/* Could somebody learn what he may not see from what the current role sees? */
static bool
is_foreign(Oid owner)
{
	if (!is_ordinary(owner))
		return false;
	dp_statement_depends_on_role();
	return owner != GetUserId() && dp_access_exceeds(GetUserId(), owner);
}

/* ---- what a view or a policy does ---- */

static bool
has_variable(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var) || IsA(node, SubLink) ||
		(IsA(node, Param) && ((Param *) node)->paramkind != PARAM_EXTERN))
		return true;
	return expression_tree_walker(node, has_variable, context);
}

/* Those of ordinary roles are foreign code, and get masks. */
static bool
is_volatile(Oid function, void *context)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return true;
	result = dp_foreign_call_acts(function, ((Form_pg_proc) GETSTRUCT(tuple))->provolatile) &&
		superuser_arg(((Form_pg_proc) GETSTRUCT(tuple))->proowner);
	ReleaseSysCache(tuple);
	return result;
}

static Oid	view_of(RangeTblEntry *rte);

/*
 * A volatile function that is handed more than constants, anywhere below but in
 * what was made of another view: that has an owner of its own.
 */
static bool
hands_off_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		return rte->rtekind == RTE_SUBQUERY && !OidIsValid(view_of(rte)) &&
			hands_off_walker((Node *) rte->subquery, context);
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, hands_off_walker, context,
								 QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_RT_SUBQUERIES);
	if (check_functions_in_node(node, is_volatile, NULL) &&
		expression_tree_walker(node, has_variable, NULL))
		return true;
	return expression_tree_walker(node, hands_off_walker, context);
}

static bool
has_protected(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var) || IsA(node, CoerceToDomainValue))
		return dp_contains_encrypted_type(exprType(node));
	return expression_tree_walker(node, has_protected, context);
}

#define RANDOM_FUNCTION 1598	/* random(), named differently by version */

static bool
is_harmless(Oid function)
{
	return function == RANDOM_FUNCTION || function == F_CLOCK_TIMESTAMP || function == F_TIMEOFDAY ||
		function == F_GEN_RANDOM_UUID;
}

bool
dp_foreign_expression_carries(Oid function)
{
	return !is_harmless(function) && is_volatile(function, NULL);
}

/*
 * Whoever writes a row hands its plaintext to the conditions over it.  Which of
 * their functions is called at all, in a CASE or behind an AND, tells as much as an
 * argument: in such a condition there is none that passes anything on.
 */
static bool
function_passes_on(Oid function, void *context)
{
	HeapTuple	tuple;
	Form_pg_proc form;
	bool		result;

	if (is_harmless(function))
		return false;
	if (dp_function_tries_type(function) || dp_function_tries_row(function))
		return true;
	/* some that read relations by name, views and their functions too, are not volatile */
	if (dp_sql_runner_is_builtin(function))
		return true;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return true;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	result = dp_foreign_call_acts(function, form->provolatile) || !superuser_arg(form->proowner);
	ReleaseSysCache(tuple);
	return result;
}

/* A type of an ordinary role whose input or coercion may run a domain's CHECK. */
static bool
type_passes_on(Oid type)
{
	HeapTuple	tuple;
	Form_pg_type form;
	Oid			element = get_element_type(type);
	bool		result;

	if (OidIsValid(element))
		type = element;
	if (type < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	if (!HeapTupleIsValid(tuple))
		return true;
	form = (Form_pg_type) GETSTRUCT(tuple);
	result = form->typtype != TYPTYPE_ENUM && !superuser_arg(form->typowner);
	ReleaseSysCache(tuple);
	return result;
}

/* An operator of an ordinary role, who may add the function of a negator later. */
static bool
operator_passes_on(Oid opno)
{
	HeapTuple	tuple;
	bool		result;

	if (opno < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(opno));
	if (!HeapTupleIsValid(tuple))
		return true;
	result = !superuser_arg(((Form_pg_operator) GETSTRUCT(tuple))->oprowner);
	ReleaseSysCache(tuple);
	return result;
}

static bool
passes_on_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, function_passes_on, NULL))
		return true;
	switch (nodeTag(node))
	{
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			if (operator_passes_on(((OpExpr *) node)->opno))
				return true;
			break;
		case T_ScalarArrayOpExpr:
			if (operator_passes_on(((ScalarArrayOpExpr *) node)->opno))
				return true;
			break;
		case T_CoerceViaIO:
			/* of an enum it may be a label, which a cast to json tells */
			if (get_typtype(exprType(node)) == TYPTYPE_ENUM)
				return true;
			/* FALLTHROUGH */
		case T_FuncExpr:
		case T_CoerceToDomain:
		case T_ArrayCoerceExpr:
		case T_ConvertRowtypeExpr:
		case T_RelabelType:
		case T_RowExpr:
		case T_Const:
			if (type_passes_on(exprType(node)))
				return true;
			break;
		default:
			break;
	}
	return expression_tree_walker(node, passes_on_walker, context);
}

bool
dp_foreign_expression_passes_on(Node *expr)
{
	return has_protected(expr, NULL) && passes_on_walker(expr, NULL);
}

pg_noreturn static void
refuse(const char *what, Oid relid, Oid owner)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s \"%s\" could pass protected values on", what, get_rel_name(relid)),
			 errdetail("Role \"%s\", which owns it, has fewer privileges on their keys than the current role.",
					   GetUserNameFromId(owner, true)),
			 errhint("Leave volatile functions, and what a rule computes, out of it; or have its owner granted the privilege.")));
}

/* It goes on: now, and at each execution as long as its owner may see as much. */
static void
check_owner(Query *query, const char *what, Oid relid, Oid owner)
{
	DpForeignCalls calls = {NIL, NIL};

	if (is_foreign(owner))
		refuse(what, relid, owner);
	dp_foreign_call_add(&calls, InvalidOid, owner);
	dp_seen_by_guard(query, &calls);
}

/* The view that a subquery was made of, or InvalidOid. */
static Oid
view_of(RangeTblEntry *rte)
{
	RangeTblEntry *old;

	if (rte->rtekind != RTE_SUBQUERY)
		return InvalidOid;
	if (OidIsValid(rte->relid))
		return rte->relid;
	if (rte->subquery->rtable == NIL)
		return InvalidOid;
	/* The rule's placeholder for OLD still names it. */
	old = linitial_node(RangeTblEntry, rte->subquery->rtable);
	return old->rtekind == RTE_RELATION && old->relkind == RELKIND_VIEW && !old->inFromCl ?
		old->relid : InvalidOid;
}

static void
check_view(RangeTblEntry *rte, Oid view)
{
	Oid			owner = dp_foreign_expression_owner(view);

	if (is_ordinary(owner) && hands_off_walker((Node *) rte->subquery, NULL) &&
		dp_contains_encrypted_reads((Node *) rte->subquery))
		check_owner(rte->subquery, "view", view, owner);
}

static bool
relation_is_protected(Oid relid)
{
	Oid			row_type = get_rel_type_id(relid);

	return OidIsValid(row_type) && dp_contains_encrypted_type(row_type);
}

static void
check_policies(Query *query, RangeTblEntry *rte)
{
	Oid			owner = dp_foreign_expression_owner(rte->relid);

	if (is_ordinary(owner) &&
		(hands_off_walker((Node *) rte->securityQuals, NULL) ||
		 hands_off_walker((Node *) query->withCheckOptions, NULL)) &&
		relation_is_protected(rte->relid))
		check_owner(query, "a policy of table", rte->relid, owner);
}

/*
 * A view that was written through leaves its conditions and columns in the query
 * itself: they cannot be told from the caller's, and count as its owner's.
 */
static void
check_updated_view(Query *query, RangeTblEntry *rte)
{
	Oid			owner = dp_foreign_expression_owner(rte->relid);

	if (is_ordinary(owner) && hands_off_walker((Node *) query, NULL) &&
		dp_contains_encrypted_reads((Node *) query))
		check_owner(query, "view", rte->relid, owner);
}

/* Whom the relations of a rule's action are checked for: the rule's owner. */
static void
check_rule_action(Query *query)
{
	ListCell   *cell;

	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
		Oid			owner = dp_rte_check_as_user(rte, dp_query_perminfos(query));

		if (rte->rtekind == RTE_RELATION && is_ordinary(owner) &&
			dp_contains_encrypted_computes(query))
			check_owner(query, "a rule's action over", rte->relid, owner);
	}
}

static bool
check_walker(Node *node, void *context)
{
	Query	   *query = (Query *) node;
	ListCell   *cell;

	if (node == NULL)
		return false;
	if (!IsA(node, Query))
		return expression_tree_walker(node, check_walker, context);
	check_stack_depth();
	if (query->querySource == QSRC_INSTEAD_RULE || query->querySource == QSRC_QUAL_INSTEAD_RULE ||
		query->querySource == QSRC_NON_INSTEAD_RULE)
		check_rule_action(query);
	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);
		Oid			view = view_of(rte);

		if (OidIsValid(view))
			check_view(rte, view);
		else if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW)
			check_updated_view(query, rte);
		else if (rte->rtekind == RTE_RELATION &&
				 (rte->securityQuals != NIL || query->withCheckOptions != NIL))
			check_policies(query, rte);
	}
	return query_tree_walker(query, check_walker, context, 0);
}

/* Most queries have neither: they are not walked. */
bool
dp_foreign_expression_may_be(Query *query)
{
	ListCell   *cell;

	if (query->hasSubLinks || query->hasRowSecurity || query->cteList != NIL ||
		query->querySource != QSRC_ORIGINAL)
		return true;
	foreach(cell, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, cell);

		if (rte->rtekind == RTE_SUBQUERY ||
			(rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW))
			return true;
	}
	return false;
}

static void
planning(Query *query, const char *source)
{
	if (query->commandType != CMD_UTILITY && dp_foreign_expression_may_be(query))
		(void) check_walker((Node *) query, NULL);
}

static const DpSubscriber subscriber = {
	.name = "foreign expressions",
	.planning = planning,
};

void
dp_foreign_expression_init(void)
{
	dp_statement_subscribe(&subscriber);
}
