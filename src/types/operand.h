/*
 * operand.h
 *	  The operands of a comparison or a hash, on their way to a plaintext.
 *
 * The order of calls is fill, check and count (except for index maintenance),
 * open, use, close.
 */
#ifndef DP_TYPES_OPERAND_H
#define DP_TYPES_OPERAND_H

#include "postgres.h"

#include "fmgr.h"
#include "types/open_memo.h"
#include "types/row_condition.h"
#include "types/value.h"

typedef enum DpComparison
{
	CMP_EQ,
	CMP_NE,
	CMP_LT,
	CMP_LE,
	CMP_GT,
	CMP_GE,
	CMP_ORDER					/* three-way */
} DpComparison;

/* Which arguments are encrypted. */
typedef enum DpSides
{
	SIDES_EE,
	SIDES_EB,
	SIDES_BE,
	SIDES_BB					/* none: within an operator family */
} DpSides;

/* One operand on its way to a plaintext. */
typedef struct DpOperand
{
	bool		encrypted;
	DpValue		value;			/* where encrypted */
	Datum		plain;
	DpMemoEntry *entry;			/* holds plain, where encrypted and opened */
	bool		readable;
	DpRowView	view;			/* after dp_operand_check(); one that is not seen is unreadable */
} DpOperand;

/* What fn_extra holds here. */
typedef struct DpCallState
{
	const DpTypeInfo *info;
	Oid			base_arg;		/* declared type of the base side, or invalid */
	uint64		searched;		/* of the constant that was counted last, or 0 */
	FmgrInfo	cross;			/* of the base type's order: with another type, or in_range */
} DpCallState;

/* What is known of a call site, kept in fn_extra. */
extern DpCallState *dp_operand_call_state(FunctionCallInfo fcinfo, DpSides sides);

/*
 * The same for a function over base values alone, which names the encrypted type
 * nowhere: it is the one over the argument's type.  Valid until the next call.
 */
extern const DpCallState *dp_operand_base_state(Oid funcid);

/* Detoasted value of the base side, as the base type compares it. */
extern Datum dp_operand_base(const DpCallState *state, Datum value);

/* After dp_open_memo_follow(), for all operands of a call. */
extern void dp_operand_fill(DpOperand *op, bool encrypted, const DpCallState *state, Datum arg);

/*
 * May the current role compare this value here?  Reports denial by an error,
 * which names the key only.  other: the other operand, argument other_arg of
 * the call; NULL where there is none.  Sets how a condition over rows that are
 * written sees the value.
 */
extern void dp_operand_check(FmgrInfo *flinfo, DpOperand *op, const DpOperand *other, int other_arg,
							 DpComparison comparison);
extern void dp_operand_count(const DpOperand *op);

/* Count a constant that a role with "search" compares with, once it is open. */
extern void dp_operand_searched(DpCallState *state, const DpOperand *op);

/*
 * Sets plain and readable; close lets go of it.  stay: where the frame may
 * meet the value again.  Literals always stay: they stand in every row's way.
 */
extern void dp_operand_open(const DpTypeInfo *info, DpOperand *op, DpKeyUse use);
extern void dp_operand_close(DpOperand *op, DpMemoStay stay);

#endif							/* DP_TYPES_OPERAND_H */
