/*
 * chain_link.c
 *	  Reading the links between the keys of the audit chain; see chain_link.h.
 */
#include "postgres.h"

#include "audit/chain_link.h"
#include "base/compat.h"
#include "base/report.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "keys/keys.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"

static Oid
head_table(void)
{
	Oid			schema = get_namespace_oid("dataprotect", true);

	return OidIsValid(schema) ? get_relname_relid("audit_head", schema) : InvalidOid;
}

void
dp_chain_hold(void)
{
	Oid			head = head_table();

	if (OidIsValid(head))
		LockRelationOid(head, RowShareLock);
	dp_keys_look_again();
}

void
dp_chain_let_go(void)
{
	Oid			head = head_table();

	if (OidIsValid(head))
		UnlockRelationOid(head, RowShareLock);
}

static bool
copy_bytes(uint64 row, int column, uint8 *out, Size len)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);
	bytea	   *bytes = isnull ? NULL : DatumGetByteaPP(value);

	if (bytes == NULL || VARSIZE_ANY_EXHDR(bytes) != len)
		return false;
	memcpy(out, VARDATA_ANY(bytes), len);
	return true;
}

static int64
number(uint64 row, int column)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull));
}

/* Is it signed so under one of its keys? */
static bool
is_signed(uint64 row, int column, const DpChainLink *link, uint64 key_id)
{
	uint8		sig[DP_CHAIN_MAC_LEN];
	uint8		expected[DP_CHAIN_MAC_LEN];
	DpPrf	   *chain;

	if (!copy_bytes(row, column, sig, sizeof(sig)))
		return false;
	chain = dp_keys_audit_chain_of(key_id);
	if (chain == NULL)
		return false;
	if (!dp_chain_link_mac(chain, link, expected))
		dp_report_no_memory("could not compute a MAC of the audit log");
	return dp_equal_ct(sig, expected, sizeof(sig));
}

/*
 * A link whose signatures are wrong stays in the list: it says which key was meant, and
 * first_bad says that it is not to be believed.
 */
DpChainLinks *
dp_chain_links(void)
{
	DpChainLinks *links = palloc0(sizeof(DpChainLinks));

	if (SPI_execute("SELECT number::int8, seq, old_key, new_key, mac, old_sig, new_sig FROM dataprotect.audit_link ORDER BY number",
					true, 0) != SPI_OK_SELECT)
		dp_report_altered("could not read the links of the audit log's chain");
	links->link = palloc0(sizeof(DpChainLink) * (SPI_processed + 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		DpChainLink *link = &links->link[i];
		bool		good;

		link->number = (int32) number(i, 1);
		link->seq = number(i, 2);
		link->old_key = (uint64) number(i, 3);
		link->new_key = (uint64) number(i, 4);
		good = copy_bytes(i, 5, link->mac, DP_CHAIN_MAC_LEN) && link->number == (int32) i + 1 &&
			(i == 0 || (link[-1].new_key == link->old_key && link[-1].seq <= link->seq)) &&
			is_signed(i, 6, link, link->old_key) && is_signed(i, 7, link, link->new_key);
		if (!good && links->first_bad == 0)
			links->first_bad = link->seq + 1;
	}
	links->n = (int) SPI_processed;
	/* the newest one leads to the key that is used now */
	if (links->first_bad == 0 && links->n > 0 && links->link[links->n - 1].new_key != dp_keys_audit_chain_id())
		links->first_bad = links->link[links->n - 1].seq + 1;
	return links;
}

uint64
dp_chain_key_of(const DpChainLinks *links, int64 seq)
{
	for (int i = 0; i < links->n; i++)
	{
		if (seq <= links->link[i].seq)
			return links->link[i].old_key;
	}
	return 0;
}

bool
dp_chain_link_denies(const DpChainLinks *links, int64 seq, const uint8 *mac)
{
	for (int i = 0; i < links->n; i++)
	{
		if (links->link[i].seq == seq && !dp_equal_ct(links->link[i].mac, mac, DP_CHAIN_MAC_LEN))
			return true;
	}
	return false;
}

uint64 *
dp_chain_older_keys(int *out_n)
{
	uint64	   *keys;

	if (SPI_execute("SELECT v.key_id FROM dataprotect.key_version v WHERE v.family = 0 AND v.purpose = 7 AND v.state = 'r' "
					"ORDER BY v.version DESC, v.key_id", true, 0) != SPI_OK_SELECT)
		dp_report_altered("could not read the keys of the audit log's chain");
	keys = palloc(sizeof(uint64) * (SPI_processed + 1));
	for (uint64 i = 0; i < SPI_processed; i++)
		keys[i] = (uint64) number(i, 1);
	*out_n = (int) SPI_processed;
	return keys;
}
