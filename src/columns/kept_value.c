/*
 * kept_value.c
 *	  Where an UPDATE writes what is there already, the stored value stays.
 *
 * Whatever UPDATE, ON CONFLICT DO UPDATE or MERGE assigns to a protected column
 * passes dataprotect._kept_value(new, old) on its way into the row: the planner
 * puts it there, whoever made the table and in whatever way.  It gives the old
 * envelope
 *	- for the same plaintext under the same key version, where the role may compare
 *	  (search, reveal, superusers): so the update can stay on its page (HOT).
 *	  Anybody else would be told by it whether he guessed right
 *	- where the role writes what it was shown in the value's place: its mask, or
 *	  NULL or **** of a value whose key is suspended
 * and else the new one.  Only plaintext that was sealed in this transaction is
 * compared: a stored value from elsewhere is stored as it is.
 *
 * Not in what the lifecycle runs (a security-restricted operation), which removes
 * values that it cannot read, and not in referential integrity's own queries.
 * A statement that does not assign the column does not meet any of this.  Nor does one
 * over a table that Citus distributes: the nodes that have its rows do all of it.
 */
#include "postgres.h"

#include "access/access.h"
#include "audit/protected_columns.h"
#include "audit/track.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "columns/kept_value.h"
#include "fmgr.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parsetree.h"
#include "types/codec.h"
#include "types/distributed.h"
#include "types/seal.h"
#include "types/show.h"
#include "types/types.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_kept_value);

/* ---- one value ---- */

static bool
may_compare(int32 family)
{
	return dp_access_privilege(family) >= DP_PRIV_SEARCH ||
		(dp_n_code == 0 && superuser() && superuser_arg(GetAuthenticatedUserId()));
}

static bool
same_plain(const DpTypeInfo *info, Datum left, Datum right)
{
	DpPlain		a;
	DpPlain		b;
	bool		same;

	dp_codec_encode(info, left, &a);
	dp_codec_encode(info, right, &b);
	same = a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
	dp_plain_done(&a);
	dp_plain_done(&b);
	return same;
}

static void
count_comparison(int32 family)
{
	if (!dp_audit_comparing_again(family))
		dp_audit_comparing(family, NameStr(dp_keys_family(family)->name));
}

bool
dp_kept_same(const DpTypeInfo *info, Datum plain, const DpValue *stored)
{
	Datum		old_plain;
	bool		same;

	if (!may_compare(stored->family))
		return false;
	count_comparison(stored->family);
	if (!dp_value_open(info, stored, DP_USE_MAINTAIN, false, &old_plain))
		return false;
	same = same_plain(info, plain, old_plain);
	dp_value_dispose(info, old_plain);
	return same;
}

static bool
same_envelope(const DpValue *a, const DpValue *b)
{
	return VARSIZE_ANY_EXHDR(a->datum) == VARSIZE_ANY_EXHDR(b->datum) &&
		memcmp(VARDATA_ANY(a->datum), VARDATA_ANY(b->datum), VARSIZE_ANY_EXHDR(b->datum)) == 0;
}

/* Is what is written what the role was shown of the old value? */
static bool
was_shown(const DpTypeInfo *info, const DpValue *old, const DpValue *new)
{
	Datum		plain;
	bool		shown;

	if (new == NULL)
		return dp_show_gives(info, old, NULL);
	if (!dp_show_hides(old) || !dp_value_open(info, new, DP_USE_MAINTAIN, false, &plain))
		return false;
	shown = dp_show_gives(info, old, &plain);
	dp_value_dispose(info, plain);
	return shown;
}

/* Can two values of one key have the same plaintext?  Opens neither. */
static bool
may_be_same(const DpValue *a, const DpValue *b)
{
	DpSettled	rooms[2];

	if ((a->env.token != NULL) != (b->env.token != NULL) || a->env.flags != b->env.flags)
		return false;
	return (a->env.token == NULL ||
			memcmp(dp_value_settle(&a->env, &rooms[0])->token, dp_value_settle(&b->env, &rooms[1])->token, DP_TOKEN_LEN) == 0) &&
		VARSIZE_ANY_EXHDR(a->datum) == VARSIZE_ANY_EXHDR(b->datum);
}

static bool
is_unchanged(const DpTypeInfo *info, const DpValue *old, const DpValue *new)
{
	Datum		plain;
	bool		same;

	if (old->env.key_id != new->env.key_id || !may_compare(old->family))
		return false;
	if (!may_be_same(old, new))
	{
		/* his guess was wrong: that is an answer, too */
		count_comparison(old->family);
		return false;
	}
	if (!dp_value_open(info, new, DP_USE_MAINTAIN, false, &plain))
		return false;
	same = dp_kept_same(info, plain, old);
	dp_value_dispose(info, plain);
	return same;
}

static bool
keeps(const DpTypeInfo *info, const DpValue *old, const DpValue *new)
{
	if (new == NULL)
		return was_shown(info, old, NULL);
	if (same_envelope(old, new) || (!new->literal && !dp_seal_is_fresh(new->datum)))
		return false;
	return was_shown(info, old, new) || is_unchanged(info, old, new);
}

/* dataprotect._kept_value(new internal, old internal) returns internal */
Datum
dp_kept_value(PG_FUNCTION_ARGS)
{
	const DpTypeInfo *info = fcinfo->flinfo->fn_extra;
	DpValue		old;
	DpValue		new;
	bool		keep = false;

	if (!PG_ARGISNULL(1) && !InSecurityRestrictedOperation() && !InNoForceRLSOperation())
	{
		if (info == NULL)
			fcinfo->flinfo->fn_extra = unconstify(DpTypeInfo *, info =
												  dp_typeinfo_get(getBaseType(get_fn_expr_argtype(fcinfo->flinfo, 1))));
		dp_value_parse(PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(1)), false, &old);
		if (!PG_ARGISNULL(0))
			dp_value_parse(PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0)), false, &new);
		keep = keeps(info, &old, PG_ARGISNULL(0) ? NULL : &new);
	}
	if (keep)
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));	/* as it is stored, out of line too */
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(0));
}

/* ---- plans ---- */

static Oid
kept_value_function(void)
{
	Oid			types[2] = {INTERNALOID, INTERNALOID};
	Oid			schema = get_namespace_oid("dataprotect", true);

	return OidIsValid(schema) ?
		GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("_kept_value"),
						PointerGetDatum(buildoidvector(types, 2)), ObjectIdGetDatum(schema)) : InvalidOid;
}

/* Have what is assigned to protected columns of the table pass the function. */
static void
wrap_assignments(Query *query, List *targets)
{
	RangeTblEntry *rte = rt_fetch(query->resultRelation, query->rtable);
	Oid			function = InvalidOid;
	ListCell   *lc;

	if (rte->rtekind != RTE_RELATION ||
		(rte->relkind != RELKIND_RELATION && rte->relkind != RELKIND_PARTITIONED_TABLE) ||
		dp_audit_relation(rte->relid)->n == 0 || dp_is_distributed(rte->relid))
		return;
	foreach(lc, targets)
	{
		TargetEntry *target = lfirst_node(TargetEntry, lc);
		Var		   *expr = (Var *) target->expr;
		Oid			type;
		int32		typmod;
		Oid			collation;
		Var		   *old;

		if (target->resjunk)
			continue;
		get_atttypetypmodcoll(rte->relid, target->resno, &type, &typmod, &collation);
		if (!dp_type_is_encrypted(getBaseType(type)) ||
			(IsA(expr, Var) && expr->varno == query->resultRelation && expr->varattno == target->resno &&
			 expr->varlevelsup == 0))
			continue;
		if (!OidIsValid(function))
			function = kept_value_function();
		if (!OidIsValid(function))
			return;
		old = makeVar(query->resultRelation, target->resno, type, typmod, collation, 0);
		/* shown by EXPLAIN as what was assigned */
		target->expr = (Expr *) makeFuncExpr(function, type, list_make2(target->expr, old), collation,
											 InvalidOid, COERCE_IMPLICIT_CAST);
	}
}

static void
planning(Query *query, const char *source)
{
	ListCell   *lc;

	foreach(lc, query->cteList)
	{
		Query	   *with = (Query *) lfirst_node(CommonTableExpr, lc)->ctequery;

		if (with->commandType != CMD_SELECT)
			planning(with, source);
	}
	if (query->commandType == CMD_UPDATE)
		wrap_assignments(query, query->targetList);
	else if (query->commandType == CMD_INSERT && query->onConflict != NULL)
		wrap_assignments(query, query->onConflict->onConflictSet);
	else if (query->commandType == CMD_MERGE)
	{
		foreach(lc, query->mergeActionList)
		{
			if (lfirst_node(MergeAction, lc)->commandType == CMD_UPDATE)
				wrap_assignments(query, lfirst_node(MergeAction, lc)->targetList);
		}
	}
}

static const DpSubscriber subscriber = {
	.name = "kept values",
	.planning = planning,
};

void
dp_kept_value_init(void)
{
	dp_statement_subscribe(&subscriber);
}
