/*
 * catalog.c
 *	  Reading the key tables.
 *
 * Attribute numbers follow src/keys/key_tables.sql, which only ever appends.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/catalog_change.h"
#include "base/compat.h"
#include "base/server_checks.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "keys/catalog.h"
#include "keys/keys_internal.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define Anum_instance_uid			1
#define Anum_instance_lockdown_since	3

#define Anum_epoch_key_id			1
#define Anum_epoch_epoch			2
#define Anum_epoch_kms_uri			3
#define Anum_epoch_wrapped			4

#define Anum_key_family				1
#define Anum_key_name				2
#define Anum_key_state				3
#define Anum_key_current_key_id		4
#define Anum_key_mask				5
#define Anum_key_current_version	6
#define Anum_key_keep				10

#define Anum_version_key_id			1
#define Anum_version_family			2
#define Anum_version_purpose		3
#define Anum_version_version		4
#define Anum_version_epoch			5
#define Anum_version_state			6
#define Anum_version_wrapped		7
#define Anum_version_expires_at		13

#define Anum_clock_newest			2
#define Anum_clock_boot				3
#define Anum_clock_uptime			4

#define Anum_subject_family			1
#define Anum_subject_account_type	2
#define Anum_subject_subject		3
#define Anum_subject_key_id			4
#define Anum_subject_version		6

#define Anum_account_type			1
#define Anum_account_subject		2
#define Anum_tombstone_released	6

/* Called for each row found; returns whether to go on. */
typedef bool (*RowReader) (Relation rel, HeapTuple tuple, void *out);

/*
 * The tables of another version have other columns: nothing is read from them by
 * number.
 */
static void
check_version(Oid extension)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(extension));
	scan = systable_beginscan(rel, ExtensionOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		value = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(rel), &isnull);

		version = isnull ? NULL : TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (version == NULL || strcmp(version, dp_library_version()) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" of this database is version %s, and the loaded library is %s",
						"dataprotect", version != NULL ? version : "unknown", dp_library_version()),
				 errhint("Run ALTER EXTENSION dataprotect UPDATE where the library is the newer one, or restart the server where its files are.")));
}

/* Tables belong to the extension; an index belongs to a table that does. */
static bool
is_ours(Oid rel)
{
	static Oid	known[16];
	static int	n_known = 0;
	Oid			table = get_rel_relkind(rel) == RELKIND_INDEX ? IndexGetRelation(rel, true) : rel;
	Oid			extension;
	int			i;

	for (i = 0; i < n_known; i++)
	{
		if (known[i] == table)
			return true;
	}
	extension = get_extension_oid("dataprotect", true);
	if (!OidIsValid(extension) || getExtensionOfObject(RelationRelationId, table) != extension)
		return false;
	/* an update script is what mends it */
	if (!creating_extension)
		check_version(extension);
	if (n_known < lengthof(known))
		known[n_known++] = table;
	return true;
}

Oid
dp_catalog_relation(const char *name)
{
	Oid			schema = get_namespace_oid("dataprotect", true);
	Oid			rel = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	/* A table that only bears the name is somebody else's. */
	if (!OidIsValid(rel) || !is_ours(rel))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" is not installed in this database", "dataprotect"),
				 errhint("Run CREATE EXTENSION dataprotect.")));
	return rel;
}

Oid
dp_catalog_owner(void)
{
	Relation	rel = table_open(dp_catalog_relation("key"), AccessShareLock);
	Oid			owner = rel->rd_rel->relowner;

	table_close(rel, AccessShareLock);
	return owner;
}

/* Scan a table by one of its indexes (NULL: sequentially). */
static bool
scan_rows(const char *table, const char *index, int n_keys, ScanKey keys,
		  RowReader reader, void *out)
{
	Relation	rel = table_open(dp_catalog_relation(table), AccessShareLock);
	Oid			index_oid = index != NULL ? dp_catalog_relation(index) : InvalidOid;

	/*
	 * The snapshot of logical decoding knows catalogs only: of our tables it misses rows that
	 * were made in the meantime.
	 */
	Snapshot	snapshot = HistoricSnapshotActive() ? SnapshotSelf : NULL;
	SysScanDesc scan = systable_beginscan(rel, index_oid, index != NULL, snapshot, n_keys, keys);
	HeapTuple	tuple;
	bool		found = false;

	dp_keys_watch_tables();
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		found = true;
		if (!reader(rel, tuple, out))
			break;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static Datum
row_attr(Relation rel, HeapTuple tuple, int attnum, bool *isnull)
{
	bool		null;
	Datum		value;

	dp_need_own_column(RelationGetDescr(rel), attnum);
	value = heap_getattr(tuple, attnum, RelationGetDescr(rel), &null);

	if (isnull != NULL)
		*isnull = null;
	else if (null)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("unexpected null in a key table of dataprotect")));
	return value;
}

static bool
read_nothing(Relation rel, HeapTuple tuple, void *arg)
{
	return false;
}

static bool
read_version(Relation rel, HeapTuple tuple, void *arg)
{
	DpVersionRow *out = arg;
	bool		isnull;
	Datum		wrapped;

	out->key_id = (uint64) DatumGetInt64(row_attr(rel, tuple, Anum_version_key_id, NULL));
	out->family = DatumGetInt32(row_attr(rel, tuple, Anum_version_family, NULL));
	out->purpose = DatumGetInt16(row_attr(rel, tuple, Anum_version_purpose, NULL));
	out->version = DatumGetInt32(row_attr(rel, tuple, Anum_version_version, NULL));
	out->epoch = (uint64) DatumGetInt64(row_attr(rel, tuple, Anum_version_epoch, NULL));
	out->state = DatumGetChar(row_attr(rel, tuple, Anum_version_state, NULL));
	wrapped = row_attr(rel, tuple, Anum_version_wrapped, &isnull);
	out->has_wrapped = false;
	if (!isnull)
	{
		bytea	   *b = DatumGetByteaPP(wrapped);

		if (VARSIZE_ANY_EXHDR(b) == DP_WRAPPED_LEN)
		{
			memcpy(out->wrapped, VARDATA_ANY(b), DP_WRAPPED_LEN);
			out->has_wrapped = true;
		}
	}
	wrapped = row_attr(rel, tuple, Anum_version_expires_at, &isnull);
	out->expires_at = isnull ? DT_NOEND : DatumGetTimestampTz(wrapped);
	out->seal = out->family == 0 ? DP_SEAL_GOOD : dp_seal_check(DP_SEALED_KEY_VERSION, rel, tuple);
	return false;
}

static bool
read_until_named(Relation rel, HeapTuple tuple, void *arg)
{
	bool	   *found = arg;

	*found = DatumGetInt32(row_attr(rel, tuple, Anum_version_family, NULL)) != 0;
	return !*found;
}

bool
dp_catalog_has_keys(void)
{
	bool		found = false;

	(void) scan_rows("key_version", NULL, 0, NULL, read_until_named, &found);
	return found;
}

bool
dp_catalog_is_member(Oid class_id, Oid object_id)
{
	Oid			extension = get_extension_oid("dataprotect", true);

	return OidIsValid(extension) && getExtensionOfObject(class_id, object_id) == extension;
}

bool
dp_catalog_read_version(uint64 key_id, DpVersionRow *out)
{
	ScanKeyData key[1];

	ScanKeyInit(&key[0], Anum_version_key_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) key_id));
	return scan_rows("key_version", "key_version_pkey", 1, key, read_version, out);
}

bool
dp_catalog_read_numbered(int32 family, int32 version, DpVersionRow *out)
{
	ScanKeyData key[3];

	ScanKeyInit(&key[0], Anum_version_family, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(family));
	ScanKeyInit(&key[1], Anum_version_purpose, BTEqualStrategyNumber, F_INT2EQ,
				Int16GetDatum(DP_PURPOSE_DATA));
	ScanKeyInit(&key[2], Anum_version_version, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(version));
	return scan_rows("key_version", "key_version_family_idx", 3, key, read_version, out);
}

static bool
read_clock(Relation rel, HeapTuple tuple, void *arg)
{
	DpClockRow *out = arg;

	out->newest = DatumGetTimestampTz(row_attr(rel, tuple, Anum_clock_newest, NULL));
	strlcpy(out->boot, TextDatumGetCString(row_attr(rel, tuple, Anum_clock_boot, NULL)), sizeof(out->boot));
	out->uptime = DatumGetInt64(row_attr(rel, tuple, Anum_clock_uptime, NULL));
	return false;
}

bool
dp_catalog_read_clock(DpClockRow *out)
{
	return scan_rows("clock_record", NULL, 0, NULL, read_clock, out);
}

static bool
read_epoch(Relation rel, HeapTuple tuple, void *arg)
{
	DpEpochRow *out = arg;
	Datum	   *uris;
	Datum	   *blobs;
	int			n_uris;
	int			n_blobs;
	int			i;

	out->context.key_id = (uint64) DatumGetInt64(row_attr(rel, tuple, Anum_epoch_key_id, NULL));
	out->context.version = DatumGetInt32(row_attr(rel, tuple, Anum_epoch_epoch, NULL));
	out->context.purpose = DP_PURPOSE_EPOCH;
	deconstruct_array(DatumGetArrayTypeP(row_attr(rel, tuple, Anum_epoch_kms_uri, NULL)),
					  TEXTOID, -1, false, TYPALIGN_INT, &uris, NULL, &n_uris);
	deconstruct_array(DatumGetArrayTypeP(row_attr(rel, tuple, Anum_epoch_wrapped, NULL)),
					  BYTEAOID, -1, false, TYPALIGN_INT, &blobs, NULL, &n_blobs);
	if (n_uris != n_blobs || n_uris < 1 || n_uris > DP_KMS_MAX_URIS)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("malformed epoch in a key table of dataprotect")));
	out->n_uris = n_uris;
	out->blobs = palloc0(sizeof(DpKmsBlob) * n_uris);
	for (i = 0; i < n_uris; i++)
	{
		bytea	   *b = DatumGetByteaPP(blobs[i]);

		if (VARSIZE_ANY_EXHDR(b) > DP_KMS_BLOB_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("malformed epoch in a key table of dataprotect")));
		out->uris[i] = TextDatumGetCString(uris[i]);
		out->blobs[i].len = VARSIZE_ANY_EXHDR(b);
		memcpy(out->blobs[i].data, VARDATA_ANY(b), VARSIZE_ANY_EXHDR(b));
	}
	return false;
}

bool
dp_catalog_read_epoch(uint64 key_id, DpEpochRow *out)
{
	ScanKeyData key[1];

	memset(out, 0, sizeof(*out));
	ScanKeyInit(&key[0], Anum_epoch_key_id, BTEqualStrategyNumber, F_INT8EQ,
				Int64GetDatum((int64) key_id));
	if (!scan_rows("epoch", "epoch_pkey", 1, key, read_epoch, out))
		return false;
	dp_catalog_database_uid(out->context.database_uid);
	return true;
}

void
dp_catalog_require_epoch(uint64 key_id, int uri, DpEpochRow *out)
{
	if (!dp_catalog_read_epoch(key_id, out) || uri < 1 || uri > out->n_uris)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no such epoch or KMS URI")));
}

static bool
read_family(Relation rel, HeapTuple tuple, void *arg)
{
	DpFamily   *out = arg;
	bool		isnull;
	char	   *mask = TextDatumGetCString(row_attr(rel, tuple, Anum_key_mask, NULL));

	out->family = DatumGetInt32(row_attr(rel, tuple, Anum_key_family, NULL));
	namestrcpy(&out->name, NameStr(*DatumGetName(row_attr(rel, tuple, Anum_key_name, NULL))));
	out->state = DatumGetChar(row_attr(rel, tuple, Anum_key_state, NULL));
	out->current_key_id = (uint64) DatumGetInt64(row_attr(rel, tuple, Anum_key_current_key_id, NULL));
	out->current_version = DatumGetInt32(row_attr(rel, tuple, Anum_key_current_version, NULL));
	(void) row_attr(rel, tuple, Anum_key_keep, &isnull);
	out->has_keep = !isnull;
	strlcpy(out->mask, mask, sizeof(out->mask));
	return false;
}

bool
dp_catalog_read_family_by_name(const char *name, DpFamily *out)
{
	ScanKeyData key[1];
	NameData	namedata;

	namestrcpy(&namedata, name);
	ScanKeyInit(&key[0], Anum_key_name, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&namedata));
	return scan_rows("key", "key_name_key", 1, key, read_family, out);
}

bool
dp_catalog_read_family(int32 family, DpFamily *out)
{
	ScanKeyData key[1];

	ScanKeyInit(&key[0], Anum_key_family, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(family));
	return scan_rows("key", "key_pkey", 1, key, read_family, out);
}

typedef struct SystemRead
{
	DpSystemKeys *out;
	bool		committed;
} SystemRead;

static bool
read_system(Relation rel, HeapTuple tuple, void *arg)
{
	SystemRead *read = arg;
	DpSystemKeys *out = read->out;
	uint64		key_id = (uint64) DatumGetInt64(row_attr(rel, tuple, Anum_version_key_id, NULL));

	read->committed &= !TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data));

	/* One that another has replaced opens what it sealed, and nothing else. */
	if (DatumGetChar(row_attr(rel, tuple, Anum_version_state, NULL)) == DP_KEY_RETIRED)
		return true;
	switch ((DpKeyPurpose) DatumGetInt16(row_attr(rel, tuple, Anum_version_purpose, NULL)))
	{
		case DP_PURPOSE_LITERAL:
			out->literal = key_id;
			break;
		case DP_PURPOSE_PRF:
			out->prf = key_id;
			break;
		case DP_PURPOSE_AUDIT_SEAL:
			out->audit_seal = key_id;
			break;
		case DP_PURPOSE_AUDIT_CHAIN:
			out->audit_chain = key_id;
			break;
		case DP_PURPOSE_POLICY:
			out->policy = key_id;
			break;
		default:
			break;
	}
	return true;
}

bool
dp_catalog_read_system(DpSystemKeys *out, bool *out_committed)
{
	SystemRead	read = {out, true};
	ScanKeyData key[1];
	bool		found;

	memset(out, 0, sizeof(*out));
	ScanKeyInit(&key[0], Anum_version_family, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(0));
	found = scan_rows("key_version", "key_version_family_idx", 1, key, read_system, &read);
	*out_committed = read.committed;
	return found && out->prf != 0 && out->literal != 0 && out->audit_seal != 0 && out->audit_chain != 0 &&
		out->policy != 0;
}

static bool
read_subject(Relation rel, HeapTuple tuple, void *arg)
{
	DpSubjectRow *out = arg;

	if (dp_seal_check(DP_SEALED_SUBJECT_KEY, rel, tuple) == DP_SEAL_BAD)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"%s\" was changed by somebody else than extension \"%s\"", "dataprotect.subject_key", "dataprotect"),
				 errhint("See dataprotect.verify_policy().")));
	out->key_id = (uint64) DatumGetInt64(row_attr(rel, tuple, Anum_subject_key_id, NULL));
	out->family = DatumGetInt32(row_attr(rel, tuple, Anum_subject_family, NULL));
	out->version = DatumGetInt32(row_attr(rel, tuple, Anum_subject_version, NULL));
	out->account_type = TextDatumGetCString(row_attr(rel, tuple, Anum_subject_account_type, NULL));
	out->subject = TextDatumGetCString(row_attr(rel, tuple, Anum_subject_subject, NULL));
	return true;				/* the index ends with the version: the last row is the newest */
}

bool
dp_catalog_read_subject(int32 family, const char *account_type, const char *subject,
						DpSubjectRow *out)
{
	ScanKeyData key[3];

	ScanKeyInit(&key[0], Anum_subject_family, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(family));
	ScanKeyInit(&key[1], Anum_subject_account_type, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(account_type));
	ScanKeyInit(&key[2], Anum_subject_subject, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(subject));
	key[1].sk_collation = DEFAULT_COLLATION_OID;
	key[2].sk_collation = DEFAULT_COLLATION_OID;
	return scan_rows("subject_key", "subject_key_pkey", 3, key, read_subject, out);
}

bool
dp_catalog_read_subject_of(uint64 key_id, DpSubjectRow *out)
{
	ScanKeyData key[1];

	ScanKeyInit(&key[0], Anum_subject_key_id, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum((int64) key_id));
	return scan_rows("subject_key", "subject_key_key_id_key", 1, key, read_subject, out);
}

/* Leaves true where the account's deletion is certified. */
static bool
read_released(Relation rel, HeapTuple tuple, void *arg)
{
	*(bool *) arg = !heap_attisnull(tuple, Anum_tombstone_released, RelationGetDescr(rel));
	return false;
}

/* Both tables begin with the account's type and id, their primary key. */
static bool
has_account_row(const char *table, const char *index, const char *account_type, const char *subject,
				RowReader reader, void *out)
{
	ScanKeyData key[2];

	ScanKeyInit(&key[0], Anum_account_type, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(account_type));
	ScanKeyInit(&key[1], Anum_account_subject, BTEqualStrategyNumber, F_TEXTEQ,
				CStringGetTextDatum(subject));
	key[0].sk_collation = DEFAULT_COLLATION_OID;
	key[1].sk_collation = DEFAULT_COLLATION_OID;
	return scan_rows(table, index, 2, key, reader, out);
}

bool
dp_catalog_has_tombstone(const char *account_type, const char *subject)
{
	bool		released = false;

	return has_account_row("tombstone", "tombstone_pkey", account_type, subject, read_released, &released) && !released;
}

bool
dp_catalog_is_suspended(const char *account_type, const char *subject)
{
	return has_account_row("suspended_subject", "suspended_subject_pkey", account_type, subject, read_nothing, NULL);
}

static bool
read_lockdown(Relation rel, HeapTuple tuple, void *arg)
{
	bool		isnull;

	(void) row_attr(rel, tuple, Anum_instance_lockdown_since, &isnull);
	*(bool *) arg = !isnull;
	return false;
}

/* A missing row is doubt, and doubt denies. */
bool
dp_catalog_in_lockdown(void)
{
	bool		locked = true;

	(void) scan_rows("instance", NULL, 0, NULL, read_lockdown, &locked);
	return locked;
}

static bool
read_uid(Relation rel, HeapTuple tuple, void *arg)
{
	memcpy(arg, DatumGetUUIDP(row_attr(rel, tuple, Anum_instance_uid, NULL))->data, UUID_LEN);
	return false;
}

void
dp_catalog_database_uid(uint8 out[16])
{
	if (!scan_rows("instance", NULL, 0, NULL, read_uid, out))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"%s\" is empty", "dataprotect.instance"),
				 errhint("Restore it from a backup: keys open only for the database they were made in.")));
}

typedef struct VersionList
{
	int			n;
	int			max;
	uint64	   *ids;
} VersionList;

static bool
append_version(Relation rel, HeapTuple tuple, void *arg)
{
	VersionList *list = arg;

	if (list->n == list->max)
	{
		list->max *= 2;
		list->ids = repalloc(list->ids, list->max * sizeof(uint64));
	}
	list->ids[list->n++] = (uint64) DatumGetInt64(row_attr(rel, tuple, Anum_version_key_id, NULL));
	return true;
}

int
dp_catalog_list_versions(int32 family, uint64 **out_key_ids)
{
	ScanKeyData key[2];
	VersionList list = {0, 16, NULL};

	list.ids = palloc(list.max * sizeof(uint64));
	ScanKeyInit(&key[0], Anum_version_family, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(family));
	ScanKeyInit(&key[1], Anum_version_purpose, BTEqualStrategyNumber, F_INT2EQ,
				Int16GetDatum(DP_PURPOSE_DATA));
	(void) scan_rows("key_version", "key_version_family_idx", 2, key, append_version, &list);
	*out_key_ids = list.ids;
	return list.n;
}

typedef struct FamilyList
{
	int			n;
	int			max;
	int32	   *families;
} FamilyList;

static bool
append_family(Relation rel, HeapTuple tuple, void *arg)
{
	FamilyList *list = arg;

	if (list->n == list->max)
	{
		list->max *= 2;
		list->families = repalloc(list->families, list->max * sizeof(int32));
	}
	list->families[list->n++] = DatumGetInt32(row_attr(rel, tuple, Anum_key_family, NULL));
	return true;
}

int
dp_catalog_list_families(int32 **out_families)
{
	FamilyList	list = {0, 16, NULL};

	list.families = palloc(list.max * sizeof(int32));
	(void) scan_rows("key", NULL, 0, NULL, append_family, &list);
	*out_families = list.families;
	return list.n;
}

/* That the extension is there, as far as nothing has changed since. */
static bool known_there = false;

static void
forget_there(int cacheid, uint32 hashvalue)
{
	known_there = false;
}

/* Each statement asks several times. */
bool
dp_catalog_is_there(void)
{
	static bool watching = false;
	Oid			schema;
	HeapTuple	tuple;

	if (likely(known_there))
		return true;
	if (!watching)
	{
		dp_on_cache_change(NAMESPACEOID, forget_there);
		dp_on_cache_change(AUTHOID, forget_there);
		watching = true;
	}
	schema = get_namespace_oid("dataprotect", true);
	if (!OidIsValid(schema))
		return false;
	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	known_there = HeapTupleIsValid(tuple) &&
		superuser_arg(((Form_pg_namespace) GETSTRUCT(tuple))->nspowner);
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return known_there;
}
