/*
 * public_key.h
 *	  Public keys, and signatures of a KMS that are verified by them.
 *
 * A public key is DER, SubjectPublicKeyInfo (RFC 5280).  The algorithm follows from
 * the key, so that nobody is asked which one was meant.  All functions return false
 * where OpenSSL fails or the input is none; none keeps anything.
 */
#ifndef DP_CRYPTO_PUBLIC_KEY_H
#define DP_CRYPTO_PUBLIC_KEY_H

#include "crypto/aead.h"

typedef enum DpSignatureAlgorithm
{
	DP_SIGNATURE_NONE,
	DP_SIGNATURE_ED25519,
	DP_SIGNATURE_RSA_PSS_SHA256,
	DP_SIGNATURE_ECDSA_SHA256,
	DP_SIGNATURE_ECDSA_SHA384,
	DP_SIGNATURE_ECDSA_SHA512
} DpSignatureAlgorithm;

/* "Ed25519", "RSA-PSS-SHA256", "ECDSA-SHA256", ...; stored, never changed. */
extern const char *dp_signature_name(DpSignatureAlgorithm algorithm);

/* Options of "openssl pkeyutl -verify -rawin" for it. */
extern const char *dp_signature_openssl(DpSignatureAlgorithm algorithm);

/* DP_SIGNATURE_NONE: no key that we take (RSA under 2048 bits, another curve, no DER). */
extern DpSignatureAlgorithm dp_public_key_algorithm(const uint8_t *key, size_t key_len);

/* True where the signature of the whole message is by this key. */
extern bool dp_signature_verify(const uint8_t *key, size_t key_len, const uint8_t *msg, size_t msg_len,
								const uint8_t *signature, size_t signature_len) DP_MUST_CHECK;

/* The hash that an algorithm begins with, for a token that only does the rest. */
#define DP_HASH_MAX 64
extern bool dp_signature_hash(DpSignatureAlgorithm algorithm, const uint8_t *msg, size_t msg_len,
							  uint8_t out[DP_HASH_MAX], size_t *out_len) DP_MUST_CHECK;

/* Public keys from their parts.  *out_len: room, then length. */
extern bool dp_public_key_ed25519(const uint8_t point[DP_ED25519_PUBLIC_LEN], uint8_t *out, size_t *out_len) DP_MUST_CHECK;
extern bool dp_public_key_rsa(const uint8_t *modulus, size_t modulus_len, const uint8_t *exponent, size_t exponent_len,
							  uint8_t *out, size_t *out_len) DP_MUST_CHECK;

/* params: DER of the curve; point: as an OCTET STRING (PKCS#11), or bare. */
extern bool dp_public_key_ec(const uint8_t *params, size_t params_len, const uint8_t *point, size_t point_len,
							 uint8_t *out, size_t *out_len) DP_MUST_CHECK;

/* ECDSA: r and s of one length beside each other, as tokens give them, to DER. */
extern bool dp_ecdsa_der(const uint8_t *raw, size_t raw_len, uint8_t *out, size_t *out_len) DP_MUST_CHECK;

#endif							/* DP_CRYPTO_PUBLIC_KEY_H */
