/*
 * expression.c
 *	  Expressions over one row of a table: hold predicates and ages.
 *
 * Both are stored as text that PostgreSQL itself deparsed under the strict
 * search path, never as the caller wrote them.  What is stored is parsed and
 * checked anew at each use, must print as it stands there, and only what was
 * printed becomes part of a statement: whoever writes a row into our tables
 * closes no bracket, starts no second statement and calls nothing.
 *
 * Such an expression reads its own row and nothing else, so that it tells the
 * same whoever evaluates it, and it is parsed with the rights of its table's
 * owner: the input function of a literal may run the check of a domain.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/transam.h"
#include "base/argument.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "fmgr.h"
#include "funcapi.h"
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
#include "sqlrun/run_as.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_canonical_predicate);
PG_FUNCTION_INFO_V1(dp_lifecycle_stored_predicate);
PG_FUNCTION_INFO_V1(dp_lifecycle_age_expression);
PG_FUNCTION_INFO_V1(dp_lifecycle_bears);
PG_FUNCTION_INFO_V1(dp_lifecycle_binary_coercible);

/* Types of arguments of functions of time, which are stable for the time zone. */
static bool
is_time_type(Oid type)
{
	return type == DATEOID || type == TIMEOID || type == TIMETZOID || type == TIMESTAMPOID ||
		type == TIMESTAMPTZOID || type == INTERVALOID;
}

static bool
is_plain_type(Oid type)
{
	return is_time_type(type) || type == BOOLOID || type == INT4OID || type == INT8OID || type == FLOAT8OID ||
		type == NUMERICOID || type == TEXTOID || type == CSTRINGOID;
}

/*
 * May a function look at more than its arguments?  An immutable one says that it
 * does not.  Stable ones may read tables, catalogs and settings: let in are
 * those of PostgreSQL whose arguments are times, for which alone the time zone
 * makes them stable; a few by name; and those of encrypted types, which read
 * keys.
 */
static bool
stable_function_is_harmless(Oid funcid, Form_pg_proc form)
{
	bool		time_argument = false;
	Oid			input = form->pronargs > 0 ? form->proargtypes.values[0] : InvalidOid;

	switch (funcid)
	{
		case F_NOW:
		case F_TRANSACTION_TIMESTAMP:
		case F_STATEMENT_TIMESTAMP:
		case F_TO_DATE:
		case F_TO_TIMESTAMP_TEXT_TEXT:
		case F_TO_CHAR_INT4_TEXT:
		case F_TO_CHAR_INT8_TEXT:
		case F_TO_CHAR_NUMERIC_TEXT:
		case F_TO_CHAR_FLOAT4_TEXT:
		case F_TO_CHAR_FLOAT8_TEXT:
		case F_CASH_IN:
		case F_ENUM_IN:
		case F_ENUM_OUT:
			return true;
	}
	if (dp_contains_encrypted_type(form->prorettype))
		return true;
	for (int i = 0; i < form->pronargs; i++)
	{
		if (dp_contains_encrypted_type(form->proargtypes.values[i]))
			return true;
	}
	if (funcid >= FirstGenbkiObjectId || form->proretset || !is_plain_type(form->prorettype))
		return false;
	if (input == CSTRINGOID)
		return is_time_type(form->prorettype);	/* an input function */
	for (int i = 0; i < form->pronargs; i++)
	{
		if (!is_plain_type(form->proargtypes.values[i]))
			return false;
		time_argument |= is_time_type(form->proargtypes.values[i]);
	}
	return time_argument;
}

static bool
function_reads_more(Oid funcid, void *context)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	Form_pg_proc form;
	bool		harmless;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", funcid);
	form = (Form_pg_proc) GETSTRUCT(tuple);
	harmless = form->provolatile == PROVOLATILE_IMMUTABLE || stable_function_is_harmless(funcid, form);
	ReleaseSysCache(tuple);
	if (!harmless)
		*(char **) context = format_procedure(funcid);
	return !harmless;
}

/*
 * A literal is read by its type's input function wherever the printed expression
 * is parsed: those of domains and composite types run code, those of names of
 * objects look them up.
 */
static bool
literal_reads_more(Oid type, void *context)
{
	Oid			element = get_element_type(type);
	Oid			input;
	Oid			parameter;

	if (OidIsValid(element))
		return literal_reads_more(element, context);
	if (type < FirstNormalObjectId && (type_is_range(type) || type_is_multirange(type)))
		return false;
	getTypeInputInfo(type, &input, &parameter);
	return function_reads_more(input, context);
}

/* True where an expression reads more than its row; *context then says by what. */
static bool
reads_more(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_SQLValueFunction:
			if (((SQLValueFunction *) node)->op > SVFOP_LOCALTIMESTAMP_N)
			{
				*(char **) context = "a function of the session";
				return true;
			}
			break;
		case T_Const:
			if (literal_reads_more(((Const *) node)->consttype, context))
			{
				*(char **) context = psprintf("type %s", format_type_be(((Const *) node)->consttype));
				return true;
			}
			break;
		case T_CoerceToDomain:
			*(char **) context = psprintf("type %s", format_type_be(((CoerceToDomain *) node)->resulttype));
			return true;
		case T_Query:
		case T_SubLink:
		case T_SubPlan:
		case T_Param:
			*(char **) context = "a subquery";
			return true;
		default:
			break;
	}
	if (check_functions_in_node(node, function_reads_more, context))
		return true;
	return expression_tree_walker(node, reads_more, context);
}

/*
 * Holds and ages are evaluated by workers, as the owner of whatever table is
 * cleared: code of other roles has no place in them, and nothing that reads more
 * than the row.
 */
static void
check_expression(Node *expr, const char *what)
{
	char	   *by = NULL;

	if (contain_volatile_functions(expr))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("functions in %s must not be volatile", what)));
	if (dp_run_as_foreign_code(expr))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("functions in %s must belong to a superuser", what),
				 errdetail("It is evaluated with the rights of other roles.")));
	if (reads_more(expr, &by))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				 errmsg("%s cannot be part of %s", by, what),
				 errdetail("It could depend on more than the row.")));
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

/* Names of columns, by number, from a name[]; NIL for NULL. */
static List *
names_argument(FunctionCallInfo fcinfo, int n)
{
	List	   *names = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (PG_ARGISNULL(n))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
		names = lappend(names, makeString(pstrdup(nulls[i] ? "" : NameStr(*DatumGetName(elements[i])))));
	return names;
}

/*
 * How columns of a relation are called where they had those names: what came
 * later has a name that nobody can have written, what was dropped has none.
 */
static Alias *
former_names(Relation rel, List *names)
{
	Alias	   *alias = makeAlias(RelationGetRelationName(rel), NIL);

	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		if (!TupleDescAttr(RelationGetDescr(rel), i)->attisdropped)
			alias->colnames = lappend(alias->colnames, i < list_length(names) ? list_nth(names, i) :
									  (void *) makeString(psprintf("\001%d", i + 1)));
	}
	return alias;
}

/*
 * An expression over one row as PostgreSQL writes it, or would have written it
 * while columns had those names (NIL: the present ones).
 */
static char *
print_expression(Node *expr, Oid relid, const char *alias, bool qualify, List *names)
{
	PlannedStmt *statement;
	RangeTblEntry *rte;

	if (names == NIL)
		return deparse_expression(expr, deparse_context_for(alias, relid), qualify, false);
	/* anything but a relation, whose names are looked up */
	rte = makeNode(RangeTblEntry);
	rte->rtekind = RTE_VALUES;
	rte->eref = makeAlias(alias, names);
	statement = makeNode(PlannedStmt);
	statement->rtable = list_make1(rte);
	return deparse_expression(expr, deparse_context_for_plan_tree(statement, list_make1(pstrdup(alias))), qualify, false);
}

/*
 * Parse and check a predicate with the rights of the table's owner, written
 * under those names of columns; *canonical is how PostgreSQL writes it so.
 *
 * Rules of a CHECK constraint (no subqueries, aggregates, parameters), and those
 * of check_expression().
 */
static Node *
parse_predicate(Oid relid, const char *predicate, List *names, char **canonical)
{
	Relation	rel = dp_argument_relation(relid, AccessShareLock, "rpvmf");
	ParseState *pstate = make_parsestate(NULL);
	ParseNamespaceItem *nsitem;
	Node	   *expr;
	DpRunAs		saved;

	dp_run_as_begin(&saved, rel->rd_rel->relowner, DP_RUN_AS_STRICT_PATH);
	nsitem = addRangeTableEntryForRelation(pstate, rel, AccessShareLock,
										   names == NIL ? NULL : former_names(rel, names), false, true);
	addNSItemToQuery(pstate, nsitem, true, true, true);
	expr = transformExpr(pstate, parse_one_expression(predicate), EXPR_KIND_CHECK_CONSTRAINT);
	expr = coerce_to_boolean(pstate, expr, "a hold or policy");
	assign_expr_collations(pstate, expr);
	check_expression(expr, "the predicate of a hold or policy");
	*canonical = print_expression(expr, relid, RelationGetRelationName(rel), false, names);
	dp_run_as_end(&saved);
	free_parsestate(pstate);
	table_close(rel, AccessShareLock);
	return expr;
}

/*
 * dataprotect._canonical_predicate(rel regclass, predicate text) returns text
 *
 * What PostgreSQL writes is not always read as it was meant ("(ARRAY[1])::numeric[]"
 * is read as an array of numerics): what is stored reads as itself.
 */
Datum
dp_lifecycle_canonical_predicate(PG_FUNCTION_ARGS)
{
	char	   *written = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *canonical = NULL;

	for (int i = 0; i < 4; i++)
	{
		(void) parse_predicate(PG_GETARG_OID(0), written, NIL, &canonical);
		if (strcmp(written, canonical) == 0)
			break;
		written = canonical;
	}
	PG_RETURN_TEXT_P(cstring_to_text(canonical));
}

/* Whatever asks what time it is, in terms of a moment that the caller knows. */
static Node *
fix_time(Node *node, void *context)
{
	Const	   *moment = context;
	Oid			function = InvalidOid;
	Oid			type;

	if (node == NULL)
		return NULL;
	if (IsA(node, FuncExpr))
	{
		Oid			called = ((FuncExpr *) node)->funcid;

		if (called == F_NOW || called == F_TRANSACTION_TIMESTAMP || called == F_STATEMENT_TIMESTAMP)
			return (Node *) copyObject(moment);
	}
	if (!IsA(node, SQLValueFunction) || ((SQLValueFunction *) node)->op > SVFOP_LOCALTIMESTAMP_N)
		return expression_tree_mutator(node, fix_time, context);
	type = ((SQLValueFunction *) node)->type;
	switch (type)
	{
		case DATEOID:
			function = F_DATE_TIMESTAMPTZ;
			break;
		case TIMEOID:
			function = F_TIME_TIMESTAMPTZ;
			break;
		case TIMETZOID:
			function = F_TIMETZ_TIMESTAMPTZ;
			break;
		case TIMESTAMPOID:
			function = F_TIMESTAMP_TIMESTAMPTZ;
			break;
	}
	if (!OidIsValid(function))
		return (Node *) copyObject(moment);
	return (Node *) makeFuncExpr(function, type, list_make1(copyObject(moment)), InvalidOid, InvalidOid, COERCE_EXPLICIT_CAST);
}

/*
 * dataprotect._stored_predicate(what text, rel regclass, predicate text,
 *		names name[], alias name, moment timestamptz) returns text
 *
 * What a stored predicate says of a row under that alias, or an error where it
 * is not what _canonical_predicate() once returned.  names: those of the columns
 * when it was stored, by number; NULL where they are the same.  moment: what time it
 * is; NULL: the clock says.
 */
Datum
dp_lifecycle_stored_predicate(PG_FUNCTION_ARGS)
{
	char	   *what = dp_argument_text(fcinfo, 0);
	Oid			relid = dp_argument_oid(fcinfo, 1);
	char	   *predicate = dp_argument_text(fcinfo, 2);
	char	   *alias = PG_ARGISNULL(4) ? "t" : NameStr(*PG_GETARG_NAME(4));
	char	   *canonical;
	Node	   *expr = parse_predicate(relid, predicate, names_argument(fcinfo, 3), &canonical);

	if (strcmp(predicate, canonical) != 0)
		ereport_domain(ERROR, DP_MESSAGE_DOMAIN,
					   (errcode(ERRCODE_DATA_CORRUPTED),
						errmsg("the predicate of %s was not stored by dataprotect", what),
						errdetail("It is not written as PostgreSQL writes it."),
						errhint("Make it anew.")));
	if (PG_NARGS() > 5 && !PG_ARGISNULL(5))
		expr = fix_time(expr, makeConst(TIMESTAMPTZOID, -1, InvalidOid, sizeof(TimestampTz), PG_GETARG_DATUM(5), false, FLOAT8PASSBYVAL));
	PG_RETURN_TEXT_P(cstring_to_text(print_expression(expr, relid, alias, true, NIL)));
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
 * dataprotect._age_expression(rel regclass, col name, base_names name[])
 *   returns (base regclass, expression text, type regtype, condition text,
 *   expression_then text, condition_then text)
 *
 * Where a row's age is found: the table behind rel, the expression over it and
 * its type, and the condition that makes a row visible through rel, if rel is
 * a view.  The last two as they were printed when base's columns had those names.
 */
Datum
dp_lifecycle_age_expression(PG_FUNCTION_ARGS)
{
	Oid			relid = dp_argument_oid(fcinfo, 0);
	char	   *column = PG_ARGISNULL(1) ? "" : NameStr(*PG_GETARG_NAME(1));
	List	   *names = names_argument(fcinfo, 2);
	Oid			base = relid;
	Node	   *quals = NULL;
	Node	   *expr = NULL;
	Relation	rel;
	TupleDesc	tupdesc;
	char	   *base_name;
	Datum		values[6];
	bool		nulls[6] = {false, false, false, true, false, true};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	rel = dp_argument_relation(relid, AccessShareLock, "rpvmf");
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
	check_expression(expr, "an age column");
	if (quals != NULL)
	{
		if (contain_subplans(quals))
			ereport(ERROR,
					(errcode(ERRCODE_WRONG_OBJECT_TYPE),
					 errmsg("view \"%s\" has a subquery in its condition",
							RelationGetRelationName(rel)),
					 errhint("Name the table itself.")));
		check_expression(quals, "the view's condition");
	}

	base_name = get_rel_name(base);
	values[0] = ObjectIdGetDatum(base);
	values[1] = CStringGetTextDatum(print_expression(expr, base, base_name, false, NIL));
	values[2] = ObjectIdGetDatum(getBaseType(exprType(expr)));
	values[4] = CStringGetTextDatum(print_expression(expr, base, base_name, false, names));
	if (quals != NULL)
	{
		values[3] = CStringGetTextDatum(print_expression(quals, base, base_name, false, NIL));
		values[5] = CStringGetTextDatum(print_expression(quals, base, base_name, false, names));
		nulls[3] = nulls[5] = false;
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
	dp_argument_type(PG_GETARG_OID(0));
	dp_argument_type(PG_GETARG_OID(1));
	PG_RETURN_BOOL(IsBinaryCoercible(PG_GETARG_OID(0), PG_GETARG_OID(1)));
}
