/*
 * short_gcm.h
 *	  AES-256-GCM of short messages, put together from OpenSSL's AES and GHASH.
 *
 * The provider's GCM spends most of a short message's time on the way there: a dozen
 * calls, each naming its parameters.  Here all blocks of the keystream are one call of
 * AES-ECB, and OpenSSL's own GCM (openssl/modes.h) takes them from there.  Nothing
 * of AES or GHASH is ours, and what comes out is GCM's: test/unit compares both ways.
 *
 * The context holds a schedule and the hash key; it is the caller's, who clears it.
 * Not thread-safe.  Lengths up to DP_SHORT_GCM_MAX.
 */
#ifndef DP_CRYPTO_SHORT_GCM_H
#define DP_CRYPTO_SHORT_GCM_H

#include "crypto/aead.h"

#include <openssl/evp.h>
#include <openssl/modes.h>

#define DP_SHORT_GCM_MAX 240	/* with the block for the tag, 16 blocks */

typedef struct DpShortGcm
{
	EVP_CIPHER_CTX *aes;
	GCM128_CONTEXT *gcm;
	const uint8_t *next;		/* block of the keystream that GCM takes next */
} DpShortGcm;

/*
 * Where the process wants GCM from a validated module (the FIPS provider by default
 * properties), it must not be put together outside of that.
 */
extern bool dp_short_gcm_is_allowed(void);

/* Zeroed memory before the first call.  On failure unusable until a later one. */
extern bool dp_short_gcm_rekey(DpShortGcm *gcm, const uint8_t key[DP_KEY_LEN]) DP_MUST_CHECK;
extern void dp_short_gcm_free(DpShortGcm *gcm);

extern bool dp_short_gcm_seal(DpShortGcm *gcm, const uint8_t nonce[DP_NONCE_LEN],
							  const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t in_len,
							  uint8_t *out, uint8_t tag[DP_TAG_LEN]) DP_MUST_CHECK;

/* False leaves what was decrypted in out: the caller wipes it. */
extern bool dp_short_gcm_open(DpShortGcm *gcm, const uint8_t nonce[DP_NONCE_LEN],
							  const uint8_t *aad, size_t aad_len, const uint8_t *in, size_t in_len,
							  const uint8_t tag[DP_TAG_LEN], uint8_t *out) DP_MUST_CHECK;

#endif							/* DP_CRYPTO_SHORT_GCM_H */
