/*
 * subject_key.c
 *	  One key for each account under each named key.
 *
 * A transaction that first seals for an account takes a spare key and claims it
 * by an ordinary row of subject_key, unique per named key and account.  The claim
 * rolls back with the transaction; the key does not, and nobody else ever gets
 * it: envelopes under it may be left in an index page (spare_key.h).
 *
 * Rotation: a claim notes the version of the named key.  Once that has a newer
 * one, the account's next value is sealed under another key, claimed for that
 * version beside the old one, which goes on opening (and is destroyed with the
 * account, as every key of it).  reencrypt() brings the values over.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/report.h"
#include "base/statement.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "keys/catalog.h"
#include "keys/generation.h"
#include "keys/keys.h"
#include "keys/keys_internal.h"
#include "keys/spare_key.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define SUBJECT_LOCKS	64		/* a power of two */
#define CACHE_MAX		4096

typedef struct SubjectName
{
	int32		family;
	const char *account_type;
	const char *subject;
} SubjectName;

/* Backend-local: which key an account has. */
typedef struct SubjectEntry
{
	SubjectName name;			/* in the table's memory */
	uint64		key_id;
	int32		version;
} SubjectEntry;

static MemoryContext subjects_context = NULL;	/* of subjects and their names */
static HTAB *subjects = NULL;
static SubjectEntry *last_subject = NULL;	/* found last: a row is asked about several times */
static uint64 subjects_generation = 0;
static SPIPlanPtr claim_plan = NULL;

static inline bool
same_subject(const SubjectName *a, const SubjectName *b)
{
	return a->family == b->family && strcmp(a->subject, b->subject) == 0 &&
		strcmp(a->account_type, b->account_type) == 0;
}

static uint32
hash_subject(const void *key, Size size)
{
	const SubjectName *name = key;

	return hash_combine(string_hash(name->subject, strlen(name->subject) + 1),
						hash_combine(string_hash(name->account_type, strlen(name->account_type) + 1),
									 (uint32) name->family));
}

static int
match_subject(const void *a, const void *b, Size size)
{
	return same_subject(a, b) ? 0 : 1;
}

/*
 * Claims of an account and its suspension or destruction exclude each other until
 * the end of the transaction: _subject_suspend and _subject_destroy (exclusive)
 * see every claim, or the claimer (shared) sees that the account is closed.  The
 * lock is by one of 64 hash classes of accounts, so that a load of many new
 * accounts takes few locks; it is one that no SQL function takes for a stranger.
 */
static void
lock_subject(const char *account_type, const char *subject, LOCKMODE mode)
{
	SubjectName name = {0, account_type, subject};

	LockDatabaseObject(dp_catalog_relation("subject_key"), hash_subject(&name, sizeof(name)) & (SUBJECT_LOCKS - 1), 0, mode);
}

PG_FUNCTION_INFO_V1(dp_keys_subject_lock_sql);

Datum
dp_keys_subject_lock_sql(PG_FUNCTION_ARGS)
{
	lock_subject(text_to_cstring(PG_GETARG_TEXT_PP(0)), text_to_cstring(PG_GETARG_TEXT_PP(1)),
				 ExclusiveLock);
	PG_RETURN_VOID();
}

static void
forget_subjects(void)
{
	if (subjects_context != NULL)
		MemoryContextDelete(subjects_context);
	subjects_context = NULL;
	subjects = NULL;
	last_subject = NULL;
}

static const SubjectEntry *
recall(const SubjectName *name)
{
	SubjectEntry *entry;

	if (subjects_generation != dp_arena_key_generation())
		forget_subjects();
	if (subjects == NULL)
		return NULL;
	if (last_subject != NULL && same_subject(&last_subject->name, name))
		return last_subject;
	entry = hash_search(subjects, name, HASH_FIND, NULL);
	if (entry != NULL)
		last_subject = entry;
	return entry;
}

static void
make_subjects(uint64 generation)
{
	HASHCTL		ctl = {0};

	subjects_context = AllocSetContextCreate(TopMemoryContext, "dataprotect subjects", ALLOCSET_DEFAULT_SIZES);
	ctl.keysize = sizeof(SubjectName);
	ctl.entrysize = sizeof(SubjectEntry);
	ctl.hash = hash_subject;
	ctl.match = match_subject;
	ctl.hcxt = subjects_context;
	subjects = hash_create("dataprotect subjects", 256, &ctl, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	subjects_generation = generation;
}

static void
remember(const SubjectName *name, const DpSubjectRow *row, uint64 generation)
{
	SubjectEntry *entry;
	SubjectName copy = *name;
	bool		found;

	if (subjects != NULL && hash_get_num_entries(subjects) >= CACHE_MAX)
		forget_subjects();
	if (subjects == NULL)
		make_subjects(generation);
	if (hash_search(subjects, name, HASH_FIND, NULL) == NULL)
	{
		copy.account_type = MemoryContextStrdup(subjects_context, name->account_type);
		copy.subject = MemoryContextStrdup(subjects_context, name->subject);
	}
	entry = hash_search(subjects, &copy, HASH_ENTER, &found);
	entry->key_id = row->key_id;
	entry->version = row->version;
}

/* Claim key_id unless a concurrent transaction claimed another one first. */
static bool
insert_claim(const DpFamily *family, const char *account_type, const char *subject, uint64 key_id)
{
	Oid			save_user;
	int			save_context;
	Oid			argtypes[5] = {INT4OID, TEXTOID, TEXTOID, INT8OID, INT4OID};
	Datum		values[5];
	bool		claimed = false;
	int			level;

	values[0] = Int32GetDatum(family->family);
	values[1] = CStringGetTextDatum(account_type);
	values[2] = CStringGetTextDatum(subject);
	values[3] = Int64GetDatum((int64) key_id);
	values[4] = Int32GetDatum(family->current_version);

	GetUserIdAndSecContext(&save_user, &save_context);
	SetUserIdAndSecContext(dp_catalog_owner(), save_context | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (claim_plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare("INSERT INTO dataprotect.subject_key (family, account_type, subject, key_id, version) "
									   "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
									   5, argtypes);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare the claim of a key");
		claim_plan = plan;
	}
	level = dp_own_begin();
	PG_TRY();
	{
		if (SPI_execute_plan(claim_plan, values, NULL, false, 0) != SPI_OK_INSERT)
			dp_report_altered("could not claim a key");
	}
	PG_FINALLY();
	{
		dp_own_end(level);
	}
	PG_END_TRY();
	claimed = SPI_processed == 1;
	SPI_finish();
	SetUserIdAndSecContext(save_user, save_context);
	return claimed;
}

static void
report_suspended(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the keys of this account are suspended or destroyed"),
			 errdetail("Nothing can be written for an account that asked for its deletion."),
			 errhint("Cancel the deletion first: see dataprotect.deletion_requests.")));
}

static void
refuse_closed(const char *account_type, const char *subject)
{
	if (dp_catalog_is_suspended(account_type, subject))
		report_suspended();
	if (dp_catalog_has_tombstone(account_type, subject))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this account was deleted for good"),
				 errdetail("No key is ever made for it again."),
				 errhint("Use a new account id.")));
}

static uint64
claim(const DpFamily *family, const char *account_type, const char *subject)
{
	DpSpareKey	spare;
	DpSubjectRow row;

	refuse_closed(account_type, subject);
	dp_spare_take(family->family, &spare);
	lock_subject(account_type, subject, ShareLock);
	refuse_closed(account_type, subject);
	if (insert_claim(family, account_type, subject, spare.key_id))
	{
		dp_spare_claimed(&spare);
		return spare.key_id;
	}
	/* Somebody else's claim committed while we waited for it. */
	if (!dp_catalog_read_subject(family->family, account_type, subject, &row) ||
		row.version < family->current_version)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not claim a key for an account due to a concurrent transaction"),
				 errhint("Retry the transaction.")));
	return row.key_id;
}

/* The newest key of an account: false where it has none. */
static bool
newest_key(int32 family, const char *account_type, const char *subject, uint64 *out_key_id, int32 *out_version)
{
	uint64		generation = dp_arena_key_generation();
	SubjectName name = {family, account_type, subject};
	const SubjectEntry *known = recall(&name);
	DpSubjectRow row;

	if (known == NULL)
	{
		if (!dp_catalog_read_subject(family, account_type, subject, &row))
			return false;
		remember(&name, &row, generation);
		known = recall(&name);
		if (known == NULL)		/* keys have just changed */
		{
			*out_key_id = row.key_id;
			*out_version = row.version;
			return true;
		}
	}
	*out_key_id = known->key_id;
	*out_version = known->version;
	return true;
}

uint64
dp_keys_subject_id(int32 family, const char *account_type, const char *subject)
{
	uint64		key_id;
	int32		version;

	return newest_key(family, account_type, subject, &key_id, &version) ? key_id : 0;
}

bool
dp_keys_subject_owns(int32 family, const char *account_type, const char *subject, uint64 key_id)
{
	DpSubjectRow row;

	if (dp_keys_subject_id(family, account_type, subject) == key_id)
		return true;
	return dp_catalog_read_subject_of(key_id, &row) && row.family == family &&
		strcmp(row.account_type, account_type) == 0 && strcmp(row.subject, subject) == 0;
}

/* Was that version of an expiring key destroyed? */
static bool
went_with_period(const DpFamily *family, int32 version)
{
	DpVersionRow row;

	return family->has_keep && dp_catalog_read_numbered(family->family, version, &row) &&
		row.seal != DP_SEAL_BAD && row.expires_at != DT_NOEND && row.state == DP_KEY_DESTROYED;
}

/*
 * The account's newest key where it is of the named key's version, or of the last
 * one that another session has claimed since this one looked; else a new claim.
 */
static uint64
current_key(const DpFamily *family, const char *account_type, const char *subject)
{
	uint64		key_id;
	int32		version;
	DpSubjectRow row;
	DpVersionRow older;
	SubjectName name = {family->family, account_type, subject};

	if (newest_key(family->family, account_type, subject, &key_id, &version) && version >= family->current_version)
		return key_id;
	if (dp_catalog_read_subject(family->family, account_type, subject, &row))
	{
		if (row.version >= family->current_version)
		{
			remember(&name, &row, dp_arena_key_generation());
			return row.key_id;
		}

		/*
		 * The state of its key closes an account, whatever became of its tombstone; but for a key
		 * that went with its period.
		 */
		if (dp_catalog_read_version(row.key_id, &older) &&
			(older.state == DP_KEY_SUSPENDED ||
			 (older.state == DP_KEY_DESTROYED && !went_with_period(family, row.version))))
			report_suspended();
	}
	return claim(family, account_type, subject);
}

void
dp_keys_for_subject(const DpFamily *family, const char *account_type, const char *subject,
					DpKey *out)
{
	DpFamily	copy = *family;

	if (copy.state != DP_KEY_ACTIVE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("key \"%s\" is not active", NameStr(copy.name)),
				 errdetail("Nothing can be written under it.")));
	if (!dp_keys_renew_version(&copy))
		dp_keys_for_seal(&copy, out);	/* which says why it cannot */
	if (dp_keys_get(current_key(&copy, account_type, subject), DP_USE_READ, false, out) != DP_KEY_OK)
		report_suspended();
}

bool
dp_keys_subject_successor(uint64 key_id, DpKey *out)
{
	DpSubjectRow row;
	DpFamily	family;
	uint64		successor;

	if (!dp_catalog_read_subject_of(key_id, &row))
		return false;
	family = *dp_keys_family(row.family);
	if (family.state != DP_KEY_ACTIVE)
		return false;
	/* Held to the end of the transaction: nobody closes the account meanwhile. */
	lock_subject(row.account_type, row.subject, ShareLock);
	if (dp_catalog_is_suspended(row.account_type, row.subject) || dp_catalog_has_tombstone(row.account_type, row.subject))
		return false;
	successor = current_key(&family, row.account_type, row.subject);
	return successor != key_id && dp_keys_get(successor, DP_USE_READ, false, out) == DP_KEY_OK;
}

/* A claim may have been rolled back. */
void
dp_keys_subject_init(void)
{
	dp_keys_on_rollback(forget_subjects);
}
