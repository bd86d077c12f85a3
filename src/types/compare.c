/*
 * compare.c
 *	  Comparison, ordering and hashing of encrypted values.
 *
 * Operators exist for encrypted against encrypted (ee), encrypted against base
 * (eb) and base against encrypted (be); the base side may also be varchar or
 * char(n) where the base type is text.  Every call checks the current role's
 * privilege on the key of every value it would open, except calls by index
 * maintenance (context.c):
 *
 *	=  against a constant or parameter		search
 *	everything else							reveal
 *
 * A value whose key is unreadable compares as NULL; in an order it comes after
 * all others, and equals none.  Errors never depend on a value: = and <> are
 * leakproof.
 */
#include "postgres.h"

#include "access/access.h"
#include "audit/track.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "types/context.h"
#include "types/io.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_locale.h"

typedef enum Comparison
{
	CMP_EQ,
	CMP_NE,
	CMP_LT,
	CMP_LE,
	CMP_GT,
	CMP_GE,
	CMP_ORDER					/* three-way */
} Comparison;

/* Which arguments are encrypted. */
typedef enum Sides
{
	SIDES_EE,
	SIDES_EB,
	SIDES_BE
} Sides;

/* One operand on its way to a plaintext. */
typedef struct Operand
{
	bool		encrypted;
	DpValue		value;			/* where encrypted */
	Datum		plain;
	bool		opened;			/* plain is ours to dispose of */
	bool		readable;
} Operand;

/* What fn_extra holds here. */
typedef struct CallState
{
	const DpTypeInfo *info;
	Oid			base_arg;		/* declared type of the base side, or invalid */
} CallState;

static CallState *
call_state(FunctionCallInfo fcinfo, Sides sides)
{
	CallState  *state = fcinfo->flinfo->fn_extra;
	Oid		   *argtypes;
	int			nargs;

	if (state != NULL)
		return state;
	(void) get_func_signature(fcinfo->flinfo->fn_oid, &argtypes, &nargs);
	state = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(CallState));
	state->info = dp_typeinfo_get(argtypes[sides == SIDES_BE ? 1 : 0]);
	if (sides != SIDES_EE)
		state->base_arg = argtypes[sides == SIDES_BE ? 0 : 1];
	fcinfo->flinfo->fn_extra = state;
	return state;
}

static Datum
base_operand(const CallState *state, Datum value)
{
	/* char(n) loses its trailing blanks, as its own comparison with text does. */
	if (state->base_arg == BPCHAROID)
		return DirectFunctionCall1(rtrim1, value);
	if (state->info->base_len == -1)
		return PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	return value;
}

/*
 * May the current role compare this value here?  Reports denial by an error,
 * which names the key only.
 */
static void
check_comparison(FunctionCallInfo fcinfo, const Operand *op, int other_arg, Comparison comparison)
{
	DpPrivilege privilege;

	if (!op->encrypted || op->value.literal)
		return;
	privilege = dp_access_privilege(op->value.family);
	if (privilege == DP_PRIV_REVEAL)
		return;
	if (privilege == DP_PRIV_SEARCH && comparison == CMP_EQ && other_arg >= 0 &&
		fcinfo->flinfo->fn_expr != NULL && get_fn_expr_arg_stable(fcinfo->flinfo, other_arg))
		return;
	dp_access_denied(op->value.family, comparison == CMP_EQ ? "search" : "reveal");
}

static void
count_comparison(const Operand *op)
{
	if (op->encrypted && !op->value.literal)
		dp_audit_comparing(op->value.family, NameStr(dp_keys_family(op->value.family)->name));
}

static void
open_operand(const DpTypeInfo *info, Operand *op, DpKeyUse use)
{
	if (!op->encrypted)
		op->readable = true;
	else
		op->readable = op->opened =
			dp_value_open(info, &op->value, use, DP_IN_COMPARATOR(), &op->plain);
}

static void
close_operand(const DpTypeInfo *info, Operand *op)
{
	if (op->opened)
		dp_value_dispose(info, op->plain);
}

/* Order of two readable plaintexts; equality where only that is asked for. */
static int
compare_plain(const DpTypeInfo *info, Datum left, Datum right, Oid collation, bool equality_only)
{
	if (equality_only && OidIsValid(info->base_eq.fn_oid))
		return DatumGetBool(FunctionCall2Coll(unconstify(FmgrInfo *, &info->base_eq), collation,
											  left, right)) ? 0 : 1;
	if (!OidIsValid(info->base_cmp.fn_oid))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("values of type %s have no order", info->name)));
	return DatumGetInt32(FunctionCall2Coll(unconstify(FmgrInfo *, &info->base_cmp), collation,
										   left, right));
}

/* Token of a stored value, or of a base value; false where none is stored. */
static bool
stored_token(const CallState *state, bool encrypted, Datum arg, uint8 out[DP_TOKEN_LEN])
{
	struct varlena *v;
	DpEnvelope	env;

	if (!encrypted)
	{
		dp_value_token(state->info, base_operand(state, arg), out);
		return true;
	}
	v = (struct varlena *) PG_DETOAST_DATUM_PACKED(arg);
	if (!dp_envelope_parse((uint8 *) VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v), &env) || env.token == NULL)
		return false;
	memcpy(out, env.token, DP_TOKEN_LEN);
	return true;
}

/*
 * Stored tokens need neither a key nor a catalog: this is what an index of the
 * token class compares under its page locks.
 */
static bool
compare_stored_tokens(const CallState *state, Sides sides, Datum left, Datum right, int *out)
{
	uint8		left_token[DP_TOKEN_LEN];
	uint8		right_token[DP_TOKEN_LEN];

	if (!state->info->can_token ||
		!stored_token(state, sides != SIDES_BE, left, left_token) ||
		!stored_token(state, sides != SIDES_EB, right, right_token))
		return false;
	*out = memcmp(left_token, right_token, DP_TOKEN_LEN);
	return true;
}

static void
fill_operand(Operand *op, bool encrypted, const CallState *state, Datum arg)
{
	memset(op, 0, sizeof(*op));
	op->encrypted = encrypted;
	if (encrypted)
		dp_value_parse((struct varlena *) PG_DETOAST_DATUM_PACKED(arg), DP_IN_COMPARATOR(), &op->value);
	else
		op->plain = base_operand(state, arg);
}

/*
 * Compare arguments 0 and 1.  Returns false where the answer is NULL; for
 * CMP_ORDER it never is.
 */
static bool
compare(FunctionCallInfo fcinfo, Sides sides, Comparison comparison, int *out)
{
	CallState  *state = call_state(fcinfo, sides);
	const DpTypeInfo *info = state->info;
	bool		equality = comparison == CMP_EQ || comparison == CMP_NE;
	bool		maintenance = dp_context_is_maintenance(fcinfo);
	DpKeyUse	use = maintenance ? DP_USE_MAINTAIN : DP_USE_READ;
	Operand		left;
	Operand		right;
	bool		known = true;

	if (equality && maintenance &&
		compare_stored_tokens(state, sides, PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), out))
		return true;
	fill_operand(&left, sides != SIDES_BE, state, PG_GETARG_DATUM(0));
	fill_operand(&right, sides != SIDES_EB, state, PG_GETARG_DATUM(1));
	if (!maintenance)
	{
		check_comparison(fcinfo, &left, 1, comparison);
		check_comparison(fcinfo, &right, 0, comparison);
		count_comparison(&left);
		count_comparison(&right);
	}
	open_operand(info, &left, use);
	open_operand(info, &right, use);
	if (left.readable && right.readable)
		*out = compare_plain(info, left.plain, right.plain, PG_GET_COLLATION(), equality);
	else
	{
		known = false;
		*out = (int) right.readable - (int) left.readable;
		/* An index wants one order of them; a user's sort has them as peers. */
		if (*out == 0 && maintenance && left.encrypted && right.encrypted)
			*out = memcmp(left.value.env.nonce, right.value.env.nonce, DP_NONCE_LEN);
	}
	close_operand(info, &left);
	close_operand(info, &right);
	return known || comparison == CMP_ORDER;
}

static Datum
compare_bool(FunctionCallInfo fcinfo, Sides sides, Comparison comparison)
{
	int			order = 0;

	if (!compare(fcinfo, sides, comparison, &order))
		PG_RETURN_NULL();
	switch (comparison)
	{
		case CMP_EQ:
			PG_RETURN_BOOL(order == 0);
		case CMP_NE:
			PG_RETURN_BOOL(order != 0);
		case CMP_LT:
			PG_RETURN_BOOL(order < 0);
		case CMP_LE:
			PG_RETURN_BOOL(order <= 0);
		case CMP_GT:
			PG_RETURN_BOOL(order > 0);
		default:
			PG_RETURN_BOOL(order >= 0);
	}
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
		int			order = 0; \
		(void) compare(fcinfo, sides, CMP_ORDER, &order); \
		PG_RETURN_INT32(order); \
	}

DP_ORDERING(ee, SIDES_EE)
DP_ORDERING(eb, SIDES_EB)
DP_ORDERING(be, SIDES_BE)

/* --- hashing --- */

/* Hash of an encrypted value; unreadable ones share one. */
static uint64
hash_encrypted(FunctionCallInfo fcinfo)
{
	CallState  *state = call_state(fcinfo, SIDES_EE);
	bool		maintenance = dp_context_is_maintenance(fcinfo);
	Operand		op;
	uint64		hash = 0;

	fill_operand(&op, true, state, PG_GETARG_DATUM(0));
	if (!maintenance)
	{
		check_comparison(fcinfo, &op, -1, CMP_ORDER);
		count_comparison(&op);
	}
	open_operand(state->info, &op, maintenance ? DP_USE_MAINTAIN : DP_USE_READ);
	if (op.readable)
		hash = dp_value_hash(state->info, op.plain);
	close_operand(state->info, &op);
	return hash;
}

/*
 * Hash of a base value, for a scan of an index by one and for joins: the family
 * is found by the function's name's type, an argument of the wanted encrypted
 * type being impossible here.
 */
static uint64
hash_base(FunctionCallInfo fcinfo)
{
	CallState  *state = fcinfo->flinfo->fn_extra;

	if (state == NULL)
	{
		Oid			argtype;
		Oid		   *argtypes;
		int			nargs;

		(void) get_func_signature(fcinfo->flinfo->fn_oid, &argtypes, &nargs);
		argtype = argtypes[0];
		state = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(CallState));
		state->base_arg = argtype;
		if (argtype == VARCHAROID || argtype == BPCHAROID)
			argtype = TEXTOID;
		state->info = dp_typeinfo_get(dp_typeinfo_encrypted_over(argtype));
		fcinfo->flinfo->fn_extra = state;
	}
	return dp_value_hash(state->info, base_operand(state, PG_GETARG_DATUM(0)));
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

/* --- the token order, of searchable values --- */

/* Token of an operand: stored, or computed of a base value or a tokenless one. */
static bool
operand_token(const DpTypeInfo *info, Operand *op, DpKeyUse use, uint8 out[DP_TOKEN_LEN])
{
	if (op->encrypted && op->value.env.token != NULL)
	{
		memcpy(out, op->value.env.token, DP_TOKEN_LEN);
		return true;
	}
	open_operand(info, op, use);
	if (op->readable)
		dp_value_token(info, op->plain, out);
	close_operand(info, op);
	op->opened = false;
	return op->readable;
}

static int
compare_tokens(FunctionCallInfo fcinfo, Sides sides)
{
	CallState  *state = call_state(fcinfo, sides);
	bool		maintenance = dp_context_is_maintenance(fcinfo);
	int			order;
	DpKeyUse	use = maintenance ? DP_USE_MAINTAIN : DP_USE_READ;
	Operand		left;
	Operand		right;
	uint8		left_token[DP_TOKEN_LEN] = {0};
	uint8		right_token[DP_TOKEN_LEN] = {0};
	bool		left_known;
	bool		right_known;

	if (maintenance &&
		compare_stored_tokens(state, sides, PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), &order))
		return order;
	fill_operand(&left, sides != SIDES_BE, state, PG_GETARG_DATUM(0));
	fill_operand(&right, sides != SIDES_EB, state, PG_GETARG_DATUM(1));
	if (!maintenance)
	{
		check_comparison(fcinfo, &left, 1, CMP_ORDER);
		check_comparison(fcinfo, &right, 0, CMP_ORDER);
		count_comparison(&left);
		count_comparison(&right);
	}
	left_known = operand_token(state->info, &left, use, left_token);
	right_known = operand_token(state->info, &right, use, right_token);
	if (left_known && right_known)
		return memcmp(left_token, right_token, DP_TOKEN_LEN);
	return (int) right_known - (int) left_known;
}

#define DP_TOKEN_ORDERING(suffix, sides) \
	PG_FUNCTION_INFO_V1(dp_token_cmp_##suffix); \
	Datum dp_token_cmp_##suffix(PG_FUNCTION_ARGS) \
	{ \
		PG_RETURN_INT32(compare_tokens(fcinfo, sides)); \
	}

DP_TOKEN_ORDERING(ee, SIDES_EE)
DP_TOKEN_ORDERING(eb, SIDES_EB)
DP_TOKEN_ORDERING(be, SIDES_BE)

PG_FUNCTION_INFO_V1(dp_token_lt_ee);
PG_FUNCTION_INFO_V1(dp_token_le_ee);
PG_FUNCTION_INFO_V1(dp_token_gt_ee);
PG_FUNCTION_INFO_V1(dp_token_ge_ee);

Datum
dp_token_lt_ee(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_tokens(fcinfo, SIDES_EE) < 0);
}

Datum
dp_token_le_ee(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_tokens(fcinfo, SIDES_EE) <= 0);
}

Datum
dp_token_gt_ee(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_tokens(fcinfo, SIDES_EE) > 0);
}

Datum
dp_token_ge_ee(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(compare_tokens(fcinfo, SIDES_EE) >= 0);
}
