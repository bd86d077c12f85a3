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
 * Two roles must have a right: the one that the session acts as, or the owner of
 * a SECURITY DEFINER function could lend what he has to everybody; and the
 * immediate caller, or such an owner could borrow from whoever calls it, or
 * fires it as a trigger.
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "fmgr.h"
#include "sqlrun/run_as.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_definer_enter);
PG_FUNCTION_INFO_V1(dp_definer_caller);
PG_FUNCTION_INFO_V1(dp_definer_entered_by);

/* Who entered the innermost function; InvalidOid outside any. */
static Oid	entered_by = InvalidOid;

/* dataprotect._do_<name> with the same arguments. */
static Oid
find_body(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	const char *name;
	NameData	body_name = {0};
	HeapTuple	body;
	Oid			result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	name = NameStr(form->proname);
	snprintf(NameStr(body_name), NAMEDATALEN, "_do_%s", name[0] == '_' ? name + 1 : name);
	body = SearchSysCache3(PROCNAMEARGSNSP, NameGetDatum(&body_name),
						   PointerGetDatum(&form->proargtypes), ObjectIdGetDatum(form->pronamespace));
	if (!HeapTupleIsValid(body))
		elog(ERROR, "function \"%s\" does not exist", NameStr(body_name));
	result = ((Form_pg_proc) GETSTRUCT(body))->oid;
	ReleaseSysCache(body);
	ReleaseSysCache(tuple);
	return result;
}

Datum
dp_definer_enter(PG_FUNCTION_ARGS)
{
	LOCAL_FCINFO(call, FUNC_MAX_ARGS);
	FmgrInfo   *body = fcinfo->flinfo->fn_extra;
	Oid			before = entered_by;
	DpRunAs		saved;
	Datum		result = (Datum) 0;

	if (body == NULL)
	{
		Oid			function = find_body(fcinfo->flinfo->fn_oid);

		body = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(FmgrInfo));
		fmgr_info_cxt(function, body, fcinfo->flinfo->fn_mcxt);
		fcinfo->flinfo->fn_extra = body;
	}
	InitFunctionCallInfoData(*call, body, fcinfo->nargs, fcinfo->fncollation,
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
	}
	PG_END_TRY();
	fcinfo->isnull = call->isnull;
	return result;
}

/*
 * dataprotect._caller() returns oid: the role that the session acts as, looking
 * through SECURITY DEFINER functions.
 */
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
