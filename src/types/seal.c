/*
 * seal.c
 *	  Sealing what a user writes: for a column under its key, otherwise as a
 *	  literal under the database's literal key.
 */
#include "postgres.h"

#include "access/search_count.h"
#include "access/xact.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/progress.h"
#include "base/statement.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "keys/catalog.h"
#include "miscadmin.h"
#include "replication/logicalworker.h"
#include "types/seal.h"
#include "types/seal_right.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/acl.h"
#include "utils/builtins.h"

/*
 * What was sealed from plaintext for columns in this transaction, by the first
 * bytes of its nonce, the newest at next - 1.  Older ones than the ring holds are
 * forgotten: a statement that seals more values before it stores the first of
 * them has its values taken for somebody else's.
 */
#define FRESH_MAX 65536

typedef struct Fresh
{
	uint64		nonce;
	Oid			writer;			/* who had the plaintext; invalid: foreign code */
} Fresh;

static Fresh fresh[FRESH_MAX];
static int64 fresh_next = 0;
static TimestampTz fresh_transaction = 0;

static uint64
nonce_of(const struct varlena *datum)
{
	uint64		nonce;

	memcpy(&nonce, VARDATA_ANY(datum) + DP_ENV_HEADER_LEN, sizeof(nonce));
	return nonce;
}

static void
note_fresh(const struct varlena *datum, Oid writer)
{
	Fresh	   *entry;

	if (fresh_transaction != GetCurrentTransactionStartTimestamp())
	{
		fresh_transaction = GetCurrentTransactionStartTimestamp();
		fresh_next = 0;
	}
	entry = &fresh[fresh_next++ % FRESH_MAX];
	entry->nonce = nonce_of(datum);
	entry->writer = writer;
}

/* The newest entry of that value, or NULL. */
static const Fresh *
find_fresh(const struct varlena *datum)
{
	uint64		nonce = nonce_of(datum);
	int64		i;

	if (fresh_transaction != GetCurrentTransactionStartTimestamp())
		return NULL;
	for (i = fresh_next - 1; i >= Max(0, fresh_next - FRESH_MAX); i--)
	{
		if (fresh[i % FRESH_MAX].nonce == nonce)
			return &fresh[i % FRESH_MAX];
	}
	return NULL;
}

bool
dp_seal_is_fresh(const struct varlena *datum)
{
	return find_fresh(datum) != NULL;
}

bool
dp_seal_is_own(const struct varlena *datum)
{
	const Fresh *entry = find_fresh(datum);

	return entry != NULL && entry->writer == GetUserId();
}

void
dp_seal_again(const struct varlena *before, const struct varlena *after)
{
	const Fresh *entry = find_fresh(before);

	if (entry != NULL)
		note_fresh(after, entry->writer);
}

static struct varlena *
seal_for_column(const DpTypeInfo *info, Datum plain, int32 typmod, bool padded, Size least)
{
	const DpModifier *modifier = dp_modifier_of(info->enc_oid, typmod);
	uint8		form = dp_value_form_of(modifier);
	DpFamily	family = *dp_keys_family_by_name(NameStr(modifier->key));
	DpKey		key;

	if (dp_seal_check_right(&family, info->enc_oid) && dp_search_counts())
		dp_search_note(dp_value_hash(info, plain));
	dp_keys_for_seal(&family, &key);
	return padded ? dp_value_seal_padded(info, plain, &key, form, least) : dp_value_seal(info, plain, &key, form);
}

/* Seal for a column of that modifier, or, with -1, as a literal. */
struct varlena *
dp_seal_for(const DpTypeInfo *info, Datum plain, int32 typmod)
{
	struct varlena *result;
	DpKey		key;

	if (typmod < 0)
	{
		bool		has_prf = dp_keys_literal(&key);

		return dp_value_seal(info, plain, &key, DP_ENV_LITERAL | (has_prf && info->can_token ? DP_ENV_TOKEN : 0));
	}
	result = seal_for_column(info, plain, typmod, false, 0);
	dp_progress_advance(DP_PROGRESS_ENCRYPT, 1);
	note_fresh(result, dp_n_code == 0 ? GetUserId() : InvalidOid);
	return result;
}

struct varlena *
dp_seal_computed(const DpTypeInfo *info, Datum plain, int32 typmod, Size least, bool own)
{
	struct varlena *result = seal_for_column(info, plain, typmod, true, least);

	if (own)
		note_fresh(result, GetUserId());
	return result;
}

/*
 * Run a function of the base type whose errors would quote the plaintext: they
 * are raised again without it.
 */
Datum
dp_seal_quietly(const DpTypeInfo *info, DpBaseCall call, void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		result = (Datum) 0;

	PG_TRY();
	{
		result = call(info, arg);
	}
	PG_CATCH();
	{
		int			code = geterrcode();

		if (code == ERRCODE_QUERY_CANCELED || code == ERRCODE_ADMIN_SHUTDOWN ||
			code == ERRCODE_OUT_OF_MEMORY)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		ereport(ERROR,
				(errcode(code),
				 errmsg("invalid value for type %s", info->name),
				 errhint("The value is not shown because it may be personal data.")));
	}
	PG_END_TRY();
	return result;
}

typedef struct CoercionArg
{
	Datum		plain;
	int32		typmod;
	bool		is_explicit;
} CoercionArg;

static Datum
call_coercion(const DpTypeInfo *info, void *arg)
{
	CoercionArg *c = arg;

	return OidFunctionCall3Coll(info->base_coercion, DEFAULT_COLLATION_OID, c->plain,
								Int32GetDatum(c->typmod), BoolGetDatum(c->is_explicit));
}

/* Apply the base type's own modifier, as an assignment to such a column would. */
Datum
dp_seal_apply_modifier(const DpTypeInfo *info, Datum plain, int32 typmod, bool is_explicit)
{
	CoercionArg arg;

	if (typmod < 0)
		return plain;
	arg.typmod = dp_modifier_of(info->enc_oid, typmod)->base_typmod;
	if (arg.typmod < 0 || !OidIsValid(info->base_coercion))
		return plain;
	arg.plain = plain;
	arg.is_explicit = is_explicit;
	return dp_seal_quietly(info, call_coercion, &arg);
}

static bool
may_restore(void)
{
	return superuser() || has_privs_of_role(GetUserId(), get_role_oid("dataprotect_admin", false));
}

bool
dp_seal_takes_ciphertext(void)
{
	return dp_guc_input == DP_INPUT_CIPHERTEXT && may_restore();
}

bool
dp_seal_awaits_keys(void)
{
	return dp_seal_takes_ciphertext() && !dp_keys_are_there();
}

/*
 * What was erased stays so: its token and hash, under keys that live on, would
 * tell whoever guesses the value.  A key that is not there at all may be restored
 * later.
 */
static void
refuse_erased(const struct varlena *datum)
{
	DpEnvelope	env;
	DpVersionRow row;

	if (!dp_envelope_parse((uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &env) ||
		!dp_catalog_read_version(env.key_id, &row) || row.state != DP_KEY_DESTROYED)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("a protected value whose key is destroyed is not accepted"),
			 errdetail("It was erased, and nobody can read it."),
			 errhint("Restore without the rows of accounts that were deleted since.")));
}

struct varlena *
dp_seal_accept_ciphertext(const char *armor, const DpTypeInfo *info)
{
	struct varlena *result;

	if (!may_restore())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write ciphertext"),
				 errdetail("Only administrators of dataprotect may restore values in their encrypted form.")));
	result = dp_value_from_armor(armor, info->name);
	refuse_erased(result);
	return result;
}

/* The text form under "plaintext" is a restore that forgot the setting, or a paste. */
void
dp_seal_refuse_ciphertext(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("a protected value in its encrypted form is not accepted as plaintext"),
			 errhint("To restore a dump, an administrator sets \"dataprotect.input\" to \"ciphertext\".")));
}

bool
dp_seal_takes_as_text(const char *armor)
{
	static bool warned = false;

	if (dp_guc_input != DP_INPUT_PLAINTEXT || !IsLogicalWorker() || dp_value_is_replicated(armor))
		return false;
	if (!warned)
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("text that looks like a protected value is replicated as text"),
				 errdetail("It was written into a column of plain text, or comes from a server whose keys are not here.")));
	warned = true;
	return true;
}
