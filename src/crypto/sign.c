/*
 * sign.c
 *	  Ed25519 (RFC 8032) from a 32-byte seed.
 */
#include "crypto/aead.h"

#include <openssl/err.h>
#include <openssl/evp.h>

static EVP_PKEY *
private_key(const uint8_t seed[DP_KEY_LEN])
{
	EVP_PKEY   *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, seed, DP_KEY_LEN);

	if (key == NULL)
		ERR_clear_error();
	return key;
}

bool
dp_ed25519_public(const uint8_t seed[DP_KEY_LEN], uint8_t out[DP_ED25519_PUBLIC_LEN])
{
	EVP_PKEY   *key = private_key(seed);
	size_t		len = DP_ED25519_PUBLIC_LEN;
	bool		ok = key != NULL && EVP_PKEY_get_raw_public_key(key, out, &len) == 1 && len == DP_ED25519_PUBLIC_LEN;

	EVP_PKEY_free(key);
	if (!ok)
		ERR_clear_error();
	return ok;
}

bool
dp_ed25519_sign(const uint8_t seed[DP_KEY_LEN], const uint8_t *msg, size_t msg_len, uint8_t out[DP_ED25519_SIGNATURE_LEN])
{
	EVP_PKEY   *key = private_key(seed);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t		len = DP_ED25519_SIGNATURE_LEN;
	bool		ok = key != NULL && ctx != NULL &&
		EVP_DigestSignInit(ctx, NULL, NULL, NULL, key) == 1 &&
		EVP_DigestSign(ctx, out, &len, msg, msg_len) == 1 && len == DP_ED25519_SIGNATURE_LEN;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	if (!ok)
		ERR_clear_error();
	return ok;
}
