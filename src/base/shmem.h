/*
 * shmem.h
 *	  Named pieces of PostgreSQL's shared memory, requested and set up in one
 *	  place.
 */
#ifndef DP_BASE_SHMEM_H
#define DP_BASE_SHMEM_H

#include "postgres.h"

#include "storage/lwlock.h"

/*
 * Called in every process as it attaches (in the postmaster, and in each child
 * where children do not inherit its memory), under AddinShmemInitLock.
 *	area	size bytes; zeroed where is_new
 *	locks	n_locks locks of a tranche of that name, the same in every process
 *	is_new	at the start of the server, and again after a crash restart
 */
typedef void (*DpShmemInit) (void *area, LWLockPadded *locks, bool is_new);

/*
 * From _PG_init, once the settings that the size depends on are defined.  name
 * is a string literal; it names area and tranche.
 */
extern void dp_shmem_register(const char *name, Size size, int n_locks, DpShmemInit init);

extern void dp_shmem_init(void);

#endif							/* DP_BASE_SHMEM_H */
