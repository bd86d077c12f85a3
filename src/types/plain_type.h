/*
 * plain_type.h
 *	  The type that an expression would have, were the columns in it plain.
 *
 * An encrypted type says less than the type of a plain column: text with a length
 * is varchar's, and what PostgreSQL makes of a modifier in CASE, COALESCE, greatest(),
 * nullif() and IN goes by the types of what is in them.
 */
#ifndef DP_TYPES_PLAIN_TYPE_H
#define DP_TYPES_PLAIN_TYPE_H

#include "postgres.h"

#include "nodes/parsenodes.h"

typedef struct DpPlainType
{
	Oid			type;			/* UNKNOWNOID: a literal or parameter, which takes any */
	int32		typmod;
} DpPlainType;

/* node stands in the query, at its own level. */
extern DpPlainType dp_plain_type(Query *query, Node *node);

/*
 * The type that the branches of CASE, COALESCE and their like, or the sides of IN,
 * would have in common; NIL branches for any other node.
 */
extern List *dp_plain_branches(Node *node);
extern DpPlainType dp_plain_common(Query *query, List *branches);

#endif							/* DP_TYPES_PLAIN_TYPE_H */
