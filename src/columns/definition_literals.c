/*
 * definition_literals.c
 *	  Constants in definitions, under the key of literals that seals now.
 *
 * DEFAULTs, views, rules, policies, CHECKs, conditions of triggers, bodies of SQL
 * functions and whatever else is stored as an expression has its protected constants
 * sealed as literals.  They are sealed again where they stand: the definition is
 * otherwise the same, and nothing is parsed, planned or run.
 *
 * A trusted function with such constants in its body is as trusted afterwards: of each that
 * was in force as its row was read the new digest is told, for who asked to write it.  A row that
 * somebody has changed meanwhile is not overwritten: that is an error, and all can be done again.
 *
 * Not among them are statistics, partition keys and bounds, which protected values are refused
 * to, and utility statements, which no stored query has.
 */
#include "postgres.h"

#include "access/foreign_code.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "base/compat.h"
#include "base/statement.h"
#include "catalog/indexing.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_publication_rel.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "columns/reseal.h"
#include "fmgr.h"
#include "funcapi.h"
#include "keys/keys.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_definition_literals);

/* Catalogs with definitions, and which relation has each; the first column is an OID that tells ours from initdb's. */
typedef struct Definitions
{
	Oid			catalog;
	AttrNumber	rel;			/* 0: none */
} Definitions;

static const Definitions definitions[] = {
	{AttrDefaultRelationId, Anum_pg_attrdef_adrelid},
	{ConstraintRelationId, Anum_pg_constraint_conrelid},
	{IndexRelationId, Anum_pg_index_indrelid},
	{PolicyRelationId, Anum_pg_policy_polrelid},
	{ProcedureRelationId, 0},
	{PublicationRelRelationId, Anum_pg_publication_rel_prrelid},
	{RewriteRelationId, Anum_pg_rewrite_ev_class},
	{TriggerRelationId, Anum_pg_trigger_tgrelid},
	{TypeRelationId, 0},
};

typedef struct Renewing
{
	DpReseal   *reseal;
	bool		changed;
} Renewing;

static bool
renew_constants(Node *node, void *context)
{
	Renewing   *renewing = context;

	if (node == NULL)
		return false;
	if (IsA(node, Const) && !((Const *) node)->constisnull)
		renewing->changed |= dp_reseal_value(renewing->reseal, ((Const *) node)->consttype, ((Const *) node)->constvalue,
											 &((Const *) node)->constvalue);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, renew_constants, context, 0);
	return expression_tree_walker(node, renew_constants, context);
}

/* The definition with its constants sealed again, or NULL where there is nothing to do. */
static char *
renew_tree(DpReseal *reseal, const char *tree)
{
	Renewing	renewing = {reseal, false};
	Node	   *node;

	if (strstr(tree, "{CONST ") == NULL)
		return NULL;
	node = stringToNode(tree);
	(void) renew_constants(node, &renewing);
	return renewing.changed ? nodeToString(node) : NULL;
}

static void
tell_trusted(ReturnSetInfo *told, HeapTuple function)
{
	Oid			oid = ((Form_pg_proc) GETSTRUCT(function))->oid;
	Datum		values[2] = {CStringGetTextDatum(format_procedure_qualified(oid)),
	PointerGetDatum(dp_foreign_code_digest(function))};
	bool		nulls[2] = {false};

	tuplestore_putvalues(told->setResult, told->setDesc, values, nulls);
}

/* One row of a catalog. */
static void
renew_row(DpReseal *reseal, Relation catalog, const Definitions *kind, HeapTuple row, ReturnSetInfo *told)
{
	TupleDesc	desc = RelationGetDescr(catalog);
	int			columns[4];
	Datum		values[4];
	bool		nulls[4] = {false};
	int			n = 0;
	bool		isnull;
	bool		trusted;

	for (int i = 0; i < desc->natts && n < lengthof(columns); i++)
	{
		Datum		value;
		char	   *tree;

		if (TupleDescAttr(desc, i)->atttypid != PG_NODE_TREEOID)
			continue;
		value = heap_getattr(row, i + 1, desc, &isnull);
		if (isnull || (tree = renew_tree(reseal, TextDatumGetCString(value))) == NULL)
			continue;
		columns[n] = i + 1;
		values[n++] = CStringGetTextDatum(tree);
	}
	if (n == 0)
		return;
	trusted = kind->catalog == ProcedureRelationId && dp_foreign_code_is_trusted(row);
	row = heap_modify_tuple_by_cols(row, desc, n, columns, values, nulls);
	CatalogTupleUpdate(catalog, &row->t_self, row);
	if (trusted)
		tell_trusted(told, row);
	if (kind->rel != 0)
	{
		Oid			relid = DatumGetObjectId(heap_getattr(row, kind->rel, desc, &isnull));

		if (OidIsValid(relid) && SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
			CacheInvalidateRelcacheByRelid(relid);
	}
}

static void
renew_catalog(DpReseal *reseal, const Definitions *kind, ReturnSetInfo *told)
{
	Relation	catalog = table_open(kind->catalog, RowExclusiveLock);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "definitions", ALLOCSET_DEFAULT_SIZES);
	SysScanDesc scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	row;

	while (HeapTupleIsValid(row = systable_getnext(scan)))
	{
		MemoryContext outer = MemoryContextSwitchTo(context);
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (DatumGetObjectId(heap_getattr(row, 1, RelationGetDescr(catalog), &isnull)) >= FirstNormalObjectId)
			renew_row(reseal, catalog, kind, row, told);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(context);
	}
	systable_endscan(scan);
	MemoryContextDelete(context);
	table_close(catalog, NoLock);
}

/* dataprotect._renew_literals() returns table (function text, digest bytea): the trusted functions that were changed */
Datum
dp_definition_literals(PG_FUNCTION_ARGS)
{
	DpReseal   *reseal;

	if (!dp_own_caller())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("function \"%s\" is for the extension's own use", "_renew_literals")));
	InitMaterializedSRF(fcinfo, 0);
	dp_keys_forget();			/* which key it is was decided a moment ago */
	reseal = dp_reseal_begin_literals();
	for (int i = 0; i < lengthof(definitions); i++)
		renew_catalog(reseal, &definitions[i], (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}
