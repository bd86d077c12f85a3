/*
 * key_export.c
 *	  The authentication code of an export of keys.
 *
 * An export is only as good as who wrote it: it says which key belongs to which
 * name and account.  Its code is an HMAC under the policy key of the database it
 * comes from, and covers the whole document.  The policy key is reached through
 * its epoch and so through the KMS, whose encryption context names the database:
 * a database that has no keys yet can check an export by what stands in it.
 */
#include "postgres.h"

#include "base/secret.h"
#include "catalog/pg_type.h"
#include "crypto/aead.h"
#include "fmgr.h"
#include "keys/arena.h"
#include "keys/catalog.h"
#include "keys/keys_internal.h"
#include "kms/kms.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/compat.h"

#define EXPORT_DOMAIN	'x'		/* of the PRF under the policy key */
#define FETCH_TRIES		3		/* the arena may drop an epoch key again */

PG_FUNCTION_INFO_V1(dp_keys_export_mac_sql);

typedef struct PolicyKey
{
	DpKmsContext epoch;
	int			n_uris;
	char	   *uris[DP_KMS_MAX_URIS];
	DpKmsBlob  *blobs;
	uint64		key_id;
	int32		version;
	bytea	   *wrapped;
} PolicyKey;

static void
report_no_export(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the policy key of this export does not open")));
}

/* URIs and wrapped forms of the epoch key, in pairs. */
static void
read_wrapped(ArrayType *uri_array, ArrayType *blob_array, PolicyKey *out)
{
	Datum	   *uris;
	Datum	   *blobs;
	bool	   *uri_nulls;
	bool	   *blob_nulls;
	int			n_blobs;

	deconstruct_array(uri_array, TEXTOID, -1, false, TYPALIGN_INT, &uris, &uri_nulls, &out->n_uris);
	deconstruct_array(blob_array, BYTEAOID, -1, false, TYPALIGN_INT, &blobs, &blob_nulls, &n_blobs);
	if (out->n_uris < 1 || out->n_uris > DP_KMS_MAX_URIS || out->n_uris != n_blobs)
		report_no_export();
	out->blobs = palloc0(sizeof(DpKmsBlob) * out->n_uris);
	for (int i = 0; i < out->n_uris; i++)
	{
		bytea	   *blob;

		if (uri_nulls[i] || blob_nulls[i])
			report_no_export();
		out->uris[i] = TextDatumGetCString(uris[i]);
		dp_kms_check_uri(out->uris[i]);
		blob = DatumGetByteaPP(blobs[i]);
		if (VARSIZE_ANY_EXHDR(blob) > DP_KMS_BLOB_MAX)
			report_no_export();
		out->blobs[i].len = VARSIZE_ANY_EXHDR(blob);
		memcpy(out->blobs[i].data, VARDATA_ANY(blob), out->blobs[i].len);
	}
}

/* The epoch key, from the arena or the KMS; the caller wipes it. */
static void
get_epoch(const PolicyKey *policy, DpArenaEntry *out)
{
	for (int i = 0; i < FETCH_TRIES; i++)
	{
		DpKmsError	error;

		if (dp_arena_get_epoch(MyDatabaseId, policy->epoch.key_id, GetCurrentTimestamp(), out) &&
			out->has_key)
			return;
		if (!dp_kms_fetch(MyDatabaseId, &policy->epoch, (const char *const *) policy->uris,
						  policy->blobs, policy->n_uris, &error))
			ereport(ERROR,
					(errcode(error.sqlstate),
					 errmsg("could not fetch the key of an export of keys from KMS"),
					 errdetail("KMS \"%s\": %s", error.uri, error.detail)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("could not keep the key of an export of keys in the key cache"),
			 errhint("Raise \"%s\" or the hard TTL.", "dataprotect.key_cache_size")));
}

/*
 * The key of that id, however it came to be unwrapped: where this database has it
 * wrapped under a root that is gone, what an import writes is sealed by it.
 */
static void
keep_policy_key(const PolicyKey *policy, const uint8 key[DP_KEY_LEN], const DpArenaEntry *epoch)
{
	DpArenaEntry entry = {0};
	DpVersionRow row;
	uint8		uid[16];

	dp_catalog_database_uid(uid);
	if (memcmp(uid, policy->epoch.database_uid, sizeof(uid)) != 0 ||
		!dp_catalog_read_version(policy->key_id, &row) || row.purpose != DP_PURPOSE_POLICY)
		return;
	entry.key_id = policy->key_id;
	entry.database = MyDatabaseId;
	entry.purpose = DP_PURPOSE_POLICY;
	entry.state = DP_KEY_ACTIVE;
	entry.has_key = true;
	entry.refresh_at = epoch->refresh_at;
	entry.expires_at = epoch->expires_at;
	memcpy(entry.key, key, DP_KEY_LEN);
	dp_arena_put(&entry, 0);
	dp_secret_wipe(&entry, sizeof(entry));
}

/* False where the policy key does not open, or is another. */
static bool
compute_mac(const PolicyKey *policy, const bytea *document, uint8 mac[DP_PRF_OUT_LEN])
{
	DpArenaEntry epoch;
	uint8		context[DP_WRAP_CONTEXT_LEN];
	uint8		key[DP_KEY_LEN];
	uint64		check;
	DpPrf	   *prf = NULL;
	bool		ok;

	dp_keys_wrap_context(policy->epoch.database_uid, policy->key_id, DP_PURPOSE_POLICY, policy->version, context);
	get_epoch(policy, &epoch);
	ok = dp_key_unwrap(epoch.key, context, sizeof(context), (uint8 *) VARDATA_ANY(policy->wrapped),
					   VARSIZE_ANY_EXHDR(policy->wrapped), key) &&
		dp_key_id(key, DP_PURPOSE_POLICY, &check) && check == policy->key_id &&
		(prf = dp_prf_new(key)) != NULL &&
		dp_prf(prf, EXPORT_DOMAIN, (uint8 *) VARDATA_ANY(document), VARSIZE_ANY_EXHDR(document), mac);
	if (ok)
		keep_policy_key(policy, key, &epoch);
	dp_prf_free(prf);
	dp_secret_wipe(key, sizeof(key));
	dp_secret_wipe(&epoch, sizeof(epoch));
	return ok;
}

/*
 * dataprotect._export_mac(uid, epoch_key_id, epoch, kms_uri, epoch_wrapped,
 * policy_key_id, policy_version, policy_wrapped, document)
 */
Datum
dp_keys_export_mac_sql(PG_FUNCTION_ARGS)
{
	PolicyKey	policy;
	bytea	   *result = palloc(VARHDRSZ + DP_PRF_OUT_LEN);

	memset(&policy, 0, sizeof(policy));
	memcpy(policy.epoch.database_uid, PG_GETARG_UUID_P(0)->data, UUID_LEN);
	policy.epoch.key_id = (uint64) PG_GETARG_INT64(1);
	policy.epoch.version = PG_GETARG_INT32(2);
	policy.epoch.purpose = DP_PURPOSE_EPOCH;
	read_wrapped(PG_GETARG_ARRAYTYPE_P(3), PG_GETARG_ARRAYTYPE_P(4), &policy);
	policy.key_id = (uint64) PG_GETARG_INT64(5);
	policy.version = PG_GETARG_INT32(6);
	policy.wrapped = PG_GETARG_BYTEA_PP(7);

	SET_VARSIZE(result, VARHDRSZ + DP_PRF_OUT_LEN);
	if (!compute_mac(&policy, PG_GETARG_BYTEA_PP(8), (uint8 *) VARDATA(result)))
		report_no_export();
	PG_RETURN_BYTEA_P(result);
}
