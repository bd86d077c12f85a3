/*
 * worker_visit.c
 *	  A visit of one database: connect, run the rounds that are due, stay while
 *	  there is work, leave.
 *
 * A visit ends, between two rounds, where the database is closed to us, the
 * extension has changed, the launcher needs the process elsewhere, nothing was
 * to be done for a while, or a round has failed: what that round allocated goes
 * with the process.  Closing a database cancels the round under way.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/guc.h"
#include "base/text.h"
#include "base/worker_shared.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#define LINGER_MS		60000	/* stays so long without work */
#define LONGEST_MS		900000	/* then another process takes over: caches grow */
#define NEARLY_DUE_MS	5000	/* done along on arrival */

typedef struct Visit
{
	int			entry;
	int			slot;
	Oid			database;
	uint32		installation;
	int64		began_at;
	int64		worked_at;		/* last time that there was something to do */
} Visit;

static Visit visit = {.entry = -1};
static bool worked = false;		/* the round said so */
static volatile sig_atomic_t in_round = false;

static DpPoolEntry *
my_entry(void)
{
	return &dp_worker_shared->pool[visit.entry];
}

static DpDatabaseSlot *
my_database(void)
{
	return &dp_worker_shared->database[visit.slot];
}

void
dp_worker_note_work(void)
{
	worked = true;
}

bool
dp_worker_should_yield(void)
{
	return visit.entry >= 0 && ((volatile DpPoolEntry *) my_entry())->yield;
}

void
dp_worker_configure_session(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"synchronous_commit", "local"},
		{"statement_timeout", "0"},
		{"lock_timeout", "10s"},
		{"idle_in_transaction_session_timeout", "0"},
		{"row_security", "off"},
		{"check_function_bodies", "off"},
		{"xmloption", "content"},
		{"DateStyle", "ISO, MDY"},
		{"IntervalStyle", "postgres"},
		{"bytea_output", "hex"},
		{"extra_float_digits", "1"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/* Cancels a round, and nothing else: between rounds there is nothing to cancel. */
static void
handle_sigint(SIGNAL_ARGS)
{
	if (in_round)
		StatementCancelHandler(postgres_signal_arg);
	else
		SetLatch(MyLatch);
}

/* May this process be in its database still?  Under the lock. */
static bool
is_welcome(void)
{
	return dp_worker_shared->oid[visit.slot] == visit.database && dp_worker_is_open(my_database()) &&
		my_database()->installation == visit.installation;
}

/* Enter the database; false where it is closed or gone. */
static bool
enter_database(void)
{
	bool		ok;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	visit.installation = my_database()->installation;
	ok = is_welcome();
	my_entry()->inside = ok;
	LWLockRelease(dp_worker_shared->lock);
	return ok;
}

static bool
must_leave(void)
{
	bool		leave;

	LWLockAcquire(dp_worker_shared->lock, LW_SHARED);
	leave = !is_welcome() || my_entry()->leave || my_entry()->yield;
	LWLockRelease(dp_worker_shared->lock);
	return leave;
}

/* Connected: see whether the extension is here, and say so. */
static bool
find_extension(void)
{
	bool		present;

	StartTransactionCommand();
	present = OidIsValid(get_extension_oid("dataprotect", true));
	CommitTransactionCommand();

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	my_entry()->connected = true;
	my_database()->refused = 0;
	/* whoever created it since knows better */
	if (is_welcome())
	{
		my_database()->state = present ? DP_DATABASE_PRESENT : DP_DATABASE_ABSENT;
		my_database()->asked_at = dp_worker_now();
	}
	LWLockRelease(dp_worker_shared->lock);
	return present;
}

/*
 * Claim a kind that is due (or will be, within slack_ms).  *out_asked: it was
 * asked for.  *out_due: what to compare next_due with at the end.
 */
static bool
claim(int kind, int slack_ms, bool *out_asked, int64 *out_due)
{
	DpKindSlot *slot = &my_database()->kind[kind];
	int64		now = dp_worker_now();
	bool		due;

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	*out_asked = slot->woken_at != 0;
	if (slot->failures > 0)
		due = now >= slot->next_due;
	else
		due = *out_asked || now + Min(slack_ms, dp_worker_naptime(kind) / 2) >= slot->next_due;
	due = due && slot->worker < 0 && is_welcome() &&
		(!DP_WORKER_IS_LONG(kind) || dp_pool_long_rounds() < dp_guc_max_workers - 1);
	if (due)
	{
		slot->worker = visit.entry;
		slot->woken_at = 0;
		slot->began_at = now;
		slot->next_due = *out_due = now + dp_worker_naptime(kind);
		my_entry()->kind = kind;
	}
	LWLockRelease(dp_worker_shared->lock);
	return due;
}

/* Give a kind back.  error: NULL, or how the round failed. */
static void
give_back(int kind, int64 due, bool more, int sqlstate, const char *error)
{
	DpKindSlot *slot = &my_database()->kind[kind];
	int64		now = dp_worker_now();

	LWLockAcquire(dp_worker_shared->lock, LW_EXCLUSIVE);
	slot->worker = -1;
	slot->ended_at = now;
	my_entry()->kind = -1;
	my_entry()->idle_since = now;
	if (error != NULL)
	{
		slot->sqlstate = sqlstate;
		slot->next_due = now + dp_worker_pause(++slot->failures);
		my_database()->error_kind = kind;
		(void) dp_text_copy(my_database()->error, DP_WORKER_ERROR_MAX, error);
	}
	else
	{
		slot->failures = 0;
		slot->idle = worked || more ? 0 : slot->idle + 1;
		if (more)
			slot->next_due = now;
		else if (slot->next_due == due)
			slot->next_due = now + dp_worker_naptime(kind);
	}
	LWLockRelease(dp_worker_shared->lock);
	if (DP_WORKER_IS_LONG(kind))
		dp_worker_wake_launcher(false); /* another one may run now */
}

/*
 * What an error says without quoting a value: the message only where the class
 * of errors is about the server or its objects.
 */
static char *
describe_error(const ErrorData *error)
{
	char	   *state = unpack_sql_state(error->sqlerrcode);
	static const char *const quiet[] = {"08", "25", "40", "42", "53", "54", "55", "57", "58", "XX"};

	for (int i = 0; i < lengthof(quiet); i++)
		if (strncmp(state, quiet[i], 2) == 0 && strcmp(state, "42601") != 0)
			return psprintf("%s: %s", state, error->message);
	if (error->table_name != NULL)
		return psprintf("%s: table \"%s.%s\"%s%s", state,
						error->schema_name ? error->schema_name : "", error->table_name,
						error->constraint_name ? ", constraint " : "",
						error->constraint_name ? error->constraint_name : "");
	return pstrdup(state);
}

/* Report an error and abort; *out_error: what it says, in the context. */
static int
end_failed_round(MemoryContext context, char **out_error)
{
	ErrorData  *error;
	int			sqlstate;

	HOLD_INTERRUPTS();
	error_context_stack = NULL;
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	sqlstate = error->sqlerrcode;
	*out_error = describe_error(error);
	errhidestmt(true);
	/* one that was cancelled to make room is nobody's trouble */
	if (sqlstate != ERRCODE_QUERY_CANCELED || !must_leave())
		EmitErrorReport();
	LWLockReleaseAll();
	pgstat_report_wait_end();
	debug_query_string = NULL;
	AbortCurrentTransaction();
	MemoryContextSwitchTo(context);
	FlushErrorState();
	RESUME_INTERRUPTS();
	return sqlstate;
}

/*
 * Tell who subscribed to failures: of the first in a row, the second, the fourth
 * and so on.  An error in there is one more line in the log.
 */
static void
tell_failure(MemoryContext context, int kind, int sqlstate, const char *description)
{
	int			number = my_database()->kind[kind].failures + 1;	/* mine: I hold the claim */
	char	   *ignored;

	if ((number & (number - 1)) != 0)
		return;
	PG_TRY();
	{
		dp_worker_failure_callbacks(dp_worker_kinds[kind].name, sqlstate, description);
	}
	PG_CATCH();
	{
		(void) end_failed_round(context, &ignored);
	}
	PG_END_TRY();
}

/* Run one claimed round; false where it failed. */
static bool
run_round(MemoryContext context, int kind, int64 due)
{
	volatile bool more = false;
	volatile int sqlstate = 0;
	char	   *volatile failure = NULL;
	bool		sent_away;

	pgstat_report_activity(STATE_RUNNING, dp_worker_kinds[kind].name);
	worked = false;
	MemoryContextSwitchTo(context);
	in_round = true;
	PG_TRY();
	{
		more = dp_worker_kinds[kind].round();
	}
	PG_CATCH();
	{
		char	   *description;

		in_round = false;
		QueryCancelPending = false;
		sqlstate = end_failed_round(context, &description);
		failure = description;
	}
	PG_END_TRY();
	in_round = false;
	QueryCancelPending = false;
	sent_away = failure != NULL && sqlstate == ERRCODE_QUERY_CANCELED && must_leave();
	if (failure != NULL && !sent_away)
		tell_failure(context, kind, sqlstate, failure);
	give_back(kind, due, more || sent_away, sqlstate, sent_away ? NULL : failure);
	MemoryContextSwitchTo(TopMemoryContext);
	MemoryContextReset(context);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return failure == NULL;
}

/* Run what is due; false where a round failed. */
static bool
run_due_rounds(MemoryContext context, int slack_ms)
{
	for (int pass = 0; pass < 2; pass++)
	{
		/* short ones first */
		for (int k = 0; k < dp_worker_n_kinds; k++)
		{
			bool		asked;
			int64		due;

			if (DP_WORKER_IS_LONG(k) != (pass == 1) || !dp_worker_kind_runs(k) ||
				!claim(k, slack_ms, &asked, &due))
				continue;
			if (!run_round(context, k, due))
				return false;
			if (asked || worked)
				visit.worked_at = dp_worker_now();
			if (ShutdownRequestPending || must_leave())
				return true;
		}
	}
	return true;
}

/* Until when to sleep: the next kind that is due, or the end of the stay. */
static int64
next_look(void)
{
	int64		next = Min(visit.worked_at + LINGER_MS, visit.began_at + LONGEST_MS);

	LWLockAcquire(dp_worker_shared->lock, LW_SHARED);
	for (int k = 0; k < dp_worker_n_kinds; k++)
	{
		const DpKindSlot *slot = &my_database()->kind[k];

		if (slot->worker >= 0 || !dp_worker_kind_runs(k) ||
			(DP_WORKER_IS_LONG(k) && dp_pool_long_rounds() >= dp_guc_max_workers - 1))
			continue;			/* who ends it wakes the launcher, and that us */
		next = Min(next, slot->woken_at != 0 && slot->failures == 0 ? 0 : slot->next_due);
	}
	LWLockRelease(dp_worker_shared->lock);
	return next;
}

static bool
stay_is_over(void)
{
	int64		now = dp_worker_now();

	return now >= visit.worked_at + LINGER_MS || now >= visit.began_at + LONGEST_MS;
}

static void
work(MemoryContext context)
{
	int			slack_ms = NEARLY_DUE_MS;

	while (!ShutdownRequestPending && !must_leave())
	{
		int64		nap;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (!run_due_rounds(context, slack_ms) || stay_is_over())
			break;
		slack_ms = 0;
		nap = next_look() - dp_worker_now();
		if (nap > 0 && !ShutdownRequestPending)
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 (long) nap, PG_WAIT_EXTENSION);
	}
}

void
dp_visit_run(int entry, int slot, Oid database)
{
	MemoryContext context;

	visit.entry = entry;
	visit.slot = slot;
	visit.database = database;
	visit.began_at = visit.worked_at = dp_worker_now();

	if (!enter_database())
		proc_exit(0);
	/* whoever needs the database to itself may hold its lock for long */
	SetConfigOption("lock_timeout", "1s", PGC_SUSET, PGC_S_OVERRIDE);
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	pqsignal(SIGINT, handle_sigint);
	dp_worker_configure_session();
	if (!find_extension())
		proc_exit(0);
	context = AllocSetContextCreate(TopMemoryContext, "dataprotect worker round",
									ALLOCSET_DEFAULT_SIZES);
	work(context);
	proc_exit(0);
}
