/*
 * progress.c
 *	  How far long work is; see progress.h.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/guc.h"
#include "base/progress.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/backend_progress.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* st_progress_param */
enum
{
	PARAM_COMMAND,
	PARAM_ATTNUM,
	PARAM_TOTAL,
	PARAM_DONE,
	PARAM_STARTED,				/* TimestampTz */
	N_PARAMS
};

#define LIST_COLUMNS 8

PG_FUNCTION_INFO_V1(dp_progress_begin_sql);
PG_FUNCTION_INFO_V1(dp_progress_end_sql);
PG_FUNCTION_INFO_V1(dp_progress_tell_sql);
PG_FUNCTION_INFO_V1(dp_progress_list);

static const struct
{
	const char *name;
	const char *unit;
}			commands[] = {
	[DP_PROGRESS_ENCRYPT] = {"encrypt_column", "values"},
	[DP_PROGRESS_VERIFY] = {"verify", "blocks"},
	[DP_PROGRESS_DRILL] = {"drill", "openings"}
};

/* What this backend does now; only of use while the slot is ours. */
static DpProgressCommand current;
static int64 total;
static int64 done;
static int64 published;

/* When whoever waits was told last, or when what they wait for began. */
static TimestampTz told_at = 0;

static void
tell(const char *name, int64 so_much, int64 of, const char *unit)
{
	TimestampTz now = GetCurrentTimestamp();

	if (dp_guc_progress_interval == 0 || of <= 0 ||
		!TimestampDifferenceExceeds(told_at, now, dp_guc_progress_interval))
		return;
	told_at = now;
	ereport(NOTICE,
			(errmsg("%s: %d %% done", name, (int) (100.0 * Min(so_much, of) / of)),
			 errdetail("%lld of about %lld %s.", (long long) Min(so_much, of), (long long) of, unit)));
}

void
dp_progress_begin(DpProgressCommand command, Oid rel, AttrNumber attnum, int64 of)
{
	const int	index[N_PARAMS] = {PARAM_COMMAND, PARAM_ATTNUM, PARAM_TOTAL, PARAM_DONE, PARAM_STARTED};
	int64		value[N_PARAMS];

	current = command;
	total = of;
	done = published = 0;
	told_at = GetCurrentTimestamp();
	value[PARAM_COMMAND] = command;
	value[PARAM_ATTNUM] = attnum;
	value[PARAM_TOTAL] = total;
	value[PARAM_DONE] = 0;
	value[PARAM_STARTED] = told_at;
	pgstat_progress_start_command((ProgressCommandType) DP_PROGRESS_SLOT, rel);
	pgstat_progress_update_multi_param(N_PARAMS, index, value);
}

void
dp_progress_count(DpProgressCommand command, int64 n)
{
	if (command != current)
		return;
	done += n;
	/* a thousand times in all, but not for each value */
	if (done - published < Max(1, Min(total / 1000, 1000)))
		return;
	published = done;
	pgstat_progress_update_param(PARAM_DONE, done);
	tell(commands[current].name, done, total, commands[current].unit);
}

void
dp_progress_end(void)
{
	if (MyBEEntry != NULL && (int) MyBEEntry->st_progress_command == DP_PROGRESS_SLOT)
		pgstat_progress_end_command();
}

/* dataprotect._progress_begin(command text, rel oid, total int8) */
Datum
dp_progress_begin_sql(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	for (int i = 0; i < lengthof(commands); i++)
	{
		if (strcmp(commands[i].name, name) == 0)
			dp_progress_begin(i, PG_GETARG_OID(1), InvalidAttrNumber, PG_GETARG_INT64(2));
	}
	PG_RETURN_VOID();
}

/* dataprotect._progress_end() */
Datum
dp_progress_end_sql(PG_FUNCTION_ARGS)
{
	dp_progress_end();
	PG_RETURN_VOID();
}

/*
 * dataprotect._progress_tell(command text, done int8, total int8, unit text)
 * For work that keeps its progress in a table; with nothing done it begins.
 */
Datum
dp_progress_tell_sql(PG_FUNCTION_ARGS)
{
	if (PG_GETARG_INT64(1) == 0)
		told_at = GetCurrentTimestamp();
	else
		tell(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT64(1), PG_GETARG_INT64(2),
			 text_to_cstring(PG_GETARG_TEXT_PP(3)));
	PG_RETURN_VOID();
}

/*
 * dataprotect._progress() returns setof (pid, command, rel, attnum, unit, total, done, started_at)
 * What backends in this database do now.
 */
Datum
dp_progress_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			n = pgstat_fetch_stat_numbackends();

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 1; i <= n; i++)
	{
		LocalPgBackendStatus *local = dp_local_backend_status(i);
		const PgBackendStatus *backend = local == NULL ? NULL : &local->backendStatus;
		Datum		values[LIST_COLUMNS];
		bool		nulls[LIST_COLUMNS] = {false};
		int64		command;

		if (backend == NULL || (int) backend->st_progress_command != DP_PROGRESS_SLOT ||
			backend->st_databaseid != MyDatabaseId)
			continue;
		command = backend->st_progress_param[PARAM_COMMAND];
		if (command < 0 || command >= lengthof(commands))
			continue;
		values[0] = Int32GetDatum(backend->st_procpid);
		values[1] = CStringGetTextDatum(commands[command].name);
		values[2] = ObjectIdGetDatum(backend->st_progress_command_target);
		nulls[2] = !OidIsValid(backend->st_progress_command_target);
		values[3] = Int16GetDatum((int16) backend->st_progress_param[PARAM_ATTNUM]);
		nulls[3] = backend->st_progress_param[PARAM_ATTNUM] == InvalidAttrNumber;
		values[4] = CStringGetTextDatum(commands[command].unit);
		values[5] = Int64GetDatum(backend->st_progress_param[PARAM_TOTAL]);
		values[6] = Int64GetDatum(backend->st_progress_param[PARAM_DONE]);
		values[7] = TimestampTzGetDatum(backend->st_progress_param[PARAM_STARTED]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
