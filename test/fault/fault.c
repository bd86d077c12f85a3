/*
 * fault.c
 *	  Makes the n-th allocation of one process fail.
 *
 * Preloaded into a server.  $DP_FAULT_FILE names a file that every process maps
 * and the test writes: whose turn it is, and how many allocations are left to it.
 * It falls to 0 at the one that fails; those after it succeed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct Control
{
	volatile long pid;			/* 0: nobody's turn */
	volatile long left;
} Control;

/* What glibc's own functions are called beside their replaceable names. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static Control *control = NULL;

__attribute__((constructor))
static void
map_control(void)
{
	const char *path = getenv("DP_FAULT_FILE");
	int			fd = path != NULL ? open(path, O_RDWR) : -1;
	void	   *map;

	if (fd < 0)
		return;
	map = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		control = map;
}

static int
fails(void)
{
	if (control == NULL || control->pid == 0 || control->pid != getpid() || control->left <= 0)
		return 0;
	if (--control->left > 0)
		return 0;
	errno = ENOMEM;
	return 1;
}

void *
malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

void *
realloc(void *old, size_t size)
{
	return fails() ? NULL : __libc_realloc(old, size);
}
