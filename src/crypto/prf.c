/*
 * prf.c
 *	  HMAC-SHA-256 under one key (RFC 2104, FIPS 198-1).
 *
 * The key is absorbed once; each message starts again from that state.  A byte
 * before the message names what the result is for, so that an index hash says
 * nothing about a search token of the same value.
 */
#include "crypto/aead.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>

struct DpPrf
{
	EVP_MAC_CTX *ctx;
};

/* Held until the process ends. */
static EVP_MAC *hmac = NULL;

DpPrf *
dp_prf_new(const uint8_t key[DP_KEY_LEN])
{
	OSSL_PARAM	params[2];
	char		digest[] = "SHA256";
	DpPrf	   *prf;

	if (hmac == NULL)
		hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	if (hmac == NULL)
	{
		ERR_clear_error();
		return NULL;
	}
	prf = OPENSSL_zalloc(sizeof(DpPrf));
	if (prf == NULL)
		return NULL;

	params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
	params[1] = OSSL_PARAM_construct_end();
	prf->ctx = EVP_MAC_CTX_new(hmac);
	if (prf->ctx == NULL || EVP_MAC_init(prf->ctx, key, DP_KEY_LEN, params) != 1)
	{
		dp_prf_free(prf);
		ERR_clear_error();
		return NULL;
	}
	return prf;
}

void
dp_prf_free(DpPrf *prf)
{
	if (prf == NULL)
		return;
	/* OpenSSL wipes the key and the states derived from it */
	EVP_MAC_CTX_free(prf->ctx);
	OPENSSL_clear_free(prf, sizeof(DpPrf));
}

bool
dp_prf(DpPrf *prf, uint8_t domain, const uint8_t *msg, size_t msg_len,
	   uint8_t out[DP_PRF_OUT_LEN])
{
	size_t		out_len = 0;

	/* a NULL key means: back to the state after the key */
	if (EVP_MAC_init(prf->ctx, NULL, 0, NULL) == 1 &&
		EVP_MAC_update(prf->ctx, &domain, 1) == 1 &&
		(msg_len == 0 || EVP_MAC_update(prf->ctx, msg, msg_len) == 1) &&
		EVP_MAC_final(prf->ctx, out, &out_len, DP_PRF_OUT_LEN) == 1 &&
		out_len == DP_PRF_OUT_LEN)
		return true;

	OPENSSL_cleanse(out, DP_PRF_OUT_LEN);
	ERR_clear_error();
	return false;
}
