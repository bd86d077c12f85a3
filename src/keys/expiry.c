/*
 * expiry.c
 *	  Whether a period is over, and the destruction of what it had.
 *
 * A version of a key with "keep" is a period: what was sealed in it opens until
 * key_version.expires_at, and not a moment longer, whether or not a worker runs:
 * whoever is about to open a value looks at the clock.  It is the later one of
 * the wall clock and of the newest time on record, which goes on with the time
 * since the machine started: a clock that is set back brings nothing back, and
 * one that is set ahead hides values, and destroys none.
 *
 * The worker destroys by trusted time (lifecycle/clock.c), and only once a
 * version has been over for dataprotect.max_clock_step: a step that is small
 * enough to be believed destroys nothing before its time either.
 */
#include "postgres.h"

#include "base/uptime.h"
#include "keys/catalog.h"
#include "keys/keys_internal.h"
#include "keys/own_step.h"
#include "utils/timestamp.h"

#define LOOK_AGAIN_US	(60 * USECS_PER_SEC)

/* The record as this backend saw it last: an old one gives a time that is too early. */
static DpClockRow record;
static int64 record_read_at = 0;	/* uptime; 0: never */

static TimestampTz
time_on_record(int64 uptime)
{
	bool		same_start = record.boot[0] != '\0' && strcmp(record.boot, dp_boot_id()) == 0;

	return same_start && uptime > record.uptime ? record.newest + (uptime - record.uptime) : record.newest;
}

bool
dp_keys_is_over(TimestampTz over_at, bool may_read)
{
	int64		uptime;

	if (GetCurrentTimestamp() >= over_at)
		return true;
	uptime = dp_uptime_us();
	if (may_read && (record_read_at == 0 || uptime - record_read_at >= LOOK_AGAIN_US))
	{
		if (!dp_catalog_read_clock(&record))
			return true;
		record_read_at = uptime;
	}
	return record_read_at == 0 || time_on_record(uptime) >= over_at;
}

/* Worker: destroy the versions that are over, and what accounts had under them. */
void
dp_keys_expire(void)
{
	(void) dp_own_step("SELECT dataprotect._expire_versions()", "could not look for key versions that are over");
}
