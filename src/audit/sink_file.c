/*
 * sink_file.c
 *	  JSON lines into files of a directory, for whoever ships them.
 *
 * dataprotect-UID-SEQ.jsonl, SEQ being the first record's; a new one where the
 * last has its size.  A batch counts when it is on disk.  What a crash left of a
 * line is cut off before the next.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/sink.h"
#include "miscadmin.h"

#define NAME_ROOM 128

/* Newest file of ours; "" for none.  False where the directory cannot be read. */
static bool
find_newest(DpSink *sink, const char *prefix, char out[NAME_ROOM])
{
	DIR		   *dir = opendir(sink->uri.path);
	struct dirent *entry;

	out[0] = '\0';
	if (dir == NULL)
	{
		dp_sink_fail(sink, "The directory could not be opened: %s.", strerror(errno));
		return false;
	}
	while ((entry = readdir(dir)) != NULL)
	{
		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0 && strlen(entry->d_name) < NAME_ROOM &&
			strcmp(entry->d_name, out) > 0)
			strlcpy(out, entry->d_name, NAME_ROOM);
	}
	closedir(dir);
	return true;
}

static bool
in_data_directory(const char *path)
{
	char		resolved[PATH_MAX];
	char		data[PATH_MAX];
	Size		len;

	if (realpath(path, resolved) == NULL || realpath(DataDir, data) == NULL)
		return true;
	len = strlen(data);
	return strncmp(resolved, data, len) == 0 && (resolved[len] == '/' || resolved[len] == '\0');
}

/* Cut off a line that was not finished; the file's length then, or -1. */
static off_t
end_of_lines(int fd)
{
	struct stat st;
	off_t		end;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return -1;
	for (end = st.st_size; end > 0; end--)
	{
		char		c;

		if (pread(fd, &c, 1, end - 1) != 1)
			return -1;
		if (c == '\n')
			break;
	}
	if (end < st.st_size && ftruncate(fd, end) != 0)
		return -1;
	return end;
}

static bool
write_all(int fd, const char *data, Size len, off_t at)
{
	Size		done = 0;

	while (done < len)
	{
		ssize_t		n = pwrite(fd, data + done, len - done, at + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		done += n;
	}
	return fsync(fd) == 0;
}

/* The file to go on with, open; -1 where there is none. */
static int
open_file(DpSink *sink, const char *prefix, off_t *out_end)
{
	char		name[NAME_ROOM];
	char		path[MAXPGPATH];
	int			fd;

	if (!find_newest(sink, prefix, name))
		return -1;
	for (int attempt = 0; attempt < 2; attempt++)
	{
		if (name[0] == '\0')
			snprintf(name, sizeof(name), "%s%020lld.jsonl", prefix, (long long) sink->batch->from);
		snprintf(path, sizeof(path), "%s/%s", sink->uri.path, name);
		fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0640);
		if (fd < 0)
		{
			dp_sink_fail(sink, "A file could not be opened: %s.", strerror(errno));
			return -1;
		}
		*out_end = end_of_lines(fd);
		if (*out_end < 0)
		{
			close(fd);
			dp_sink_fail(sink, "A file is not a regular one, or cannot be read.");
			return -1;
		}
		/* Digests alone begin no file. */
		if (*out_end < (off_t) sink->rotate_kb * 1024 || attempt == 1 || sink->batch->from == 0)
			return fd;
		close(fd);
		name[0] = '\0';
	}
	return -1;
}

static void
start_file(DpSink *sink)
{
	char		prefix[64];
	off_t		end;
	int			fd;
	bool		ok;

	sink->status = DP_SINK_SENDING;
	if (in_data_directory(sink->uri.path))
	{
		dp_sink_fail(sink, "The directory is not there, or lies inside the data directory.");
		return;
	}
	snprintf(prefix, sizeof(prefix), "dataprotect-%s-", sink->database_uid);
	fd = open_file(sink, prefix, &end);
	if (fd < 0)
		return;
	ok = write_all(fd, sink->batch->text.data, sink->batch->text.len, end);
	if (!ok)
	{
		int			error = errno;

		/* half a batch would be there twice */
		(void) !ftruncate(fd, end);
		dp_sink_fail(sink, "A file could not be written: %s.", strerror(error));
	}
	if (close(fd) != 0 && ok)
		dp_sink_fail(sink, "A file could not be closed: %s.", strerror(errno));
	else if (ok)
		dp_sink_done(sink);
}

const DpSinkTarget dp_sink_file = {start_file, NULL};
