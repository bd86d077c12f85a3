/*
 * modifier_registry.h
 *	  The numbers that stand for modifiers of encrypted types.
 *
 * A modifier is the pair of encrypted type and canonical text.  It does not fit
 * into the 31 bits that PostgreSQL keeps, so a column carries a number, and
 * dataprotect.type_modifier says what it stands for.
 *
 * Numbers.  30 bits of a PRF of attempt || type || text under the policy key (before
 * there is one: a secret of this database), and below them DP_MODIFIER_TOKENS:
 * whoever registers the same words gets the same number, whoever wants the
 * number of other words cannot choose his own.  A number that stands for other
 * words already is passed over (the next attempt); where that was not seen in
 * time, an error: two meanings never share a number.
 *
 * Rows are written in the transaction, and with the rights, of the command that
 * stores the number, and only by commands that store one.  No constraint makes
 * rows unique: one would make everybody wait for whoever holds the first
 * uncommitted row.  Instead each transaction that cannot see a committed row
 * writes one of its own; several rows with the same number say the same.
 * Expressions write nothing: their modifiers are known to this backend alone
 * ("local" ones), whose number is of no use elsewhere.
 *
 * Locks.  Whoever stores a number holds ACCESS SHARE on the object
 * (type_modifier, number) until the end of his transaction; the collector of
 * unused rows takes ACCESS EXCLUSIVE and does without where it cannot have it.
 *
 * Where words are known is decided anew whenever the table changes; entries of
 * this backend stay valid pointers until the next dp_modifier_number().
 */
#ifndef DP_TYPES_MODIFIER_REGISTRY_H
#define DP_TYPES_MODIFIER_REGISTRY_H

#include "postgres.h"

#include "types/types.h"

/* Modifiers of expressions that one backend remembers. */
#define DP_MODIFIERS_LOCAL		256

/*
 * The number of a modifier, all of whose members but typmod are set.  stores: a
 * command stores it, so that it is registered; in an expression the key must
 * exist, and, unless a column has the same modifier, the role must have a right
 * on it.
 */
extern int32 dp_modifier_number(const DpModifier *modifier, const char *definition, bool stores);

/*
 * Register a number that a new column has got from an expression; numbers that
 * are registered already are kept from the collector.
 */
extern void dp_modifier_store(Oid type, int32 typmod);

/* Canonical text, or NULL. */
extern const char *dp_modifier_words(int32 typmod);

/* How many modifiers only this backend knows. */
extern int	dp_modifier_count_local(void);

#endif							/* DP_TYPES_MODIFIER_REGISTRY_H */
