/*
 * secret.c
 *	  Pool of buffers for secret bytes; see secret.h.
 *
 * Every buffer carries a header.  Buffers in use hang on one list, newest
 * first, each with the subtransaction that acquired it: when a subtransaction
 * aborts, its buffers are wiped; when it commits, they become its parent's; at
 * the end of the transaction nothing may be left.  Buffers not in use lie, wiped,
 * on a free list for their size, so that the usual pair of acquire and release
 * is a few list operations and a memset of the bytes that were asked for.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/secret.h"
#include "lib/ilist.h"
#include "utils/memutils.h"

/* Size classes: 64 bytes << class; larger buffers are not kept. */
#define CLASS_MIN_SIZE		64
#define CLASS_COUNT			8	/* up to 8 kB */
#define CLASS_NONE			CLASS_COUNT
#define CLASS_KEEP			16	/* free buffers kept per class */

typedef struct SecretHeader
{
	dlist_node	node;			/* on live, or on a free list */
	Size		len;			/* bytes that the caller may have written */
	SubTransactionId subid;
	int			size_class;
	bool		in_use;
} SecretHeader;

#define HEADER_SIZE		MAXALIGN(sizeof(SecretHeader))
#define SECRET_BYTES(h)	((char *) (h) + HEADER_SIZE)
#define SECRET_HEADER(p) ((SecretHeader *) ((char *) (p) - HEADER_SIZE))

static MemoryContext secret_context = NULL;
static dlist_head live = DLIST_STATIC_INIT(live);
static dlist_head free_lists[CLASS_COUNT];
static int	free_counts[CLASS_COUNT];

static int
class_for(Size len)
{
	int			size_class = 0;

	while (size_class < CLASS_COUNT && len > ((Size) CLASS_MIN_SIZE << size_class))
		size_class++;
	return size_class;
}

static SecretHeader *
allocate(Size len, int size_class)
{
	Size		size = size_class == CLASS_NONE ? len : (Size) CLASS_MIN_SIZE << size_class;
	SecretHeader *header = NULL;

	if (secret_context == NULL)
		secret_context = AllocSetContextCreate(TopMemoryContext, "dataprotect secrets",
											   ALLOCSET_DEFAULT_SIZES);
	if (size <= MaxAllocHugeSize - HEADER_SIZE)
		header = MemoryContextAllocExtended(secret_context, HEADER_SIZE + size,
											MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
	if (header == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	header->size_class = size_class;
	return header;
}

void *
dp_secret_acquire(Size len)
{
	int			size_class = class_for(len);
	SecretHeader *header;

	if (size_class != CLASS_NONE && free_counts[size_class] > 0)
	{
		header = dlist_container(SecretHeader, node,
								 dlist_pop_head_node(&free_lists[size_class]));
		free_counts[size_class]--;
	}
	else
		header = allocate(len, size_class);

	header->len = len;
	header->subid = GetCurrentSubTransactionId();
	header->in_use = true;
	dlist_push_head(&live, &header->node);
	return SECRET_BYTES(header);
}

void
dp_secret_release(void *buf)
{
	SecretHeader *header;

	if (buf == NULL)
		return;
	header = SECRET_HEADER(buf);
	Assert(header->in_use);

	explicit_bzero(buf, header->len);
	header->in_use = false;
	dlist_delete(&header->node);
	if (header->size_class == CLASS_NONE || free_counts[header->size_class] >= CLASS_KEEP)
		pfree(header);
	else
	{
		dlist_push_head(&free_lists[header->size_class], &header->node);
		free_counts[header->size_class]++;
	}
}

void
dp_secret_wipe(void *buf, Size len)
{
	explicit_bzero(buf, len);
}

/* Buffers of a subtransaction become its parent's or, where that is 0, are wiped. */
static void
leave_subxact(SubTransactionId subid, SubTransactionId heir)
{
	dlist_mutable_iter it;

	dlist_foreach_modify(it, &live)
	{
		SecretHeader *header = dlist_container(SecretHeader, node, it.cur);

		if (header->subid != subid)
			continue;
		if (heir != InvalidSubTransactionId)
			header->subid = heir;
		else
			dp_secret_release(SECRET_BYTES(header));
	}
}

static void
end_subxact(SubXactEvent event, SubTransactionId subid, SubTransactionId parent_subid, void *arg)
{
	switch (event)
	{
		case SUBXACT_EVENT_COMMIT_SUB:
			leave_subxact(subid, parent_subid);
			break;
		case SUBXACT_EVENT_ABORT_SUB:
			leave_subxact(subid, InvalidSubTransactionId);
			break;
		case SUBXACT_EVENT_START_SUB:
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
			break;
	}
}

static int
release_all(void)
{
	int			released = 0;

	while (!dlist_is_empty(&live))
	{
		dp_secret_release(SECRET_BYTES(dlist_head_element(SecretHeader, node, &live)));
		released++;
	}
	return released;
}

static void
end_xact(XactEvent event, void *arg)
{
	int			leaked;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PREPARE:
			leaked = release_all();
			if (leaked > 0)
				elog(WARNING, "secret buffer leak: %d buffers were still in use", leaked);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
			/* as for other resources: an error explains what is left */
			(void) release_all();
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

void
dp_secret_init(void)
{
	int			i;

	for (i = 0; i < CLASS_COUNT; i++)
		dlist_init(&free_lists[i]);
	RegisterXactCallback(end_xact, NULL);
	RegisterSubXactCallback(end_subxact, NULL);
}
