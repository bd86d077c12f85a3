/*
 * batch_commit.c
 *	  Work in many transactions from a procedure; see batch_commit.h.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/argument.h"
#include "base/statement.h"
#include "base/worker.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "sqlrun/batch_commit.h"
#include "sqlrun/run_as.h"
#include "storage/lock.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

void
dp_batch_begin(FunctionCallInfo fcinfo, const char *procedure)
{
	bool		atomic = true;

	if (fcinfo->context != NULL && IsA(fcinfo->context, CallContext))
		atomic = ((CallContext *) fcinfo->context)->atomic;
	if (atomic)
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("procedure %s cannot run inside a transaction", procedure),
				 errhint("It commits after every batch: call it on its own.")));
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	/* the statement's own transaction may be read only or REPEATABLE READ */
	dp_batch_commit();
}

void
dp_batch_end(void)
{
	SPI_finish();
}

void
dp_batch_commit(void)
{
	SPI_commit();
	CHECK_FOR_INTERRUPTS();
	XactIsoLevel = XACT_READ_COMMITTED;
}

void
dp_batch_make_room(void)
{
	if (dp_worker_should_yield())
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("making room for another database")));
}

/*
 * The first function in the context of an error that is none of ours: whatever
 * the error says may be of its making, and quote a row.  Its name alone, or NULL.
 */
static char *
foreign_function(const char *context)
{
	static const char *const kinds[] = {"PL/pgSQL function ", "SQL function ", "PL/"};

	while (context != NULL && *context != '\0')
	{
		const char *end = strchr(context, '\n');
		const char *name = NULL;

		for (int i = 0; i < lengthof(kinds) && name == NULL; i++)
		{
			if (strncmp(context, kinds[i], strlen(kinds[i])) == 0)
				name = context + strlen(kinds[i]);
		}
		/* of a function in SQL the context has no schema; ours begin so */
		if (name != NULL && strncmp(name, "dataprotect.", 12) != 0 && strncmp(name, "\"_", 2) != 0)
			return pnstrdup(name, strcspn(name, "(\n"));
		context = end != NULL ? end + 1 : NULL;
	}
	return NULL;
}

/*
 * What an error says about itself without quoting a row: whole where neither a
 * function of somebody else nor a value had a part in it, else its class and
 * where it was.
 */
static char *
describe_error(const ErrorData *error)
{
	StringInfoData text;
	int			class = ERRCODE_TO_CATEGORY(error->sqlerrcode);
	char	   *foreign = foreign_function(error->context);
	bool		ours = error->domain != NULL && strcmp(error->domain, DP_MESSAGE_DOMAIN) == 0;
	bool		names_only = ours || (class != ERRCODE_DATA_EXCEPTION && class != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION);

	initStringInfo(&text);
	appendStringInfo(&text, "SQLSTATE %s", unpack_sql_state(error->sqlerrcode));
	if (foreign == NULL && names_only)
	{
		appendStringInfo(&text, ": %s", error->message);
		if (error->detail != NULL)
			appendStringInfo(&text, " (%s)", error->detail);
		if (error->hint != NULL)
			appendStringInfo(&text, " HINT: %s", error->hint);
		return text.data;
	}
	if (error->table_name != NULL)
		appendStringInfo(&text, ", table \"%s.%s\"",
						 error->schema_name ? error->schema_name : "", error->table_name);
	if (error->constraint_name != NULL)
		appendStringInfo(&text, ", constraint \"%s\"", error->constraint_name);
	if (foreign != NULL)
		appendStringInfo(&text, ", in function \"%s\"", foreign);
	return text.data;
}

char *
dp_batch_try_state(DpBatchStep step, void *arg, int *out_sqlstate)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile failure = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		step(arg);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			PG_RE_THROW();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		failure = describe_error(error);
		*out_sqlstate = error->sqlerrcode;
		FreeErrorData(error);
	}
	PG_END_TRY();
	return failure;
}

char *
dp_batch_try(DpBatchStep step, void *arg)
{
	int			sqlstate;

	return dp_batch_try_state(step, arg, &sqlstate);
}

static void
set_lock_tag(LOCKTAG *tag, Oid catalog, uint32 object)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, catalog, object, 1);
}

bool
dp_batch_lock(Oid catalog, uint32 object, bool wait)
{
	LOCKTAG		tag;

	set_lock_tag(&tag, catalog, object);
	return LockAcquire(&tag, ExclusiveLock, true, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
dp_batch_unlock(Oid catalog, uint32 object)
{
	LOCKTAG		tag;

	set_lock_tag(&tag, catalog, object);
	LockRelease(&tag, ExclusiveLock, true);
}

char *
dp_batch_query(const char *sql, int nargs, Oid *types, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	char	   *volatile result = NULL;
	DpRunAs		saved;
	int			level;

	dp_run_as_system(&saved);
	level = dp_own_begin();
	PG_TRY();
	{
		int			rc = SPI_execute_with_args(sql, nargs, types, values, NULL, false, 1);

		if (rc < 0)
			elog(ERROR, "SPI_execute_with_args returned %s", SPI_result_code_string(rc));
	}
	PG_FINALLY();
	{
		dp_own_end(level);
	}
	PG_END_TRY();
	if (SPI_processed > 0 && SPI_tuptable != NULL)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		if (value != NULL)
			result = MemoryContextStrdup(context, value);
	}
	dp_run_as_end(&saved);
	SPI_freetuptable(SPI_tuptable);
	return result;
}
