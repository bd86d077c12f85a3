/*
 * word_search.h
 *	  Search within a protected text: a GIN index over keyed tokens of three
 *	  characters each (n-grams), class encrypted_text_ngram_ops.
 *
 * The index holds, for each three characters that stand side by side in the folded
 * text, a keyed 32-bit PRF of them and of the index's salt (an option of the class,
 * so that two columns' tokens say nothing of each other).  A text that contains a
 * pattern's characters has all tokens of the pattern; that it does is asked of the
 * value itself, by the condition that was written, which stays beside
 *
 *		value dataprotect.%~~ pattern
 *
 * This operator only ever serves as an index condition: computed, it is true.  It is
 * put in by columns/word_index.c, for roles that may read.
 *
 * What it discloses to who reads the disk: how often each token occurs and which rows
 * have it, from which most of a text in a known language can be guessed; so nothing
 * makes such an index unless asked for by name.  A value that cannot be read when it is
 * indexed has a token of its own, which every search finds.
 *
 * Folding goes character by character, so that the tokens of a part are among those of
 * the whole: lower(), and the Greek final sigma as any other.
 */
#ifndef DP_TYPES_WORD_SEARCH_H
#define DP_TYPES_WORD_SEARCH_H

#include "postgres.h"

/* Is it the operator family of such indexes? */
extern bool dp_word_family(Oid opfamily, Oid type);

/* The operator above in that family, over an encrypted type and text; InvalidOid: none. */
extern Oid	dp_word_operator(Oid opfamily, Oid type);

typedef enum DpTokenKind
{
	DP_TOKEN_GRAM,				/* for no bytes: that of values that cannot be read */
	DP_TOKEN_LEXEME				/* see lexeme_search.h */
} DpTokenKind;

/* A keyed number, of an index's salt and some bytes. */
extern Datum dp_word_token(int salt, DpTokenKind kind, const char *bytes, int len);

/* The salt of the index that a support function works for, in a class with dp_word_options(). */
extern int	dp_word_salt(FmgrInfo *flinfo);

#endif							/* DP_TYPES_WORD_SEARCH_H */
