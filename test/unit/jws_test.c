/*
 * jws_test.c
 *	  Published tokens: RFC 7515 (A.1 to A.3, A.5), RFC 7519 (3.1, 6.1), RFC 8037 (A.4).
 *
 * If one of these fails, an issuer's tokens are refused, or a token is believed
 * that nobody signed.
 */
#include <stdlib.h>

#include "access/token.h"
#include "tap.h"

#define CLAIMS "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define RSA_N "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"
#define EC_X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define EC_Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define OKP_X "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"

static const struct
{
	const char *name;
	DpJwsAlgorithm algorithm;
	const char *text;
}			vectors[] =

{
	{"RFC 7515 A.2, RS256", DP_JWS_RS256, "eyJhbGciOiJSUzI1NiJ9." CLAIMS
	".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
	{"RFC 7515 A.3, ES256", DP_JWS_ES256, "eyJhbGciOiJFUzI1NiJ9." CLAIMS
	".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
	{"RFC 8037 A.4, EdDSA", DP_JWS_EDDSA, "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
	".hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
};

static const struct
{
	const char *name;
	const char *text;
}			refused[] =

{
	{"RFC 7515 A.5 and RFC 7519 6.1, no signature", "eyJhbGciOiJub25lIn0." CLAIMS "."},
	{"none with a signature", "eyJhbGciOiJub25lIn0." CLAIMS ".AAAA"},
	{"RFC 7515 A.1 and RFC 7519 3.1, HMAC", "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." CLAIMS ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"},
	{"nothing", ""},
	{"dots", ".."},
	{"two parts", "eyJhbGciOiJFUzI1NiJ9." CLAIMS},
	{"four parts", "eyJhbGciOiJFUzI1NiJ9." CLAIMS ".AAAA.AAAA"},
	{"padding", "eyJhbGciOiJFUzI1NiJ9==." CLAIMS ".AAAA"},
	{"a space", "eyJhbGciOiJFUzI1NiJ9 ." CLAIMS ".AAAA"},
	{"another spelling of the same bytes", "eyJhbGciOiJFUzI1NiJ9." CLAIMS ".AB"},
	{"an array for a header", "W10." CLAIMS ".AAAA"},
	{"alg twice", "eyJhbGciOiJub25lIiwiYWxnIjoiRVMyNTYifQ." CLAIMS ".AAAA"},
	{"crit", "eyJhbGciOiJFUzI1NiIsImNyaXQiOlsiYjY0Il19." CLAIMS ".AAAA"},
	{"jku", "eyJhbGciOiJFUzI1NiIsImprdSI6Imh0dHBzOi8veCJ9." CLAIMS ".AAAA"},
	{"jwk", "eyJhbGciOiJFUzI1NiIsImp3ayI6e319." CLAIMS ".AAAA"},
};

static uint8_t rsa_n[512];
static uint8_t ec_x[64];
static uint8_t ec_y[64];
static uint8_t okp_x[64];
static const uint8_t rsa_e[] = {1, 0, 1};
static DpJwk keys[4];

static size_t
decoded(const char *text, uint8_t *out, size_t max)
{
	return dp_base64url_decode(text, strlen(text), out, &max) ? max : 0;
}

static void
make_keys(void)
{
	keys[DP_JWS_RS256] = (DpJwk)
	{
		.kty = "RSA",.n = rsa_n,.n_len = decoded(RSA_N, rsa_n, sizeof(rsa_n)),.e = rsa_e,.e_len = sizeof(rsa_e)
	};
	keys[DP_JWS_ES256] = (DpJwk)
	{
		.kty = "EC",.crv = "P-256",.x = ec_x,.x_len = decoded(EC_X, ec_x, sizeof(ec_x)),
			.y = ec_y,.y_len = decoded(EC_Y, ec_y, sizeof(ec_y))
	};
	keys[DP_JWS_EDDSA] = (DpJwk)
	{
		.kty = "OKP",.crv = "Ed25519",.x = okp_x,.x_len = decoded(OKP_X, okp_x, sizeof(okp_x))
	};
}

static void
test_vector(int i)
{
	const char *text = vectors[i].text;
	size_t		text_len = strlen(text);
	char	   *signed_part = strdup(text);
	const char *dot = strrchr(text, '.');
	uint8_t		signature[512];
	uint8_t		key[DP_JWS_KEY_MAX];
	size_t		signature_len = sizeof(signature);
	size_t		key_len;
	size_t		signed_len = (size_t) (dot - text);
	int			changed = 0;

	tap_ok(dp_base64url_decode(dot + 1, text_len - signed_len - 1, signature, &signature_len), "%s: signature", vectors[i].name);
	tap_ok(dp_jws_key(vectors[i].algorithm, &keys[vectors[i].algorithm], key, &key_len), "%s: key", vectors[i].name);
	tap_ok(dp_jws_verify(vectors[i].algorithm, key, key_len, (uint8_t *) text, signed_len, signature, signature_len), "%s", vectors[i].name);
	for (int other = DP_JWS_NONE; other <= DP_JWS_EDDSA; other++)
	{
		uint8_t		other_key[DP_JWS_KEY_MAX];
		size_t		other_len;

		if (other == (int) vectors[i].algorithm)
			continue;
		tap_ok(!dp_jws_verify(other, key, key_len, (uint8_t *) text, signed_len, signature, signature_len) &&
			   !dp_jws_key(other, &keys[vectors[i].algorithm], other_key, &other_len),
			   "%s: the key serves no other algorithm (%d)", vectors[i].name, other);
	}
	for (size_t at = 0; at < signature_len; at++)
	{
		signature[at] ^= 1;
		changed += dp_jws_verify(vectors[i].algorithm, key, key_len, (uint8_t *) text, signed_len, signature, signature_len);
		signature[at] ^= 1;
	}
	signed_part[0] ^= 1;
	changed += dp_jws_verify(vectors[i].algorithm, key, key_len, (uint8_t *) signed_part, signed_len, signature, signature_len);
	changed += dp_jws_verify(vectors[i].algorithm, key, key_len, (uint8_t *) text, signed_len, signature, signature_len - 1);
	changed += dp_jws_verify(vectors[i].algorithm, key, key_len, (uint8_t *) text, signed_len, signature, 0);
	tap_ok(changed == 0, "%s: nothing that was changed passes", vectors[i].name);
	free(signed_part);
}

static void
test_weak_keys(void)
{
	static const uint8_t one[] = {1};
	static const uint8_t even[] = {4};
	uint8_t		key[DP_JWS_KEY_MAX];
	size_t		len;
	DpJwk		jwk = keys[DP_JWS_RS256];

	jwk.e = one;
	jwk.e_len = 1;
	tap_ok(!dp_jws_key(DP_JWS_RS256, &jwk, key, &len), "exponent 1: everything would be its own signature");
	jwk.e = even;
	tap_ok(!dp_jws_key(DP_JWS_RS256, &jwk, key, &len), "an even exponent");
	jwk = keys[DP_JWS_RS256];
	jwk.n_len = 128;
	tap_ok(!dp_jws_key(DP_JWS_RS256, &jwk, key, &len), "a short modulus");
	jwk = keys[DP_JWS_ES256];
	jwk.y = ec_x;
	tap_ok(!dp_jws_key(DP_JWS_ES256, &jwk, key, &len), "a point beside the curve");
	jwk = keys[DP_JWS_ES256];
	jwk.crv = "secp256k1";
	tap_ok(!dp_jws_key(DP_JWS_ES256, &jwk, key, &len), "another curve");
}

int
main(void)
{
	static char room[DP_TOKEN_ROOM];
	static char long_token[DP_TOKEN_MAX + 2];
	DpToken		token;

	make_keys();
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		test_vector((int) i);
	test_weak_keys();
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		tap_ok(dp_token_parse(refused[i].text, strlen(refused[i].text), room, &token) != NULL, "refused: %s", refused[i].name);
	memset(long_token, 'A', sizeof(long_token));
	tap_ok(dp_token_parse(long_token, sizeof(long_token), room, &token) != NULL, "refused: too long");
	tap_ok(dp_token_parse(vectors[1].text, strlen(vectors[1].text), room, &token) == NULL &&
		   strcmp(token.issuer, "joe") == 0 && token.has_expires && token.expires == 1300819380 &&
		   token.subject == NULL && !token.has_not_before && token.n_audience == 0, "the claims of RFC 7519 3.1");
	return tap_done();
}
