/*
 * ring_file.c
 *	  Opening, checking and repairing the file behind the ring.
 *
 * The file is in pg_dynshmem: base backups leave that folder's files out, so a
 * copied cluster does not replay another one's records; a file-system copy is
 * told by its inode.  posix_fallocate makes a full disk an error here instead
 * of a SIGBUS later.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/xlog.h"
#include "events/ring_file.h"
#include "port/atomics.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "utils/timestamp.h"

static char *mapped = NULL;		/* survives a crash restart in the postmaster */
static DpRingNewestStored newest_stored = NULL;

void
dp_ring_set_newest_stored(DpRingNewestStored callback)
{
	newest_stored = callback;
}

static DpRingHeader *
header_of(const char *base)
{
	return (DpRingHeader *) base;
}

static uint32
header_crc(const DpRingHeader *header)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, &header->system_id,
				offsetof(DpRingHeader, tail) - offsetof(DpRingHeader, system_id));
	FIN_CRC32C(crc);
	return crc;
}

/* Length of a plausible frame at pos, or 0. */
static uint64
frame_length(const char *base, uint64 pos)
{
	const DpRingHeader *header = header_of(base);
	uint64		offset = pos % header->size;
	const DpRecordFrame *frame = (const DpRecordFrame *) (base + DP_RING_DATA_AT + offset);
	uint64		room = header->size - offset;

	if (room < sizeof(DpRecordFrame))
		return room;			/* too little for a header: skipped */
	if (frame->magic == DP_RECORD_FRAME_FILLER)
		return frame->len <= room && frame->len % MAXIMUM_ALIGNOF == 0 ? frame->len : 0;
	if (frame->magic != DP_RECORD_FRAME_MAGIC || frame->len > DP_RING_FRAME_MAX - sizeof(DpRecordFrame) ||
		DP_RECORD_FRAME_SIZE(frame->len) > room)
		return 0;
	return DP_RECORD_FRAME_SIZE(frame->len);
}

const DpRecordFrame *
dp_ring_file_next(const char *base, uint64 *pos)
{
	const DpRingHeader *header = header_of(base);
	uint64		head = ((volatile const DpRingHeader *) header)->head;

	pg_read_barrier();
	while (*pos < head)
	{
		uint64		offset = *pos % header->size;
		const DpRecordFrame *frame = (const DpRecordFrame *) (base + DP_RING_DATA_AT + offset);
		uint64		len = frame_length(base, *pos);

		if (len == 0)
			return NULL;
		*pos += len;
		if (header->size - offset >= sizeof(DpRecordFrame) && frame->magic == DP_RECORD_FRAME_MAGIC)
			return frame;
	}
	return NULL;
}

/* Turn [from, to) into fillers. */
static void
fill(char *base, uint64 from, uint64 to)
{
	const DpRingHeader *header = header_of(base);

	while (from < to)
	{
		uint64		offset = from % header->size;
		uint64		len = Min(to - from, header->size - offset);

		if (len >= sizeof(DpRecordFrame))
		{
			DpRecordFrame *frame = (DpRecordFrame *) (base + DP_RING_DATA_AT + offset);

			memset(frame, 0, sizeof(DpRecordFrame));
			frame->magic = DP_RECORD_FRAME_FILLER;
			frame->len = (uint32) len;
		}
		else if (offset + len < header->size)
			memset(base + DP_RING_DATA_AT + offset, 0, len);
		from += len;
	}
}

static bool
is_whole(const char *base, uint64 pos)
{
	const DpRingHeader *header = header_of(base);
	uint64		offset = pos % header->size;
	const DpRecordFrame *frame = (const DpRecordFrame *) (base + DP_RING_DATA_AT + offset);

	if (header->size - offset < sizeof(DpRecordFrame) || frame_length(base, pos) == 0)
		return false;
	return frame->magic == DP_RECORD_FRAME_MAGIC && dp_record_frame_check(frame, frame + 1);
}

/*
 * A power failure may leave a header older than the frames: take what follows
 * its head and was written later, which its number tells.  Returns how many.
 */
static int
find_beyond(char *base)
{
	DpRingHeader *header = header_of(base);
	int			found = 0;

	for (;;)
	{
		uint64		pos = header->head;
		const DpRecordFrame *frame = (const DpRecordFrame *) (base + DP_RING_DATA_AT + pos % header->size);
		uint64		len = frame_length(base, pos);

		if (len > 0 && (len < sizeof(DpRecordFrame) || frame->magic == DP_RECORD_FRAME_FILLER) &&
			pos % header->size + len == header->size)
		{
			pos += len;			/* the rest of the ring was skipped */
			frame = (const DpRecordFrame *) (base + DP_RING_DATA_AT);
		}
		if (!is_whole(base, pos) || frame->seq < header->next_seq ||
			pos + DP_RECORD_FRAME_SIZE(frame->len) - header->tail > header->size)
			return found;
		header->next_seq = frame->seq + 1;
		header->head = pos + DP_RECORD_FRAME_SIZE(frame->len);
		found++;
	}
}

/*
 * After a crash: keep every whole frame between tail and head, turn the rest
 * into fillers.  Returns the number of frames kept.
 */
static int
repair(char *base)
{
	DpRingHeader *header = header_of(base);
	uint64		pos;
	int			kept = 0;
	uint64		torn = 0;

	if (header->head < header->tail || header->head - header->tail > header->size ||
		header->head % MAXIMUM_ALIGNOF != 0 || header->tail % MAXIMUM_ALIGNOF != 0)
	{
		/* Positions of different times: look at the whole ring. */
		header->head = Max(header->head, header->tail) & ~((uint64) MAXIMUM_ALIGNOF - 1);
		header->tail = header->head > header->size ? header->head - header->size : 0;
	}
	for (pos = header->tail; pos < header->head;)
	{
		const DpRecordFrame *frame = (const DpRecordFrame *) (base + DP_RING_DATA_AT + pos % header->size);
		uint64		len = frame_length(base, pos);

		if (is_whole(base, pos))
		{
			header->next_seq = Max(header->next_seq, frame->seq + 1);
			kept++;
			pos += len;
		}
		else if (len > 0 && (len < sizeof(DpRecordFrame) || frame->magic == DP_RECORD_FRAME_FILLER))
			pos += len;
		else
		{
			uint64		end = pos + MAXIMUM_ALIGNOF;

			while (end < header->head && !is_whole(base, end))
				end += MAXIMUM_ALIGNOF;
			torn += end - pos;
			fill(base, pos, end);
			pos = end;
		}
	}
	kept += find_beyond(base);
	if (torn > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("audit ring had " UINT64_FORMAT " bytes of unfinished records", torn),
				 errdetail("They were skipped; %d whole records were kept.", kept)));
	return kept;
}

void
dp_ring_file_sync_header(char *base)
{
	if (msync(base, DP_RING_DATA_AT, MS_SYNC) != 0)
		ereport(data_sync_elevel(ERROR),
				(errcode_for_file_access(),
				 errmsg("could not sync file \"%s\": %m", DP_RING_FILE)));
}

/*
 * Begin a new life of the backends on a repaired ring.  Its numbers are above
 * all that were ever used, or its records would be taken for ones that are
 * stored already.  Three witnesses, since each may be gone: the header, which a
 * power failure can set back (it is on disk before the first number is used, and
 * again before DP_RING_SEQ_JUMP are), the segments, and the clock, which counts
 * faster than records are made.
 */
static void
start_life(char *base)
{
	DpRingHeader *header = header_of(base);
	uint64		stored = newest_stored != NULL ? newest_stored(header->instance) : 0;

	header->next_seq += DP_RING_SEQ_JUMP;
	header->next_seq = Max(header->next_seq, stored + 1);
	header->next_seq = Max(header->next_seq, (uint64) Max(GetCurrentTimestamp(), 0));
	header->boot_seq = header->next_seq;
	dp_ring_file_sync_header(base);
}

static char *
map_file(int fd, Size length)
{
	char	   *base = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not map file \"%s\": %m", DP_RING_FILE)));
	return base;
}

/* Create and map a ring; before: the header whose instance it continues, or NULL. */
static char *
create_file(Size size, const char *before)
{
	int			fd = OpenTransientFile(DP_RING_FILE, O_CREAT | O_EXCL | O_RDWR | PG_BINARY);
	DpRingHeader *header;
	struct stat st;
	char	   *base;
	int			rc;

	if (fd < 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", DP_RING_FILE)));
	rc = posix_fallocate(fd, 0, DP_RING_DATA_AT + size);
	if (rc != 0)
	{
		(void) unlink(DP_RING_FILE);
		errno = rc;
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not allocate file \"%s\": %m", DP_RING_FILE),
				 errhint("Free disk space or decrease \"dataprotect.audit_ring_size\".")));
	}
	if (fstat(fd, &st) != 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", DP_RING_FILE)));
	base = map_file(fd, DP_RING_DATA_AT + size);
	header = header_of(base);
	memset(base, 0, DP_RING_DATA_AT);
	header->version = DP_RING_VERSION;
	header->system_id = GetSystemIdentifier();
	header->size = size;
	header->inode = st.st_ino;
	if (before != NULL)
	{
		const DpRingHeader *old = (const DpRingHeader *) before;

		memcpy(base + DP_RING_HEADER_LEN, before + DP_RING_HEADER_LEN,
			   DP_RING_DATA_AT - DP_RING_HEADER_LEN);
		memcpy(header->instance, old->instance, DP_RING_INSTANCE_LEN);
		header->next_seq = old->next_seq;
		header->flushed_seq = old->flushed_seq;
	}
	else if (!pg_strong_random(header->instance, DP_RING_INSTANCE_LEN))
		ereport(FATAL,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random instance id")));
	header->crc = header_crc(header);
	pg_write_barrier();
	header->magic = DP_RING_MAGIC;
	if (pg_fsync(fd) != 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", DP_RING_FILE)));
	CloseTransientFile(fd);
	return base;
}

static void
set_aside(const char *name, const char *why)
{
	if (rename(DP_RING_FILE, name) != 0)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not rename file \"%s\" to \"%s\": %m", DP_RING_FILE, name)));
	ereport(LOG,
			(errmsg("audit ring was set aside as \"%s\"", name),
			 errdetail_internal("%s", why)));
}

static bool
is_ours(const char *base, off_t length, ino_t inode, const char **out_why)
{
	const DpRingHeader *header = (const DpRingHeader *) base;

	if (header->magic != DP_RING_MAGIC || header->version != DP_RING_VERSION ||
		header->crc != header_crc(header) || header->size % MAXIMUM_ALIGNOF != 0 ||
		header->size < DP_RING_FRAME_MAX || length != DP_RING_DATA_AT + header->size)
		*out_why = "Its header is damaged or of another version.";
	else if (header->system_id != GetSystemIdentifier() || header->inode != inode)
		*out_why = "It belongs to another cluster, or was copied.";
	else
		return true;
	return false;
}

char *
dp_ring_file_open(Size size)
{
	struct stat st;
	const char *why;
	char	   *base;
	int			fd;

	if (mapped != NULL)
	{
		(void) repair(mapped);
		start_life(mapped);
		return mapped;
	}
	fd = OpenTransientFile(DP_RING_FILE, O_RDWR | PG_BINARY);
	if (fd < 0 && errno != ENOENT)
		ereport(FATAL,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", DP_RING_FILE)));
	if (fd < 0)
	{
		mapped = create_file(size, NULL);
		start_life(mapped);
		return mapped;
	}
	if (fstat(fd, &st) != 0 || st.st_size < DP_RING_DATA_AT)
		st.st_size = 0;
	base = st.st_size > 0 ? map_file(fd, st.st_size) : NULL;
	CloseTransientFile(fd);
	why = "It is too short.";
	if (base == NULL || !is_ours(base, st.st_size, st.st_ino, &why))
	{
		set_aside(psprintf(DP_RING_FILE ".foreign.%ld", (long) time(NULL)), why);
		if (base != NULL)
			munmap(base, st.st_size);
		mapped = create_file(size, NULL);
	}
	else if (header_of(base)->size == size)
	{
		(void) repair(base);
		mapped = base;
	}
	else if (access(DP_RING_ASIDE, F_OK) == 0)
	{
		/* One set aside still waits to be drained: keep the old size for now. */
		(void) repair(base);
		mapped = base;
	}
	else
	{
		(void) repair(base);
		set_aside(DP_RING_ASIDE, "\"dataprotect.audit_ring_size\" has changed; its records are moved to segments.");
		mapped = create_file(size, base);
		munmap(base, st.st_size);
	}
	start_life(mapped);
	return mapped;
}

bool
dp_ring_file_drain(DpRingDrain each, void (*before_unlink) (void))
{
	struct stat st;
	uint64		pos;
	const DpRecordFrame *frame;
	char	   *base;
	int			fd = OpenTransientFile(DP_RING_ASIDE, O_RDWR | PG_BINARY);

	if (fd < 0)
		return false;
	if (fstat(fd, &st) != 0 || st.st_size < DP_RING_DATA_AT)
	{
		CloseTransientFile(fd);
		return false;
	}
	base = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	CloseTransientFile(fd);
	if (base == MAP_FAILED)
		return false;
	pos = header_of(base)->tail;
	while ((frame = dp_ring_file_next(base, &pos)) != NULL)
		each(frame, frame + 1);
	before_unlink();
	munmap(base, st.st_size);
	return unlink(DP_RING_ASIDE) == 0;
}
