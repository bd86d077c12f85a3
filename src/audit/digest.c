/*
 * digest.c
 *	  Making digests of the audit log; see digest.h.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "audit/audit_workers.h"
#include "audit/chain_link.h"
#include "audit/collector.h"
#include "audit/digest.h"
#include "audit/sink.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/report.h"
#include "base/result.h"
#include "base/secret.h"
#include "base/worker.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "crypto/public_key.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "keys/keys.h"
#include "keys/policy_root.h"
#include "kms/kms.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(dp_audit_line);
PG_FUNCTION_INFO_V1(dp_audit_digest_key);

#define PRF_SIGNING		'e'		/* of the PRF under the chain key */
#define RECORDS_AT_ONCE	20000
#define FILES_AT_ONCE	1000
#define TELL_EVERY_MS	(60 * 60 * 1000)
#define IDLE_INTERVALS	60		/* without anything new there is one digest in so many */

static const char signing_purpose[] = "dataprotect digest signing, Ed25519";

/* Of a key of the chain, 0: the current one.  The caller wipes it. */
static void
signing_seed(uint64 key_id, uint8 seed[DP_KEY_LEN])
{
	DpPrf	   *chain = key_id == 0 ? dp_audit_require_chain() : dp_keys_audit_chain_of(key_id);

	if (chain == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("the audit log has no such key")));
	if (!dp_prf(chain, PRF_SIGNING, (const uint8 *) signing_purpose, sizeof(signing_purpose) - 1, seed))
		dp_report_no_memory("could not derive the signing key");
}

static bytea *
sign(uint64 key_id, const char *document)
{
	uint8		signature[DP_ED25519_SIGNATURE_LEN];
	uint8		seed[DP_KEY_LEN];
	bool		ok;

	signing_seed(key_id, seed);
	ok = dp_ed25519_sign(seed, (const uint8 *) document, strlen(document), signature);
	dp_secret_wipe(seed, sizeof(seed));
	if (!ok)
		dp_report_no_memory("could not sign a digest of the audit log");
	return DatumGetByteaP(dp_result_bytea(signature, sizeof(signature)));
}

static void
public_key(uint64 key_id, uint8 out[DP_ED25519_PUBLIC_LEN])
{
	uint8		seed[DP_KEY_LEN];
	bool		ok;

	signing_seed(key_id, seed);
	ok = dp_ed25519_public(seed, out);
	dp_secret_wipe(seed, sizeof(seed));
	if (!ok)
		dp_report_no_memory("could not compute the signing key");
}

/* Is a document signed by the key that a key of the chain gives? */
static bool
is_signed(uint64 key_id, const char *document, const bytea *signature)
{
	uint8		public[DP_ED25519_PUBLIC_LEN];
	uint8		der[64];
	size_t		der_len = sizeof(der);

	public_key(key_id, public);
	if (!dp_public_key_ed25519(public, der, &der_len))
		dp_report_no_memory("could not compute the signing key");
	return dp_signature_verify(der, der_len, (const uint8_t *) document, strlen(document),
							   (const uint8_t *) VARDATA_ANY(signature), VARSIZE_ANY_EXHDR(signature));
}

/* What is known of the records of one digest. */
typedef struct Hashing
{
	pg_cryptohash_ctx *context;
	const char *uid;
	int64		from;
	int64		to;
	int			n;
	char		mac[2 * DP_CHAIN_MAC_LEN + 1];
} Hashing;

static void
hash(Hashing *hashing, const char *data, Size len)
{
	if (pg_cryptohash_update(hashing->context, (const uint8 *) data, len) != 0)
		dp_report_no_memory("could not hash the audit log");
}

static bool
take_row(const DpSinkRow *row, void *arg)
{
	Hashing    *hashing = arg;
	bytea	   *mac = DatumGetByteaPP(row->values[DP_AUDIT_MAC]);
	StringInfoData line;

	initStringInfo(&line);
	dp_sink_line(&line, row, hashing->uid);
	appendStringInfoChar(&line, '\n');
	hash(hashing, line.data, line.len);
	hashing->to = DatumGetInt64(row->values[DP_AUDIT_SEQ]);
	if (hashing->n++ == 0)
		hashing->from = hashing->to;
	hashing->mac[0] = '\0';
	if (VARSIZE_ANY_EXHDR(mac) == DP_CHAIN_MAC_LEN)
	{
		(void) hex_encode(VARDATA_ANY(mac), DP_CHAIN_MAC_LEN, hashing->mac);
		hashing->mac[2 * DP_CHAIN_MAC_LEN] = '\0';
	}
	return true;
}

static void
hex_of(const uint8 bytes[32], char out[65])
{
	(void) hex_encode((const char *) bytes, 32, out);
	out[64] = '\0';
}

static char *
query_text(const char *sql)
{
	if (SPI_execute(sql, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not execute \"%s\"", sql);
	return SPI_processed == 1 ? SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1) : NULL;
}

/* The digest before this one. */
typedef struct Previous
{
	int64		id;
	int64		to;
	char		hash[65];
	char	   *policy;
	bool		is_old;
	uint64		key;			/* of the chain, that it was signed by; 0: the current one */
} Previous;

/* The key that signed it, where that has been replaced since; 0: none that was. */
static uint64
replaced_key(const char *document, const bytea *signature)
{
	int			n;
	uint64	   *older = dp_chain_older_keys(&n);

	if (n == 0 || is_signed(0, document, signature))
		return 0;
	for (int i = 0; i < n; i++)
	{
		if (is_signed(older[i], document, signature))
			return older[i];
	}
	return 0;
}

static void
read_previous(Previous *out)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char	   *document;
	bool		isnull;

	memset(out, 0, sizeof(*out));
	memset(out->hash, '0', 64);
	if (SPI_execute(psprintf("SELECT id, seq_to, document, policy, made_at NOT BETWEEN now() - interval '%d s' AND now(), signature "
							 "FROM dataprotect.audit_digest ORDER BY id DESC LIMIT 1",
							 dp_guc_digest_interval * IDLE_INTERVALS), true, 1) != SPI_OK_SELECT)
		dp_report_altered("could not read the digests of the audit log");
	if (SPI_processed == 0)
		return;
	out->id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	out->to = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &isnull));
	document = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3);
	out->policy = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4);
	out->is_old = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 5, &isnull));
	if (!dp_sha256((const uint8 *) document, strlen(document), digest))
		dp_report_no_memory("could not hash a digest");
	hex_of(digest, out->hash);
	out->key = replaced_key(document, DatumGetByteaPCopy(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 6, &isnull)));
}

static char *
base64(const void *bytes, Size len)
{
	int			max = pg_b64_enc_len((int) len);
	char	   *out = palloc(max + 1);
	int			n = pg_b64_encode(bytes, (int) len, out, max);

	if (n < 0)
		elog(ERROR, "base64 encoding failed");
	out[n] = '\0';
	return out;
}

/*
 * The first digest under another signing key has it from the one before: whoever has
 * that one's public key goes on with this one's (doc/verify_digests.sh).
 */
static char *
handover(const Hashing *hashing, const Previous *previous)
{
	uint8		public[DP_ED25519_PUBLIC_LEN];
	char	   *encoded;
	bytea	   *by;

	if (previous->key == 0)
		return "";
	public_key(0, public);
	encoded = base64(public, sizeof(public));
	by = sign(previous->key, psprintf("dataprotect digest key %s " INT64_FORMAT " %s", hashing->uid, previous->id + 1, encoded));
	return psprintf(",\"key\":{\"public\":\"%s\",\"by\":\"%s\"}", encoded,
					base64(VARDATA_ANY(by), VARSIZE_ANY_EXHDR(by)));
}

/* The document, of what was hashed. */
static char *
compose(const Hashing *hashing, const Previous *previous, const char *sha256, const char *policy)
{
	StringInfoData document;
	char		time[DP_SINK_TIME_MAX];

	dp_sink_time(GetCurrentTimestamp(), time);
	initStringInfo(&document);
	appendStringInfo(&document, "{\"version\":1,\"log\":\"%s\",\"id\":" INT64_FORMAT ",\"at\":\"%s\","
					 "\"from\":" INT64_FORMAT ",\"to\":" INT64_FORMAT ",\"records\":%d,\"sha256\":\"%s\",\"mac\":\"%s\","
					 "\"policy\":%s,\"previous\":\"%s\"%s}",
					 hashing->uid, previous->id + 1, time,
					 hashing->n > 0 ? hashing->from : previous->to + 1, hashing->n > 0 ? hashing->to : previous->to,
					 hashing->n, sha256, hashing->mac, policy, previous->hash, handover(hashing, previous));
	return document.data;
}

/* The root's word for the document; false where there is none, or it is not to be had. */
static bool
sign_by_root(const char *document, char **out_uri, DpKmsSignature *out)
{
	static TimestampTz told = 0;
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	DpKmsError	error;

	*out_uri = query_text("SELECT dataprotect._digest_root()");
	if (*out_uri == NULL)
		return false;
	if (!dp_sha256((const uint8 *) document, strlen(document), digest))
		dp_report_no_memory("could not hash a digest");
	if (dp_kms_sign(*out_uri, digest, out, &error))
		return true;
	if (TimestampDifferenceExceeds(told, GetCurrentTimestamp(), TELL_EVERY_MS))
		ereport(LOG,
				(errcode(error.sqlstate),
				 errmsg("digests of the audit log are not signed by KMS root \"%s\"", *out_uri),
				 errdetail_internal("%s", error.detail)));
	told = GetCurrentTimestamp();
	return false;
}

static void
store(const Hashing *hashing, const Previous *previous, const char *document, const char *policy)
{
	Oid			types[11] = {INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, BYTEAOID, TEXTOID, TEXTOID, INT4OID, BYTEAOID};
	Datum		values[11] = {0};
	char		nulls[] = "       nnnn";
	DpKmsSignature kms;
	char	   *uri;

	values[0] = Int64GetDatum(previous->id + 1);
	values[1] = Int64GetDatum(hashing->n > 0 ? hashing->from : previous->to + 1);
	values[2] = Int64GetDatum(hashing->n > 0 ? hashing->to : previous->to);
	values[3] = Int64GetDatum(hashing->n);
	values[4] = CStringGetTextDatum(policy);
	values[5] = CStringGetTextDatum(document);
	values[6] = PointerGetDatum(sign(0, document));
	dp_chain_let_go();			/* a KMS may take its time */
	if (sign_by_root(document, &uri, &kms))
	{
		memset(nulls, ' ', 11);
		values[7] = CStringGetTextDatum(uri);
		values[8] = CStringGetTextDatum(dp_signature_name(kms.algorithm));
		values[9] = Int32GetDatum(kms.version);
		values[10] = dp_result_bytea(kms.signature, kms.len);
	}
	if (SPI_execute_with_args("INSERT INTO dataprotect.audit_digest (id, seq_from, seq_to, records, policy, document, signature, "
							  "kms_uri, kms_algorithm, kms_version, kms_signature) "
							  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)", 11, types, values, nulls, false, 0) != SPI_OK_INSERT)
		dp_report_altered("could not store a digest of the audit log");
}

static char *
policy_now(void)
{
	uint8		root[32];
	char		hex[65];
	int64		statements;
	bool		intact = dp_policy_state(&statements, root);

	hex_of(root, hex);
	return psprintf("{\"statements\":" INT64_FORMAT ",\"root\":\"%s\",\"intact\":%s}", statements, hex,
					intact ? "true" : "false");
}

/* One digest, in a transaction with SPI; true where more records wait. */
static bool
make_digest(void)
{
	Hashing		hashing = {0};
	Previous	previous;
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	char		sha256[65];
	char	   *policy;

	if (SPI_execute("LOCK TABLE dataprotect.audit_digest IN SHARE ROW EXCLUSIVE MODE", false, 0) < 0)
		dp_report_altered("could not lock the digests of the audit log");
	read_previous(&previous);
	hashing.uid = query_text("SELECT uid::text FROM dataprotect.instance");
	hashing.context = pg_cryptohash_create(PG_SHA256);
	if (hashing.uid == NULL)
		dp_report_altered("could not read the identity of the database");
	if (hashing.context == NULL || pg_cryptohash_init(hashing.context) != 0)
		dp_report_no_memory("could not hash the audit log");
	policy = policy_now();
	(void) dp_sink_read_rows(previous.to, RECORDS_AT_ONCE, take_row, &hashing);
	if (pg_cryptohash_final(hashing.context, digest, sizeof(digest)) != 0)
		dp_report_no_memory("could not hash the audit log");
	pg_cryptohash_free(hashing.context);
	if (hashing.n == 0 && previous.id > 0 && !previous.is_old && strcmp(previous.policy, policy) == 0)
		return false;
	hex_of(digest, sha256);
	store(&hashing, &previous, compose(&hashing, &previous, sha256, policy), policy);
	dp_worker_note_work();
	return hashing.n == RECORDS_AT_ONCE;
}

/* A digest into a file of its own; false where that failed, errno says why. */
static bool
write_file(const char *name, const char *line)
{
	char		path[MAXPGPATH];
	char		temporary[MAXPGPATH];
	Size		len = strlen(line);
	int			fd;
	bool		ok;

	snprintf(path, sizeof(path), "%s/%s", dp_guc_digest_directory, name);
	snprintf(temporary, sizeof(temporary), "%s/.%s", dp_guc_digest_directory, name);
	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return false;
	ok = write(fd, line, len) == (ssize_t) len && write(fd, "\n", 1) == 1 && fsync(fd) == 0;
	return close(fd) == 0 && ok && rename(temporary, path) == 0;
}

/* Those that are not in the directory yet; in a transaction with SPI. */
static void
write_files(void)
{
	SPITupleTable *table;
	uint64		n;
	int64		last = 0;

	if (dp_guc_digest_directory == NULL || dp_guc_digest_directory[0] == '\0')
		return;
	if (SPI_execute("SELECT d.id, i.uid || '-' || lpad(d.id::text, 20, '0') || '.json', dataprotect._digest_line(d) "
					"FROM dataprotect.audit_digest d, dataprotect.instance i WHERE NOT d.filed ORDER BY d.id",
					true, FILES_AT_ONCE) != SPI_OK_SELECT)
		dp_report_altered("could not read the digests of the audit log");
	table = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;

		if (!write_file(SPI_getvalue(table->vals[i], table->tupdesc, 2), SPI_getvalue(table->vals[i], table->tupdesc, 3)))
		{
			ereport(LOG,
					(errcode_for_file_access(),
					 errmsg("could not write a digest of the audit log into directory \"%s\": %m", dp_guc_digest_directory)));
			break;
		}
		last = DatumGetInt64(SPI_getbinval(table->vals[i], table->tupdesc, 1, &isnull));
	}
	if (last > 0 && SPI_execute(psprintf("UPDATE dataprotect.audit_digest SET filed = true WHERE NOT filed AND id <= "
										 INT64_FORMAT, last), false, 0) != SPI_OK_UPDATE)
		dp_report_altered("could not store what was written of the digests");
}

static bool
is_ready(void)
{
	return OidIsValid(get_namespace_oid("dataprotect", true)) &&
		OidIsValid(get_relname_relid("audit_digest", get_namespace_oid("dataprotect", true))) &&
		dp_keys_audit_chain() != NULL;
}

static bool
digest_round(void)
{
	bool		more = false;

	if (RecoveryInProgress())
		return false;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	dp_chain_hold();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (is_ready())
	{
		more = make_digest();
		write_files();
	}
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	return more;
}

/* dataprotect._audit_line(audit_record, uid): as sinks are sent it; for auditors. */
Datum
dp_audit_line(PG_FUNCTION_ARGS)
{
	HeapTupleHeader header = PG_GETARG_HEAPTUPLEHEADER(0);
	TupleDesc	desc;
	HeapTupleData tuple;
	DpSinkRow	row;
	StringInfoData line;

	dp_audit_require_auditor();
	desc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	if (desc->natts != DP_AUDIT_N_COLUMNS ||
		get_typ_typrelid(HeapTupleHeaderGetTypeId(header)) !=
		get_relname_relid("audit_record", get_namespace_oid("dataprotect", false)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("argument is no row of the audit log")));
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, desc, row.values, row.nulls);
	ReleaseTupleDesc(desc);
	for (int i = 0; i < DP_AUDIT_N_COLUMNS; i++)
	{
		if (row.nulls[i] && (i <= DP_AUDIT_OUTCOME || i == DP_AUDIT_MAC))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument is no row of the audit log")));
	}
	initStringInfo(&line);
	dp_sink_line(&line, &row, DatumGetCString(DirectFunctionCall1(uuid_out, PG_GETARG_DATUM(1))));
	PG_RETURN_TEXT_P(cstring_to_text(pg_any_to_server(line.data, line.len, PG_UTF8)));
}

/* dataprotect._digest_key(key int8) returns bytea: the public key's 32 bytes. */
Datum
dp_audit_digest_key(PG_FUNCTION_ARGS)
{
	uint8		public[DP_ED25519_PUBLIC_LEN];

	public_key((uint64) PG_GETARG_INT64(0), public);
	PG_RETURN_DATUM(dp_result_bytea(public, sizeof(public)));
}

void
dp_digest_init(void)
{
	dp_worker_register(DP_DIGEST_WORKER, digest_round, dp_guc_digest_interval * 1000);
}
