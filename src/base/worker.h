/*
 * worker.h
 *	  Work in the background: rounds of registered kinds in every database that
 *	  has the extension, and statements in a transaction of their own.
 *
 * One launcher (a static background worker) sends a bounded pool of worker
 * processes (dataprotect.max_workers) into databases by need: where a kind is
 * due, or was woken.  No database has a process for good.  worker_shared.h has
 * the data, launcher.c the choice of the next database.
 */
#ifndef DP_BASE_WORKER_H
#define DP_BASE_WORKER_H

#include "postgres.h"

/* Databases of one server with the extension; CREATE EXTENSION refuses more. */
#define DP_WORKER_MAX_DATABASES 4096

/*
 * Register a kind of round; from _PG_init only.
 * naptime_ms: longest time between two rounds in a database.  A kind that says
 * 0 has rounds every dataprotect.worker_naptime which may take their time;
 * every other kind must have short rounds.
 * round: called in a worker connected to the database as the bootstrap
 * superuser, outside a transaction, in a memory context that is reset after it.
 * Returns true where more work waits and it wants to be called at once.  An
 * error in a round is logged without its statement, kept for dataprotect.workers
 * and followed by a growing pause; the process ends, so that nothing a failed
 * round left behind adds up.  One round of a kind runs in a database at a time.
 */
typedef bool (*DpWorkerRound) (void);
extern void dp_worker_register(const char *kind, DpWorkerRound round, int naptime_ms);

/* Rounds of that kind, which is registered, happen on standbys too; from _PG_init only. */
extern void dp_worker_serve_standbys(const char *kind);

/* From within a round: it found something to do, so that the worker stays. */
extern void dp_worker_note_work(void);

/*
 * From within a long round, between two transactions: true where another
 * database has waited for its long round and this one has had its time.  The
 * round then ends as soon as it can be resumed later.
 */
extern bool dp_worker_should_yield(void);

/* Ask for a round of that kind in that database at once; cheap; async-safe not. */
extern void dp_worker_wake(Oid database, const char *kind);

/* The same within so many milliseconds; cheaper still where it is due by then. */
extern void dp_worker_wake_within(Oid database, const char *kind, int ms);

/* False where that database is known to be without the extension; takes no lock,
 * raises nothing (emit_log_hook asks). */
extern bool dp_worker_database_known(Oid database);

/* The databases that are known to have the extension: their number, palloc'd OIDs. */
extern int	dp_worker_databases(Oid **out);

/* Tell the launcher that the extension was created (true) or dropped here. */
extern void dp_worker_announce(bool present);

/*
 * Called after a transaction that created or dropped the extension in this
 * database has ended, or a part of it was rolled back: what is cached of an
 * earlier installation, or of one that never was, is void.
 * From _PG_init only; must not raise errors.
 */
extern void dp_worker_on_extension_change(void (*callback) (void));

/*
 * Called in a worker, outside a transaction, after a round failed.  error: what
 * failed, without anything that quotes a value.  From _PG_init only.
 */
typedef void (*DpWorkerFailure) (const char *kind, int sqlstate, const char *error);
extern void dp_worker_on_failure(DpWorkerFailure callback);

/*
 * Called in the launcher with the OIDs of all databases, ascending, each time
 * that it has listed them; a database made since may be missing.  From _PG_init
 * only; must not raise errors.
 */
typedef void (*DpWorkerDatabaseList) (const Oid *databases, int n);
extern void dp_worker_on_database_list(DpWorkerDatabaseList callback);

/*
 * Run one SQL statement (a SELECT of one text value, or anything else) in a
 * transaction of its own in the current database, as the bootstrap superuser,
 * by a background worker; commits before it returns.  Returns the first
 * column of the first row as text (palloc'd), or NULL.  The worker's error is
 * raised here again with its SQLSTATE, message, detail and hint.  Waits for its
 * turn; interruptible: the statement may then still commit.
 * For what must survive the caller's rollback: keys exist before the first
 * envelope under them.  own: what it calls is called by own code (statement.h).
 */
extern char *dp_worker_autonomous(const char *sql, bool own);

/* The same in another database, as nobody's own code: to look, not to change. */
extern char *dp_worker_autonomous_in(Oid database, const char *sql);

/*
 * Inside such a worker: true, and for whom it runs (authenticated and current
 * role of the caller).  False, and InvalidOid, everywhere else.
 */
extern bool dp_worker_on_behalf(Oid *out_session_user, Oid *out_current_user);

extern void dp_worker_init(void);

#endif							/* DP_BASE_WORKER_H */
