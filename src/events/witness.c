/*
 * witness.c
 *	  How far the collector of each database is: in the ring file the newest
 *	  chained row, which outlives the server, and in shared memory the newest
 *	  record that is in the table.
 *
 * As many databases have a place as may have the extension (base/worker.h).
 * Places of databases that are gone become free: of such as the launcher's list
 * of databases does not show twice running, for one may be made while it reads.
 *
 * All of it is under lock, under which nothing is called.
 */
#include "postgres.h"

#include "base/shmem.h"
#include "base/worker.h"
#include "events/ring_file.h"
#include "port/pg_crc32c.h"

typedef struct Collected
{
	Oid			database;
	bool		doubted;		/* the last list did not show it */
	uint64		seq;
} Collected;

typedef struct WitnessShared
{
	LWLock	   *lock;
	int			n_collected;	/* used ones are below */
	Collected	collected[DP_RING_WITNESSES];
} WitnessShared;

static WitnessShared *shared = NULL;
static DpRingWitnessSlot *slots = NULL; /* mapped by the postmaster, inherited by fork */

static uint32
witness_crc(const DpWitness *witness)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, witness, sizeof(DpWitness));
	FIN_CRC32C(crc);
	return crc;
}

static DpRingWitnessSlot *
witness_slot(Oid database, bool create)
{
	for (int i = 0; i < DP_RING_WITNESSES; i++)
		if (slots[i].witness.database == database && OidIsValid(database))
			return &slots[i];
	for (int i = 0; create && i < DP_RING_WITNESSES; i++)
		if (!OidIsValid(slots[i].witness.database))
			return &slots[i];
	return NULL;
}

bool
dp_ring_witness_get(Oid database, DpWitness *out)
{
	DpRingWitnessSlot *slot;
	bool		found;

	LWLockAcquire(shared->lock, LW_SHARED);
	slot = witness_slot(database, false);
	found = slot != NULL && slot->crc == witness_crc(&slot->witness);
	if (found)
		*out = slot->witness;
	LWLockRelease(shared->lock);
	return found;
}

void
dp_ring_witness_set(const DpWitness *witness)
{
	DpRingWitnessSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = witness_slot(witness->database, true);
	if (slot != NULL)
	{
		slot->witness = *witness;
		slot->crc = witness_crc(witness);
		slot->doubted = 0;
	}
	LWLockRelease(shared->lock);
}

static Collected *
collected_slot(Oid database, bool create)
{
	Collected  *unused = NULL;

	for (int i = 0; i < shared->n_collected; i++)
	{
		if (shared->collected[i].database == database)
			return &shared->collected[i];
		if (unused == NULL && !OidIsValid(shared->collected[i].database))
			unused = &shared->collected[i];
	}
	if (create && unused == NULL && shared->n_collected < DP_RING_WITNESSES)
		unused = &shared->collected[shared->n_collected++];
	if (!create || unused == NULL)
		return NULL;
	unused->database = database;
	unused->doubted = false;
	unused->seq = 0;
	return unused;
}

void
dp_ring_set_collected(Oid database, uint64 seq)
{
	Collected  *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = collected_slot(database, true);
	if (slot != NULL)
		slot->seq = seq;
	LWLockRelease(shared->lock);
}

uint64
dp_ring_collected(Oid database)
{
	Collected  *slot;
	uint64		seq = 0;

	LWLockAcquire(shared->lock, LW_SHARED);
	slot = collected_slot(database, false);
	if (slot != NULL)
		seq = slot->seq;
	LWLockRelease(shared->lock);
	return seq;
}

static int
compare_oids(const void *a, const void *b)
{
	Oid			x = *(const Oid *) a;
	Oid			y = *(const Oid *) b;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* Give free the places of databases that are not in the list. */
static void
forget_gone(const Oid *databases, int n)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->n_collected; i++)
	{
		Collected  *slot = &shared->collected[i];
		bool		there = bsearch(&slot->database, databases, n, sizeof(Oid), compare_oids) != NULL;

		if (!there && slot->doubted)
			slot->database = InvalidOid;
		slot->doubted = !there;
	}
	for (int i = 0; i < DP_RING_WITNESSES; i++)
	{
		DpRingWitnessSlot *slot = &slots[i];
		bool		there;

		if (!OidIsValid(slot->witness.database))
			continue;
		there = bsearch(&slot->witness.database, databases, n, sizeof(Oid), compare_oids) != NULL;
		if (!there && slot->doubted)
			memset(slot, 0, sizeof(*slot));
		else
			slot->doubted = !there;
	}
	LWLockRelease(shared->lock);
}

static void
attach(void *area, LWLockPadded *locks, bool is_new)
{
	shared = area;
	if (is_new)
		shared->lock = &locks->lock;
}

void
dp_witness_attach(DpRingWitnessSlot *mapped)
{
	slots = mapped;
}

void
dp_witness_init(void)
{
	dp_shmem_register("dataprotect witnesses", sizeof(WitnessShared), 1, attach);
	dp_worker_on_database_list(forget_gone);
}
