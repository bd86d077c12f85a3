/*
 * run_as.c
 *	  Run statements with another role's rights; see run_as.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/argument.h"
#include "base/compat.h"
#include "base/pinned_settings.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "sqlrun/run_as.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

void
dp_run_as_set(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Where dp_run_as_begin() was called and dp_run_as_end() not yet, outermost first.
 * Of what an error left open, the abort of its (sub)transaction closes.
 */
typedef struct Running
{
	int			depth;			/* of the frame */
	int			nest_level;		/* of the transaction */
	Oid			role;
} Running;

#define MAX_RUNNING 32

static Running running[MAX_RUNNING];
static int	n_running = 0;

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			n_running = 0;
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	switch (event)
	{
		case SUBXACT_EVENT_ABORT_SUB:
			while (n_running > 0 && running[n_running - 1].nest_level >= GetCurrentTransactionNestLevel())
				n_running--;
			break;
		case SUBXACT_EVENT_START_SUB:
		case SUBXACT_EVENT_COMMIT_SUB:
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			break;
	}
}

void
dp_run_as_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

bool
dp_run_as_plans(void)
{
	const Running *innermost = n_running > 0 ? &running[n_running - 1] : NULL;

	return innermost != NULL && dp_frame->kind == DP_FRAME_PLAN && dp_frame->depth == innermost->depth + 1 &&
		innermost->role == GetUserId() && InSecurityRestrictedOperation();
}

bool
dp_run_as_is_nested(void)
{
	return n_running > 1;
}

void
dp_run_as_begin(DpRunAs *state, Oid role, const char *search_path)
{
	/* beyond that its statements count as anybody's */
	state->outer_running = n_running;
	if (n_running < MAX_RUNNING)
	{
		running[n_running].depth = dp_frame->depth;
		running[n_running].nest_level = GetCurrentTransactionNestLevel();
		running[n_running++].role = role;
	}
	GetUserIdAndSecContext(&state->saved_user, &state->saved_context);
	state->guc_level = NewGUCNestLevel();
	dp_pinned_settings_set();
	dp_run_as_set("search_path", search_path);
	dp_run_as_set("row_security", "off");
	SetUserIdAndSecContext(role, state->saved_context | SECURITY_RESTRICTED_OPERATION);
}

void
dp_run_as_system(DpRunAs *state)
{
	state->outer_running = n_running;
	GetUserIdAndSecContext(&state->saved_user, &state->saved_context);
	state->guc_level = NewGUCNestLevel();
	dp_pinned_settings_set();
	dp_run_as_set("search_path", DP_RUN_AS_STRICT_PATH);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   state->saved_context | SECURITY_LOCAL_USERID_CHANGE);
}

void
dp_run_as_end(DpRunAs *state)
{
	/* false: what the code in between has SET is taken back as well */
	AtEOXact_GUC(false, state->guc_level);
	SetUserIdAndSecContext(state->saved_user, state->saved_context);
	n_running = state->outer_running;
}

SPIPlanPtr
dp_run_as_prepare(const char *sql, int nargs, Oid *types, int cursor_options)
{
	Oid			user;
	int			context;
	SPIPlanPtr	plan;

	GetUserIdAndSecContext(&user, &context);
	/* an error is undone by the abort, as that of dp_run_as_begin() is */
	SetUserIdAndSecContext(user, context | SECURITY_NOFORCE_RLS);
	plan = SPI_prepare_cursor(sql, nargs, types, cursor_options);
	SetUserIdAndSecContext(user, context);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	return plan;
}

bool
dp_run_as_keeps(SPIPlanPtr plan)
{
	ListCell   *source;

	foreach(source, SPI_plan_get_plan_sources(plan))
	{
		if (((CachedPlanSource *) lfirst(source))->dependsOnRLS)
			return false;
	}
	return true;
}

Oid
dp_run_as_owner(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

char *
dp_run_as_trigger_path(Oid relid)
{
	char	   *schema = get_namespace_name(get_rel_namespace(relid));

	if (schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	return psprintf("pg_catalog, %s, pg_temp", quote_identifier(schema));
}

/* True where one function belongs to somebody who is no superuser. */
static bool
function_is_foreign(Oid funcid, void *context)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", funcid);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return !superuser_arg(owner);
}

/* The same of a type: a domain's conditions are its owner's. */
static bool
type_is_foreign(Oid typid)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", typid);
	owner = ((Form_pg_type) GETSTRUCT(tuple))->typowner;
	ReleaseSysCache(tuple);
	return !superuser_arg(owner);
}

static bool
find_foreign_code(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_foreign_code, context, 0);
	if (IsA(node, CoerceToDomain) && type_is_foreign(((CoerceToDomain *) node)->resulttype))
		return true;
	if (check_functions_in_node(node, function_is_foreign, context))
		return true;
	return expression_tree_walker(node, find_foreign_code, context);
}

bool
dp_run_as_foreign_code(Node *node)
{
	return find_foreign_code(node, NULL);
}

/* Leaves the owner of the first relation that is no superuser's in *context. */
static bool
find_foreign_owner(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		Oid			relid = ((RangeTblEntry *) node)->relid;
		Oid			owner;

		if (!OidIsValid(relid))
			return false;
		owner = dp_run_as_owner(relid);
		if (superuser_arg(owner))
			return false;
		*(Oid *) context = owner;
		return true;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_foreign_owner, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, find_foreign_owner, context);
}

void
dp_run_as_report_owner(Oid relid, Oid owner, Oid role, const char *code)
{
	char	   *schema = get_namespace_name(get_rel_namespace(relid));
	char	   *name = get_rel_name(relid);

	ereport_domain(ERROR, DP_MESSAGE_DOMAIN,
				   (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					errmsg("%s of table \"%s.%s\" of role \"%s\" cannot run with the rights of role \"%s\"",
						   code, schema, name, GetUserNameFromId(owner, true), GetUserNameFromId(role, true)),
					errhint("Give the tables of a policy or an account to one role."),
					err_generic_string(PG_DIAG_SCHEMA_NAME, schema),
					err_generic_string(PG_DIAG_TABLE_NAME, name)));
}

static void
check_owner(Oid relid, Oid role)
{
	Oid			owner = dp_run_as_owner(relid);

	/* true of superusers */
	if (!has_privs_of_role(owner, role))
		dp_run_as_report_owner(relid, owner, role, "code");
}

/* Checks the owner of every table that a query names; *context is the role. */
static bool
check_owners(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (!OidIsValid(rte->relid))
			return false;
		check_owner(rte->relid, *(Oid *) context);
		if (rte->inh && has_subclass(rte->relid))
		{
			ListCell   *child;

			foreach(child, find_all_inheritors(rte->relid, AccessShareLock, NULL))
				check_owner(lfirst_oid(child), *(Oid *) context);
		}
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, check_owners, context, QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, check_owners, context);
}

void
dp_run_as_settle(SPIPlanPtr plan)
{
	Oid			user;
	int			context;
	ListCell   *source;

	GetUserIdAndSecContext(&user, &context);
	foreach(source, SPI_plan_get_plan_sources(plan))
	{
		List	   *queries = ((CachedPlanSource *) lfirst(source))->query_list;
		Oid			owner = InvalidOid;

		if (superuser_arg(user))
		{
			if (dp_run_as_foreign_code((Node *) queries))
				ereport_domain(ERROR, DP_MESSAGE_DOMAIN,
							   (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
								errmsg("functions of an ordinary role cannot run with the rights of a superuser"),
								errhint("Give the tables of a policy or an account to an ordinary role.")));
			if (find_foreign_owner((Node *) queries, &owner))
			{
				user = owner;
				SetUserIdAndSecContext(user, context);
			}
		}
		(void) check_owners((Node *) queries, &user);
	}
}
