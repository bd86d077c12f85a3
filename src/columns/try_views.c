/*
 * try_views.c
 *	  Would the views over a table still be views if columns had other types?
 *
 * Each definition is parsed and analysed with a stand-in in the place of the
 * table, and of the views that come before it: a named relation that exists for
 * this analysis only, as a trigger's transition table does.  Nothing is made,
 * locked against others or run.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "base/argument.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "columns/contains_encrypted.h"
#include "columns/query_column.h"
#include "columns/stored_index.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/relcache.h"

PG_FUNCTION_INFO_V1(dp_try_views);

typedef struct Trial
{
	QueryEnvironment *environment;
	List	   *relations;		/* OIDs that have stand-ins */
	List	   *computing;		/* names of stand-ins for views that compute from protected values */
} Trial;

static char *
stand_in_name(Oid relid)
{
	return psprintf("dataprotect %u", relid);
}

static void
add_stand_in(Trial *trial, Oid relid, TupleDesc desc)
{
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));

	relation->md.name = stand_in_name(relid);
	relation->md.tupdesc = desc;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	register_ENR(trial->environment, relation);
	trial->relations = lappend_oid(trial->relations, relid);
}

/* What a stand-in cannot have, and no type depends on, is left out: locks and samples. */
static bool
put_stand_ins(Node *node, void *context)
{
	Trial	   *trial = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeVar))
	{
		RangeVar   *var = (RangeVar *) node;
		Oid			relid = var->schemaname == NULL ? InvalidOid : RangeVarGetRelid(var, NoLock, true);

		if (OidIsValid(relid) && list_member_oid(trial->relations, relid))
		{
			if (var->alias == NULL)
				var->alias = makeAlias(var->relname, NIL);
			var->schemaname = NULL;
			var->relname = stand_in_name(relid);
		}
		return false;
	}
	if (IsA(node, SelectStmt))
		((SelectStmt *) node)->lockingClause = NIL;
	return raw_expression_tree_walker(node, put_stand_ins, context);
}

static bool
reads_computed(Node *node, void *context)
{
	Trial	   *trial = context;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reads_computed, context, QTW_EXAMINE_RTES_BEFORE);
	if (IsA(node, RangeTblEntry))
		return ((RangeTblEntry *) node)->rtekind == RTE_NAMEDTUPLESTORE &&
			list_member(trial->computing, makeString(((RangeTblEntry *) node)->enrname));
	return expression_tree_walker(node, reads_computed, context);
}

static void
check_index(Relation view, Oid index_oid, TupleDesc desc)
{
	Relation	index = index_open(index_oid, AccessShareLock);

	for (int i = 0; i < desc->natts; i++)
	{
		bool		is_key = false;

		if (!dp_contains_encrypted_type(TupleDescAttr(desc, i)->atttypid))
			continue;
		for (int k = 0; k < IndexRelationGetNumberOfKeyAttributes(index); k++)
			is_key |= index->rd_index->indkey.values[k] == i + 1;
		if (is_key || dp_column_mentioned((Node *) dp_index_expressions(index->rd_indextuple), i + 1) ||
			dp_column_mentioned((Node *) dp_index_predicate_of(index->rd_indextuple), i + 1))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
					 errmsg("has index \"%s\" over it", RelationGetRelationName(index)),
					 errhint("Drop the index, and make one USING hash afterwards.")));
	}
	index_close(index, AccessShareLock);
}

/* What a materialized view stores must be no result, and is in no index. */
static void
check_stored(Oid relid, bool computes, TupleDesc desc)
{
	Relation	view;
	ListCell   *lc;

	if (computes)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				 errmsg("would store what it computes from it as plaintext"),
				 errhint("Let the materialized view hand the column on as it is, or make it an ordinary view.")));
	view = table_open(relid, AccessShareLock);
	foreach(lc, RelationGetIndexList(view))
		check_index(view, lfirst_oid(lc), desc);
	table_close(view, AccessShareLock);
}

/* The columns of a view's query; *out_computes: from protected values. */
static TupleDesc
analyse(Trial *trial, const char *definition, bool *out_computes)
{
	List	   *statements = raw_parser(definition, RAW_PARSE_DEFAULT);
	Query	   *query;
	RawStmt    *statement = list_length(statements) == 1 ? linitial_node(RawStmt, statements) : NULL;

	if (statement == NULL || !IsA(statement->stmt, SelectStmt) || ((SelectStmt *) statement->stmt)->intoClause != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("not the definition of a view")));
	put_stand_ins(statement->stmt, trial);
	query = parse_analyze_fixedparams(statement, definition, NULL, 0, trial->environment);
	*out_computes = dp_contains_encrypted_computes(query) || reads_computed((Node *) query, trial);
	return ExecCleanTypeFromTL(query->targetList);
}

static TupleDesc
changed_desc(Relation rel, Datum *columns, Datum *types, int n)
{
	TupleDesc	desc = CreateTupleDescCopy(RelationGetDescr(rel));

	for (int i = 0; i < n; i++)
	{
		const char *name = NameStr(*DatumGetName(columns[i]));
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);
		Oid			collation;

		dp_argument_column(rel, attnum);
		dp_argument_type(DatumGetObjectId(types[i]));
		collation = TupleDescAttr(desc, attnum - 1)->attcollation;
		TupleDescInitEntry(desc, attnum, name, DatumGetObjectId(types[i]), -1, 0);
		TupleDescInitEntryCollation(desc, attnum, collation);
	}
	return desc;
}

static int
elements(ArrayType *array, Oid type, int16 len, bool byval, char align, Datum **out_values)
{
	int			n;

	deconstruct_array(array, type, len, byval, align, out_values, NULL, &n);
	return n;
}

/*
 * dataprotect._try_views(rel regclass, cols name[], types oid[], views oid[],
 *		definitions text[]) returns void
 * Whatever error the analysis of the last view, and of those before it, raises; one of
 * its own (invalid_table_definition) where a materialized view could not be kept.
 */
Datum
dp_try_views(PG_FUNCTION_ARGS)
{
	Trial		trial = {create_queryEnv(), NIL, NIL};
	Relation	rel = dp_argument_relation(PG_GETARG_OID(0), AccessShareLock, "rp");
	Datum	   *columns;
	Datum	   *types;
	Datum	   *views;
	Datum	   *definitions;
	int			n = elements(PG_GETARG_ARRAYTYPE_P(1), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &columns);
	int			n_views = elements(PG_GETARG_ARRAYTYPE_P(3), OIDOID, sizeof(Oid), true, TYPALIGN_INT, &views);

	if (elements(PG_GETARG_ARRAYTYPE_P(2), OIDOID, sizeof(Oid), true, TYPALIGN_INT, &types) != n ||
		elements(PG_GETARG_ARRAYTYPE_P(4), TEXTOID, -1, false, TYPALIGN_INT, &definitions) != n_views)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("arrays must have the same length")));
	add_stand_in(&trial, RelationGetRelid(rel), changed_desc(rel, columns, types, n));
	for (int i = 0; i < n_views; i++)
	{
		bool		computes;
		TupleDesc	desc = analyse(&trial, TextDatumGetCString(definitions[i]), &computes);
		Oid			view = DatumGetObjectId(views[i]);

		if (get_rel_relkind(view) == RELKIND_MATVIEW)
			check_stored(view, computes, desc);
		else if (computes)
			trial.computing = lappend(trial.computing, makeString(stand_in_name(view)));
		add_stand_in(&trial, view, desc);
	}
	table_close(rel, AccessShareLock);
	PG_RETURN_VOID();
}
