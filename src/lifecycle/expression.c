/*
 * expression.c
 *	  Expressions over one row of a table: hold predicates and ages.
 *
 * Both are stored as text that PostgreSQL itself deparsed under the strict
 * search path, never as the caller wrote them: a parse tree of one boolean
 * expression cannot close a bracket, start a second statement or mean another
 * function tomorrow.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "sqlrun/run_as.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_collate.h"
#include "parser/parse_expr.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "columns/contains_encrypted.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_canonical_predicate);
PG_FUNCTION_INFO_V1(dp_lifecycle_age_expression);
PG_FUNCTION_INFO_V1(dp_lifecycle_bears);
PG_FUNCTION_INFO_V1(dp_lifecycle_binary_coercible);

/*
 * Holds and ages are evaluated by workers, as the owner of whatever table is
 * cleared: code of other roles has no place in them.
 */
static void
check_functions(Node *expr, const char *what)
{
	if (contain_volatile_functions(expr))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("functions in %s must not be volatile", what)));
	if (dp_run_as_foreign_code(expr))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("functions in %s must belong to a superuser", what),
				 errdetail("It is evaluated with the rights of other roles.")));
}

/*
 * The raw tree of text that must be one expression and nothing else.
 */
static Node *
parse_one_expression(const char *text)
{
	List	   *parsed = raw_parser(psprintf("SELECT %s", text), RAW_PARSE_DEFAULT);
	SelectStmt *select;
	ResTarget  *target;

	if (list_length(parsed) == 1 &&
		IsA(linitial_node(RawStmt, parsed)->stmt, SelectStmt))
	{
		select = (SelectStmt *) linitial_node(RawStmt, parsed)->stmt;
		if (select->op == SETOP_NONE && list_length(select->targetList) == 1 &&
			select->distinctClause == NIL && select->intoClause == NULL &&
			select->fromClause == NIL && select->whereClause == NULL &&
			select->groupClause == NIL && select->havingClause == NULL &&
			select->windowClause == NIL && select->valuesLists == NIL &&
			select->sortClause == NIL && select->limitOffset == NULL &&
			select->limitCount == NULL && select->lockingClause == NIL &&
			select->withClause == NULL)
		{
			target = linitial_node(ResTarget, select->targetList);
			if (target->name == NULL && target->indirection == NIL)
				return target->val;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("predicate is not a single expression"),
			 errhint("Write a condition over the columns of one row, as in a CHECK constraint.")));
	return NULL;				/* keep compiler quiet */
}

/*
 * dataprotect._canonical_predicate(rel regclass, predicate text) returns text
 *
 * Rules of a CHECK constraint (no subqueries, aggregates, parameters), and no
 * volatile functions or functions of ordinary roles.
 */
Datum
dp_lifecycle_canonical_predicate(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *predicate = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Relation	rel = table_open(relid, AccessShareLock);
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *nsitem;
	Node	   *expr;
	char	   *result;

	nsitem = addRangeTableEntryForRelation(pstate, rel, AccessShareLock, NULL, false, true);
	addNSItemToQuery(pstate, nsitem, true, true, true);
	expr = transformExpr(pstate, parse_one_expression(predicate), EXPR_KIND_CHECK_CONSTRAINT);
	expr = coerce_to_boolean(pstate, expr, "a hold");
	assign_expr_collations(pstate, expr);
	check_functions(expr, "the predicate of a hold");

	result = deparse_expression(expr,
								deparse_context_for(RelationGetRelationName(rel), relid),
								false, false);
	free_parsestate(pstate);
	table_close(rel, AccessShareLock);
	PG_RETURN_TEXT_P(cstring_to_text(result));
}

/*
 * The expression behind a view's column, over the view's only table; *out_base
 * is that table, *out_quals the view's WHERE (or NULL).
 */
static Node *
resolve_view_column(Relation view, const char *column, Oid *out_base, Node **out_quals)
{
	Query	   *query = copyObject(get_view_query(view));
	const char *reason = view_query_is_auto_updatable(query, false);
	RangeTblRef *ref;
	RangeTblEntry *rte;
	ListCell   *lc;

	if (reason != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("view \"%s\" is not a simple view over one table",
						RelationGetRelationName(view)),
				 errdetail("%s", reason)));
	ref = linitial_node(RangeTblRef, query->jointree->fromlist);
	rte = rt_fetch(ref->rtindex, query->rtable);
	if (rte->relkind != RELKIND_RELATION && rte->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("view \"%s\" is not a view over an ordinary table",
						RelationGetRelationName(view)),
				 errhint("Name the table itself.")));
	*out_base = rte->relid;
	*out_quals = query->jointree->quals;
	if (*out_quals != NULL)
		ChangeVarNodes(*out_quals, ref->rtindex, 1, 0);
	foreach(lc, query->targetList)
	{
		TargetEntry *entry = lfirst_node(TargetEntry, lc);

		if (!entry->resjunk && strcmp(entry->resname, column) == 0)
		{
			ChangeVarNodes((Node *) entry->expr, ref->rtindex, 1, 0);
			return (Node *) entry->expr;
		}
	}
	return NULL;
}

/* The column of a table as a Var, or NULL where there is none. */
static Node *
table_column(Oid relid, const char *column)
{
	AttrNumber	attnum = get_attnum(relid, column);
	Oid			type;
	int32		typmod;
	Oid			collation;

	if (attnum <= 0)
		return NULL;
	get_atttypetypmodcoll(relid, attnum, &type, &typmod, &collation);
	return (Node *) makeVar(1, attnum, type, typmod, collation, 0);
}

/*
 * dataprotect._age_expression(rel regclass, col name)
 *   returns (base regclass, expression text, type regtype, condition text)
 *
 * Where a row's age is found: the table behind rel, the expression over it and
 * its type, and the condition that makes a row visible through rel, if rel is
 * a view.
 */
Datum
dp_lifecycle_age_expression(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	char	   *column = NameStr(*PG_GETARG_NAME(1));
	Oid			base = relid;
	Node	   *quals = NULL;
	Node	   *expr = NULL;
	Relation	rel;
	TupleDesc	tupdesc;
	List	   *context;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, true};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rel = relation_open(relid, AccessShareLock);
	if (rel->rd_rel->relkind == RELKIND_VIEW)
		expr = resolve_view_column(rel, column, &base, &quals);
	else if (rel->rd_rel->relkind == RELKIND_RELATION ||
			 rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		expr = table_column(relid, column);
	else
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table or a simple view", RelationGetRelationName(rel))));
	if (expr == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						column, RelationGetRelationName(rel))));
	check_functions(expr, "an age column");
	if (quals != NULL)
	{
		if (contain_subplans(quals))
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("view \"%s\" has a subquery in its condition",
							RelationGetRelationName(rel)),
					 errhint("Name the table itself.")));
		check_functions(quals, "the view's condition");
	}

	context = deparse_context_for(get_rel_name(base), base);
	values[0] = ObjectIdGetDatum(base);
	values[1] = CStringGetTextDatum(deparse_expression(expr, context, false, false));
	values[2] = ObjectIdGetDatum(getBaseType(exprType(expr)));
	if (quals != NULL)
	{
		values[3] = CStringGetTextDatum(deparse_expression(quals, context, false, false));
		nulls[3] = false;
	}
	relation_close(rel, AccessShareLock);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/* dataprotect._bears(type oid) returns bool */
Datum
dp_lifecycle_bears(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(dp_contains_encrypted_type(PG_GETARG_OID(0)));
}

/* dataprotect._binary_coercible(source oid, target oid) returns bool */
Datum
dp_lifecycle_binary_coercible(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(IsBinaryCoercible(PG_GETARG_OID(0), PG_GETARG_OID(1)));
}
