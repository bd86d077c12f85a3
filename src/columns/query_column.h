/*
 * query_column.h
 *	  Which table's column a variable of a query stands for, before it is planned.
 */
#ifndef DP_COLUMNS_QUERY_COLUMN_H
#define DP_COLUMNS_QUERY_COLUMN_H

#include "postgres.h"

#include "access/access.h"
#include "nodes/parsenodes.h"

/* A query on the way down a tree of them. */
typedef struct DpQueryLevel
{
	Query	   *query;
	struct DpQueryLevel *outer;
} DpQueryLevel;

/* Found through views and joins; false where it is no column of a table. */
extern bool dp_query_column(DpQueryLevel *level, const Var *var, Oid *relid, AttrNumber *attnum);

/* Does an expression over one table use a column's value, or the whole row? */
extern bool dp_column_mentioned(Node *expr, AttrNumber attnum);

/* The current role's privilege on a protected column's key; the plan depends on it. */
extern DpPrivilege dp_query_column_privilege(const Var *var);

#endif							/* DP_COLUMNS_QUERY_COLUMN_H */
