/*
 * jws_fuzz.c
 *	  Keys and signatures that an issuer of tokens, or a KMS, sends: reading stays inside
 *	  them, base64url has one spelling, no key comes of what is not of the kind that the
 *	  algorithm needs, and nothing forged verifies.
 */
#include <string.h>

#include "crypto/jws.h"
#include "fuzz.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* What decodes is what its bytes are written as. */
static void
check_base64url(const uint8_t *data, size_t size)
{
	uint8_t    *out = exact(size);
	size_t		len = size;
	uint32_t	bits = 0;
	int			n_bits = 0;
	size_t		n = 0;

	if (dp_base64url_decode((const char *) data, size, out, &len))
	{
		must(len <= size);
		for (size_t i = 0; i < len; i++)
		{
			bits = bits << 8 | out[i];
			for (n_bits += 8; n_bits >= 6; n_bits -= 6)
				must(data[n++] == digits[(bits >> (n_bits - 6)) & 63]);
		}
		if (n_bits > 0)
			must(data[n++] == digits[(bits << (6 - n_bits)) & 63]);
		must(n == size);
	}
	free(out);
}

static void
check_key(const uint8_t *key, size_t key_len, const uint8_t *data, size_t size)
{
	/* by whom the message is not: 64 bytes of the input, or what is there of them */
	size_t		signature_len = size < 64 ? size : 64;

	for (int algorithm = DP_JWS_NONE; algorithm <= DP_JWS_EDDSA; algorithm++)
		must(!dp_jws_verify((DpJwsAlgorithm) algorithm, key, key_len, (const uint8_t *) "a message", 9, data, signature_len));
	must(!dp_signature_verify(key, key_len, (const uint8_t *) "a message", 9, data, signature_len));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const kinds[] = {"RSA", "EC", "OKP", NULL};
	static const char *const curves[] = {"P-256", "Ed25519", "P-384", NULL};
	uint8_t    *key = exact(DP_JWS_KEY_MAX);
	uint8_t    *der = exact(128);
	size_t		key_len;
	size_t		der_len = 128;
	DpJwk		jwk;
	DpJwsAlgorithm algorithm;

	check_base64url(data, size);
	if (size < 4)
		goto done;
	algorithm = (DpJwsAlgorithm) (data[0] & 3);
	jwk.kty = kinds[data[0] >> 2 & 3];
	jwk.crv = curves[data[0] >> 4 & 3];
	jwk.e_len = data[1] % (size - 2);
	jwk.e = data + 2;
	jwk.n = jwk.e + jwk.e_len;
	jwk.n_len = size - 2 - jwk.e_len;
	jwk.x = data + 2;
	jwk.x_len = data[0] & 0x40 ? 32 : jwk.e_len;
	jwk.y = jwk.x + jwk.x_len;
	jwk.y_len = 32;
	if (jwk.x_len + jwk.y_len > size - 2)
		jwk.x_len = jwk.y_len = 0;
	if (dp_jws_key(algorithm, &jwk, key, &key_len))
	{
		must(algorithm != DP_JWS_NONE && key_len <= DP_JWS_KEY_MAX);
		must(strcmp(jwk.kty, algorithm == DP_JWS_RS256 ? "RSA" : algorithm == DP_JWS_ES256 ? "EC" : "OKP") == 0);
		must(dp_public_key_algorithm(key, key_len) != DP_SIGNATURE_NONE);
		check_key(key, key_len, data, size);
	}
	/* DER of anybody, parts of a token's key, a signature beside its halves */
	if (dp_public_key_algorithm(data, size) != DP_SIGNATURE_NONE)
		check_key(data, size, data, size);
	key_len = DP_JWS_KEY_MAX;
	if (dp_public_key_ec(data + 2, jwk.e_len, jwk.n, jwk.n_len, key, &key_len))
		must(key_len <= DP_JWS_KEY_MAX);
	if (dp_ecdsa_der(data, size < 96 ? size : 96, der, &der_len))
		must(der_len <= 128 && der[0] == 0x30);
done:
	free(key);
	free(der);
	return 0;
}
