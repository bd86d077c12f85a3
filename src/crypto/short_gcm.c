/*
 * short_gcm.c
 *	  AES-256-GCM of short messages; see short_gcm.h.
 *
 * GCM (NIST SP 800-38D, section 7.1) with a 96-bit IV uses E(K, IV || 1) for the
 * tag, E(K, IV || 2) and so on for the text, and E(K, 0) as the hash key.
 */
#include "crypto/short_gcm.h"

#include <string.h>

#include <openssl/crypto.h>

#define BLOCK		16
#define BLOCKS_MAX	(1 + DP_SHORT_GCM_MAX / BLOCK)

/* Held until the process ends. */
static EVP_CIPHER *ecb = NULL;

bool
dp_short_gcm_is_allowed(void)
{
	static int	fips = -1;

	if (fips < 0)
		fips = EVP_default_properties_is_fips_enabled(NULL);
	return fips == 0;
}

/* What OpenSSL's GCM calls for E(K, counter): it counts as we did. */
static void
next_block(const unsigned char in[BLOCK], unsigned char out[BLOCK], const void *key)
{
	DpShortGcm *gcm = (DpShortGcm *) key;

	(void) in;
	memcpy(out, gcm->next, BLOCK);
	gcm->next += BLOCK;
}

/* Blocks in place. */
static inline bool
encrypt_blocks(DpShortGcm *gcm, uint8_t *blocks, int len)
{
	return EVP_Cipher(gcm->aes, blocks, blocks, (unsigned int) len) == len;
}

bool
dp_short_gcm_rekey(DpShortGcm *gcm, const uint8_t key[DP_KEY_LEN])
{
	uint8_t		hash_key[BLOCK] = {0};
	bool		ok;

	if (ecb == NULL && (ecb = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL)) == NULL)
		return false;
	if (gcm->aes == NULL && (gcm->aes = EVP_CIPHER_CTX_new()) == NULL)
		return false;
	/* a context that has its cipher is not set up again */
	ok = EVP_EncryptInit_ex(gcm->aes, EVP_CIPHER_CTX_get0_cipher(gcm->aes) == NULL ? ecb : NULL, NULL, key, NULL) == 1 &&
		encrypt_blocks(gcm, hash_key, BLOCK);
	gcm->next = hash_key;
	if (ok && gcm->gcm != NULL)
		CRYPTO_gcm128_init(gcm->gcm, gcm, next_block);
	else if (ok)
		ok = (gcm->gcm = CRYPTO_gcm128_new(gcm, next_block)) != NULL;
	gcm->next = NULL;
	OPENSSL_cleanse(hash_key, sizeof(hash_key));
	return ok;
}

void
dp_short_gcm_free(DpShortGcm *gcm)
{
	/* OpenSSL wipes both */
	EVP_CIPHER_CTX_free(gcm->aes);
	if (gcm->gcm != NULL)
		CRYPTO_gcm128_release(gcm->gcm);
	gcm->aes = NULL;
	gcm->gcm = NULL;
}

/* The keystream of a message, and the message's beginning; its length in bytes, or 0. */
static inline int
begin(DpShortGcm *gcm, const uint8_t *nonce, const uint8_t *aad, size_t aad_len,
	  size_t in_len, uint8_t stream[BLOCKS_MAX * BLOCK])
{
	int			n = 1 + (int) ((in_len + BLOCK - 1) / BLOCK);

	for (int i = 0; i < n; i++)
	{
		memcpy(stream + i * BLOCK, nonce, DP_NONCE_LEN);
		memset(stream + i * BLOCK + DP_NONCE_LEN, 0, 3);
		stream[i * BLOCK + BLOCK - 1] = (uint8_t) (i + 1);
	}
	if (!encrypt_blocks(gcm, stream, n * BLOCK))
		return 0;
	gcm->next = stream;
	CRYPTO_gcm128_setiv(gcm->gcm, nonce, DP_NONCE_LEN);
	return CRYPTO_gcm128_aad(gcm->gcm, aad, aad_len) == 0 ? n * BLOCK : 0;
}

static inline void
end(DpShortGcm *gcm, uint8_t *stream, int len)
{
	gcm->next = NULL;
	OPENSSL_cleanse(stream, len > 0 ? (size_t) len : BLOCKS_MAX * BLOCK);
}

bool
dp_short_gcm_seal(DpShortGcm *gcm, const uint8_t nonce[DP_NONCE_LEN],
				  const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t in_len,
				  uint8_t *out, uint8_t tag[DP_TAG_LEN])
{
	uint8_t		stream[BLOCKS_MAX * BLOCK];
	int			len = begin(gcm, nonce, aad, aad_len, in_len, stream);
	bool		ok = len > 0 && CRYPTO_gcm128_encrypt(gcm->gcm, in, out, in_len) == 0;

	if (ok)
		CRYPTO_gcm128_tag(gcm->gcm, tag, DP_TAG_LEN);
	end(gcm, stream, len);
	return ok;
}

bool
dp_short_gcm_open(DpShortGcm *gcm, const uint8_t nonce[DP_NONCE_LEN],
				  const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t in_len,
				  const uint8_t tag[DP_TAG_LEN], uint8_t *out)
{
	uint8_t		stream[BLOCKS_MAX * BLOCK];
	int			len = begin(gcm, nonce, aad, aad_len, in_len, stream);
	bool		ok = len > 0 && CRYPTO_gcm128_decrypt(gcm->gcm, in, out, in_len) == 0 &&
		CRYPTO_gcm128_finish(gcm->gcm, tag, DP_TAG_LEN) == 0;

	end(gcm, stream, len);
	return ok;
}
