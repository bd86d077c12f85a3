/*
 * row_value.c
 *	  Rows whose fields are encrypted; see row_value.h.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/value.h"
#include "parser/parse_coerce.h"
#include "types/client_type.h"
#include "types/resolve.h"
#include "types/row_value.h"
#include "types/typeinfo.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

/* The operators of records and records; they stand in pg_operator in a row. */
#define RECORD_OPERATORS_FIRST	2988	/* = */
#define RECORD_OPERATORS_LAST	2993	/* >= */

TupleDesc
dp_row_type(Node *row)
{
	Oid			type = exprType(row);
	TupleDesc	result;
	ListCell   *lc;

	if (!IsA(row, RowExpr))
		return get_typtype(type) == TYPTYPE_COMPOSITE ? lookup_rowtype_tupdesc_copy(type, -1) : NULL;
	if (((RowExpr *) row)->row_typeid != RECORDOID)
		return lookup_rowtype_tupdesc_copy(((RowExpr *) row)->row_typeid, -1);
	result = CreateTemplateTupleDesc(list_length(((RowExpr *) row)->args));
	foreach(lc, ((RowExpr *) row)->args)
		TupleDescInitEntry(result, foreach_current_index(lc) + 1, NULL, exprType(lfirst(lc)), exprTypmod(lfirst(lc)), 0);
	return result;
}

/* Is it cheap, and the same each time it is evaluated? */
static bool
can_repeat(Node *row)
{
	while (IsA(row, FieldSelect))
		row = (Node *) ((FieldSelect *) row)->arg;
	return IsA(row, Var) || IsA(row, Param) || IsA(row, Const);
}

static RowExpr *
anonymous_row(List *fields)
{
	RowExpr    *result = makeNode(RowExpr);

	result->args = fields;
	result->row_typeid = RECORDOID;
	result->row_format = COERCE_EXPLICIT_CALL;
	result->location = -1;
	for (int i = 1; i <= list_length(fields); i++)
		result->colnames = lappend(result->colnames, makeString(psprintf("f%d", i)));
	return result;
}

Node *
dp_row_taken_apart(Node *row, TupleDesc type, RowExpr **fields)
{
	List	   *args = NIL;
	CaseExpr   *whole;
	CaseWhen   *is_null;
	NullTest   *test;

	if (IsA(row, RowExpr))
	{
		*fields = anonymous_row(list_copy(((RowExpr *) row)->args));
		return (Node *) *fields;
	}
	if (!can_repeat(row))
		return NULL;
	for (int i = 0; i < type->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(type, i);
		FieldSelect *field;

		if (att->attisdropped)
			continue;
		field = makeNode(FieldSelect);
		field->arg = copyObject((Expr *) row);
		field->fieldnum = i + 1;
		field->resulttype = att->atttypid;
		field->resulttypmod = att->atttypmod;
		field->resultcollid = att->attcollation;
		args = lappend(args, field);
	}
	*fields = anonymous_row(args);

	/* a row that is NULL is not one of NULLs */
	test = makeNode(NullTest);
	test->arg = copyObject((Expr *) row);
	test->nulltesttype = IS_NULL;
	test->location = -1;
	is_null = makeNode(CaseWhen);
	is_null->expr = (Expr *) test;
	is_null->result = (Expr *) makeNullConst(RECORDOID, -1, InvalidOid);
	is_null->location = -1;
	whole = makeNode(CaseExpr);
	whole->casetype = RECORDOID;
	whole->args = list_make1(is_null);
	whole->defresult = (Expr *) *fields;
	whole->location = -1;
	return (Node *) whole;
}

/* ---- comparisons ---- */

/* The cast that opens is marked; of an array, each element's. */
static void
mark_compared(Node *cast, Oid base, Oid collation)
{
	if (IsA(cast, ArrayCoerceExpr))
		mark_compared((Node *) ((ArrayCoerceExpr *) cast)->elemexpr, base, collation);
	if (!IsA(cast, FuncExpr))
		return;
	((FuncExpr *) cast)->funcformat = DP_COMPARED_FORMAT;
	((FuncExpr *) cast)->inputcollid = collation;
	if (OidIsValid(get_typcollation(base)))
		((FuncExpr *) cast)->funccollid = collation;
}

/* A field as it is compared with one of another type: opened, and no mask. */
static Node *
opened(Node *field, Oid other)
{
	Oid			type = exprType(field);
	Oid			collation = exprCollation(field);
	int32		typmod = -1;
	bool		is_array;
	Oid			encrypted = dp_client_encrypted_type(type, &typmod, &is_array);
	Oid			base;
	Oid			target;
	Node	   *result;

	if (!OidIsValid(encrypted))
		return field;
	base = dp_typeinfo_get(encrypted)->base_oid;
	target = is_array ? get_array_type(base) : base;
	result = coerce_type(NULL, field, type, target, -1, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
	mark_compared(result, base, collation);
	/* text stands for varchar */
	if (base == TEXTOID && other == (is_array ? get_array_type(VARCHAROID) : VARCHAROID))
		result = coerce_type(NULL, result, target, other, -1, COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
	if (OidIsValid(get_typcollation(exprType(result))))
		exprSetCollation(result, collation);
	return result;
}

static bool
is_protected(Oid type)
{
	int32		typmod = -1;
	bool		is_array;

	return OidIsValid(dp_client_encrypted_type(type, &typmod, &is_array));
}

/* Do fields have different types, one of which is encrypted? */
static bool
differ(TupleDesc left, TupleDesc right)
{
	bool		result = false;
	int			j = 0;

	for (int i = 0; i < left->natts; i++)
	{
		Oid			l = TupleDescAttr(left, i)->atttypid;
		Oid			r;

		if (TupleDescAttr(left, i)->attisdropped)
			continue;
		while (j < right->natts && TupleDescAttr(right, j)->attisdropped)
			j++;
		if (j >= right->natts)
			return false;
		r = TupleDescAttr(right, j++)->atttypid;
		result |= l != r && (is_protected(l) || is_protected(r));
	}
	return result;
}

void
dp_row_comparison_resolve(Oid opno, List *args)
{
	TupleDesc	left_type;
	TupleDesc	right_type;
	RowExpr    *left_fields;
	RowExpr    *right_fields;
	Node	   *left;
	Node	   *right;
	ListCell   *l;
	ListCell   *r;

	if (likely(opno < RECORD_OPERATORS_FIRST || opno > RECORD_OPERATORS_LAST) || list_length(args) != 2)
		return;
	left_type = dp_row_type(linitial(args));
	right_type = dp_row_type(lsecond(args));
	if (left_type == NULL || right_type == NULL || !differ(left_type, right_type))
		return;
	left = dp_row_taken_apart(linitial(args), left_type, &left_fields);
	right = dp_row_taken_apart(lsecond(args), right_type, &right_fields);
	if (left == NULL || right == NULL || list_length(left_fields->args) != list_length(right_fields->args))
		return;
	forboth(l, left_fields->args, r, right_fields->args)
	{
		Oid			left_field = exprType(lfirst(l));
		Oid			right_field = exprType(lfirst(r));

		if (left_field == right_field)
			continue;
		lfirst(l) = opened(lfirst(l), right_field);
		lfirst(r) = opened(lfirst(r), left_field);
	}
	linitial(args) = left;
	lsecond(args) = right;
}
