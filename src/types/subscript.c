/*
 * subscript.c
 *	  Subscripts of encrypted types whose base type has them (jsonb).
 *
 * What reads a part is a subscript of the opened value.  What assigns to a part
 * opens the whole, has the base type's own code assign, and seals the result: so it
 * needs the right to read.
 */
#include "postgres.h"

#include "executor/execExpr.h"
#include "nodes/subscripting.h"
#include "parser/parse_coerce.h"
#include "types/seal.h"
#include "types/show.h"
#include "types/typeinfo.h"
#include "types/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dp_subscript);

/* Of one subscript in an expression; the base type's code has its own in its place while it runs. */
typedef struct Workspace
{
	const DpTypeInfo *info;
	int32		typmod;
	SubscriptExecSteps base;
	void	   *base_workspace;
} Workspace;

/* ---- parsing ---- */

static void
transform(SubscriptingRef *ref, List *indirection, struct ParseState *pstate, bool is_slice, bool is_assignment)
{
	const DpTypeInfo *info = dp_typeinfo_get(ref->refcontainertype);
	const SubscriptRoutines *routines = getSubscriptingRoutines(info->base_oid, &ref->refelemtype);

	if (!is_assignment)
	{
		/* from here on it is a subscript of the base type, which sets the rest up */
		ref->refexpr = (Expr *) coerce_type(pstate, (Node *) ref->refexpr, info->enc_oid, info->base_oid, -1,
											COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
		ref->refcontainertype = info->base_oid;
	}
	routines->transform(ref, indirection, pstate, is_slice, is_assignment);
}

/* ---- assignment ---- */

static bool
check_subscripts(ExprState *state, ExprEvalStep *op, ExprContext *econtext)
{
	SubscriptingRefState *ref = op->d.sbsref_subscript.state;
	Workspace  *workspace = ref->workspace;
	bool		result;

	ref->workspace = workspace->base_workspace;
	result = workspace->base.sbs_check_subscripts(state, op, econtext);
	ref->workspace = workspace;
	return result;
}

/* The opened container takes the place of the sealed one. */
static Datum
open_container(const Workspace *workspace, const ExprEvalStep *op)
{
	DpValue		value;

	if (*op->resnull)
		return (Datum) 0;
	dp_value_parse(PG_DETOAST_DATUM_PACKED(*op->resvalue), false, &value);
	return dp_show_open_to_store(workspace->info, &value);
}

static void
fetch_old(ExprState *state, ExprEvalStep *op, ExprContext *econtext)
{
	SubscriptingRefState *ref = op->d.sbsref.state;
	Workspace  *workspace = ref->workspace;
	Datum		sealed = *op->resvalue;

	/* the part lives on; the whole is left to its context */
	*op->resvalue = open_container(workspace, op);
	ref->workspace = workspace->base_workspace;
	workspace->base.sbs_fetch_old(state, op, econtext);
	ref->workspace = workspace;
	*op->resvalue = sealed;
}

static void
assign(ExprState *state, ExprEvalStep *op, ExprContext *econtext)
{
	SubscriptingRefState *ref = op->d.sbsref.state;
	Workspace  *workspace = ref->workspace;
	const DpTypeInfo *info = workspace->info;
	bool		was_null = *op->resnull;
	Datum		before = open_container(workspace, op);
	Datum		after;

	*op->resvalue = before;
	ref->workspace = workspace->base_workspace;
	workspace->base.sbs_assign(state, op, econtext);
	ref->workspace = workspace;
	after = *op->resvalue;
	if (!*op->resnull)
		*op->resvalue = PointerGetDatum(dp_seal_for(info, dp_seal_apply_modifier(info, after, workspace->typmod, false),
													workspace->typmod));
	if (!*op->resnull && after != before)
		dp_value_dispose(info, after);
	if (!was_null)
		dp_value_dispose(info, before);
}

static void
set_up(const SubscriptingRef *ref, SubscriptingRefState *state, SubscriptExecSteps *steps)
{
	const DpTypeInfo *info = dp_typeinfo_get(ref->refcontainertype);
	Workspace  *workspace = palloc0(sizeof(Workspace));

	if (ref->refassgnexpr == NULL)
		elog(ERROR, "a subscript of an encrypted type was not made one of its base type");
	workspace->info = info;
	workspace->typmod = ref->reftypmod;
	getSubscriptingRoutines(info->base_oid, NULL)->exec_setup(ref, state, &workspace->base);
	workspace->base_workspace = state->workspace;
	state->workspace = workspace;
	if (workspace->base.sbs_check_subscripts != NULL)
		steps->sbs_check_subscripts = check_subscripts;
	steps->sbs_assign = assign;
	steps->sbs_fetch_old = fetch_old;
}

Datum
dp_subscript(PG_FUNCTION_ARGS)
{
	static const SubscriptRoutines routines = {
		.transform = transform,
		.exec_setup = set_up,
		.fetch_strict = true,
		.fetch_leakproof = false,
		.store_leakproof = false,
	};

	PG_RETURN_POINTER(&routines);
}
