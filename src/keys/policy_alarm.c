/*
 * policy_alarm.c
 *	  Telling that a sealed table was changed by somebody else; see policy_alarm.h.
 */
#include "postgres.h"

#include "base/shmem.h"
#include "events/event.h"
#include "keys/catalog.h"
#include "keys/policy_alarm.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#define N_ALARMS		64
#define ALARM_EVERY_MS	3600000

typedef struct Alarm
{
	Oid			database;
	int			table;			/* DpSealedTable */
	int64		scope;
	TimestampTz told;
} Alarm;

/* What was told last; the oldest makes room, and is told again.  Guarded by lock. */
typedef struct AlarmShared
{
	int			n;				/* in force; read without the lock, too */
	int			next;
	Alarm		alarm[N_ALARMS];
} AlarmShared;

static AlarmShared *shared = NULL;
static LWLock *lock = NULL;

static Alarm *
find_alarm(DpSealedTable table, int64 scope)
{
	for (int i = 0; i < N_ALARMS; i++)
	{
		Alarm	   *alarm = &shared->alarm[i];

		if (alarm->database == MyDatabaseId && alarm->table == (int) table && alarm->scope == scope)
			return alarm;
	}
	return NULL;
}

/* Note that it is told now; false where it was told within the hour. */
static bool
note_alarm(DpSealedTable table, int64 scope)
{
	TimestampTz now = GetCurrentTimestamp();
	Alarm	   *alarm;
	bool		due;

	LWLockAcquire(lock, LW_EXCLUSIVE);
	alarm = find_alarm(table, scope);
	due = alarm == NULL || alarm->told > now || TimestampDifferenceExceeds(alarm->told, now, ALARM_EVERY_MS);
	if (alarm == NULL)
	{
		alarm = &shared->alarm[shared->next];
		shared->next = (shared->next + 1) % N_ALARMS;
		if (!OidIsValid(alarm->database))
			shared->n++;
	}
	if (due)
	{
		alarm->database = MyDatabaseId;
		alarm->table = (int) table;
		alarm->scope = scope;
		alarm->told = now;
	}
	LWLockRelease(lock);
	return due;
}

void
dp_policy_all_clear(DpSealedTable table, int64 scope)
{
	Alarm	   *alarm;

	if (likely(shared->n == 0))
		return;
	LWLockAcquire(lock, LW_EXCLUSIVE);
	alarm = find_alarm(table, scope);
	if (alarm != NULL)
	{
		alarm->database = InvalidOid;
		shared->n--;
	}
	LWLockRelease(lock);
}

void
dp_policy_alarm(DpSealedTable table, int64 scope)
{
	const DpSealedTableInfo *info = &dp_sealed_tables[table];
	const char *key = NULL;
	char	   *detail = psprintf("{\"table\": \"dataprotect.%s\"}", info->name);
	DpFamily	family;

	if (!note_alarm(table, scope))
		return;
	if (info->scope != NULL && strcmp(info->scope, "family") == 0)
	{
		if (dp_catalog_read_family((int32) scope, &family))
			key = pstrdup(NameStr(family.name));
	}
	else if (info->scope != NULL)
		detail = psprintf("{\"table\": \"dataprotect.%s\", \"%s\": " INT64_FORMAT "}", info->name, info->scope, scope);
	dp_event_admin(DP_EVENT_POLICY_TAMPERED, key, detail);
	ereport(LOG,
			(errmsg("table \"dataprotect.%s\" was changed by somebody else than extension \"dataprotect\"", info->name),
			 errhint("See dataprotect.verify_policy().")));
}

static void
attach(void *area, LWLockPadded *locks, bool is_new)
{
	shared = area;
	lock = &locks[0].lock;
}

void
dp_policy_alarm_init(void)
{
	dp_shmem_register("dataprotect policy alarms", sizeof(AlarmShared), 1, attach);
}
