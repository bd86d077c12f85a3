/*
 * tap.h
 *	  The little of the Test Anything Protocol that these programs need.
 *
 * Included once by each test program.  main() ends with "return tap_done();".
 */
#ifndef DP_TEST_TAP_H
#define DP_TEST_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int	tap_run = 0;
static int	tap_failed = 0;

/* One test; the name says what would be broken if it failed. */
__attribute__((format(printf, 2, 3)))
static void
tap_ok(bool good, const char *name,...)
{
	va_list		args;

	printf("%sok %d - ", good ? "" : "not ", ++tap_run);
	va_start(args, name);
	vprintf(name, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	if (!good)
		tap_failed++;
}

/* The plan, and the exit code. */
static int
tap_done(void)
{
	printf("1..%d\n", tap_run);
	return tap_run == 0 || tap_failed > 0;
}

static inline bool
all_zeros(const uint8_t *bytes, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (bytes[i] != 0)
			return false;
	}
	return true;
}

/* Hexadecimal digits into out, at most max bytes; the number of bytes. */
static inline size_t
from_hex(const char *hex, uint8_t *out, size_t max)
{
	size_t		len;
	unsigned int byte;

	for (len = 0; len < max && sscanf(hex + 2 * len, "%2x", &byte) == 1; len++)
		out[len] = (uint8_t) byte;
	return len;
}

#endif							/* DP_TEST_TAP_H */
