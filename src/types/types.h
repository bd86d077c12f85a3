/*
 * types.h
 *	  What other parts may ask about encrypted types and protected columns.
 */
#ifndef DP_TYPES_TYPES_H
#define DP_TYPES_TYPES_H

#include "postgres.h"

/* True where typid is an encrypted type (not an array or domain of one). */
extern bool dp_type_is_encrypted(Oid typid);

/*
 * The lowest bit of a modifier's number: values carry tokens and have no order of
 * their own, so that constraints are over tokens.  Known without any table, since
 * pg_upgrade makes constraints before it brings the table.
 */
#define DP_MODIFIER_TOKENS 1

/* What a modifier says; see modifier_words.h. */
typedef struct DpModifier
{
	int32		typmod;
	Oid			type;			/* the encrypted type */
	NameData	key;
	bool		searchable;
	bool		ordered;
	bool		padded;
	int32		base_typmod;	/* -1: none; for text as varchar's, of the type above only */
} DpModifier;

/*
 * What the number stands for; error where nobody knows.  Valid until the next
 * type name with a modifier is read.
 */
extern const DpModifier *dp_modifier_get(int32 typmod);

/* Likewise; NULL where its row is missing or was written by somebody else. */
extern const DpModifier *dp_modifier_find(int32 typmod);

/* The same, and an error where it is another type's. */
extern const DpModifier *dp_modifier_of(Oid type, int32 typmod);

extern void dp_types_init(void);

#endif							/* DP_TYPES_TYPES_H */
