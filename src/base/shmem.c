/*
 * shmem.c
 *	  Named pieces of shared memory; see shmem.h.
 */
#include "postgres.h"

#include "base/shmem.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#define MAX_AREAS 16

typedef struct Area
{
	const char *name;
	Size		size;
	int			n_locks;
	DpShmemInit init;
} Area;

static Area areas[MAX_AREAS];
static int	n_areas = 0;

static shmem_request_hook_type previous_request = NULL;
static shmem_startup_hook_type previous_startup = NULL;

static void
request_areas(void)
{
	if (previous_request)
		previous_request();
	for (int i = 0; i < n_areas; i++)
	{
		RequestAddinShmemSpace(MAXALIGN(areas[i].size));
		if (areas[i].n_locks > 0)
			RequestNamedLWLockTranche(areas[i].name, areas[i].n_locks);
	}
}

static void
start_areas(void)
{
	if (previous_startup)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	for (int i = 0; i < n_areas; i++)
	{
		const Area *area = &areas[i];
		bool		found;
		void	   *memory = ShmemInitStruct(area->name, area->size, &found);

		if (!found)
			memset(memory, 0, area->size);
		area->init(memory, area->n_locks > 0 ? GetNamedLWLockTranche(area->name) : NULL, !found);
	}
	LWLockRelease(AddinShmemInitLock);
}

void
dp_shmem_register(const char *name, Size size, int n_locks, DpShmemInit init)
{
	if (n_areas >= MAX_AREAS)
		elog(ERROR, "too many areas of shared memory");
	areas[n_areas].name = name;
	areas[n_areas].size = size;
	areas[n_areas].n_locks = n_locks;
	areas[n_areas].init = init;
	n_areas++;
}

void
dp_shmem_init(void)
{
	previous_request = shmem_request_hook;
	shmem_request_hook = request_areas;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = start_areas;
}
