/*
 * raise.c
 *	  Errors of the functions in SQL and PL/pgSQL.
 */
#include "postgres.h"

#include "base/argument.h"
#include "base/compat.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dp_raise);

/* The conditions that our SQL raises, by the names that PL/pgSQL gives them. */
static const struct
{
	const char *name;
	int			sqlstate;
}			conditions[] = {
	{"data_corrupted", ERRCODE_DATA_CORRUPTED},
	{"datatype_mismatch", ERRCODE_DATATYPE_MISMATCH},
	{"dependent_objects_still_exist", ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST},
	{"duplicate_object", ERRCODE_DUPLICATE_OBJECT},
	{"feature_not_supported", ERRCODE_FEATURE_NOT_SUPPORTED},
	{"insufficient_privilege", ERRCODE_INSUFFICIENT_PRIVILEGE},
	{"invalid_name", ERRCODE_INVALID_NAME},
	{"invalid_object_definition", ERRCODE_INVALID_OBJECT_DEFINITION},
	{"invalid_parameter_value", ERRCODE_INVALID_PARAMETER_VALUE},
	{"lock_not_available", ERRCODE_LOCK_NOT_AVAILABLE},
	{"name_too_long", ERRCODE_NAME_TOO_LONG},
	{"no_data_found", ERRCODE_NO_DATA_FOUND},
	{"not_null_violation", ERRCODE_NOT_NULL_VIOLATION},
	{"null_value_not_allowed", ERRCODE_NULL_VALUE_NOT_ALLOWED},
	{"object_in_use", ERRCODE_OBJECT_IN_USE},
	{"object_not_in_prerequisite_state", ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE},
	{"program_limit_exceeded", ERRCODE_PROGRAM_LIMIT_EXCEEDED},
	{"triggered_action_exception", ERRCODE_TRIGGERED_ACTION_EXCEPTION},
	{"undefined_column", ERRCODE_UNDEFINED_COLUMN},
	{"undefined_function", ERRCODE_UNDEFINED_FUNCTION},
	{"undefined_object", ERRCODE_UNDEFINED_OBJECT},
	{"undefined_schema", ERRCODE_UNDEFINED_SCHEMA},
	{"undefined_table", ERRCODE_UNDEFINED_TABLE},
	{"wrong_object_type", ERRCODE_WRONG_OBJECT_TYPE},
};

static int
sqlstate_of(const char *condition)
{
	for (int i = 0; i < lengthof(conditions); i++)
		if (strcmp(conditions[i].name, condition) == 0)
			return conditions[i].sqlstate;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized condition \"%s\"", condition)));
}

static char *
text_argument(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}

/* The fields "schema" and "table" of the error in hand. */
static int
about_table(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name != NULL)
	{
		err_generic_string(PG_DIAG_SCHEMA_NAME, get_namespace_name(get_rel_namespace(relid)));
		err_generic_string(PG_DIAG_TABLE_NAME, name);
	}
	return 0;
}

/*
 * dataprotect._raise(condition text, message text, detail text, hint text,
 *		rel regclass)
 * An error of that condition; detail, hint and rel may be NULL.  The context is the
 * function that calls, not the statement by which it does.
 */
Datum
dp_raise(PG_FUNCTION_ARGS)
{
	char	   *condition = text_argument(fcinfo, 0);
	char	   *message = text_argument(fcinfo, 1);
	char	   *detail = text_argument(fcinfo, 2);
	char	   *hint = text_argument(fcinfo, 3);
	int			sqlstate = sqlstate_of(condition != NULL ? condition : "");

	if (error_context_stack != NULL)
		error_context_stack = error_context_stack->previous;
	/* one about a table names objects and no value: it may be written down whole */
	ereport_domain(ERROR, PG_ARGISNULL(4) ? TEXTDOMAIN : DP_MESSAGE_DOMAIN,
				   (errcode(sqlstate),
					errmsg_internal("%s", message != NULL ? message : "error without a message"),
					detail != NULL ? errdetail_internal("%s", detail) : 0,
					hint != NULL ? errhint("%s", hint) : 0,
					PG_ARGISNULL(4) ? 0 : about_table(PG_GETARG_OID(4))));
}
