/*
 * operand.c
 *	  The operands of a comparison or a hash, on their way to a plaintext.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/nbtree.h"
#include "access/search_count.h"
#include "audit/track.h"
#include "base/compat.h"
#include "common/hashfn.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "types/codec.h"
#include "types/maintenance.h"
#include "types/mixed_width.h"
#include "types/operand.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/*
 * The base side may be of another type that the base type's default order knows
 * (int4 beside int8, date beside timestamp).
 */
static void
fill_cross(DpCallState *state, DpSides sides, MemoryContext context)
{
	Oid			base = state->info->base_oid;
	Oid			other = state->base_arg;
	TypeCacheEntry *cache;
	Oid			proc = InvalidOid;

	if (other == base)
		return;
	cache = lookup_type_cache(base, TYPECACHE_BTREE_OPFAMILY);
	if (OidIsValid(cache->btree_opf))
		proc = get_opfamily_proc(cache->btree_opf, sides == SIDES_BE ? other : cache->btree_opintype,
								 sides == SIDES_BE ? cache->btree_opintype : other, BTORDER_PROC);
	if (OidIsValid(proc))
		fmgr_info_cxt(proc, &state->cross, context);
	else if (getBaseType(other) != base)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("values of type %s cannot be compared with values of type %s",
						state->info->name, format_type_be(other))));
}

DpCallState *
dp_operand_call_state(FunctionCallInfo fcinfo, DpSides sides)
{
	DpCallState *state = fcinfo->flinfo->fn_extra;
	DpSignature signature;

	if (state != NULL)
		return state;
	signature = *dp_typeinfo_signature(fcinfo->flinfo->fn_oid);
	state = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(DpCallState));
	state->info = dp_typeinfo_get(signature.argtypes[sides == SIDES_BE ? 1 : 0]);
	if (sides != SIDES_EE)
	{
		state->base_arg = signature.argtypes[sides == SIDES_BE ? 0 : 1];
		fill_cross(state, sides, fcinfo->flinfo->fn_mcxt);
	}
	fcinfo->flinfo->fn_extra = state;
	return state;
}

Datum
dp_operand_base(const DpCallState *state, Datum value)
{
	if (state->info->base_len == -1 && !OidIsValid(state->cross.fn_oid))
		return PointerGetDatum(PG_DETOAST_DATUM_PACKED(value));
	return value;
}

/* Who the session is, or when it began: one value a statement, whatever else the statement does. */
static bool
is_session_value(Node *node)
{
	while (node != NULL && (IsA(node, RelabelType) || (IsA(node, FuncExpr) && list_length(((FuncExpr *) node)->args) == 1 &&
													   ((FuncExpr *) node)->funcid < FirstNormalObjectId &&
													   ((FuncExpr *) node)->funcformat != COERCE_EXPLICIT_CALL)))
		node = IsA(node, RelabelType) ? (Node *) ((RelabelType *) node)->arg : linitial(((FuncExpr *) node)->args);
	return node != NULL && IsA(node, SQLValueFunction);
}

/* Is the argument one constant, of this statement at least? */
static bool
is_constant(FmgrInfo *flinfo, int arg)
{
	List	   *args = NIL;

	if (get_fn_expr_arg_stable(flinfo, arg))
		return true;
	if (IsA(flinfo->fn_expr, OpExpr) || IsA(flinfo->fn_expr, DistinctExpr))
		args = ((OpExpr *) flinfo->fn_expr)->args;
	else if (IsA(flinfo->fn_expr, ScalarArrayOpExpr))
		args = ((ScalarArrayOpExpr *) flinfo->fn_expr)->args;
	return arg < list_length(args) &&
		(dp_mixed_width_is_given(list_nth(args, arg)) ||
		 (!IsA(flinfo->fn_expr, ScalarArrayOpExpr) && is_session_value(list_nth(args, arg))));
}

void
dp_operand_check(FmgrInfo *flinfo, DpOperand *op, const DpOperand *other, int other_arg,
				 DpComparison comparison)
{
	DpPrivilege privilege;

	if (!op->encrypted || op->value.literal)
		return;
	op->view = dp_row_condition_view(flinfo, &op->value);
	if (op->view != DP_ROW_NONE)
		return;
	privilege = dp_access_privilege(op->value.family);
	if (privilege == DP_PRIV_REVEAL)
		return;
	/* where a list is hashed, its elements may stand on either side */
	if (flinfo != NULL && flinfo->fn_expr != NULL && IsA(flinfo->fn_expr, ScalarArrayOpExpr) &&
		OidIsValid(((ScalarArrayOpExpr *) flinfo->fn_expr)->hashfuncid))
		other_arg = 1;
	if (privilege == DP_PRIV_SEARCH && comparison == CMP_EQ && other != NULL &&
		(!other->encrypted || other->value.literal) && flinfo != NULL &&
		flinfo->fn_expr != NULL && is_constant(flinfo, other_arg))
		return;
	dp_access_denied(op->value.family, comparison == CMP_EQ ? "search" : "reveal");
}

void
dp_operand_count(const DpOperand *op)
{
	if (op->encrypted && !op->value.literal && op->view == DP_ROW_NONE && !dp_audit_comparing_again(op->value.family))
		dp_audit_comparing(op->value.family, NameStr(dp_keys_family(op->value.family)->name));
}

void
dp_operand_searched(DpCallState *state, const DpOperand *op)
{
	DpPlain		canonical;
	uint64		quick;

	if (!op->readable || (op->encrypted && !op->value.literal))
		return;
	/* The same constant meets every row of a scan. */
	dp_codec_canonical(state->info, op->plain, &canonical);
	quick = hash_bytes_extended(canonical.data, (int) canonical.len, 0) | 1;
	dp_plain_done(&canonical);
	if (quick == state->searched)
		return;
	dp_search_note(dp_value_hash(state->info, op->plain));
	state->searched = quick;
}

void
dp_operand_open(const DpTypeInfo *info, DpOperand *op, DpKeyUse use)
{
	DpKey		key;

	op->readable = true;
	if (!op->encrypted)
		return;
	if (op->view == DP_ROW_UNSEEN)
	{
		op->readable = false;
		return;
	}
	if (op->entry == NULL)
		op->entry = dp_open_memo_open(info, &op->value, use, DP_IN_COMPARATOR());
	else if (dp_keys_get(op->value.env.key_id, use, DP_IN_COMPARATOR(), &key) != DP_KEY_OK)
	{
		/* Maintenance opened it, which may read what a reader may not. */
		dp_open_memo_release(op->entry, DP_MEMO_GO);
		op->entry = NULL;
	}
	op->readable = op->entry != NULL;
	if (op->readable)
		op->plain = op->entry->plain;
}

void
dp_operand_close(DpOperand *op, DpMemoStay stay)
{
	if (op->entry != NULL)
		dp_open_memo_release(op->entry, op->value.literal ? DP_MEMO_STAY : stay);
	op->entry = NULL;
}

void
dp_operand_fill(DpOperand *op, bool encrypted, const DpCallState *state, Datum arg)
{
	struct varlena *datum;

	op->encrypted = encrypted;
	op->view = DP_ROW_NONE;
	op->entry = NULL;
	if (!encrypted)
	{
		op->plain = dp_operand_base(state, arg);
		return;
	}
	datum = (struct varlena *) PG_DETOAST_DATUM_PACKED(arg);
	op->entry = dp_open_memo_find(state->info, datum);
	if (op->entry == NULL ||
		!dp_envelope_parse((const uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum),
						   &op->value.env))
	{
		dp_value_parse(datum, DP_IN_COMPARATOR(), &op->value);
		return;
	}
	op->plain = op->entry->plain;
	op->value.datum = datum;
	op->value.family = op->entry->family;
	op->value.literal = op->entry->literal;
}

/*
 * A scan of a hash index calls with a new FmgrInfo each time: what the function's
 * argument is is remembered for the function called last.
 */
const DpCallState *
dp_operand_base_state(Oid funcid)
{
	static DpCallState last;
	static Oid	last_funcid = InvalidOid;
	Oid			argtype;

	if (likely(funcid == last_funcid))
		return &last;
	argtype = dp_typeinfo_signature(funcid)->argtypes[0];
	last_funcid = InvalidOid;
	last.base_arg = argtype;
	last.info = dp_typeinfo_get(dp_typeinfo_encrypted_over(argtype));
	last_funcid = funcid;
	return &last;
}
