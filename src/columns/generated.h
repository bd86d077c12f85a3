/*
 * generated.h
 *	  Stored generated columns that compute from protected ones.
 *
 * Such a column is protected itself, under the same key, and computed by a formula
 * (types/derive.h).  DDL that makes another is refused.
 */
#ifndef DP_COLUMNS_GENERATED_H
#define DP_COLUMNS_GENERATED_H

#include "postgres.h"

#include "catalog/pg_attribute.h"
#include "nodes/nodes.h"

/* Is it a sealed computation, whoever made it? */
extern bool dp_generated_is_sealed(Node *expr);

/* Errors where a column of relid must not compute this. */
extern void dp_generated_check(Oid relid, Form_pg_attribute att, Node *expr);

#endif							/* DP_COLUMNS_GENERATED_H */
