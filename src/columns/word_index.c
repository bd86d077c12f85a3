/*
 * word_index.c
 *	  Conditions for indexes over the words of a protected text; see word_index.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "base/argument.h"
#include "base/statement.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_type_d.h"
#include "columns/query_column.h"
#include "columns/stored_index.h"
#include "columns/word_index.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "types/mention.h"
#include "tsearch/ts_utils.h"
#include "types/document_search.h"
#include "types/fold.h"
#include "types/lexeme_search.h"
#include "types/types.h"
#include "types/word_search.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_lexeme_index);

#define TEXT_ILIKE 1627			/* "~~*" of text and text */

static Node *
skip_relabels(Node *expr)
{
	while (expr != NULL && IsA(expr, RelabelType))
		expr = (Node *) ((RelabelType *) expr)->arg;
	return expr;
}

/* What a condition asks of a text that an index over its words may serve. */
typedef struct Asked
{
	Var		   *var;
	Node	   *pattern;		/* or a query of full-text search */
	Oid			config;			/* of that; InvalidOid for a pattern */
	bool		null_is_empty;
	bool		words;			/* the column is of words itself */
	int			document;		/* strategy of what is asked of a document, or 0 */
} Asked;

/* The protected column under the cast that opens it, to that type; NULL for anything else. */
static Var *
opened_as(Node *expr, Oid type)
{
	FuncExpr   *call = (FuncExpr *) skip_relabels(expr);

	if (call == NULL || !IsA(call, FuncExpr) || list_length(call->args) != 1 || call->funcresulttype != type ||
		call->funcformat == COERCE_EXPLICIT_CALL)
		return NULL;
	expr = skip_relabels(linitial(call->args));
	return IsA(expr, Var) && dp_type_is_encrypted(((Var *) expr)->vartype) ? (Var *) expr : NULL;
}

static Var *
opened_column(Node *expr)
{
	return opened_as(expr, TEXTOID);
}

/* What coalesce(something, '') is of; else the expression itself. */
static Node *
skip_coalesce(Node *expr, bool *null_is_empty)
{
	CoalesceExpr *coalesce = (CoalesceExpr *) skip_relabels(expr);

	if (coalesce == NULL || !IsA(coalesce, CoalesceExpr) || list_length(coalesce->args) != 2 ||
		!dp_fold_is_empty_text((const Const *) skip_relabels(lsecond(coalesce->args))))
		return expr;
	*null_is_empty = true;
	return linitial(coalesce->args);
}

/* The column, plain or protected, whose lexemes an expression gives, by which configuration; or NULL. */
static Var *
lexemes_of(Node *expr, Oid *config, bool *null_is_empty)
{
	FuncExpr   *call = (FuncExpr *) skip_relabels(expr);
	const Const *constant;
	Node	   *text;

	*null_is_empty = false;
	if (call == NULL || !IsA(call, FuncExpr) || call->funcid != F_TO_TSVECTOR_REGCONFIG_TEXT)
		return NULL;
	constant = (const Const *) skip_relabels(linitial(call->args));
	if (!IsA(constant, Const) || constant->constisnull)
		return NULL;
	*config = DatumGetObjectId(constant->constvalue);
	text = skip_relabels(skip_coalesce(lsecond(call->args), null_is_empty));
	if (IsA(text, FuncExpr) && list_length(((FuncExpr *) text)->args) == 1 && IsA(skip_relabels(linitial(((FuncExpr *) text)->args)), CoalesceExpr))
	{
		Node	   *inner = skip_relabels(skip_coalesce(linitial(((FuncExpr *) text)->args), null_is_empty));

		return ((FuncExpr *) text)->funcresulttype == TEXTOID && ((FuncExpr *) text)->funcformat != COERCE_EXPLICIT_CALL &&
			IsA(inner, Var) && dp_type_is_encrypted(((Var *) inner)->vartype) ? (Var *) inner : NULL;
	}
	return IsA(text, Var) ? (Var *) text : opened_column(text);
}

/* Does a query of full-text search find no text without words, whatever its parameters are? */
static bool
needs_words(Node *query)
{
	Node	   *known = eval_const_expressions(NULL, copyObject(query));

	if (IsA(known, Const))
	{
		TSQuery		value = ((Const *) known)->constisnull ? NULL : DatumGetTSQuery(((Const *) known)->constvalue);

		return value != NULL && (value->size == 0 || tsquery_requires_match(GETQUERY(value)));
	}
	return IsA(known, FuncExpr) &&
		(((FuncExpr *) known)->funcid == F_PLAINTO_TSQUERY_TEXT || ((FuncExpr *) known)->funcid == F_PLAINTO_TSQUERY_REGCONFIG_TEXT ||
		 ((FuncExpr *) known)->funcid == F_PHRASETO_TSQUERY_TEXT || ((FuncExpr *) known)->funcid == F_PHRASETO_TSQUERY_REGCONFIG_TEXT);
}

/* What is asked of a document that an index over its entries may serve. */
static void
ask_document(OpExpr *op, Oid function, Asked *asked)
{
	int			place;

	asked->document = dp_document_strategy(function, &place);
	if (asked->document == 0)
		return;
	asked->var = opened_as(list_nth(op->args, place), JSONBOID);
	asked->pattern = list_nth(op->args, 1 - place);
}

static bool
find_asked(OpExpr *op, Asked *asked)
{
	Oid			function = get_opcode(op->opno);
	Node	   *first = list_length(op->args) == 2 ? linitial(op->args) : NULL;

	asked->config = InvalidOid;
	asked->null_is_empty = false;
	asked->words = false;
	asked->document = 0;
	asked->var = NULL;
	if (first == NULL)
		return false;
	asked->pattern = lsecond(op->args);
	if (op->opno == OID_TEXT_LIKE_OP || op->opno == TEXT_ILIKE)
	{
		FuncExpr   *lower = (FuncExpr *) skip_relabels(first);

		asked->var = opened_column(IsA(lower, FuncExpr) && lower->funcid == F_LOWER_TEXT ? linitial(lower->args) : first);
	}
	else if (function == F_TS_MATCH_VQ)
		asked->var = lexemes_of(first, &asked->config, &asked->null_is_empty);
	else if (function == F_TS_MATCH_QV)
	{
		asked->var = lexemes_of(asked->pattern, &asked->config, &asked->null_is_empty);
		asked->pattern = first;
	}
	if (asked->var == NULL && (function == F_TS_MATCH_VQ || function == F_TS_MATCH_QV))
	{
		asked->var = opened_as(function == F_TS_MATCH_VQ ? first : lsecond(op->args), TSVECTOROID);
		asked->words = true;
	}
	if (asked->var == NULL)
		ask_document(op, function, asked);
	return asked->var != NULL && dp_type_is_encrypted(asked->var->vartype) &&
		(!asked->null_is_empty || needs_words(asked->pattern));
}

/* The operator of one key of an index for what is asked, or InvalidOid. */
static Oid
key_operator(Relation index, int key, const Asked *asked)
{
	Oid			family = index->rd_opfamily[key];
	Oid			type = asked->var->vartype;

	if (asked->document != 0)
		return dp_document_family(family, type) ? dp_document_operator(family, type, exprType(asked->pattern), asked->document) : InvalidOid;
	if (asked->words)
		return dp_lexeme_family(family, type) ? dp_lexeme_operator(family, type) : InvalidOid;
	if (!OidIsValid(asked->config))
		return dp_word_family(family, type) ? dp_word_operator(family, type) : InvalidOid;
	if (!dp_lexeme_family(family, type) || dp_lexeme_config(RelationGetIndexAttOptions(index, false)[key]) != asked->config)
		return InvalidOid;
	return dp_lexeme_operator(family, type);
}

/* The index's operator of a column of a table, or InvalidOid. */
static Oid
index_operator(Oid relid, AttrNumber attnum, const Asked *asked)
{
	Relation	rel = table_open(relid, NoLock);
	Oid			result = InvalidOid;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index) && !OidIsValid(result); i++)
		{
			if (index->rd_rel->relam == GIN_AM_OID && index->rd_index->indkey.values[i] == attnum)
				result = key_operator(index, i, asked);
		}
		index_close(index, AccessShareLock);
		if (OidIsValid(result))
			break;
	}
	table_close(rel, NoLock);
	return result;
}

/* The condition for the index, beside one that was written; or the latter alone. */
static Node *
beside(DpQueryLevel *level, OpExpr *op)
{
	Asked		asked;
	AttrNumber	attnum;
	Oid			relid;
	Oid			operator;
	Expr	   *added;

	if (!find_asked(op, &asked) ||
		dp_query_column_privilege(asked.var) < DP_PRIV_REVEAL || !dp_query_column(level, asked.var, &relid, &attnum) ||
		contain_volatile_functions(asked.pattern))
		return (Node *) op;
	operator = index_operator(relid, attnum, &asked);
	if (!OidIsValid(operator))
		return (Node *) op;
	added = make_opclause(operator, BOOLOID, false, copyObject((Expr *) asked.var), copyObject((Expr *) asked.pattern),
						  InvalidOid, OidIsValid(asked.config) || asked.words ? asked.var->varcollid : op->inputcollid);
	set_opfuncid((OpExpr *) added);
	return (Node *) makeBoolExpr(AND_EXPR, list_make2(op, added), -1);
}

static Node *
rewrite_condition(DpQueryLevel *level, Node *node)
{
	if (node != NULL && IsA(node, OpExpr))
		return beside(level, (OpExpr *) node);
	if (node != NULL && IsA(node, BoolExpr))
	{
		ListCell   *lc;

		foreach(lc, ((BoolExpr *) node)->args)
			lfirst(lc) = rewrite_condition(level, lfirst(lc));
	}
	return node;
}

static bool
word_walker(Node *node, void *context)
{
	DpQueryLevel *level = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		DpQueryLevel inner = {(Query *) node, level};

		return query_tree_walker((Query *) node, word_walker, &inner, 0);
	}
	if (IsA(node, FromExpr))
		((FromExpr *) node)->quals = rewrite_condition(level, ((FromExpr *) node)->quals);
	else if (IsA(node, JoinExpr))
		((JoinExpr *) node)->quals = rewrite_condition(level, ((JoinExpr *) node)->quals);
	return expression_tree_walker(node, word_walker, context);
}

/* Most queries match no protected text: they are not changed. */
static bool
matches_walker(Node *node, void *context)
{
	Asked		asked;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, matches_walker, context, 0);
	if (IsA(node, OpExpr) && find_asked((OpExpr *) node, &asked))
		return true;
	return expression_tree_walker(node, matches_walker, context);
}

/*
 * dataprotect._lexeme_index(index oid, OUT attnum int2, OUT config text, OUT null_is_empty bool)
 * The column whose lexemes an index for full-text search has, over to_tsvector() of a plain column or of the class
 * for protected ones; nulls where it is none.
 */
Datum
dp_lexeme_index(PG_FUNCTION_ARGS)
{
	Relation	index = dp_argument_relation(PG_GETARG_OID(0), AccessShareLock, "iI");
	Datum		values[3] = {0};
	bool		nulls[3] = {true, true, true};
	bool		null_is_empty = false;
	Oid			config = InvalidOid;
	AttrNumber	attnum = InvalidAttrNumber;
	TupleDesc	desc;
	Var		   *var;

	if (IndexRelationGetNumberOfAttributes(index) == 1)
	{
		List	   *exprs = dp_index_expressions(index->rd_indextuple);

		if (exprs != NIL && (var = lexemes_of(linitial(exprs), &config, &null_is_empty)) != NULL)
			attnum = var->varattno;
		else if (exprs == NIL && index->rd_rel->relam == GIN_AM_OID && dp_lexeme_family(index->rd_opfamily[0], index->rd_opcintype[0]))
		{
			const bytea *options = RelationGetIndexAttOptions(index, false)[0];

			attnum = index->rd_index->indkey.values[0];
			config = dp_lexeme_config(options);
			null_is_empty = options != NULL && ((const DpLexemeOptions *) options)->null_is_empty;
		}
	}
	relation_close(index, AccessShareLock);
	if (attnum > 0 && OidIsValid(config))
	{
		HeapTuple	tuple = SearchSysCache1(TSCONFIGOID, ObjectIdGetDatum(config));

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for text search configuration %u", config);
		values[0] = Int16GetDatum(attnum);
		values[1] = CStringGetTextDatum(quote_qualified_identifier(get_namespace_name(((Form_pg_ts_config) GETSTRUCT(tuple))->cfgnamespace),
																   NameStr(((Form_pg_ts_config) GETSTRUCT(tuple))->cfgname)));
		values[2] = BoolGetDatum(null_is_empty);
		memset(nulls, 0, sizeof(nulls));
		ReleaseSysCache(tuple);
	}
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

static void
planning(Query *query, const char *source)
{
	if (query->commandType != CMD_UTILITY && (dp_query_mentions(query) & DP_MENTIONS_OTHER_TYPES) != 0 &&
		matches_walker((Node *) query, NULL))
		(void) word_walker((Node *) query, NULL);
}

static const DpSubscriber subscriber = {
	.name = "word search",
	.planning = planning,
};

void
dp_word_index_init(void)
{
	dp_statement_subscribe(&subscriber);
}
