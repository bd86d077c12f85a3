/*
 * modifier_table.h
 *	  The rows of dataprotect.type_modifier.
 *
 * Attribute numbers follow types.sql, which only ever appends.  No constraint
 * makes rows unique; modifier_registry.h says why, and who may write when.
 */
#ifndef DP_TYPES_MODIFIER_TABLE_H
#define DP_TYPES_MODIFIER_TABLE_H

#include "postgres.h"

#include "crypto/aead.h"
#include "storage/lockdefs.h"
#include "types/types.h"
#include "utils/relcache.h"

/* A role's rows; a superuser's are not counted. */
#define DP_MODIFIERS_PER_ROLE	2000

typedef struct DpModifierRow
{
	DpModifier	modifier;
	char	   *definition;		/* palloc'd */
	bool		certain;		/* committed, or this transaction's own */
	bool		sealed;			/* as the extension wrote it; others stand for nothing */
} DpModifierRow;

/* missing_ok: NULL where the extension is not there (any more). */
extern Relation dp_modifier_table_open(LOCKMODE mode, bool missing_ok);

/*
 * A row by its number or words, a sealed one where there is one, and of those a
 * certain one.
 * with_uncommitted: rows of transactions that are still open count too.
 */
extern bool dp_modifier_table_find_number(Relation rel, int32 typmod, bool with_uncommitted, DpModifierRow *out);
extern bool dp_modifier_table_find_words(Relation rel, Oid type, const char *definition,
										 bool with_uncommitted, DpModifierRow *out);
extern bool dp_modifier_row_says(const DpModifierRow *row, Oid type, const char *definition);

/* An error where the role has too many, or another has just taken the number. */
extern void dp_modifier_table_insert(Relation rel, const DpModifier *modifier, const char *definition);

/* What numbers are made with before there is a policy key; the caller frees it. */
extern DpPrf *dp_modifier_table_prf(void);

#endif							/* DP_TYPES_MODIFIER_TABLE_H */
