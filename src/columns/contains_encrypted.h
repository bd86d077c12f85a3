/*
 * contains_encrypted.h
 *	  Does a type, an expression or a query carry encrypted values?
 *
 * A type bears encrypted values where it is an encrypted type, or an array,
 * domain, range or composite with one inside at any depth.
 */
#ifndef DP_COLUMNS_CONTAINS_ENCRYPTED_H
#define DP_COLUMNS_CONTAINS_ENCRYPTED_H

#include "postgres.h"

#include "nodes/parsenodes.h"

/*
 * Locks the composite types inside (ACCESS SHARE, to the end of the
 * transaction): what was found stays true for whoever makes an object upon it.
 */
extern bool dp_contains_encrypted_type(Oid typid);

/*
 * True where a value of that type and modifier holds an encrypted value whose
 * column names no key: *out_type is the encrypted type.
 */
extern bool dp_contains_encrypted_unkeyed(Oid typid, int32 typmod, Oid *out_type);

/*
 * True where an expression mentions a value that bears encrypted ones,
 * otherwise than by asking whether a column is null or by taking a field that
 * bears none.
 */
extern bool dp_contains_encrypted_expression(Node *expr);

/* The same for values of certain types (a list of OIDs, not empty). */
extern bool dp_contains_encrypted_mention(Node *expr, List *types);

/*
 * True where a query computes, compares or sorts by anything from an encrypted
 * value, in itself or in a view it reads.  Handing columns on is allowed.
 */
extern bool dp_contains_encrypted_computes(Query *query);

/* True where a query, or an expression, reads an encrypted column anywhere below. */
extern bool dp_contains_encrypted_reads(Node *node);

#endif							/* DP_COLUMNS_CONTAINS_ENCRYPTED_H */
