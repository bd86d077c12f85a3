/*
 * clock.c
 *	  What time it is for deadlines.
 *
 * The wall clock may be wrong: set back, years ahead after a dead battery, or
 * that of a restored machine.  So the newest time at which it was right is on
 * record (dataprotect.clock_record), together with the time since the machine
 * started: as long as that goes on, it tells what time it must be by now.  Where
 * the wall clock says something else by more than dataprotect.max_clock_step,
 * retention and deletion stop, and all deadlines are computed by what it must
 * be: nothing that a wrong clock said is ever stored.
 *
 * After a restart of the machine nobody knows how long it was off; then the wall
 * clock is compared with the newest time itself.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/guc.h"
#include "base/uptime.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_read_clock);
PG_FUNCTION_INFO_V1(dp_lifecycle_trusted_time);

/* dataprotect._read_clock(OUT wall timestamptz, OUT boot text, OUT uptime bigint) */
Datum
dp_lifecycle_read_clock(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[1] = CStringGetTextDatum(dp_boot_id());
	values[2] = Int64GetDatum(dp_uptime_us());
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/*
 * dataprotect._trusted_time(newest timestamptz, boot text, uptime bigint,
 *		OUT at timestamptz, OUT off interval)
 *
 * The time by what is on record.  off: by how much the wall clock is wrong,
 * where it is wrong by more than dataprotect.max_clock_step; NULL where it is
 * believed.  A clock that is believed never runs backwards.
 */
Datum
dp_lifecycle_trusted_time(PG_FUNCTION_ARGS)
{
	TimestampTz newest = PG_GETARG_TIMESTAMPTZ(0);
	char	   *boot = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int64		since = dp_uptime_us() - PG_GETARG_INT64(2);
	TimestampTz wall = GetCurrentTimestamp();
	TimestampTz expected = newest;
	int64		step = (int64) dp_guc_max_clock_step * USECS_PER_SEC;
	TupleDesc	tupdesc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (boot[0] != '\0' && strcmp(boot, dp_boot_id()) == 0 && since >= 0)
		expected += since;
	if (step == 0 || (wall - expected <= step && expected - wall <= step))
	{
		values[0] = TimestampTzGetDatum(Max(GetCurrentTransactionStartTimestamp(), newest));
		nulls[1] = true;
		values[1] = (Datum) 0;
	}
	else
	{
		values[0] = TimestampTzGetDatum(expected);
		values[1] = DirectFunctionCall2(timestamp_mi, TimestampTzGetDatum(wall), TimestampTzGetDatum(expected));
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}
