/*
 * stored_index.c
 *	  Expressions and predicate of an index as they are stored; see stored_index.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_index.h"
#include "columns/stored_index.h"
#include "nodes/makefuncs.h"
#include "nodes/nodes.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

static Node *
stored_tree(HeapTuple tuple, AttrNumber attnum)
{
	bool		isnull;
	Datum		stored = SysCacheGetAttr(INDEXRELID, tuple, attnum, &isnull);

	return isnull ? NULL : stringToNode(TextDatumGetCString(stored));
}

List *
dp_index_expressions(HeapTuple tuple)
{
	return (List *) stored_tree(tuple, Anum_pg_index_indexprs);
}

List *
dp_index_predicate_of(HeapTuple tuple)
{
	Node	   *condition = stored_tree(tuple, Anum_pg_index_indpred);

	return condition == NULL ? NIL : make_ands_implicit((Expr *) condition);
}
