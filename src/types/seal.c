/*
 * seal.c
 *	  Sealing what a user writes: for a column under its key, otherwise as a
 *	  literal under the database's literal key.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/guc.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "types/seal.h"
#include "types/seal_right.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/acl.h"
#include "utils/builtins.h"

/* Seal for a column of that modifier, or, with -1, as a literal. */
struct varlena *
dp_seal_for(const DpTypeInfo *info, Datum plain, int32 typmod)
{
	const DpModifier *modifier;
	DpFamily	family;
	DpKey		key;
	bool		searchable;

	if (typmod < 0)
	{
		bool		has_prf = dp_keys_literal(&key);

		return dp_value_seal(info, plain, &key, true, has_prf && info->can_token);
	}
	modifier = dp_modifier_of(info->enc_oid, typmod);
	searchable = modifier->searchable;
	family = *dp_keys_family_by_name(NameStr(modifier->key));
	dp_seal_check_right(&family, info->enc_oid);
	dp_keys_for_seal(&family, &key);
	return dp_value_seal(info, plain, &key, false, searchable);
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

struct varlena *
dp_seal_accept_ciphertext(const char *armor, const DpTypeInfo *info)
{
	if (!may_restore())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write ciphertext"),
				 errdetail("Only administrators of dataprotect may restore values in their encrypted form.")));
	return dp_value_from_armor(armor, info->name);
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
