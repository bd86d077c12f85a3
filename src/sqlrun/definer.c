/*
 * definer.c
 *	  How functions that act for their caller are entered.
 *
 * A SECURITY DEFINER function cannot tell who called it: the user id in force
 * before is nowhere to be found.  Public functions that ask for rights on tables
 * are therefore entered here, with their caller's rights: the caller is noted,
 * and the body, a function that nobody may call, runs as the bootstrap
 * superuser.
 *
 * dp_definer_enter_recorded() is for work that is done with the caller's rights,
 * but whose event nobody must be able to write by hand: the body runs as the
 * caller; once it has succeeded, dataprotect._log_<name> runs as the bootstrap
 * superuser, with the same arguments and the body's result behind them.
 *
 * Two roles must have a right: the one that the session acts as, or the owner of
 * a SECURITY DEFINER function could lend what he has to everybody; and the
 * immediate caller, or such an owner could borrow from whoever calls it, or
 * fires it as a trigger.
 */
#include "postgres.h"

#include "base/statement.h"
#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "keys/own_function.h"
#include "miscadmin.h"
#include "sqlrun/run_as.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_definer_enter);
PG_FUNCTION_INFO_V1(dp_definer_enter_recorded);
PG_FUNCTION_INFO_V1(dp_definer_caller);
PG_FUNCTION_INFO_V1(dp_definer_entered_by);

/* Who entered the innermost function; InvalidOid outside any. */
static Oid	entered_by = InvalidOid;

/*
 * dataprotect.<prefix><name> of a public function, with the same arguments, and
 * one of type more where it is valid.
 */
static Oid
find_part(Oid function, const char *prefix, Oid more)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	const char *name;
	NameData	part_name = {0};
	Oid			types[FUNC_MAX_ARGS];
	int			n_types;
	Oid			result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	name = NameStr(form->proname);
	snprintf(NameStr(part_name), NAMEDATALEN, "%s%s", prefix, name[0] == '_' ? name + 1 : name);
	n_types = form->pronargs;
	memcpy(types, form->proargtypes.values, n_types * sizeof(Oid));
	if (OidIsValid(more) && n_types < FUNC_MAX_ARGS)
		types[n_types++] = more;
	result = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, NameGetDatum(&part_name),
							 PointerGetDatum(buildoidvector(types, n_types)),
							 ObjectIdGetDatum(form->pronamespace));
	if (!OidIsValid(result))
		elog(ERROR, "function \"%s\" does not exist", NameStr(part_name));
	ReleaseSysCache(tuple);
	return result;
}

/* What a public function consists of; lives as long as its FmgrInfo. */
typedef struct Parts
{
	FmgrInfo	body;
	FmgrInfo	log;			/* of recorded ones */
} Parts;

static Parts *
get_parts(FunctionCallInfo fcinfo, bool recorded)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	Parts	   *parts = flinfo->fn_extra;
	Oid			body;

	if (parts != NULL)
		return parts;
	parts = MemoryContextAllocZero(flinfo->fn_mcxt, sizeof(Parts));
	body = find_part(flinfo->fn_oid, "_do_", InvalidOid);
	fmgr_info_cxt(body, &parts->body, flinfo->fn_mcxt);
	if (recorded)
		fmgr_info_cxt(find_part(flinfo->fn_oid, "_log_", get_func_rettype(body)), &parts->log, flinfo->fn_mcxt);
	flinfo->fn_extra = parts;
	return parts;
}

/* The body is part of the extension, or what it writes is nobody's. */
static int
enter_own(const Parts *parts)
{
	return dp_own_function_kind(parts->body.fn_oid) != DP_OWN_NONE ? dp_own_begin() : INT_MAX;
}

static Datum
call_as_own(const Parts *parts, FunctionCallInfo call)
{
	int			level = enter_own(parts);
	Datum		result = (Datum) 0;

	PG_TRY();
	{
		result = FunctionCallInvoke(call);
	}
	PG_FINALLY();
	{
		dp_own_end(level);
	}
	PG_END_TRY();
	return result;
}

Datum
dp_definer_enter(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(call, FUNC_MAX_ARGS);
	Parts	   *parts = get_parts(fcinfo, false);
	Oid			before = entered_by;
	DpRunAs		saved;
	Datum		result = (Datum) 0;
	int			level = enter_own(parts);

	InitFunctionCallInfoData(*call, &parts->body, fcinfo->nargs, fcinfo->fncollation,
							 fcinfo->context, fcinfo->resultinfo);
	memcpy(call->args, fcinfo->args, fcinfo->nargs * sizeof(NullableDatum));

	entered_by = GetUserId();
	PG_TRY();
	{
		dp_run_as_system(&saved);
		result = FunctionCallInvoke(call);
		dp_run_as_end(&saved);
	}
	PG_FINALLY();
	{
		entered_by = before;
		dp_own_end(level);
	}
	PG_END_TRY();
	fcinfo->isnull = call->isnull;
	return result;
}

Datum
dp_definer_enter_recorded(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(call, FUNC_MAX_ARGS);
	Parts	   *parts = get_parts(fcinfo, true);
	NullableDatum result;
	DpRunAs		saved;
	int			level;

	/* no context: the work and its event are one transaction */
	InitFunctionCallInfoData(*call, &parts->body, fcinfo->nargs, fcinfo->fncollation, NULL, NULL);
	memcpy(call->args, fcinfo->args, fcinfo->nargs * sizeof(NullableDatum));
	result.value = call_as_own(parts, call);
	result.isnull = call->isnull;

	InitFunctionCallInfoData(*call, &parts->log, fcinfo->nargs + 1, InvalidOid, NULL, NULL);
	memcpy(call->args, fcinfo->args, fcinfo->nargs * sizeof(NullableDatum));
	call->args[fcinfo->nargs] = result;
	level = enter_own(parts);
	PG_TRY();
	{
		dp_run_as_system(&saved);
		(void) FunctionCallInvoke(call);
		dp_run_as_end(&saved);
	}
	PG_FINALLY();
	{
		dp_own_end(level);
	}
	PG_END_TRY();

	fcinfo->isnull = result.isnull;
	return result.value;
}

Datum
dp_definer_caller(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(GetOuterUserId());
}

/*
 * dataprotect._entered_by() returns oid: the immediate caller of the public
 * function that is running, NULL outside of one.
 */
Datum
dp_definer_entered_by(PG_FUNCTION_ARGS)
{
	if (!OidIsValid(entered_by))
		PG_RETURN_NULL();
	PG_RETURN_OID(entered_by);
}
