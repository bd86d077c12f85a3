/*
 * fuzz.h
 *	  What a fuzz target consists of.
 *
 * A target is one file NAME_fuzz.c with the entry point that libFuzzer calls.
 * It states properties by must(); a sanitizer finds the rest.  The input is
 * somebody else's memory of exactly size bytes: copy what is to be changed.
 */
#ifndef DP_TEST_FUZZ_H
#define DP_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property that was broken ends the process, so that the input is kept. */
#define must(property) \
	do { \
		if (!(property)) \
		{ \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #property); \
			abort(); \
		} \
	} while (0)

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

/* Memory of exactly len bytes, so that a sanitizer sees one byte too many. */
static inline uint8_t *
exact(size_t len)
{
	uint8_t    *memory = malloc(len > 0 ? len : 1);

	must(memory != NULL);
	return memory;
}

#endif							/* DP_TEST_FUZZ_H */
