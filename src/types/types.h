/*
 * types.h
 *	  What other parts may ask about encrypted types and protected columns.
 */
#ifndef DP_TYPES_TYPES_H
#define DP_TYPES_TYPES_H

#include "postgres.h"

/* True where typid is an encrypted type (not an array or domain of one). */
extern bool dp_type_is_encrypted(Oid typid);

/* Parsed modifier of a protected column; see modifier.c. */
typedef struct DpModifier
{
	int32		typmod;
	NameData	key;
	bool		searchable;
	bool		ordered;
	int32		base_typmod;	/* -1: none; for text as varchar's */
} DpModifier;

/* The modifier registered under typmod; error where it is unknown. */
extern const DpModifier *dp_modifier_get(int32 typmod);

extern void dp_types_init(void);

#endif							/* DP_TYPES_TYPES_H */
