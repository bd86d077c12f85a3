/*
 * keywrap.c
 *	  Names of keys, and keys sealed under other keys.
 *
 *	offset	length	field of a wrapped key
 *	0		1		format, 1
 *	1		12		nonce
 *	13		32		ciphertext
 *	45		16		tag
 *
 * AAD: format | context.  An envelope's AAD begins with 0x10 or more, so that a
 * wrapped key and an envelope cannot stand in for each other even under one key.
 */
#include "crypto/aead.h"

#include <string.h>

#include <openssl/crypto.h>

#define WRAP_FORMAT 1
#define WRAP_NONCE	1
#define WRAP_CIPHERTEXT (WRAP_NONCE + DP_NONCE_LEN)
#define WRAP_TAG	(WRAP_CIPHERTEXT + DP_KEY_LEN)

static const char key_id_label[] = "dataprotect key id v1";

bool
dp_key_id(const uint8_t key[DP_KEY_LEN], DpKeyPurpose purpose, uint64_t *out_key_id)
{
	uint8_t		msg[sizeof(key_id_label) - 1];
	uint8_t		mac[DP_PRF_OUT_LEN];
	uint64_t	id = 0;
	DpPrf	   *prf;
	bool		ok;
	size_t		i;

	*out_key_id = 0;
	prf = dp_prf_new(key);
	if (prf == NULL)
		return false;

	/* dp_prf() takes the first byte of a message apart from the others */
	memcpy(msg, key_id_label + 1, sizeof(msg) - 1);
	msg[sizeof(msg) - 1] = (uint8_t) purpose;
	ok = dp_prf(prf, (uint8_t) key_id_label[0], msg, sizeof(msg), mac);
	dp_prf_free(prf);

	for (i = 0; i < sizeof(id); i++)
		id = id << 8 | mac[i];
	OPENSSL_cleanse(mac, sizeof(mac));

	/* 0 means "no key" elsewhere; such a key (one in 2^64) is not to be used */
	if (!ok || id == 0)
		return false;
	*out_key_id = id;
	return true;
}

/* format | context into aad; its length, or 0 where the context is too long. */
static size_t
build_aad(const uint8_t *context, size_t context_len,
		  uint8_t aad[1 + DP_WRAP_CONTEXT_MAX])
{
	if (context_len > DP_WRAP_CONTEXT_MAX)
		return 0;
	aad[0] = WRAP_FORMAT;
	if (context_len > 0)
		memcpy(aad + 1, context, context_len);
	return 1 + context_len;
}

bool
dp_key_wrap(const uint8_t wrapping_key[DP_KEY_LEN],
			const uint8_t *context, size_t context_len,
			const uint8_t key[DP_KEY_LEN],
			uint8_t out[DP_WRAPPED_LEN])
{
	uint8_t		aad[1 + DP_WRAP_CONTEXT_MAX];
	size_t		aad_len = build_aad(context, context_len, aad);
	DpAead	   *aead = NULL;
	bool		ok;

	ok = aad_len > 0 &&
		dp_random_nonce(out + WRAP_NONCE) &&
		(aead = dp_aead_new(wrapping_key)) != NULL &&
		dp_aead_seal(aead, out + WRAP_NONCE, aad, aad_len,
					 key, DP_KEY_LEN, out + WRAP_CIPHERTEXT, out + WRAP_TAG);
	dp_aead_free(aead);

	if (ok)
		out[0] = WRAP_FORMAT;
	else
		memset(out, 0, DP_WRAPPED_LEN);
	return ok;
}

bool
dp_key_unwrap(const uint8_t wrapping_key[DP_KEY_LEN],
			  const uint8_t *context, size_t context_len,
			  const uint8_t *wrapped, size_t wrapped_len,
			  uint8_t out_key[DP_KEY_LEN])
{
	uint8_t		aad[1 + DP_WRAP_CONTEXT_MAX];
	size_t		aad_len = build_aad(context, context_len, aad);
	DpAead	   *aead = NULL;
	bool		ok;

	ok = aad_len > 0 &&
		wrapped_len == DP_WRAPPED_LEN && wrapped[0] == WRAP_FORMAT &&
		(aead = dp_aead_new(wrapping_key)) != NULL &&
		dp_aead_open(aead, wrapped + WRAP_NONCE, aad, aad_len,
					 wrapped + WRAP_CIPHERTEXT, DP_KEY_LEN,
					 wrapped + WRAP_TAG, out_key);
	dp_aead_free(aead);

	if (!ok)
		OPENSSL_cleanse(out_key, DP_KEY_LEN);
	return ok;
}
