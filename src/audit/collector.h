/*
 * collector.h
 *	  What the collector and the verifier share; for audit/ only, inside SPI.
 */
#ifndef DP_AUDIT_COLLECTOR_H
#define DP_AUDIT_COLLECTOR_H

#include "postgres.h"

#include "audit/chain.h"

/* The chain key, or an error where no key was ever created. */
extern DpPrf *dp_audit_require_chain(void);

/*
 * The signed head; false where it is missing or its signature is wrong.  lock:
 * to change it; otherwise as the active snapshot has it.
 */
extern bool dp_audit_read_head(DpChainPoint *out, bool lock);

/* The second witness in the ring file; false where there is none for this key. */
extern bool dp_audit_read_witness(DpChainPoint *out);

/*
 * Is the extension installed here, and does it have a chain key?  Counts that wait
 * become records.  Outside SPI and transactions.
 */
extern bool dp_audit_is_ready(void);

/* How far an instance is stored. */
extern uint64 dp_audit_read_cursor(const uint8 *instance);

/* An error unless the caller may read the log. */
extern void dp_audit_require_auditor(void);

#endif							/* DP_AUDIT_COLLECTOR_H */
