/*
 * denial.c
 *	  Counting refusals, and one record for each count.
 */
#include "postgres.h"

#include "base/text.h"
#include "events/actor.h"
#include "events/catalogue.h"
#include "events/denial.h"
#include "events/ring.h"
#include "events/transaction.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

static bool (*object_matters) (const char *object) = NULL;
static void (*write_names) (char *out, Size size) = NULL;

static bool
is_over(const DpDenial *place, TimestampTz now)
{
	/* A clock that was set back ends a window as well. */
	return now >= place->since + DP_DENIAL_WINDOW || now < place->since;
}

/* Under the lock: the place of a role and key, a free one, or the last. */
static DpDenial *
find_place(const DpDenial *wanted, TimestampTz now)
{
	DpDenial   *places = dp_ring_denials();
	DpDenial   *free_place = NULL;

	for (int i = 0; i < DP_DENIAL_PLACES - 1; i++)
	{
		DpDenial   *place = &places[i];

		if (place->database == wanted->database && place->session_role == wanted->session_role &&
			place->role == wanted->role && strncmp(place->key, wanted->key, NAMEDATALEN) == 0 &&
			memcmp(place->columns, wanted->columns, DP_DENIAL_COLUMNS) == 0)
			return place;
		if (free_place == NULL && place->count == 0 &&
			(!OidIsValid(place->database) || is_over(place, now)))
			free_place = place;
	}
	if (free_place != NULL)
	{
		*free_place = *wanted;
		return free_place;
	}
	return &places[DP_DENIAL_PLACES - 1];
}

/*
 * Under the lock: has the session's role, whatever roles it has set, all its places with columns,
 * of which this is none?
 */
static bool
has_its_share(const DpDenial *wanted, TimestampTz now)
{
	const DpDenial *places = dp_ring_denials();
	int			n = 0;

	for (int i = 0; i < DP_DENIAL_PLACES - 1; i++)
	{
		if (places[i].database != wanted->database || places[i].session_role != wanted->session_role ||
			places[i].columns[0] == '\0')
			continue;
		if (places[i].role == wanted->role && strncmp(places[i].key, wanted->key, NAMEDATALEN) == 0 &&
			memcmp(places[i].columns, wanted->columns, DP_DENIAL_COLUMNS) == 0)
			return false;
		if (places[i].count > 0 || !is_over(&places[i], now))
			n++;
	}
	return n >= DP_DENIAL_COLUMN_SETS;
}

bool
dp_denial_note(const char *key_name, char *columns)
{
	TimestampTz now = GetCurrentTimestamp();
	DpDenial	wanted = {0};
	DpDenial   *place;
	bool		first;

	wanted.database = MyDatabaseId;
	wanted.session_role = GetAuthenticatedUserId();
	wanted.role = GetUserId();
	strlcpy(wanted.key, key_name ? key_name : "", NAMEDATALEN);
	if (columns != NULL)
		memcpy(wanted.columns, columns, DP_DENIAL_COLUMNS);

	LWLockAcquire(dp_ring_denial_lock(), LW_EXCLUSIVE);
	if (wanted.columns[0] != '\0' && has_its_share(&wanted, now))
	{
		memset(wanted.columns, 0, DP_DENIAL_COLUMNS);
		memset(columns, 0, DP_DENIAL_COLUMNS);
	}
	place = find_place(&wanted, now);
	if (!OidIsValid(place->role))
	{
		/* The place of all others: it is of one database at a time. */
		if (place->count == 0)
			place->database = MyDatabaseId;
		first = place->database != MyDatabaseId;
	}
	else
		first = place->count == 0 && (place->since == 0 || is_over(place, now));
	if (first && OidIsValid(place->role))
		place->since = now;
	else if (!first)
	{
		if (place->count == 0 && !OidIsValid(place->role))
			place->since = now;
		place->count++;
		place->last = now;
	}
	LWLockRelease(dp_ring_denial_lock());
	return first;
}

void
dp_denial_set_columns(void (*callback) (char *out, Size size))
{
	write_names = callback;
}

void
dp_denial_columns(char *columns)
{
	memset(columns, 0, DP_DENIAL_COLUMNS);
	if (write_names != NULL)
		write_names(columns, DP_DENIAL_COLUMNS);
}

void
dp_denial_add_columns(DpRecord *record, const char *columns)
{
	for (const char *name = columns; *name != '\0' && record->n_columns < DP_RECORD_MAX_COLUMNS; name += strlen(name) + 1)
	{
		DpSlice    *slice = &record->columns[record->n_columns++];

		slice->data = (const uint8 *) name;
		slice->len = strlen(name);
		if (name + slice->len + 1 >= columns + DP_DENIAL_COLUMNS)
			break;
	}
}

/* Under the lock: how many names of objects are counted for the session's role already? */
static int
count_names(const DpDenial *wanted, TimestampTz now)
{
	const DpDenial *places = dp_ring_denials();
	int			n = 0;

	for (int i = 0; i < DP_DENIAL_PLACES - 1; i++)
		if (places[i].database == wanted->database && places[i].session_role == wanted->session_role &&
			places[i].key[0] == DP_DENIAL_OBJECT && places[i].key[1] != '\0' &&
			(places[i].role != wanted->role || strncmp(places[i].key, wanted->key, NAMEDATALEN) != 0) &&
			(places[i].count > 0 || !is_over(&places[i], now)))
			n++;
	return n;
}

void
dp_denial_count_object(const char *name)
{
	TimestampTz now = GetCurrentTimestamp();
	DpDenial	wanted = {0};
	DpDenial   *place;

	wanted.database = MyDatabaseId;
	wanted.session_role = GetAuthenticatedUserId();
	wanted.role = GetUserId();
	wanted.key[0] = DP_DENIAL_OBJECT;
	/* A name that does not fit would become another: it is counted without. */
	if (strlen(name) < sizeof(wanted.key) - 1)
		strlcpy(wanted.key + 1, name, sizeof(wanted.key) - 1);

	LWLockAcquire(dp_ring_denial_lock(), LW_EXCLUSIVE);
	if (count_names(&wanted, now) >= DP_DENIAL_OBJECTS)
		wanted.key[1] = '\0';
	place = find_place(&wanted, now);
	/* The place of all others: it is of one database at a time. */
	if (!OidIsValid(place->role) && place->count == 0)
		place->database = MyDatabaseId;
	if (place->database == MyDatabaseId)
	{
		if (place->count == 0)
			place->since = now;
		place->count++;
		place->last = now;
	}
	LWLockRelease(dp_ring_denial_lock());
}

void
dp_denial_set_judge(bool (*matters) (const char *object))
{
	object_matters = matters;
}

/* Of a refusal of an object: its name, of which nothing is copied but that. */
static void
append_object(StringInfo detail, const char *object)
{
	char		name[NAMEDATALEN];

	if (object[0] == '\0')
		return;
	(void) dp_text_copy(name, sizeof(name), object);
	appendStringInfoString(detail, ", \"object\": ");
	escape_json(detail, name);
}

static void
write_count(const DpDenial *denial)
{
	bool		of_object = denial->key[0] == DP_DENIAL_OBJECT;
	StringInfoData text;
	DpRecord	record;
	char		since[MAXDATELEN + 1];
	char	   *detail;

	if (of_object && (object_matters == NULL || !object_matters(denial->key + 1)))
		return;
	strlcpy(since, timestamptz_to_str(denial->since), sizeof(since));
	initStringInfo(&text);
	appendStringInfo(&text, "{\"denied\": " UINT64_FORMAT ", \"from\": \"%s\", \"to\": \"%s\"",
					 denial->count, since, timestamptz_to_str(denial->last));
	if (of_object)
		append_object(&text, denial->key + 1);
	appendStringInfoChar(&text, '}');
	detail = text.data;
	memset(&record, 0, sizeof(record));
	record.kind = DP_RECORD_ADMIN;
	record.event = of_object ? DP_EVENT_PRIVILEGE_DENIED :
		strcmp(denial->key, DP_DENIAL_TOKEN) == 0 ? DP_EVENT_IDENTITY_REFUSED : DP_EVENT_ACCESS_DENIED;
	record.outcome = record.event == DP_EVENT_IDENTITY_REFUSED ? DP_OUTCOME_ERROR : DP_OUTCOME_DENIED;
	dp_denial_add_columns(&record, denial->columns);
	dp_actor_fill_for(&record, denial->session_role, denial->role, detail);
	if (denial->key[0] != '\0' && record.event == DP_EVENT_ACCESS_DENIED)
	{
		record.n_keys = 1;
		record.keys[0].name.data = (const uint8 *) denial->key;
		record.keys[0].name.len = strnlen(denial->key, NAMEDATALEN);
	}
	(void) dp_transaction_append(&record, 0);
}

void
dp_denial_write_counts(bool all)
{
	for (int i = 0; i < DP_DENIAL_PLACES; i++)
	{
		TimestampTz now = GetCurrentTimestamp();
		DpDenial   *place = &dp_ring_denials()[i];
		DpDenial	copy;

		LWLockAcquire(dp_ring_denial_lock(), LW_SHARED);
		copy = *place;
		LWLockRelease(dp_ring_denial_lock());
		if (copy.database != MyDatabaseId || copy.count == 0 || (!all && !is_over(&copy, now)))
			continue;

		/* First the record: what a crash in between counts twice is not lost. */
		write_count(&copy);
		LWLockAcquire(dp_ring_denial_lock(), LW_EXCLUSIVE);
		if (place->database == copy.database && place->role == copy.role)
		{
			place->count -= Min(place->count, copy.count);
			place->since = now;
		}
		LWLockRelease(dp_ring_denial_lock());
	}
}
