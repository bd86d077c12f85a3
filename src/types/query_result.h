/*
 * query_result.h
 *	  Casts of what an analysed query gives.
 */
#ifndef DP_TYPES_QUERY_RESULT_H
#define DP_TYPES_QUERY_RESULT_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "nodes/parsenodes.h"

/*
 * Where the query sorts, compares, limits or locks rows, the casts come after: it
 * becomes the subquery of one that gives its columns.
 */
extern bool dp_result_cast_comes_after(Query *query, Bitmapset *columns);
extern void dp_result_wrap(Query *query);

/* The collation of a cast that was put around a value. */
extern void dp_result_set_collation(Node *node, Oid collation);

/*
 * What the query gives, or the fields of a row of no type of its own, as a row type
 * declares it: casts between encrypted types and others, and none else.
 */
extern void dp_result_cast_results(Query *query, TupleDesc declared);
extern void dp_result_cast_row(RowExpr *row, TupleDesc declared);

/* Would a value that PostgreSQL refuses for what is declared be taken if neither were encrypted? */
extern bool dp_result_is_cast(Oid type, int32 typmod, Form_pg_attribute declared);

/* The column that stands in a place (from 0) of a row type, or NULL. */
extern Form_pg_attribute dp_result_declared(TupleDesc declared, int place);

#endif							/* DP_TYPES_QUERY_RESULT_H */
