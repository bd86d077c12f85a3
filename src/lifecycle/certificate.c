/*
 * certificate.c
 *	  What makes a certificate evidence: a code that this database checks, and a
 *	  signature that anybody can.
 *
 * Both come from the audit chain's key, which lies wrapped under the database's
 * roots: the signing key is an Ed25519 key whose seed is derived from it, so that
 * a restored database signs and verifies as the one it was copied from.
 */
#include "postgres.h"

#include "base/compat.h"
#include "base/report.h"
#include "base/result.h"
#include "base/secret.h"
#include "crypto/aead.h"
#include "fmgr.h"
#include "keys/keys.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(dp_lifecycle_certificate_mac);
PG_FUNCTION_INFO_V1(dp_lifecycle_certificate_sign);
PG_FUNCTION_INFO_V1(dp_lifecycle_certificate_key);

/* Domains under the audit chain's key. */
#define PRF_CERTIFICATE 'd'
#define PRF_SIGNING 'e'

static const char signing_purpose[] = "dataprotect certificate signing, Ed25519";

/*
 * A document as UTF-8, whatever the database's encoding: so it leaves the database, and
 * so it comes into another one.  Bytes that have no encoding are taken as they are.
 */
static char *
utf8_document(text * document)
{
	char	   *text = text_to_cstring(document);

	if (GetDatabaseEncoding() == PG_SQL_ASCII)
		return text;
	return pg_server_to_any(text, strlen(text), PG_UTF8);
}

Datum
dp_lifecycle_certificate_mac(PG_FUNCTION_ARGS)
{
	char	   *certificate = utf8_document(PG_GETARG_TEXT_PP(0));
	DpPrf	   *chain = dp_keys_audit_chain_of((uint64) PG_GETARG_INT64(1));
	uint8		mac[DP_PRF_OUT_LEN];
	text	   *result;

	if (chain == NULL)
		PG_RETURN_NULL();
	if (!dp_prf(chain, PRF_CERTIFICATE, (uint8 *) certificate, strlen(certificate), mac))
		dp_report_no_memory("could not compute the certificate's authentication code");
	result = palloc(VARHDRSZ + 2 * sizeof(mac));
	SET_VARSIZE(result, VARHDRSZ + 2 * sizeof(mac));
	hex_encode((char *) mac, sizeof(mac), VARDATA(result));
	PG_RETURN_TEXT_P(result);
}

/* Of a key of the chain, 0: the current one; false where there is none.  The caller wipes the seed. */
static bool
signing_seed(uint64 key_id, uint8 seed[DP_KEY_LEN])
{
	DpPrf	   *chain = dp_keys_audit_chain_of(key_id);

	if (chain == NULL)
		return false;
	if (!dp_prf(chain, PRF_SIGNING, (const uint8 *) signing_purpose, sizeof(signing_purpose) - 1, seed))
		dp_report_no_memory("could not derive the signing key");
	return true;
}

/* dataprotect._certificate_sign(text) returns bytea: 64 bytes, or NULL. */
Datum
dp_lifecycle_certificate_sign(PG_FUNCTION_ARGS)
{
	char	   *certificate = utf8_document(PG_GETARG_TEXT_PP(0));
	uint8		signature[DP_ED25519_SIGNATURE_LEN];
	uint8		seed[DP_KEY_LEN];
	bool		ok;

	if (!signing_seed(0, seed))
		PG_RETURN_NULL();
	ok = dp_ed25519_sign(seed, (uint8 *) certificate, strlen(certificate), signature);
	dp_secret_wipe(seed, sizeof(seed));
	if (!ok)
		dp_report_no_memory("could not sign the certificate");
	PG_RETURN_DATUM(dp_result_bytea(signature, sizeof(signature)));
}

/* dataprotect._certificate_key(key int8) returns bytea: the public key's 32 bytes, or NULL. */
Datum
dp_lifecycle_certificate_key(PG_FUNCTION_ARGS)
{
	uint8		public[DP_ED25519_PUBLIC_LEN];
	uint8		seed[DP_KEY_LEN];
	bool		ok;

	if (!signing_seed((uint64) PG_GETARG_INT64(0), seed))
		PG_RETURN_NULL();
	ok = dp_ed25519_public(seed, public);
	dp_secret_wipe(seed, sizeof(seed));
	if (!ok)
		dp_report_no_memory("could not compute the signing key");
	PG_RETURN_DATUM(dp_result_bytea(public, sizeof(public)));
}
