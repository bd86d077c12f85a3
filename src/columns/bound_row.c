/*
 * bound_row.c
 *	  Rows that belong to an account: sealing them for it, and checking that.
 *
 * dataprotect._seal_subject(account_type, id_column, ...), a BEFORE ROW trigger,
 * seals every protected column of the row under the account's own key.  On
 * UPDATE a column whose plaintext did not change keeps its old envelope, by the rule
 * of kept_value.h.  Sealing for an account is not a read and needs no grant: the
 * values come from the writer; but a value that is sealed for another account
 * already is refused (a paste), and so is a stored one from elsewhere, unless the
 * writer may read it.
 *
 * dataprotect._sealed_for(value, account_type, id), in a CHECK constraint,
 * compares key ids without opening anything, and so catches what bypassed the
 * trigger.  PostgreSQL asks whoever writes the row for EXECUTE, so everybody has
 * it; asked by hand it would tell a stranger whose a value is, by a loop over
 * ids.  It answers for values that the trigger has just sealed for the same role
 * in the same transaction, and beyond these only who may write to a table that is
 * bound to accounts of the type: a writer learns as much from the CHECK itself.
 */
#include "postgres.h"

#include "access/access.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/guc.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "columns/kept_value.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "types/seal.h"
#include "types/types.h"
#include "types/value.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_seal_subject);
PG_FUNCTION_INFO_V1(dp_sealed_for_sql);

/*
 * Keys under which the trigger sealed lately: a row's values, and those of rows
 * that its other triggers write before its CHECK is evaluated.
 */
typedef struct LateSeal
{
	TransactionId transaction;
	Oid			role;
	uint64		key_id;
} LateSeal;

static LateSeal late_seals[64];
static uint32 next_late_seal = 0;

static void
note_seal(const struct varlena *datum)
{
	LateSeal	seal = {GetTopTransactionId(), GetUserId(), 0};
	DpEnvelope	env;

	if (!dp_envelope_parse((uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &env))
		return;
	seal.key_id = env.key_id;
	/* a row has a few keys, one for each family: older ones need not be looked at */
	for (uint32 i = next_late_seal - 4; i != next_late_seal; i++)
	{
		if (memcmp(&late_seals[i % lengthof(late_seals)], &seal, sizeof(seal)) == 0)
			return;
	}
	late_seals[next_late_seal++ % lengthof(late_seals)] = seal;
}

static bool
sealed_lately(uint64 key_id)
{
	TransactionId transaction = GetTopTransactionIdIfAny();

	for (uint32 i = 1; TransactionIdIsValid(transaction) && i <= lengthof(late_seals); i++)
	{
		LateSeal   *seal = &late_seals[(next_late_seal - i) % lengthof(late_seals)];

		if (seal->key_id == key_id && seal->role == GetUserId() &&
			TransactionIdEquals(seal->transaction, transaction))
			return true;
	}
	return false;
}

static bool
may_write(Oid relid, Oid role)
{
	const AclMode writes = ACL_INSERT | ACL_UPDATE;

	return pg_class_aclmask(relid, role, writes, ACLMASK_ANY) != 0 ||
		pg_attribute_aclcheck_all(relid, role, ACL_INSERT, ACLMASK_ANY) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(relid, role, ACL_UPDATE, ACLMASK_ANY) == ACLCHECK_OK;
}

/* May a role write to any table that is bound to accounts of a type? */
static bool
may_write_accounts(const char *account_type, Oid role, Oid seal_function)
{
	Relation	triggers = table_open(TriggerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(triggers, InvalidOid, false, NULL, 0, NULL);
	bool		found = false;
	HeapTuple	tuple;

	while (!found && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(tuple);
		bool		isnull = true;
		Datum		args;

		if (form->tgfoid != seal_function || form->tgnargs < 2 ||
			!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(form->tgrelid)) || !may_write(form->tgrelid, role))
			continue;
		args = heap_getattr(tuple, Anum_pg_trigger_tgargs, RelationGetDescr(triggers), &isnull);
		/* each argument ends with a zero byte */
		found = !isnull && strcmp(VARDATA_ANY(DatumGetByteaPP(args)), account_type) == 0;
	}
	systable_endscan(scan);
	table_close(triggers, AccessShareLock);
	return found;
}

/* dataprotect._seal_subject(), which stands beside the function that is called. */
static Oid
seal_function(FunctionCallInfo fcinfo)
{
	oidvector  *no_arguments = buildoidvector(NULL, 0);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum("_seal_subject"),
						   PointerGetDatum(no_arguments),
						   ObjectIdGetDatum(get_func_namespace(fcinfo->flinfo->fn_oid)));
}

typedef struct AskingRole
{
	Oid			role;
	char	   *account_type;
} AskingRole;

/* An error unless the role may ask about values of this type's accounts. */
static void
check_asking(FunctionCallInfo fcinfo, const char *account_type)
{
	AskingRole *known = fcinfo->flinfo->fn_extra;

	if (known != NULL && known->role == GetUserId() && strcmp(known->account_type, account_type) == 0)
		return;
	if (!superuser() && !may_write_accounts(account_type, GetUserId(), seal_function(fcinfo)) &&
		!(dp_guc_input == DP_INPUT_CIPHERTEXT &&
		  has_privs_of_role(GetUserId(), get_role_oid("dataprotect_admin", false))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function \"%s\"", "_sealed_for"),
				 errdetail("Outside a constraint it answers only who may write the rows of such accounts.")));
	known = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, sizeof(AskingRole));
	known->role = GetUserId();
	known->account_type = MemoryContextStrdup(fcinfo->flinfo->fn_mcxt, account_type);
	fcinfo->flinfo->fn_extra = known;
}

static void
report_paste(const char *rel, const char *col)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("a value of column \"%s\" of relation \"%s\" is sealed for another account", col, rel),
			 errhint("Write the plaintext; the value is then sealed for the row's own account.")));
}

/* A stored value from elsewhere would be shown to the account as its own. */
static void
report_foreign(const char *rel, const char *col)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("a stored value cannot be sealed for the account of column \"%s\" of relation \"%s\"", col, rel),
			 errdetail("It comes from another row, and copying it needs the privilege reveal."),
			 errhint("Write the plaintext in the statement that stores it.")));
}

/*
 * Text of the row's account id: what its column has, or of several columns an array of
 * what they have, as dataprotect._id_expression() has it.  NULL where one of them is
 * null, *out_column then its number; an error where there is no such column.
 */
static char *
row_account(HeapTuple tuple, TupleDesc desc, int n_columns, char **columns, int *out_column)
{
	Datum	   *texts = palloc(n_columns * sizeof(Datum));
	char	   *id = NULL;

	for (int i = 0; i < n_columns; i++)
	{
		*out_column = SPI_fnumber(desc, columns[i]);
		if (*out_column <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of a subject-bound table does not exist", columns[i])));
		id = SPI_getvalue(tuple, desc, *out_column);
		if (id == NULL)
			return NULL;
		texts[i] = CStringGetTextDatum(id);
	}
	if (n_columns == 1)
		return id;
	return OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(construct_array(texts, n_columns, TEXTOID, -1, false, TYPALIGN_INT)));
}

/* The row before the change, as far as a column of it can be kept. */
typedef struct OldColumn
{
	struct varlena *datum;		/* NULL where there is none */
	DpValue		value;
} OldColumn;

static bool
same_envelope(const DpValue *a, const struct varlena *b)
{
	return VARSIZE_ANY_EXHDR(a->datum) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a->datum), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(b)) == 0;
}

/*
 * What the row should hold in one column: the value itself where it is sealed
 * for the account, else a new envelope, or the old one of the same plaintext.
 */
static struct varlena *
seal_column(TriggerData *trigger, Form_pg_attribute att, const char *account_type,
			const char *account, struct varlena *datum, const OldColumn *old)
{
	const DpTypeInfo *info = dp_typeinfo_get(att->atttypid);
	const DpModifier *modifier = dp_modifier_get(att->atttypmod);
	int32		family = dp_keys_family_by_name(NameStr(modifier->key))->family;
	uint64		subject_key = dp_keys_subject_id(family, account_type, account);
	struct varlena *result;
	DpValue		value;
	DpKey		key;
	DpKeyPurpose purpose;
	Datum		plain;
	bool		same;

	dp_value_parse(datum, false, &value);
	if (subject_key != 0 && value.env.key_id == subject_key)
		return datum;
	(void) dp_keys_family_of(value.env.key_id, false, &purpose);
	/* An older key of the account: reencrypt() brings it over, not a chance update. */
	if (purpose == DP_PURPOSE_SUBJECT &&
		dp_keys_subject_owns(family, account_type, account, value.env.key_id))
		return datum;
	/* The row's own values move with it when its account id changes. */
	if (old->datum == NULL || !same_envelope(&value, old->datum))
	{
		if (purpose == DP_PURPOSE_SUBJECT)
			report_paste(RelationGetRelationName(trigger->tg_relation), NameStr(att->attname));
		/* Whoever may read a value could as well write its plaintext. */
		if (!value.literal && !dp_seal_is_fresh(datum) &&
			dp_access_privilege(value.family) < DP_PRIV_REVEAL)
			report_foreign(RelationGetRelationName(trigger->tg_relation), NameStr(att->attname));
	}
	/* Moving to another account must not bring an unreadable value back. */
	if (!dp_value_open(info, &value,
					   purpose == DP_PURPOSE_SUBJECT ? DP_USE_READ : DP_USE_MAINTAIN, false, &plain))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a value of column \"%s\" cannot be sealed for its account because its key is suspended or destroyed",
						NameStr(att->attname)),
				 errhint("An account that asked for its deletion keeps its rows: see dataprotect.deletion_requests.")));
	same = old->datum != NULL && subject_key != 0 && old->value.env.key_id == subject_key &&
		dp_value_has_form(&old->value.env, modifier) && dp_kept_same(info, plain, &old->value);
	if (same)
		result = old->datum;
	else
	{
		dp_keys_for_subject(dp_keys_family(family), account_type, account, &key);
		result = dp_value_seal(info, plain, &key, dp_value_form_of(modifier));
		dp_seal_again(datum, result);
	}
	dp_value_dispose(info, plain);
	return result;
}

/* The same without accounts: under the named key's current version again. */
static struct varlena *
unseal_column(Form_pg_attribute att, struct varlena *datum)
{
	const DpTypeInfo *info = dp_typeinfo_get(att->atttypid);
	const DpModifier *modifier = dp_modifier_get(att->atttypmod);
	struct varlena *result;
	DpValue		value;
	DpKey		key;
	DpKeyPurpose purpose;
	Datum		plain;

	dp_value_parse(datum, false, &value);
	(void) dp_keys_family_of(value.env.key_id, false, &purpose);
	if (purpose != DP_PURPOSE_SUBJECT)
		return datum;
	if (!dp_value_open(info, &value, DP_USE_MAINTAIN, false, &plain))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a value of column \"%s\" cannot be sealed under its named key because its account's key is suspended or destroyed",
						NameStr(att->attname)),
				 errhint("An account that asked for its deletion keeps its rows: see dataprotect.deletion_requests.")));
	dp_keys_for_seal(dp_keys_family_by_name(NameStr(modifier->key)), &key);
	result = dp_value_seal(info, plain, &key, dp_value_form_of(modifier));
	dp_value_dispose(info, plain);
	return result;
}

static void
check_call(FunctionCallInfo fcinfo, TriggerData *trigger)
{
	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ||
		trigger->tg_trigger->tgnargs == 1)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" is a BEFORE INSERT OR UPDATE row trigger with at least two arguments",
						"_seal_subject"),
				 errhint("dataprotect.bind_subject() installs it.")));
}

Datum
dp_seal_subject(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	bool		is_update;
	bool		unbinding;
	HeapTuple	tuple;
	TupleDesc	desc;
	char	   *account = NULL;
	int			null_column = 0;
	int			i;

	check_call(fcinfo, trigger);
	is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	tuple = is_update ? trigger->tg_newtuple : trigger->tg_trigtuple;
	desc = RelationGetDescr(trigger->tg_relation);
	/* without arguments: what unbind_subject() puts on while it goes through the rows */
	unbinding = trigger->tg_trigger->tgnargs == 0;
	if (!unbinding)
		account = row_account(tuple, desc, trigger->tg_trigger->tgnargs - 1, trigger->tg_trigger->tgargs + 1, &null_column);

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		OldColumn	old = {NULL};
		struct varlena *datum;
		struct varlena *sealed;
		Datum		raw;
		bool		isnull;
		int			attnum = i + 1;
		bool		no_null = false;

		if (att->attisdropped || !dp_type_is_encrypted(att->atttypid) || att->atttypmod < 0)
			continue;
		raw = heap_getattr(tuple, attnum, desc, &isnull);
		if (isnull)
			continue;
		if (account == NULL && !unbinding)
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("the account id of a subject-bound row must not be null"),
					 errtablecol(trigger->tg_relation, null_column)));
		datum = (struct varlena *) PG_DETOAST_DATUM_PACKED(raw);
		if (is_update && !unbinding)
		{
			Datum		old_raw = heap_getattr(trigger->tg_trigtuple, attnum, desc, &isnull);

			if (!isnull)
			{
				old.datum = (struct varlena *) PG_DETOAST_DATUM_PACKED(old_raw);
				dp_value_parse(old.datum, false, &old.value);
			}
		}
		sealed = unbinding ? unseal_column(att, datum)
			: seal_column(trigger, att, trigger->tg_trigger->tgargs[0], account, datum, &old);
		if (!unbinding)
			note_seal(sealed);
		if (sealed != datum)
		{
			Datum		value = PointerGetDatum(sealed);

			tuple = heap_modify_tuple_by_cols(tuple, desc, 1, &attnum, &value, &no_null);
		}
	}
	return PointerGetDatum(tuple);
}

/*
 * dataprotect._sealed_for(value anyelement, account_type text, id text) returns
 * bool: is the value sealed for that account?
 */
Datum
dp_sealed_for_sql(PG_FUNCTION_ARGS)
{
	struct varlena *datum;
	const char *account_type;
	DpEnvelope	env;
	DpKeyPurpose purpose;
	int32		family;

	(void) dp_typeinfo_get(get_fn_expr_argtype(fcinfo->flinfo, 0));
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(true);
	if (PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_BOOL(false);
	datum = (struct varlena *) PG_DETOAST_DATUM_PACKED(PG_GETARG_DATUM(0));
	account_type = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!dp_envelope_parse((uint8 *) VARDATA_ANY(datum), VARSIZE_ANY_EXHDR(datum), &env))
		PG_RETURN_BOOL(false);
	if (!sealed_lately(env.key_id))
		check_asking(fcinfo, account_type);
	if (dp_seal_awaits_keys())
		PG_RETURN_BOOL(true);
	family = dp_keys_family_of(env.key_id, false, &purpose);
	PG_RETURN_BOOL(purpose == DP_PURPOSE_SUBJECT &&
				   dp_keys_subject_owns(family, account_type,
										text_to_cstring(PG_GETARG_TEXT_PP(2)), env.key_id));
}
