/*
 * ring.c
 *	  Appending to the audit ring, waiting for room and for the disk.
 *
 * Locking.  shared->lock (an LWLock) is held by one appending process for the
 * length of a memcpy; it protects head, next_seq and the frames from head on.
 * tail, flushed_seq and consumption belong to the writer process.  reserved is
 * atomic.
 * Under neither lock is there any other lock, wait or ereport(ERROR).
 *
 * Room: head - tail + reserved + one frame (what a wrap may waste) never
 * exceeds the size, so a record with a reservation always fits.
 */
#include "postgres.h"

#include "base/guc.h"
#include "base/shmem.h"
#include "events/ring_file.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_crc32c.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "utils/wait_event.h"

/* Longest wait where interrupts are held: a buffer may be locked meanwhile. */
#define HELD_WAIT_MS	10000

#define ROLE_SLOTS 1024			/* roles beyond share */

typedef struct RingShared
{
	LWLock	   *lock;
	LWLock	   *denial_lock;
	pg_atomic_uint64 reserved;
	pg_atomic_uint64 role_reserved[ROLE_SLOTS]; /* the same, by authenticated role */
	pg_atomic_uint32 writer_sleeping;
	Latch	   *writer;			/* of the writer process; NULL while it is not there */
	ConditionVariable moved;	/* the writer has freed room and synced */
} RingShared;

static RingShared *shared = NULL;
static char *base = NULL;		/* mapped by the postmaster, inherited by fork */

static DpRingHeader *
header(void)
{
	return (DpRingHeader *) base;
}

/* What each kind of record leaves for the kinds above it. */
static uint64
left_alone(DpRingShare share)
{
	return share == DP_RING_ADMIN ? 0 : header()->size / 8;
}

static uint64
free_room(DpRingShare share)
{
	uint64		used = header()->head - ((volatile DpRingHeader *) header())->tail;
	uint64		taken = used + pg_atomic_read_u64(&shared->reserved) + DP_RING_FRAME_MAX +
		left_alone(share);

	return taken < header()->size ? header()->size - taken : 0;
}

/* Of this session's authenticated role, together with those of the same slot. */
static pg_atomic_uint64 *
role_reserved(void)
{
	return &shared->role_reserved[GetAuthenticatedUserId() % ROLE_SLOTS];
}

static void
add_reserved(Size reserve)
{
	if (reserve == 0)
		return;
	pg_atomic_fetch_add_u64(&shared->reserved, reserve);
	pg_atomic_fetch_add_u64(role_reserved(), reserve);
}

/* Under the lock: may that much be put aside? */
static bool
may_reserve(Size reserve, DpRingShare share)
{
	uint64		size = header()->size;

	if (reserve == 0)
		return true;
	if (pg_atomic_read_u64(&shared->reserved) + reserve > size / 2 + size / 8 - left_alone(share))
		return false;
	return share == DP_RING_ADMIN || pg_atomic_read_u64(role_reserved()) + reserve <= size / 4;
}

static void
refuse_reservation(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("too many unfinished statements and transactions with protected values"),
			 errdetail("Each keeps room in the audit ring until it ends; a role's may keep a quarter of the ring, all together half of it."),
			 errhint("End idle transactions, or increase \"dataprotect.audit_ring_size\".")));
}

/* Under the lock: write one frame at the head.  There is room. */
static uint64
write_frame(Oid database, const void *payload, Size len)
{
	DpRingHeader *h = header();
	uint64		offset = h->head % h->size;
	uint64		head = h->head;
	uint64		room = h->size - offset;
	DpRecordFrame *frame = (DpRecordFrame *) (base + DP_RING_DATA_AT + offset);

	if (room < DP_RECORD_FRAME_SIZE(len))
	{
		if (room >= sizeof(DpRecordFrame))
		{
			frame->magic = DP_RECORD_FRAME_FILLER;
			frame->len = (uint32) room;
		}
		head += room;
		frame = (DpRecordFrame *) (base + DP_RING_DATA_AT);
	}
	frame->len = (uint32) len;
	frame->database = database;
	frame->seq = h->next_seq;
	memcpy(frame + 1, payload, len);
	dp_record_frame_seal(frame, payload);
	h->next_seq++;
	pg_write_barrier();
	((volatile DpRingHeader *) h)->head = head + DP_RECORD_FRAME_SIZE(len);
	return frame->seq;
}

/* The writer polls while it is busy; it needs a call only out of its sleep. */
static void
nudge_writer(bool pressing)
{
	Latch	   *writer = ((volatile RingShared *) shared)->writer;

	if (writer == NULL)
		return;
	if (pressing || pg_atomic_read_u32(&shared->writer_sleeping) != 0)
		SetLatch(writer);
}

void
dp_ring_wake_writer(void)
{
	nudge_writer(true);
}

/*
 * Wait a moment for the writer.  waited_ms: so far, by this call's caller.
 * Raises an error where interrupts are held and the wait becomes too long.
 */
static void
wait_for_writer(int *waited_ms, const char *for_what)
{
	bool		held = InterruptHoldoffCount > 0 || CritSectionCount > 0;

	nudge_writer(true);
	if (held)
	{
		/* A condition variable would be interrupted by nothing anyway. */
		pg_usleep(1000L);
		*waited_ms += 1;
		if (*waited_ms > HELD_WAIT_MS)
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("audit log cannot keep up: no %s within %d s",
							for_what, HELD_WAIT_MS / 1000),
					 errhint("Look for errors of the audit writer in the server log.")));
		return;
	}
	(void) ConditionVariableTimedSleep(&shared->moved, 100, PG_WAIT_EXTENSION);
	*waited_ms += 100;
}

/*
 * Return with the lock held, exclusive, and len bytes free.  Raises an error
 * where reserve is more than may be put aside.
 */
static void
lock_with_room(Size len, Size reserve, DpRingShare share)
{
	int			waited_ms = 0;
	bool		prepared = false;

	for (;;)
	{
		bool		allowed;
		bool		has_room;

		LWLockAcquire(shared->lock, LW_EXCLUSIVE);
		allowed = may_reserve(reserve, share);
		if (allowed && !prepared && free_room(share) >= len + reserve)
			return;
		has_room = free_room(share) >= len + reserve;
		LWLockRelease(shared->lock);
		if (prepared && (has_room || !allowed))
		{
			/* Not under the lock, while which no other one is taken: look again. */
			ConditionVariableCancelSleep();
			prepared = false;
		}
		else if (!allowed)
			refuse_reservation();
		else if (!prepared && InterruptHoldoffCount == 0)
		{
			/* Look again, now that a signal is not missed. */
			ConditionVariablePrepareToSleep(&shared->moved);
			prepared = true;
		}
		else
			wait_for_writer(&waited_ms, "room in the ring");
	}
}

uint64
dp_ring_append(Oid database, const void *payload, Size len, Size reserve, DpRingShare share)
{
	uint64		seq;

	if (DP_RECORD_FRAME_SIZE(len) > DP_RING_FRAME_MAX)
		elog(ERROR, "audit record of %zu bytes is too long", len);
	lock_with_room(DP_RECORD_FRAME_SIZE(len), reserve, share);
	seq = write_frame(database, payload, len);
	add_reserved(reserve);
	LWLockRelease(shared->lock);
	nudge_writer(free_room(DP_RING_ORDINARY) < header()->size / 2);
	return seq;
}

void
dp_ring_reserve(Size reserve, DpRingShare share)
{
	lock_with_room(0, reserve, share);
	add_reserved(reserve);
	LWLockRelease(shared->lock);
}

uint64
dp_ring_append_reserved(Oid database, const void *payload, Size len, Size reserved)
{
	uint64		seq;

	Assert(DP_RECORD_FRAME_SIZE(len) <= reserved);
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	seq = write_frame(database, payload, len);
	dp_ring_unreserve(reserved);
	LWLockRelease(shared->lock);
	nudge_writer(false);
	return seq;
}

void
dp_ring_unreserve(Size reserved)
{
	if (reserved == 0)
		return;
	pg_atomic_fetch_sub_u64(&shared->reserved, reserved);
	pg_atomic_fetch_sub_u64(role_reserved(), reserved);
}

void
dp_ring_wait_durable(uint64 seq)
{
	int			waited_ms = 0;
	bool		prepared = false;

	while (dp_ring_flushed_seq() < seq)
	{
		if (!prepared && InterruptHoldoffCount == 0)
		{
			ConditionVariablePrepareToSleep(&shared->moved);
			prepared = true;
			continue;
		}
		wait_for_writer(&waited_ms, "confirmation from the disk");
	}
	if (prepared)
		ConditionVariableCancelSleep();
}

uint64
dp_ring_last_seq(void)
{
	uint64		seq;

	LWLockAcquire(shared->lock, LW_SHARED);
	seq = header()->next_seq - 1;
	LWLockRelease(shared->lock);
	return seq;
}

uint64
dp_ring_flushed_seq(void)
{
	return ((volatile DpRingHeader *) header())->flushed_seq;
}

uint64
dp_ring_boot_seq(void)
{
	return header()->boot_seq;
}

const uint8 *
dp_ring_instance(void)
{
	return header()->instance;
}

bool
dp_ring_next(uint64 *pos, const DpRecordFrame **out_frame, const void **out_payload)
{
	const DpRecordFrame *frame;

	if (*pos == 0)
		*pos = header()->tail;
	frame = dp_ring_file_next(base, pos);
	if (frame == NULL)
		return false;
	*out_frame = frame;
	*out_payload = frame + 1;
	return true;
}

void
dp_ring_consume(uint64 pos, uint64 flushed_seq)
{
	volatile DpRingHeader *h = header();
	static uint64 synced_seq = 0;	/* the header on disk is at least as new */

	synced_seq = Max(synced_seq, h->boot_seq);
	if (h->next_seq > synced_seq + DP_RING_SEQ_JUMP / 4)
	{
		uint64		reached = h->next_seq;

		dp_ring_file_sync_header(base);
		synced_seq = reached;
	}
	h->flushed_seq = flushed_seq;
	pg_write_barrier();
	h->tail = pos;
	ConditionVariableBroadcast(&shared->moved);
}

void
dp_ring_set_writer(Latch *latch)
{
	shared->writer = latch;
	pg_memory_barrier();
}

void
dp_ring_set_writer_sleeping(bool sleeping)
{
	pg_atomic_write_u32(&shared->writer_sleeping, sleeping ? 1 : 0);
	pg_memory_barrier();
}

bool
dp_ring_drain_aside(DpRingDrain each, void (*before_unlink) (void))
{
	return dp_ring_file_drain(each, before_unlink);
}

DpDenial *
dp_ring_denials(void)
{
	return (DpDenial *) (base + DP_RING_DENIALS_AT);
}

LWLock *
dp_ring_denial_lock(void)
{
	return shared->denial_lock;
}

static void
attach(void *area, LWLockPadded *locks, bool is_new)
{
	shared = area;
	if (!is_new)
		return;
	shared->lock = &locks[0].lock;
	shared->denial_lock = &locks[1].lock;
	pg_atomic_init_u64(&shared->reserved, 0);
	for (int i = 0; i < ROLE_SLOTS; i++)
		pg_atomic_init_u64(&shared->role_reserved[i], 0);
	pg_atomic_init_u32(&shared->writer_sleeping, 0);
	ConditionVariableInit(&shared->moved);
	base = dp_ring_file_open((Size) dp_guc_audit_ring_size * 1024);
	dp_witness_attach((DpRingWitnessSlot *) (base + DP_RING_HEADER_LEN));
}

void
dp_ring_init(void)
{
	dp_shmem_register("dataprotect audit ring", sizeof(RingShared), 2, attach);
	dp_witness_init();
}
