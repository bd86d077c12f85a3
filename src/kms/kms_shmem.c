/*
 * kms_shmem.c
 *	  Shared memory of the kms layer, and the table of fresh keys.
 */
#include "postgres.h"

#include "base/shmem.h"
#include "kms/kms_shmem.h"
#include "miscadmin.h"

#define FRESH_PROBES	8

DpKmsShared *dp_kms_shared = NULL;
LWLock	   *dp_kms_lock = NULL;

static void
attach(void *area, LWLockPadded *locks, bool is_new)
{
	dp_kms_shared = area;
	dp_kms_lock = &locks->lock;
	if (!is_new)
		return;
	ConditionVariableInit(&dp_kms_shared->slot_freed);
	for (int i = 0; i < DP_KMS_SLOTS; i++)
		ConditionVariableInit(&dp_kms_shared->slots[i].done);
}

void
dp_kms_shared_init(void)
{
	dp_shmem_register("dataprotect kms", sizeof(DpKmsShared), 1, attach);
}

void
dp_kms_request_answer(DpKmsRequest *to, const DpKmsRequest *from)
{
	to->context.key_id = from->context.key_id;
	memcpy(to->blobs, from->blobs, sizeof(to->blobs));
	to->signature = from->signature;
	to->root = from->root;
}

/*
 * Key ids are uniformly distributed already; a key may be in any of the
 * FRESH_PROBES entries from its home.  A full neighbourhood forgets the key that
 * is due first, which costs an early refresh and nothing else.
 */
static DpKmsFresh *
fresh_find(Oid database, uint64 key_id, bool for_update)
{
	DpKmsFresh *victim = NULL;

	for (int i = 0; i < FRESH_PROBES; i++)
	{
		DpKmsFresh *entry = &dp_kms_shared->fresh[(key_id + i) % DP_KMS_FRESH];

		if (entry->database == database && entry->key_id == key_id)
			return entry;
		if (victim == NULL || entry->until < victim->until)
			victim = entry;
	}
	return for_update ? victim : NULL;
}

void
dp_kms_fresh_set(Oid database, uint64 key_id, int64 until)
{
	DpKmsFresh *entry = fresh_find(database, key_id, true);

	entry->database = database;
	entry->key_id = key_id;
	entry->until = until;
}

int64
dp_kms_fresh_get(Oid database, uint64 key_id)
{
	DpKmsFresh *entry = fresh_find(database, key_id, false);

	return entry ? entry->until : 0;
}
