/*
 * keys_test.c
 *	  Key ids, wrapped keys, and nonces of real processes that fork.
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/aead.h"
#include "tap.h"

static const uint8_t key[DP_KEY_LEN] = "an ordinary key of thirty-two b";
static const uint8_t wrapping[DP_KEY_LEN] = "a wrapping key, thirty-two bytes";

static void
check_key_id(void)
{
	/* HMAC-SHA-256(32 zero bytes, "dataprotect key id v1" 0x02), by Python's hmac */
	static const uint8_t zeros[DP_KEY_LEN] = {0};
	uint64_t	ids[DP_PURPOSE_POLICY + 1];
	uint64_t	id;
	uint8_t		changed[DP_KEY_LEN];
	bool		distinct = true;
	int			i;
	int			j;

	tap_ok(dp_key_id(zeros, DP_PURPOSE_DATA, &id) && id == UINT64_C(0xe9a5f43bd805fa96),
		   "the id of a known key is the one that Python computes");
	for (i = DP_PURPOSE_EPOCH; i <= DP_PURPOSE_POLICY; i++)
	{
		if (!dp_key_id(key, (DpKeyPurpose) i, &ids[i]) || ids[i] == 0)
			distinct = false;
		for (j = DP_PURPOSE_EPOCH; j < i; j++)
			distinct = distinct && ids[i] != ids[j];
	}
	tap_ok(distinct, "one key has a different id for every purpose");

	memcpy(changed, key, sizeof(key));
	changed[31] ^= 1;
	tap_ok(dp_key_id(changed, DP_PURPOSE_DATA, &id) && id != ids[DP_PURPOSE_DATA],
		   "another key has another id");
}

static void
check_wrap(void)
{
	static const uint8_t context[] = "database, key id, purpose, version";
	uint8_t		wrapped[DP_WRAPPED_LEN];
	uint8_t		again[DP_WRAPPED_LEN];
	uint8_t		longer[DP_WRAPPED_LEN + 1] = {0};
	uint8_t		long_context[DP_WRAP_CONTEXT_MAX + 1] = {0};
	uint8_t		out[DP_KEY_LEN];
	uint8_t		wrong[DP_KEY_LEN];
	bool		good = true;
	size_t		i;

	tap_ok(dp_key_wrap(wrapping, context, sizeof(context), key, wrapped) &&
		   dp_key_unwrap(wrapping, context, sizeof(context), wrapped, DP_WRAPPED_LEN, out) &&
		   memcmp(out, key, DP_KEY_LEN) == 0, "a wrapped key comes back");
	tap_ok(wrapped[0] == 1 && DP_WRAPPED_LEN == 61, "format 1, 61 bytes");
	tap_ok(dp_key_wrap(wrapping, context, sizeof(context), key, again) &&
		   memcmp(again, wrapped, DP_WRAPPED_LEN) != 0, "wrapping twice differs");

	for (i = 0; i < DP_WRAPPED_LEN; i++)
	{
		wrapped[i] ^= 0x40;
		memset(out, 0xee, sizeof(out));
		good = good &&
			!dp_key_unwrap(wrapping, context, sizeof(context), wrapped, DP_WRAPPED_LEN, out) &&
			all_zeros(out, DP_KEY_LEN);
		wrapped[i] ^= 0x40;
	}
	tap_ok(good, "no byte of a wrapped key can be changed; zeros come out");

	for (i = 0, good = true; i < DP_WRAPPED_LEN; i++)
	{
		uint8_t    *copy = malloc(i > 0 ? i : 1);

		if (copy == NULL)
			abort();
		memcpy(copy, wrapped, i);
		memset(out, 0xee, sizeof(out));
		good = good && !dp_key_unwrap(wrapping, context, sizeof(context), copy, i, out) &&
			all_zeros(out, DP_KEY_LEN);
		free(copy);
	}
	memcpy(longer, wrapped, DP_WRAPPED_LEN);
	tap_ok(good && !dp_key_unwrap(wrapping, context, sizeof(context), longer,
								  DP_WRAPPED_LEN + 1, out),
		   "a wrapped key of another length is refused, zeros come out");

	memset(out, 0xee, sizeof(out));
	tap_ok(!dp_key_unwrap(wrapping, context, sizeof(context) - 1, wrapped, DP_WRAPPED_LEN, out) &&
		   all_zeros(out, DP_KEY_LEN) &&
		   !dp_key_unwrap(wrapping, NULL, 0, wrapped, DP_WRAPPED_LEN, out) &&
		   all_zeros(out, DP_KEY_LEN), "another context does not unwrap");
	memcpy(wrong, wrapping, DP_KEY_LEN);
	wrong[0] ^= 1;
	memset(out, 0xee, sizeof(out));
	tap_ok(!dp_key_unwrap(wrong, context, sizeof(context), wrapped, DP_WRAPPED_LEN, out) &&
		   all_zeros(out, DP_KEY_LEN), "another wrapping key does not unwrap");
	tap_ok(dp_key_wrap(wrapping, NULL, 0, key, again) &&
		   dp_key_unwrap(wrapping, NULL, 0, again, DP_WRAPPED_LEN, out) &&
		   memcmp(out, key, DP_KEY_LEN) == 0, "an empty context is a context");
	tap_ok(!dp_key_wrap(wrapping, long_context, sizeof(long_context), key, again) &&
		   all_zeros(again, DP_WRAPPED_LEN) &&
		   dp_key_wrap(wrapping, long_context, sizeof(long_context) - 1, key, again),
		   "a context longer than the limit is refused");
}

static int
by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, DP_NONCE_LEN);
}

/* The parent's buffer is half used when its children are born. */
static void
check_nonces_over_fork(void)
{
	enum
	{
		CHILDREN = 4,
		EACH = 1000
	};
	static uint8_t all[CHILDREN + 1][EACH][DP_NONCE_LEN];
	uint8_t    *flat = &all[0][0][0];
	size_t		i;
	int			child;
	bool		good = true;

	for (i = 0; i < EACH / 2; i++)
		good = good && dp_random_nonce(all[CHILDREN][i]);
	for (child = 0; child < CHILDREN; child++)
	{
		int			ends[2];
		uint8_t    *at = &all[child][0][0];
		size_t		left = sizeof(all[child]);
		ssize_t		got;
		int			status;

		if (pipe(ends) != 0)
			abort();
		if (fork() == 0)
		{
			for (i = 0; i < EACH; i++)
				if (!dp_random_nonce(all[child][i]))
					_exit(1);
			_exit(write(ends[1], at, left) == (ssize_t) left ? 0 : 1);
		}
		close(ends[1]);
		while (left > 0 && (got = read(ends[0], at, left)) > 0)
		{
			at += got;
			left -= (size_t) got;
		}
		close(ends[0]);
		good = good && left == 0 && wait(&status) > 0 && status == 0;
	}
	for (i = EACH / 2; i < EACH; i++)
		good = good && dp_random_nonce(all[CHILDREN][i]);
	tap_ok(good, "parent and children get nonces");

	qsort(flat, (CHILDREN + 1) * EACH, DP_NONCE_LEN, by_bytes);
	for (i = 1; i < (CHILDREN + 1) * EACH; i++)
		if (by_bytes(flat + (i - 1) * DP_NONCE_LEN, flat + i * DP_NONCE_LEN) == 0)
			break;
	tap_ok(i == (CHILDREN + 1) * EACH, "no nonce comes twice in five processes");
}

static void
check_small_things(void)
{
	uint8_t		a[64] = {0};
	uint8_t		b[64] = {0};

	tap_ok(dp_equal_ct(a, b, 64) && dp_equal_ct(a, b, 0), "equal is equal");
	b[63] = 0x80;
	tap_ok(!dp_equal_ct(a, b, 64) && dp_equal_ct(a, b, 63), "the last bit counts");
	tap_ok(dp_random_key(a, 32) && dp_random_key(b, 32) && memcmp(a, b, 32) != 0 &&
		   all_zeros(a + 32, 32), "random keys differ and stay within their length");
	dp_aead_free(NULL);
	dp_prf_free(NULL);
}

int
main(void)
{
	check_key_id();
	check_wrap();
	check_nonces_over_fork();
	check_small_things();
	return tap_done();
}
