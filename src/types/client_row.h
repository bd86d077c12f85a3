/*
 * client_row.h
 *	  Rows as a client gets them: their fields are of the base types.
 *
 * What a client is told of a column that has rows is their type, which stays what it
 * is; what is sent is what each row itself says that it is.  So a row is made anew as
 * it goes out, whatever gave it: a table, a function, an aggregate, an array.  Fields
 * that the role may not see stay of the encrypted type, which shows what it may.
 */
#ifndef DP_TYPES_CLIENT_ROW_H
#define DP_TYPES_CLIENT_ROW_H

#include "postgres.h"

#include "nodes/parsenodes.h"

/* Could rows of the query's result, or rows in arrays, have protected fields? */
extern bool dp_client_row_in(Query *query, Node *value);

/* Such a value as the client gets it, or itself in a database without the extension. */
extern Node *dp_client_row(Node *value);

/* Is it one that dp_client_row() made? */
extern bool dp_client_row_is(Node *node);

#endif							/* DP_TYPES_CLIENT_ROW_H */
