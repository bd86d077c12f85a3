/*
 * writer.c
 *	  The audit writer: one static process that moves records from the ring to
 *	  segment files and syncs them, on primaries and standbys alike.
 *
 * Order: write every database's frames, sync every file touched, only then
 * free the ring.  A writer killed in between finds, at its next start, frames
 * in the ring that a segment has already: it skips what is not newer than the
 * last whole frame of the database's newest segment.  A torn frame at the end
 * of a segment is cut off.  Any I/O error ends the process; the postmaster
 * starts it again and nothing has been freed.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "audit/audit_workers.h"
#include "audit/segment.h"
#include "base/worker.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/wait_event.h"

#define BUSY_NAP_MS		100		/* between two looks while records come */
#define IDLE_ROUNDS		20		/* empty looks before the long sleep */
#define SLEEP_MS		10000
#define BUFFER_LEN		(128 * 1024)
#define ROUND_BYTES		(4 * 1024 * 1024)
#define WAKE_BYTES		(3 * 1024 * 1024)	/* a collector is woken for */
#define MAX_OUTPUTS		64
#define COLLECT_MS		1000	/* and for less within this */

/* The newest segment of one database. */
typedef struct Output
{
	Oid			database;		/* hash key */
	int			fd;				/* -1: none yet */
	off_t		size;
	uint64		last_seq;		/* newest frame in it, or in the buffer */
	Size		waiting;		/* bytes since its collector was last woken */
	bool		fresh;			/* has got records that its collector does not know of */
	uint64		round;			/* in which it last got one */
	bool		unsynced;
	Size		buffered;
	char	   *buffer;
} Output;

static HTAB *outputs = NULL;
static uint64 current_round = 0;

PGDLLEXPORT void dp_audit_writer_main(Datum main_arg);

static void
write_out(Output *output, const char *data, Size len)
{
	while (len > 0)
	{
		ssize_t		written = pg_pwrite(output->fd, data, len, output->size);

		if (written <= 0)
		{
			errno = written == 0 ? ENOSPC : errno;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write audit segment of database %u: %m", output->database)));
		}
		data += written;
		len -= written;
		output->size += written;
	}
	output->unsynced = true;
}

static void
write_buffer(Output *output)
{
	if (output->buffered > 0)
		write_out(output, output->buffer, output->buffered);
	output->buffered = 0;
}

static void
sync_output(Output *output)
{
	write_buffer(output);
	if (output->unsynced && pg_fdatasync(output->fd) != 0)
		ereport(data_sync_elevel(ERROR),
				(errcode_for_file_access(),
				 errmsg("could not sync audit segment of database %u: %m", output->database)));
	output->unsynced = false;
}

/* Continue the newest segment of this instance, cutting off a torn end. */
static void
resume_output(Output *output)
{
	DpSegment  *newest = NULL;
	DpSegmentScan *scan;
	const DpRecordFrame *frame;
	const void *payload;
	ListCell   *cell;

	foreach(cell, dp_segment_list(output->database))
	{
		DpSegment  *segment = (DpSegment *) lfirst(cell);

		if (memcmp(segment->instance, dp_ring_instance(), DP_RING_INSTANCE_LEN) == 0)
			newest = segment;
	}
	if (newest == NULL)
		return;
	output->last_seq = newest->first_seq - 1;
	scan = dp_segment_open(newest, 0);
	if (scan == NULL)
		return;					/* its header is torn: the next one replaces it */
	while (dp_segment_next(scan, &frame, &payload))
		output->last_seq = frame->seq;
	output->size = dp_segment_offset(scan);
	dp_segment_close(scan);
	output->fd = BasicOpenFile(newest->path, O_RDWR | PG_BINARY);
	if (output->fd < 0 || ftruncate(output->fd, output->size) != 0 || pg_fsync(output->fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not continue file \"%s\": %m", newest->path)));
}

static Output *
find_output(Oid database)
{
	bool		found;
	Output	   *output = hash_search(outputs, &database, HASH_ENTER, &found);

	if (!found)
	{
		memset(output, 0, sizeof(*output));
		output->database = database;
		output->fd = -1;
		output->buffer = MemoryContextAlloc(TopMemoryContext, BUFFER_LEN);
		resume_output(output);
	}
	return output;
}

static void
start_segment(Output *output, uint64 first_seq)
{
	if (output->fd >= 0)
	{
		sync_output(output);
		close(output->fd);
		output->fd = -1;
	}
	output->fd = dp_segment_create(output->database, dp_ring_instance(), first_seq);
	output->size = DP_SEGMENT_HEADER;
}

static void
put_frame(const DpRecordFrame *frame, const void *payload)
{
	Output	   *output = find_output(frame->database);
	Size		len = DP_RECORD_FRAME_SIZE(frame->len);
	Size		exact = sizeof(DpRecordFrame) + frame->len;

	if (frame->seq <= output->last_seq)
		return;					/* written before the last crash */
	if (output->fd < 0 || output->size + (off_t) (output->buffered + len) > DP_SEGMENT_MAX)
		start_segment(output, frame->seq);
	if (output->buffered + len > BUFFER_LEN)
		write_buffer(output);
	memcpy(output->buffer + output->buffered, frame, sizeof(DpRecordFrame));
	memcpy(output->buffer + output->buffered + sizeof(DpRecordFrame), payload, frame->len);
	memset(output->buffer + output->buffered + exact, 0, len - exact);
	output->buffered += len;
	output->last_seq = frame->seq;
	output->waiting += len;
	output->fresh = true;
	output->round = current_round;
}

static void
sync_all(void)
{
	HASH_SEQ_STATUS status;
	Output	   *output;

	hash_seq_init(&status, outputs);
	while ((output = hash_seq_search(&status)) != NULL)
		sync_output(output);
}

/*
 * Files and buffers are kept for so many databases as write now; of a database
 * that comes back the newest segment is read again.  Everything is synced.
 */
static void
close_idle_outputs(void)
{
	HASH_SEQ_STATUS status;
	Output	   *output;

	if (hash_get_num_entries(outputs) <= MAX_OUTPUTS)
		return;
	hash_seq_init(&status, outputs);
	while ((output = hash_seq_search(&status)) != NULL)
	{
		if (output->round == current_round)
			continue;
		if (output->fd >= 0)
			close(output->fd);
		pfree(output->buffer);
		(void) hash_search(outputs, &output->database, HASH_REMOVE, NULL);
	}
}

/* A batch is cheaper the larger it is: a second's worth, or as much as fits one. */
static void
wake_collectors(void)
{
	HASH_SEQ_STATUS status;
	Output	   *output;

	hash_seq_init(&status, outputs);
	while ((output = hash_seq_search(&status)) != NULL)
	{
		if (!output->fresh)
			continue;
		output->fresh = false;
		if (output->waiting < WAKE_BYTES)
		{
			dp_worker_wake_within(output->database, DP_AUDIT_WORKER_KIND, COLLECT_MS);
			continue;
		}
		dp_worker_wake(output->database, DP_AUDIT_WORKER_KIND);
		output->waiting = 0;
	}
}

/* Move what the ring holds; returns the number of bytes, bounded. */
static Size
move_records(void)
{
	uint64		flushed = dp_ring_last_seq();
	uint64		pos = 0;
	uint64		last = 0;
	Size		moved = 0;
	bool		at_end = true;
	const DpRecordFrame *frame;
	const void *payload;

	current_round++;
	while (dp_ring_next(&pos, &frame, &payload))
	{
		put_frame(frame, payload);
		last = frame->seq;
		moved += DP_RECORD_FRAME_SIZE(frame->len);
		if (moved >= ROUND_BYTES)
		{
			at_end = false;
			break;
		}
	}
	sync_all();
	flushed = at_end ? Max(flushed, last) : last;
	if (moved > 0 || flushed > dp_ring_flushed_seq())
		dp_ring_consume(pos, flushed);
	wake_collectors();
	close_idle_outputs();
	return moved;
}

static void
leave_writer(int code, Datum arg)
{
	dp_ring_set_writer(NULL);
}

static void
nap_until_records(int *idle_rounds, bool moved)
{
	bool		sleep;

	*idle_rounds = moved ? 0 : *idle_rounds + 1;
	sleep = *idle_rounds > IDLE_ROUNDS;
	if (sleep)
	{
		dp_ring_set_writer_sleeping(true);
		if (dp_ring_last_seq() > dp_ring_flushed_seq())
			sleep = false;
	}
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 sleep ? SLEEP_MS : BUSY_NAP_MS, PG_WAIT_EXTENSION);
	dp_ring_set_writer_sleeping(false);
}

void
dp_audit_writer_main(Datum main_arg)
{
	MemoryContext round_context;
	HASHCTL		control;
	int			idle_rounds = 0;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "dataprotect audit writer");

	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(Output);
	outputs = hash_create("audit segments", 16, &control, HASH_ELEM | HASH_BLOBS);
	round_context = AllocSetContextCreate(TopMemoryContext, "dataprotect audit writer",
										  ALLOCSET_DEFAULT_SIZES);
	dp_ring_set_writer(MyLatch);
	on_shmem_exit(leave_writer, (Datum) 0);
	MemoryContextSwitchTo(round_context);
	(void) dp_ring_drain_aside(put_frame, sync_all);

	while (!ShutdownRequestPending)
	{
		bool		moved;

		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		moved = move_records() > 0;
		MemoryContextReset(round_context);
		if (!ShutdownRequestPending)
			nap_until_records(&idle_rounds, moved);
	}
	(void) move_records();
	/* status 0 would mean that no writer is wanted any more */
	proc_exit(1);
}

void
dp_audit_writer_register(void)
{
	BackgroundWorker worker;

	dp_ring_set_newest_stored(dp_segment_newest_seq);
	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
	worker.bgw_start_time = BgWorkerStart_PostmasterStart;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "dataprotect", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "dp_audit_writer_main", sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "dataprotect audit writer", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "dataprotect audit writer", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}
