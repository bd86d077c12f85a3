/*
 * status.c
 *	  Statistics and health of each URI; the function under the view kms_status.
 *
 * Circuit breaker: CIRCUIT_FAILURES failures in a row to reach a KMS open the
 * circuit for CIRCUIT_PAUSE_MS, in which calls are refused at once.  After that
 * the next call is let through as a probe, and others wait for what it finds.
 * A KMS that answers "no" is reached: it closes the circuit.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "kms/kms_shmem.h"
#include "kms/provider.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#define CIRCUIT_FAILURES	3
#define CIRCUIT_PAUSE_MS	1000

#define STATUS_COLUMNS		11

PG_FUNCTION_INFO_V1(dp_kms_status);

static DpKmsStat *
find_stat(const char *uri)
{
	for (int i = 0; i < DP_KMS_STATS; i++)
	{
		if (strcmp(dp_kms_shared->stats[i].uri, uri) == 0)
			return &dp_kms_shared->stats[i];
	}
	return NULL;
}

/* The URI's entry, made where it has none; the one idle for longest gives way. */
static DpKmsStat *
get_stat(const DpKmsUri *uri)
{
	DpKmsStat  *stat = find_stat(uri->text);

	if (stat != NULL)
		return stat;
	for (int i = 0; i < DP_KMS_STATS; i++)
	{
		DpKmsStat  *entry = &dp_kms_shared->stats[i];

		if (stat == NULL || entry->uri[0] == '\0' ||
			(stat->uri[0] != '\0' &&
			 Max(entry->last_success, entry->last_failure) < Max(stat->last_success, stat->last_failure)))
			stat = entry;
	}
	memset(stat, 0, sizeof(*stat));
	strlcpy(stat->uri, uri->text, sizeof(stat->uri));
	stat->scheme = uri->scheme;
	return stat;
}

DpKmsAdmission
dp_kms_stat_admit(const DpKmsUri *uri, DpKmsError *out_error)
{
	DpKmsAdmission admission = DP_KMS_ADMIT;
	DpKmsStat  *stat;

	LWLockAcquire(dp_kms_lock, LW_EXCLUSIVE);
	stat = get_stat(uri);
	if (stat->circuit == DP_KMS_CIRCUIT_PROBING)
		admission = DP_KMS_WAIT;
	else if (stat->circuit == DP_KMS_CIRCUIT_OPEN)
	{
		if (dp_kms_now() < stat->open_until)
		{
			*out_error = stat->last_error;
			admission = DP_KMS_REFUSE;
		}
		else
			stat->circuit = DP_KMS_CIRCUIT_PROBING;
	}
	LWLockRelease(dp_kms_lock);
	return admission;
}

void
dp_kms_stat_record(const DpKmsUri *uri, const DpKmsOutcome *outcome)
{
	const DpKmsError *error = outcome->error;
	TimestampTz now = GetCurrentTimestamp();
	DpKmsCircuit before;
	DpKmsCircuit after;
	DpKmsStat  *stat;

	LWLockAcquire(dp_kms_lock, LW_EXCLUSIVE);
	stat = get_stat(uri);
	before = stat->circuit;
	stat->latency_us[stat->calls % DP_KMS_LATENCIES] = outcome->latency_us;
	stat->calls++;
	stat->credentials_expire = outcome->credentials_expire == 0 ? 0 :
		time_t_to_timestamptz((pg_time_t) outcome->credentials_expire);
	if (error == NULL)
		stat->last_success = now;
	else
	{
		stat->failures++;
		stat->last_failure = now;
		stat->last_error = *error;
	}
	if (error == NULL || !outcome->unavailable)
	{
		stat->unavailable = 0;
		stat->circuit = DP_KMS_CIRCUIT_CLOSED;
	}
	else if (++stat->unavailable >= CIRCUIT_FAILURES)
	{
		stat->circuit = DP_KMS_CIRCUIT_OPEN;
		stat->open_until = dp_kms_now() + CIRCUIT_PAUSE_MS;
	}
	after = stat->circuit;
	LWLockRelease(dp_kms_lock);

	/* One line when it goes and one when it comes back, not one a call. */
	if (before == DP_KMS_CIRCUIT_CLOSED && after == DP_KMS_CIRCUIT_OPEN)
		ereport(WARNING,
				(errcode(error->sqlstate),
				 errmsg("KMS \"%s\" does not answer", uri->text),
				 errdetail_internal("%s", error->detail),
				 errhint("Keys in the cache go on working; the KMS is asked again at the next request.")));
	else if (before != DP_KMS_CIRCUIT_CLOSED && after == DP_KMS_CIRCUIT_CLOSED)
		ereport(LOG,
				(errmsg("KMS \"%s\" answers again", uri->text)));
}

bool
dp_kms_stat_healthy(const char *uri)
{
	DpKmsStat  *stat;
	bool		healthy;

	LWLockAcquire(dp_kms_lock, LW_SHARED);
	stat = find_stat(uri);
	healthy = stat == NULL || stat->circuit == DP_KMS_CIRCUIT_CLOSED;
	LWLockRelease(dp_kms_lock);
	return healthy;
}

void
dp_kms_stat_agent_begins(void)
{
	LWLockAcquire(dp_kms_lock, LW_EXCLUSIVE);
	for (int i = 0; i < DP_KMS_STATS; i++)
	{
		if (dp_kms_shared->stats[i].circuit == DP_KMS_CIRCUIT_PROBING)
			dp_kms_shared->stats[i].circuit = DP_KMS_CIRCUIT_OPEN;
		dp_kms_shared->stats[i].credentials_expire = 0;
	}
	LWLockRelease(dp_kms_lock);
}

static const char *
circuit_name(DpKmsCircuit circuit)
{
	switch (circuit)
	{
		case DP_KMS_CIRCUIT_CLOSED:
			return "closed";
		case DP_KMS_CIRCUIT_OPEN:
			return "open";
		case DP_KMS_CIRCUIT_PROBING:
			return "half-open";
	}
	return "unknown";
}

/* Mean and maximum of the last calls' times, in milliseconds; of one call at least. */
static void
sum_latencies(const DpKmsStat *stat, double *out_mean, double *out_max)
{
	int			n = (int) Min(stat->calls, DP_KMS_LATENCIES);
	int64		sum = 0;
	int64		max = 0;

	for (int i = 0; i < n; i++)
	{
		sum += stat->latency_us[i];
		max = Max(max, stat->latency_us[i]);
	}
	*out_mean = sum / 1000.0 / n;
	*out_max = max / 1000.0;
}

/*
 * dataprotect._kms_status(): one row for each URI that was ever called since the
 * server started.
 */
Datum
dp_kms_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	DpKmsStat  *stats = palloc(sizeof(dp_kms_shared->stats));

	InitMaterializedSRF(fcinfo, 0);

	LWLockAcquire(dp_kms_lock, LW_SHARED);
	memcpy(stats, dp_kms_shared->stats, sizeof(dp_kms_shared->stats));
	LWLockRelease(dp_kms_lock);

	for (int i = 0; i < DP_KMS_STATS; i++)
	{
		Datum		values[STATUS_COLUMNS];
		bool		nulls[STATUS_COLUMNS] = {false};
		const DpKmsStat *stat = &stats[i];
		double		mean_ms = 0;
		double		max_ms = 0;

		if (stat->uri[0] == '\0')
			continue;
		values[0] = CStringGetTextDatum(stat->uri);
		values[1] = CStringGetTextDatum(dp_kms_provider(stat->scheme)->name);
		values[2] = Int64GetDatum(stat->calls);
		values[3] = Int64GetDatum(stat->failures);
		values[4] = TimestampTzGetDatum(stat->last_success);
		nulls[4] = stat->last_success == 0;
		values[5] = TimestampTzGetDatum(stat->last_failure);
		nulls[5] = stat->last_failure == 0;
		values[6] = CStringGetTextDatum(stat->last_error.detail);
		nulls[6] = stat->last_failure == 0;
		values[7] = CStringGetTextDatum(circuit_name(stat->circuit));
		nulls[8] = nulls[9] = stat->calls == 0;
		if (stat->calls > 0)
			sum_latencies(stat, &mean_ms, &max_ms);
		values[8] = Float8GetDatum(mean_ms);
		values[9] = Float8GetDatum(max_ms);
		values[10] = TimestampTzGetDatum(stat->credentials_expire);
		nulls[10] = stat->credentials_expire == 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	pfree(stats);
	return (Datum) 0;
}
