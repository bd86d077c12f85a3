/*
 * restored.c
 *	  Does this database know every erasure of its own?  See restored.h.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/restored.h"
#include "access/table.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/guc.h"
#include "crypto/aead.h"
#include "keys/catalog.h"
#include "storage/fd.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/uuid.h"

#define Anum_list_file		1
#define Anum_list_length	2
#define Anum_list_ends		3

#define END_BYTES			4096
#define LOCK_TRIES			5000	/* of a millisecond */
#define STANDBY_LAG_S		60

bool
dp_erasure_wanted(void)
{
	return dp_guc_erasure_directory != NULL && dp_guc_erasure_directory[0] != '\0';
}

char *
dp_erasure_prefix(void)
{
	pg_uuid_t	uid;

	dp_catalog_database_uid(uid.data);
	return psprintf("%s-", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&uid))));
}

bool
dp_erasure_is_list(const char *name, const char *prefix)
{
	static const char suffix[] = ".erasures";
	Size		len = strlen(name);

	return len > strlen(prefix) + strlen(suffix) && strncmp(name, prefix, strlen(prefix)) == 0 &&
		strspn(name + strlen(prefix), "0123456789-") == len - strlen(prefix) - strlen(suffix) &&
		strcmp(name + len - strlen(suffix), suffix) == 0;
}

void
dp_erasure_path(const char *name, char path[MAXPGPATH])
{
	if (name[0] == '\0' || strspn(name, "0123456789abcdef-.erasures") != strlen(name) || strstr(name, "..") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("\"%s\" is no name of a list of erasures", name)));
	if (snprintf(path, MAXPGPATH, "%s/%s", dp_guc_erasure_directory, name) >= MAXPGPATH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("name of a list of erasures is too long")));
}

bool
dp_erasure_lock(int fd, bool exclusive)
{
	for (int i = 0; i < LOCK_TRIES; i++)
	{
		if (flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
			return true;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return false;
		pg_usleep(1000);
	}
	return false;
}

bool
dp_erasure_find_end(int fd, int64 length, uint8 out[DP_ERASURE_ENDS_LEN])
{
	uint8		bytes[END_BYTES];
	ssize_t		n = Min(length, END_BYTES);

	return length >= 0 && pread(fd, bytes, n, length - n) == n && dp_sha256(bytes, n, out);
}

typedef struct Row
{
	char		file[NAMEDATALEN * 2];
	DpErasurePlace place;
} Row;

/* Rows of this identity; of one file, where that is not NULL.  The number found. */
static int
read_rows(const char *prefix, const char *file, Row *rows, int max)
{
	Relation	rel = table_open(dp_catalog_relation("erasure_list"), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	int			n = 0;

	while (n < max && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(rel);
		bool		isnull;
		char	   *name = TextDatumGetCString(heap_getattr(tuple, Anum_list_file, desc, &isnull));
		bytea	   *ends = DatumGetByteaPP(heap_getattr(tuple, Anum_list_ends, desc, &isnull));

		if (strncmp(name, prefix, strlen(prefix)) != 0 || (file != NULL && strcmp(name, file) != 0))
			continue;
		strlcpy(rows[n].file, name, sizeof(rows[n].file));
		rows[n].place.length = DatumGetInt64(heap_getattr(tuple, Anum_list_length, desc, &isnull));
		memset(rows[n].place.ends, 0, DP_ERASURE_ENDS_LEN);
		if (VARSIZE_ANY_EXHDR(ends) == DP_ERASURE_ENDS_LEN)
			memcpy(rows[n].place.ends, VARDATA_ANY(ends), DP_ERASURE_ENDS_LEN);
		n++;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return n;
}

/* What is wrong about an open list, or NULL. */
static char *
doubt_open_list(int fd, const char *prefix, const char *file)
{
	struct stat status;
	uint8		ends[DP_ERASURE_ENDS_LEN];
	Row			row;

	if (!dp_erasure_lock(fd, false))
		return psprintf("List of erasures \"%s\" could not be locked.", file);
	/* under the lock: nobody is between the file and the row */
	if (read_rows(prefix, file, &row, 1) == 0)
		return psprintf("Nothing says how far list of erasures \"%s\" is known.", file);
	if (fstat(fd, &status) != 0)
		return psprintf("List of erasures \"%s\" cannot be read: %m.", file);
	if (status.st_size < row.place.length || !dp_erasure_find_end(fd, row.place.length, ends) ||
		memcmp(ends, row.place.ends, DP_ERASURE_ENDS_LEN) != 0)
		return psprintf("List of erasures \"%s\" is not the one that this database knows.", file);
	if (status.st_size > row.place.length && !(RecoveryInProgress() && time(NULL) - status.st_mtime < STANDBY_LAG_S))
		return psprintf("List of erasures \"%s\" has some that this database does not know.", file);
	return NULL;
}

static char *
doubt_list(const char *prefix, const char *file)
{
	char		path[MAXPGPATH];
	char	   *volatile doubt;
	int			fd;

	dp_erasure_path(file, path);
	fd = BasicOpenFile(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return psprintf("List of erasures \"%s\" cannot be read: %m.", file);
	PG_TRY();
	{
		doubt = doubt_open_list(fd, prefix, file);
	}
	PG_FINALLY();
	{
		(void) close(fd);
	}
	PG_END_TRY();
	return doubt;
}

/* Where nothing is known of any list: is there one that somebody wrote to? */
static char *
doubt_directory(const char *prefix)
{
	DIR		   *dir = AllocateDir(dp_guc_erasure_directory);
	struct dirent *entry;
	char	   *doubt = NULL;

	if (dir == NULL)
		return psprintf("The directory of lists of erasures cannot be read: %m.");
	while (doubt == NULL && (entry = ReadDirExtended(dir, dp_guc_erasure_directory, LOG)) != NULL)
	{
		char		path[MAXPGPATH];
		struct stat status;

		if (!dp_erasure_is_list(entry->d_name, prefix))
			continue;
		dp_erasure_path(entry->d_name, path);
		if (stat(path, &status) != 0 || status.st_size > 0)
			doubt = psprintf("List of erasures \"%s\" has some that this database does not know.", entry->d_name);
	}
	FreeDir(dir);
	return doubt;
}

#define MAX_LISTS 64

char *
dp_erasure_doubt(void)
{
	Row		   *rows;
	char	   *prefix;
	char	   *doubt = NULL;
	int			n;

	if (!dp_erasure_wanted())
		return NULL;
	prefix = dp_erasure_prefix();
	rows = palloc(MAX_LISTS * sizeof(Row));
	n = read_rows(prefix, NULL, rows, MAX_LISTS);
	if (n == 0)
		return doubt_directory(prefix);
	if (n == MAX_LISTS)
		return pstrdup("There are too many lists of erasures.");
	for (int i = 0; i < n && doubt == NULL; i++)
		doubt = doubt_list(prefix, rows[i].file);
	return doubt;
}
