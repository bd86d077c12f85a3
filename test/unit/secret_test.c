/*
 * secret_test.c
 *	  The pool of secret buffers, without a server.
 *
 * src/base/secret.c is compiled against PostgreSQL's headers and linked with the
 * few server functions below, which look into memory at the moment it is given
 * back: there is no other way to see that it was wiped.
 */
#include "postgres.h"

#include <setjmp.h>

#include "access/xact.h"
#include "base/secret.h"
#include "utils/memutils.h"

/* PostgreSQL's printf family is not linked here */
#undef printf
#undef vprintf
#undef snprintf
#undef fprintf
#include "tap.h"

#define DIRTY 0xc5

static SubTransactionId current_subid = 1;
static XactCallback xact_callback;
static SubXactCallback subxact_callback;
static sigjmp_buf on_error;
static bool memory_left = true;
static int	last_sqlstate = 0;
static int	warnings = 0;
static int	error_level;

/* Blocks handed out by the server's allocator, and dirty bytes found at pfree. */
static int	blocks = 0;
static int	dirty_frees = 0;

MemoryContext TopMemoryContext = NULL;

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name,
							  Size min, Size initial, Size max)
{
	static MemoryContextData context;

	return &context;
}

void *
MemoryContextAllocExtended(MemoryContext context, Size size, int flags)
{
	Size	   *block = memory_left && size < 1 << 30 ? malloc(16 + size) : NULL;

	if (block == NULL)
		return NULL;
	blocks++;
	block[0] = size;
	memset((char *) block + 16, 0, size);
	return (char *) block + 16;
}

void
pfree(void *pointer)
{
	Size	   *block = (Size *) ((char *) pointer - 16);
	Size		run = 0;
	Size		i;

	/* one such byte may belong to a pointer of the pool's own */
	for (i = 0; i < block[0]; i++)
	{
		run = ((uint8 *) pointer)[i] == DIRTY ? run + 1 : 0;
		if (run >= sizeof(void *))
			dirty_frees++;
	}
	blocks--;
	free(block);
}

SubTransactionId
GetCurrentSubTransactionId(void)
{
	return current_subid;
}

void
RegisterXactCallback(XactCallback callback, void *arg)
{
	xact_callback = callback;
}

void
RegisterSubXactCallback(SubXactCallback callback, void *arg)
{
	subxact_callback = callback;
}

bool
errstart(int elevel, const char *domain)
{
	error_level = elevel;
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

int
errcode(int sqlerrcode)
{
	last_sqlstate = sqlerrcode;
	return 0;
}

int
errmsg(const char *fmt,...)
{
	return 0;
}

int
errmsg_internal(const char *fmt,...)
{
	return 0;
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	if (error_level >= ERROR)
		siglongjmp(on_error, 1);
	warnings++;
}

static uint8 *
acquire_dirty(Size len)
{
	uint8	   *buf = dp_secret_acquire(len);

	memset(buf, DIRTY, len);
	return buf;
}

static void
check_release(void)
{
	Size		lens[] = {0, 1, 63, 64, 65, 1000, 8192, 8193, 100000};
	bool		good = true;
	int			i;
	uint8	   *first;
	uint8	   *second;

	for (i = 0; i < lengthof(lens); i++)
	{
		uint8	   *buf = acquire_dirty(lens[i]);

		good = good && (uintptr_t) buf % MAXIMUM_ALIGNOF == 0;
		dp_secret_release(buf);
	}
	tap_ok(good, "buffers of any length are aligned and as long as asked for");
	dp_secret_release(NULL);

	first = acquire_dirty(40);
	dp_secret_release(first);
	second = dp_secret_acquire(50);
	tap_ok(first == second, "a released buffer is used again");
	tap_ok(all_zeros(second, 50), "and nothing of its last content is in it");
	dp_secret_release(second);
	tap_ok(dirty_frees == 0, "large buffers are wiped before their memory goes back");
}

static void
check_many(void)
{
	uint8	   *bufs[100];
	int			i;
	int			before = blocks;

	for (i = 0; i < 100; i++)
		bufs[i] = acquire_dirty(100);
	for (i = 0; i < 100; i += 2)
		dp_secret_release(bufs[i]);
	for (i = 1; i < 100; i += 2)
		dp_secret_release(bufs[i]);
	tap_ok(blocks <= before + 16, "a burst does not stay in memory for ever");
	tap_ok(dirty_frees == 0, "what a burst gives back is wiped");
}

static void
check_subtransactions(void)
{
	uint8	   *outer = acquire_dirty(100);
	uint8	   *inner;
	uint8	   *innermost;

	current_subid = 2;
	inner = acquire_dirty(200);
	current_subid = 3;
	innermost = acquire_dirty(400);
	subxact_callback(SUBXACT_EVENT_ABORT_SUB, 3, 2, NULL);
	tap_ok(all_zeros(innermost, 400), "a subtransaction's abort wipes its buffers");
	tap_ok(inner[0] == DIRTY && outer[0] == DIRTY, "and leaves those of its parents");

	current_subid = 4;
	innermost = acquire_dirty(400);
	subxact_callback(SUBXACT_EVENT_PRE_COMMIT_SUB, 4, 2, NULL);
	subxact_callback(SUBXACT_EVENT_COMMIT_SUB, 4, 2, NULL);
	tap_ok(innermost[0] == DIRTY, "a subtransaction's commit keeps its buffers");
	subxact_callback(SUBXACT_EVENT_ABORT_SUB, 2, 1, NULL);
	tap_ok(all_zeros(innermost, 400) && all_zeros(inner, 200) && outer[0] == DIRTY,
		   "until its parent aborts");
	current_subid = 1;
	dp_secret_release(outer);
}

static void
check_transactions(void)
{
	uint8	   *buf = acquire_dirty(300);

	warnings = 0;
	xact_callback(XACT_EVENT_PRE_COMMIT, NULL);
	tap_ok(buf[0] == DIRTY, "buffers live until the transaction has ended");
	xact_callback(XACT_EVENT_ABORT, NULL);
	tap_ok(all_zeros(buf, 300) && warnings == 0, "an abort wipes in silence");

	buf = acquire_dirty(300);
	xact_callback(XACT_EVENT_PARALLEL_ABORT, NULL);
	tap_ok(all_zeros(buf, 300) && warnings == 0, "so does a parallel worker's");

	buf = acquire_dirty(300);
	xact_callback(XACT_EVENT_COMMIT, NULL);
	tap_ok(all_zeros(buf, 300) && warnings == 1, "a commit wipes and warns of the leak");
	buf = acquire_dirty(100000);
	xact_callback(XACT_EVENT_PREPARE, NULL);
	tap_ok(dirty_frees == 0 && warnings == 2, "so does PREPARE TRANSACTION");
	xact_callback(XACT_EVENT_COMMIT, NULL);
	tap_ok(warnings == 2, "nothing is left, nothing is said");
}

static void
check_out_of_memory(void)
{
	Size		lens[] = {3000, MaxAllocHugeSize, SIZE_MAX};
	volatile int i;
	uint8	   *buf;

	for (i = 0; i < lengthof(lens); i++)
	{
		volatile bool raised = false;

		memory_left = i > 0;
		last_sqlstate = 0;
		if (sigsetjmp(on_error, 0) == 0)
			dp_secret_acquire(lens[i]);
		else
			raised = true;
		tap_ok(raised && last_sqlstate == ERRCODE_OUT_OF_MEMORY,
			   "length %zu raises out_of_memory", lens[i]);
	}
	memory_left = true;
	buf = acquire_dirty(3000);
	dp_secret_release(buf);
	tap_ok(all_zeros(buf, 3000), "and the pool works after it");
	buf[0] = DIRTY;
	dp_secret_wipe(buf, 1);
	tap_ok(buf[0] == 0, "wiping in place");
}

int
main(void)
{
	dp_secret_init();
	check_release();
	check_many();
	check_subtransactions();
	check_transactions();
	check_out_of_memory();
	return tap_done();
}
