/*
 * compare.c
 *	  Comparison and ordering of encrypted values.
 *
 * Operators exist for encrypted against encrypted (ee), encrypted against base
 * (eb) and base against encrypted (be), and within the base type for operator
 * families (bb); the base side may also be of another type that the base type's
 * order knows.  Every call checks
 * the current role's privilege on the key of every value it would open, except
 * calls by index maintenance (maintenance.c):
 *
 *	=  with a constant or parameter that
 *	   is no stored value itself			search
 *	everything else							reveal
 *
 * A value whose key is unreadable compares as NULL; in an order it comes after
 * all others, and equals none.  Errors never depend on a value: = and <> are
 * leakproof.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/nbtree.h"
#include "access/search_count.h"
#include "audit/track.h"
#include "base/compat.h"
#include "base/guc.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "types/compare.h"
#include "types/maintenance.h"
#include "types/operand.h"
#include "types/storing.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

int
dp_compare_plain(const DpCallState *state, Datum left, Datum right, Oid collation, bool equality_only)
{
	const DpTypeInfo *info = state->info;

	if (OidIsValid(state->cross.fn_oid))
		return DatumGetInt32(FunctionCall2Coll(unconstify(FmgrInfo *, &state->cross), collation, left, right));
	if (equality_only && OidIsValid(info->base_eq.fn_oid))
		return DatumGetBool(FunctionCall2Coll(unconstify(FmgrInfo *, &info->base_eq), collation,
											  left, right)) ? 0 : 1;
	if (likely(info->base_oid == TEXTOID))
		return varstr_cmp(VARDATA_ANY(DatumGetPointer(left)), VARSIZE_ANY_EXHDR(DatumGetPointer(left)),
						  VARDATA_ANY(DatumGetPointer(right)), VARSIZE_ANY_EXHDR(DatumGetPointer(right)), collation);
	if (!OidIsValid(info->base_cmp.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("values of type %s have no order", info->name)));
	return DatumGetInt32(FunctionCall2Coll(unconstify(FmgrInfo *, &info->base_cmp), collation,
										   left, right));
}

/* Token of a literal that was sealed before there was a PRF. */
static bool
literal_token(const DpTypeInfo *info, const struct varlena *datum, uint8 out[DP_TOKEN_LEN])
{
	DpValue		value;
	Datum		plain;

	dp_value_parse(datum, DP_IN_COMPARATOR(), &value);
	if (!dp_value_open(info, &value, DP_USE_MAINTAIN, DP_IN_COMPARATOR(), &plain))
		return false;
	dp_value_token(info, plain, out);
	dp_value_dispose(info, plain);
	return true;
}

/* A constant's, that a search compares with. */
static void
note_token(const uint8 token[DP_TOKEN_LEN])
{
	uint64		hash;

	if (!dp_search_counts())
		return;
	memcpy(&hash, token, sizeof(hash));
	dp_search_note(hash);
}

/* Token of a stored value, a literal or a base value; false where there is none. */
static bool
stored_token(const DpCallState *state, bool encrypted, Datum arg, uint8 out[DP_TOKEN_LEN])
{
	struct varlena *v;
	DpEnvelope	env;
	DpSettled	room;

	if (!encrypted)
	{
		dp_value_token(state->info, dp_operand_base(state, arg), out);
		note_token(out);
		return true;
	}
	v = (struct varlena *) PG_DETOAST_DATUM_PACKED(arg);
	if (!dp_envelope_parse((uint8 *) VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v), &env))
		return false;
	if (env.token == NULL && ((env.flags & DP_ENV_LITERAL) == 0 || !literal_token(state->info, v, out)))
		return false;
	if (env.token != NULL)
		memcpy(out, dp_value_settle(&env, &room)->token, DP_TOKEN_LEN);
	if ((env.flags & DP_ENV_LITERAL) != 0)
		note_token(out);
	return true;
}

/*
 * Stored tokens need neither a key nor a catalog: this is what an index of the
 * token class compares under its page locks.
 */
static bool
compare_stored_tokens(const DpComparisonCall *call, int *out)
{
	uint8		left_token[DP_TOKEN_LEN];
	uint8		right_token[DP_TOKEN_LEN];

	if (!call->state->info->can_token ||
		!stored_token(call->state, call->sides != SIDES_BE, call->left, left_token) ||
		!stored_token(call->state, call->sides != SIDES_EB, call->right, right_token))
		return false;
	*out = memcmp(left_token, right_token, DP_TOKEN_LEN);
	return true;
}

static void
fill_call(DpComparisonCall *call, FunctionCallInfo fcinfo, DpSides sides, DpComparison comparison)
{
	call->state = dp_operand_call_state(fcinfo, sides);
	call->sides = sides;
	call->comparison = comparison;
	call->maintenance = dp_maintenance_calls(fcinfo, comparison == CMP_EQ);
	call->flinfo = fcinfo->flinfo;
	call->collation = PG_GET_COLLATION();
	call->left = PG_GETARG_DATUM(0);
	call->right = PG_GETARG_DATUM(1);
}

static void
fill_operands(const DpComparisonCall *call, DpOperand *left, DpOperand *right)
{
	dp_open_memo_follow();
	dp_operand_fill(left, call->sides != SIDES_BE, call->state, call->left);
	dp_operand_fill(right, call->sides != SIDES_EB, call->state, call->right);
	if (call->maintenance)
		return;
	dp_operand_check(call->flinfo, left, right, 1, call->comparison);
	dp_operand_check(call->flinfo, right, left, 0, call->comparison);
	dp_operand_count(left);
	dp_operand_count(right);
}

/* The answer of a boolean comparison, of operands in that order. */
static bool
holds(DpComparison comparison, int order)
{
	switch (comparison)
	{
		case CMP_EQ:
			return order == 0;
		case CMP_NE:
			return order != 0;
		case CMP_LT:
			return order < 0;
		case CMP_LE:
			return order <= 0;
		case CMP_GT:
			return order > 0;
		default:
			return order >= 0;
	}
}

/*
 * Has a column changed, as the condition of a trigger asks it for a writer who
 * may not read what was there?  Whether another envelope holds the same plaintext
 * would answer a guess.
 */
static bool
envelopes_tell(const DpComparisonCall *call, const DpOperand *left, const DpOperand *right, int *out)
{
	Size		len;

	if ((left->view != DP_ROW_UNSEEN && right->view != DP_ROW_UNSEEN) || !left->encrypted || !right->encrypted ||
		(call->comparison != CMP_EQ && call->comparison != CMP_NE) || !dp_row_condition_asks_change(call->flinfo))
		return false;
	len = VARSIZE_ANY_EXHDR(left->value.datum);
	*out = len == VARSIZE_ANY_EXHDR(right->value.datum) ?
		memcmp(VARDATA_ANY(left->value.datum), VARDATA_ANY(right->value.datum), len) : 1;
	return true;
}

/* A rule of the table about a value that a restore brings before its key. */
static bool
awaits_key(const DpComparisonCall *call)
{
	if (likely(dp_guc_input != DP_INPUT_CIPHERTEXT) || call->maintenance || call->comparison == CMP_ORDER)
		return false;
	return (call->sides != SIDES_BE &&
			dp_row_condition_awaits_key(call->flinfo, PG_DETOAST_DATUM_PACKED(call->left))) ||
		(call->sides != SIDES_EB &&
		 dp_row_condition_awaits_key(call->flinfo, PG_DETOAST_DATUM_PACKED(call->right)));
}

/*
 * What the frame will meet again is remembered: values that are put in order, and
 * those of rows that a condition holds for, which may be shown.
 */
bool
dp_compare(const DpComparisonCall *call, int *out)
{
	const DpTypeInfo *info = call->state->info;
	bool		equality = call->comparison == CMP_EQ || call->comparison == CMP_NE;
	DpKeyUse	use = call->maintenance ? DP_USE_MAINTAIN : DP_USE_READ;
	DpOperand	left;
	DpOperand	right;
	bool		known = true;
	DpMemoStay	stay;

	if (equality && call->maintenance && compare_stored_tokens(call, out))
		return true;
	if (awaits_key(call))
		return false;
	fill_operands(call, &left, &right);
	if (envelopes_tell(call, &left, &right, out))
	{
		dp_operand_close(&left, DP_MEMO_GO);
		dp_operand_close(&right, DP_MEMO_GO);
		return true;
	}
	dp_operand_open(info, &left, use);
	dp_operand_open(info, &right, use);
	if (!call->maintenance && dp_search_counts())
	{
		dp_operand_searched(call->state, &left);
		dp_operand_searched(call->state, &right);
	}
	if (left.readable && right.readable)
		*out = dp_compare_plain(call->state, left.plain, right.plain, call->collation, equality);
	else
	{
		known = false;
		if (call->comparison != CMP_ORDER && !call->maintenance && call->flinfo != NULL &&
			call->flinfo->fn_expr != NULL)
			dp_storing_refuse(call->flinfo, left.readable ? &right.value : &left.value, DP_NOT_READABLE);
		*out = (int) right.readable - (int) left.readable;
		/* An index wants one order of them; a user's sort has them as peers. */
		if (*out == 0 && call->maintenance && left.encrypted && right.encrypted)
			*out = memcmp(left.value.env.nonce, right.value.env.nonce, DP_NONCE_LEN);
	}
	stay = call->comparison == CMP_ORDER ? DP_MEMO_STAY :
		known && holds(call->comparison, *out) ? DP_MEMO_STAY_BRIEFLY : DP_MEMO_GO;
	dp_operand_close(&left, stay);
	dp_operand_close(&right, stay);
	return known || call->comparison == CMP_ORDER;
}

static Datum
compare_bool(FunctionCallInfo fcinfo, DpSides sides, DpComparison comparison)
{
	DpComparisonCall call;
	int			order = 0;

	fill_call(&call, fcinfo, sides, comparison);
	if (!dp_compare(&call, &order))
		PG_RETURN_NULL();
	PG_RETURN_BOOL(holds(comparison, order));
}

#define DP_COMPARISON(name, comparison) \
	PG_FUNCTION_INFO_V1(dp_##name##_ee); \
	Datum dp_##name##_ee(PG_FUNCTION_ARGS) { return compare_bool(fcinfo, SIDES_EE, comparison); } \
	PG_FUNCTION_INFO_V1(dp_##name##_eb); \
	Datum dp_##name##_eb(PG_FUNCTION_ARGS) { return compare_bool(fcinfo, SIDES_EB, comparison); } \
	PG_FUNCTION_INFO_V1(dp_##name##_be); \
	Datum dp_##name##_be(PG_FUNCTION_ARGS) { return compare_bool(fcinfo, SIDES_BE, comparison); }

DP_COMPARISON(eq, CMP_EQ)
DP_COMPARISON(ne, CMP_NE)
DP_COMPARISON(lt, CMP_LT)
DP_COMPARISON(le, CMP_LE)
DP_COMPARISON(gt, CMP_GT)
DP_COMPARISON(ge, CMP_GE)

#define DP_ORDERING(suffix, sides) \
	PG_FUNCTION_INFO_V1(dp_cmp_##suffix); \
	Datum dp_cmp_##suffix(PG_FUNCTION_ARGS) \
	{ \
		DpComparisonCall call; \
		int			order = 0; \
		fill_call(&call, fcinfo, sides, CMP_ORDER); \
		(void) dp_compare(&call, &order); \
		PG_RETURN_INT32(order); \
	}

DP_ORDERING(ee, SIDES_EE)
DP_ORDERING(eb, SIDES_EB)
DP_ORDERING(be, SIDES_BE)

/* --- the token order, of searchable values --- */

/* Token of an operand: stored, or computed of a base value or a tokenless one. */
static bool
operand_token(const DpTypeInfo *info, DpOperand *op, DpKeyUse use, uint8 out[DP_TOKEN_LEN])
{
	DpSettled	room;

	if (op->encrypted && op->value.env.token != NULL)
	{
		memcpy(out, dp_value_settle(&op->value.env, &room)->token, DP_TOKEN_LEN);
		return true;
	}
	dp_operand_open(info, op, use);
	if (op->readable)
		dp_value_token(info, op->plain, out);
	dp_operand_close(op, DP_MEMO_GO);
	return op->readable;
}

int
dp_compare_tokens(const DpComparisonCall *call)
{
	const DpTypeInfo *info = call->state->info;
	DpKeyUse	use = call->maintenance ? DP_USE_MAINTAIN : DP_USE_READ;
	DpOperand	left;
	DpOperand	right;
	uint8		left_token[DP_TOKEN_LEN] = {0};
	uint8		right_token[DP_TOKEN_LEN] = {0};
	bool		left_known;
	bool		right_known;
	int			order;

	if (call->maintenance && compare_stored_tokens(call, &order))
		return order;
	fill_operands(call, &left, &right);
	left_known = operand_token(info, &left, use, left_token);
	right_known = operand_token(info, &right, use, right_token);
	dp_operand_close(&left, DP_MEMO_GO);
	dp_operand_close(&right, DP_MEMO_GO);
	if (left_known && right_known)
		return memcmp(left_token, right_token, DP_TOKEN_LEN);
	return (int) right_known - (int) left_known;
}

static int
compare_token_arguments(FunctionCallInfo fcinfo, DpSides sides)
{
	DpComparisonCall call;

	fill_call(&call, fcinfo, sides, CMP_ORDER);
	return dp_compare_tokens(&call);
}

#define DP_TOKEN_ORDERING(suffix, sides) \
	PG_FUNCTION_INFO_V1(dp_token_cmp_##suffix); \
	Datum dp_token_cmp_##suffix(PG_FUNCTION_ARGS) \
	{ \
		PG_RETURN_INT32(compare_token_arguments(fcinfo, sides)); \
	}

DP_TOKEN_ORDERING(ee, SIDES_EE)
DP_TOKEN_ORDERING(eb, SIDES_EB)
DP_TOKEN_ORDERING(be, SIDES_BE)

/*
 * Two base values, which an index scan for = ANY (array) sorts: in the order of
 * their tokens, or their own.
 */
PG_FUNCTION_INFO_V1(dp_token_cmp_bb);
PG_FUNCTION_INFO_V1(dp_cmp_bb);

Datum
dp_token_cmp_bb(PG_FUNCTION_ARGS)
{
	const DpCallState *state = dp_operand_base_state(fcinfo->flinfo->fn_oid);
	uint8		left[DP_TOKEN_LEN];
	uint8		right[DP_TOKEN_LEN];

	dp_value_token(state->info, dp_operand_base(state, PG_GETARG_DATUM(0)), left);
	dp_value_token(state->info, dp_operand_base(state, PG_GETARG_DATUM(1)), right);
	PG_RETURN_INT32(memcmp(left, right, DP_TOKEN_LEN));
}

Datum
dp_cmp_bb(PG_FUNCTION_ARGS)
{
	const DpCallState *state = dp_operand_base_state(fcinfo->flinfo->fn_oid);

	PG_RETURN_INT32(dp_compare_plain(state, dp_operand_base(state, PG_GETARG_DATUM(0)),
									 dp_operand_base(state, PG_GETARG_DATUM(1)), PG_GET_COLLATION(), false));
}

/* The same as operators, for sides that are named. */
static int
token_order(FunctionCallInfo fcinfo, DpSides sides)
{
	if (sides == SIDES_BB)
		return DatumGetInt32(dp_token_cmp_bb(fcinfo));
	return compare_token_arguments(fcinfo, sides);
}

#define DP_TOKEN_COMPARISON(name, suffix, sides, condition) \
	PG_FUNCTION_INFO_V1(dp_token_##name##_##suffix); \
	Datum dp_token_##name##_##suffix(PG_FUNCTION_ARGS) \
	{ \
		int			order = token_order(fcinfo, sides); \
		PG_RETURN_BOOL(condition); \
	}
#define DP_TOKEN_COMPARISONS(suffix, sides) \
	DP_TOKEN_COMPARISON(lt, suffix, sides, order < 0) \
	DP_TOKEN_COMPARISON(le, suffix, sides, order <= 0) \
	DP_TOKEN_COMPARISON(gt, suffix, sides, order > 0) \
	DP_TOKEN_COMPARISON(ge, suffix, sides, order >= 0)

DP_TOKEN_COMPARISONS(ee, SIDES_EE)
DP_TOKEN_COMPARISONS(eb, SIDES_EB)
DP_TOKEN_COMPARISONS(be, SIDES_BE)
DP_TOKEN_COMPARISONS(bb, SIDES_BB)

static bool
base_holds(FunctionCallInfo fcinfo, DpComparison comparison)
{
	const DpCallState *state = dp_operand_base_state(fcinfo->flinfo->fn_oid);
	bool		equality = comparison == CMP_EQ || comparison == CMP_NE;

	return holds(comparison, dp_compare_plain(state, dp_operand_base(state, PG_GETARG_DATUM(0)),
											  dp_operand_base(state, PG_GETARG_DATUM(1)), PG_GET_COLLATION(), equality));
}

#define DP_BASE_COMPARISON(name, comparison) \
	PG_FUNCTION_INFO_V1(dp_##name##_bb); \
	Datum dp_##name##_bb(PG_FUNCTION_ARGS) { PG_RETURN_BOOL(base_holds(fcinfo, comparison)); }

DP_BASE_COMPARISON(eq, CMP_EQ)
DP_BASE_COMPARISON(ne, CMP_NE)
DP_BASE_COMPARISON(lt, CMP_LT)
DP_BASE_COMPARISON(le, CMP_LE)
DP_BASE_COMPARISON(gt, CMP_GT)
DP_BASE_COMPARISON(ge, CMP_GE)

/*
 * in_range (encrypted, encrypted, offset, sub, less): what a window frame asks.
 * No row is near to one whose value is unreadable.
 */
PG_FUNCTION_INFO_V1(dp_in_range);

Datum
dp_in_range(PG_FUNCTION_ARGS)
{
	DpComparisonCall call;
	DpCallState *state;
	DpOperand	value;
	DpOperand	bound;
	bool		result = false;

	fill_call(&call, fcinfo, SIDES_EE, CMP_ORDER);
	state = call.state;
	if (!OidIsValid(state->cross.fn_oid))
	{
		TypeCacheEntry *cache = lookup_type_cache(state->info->base_oid, TYPECACHE_BTREE_OPFAMILY);
		Oid		   *argtypes;
		int			nargs;

		(void) get_func_signature(fcinfo->flinfo->fn_oid, &argtypes, &nargs);
		fmgr_info_cxt(get_opfamily_proc(cache->btree_opf, cache->btree_opintype, argtypes[2], BTINRANGE_PROC),
					  &state->cross, fcinfo->flinfo->fn_mcxt);
	}
	fill_operands(&call, &value, &bound);
	dp_operand_open(state->info, &value, DP_USE_READ);
	dp_operand_open(state->info, &bound, DP_USE_READ);
	if (value.readable && bound.readable)
		result = DatumGetBool(FunctionCall5Coll(&state->cross, call.collation, value.plain, bound.plain,
												PG_GETARG_DATUM(2), PG_GETARG_DATUM(3), PG_GETARG_DATUM(4)));
	dp_operand_close(&value, DP_MEMO_STAY);
	dp_operand_close(&bound, DP_MEMO_STAY);
	PG_RETURN_BOOL(result);
}
