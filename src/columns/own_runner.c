/*
 * own_runner.c
 *	  Functions that run SQL, called in a statement's own words; see own_runner.h.
 */
#include "postgres.h"

#include "access/foreign_code.h"
#include "access/sql_runner.h"
#include "access/transam.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "columns/foreign_call.h"
#include "columns/foreign_expression.h"
#include "columns/own_runner.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_own_sql);

static FmgrInfo *
function_of_call(FunctionCallInfo fcinfo)
{
	FmgrInfo   *function = fcinfo->flinfo->fn_extra;
	Oid			oid;

	if (likely(function != NULL))
		return function;
	oid = PG_GETARG_OID(0);
	if (!dp_sql_runner_is_builtin(oid))
		elog(ERROR, "function %u runs no SQL", oid);
	if (!dp_may_execute(oid))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(oid));
	function = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, sizeof(FmgrInfo));
	fmgr_info_cxt(oid, function, fcinfo->flinfo->fn_mcxt);
	fcinfo->flinfo->fn_extra = function;
	return function;
}

/* dataprotect._own_sql(function internal, ... internal) returns internal: the function, of the rest */
Datum
dp_own_sql(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(call, FUNC_MAX_ARGS);
	Datum		result;

	InitFunctionCallInfoData(*call, function_of_call(fcinfo), PG_NARGS() - 1, PG_GET_COLLATION(), NULL, NULL);
	for (int i = 1; i < PG_NARGS(); i++)
	{
		call->args[i - 1] = fcinfo->args[i];
		if (fcinfo->args[i].isnull && call->flinfo->fn_strict)
			PG_RETURN_NULL();
	}
	if (call->flinfo->fn_oid == F_SET_CONFIG && !call->args[0].isnull)
		dp_foreign_code_sets(text_to_cstring(DatumGetTextPP(call->args[0].value)),
							 dp_call_is_stored(fcinfo->flinfo->fn_expr));
	if ((call->flinfo->fn_oid == F_CURSOR_TO_XML || call->flinfo->fn_oid == F_CURSOR_TO_XMLSCHEMA) && !call->args[0].isnull)
		dp_foreign_code_reads_cursor(text_to_cstring(DatumGetTextPP(call->args[0].value)));
	result = FunctionCallInvoke(call);
	fcinfo->isnull = call->isnull;
	return result;
}

/* A function of ours with arguments that no expression of a user's has. */
static Oid
own_function(const char *name, int n_args)
{
	Oid			types[2] = {INTERNALOID, INTERNALOID};
	Oid			schema = get_namespace_oid("dataprotect", true);

	return OidIsValid(schema) ?
		GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
						PointerGetDatum(buildoidvector(types, n_args)), ObjectIdGetDatum(schema)) : InvalidOid;
}

/* Does the planner make NULL of it before anybody calls it? */
static bool
is_null(const FuncExpr *call)
{
	ListCell   *lc;

	foreach(lc, call->args)
	{
		if (IsA(lfirst(lc), Const) && lfirst_node(Const, lc)->constisnull)
			return !call->funcretset && func_strict(call->funcid);
	}
	return false;
}

static void
take_call(FuncExpr *call)
{
	bool		rows = call->funcretset;
	Oid			own = rows ? own_function("_own_ts_stat", list_length(call->args)) : own_function("_own_sql", 2);

	if (!OidIsValid(own) || is_null(call))
		return;
	if (!rows)
		call->args = lcons(makeConst(OIDOID, -1, InvalidOid, sizeof(Oid), ObjectIdGetDatum(call->funcid), false, true),
						   call->args);
	else if (dp_may_execute(call->funcid))
		dp_statement_depends_on_role();
	else
		return;
	call->funcid = own;
}

/*
 * context: not NULL where what was stored is as good as the statement's own words: in a
 * superuser's view, and in a SELECT that was stored as such, which a function's body is.
 * What an INSERT has that was stored may be a default.
 */
static bool
take_walker(Node *node, void *context)
{
	Query	   *query = (Query *) node;
	ListCell   *lc;

	if (node == NULL)
		return false;
	check_stack_depth();
	if (IsA(node, FuncExpr))
	{
		FuncExpr   *call = (FuncExpr *) node;

		if (context != NULL && call->location < 0 && call->funcformat == COERCE_EXPLICIT_CALL)
			call->location = 0;
		if ((call->location >= 0 || call->funcid == F_SET_CONFIG) && dp_sql_runner_is_builtin(call->funcid))
			take_call(call);
	}
	if (!IsA(node, Query))
		return expression_tree_walker(node, take_walker, context);
	if (query->commandType != CMD_SELECT || query->querySource != QSRC_ORIGINAL)
		context = NULL;
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
		Oid			view = rte->rtekind == RTE_SUBQUERY ? dp_view_of_subquery(rte) : InvalidOid;
		bool		own = OidIsValid(view) ? !dp_foreign_call_is_ordinary(dp_foreign_expression_owner(view)) :
			context != NULL && rte->securityQuals == NIL;

		(void) range_table_walker(list_make1(rte), take_walker, own ? rte : NULL, 0);
	}
	return query_tree_walker(query, take_walker, context, QTW_IGNORE_RANGE_TABLE);
}

bool
dp_own_runner_may_take(FuncExpr *call)
{
	if (call->funcid < FirstNormalObjectId)
		return dp_sql_runner_is_builtin(call->funcid);
	return call->location < 0 && call->funcformat == COERCE_EXPLICIT_CALL;
}

void
dp_own_runner_take(Node *node)
{
	(void) take_walker(node, IsA(node, Query) ? node : NULL);
}
