/*
 * digest.h
 *	  Signed digests of the audit log, that leave the host.
 *
 * A digest is a JSON document and an Ed25519 signature of its bytes, by a key that is
 * derived from the chain's, and where a KMS root signs (_digest_root()) its signature
 * of the document's SHA-256.  While the KMS is away digests do without; the next one
 * that it signs vouches for those before it, whose hashes it carries on.  It names the
 * records from .. to, the SHA-256 over their lines (sink_line.h) with a newline
 * after each, the chain's MAC of the last, what policy was then (policy_root.h),
 * and the SHA-256 of the document before it.  With the digests that have left the
 * host, anybody shows offline whether a log, or policy, was rewritten since; what
 * nobody can show is what happened to records younger than the newest digest.
 * doc/digests.md is for who verifies.
 */
#ifndef DP_AUDIT_DIGEST_H
#define DP_AUDIT_DIGEST_H

#include "postgres.h"

/* Registers the round; from _PG_init only. */
extern void dp_digest_init(void);

#endif							/* DP_AUDIT_DIGEST_H */
