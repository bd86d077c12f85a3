/*
 * pages.c
 *	  Whether an envelope under a certain key is left on any page.
 *
 * Deleting a row leaves its versions and its index entries where they are, and
 * indexes keep copies of keys in inner pages even after VACUUM.  An ordered
 * index that still compares with a value whose key is gone would fail, so keys
 * are destroyed only when no page contains their id any more.
 *
 * An envelope begins with one byte of version and flags and eight of key id;
 * TOASTed values begin their first chunk with them, because encrypted types are
 * stored EXTERNAL.  The hole in the middle of a page is not looked at: what is
 * there is ciphertext that nothing refers to.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
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
#include "utils/array.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_pages_with_keys);

#define KEY_ID_LEN	(DP_ENV_HEADER_LEN - 1)

typedef struct KeyIds
{
	uint64	   *ids;			/* big endian, as stored */
	int			count;
} KeyIds;

/* Do these bytes contain the header of an envelope under one of the keys? */
static bool
contains_key(const uint8 *bytes, Size len, const KeyIds *keys)
{
	if (len < DP_ENV_OVERHEAD)
		return false;
	for (int i = 0; i < keys->count; i++)
	{
		const uint8 *at = bytes;
		const uint8 *end = bytes + len;

		while ((at = memmem(at, end - at, &keys->ids[i], KEY_ID_LEN)) != NULL)
		{
			if (at > bytes && (at[-1] >> 4) == DP_ENV_VERSION)
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
	Relation	rel = relation_open(PG_GETARG_OID(0), AccessShareLock);
	KeyIds		keys = {0};
	Datum	   *values;
	int64		found = 0;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &values, NULL, &keys.count);
	keys.ids = palloc(sizeof(uint64) * (keys.count + 1));
	for (int i = 0; i < keys.count; i++)
		keys.ids[i] = pg_hton64((uint64) DatumGetInt64(values[i]));

	if (keys.count > 0 && rel->rd_rel->relkind == RELKIND_RELATION)
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
