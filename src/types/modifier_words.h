/*
 * modifier_words.h
 *	  The words of an encrypted type's modifier, and their canonical text.
 *
 *	encrypted_text('pii', 'searchable', 'ordered', 'padded', '(50)')
 *
 * First the key's name; then, in any order and each at most once, the words
 * "searchable", "ordered" and "padded" and, in parentheses or not, the modifier of the
 * base type (for text: a length, enforced as varchar's).
 *
 * Canonical text:	'pii','searchable','ordered','padded','50'	(quotes doubled inside)
 * Without parentheses: readers of format_type() look for the first pair of them.
 *
 * The canonical text is what a modifier is: two lists of words mean the same
 * exactly where their texts are the same, and reading the words of a text gives
 * the text again.  Free of PostgreSQL: libc only, so that it can be fuzzed.
 */
#ifndef DP_TYPES_MODIFIER_WORDS_H
#define DP_TYPES_MODIFIER_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DP_MODIFIER_KEY_SIZE	64	/* PostgreSQL's NAMEDATALEN */
#define DP_MODIFIER_MAX_NUMBERS 8
#define DP_MODIFIER_TEXT_SIZE	320 /* of every canonical text, with its end */

typedef struct DpModifierWords
{
	char		key[DP_MODIFIER_KEY_SIZE];
	bool		searchable;
	bool		ordered;
	bool		padded;
	int			n_numbers;		/* 0: no modifier of the base type */
	int32_t		numbers[DP_MODIFIER_MAX_NUMBERS];
} DpModifierWords;

/* NULL, or what is wrong with the words as one sentence. */
extern const char *dp_modifier_words_read(const char *const *words, int n, DpModifierWords *out);

extern void dp_modifier_words_write(const DpModifierWords *words, char out[DP_MODIFIER_TEXT_SIZE]);

#endif							/* DP_TYPES_MODIFIER_WORDS_H */
