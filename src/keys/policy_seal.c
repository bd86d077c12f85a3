/*
 * policy_seal.c
 *	  The seal of a row that decides something; see policy_seal.h.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xlog.h"
#include "base/compat.h"
#include "base/server_checks.h"
#include "catalog/pg_type.h"
#include "keys/policy_seal.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#define SEAL_DOMAIN		's'		/* of the PRF under the policy key */
#define SEAL_FORMAT		1
#define SEAL_MAC_LEN	16
#define PLACE_LEN		12
#define SEAL_LEN		(1 + SEAL_MAC_LEN + PLACE_LEN + SEAL_MAC_LEN)

/*
 * What is left out describes (reasons, times of acts), counts, or is
 * authenticated otherwise: wrapped keys under their epoch, epoch keys by the KMS.
 * When a retention policy is due, and whether it is switched on, is a matter of
 * its schedule; what it does to which rows is sealed.
 *
 * Columns after a | came with a later release: where they are NULL they add nothing, so
 * that rows keep the seal that they had.  Append only.
 */
const DpSealedTableInfo dp_sealed_tables[DP_N_SEALED_TABLES] = {
	[DP_SEALED_ACCESS_GRANT] = {"access_grant",
		"id family grantee privilege purpose valid_from valid_until require_mfa require_tls revoked_at search_limit claims "
		"confirmed_at lapses_at",
	"family", "access_grant_family_idx", true},
	[DP_SEALED_ACCOUNT_RULE] = {"account_rule",
		"account_type rel columns action legal_basis targets annotated_by reference reference_columns match rel_oid "
		"attnums reference_attnums | replacement",
	NULL, NULL, true},
	[DP_SEALED_ACCOUNT_TYPE] = {"account_type",
		"name root id_column grace deadline created_by grace_readable recipients root_oid id_attnum grace_hides "
		"| id_columns id_attnums",
	NULL, NULL, true},
	[DP_SEALED_APPROVAL] = {"approval",
		"id act digest requester requester_subject requester_system_user expires_at approvers approver approved_at used_at",
	NULL, NULL, true},
	[DP_SEALED_DELETION_REQUEST] = {"deletion_request",
		"id account_type account_id state requested_by grace_until deadline plan key_ids purged_at destroyed_at | found_by",
	"id", "deletion_request_pkey", true},
	[DP_SEALED_EPOCH] = {"epoch",
		"key_id epoch kms_uri state successor backups waiting_days emptied_at drilled_at",
	NULL, NULL, true},
	[DP_SEALED_EPOCH_KEY] = {"epoch_key",
		"epoch family since",
	NULL, NULL, true},
	[DP_SEALED_EPOCH_ROOT] = {"epoch_root",
		"epoch ordinal uri root_uri state",
	NULL, NULL, true},
	[DP_SEALED_EPOCH_SCHEDULE] = {"epoch_schedule",
		"deletions every kms_uri backups waiting_days",
	NULL, NULL, true},
	[DP_SEALED_HOLD] = {"hold",
		"id rel predicate names names_of until placed_by released_at",
	NULL, NULL, true},
	[DP_SEALED_INSTANCE] = {"instance",
		"uid lockdown_since modifiers",
	NULL, NULL, true},
	[DP_SEALED_KEY] = {"key",
		"family name state current_key_id mask current_version epoch kms_uri rotation_period keep uid",
	"family", "key_pkey", true},
	[DP_SEALED_KEY_VERSION] = {"key_version",
		"key_id family purpose version epoch state expires_at",
	NULL, NULL, false},
	[DP_SEALED_PLAN] = {"plan",
		"id account_type version digest",
	"id", "plan_pkey", true},
	[DP_SEALED_PLAN_EDGE] = {"plan_edge",
		"plan edge direction from_rel columns match to_rel target_columns operators sets_null name casts declared action "
		"basis from_pos to_pos statement check_statement",
	"plan", "plan_edge_pkey", true},
	[DP_SEALED_PLAN_STEP] = {"plan_step",
		"plan ord what rel n edge assignments",
	"plan", "plan_step_pkey", true},
	[DP_SEALED_PLAN_TABLE] = {"plan_table",
		"plan n rel reached_by satellite actions key_columns watch watch_types select_list key_condition assignments "
		"at_end",
	"plan", "plan_table_pkey", true},
	[DP_SEALED_RETENTION_CHILD] = {"retention_child",
		"policy rel action",
	"policy", "retention_child_pkey", true},
	[DP_SEALED_RETENTION_POLICY] = {"retention_policy",
		"id name rel base age_column age_expression age_type condition row_filter keep action options archive every "
		"rel_names base_names names_of timezone date_order created_by term_rel term_names",
	"id", "retention_policy_pkey", true},
	[DP_SEALED_SINK] = {"sink",
		"name uri options created_by",
	NULL, NULL, true},
	[DP_SEALED_SUBJECT_BINDING] = {"subject_binding",
		"rel account_type id_column bound_by rel_oid id_attnum | id_columns id_attnums",
	NULL, NULL, true},
	[DP_SEALED_SUBJECT_KEY] = {"subject_key",
		"family account_type subject key_id version",
	NULL, NULL, false},
	[DP_SEALED_SUSPENDED_SUBJECT] = {"suspended_subject",
		"account_type subject",
	NULL, NULL, true},
	[DP_SEALED_TOMBSTONE] = {"tombstone",
		"account_type subject",
	NULL, NULL, true},
	[DP_SEALED_TRUSTED_FUNCTION] = {"trusted_function",
		"function digest",
	NULL, NULL, true},
	[DP_SEALED_TYPE_MODIFIER] = {"type_modifier",
		"typmod type definition key searchable ordered padded base_typmod",
	NULL, NULL, false},
};

#define MAX_COLUMNS 24

/* Attribute numbers of a table as it was found last. */
typedef struct Layout
{
	Oid			relid;
	int			n;
	int			n_first;		/* those of the first release */
	AttrNumber	columns[MAX_COLUMNS];
	AttrNumber	seal;
	AttrNumber	scope;			/* 0: none */
} Layout;

static Layout layouts[DP_N_SEALED_TABLES];
static MemoryContext scratch = NULL;
static DpPolicyKeySource key_source = NULL;
static bool (*key_is_overtaken) (void) = NULL;

void
dp_seal_set_source(DpPolicyKeySource source, bool (*is_overtaken) (void))
{
	key_source = source;
	key_is_overtaken = is_overtaken;
}

bool
dp_seal_key_is_overtaken(void)
{
	return key_is_overtaken();
}

DpPolicyKey
dp_seal_key(DpPrf **out_prf, uint8 out_uid[16])
{
	return key_source(out_prf, out_uid);
}

DpSealedTable
dp_sealed_table_find(const char *name)
{
	int			i;

	for (i = 0; i < DP_N_SEALED_TABLES; i++)
	{
		if (strcmp(dp_sealed_tables[i].name, name) == 0)
			break;
	}
	return (DpSealedTable) i;
}

static AttrNumber
find_column(Relation rel, const char *name, Size len)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strlen(NameStr(att->attname)) == len &&
			strncmp(NameStr(att->attname), name, len) == 0)
			return att->attnum;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("table \"%s\" of extension \"%s\" was altered", RelationGetRelationName(rel), "dataprotect"),
			 errdetail("It has no column \"%.*s\".", (int) len, name)));
}

static const Layout *
layout_of(DpSealedTable table, Relation rel)
{
	Layout	   *layout = &layouts[table];
	const char *column;
	Size		len;

	if (layout->relid == RelationGetRelid(rel))
		return layout;
	layout->relid = InvalidOid;
	layout->n = 0;
	layout->n_first = MAX_COLUMNS;
	for (column = dp_sealed_tables[table].columns; *column != '\0'; column += len + strspn(column + len, " "))
	{
		len = strcspn(column, " ");
		if (*column == '|')
		{
			layout->n_first = layout->n;
			continue;
		}
		Assert(layout->n < MAX_COLUMNS);
		layout->columns[layout->n++] = find_column(rel, column, len);
	}
	layout->seal = find_column(rel, "seal", 4);
	column = dp_sealed_tables[table].scope;
	layout->scope = column != NULL ? find_column(rel, column, strlen(column)) : 0;
	layout->relid = RelationGetRelid(rel);
	return layout;
}

static void
append_uint32(StringInfo buf, uint32 value)
{
	value = pg_hton32(value);
	appendBinaryStringInfo(buf, (char *) &value, sizeof(value));
}

static void
append_uint64(StringInfo buf, uint64 value)
{
	value = pg_hton64(value);
	appendBinaryStringInfo(buf, (char *) &value, sizeof(value));
}

/* A role, table or type by its name, whatever the search path; by number where it is gone. */
static char *
name_of(Oid type, Oid oid)
{
	char	   *name = NULL;

	if (type == REGROLEOID)
		name = GetUserNameFromId(oid, true);
	else if (type == REGCLASSOID)
	{
		name = get_rel_name(oid);
		if (name != NULL)
			name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(oid)), name);
	}
	else if (get_typtype(oid) != '\0')
		name = format_type_extended(oid, -1, FORMAT_TYPE_FORCE_QUALIFY);
	return name != NULL ? name : psprintf("%u", oid);
}

static char *
text_of_oid(Oid type, Oid oid, bool by_name)
{
	return by_name ? name_of(type, oid) : psprintf("%u", oid);
}

static bool
is_reg_type(Oid type)
{
	return type == REGROLEOID || type == REGCLASSOID || type == REGTYPEOID;
}

static void
append_oids(StringInfo buf, Datum value, bool by_name)
{
	Datum	   *oids;
	bool	   *nulls;
	int			n;

	deconstruct_array(DatumGetArrayTypeP(value), REGCLASSOID, sizeof(Oid), true, TYPALIGN_INT, &oids, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		appendStringInfoString(buf, nulls[i] ? "" : text_of_oid(REGCLASSOID, DatumGetObjectId(oids[i]), by_name));
		appendStringInfoChar(buf, '\0');
	}
}

/* The value as text that depends on nothing but the value. */
static void
append_value(StringInfo buf, Oid type, Datum value, bool by_name)
{
	if (type == TIMESTAMPTZOID)
		append_uint64(buf, (uint64) DatumGetTimestampTz(value));
	else if (type == INTERVALOID)
	{
		Interval   *interval = DatumGetIntervalP(value);

		append_uint64(buf, (uint64) interval->time);
		append_uint32(buf, (uint32) interval->day);
		append_uint32(buf, (uint32) interval->month);
	}
	else if (type == BYTEAOID)
	{
		bytea	   *bytes = DatumGetByteaPP(value);

		appendBinaryStringInfo(buf, VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
	}
	else if (is_reg_type(type))
		appendStringInfoString(buf, text_of_oid(type, DatumGetObjectId(value), by_name));
	else if (type == REGCLASSARRAYOID)
		append_oids(buf, value, by_name);
	else
	{
		Oid			output;
		bool		is_varlena;
		char	   *text;

		getTypeOutputInfo(type, &output, &is_varlena);
		text = OidOutputFunctionCall(output, value);
		appendStringInfoString(buf, pg_server_to_any(text, strlen(text), PG_UTF8));
	}
}

static void
append_columns(StringInfo buf, const Layout *layout, Relation rel, HeapTuple row, bool by_name)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < layout->n; i++)
	{
		bool		isnull;
		Datum		value;
		int			start;
		uint32		len;

		dp_need_own_column(desc, layout->columns[i]);
		value = heap_getattr(row, layout->columns[i], desc, &isnull);
		if (i >= layout->n_first)
		{
			if (isnull)
				continue;
			appendStringInfoChar(buf, (char) (2 + i));
		}
		else
			appendStringInfoChar(buf, isnull);
		start = buf->len;
		append_uint32(buf, 0);
		if (!isnull)
			append_value(buf, TupleDescAttr(desc, layout->columns[i] - 1)->atttypid, value, by_name);
		len = pg_hton32((uint32) (buf->len - start - sizeof(len)));
		memcpy(buf->data + start, &len, sizeof(len));
	}
}

static MemoryContext
enter_scratch(void)
{
	if (scratch == NULL)
		scratch = AllocSetContextCreate(TopMemoryContext, "dataprotect seals", ALLOCSET_SMALL_SIZES);
	return MemoryContextSwitchTo(scratch);
}

static void
leave_scratch(MemoryContext before)
{
	MemoryContextSwitchTo(before);
	MemoryContextReset(scratch);
}

static void
compute_mac(DpPrf *prf, const uint8 uid[16], const uint8 place[PLACE_LEN], DpSealedTable table, Relation rel,
			HeapTuple row, bool by_name, uint8 out[SEAL_MAC_LEN])
{
	const Layout *layout = layout_of(table, rel);
	MemoryContext before = enter_scratch();
	StringInfoData buf;
	uint8		mac[DP_PRF_OUT_LEN];
	bool		ok;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, (const char *) place, PLACE_LEN);
	appendBinaryStringInfo(&buf, (const char *) uid, 16);
	appendBinaryStringInfo(&buf, dp_sealed_tables[table].name, strlen(dp_sealed_tables[table].name) + 1);
	append_columns(&buf, layout, rel, row, by_name);
	ok = dp_prf(prf, SEAL_DOMAIN, (uint8 *) buf.data, buf.len, mac);
	leave_scratch(before);
	if (!ok)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not compute the seal of a row")));
	memcpy(out, mac, SEAL_MAC_LEN);
}

static void
this_place(uint8 out[PLACE_LEN])
{
	uint64		system = pg_hton64(GetSystemIdentifier());
	uint32		database = pg_hton32(MyDatabaseId);

	memcpy(out, &system, sizeof(system));
	memcpy(out + sizeof(system), &database, sizeof(database));
}

bytea *
dp_seal_make(DpPrf *prf, const uint8 uid[16], DpSealedTable table, Relation rel, HeapTuple row)
{
	bytea	   *result = palloc(VARHDRSZ + SEAL_LEN);
	uint8	   *seal = (uint8 *) VARDATA(result);
	uint8	   *place = seal + 1 + SEAL_MAC_LEN;

	SET_VARSIZE(result, VARHDRSZ + SEAL_LEN);
	seal[0] = SEAL_FORMAT;
	this_place(place);
	compute_mac(prf, uid, place, table, rel, row, true, seal + 1);
	compute_mac(prf, uid, place, table, rel, row, false, place + PLACE_LEN);
	return result;
}

bool
dp_seal_check_with(DpPrf *prf, const uint8 uid[16], DpSealedTable table, Relation rel, HeapTuple row)
{
	bytea	   *stored = dp_seal_of(rel, row);
	const uint8 *seal;
	const uint8 *place;
	uint8		here[PLACE_LEN];
	uint8		mac[SEAL_MAC_LEN];
	bool		at_home;

	if (stored == NULL || VARSIZE_ANY_EXHDR(stored) != SEAL_LEN)
		return false;
	seal = (const uint8 *) VARDATA_ANY(stored);
	place = seal + 1 + SEAL_MAC_LEN;
	if (seal[0] != SEAL_FORMAT)
		return false;
	this_place(here);
	at_home = memcmp(here, place, PLACE_LEN) == 0;
	compute_mac(prf, uid, place, table, rel, row, !at_home, mac);
	return dp_equal_ct(mac, at_home ? place + PLACE_LEN : seal + 1, SEAL_MAC_LEN);
}

/* Has another version taken the row's place since it was read?  A rotation does that to each. */
static bool
is_superseded(HeapTuple row)
{
	uint16		mask = row->t_data->t_infomask;

	return ItemPointerIsValid(&row->t_self) && (mask & HEAP_XMAX_INVALID) == 0 && !HEAP_XMAX_IS_LOCKED_ONLY(mask) &&
		TransactionIdDidCommit(HeapTupleHeaderGetUpdateXid(row->t_data));
}

DpSealVerdict
dp_seal_check(DpSealedTable table, Relation rel, HeapTuple row)
{
	DpPrf	   *prf;
	uint8		uid[16];

	switch (dp_seal_key(&prf, uid))
	{
		case DP_POLICY_NONE:
			return DP_SEAL_GOOD;
		case DP_POLICY_AWAY:
			return DP_SEAL_UNKNOWN;
		case DP_POLICY_LOST:
			return DP_SEAL_BAD;
		case DP_POLICY_READY:
			break;
	}
	if (dp_seal_check_with(prf, uid, table, rel, row))
		return DP_SEAL_GOOD;
	if (dp_seal_key_is_overtaken())
		return dp_seal_check(table, rel, row);
	if (is_superseded(row))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("table \"%s\" of extension \"%s\" was changed meanwhile", RelationGetRelationName(rel), "dataprotect"),
				 errhint("Retry the statement.")));
	return DP_SEAL_BAD;
}

bool
dp_seal_same(DpSealedTable table, Relation rel, HeapTuple one, HeapTuple other)
{
	const Layout *layout = layout_of(table, rel);
	MemoryContext before = enter_scratch();
	StringInfoData a;
	StringInfoData b;
	bool		same;

	initStringInfo(&a);
	initStringInfo(&b);
	append_columns(&a, layout, rel, one, false);
	append_columns(&b, layout, rel, other, false);
	same = a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
	leave_scratch(before);
	return same;
}

static AttrNumber
seal_column(Relation rel)
{
	return find_column(rel, "seal", 4);
}

bytea *
dp_seal_of(Relation rel, HeapTuple row)
{
	bool		isnull;
	Datum		value = heap_getattr(row, seal_column(rel), RelationGetDescr(rel), &isnull);

	return isnull ? NULL : DatumGetByteaPP(value);
}

int64
dp_seal_scope(DpSealedTable table, Relation rel, HeapTuple row)
{
	AttrNumber	column = layout_of(table, rel)->scope;
	bool		isnull;
	Datum		value;

	if (column == 0)
		return 0;
	value = heap_getattr(row, column, RelationGetDescr(rel), &isnull);
	if (isnull)
		return 0;
	return TupleDescAttr(RelationGetDescr(rel), column - 1)->atttypid == INT8OID ? DatumGetInt64(value) :
		DatumGetInt32(value);
}
