/*
 * parallel.c
 *	  Shared slots for the counts of parallel workers.
 *
 * Every field of a slot is under shared->lock.
 */
#include "postgres.h"

#include "audit/parallel.h"
#include "base/shmem.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"

#define N_SLOTS 128

typedef struct Slot
{
	pid_t		leader;			/* 0: free */
	Oid			role;			/* whose counts these are */
	int			n;
	DpAuditCount counts[DP_AUDIT_MAX_COUNTS];
	DpSubjects	subjects;
} Slot;

typedef struct ParallelShared
{
	LWLock	   *lock;
	Slot		slots[N_SLOTS];
} ParallelShared;

static ParallelShared *shared = NULL;
static bool claimed = false;

DpAuditCount *
dp_audit_count(DpAuditCount *counts, int *n, int32 family, const char *name)
{
	DpAuditCount *count;

	for (int i = 0; i < *n; i++)
		if (counts[i].family == family)
			return &counts[i];
	if (*n >= DP_AUDIT_MAX_COUNTS)
	{
		count = &counts[DP_AUDIT_MAX_COUNTS - 1];
		strlcpy(count->name, "(several)", NAMEDATALEN);
		return count;
	}
	count = &counts[(*n)++];
	count->family = family;
	count->opened = 0;
	count->compared = 0;
	strlcpy(count->name, name, NAMEDATALEN);
	return count;
}

static void
add_counts(DpAuditCount *to, int *n_to, const DpAuditCount *from, int n_from)
{
	for (int i = 0; i < n_from; i++)
	{
		DpAuditCount *count = dp_audit_count(to, n_to, from[i].family, from[i].name);

		count->opened += from[i].opened;
		count->compared += from[i].compared;
	}
}

static Slot *
find_slot(pid_t leader)
{
	for (int i = 0; i < N_SLOTS; i++)
		if (shared->slots[i].leader == leader)
			return &shared->slots[i];
	return NULL;
}

static void
release_slot(int code, Datum arg)
{
	Slot	   *slot;

	if (!claimed)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_slot(MyProcPid);
	if (slot != NULL)
		slot->leader = 0;
	LWLockRelease(shared->lock);
	claimed = false;
}

bool
dp_parallel_claim(void)
{
	static bool registered = false;
	Slot	   *slot;

	if (claimed)
		return true;
	if (!registered)
	{
		before_shmem_exit(release_slot, (Datum) 0);
		registered = true;
	}
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_slot(0);
	if (slot != NULL)
	{
		slot->leader = MyProcPid;
		slot->role = GetUserId();
		slot->n = 0;
		dp_subjects_clear(&slot->subjects);
		claimed = true;
	}
	LWLockRelease(shared->lock);
	return claimed;
}

static pid_t
leader_pid(void)
{
	return MyProc->lockGroupLeader ? MyProc->lockGroupLeader->pid : 0;
}

bool
dp_parallel_has_leader(void)
{
	pid_t		leader = leader_pid();
	Slot	   *slot;
	bool		found;

	if (leader == 0)
		return false;
	LWLockAcquire(shared->lock, LW_SHARED);
	slot = find_slot(leader);
	found = slot != NULL && slot->role == GetUserId();
	LWLockRelease(shared->lock);
	return found;
}

void
dp_parallel_add(const DpAuditCount *counts, int n, const DpSubjects *subjects)
{
	pid_t		leader = leader_pid();
	Slot	   *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = leader != 0 ? find_slot(leader) : NULL;
	if (slot != NULL)
	{
		add_counts(slot->counts, &slot->n, counts, n);
		dp_subjects_merge(&slot->subjects, subjects);
	}
	LWLockRelease(shared->lock);
}

void
dp_parallel_take(DpAuditCount *counts, int *n, DpSubjects *subjects)
{
	Slot	   *slot;

	if (!claimed)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = find_slot(MyProcPid);
	if (slot != NULL)
	{
		add_counts(counts, n, slot->counts, slot->n);
		dp_subjects_merge(subjects, &slot->subjects);
		slot->leader = 0;
	}
	LWLockRelease(shared->lock);
	claimed = false;
}

static void
attach(void *area, LWLockPadded *locks, bool is_new)
{
	shared = area;
	if (is_new)
		shared->lock = &locks->lock;
}

void
dp_parallel_init(void)
{
	dp_shmem_register("dataprotect audit workers", sizeof(ParallelShared), 1, attach);
}
