/*
 * subscript.c
 *	  Subscripts of encrypted types whose base type has them (jsonb): those of the
 *	  opened value.
 */
#include "postgres.h"

#include "nodes/subscripting.h"
#include "parser/parse_coerce.h"
#include "types/typeinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

PG_FUNCTION_INFO_V1(dp_subscript);

/* From here on it is a subscript of the base type, which sets the rest up. */
static void
transform_to_base(SubscriptingRef *ref, List *indirection, struct ParseState *pstate, bool is_slice,
				  bool is_assignment)
{
	const DpTypeInfo *info = dp_typeinfo_get(ref->refcontainertype);
	const SubscriptRoutines *routines;

	if (is_assignment)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot assign to a part of a value of type %s", info->name),
				 errhint("Assign the whole value, for example by jsonb_set().")));
	routines = getSubscriptingRoutines(info->base_oid, &ref->refelemtype);
	ref->refexpr = (Expr *) coerce_type(pstate, (Node *) ref->refexpr, info->enc_oid, info->base_oid, -1,
										COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
	ref->refcontainertype = info->base_oid;
	routines->transform(ref, indirection, pstate, is_slice, is_assignment);
}

static void
setup_never(const SubscriptingRef *ref, struct SubscriptingRefState *state, struct SubscriptExecSteps *steps)
{
	elog(ERROR, "a subscript of an encrypted type was not made one of its base type");
}

Datum
dp_subscript(PG_FUNCTION_ARGS)
{
	static const SubscriptRoutines routines = {
		.transform = transform_to_base,
		.exec_setup = setup_never,
		.fetch_strict = true,
		.fetch_leakproof = false,
		.store_leakproof = false,
	};

	PG_RETURN_POINTER(&routines);
}
