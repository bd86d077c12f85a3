/*
 * transaction.h
 *	  Which audit records belong to the running transaction, so that its end can
 *	  say what became of them.
 *
 * A record written inside a transaction is noted with its subtransaction level.
 * What was rolled back is told by a range record, before the next record of the
 * transaction or at its end; when the transaction commits, one covers its
 * administrative acts (statements get results of their own).  Room for two such
 * records is put aside with the first record, whatever the number of levels, so
 * that no end of a transaction waits.
 */
#ifndef DP_EVENTS_TRANSACTION_H
#define DP_EVENTS_TRANSACTION_H

#include "postgres.h"

#include "access/xact.h"
#include "events/record.h"

/* Append a record of this transaction; reserve: for its own result. */
extern uint64 dp_transaction_append(const DpRecord *record, Size reserve);

/*
 * The statement tracker above.  running: true while a statement's code is on the
 * stack: a subtransaction that ends then is a part of the statement and says
 * nothing about it.  ended: called before this file's own work at each end of a
 * transaction or subtransaction; returns the sequence number of the intent whose
 * result it has just written as anything but ok, or 0.
 */
typedef struct DpTransactionHooks
{
	bool		(*running) (void);
	uint64		(*ended) (bool committed, bool top_level);
} DpTransactionHooks;

extern void dp_transaction_set_hooks(const DpTransactionHooks *hooks);
extern void dp_transaction_init(void);

#endif							/* DP_EVENTS_TRANSACTION_H */
