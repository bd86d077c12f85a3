/*
 * spare_key.h
 *	  Keys for accounts, minted ahead of need; for keys/ only.
 *
 *	  pool (arena)  --take-->  ours (row of spare_key locked)  --claimed-->  row gone
 *
 * The row tells what becomes of a key: a claim that commits has removed it, one
 * that is rolled back, however late, leaves it there unlocked, and the next
 * minting destroys the key.  So a transaction that is rolled back leaves no key
 * behind, and what it sealed opens for nobody any more.  No other account ever
 * gets such a key: envelopes under it may still lie in a page or in the WAL.
 */
#ifndef DP_KEYS_SPARE_KEY_H
#define DP_KEYS_SPARE_KEY_H

#include "postgres.h"

#include "storage/itemptr.h"

typedef struct DpSpareKey
{
	uint64		key_id;
	ItemPointerData tid;		/* of its row, locked by this transaction */
} DpSpareKey;

/* Waits where a block of keys has to be made; an error where that cannot be. */
extern void dp_spare_take(int32 family, DpSpareKey *out);

/* It is an account's from now on, if this transaction commits. */
extern void dp_spare_claimed(const DpSpareKey *spare);

#endif							/* DP_KEYS_SPARE_KEY_H */
