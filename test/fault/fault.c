/*
 * fault.c
 *	  Makes the n-th allocation of one process fail, or has its statement cancelled
 *	  at the next place that looks for interrupts.
 *
 * Preloaded into a server.  $DP_FAULT_FILE names a file that every process maps
 * and the test writes: whose turn it is, how many allocations are left to it, and
 * what happens then.  It falls to 0 at the one that fails; those after it succeed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>

#include "control.h"

typedef struct Control
{
	volatile long pid;			/* 0: nobody's turn */
	volatile long left;
	volatile long cancel;		/* a cancel: the allocation succeeds, as does a release, which counts as well */
} Control;

/* What glibc's own functions are called beside their replaceable names. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void __libc_free(void *old);

static Control *control = NULL;
static volatile sig_atomic_t *interrupt_pending = NULL; /* PostgreSQL's own */
static volatile sig_atomic_t *cancel_pending = NULL;

__attribute__((constructor))
static void
map_control(void)
{
	void	   *map = map_control_file("DP_FAULT_FILE", sizeof(Control));

	if (map == NULL)
		return;
	interrupt_pending = dlsym(RTLD_DEFAULT, "InterruptPending");
	cancel_pending = dlsym(RTLD_DEFAULT, "QueryCancelPending");
	control = map;
}

static int
is_due(void)
{
	if (control == NULL || control->pid == 0 || control->pid != getpid() || control->left <= 0)
		return 0;
	return --control->left == 0;
}

static void
cancel(void)
{
	if (interrupt_pending == NULL || cancel_pending == NULL)
		return;
	*cancel_pending = 1;
	*interrupt_pending = 1;
}

static int
fails(void)
{
	if (!is_due())
		return 0;
	if (control->cancel)
	{
		cancel();
		return 0;
	}
	errno = ENOMEM;
	return 1;
}

void
free(void *old)
{
	if (control != NULL && control->cancel && is_due())
		cancel();
	__libc_free(old);
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
