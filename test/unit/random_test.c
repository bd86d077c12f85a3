/*
 * random_test.c
 *	  Nonces with OpenSSL's random generator and the clock replaced.
 *
 * The program's own RAND_bytes(), RAND_priv_bytes() and clock_gettime() take the
 * place of the libraries', so that failures, forks and memory that was copied
 * can be staged.
 */
#include <openssl/rand.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crypto/aead.h"
#include "tap.h"

static bool random_works = true;
static bool clock_works = true;
static int	fills = 0;
static long clock_ns = 1;
static uint8_t given[8192];		/* what RAND_bytes() gave last */
static bool always_same = false;

int
RAND_bytes(unsigned char *buf, int num)
{
	int			i;

	fills++;
	for (i = 0; i < num && i < (int) sizeof(given); i++)
		given[i] = buf[i] = always_same ? 0x5a : (uint8_t) rand();
	return random_works ? 1 : 0;
}

int
RAND_priv_bytes(unsigned char *buf, int num)
{
	memset(buf, 0x5a, (size_t) num);
	return random_works ? 1 : -1;
}

int
clock_gettime(clockid_t which, struct timespec *now)
{
	(void) which;
	now->tv_sec = 0;
	now->tv_nsec = clock_ns;
	return clock_works ? 0 : -1;
}

/* Every nonce is a piece of its own of what RAND_bytes() gave. */
static void
check_pieces(void)
{
	enum
	{
		PIECES = 341
	};
	bool		used[PIECES] = {false};
	uint8_t		nonce[DP_NONCE_LEN];
	int			i;
	int			piece;

	/* use up the buffer that is there, and stop the clock at zero: XOR of nothing */
	fills = 0;
	clock_ns = 0;
	for (i = 0; fills == 0; i++)
		if (!dp_random_nonce(nonce) || i > PIECES)
			break;
	for (i = 0; i < PIECES && fills == 1; i++)
	{
		for (piece = 0; piece < PIECES; piece++)
			if (!used[piece] && memcmp(nonce, given + piece * DP_NONCE_LEN, DP_NONCE_LEN) == 0)
				break;
		if (piece == PIECES)
			break;
		used[piece] = true;
		if (!dp_random_nonce(nonce))
			break;
	}
	tap_ok(i == PIECES && fills == 2, "341 nonces are 341 pieces of one fill, each used once");
	clock_ns = 1;
}

int
main(void)
{
	uint8_t		a[DP_NONCE_LEN];
	uint8_t		b[DP_NONCE_LEN];
	uint8_t		random_key[DP_KEY_LEN];
	int			status = 1;
	int			i;

	random_works = false;
	memset(a, 0xee, sizeof(a));
	tap_ok(!dp_random_nonce(a) && all_zeros(a, sizeof(a)),
		   "no nonce without random bytes");
	tap_ok(!dp_random_nonce(a), "nor at the second try: a failed fill leaves nothing behind");
	tap_ok(!dp_random_key(random_key, sizeof(random_key)) &&
		   all_zeros(random_key, sizeof(random_key)), "no key without random bytes");
	random_works = true;
	clock_works = false;
	tap_ok(!dp_random_nonce(a) && all_zeros(a, sizeof(a)), "no nonce without a clock");
	clock_works = true;

	check_pieces();
	always_same = true;
	for (i = 0; i < 341; i++)
		if (!dp_random_nonce(a))
			break;
	clock_ns = 1000;
	status = dp_random_nonce(a);
	clock_ns = 1001;
	tap_ok(status && dp_random_nonce(b) && memcmp(a, b, sizeof(a)) != 0,
		   "the same random bytes at another time give another nonce (memory restored twice)");

	fflush(stdout);
	if (fork() == 0)
	{
		fills = 0;
		_exit(dp_random_nonce(a) && fills == 1 ? 0 : 1);
	}
	tap_ok(wait(&status) > 0 && status == 0, "a child does not cut from its parent's buffer");
	fills = 0;
	tap_ok(dp_random_nonce(a) && fills == 0, "the parent goes on with its own");
	return tap_done();
}
