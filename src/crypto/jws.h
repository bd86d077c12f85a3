/*
 * jws.h
 *	  Signatures of JSON Web Tokens (RFC 7515, 7518, 8037).
 *
 * The algorithm is the token's word, the key is ours: a signature is verified only
 * where the key is of the kind that the algorithm needs, so that a public key is
 * never taken for a secret, nor one kind of key for another.  Keys are DER,
 * SubjectPublicKeyInfo, made from the parts of a JSON Web Key here.
 */
#ifndef DP_CRYPTO_JWS_H
#define DP_CRYPTO_JWS_H

#include "crypto/public_key.h"

typedef enum DpJwsAlgorithm
{
	DP_JWS_NONE,				/* none that we take: "none", HMAC, anything else */
	DP_JWS_RS256,
	DP_JWS_ES256,
	DP_JWS_EDDSA				/* Ed25519 alone */
} DpJwsAlgorithm;

#define DP_JWS_SIGNATURE_MAX	1024
#define DP_JWS_KEY_MAX			2048

/* By the value of "alg"; NULL is none. */
extern DpJwsAlgorithm dp_jws_algorithm(const char *alg);

/*
 * Unpadded base64url of RFC 4648, whole, in its one spelling.  *out_len: room, then
 * length.  out may be in.
 */
extern bool dp_base64url_decode(const char *in, size_t in_len, uint8_t *out, size_t *out_len) DP_MUST_CHECK;

/*
 * A key from the members of a JSON Web Key, decoded; those that its kind has not are
 * ignored.  False where it is no key for the algorithm.
 */
typedef struct DpJwk
{
	const char *kty;
	const char *crv;
	const uint8_t *n;			/* RSA */
	size_t		n_len;
	const uint8_t *e;
	size_t		e_len;
	const uint8_t *x;			/* EC and OKP */
	size_t		x_len;
	const uint8_t *y;
	size_t		y_len;
} DpJwk;

extern bool dp_jws_key(DpJwsAlgorithm algorithm, const DpJwk *jwk, uint8_t out[DP_JWS_KEY_MAX], size_t *out_len) DP_MUST_CHECK;

/* True where the signature is by this key, and the key is of the algorithm's kind. */
extern bool dp_jws_verify(DpJwsAlgorithm algorithm, const uint8_t *key, size_t key_len,
						  const uint8_t *msg, size_t msg_len,
						  const uint8_t *signature, size_t signature_len) DP_MUST_CHECK;

#endif							/* DP_CRYPTO_JWS_H */
