/*
 * word_index.h
 *	  Queries that search within a protected text use an index for it as they are
 *	  written.
 *
 * As a query is planned, beside a condition
 *
 *		[lower(]column[)] LIKE|ILIKE pattern
 *
 * over a protected text with an index of class encrypted_text_ngram_ops the index's
 * own condition is put, where the role may read: what the index gives is asked the
 * condition that was written (types/word_search.h).
 */
#ifndef DP_COLUMNS_WORD_INDEX_H
#define DP_COLUMNS_WORD_INDEX_H

/* Subscribe; from _PG_init only. */
extern void dp_word_index_init(void);

#endif							/* DP_COLUMNS_WORD_INDEX_H */
