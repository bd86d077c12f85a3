/*
 * spare_key.c
 *	  Keys for accounts, minted ahead of need; see spare_key.h.
 *
 * Minting is one session's work at a time for each named key.  Between taking a
 * key id from the pool and locking its row, a minting may destroy the key: then
 * there is no row, and the next one is taken.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/compat.h"
#include "keys/arena.h"
#include "keys/catalog.h"
#include "keys/keys.h"
#include "keys/keys_internal.h"
#include "keys/spare_key.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#define SPARE_BLOCK			256
#define MAX_MINTINGS		10

#define Anum_spare_key_id	1

/* Lock the row of a spare key; false where it is gone or somebody destroys it. */
static bool
lock_row(DpSpareKey *spare)
{
	Relation	rel = table_open(dp_catalog_relation("spare_key"), RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	ScanKeyData key[1];
	SysScanDesc scan;
	HeapTuple	tuple;
	TM_FailureData failure;
	bool		locked = false;

	ScanKeyInit(&key[0], Anum_spare_key_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) spare->key_id));
	scan = systable_beginscan(rel, dp_catalog_relation("spare_key_pkey"), true, NULL, 1, key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		spare->tid = tuple->t_self;
		locked = table_tuple_lock(rel, &spare->tid, SnapshotSelf, slot, GetCurrentCommandId(true),
								  LockTupleExclusive, LockWaitSkip, 0, &failure) == TM_Ok;
	}
	systable_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, NoLock);
	return locked;
}

/* Fill the pool unless somebody has done so while we waited for our turn. */
static bool
mint(int32 family, DpSpareKey *out)
{
	Oid			turn = dp_catalog_relation("spare_key");
	bool		found;

	LockDatabaseObject(turn, (Oid) family, 0, ExclusiveLock);
	found = dp_arena_pop_spare(MyDatabaseId, family, &out->key_id);
	if (!found)
	{
		uint64		ids[SPARE_BLOCK];
		int			n = 0;
		char	   *p = dp_keys_autonomous(psprintf("SELECT dataprotect._mint_spares(%d, %d)",
													family, SPARE_BLOCK), true);

		while (p != NULL && *p != '\0' && n < SPARE_BLOCK)
		{
			ids[n++] = (uint64) strtoll(p, &p, 10);
			if (*p == ',')
				p++;
		}
		dp_arena_push_spares(MyDatabaseId, family, ids, n);
	}
	UnlockDatabaseObject(turn, (Oid) family, 0, ExclusiveLock);
	return found;
}

void
dp_spare_take(int32 family, DpSpareKey *out)
{
	int			mintings = 0;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!dp_arena_pop_spare(MyDatabaseId, family, &out->key_id))
		{
			if (mintings++ == MAX_MINTINGS)
				break;
			if (!mint(family, out))
				continue;
		}
		if (lock_row(out))
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("could not make keys for accounts under key \"%s\"",
					NameStr(dp_keys_family(family)->name)),
			 errhint("See that the key is active.")));
}

void
dp_spare_claimed(const DpSpareKey *spare)
{
	Relation	rel = table_open(dp_catalog_relation("spare_key"), RowExclusiveLock);
	ItemPointerData tid = spare->tid;

	simple_heap_delete(rel, &tid);
	table_close(rel, NoLock);
}
