/*
 * chain_link.h
 *	  Which key of the chain a batch of the audit log is under, and who may replace it.
 *
 * A row of dataprotect.audit_link says after which record another key took the place
 * of the one before, and what the MAC of the batch was that ends there.  It is signed
 * under both keys: under the old one, since nobody else may end its part; under the
 * new one, so that whoever learns the old key later cannot write its part anew.
 *
 * The replaced key stays, wrapped like the others, and opens nothing: it says whether
 * batches under it are as they were.  What is signed with the chain key and is no batch
 * (head, cursors, notes of archives, progress of sinks) is signed anew when it is replaced.
 *
 * Whoever signs or checks with the current key in a transaction calls dp_chain_hold()
 * first: it locks dataprotect.audit_head in ROW SHARE mode, against the one that
 * replaces the key, which locks it in EXCLUSIVE mode.
 */
#ifndef DP_AUDIT_CHAIN_LINK_H
#define DP_AUDIT_CHAIN_LINK_H

#include "postgres.h"

#include "audit/chain.h"

typedef struct DpChainLinks
{
	int			n;
	DpChainLink *link;			/* ascending */
	int64		first_bad;		/* the record behind a link whose signatures are wrong; 0: none */
} DpChainLinks;

/* Keep the chain key from being replaced until the transaction ends, and know which it is. */
extern void dp_chain_hold(void);

/*
 * No longer, where nothing is signed or checked after: before the caller's transaction
 * goes on, or something slow begins.  Under the resource owner of dp_chain_hold().
 */
extern void dp_chain_let_go(void);

/* As the active snapshot has them; palloc'd.  Inside SPI. */
extern DpChainLinks *dp_chain_links(void);

/* The key of the batch that begins with seq; 0: the current one. */
extern uint64 dp_chain_key_of(const DpChainLinks *links, int64 seq);

/* Is the mac of the batch that ends with seq another than a link says? */
extern bool dp_chain_link_denies(const DpChainLinks *links, int64 seq, const uint8 *mac);

/* The chain keys that were replaced, newest first, palloc'd.  Inside SPI. */
extern uint64 *dp_chain_older_keys(int *out_n);

#endif							/* DP_AUDIT_CHAIN_LINK_H */
