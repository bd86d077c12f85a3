/*
 * count_opens.c
 *	  Counts, over all processes of a server, how often OpenSSL finished opening
 *	  something.
 *
 * Preloaded into a server of a test: the count is the first eight bytes of the
 * file that DP_COUNT_FILE names, which every process maps.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef int (*FinishOpening) (void *context, unsigned char *out, int *out_len);
typedef int (*FinishShort) (void *context, const unsigned char *tag, size_t len);

static FinishOpening next;
static FinishShort next_short;
static _Atomic unsigned long *count;

__attribute__((constructor))
static void
map_count(void)
{
	const char *name = getenv("DP_COUNT_FILE");
	int			fd = name != NULL ? open(name, O_RDWR) : -1;

	next = (FinishOpening) dlsym(RTLD_NEXT, "EVP_DecryptFinal_ex");
	next_short = (FinishShort) dlsym(RTLD_NEXT, "CRYPTO_gcm128_finish");
	if (fd < 0)
		return;
	count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (count == MAP_FAILED)
		count = NULL;
	close(fd);
}

static _Thread_local bool within = false;	/* EVP's own way to the function below */

int
EVP_DecryptFinal_ex(void *context, unsigned char *out, int *out_len)
{
	int			result;

	if (count != NULL)
		atomic_fetch_add(count, 1);
	if (next == NULL)
		next = (FinishOpening) dlsym(RTLD_NEXT, "EVP_DecryptFinal_ex");
	within = true;
	result = next != NULL ? next(context, out, out_len) : 0;
	within = false;
	return result;
}

/* Of short messages; without a tag it is a seal that ends. */
int
CRYPTO_gcm128_finish(void *context, const unsigned char *tag, size_t len)
{
	if (count != NULL && tag != NULL && !within)
		atomic_fetch_add(count, 1);
	if (next_short == NULL)
		next_short = (FinishShort) dlsym(RTLD_NEXT, "CRYPTO_gcm128_finish");
	return next_short != NULL ? next_short(context, tag, len) : -1;
}
