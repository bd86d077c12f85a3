/*
 * wire.c
 *	  What a client is told of protected columns and parameters; see wire.h.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/transam.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "keys/keys.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_node.h"
#include "types/array_side.h"
#include "types/client_query.h"
#include "types/client_row.h"
#include "types/client_type.h"
#include "types/cursor_query.h"
#include "types/modifier_registry.h"
#include "types/plain_type.h"
#include "types/query_result.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "types/wire.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"

/* ---- may the role see it ---- */

typedef struct Keys
{
	bool		known;			/* a column with a key was met */
	bool		denied;			/* one that may not be read */
} Keys;

static bool
keys_walker(Node *node, Keys *keys)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		int32		typmod = ((Var *) node)->vartypmod;
		bool		is_array;

		if (OidIsValid(dp_client_encrypted_type(((Var *) node)->vartype, &typmod, &is_array)) && typmod >= 0)
		{
			keys->known = true;
			keys->denied |= !dp_client_reveals(typmod);
		}
		return keys->denied;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, keys_walker, keys, 0);
	return expression_tree_walker(node, keys_walker, keys);
}

/* A value without a modifier may come from any column that the query names. */
static bool
may_see(Query *query, int32 typmod)
{
	Keys		keys = {false, false};

	if (typmod >= 0)
		return dp_client_reveals(typmod);
	(void) query_tree_walker(query, keys_walker, &keys, 0);
	return keys.known ? !keys.denied : dp_access_reveals_all();
}

/* ---- results ---- */

/* A value of a base type with the modifier that it would have over plain columns. */
static Expr *
with_modifier(Query *query, Expr *value, Expr *source)
{
	DpPlainType plain = dp_plain_type(query, (Node *) source);
	Oid			type = exprType((Node *) value);

	if ((plain.type != type && !(type == TEXTOID && plain.type == VARCHAROID)) ||
		(plain.type == type && plain.typmod == exprTypmod((Node *) value)))
		return value;
	return (Expr *) makeRelabelType(value, plain.type, plain.typmod, exprCollation((Node *) value),
									COERCE_IMPLICIT_CAST);
}

/* A value as its base type, which has the modifier that the column gives it. */
static Expr *
as_base_type(Query *query, Expr *value)
{
	int32		typmod = exprTypmod((Node *) value);
	Oid			collation = exprCollation((Node *) value);
	bool		is_array;
	Oid			encrypted = dp_client_encrypted_type(exprType((Node *) value), &typmod, &is_array);
	Oid			base = dp_typeinfo_get(encrypted)->base_oid;
	Oid			target = is_array ? get_array_type(base) : base;
	Node	   *result;

	result = coerce_to_target_type(NULL, (Node *) value, exprType((Node *) value), target, -1,
								   COERCION_IMPLICIT, COERCE_IMPLICIT_CAST, -1);
	if (result == NULL)
		return value;
	dp_result_set_collation(result, collation);
	if (!is_array)
		return with_modifier(query, (Expr *) result, value);
	typmod = dp_client_base_modifier(encrypted, typmod);
	if (typmod < 0 || base == TEXTOID)
		return (Expr *) result;
	return (Expr *) makeRelabelType((Expr *) result, target, typmod, exprCollation(result),
									COERCE_IMPLICIT_CAST);
}

/*
 * Is the column to be cast?  What clients were told of it already holds, whoever
 * asks now: described is that, or NULL.
 */
static bool
is_to_cast(Query *query, TargetEntry *tle, TupleDesc described)
{
	Oid			type = exprType((Node *) tle->expr);
	int32		typmod;
	bool		is_array;

	if (tle->resjunk || type < FirstNormalObjectId)
		return false;
	typmod = exprTypmod((Node *) tle->expr);
	if (!OidIsValid(dp_client_encrypted_type(type, &typmod, &is_array)))
		return false;
	if (described != NULL && tle->resno <= described->natts)
		return TupleDescAttr(described, tle->resno - 1)->atttypid != type;
	return dp_guc_output == DP_OUTPUT_AUTO && may_see(query, typmod);
}

static Bitmapset *
columns_to_cast(Query *query, List *tlist, TupleDesc described)
{
	Bitmapset  *result = NULL;
	ListCell   *lc;

	foreach(lc, tlist)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (is_to_cast(query, tle, described))
			result = bms_add_member(result, tle->resno);
	}
	return result;
}

/* A row as a client gets it; of one that the query writes out, what is known of its fields' types is used. */
static Node *
row_for_client(Query *query, Node *value)
{
	ListCell   *lc;

	if (!IsA(value, RowExpr) || ((RowExpr *) value)->row_typeid != RECORDOID)
		return dp_client_row_in(query, value) ? dp_client_row(value) : value;
	foreach(lc, ((RowExpr *) value)->args)
	{
		Node	   *field = lfirst(lc);
		int32		typmod = exprTypmod(field);
		bool		is_array;

		if (!OidIsValid(dp_client_encrypted_type(exprType(field), &typmod, &is_array)))
			lfirst(lc) = row_for_client(query, field);
		else if (may_see(query, typmod))
			lfirst(lc) = as_base_type(query, lfirst(lc));
	}
	return value;
}

static bool
has_rows(Query *query, List *tlist)
{
	ListCell   *lc;

	foreach(lc, tlist)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (!tle->resjunk && dp_client_row_in(query, (Node *) tle->expr))
			return true;
	}
	return false;
}

static void
cast_results(Query *query, TupleDesc described)
{
	bool		selects = query->commandType == CMD_SELECT;
	Bitmapset  *columns = columns_to_cast(query, selects ? query->targetList : query->returningList,
										  described);
	ListCell   *lc;

	if (selects && dp_result_cast_comes_after(query, columns))
	{
		if (columns == NULL && (dp_guc_output != DP_OUTPUT_AUTO || !has_rows(query, query->targetList)))
			return;
		dp_result_wrap(query);
	}
	foreach(lc, selects ? query->targetList : query->returningList)
	{
		TargetEntry *tle = lfirst_node(TargetEntry, lc);

		if (bms_is_member(tle->resno, columns))
			tle->expr = as_base_type(query, tle->expr);
		else if (IsA(tle->expr, NullIfExpr) && !tle->resjunk && tle->ressortgroupref == 0)
			tle->expr = with_modifier(query, tle->expr, tle->expr);
		else if (!tle->resjunk && tle->ressortgroupref == 0 && dp_guc_output == DP_OUTPUT_AUTO)
			tle->expr = (Expr *) row_for_client(query, (Node *) tle->expr);
	}
	bms_free(columns);
}

/* Cheap for a query that has nothing protected in its result. */
static bool
has_user_types(List *tlist)
{
	ListCell   *lc;

	foreach(lc, tlist)
	{
		Oid			type = exprType((Node *) lfirst_node(TargetEntry, lc)->expr);

		if (type >= FirstNormalObjectId || type == RECORDOID || type == RECORDARRAYOID ||
			IsA(lfirst_node(TargetEntry, lc)->expr, NullIfExpr))
			return true;
	}
	return false;
}

/* FETCH as a query that gives base types, as they were described; NULL where it gives none. */
static Query *
fetch_with_casts(const Query *command, TupleDesc described)
{
	Query	   *query = dp_cursor_query(command);

	if (query == NULL || bms_is_empty(columns_to_cast(query, query->targetList, described)))
		return NULL;
	cast_results(query, described);
	return query;
}

List *
dp_wire_cursor_columns(const char *cursor)
{
	FetchStmt	fetch = {.type = T_FetchStmt,.direction = FETCH_FORWARD,.howMany = 1,.portalname = unconstify(char *, cursor)};
	Query		command = {.type = T_Query,.commandType = CMD_UTILITY,.utilityStmt = (Node *) &fetch};
	Query	   *query = fetch_with_casts(&command, NULL);

	return query != NULL ? query->targetList : NIL;
}

/* What a client's command gives, and a cursor's own query, which is not seen again. */
static void
tell_base_types_of_command(Query *query, DpQueryOrigin origin, const char *text)
{
	DeclareCursorStmt *cursor = (DeclareCursorStmt *) query->utilityStmt;
	Query	   *fetch;
	CachedPlanSource *entry;

	/* what is held outlives the role, and is cast as it is fetched */
	if (IsA(cursor, DeclareCursorStmt) && !(cursor->options & CURSOR_OPT_HOLD))
		cast_results(castNode(Query, cursor->query), NULL);
	if (!IsA(query->utilityStmt, FetchStmt))
		return;
	entry = origin == DP_QUERY_OF_PLAN_CACHE ? dp_client_query_entry(text) : NULL;
	fetch = fetch_with_casts(query, entry != NULL ? entry->resultDesc : NULL);
	if (fetch != NULL)
		*query = *fetch;
}

static void
tell_base_types_of_results(Query *query, DpQueryOrigin origin, const char *text)
{
	CachedPlanSource *entry;

	if (query->commandType == CMD_UTILITY)
	{
		tell_base_types_of_command(query, origin, text);
		return;
	}
	if (!has_user_types(query->targetList) && !has_user_types(query->returningList))
		return;
	entry = origin == DP_QUERY_OF_PLAN_CACHE ? dp_client_query_entry(text) : NULL;
	cast_results(query, entry != NULL ? entry->resultDesc : NULL);
}

/* ---- parameters ---- */

/* What parse_param.c keeps of parameters whose types it finds out. */
typedef struct VariableParams
{
	Oid		  **types;
	int		   *n;
} VariableParams;

typedef struct ParamTypes
{
	Query	   *query;			/* that is being looked at */
	Bitmapset  *lengths;		/* parameters that go to a column with a length: varchar's */
} ParamTypes;

/* The base type in place of an encrypted one, or InvalidOid. */
static Oid
base_of_param(Oid type, bool has_length)
{
	int32		typmod = -1;
	bool		is_array;
	Oid			encrypted = dp_client_encrypted_type(type, &typmod, &is_array);
	Oid			base;

	if (!OidIsValid(encrypted))
		return InvalidOid;
	base = dp_typeinfo_get(encrypted)->base_oid;
	if (base == TEXTOID && has_length)
		base = VARCHAROID;
	return is_array ? get_array_type(base) : base;
}

/* Parameters beside such a column in CASE, COALESCE and their like. */
static void
find_beside(Node *node, ParamTypes *types)
{
	List	   *branches = dp_plain_branches(node);
	ListCell   *lc;

	if (branches == NIL || dp_plain_common(types->query, branches).type != VARCHAROID)
		return;
	foreach(lc, branches)
	{
		Param	   *param = lfirst(lc);

		if (IsA(param, Param) && param->paramkind == PARAM_EXTERN)
			types->lengths = bms_add_member(types->lengths, param->paramid);
	}
}

/* Parameters that the coercion to a column of text with a length is applied to. */
static bool
lengths_walker(Node *node, ParamTypes *types)
{
	int32		typmod;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		ParamTypes	inner = {(Query *) node, types->lengths};

		(void) query_tree_walker((Query *) node, lengths_walker, &inner, 0);
		types->lengths = inner.lengths;
		return false;
	}
	find_beside(node, types);
	if (IsA(node, FuncExpr) && exprIsLengthCoercion(node, &typmod))
	{
		Param	   *param = linitial(((FuncExpr *) node)->args);

		if (IsA(param, Param) && param->paramkind == PARAM_EXTERN && dp_client_base_modifier(param->paramtype, typmod) >= 0)
			types->lengths = bms_add_member(types->lengths, param->paramid);
	}
	return expression_tree_walker(node, lengths_walker, types);
}

static Node *
params_mutator(Node *node, ParamTypes *types)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN)
	{
		Param	   *param = copyObject((Param *) node);
		Oid			type = param->paramtype;
		Oid			base = base_of_param(type, bms_is_member(param->paramid, types->lengths));
		Node	   *result;

		if (!OidIsValid(base))
			return (Node *) param;
		param->paramtype = base;
		param->paramcollid = get_typcollation(base);
		result = coerce_to_target_type(NULL, (Node *) param, base, type, -1,
									   COERCION_ASSIGNMENT, COERCE_IMPLICIT_CAST, -1);
		if (result == NULL)
			elog(ERROR, "no cast from type %u to type %u", base, type);
		dp_result_set_collation(result, exprCollation(node));
		return result;
	}
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, params_mutator, types, 0);
	return expression_tree_mutator(node, params_mutator, types);
}

/* The query that a command runs, or the query itself. */
static Query *
query_with_params(Query *query)
{
	Node	   *within = NULL;

	if (query->commandType != CMD_UTILITY)
		return query;
	if (IsA(query->utilityStmt, DeclareCursorStmt))
		within = ((DeclareCursorStmt *) query->utilityStmt)->query;
	else if (IsA(query->utilityStmt, ExplainStmt))
		within = ((ExplainStmt *) query->utilityStmt)->query;
	else if (IsA(query->utilityStmt, CreateTableAsStmt))
		within = ((CreateTableAsStmt *) query->utilityStmt)->query;
	return within != NULL && IsA(within, Query) ? query_with_params((Query *) within) : NULL;
}

static bool
has_encrypted_param(VariableParams *params)
{
	for (int i = 0; i < *params->n; i++)
		if (OidIsValid(base_of_param((*params->types)[i], false)))
			return true;
	return false;
}

static void
tell_base_types_of_params(ParseState *pstate, Query *query)
{
	/* only where types are found out is there such a hook */
	VariableParams *params = pstate->p_coerce_param_hook != NULL ? pstate->p_ref_hook_state : NULL;
	ParamTypes	types = {NULL, NULL};

	/* what is sealed already is no value of the base type */
	if (params == NULL || dp_guc_input == DP_INPUT_CIPHERTEXT || !has_encrypted_param(params))
		return;
	query = query_with_params(query);
	if (query == NULL)
		return;
	(void) lengths_walker((Node *) query, &types);
	(void) query_tree_mutator(query, params_mutator, &types, QTW_DONT_COPY_QUERY);
	for (int i = 0; i < *params->n; i++)
	{
		Oid			base = base_of_param((*params->types)[i], bms_is_member(i + 1, types.lengths));

		if (OidIsValid(base))
			(*params->types)[i] = base;
	}
}

/* ---- statements ---- */

static void
look_at_query(ParseState *pstate, Query *query, JumbleState *jumble)
{
	DpQueryOrigin origin = dp_client_query_origin(pstate);
	Query	   *results = query_with_params(query);

	if (results != NULL)
	{
		dp_array_side_results(results->targetList);
		dp_array_side_results(results->returningList);
	}
	if (origin == DP_QUERY_OF_CODE)
		return;
	tell_base_types_of_params(pstate, query);
	tell_base_types_of_results(query, origin, pstate->p_sourcetext);
}

/* The cast that clients get, which no cast that somebody wrote looks like. */
static bool
is_cast_for_client(Node *node)
{
	bool		is_array;
	int32		typmod = -1;

	if (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	if (dp_client_row_is(node))
		return true;
	if (IsA(node, ArrayCoerceExpr))
		return ((ArrayCoerceExpr *) node)->coerceformat == COERCE_IMPLICIT_CAST &&
			OidIsValid(dp_client_encrypted_type(exprType((Node *) ((ArrayCoerceExpr *) node)->arg), &typmod, &is_array));
	return IsA(node, FuncExpr) && ((FuncExpr *) node)->funcformat == COERCE_IMPLICIT_CAST &&
		list_length(((FuncExpr *) node)->args) == 1 &&
		OidIsValid(dp_client_encrypted_type(exprType(linitial(((FuncExpr *) node)->args)), &typmod, &is_array));
}

/* Its types are those that a client gets: stored, they would be plaintext. */
static void
refuse_to_store(CachedPlanSource *prepared)
{
	ListCell   *lc;

	foreach(lc, CachedPlanGetTargetList(prepared, NULL))
		if (is_cast_for_client((Node *) lfirst_node(TargetEntry, lc)->expr))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a prepared statement that shows protected columns cannot make a table"),
				 errhint("Write the query itself after CREATE TABLE AS.")));
}

static void
check_command(const DpUtility *utility, Datum *state)
{
	bool		stores;
	CachedPlanSource *prepared = dp_client_query_prepared(utility->statement, &stores);

	if (prepared != NULL && stores)
		refuse_to_store(prepared);
}

static const DpSubscriber subscriber = {
	.name = "types on the wire",
	.analyzed = look_at_query,
	.begin_utility = check_command,
};

void
dp_wire_init(void)
{
	dp_statement_subscribe(&subscriber);
}
