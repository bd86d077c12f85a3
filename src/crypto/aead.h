/*
 * aead.h
 *	  AES-256-GCM with a fixed tag length, random nonces, key wrapping, PRF.
 *
 * The whole crypto folder is free of PostgreSQL: libc and OpenSSL only, so that
 * it can be tested and fuzzed outside a server.  Nothing here reports errors by
 * jumping; every function that can fail returns bool and must be checked.
 * Keys passed in are not kept except inside the contexts, which _clear and _free wipe.
 *
 * Sources: NIST SP 800-38D (GCM; 96-bit IV, section 8.2.2 random IVs), RFC 2104
 * and FIPS 198-1 (HMAC).
 */
#ifndef DP_CRYPTO_AEAD_H
#define DP_CRYPTO_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DP_KEY_LEN		32
#define DP_NONCE_LEN	12
#define DP_TAG_LEN		16
#define DP_TOKEN_LEN	16

#define DP_MUST_CHECK	__attribute__((warn_unused_result))

/* One AES-256-GCM key, scheduled for both directions; not thread-safe. */
typedef struct DpAead DpAead;

/*
 * Let OpenSSL look up and build what the functions below need, once, before the
 * process forks: its children have it from the start, and share its memory.
 */
extern void dp_crypto_warm_up(void);

/* NULL on failure.  Keeps a copy of the key, for the first long message, beside OpenSSL's contexts. */
extern DpAead *dp_aead_new(const uint8_t key[DP_KEY_LEN]) DP_MUST_CHECK;

/* Replace the key of an existing context (cheaper than free and new). */
extern bool dp_aead_rekey(DpAead *aead, const uint8_t key[DP_KEY_LEN]) DP_MUST_CHECK;

/* Wipe the key.  Sealing and opening fail until the next dp_aead_rekey(). */
extern void dp_aead_clear(DpAead *aead);
extern void dp_aead_free(DpAead *aead);

/* out: in_len bytes (may be in); tag: DP_TAG_LEN bytes.  Lengths below 2^31. */
extern bool dp_aead_seal(DpAead *aead, const uint8_t nonce[DP_NONCE_LEN],
						 const uint8_t *aad, size_t aad_len,
						 const uint8_t *in, size_t in_len,
						 uint8_t *out, uint8_t tag[DP_TAG_LEN]) DP_MUST_CHECK;

/* All of the plaintext, or false and out is zeros.  The tag is always 16 bytes. */
extern bool dp_aead_open(DpAead *aead, const uint8_t nonce[DP_NONCE_LEN],
						 const uint8_t *aad, size_t aad_len,
						 const uint8_t *in, size_t in_len,
						 const uint8_t tag[DP_TAG_LEN], uint8_t *out) DP_MUST_CHECK;

/* Random bytes: RAND_priv_bytes for keys, a per-process buffer that does not
 * survive fork for nonces. */
extern bool dp_random_key(uint8_t *out, size_t len) DP_MUST_CHECK;
extern bool dp_random_nonce(uint8_t out[DP_NONCE_LEN]) DP_MUST_CHECK;

/* HMAC-SHA-256 under one key with a one-byte domain before the message. */
typedef struct DpPrf DpPrf;

#define DP_PRF_OUT_LEN 32
extern DpPrf *dp_prf_new(const uint8_t key[DP_KEY_LEN]) DP_MUST_CHECK;
extern void dp_prf_free(DpPrf *prf);
extern bool dp_prf(DpPrf *prf, uint8_t domain, const uint8_t *msg, size_t msg_len,
				   uint8_t out[DP_PRF_OUT_LEN]) DP_MUST_CHECK;

/*
 * Ed25519 from a seed of DP_KEY_LEN bytes, which the caller wipes; false where
 * OpenSSL fails.  The signature is that of the message itself (no prehash), as
 * "openssl pkeyutl -verify -rawin" expects.
 */
#define DP_ED25519_PUBLIC_LEN 32
#define DP_ED25519_SIGNATURE_LEN 64
extern bool dp_ed25519_public(const uint8_t seed[DP_KEY_LEN], uint8_t out[DP_ED25519_PUBLIC_LEN]) DP_MUST_CHECK;
extern bool dp_ed25519_sign(const uint8_t seed[DP_KEY_LEN], const uint8_t *msg, size_t msg_len,
							uint8_t out[DP_ED25519_SIGNATURE_LEN]) DP_MUST_CHECK;

/* Plain SHA-256. */
extern bool dp_sha256(const uint8_t *msg, size_t msg_len, uint8_t out[32]) DP_MUST_CHECK;

/* Constant-time equality. */
extern bool dp_equal_ct(const void *a, const void *b, size_t len);

/*
 * What a key is for.  Part of the key id, so that a key unwrapped under the
 * wrong purpose is noticed.  Stored; append only.
 */
typedef enum DpKeyPurpose
{
	DP_PURPOSE_EPOCH = 1,		/* wraps the others; itself wrapped by a KMS */
	DP_PURPOSE_DATA = 2,		/* a version of a named key */
	DP_PURPOSE_SUBJECT = 3,		/* one account's key under a named key */
	DP_PURPOSE_PRF = 4,			/* hashes and search tokens of one database */
	DP_PURPOSE_LITERAL = 5,		/* literals between parse and coercion */
	DP_PURPOSE_AUDIT_SEAL = 6,	/* personal fields of audit records */
	DP_PURPOSE_AUDIT_CHAIN = 7, /* MAC chain of the audit table */
	DP_PURPOSE_POLICY = 8		/* MACs of policy rows */
} DpKeyPurpose;

/*
 * First 64 bits of HMAC(key, "dataprotect key id v1" || purpose), purpose one
 * byte; never 0.
 */
extern bool dp_key_id(const uint8_t key[DP_KEY_LEN], DpKeyPurpose purpose,
					  uint64_t *out_key_id) DP_MUST_CHECK;

/*
 * Wrapped key: 1 byte format (1) | 12 nonce | 32 ciphertext | 16 tag.
 * context: authenticated, not stored (database uid, key id, purpose, version),
 * at most DP_WRAP_CONTEXT_MAX bytes.  unwrap: the key, or false and zeros.
 */
#define DP_WRAP_CONTEXT_MAX 256
#define DP_WRAPPED_LEN (1 + DP_NONCE_LEN + DP_KEY_LEN + DP_TAG_LEN)
extern bool dp_key_wrap(const uint8_t wrapping_key[DP_KEY_LEN],
						const uint8_t *context, size_t context_len,
						const uint8_t key[DP_KEY_LEN],
						uint8_t out[DP_WRAPPED_LEN]) DP_MUST_CHECK;
extern bool dp_key_unwrap(const uint8_t wrapping_key[DP_KEY_LEN],
						  const uint8_t *context, size_t context_len,
						  const uint8_t *wrapped, size_t wrapped_len,
						  uint8_t out_key[DP_KEY_LEN]) DP_MUST_CHECK;

#endif							/* DP_CRYPTO_AEAD_H */
