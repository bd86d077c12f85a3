/*
 * worker_shared.h
 *	  What the launcher, its workers and their callers share; for worker*.c only.
 *
 * Every field of DpWorkerShared is written under its lock (exclusive).  The
 * array only grows: a database keeps its slot, so dp_worker_database_known(),
 * which emit_log_hook calls anywhere, may read oid and state without the lock.
 * A latch in here is one of PGPROC's: setting it after its owner has gone wakes
 * a stranger for nothing and does no harm.
 */
#ifndef DP_BASE_WORKER_SHARED_H
#define DP_BASE_WORKER_SHARED_H

#include "postgres.h"

#include "base/worker.h"
#include "datatype/timestamp.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#define DP_WORKER_MAX_DATABASES 1024
#define DP_WORKER_MAX_KINDS 8

/* Whether a database has the extension. */
typedef enum DpDatabaseState
{
	DP_DATABASE_UNKNOWN,		/* nobody has looked yet */
	DP_DATABASE_PRESENT,
	DP_DATABASE_ABSENT			/* looked at asked_at; asked again after a while */
} DpDatabaseState;

typedef struct DpWorkerSlot
{
	pid_t		pid;			/* 0: not running */
	Latch	   *latch;
	bool		woken;			/* asked for since its last round began */
} DpWorkerSlot;

typedef struct DpDatabaseSlot
{
	Oid			oid;
	DpDatabaseState state;
	TimestampTz asked_at;
	TimestampTz vacate_until;	/* no worker may connect before; 0: may */
	DpWorkerSlot kind[DP_WORKER_MAX_KINDS];
} DpDatabaseSlot;

typedef struct DpWorkerShared
{
	LWLock	   *lock;
	Latch	   *launcher;
	int			n_databases;
	DpDatabaseSlot database[DP_WORKER_MAX_DATABASES];
} DpWorkerShared;

typedef struct DpWorkerKind
{
	const char *name;
	DpWorkerRound round;
	int			naptime_ms;
} DpWorkerKind;

extern DpWorkerShared *dp_worker_shared;
extern DpWorkerKind dp_worker_kinds[DP_WORKER_MAX_KINDS];
extern int	dp_worker_n_kinds;

/*
 * The kind that stands for the process in which a kind runs: kinds with short
 * rounds (a naptime of their own) share one, every other has its own.
 */
extern int	dp_worker_process_of(int kind);

/* The slot of a database, or -1; create: make one.  Under the lock. */
extern int	dp_worker_find_slot(Oid database, bool create);

/* Settings that a database's or role's own configuration must not change. */
extern void dp_worker_configure_session(void);

/* To CREATE and DROP EXTENSION and DATABASE; from dp_worker_init. */
extern void dp_worker_subscribe(void);

#endif							/* DP_BASE_WORKER_SHARED_H */
