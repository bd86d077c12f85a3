/*
 * guard_shadow.c
 *	  Functions and operators that would stand in for PostgreSQL's own; see
 *	  guard_shadow.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "columns/contains_encrypted.h"
#include "columns/guard_catalog.h"
#include "columns/guard_shadow.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/syscache.h"

static bool
function_in_catalog(const char *name)
{
	CatCList   *list = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	bool		found = false;

	for (int i = 0; i < list->n_members && !found; i++)
		found = ((Form_pg_proc) GETSTRUCT(&list->members[i]->tuple))->pronamespace == PG_CATALOG_NAMESPACE;
	ReleaseSysCacheList(list);
	return found;
}

static bool
operator_in_catalog(const char *name)
{
	CatCList   *list = SearchSysCacheList1(OPERNAMENSP, CStringGetDatum(name));
	bool		found = false;

	for (int i = 0; i < list->n_members && !found; i++)
		found = ((Form_pg_operator) GETSTRUCT(&list->members[i]->tuple))->oprnamespace == PG_CATALOG_NAMESPACE;
	ReleaseSysCacheList(list);
	return found;
}

static void
refuse(const char *kind, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to make %s %s over an encrypted type", kind, name),
			 errdetail("In the statements of others it would take the place of the one in \"%s\".", "pg_catalog"),
			 errhint("Give it a name that \"%s\" does not have.", "pg_catalog")));
}

static void
check_function(Oid function)
{
	HeapTuple	tuple = dp_guard_fetch(ProcedureRelationId, ProcedureOidIndexId, Anum_pg_proc_oid, function,
									   InvalidAttrNumber, 0);
	Form_pg_proc form;
	bool		bears = false;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	for (int i = 0; i < form->pronargs && !bears; i++)
		bears = dp_contains_encrypted_type(form->proargtypes.values[i]);
	if (bears && form->pronamespace != PG_CATALOG_NAMESPACE && function_in_catalog(NameStr(form->proname)))
		refuse("function", NameStr(form->proname));
}

static void
check_operator(Oid operator)
{
	HeapTuple	tuple = dp_guard_fetch(OperatorRelationId, OperatorOidIndexId, Anum_pg_operator_oid, operator,
									   InvalidAttrNumber, 0);
	Form_pg_operator form;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_operator) GETSTRUCT(tuple);
	if (((OidIsValid(form->oprleft) && dp_contains_encrypted_type(form->oprleft)) ||
		 dp_contains_encrypted_type(form->oprright)) &&
		form->oprnamespace != PG_CATALOG_NAMESPACE && operator_in_catalog(NameStr(form->oprname)))
		refuse("operator", NameStr(form->oprname));
}

void
dp_guard_shadow(Oid class_id, Oid object_id)
{
	if (superuser())
		return;
	if (class_id == ProcedureRelationId)
		check_function(object_id);
	else if (class_id == OperatorRelationId)
		check_operator(object_id);
}
