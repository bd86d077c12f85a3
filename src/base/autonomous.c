/*
 * autonomous.c
 *	  One SQL statement in a transaction of its own, by a background worker:
 *	  what must outlive the caller's rollback.
 *
 * The statement goes over, and its result comes back, in a DSM segment:
 *
 *	Exchange header with the reply | statement, NUL
 *
 * The worker fills the reply before it sets done, with a barrier between; the
 * caller reads it after done, so no lock is needed.
 *
 * The process is, in this order: a spare of the pool or a new process of it; a
 * process beside the pool, where max_worker_processes has room; whichever of
 * the two comes first, once the launcher has asked visits to leave.  Statements
 * are short, visits leave within a round, and of the pool one process at least
 * is in no long round: every statement has its turn, whatever else holds the
 * slots of max_worker_processes.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/statement.h"
#include "base/text.h"
#include "base/worker_shared.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#define EXCHANGE_MAGIC	0x64704175
#define REPLY_MAX		65536
#define ERROR_TEXT_MAX	4096
#define TURN_MS			60000	/* longest wait for a process: then there is none to come */
#define LOOK_MS			20		/* between two looks for one */
#define ALIVE_MS		1000	/* between two looks whether it still lives */

typedef enum ExchangeState
{
	EXCHANGE_PENDING,
	EXCHANGE_NULL,
	EXCHANGE_TEXT,
	EXCHANGE_ERROR
} ExchangeState;

typedef struct Exchange
{
	uint32		magic;
	Oid			database;
	Oid			session_user;	/* on whose behalf: authenticated role */
	Oid			current_user;	/* and current role */
	bool		own;			/* the statement is own code */
	volatile ExchangeState done;
	int			sqlstate;
	char		message[ERROR_TEXT_MAX];
	char		detail[ERROR_TEXT_MAX];
	char		hint[ERROR_TEXT_MAX];
	char		reply[REPLY_MAX];
	char		sql[FLEXIBLE_ARRAY_MEMBER];
} Exchange;

static Oid	behalf_session_user = InvalidOid;
static Oid	behalf_current_user = InvalidOid;

PGDLLEXPORT void dp_worker_autonomous_main(Datum main_arg);

bool
dp_worker_on_behalf(Oid *out_session_user, Oid *out_current_user)
{
	*out_session_user = behalf_session_user;
	*out_current_user = behalf_current_user;
	return OidIsValid(behalf_session_user);
}

/* Run the statement; fills the reply.  Errors go to the caller. */
static void
execute_statement(Exchange *exchange)
{
	ExchangeState done = EXCHANGE_NULL;
	int			rc;
	int			level;

	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	level = exchange->own ? dp_own_begin() : INT_MAX;
	rc = SPI_execute(exchange->sql, false, 1);
	dp_own_end(level);
	if (rc < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
	if (SPI_tuptable != NULL && SPI_processed > 0)
	{
		char	   *text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		if (text != NULL)
		{
			if (strlen(text) >= REPLY_MAX)
				ereport(ERROR,
						(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						 errmsg("result of an autonomous statement is too long")));
			strlcpy(exchange->reply, text, REPLY_MAX);
			done = EXCHANGE_TEXT;
		}
	}
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	pg_write_barrier();
	exchange->done = done;
}

static void
copy_text(char *to, const char *from)
{
	(void) dp_text_copy(to, ERROR_TEXT_MAX, from);
}

static void
keep_error(Exchange *exchange, MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	exchange->sqlstate = error->sqlerrcode;
	copy_text(exchange->message, error->message);
	copy_text(exchange->detail, error->detail);
	copy_text(exchange->hint, error->hint);
	AbortCurrentTransaction();
	pg_write_barrier();
	exchange->done = EXCHANGE_ERROR;
}

void
dp_statement_run(dsm_handle handle, Latch *requester)
{
	MemoryContext context;
	dsm_segment *segment;
	Exchange   *exchange;

	CurrentResourceOwner = ResourceOwnerCreate(NULL, "dataprotect autonomous");
	context = AllocSetContextCreate(TopMemoryContext, "dataprotect autonomous",
									ALLOCSET_DEFAULT_SIZES);
	segment = dsm_attach(handle);
	if (segment == NULL)
		proc_exit(0);			/* the caller has gone */
	dsm_pin_mapping(segment);
	exchange = dsm_segment_address(segment);
	if (exchange->magic != EXCHANGE_MAGIC)
		proc_exit(1);

	BackgroundWorkerInitializeConnectionByOid(exchange->database, InvalidOid, 0);
	dp_worker_configure_session();
	behalf_session_user = exchange->session_user;
	behalf_current_user = exchange->current_user;
	pgstat_report_activity(STATE_RUNNING, "autonomous statement");
	PG_TRY();
	{
		execute_statement(exchange);
	}
	PG_CATCH();
	{
		keep_error(exchange, context);
	}
	PG_END_TRY();
	if (requester != NULL)
		SetLatch(requester);
	proc_exit(0);
}

/* A process beside the pool; its caller waits for its end. */
void
dp_worker_autonomous_main(Datum main_arg)
{
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	dp_statement_run(DatumGetUInt32(main_arg), NULL);
}

static dsm_segment *
make_exchange(Oid database, const char *sql)
{
	Size		size = offsetof(Exchange, sql) + strlen(sql) + 1;
	dsm_segment *segment = dsm_create(size, 0);
	Exchange   *exchange = dsm_segment_address(segment);

	memset(exchange, 0, offsetof(Exchange, message));
	exchange->magic = EXCHANGE_MAGIC;
	exchange->database = database;
	exchange->session_user = GetAuthenticatedUserId();
	exchange->current_user = GetUserId();
	exchange->done = EXCHANGE_PENDING;
	memcpy(exchange->sql, sql, strlen(sql) + 1);
	return segment;
}

/* Who runs a statement: an entry of the pool, or a process beside it. */
typedef struct Runner
{
	BackgroundWorkerHandle *handle; /* NULL: of the pool */
	int			entry;
	uint32		ticket;
} Runner;

/* A process beside the pool; false where there is no room. */
static bool
start_beside(dsm_handle exchange, BackgroundWorkerHandle **out_handle)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "dataprotect", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "dp_worker_autonomous_main", sizeof(worker.bgw_function_name));
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "dataprotect autonomous statement for PID %d",
			 MyProcPid);
	strlcpy(worker.bgw_type, "dataprotect autonomous statement", sizeof(worker.bgw_type));
	worker.bgw_main_arg = UInt32GetDatum(exchange);
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, out_handle);
}

static bool
find_runner(Oid database, dsm_handle exchange, Runner *runner)
{
	runner->handle = NULL;
	return dp_pool_order_statement(database, exchange, &runner->entry, &runner->ticket) ||
		start_beside(exchange, &runner->handle);
}

/* Statements that wait make the launcher ask visits to leave. */
static void
count_requester(int change)
{
	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	dp_worker_shared->requesters += change;
	LWLockRelease(dp_worker_shared->lock);
}

static void
nap(int ms)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

static void
wait_for_runner(Oid database, dsm_handle exchange, Runner *runner)
{
	int64		deadline = dp_worker_now() + TURN_MS;

	count_requester(1);
	PG_TRY();
	{
		dp_worker_wake_launcher(false);
		while (!find_runner(database, exchange, runner))
		{
			if (dp_worker_now() >= deadline)
				ereport(ERROR,
						(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						 errmsg("no background worker became free for an autonomous statement within %d s",
								TURN_MS / 1000),
						 errdetail("All %d of \"max_worker_processes\" are taken.", max_worker_processes),
						 errhint("Increase \"max_worker_processes\".")));
			nap(LOOK_MS);
		}
	}
	PG_FINALLY();
	{
		count_requester(-1);
	}
	PG_END_TRY();
}

/* Wait for the end of a statement that has a process. */
static void
wait_for_end(const Exchange *exchange, const Runner *runner)
{
	if (runner->handle != NULL)
	{
		if (WaitForBackgroundWorkerShutdown(runner->handle) == BGWH_POSTMASTER_DIED)
			proc_exit(1);
		pfree(runner->handle);
		return;
	}
	while (exchange->done == EXCHANGE_PENDING && dp_pool_has_order(runner->entry, runner->ticket))
		nap(ALIVE_MS);
}

static char *
run_statement(Oid database, const char *sql, bool own)
{
	dsm_segment *segment;
	Exchange   *exchange;
	Runner		runner;
	char	   *result = NULL;

	/* The worker would start at the promotion, and we wait until then. */
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot make or change keys during recovery"),
				 errhint("Do it on the primary.")));
	segment = make_exchange(database, sql);
	exchange = dsm_segment_address(segment);
	exchange->own = own;
	if (!find_runner(database, dsm_segment_handle(segment), &runner))
		wait_for_runner(database, dsm_segment_handle(segment), &runner);
	wait_for_end(exchange, &runner);
	dp_statement_moment++;
	pg_read_barrier();
	switch (exchange->done)
	{
		case EXCHANGE_PENDING:
			ereport(ERROR,
					(errcode(ERRCODE_SYSTEM_ERROR),
					 errmsg("background worker for an autonomous statement ended without a result"),
					 errhint("The server log may tell why.")));
			break;
		case EXCHANGE_ERROR:
			ereport(ERROR,
					(errcode(exchange->sqlstate),
					 errmsg_internal("%s", exchange->message),
					 exchange->detail[0] ? errdetail_internal("%s", exchange->detail) : 0,
					 exchange->hint[0] ? errhint("%s", exchange->hint) : 0));
			break;
		case EXCHANGE_TEXT:
			result = pstrdup(exchange->reply);
			break;
		case EXCHANGE_NULL:
			break;
	}
	dsm_detach(segment);
	return result;
}

char *
dp_worker_autonomous(const char *sql, bool own)
{
	return run_statement(MyDatabaseId, sql, own);
}

char *
dp_worker_autonomous_in(Oid database, const char *sql)
{
	return run_statement(database, sql, false);
}
