/*
 * crypto_bench.c
 *	  What opening a value costs over the bare OpenSSL calls on the same bytes.
 *
 * Bare: a fetched cipher, a keyed context that is used again, the same AAD in
 * one piece; per value the nonce, one update each, the tag, the final step.
 * Prints medians of interleaved rounds, so that a busy machine slows both.
 *
 * Usage: crypto_bench [max_ratio]; exits with 1 where a short value's ratio is
 * above max_ratio.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "crypto/envelope.h"

#define TYPE_CODE	25
#define ROUNDS		41
#define CALLS		20000
#define VALUE_MAX	4096

static const uint8_t bench_key[DP_KEY_LEN] = {1, 2, 3};
static const uint8_t token[DP_TOKEN_LEN] = {9};
static uint8_t envelope[VALUE_MAX + DP_ENV_OVERHEAD + DP_TOKEN_LEN];
static uint8_t value[VALUE_MAX];
static uint8_t opened[VALUE_MAX];
static size_t envelope_len;
static EVP_CIPHER_CTX *bare;
static DpAead *aead;
static DpPrf *prf;

static void
must(bool ok)
{
	if (!ok)
	{
		fprintf(stderr, "a crypto call failed\n");
		exit(2);
	}
}

static double
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

static void
open_bare(void)
{
	static uint8_t aad[DP_ENV_HEADER_LEN + DP_TOKEN_LEN + 4];
	static DpEnvelope env;
	static int	aad_len;
	int			n;

	if (env.header == NULL || env.tag != envelope + envelope_len - DP_TAG_LEN)
	{
		must(dp_envelope_parse(envelope, envelope_len, &env));
		memset(aad, 0, sizeof(aad));
		memcpy(aad, env.header, DP_ENV_HEADER_LEN);
		aad_len = DP_ENV_HEADER_LEN;
		if (env.token != NULL)
		{
			memcpy(aad + aad_len, env.token, DP_TOKEN_LEN);
			aad_len += DP_TOKEN_LEN;
		}
		aad_len += 4;
		aad[aad_len - 1] = TYPE_CODE;
	}
	must(EVP_DecryptInit_ex(bare, NULL, NULL, NULL, env.nonce) == 1);
	must(EVP_DecryptUpdate(bare, NULL, &n, aad, aad_len) == 1);
	must(EVP_DecryptUpdate(bare, opened, &n, env.ciphertext, (int) env.ciphertext_len) == 1);
	must(EVP_CIPHER_CTX_ctrl(bare, EVP_CTRL_AEAD_SET_TAG, DP_TAG_LEN, (void *) env.tag) == 1);
	must(EVP_DecryptFinal_ex(bare, opened, &n) == 1);
}

static void
open_ours(void)
{
	DpEnvelope	env;

	must(dp_envelope_parse(envelope, envelope_len, &env));
	must(dp_envelope_open(aead, &env, TYPE_CODE, opened));
}

static void
seal_ours(void)
{
	static uint8_t out[sizeof(envelope)];

	must(dp_envelope_seal(aead, 1, DP_ENV_TOKEN, TYPE_CODE, token, value,
						  16, out));
}

static void
hash_ours(void)
{
	uint8_t		out[DP_PRF_OUT_LEN];

	must(dp_prf(prf, DP_PRF_HASH, value, 16, out));
}

static void
nonce_ours(void)
{
	uint8_t		out[DP_NONCE_LEN];

	must(dp_random_nonce(out));
}

static void
key_change(void)
{
	must(dp_aead_rekey(aead, bench_key));
}

static int
by_value(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x > y) - (x < y);
}

static double
measure_once(void (*work) (void))
{
	double		start = now_ns();
	int			i;

	for (i = 0; i < CALLS; i++)
		work();
	return (now_ns() - start) / CALLS;
}

/* Median nanoseconds of a and b, measured in turns. */
static void
measure(void (*a) (void), void (*b) (void), double *out_a, double *out_b)
{
	double		as[ROUNDS];
	double		bs[ROUNDS];
	int			i;

	for (i = 0; i < ROUNDS; i++)
	{
		as[i] = measure_once(a);
		bs[i] = measure_once(b);
	}
	qsort(as, ROUNDS, sizeof(double), by_value);
	qsort(bs, ROUNDS, sizeof(double), by_value);
	*out_a = as[ROUNDS / 2];
	*out_b = bs[ROUNDS / 2];
}

static double
bench_open(size_t len, bool with_token)
{
	uint8_t		flags = with_token ? DP_ENV_TOKEN : 0;
	double		bare_ns;
	double		ours_ns;

	envelope_len = dp_envelope_size(len, flags);
	must(dp_envelope_seal(aead, 1, flags, TYPE_CODE, with_token ? token : NULL,
						  value, len, envelope));
	measure(open_bare, open_ours, &bare_ns, &ours_ns);
	printf("open, %4zu bytes%s: bare %4.0f ns, ours %4.0f ns, ratio %.2f\n",
		   len, with_token ? ", token" : "       ", bare_ns, ours_ns, ours_ns / bare_ns);
	return ours_ns / bare_ns;
}

int
main(int argc, char **argv)
{
	double		limit = argc > 1 ? atof(argv[1]) : 0;
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	double		worst;
	double		a;
	double		b;

	bare = EVP_CIPHER_CTX_new();
	must(bare != NULL && EVP_DecryptInit_ex(bare, cipher, NULL, bench_key, NULL) == 1);
	aead = dp_aead_new(bench_key);
	prf = dp_prf_new(bench_key);
	must(aead != NULL && prf != NULL);

	worst = bench_open(16, false);
	a = bench_open(16, true);
	worst = a > worst ? a : worst;
	bench_open(256, false);
	bench_open(VALUE_MAX, false);

	measure(seal_ours, hash_ours, &a, &b);
	printf("seal, 16 bytes, token: %.0f ns; prf, 16 bytes: %.0f ns\n", a, b);
	measure(nonce_ours, key_change, &a, &b);
	printf("nonce: %.0f ns; rekey: %.0f ns\n", a, b);

	dp_aead_free(aead);
	dp_prf_free(prf);
	EVP_CIPHER_CTX_free(bare);
	EVP_CIPHER_free(cipher);
	return limit > 0 && worst > limit;
}
