/*
 * asan_first.c
 *	  Starts AddressSanitizer before any library's constructor runs.
 *
 * Preloaded after libasan into programs that were not built with it.  There,
 * the first malloc() starts the sanitizer; where that malloc is in another
 * library's constructor, inside a lock of the C library, the lock stays in
 * disorder and the program hangs at its next use (libgpg-error and p11-kit do
 * so, and PostgreSQL's programs load them).  Linked with -z initfirst.
 */
#include <stdlib.h>

static void *volatile first;

__attribute__((constructor))
static void
start_sanitizer(void)
{
	first = malloc(1);
	free(first);
}
