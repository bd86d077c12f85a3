/*
 * taken_cursor.c
 *	  Cursors whose names code of others takes over; see taken_cursor.h.
 *
 * There is no hook on cursors, but a query of one is started while its portal is being
 * made, and the portal's memory is freed when it is closed.  What a query returns that
 * changes rows, and a command, are started later: such a cursor is not noted as one's own,
 * but refused like the others where its name was taken.
 */
#include "postgres.h"

#include "access/taken_cursor.h"
#include "access/xact.h"
#include "base/statement.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/portal.h"

/* So many names; one more, and all are taken. */
#define MAX_TAKEN	32

typedef struct NotedCursor
{
	char		name[NAMEDATALEN];
	MemoryContextCallback closed;
} NotedCursor;

static char taken[MAX_TAKEN][NAMEDATALEN];
static int	n_taken = 0;		/* MAX_TAKEN + 1: all */

/* Is a function running that is somebody else's than those as whom it and its callees run? */
static bool
stranger_runs(void)
{
	Oid			role;

	if (likely(dp_n_strangers == 0))
		return false;
	role = GetUserId();
	for (int i = 0; i < dp_n_strangers; i++)
	{
		if (dp_strangers[i].owner != role && dp_strangers[i].owner != dp_strangers[i].role)
			return true;
	}
	return false;
}

static int
find_taken(const char *name)
{
	for (int i = 0; i < Min(n_taken, MAX_TAKEN); i++)
	{
		if (strcmp(taken[i], name) == 0)
			return i;
	}
	return -1;
}

/* The memory of a portal is freed: nothing here allocates or fails. */
static void
cursor_closed(void *arg)
{
	const NotedCursor *noted = arg;

	if (likely(!stranger_runs()) || find_taken(noted->name) >= 0)
		return;
	if (n_taken < MAX_TAKEN)
		strlcpy(taken[n_taken], noted->name, NAMEDATALEN);
	n_taken = Min(n_taken + 1, MAX_TAKEN + 1);
}

static void
note(Portal portal)
{
	NotedCursor *noted = MemoryContextAlloc(portal->portalContext, sizeof(NotedCursor));
	int			at = find_taken(portal->name);

	if (at >= 0 && n_taken <= MAX_TAKEN)
		memmove(taken[at], taken[--n_taken], NAMEDATALEN);
	strlcpy(noted->name, portal->name, NAMEDATALEN);
	noted->closed.func = cursor_closed;
	noted->closed.arg = noted;
	MemoryContextRegisterResetCallback(portal->portalContext, &noted->closed);
}

static void
refuse_taken(void)
{
	if (likely(n_taken == 0) || ActivePortal == NULL || ActivePortal->name[0] == '\0' ||
		(n_taken <= MAX_TAKEN && find_taken(ActivePortal->name) < 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("cursor \"%s\" was closed by a function of another role", ActivePortal->name),
			 errdetail("Its query would be another than the one it was opened for."),
			 errhint("Open it again, or have a member of dataprotect_admin call dataprotect.trust_function().")));
}

/* The client's unnamed portal is the statement that runs. */
static void
starting(QueryDesc *query)
{
	bool		opens = ActivePortal != NULL && ActivePortal->status == PORTAL_DEFINED && ActivePortal->name[0] != '\0';

	if (unlikely(opens) && !stranger_runs())
		note(ActivePortal);
	else
		refuse_taken();
}

static void
running(QueryDesc *query)
{
	refuse_taken();
}

static void
begin_utility(const DpUtility *utility, Datum *state)
{
	refuse_taken();
}

static const DpSubscriber subscriber = {
	.name = "taken cursors",
	.starting = starting,
	.running = running,
	.begin_utility = begin_utility,
};

static void
end_transaction(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			n_taken = 0;
			break;
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			break;
	}
}

void
dp_taken_cursor_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	dp_statement_subscribe(&subscriber);
}
