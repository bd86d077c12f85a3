/*
 * seen_by.c
 *	  A value as others may see it; see seen_by.h.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/foreign_code.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "columns/foreign_call.h"
#include "columns/seen_by.h"
#include "fmgr.h"
#include "keys/kept_look.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "types/seal.h"
#include "types/show.h"
#include "types/storing.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_seen_by);

/* One call in a plan. */
typedef struct SeenBy
{
	const DpTypeInfo *info;		/* NULL: no single value of an encrypted type */
	int			n;
	const Oid  *functions;
	const Oid  *authors;
	bool		compared;
	Oid			role;			/* who had nothing more than any of them, at that look */
	DpKeptLook	look;
} SeenBy;

static const Oid *
copy_oids(ArrayType *array, MemoryContext context, int *n)
{
	Oid		   *copy;

	*n = ARR_NDIM(array) == 1 ? ARR_DIMS(array)[0] : 0;
	copy = MemoryContextAlloc(context, Max(1, *n) * sizeof(Oid));
	memcpy(copy, ARR_DATA_PTR(array), *n * sizeof(Oid));
	return copy;
}

static SeenBy *
seen_by_of_call(FunctionCallInfo fcinfo)
{
	MemoryContext context = fcinfo->flinfo->fn_mcxt;
	SeenBy	   *seen = fcinfo->flinfo->fn_extra;
	Oid			type;

	if (likely(seen != NULL))
		return seen;
	seen = MemoryContextAllocZero(context, sizeof(SeenBy));
	type = getBaseType(get_fn_expr_argtype(fcinfo->flinfo, 0));
	if (dp_type_is_encrypted(type))
		seen->info = dp_typeinfo_get(type);
	seen->functions = copy_oids(PG_GETARG_ARRAYTYPE_P(1), context, &seen->n);
	seen->authors = copy_oids(PG_GETARG_ARRAYTYPE_P(2), context, &seen->n);
	seen->compared = PG_GETARG_BOOL(3);
	fcinfo->flinfo->fn_extra = seen;
	return seen;
}

/* Whose right one of them has now; false where it takes nothing away. */
static bool
counts(const SeenBy *seen, int i, Oid *owner)
{
	Oid			function = seen->functions[i];
	HeapTuple	tuple;
	bool		result;

	if (OidIsValid(function) && dp_foreign_code_counts(function, owner))
		return true;
	*owner = seen->authors[i];
	if (OidIsValid(function) && function < FirstNormalObjectId && !OidIsValid(*owner))
		return true;			/* it may call anybody's */
	if (!OidIsValid(function))
		return OidIsValid(*owner) && !superuser_arg(*owner);
	if (!OidIsValid(*owner) || superuser_arg(*owner) ||
		(tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function))) == NULL)
		return false;
	result = dp_foreign_call_acts(function, ((Form_pg_proc) GETSTRUCT(tuple))->provolatile) &&
		superuser_arg(((Form_pg_proc) GETSTRUCT(tuple))->proowner);
	ReleaseSysCache(tuple);
	return result;
}

static void
enter_code(const SeenBy *seen)
{
	Oid			owner;

	for (int i = 0; i < seen->n; i++)
	{
		if (counts(seen, i, &owner))
			dp_statement_enter_code(seen->functions[i], owner);
	}
}

/* ---- one value ---- */

/* What those on the stack see of a value of which they may not see all; false for NULL. */
static bool
seen_masked(FmgrInfo *flinfo, const SeenBy *seen, const DpValue *value, Datum *out)
{
	Datum		plain;

	if (seen->compared || dp_show_privilege(value) != DP_PRIV_MASK ||
		dp_storing_would_store(flinfo))
		dp_access_denied(value->family, "reveal");
	if (!dp_show_mask(seen->info, value, &plain))
		return false;
	*out = PointerGetDatum(dp_seal_for(seen->info, plain, -1));
	dp_value_dispose(seen->info, plain);
	return true;
}

static bool
see_value(FmgrInfo *flinfo, const SeenBy *seen, const DpValue *value, Datum *out)
{
	DpPrivilege before = dp_access_privilege(value->family);
	int			level = dp_n_code;
	volatile bool result = true;

	PG_TRY();
	{
		enter_code(seen);
		if (dp_n_code > level && dp_access_privilege(value->family) < before)
			result = seen_masked(flinfo, seen, value, out);
	}
	PG_FINALLY();
	{
		dp_statement_leave_code(level);
	}
	PG_END_TRY();
	return result;
}

/* ---- anything else ---- */

pg_noreturn static void
refuse(Oid function, Oid owner)
{
	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("an expression of \"%s\" could pass protected values on", GetUserNameFromId(owner, true)),
				 errdetail("The role, whose view, policy or rule it is in, has fewer privileges on their keys than the current role."),
				 errhint("Grant the privilege to the role.")));
	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function %s could pass protected values on", format_procedure(function)),
				 errdetail("It makes values of whatever type it is told, and a type's conditions are code of its owner."),
				 errhint("Write the name of a built-in type as a constant, or cast the value instead.")));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("function %s would be called with protected values that \"%s\" may not see",
					format_procedure(function), GetUserNameFromId(owner, true)),
			 errdetail("The role, whose code calls it, has fewer privileges on their keys than the current role."),
			 errhint("Grant the privilege to the role, or have a member of dataprotect_admin call dataprotect.trust_function().")));
}

/* Has the current role more of some key than any of them? */
static void
check_all(SeenBy *seen)
{
	Oid			role = GetUserId();
	Oid			owner;

	if (seen->role == role && dp_look_is_kept(&seen->look))
		return;
	dp_look_begin(&seen->look);
	for (int i = 0; i < seen->n; i++)
	{
		if (counts(seen, i, &owner) && owner != role && dp_access_exceeds(role, owner))
			refuse(seen->functions[i], owner);
	}
	dp_look_took(&seen->look, seen->look.since);
	seen->role = role;
}

/* dataprotect._seen_by(value internal, functions internal, authors internal, compared internal) returns internal */
Datum
dp_seen_by(PG_FUNCTION_ARGS)
{
	SeenBy	   *seen = seen_by_of_call(fcinfo);
	Datum		result = PG_GETARG_DATUM(0);
	DpValue		value;

	if (seen->info == NULL)
	{
		check_all(seen);
		PG_RETURN_DATUM(result);
	}
	dp_value_parse(PG_DETOAST_DATUM_PACKED(result), false, &value);
	if (!value.literal && !see_value(fcinfo->flinfo, seen, &value, &result))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(result);
}

static const Oid *
list_oids(List *oids)
{
	Oid		   *result = palloc(Max(1, list_length(oids)) * sizeof(Oid));

	for (int i = 0; i < list_length(oids); i++)
		result[i] = list_nth_oid(oids, i);
	return result;
}

static void
check_now(const DpForeignCalls *calls)
{
	SeenBy		seen = {.n = list_length(calls->functions)};

	seen.functions = list_oids(calls->functions);
	seen.authors = list_oids(calls->authors);
	check_all(&seen);
}

/* ---- plans ---- */

static Oid
seen_by_function(void)
{
	Oid			types[4] = {INTERNALOID, INTERNALOID, INTERNALOID, INTERNALOID};
	Oid			schema = get_namespace_oid("dataprotect", true);

	return OidIsValid(schema) ?
		GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("_seen_by"),
						PointerGetDatum(buildoidvector(types, 4)), ObjectIdGetDatum(schema)) : InvalidOid;
}

static Node *
make_oids(List *oids)
{
	Datum	   *values = palloc(Max(1, list_length(oids)) * sizeof(Datum));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, oids)
		values[n++] = ObjectIdGetDatum(lfirst_oid(lc));
	return (Node *) makeConst(OIDARRAYOID, -1, InvalidOid, -1,
							  PointerGetDatum(construct_array(values, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT)),
							  false, false);
}

Node *
dp_seen_by_make(Node *expr, const DpForeignCalls *calls, bool compared)
{
	Oid			function = seen_by_function();

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" of this database lacks a function that the library needs", "dataprotect"),
				 errhint("Run ALTER EXTENSION dataprotect UPDATE.")));
	return (Node *) makeFuncExpr(function, exprType(expr),
								 list_make4(expr, make_oids(calls->functions), make_oids(calls->authors),
											makeBoolConst(compared, false)),
								 exprCollation(expr), InvalidOid, COERCE_EXPLICIT_CALL);
}

/* ---- queries ---- */

static Node *
make_guard(const DpForeignCalls *calls)
{
	return dp_seen_by_make(makeBoolConst(true, false), calls, false);
}

/*
 * What MERGE joins by is not asked of rows that have no match: it is asked before the
 * target is read, which is below the join, and before each action.
 */
static void
guard_merge(Query *query, const DpForeignCalls *calls)
{
	RangeTblEntry *target = rt_fetch(query->resultRelation, query->rtable);
	ListCell   *lc;

	check_now(calls);
	dp_statement_depends_on_role();
	if (target->relkind != RELKIND_VIEW)
		target->securityQuals = lcons(make_guard(calls), target->securityQuals);
	foreach(lc, query->mergeActionList)
	{
		MergeAction *action = lfirst_node(MergeAction, lc);

		action->qual = make_and_qual(make_guard(calls), action->qual);
	}
}

void
dp_seen_by_guard(Query *query, const DpForeignCalls *calls)
{
	ListCell   *lc;

	if (query->commandType == CMD_MERGE)
	{
		guard_merge(query, calls);
		return;
	}
	if (query->setOperations == NULL)
	{
		query->jointree->quals = make_and_qual(query->jointree->quals, make_guard(calls));
		return;
	}
	/* a set operation has no condition, its branches do */
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_SUBQUERY)
			dp_seen_by_guard(rte->subquery, calls);
	}
}
