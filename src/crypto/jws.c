/*
 * jws.c
 *	  Signatures of JSON Web Tokens; see the header.
 */
#include "crypto/jws.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#define P256_LEN			32	/* of a coordinate */
#define RSA_EXPONENT_MAX	8

/* DER of the object identifier of P-256, and the mark of a point that is not compressed. */
static const uint8_t p256[] = {0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07};

#define UNCOMPRESSED 0x04

DpJwsAlgorithm
dp_jws_algorithm(const char *alg)
{
	if (alg == NULL)
		return DP_JWS_NONE;
	if (strcmp(alg, "RS256") == 0)
		return DP_JWS_RS256;
	if (strcmp(alg, "ES256") == 0)
		return DP_JWS_ES256;
	return strcmp(alg, "EdDSA") == 0 ? DP_JWS_EDDSA : DP_JWS_NONE;
}

static int
digit_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool
dp_base64url_decode(const char *in, size_t in_len, uint8_t *out, size_t *out_len)
{
	uint32_t	bits = 0;
	int			n_bits = 0;
	size_t		n = 0;

	if (in_len % 4 == 1 || in_len / 4 * 3 + in_len % 4 * 3 / 4 > *out_len)
		return false;
	for (size_t i = 0; i < in_len; i++)
	{
		int			digit = digit_of(in[i]);

		if (digit < 0)
			return false;
		bits = (bits << 6 | (uint32_t) digit) & 0xffff;
		n_bits += 6;
		if (n_bits >= 8)
		{
			n_bits -= 8;
			out[n++] = (uint8_t) (bits >> n_bits);
		}
	}
	*out_len = n;
	/* Another spelling of the same bytes is refused. */
	return (bits & ((1U << n_bits) - 1)) == 0;
}

static bool
is(const char *text, const char *wanted)
{
	return text != NULL && strcmp(text, wanted) == 0;
}

/* An even exponent is none, and under 1 everything is its own signature. */
static bool
is_exponent(const uint8_t *e, size_t len)
{
	if (len == 0 || len > RSA_EXPONENT_MAX || (e[len - 1] & 1) == 0)
		return false;
	for (size_t i = 0; i + 1 < len; i++)
	{
		if (e[i] != 0)
			return true;
	}
	return e[len - 1] > 1;
}

/* The kind of key that an algorithm needs. */
static DpSignatureAlgorithm
kind_for(DpJwsAlgorithm algorithm)
{
	switch (algorithm)
	{
		case DP_JWS_RS256:
			return DP_SIGNATURE_RSA_PSS_SHA256; /* any RSA key of 2048 bits or more */
		case DP_JWS_ES256:
			return DP_SIGNATURE_ECDSA_SHA256;
		case DP_JWS_EDDSA:
			return DP_SIGNATURE_ED25519;
		case DP_JWS_NONE:
			break;
	}
	return DP_SIGNATURE_NONE;
}

static bool
make_key(DpJwsAlgorithm algorithm, const DpJwk *jwk, uint8_t *out, size_t *out_len)
{
	uint8_t		point[1 + 2 * P256_LEN] = {UNCOMPRESSED};

	switch (algorithm)
	{
		case DP_JWS_RS256:
			return is(jwk->kty, "RSA") && jwk->n_len > 0 && is_exponent(jwk->e, jwk->e_len) &&
				dp_public_key_rsa(jwk->n, jwk->n_len, jwk->e, jwk->e_len, out, out_len);
		case DP_JWS_ES256:
			if (!is(jwk->kty, "EC") || !is(jwk->crv, "P-256") || jwk->x_len != P256_LEN || jwk->y_len != P256_LEN)
				return false;
			memcpy(point + 1, jwk->x, P256_LEN);
			memcpy(point + 1 + P256_LEN, jwk->y, P256_LEN);
			return dp_public_key_ec(p256, sizeof(p256), point, sizeof(point), out, out_len);
		case DP_JWS_EDDSA:
			return is(jwk->kty, "OKP") && is(jwk->crv, "Ed25519") && jwk->x_len == DP_ED25519_PUBLIC_LEN &&
				dp_public_key_ed25519(jwk->x, out, out_len);
		case DP_JWS_NONE:
			break;
	}
	return false;
}

bool
dp_jws_key(DpJwsAlgorithm algorithm, const DpJwk *jwk, uint8_t out[DP_JWS_KEY_MAX], size_t *out_len)
{
	*out_len = DP_JWS_KEY_MAX;
	return make_key(algorithm, jwk, out, out_len) &&
		dp_public_key_algorithm(out, *out_len) == kind_for(algorithm);
}

static bool
verify_pkcs1(const uint8_t *key, size_t key_len, const uint8_t *msg, size_t msg_len,
			 const uint8_t *signature, size_t signature_len)
{
	const uint8_t *end = key;
	EVP_PKEY   *read = key_len > LONG_MAX ? NULL : d2i_PUBKEY(NULL, &end, (long) key_len);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *options = NULL;
	bool		ok = read != NULL && ctx != NULL &&
		EVP_DigestVerifyInit_ex(ctx, &options, "SHA256", NULL, NULL, read, NULL) == 1 &&
		EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PADDING) == 1 &&
		EVP_DigestVerify(ctx, signature, signature_len, msg, msg_len) == 1;

	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(read);
	ERR_clear_error();
	return ok;
}

bool
dp_jws_verify(DpJwsAlgorithm algorithm, const uint8_t *key, size_t key_len,
			  const uint8_t *msg, size_t msg_len, const uint8_t *signature, size_t signature_len)
{
	uint8_t		der[128];
	size_t		der_len = sizeof(der);

	if (algorithm == DP_JWS_NONE || dp_public_key_algorithm(key, key_len) != kind_for(algorithm))
		return false;
	switch (algorithm)
	{
		case DP_JWS_RS256:
			return verify_pkcs1(key, key_len, msg, msg_len, signature, signature_len);
		case DP_JWS_ES256:
			return signature_len == 2 * P256_LEN &&
				dp_ecdsa_der(signature, signature_len, der, &der_len) &&
				dp_signature_verify(key, key_len, msg, msg_len, der, der_len);
		case DP_JWS_EDDSA:
			return signature_len == DP_ED25519_SIGNATURE_LEN &&
				dp_signature_verify(key, key_len, msg, msg_len, signature, signature_len);
		case DP_JWS_NONE:
			break;
	}
	return false;
}
