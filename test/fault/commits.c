/*
 * commits.c
 *	  Kills the process that makes the n-th commit, before or after its record is
 *	  written.
 *
 * Preloaded into a server, after the extension.  $DP_COMMITS_FILE names a file that
 * every process maps and the test writes.  A transaction counts once it has an id.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "control.h"
#include "fmgr.h"
#include "port/atomics.h"

PG_MODULE_MAGIC;

typedef struct Control
{
	pg_atomic_uint32 left;		/* commits to go; 0: nobody dies */
	uint32		after;			/* it dies after its commit, else before */
	pg_atomic_uint32 killed;	/* who died so far */
} Control;

extern void _PG_init(void);

static Control *control = NULL;
static bool counts = false;

static void
at_xact_end(XactEvent event, void *arg)
{
	uint32		left;

	if (event == XACT_EVENT_PRE_COMMIT)
		counts = TransactionIdIsValid(GetTopTransactionIdIfAny());
	if (!counts || event != (control->after ? XACT_EVENT_COMMIT : XACT_EVENT_PRE_COMMIT))
		return;
	left = pg_atomic_read_u32(&control->left);
	while (left > 0)
	{
		if (!pg_atomic_compare_exchange_u32(&control->left, &left, left - 1))
			continue;
		if (left == 1)
		{
			pg_atomic_fetch_add_u32(&control->killed, 1);
			kill(getpid(), SIGKILL);
		}
		return;
	}
}

void
_PG_init(void)
{
	control = map_control_file("DP_COMMITS_FILE", sizeof(Control));
	if (control == NULL)
		return;
	RegisterXactCallback(at_xact_end, NULL);
}
