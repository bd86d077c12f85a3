/*
 * modifier_seal.c
 *	  The seals of the rows of dataprotect.type_modifier; see modifier_seal.h.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "fmgr.h"
#include "keys/catalog.h"
#include "keys/policy_alarm.h"
#include "keys/policy_root.h"
#include "keys/policy_seal.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "types/modifier_seal.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(dp_modifiers_adopted_sql);
PG_FUNCTION_INFO_V1(dp_modifiers_mark_sql);

#define Anum_instance_modifiers	7
#define Anum_secret				1

#define MARK_DOMAIN	'm'			/* of the PRF under the policy key */
#define PLACE_LEN	16
#define MARK_LEN	(PLACE_LEN + DP_PRF_OUT_LEN)

/* This system, database and table. */
static void
this_place(uint8 out[PLACE_LEN])
{
	uint64		system = pg_hton64(GetSystemIdentifier());
	uint32		database = pg_hton32(MyDatabaseId);
	uint32		table = pg_hton32(dp_catalog_relation("type_modifier"));

	memcpy(out, &system, sizeof(system));
	memcpy(out + 8, &database, sizeof(database));
	memcpy(out + 12, &table, sizeof(table));
}

bytea *
dp_modifier_secret(void)
{
	Relation	rel = table_open(dp_catalog_relation("modifier_secret"), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, SnapshotSelf, 0, NULL);
	HeapTuple	tuple = systable_getnext(scan);
	bytea	   *secret = NULL;

	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_secret, RelationGetDescr(rel), &isnull);

		secret = isnull ? NULL : DatumGetByteaPCopy(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return secret;
}

static void
mac_of_secret(DpPrf *prf, uint8 out[DP_PRF_OUT_LEN])
{
	bytea	   *secret = dp_modifier_secret();
	bool		ok;

	ok = dp_prf(prf, MARK_DOMAIN, secret != NULL ? (uint8 *) VARDATA_ANY(secret) : (uint8 *) "",
				secret != NULL ? VARSIZE_ANY_EXHDR(secret) : 0, out);
	if (!ok)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not compute the mark of a table")));
}

typedef struct Mark
{
	bool		there;
	bool		sealed;			/* the row that says so is, as far as that can be told */
	uint8		bytes[MARK_LEN];
} Mark;

static void
read_mark(Mark *out)
{
	Relation	rel = table_open(dp_catalog_relation("instance"), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, HistoricSnapshotActive() ? SnapshotSelf : NULL, 0, NULL);
	HeapTuple	row = systable_getnext(scan);

	memset(out, 0, sizeof(*out));
	if (HeapTupleIsValid(row))
	{
		bool		isnull;
		Datum		value = heap_getattr(row, Anum_instance_modifiers, RelationGetDescr(rel), &isnull);
		bytea	   *mark = isnull ? NULL : DatumGetByteaPP(value);

		out->sealed = dp_seal_check(DP_SEALED_INSTANCE, rel, row) != DP_SEAL_BAD;
		out->there = mark != NULL && VARSIZE_ANY_EXHDR(mark) == MARK_LEN;
		if (out->there)
			memcpy(out->bytes, VARDATA_ANY(mark), MARK_LEN);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* Do rows without a seal count for nothing here?  In doubt so. */
static bool
adopted(void)
{
	DpPrf	   *prf;
	uint8		uid[16];
	uint8		place[PLACE_LEN];
	uint8		mac[DP_PRF_OUT_LEN];
	DpPolicyKey key = dp_seal_key(&prf, uid);
	Mark		mark;

	if (key == DP_POLICY_NONE)
		return false;
	read_mark(&mark);
	if (!mark.sealed || (key == DP_POLICY_READY && dp_policy_whole(DP_SEALED_INSTANCE, 0) == DP_SEAL_BAD))
		return true;
	this_place(place);
	if (!mark.there)
		return false;
	if (memcmp(mark.bytes, place, PLACE_LEN) == 0)
		return true;
	if (key != DP_POLICY_READY)
		return false;
	mac_of_secret(prf, mac);
	return dp_equal_ct(mark.bytes + PLACE_LEN, mac, sizeof(mac));
}

bool
dp_modifier_row_is_sealed(Relation rel, HeapTuple row)
{
	if (dp_seal_of(rel, row) == NULL)
		return !adopted();
	return dp_seal_check(DP_SEALED_TYPE_MODIFIER, rel, row) != DP_SEAL_BAD;
}

bytea *
dp_modifier_seal(Relation rel, HeapTuple row)
{
	DpPrf	   *prf;
	uint8		uid[16];
	DpPolicyKey key = dp_seal_key(&prf, uid);

	if (key == DP_POLICY_READY)
		return dp_seal_make(prf, uid, DP_SEALED_TYPE_MODIFIER, rel, row);
	if (adopted())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 key == DP_POLICY_AWAY ? errmsg("could not fetch the policy key from KMS") :
				 errmsg("the policy key of this database is gone"),
				 errdetail("The modifiers of encrypted types are sealed under it, and this one is new."),
				 key == DP_POLICY_AWAY ? errhint("Retry when the KMS answers.") :
				 errhint("Restore the key tables from a backup.")));
	return NULL;
}

void
dp_modifier_alarm(void)
{
	dp_policy_alarm(DP_SEALED_TYPE_MODIFIER, 0);
}

DpPrf *
dp_modifier_policy_prf(void)
{
	DpPrf	   *prf;
	uint8		uid[16];

	return dp_seal_key(&prf, uid) == DP_POLICY_READY ? prf : NULL;
}

/* dataprotect._modifiers_adopted() returns bool: do rows without a seal count for nothing? */
Datum
dp_modifiers_adopted_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(adopted());
}

/* dataprotect._modifiers_mark() returns bytea: what the row of dataprotect.instance notes here; NULL without a policy key */
Datum
dp_modifiers_mark_sql(PG_FUNCTION_ARGS)
{
	DpPrf	   *prf = dp_modifier_policy_prf();
	bytea	   *result;

	if (prf == NULL)
		PG_RETURN_NULL();
	result = palloc(VARHDRSZ + MARK_LEN);
	SET_VARSIZE(result, VARHDRSZ + MARK_LEN);
	this_place((uint8 *) VARDATA(result));
	mac_of_secret(prf, (uint8 *) VARDATA(result) + PLACE_LEN);
	PG_RETURN_BYTEA_P(result);
}
