/*
 * bearing.h
 *	  Does a type, an expression or a query carry encrypted values?
 *
 * A type bears encrypted values where it is an encrypted type, or an array,
 * domain, range or composite with one inside at any depth.
 */
#ifndef DP_TYPES_BEARING_H
#define DP_TYPES_BEARING_H

#include "postgres.h"

#include "nodes/parsenodes.h"

extern bool dp_bearing_type(Oid typid);

/*
 * True where a value of that type and modifier holds an encrypted value whose
 * column names no key: *out_type is the encrypted type.
 */
extern bool dp_bearing_unkeyed(Oid typid, int32 typmod, Oid *out_type);

/*
 * True where an expression mentions a value that bears encrypted ones,
 * otherwise than by asking whether a column is null.
 */
extern bool dp_bearing_expression(Node *expr);

/*
 * True where a query computes, compares or sorts by anything from an encrypted
 * value, in itself or in a view it reads.  Handing columns on is allowed.
 */
extern bool dp_bearing_query_computes(Query *query);

#endif							/* DP_TYPES_BEARING_H */
