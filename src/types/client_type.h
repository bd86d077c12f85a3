/*
 * client_type.h
 *	  What stands for an encrypted type where a client is told of it.
 */
#ifndef DP_TYPES_CLIENT_TYPE_H
#define DP_TYPES_CLIENT_TYPE_H

#include "postgres.h"

/*
 * The encrypted type that a type is, or is a domain over, or an array of; with its
 * modifier.  InvalidOid where there is none.
 */
extern Oid	dp_client_encrypted_type(Oid type, int32 *typmod, bool *is_array);

/* The base type's own modifier in that of an encrypted type (for text: varchar's), or -1. */
extern int32 dp_client_base_modifier(Oid type, int32 typmod);

/* May the current role see values of columns with the modifier? */
extern bool dp_client_reveals(int32 typmod);

#endif							/* DP_TYPES_CLIENT_TYPE_H */
