/*
 * page_scan.c
 *	  Whether an envelope under a certain key is left on any page.
 *
 * Deleting a row leaves its versions and its index entries where they are, and
 * indexes keep copies of keys in inner pages even after VACUUM.  An ordered
 * index that still compares with a value whose key is gone would fail, so keys
 * are destroyed only when no page contains their id any more.  The destroyed keys
 * themselves, wrapped, are old row versions of the key table: these are removed
 * from its pages to the last byte.
 *
 * An envelope begins with one byte of version and flags and eight of key id;
 * TOASTed values begin their first chunk with them, because encrypted types are
 * stored EXTERNAL.  The hole in the middle of a page is not looked at: what is
 * there is ciphertext that nothing refers to.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xloginsert.h"
#include "base/argument.h"
#include "base/compat.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/vacuum.h"
#include "crypto/envelope.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/array.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_pages_with_keys);
PG_FUNCTION_INFO_V1(dp_lifecycle_column_values_with_keys);
PG_FUNCTION_INFO_V1(dp_lifecycle_hold_tables);
PG_FUNCTION_INFO_V1(dp_lifecycle_clear_key_pages);

#define KEY_ID_LEN	(DP_ENV_HEADER_LEN - 1)
#define FEW_KEYS	8			/* that memmem() finds sooner, one after the other */

typedef struct KeyIds
{
	uint64	   *ids;			/* big endian, as stored; in the order of compare_ids() */
	int			count;
} KeyIds;

static int
compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(uint64));
}

static KeyIds
read_key_ids(ArrayType *array)
{
	KeyIds		keys;
	Datum	   *values;

	deconstruct_array(array, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values, NULL, &keys.count);
	keys.ids = palloc(sizeof(uint64) * (keys.count + 1));
	for (int i = 0; i < keys.count; i++)
		keys.ids[i] = pg_hton64((uint64) DatumGetInt64(values[i]));
	qsort(keys.ids, keys.count, sizeof(uint64), compare_ids);
	return keys;
}

static bool
begins_envelope(uint8 byte)
{
	return (byte >> 4) == DP_ENV_VERSION || (byte >> 4) == DP_ENV_VERSION_BLINDED;
}

/* Of many keys, in one pass. */
static bool
contains_some_key(const uint8 *bytes, Size len, const KeyIds *keys)
{
	for (Size at = 1; at + KEY_ID_LEN <= len; at++)
	{
		if (begins_envelope(bytes[at - 1]) &&
			bsearch(bytes + at, keys->ids, keys->count, sizeof(uint64), compare_ids) != NULL)
			return true;
	}
	return false;
}

/* Do these bytes contain the header of an envelope under one of the keys? */
static bool
contains_key(const uint8 *bytes, Size len, const KeyIds *keys)
{
	if (len < DP_ENV_OVERHEAD)
		return false;
	if (keys->count > FEW_KEYS)
		return contains_some_key(bytes, len, keys);
	for (int i = 0; i < keys->count; i++)
	{
		const uint8 *at = bytes;
		const uint8 *end = bytes + len;

		while ((at = memmem(at, end - at, &keys->ids[i], KEY_ID_LEN)) != NULL)
		{
			if (at > bytes && begins_envelope(at[-1]))
				return true;
			at++;
		}
	}
	return false;
}

/* Everything on the page but the hole in its middle, whatever kind it is. */
static bool
page_contains_key(Page page, const KeyIds *keys)
{
	PageHeader	header = (PageHeader) page;

	if (PageIsNew(page) || header->pd_lower > header->pd_upper || header->pd_upper > BLCKSZ)
		return false;
	return contains_key((uint8 *) page, header->pd_lower, keys) ||
		contains_key((uint8 *) page + header->pd_upper, BLCKSZ - header->pd_upper, keys);
}

/* Pages of one relation's main fork that contain such a header. */
static int64
count_pages(Relation rel, const KeyIds *keys)
{
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);
	int64		found = 0;

	for (BlockNumber block = 0; block < blocks; block++)
	{
		Buffer		buffer;

		CHECK_FOR_INTERRUPTS();
		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		if (page_contains_key(BufferGetPage(buffer), keys))
			found++;
		UnlockReleaseBuffer(buffer);
	}
	FreeAccessStrategy(strategy);
	return found;
}

/* A table and its indexes. */
static int64
count_table_pages(Relation rel, const KeyIds *keys)
{
	List	   *indexes = RelationGetIndexList(rel);
	int64		found = count_pages(rel, keys);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (index->rd_rel->relkind == RELKIND_INDEX)
			found += count_pages(index, keys);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

/* dataprotect._pages_with_keys(rel regclass, key_ids int8[]) returns bigint */
Datum
dp_lifecycle_pages_with_keys(PG_FUNCTION_ARGS)
{
	Relation	rel = dp_argument_relation(PG_GETARG_OID(0), AccessShareLock, "rptmvSfiI");
	KeyIds		keys = read_key_ids(PG_GETARG_ARRAYTYPE_P(1));
	int64		found = 0;

	if (keys.count > 0 && (rel->rd_rel->relkind == RELKIND_RELATION || rel->rd_rel->relkind == RELKIND_MATVIEW))
	{
		found = count_table_pages(rel, &keys);
		if (OidIsValid(rel->rd_rel->reltoastrelid))
		{
			Relation	toast = relation_open(rel->rd_rel->reltoastrelid, AccessShareLock);

			found += count_table_pages(toast, &keys);
			relation_close(toast, AccessShareLock);
		}
	}
	relation_close(rel, AccessShareLock);
	PG_RETURN_INT64(found);
}

/*
 * dataprotect._hold_tables(rels oid[]) returns bool
 * Lock all of them in ACCESS SHARE mode to the end of the transaction, without waiting:
 * none is truncated, dropped or written anew meanwhile.
 */
Datum
dp_lifecycle_hold_tables(PG_FUNCTION_ARGS)
{
	Datum	   *oids;
	int			n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), OIDOID, sizeof(Oid), true, TYPALIGN_INT, &oids, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		Oid			relid = DatumGetObjectId(oids[i]);

		if (!ConditionalLockRelationOid(relid, AccessShareLock) || !SearchSysCacheExists1(RELOID, oids[i]))
			PG_RETURN_BOOL(false);
	}
	PG_RETURN_BOOL(true);
}

/* Does a value contain such a header?  An array or a row may hold several. */
static bool
value_contains_key(Datum value, bool single, const KeyIds *keys)
{
	struct varlena *bytes;
	bool		result;

	if (single)
		bytes = PG_DETOAST_DATUM_SLICE(value, 0, DP_ENV_OVERHEAD);
	else
		bytes = PG_DETOAST_DATUM_PACKED(value);
	result = contains_key((uint8 *) VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), keys);
	if ((Pointer) bytes != DatumGetPointer(value))
		pfree(bytes);
	return result;
}

/*
 * dataprotect._column_values_with_keys(rel regclass, attnum int2, key_ids int8[])
 *   returns bigint
 *
 * A scan and no query: planning one could evaluate expressions of the table's
 * indexes, which are its owner's code.
 */
Datum
dp_lifecycle_column_values_with_keys(PG_FUNCTION_ARGS)
{
	Relation	rel = dp_argument_relation(PG_GETARG_OID(0), AccessShareLock, "rtm");
	AttrNumber	attnum = PG_GETARG_INT16(1);
	KeyIds		keys = read_key_ids(PG_GETARG_ARRAYTYPE_P(2));
	TupleTableSlot *slot;
	Snapshot	snapshot;
	TableScanDesc scan;
	Oid			type;
	bool		single;
	int64		found = 0;

	dp_argument_column(rel, attnum);
	slot = table_slot_create(rel, NULL);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(rel, snapshot, 0, NULL);
	type = TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid;
	single = getBaseType(type) == type && get_typtype(type) == TYPTYPE_BASE &&
		!OidIsValid(get_element_type(type));
	/* only values of variable length contain an envelope */
	while (get_typlen(type) == -1 && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		Datum		value = slot_getattr(slot, attnum, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (!isnull && value_contains_key(value, single, &keys))
			found++;
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, AccessShareLock);
	PG_RETURN_INT64(found);
}

/* Row versions on a page of the key table that still have one of these keys. */
static int64
count_wrapped(Relation rel, Page page, const KeyIds *keys)
{
	AttrNumber	id = get_attnum(RelationGetRelid(rel), "key_id");
	AttrNumber	wrapped = get_attnum(RelationGetRelid(rel), "wrapped");
	OffsetNumber last = PageGetMaxOffsetNumber(page);
	int64		found = 0;

	for (OffsetNumber offset = FirstOffsetNumber; offset <= last; offset++)
	{
		ItemId		item = PageGetItemId(page, offset);
		HeapTupleData tuple;
		bool		isnull;
		uint64		key_id;

		if (!ItemIdHasStorage(item))
			continue;
		tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
		tuple.t_len = ItemIdGetLength(item);
		tuple.t_tableOid = RelationGetRelid(rel);
		key_id = pg_hton64((uint64) DatumGetInt64(heap_getattr(&tuple, id, RelationGetDescr(rel), &isnull)));
		for (int i = 0; i < keys->count; i++)
		{
			if (key_id == keys->ids[i] && !heap_attisnull(&tuple, wrapped, RelationGetDescr(rel)))
				found++;
		}
	}
	return found;
}

/*
 * Overwrite what removed rows have left between a page's line pointers and its
 * rows; true where there was something.
 */
static bool
clear_hole(Relation rel, Buffer buffer)
{
	Page		page = BufferGetPage(buffer);
	PageHeader	header = (PageHeader) page;
	bool		dirty = false;

	for (LocationIndex i = header->pd_lower; i < header->pd_upper && !dirty; i++)
		dirty = page[i] != 0;
	if (!dirty)
		return false;
	START_CRIT_SECTION();
	memset(page + header->pd_lower, 0, header->pd_upper - header->pd_lower);
	MarkBufferDirty(buffer);
	/* a page image omits the hole, and replay fills it with zeros */
	if (RelationNeedsWAL(rel))
		log_newpage_buffer(buffer, true);
	END_CRIT_SECTION();
	return true;
}

/*
 * dataprotect._clear_key_pages(key_ids int8[]) returns bigint
 *
 * Clear what VACUUM leaves of removed rows in the pages of the key table and
 * count the row versions that still have one of these keys.  Where none is
 * left, neither the pages nor (they are written out here) the file contain the
 * keys: no later step can bring them back.
 */
Datum
dp_lifecycle_clear_key_pages(PG_FUNCTION_ARGS)
{
	KeyIds		keys = read_key_ids(PG_GETARG_ARRAYTYPE_P(0));
	Oid			relid = get_relname_relid("key_version", get_namespace_oid("dataprotect", false));
	Relation	rel = table_open(relid, ShareUpdateExclusiveLock);
	BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
	BlockNumber blocks = RelationGetNumberOfBlocks(rel);
	int64		found = 0;

	for (BlockNumber block = 0; block < blocks; block++)
	{
		Buffer		buffer;

		CHECK_FOR_INTERRUPTS();
		buffer = ReadBufferExtended(rel, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
		LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
		if (!PageIsNew(BufferGetPage(buffer)))
		{
			(void) clear_hole(rel, buffer);
			found += count_wrapped(rel, BufferGetPage(buffer), &keys);
		}
		UnlockReleaseBuffer(buffer);
	}
	FreeAccessStrategy(strategy);
	if (found == 0)
	{
		FlushRelationBuffers(rel);
		smgrimmedsync(RelationGetSmgr(rel), MAIN_FORKNUM);
	}
	table_close(rel, NoLock);
	PG_RETURN_INT64(found);
}
