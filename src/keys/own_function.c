/*
 * own_function.c
 *	  Which functions are the extension's own; see own_function.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "keys/own_function.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

typedef struct KnownFunction
{
	Oid			function;		/* hash key */
	DpOwnKind	kind;
} KnownFunction;

static HTAB *known = NULL;
static uint64 changes = 0;

static void
forget(Datum arg, int cacheid, uint32 hashvalue)
{
	if (known != NULL)
		hash_destroy(known);
	known = NULL;
	changes++;
}

static void
remember(Oid function, DpOwnKind kind)
{
	if (known == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(KnownFunction);
		ctl.hcxt = TopMemoryContext;
		known = hash_create("dataprotect own functions", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	((KnownFunction *) hash_search(known, &function, HASH_ENTER, NULL))->kind = kind;
}

/*
 * For internal use, and yet fit to be called by a superuser: they take what a
 * public function takes, or nothing, and write its event.
 */
static bool
is_entry(const char *name)
{
	static const char *const entries[] = {"_end_orphaned_grants", "_rotate_due", "_subject_destroy",
	"_subject_resume", "_subject_suspend"};

	if (name[0] != '_')
		return true;
	for (int i = 0; i < lengthof(entries); i++)
	{
		if (strcmp(name, entries[i]) == 0)
			return true;
	}
	return false;
}

/* Without its membership in the extension, which is the dear part. */
static DpOwnKind
kind_by_row(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc form;
	DpOwnKind	kind = DP_OWN_NONE;

	if (!HeapTupleIsValid(tuple))
		return DP_OWN_NONE;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if ((form->prosecdef || !heap_attisnull(tuple, Anum_pg_proc_proconfig, NULL)) &&
		form->pronamespace == get_namespace_oid("dataprotect", true) && superuser_arg(form->proowner))
		kind = is_entry(NameStr(form->proname)) ? DP_OWN_PUBLIC : DP_OWN_INTERNAL;
	ReleaseSysCache(tuple);
	return kind;
}

DpOwnKind
dp_own_function_kind(Oid function)
{
	KnownFunction *entry;
	uint64		before = changes;
	DpOwnKind	kind;

	if (function < FirstNormalObjectId)
		return DP_OWN_NONE;
	entry = known != NULL ? hash_search(known, &function, HASH_FIND, NULL) : NULL;
	if (entry != NULL)
		return entry->kind;
	if (!IsTransactionState() || InterruptHoldoffCount > 0)
		return DP_OWN_NONE;
	kind = kind_by_row(function);
	if (kind != DP_OWN_NONE)
	{
		Oid			extension = get_extension_oid("dataprotect", true);

		if (!OidIsValid(extension) || getExtensionOfObject(ProcedureRelationId, function) != extension)
			kind = DP_OWN_NONE;
	}
	if (before == changes)
		remember(function, kind);
	return kind;
}

void
dp_own_function_init(void)
{
	dp_statement_set_own(dp_own_function_kind);
	CacheRegisterSyscacheCallback(PROCOID, forget, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, forget, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget, (Datum) 0);
}
