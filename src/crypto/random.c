/*
 * random.c
 *	  Random keys and nonces.
 *
 * Twelve bytes from RAND_bytes() cost more than sealing a short value, so
 * nonces are cut from a buffer that is filled at once.  Two processes must never
 * cut from the same buffer:
 *
 *	- fork: a handler in the child empties the buffer.  Without that handler
 *	  there is no buffer, only an error;
 *	- a virtual machine that is resumed twice from one memory snapshot: no
 *	  handler runs, so each nonce is also XORed with the clock.  The sum of
 *	  uniform bytes and anything independent of them is uniform, hence this is
 *	  still the random 96-bit IV of NIST SP 800-38D, section 8.2.2.
 */
#include "crypto/aead.h"

#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rand.h>

#define NONCES_PER_FILL 341		/* 4 KB */

static uint8_t nonces[NONCES_PER_FILL * DP_NONCE_LEN];
static unsigned int nonces_left = 0;
static bool fork_handled = false;

bool
dp_random_key(uint8_t *out, size_t len)
{
	if (len <= INT_MAX && RAND_priv_bytes(out, (int) len) == 1)
		return true;
	OPENSSL_cleanse(out, len);
	ERR_clear_error();
	return false;
}

static void
forget_nonces(void)
{
	nonces_left = 0;
}

static bool
fill_nonces(void)
{
	if (!fork_handled)
	{
		if (pthread_atfork(NULL, NULL, forget_nonces) != 0)
			return false;
		fork_handled = true;
	}
	if (RAND_bytes(nonces, sizeof(nonces)) != 1)
	{
		ERR_clear_error();
		return false;
	}
	nonces_left = NONCES_PER_FILL;
	return true;
}

bool
dp_random_nonce(uint8_t out[DP_NONCE_LEN])
{
	struct timespec now;
	uint64_t	salt;
	uint8_t		bytes[sizeof(salt)];
	size_t		i;

	if ((nonces_left == 0 && !fill_nonces()) ||
		clock_gettime(CLOCK_REALTIME, &now) != 0)
	{
		memset(out, 0, DP_NONCE_LEN);
		return false;
	}
	nonces_left--;
	memcpy(out, nonces + nonces_left * DP_NONCE_LEN, DP_NONCE_LEN);

	salt = (uint64_t) now.tv_sec * UINT64_C(1000000000) + (uint64_t) now.tv_nsec;
	memcpy(bytes, &salt, sizeof(salt));
	for (i = 0; i < sizeof(bytes); i++)
		out[i] ^= bytes[i];
	return true;
}
