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

PG_FUNCTION_INFO_V1(dp_run_as_tids);
PG_FUNCTION_INFO_V1(dp_run_as_value);
PG_FUNCTION_INFO_V1(dp_run_as_apply);

static void
set_local(const char *name, const char *value)
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
	set_local("search_path", search_path);
	set_local("row_security", "off");
	SetUserIdAndSecContext(role, state->saved_context | SECURITY_RESTRICTED_OPERATION);
}

void
dp_run_as_system(DpRunAs *state)
{
	state->outer_running = n_running;
	GetUserIdAndSecContext(&state->saved_user, &state->saved_context);
	state->guc_level = NewGUCNestLevel();
	dp_pinned_settings_set();
	set_local("search_path", DP_RUN_AS_STRICT_PATH);
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

/* The error for a table whose owner would get the rights of a role. */
pg_noreturn static void
report_owner(Oid relid, Oid owner, Oid role, const char *code)
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
		report_owner(relid, owner, role, "code");
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

/*
 * Tables that a change of table $1 changes by foreign keys, itself included,
 * partitions and inheritance children as well.
 */
#define REACH_SQL \
	"WITH RECURSIVE reach(rel) AS (" \
	"  SELECT $1 UNION SELECT x.oid FROM reach, LATERAL (" \
	"    SELECT c.conrelid AS oid FROM pg_catalog.pg_constraint c WHERE c.contype = 'f' AND c.confrelid = rel" \
	"       AND (c.confdeltype IN ('c', 'n', 'd') OR c.confupdtype IN ('c', 'n', 'd'))" \
	"    UNION ALL SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent = rel AND rel <> $1) x)"

/* Lock them, until no other is found; what is locked gets no foreign key or trigger. */
static void
lock_reached(Oid relid)
{
	Oid			types[1] = {OIDOID};
	Datum		values[1];
	uint64		before;
	uint64		found = 0;

	values[0] = ObjectIdGetDatum(relid);
	do
	{
		before = found;
		if (SPI_execute_with_args(REACH_SQL " SELECT rel FROM reach", 1, types, values, NULL, false, 0) < 0)
			elog(ERROR, "could not look for foreign keys");
		found = SPI_processed;
		for (uint64 i = 0; i < found; i++)
		{
			bool		isnull;

			LockRelationOid(DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)),
							RowExclusiveLock);
		}
		SPI_freetuptable(SPI_tuptable);
	} while (found != before);
}

/*
 * Triggers of referential integrity itself count for none: what they execute
 * runs as the referencing table's owner.
 */
static const char *const triggers_sql =
REACH_SQL
" SELECT rel, p.proowner FROM reach JOIN pg_catalog.pg_class r ON r.oid = rel"
"   JOIN pg_catalog.pg_trigger t ON t.tgrelid = rel JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
"  WHERE t.tgenabled <> 'D' AND NOT (t.tgisinternal AND p.proname LIKE 'RI\\_FKey\\_%')"
"    AND (NOT $2 OR rel = $1 AND t.tgenabled IN ('A', 'R'))"
"    AND (NOT p.prosecdef AND NOT pg_catalog.pg_has_role(p.proowner, $3, 'USAGE')"
"         OR rel <> $1 AND t.tgtype & 66 = 0 AND NOT pg_catalog.pg_has_role(r.relowner, $3, 'USAGE'))"
"  LIMIT 1";

void
dp_run_as_check_triggers(Oid relid, bool silent)
{
	Relation	rel = table_open(relid, RowExclusiveLock);
	bool		fires = rel->trigdesc != NULL;
	Oid			types[3] = {OIDOID, BOOLOID, OIDOID};
	Datum		values[3];

	table_close(rel, NoLock);
	/* a table that a foreign key references has triggers as well */
	if (!fires)
		return;
	if (!silent)
		lock_reached(relid);
	values[0] = ObjectIdGetDatum(relid);
	values[1] = BoolGetDatum(silent);
	values[2] = ObjectIdGetDatum(GetUserId());
	if (SPI_execute_with_args(triggers_sql, 3, types, values, NULL, false, 1) < 0)
		elog(ERROR, "could not look for triggers");
	if (SPI_processed > 0)
	{
		bool		isnull;
		Oid			reached = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		Oid			owner = dp_run_as_owner(reached);

		if (has_privs_of_role(owner, GetUserId()))
			owner = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
		report_owner(reached, owner, GetUserId(), "a trigger");
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Execute sql, whose only parameter is a tid[]; the result stays in SPI.
 */
static uint64
execute_with_tids(const char *sql, Datum tids, bool tids_null)
{
	Oid			types[1] = {TIDARRAYOID};
	char		nulls[1];
	SPIPlanPtr	plan = dp_run_as_prepare(sql, 1, types, 0);
	int			rc;

	dp_run_as_settle(plan);
	nulls[0] = tids_null ? 'n' : ' ';
	rc = SPI_execute_plan(plan, &tids, nulls, false, 0);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan returned %s", SPI_result_code_string(rc));
	return SPI_processed;
}

static bool
returns_columns(void)
{
	return SPI_tuptable != NULL && SPI_tuptable->tupdesc->natts > 0;
}

/*
 * dataprotect._tids_as(rel regclass, sql text, tids tid[]) returns tid[]: the
 * first column of the first row of sql, run as rel's owner under the strict
 * search path.
 */
Datum
dp_run_as_tids(PG_FUNCTION_ARGS)
{
	Oid			owner = dp_run_as_owner(dp_argument_oid(fcinfo, 0));
	char	   *sql = dp_argument_text(fcinfo, 1);
	Datum		result = (Datum) 0;
	bool		isnull = true;
	DpRunAs		saved;

	SPI_connect();
	dp_run_as_begin(&saved, owner, DP_RUN_AS_STRICT_PATH);
	if (execute_with_tids(sql, PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2),
						  PG_ARGISNULL(2)) > 0)
	{
		if (!returns_columns() || SPI_gettypeid(SPI_tuptable->tupdesc, 1) != TIDARRAYOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("statement does not return tid[]")));
		result = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		if (!isnull)
			result = SPI_datumTransfer(result, false, -1);
	}
	dp_run_as_end(&saved);
	SPI_finish();
	if (isnull)
		PG_RETURN_NULL();
	return result;
}

/*
 * dataprotect._value_as(rel regclass, sql text, tids tid[]) returns text: the
 * same for any first column, as text.
 */
Datum
dp_run_as_value(PG_FUNCTION_ARGS)
{
	Oid			owner = dp_run_as_owner(dp_argument_oid(fcinfo, 0));
	char	   *sql = dp_argument_text(fcinfo, 1);
	text	   *result = NULL;
	DpRunAs		saved;

	SPI_connect();
	dp_run_as_begin(&saved, owner, DP_RUN_AS_STRICT_PATH);
	if (execute_with_tids(sql, PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2),
						  PG_ARGISNULL(2)) > 0 && returns_columns())
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		if (value != NULL)
		{
			Size		len = VARHDRSZ + strlen(value);

			result = (text *) SPI_palloc(len);
			SET_VARSIZE(result, len);
			memcpy(VARDATA(result), value, len - VARHDRSZ);
		}
	}
	dp_run_as_end(&saved);
	SPI_finish();
	if (result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(result);
}

/*
 * dataprotect._apply_as(rel regclass, sql text, tids tid[], silent bool)
 * returns bigint: run a changing statement as rel's owner under the search
 * path of rel's triggers; the number of rows that it changed.  silent: only
 * triggers that are enabled ALWAYS or for replicas fire.
 */
Datum
dp_run_as_apply(PG_FUNCTION_ARGS)
{
	Oid			relid = dp_argument_oid(fcinfo, 0);
	Oid			owner = dp_run_as_owner(relid);
	char	   *sql = dp_argument_text(fcinfo, 1);
	bool		silent = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	int64		rows;
	DpRunAs		saved;

	SPI_connect();
	/* a deferred trigger would fire at commit, with the rights of who commits */
	if (SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) < 0)
		elog(ERROR, "could not make constraints immediate");
	dp_run_as_begin(&saved, owner, dp_run_as_trigger_path(relid));
	dp_run_as_check_triggers(relid, silent);
	if (silent)
		set_local("session_replication_role", "replica");
	rows = (int64) execute_with_tids(sql, PG_ARGISNULL(2) ? (Datum) 0 : PG_GETARG_DATUM(2),
									 PG_ARGISNULL(2));
	dp_run_as_end(&saved);
	SPI_finish();
	PG_RETURN_INT64(rows);
}
