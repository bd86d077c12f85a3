/*
 * foreign_call.c
 *	  Which code of ordinary roles a node calls; see foreign_call.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "base/catalog_change.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_cast.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_range.h"
#include "catalog/pg_type.h"
#include "columns/foreign_call.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* A function was left out because its owner, who can be demoted, is a superuser. */
static bool left_out = false;

/*
 * What types were found to call, plans do not depend on by themselves: the conditions of
 * domains, casts to json, columns of row types (more than there is room for: of any).
 * Each is noted where a plan may hang on it, and nowhere else: making plans again
 * is felt by every session.
 */
#define MAX_ROW_TYPES 64

static bool looked_at_domains = false;
static bool looked_at_casts = false;
static Oid	row_types[MAX_ROW_TYPES];
static int	n_row_types = 0;

bool
dp_foreign_call_is_ordinary(Oid role)
{
	if (!superuser_arg(role))
		return true;
	left_out |= role != BOOTSTRAP_SUPERUSERID;
	return false;
}

/* ---- functions ---- */

bool
dp_foreign_call_acts(Oid function, char volatility)
{
	switch (function)
	{
			/* a number taken of transactions, which others see */
		case F_PG_CURRENT_XACT_ID:
		case F_TXID_CURRENT:
			/* locks, until the transaction ends, on what the definition names */
		case F_PG_GET_VIEWDEF_OID:
		case F_PG_GET_VIEWDEF_OID_BOOL:
		case F_PG_GET_VIEWDEF_OID_INT4:
		case F_PG_GET_VIEWDEF_TEXT:
		case F_PG_GET_VIEWDEF_TEXT_BOOL:
		case F_PG_GET_RULEDEF_OID:
		case F_PG_GET_RULEDEF_OID_BOOL:
		case F_PG_GET_FUNCTIONDEF:
		case F_PG_GET_FUNCTION_SQLBODY:
		case F_FMGR_SQL_VALIDATOR:
			return true;
		default:
			return volatility == PROVOLATILE_VOLATILE;
	}
}

/* What collects calls, and for whom: an author's aggregate, operator or domain. */
typedef struct Collecting
{
	DpForeignCalls *calls;
	Oid			author;			/* InvalidOid: the functions are named by who asks */
	bool		found;
} Collecting;

void
dp_foreign_call_add(DpForeignCalls *calls, Oid function, Oid author)
{
	ListCell   *f;
	ListCell   *a;

	forboth(f, calls->functions, a, calls->authors)
	{
		if (lfirst_oid(f) == function && lfirst_oid(a) == author)
			return;
	}
	calls->functions = lappend_oid(calls->functions, function);
	calls->authors = lappend_oid(calls->authors, author);
}

/* A function that somebody has made part of an object of his. */
static void
collect_part(Collecting *to, Oid function)
{
	Oid			author = OidIsValid(to->author) && dp_foreign_call_is_ordinary(to->author) ? to->author : InvalidOid;

	if (!OidIsValid(function) ||
		(function < FirstNormalObjectId &&
		 (!OidIsValid(author) || !dp_foreign_call_acts(function, func_volatile(function)))))
		return;
	dp_foreign_call_add(to->calls, function, author);
	to->found = true;
}

static void
collect_aggregate(Oid aggregate, Oid owner, DpForeignCalls *calls, bool *found)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
	Collecting	to = {calls, owner, false};
	Form_pg_aggregate form;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	collect_part(&to, form->aggtransfn);
	collect_part(&to, form->aggfinalfn);
	collect_part(&to, form->aggcombinefn);
	collect_part(&to, form->aggserialfn);
	collect_part(&to, form->aggdeserialfn);
	collect_part(&to, form->aggmtransfn);
	collect_part(&to, form->aggminvtransfn);
	collect_part(&to, form->aggmfinalfn);
	ReleaseSysCache(tuple);
	*found |= to.found;
}

/* A function that the node names. */
static bool
named_function(Oid function, void *context)
{
	Collecting *to = context;
	HeapTuple	tuple;
	Form_pg_proc form;

	if (function < FirstNormalObjectId)
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prokind == PROKIND_AGGREGATE)
		collect_aggregate(function, form->proowner, to->calls, &to->found);
	else if (dp_foreign_call_is_ordinary(form->proowner))
	{
		dp_foreign_call_add(to->calls, function, InvalidOid);
		to->found = true;
	}
	ReleaseSysCache(tuple);
	return false;
}

/*
 * The planner calls NOT (a op b) by op's negator, and may turn operands around: each by a
 * function of its own, which whoever made the operator has named.
 */
static void
named_operator(Oid opno, Collecting *to, List **seen)
{
	HeapTuple	tuple;
	Form_pg_operator form;

	if (opno < FirstNormalObjectId || list_member_oid(*seen, opno))
		return;
	check_stack_depth();
	*seen = lappend_oid(*seen, opno);
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(opno));
	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_operator) GETSTRUCT(tuple);
	if (dp_foreign_call_is_ordinary(form->oprowner))
	{
		to->author = form->oprowner;
		collect_part(to, form->oprcode);
		named_operator(form->oprnegate, to, seen);
		named_operator(form->oprcom, to, seen);
		to->author = InvalidOid;
	}
	ReleaseSysCache(tuple);
}

/* ---- types ---- */

static bool
part_of_check(Oid function, void *context)
{
	collect_part(context, function);
	return false;
}

static bool
check_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	(void) check_functions_in_node(node, part_of_check, context);
	return expression_tree_walker(node, check_walker, context);
}

static Oid
type_owner(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_type) GETSTRUCT(tuple))->typowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

/* The conditions of a domain, and of those that it is over. */
static void
collect_domain(Oid type, Collecting *to)
{
	DomainConstraintRef *ref = palloc0(sizeof(DomainConstraintRef));
	ListCell   *lc;

	looked_at_domains = true;
	InitDomainConstraintRef(type, ref, CurrentMemoryContext, false);
	to->author = type_owner(type);
	foreach(lc, ref->constraints)
		(void) check_walker((Node *) ((DomainConstraintState *) lfirst(lc))->check_expr, to);
}

/* ---- JSON ---- */

/* The statement that is looked at, and the moment since which: later it is another's. */
static Node *statement = NULL;
static uint64 statement_moment = 0;

void
dp_foreign_call_begin(Node *node)
{
	statement = node;
	statement_moment = dp_statement_moment;
}

/* One of PostgreSQL's that makes JSON, or anybody's that takes rows and the like. */
static bool
may_make_json(Oid function, void *context)
{
	char	   *name;
	Oid		   *types;
	int			n;

	if (function < FirstNormalObjectId)
		return (name = get_func_name(function)) != NULL && strstr(name, "json") != NULL;
	(void) get_func_signature(function, &types, &n);
	for (int i = 0; i < n; i++)
	{
		if (get_typtype(types[i]) == TYPTYPE_PSEUDO)
			return true;
	}
	return false;
}

static bool
json_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, json_walker, context, 0);
	return dp_node_is_json(node) || check_functions_in_node(node, may_make_json, context) ||
		expression_tree_walker(node, json_walker, context);
}

/* What makes JSON of a value looks for its type's cast by itself, wherever in the statement it stands. */
static void
collect_json_casts(Oid type, Collecting *to)
{
	static const Oid targets[] = {JSONOID, JSONBOID};

	if (!OidIsValid(type) || !dp_foreign_call_is_ordinary(type_owner(type)) ||
		(statement != NULL && statement_moment == dp_statement_moment && !json_walker(statement, NULL)))
		return;
	looked_at_casts = true;
	to->author = type_owner(type);
	for (int i = 0; i < lengthof(targets); i++)
	{
		HeapTuple	tuple = SearchSysCache2(CASTSOURCETARGET, ObjectIdGetDatum(type), ObjectIdGetDatum(targets[i]));

		if (!HeapTupleIsValid(tuple))
			continue;
		collect_part(to, ((Form_pg_cast) GETSTRUCT(tuple))->castfunc);
		ReleaseSysCache(tuple);
	}
}

static void
collect_range(Oid type, Collecting *to)
{
	HeapTuple	tuple = SearchSysCache1(RANGETYPE, ObjectIdGetDatum(type));

	if (!HeapTupleIsValid(tuple))
		return;
	collect_part(to, ((Form_pg_range) GETSTRUCT(tuple))->rngcanonical);
	collect_part(to, ((Form_pg_range) GETSTRUCT(tuple))->rngsubdiff);
	ReleaseSysCache(tuple);
}

static void
note_row_type(Oid relid)
{
	for (int i = 0; i < Min(n_row_types, MAX_ROW_TYPES); i++)
	{
		if (row_types[i] == relid)
			return;
	}
	if (n_row_types < MAX_ROW_TYPES)
		row_types[n_row_types] = relid;
	n_row_types = Min(n_row_types + 1, MAX_ROW_TYPES + 1);
}

/* What making a value of a type calls; seen: those that were looked at. */
static void
collect_type(Oid type, DpForeignCalls *calls, bool *found, List **seen)
{
	Collecting	to = {calls, InvalidOid, false};
	Oid			element;

	if (type < FirstNormalObjectId || list_member_oid(*seen, type))
		return;
	check_stack_depth();
	*seen = lappend_oid(*seen, type);
	switch (get_typtype(type))
	{
		case TYPTYPE_DOMAIN:
			collect_domain(type, &to);
			collect_type(getBaseType(type), calls, found, seen);
			break;
		case TYPTYPE_RANGE:
			collect_range(type, &to);
			collect_json_casts(type, &to);
			collect_json_casts(get_range_multirange(type), &to);
			collect_type(get_range_subtype(type), calls, found, seen);
			break;
		case TYPTYPE_ENUM:
			collect_json_casts(type, &to);
			break;
		case TYPTYPE_MULTIRANGE:
			collect_json_casts(type, &to);
			collect_type(get_multirange_range(type), calls, found, seen);
			break;
		case TYPTYPE_COMPOSITE:
			{
				TupleDesc	desc = lookup_rowtype_tupdesc_copy(type, -1);

				note_row_type(get_typ_typrelid(type));
				for (int i = 0; i < desc->natts; i++)
				{
					if (!TupleDescAttr(desc, i)->attisdropped)
						collect_type(TupleDescAttr(desc, i)->atttypid, calls, found, seen);
				}
				break;
			}
		default:
			element = get_element_type(type);
			if (OidIsValid(element))
				collect_type(element, calls, found, seen);
			break;
	}
	*found |= to.found;
}

/* The columns that a function's result is taken apart into. */
static void
collect_columns(List *types, Collecting *to, List **seen)
{
	ListCell   *lc;

	foreach(lc, types)
		collect_type(lfirst_oid(lc), to->calls, &to->found, seen);
}

/* A type of PostgreSQL's own, whatever its name will mean to others? */
static bool
names_builtin_type(Node *name)
{
	Oid			type;

	if (!IsA(name, Const) || ((Const *) name)->constisnull || ((Const *) name)->consttype != TEXTOID)
		return false;
	type = dp_type_named(TextDatumGetCString(((Const *) name)->constvalue));
	return OidIsValid(type) && type < FirstNormalObjectId;
}

/* A function of PostgreSQL's that makes a value of a type and does not give it. */
static void
collect_tried(FuncExpr *call, Collecting *to, List **seen)
{
	if (dp_function_tries_row(call->funcid))
		collect_type(exprType(linitial(call->args)), to->calls, &to->found, seen);
	else if (dp_function_tries_type(call->funcid) && !names_builtin_type(lsecond(call->args)))
	{
		dp_foreign_call_add(to->calls, call->funcid, InvalidOid);
		to->found = true;
	}
}

/* ---- nodes ---- */

/* What runs once for each element stands in an expression of its own. */
static bool
element_walker(Node *node, void *context)
{
	Collecting *to = context;

	if (node == NULL)
		return false;
	to->found |= dp_foreign_call_collect(node, to->calls);
	return expression_tree_walker(node, element_walker, context);
}

bool
dp_foreign_call_collect(Node *node, DpForeignCalls *calls)
{
	Collecting	to = {calls, InvalidOid, false};
	List	   *seen = NIL;

	(void) check_functions_in_node(node, named_function, &to);
	switch (nodeTag(node))
	{
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			named_operator(((OpExpr *) node)->opno, &to, &seen);
			break;
		case T_ScalarArrayOpExpr:
			named_operator(((ScalarArrayOpExpr *) node)->opno, &to, &seen);
			break;
		case T_ArrayCoerceExpr:
			(void) element_walker((Node *) ((ArrayCoerceExpr *) node)->elemexpr, &to);
			break;
		case T_FuncExpr:
			collect_tried((FuncExpr *) node, &to, &seen);
			collect_type(exprType(node), calls, &to.found, &seen);
			break;
		case T_CoerceViaIO:
		case T_CoerceToDomain:
			collect_type(exprType(node), calls, &to.found, &seen);
			break;
		case T_RangeTblFunction:
			collect_columns(((RangeTblFunction *) node)->funccoltypes, &to, &seen);
			break;
		case T_TableFunc:
			collect_columns(((TableFunc *) node)->coltypes, &to, &seen);
			break;
		default:
			if (dp_node_is_json(node))
				collect_type(exprType(node), calls, &to.found, &seen);
			break;
	}
	return to.found;
}

bool
dp_foreign_call_is_direct(Node *node, const DpForeignCalls *calls)
{
	switch (nodeTag(node))
	{
		case T_FuncExpr:
			return list_member_oid(calls->functions, ((FuncExpr *) node)->funcid);
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			return list_member_oid(calls->functions, get_opcode(((OpExpr *) node)->opno));
		default:
			return false;
	}
}

/* ---- plans ---- */

static void
roles_changed(int cacheid, uint32 hashvalue)
{
	if (!left_out)
		return;
	left_out = false;
	ResetPlanCache();
}

static void
plan_again(void)
{
	looked_at_domains = looked_at_casts = false;
	n_row_types = 0;
	ResetPlanCache();
}

static void
constraints_changed(int cacheid, uint32 hashvalue)
{
	if (looked_at_domains)
		plan_again();
}

static void
casts_changed(int cacheid, uint32 hashvalue)
{
	if (looked_at_casts)
		plan_again();
}

static void
relation_changed(Oid relid)
{
	bool		known = n_row_types > 0 && (!OidIsValid(relid) || n_row_types > MAX_ROW_TYPES);

	for (int i = 0; !known && i < n_row_types; i++)
		known = row_types[i] == relid;
	if (known)
		plan_again();
}

void
dp_foreign_call_init(void)
{
	dp_on_cache_change(AUTHOID, roles_changed);
	dp_on_cache_change(CONSTROID, constraints_changed);
	dp_on_cache_change(CASTSOURCETARGET, casts_changed);
	dp_on_relation_change(relation_changed);
}
