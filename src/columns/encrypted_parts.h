/*
 * encrypted_parts.h
 *	  Where in a type encrypted values lie.
 *
 * A part is reached through domains, arrays (path "[]") and attributes of
 * composite types (path ".name"); the path of a value that is its column's own is
 * empty.  Ranges take no part: no range over an encrypted type can be made.
 */
#ifndef DP_COLUMNS_ENCRYPTED_PARTS_H
#define DP_COLUMNS_ENCRYPTED_PARTS_H

#include "postgres.h"

typedef void (*DpPartVisit) (const char *path, Oid type, int32 typmod, void *context);

/* Every encrypted type inside a type, in the order of attributes. */
extern void dp_encrypted_parts(Oid typid, int32 typmod, DpPartVisit visit, void *context);

#endif							/* DP_COLUMNS_ENCRYPTED_PARTS_H */
