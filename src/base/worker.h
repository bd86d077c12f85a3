/*
 * worker.h
 *	  The launcher, one worker of each registered kind per database, and
 *	  statements in a transaction of their own.
 *
 * The launcher (one static background worker) starts every registered kind in
 * every database named by dataprotect.databases that has the extension, and
 * starts it again when it died.  CREATE and DROP EXTENSION wake it.
 */
#ifndef DP_BASE_WORKER_H
#define DP_BASE_WORKER_H

#include "postgres.h"

/*
 * Register a kind of per-database worker; from _PG_init only.  Kinds with a
 * naptime of their own must have short rounds: they share one process of each
 * database.  Kinds without one may take their time, in a process of their own.
 * round: called in a worker connected to the database as the bootstrap
 * superuser, outside a transaction, in a memory context that is reset after it,
 * about every naptime seconds (0: takes
 * dataprotect.worker_naptime) and whenever dp_worker_wake() was called.
 * Returns true where more work waits and it wants to be called at once.  An
 * error in a round is logged without its statement, and the round is repeated
 * after the nap.
 */
typedef bool (*DpWorkerRound) (void);
extern void dp_worker_register(const char *kind, DpWorkerRound round, int naptime_ms);

/* Set the latch of this database's worker of that kind; cheap; async-safe not. */
extern void dp_worker_wake(Oid database, const char *kind);

/* False where that database is known to be without the extension; takes no lock,
 * raises nothing (emit_log_hook asks). */
extern bool dp_worker_database_known(Oid database);

/* Tell the launcher that the extension was created (true) or dropped here. */
extern void dp_worker_announce(bool present);

/*
 * Called after a transaction that created or dropped the extension in this
 * database has committed: what is cached of an earlier installation is void.
 * From _PG_init only; must not raise errors.
 */
extern void dp_worker_on_extension_change(void (*callback) (void));

/*
 * Run one SQL statement (a SELECT of one text value, or anything else) in a
 * transaction of its own in the current database, as the bootstrap superuser,
 * by a dynamic background worker; commits before it returns.  Returns the first
 * column of the first row as text (palloc'd), or NULL.  The worker's error is
 * raised here again with its SQLSTATE, message, detail and hint.  Waits;
 * interruptible: the statement may then still commit.
 * For what must survive the caller's rollback: keys exist before the first
 * envelope under them.
 */
extern char *dp_worker_autonomous(const char *sql);

/*
 * Inside such a worker: true, and for whom it runs (authenticated and current
 * role of the caller).  False, and InvalidOid, everywhere else.
 */
extern bool dp_worker_on_behalf(Oid *out_session_user, Oid *out_current_user);

extern void dp_worker_init(void);

#endif							/* DP_BASE_WORKER_H */
