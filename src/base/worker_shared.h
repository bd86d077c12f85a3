/*
 * worker_shared.h
 *	  What the launcher, its workers and their callers share; for the worker
 *	  files of base only.
 *
 *	DpWorkerShared
 *	  pool[]		one entry a process that may exist (dataprotect.max_workers)
 *	  oid[]			the databases that anybody has asked about, InvalidOid: free
 *	  database[]	beside it: does it have the extension, may workers be in it,
 *					and for each kind: when is it due, who runs it, how did it end
 *
 * A process of the pool:
 *	FREE -> STARTING (registered; with or without an order)
 *	STARTING -> SPARE (no order yet, connected to nothing)
 *	STARTING or SPARE -> VISIT (rounds in one database) or STATEMENT -> FREE
 * A process can be connected to one database in its life.  A spare is what the
 * pool keeps in hand: an order starts at once, and a slot of
 * max_worker_processes stays ours while parallel queries take the others.
 *
 * A visit runs every kind that is due, stays while there is work, and leaves
 * when asked, or idle.  At most one entry fewer than the pool has runs a long
 * round, so that short ones, and statements, always get on.
 *
 * A kind in a database:
 *	due when next_due has come or woken_at is set; a claim (worker >= 0) keeps
 *	others out; the claim sets next_due ahead, so that whoever asks during the
 *	round is served by another one.  failures > 0: nothing before next_due, asked
 *	for or not.
 *
 * Locking.  Everything is written under lock (exclusive), and read under it,
 * but for one: dp_worker_database_known(), which emit_log_hook calls anywhere,
 * reads oid[] and state without it.  An entry of a database that has the
 * extension and exists is never given to another database.  Nothing is called
 * under the lock but SetLatch and kill.  A latch in here is one of PGPROC's:
 * setting it after its owner has gone wakes a stranger for nothing and does no
 * harm.
 *
 * Times are milliseconds of the monotonic clock: a wall clock that jumps makes
 * nothing early or late.  0 is long ago.
 */
#ifndef DP_BASE_WORKER_SHARED_H
#define DP_BASE_WORKER_SHARED_H

#include "postgres.h"

#include <time.h>

#include "base/compat.h"
#include "base/worker.h"
#include "storage/dsm.h"
#include "storage/latch.h"
#include "storage/lwlock.h"

#define DP_WORKER_MAX_KINDS 12
#define DP_WORKER_MAX_POOL 64
#define DP_WORKER_ERROR_MAX 160

/* A failing round is repeated after this, twice this, ... but at most that. */
#define DP_WORKER_FIRST_PAUSE_MS	1000
#define DP_WORKER_LAST_PAUSE_MS		60000

/* Whether a database has the extension. */
typedef enum DpDatabaseState
{
	DP_DATABASE_UNKNOWN,		/* nobody has looked yet */
	DP_DATABASE_PRESENT,
	DP_DATABASE_ABSENT			/* looked at asked_at; asked again after a while */
} DpDatabaseState;

typedef struct DpKindSlot
{
	int64		next_due;
	int64		woken_at;		/* 0: not asked for since its last round began */
	int64		began_at;		/* last round */
	int64		ended_at;		/* last round; 0: none has ended */
	int			worker;			/* pool entry that runs it, or -1 */
	int			failures;		/* in a row */
	int			idle;			/* rounds in a row that found nothing to do */
	int			sqlstate;		/* of the last failure; 0: none since the start */
} DpKindSlot;

typedef struct DpDatabaseSlot
{
	DpDatabaseState state;
	bool		served;			/* workers may visit: exists, no template, named by
								 * dataprotect.databases */
	bool		gone;			/* its DROP DATABASE is about to commit, or has */
	int			closed;			/* statements that need it to themselves */
	uint32		installation;	/* counts CREATE and DROP EXTENSION */
	int64		known_since;
	int64		asked_at;		/* when state was found */
	int64		retry_at;		/* no visit before: the last one could not connect */
	int			refused;		/* visits in a row that could not connect */
	DpKindSlot	kind[DP_WORKER_MAX_KINDS];
	int			error_kind;		/* whose error it is */
	char		error[DP_WORKER_ERROR_MAX];
} DpDatabaseSlot;

typedef enum DpPoolState
{
	DP_POOL_FREE,
	DP_POOL_STARTING,
	DP_POOL_SPARE,
	DP_POOL_VISIT,
	DP_POOL_STATEMENT
} DpPoolState;

typedef enum DpPoolOrder
{
	DP_ORDER_NONE,
	DP_ORDER_VISIT,
	DP_ORDER_STATEMENT
} DpPoolOrder;

typedef struct DpPoolEntry
{
	DpPoolState state;
	DpPoolOrder order;			/* given in STARTING or SPARE */
	uint32		ticket;			/* counts processes: a late one is told by it */
	int64		since;			/* state was entered */
	pid_t		pid;			/* 0: no process yet */
	Latch	   *latch;

	/* VISIT */
	int			slot;			/* of the database */
	Oid			database;
	bool		inside;			/* may be connected to it */
	bool		connected;		/* and is */
	int			kind;			/* round under way, or -1 */
	bool		leave;			/* another database waits for a process */
	bool		yield;			/* ... for a long round */
	int64		idle_since;		/* no round since */

	/* STATEMENT */
	dsm_handle	exchange;
	Latch	   *requester;
} DpPoolEntry;

typedef struct DpWorkerShared
{
	LWLock	   *lock;
	Latch	   *launcher;
	bool		sweep;			/* the launcher is to list the databases anew */
	int			requesters;		/* statements that wait for a process */
	DpPoolEntry pool[DP_WORKER_MAX_POOL];
	int			n_slots;		/* used ones are below */
	Oid			oid[DP_WORKER_MAX_DATABASES];
	DpDatabaseSlot database[DP_WORKER_MAX_DATABASES];
} DpWorkerShared;

typedef struct DpWorkerKind
{
	const char *name;
	DpWorkerRound round;
	int			naptime_ms;		/* 0: a long one */
	bool		on_standbys;
} DpWorkerKind;

extern DpWorkerShared *dp_worker_shared;
extern DpWorkerKind dp_worker_kinds[DP_WORKER_MAX_KINDS];
extern int	dp_worker_n_kinds;

static inline int64
dp_worker_now(void)
{
	struct timespec now;

	(void) clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* worker.c: kinds, and the table of databases. */

/* The slot of a database, or -1; create: make one.  Under the lock. */
extern int	dp_worker_find_slot(Oid database, bool create);

extern void dp_worker_free_slot(int slot);

/* Time between two rounds. */
extern int	dp_worker_naptime(int kind);

/* Does this server have rounds of that kind at the moment? */
extern bool dp_worker_kind_runs(int kind);

#define DP_WORKER_IS_LONG(kind) (dp_worker_kinds[kind].naptime_ms == 0)

/*
 * When a visit should be sent for a kind: PG_INT64_MAX where one runs or none is
 * wanted, else a time that has come or not.  Under the lock.
 */
extern int64 dp_worker_kind_due(const DpDatabaseSlot *database, int kind);

/* May workers be in that database?  Under the lock. */
extern bool dp_worker_is_open(const DpDatabaseSlot *database);

/* The next pause after so many failures. */
extern int	dp_worker_pause(int failures);

extern void dp_worker_wake_launcher(bool sweep);

extern void dp_worker_list_callbacks(const Oid *databases, int n);
extern void dp_worker_failure_callbacks(const char *kind, int sqlstate, const char *error);

extern void dp_worker_table_init(void);

/* Number of entries that run a long round.  Under the lock. */
extern int	dp_pool_long_rounds(void);

/* An entry that visits the database and is in no long round, or -1.  Under the lock. */
extern int	dp_pool_visitor(int slot);

/* worker_order.c: processes. */

/* Turn an order into the state that carries it out; let an entry go.  Under the lock. */
extern void dp_pool_accept_order(DpPoolEntry *entry);
extern void dp_pool_free_entry(DpPoolEntry *entry);

/*
 * Give an order to a spare, or start a process with it.  False where neither
 * can be had.  Takes the lock itself.
 */
extern bool dp_pool_order_visit(int slot, Oid database);
extern bool dp_pool_order_statement(Oid database, dsm_handle exchange, int *out_entry,
									uint32 *out_ticket);
extern bool dp_pool_start_spare(void);

/* Does that process still live and have the order?  Takes the lock. */
extern bool dp_pool_has_order(int entry, uint32 ticket);

/* Free the entries whose process never came. */
extern void dp_pool_forget_lost(void);

/* worker_visit.c, autonomous.c: what a process does with its order. */
pg_noreturn extern void dp_visit_run(int entry, int slot, Oid database);
pg_noreturn extern void dp_statement_run(dsm_handle exchange, Latch *requester);

/* Settings that a database's or role's own configuration must not change. */
extern void dp_worker_configure_session(void);

/* worker_ddl.c: to CREATE and DROP EXTENSION and DATABASE. */
extern void dp_worker_subscribe(void);

#endif							/* DP_BASE_WORKER_SHARED_H */
