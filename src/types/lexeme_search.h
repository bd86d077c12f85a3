/*
 * lexeme_search.h
 *	  Full-text search in a protected text: a GIN index over keyed tokens of its lexemes,
 *	  class encrypted_text_lexeme_ops.
 *
 * The index holds, for each lexeme that to_tsvector() of the class's configuration finds,
 * a keyed 32-bit PRF of it and of the index's salt.  What a query of full-text search asks
 * stays a condition on the value itself, beside
 *
 *		value dataprotect.%@@ query
 *
 * which only ever serves as an index condition: computed, it is true.  It is put in by
 * columns/word_index.c, for roles that may read.  A token that is there may be another
 * lexeme's, and tells nothing of positions, weights and prefixes: the index rules out rows
 * without a lexeme that is asked for, and nothing else.
 *
 * What it discloses to who reads the disk: how often each lexeme occurs and which rows have
 * it, from which the words of a text in a known language can be guessed; so nothing makes
 * such an index unless asked for by name.  A value that cannot be read when it is indexed
 * has a token of its own, which every search finds.
 */
#ifndef DP_TYPES_LEXEME_SEARCH_H
#define DP_TYPES_LEXEME_SEARCH_H

#include "postgres.h"

/* What the class's options say. */
typedef struct DpLexemeOptions
{
	int32		vl_len_;
	int			salt;
	int			config;			/* offset of the configuration's name */
	bool		null_is_empty;	/* it was over coalesce(column, '') */
} DpLexemeOptions;

/* Is it the operator family of such indexes? */
extern bool dp_lexeme_family(Oid opfamily, Oid type);

/* The operator above in that family; InvalidOid: none. */
extern Oid	dp_lexeme_operator(Oid opfamily, Oid type);

/* The configuration that an index of the class is made with; InvalidOid where there is none of that name. */
extern Oid	dp_lexeme_config(const bytea *options);

#endif							/* DP_TYPES_LEXEME_SEARCH_H */
