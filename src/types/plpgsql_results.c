/*
 * plpgsql_results.c
 *	  What PL/pgSQL functions return of protected columns, and the cursors that they read; see
 *	  plpgsql_results.h.
 */
#include "postgres.h"

#include "access/foreign_code.h"
#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "parser/parse_node.h"
#include "plpgsql.h"
#include "types/plpgsql_results.h"
#include "types/query_result.h"
#include "types/row_value.h"
#include "utils/builtins.h"
#include "utils/expandedrecord.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

/*
 * A statement that returns, and is running; innermost first.  One that an error
 * ends is removed as the error passes through a frame, or with the next that
 * begins; until then nothing of it is followed but its own memory.
 */
typedef struct Returning
{
	PLpgSQL_execstate *estate;
	PLpgSQL_stmt *stmt;
	ErrorContextCallback *context;	/* when it began: PL/pgSQL's own */
	TupleDesc	expected;		/* what the function is declared to return, or NULL */
	PLpgSQL_rec *variable;		/* whose value was replaced, or NULL */
	ExpandedRecordHeader *original;
	struct Returning *outer;
} Returning;

static MemoryContext memory = NULL;
static Returning *innermost = NULL;

/* The plugin that was there before, which is called as if it were alone. */
static PLpgSQL_plugin *previous = NULL;
static PLpgSQL_plugin plugin;

/* ---- what is expected ---- */

/* A copy of the row type that the function returns, or NULL where a call decides it. */
static TupleDesc
expected_row(PLpgSQL_execstate *estate)
{
	bool		is_set = estate->retisset;

	if (estate->func->fn_is_trigger != PLPGSQL_NOT_TRIGGER ||
		(estate->fn_rettype == RECORDOID && estate->func->out_param_varno < 0))
		return NULL;
	if (is_set)
	{
		if (estate->tuple_store_desc != NULL)
			return CreateTupleDescCopy(estate->tuple_store_desc);
		return estate->rsi != NULL && IsA(estate->rsi, ReturnSetInfo) && estate->rsi->expectedDesc != NULL ?
			CreateTupleDescCopy(estate->rsi->expectedDesc) : NULL;
	}
	if (!estate->retistuple || get_typtype(estate->fn_rettype) != TYPTYPE_COMPOSITE)
		return NULL;
	return lookup_rowtype_tupdesc_copy(estate->fn_rettype, -1);
}

/* ---- record variables ---- */

/* The row type that a record is to get, or NULL where it is one that PL/pgSQL takes, or refuses. */
static TupleDesc
wanted_row(TupleDesc is, TupleDesc expected)
{
	TupleDesc	wanted = NULL;
	int			place = 0;

	for (int i = 0; i < is->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(is, i);
		Form_pg_attribute target;

		if (att->attisdropped)
			continue;
		target = dp_result_declared(expected, place++);
		if (target == NULL)
			return NULL;
		if (!dp_result_is_cast(att->atttypid, att->atttypmod, target))
			continue;
		if (wanted == NULL)
		{
			wanted = CreateTupleDescCopy(is);
			wanted->tdtypeid = RECORDOID;
			wanted->tdtypmod = -1;
		}
		TupleDescInitEntry(wanted, i + 1, NameStr(att->attname), target->atttypid, target->atttypmod, 0);
	}
	return wanted;
}

static ExpandedRecordHeader *
converted(PLpgSQL_execstate *estate, ExpandedRecordHeader *record, TupleDesc wanted)
{
	TupleDesc	is = expanded_record_get_tupdesc(record);
	Datum	   *values = palloc0(sizeof(Datum) * is->natts);
	bool	   *nulls = palloc0(sizeof(bool) * is->natts);
	ExpandedRecordHeader *result;

	deconstruct_expanded_record(record);
	for (int i = 0; i < is->natts; i++)
	{
		Form_pg_attribute from = TupleDescAttr(is, i);
		Form_pg_attribute to = TupleDescAttr(wanted, i);

		values[i] = record->dvalues[i];
		nulls[i] = record->dnulls[i] || from->attisdropped;
		if (from->atttypid != to->atttypid || from->atttypmod != to->atttypmod)
			values[i] = plugin.cast_value(estate, values[i], &nulls[i], from->atttypid, from->atttypmod,
										  to->atttypid, to->atttypmod);
	}
	result = make_expanded_record_from_tupdesc(wanted, estate->datum_context);
	expanded_record_set_fields(result, values, nulls, true);
	return result;
}

static void
convert_variable(Returning *returning, int varno)
{
	PLpgSQL_execstate *estate = returning->estate;
	PLpgSQL_rec *variable;
	TupleDesc	wanted;

	if (varno < 0 || estate->datums[varno]->dtype != PLPGSQL_DTYPE_REC)
		return;
	variable = (PLpgSQL_rec *) estate->datums[varno];
	if (variable->erh == NULL || ExpandedRecordIsEmpty(variable->erh))
		return;
	wanted = wanted_row(expanded_record_get_tupdesc(variable->erh), returning->expected);
	if (wanted == NULL)
		return;
	returning->original = variable->erh;
	variable->erh = converted(estate, variable->erh, wanted);
	returning->variable = variable;
}

static void
restore_variable(Returning *returning)
{
	ExpandedRecordHeader *given;

	if (returning->variable == NULL)
		return;
	given = returning->variable->erh;
	returning->variable->erh = returning->original;
	/* what RETURN gives is still needed */
	if (returning->stmt->cmd_type == PLPGSQL_STMT_RETURN_NEXT)
		DeleteExpandedObject(ExpandedRecordGetDatum(given));
}

/* ---- queries ---- */

/* The text is that of an expression of the statement. */
static bool
is_expression(const PLpgSQL_expr *expr, const char *text)
{
	return expr != NULL && strcmp(expr->query, text) == 0;
}

/* Is the query that is analysed the one whose rows RETURN QUERY returns? */
static bool
is_its_query(const PLpgSQL_stmt_return_query *stmt, const char *text)
{
	ListCell   *lc;

	if (stmt->query != NULL)
		return is_expression(stmt->query, text);
	if (is_expression(stmt->dynquery, text))
		return false;
	foreach(lc, stmt->params)
		if (is_expression(lfirst(lc), text))
		return false;
	return true;
}

/* The row that an expression is. */
static void
cast_expression(Query *query, TupleDesc expected)
{
	TargetEntry *tle = list_length(query->targetList) == 1 ? linitial_node(TargetEntry, query->targetList) : NULL;
	TupleDesc	type = tle != NULL ? dp_row_type((Node *) tle->expr) : NULL;
	RowExpr    *fields;
	Node	   *row;

	if (type == NULL || wanted_row(type, expected) == NULL)
		return;
	row = dp_row_taken_apart((Node *) tle->expr, type, &fields);
	if (row == NULL)
		return;
	dp_result_cast_row(fields, expected);
	tle->expr = (Expr *) row;
}

static void
look_at_query(ParseState *pstate, Query *query, JumbleState *jumble)
{
	const char *text = pstate->p_sourcetext;
	const Returning *returning = innermost;

	if (likely(returning == NULL) || returning->expected == NULL || text == NULL)
		return;
	/* PL/pgSQL called SPI, and nobody in between */
	if (error_context_stack == NULL || error_context_stack->previous != returning->context)
		return;
	switch (returning->stmt->cmd_type)
	{
		case PLPGSQL_STMT_RETURN_QUERY:
			if (is_its_query((PLpgSQL_stmt_return_query *) returning->stmt, text))
				dp_result_cast_results(query, returning->expected);
			break;
		case PLPGSQL_STMT_RETURN_NEXT:
			if (is_expression(((PLpgSQL_stmt_return_next *) returning->stmt)->expr, text))
				cast_expression(query, returning->expected);
			break;
		default:
			if (is_expression(((PLpgSQL_stmt_return *) returning->stmt)->expr, text))
				cast_expression(query, returning->expected);
	}
}

/* ---- statements of PL/pgSQL ---- */

static void
begin_returning(Returning *returning)
{
	PLpgSQL_execstate *estate = returning->estate;
	MemoryContext old = MemoryContextSwitchTo(memory);

	returning->expected = expected_row(estate);
	if (returning->expected != NULL)
	{
		MemoryContextSwitchTo(estate->eval_econtext->ecxt_per_tuple_memory);
		if (returning->stmt->cmd_type == PLPGSQL_STMT_RETURN_NEXT)
			convert_variable(returning, ((PLpgSQL_stmt_return_next *) returning->stmt)->retvarno);
		else if (returning->stmt->cmd_type == PLPGSQL_STMT_RETURN && !estate->retisset)
			convert_variable(returning, ((PLpgSQL_stmt_return *) returning->stmt)->retvarno);
	}
	MemoryContextSwitchTo(old);
}

static bool
returns(PLpgSQL_stmt *stmt)
{
	return stmt->cmd_type == PLPGSQL_STMT_RETURN || stmt->cmd_type == PLPGSQL_STMT_RETURN_NEXT ||
		stmt->cmd_type == PLPGSQL_STMT_RETURN_QUERY;
}

static void
pop(void)
{
	Returning  *returning = innermost;

	innermost = returning->outer;
	if (returning->expected != NULL)
		FreeTupleDesc(returning->expected);
	pfree(returning);
}

/* Those that an error ended which the function caught. */
static void
pop_all_of(const PLpgSQL_execstate *estate)
{
	while (innermost != NULL && innermost->estate == estate)
		pop();
}

/* FETCH and MOVE: the variable holds the cursor's name. */
static void
begin_fetch(PLpgSQL_execstate *estate, const PLpgSQL_stmt_fetch *stmt)
{
	const PLpgSQL_var *cursor = (PLpgSQL_var *) estate->datums[stmt->curvar];

	if (cursor->dtype == PLPGSQL_DTYPE_VAR && !cursor->isnull)
		dp_foreign_code_reads_cursor(TextDatumGetCString(cursor->value));
}

static void
begin_statement(PLpgSQL_execstate *estate, PLpgSQL_stmt *stmt)
{
	Returning  *returning;

	if (previous != NULL && previous->stmt_beg != NULL)
		previous->stmt_beg(estate, stmt);
	if (stmt->cmd_type == PLPGSQL_STMT_FETCH && unlikely(dp_n_strangers > 0))
		begin_fetch(estate, (PLpgSQL_stmt_fetch *) stmt);
	if (likely(!returns(stmt)) || (!estate->retisset && !estate->retistuple))
		return;
	if (memory == NULL)
		memory = AllocSetContextCreate(TopMemoryContext, "dataprotect results of PL/pgSQL", ALLOCSET_SMALL_SIZES);
	pop_all_of(estate);
	returning = MemoryContextAllocZero(memory, sizeof(Returning));
	returning->estate = estate;
	returning->stmt = stmt;
	returning->context = error_context_stack;
	returning->outer = innermost;
	innermost = returning;
	begin_returning(returning);
}

static void
end_statement(PLpgSQL_execstate *estate, PLpgSQL_stmt *stmt)
{
	if (innermost != NULL && innermost->estate == estate && innermost->stmt == stmt)
	{
		restore_variable(innermost);
		pop();
	}
	if (previous != NULL && previous->stmt_end != NULL)
		previous->stmt_end(estate, stmt);
}

static void
setup_function(PLpgSQL_execstate *estate, PLpgSQL_function *func)
{
	if (previous == NULL)
		return;
	previous->error_callback = plugin.error_callback;
	previous->assign_expr = plugin.assign_expr;
	previous->assign_value = plugin.assign_value;
	previous->eval_datum = plugin.eval_datum;
	previous->cast_value = plugin.cast_value;
	if (previous->func_setup != NULL)
		previous->func_setup(estate, func);
}

static void
begin_function(PLpgSQL_execstate *estate, PLpgSQL_function *func)
{
	if (previous != NULL && previous->func_beg != NULL)
		previous->func_beg(estate, func);
}

static void
end_function(PLpgSQL_execstate *estate, PLpgSQL_function *func)
{
	pop_all_of(estate);
	if (previous != NULL && previous->func_end != NULL)
		previous->func_end(estate, func);
}

static void
forget(int sqlstate)
{
	while (innermost != NULL)
		pop();
}

static PLpgSQL_plugin plugin = {
	.func_setup = setup_function,
	.func_beg = begin_function,
	.func_end = end_function,
	.stmt_beg = begin_statement,
	.stmt_end = end_statement,
};

static const DpSubscriber subscriber = {
	.name = "results of PL/pgSQL",
	.analyzed = look_at_query,
	.error = forget,
};

void
dp_plpgsql_results_init(void)
{
	PLpgSQL_plugin **place = (PLpgSQL_plugin **) find_rendezvous_variable("PLpgSQL_plugin");

	previous = *place;
	*place = &plugin;
	dp_statement_subscribe(&subscriber);
}
