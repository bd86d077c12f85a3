/*
 * folded_index.c
 *	  Indexes over folded values; see folded_index.h.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "base/statement.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "columns/folded_index.h"
#include "columns/query_column.h"
#include "columns/stored_index.h"
#include "funcapi.h"
#include "keys/keys.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "types/fold.h"
#include "types/mention.h"
#include "types/types.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_index_folds);
PG_FUNCTION_INFO_V1(dp_index_computes);
PG_FUNCTION_INFO_V1(dp_unfold);
PG_FUNCTION_INFO_V1(dp_predicate_computes);
PG_FUNCTION_INFO_V1(dp_index_predicate);

#define TEXT_EQUALS 98			/* "=" of text and text */

/* The constant folds of blind(column, folds), or NULL. */
static const Const *
folds_of(Node *expr, Var **column)
{
	FuncExpr   *call = (FuncExpr *) expr;

	if (expr == NULL || !IsA(expr, FuncExpr) || list_length(call->args) != 2 ||
		!IsA(linitial(call->args), Var) || !IsA(lsecond(call->args), Const) ||
		lsecond_node(Const, call->args)->constisnull || !dp_fold_is_blind(call->funcid))
		return NULL;
	*column = linitial_node(Var, call->args);
	return lsecond_node(Const, call->args);
}

Var *
dp_folded_column(Node *expr)
{
	Var		   *column;

	return folds_of(expr, &column) != NULL ? column : NULL;
}

bool
dp_folded_part(Node *expr)
{
	Var		   *column;
	const Const *folds = folds_of(expr, &column);

	return folds != NULL && !dp_folds_are_whole(TextDatumGetCString(folds->constvalue));
}

/* ---- queries ---- */

/*
 * The index expression of a table for such a fold of a column, as a copy, and
 * the operator family of its index.
 */
static Node *
find_index_expression(Oid relid, AttrNumber attnum, const char *folds, Oid collation, Oid *family)
{
	Relation	rel = table_open(relid, NoLock);
	Node	   *found = NULL;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		List	   *exprs = RelationGetIndexExpressions(index);	/* a copy: of its own at each call */
		ListCell   *expr = list_head(exprs);

		for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index) && found == NULL; i++)
		{
			const Const *words;
			Var		   *column;

			if (index->rd_index->indkey.values[i] != 0)
				continue;
			words = folds_of(lfirst(expr), &column);
			if (words != NULL && column->varattno == attnum &&
				((FuncExpr *) lfirst(expr))->inputcollid == collation &&
				strcmp(TextDatumGetCString(words->constvalue), folds) == 0)
			{
				found = copyObject(lfirst(expr));
				*family = index->rd_opfamily[i];
			}
			expr = lnext(exprs, expr);
		}
		index_close(index, AccessShareLock);
		if (found != NULL)
			break;
	}
	table_close(rel, NoLock);
	return found;
}

/* What stands for a fold of a protected column with an index over it, or NULL. */
static Node *
folded_for(DpQueryLevel *level, Node *expr, Oid *family)
{
	char		folds[DP_FOLDS_LEN];
	Var		   *var;
	Node	   *result;
	AttrNumber	attnum;
	Oid			relid;
	Oid			collation;

	if (!(IsA(expr, FuncExpr) || IsA(expr, OpExpr)) || !dp_fold_of(expr, folds, &var) || !dp_type_is_encrypted(var->vartype) ||
		dp_query_column_privilege(var) < (dp_folds_are_whole(folds) ? DP_PRIV_SEARCH : DP_PRIV_REVEAL) ||
		!dp_query_column(level, var, &relid, &attnum))
		return NULL;
	/* doc ->> 0 has no input with one; the index's expression has the folds' */
	collation = exprInputCollation(expr);
	result = find_index_expression(relid, attnum, folds, OidIsValid(collation) ? collation : DEFAULT_COLLATION_OID, family);
	if (result != NULL)
		linitial(((FuncExpr *) result)->args) = copyObject(var);
	return result;
}

/* "=" over the types that the operands have now; false where the family has none. */
static bool
set_operator(Oid family, Node *left, Node *right, Oid *opno, Oid *opfuncid)
{
	Oid			left_type = exprType(left);
	Oid			right_type = exprType(right);
	Oid			element = get_element_type(right_type);
	Oid			op;

	if (OidIsValid(element))
		right_type = element;
	/* strategy 3 of a btree, 1 of a hash */
	op = get_opfamily_member(family, left_type, right_type, 3);
	if (!OidIsValid(op))
		op = get_opfamily_member(family, left_type, right_type, 1);
	if (!OidIsValid(op))
		return false;
	*opno = op;
	*opfuncid = get_opcode(op);
	return true;
}

static void
fold_comparison(DpQueryLevel *level, List *args, bool is_array, Oid *opno, Oid *opfuncid)
{
	Oid			family = InvalidOid;
	Node	   *left = linitial(args);
	Node	   *right = lsecond(args);
	Node	   *new_left = folded_for(level, left, &family);
	Node	   *new_right = is_array ? NULL : folded_for(level, right, &family);

	if (new_left == NULL && new_right == NULL)
		return;
	if (!set_operator(family, new_left != NULL ? new_left : left, new_right != NULL ? new_right : right,
					  opno, opfuncid))
		return;
	if (new_left != NULL)
		linitial(args) = new_left;
	if (new_right != NULL)
		lsecond(args) = new_right;
}

/* not_empty(column) of an index predicate of the column's table, or NULL. */
static Node *
find_emptiness(Oid relid, AttrNumber attnum)
{
	Relation	rel = table_open(relid, NoLock);
	Node	   *found = NULL;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		ListCell   *conjunct;

		foreach(conjunct, RelationGetIndexPredicate(index))
		{
			bool		by_length;
			Var		   *column = dp_fold_emptiness_of(lfirst(conjunct), &by_length);

			if (column != NULL && by_length && column->varattno == attnum)
				found = copyObject(lfirst(conjunct));
		}
		index_close(index, AccessShareLock);
	}
	table_close(rel, NoLock);
	return found;
}

/* A condition as an index predicate has it; proven: it is not evaluated. */
static Node *
as_predicate(DpQueryLevel *level, Node *expr, bool proven)
{
	bool		by_length;
	Var		   *column = dp_fold_emptiness_of(expr, &by_length);
	Node	   *result;
	AttrNumber	attnum;
	Oid			relid;

	if (column == NULL || by_length || !dp_type_is_encrypted(column->vartype) ||
		(!proven && dp_query_column_privilege(column) < DP_PRIV_REVEAL) ||
		!dp_query_column(level, column, &relid, &attnum) ||
		(result = find_emptiness(relid, attnum)) == NULL)
		return expr;
	linitial(((FuncExpr *) result)->args) = copyObject(column);
	return result;
}

static Var *
protected_column(Node *expr)
{
	while (expr != NULL && IsA(expr, RelabelType))
		expr = (Node *) ((RelabelType *) expr)->arg;
	return expr != NULL && IsA(expr, Var) && dp_type_is_encrypted(((Var *) expr)->vartype) ? (Var *) expr : NULL;
}

/*
 * What column = constant says of a predicate column <> '', or NULL: the planner knows it
 * of plain columns, here it is told.  Of a parameter: "or that is empty", which it
 * simplifies once it has the value.
 */
static Node *
told_by_equality(DpQueryLevel *level, Node *qual)
{
	List	   *args = qual != NULL && IsA(qual, OpExpr) ? ((OpExpr *) qual)->args : NIL;
	char	   *name = list_length(args) == 2 ? get_opname(((OpExpr *) qual)->opno) : NULL;
	Node	   *result;
	Node	   *other;
	Var		   *column;
	AttrNumber	attnum;
	Oid			relid;

	if (name == NULL || strcmp(name, "=") != 0)
		return NULL;
	column = protected_column(linitial(args));
	other = column != NULL ? lsecond(args) : linitial(args);
	if (column == NULL)
		column = protected_column(lsecond(args));
	if (column == NULL || !(IsA(other, Const) || IsA(other, Param)) ||
		!dp_query_column(level, column, &relid, &attnum) || (result = find_emptiness(relid, attnum)) == NULL)
		return NULL;
	linitial(((FuncExpr *) result)->args) = copyObject(column);
	if (IsA(other, Const))
		return ((Const *) other)->constisnull || dp_fold_is_empty_text((Const *) other) ? NULL : result;
	if (exprType(other) != TEXTOID)
		return NULL;
	return (Node *) makeBoolExpr(OR_EXPR,
								 list_make2(result,
											make_opclause(TEXT_EQUALS, BOOLOID, false, (Expr *) copyObject(other),
														  (Expr *) makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
																			 CStringGetTextDatum(""), false, false),
														  InvalidOid, DEFAULT_COLLATION_OID)), -1);
}

/* The same of conditions that are joined by AND. */
static Node *
as_predicates(DpQueryLevel *level, Node *quals, bool proven)
{
	List	   *conditions = make_ands_implicit((Expr *) quals);
	List	   *told = NIL;
	ListCell   *lc;

	foreach(lc, conditions)
	{
		Node	   *more = proven ? NULL : told_by_equality(level, lfirst(lc));

		lfirst(lc) = as_predicate(level, lfirst(lc), proven);
		if (more != NULL)
			told = lappend(told, more);
	}
	if (list_length(conditions) == 0)
		return quals;
	return (Node *) make_ands_explicit(list_concat(list_copy(conditions), told));
}

static bool
fold_walker(Node *node, void *context)
{
	DpQueryLevel *level = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		DpQueryLevel inner = {(Query *) node, level};

		return query_tree_walker((Query *) node, fold_walker, &inner, 0);
	}
	if (IsA(node, OpExpr) && ((OpExpr *) node)->opno == TEXT_EQUALS)
	{
		OpExpr	   *op = (OpExpr *) node;

		fold_comparison(level, op->args, false, &op->opno, &op->opfuncid);
	}
	else if (IsA(node, ScalarArrayOpExpr) && ((ScalarArrayOpExpr *) node)->opno == TEXT_EQUALS)
	{
		ScalarArrayOpExpr *op = (ScalarArrayOpExpr *) node;

		fold_comparison(level, op->args, true, &op->opno, &op->opfuncid);
	}
	else if (IsA(node, FromExpr))
		((FromExpr *) node)->quals = as_predicates(level, ((FromExpr *) node)->quals, false);
	else if (IsA(node, OnConflictExpr))
		((OnConflictExpr *) node)->arbiterWhere = as_predicates(level, ((OnConflictExpr *) node)->arbiterWhere, true);
	else if (IsA(node, InferenceElem) && ((InferenceElem *) node)->expr != NULL)
	{
		InferenceElem *elem = (InferenceElem *) node;
		Oid			family;
		Node	   *folded = folded_for(level, elem->expr, &family);

		if (folded != NULL)
			elem->expr = folded;
	}
	return expression_tree_walker(node, fold_walker, context);
}

static bool
compares_column(const OpExpr *op)
{
	return list_length(op->args) == 2 &&
		(protected_column(linitial(op->args)) != NULL || protected_column(lsecond(op->args)) != NULL);
}

/* Most queries compare no protected column: they are not walked again. */
static bool
folds_walker(Node *node, void *context)
{
	char		folds[DP_FOLDS_LEN];
	bool		by_length;
	Var		   *var;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, folds_walker, context, 0);
	if (IsA(node, OpExpr) && (var = dp_fold_emptiness_of(node, &by_length)) != NULL && dp_type_is_encrypted(var->vartype))
		return true;
	if (IsA(node, OpExpr) && compares_column((OpExpr *) node))
		return true;
	if ((IsA(node, FuncExpr) || IsA(node, OpExpr)) && dp_fold_of(node, folds, &var) && dp_type_is_encrypted(var->vartype))
		return true;
	return expression_tree_walker(node, folds_walker, context);
}

static void
planning(Query *query, const char *source)
{
	if (query->commandType != CMD_UTILITY && (dp_query_mentions(query) & DP_MENTIONS_OTHER_TYPES) != 0 &&
		folds_walker((Node *) query, NULL))
		(void) fold_walker((Node *) query, NULL);
}

static const DpSubscriber subscriber = {
	.name = "folded indexes",
	.planning = planning,
};

void
dp_folded_index_init(void)
{
	dp_statement_subscribe(&subscriber);
}

/* ---- for encrypt_column() ---- */

/* Is a key's expression a fold of a column, protected or plain?  folds: DP_FOLDS_LEN bytes. */
static bool
is_fold(Node *expr, char *folds, Var **column, bool *blind)
{
	const Const *words = folds_of(expr, column);

	*blind = words != NULL;
	if (words == NULL)
		return dp_fold_of(expr, folds, column);
	strlcpy(folds, TextDatumGetCString(words->constvalue), DP_FOLDS_LEN);
	return true;
}

/*
 * dataprotect._index_folds(index oid) returns setof (place int, attnum int2,
 *		folds text, blind bool, whole bool)
 * The keys of an index that are folds of a column: place counts from 1; blind
 * where they are folds of a protected one.
 */
Datum
dp_index_folds(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(PG_GETARG_OID(0)));
	Form_pg_index index;
	List	   *exprs;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	if (!HeapTupleIsValid(tuple))
		PG_RETURN_VOID();
	index = (Form_pg_index) GETSTRUCT(tuple);
	exprs = dp_index_expressions(tuple);
	lc = list_head(exprs);
	for (int i = 0; i < index->indnkeyatts && lc != NULL; i++)
	{
		char		folds[DP_FOLDS_LEN];
		Datum		values[5];
		bool		nulls[5] = {false};
		Var		   *column;
		bool		blind;

		if (index->indkey.values[i] != 0)
			continue;
		if (is_fold(lfirst(lc), folds, &column, &blind))
		{
			values[0] = Int32GetDatum(i + 1);
			values[1] = Int16GetDatum(column->varattno);
			values[2] = CStringGetTextDatum(folds);
			values[3] = BoolGetDatum(blind);
			values[4] = BoolGetDatum(dp_folds_are_whole(folds));
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
		lc = lnext(exprs, lc);
	}
	ReleaseSysCache(tuple);
	PG_RETURN_VOID();
}

/* dataprotect._unfold(folds text, col name) returns text: the expression of SQL */
Datum
dp_unfold(PG_FUNCTION_ARGS)
{
	char	   *folds = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(dp_folds_print(folds, quote_identifier(NameStr(*PG_GETARG_NAME(1))))));
}

/*
 * dataprotect._predicate_computes(index oid, attnum int2) returns bool
 * Does the predicate use the column's value otherwise than to ask whether it is
 * the empty text?
 */
Datum
dp_predicate_computes(PG_FUNCTION_ARGS)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(PG_GETARG_OID(0)));
	bool		computes = false;
	ListCell   *lc;

	if (!HeapTupleIsValid(tuple))
		PG_RETURN_BOOL(false);
	foreach(lc, dp_index_predicate_of(tuple))
	{
		bool		by_length;

		if (dp_fold_emptiness_of(lfirst(lc), &by_length) == NULL)
			computes |= dp_column_mentioned(lfirst(lc), PG_GETARG_INT16(1));
	}
	ReleaseSysCache(tuple);
	PG_RETURN_BOOL(computes);
}

/* Does a condition use the value of a column among those? */
static bool
mentions_any(Oid relid, Node *condition, ArrayType *names)
{
	Datum	   *elements;
	int			n;

	deconstruct_array(names, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		AttrNumber	attnum = get_attnum(relid, NameStr(*DatumGetName(elements[i])));

		if (attnum > 0 && dp_column_mentioned(condition, attnum))
			return true;
	}
	return false;
}

/* The place of a name among names, or -1. */
static int
place_among(const char *name, ArrayType *names)
{
	Datum	   *elements;
	int			n;

	deconstruct_array(names, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		if (strcmp(NameStr(*DatumGetName(elements[i])), name) == 0)
			return i;
	}
	return -1;
}

typedef struct Renaming
{
	Oid			relid;
	ArrayType  *columns;
	ArrayType  *targets;
} Renaming;

/* The name that stands for a column: its own, unless it is among the columns. */
static char *
name_of(const Renaming *renaming, AttrNumber attnum)
{
	char	   *name = get_attname(renaming->relid, attnum, false);
	int			place = place_among(name, renaming->columns);
	Datum	   *targets;
	int			n;

	deconstruct_array(renaming->targets, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &targets, NULL, &n);
	return place >= 0 && place < n ? pstrdup(NameStr(*DatumGetName(targets[place]))) : name;
}

/* In place, for an expression that is only printed. */
static bool
rename_columns(Node *node, Renaming *renaming)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var) && ((Var *) node)->varattno > 0)
	{
		Var		   *var = (Var *) node;

		var->varattno = get_attnum(renaming->relid, name_of(renaming, var->varattno));
		var->varattnosyn = var->varattno;
		return false;
	}
	return expression_tree_walker(node, rename_columns, renaming);
}

/*
 * dataprotect._index_predicate(index oid, cols name[]) returns text
 * dataprotect._index_predicate_of(index oid, cols name[], targets name[]) returns text
 * The predicate with what it asks of some columns as their other form has it: protected
 * for plain, plain for protected.  What else it asks of them is left out where the index
 * promises nothing: with more rows in it, it serves the same queries.  targets: the
 * names under which the columns stand, where it is not their own.
 */
Datum
dp_index_predicate(PG_FUNCTION_ARGS)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(PG_GETARG_OID(0)));
	Renaming	renaming = {.columns = PG_GETARG_ARRAYTYPE_P(1)};
	StringInfoData text;
	List	   *predicate;
	ListCell   *lc;
	bool		promises;

	if (!HeapTupleIsValid(tuple))
		PG_RETURN_NULL();
	renaming.targets = PG_NARGS() > 2 ? PG_GETARG_ARRAYTYPE_P(2) : renaming.columns;
	renaming.relid = ((Form_pg_index) GETSTRUCT(tuple))->indrelid;
	promises = ((Form_pg_index) GETSTRUCT(tuple))->indisunique || ((Form_pg_index) GETSTRUCT(tuple))->indisexclusion;
	predicate = dp_index_predicate_of(tuple);
	ReleaseSysCache(tuple);
	if (predicate == NIL)
		PG_RETURN_NULL();
	initStringInfo(&text);
	foreach(lc, predicate)
	{
		bool		by_length;
		Var		   *column = dp_fold_emptiness_of(lfirst(lc), &by_length);
		bool		changes = mentions_any(renaming.relid, lfirst(lc), renaming.columns);

		if (changes && column == NULL && !promises)
			continue;
		if (text.len > 0)
			appendStringInfoString(&text, " AND ");
		if (!changes || column == NULL)
		{
			(void) rename_columns(lfirst(lc), &renaming);
			appendStringInfo(&text, "(%s)", deparse_expression(lfirst(lc), deparse_context_for(get_rel_name(renaming.relid), renaming.relid), false, false));
		}
		else
		{
			const char *name = quote_identifier(name_of(&renaming, column->varattno));

			if (by_length)
				appendStringInfo(&text, "(%s OPERATOR(pg_catalog.<>) ''::pg_catalog.text)", name);
			else
				appendStringInfo(&text, "dataprotect.not_empty(%s)", name);
		}
	}
	if (text.len == 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(text.data));
}

/*
 * dataprotect._index_computes(index oid, attnum int2) returns bool
 * Does an expression of the index use the column otherwise than as a fold?
 */
Datum
dp_index_computes(PG_FUNCTION_ARGS)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(PG_GETARG_OID(0)));
	int			attnum = PG_GETARG_INT16(1) - FirstLowInvalidHeapAttributeNumber;
	bool		computes = false;
	ListCell   *lc;

	if (!HeapTupleIsValid(tuple))
		PG_RETURN_BOOL(false);
	foreach(lc, dp_index_expressions(tuple))
	{
		char		folds[DP_FOLDS_LEN];
		Bitmapset  *used = NULL;
		Var		   *column;
		bool		blind;

		if (is_fold(lfirst(lc), folds, &column, &blind))
			continue;
		pull_varattnos(lfirst(lc), 1, &used);
		computes |= bms_is_member(attnum, used) ||
			bms_is_member(-FirstLowInvalidHeapAttributeNumber, used);
	}
	ReleaseSysCache(tuple);
	PG_RETURN_BOOL(computes);
}
