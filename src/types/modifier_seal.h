/*
 * modifier_seal.h
 *	  The seals of the rows of dataprotect.type_modifier.
 *
 * Rows are written by the DDL of ordinary roles, by C alone, which seals them as it
 * does (keys/policy_seal.h).  A row whose seal does not fit stands for nothing, until
 * reseal_policy() has taken it.
 *
 * A dump has no such rows: its DDL registers modifiers anew, before the key tables
 * come, so that there is no policy key yet.  Rows without a seal count until a
 * database has adopted its modifiers: the worker, or the first create_key(), seals
 * what is there and notes in the sealed row of dataprotect.instance where that was
 * (system, database, table) and a MAC of modifier_secret.  Either of them still the
 * same, and no row without a seal counts any more: a restored database has neither,
 * a copy of the files has the secret, and whoever writes rows can change the secret
 * only.
 */
#ifndef DP_TYPES_MODIFIER_SEAL_H
#define DP_TYPES_MODIFIER_SEAL_H

#include "postgres.h"

#include "access/htup.h"
#include "crypto/aead.h"
#include "utils/relcache.h"

/* Is the row as the extension wrote it?  Also where the KMS cannot tell: nothing opens then. */
extern bool dp_modifier_row_is_sealed(Relation rel, HeapTuple row);

/*
 * The seal of a new row, palloc'd; NULL where rows need none yet.  An error where
 * the KMS is away and they do.
 */
extern bytea *dp_modifier_seal(Relation rel, HeapTuple row);

/* What the database has, palloc'd; NULL where it is gone. */
extern bytea *dp_modifier_secret(void);

/* Tell that a row is not ours, at most once an hour. */
extern void dp_modifier_alarm(void);

/* What numbers are made with, not to be freed; NULL where there is no policy key at hand. */
extern DpPrf *dp_modifier_policy_prf(void);

#endif							/* DP_TYPES_MODIFIER_SEAL_H */
