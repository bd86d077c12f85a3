/*
 * row_value.h
 *	  Rows whose fields are encrypted beside rows whose fields are not.
 *
 * PostgreSQL compares rows at run time, and takes no two whose fields have different
 * types; hashed, such rows are never equal.  Before a query is planned, the fields
 * of both sides of a comparison that differ so become the base type's.
 */
#ifndef DP_TYPES_ROW_VALUE_H
#define DP_TYPES_ROW_VALUE_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "nodes/primnodes.h"

/* The row type of an expression, copied, or NULL where only its value has one. */
extern TupleDesc dp_row_type(Node *row);

/*
 * The row's fields as a row expression, NULL where the row is NULL: "fields" may be
 * changed.  NULL where the expression cannot be written more than once.
 */
extern Node *dp_row_taken_apart(Node *row, TupleDesc type, RowExpr **fields);

/* The arguments of a comparison of rows, in place; nothing where it is none. */
extern void dp_row_comparison_resolve(Oid opno, List *args);

#endif							/* DP_TYPES_ROW_VALUE_H */
