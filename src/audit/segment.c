/*
 * segment.c
 *	  Names, headers and reading of segment files.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "audit/segment.h"
#include "base/guc.h"
#include "common/file_perm.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "storage/fd.h"
#include "utils/memutils.h"

#define SEGMENT_MAGIC	UINT64CONST(0x6765736f72707064)
#define SEGMENT_VERSION 1
#define READ_CHUNK		(256 * 1024)
#define INSTANCE_DIGITS (DP_RING_INSTANCE_LEN * 2)
#define SEGMENT_PATH_MAX (MAXPGPATH + INSTANCE_DIGITS + 32)

typedef struct SegmentHeader
{
	uint64		magic;
	uint32		version;
	uint32		crc;			/* of the fields below */
	uint64		system_id;
	uint64		first_seq;
	uint8		instance[DP_RING_INSTANCE_LEN];
	Oid			database;
	uint32		unused;
	uint64		boot_seq;		/* of dp_segment_store(); else 0 */
} SegmentHeader;

StaticAssertDecl(sizeof(SegmentHeader) == DP_SEGMENT_HEADER, "segment header has its length");

struct DpSegmentScan
{
	int			fd;
	off_t		read_to;		/* the buffer ends there */
	Size		have;			/* bytes in the buffer */
	Size		used;			/* of them given out */
	char		buf[READ_CHUNK];
};

static uint32
header_crc(const SegmentHeader *header)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, &header->system_id, sizeof(*header) - offsetof(SegmentHeader, system_id));
	FIN_CRC32C(crc);
	return crc;
}

/* Directory of a database's segments; the directory of all for InvalidOid. */
static void
segment_directory(Oid database, char *out)
{
	if (OidIsValid(database))
		snprintf(out, MAXPGPATH, "%s/%u", dp_guc_audit_directory, database);
	else
		strlcpy(out, dp_guc_audit_directory, MAXPGPATH);
}

static void
instance_text(const uint8 *instance, char *out)
{
	for (int i = 0; i < DP_RING_INSTANCE_LEN; i++)
		snprintf(out + 2 * i, 3, "%02x", instance[i]);
}

/* Parse "<instance>-<first seq>.seg". */
static bool
parse_name(const char *name, DpSegment *out)
{
	char		digits[3] = {0};
	unsigned long long seq;
	int			end = 0;

	if (strspn(name, "0123456789abcdef") != INSTANCE_DIGITS || name[INSTANCE_DIGITS] != '-')
		return false;
	if (sscanf(name + INSTANCE_DIGITS, "-%16llx.seg%n", &seq, &end) != 1 || end == 0 ||
		name[INSTANCE_DIGITS + end] != '\0')
		return false;
	for (int i = 0; i < DP_RING_INSTANCE_LEN; i++)
	{
		memcpy(digits, name + 2 * i, 2);
		out->instance[i] = (uint8) strtoul(digits, NULL, 16);
	}
	out->first_seq = seq;
	return true;
}

static int
compare_segments(const ListCell *a, const ListCell *b)
{
	const DpSegment *left = (const DpSegment *) lfirst(a);
	const DpSegment *right = (const DpSegment *) lfirst(b);
	int			order = memcmp(left->instance, right->instance, DP_RING_INSTANCE_LEN);

	if (order != 0)
		return order;
	return left->first_seq < right->first_seq ? -1 : left->first_seq > right->first_seq;
}

List *
dp_segment_list(Oid database)
{
	char		path[MAXPGPATH];
	List	   *result = NIL;
	struct dirent *entry;
	DIR		   *dir;

	segment_directory(database, path);
	dir = AllocateDir(path);
	if (dir == NULL && errno == ENOENT)
		return NIL;
	while ((entry = ReadDir(dir, path)) != NULL)
	{
		DpSegment  *segment = palloc(sizeof(DpSegment));

		if (parse_name(entry->d_name, segment) &&
			snprintf(segment->path, MAXPGPATH, "%s/%s", path, entry->d_name) < MAXPGPATH)
			result = lappend(result, segment);
		else
			pfree(segment);
	}
	FreeDir(dir);
	list_sort(result, compare_segments);
	return result;
}

static void
make_directory(const char *path, const char *parent)
{
	if (MakePGDirectory(path) == 0)
		fsync_fname(parent, true);
	else if (errno != EEXIST)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create directory \"%s\": %m", path)));
}

/* Make the directory of a database's segments, and the header and path of a file. */
static void
begin_segment(Oid database, const uint8 *instance, uint64 first_seq, uint64 boot_seq,
			  SegmentHeader *header, char *directory, char *path, Size path_len)
{
	char		top[MAXPGPATH];
	char		digits[INSTANCE_DIGITS + 1];

	segment_directory(InvalidOid, top);
	segment_directory(database, directory);
	make_directory(top, ".");
	make_directory(directory, top);
	instance_text(instance, digits);
	snprintf(path, path_len, "%s/%s-%016llx.seg", directory, digits, (unsigned long long) first_seq);
	memset(header, 0, sizeof(*header));
	header->magic = SEGMENT_MAGIC;
	header->version = SEGMENT_VERSION;
	header->system_id = GetSystemIdentifier();
	header->first_seq = first_seq;
	memcpy(header->instance, instance, DP_RING_INSTANCE_LEN);
	header->database = database;
	header->boot_seq = boot_seq;
	header->crc = header_crc(header);
}

static void
write_all(int fd, const void *data, Size len, const char *path)
{
	errno = 0;
	if (write(fd, data, len) != (ssize_t) len)
	{
		errno = errno ? errno : ENOSPC;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write file \"%s\": %m", path)));
	}
}

static void
sync_file(int fd, const char *path)
{
	if (pg_fsync(fd) != 0)
		ereport(data_sync_elevel(ERROR),
				(errcode_for_file_access(),
				 errmsg("could not sync file \"%s\": %m", path)));
}

int
dp_segment_create(Oid database, const uint8 *instance, uint64 first_seq)
{
	char		directory[MAXPGPATH];
	char		path[SEGMENT_PATH_MAX];
	SegmentHeader header;
	int			fd;

	begin_segment(database, instance, first_seq, 0, &header, directory, path, sizeof(path));

	/* A file of that name holds no whole frame: else its number would be known. */
	fd = BasicOpenFilePerm(path, O_RDWR | O_CREAT | O_TRUNC | PG_BINARY, S_IRUSR | S_IWUSR);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", path)));
	write_all(fd, &header, sizeof(header), path);
	sync_file(fd, path);
	fsync_fname(directory, true);
	return fd;
}

void
dp_segment_store(Oid database, const uint8 *instance, uint64 first_seq, uint64 boot_seq,
				 const void *frames, Size len)
{
	char		directory[MAXPGPATH];
	char		path[SEGMENT_PATH_MAX];
	char	   *partial;
	SegmentHeader header;
	int			fd;

	begin_segment(database, instance, first_seq, boot_seq, &header, directory, path, sizeof(path));
	partial = psprintf("%s.%d", path, MyProcPid);
	fd = OpenTransientFilePerm(partial, O_RDWR | O_CREAT | O_TRUNC | PG_BINARY, S_IRUSR | S_IWUSR);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", partial)));
	PG_TRY();
	{
		write_all(fd, &header, sizeof(header), partial);
		write_all(fd, frames, len, partial);
		sync_file(fd, partial);
	}
	PG_CATCH();
	{
		(void) unlink(partial);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (CloseTransientFile(fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\": %m", partial)));
	(void) durable_rename(partial, path, ERROR);
}

/* The header of a file; false where it is none of this cluster's. */
static bool
read_header(int fd, SegmentHeader *header)
{
	return pg_pread(fd, header, sizeof(*header), 0) == sizeof(*header) &&
		header->magic == SEGMENT_MAGIC && header->version == SEGMENT_VERSION &&
		header->crc == header_crc(header) && header->system_id == GetSystemIdentifier();
}

static DpSegment *
newest_segment(List *segments, const uint8 *instance)
{
	DpSegment  *newest = NULL;
	ListCell   *cell;

	foreach(cell, segments)
	{
		DpSegment  *segment = (DpSegment *) lfirst(cell);

		if (memcmp(segment->instance, instance, DP_RING_INSTANCE_LEN) == 0)
			newest = segment;
	}
	return newest;
}

uint64
dp_segment_boot_seq(List *segments, const uint8 *instance)
{
	DpSegment  *newest = newest_segment(segments, instance);
	SegmentHeader header;
	uint64		boot_seq = 0;
	int			fd = newest != NULL ? OpenTransientFile(newest->path, O_RDONLY | PG_BINARY) : -1;

	if (fd < 0)
		return 0;
	if (read_header(fd, &header))
		boot_seq = header.boot_seq;
	CloseTransientFile(fd);
	return boot_seq;
}

void
dp_segment_remove_stored(List *segments, const uint8 *instance, uint64 cursor)
{
	for (int i = 0; i + 1 < list_length(segments); i++)
	{
		DpSegment  *segment = (DpSegment *) list_nth(segments, i);
		DpSegment  *following = (DpSegment *) list_nth(segments, i + 1);

		if (memcmp(segment->instance, instance, DP_RING_INSTANCE_LEN) == 0 &&
			memcmp(following->instance, instance, DP_RING_INSTANCE_LEN) == 0 &&
			following->first_seq <= cursor + 1 && unlink(segment->path) != 0)
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not remove file \"%s\": %m", segment->path)));
	}
}

DpSegmentScan *
dp_segment_open(const DpSegment *segment, off_t offset)
{
	SegmentHeader header;
	DpSegmentScan *scan;
	int			fd = OpenTransientFile(segment->path, O_RDONLY | PG_BINARY);

	if (fd < 0)
		return NULL;
	if (!read_header(fd, &header))
	{
		CloseTransientFile(fd);
		return NULL;
	}
	scan = palloc(sizeof(DpSegmentScan));
	scan->fd = fd;
	scan->read_to = Max(offset, DP_SEGMENT_HEADER);
	scan->have = 0;
	scan->used = 0;
	return scan;
}

/* Have at least len bytes after used, or say that the file ends before. */
static bool
fill_buffer(DpSegmentScan *scan, Size len)
{
	while (scan->have - scan->used < len)
	{
		ssize_t		got;

		if (scan->used > 0)
		{
			memmove(scan->buf, scan->buf + scan->used, scan->have - scan->used);
			scan->have -= scan->used;
			scan->used = 0;
		}
		got = pg_pread(scan->fd, scan->buf + scan->have, READ_CHUNK - scan->have, scan->read_to);
		if (got < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read an audit segment: %m")));
		if (got == 0)
			return false;
		scan->have += got;
		scan->read_to += got;
	}
	return true;
}

bool
dp_segment_next(DpSegmentScan *scan, const DpRecordFrame **out_frame, const void **out_payload)
{
	const DpRecordFrame *frame;

	if (!fill_buffer(scan, sizeof(DpRecordFrame)))
		return false;
	frame = (const DpRecordFrame *) (scan->buf + scan->used);
	if (frame->magic != DP_RECORD_FRAME_MAGIC || frame->len > DP_RING_FRAME_MAX - sizeof(DpRecordFrame) ||
		!fill_buffer(scan, DP_RECORD_FRAME_SIZE(frame->len)))
		return false;
	frame = (const DpRecordFrame *) (scan->buf + scan->used);
	if (!dp_record_frame_check(frame, frame + 1))
		return false;
	scan->used += DP_RECORD_FRAME_SIZE(frame->len);
	*out_frame = frame;
	*out_payload = frame + 1;
	return true;
}

off_t
dp_segment_offset(DpSegmentScan *scan)
{
	return scan->read_to - (off_t) (scan->have - scan->used);
}

void
dp_segment_close(DpSegmentScan *scan)
{
	CloseTransientFile(scan->fd);
	pfree(scan);
}

uint64
dp_segment_newest_in(Oid database, const uint8 *instance)
{
	DpSegment  *newest = newest_segment(dp_segment_list(database), instance);
	DpSegmentScan *scan;
	uint64		seq;
	const DpRecordFrame *frame;
	const void *payload;

	if (newest == NULL)
		return 0;
	seq = newest->first_seq;
	scan = dp_segment_open(newest, 0);
	if (scan == NULL)
		return seq;
	while (dp_segment_next(scan, &frame, &payload))
		seq = Max(seq, frame->seq);
	dp_segment_close(scan);
	return seq;
}

uint64
dp_segment_newest_seq(const uint8 *instance)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "audit segments",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	char		top[MAXPGPATH];
	struct dirent *entry;
	uint64		newest = 0;
	DIR		   *dir;

	segment_directory(InvalidOid, top);
	dir = AllocateDir(top);
	if (dir != NULL || errno != ENOENT)
	{
		while ((entry = ReadDir(dir, top)) != NULL)
		{
			Oid			database = (Oid) strtoul(entry->d_name, NULL, 10);

			if (OidIsValid(database))
				newest = Max(newest, dp_segment_newest_in(database, instance));
		}
		FreeDir(dir);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
	return newest;
}
