/*
 * erasure_file.c
 *	  Reading and appending lists of erasures; access/restored.h says what
 *	  they are.
 *
 * A list is lines of JSON, each signed by itself.  The lock of a list that was
 * appended to is let go after the transaction has ended, one way or the other:
 * where it was undone the list is ahead of the database, which then finds that it
 * knows these erasures all the same.
 */
#include "postgres.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/restored.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/argument.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/result.h"
#include "fmgr.h"
#include "lifecycle/lifecycle.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(dp_erasure_own_name);
PG_FUNCTION_INFO_V1(dp_erasure_names);
PG_FUNCTION_INFO_V1(dp_erasure_read);
PG_FUNCTION_INFO_V1(dp_erasure_append);
PG_FUNCTION_INFO_V1(dp_erasure_doubt_sql);

/* Of a list that this transaction appends to. */
static int	appended = -1;

static void
let_go(void)
{
	if (appended >= 0)
		(void) close(appended);
	appended = -1;
}

static void
let_go_at_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			let_go();
			break;
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

void
dp_erasure_file_init(void)
{
	RegisterXactCallback(let_go_at_end, NULL);
}

pg_noreturn static void
report_file(const char *name, const char *what)
{
	ereport_domain(ERROR, DP_MESSAGE_DOMAIN,
				   (errcode_for_file_access(),
					errmsg("could not %s list of erasures \"%s\": %m", what, name)));
}

/* dataprotect._erasure_own_name() returns text: NULL where there is no directory for lists. */
Datum
dp_erasure_own_name(PG_FUNCTION_ARGS)
{
	if (!dp_erasure_wanted())
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s" UINT64_FORMAT "-%u.erasures", dp_erasure_prefix(),
											  GetSystemIdentifier(), MyDatabaseId)));
}

/* dataprotect._erasure_names() returns text[]: every list of this database's identity. */
Datum
dp_erasure_names(PG_FUNCTION_ARGS)
{
	ArrayBuildState *names = initArrayResult(TEXTOID, CurrentMemoryContext, false);
	char	   *prefix;
	DIR		   *dir;
	struct dirent *entry;

	if (!dp_erasure_wanted())
		PG_RETURN_NULL();
	prefix = dp_erasure_prefix();
	dir = AllocateDir(dp_guc_erasure_directory);
	if (dir == NULL)
		report_file("*", "find a");
	while ((entry = ReadDir(dir, dp_guc_erasure_directory)) != NULL)
	{
		if (dp_erasure_is_list(entry->d_name, prefix))
			names = accumArrayResult(names, CStringGetTextDatum(entry->d_name), false, TEXTOID, CurrentMemoryContext);
	}
	FreeDir(dir);
	PG_RETURN_DATUM(makeArrayResult(names, CurrentMemoryContext));
}

/* The place as the arguments n and n + 1 say it. */
static DpErasurePlace
argument_place(FunctionCallInfo fcinfo, int n)
{
	DpErasurePlace place = {PG_GETARG_INT64(n)};
	bytea	   *ends = PG_GETARG_BYTEA_PP(n + 1);

	if (place.length < 0 || VARSIZE_ANY_EXHDR(ends) != DP_ERASURE_ENDS_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid place in a list of erasures")));
	memcpy(place.ends, VARDATA_ANY(ends), DP_ERASURE_ENDS_LEN);
	return place;
}

static bool
is_at(int fd, const DpErasurePlace *place)
{
	uint8		ends[DP_ERASURE_ENDS_LEN];

	return dp_erasure_find_end(fd, place->length, ends) && memcmp(ends, place->ends, DP_ERASURE_ENDS_LEN) == 0;
}

/* From a place to the end, or the whole list where it is not the one that the place is in. */
static text *
read_from(int fd, const char *name, const DpErasurePlace *known, DpErasurePlace *end, bool *whole)
{
	struct stat status;
	int64		start;
	int64		len;
	text	   *lines;

	if (!dp_erasure_lock(fd, false))
		report_file(name, "lock");
	if (fstat(fd, &status) != 0)
		report_file(name, "look at");
	*whole = !is_at(fd, known);
	start = *whole ? 0 : known->length;
	len = status.st_size - start;
	if (len > MaxAllocSize - VARHDRSZ)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("list of erasures \"%s\" is too long to be read at once", name)));
	lines = palloc(VARHDRSZ + len);
	SET_VARSIZE(lines, VARHDRSZ + len);
	end->length = status.st_size;
	if (pread(fd, VARDATA(lines), len, start) != len || !dp_erasure_find_end(fd, end->length, end->ends))
		report_file(name, "read");
	(void) pg_verify_mbstr(GetDatabaseEncoding(), VARDATA(lines), len, false);
	return lines;
}

/*
 * dataprotect._erasure_read(file text, known bigint, known_ends bytea,
 *		OUT lines text, OUT length bigint, OUT ends bytea, OUT whole bool)
 *
 * What a list has behind a place, and where it ends.  whole: everything, since the
 * list has no such place.  NULLs where there is no such file.
 */
Datum
dp_erasure_read(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	DpErasurePlace known = argument_place(fcinfo, 1);
	DpErasurePlace end = {0};
	char		path[MAXPGPATH];
	Datum		values[4] = {0};
	bool		nulls[4] = {true, true, true, true};
	bool		whole = false;
	int			fd;

	dp_erasure_path(name, path);
	fd = OpenTransientFile(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno != ENOENT)
		report_file(name, "open");
	if (fd >= 0)
	{
		values[0] = PointerGetDatum(read_from(fd, name, &known, &end, &whole));
		values[1] = Int64GetDatum(end.length);
		values[2] = dp_result_bytea(end.ends, DP_ERASURE_ENDS_LEN);
		values[3] = BoolGetDatum(whole);
		memset(nulls, false, sizeof(nulls));
		(void) CloseTransientFile(fd);
	}
	return dp_result_row(fcinfo, values, nulls);
}

/* Append to an open list that ends at a place; where it ends then. */
static DpErasurePlace
append_at(int fd, const char *name, const DpErasurePlace *known, text * lines)
{
	DpErasurePlace end = {known->length + VARSIZE_ANY_EXHDR(lines)};
	ssize_t		len = VARSIZE_ANY_EXHDR(lines);
	struct stat status;

	if (!dp_erasure_lock(fd, true))
		report_file(name, "lock");
	if (fstat(fd, &status) != 0)
		report_file(name, "look at");
	if (status.st_size != known->length || !is_at(fd, known))
		ereport_domain(ERROR, DP_MESSAGE_DOMAIN,
					   (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("list of erasures \"%s\" has some that this database does not know", name),
						errhint("Call dataprotect.replay_erasures(), or dataprotect.accept_restore() where nothing is missing.")));
	if (pwrite(fd, VARDATA_ANY(lines), len, known->length) != len || pg_fsync(fd) != 0)
		report_file(name, "write");
	fsync_fname(dp_guc_erasure_directory, true);
	if (!dp_erasure_find_end(fd, end.length, end.ends))
		report_file(name, "read");
	return end;
}

/*
 * dataprotect._erasure_append(file text, known bigint, known_ends bytea, lines text,
 *		OUT length bigint, OUT ends bytea)
 *
 * Append to a list that ends at a place, and say where it ends then.  It stays
 * locked to the end of the transaction.
 */
Datum
dp_erasure_append(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	DpErasurePlace known = argument_place(fcinfo, 1);
	DpErasurePlace end;
	char		path[MAXPGPATH];
	Datum		values[2];
	bool		nulls[2] = {false, false};

	let_go();
	dp_erasure_path(name, path);
	appended = BasicOpenFilePerm(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
	if (appended < 0)
		report_file(name, "open");
	end = append_at(appended, name, &known, PG_GETARG_TEXT_PP(3));
	values[0] = Int64GetDatum(end.length);
	values[1] = dp_result_bytea(end.ends, DP_ERASURE_ENDS_LEN);
	return dp_result_row(fcinfo, values, nulls);
}

/* dataprotect._erasure_doubt() returns text: why protected values are not shown, or NULL. */
Datum
dp_erasure_doubt_sql(PG_FUNCTION_ARGS)
{
	char	   *doubt = dp_erasure_doubt();

	if (doubt == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(doubt));
}
