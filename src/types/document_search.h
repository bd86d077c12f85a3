/*
 * document_search.h
 *	  Search within a protected document: a GIN index over keyed tokens of its members'
 *	  names and values, class encrypted_jsonb_entry_ops.
 *
 * The index holds, for each entry that PostgreSQL's own class jsonb_ops finds, a keyed 32-bit
 * PRF of it and of the index's salt.  What a query asks (@>, ?, ?|, ?&) stays a condition on
 * the value itself, beside an operator of the same meaning in schema dataprotect, which only
 * ever serves as an index condition: computed, it is true.  It is put in by
 * columns/word_index.c, for roles that may read.
 *
 * What it discloses to who reads the disk: how often each name and value occurs and in
 * which rows; so nothing makes such an index unless asked for by name.  A value that cannot be
 * read when it is indexed has a token of its own, which every search finds.
 */
#ifndef DP_TYPES_DOCUMENT_SEARCH_H
#define DP_TYPES_DOCUMENT_SEARCH_H

#include "postgres.h"

/* Is it the operator family of such indexes? */
extern bool dp_document_family(Oid opfamily, Oid type);

/*
 * The strategy, jsonb_ops' own, of a function that a condition on a document calls, 0 for others;
 * *document: which of its arguments the document is.
 */
extern int	dp_document_strategy(Oid function, int *document);

/* The index's operator for that, over the type of what is asked; InvalidOid: none. */
extern Oid	dp_document_operator(Oid opfamily, Oid type, Oid asked, int strategy);

#endif							/* DP_TYPES_DOCUMENT_SEARCH_H */
