/*
 * hash.c
 *	  Hashes of encrypted values and of base values: for hash indexes, joins and
 *	  groups.  A hash is a keyed PRF of the plaintext, the same for both.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/search_count.h"
#include "base/compat.h"
#include "base/statement.h"
#include "common/hashfn.h"
#include "nodes/primnodes.h"
#include "replication/logicalworker.h"
#include "types/maintenance.h"
#include "types/operand.h"
#include "types/typeinfo.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"

/*
 * Hashes are for plans and indexes.  Everybody may call these functions, because
 * PostgreSQL asks that of whoever runs an IN list that it hashes; but what a
 * keyed hash is of a guess is nobody's to know.  An index passes its options or,
 * within a statement, nothing, as joins and groups do; an IN list passes itself;
 * anything that somebody wrote passes its call.
 */
static void
refuse_direct_call(FunctionCallInfo fcinfo)
{
	Node	   *expr = fcinfo->flinfo->fn_expr;

	if (expr == NULL ? DP_IN_STATEMENT() || IsLogicalWorker() || IsParallelWorker() :
		IsA(expr, ScalarArrayOpExpr) || IsA(expr, Const))
		return;
	aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(fcinfo->flinfo->fn_oid));
}

/* The IN list of constants that a value is hashed for, where it is one. */
static bool
is_in_list(FmgrInfo *flinfo)
{
	return flinfo->fn_expr != NULL && IsA(flinfo->fn_expr, ScalarArrayOpExpr) &&
		((ScalarArrayOpExpr *) flinfo->fn_expr)->useOr;
}

/* Hash of an encrypted value; unreadable ones share one. */
static uint64
hash_encrypted(FunctionCallInfo fcinfo)
{
	static const DpOperand constants = {.encrypted = false};
	DpCallState *state = dp_operand_call_state(fcinfo, SIDES_EE);
	bool		maintenance = dp_maintenance_calls(fcinfo, false);
	DpOperand	op;
	bool		searched;
	uint64		hash = 0;

	refuse_direct_call(fcinfo);
	dp_open_memo_follow();
	dp_operand_fill(&op, true, state, PG_GETARG_DATUM(0));
	searched = !maintenance && op.value.literal && dp_search_counts();
	if (!maintenance)
	{
		if (is_in_list(fcinfo->flinfo))
			dp_operand_check(fcinfo->flinfo, &op, &constants, 1, CMP_EQ);
		else
			dp_operand_check(NULL, &op, NULL, -1, CMP_ORDER);
		dp_operand_count(&op);
	}
	dp_operand_open(state->info, &op, maintenance ? DP_USE_MAINTAIN : DP_USE_READ);
	if (op.readable)
		hash = dp_value_hash(state->info, op.plain);
	/* "=" asks for it next, but not in the build of an index */
	dp_operand_close(&op, !maintenance || dp_frame->kind != DP_FRAME_UTILITY ? DP_MEMO_STAY : DP_MEMO_GO);
	if (searched)
		dp_search_note(hash);
	return hash;
}

static uint64
hash_base(FunctionCallInfo fcinfo)
{
	const DpCallState *state = dp_operand_base_state(fcinfo->flinfo->fn_oid);
	uint64		hash;

	refuse_direct_call(fcinfo);
	hash = dp_value_hash(state->info, dp_operand_base(state, PG_GETARG_DATUM(0)));
	if (dp_search_counts())
		dp_search_note(hash);
	return hash;
}

static uint64
with_seed(uint64 hash, int64 seed)
{
	return seed == 0 ? hash : hash_combine64(hash, (uint64) seed);
}

PG_FUNCTION_INFO_V1(dp_hash_e);
PG_FUNCTION_INFO_V1(dp_hash_b);
PG_FUNCTION_INFO_V1(dp_hash_extended_e);
PG_FUNCTION_INFO_V1(dp_hash_extended_b);

/* The 32-bit hash is the low half of the 64-bit one with seed 0. */
Datum
dp_hash_e(PG_FUNCTION_ARGS)
{
	PG_RETURN_UINT32((uint32) hash_encrypted(fcinfo));
}

Datum
dp_hash_b(PG_FUNCTION_ARGS)
{
	PG_RETURN_UINT32((uint32) hash_base(fcinfo));
}

Datum
dp_hash_extended_e(PG_FUNCTION_ARGS)
{
	PG_RETURN_UINT64(with_seed(hash_encrypted(fcinfo), PG_GETARG_INT64(1)));
}

Datum
dp_hash_extended_b(PG_FUNCTION_ARGS)
{
	PG_RETURN_UINT64(with_seed(hash_base(fcinfo), PG_GETARG_INT64(1)));
}
