/*
 * reflection.c
 *	  What a client finds in the catalogs; see reflection.h.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/transam.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/statement.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "tcop/tcopprot.h"
#include "types/client_type.h"
#include "types/mention.h"
#include "types/reflection.h"
#include "types/typeinfo.h"
#include "types/types.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* ---- what is shown ---- */

/* Does it name no schema that is there? */
static bool
search_path_is_empty(void)
{
	List	   *schemas = fetch_search_path(false);
	bool		result = schemas == NIL;

	list_free(schemas);
	return result;
}

/*
 * The type that stands for a column's; the column's own where it is not to be, or
 * cannot be told.  A domain keeps its name, which the application gave it.
 */
static Oid
shown_type(Oid type, int32 typmod, int32 *out_typmod)
{
	bool		is_array;
	int32		own = typmod;
	Oid			encrypted;
	Oid			base;

	*out_typmod = typmod;
	if (type < FirstNormalObjectId || get_typtype(type) == TYPTYPE_DOMAIN ||
		dp_guc_catalog_types == DP_CATALOG_ENCRYPTED)
		return type;
	encrypted = dp_client_encrypted_type(type, &own, &is_array);
	if (!OidIsValid(encrypted) || search_path_is_empty())
		return type;
	if (dp_guc_catalog_types == DP_CATALOG_AUTO &&
		(dp_guc_output != DP_OUTPUT_AUTO || !(own >= 0 ? dp_client_reveals(own) : dp_access_reveals_all())))
		return type;
	base = dp_typeinfo_get(encrypted)->base_oid;
	*out_typmod = dp_client_base_modifier(encrypted, own);
	if (base == TEXTOID && *out_typmod >= 0)
		base = VARCHAROID;
	return is_array ? get_array_type(base) : base;
}

PG_FUNCTION_INFO_V1(dp_catalog_type);
Datum
dp_catalog_type(PG_FUNCTION_ARGS)
{
	int32		typmod;

	PG_RETURN_OID(shown_type(PG_GETARG_OID(0), PG_GETARG_INT32(1), &typmod));
}

PG_FUNCTION_INFO_V1(dp_catalog_modifier);
Datum
dp_catalog_modifier(PG_FUNCTION_ARGS)
{
	int32		typmod;

	(void) shown_type(PG_GETARG_OID(0), PG_GETARG_INT32(1), &typmod);
	PG_RETURN_INT32(typmod);
}

/* A dropped column has a length and no type. */
PG_FUNCTION_INFO_V1(dp_catalog_length);
Datum
dp_catalog_length(PG_FUNCTION_ARGS)
{
	Oid			type = PG_GETARG_OID(0);
	int32		typmod;
	Oid			shown = shown_type(type, PG_GETARG_INT32(1), &typmod);

	PG_RETURN_INT16(shown != type ? get_typlen(shown) : PG_GETARG_INT16(2));
}

/* ---- which queries ---- */

/* Did a client send what is about to be planned, to get its rows? */
static bool
is_for_client(Query *query)
{
	if (query->commandType != CMD_SELECT || query->hasModifyingCTE || whereToSendOutput != DestRemote)
		return false;
	if (!DP_IN_STATEMENT())
		return true;
	return dp_frame->utility != NULL && error_context_stack == dp_frame->error_context &&
		(IsA(dp_frame->utility, PrepareStmt) || IsA(dp_frame->utility, ExecuteStmt) ||
		 IsA(dp_frame->utility, ExplainStmt) || IsA(dp_frame->utility, DeclareCursorStmt));
}

/* A subquery that the client wrote, or that stands for a view of the system. */
static bool
is_looked_into(RangeTblEntry *rte)
{
	Oid			view = dp_view_of_subquery(rte);

	return !OidIsValid(view) || view < FirstNormalObjectId;
}

static bool
reads_columns_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_SUBQUERY)
			return is_looked_into(rte) && reads_columns_walker((Node *) rte->subquery, context);
		return rte->rtekind == RTE_RELATION && rte->relid == AttributeRelationId;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_columns_walker, context,
								 QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_RT_SUBQUERIES);
	return expression_tree_walker(node, reads_columns_walker, context);
}

/* ---- putting the functions in ---- */

typedef struct Reader
{
	List	   *queries;		/* around the node, innermost first */
	Oid			type_function;
	Oid			modifier_function;
	Oid			length_function;
} Reader;

static Oid
function_of_ours(Oid schema, const char *name, int nargs)
{
	Oid			types[3] = {OIDOID, INT4OID, INT2OID};

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
						   PointerGetDatum(buildoidvector(types, nargs)), ObjectIdGetDatum(schema));
}

static bool
find_functions(Reader *reader)
{
	Oid			schema = get_namespace_oid("dataprotect", true);

	if (!OidIsValid(schema))
		return false;
	reader->type_function = function_of_ours(schema, "_catalog_type", 2);
	reader->modifier_function = function_of_ours(schema, "_catalog_modifier", 2);
	reader->length_function = function_of_ours(schema, "_catalog_length", 3);
	return OidIsValid(reader->type_function) && OidIsValid(reader->modifier_function) && OidIsValid(reader->length_function);
}

/* Another column of the same row. */
static Node *
column(const Var *of, AttrNumber attno)
{
	Var		   *var = copyObject((Var *) of);

	var->varattno = attno;
	get_atttypetypmodcoll(AttributeRelationId, attno, &var->vartype, &var->vartypmod, &var->varcollid);
	var->varnosyn = 0;
	var->varattnosyn = 0;
	return (Node *) var;
}

/* A column as it is shown, or NULL where that is how it is. */
static Node *
shown_column(const Var *var, AttrNumber attno, const Reader *reader)
{
	List	   *args;
	Oid			function;
	Oid			type;

	switch (attno)
	{
		case Anum_pg_attribute_atttypid:
			function = reader->type_function;
			type = OIDOID;
			break;
		case Anum_pg_attribute_atttypmod:
			function = reader->modifier_function;
			type = INT4OID;
			break;
		case Anum_pg_attribute_attlen:
			function = reader->length_function;
			type = INT2OID;
			break;
		default:
			return NULL;
	}
	args = list_make2(column(var, Anum_pg_attribute_atttypid), column(var, Anum_pg_attribute_atttypmod));
	if (attno == Anum_pg_attribute_attlen)
		args = lappend(args, column(var, attno));
	return (Node *) makeFuncExpr(function, type, args, InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
}

static Node *
shown_row(const Var *var, const Reader *reader)
{
	RowExpr    *row = makeNode(RowExpr);

	for (AttrNumber attno = 1; attno <= Natts_pg_attribute; attno++)
	{
		Node	   *shown = shown_column(var, attno, reader);

		row->args = lappend(row->args, shown != NULL ? shown : column(var, attno));
		row->colnames = lappend(row->colnames, makeString(get_attname(AttributeRelationId, attno, false)));
	}
	row->row_typeid = var->vartype;
	row->row_format = COERCE_IMPLICIT_CAST;
	row->location = -1;
	return (Node *) row;
}

static Node *
show_var(Var *var, const Reader *reader)
{
	Query	   *query;
	RangeTblEntry *rte;
	Node	   *shown = NULL;

	if ((int) var->varlevelsup >= list_length(reader->queries) || IS_SPECIAL_VARNO(var->varno))
		return (Node *) var;
	query = list_nth(reader->queries, var->varlevelsup);
	rte = rt_fetch(var->varno, query->rtable);
	if (rte->rtekind == RTE_RELATION && rte->relid == AttributeRelationId)
		shown = var->varattno == InvalidAttrNumber ? shown_row(var, reader) : shown_column(var, var->varattno, reader);
	return shown != NULL ? shown : (Node *) var;
}

static void show_in_query(Query *query, Reader *reader);

static Node *
show_mutator(Node *node, Reader *reader)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
		return show_var((Var *) node, reader);
	if (IsA(node, Query))
	{
		Query	   *query = copyObject((Query *) node);

		show_in_query(query, reader);
		return (Node *) query;
	}
	return expression_tree_mutator(node, show_mutator, reader);
}

static void
show_in_query(Query *query, Reader *reader)
{
	ListCell   *lc;

	check_stack_depth();
	reader->queries = lcons(query, reader->queries);
	(void) query_tree_mutator(query, show_mutator, reader, QTW_DONT_COPY_QUERY | QTW_IGNORE_RT_SUBQUERIES);
	foreach(lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_SUBQUERY && is_looked_into(rte))
			show_in_query(rte->subquery, reader);
	}
	reader->queries = list_delete_first(reader->queries);
}

static void
planning(Query *query, const char *source)
{
	Reader		reader = {NIL};

	if (is_for_client(query) && (dp_query_mentions(query) & DP_MENTIONS_COLUMNS) != 0 &&
		reads_columns_walker((Node *) query, NULL) && find_functions(&reader))
		show_in_query(query, &reader);
}

static const DpSubscriber subscriber = {
	.name = "reflection",
	.planning = planning,
};

void
dp_reflection_init(void)
{
	dp_statement_subscribe(&subscriber);
}
