/*
 * resolver.c
 *	  PostgreSQL's resolver of operators and functions, asked from SQL while the
 *	  overloads of an encrypted type are made (type_overloads.sql).
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "fmgr.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "parser/parse_oper.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_operator_for_sql);
PG_FUNCTION_INFO_V1(dp_operator_astray_sql);
PG_FUNCTION_INFO_V1(dp_function_astray_sql);
PG_FUNCTION_INFO_V1(dp_stand_in);
PG_FUNCTION_INFO_V1(dp_remark);

static bool
is_type(Oid type)
{
	return SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(type));
}

/* The operator that an expression gets (left invalid: a prefix operator), or InvalidOid. */
static Oid
operator_for(char *name, Oid left, Oid right)
{
	List	   *names = list_make1(makeString(name));
	Operator	found;
	Oid			result;

	if (!is_type(right) || (OidIsValid(left) && !is_type(left)))
		return InvalidOid;
	found = OidIsValid(left) ? oper(NULL, names, left, right, true, -1) : left_oper(NULL, names, right, true, -1);
	if (found == NULL)
		return InvalidOid;
	/* a shell, which a commutator has left, is none */
	result = OidIsValid(((Form_pg_operator) GETSTRUCT(found))->oprcode) ? oprid(found) : InvalidOid;
	ReleaseSysCache(found);
	return result;
}

/* The type, or the base type of an encrypted one. */
static Oid
base_of(Oid type)
{
	return dp_type_is_encrypted(type) ? dp_typeinfo_get(type)->base_oid : type;
}

/*
 * dataprotect._operator_for(name text, left_type oid, right_type oid) returns oid
 * The operator that an expression would get under the present search_path; 0 where
 * it would be an error.
 */
Datum
dp_operator_for_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_OID(operator_for(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_OID(1), PG_GETARG_OID(2)));
}

/*
 * dataprotect._operator_astray(wanted oid, left_type oid, right_type oid, exactly bool)
 *		returns bool
 * Would an expression get no operator, or one that does not take what the wanted
 * one takes (exactly), or gives another type?
 */
Datum
dp_operator_astray_sql(PG_FUNCTION_ARGS)
{
	HeapTuple	wanted = SearchSysCache1(OPEROID, ObjectIdGetDatum(PG_GETARG_OID(0)));
	FormData_pg_operator want;
	FormData_pg_operator got;
	HeapTuple	found;
	Oid			oid;

	if (!HeapTupleIsValid(wanted))
		PG_RETURN_BOOL(false);
	want = *(Form_pg_operator) GETSTRUCT(wanted);
	ReleaseSysCache(wanted);
	oid = operator_for(NameStr(want.oprname), PG_GETARG_OID(1), PG_GETARG_OID(2));
	found = OidIsValid(oid) ? SearchSysCache1(OPEROID, ObjectIdGetDatum(oid)) : NULL;
	if (!HeapTupleIsValid(found))
		PG_RETURN_BOOL(true);
	got = *(Form_pg_operator) GETSTRUCT(found);
	ReleaseSysCache(found);
	if (PG_GETARG_BOOL(3))
		PG_RETURN_BOOL(base_of(got.oprleft) != want.oprleft || base_of(got.oprright) != want.oprright);
	PG_RETURN_BOOL(base_of(got.oprresult) != want.oprresult);
}

/*
 * dataprotect._function_astray(wanted oid, argtypes oid[]) returns bool
 * Would a call get no function, or one that does not take what the wanted one takes?
 */
Datum
dp_function_astray_sql(PG_FUNCTION_ARGS)
{
	Oid			wanted = PG_GETARG_OID(0);
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(1);
	Datum	   *elements;
	int			n;
	int			n_wanted;
	Oid			types[FUNC_MAX_ARGS];
	Oid		   *want;
	Oid			funcid = InvalidOid;
	Oid			rettype;
	bool		retset;
	int			nvargs;
	Oid			vatype;
	Oid		   *declared;
	List	   *defaults;
	FuncDetailCode code;

	if (!SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(wanted)) || array_contains_nulls(array))
		PG_RETURN_BOOL(false);
	deconstruct_array(array, OIDOID, sizeof(Oid), true, TYPALIGN_INT, &elements, NULL, &n);
	(void) get_func_signature(wanted, &want, &n_wanted);
	if (n != n_wanted)
		PG_RETURN_BOOL(false);
	for (int i = 0; i < n; i++)
	{
		types[i] = DatumGetObjectId(elements[i]);
		if (!is_type(types[i]))
			PG_RETURN_BOOL(false);
	}
	code = func_get_detail(list_make1(makeString(get_func_name(wanted))), NIL, NIL, n, types, false, false, false,
						   &funcid, &rettype, &retset, &nvargs, &vatype, &declared, &defaults);
	if (code == FUNCDETAIL_NOTFOUND || code == FUNCDETAIL_MULTIPLE)
		PG_RETURN_BOOL(true);
	for (int i = 0; i < n; i++)
	{
		if (base_of(declared[i]) != want[i])
			PG_RETURN_BOOL(true);
	}
	PG_RETURN_BOOL(false);
}

/*
 * dataprotect._remark(routine regprocedure, remark text) returns void
 * COMMENT ON FUNCTION without its lock: nobody else sees the function yet.
 */
Datum
dp_remark(PG_FUNCTION_ARGS)
{
	Oid			routine = PG_GETARG_OID(0);

	if (!SearchSysCacheExists1(PROCOID, ObjectIdGetDatum(routine)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg("function with OID %u does not exist", routine)));
	CreateComments(routine, ProcedureRelationId, 0, text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

/*
 * dataprotect._stand_in(state anyelement, value anycompatible) returns anyelement
 * The transition function of aggregates over encrypted types, which are declared so
 * that calls resolve, and replaced before they are planned (resolve.c).
 */
Datum
dp_stand_in(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("an aggregate over an encrypted type was not planned as one over its base type")));
	PG_RETURN_NULL();
}
