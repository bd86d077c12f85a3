/*
 * own_sequence.h
 *	  Rows of ours get numbers that are theirs alone.
 *
 * A member of pg_write_all_data sets any sequence by setval(), and no hook is asked:
 * numbers would be given twice, or run out, and nobody could make a key or a grant.
 */
#ifndef DP_KEYS_OWN_SEQUENCE_H
#define DP_KEYS_OWN_SEQUENCE_H

#include "postgres.h"

/*
 * Before rows are inserted into a table of ours: where its identity column has an
 * index, a sequence that was set back, or to where it would soon end, goes on behind
 * the largest number that is there, whoever wrote it; numbers so large that nobody
 * came to them by counting are passed over.  With the rights of the sequence's owner.
 * Takes ACCESS SHARE.
 */
extern void dp_own_sequence_keep(Oid relid);

#endif							/* DP_KEYS_OWN_SEQUENCE_H */
