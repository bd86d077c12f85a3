/*
 * search_count.c
 *	  How many values a role with "search" has asked for; see search_count.h.
 */
#include "postgres.h"

#include <math.h>

#include "access/search_count.h"
#include "access/xact.h"
#include "base/guc.h"
#include "base/shmem.h"
#include "base/statement.h"
#include "events/event.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#define N_PLACES		128
#define INDEX_BITS		9
#define N_REGISTERS		(1 << INDEX_BITS)
#define N_RECENT		1024	/* of this backend; a power of two */

typedef struct SearchPlace
{
	Oid			database;		/* 0: free */
	Oid			role;			/* 0: several */
	int64		hour;			/* since 2000-01-01; an older one is free */
	bool		alerted;
	double		n;				/* about how many constants */
	uint8		registers[N_REGISTERS];
} SearchPlace;

Oid			dp_search_role = InvalidOid;
int32		dp_search_limit = 0;

static LWLock *lock;
static SearchPlace *places;		/* N_PLACES; under the lock */

/* What this backend has counted already, so that most notes take no lock. */
static uint64 recent[N_RECENT];
static Oid	recent_role = InvalidOid;
static int64 recent_hour = 0;

/* An alert that is due as soon as no page is locked. */
static double alert_due = 0;

static void
attach(void *area, LWLockPadded *locks, bool is_new)
{
	places = area;
	lock = &locks[0].lock;
}

/* Under the lock. */
static SearchPlace *
find_place(Oid role, int64 hour)
{
	SearchPlace *free_place = NULL;
	int			i;

	for (i = 0; i < N_PLACES - 1; i++)
	{
		SearchPlace *place = &places[i];

		if (place->database == MyDatabaseId && place->role == role && place->hour == hour)
			return place;
		if (free_place == NULL && place->hour != hour)
			free_place = place;
	}
	if (free_place == NULL)
	{
		free_place = &places[N_PLACES - 1];
		if (free_place->hour == hour)
			return free_place;
		role = InvalidOid;
	}
	memset(free_place, 0, sizeof(*free_place));
	free_place->database = MyDatabaseId;
	free_place->role = role;
	free_place->hour = hour;
	return free_place;
}

/* HyperLogLog with linear counting where few registers are used. */
static double
estimate(const SearchPlace *place)
{
	double		sum = 0;
	int			zeros = 0;
	double		n;

	for (int i = 0; i < N_REGISTERS; i++)
	{
		sum += 1.0 / (double) (UINT64CONST(1) << place->registers[i]);
		if (place->registers[i] == 0)
			zeros++;
	}
	n = 0.7213 / (1 + 1.079 / N_REGISTERS) * N_REGISTERS * N_REGISTERS / sum;
	if (n <= 2.5 * N_REGISTERS && zeros > 0)
		n = N_REGISTERS * log((double) N_REGISTERS / zeros);
	return n;
}

/* The setting and the grant, whichever says less; 0: neither says anything. */
static int
limit_in_force(void)
{
	if (dp_guc_search_limit == 0 || dp_search_limit == 0)
		return dp_guc_search_limit + dp_search_limit;
	return Min(dp_guc_search_limit, dp_search_limit);
}

/*
 * Count one hash.  Once the limit is reached all is refused that this session has
 * not asked for before: the sketch cannot tell what others have.
 */
static double
count_shared(uint64 hash, int64 hour, bool *refused, bool *alert)
{
	int			i = (int) (hash >> (64 - INDEX_BITS));
	uint64		rest = hash << INDEX_BITS;
	uint8		rank = (uint8) (rest == 0 ? 64 - INDEX_BITS + 1 : 64 - pg_leftmost_one_pos64(rest));
	SearchPlace *place;
	double		n;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	place = find_place(GetUserId(), hour);
	*refused = limit_in_force() > 0 && place->n >= limit_in_force();
	if (!*refused && rank > place->registers[i])
	{
		place->registers[i] = rank;
		place->n = estimate(place);
	}
	n = place->n;
	*alert = dp_guc_search_alert > 0 && n > dp_guc_search_alert && !place->alerted;
	if (*alert)
		place->alerted = true;
	LWLockRelease(lock);
	return n;
}

static void
raise_due_alert(void)
{
	char		detail[128];
	double		n = alert_due;

	if (likely(n == 0) || InterruptHoldoffCount > 0 || !IsTransactionState())
		return;
	alert_due = 0;
	snprintf(detail, sizeof(detail), "{\"constants\": %.0f, \"hour\": true, \"limit\": %d}", n, dp_guc_search_alert);
	dp_event_admin(DP_EVENT_SEARCH_ALERT, NULL, detail);
	ereport(LOG,
			(errmsg("role \"%s\" has searched protected columns for about %.0f different values within the hour",
					GetUserNameFromId(GetUserId(), true), n),
			 errhint("With \"search\" a role reads a column of few possible values by asking for each: see dataprotect.search_limit.")));
}

void
dp_search_note(uint64 hash)
{
	int64		hour = GetCurrentStatementStartTimestamp() / USECS_PER_HOUR;
	bool		refused = false;
	bool		alert = false;
	double		n;

	if (recent_role != GetUserId() || recent_hour != hour)
	{
		memset(recent, 0, sizeof(recent));
		recent_role = GetUserId();
		recent_hour = hour;
	}
	if (recent[hash & (N_RECENT - 1)] != hash)
	{
		n = count_shared(hash, hour, &refused, &alert);
		if (alert)
			alert_due = n;
		if (!refused)
			recent[hash & (N_RECENT - 1)] = hash;
	}
	raise_due_alert();
	if (refused)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("role \"%s\" has searched protected columns for too many different values",
						GetUserNameFromId(GetUserId(), true)),
				 errdetail("The limit is %d within the hour.", limit_in_force()),
				 errhint("Wait for the next hour, or ask for the right to read the column, for a grant with a higher \"%s\", or for another \"%s\".",
						 "search_limit", "dataprotect.search_limit")));
}

static void
ending(QueryDesc *query)
{
	raise_due_alert();
}

static const DpSubscriber subscriber = {
	.name = "searched values",
	.ending = ending,
};

void
dp_search_count_init(void)
{
	dp_shmem_register("dataprotect searches", sizeof(SearchPlace) * N_PLACES, 1, attach);
	dp_statement_subscribe(&subscriber);
}
