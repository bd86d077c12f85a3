/*
 * rotate_chain.c
 *	  Another key for the chain of the audit log: dataprotect._rotate_chain_key().
 *
 * One transaction, which locks the head against whoever stores, archives or sends:
 *
 *		another version of the key			from here on the current one
 *		link								where it begins, under both (chain_link.h)
 *		head, cursors, archives, sinks		signed anew, those that were signed right
 *
 * What was not signed right stays so: nothing that somebody else wrote becomes ours.
 * A head that is not ours is an error, since the link would vouch for it.
 */
#include "postgres.h"

#include "audit/chain_link.h"
#include "base/compat.h"
#include "base/report.h"
#include "base/result.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "keys/keys.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(dp_audit_link_chain);

/* One kind of row that is signed with the chain key. */
typedef struct Signed
{
	const char *select;			/* its signature first, then what mac needs */
	const char *update;			/* $1: the new signature; $2: the second column */
	Oid			id_type;
	bool		(*mac) (DpPrf *chain, HeapTuple row, TupleDesc desc, uint8 *out);
} Signed;

static Datum
column(HeapTuple row, TupleDesc desc, int number)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row, desc, number, &isnull);

	return isnull ? (Datum) 0 : value;
}

static bool
copy_bytes(Datum value, uint8 *out, Size len)
{
	bytea	   *bytes = DatumGetPointer(value) != NULL ? DatumGetByteaPP(value) : NULL;

	if (bytes == NULL || VARSIZE_ANY_EXHDR(bytes) != len)
		return false;
	memcpy(out, VARDATA_ANY(bytes), len);
	return true;
}

static bool
head_mac(DpPrf *chain, HeapTuple row, TupleDesc desc, uint8 *out)
{
	DpChainPoint head;

	head.seq = DatumGetInt64(column(row, desc, 2));
	return copy_bytes(column(row, desc, 3), head.mac, sizeof(head.mac)) && dp_chain_head_mac(chain, &head, out);
}

static bool
cursor_mac(DpPrf *chain, HeapTuple row, TupleDesc desc, uint8 *out)
{
	return dp_chain_cursor_mac(chain, DatumGetUUIDP(column(row, desc, 2))->data, DatumGetInt64(column(row, desc, 3)), out);
}

static bool
archive_mac(DpPrf *chain, HeapTuple row, TupleDesc desc, uint8 *out)
{
	DpChainArchive archive;

	archive.from = DatumGetInt64(column(row, desc, 2));
	archive.to = DatumGetInt64(column(row, desc, 3));
	return copy_bytes(column(row, desc, 4), archive.before, sizeof(archive.before)) &&
		copy_bytes(column(row, desc, 5), archive.mac, sizeof(archive.mac)) &&
		copy_bytes(column(row, desc, 6), archive.sha256, sizeof(archive.sha256)) &&
		dp_chain_archive_mac(chain, &archive, out);
}

static bool
sink_mac(DpPrf *chain, HeapTuple row, TupleDesc desc, uint8 *out)
{
	return dp_chain_sink_mac(chain, TextDatumGetCString(column(row, desc, 2)), DatumGetInt64(column(row, desc, 3)),
							 DatumGetInt64(column(row, desc, 4)), out);
}

static const Signed signed_head = {
	"SELECT h.sig, h.seq, h.mac FROM dataprotect.audit_head h",
	"UPDATE dataprotect.audit_head SET sig = $1 WHERE seq = $2", INT8OID, head_mac
};

static const Signed signed_rows[] = {
	{"SELECT c.sig, c.instance, c.ring_seq FROM dataprotect.audit_cursor c",
	"UPDATE dataprotect.audit_cursor SET sig = $1 WHERE instance = $2", UUIDOID, cursor_mac},
	{"SELECT a.sig, a.seq_from, a.seq_to, a.mac_before, a.mac, a.sha256 FROM dataprotect.audit_archive a",
	"UPDATE dataprotect.audit_archive SET sig = $1 WHERE seq_from = $2", INT8OID, archive_mac},
	{"SELECT t.mac, t.name::text, t.cursor, t.digest FROM dataprotect.sink_state t",
	"UPDATE dataprotect.sink_state SET mac = $1 WHERE name = $2", TEXTOID, sink_mac},
};

static DpPrf *
need_chain(uint64 key_id)
{
	DpPrf	   *chain = dp_keys_audit_chain_of(key_id);

	if (chain == NULL)
		dp_report_altered("could not read the keys of the audit log's chain");
	return chain;
}

static void
run(const char *sql, int n_args, Oid *types, Datum *values)
{
	if (SPI_execute_with_args(sql, n_args, types, values, NULL, false, 0) < 0)
		dp_report_altered("could not sign the audit log under another key");
}

/* Is the row signed so under a key? */
static bool
is_signed(const Signed *kind, uint64 key_id, HeapTuple row, TupleDesc desc)
{
	uint8		sig[DP_CHAIN_MAC_LEN];
	uint8		expected[DP_CHAIN_MAC_LEN];

	return copy_bytes(column(row, desc, 1), sig, sizeof(sig)) && kind->mac(need_chain(key_id), row, desc, expected) &&
		dp_equal_ct(sig, expected, sizeof(sig));
}

static void
sign_anew(const Signed *kind, uint64 old_key)
{
	SPITupleTable *table;
	uint64		n;

	run(kind->select, 0, NULL, NULL);
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		Oid			types[2] = {BYTEAOID, kind->id_type};
		Datum		values[2];
		uint8		mac[DP_CHAIN_MAC_LEN];

		if (!is_signed(kind, old_key, table->vals[i], table->tupdesc))
			continue;
		if (!kind->mac(need_chain(0), table->vals[i], table->tupdesc, mac))
			dp_report_no_memory("could not compute a MAC of the audit log");
		values[0] = dp_result_bytea(mac, sizeof(mac));
		values[1] = column(table->vals[i], table->tupdesc, 2);
		run(kind->update, 2, types, values);
	}
}

pg_noreturn static void
refuse(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the key of the audit log's chain cannot be replaced while the log is not as the extension left it"),
			 errdetail("The head of the log is missing, or was written by somebody else."),
			 errhint("See dataprotect.verify_audit_log().")));
}

/* Where the part of the old key ends. */
static void
read_end(uint64 old_key, DpChainLink *link)
{
	run(signed_head.select, 0, NULL, NULL);
	if (SPI_processed == 1)
	{
		HeapTuple	row = SPI_tuptable->vals[0];

		if (!is_signed(&signed_head, old_key, row, SPI_tuptable->tupdesc) ||
			!copy_bytes(column(row, SPI_tuptable->tupdesc, 3), link->mac, sizeof(link->mac)))
			refuse();
		link->seq = DatumGetInt64(column(row, SPI_tuptable->tupdesc, 2));
		return;
	}
	/* nothing was stored yet, or is there a log without a head? */
	run("SELECT FROM dataprotect.audit_batch UNION ALL SELECT FROM dataprotect.audit_archive LIMIT 1", 0, NULL, NULL);
	if (SPI_processed > 0)
		refuse();
}

static void
write_link(DpChainLink *link)
{
	Oid			types[7] = {INT4OID, INT8OID, BYTEAOID, INT8OID, INT8OID, BYTEAOID, BYTEAOID};
	Datum		values[7];
	uint8		old_sig[DP_CHAIN_MAC_LEN];
	uint8		new_sig[DP_CHAIN_MAC_LEN];

	run("SELECT coalesce(max(l.number), 0) + 1 FROM dataprotect.audit_link l", 0, NULL, NULL);
	link->number = DatumGetInt32(column(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	if (!dp_chain_link_mac(need_chain(link->old_key), link, old_sig) || !dp_chain_link_mac(need_chain(0), link, new_sig))
		dp_report_no_memory("could not compute a MAC of the audit log");
	values[0] = Int32GetDatum(link->number);
	values[1] = Int64GetDatum(link->seq);
	values[2] = dp_result_bytea(link->mac, sizeof(link->mac));
	values[3] = Int64GetDatum((int64) link->old_key);
	values[4] = Int64GetDatum((int64) link->new_key);
	values[5] = dp_result_bytea(old_sig, sizeof(old_sig));
	values[6] = dp_result_bytea(new_sig, sizeof(new_sig));
	run("INSERT INTO dataprotect.audit_link (number, seq, mac, old_key, new_key, old_sig, new_sig) "
		"VALUES ($1, $2, $3, $4, $5, $6, $7)", 7, types, values);
}

/* The key that is replaced: it is the one that the links lead to. */
static uint64
read_old_key(void)
{
	HeapTuple	row;
	TupleDesc	desc;
	bool		isnull;

	run("SELECT v.key_id, v.version - 1 = (SELECT pg_catalog.count(*) FROM dataprotect.audit_link), "
		"(SELECT l.new_key FROM dataprotect.audit_link l ORDER BY l.number DESC LIMIT 1) "
		"FROM dataprotect.key_version v WHERE v.family = 0 AND v.purpose = 7 AND v.state = 'a'", 0, NULL, NULL);
	if (SPI_processed != 1)
		refuse();
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	if (!DatumGetBool(column(row, desc, 2)) ||
		(!heap_attisnull(row, 3, desc) && DatumGetInt64(column(row, desc, 3)) != DatumGetInt64(column(row, desc, 1))))
		refuse();
	return (uint64) DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
}

/*
 * dataprotect._link_chain(): the next key's version.  It is told no key, and makes the
 * next one itself: nobody has a head signed that is under a key of the past.
 */
Datum
dp_audit_link_chain(PG_FUNCTION_ARGS)
{
	DpChainLink link = {0};
	int32		version;

	LockRelationOid(get_relname_relid("audit_head", get_namespace_oid("dataprotect", false)), ExclusiveLock);
	SPI_connect();
	link.old_key = read_old_key();
	run("SELECT dataprotect._mint_system_version(7::pg_catalog.int2)", 0, NULL, NULL);
	version = DatumGetInt32(column(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	dp_keys_look_again();
	link.new_key = dp_keys_audit_chain_id();
	if (link.new_key == 0 || link.new_key == link.old_key)
		dp_report_altered("could not read the keys of the audit log's chain");
	read_end(link.old_key, &link);
	write_link(&link);
	sign_anew(&signed_head, link.old_key);
	for (int i = 0; i < lengthof(signed_rows); i++)
		sign_anew(&signed_rows[i], link.old_key);
	SPI_finish();
	PG_RETURN_INT32(version);
}
