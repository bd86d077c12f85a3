/*
 * agent.c
 *	  The key agent: the only process that talks to a KMS.
 *
 * A static background worker without a database connection, on primaries and
 * standbys alike.  It serves all slots in one event loop: calls to a network are
 * asynchronous (http.c), or in processes of their own (child_call.c), so that a KMS
 * that hangs delays nobody else.  Files are read synchronously.
 *
 * Its secrets are the credentials (aws_credentials.c), each job's key, in one
 * locked block that no core dump holds, and what libcurl keeps in its buffers
 * while a reply is read.  The process is not dumpable, so that nothing but the
 * operating system's administrator attaches to it.
 *
 * An uncaught error, or SIGTERM, ends the agent with status 1; the postmaster
 * starts the next one after a second, and running requests begin again there.
 */
#include "postgres.h"

#include <sys/mman.h>
#include <sys/prctl.h>

#include "base/guc.h"
#include "base/secret.h"
#include "kms/aws_credentials.h"
#include "kms/child_call.h"
#include "kms/http.h"
#include "kms/job.h"
#include "kms/key_set.h"
#include "kms/uri_policy.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define RESTART_SECONDS		1
#define FAILED_FRESH_MS		10000	/* a failed refresh is repeated after this */

PGDLLEXPORT void dp_kms_agent_main(Datum arg);

static DpKmsSink sink_callback = NULL;

static DpKmsJob *jobs = NULL;	/* DP_KMS_SLOTS of them */

void
dp_kms_set_sink(DpKmsSink sink)
{
	sink_callback = sink;
}

void
dp_kms_init(void)
{
	BackgroundWorker worker;

	dp_kms_shared_init();
	dp_kms_check_settings();
	dp_key_set_init();
	dp_key_set_check_settings();

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = RESTART_SECONDS;
	strlcpy(worker.bgw_library_name, "dataprotect", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "dp_kms_agent_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "dataprotect key agent", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "dataprotect key agent", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* Give unfinished requests back, for the next agent. */
static void
requeue_running(void)
{
	LWLockAcquire(dp_kms_lock, LW_EXCLUSIVE);
	for (int i = 0; i < DP_KMS_SLOTS; i++)
	{
		if (dp_kms_shared->slots[i].state == DP_KMS_SLOT_RUNNING)
			dp_kms_shared->slots[i].state = DP_KMS_SLOT_QUEUED;
	}
	LWLockRelease(dp_kms_lock);
}

static void
agent_exit(int code, Datum arg)
{
	LWLockAcquire(dp_kms_lock, LW_EXCLUSIVE);
	dp_kms_shared->agent = NULL;
	LWLockRelease(dp_kms_lock);
	requeue_running();
	for (int i = 0; i < DP_KMS_SLOTS; i++)
		dp_secret_wipe(jobs[i].key, DP_KEY_LEN);
}

/* The jobs, and one block of memory for their keys that is never swapped or dumped. */
static void
allocate_jobs(void)
{
	Size		size = DP_KMS_SLOTS * DP_KEY_LEN;
	uint8	   *keys;

	jobs = MemoryContextAllocZero(TopMemoryContext, DP_KMS_SLOTS * sizeof(DpKmsJob));
	keys = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (keys == MAP_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map memory for keys: %m")));
	if (mlock(keys, size) != 0)
		ereport(WARNING,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not lock the key agent's memory: %m"),
				 errhint("Raise the limit on locked memory of the server's user, or encrypt the swap space.")));
	(void) madvise(keys, size, MADV_DONTDUMP);
	for (int i = 0; i < DP_KMS_SLOTS; i++)
		jobs[i].key = keys + i * DP_KEY_LEN;
}

/* Take queued requests over.  What nobody waits for any more is dropped. */
static void
accept_requests(void)
{
	int64		now = dp_kms_now();

	for (int i = 0; i < DP_KMS_SLOTS; i++)
	{
		DpKmsSlot  *slot = &dp_kms_shared->slots[i];
		bool		accepted = false;
		bool		dropped = false;

		if (jobs[i].active)
			continue;

		LWLockAcquire(dp_kms_lock, LW_EXCLUSIVE);
		if (slot->state == DP_KMS_SLOT_QUEUED)
		{
			if (slot->refs == 0 &&
				(slot->request.kind != DP_KMS_FETCH || now >= slot->request.deadline))
			{
				slot->state = DP_KMS_SLOT_FREE;
				dropped = true;
			}
			else
			{
				jobs[i].request = slot->request;
				slot->state = DP_KMS_SLOT_RUNNING;
				accepted = true;
			}
		}
		LWLockRelease(dp_kms_lock);

		if (accepted)
			dp_kms_job_begin(&jobs[i]);
		if (dropped)
			ConditionVariableSignal(&dp_kms_shared->slot_freed);
	}
}

/* A new key for which nobody waits any more must not reach the arena. */
static bool
is_awaited(const DpKmsSlot *slot)
{
	bool		awaited;

	LWLockAcquire(dp_kms_lock, LW_SHARED);
	awaited = slot->refs > 0;
	LWLockRelease(dp_kms_lock);
	return awaited;
}

/* Deliver the key, then publish the result: whoever sees it finds the key. */
static void
complete_job(int number)
{
	DpKmsJob   *job = &jobs[number];
	DpKmsSlot  *slot = &dp_kms_shared->slots[number];
	const DpKmsRequest *request = &job->request;
	int64		fresh_ms = (int64) dp_guc_key_cache_soft_ttl * 1000;
	bool		unused;

	if (job->ok && sink_callback != NULL && dp_kms_yields_key(request->kind) &&
		(request->kind == DP_KMS_FETCH || is_awaited(slot)))
		sink_callback(request->database, request->context.key_id, job->key);

	LWLockAcquire(dp_kms_lock, LW_EXCLUSIVE);
	slot->ok = job->ok;
	if (job->ok)
		dp_kms_request_answer(&slot->request, request);
	else
		slot->error = job->error;
	slot->done_at = dp_kms_now();
	slot->state = DP_KMS_SLOT_DONE;
	unused = slot->refs == 0;
	if (job->ok && dp_kms_yields_key(request->kind))
		dp_kms_fresh_set(request->database, request->context.key_id, slot->done_at + fresh_ms);
	else if (request->kind == DP_KMS_FETCH)
		dp_kms_fresh_set(request->database, request->context.key_id,
						 slot->done_at + Min(fresh_ms, FAILED_FRESH_MS));
	LWLockRelease(dp_kms_lock);

	ConditionVariableBroadcast(&slot->done);
	if (unused)
		ConditionVariableSignal(&dp_kms_shared->slot_freed);
	dp_kms_job_end(job);
}

/* Advance every job; returns the time until the next one wants it, or -1. */
static int
run_jobs(void)
{
	int64		next = -1;
	int64		now;

	for (int i = 0; i < DP_KMS_SLOTS; i++)
	{
		DpKmsJob   *job = &jobs[i];

		if (!job->active)
			continue;
		dp_kms_job_advance(job);
		if (job->over)
			complete_job(i);
		else if (next < 0 || dp_kms_job_next(job) < next)
			next = dp_kms_job_next(job);
	}
	if (next < 0)
		return -1;
	now = dp_kms_now();
	return next <= now ? 0 : (int) (next - now);
}

void
dp_kms_agent_main(Datum arg)
{
	MemoryContext round;

	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	if (prctl(PR_SET_DUMPABLE, 0) != 0)
		ereport(WARNING,
				(errmsg("could not make the key agent not dumpable: %m")));
	allocate_jobs();
	dp_aws_credentials_init();
	/* What KMSs answer is UTF-8; a process without a database has no encoding of its own. */
	SetDatabaseEncoding(PG_UTF8);
	round = AllocSetContextCreate(TopMemoryContext, "dataprotect key agent round", ALLOCSET_SMALL_SIZES);
	MemoryContextSwitchTo(round);

	before_shmem_exit(agent_exit, (Datum) 0);
	requeue_running();
	dp_kms_stat_agent_begins();
	LWLockAcquire(dp_kms_lock, LW_EXCLUSIVE);
	dp_kms_shared->agent = MyLatch;
	LWLockRelease(dp_kms_lock);

	for (;;)
	{
		int			timeout_ms;
		int			key_set_ms;
		int			child_ms;
		int			process_ms;

		MemoryContextReset(round);
		/* Reset first: a request that comes in during the round sets it again. */
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		/* Status 1, since 0 would mean that the agent is not wanted any more. */
		if (ShutdownRequestPending)
			proc_exit(1);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}

		dp_http_perform();
		dp_child_perform();
		dp_aws_credentials_perform();
		accept_requests();
		timeout_ms = run_jobs();
		key_set_ms = dp_key_set_advance();
		if (key_set_ms >= 0 && (timeout_ms < 0 || key_set_ms < timeout_ms))
			timeout_ms = key_set_ms;
		child_ms = dp_child_timeout();
		if (child_ms >= 0 && (timeout_ms < 0 || child_ms < timeout_ms))
			timeout_ms = child_ms;
		process_ms = dp_aws_credentials_timeout();
		if (process_ms >= 0 && (timeout_ms < 0 || process_ms < timeout_ms))
			timeout_ms = process_ms;
		dp_http_wait(timeout_ms);
	}
}
