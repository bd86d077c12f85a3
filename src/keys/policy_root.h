/*
 * policy_root.h
 *	  Whether the rows of a sealed table are all there, and none is an old one.
 *
 * Each row has a weight, a PRF of its seal.  Whatever our own code inserts,
 * changes or removes is noted in dataprotect.policy_journal with the difference of
 * weights, under a MAC; rows and notes of one scope add up to the same, or
 * somebody else was there.  Notes are appended, so that nobody waits for another's
 * transaction, and folded into one by the worker (their "statements" add up to the
 * counter).  What a journal alone cannot show is that rows and notes were put back
 * together: see src/README.md.
 */
#ifndef DP_KEYS_POLICY_ROOT_H
#define DP_KEYS_POLICY_ROOT_H

#include "postgres.h"

#include "keys/policy_seal.h"

/*
 * Every row of a scope is sealed, and they are the ones that our code left there.
 * Not so is reported: an event, at most one an hour for each scope.  The answer is
 * as of now: read the rows first, then ask.  That of named keys is cached until
 * they change; never ask under a page lock unless dp_policy_is_known().
 */
extern DpSealVerdict dp_policy_whole(DpSealedTable table, int64 scope);
extern bool dp_policy_is_known(DpSealedTable table, int64 scope);

/*
 * What a digest says of policy: how many statements the journal stands for, and a
 * hash over what the rows of each scope weigh together, which folding leaves as it
 * is.  False where a note is not ours, or the policy key is away.
 */
extern bool dp_policy_state(int64 *out_statements, uint8 out_root[32]);

#endif							/* DP_KEYS_POLICY_ROOT_H */
