/*
 * own_function.c
 *	  Which functions are the extension's own; see own_function.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "base/catalog_change.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "keys/own_function.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_own_is_closed_sql);

typedef struct KnownFunction
{
	Oid			function;		/* hash key */
	DpOwnKind	kind;
	bool		closed;			/* nobody but our own code and superusers calls it */
	bool		of_session;		/* changes what the session is, with whatever rights it is called */
} KnownFunction;

static HTAB *known = NULL;
static uint64 changes = 0;

static void
forget(int cacheid, uint32 hashvalue)
{
	if (known != NULL)
		hash_destroy(known);
	known = NULL;
	changes++;
}

static void
remember(const KnownFunction *verdict)
{
	if (known == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(KnownFunction);
		ctl.hcxt = TopMemoryContext;
		known = hash_create("dataprotect own functions", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	*(KnownFunction *) hash_search(known, &verdict->function, HASH_ENTER, NULL) = *verdict;
}

/*
 * For internal use, and yet fit to be called by a superuser: they take what a
 * public function takes, or nothing, and write its event.
 */
static bool
is_entry(const char *name)
{
	static const char *const entries[] = {"_destroy_unused_version", "_end_orphaned_grants", "_expire_versions", "_review_grants", "_rotate_due",
	"_subject_destroy", "_subject_resume", "_subject_suspend"};

	if (name[0] != '_')
		return true;
	for (int i = 0; i < lengthof(entries); i++)
	{
		if (strcmp(name, entries[i]) == 0)
			return true;
	}
	return false;
}

/*
 * For internal use, and yet called by others' statements.  Whoever adds one says
 * why here; pgxs/lint_catalog.sql and test/attack/09_privileges.pl know them, too.
 */
static bool
is_open(const char *name)
{
	static const char *const open[] = {
		/* in expressions that stand in users' tables and plans; judge their arguments themselves */
		"_kept_value", "_own_sql", "_own_ts_stat", "_raise", "_row_shown", "_sealed_for", "_seen_by",
		/* put into conditions by the planner; see plain values alone */
		"_as_date", "_as_float4", "_as_int2", "_as_int4", "_as_timestamp",

		/*
		 * in queries of the catalogs by clients, who find base types there; tell what the
		 * catalogs say
		 */
		"_catalog_length", "_catalog_modifier", "_catalog_type",
		/* in place of a client's FETCH; executes the command, which asks for itself */
		"_fetch",
		/* in operators between arrays; gives its argument */
		"_array",
		/* around rows in clients' results; nowhere else */
		"_for_client",
		/* columns of views, run as whoever reads the view; show what the view shows */
		"_audit_line", "_audit_may_read", "_audit_unseal", "_base_type", "_clock_status", "_column_now", "_digest_line",
		"_encrypted_parts", "_event_name", "_function_digest", "_kms_status", "_known_keys", "_modifier_parts", "_names_subject",
	"_now", "_progress", "_retention_backlog", "_workers"};

	for (int i = 0; i < lengthof(open); i++)
	{
		if (strcmp(name, open[i]) == 0)
			return true;
	}
	return false;
}

/* What belongs to an operator or an index's class is everybody's, and nothing else (privileges.sql). */
static bool
is_everybodys(HeapTuple function)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(PROCOID, function, Anum_pg_proc_proacl, &isnull);
	Acl		   *acl = isnull ? NULL : DatumGetAclP(value);

	for (int i = 0; acl != NULL && i < ACL_NUM(acl); i++)
	{
		const AclItem *item = &ACL_DAT(acl)[i];

		if (item->ai_grantee == ACL_ID_PUBLIC && (ACLITEM_GET_PRIVS(*item) & ACL_EXECUTE) != 0)
			return true;
	}
	return isnull;
}

/* Everybody's, and yet called by whoever acts: changes who the session is. */
static bool
is_of_session(const char *name)
{
	return strcmp(name, "authenticate") == 0;
}

/* Without its membership in the extension, which is the dear part. */
static void
judge_by_row(KnownFunction *out)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(out->function));
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		return;
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->pronamespace == get_namespace_oid("dataprotect", true) && superuser_arg(form->proowner))
	{
		const char *name = NameStr(form->proname);

		if (form->prosecdef || !heap_attisnull(tuple, Anum_pg_proc_proconfig, NULL) ||
			form->prokind == PROKIND_PROCEDURE)
			out->kind = is_entry(name) ? DP_OWN_PUBLIC : DP_OWN_INTERNAL;
		out->of_session = is_of_session(name);
		if (is_entry(name) && form->provolatile == PROVOLATILE_VOLATILE && (out->of_session || !is_everybodys(tuple)) &&
			form->prorettype != TRIGGEROID && form->prorettype != EVENT_TRIGGEROID)
			out->kind = out->kind == DP_OWN_NONE ? DP_OWN_ENTRY : DP_OWN_ADMINISTRATION;
		out->closed = name[0] == '_' && !is_open(name) && !is_everybodys(tuple);
	}
	ReleaseSysCache(tuple);
}

static KnownFunction
judge(Oid function)
{
	KnownFunction verdict = {function, DP_OWN_NONE, false, false};
	KnownFunction *entry;
	uint64		before = changes;

	if (function < FirstNormalObjectId)
		return verdict;
	entry = known != NULL ? hash_search(known, &function, HASH_FIND, NULL) : NULL;
	if (entry != NULL)
		return *entry;
	if (!IsTransactionState() || InterruptHoldoffCount > 0)
		return verdict;
	judge_by_row(&verdict);
	if (verdict.kind != DP_OWN_NONE || verdict.closed)
	{
		Oid			extension = get_extension_oid("dataprotect", true);

		if (!OidIsValid(extension) || getExtensionOfObject(ProcedureRelationId, function) != extension)
		{
			verdict.kind = DP_OWN_NONE;
			verdict.closed = false;
		}
	}
	if (before == changes)
		remember(&verdict);
	return verdict;
}

DpOwnKind
dp_own_function_kind(Oid function)
{
	return judge(function).kind;
}

pg_noreturn static void
refuse_administration(Oid function, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("code of another role cannot call function %s", format_procedure(function)),
			 errdetail("%s", detail),
			 errhint("Call it in a statement of your own, or have a member of dataprotect_admin call dataprotect.trust_function().")));
}

/*
 * What changes policy is called by whoever acts: not by functions of others that he
 * runs, nor by an expression that was stored, which may be anybody's.  Who the session
 * is stays his own whatever rights a function of others has.
 */
static void
administration_begins(const FmgrInfo *flinfo)
{
	bool		of_session = judge(flinfo->fn_oid).of_session;

	for (int i = 0; i < dp_n_strangers; i++)
	{
		const DpStranger *stranger = &dp_strangers[i];

		if (stranger->owner != stranger->role)
			refuse_administration(flinfo->fn_oid,
								  psprintf("Function %s is running with rights of another role than its owner.",
										   format_procedure(stranger->function)));
		if (of_session && stranger->owner != GetOuterUserId())
			refuse_administration(flinfo->fn_oid,
								  psprintf("Function %s is running in a session of another role than its owner.",
										   format_procedure(stranger->function)));
	}
	if (flinfo->fn_expr != NULL && (!IsA(flinfo->fn_expr, FuncExpr) || dp_call_is_stored(flinfo->fn_expr)))
		refuse_administration(flinfo->fn_oid, "It is called by an operator or an expression that was stored.");
}

/* A function is about to be called, by whatever way: its permission was checked. */
static void
object_access(ObjectAccessType access, Oid class_id, Oid object_id, int sub_id, void *arg)
{
	if (access != OAT_FUNCTION_EXECUTE || object_id < FirstNormalObjectId || !judge(object_id).closed ||
		superuser() || dp_own_caller())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for function %s", get_func_name(object_id)),
			 errdetail("It is for the extension's own use.")));
}

/* dataprotect._is_closed(regprocedure) returns bool: does nobody but our own code call it? */
Datum
dp_own_is_closed_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(judge(PG_GETARG_OID(0)).closed);
}

static const DpSubscriber subscriber = {
	.name = "internal functions",
	.object_access = object_access,
};

void
dp_own_function_init(void)
{
	dp_statement_set_own(dp_own_function_kind, administration_begins);
	dp_statement_subscribe(&subscriber);
	dp_on_cache_change(PROCOID, forget);
	dp_on_cache_change(AUTHOID, forget);
	dp_on_cache_change(NAMESPACEOID, forget);
}
