/*
 * system_keys.c
 *	  The database's own keys: for literals, search, and the audit log.
 *
 * They are made with the first named key, and rotate.  Which they are is remembered
 * in the arena beside the keys.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/secret.h"
#include "keys/arena.h"
#include "keys/catalog.h"
#include "keys/generation.h"
#include "keys/held_keys.h"
#include "keys/keys.h"
#include "keys/keys_internal.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

static DpSystemKeys system_keys;
static bool system_keys_known = false;
static DpPrf *prf = NULL;
static uint64 prf_key_id = 0;
static DpPrf *chain = NULL;
static uint64 chain_key_id = 0;
static DpPrf *older_chain = NULL;	/* a replaced one, for what it vouches for */
static uint64 older_chain_key_id = 0;
static DpPrf *policy = NULL;
static uint64 policy_key_id = 0;
static uint8 policy_uid[16];

static void
forget_system_keys(void)
{
	system_keys_known = false;
	/* The search PRF stays: its key has no state, and its id is compared. */
	dp_prf_free(chain);
	chain = NULL;
	dp_prf_free(older_chain);
	older_chain = NULL;
	dp_prf_free(policy);
	policy = NULL;
}

/* The ids stay known, the keys go. */
static void
let_go_of_contexts(void)
{
	dp_prf_free(prf);
	prf = NULL;
	dp_prf_free(chain);
	chain = NULL;
	dp_prf_free(older_chain);
	older_chain = NULL;
	dp_prf_free(policy);
	policy = NULL;
}

/*
 * The ids of the system's keys; false where no key was ever created, and while
 * pg_upgrade makes the definitions, whose tables come later.
 */
static bool
know_system_keys(void)
{
	if (IsBinaryUpgrade)
		return false;
	dp_keys_follow_generation();
	if (system_keys_known)
		return true;
	if (dp_keys_are_changing() || !dp_arena_get_system(MyDatabaseId, &system_keys))
	{
		uint64		generation = dp_arena_key_generation();
		bool		committed;

		if (!dp_catalog_read_system(&system_keys, &committed))
			return false;

		/*
		 * What was read before a change is for this backend alone, which forgets it; so is what
		 * it made itself.
		 */
		if (committed && generation == dp_arena_key_generation())
			dp_arena_put_system(MyDatabaseId, &system_keys);
	}
	system_keys_known = true;
	return true;
}

static void
need_system_keys(void)
{
	if (!know_system_keys())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no key was created in this database yet"),
				 errhint("Create one with dataprotect.create_key(), or, while a dump is restored, restore the rows of schema \"%s\" first.", "dataprotect")));
}

bool
dp_keys_are_there(void)
{
	return know_system_keys();
}

bool
dp_keys_literal(DpKey *out)
{
	bool		there = know_system_keys();

	if (dp_keys_get(there ? system_keys.literal : DP_OPEN_LITERAL_ID, DP_USE_READ, false, out) != DP_KEY_OK)
		dp_keys_report_missing();
	return there;
}

/* A PRF context of a system key, made again when keys changed; NULL where nothing is left of the key. */
static DpPrf *
system_prf(uint64 key_id, DpPrf **cached, uint64 *cached_id)
{
	DpArenaEntry entry;
	bool		has_key;

	if (*cached !=NULL && *cached_id == key_id)
		return *cached;
	if (InterruptHoldoffCount > 0)
		dp_keys_report_retry(); /* under a page lock: see preload */
	if (!dp_arena_get(MyDatabaseId, key_id, GetCurrentTimestamp(), &entry))
		dp_keys_load_row(key_id, &entry);
	has_key = entry.has_key;
	if (has_key)
		dp_keys_hold();
	/* never the context of another id */
	dp_prf_free(*cached);
	*cached = has_key ? dp_prf_new(entry.key) : NULL;
	*cached_id = key_id;
	dp_secret_wipe(&entry, sizeof(entry));
	if (has_key && *cached == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not prepare a MAC context")));
	return *cached;
}

DpPrf *
dp_keys_prf(void)
{
	/* Under a page lock nothing can be looked up, and preload saw to it. */
	if (InterruptHoldoffCount > 0 && prf != NULL)
		return prf;
	need_system_keys();
	if (system_prf(system_keys.prf, &prf, &prf_key_id) == NULL)
		dp_keys_report_missing();
	return prf;
}

DpPrf *
dp_keys_audit_chain(void)
{
	DpVersionRow row;

	if (!know_system_keys())
		return NULL;
	/* A key row that somebody removed is for verify_audit_log() to tell. */
	if (chain == NULL && !dp_catalog_read_version(system_keys.audit_chain, &row))
		return NULL;
	return system_prf(system_keys.audit_chain, &chain, &chain_key_id);
}

uint64
dp_keys_audit_chain_id(void)
{
	return know_system_keys() ? system_keys.audit_chain : 0;
}

DpPrf *
dp_keys_audit_chain_of(uint64 key_id)
{
	DpVersionRow row;

	if (key_id == 0 || (know_system_keys() && key_id == system_keys.audit_chain))
		return dp_keys_audit_chain();
	if (!know_system_keys())
		return NULL;
	if (older_chain == NULL || older_chain_key_id != key_id)
	{
		if (!dp_catalog_read_version(key_id, &row) || row.family != 0 || row.purpose != DP_PURPOSE_AUDIT_CHAIN ||
			!row.has_wrapped)
			return NULL;
	}
	return system_prf(key_id, &older_chain, &older_chain_key_id);
}

/* Its row, and under the epoch that the audit's key is under: no opening without both. */
static bool
policy_key_is_there(void)
{
	DpVersionRow row;
	DpVersionRow audit;

	return dp_catalog_read_version(system_keys.policy, &row) && row.has_wrapped &&
		dp_catalog_read_version(system_keys.audit_seal, &audit) && audit.epoch == row.epoch;
}

/*
 * Has another policy key taken the place of the one that was used here last?  Then it is
 * known now: a rotation is seen in the tables a moment before the generation says so.
 */
static bool
policy_is_overtaken(void)
{
	DpSystemKeys now;
	uint64		used = policy_key_id;
	bool		committed;

	if (InterruptHoldoffCount > 0 || !know_system_keys() || !dp_catalog_read_system(&now, &committed) ||
		now.policy == used)
		return false;
	system_keys = now;
	dp_prf_free(policy);
	policy = NULL;
	return true;
}

/* The policy key; see policy_seal.h. */
static DpPolicyKey
policy_source(DpPrf **out_prf, uint8 out_uid[16])
{
	if (IsBinaryUpgrade)
		return DP_POLICY_NONE;
	if (!know_system_keys())
		return dp_catalog_has_keys() ? DP_POLICY_LOST : DP_POLICY_NONE;
	/* A statement that keeps what it knew (kept_look.h) seals nothing under a key of the past. */
	if (unlikely(dp_keys_cached_generation != dp_arena_key_generation()))
		(void) policy_is_overtaken();
	if (policy == NULL || policy_key_id != system_keys.policy)
	{
		if (InterruptHoldoffCount > 0)
			dp_keys_report_retry();
		if (!policy_key_is_there())
			return DP_POLICY_LOST;
		if (!dp_keys_try_epoch_of(system_keys.policy))
			return DP_POLICY_AWAY;
		dp_catalog_database_uid(policy_uid);
		if (system_prf(system_keys.policy, &policy, &policy_key_id) == NULL)
			return DP_POLICY_LOST;
	}
	*out_prf = policy;
	memcpy(out_uid, policy_uid, sizeof(policy_uid));
	return DP_POLICY_READY;
}

/*
 * Audit fields are sealed as envelopes of their own type code, so that nothing
 * sealed elsewhere can be passed off as one.
 */
#define AUDIT_TYPE_CODE 0x41554454

bool
dp_keys_audit_seal(const uint8 *in, Size len, bytea **out)
{
	DpKey		key;
	Size		size = dp_envelope_size(len, 0);
	bytea	   *result;

	if (!know_system_keys())
		return false;
	if (dp_keys_get(system_keys.audit_seal, DP_USE_READ, false, &key) != DP_KEY_OK)
		dp_keys_report_missing();
	result = palloc(VARHDRSZ + size);
	SET_VARSIZE(result, VARHDRSZ + size);
	if (!dp_envelope_seal(key.aead, key.key_id, 0, AUDIT_TYPE_CODE, NULL, in, len,
						  (uint8 *) VARDATA(result)))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not seal an audit record")));
	*out = result;
	return true;
}

/* The audit key, or one that it has replaced. */
static bool
sealed_audit(uint64 key_id)
{
	DpVersionRow row;

	return key_id == system_keys.audit_seal ||
		(dp_keys_read_version(key_id, &row) && row.family == 0 && row.purpose == DP_PURPOSE_AUDIT_SEAL);
}

bool
dp_keys_audit_open(const uint8 *in, Size len, bytea **out)
{
	DpKey		key;
	DpEnvelope	env;
	bytea	   *result;

	if (!know_system_keys() || !dp_envelope_parse(in, len, &env) ||
		!sealed_audit(env.key_id) ||
		dp_keys_get(env.key_id, DP_USE_READ, false, &key) != DP_KEY_OK)
		return false;
	result = palloc(VARHDRSZ + env.ciphertext_len);
	SET_VARSIZE(result, VARHDRSZ + env.ciphertext_len);
	if (!dp_envelope_open(key.aead, &env, AUDIT_TYPE_CODE, (uint8 *) VARDATA(result)))
	{
		pfree(result);
		return false;
	}
	*out = result;
	return true;
}

/*
 * Nothing is raised where the KMS is away: a statement over a protected table
 * that opens nothing must run.
 */
void
dp_keys_preload_system(void)
{
	DpKey		literal;
	DpKey		audit_seal;

	if (!know_system_keys())
		return;
	if (!dp_keys_try_epoch_of(system_keys.prf))
		return;
	dp_keys_literal(&literal);
	(void) dp_keys_get(system_keys.audit_seal, DP_USE_READ, false, &audit_seal);
	(void) dp_keys_prf();
}

void
dp_keys_system_init(void)
{
	dp_keys_on_forget(forget_system_keys);
	dp_keys_on_let_go(let_go_of_contexts);
	dp_seal_set_source(policy_source, policy_is_overtaken);
}
