/*
 * access.c
 *	  What the current role may see of values under a named key.
 *
 * Grants are rows of dataprotect.access_grant.  The strongest grant that holds
 * now counts: its grantee is the role itself or, unless that is a superuser, one
 * that the role inherits from, it is not revoked, its time has come and not run out, the session
 * states its purpose, and the connection is encrypted and the session's token shows
 * a second factor or has the claims where it asks for that.
 *
 * Two roles are asked: the current one, and the authenticated one where that is
 * a superuser, which could otherwise lend itself any role.  While foreign code
 * runs (foreign_code.h), so are the owners of its functions: the weakest counts.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/foreign_code.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/identity.h"
#include "access/parallel.h"
#include "access/restored.h"
#include "access/search_count.h"
#include "access/sql_runner.h"
#include "access/taken_cursor.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/catalog_change.h"
#include "base/compat.h"
#include "base/server_checks.h"
#include "base/guc.h"
#include "base/statement.h"
#include "events/event.h"
#include "keys/catalog.h"
#include "keys/keys.h"
#include "keys/policy_alarm.h"
#include "keys/policy_root.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define Anum_grant_family		2
#define Anum_grant_grantee		3
#define Anum_grant_privilege	4
#define Anum_grant_purpose		5
#define Anum_grant_valid_from	6
#define Anum_grant_valid_until	7
#define Anum_grant_require_mfa	8
#define Anum_grant_require_tls	9
#define Anum_grant_revoked_at	10
#define Anum_grant_search_limit	17
#define Anum_grant_claims		18
#define Anum_grant_lapses_at	22

#define PURPOSE_MAX 128
#define CLOSED_FOR_MS 1000

typedef struct CacheKey
{
	Oid			role;
	Oid			authenticated;
	int32		family;
} CacheKey;

typedef struct CacheEntry
{
	CacheKey	key;
	DpPrivilege privilege;
	int32		search_limit;	/* of "search": constants an hour, 0: no limit */
	bool		closed;			/* there is more, once this database is no restored one any more */
	TimestampTz valid_until;	/* the answer may change from here on */
	char		purpose[PURPOSE_MAX];	/* the purpose it was computed for */
} CacheEntry;

static HTAB *cache = NULL;
static uint64 cache_policy = 0;
static uint64 cache_keys = 0;
static uint64 cache_changes = 0;
static uint64 cache_identity = 0;

/* The answer given last: most statements ask one question again and again. */
static CacheEntry last;
static bool last_valid = false;

static uint64 forgotten = 0;	/* calls of forget_answers() */
static bool some_end = false;	/* answers since: they may change with the time */

static const char *
stated_purpose(void)
{
	return dp_guc_purpose != NULL ? dp_guc_purpose : "";
}

/* Forget cached answers (a change of this transaction, or a rollback of one). */
static void
forget_answers(void)
{
	if (cache != NULL)
		hash_destroy(cache);
	cache = NULL;
	last_valid = false;
	some_end = false;
	forgotten++;
}

static inline void
follow_generations(void)
{
	uint64		policy = dp_policy_generation();
	uint64		keys = dp_keys_generation();
	uint64		changes = dp_policy_local_changes();
	uint64 identity = dp_identity_changes();

	if (unlikely(policy != cache_policy || keys != cache_keys || changes != cache_changes ||
				 identity !=cache_identity))
	{
		forget_answers();
		cache_identity = identity;

		cache_policy = policy;
		cache_keys = keys;
		cache_changes = changes;
	}
}

/* A superuser could make himself a member of any role: only his own grants count. */
static bool
is_grantee(Oid role, Oid grantee)
{
	return role == grantee || (!superuser_arg(role) && has_privs_of_role(role, grantee));
}

static DpPrivilege
parse_privilege(const char *text)
{
	if (strcmp(text, "reveal") == 0)
		return DP_PRIV_REVEAL;
	if (strcmp(text, "search") == 0)
		return DP_PRIV_SEARCH;
	if (strcmp(text, "mask") == 0)
		return DP_PRIV_MASK;
	return DP_PRIV_NONE;
}

/* A parallel worker has no connection: its leader's counts. */
static bool
connection_is_encrypted(void)
{
	if (IsParallelWorker())
	{
		static bool known = false;
		static bool encrypted = false;

		if (!known)
			encrypted = dp_leader_is_encrypted();
		known = true;
		return encrypted;
	}
	return MyProcPort != NULL && MyProcPort->ssl_in_use;
}

/* What one row gives the role now, and its limit; narrows *until to when that may change. */
static DpPrivilege
weigh_grant(Relation rel, HeapTuple tuple, Oid role, TimestampTz now, TimestampTz *until, int32 *limit)
{
	static const AttrNumber ends[] = {Anum_grant_valid_until, Anum_grant_lapses_at};
	TupleDesc	desc = RelationGetDescr(rel);
	bool		isnull;
	Datum		value;
	TimestampTz edge;

	dp_need_own_column(desc, Anum_grant_claims);
	(void) heap_getattr(tuple, Anum_grant_revoked_at, desc, &isnull);
	if (!isnull)
		return DP_PRIV_NONE;
	value = heap_getattr(tuple, Anum_grant_grantee, desc, &isnull);
	if (isnull || !is_grantee(role, DatumGetObjectId(value)))
		return DP_PRIV_NONE;
	value = heap_getattr(tuple, Anum_grant_valid_from, desc, &isnull);
	edge = isnull ? DT_NOBEGIN : DatumGetTimestampTz(value);
	if (edge > now)
	{
		*until = Min(*until, edge);
		return DP_PRIV_NONE;
	}
	for (int i = 0; i < lengthof(ends); i++)
	{
		value = heap_getattr(tuple, ends[i], desc, &isnull);
		if (isnull)
			continue;
		edge = DatumGetTimestampTz(value);
		if (edge <= now)
			return DP_PRIV_NONE;
		*until = Min(*until, edge);
	}
	value = heap_getattr(tuple, Anum_grant_purpose, desc, &isnull);
	if (!isnull && strcmp(TextDatumGetCString(value), stated_purpose()) != 0)
		return DP_PRIV_NONE;
	value = heap_getattr(tuple, Anum_grant_require_mfa, desc, &isnull);
	if (isnull || (DatumGetBool(value) && !dp_identity_has_mfa(now, until)))
		return DP_PRIV_NONE;
	value = heap_getattr(tuple, Anum_grant_claims, desc, &isnull);
	if (!isnull && !dp_identity_has_claims(DatumGetJsonbP(value), now, until))
		return DP_PRIV_NONE;
	value = heap_getattr(tuple, Anum_grant_require_tls, desc, &isnull);
	if (isnull || (DatumGetBool(value) && !connection_is_encrypted()))
		return DP_PRIV_NONE;
	if (dp_seal_check(DP_SEALED_ACCESS_GRANT, rel, tuple) == DP_SEAL_BAD)
	{
		dp_policy_alarm(DP_SEALED_ACCESS_GRANT, DatumGetInt32(heap_getattr(tuple, Anum_grant_family, desc, &isnull)));
		return DP_PRIV_NONE;
	}
	value = heap_getattr(tuple, Anum_grant_search_limit, desc, &isnull);
	*limit = isnull ? 0 : DatumGetInt32(value);
	value = heap_getattr(tuple, Anum_grant_privilege, desc, &isnull);
	return isnull ? DP_PRIV_NONE : parse_privilege(TextDatumGetCString(value));
}

/* The limit of two grants of "search": neither takes away what the other gives. */
static int32
wider_limit(int32 a, int32 b)
{
	return a == 0 || b == 0 ? 0 : Max(a, b);
}

static int32
narrower_limit(int32 a, int32 b)
{
	return a == 0 || b == 0 ? a + b : Min(a, b);
}

static DpPrivilege
strongest_grant(int32 family, Oid role, TimestampTz now, TimestampTz *until, int32 *out_limit)
{
	Relation	rel = table_open(dp_catalog_relation("access_grant"), AccessShareLock);
	ScanKeyData key[1];
	SysScanDesc scan;
	HeapTuple	tuple;
	DpPrivilege best = DP_PRIV_NONE;

	*out_limit = 0;
	ScanKeyInit(&key[0], Anum_grant_family, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(family));
	scan = systable_beginscan(rel, dp_catalog_relation("access_grant_family_idx"), true, NULL, 1, key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		int32		limit = 0;
		DpPrivilege privilege = weigh_grant(rel, tuple, role, now, until, &limit);

		if (privilege == DP_PRIV_SEARCH)
			*out_limit = best < DP_PRIV_SEARCH ? limit : wider_limit(*out_limit, limit);
		best = Max(best, privilege);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return best;
}

/*
 * Where somebody else has written, changed, removed or put back a grant on a key,
 * none on it gives anything until an administrator has looked; so a lockdown.
 */
static bool
grants_count(int32 family)
{
	return dp_policy_whole(DP_SEALED_ACCESS_GRANT, family) != DP_SEAL_BAD &&
		dp_policy_whole(DP_SEALED_INSTANCE, 0) != DP_SEAL_BAD;
}

/*
 * In a database that may have accounts which were erased after its backup nobody
 * sees anything; told once a statement.
 */
static void
close_to_doubt(CacheEntry *entry, TimestampTz now)
{
	static TimestampTz told = 0;
	char	   *doubt = dp_erasure_doubt();

	if (doubt == NULL)
		return;
	entry->privilege = DP_PRIV_NONE;
	entry->closed = true;
	entry->valid_until = TimestampTzPlusMilliseconds(now, CLOSED_FOR_MS);
	if (told == GetCurrentStatementStartTimestamp() || IsParallelWorker() || InterruptHoldoffCount > 0)
		return;
	told = GetCurrentStatementStartTimestamp();
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("protected values are not shown: this database may have accounts that were erased"),
			 errdetail("%s", doubt),
			 errhint("Call dataprotect.replay_erasures(), or dataprotect.accept_restore() where nothing is missing.")));
}

static void
compute(CacheEntry *entry)
{
	TimestampTz now = GetCurrentTimestamp();
	int32		limit;

	entry->privilege = DP_PRIV_NONE;
	entry->search_limit = 0;
	entry->closed = false;
	entry->valid_until = DT_NOEND;
	strlcpy(entry->purpose, stated_purpose(), PURPOSE_MAX);
	if (strlen(stated_purpose()) >= PURPOSE_MAX || dp_catalog_in_lockdown())
		return;
	entry->privilege = strongest_grant(entry->key.family, entry->key.role, now, &entry->valid_until,
									   &entry->search_limit);
	if (entry->privilege != DP_PRIV_NONE && !grants_count(entry->key.family))
		entry->privilege = DP_PRIV_NONE;
	if (entry->privilege != DP_PRIV_NONE && entry->key.authenticated != entry->key.role &&
		superuser_arg(entry->key.authenticated))
	{
		entry->privilege = Min(entry->privilege,
							   strongest_grant(entry->key.family, entry->key.authenticated, now,
											   &entry->valid_until, &limit));
		entry->search_limit = narrower_limit(entry->search_limit, limit);
	}
	if (entry->privilege != DP_PRIV_NONE && dp_erasure_wanted())
		close_to_doubt(entry, now);
	some_end |= entry->valid_until != DT_NOEND;
}

static inline bool
still_holds(const CacheEntry *entry, TimestampTz now)
{
	const char *purpose = stated_purpose();

	/* A grant that ends does so within a statement as well. */
	if (entry->valid_until != DT_NOEND)
		now = GetCurrentTimestamp();
	/* Most sessions state none. */
	return entry->valid_until > now &&
		((entry->purpose[0] == '\0' && purpose[0] == '\0') || strcmp(entry->purpose, purpose) == 0);
}

/* What a role's own grants give it now; the limit of "search" in *limit. */
static DpPrivilege
privilege_and_limit(Oid role, Oid authenticated, int32 family, int32 *limit)
{
	CacheKey	key = {role, authenticated, family};
	TimestampTz now = GetCurrentStatementStartTimestamp();
	CacheEntry *entry;
	bool		found;

	follow_generations();
	if (likely(last_valid && memcmp(&last.key, &key, sizeof(key)) == 0 && still_holds(&last, now)))
	{
		*limit = last.search_limit;
		return last.privilege;
	}

	if (cache == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(CacheKey);
		ctl.entrysize = sizeof(CacheEntry);
		ctl.hcxt = TopMemoryContext;
		cache = hash_create("dataprotect grants", 32, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(cache, &key, HASH_FIND, NULL);
	if (entry == NULL || !still_holds(entry, now))
	{
		CacheEntry	fresh;
		uint64		policy = cache_policy;
		TimestampTz began = GetCurrentTimestamp();

		memset(&fresh, 0, sizeof(fresh));
		fresh.key = key;
		compute(&fresh);
		dp_policy_look_took(began);
		*limit = fresh.search_limit;
		follow_generations();
		if (cache == NULL || policy != cache_policy)
			return fresh.privilege; /* changed while we read: not kept */
		entry = hash_search(cache, &key, HASH_ENTER, &found);
		*entry = fresh;
	}
	last = *entry;
	last_valid = true;
	*limit = entry->search_limit;
	return entry->privilege;
}

static DpPrivilege
privilege_of(Oid role, Oid authenticated, int32 family)
{
	int32		limit;

	return privilege_and_limit(role, authenticated, family, &limit);
}

DpPrivilege
dp_access_privilege(int32 family)
{
	Oid			role = GetUserId();
	int32		limit;
	DpPrivilege privilege = privilege_and_limit(role, GetAuthenticatedUserId(), family, &limit);

	for (int i = 0; unlikely(i < dp_n_code) && privilege > DP_PRIV_NONE; i++)
	{
		int32		limit_of_owner;

		if (dp_code[i].owner == role)
			continue;
		privilege = Min(privilege, privilege_and_limit(dp_code[i].owner, dp_code[i].owner, family, &limit_of_owner));
		limit = narrower_limit(limit, limit_of_owner);
	}
	if (privilege == DP_PRIV_SEARCH)
	{
		dp_search_role = role;
		dp_search_limit = limit;
	}
	return privilege;
}

void
dp_access_mark(DpAccessMark *mark)
{
	mark->valid = !some_end && dp_n_code == 0 && stated_purpose()[0] == '\0';
	mark->role = GetUserId();
	mark->policy = cache_policy;
	mark->keys = cache_keys;
	mark->changes = cache_changes;
	mark->identity = cache_identity;
	mark->forgotten = forgotten;
}

bool
dp_access_is_unchanged(const DpAccessMark *mark)
{
	return mark->valid && dp_n_code == 0 && mark->role == GetUserId() && stated_purpose()[0] == '\0' &&
		mark->forgotten == forgotten && mark->policy == dp_policy_generation() &&
		mark->keys == dp_keys_generation() && mark->changes == dp_policy_local_changes() &&
		mark->identity == dp_identity_changes();
}

static bool
reveals_all(Oid role)
{
	int32	   *families;
	int			n = dp_catalog_list_families(&families);
	bool		all = true;

	for (int i = 0; i < n && all; i++)
		all = privilege_of(role, role, families[i]) == DP_PRIV_REVEAL;
	pfree(families);
	return all;
}

static bool
has_any_right(void)
{
	int32	   *families;
	int			n = dp_catalog_list_families(&families);
	bool		any = false;

	for (int i = 0; i < n && !any; i++)
		any = dp_access_privilege(families[i]) > DP_PRIV_NONE;
	pfree(families);
	return any;
}

bool
dp_access_reveals_all(void)
{
	int32	   *families;
	bool		all = true;
	int			n;

	if (!dp_catalog_is_there())
		return false;
	n = dp_catalog_list_families(&families);
	for (int i = 0; i < n && all; i++)
		all = dp_access_privilege(families[i]) == DP_PRIV_REVEAL;
	pfree(families);
	return all;
}

bool
dp_access_exceeds(Oid role, Oid other)
{
	int32	   *families;
	bool		exceeds = false;
	int			n;

	if (!dp_catalog_is_there())
		return false;
	n = dp_catalog_list_families(&families);
	for (int i = 0; i < n && !exceeds; i++)
		exceeds = privilege_of(role, role, families[i]) > privilege_of(other, other, families[i]);
	pfree(families);
	return exceeds;
}

/* The foreign code that takes the right away, or NULL: the role has none itself. */
static const DpCode *
limiting_code(int32 family)
{
	DpPrivilege limited = dp_access_privilege(family);

	if (privilege_of(GetUserId(), GetAuthenticatedUserId(), family) == limited)
		return NULL;
	for (int i = 0; i < dp_n_code; i++)
	{
		if (dp_code[i].owner != GetUserId() &&
			privilege_of(dp_code[i].owner, dp_code[i].owner, family) == limited)
			return &dp_code[i];
	}
	return NULL;
}

static void
report_foreign_code(const char *key, const char *needed, const DpCode *limit)
{
	if (!OidIsValid(limit->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for key \"%s\"", key),
				 errdetail("Function %s is running, called by a trigger or an expression that was stored, which may be anybody's.",
						   format_procedure(limit->function)),
				 errhint("Call it in the statement itself or in a function.")));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for key \"%s\"", key),
			 errdetail("Function %s is running, and its owner \"%s\" does not have privilege \"%s\" on the key.",
					   format_procedure(limit->function), GetUserNameFromId(limit->owner, true), needed),
			 errhint("Grant the privilege to the function's owner, or have a member of dataprotect_admin call dataprotect.trust_function().")));
}

/* An administrator tries a grant out by SET ROLE, and sees that it is in force. */
static void
report_superuser_session(const char *key, const char *needed)
{
	char	   *role = GetUserNameFromId(GetUserId(), true);

	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for key \"%s\"", key),
			 errdetail("Role \"%s\" has a grant, but the session was opened by superuser \"%s\": only that role's own grants count in it, whatever SET ROLE or SET SESSION AUTHORIZATION says.",
					   role, GetUserNameFromId(GetAuthenticatedUserId(), true)),
			 errhint("Connect as role \"%s\" to use its privilege \"%s\".", role, needed)));
}

void
dp_access_denied(int32 family, const char *needed)
{
	NameData	name = dp_keys_family(family)->name;

	const DpCode *limit = limiting_code(family);

	dp_event_admin(DP_EVENT_ACCESS_DENIED, NameStr(name), NULL);
	if (privilege_of(GetUserId(), GetAuthenticatedUserId(), family) == DP_PRIV_NONE && last_valid && last.closed)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("protected values are not shown: this database may have accounts that were erased"),
				 errhint("Call dataprotect.replay_erasures(), or dataprotect.accept_restore() where nothing is missing.")));
	if (limit != NULL)
		report_foreign_code(NameStr(name), needed, limit);
	if (superuser_arg(GetAuthenticatedUserId()) &&
		privilege_of(GetUserId(), GetUserId(), family) > privilege_of(GetUserId(), GetAuthenticatedUserId(), family))
		report_superuser_session(NameStr(name), needed);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for key \"%s\"", NameStr(name)),
			 errdetail("Role \"%s\" needs privilege \"%s\" on it; being a superuser or the table's owner gives none.",
					   GetUserNameFromId(GetUserId(), true), needed),
			 errhint("Ask a member of dataprotect_admin for dataprotect.grant_access().")));
}

/* Membership in roles changed: grants may hold for other roles now. */
static void
roles_changed(int cacheid, uint32 hashvalue)
{
	forget_answers();
}

void
dp_access_init(void)
{
	dp_foreign_code_init(reveals_all, dp_access_exceeds, dp_sql_runner_administers);
	dp_sql_runner_init(has_any_right, dp_foreign_code_is_lesser);
	dp_taken_cursor_init();
	dp_role_drop_init();
	dp_search_count_init();
	dp_identity_init();
	dp_on_cache_change(AUTHMEMROLEMEM, roles_changed);
	dp_on_cache_change(AUTHOID, roles_changed);
}
