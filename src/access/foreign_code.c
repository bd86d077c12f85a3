/*
 * foreign_code.c
 *	  Whose functions count; see foreign_code.h.
 *
 * A function of an ordinary role is guarded for good: plans with one inlined, or
 * call sites that were looked up before, would outlive a change of trust.  What it
 * may see is asked at each call; verdicts are cached until policy, roles or
 * functions change, and one that hangs on grants, which end by themselves, is looked
 * at again.
 */
#include "postgres.h"

#include "access/foreign_code.h"
#include "access/foreign_utility.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/open_query.h"
#include "access/sql_runner.h"
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "base/catalog_change.h"
#include "base/compat.h"
#include "base/report.h"
#include "base/statement.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/catalog.h"
#include "keys/kept_look.h"
#include "keys/keys.h"
#include "keys/policy_root.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_function_digest_sql);

#define Anum_trusted_function	1
#define Anum_trusted_digest		2

typedef struct Verdict
{
	Oid			function;		/* hash key */
	Oid			owner;
	bool		trusted;		/* or none that could count */
	bool		counts;
	bool		vouched;		/* a superuser's that runs SQL, and trusted */
	bool		by_grants;		/* its owner may see everything, as long as his grants hold */
	DpKeptLook	look;
} Verdict;

static HTAB *verdicts = NULL;
static bool (*reveals_all) (Oid role) = NULL;
static bool (*exceeds) (Oid role, Oid other) = NULL;
static bool (*administers) (Oid role) = NULL;
static uint64 catalog_changes = 0;
static uint64 known_policy = 0;
static uint64 known_changes = 0;

static void
add_text(pg_cryptohash_ctx *context, const char *text)
{
	/* Each part with its end: two parts cannot be told otherwise. */
	if (pg_cryptohash_update(context, (const uint8 *) text, strlen(text) + 1) < 0)
		dp_report_no_memory("could not compute the digest of a function");
}

static void
add_attribute(pg_cryptohash_ctx *context, HeapTuple tuple, AttrNumber attnum)
{
	bool		isnull;
	Datum		value = SysCacheGetAttr(PROCOID, tuple, attnum, &isnull);
	Oid			output;
	bool		is_varlena;

	if (isnull)
		add_text(context, "");
	else
	{
		getTypeOutputInfo(attnum == Anum_pg_proc_proconfig ? TEXTARRAYOID :
						  attnum == Anum_pg_proc_prosqlbody ? PG_NODE_TREEOID : TEXTOID,
						  &output, &is_varlena);
		add_text(context, OidOutputFunctionCall(output, value));
	}
}

/* The extension's own are nobody's code, nor are arrays of them. */
static void
add_type(pg_cryptohash_ctx *context, Oid type)
{
	Oid			element = type >= FirstNormalObjectId ? get_element_type(type) : InvalidOid;

	if (type >= FirstNormalObjectId &&
		!dp_catalog_is_member(TypeRelationId, OidIsValid(element) ? element : type))
		add_text(context, format_type_be_qualified(type));
}

/* What it returns, where that is somebody's type: making it of what the body gives may run code of his. */
static void
add_types(pg_cryptohash_ctx *context, HeapTuple tuple)
{
	Oid		   *types;
	char	  **names;
	char	   *modes;
	int			n = get_func_arg_info(tuple, &types, &names, &modes);

	add_type(context, ((Form_pg_proc) GETSTRUCT(tuple))->prorettype);
	for (int i = 0; modes != NULL && i < n; i++)
	{
		if (modes[i] == PROARGMODE_OUT || modes[i] == PROARGMODE_INOUT || modes[i] == PROARGMODE_TABLE)
			add_type(context, types[i]);
	}
}

/*
 * SHA-256 of what a function does and whose it is: owner and language by name,
 * so that a dump keeps it, SECURITY DEFINER, types, settings, source.  A body in SQL
 * standard form is a parse tree with OIDs: after a restore it is another.
 */
static void
digest_function(HeapTuple tuple, uint8 out[PG_SHA256_DIGEST_LENGTH])
{
	Form_pg_proc form = (Form_pg_proc) GETSTRUCT(tuple);
	pg_cryptohash_ctx *context = pg_cryptohash_create(PG_SHA256);

	if (context == NULL || pg_cryptohash_init(context) < 0)
		dp_report_no_memory("could not compute the digest of a function");
	add_text(context, GetUserNameFromId(form->proowner, false));
	add_text(context, get_language_name(form->prolang, false));
	add_text(context, form->prosecdef ? "definer" : "invoker");
	add_types(context, tuple);
	add_attribute(context, tuple, Anum_pg_proc_prosrc);
	add_attribute(context, tuple, Anum_pg_proc_probin);
	add_attribute(context, tuple, Anum_pg_proc_prosqlbody);
	add_attribute(context, tuple, Anum_pg_proc_proconfig);
	if (pg_cryptohash_final(context, out, PG_SHA256_DIGEST_LENGTH) < 0)
		dp_report_no_memory("could not compute the digest of a function");
	pg_cryptohash_free(context);
}

bytea *
dp_foreign_code_digest(HeapTuple function)
{
	bytea	   *result = palloc(VARHDRSZ + PG_SHA256_DIGEST_LENGTH);

	SET_VARSIZE(result, VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	digest_function(function, (uint8 *) VARDATA(result));
	return result;
}

/* dataprotect._function_digest(regprocedure) returns bytea, NULL where it is gone */
Datum
dp_function_digest_sql(PG_FUNCTION_ARGS)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(PG_GETARG_OID(0)));
	bytea	   *result;

	if (!HeapTupleIsValid(tuple))
		PG_RETURN_NULL();
	result = dp_foreign_code_digest(tuple);
	ReleaseSysCache(tuple);
	PG_RETURN_BYTEA_P(result);
}

bool
dp_foreign_code_is_trusted(HeapTuple function)
{
	Relation	rel = table_open(dp_catalog_relation("trusted_function"), AccessShareLock);
	ScanKeyData key[1];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		trusted = false;

	ScanKeyInit(&key[0], Anum_trusted_function, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(format_procedure_qualified(((Form_pg_proc) GETSTRUCT(function))->oid)));
	scan = systable_beginscan(rel, dp_catalog_relation("trusted_function_pkey"), true, NULL, 1, key);
	while (!trusted && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		uint8		digest[PG_SHA256_DIGEST_LENGTH];
		bool		isnull;
		bytea	   *stored = (bytea *) PG_DETOAST_DATUM_PACKED(heap_getattr(tuple, Anum_trusted_digest,
																			RelationGetDescr(rel), &isnull));

		digest_function(function, digest);
		trusted = !isnull && VARSIZE_ANY_EXHDR(stored) == sizeof(digest) &&
			memcmp(VARDATA_ANY(stored), digest, sizeof(digest)) == 0;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return trusted;
}

static HTAB *
make_verdicts(void)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(Verdict);
	ctl.hcxt = TopMemoryContext;
	return hash_create("dataprotect foreign code", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
remember(const Verdict *verdict)
{
	Verdict    *entry;

	if (verdicts == NULL)
		verdicts = make_verdicts();
	entry = hash_search(verdicts, &verdict->function, HASH_ENTER, NULL);
	*entry = *verdict;
}

/* Forget verdicts (a change of this transaction, or a rollback of one). */
static void
forget_verdicts(void)
{
	if (verdicts != NULL)
		hash_destroy(verdicts);
	verdicts = NULL;
}

static inline void
follow_policy(void)
{
	if (unlikely(known_policy != dp_policy_generation() || known_changes != dp_policy_local_changes()))
	{
		forget_verdicts();
		known_policy = dp_policy_generation();
		known_changes = dp_policy_local_changes();
	}
}

/* A function of an ordinary role, in a database with the extension. */
static bool
may_count(Oid function)
{
	HeapTuple	tuple;
	bool		result;

	if (!IsTransactionState() || InterruptHoldoffCount > 0)
		return function >= FirstNormalObjectId;
	if (!dp_catalog_is_there())
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return false;			/* whoever asked will say so */
	result = !superuser_arg(((Form_pg_proc) GETSTRUCT(tuple))->proowner);
	ReleaseSysCache(tuple);
	return result;
}

/* A trusted one is its caller's code, whoever told it what to run. */
static bool
is_vouched(Oid function)
{
	Verdict    *known;
	HeapTuple	tuple;
	Verdict		verdict = {function, InvalidOid, true};
	uint64		policy;
	uint64		catalogs = catalog_changes;

	follow_policy();
	known = verdicts != NULL ? hash_search(verdicts, &function, HASH_FIND, NULL) : NULL;
	if (known != NULL)
		return known->vouched;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return false;
	policy = known_policy;
	verdict.vouched = dp_foreign_code_is_trusted(tuple) && dp_policy_whole(DP_SEALED_TRUSTED_FUNCTION, 0) != DP_SEAL_BAD;
	ReleaseSysCache(tuple);
	follow_policy();
	if (policy == known_policy && catalogs == catalog_changes)
		remember(&verdict);
	return verdict.vouched;
}

/*
 * Under a page lock or outside a transaction no catalog can be read: what index
 * machinery calls then does not count, since what it compares is maintenance.
 */
static Verdict
find_verdict(Oid function)
{
	HeapTuple	tuple;
	Verdict    *known;
	Verdict		verdict = {function, InvalidOid, true};
	uint64		policy;
	uint64		catalogs = catalog_changes;

	follow_policy();
	known = verdicts != NULL ? hash_search(verdicts, &function, HASH_FIND, NULL) : NULL;
	if (known != NULL && (!known->by_grants || dp_look_is_kept(&known->look)))
		return *known;
	if (!IsTransactionState() || InterruptHoldoffCount > 0 || !may_count(function))
		return verdict;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return verdict;
	verdict.owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	policy = known_policy;
	dp_look_begin(&verdict.look);
	verdict.trusted = dp_foreign_code_is_trusted(tuple) && dp_policy_whole(DP_SEALED_TRUSTED_FUNCTION, 0) != DP_SEAL_BAD;
	if (!verdict.trusted)
		verdict.counts = !(verdict.by_grants = reveals_all(verdict.owner));
	dp_look_took(&verdict.look, verdict.look.since);
	ReleaseSysCache(tuple);
	follow_policy();
	if (policy == known_policy && catalogs == catalog_changes)
		remember(&verdict);
	return verdict;
}

bool
dp_foreign_code_counts(Oid function, Oid *owner)
{
	Verdict		verdict = find_verdict(function);

	if (verdict.counts || OidIsValid(verdict.owner))
		*owner = verdict.owner;
	return verdict.counts;
}

/* Could a call of the function ever be anything but the caller's own? */
static bool
needs_judge(Oid function)
{
	if (may_count(function))
		return true;
	return function >= FirstNormalObjectId && IsTransactionState() && InterruptHoldoffCount == 0 &&
		dp_catalog_is_there() && dp_sql_runner_kind(function) != DP_RUNNER_NONE;
}

/* Is code running that has been given less than the current role, or an expression of somebody's? */
static const DpStranger *
lesser_stranger(void)
{
	Oid			role = GetUserId();
	bool		superuser_runs = superuser();

	for (int i = 0; i < dp_n_strangers; i++)
	{
		const DpStranger *stranger = &dp_strangers[i];

		if (stranger->owner != role && stranger->owner != stranger->role &&
			(exceeds(role, stranger->owner) || (!superuser_runs && administers(role))))
			return stranger;
	}
	return NULL;
}

bool
dp_foreign_code_is_lesser(void)
{
	return dp_n_strangers > 0 && lesser_stranger() != NULL;
}

static void
refuse_elsewhere(Oid function)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("code of another role cannot call function %s", format_procedure(function)),
			 errdetail("It acts in another session with the rights of the current role."),
			 errhint("Call it in a statement of your own, or have a member of dataprotect_admin call dataprotect.trust_function().")));
}

static DpCodeVerdict
judge(const FmgrInfo *flinfo, Oid *owner)
{
	Verdict		verdict = find_verdict(flinfo->fn_oid);
	DpSqlRunner kind;
	bool		stored;

	*owner = verdict.owner;
	if (verdict.counts)
		return DP_CODE_FOREIGN;
	if (OidIsValid(verdict.owner))
		return verdict.trusted ? DP_CODE_OWN : DP_CODE_STRANGE;
	if (!IsTransactionState() || InterruptHoldoffCount > 0 || dp_own_caller())
		return DP_CODE_OWN;
	kind = dp_sql_runner_kind(flinfo->fn_oid);
	if (likely(kind == DP_RUNNER_NONE || kind == DP_RUNNER_BODY))
		return DP_CODE_OWN;
	stored = dp_call_is_stored(flinfo->fn_expr);
	if ((!stored && kind == DP_RUNNER_HERE) || is_vouched(flinfo->fn_oid))
		return DP_CODE_OWN;
	if (kind == DP_RUNNER_ELSEWHERE && (stored ? dp_sql_runner_at_stake() : lesser_stranger() != NULL))
		refuse_elsewhere(flinfo->fn_oid);
	return stored || kind == DP_RUNNER_TRIGGER ? DP_CODE_FOREIGN : DP_CODE_OWN;
}

static void
refuse_reading(const DpStranger *stranger)
{
	if (likely(stranger == NULL) || dp_own_told())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("function %s cannot read a query that was begun before it", format_procedure(stranger->function)),
			 errdetail("The query was begun for a role that may see more of protected values than the function's owner."),
			 errhint("Have a member of dataprotect_admin call dataprotect.trust_function().")));
}

/* A row more is read, of a cursor too. */
static void
running(QueryDesc *query)
{
	if (unlikely(dp_n_strangers > 0))
		refuse_reading(dp_open_query_stranger(query));
}

/* By FETCH or MOVE: rows that were stored, of a cursor WITH HOLD, are read without an executor. */
void
dp_foreign_code_reads_cursor(const char *name)
{
	Portal		portal = dp_n_strangers > 0 ? GetPortalByName(name) : NULL;

	if (PortalIsValid(portal))
		refuse_reading(portal->queryDesc != NULL ? dp_open_query_stranger(portal->queryDesc) : lesser_stranger());
}

static void
begin_utility(const DpUtility *utility, Datum *state)
{
	const DpStranger *stranger;

	if (unlikely(dp_n_strangers > 0) && IsA(utility->statement, FetchStmt))
		dp_foreign_code_reads_cursor(((FetchStmt *) utility->statement)->portalname);
	if (likely(dp_n_strangers == 0) || utility->context == PROCESS_UTILITY_SUBCOMMAND ||
		dp_foreign_utility_is_harmless(utility->statement) || dp_own_told())
		return;
	stranger = lesser_stranger();
	if (stranger != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function %s cannot execute %s for the role that runs it",
						format_procedure(stranger->function), GetCommandTagName(CreateCommandTag(utility->statement))),
				 errdetail("The role may see more of protected values than the function's owner, or administers them, and the command could leave code behind or give its rights away."),
				 errhint("Have a member of dataprotect_admin call dataprotect.trust_function().")));
}

void
dp_foreign_code_sets(const char *name, bool stored)
{
	const DpStranger *stranger;

	if (likely(dp_n_strangers == 0 && !stored) || dp_foreign_setting_is_harmless(name) || dp_own_caller())
		return;
	if (stored && dp_sql_runner_at_stake())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("an expression that was stored cannot set parameter \"%s\"", name),
				 errdetail("It would be set for the current role, which did not write it."),
				 errhint("Set it in a statement of your own.")));
	stranger = lesser_stranger();
	if (stranger != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function %s cannot set parameter \"%s\" for the role that runs it",
						format_procedure(stranger->function), name),
				 errdetail("The role may see more of protected values than the function's owner, or administers them, and would go on with the setting."),
				 errhint("Put it into a SET clause of the function, or have a member of dataprotect_admin call dataprotect.trust_function().")));
}

static const DpSubscriber subscriber = {
	.name = "foreign code",
	.started = dp_open_query_began,
	.running = running,
	.begin_utility = begin_utility,
};

/* A function's definition, or who is a superuser, changed. */
static void
catalogs_changed(int cacheid, uint32 hashvalue)
{
	catalog_changes++;
	forget_verdicts();
}

void
dp_foreign_code_init(bool (*reveals) (Oid role), bool (*has_more) (Oid role, Oid other), bool (*has_power) (Oid role))
{
	reveals_all = reveals;
	exceeds = has_more;
	administers = has_power;
	dp_open_query_init(has_more);
	dp_statement_set_code_judge(needs_judge, judge);
	dp_statement_subscribe(&subscriber);
	dp_on_cache_change(PROCOID, catalogs_changed);
	dp_on_cache_change(AUTHOID, catalogs_changed);
	dp_on_cache_change(AUTHMEMROLEMEM, catalogs_changed);
}
