/*
 * stored_index.h
 *	  Expressions and predicate of an index as they are stored.
 *
 * RelationGetIndexExpressions() and RelationGetIndexPredicate() evaluate what is
 * constant in them, which runs functions of the table's owner as whoever asks: outside
 * the planning of a query on the table, nobody here calls them (lint checks).
 */
#ifndef DP_COLUMNS_STORED_INDEX_H
#define DP_COLUMNS_STORED_INDEX_H

#include "postgres.h"

#include "access/htup.h"
#include "nodes/pg_list.h"

/* Of a row of pg_index.  NIL where there are none; the predicate's conjuncts. */
extern List *dp_index_expressions(HeapTuple tuple);
extern List *dp_index_predicate_of(HeapTuple tuple);

#endif							/* DP_COLUMNS_STORED_INDEX_H */
