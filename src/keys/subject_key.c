/*
 * subject_key.c
 *	  One key for each account under each named key.
 *
 * A transaction that first seals for an account takes a spare key and claims it
 * by an ordinary row of subject_key, unique per named key and account.  The claim
 * rolls back with the transaction; the key does not, and nobody else ever gets
 * it: envelopes under it may be left in an index page (spare_key.h).
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
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

/* Backend-local: which key an account has.  Keyed by a digest of its name. */
typedef struct SubjectEntry
{
	uint8		digest[16];
	uint64		key_id;
} SubjectEntry;

static HTAB *subjects = NULL;
static uint64 subjects_generation = 0;
static SPIPlanPtr claim_plan = NULL;

static void
subject_digest(int32 family, const char *account_type, const char *subject, uint8 out[16])
{
	StringInfoData buf;
	uint8		full[32];

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, (char *) &family, sizeof(family));
	appendBinaryStringInfo(&buf, account_type, strlen(account_type) + 1);
	appendBinaryStringInfo(&buf, subject, strlen(subject) + 1);
	if (!dp_sha256((uint8 *) buf.data, buf.len, full))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute a digest")));
	memcpy(out, full, 16);
	pfree(buf.data);
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
	uint8		digest[16];

	subject_digest(0, account_type, subject, digest);
	LockDatabaseObject(dp_catalog_relation("subject_key"), digest[0] & (SUBJECT_LOCKS - 1), 0, mode);
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
	if (subjects != NULL)
		hash_destroy(subjects);
	subjects = NULL;
}

static uint64
recall(const uint8 digest[16])
{
	SubjectEntry *entry;

	if (subjects_generation != dp_arena_key_generation())
		forget_subjects();
	if (subjects == NULL)
		return 0;
	entry = hash_search(subjects, digest, HASH_FIND, NULL);
	return entry != NULL ? entry->key_id : 0;
}

static void
remember(const uint8 digest[16], uint64 key_id, uint64 generation)
{
	SubjectEntry *entry;

	if (subjects != NULL && hash_get_num_entries(subjects) >= CACHE_MAX)
		forget_subjects();
	if (subjects == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = 16;
		ctl.entrysize = sizeof(SubjectEntry);
		ctl.hcxt = TopMemoryContext;
		subjects = hash_create("dataprotect subjects", 256, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		subjects_generation = generation;
	}
	entry = hash_search(subjects, digest, HASH_ENTER, NULL);
	entry->key_id = key_id;
}

/* Claim key_id unless a concurrent transaction claimed another one first. */
static bool
insert_claim(int32 family, const char *account_type, const char *subject, uint64 key_id)
{
	Oid			save_user;
	int			save_context;
	Oid			argtypes[4] = {INT4OID, TEXTOID, TEXTOID, INT8OID};
	Datum		values[4];
	bool		claimed;

	values[0] = Int32GetDatum(family);
	values[1] = CStringGetTextDatum(account_type);
	values[2] = CStringGetTextDatum(subject);
	values[3] = Int64GetDatum((int64) key_id);

	GetUserIdAndSecContext(&save_user, &save_context);
	SetUserIdAndSecContext(dp_catalog_owner(), save_context | SECURITY_LOCAL_USERID_CHANGE);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (claim_plan == NULL)
	{
		SPIPlanPtr	plan = SPI_prepare("INSERT INTO dataprotect.subject_key (family, account_type, subject, key_id) "
									   "VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
									   4, argtypes);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare the claim of a key");
		claim_plan = plan;
	}
	if (SPI_execute_plan(claim_plan, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not claim a key");
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
	uint64		key_id;

	refuse_closed(account_type, subject);
	dp_spare_take(family->family, &spare);
	lock_subject(account_type, subject, ShareLock);
	refuse_closed(account_type, subject);
	if (insert_claim(family->family, account_type, subject, spare.key_id))
	{
		dp_spare_claimed(&spare);
		return spare.key_id;
	}
	/* Somebody else's claim committed while we waited for it. */
	if (!dp_catalog_read_subject(family->family, account_type, subject, &key_id))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not claim a key for an account due to a concurrent transaction"),
				 errhint("Retry the transaction.")));
	return key_id;
}

uint64
dp_keys_subject_id(int32 family, const char *account_type, const char *subject)
{
	uint64		generation = dp_arena_key_generation();
	uint8		digest[16];
	uint64		key_id;

	subject_digest(family, account_type, subject, digest);
	key_id = recall(digest);
	if (key_id != 0)
		return key_id;
	if (!dp_catalog_read_subject(family, account_type, subject, &key_id))
		return 0;
	remember(digest, key_id, generation);
	return key_id;
}

void
dp_keys_for_subject(const DpFamily *family, const char *account_type, const char *subject,
					DpKey *out)
{
	DpFamily	copy = *family;
	uint64		key_id = dp_keys_subject_id(copy.family, account_type, subject);
	bool		fresh = key_id == 0;

	if (copy.state != DP_KEY_ACTIVE)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("key \"%s\" is not active", NameStr(copy.name)),
				 errdetail("Nothing can be written under it.")));
	if (fresh)
		key_id = claim(&copy, account_type, subject);
	if (dp_keys_get(key_id, DP_USE_READ, false, out) != DP_KEY_OK)
		report_suspended();
}

/* A claim may have been rolled back. */
void
dp_keys_subject_init(void)
{
	dp_keys_on_rollback(forget_subjects);
}
