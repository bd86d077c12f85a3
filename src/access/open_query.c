/*
 * open_query.c
 *	  For whom the queries that are open were begun; see open_query.h.
 */
#include "postgres.h"

#include "access/open_query.h"
#include "executor/execdesc.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/memutils.h"

typedef struct OpenQuery
{
	dlist_node	link;
	MemoryContextCallback ended;
	EState	   *state;
	Oid			role;
	uint64		stranger;		/* dp_last_stranger when it was begun */
	int			n_owners;		/* of the functions that ran then */
	Oid			owners[FLEXIBLE_ARRAY_MEMBER];
} OpenQuery;

static dlist_head open_queries = DLIST_STATIC_INIT(open_queries);
static bool (*exceeds) (Oid role, Oid other) = NULL;

static void
query_ended(void *arg)
{
	dlist_delete(&((OpenQuery *) arg)->link);
}

void
dp_open_query_began(QueryDesc *query)
{
	OpenQuery  *entry = MemoryContextAlloc(query->estate->es_query_cxt,
										   offsetof(OpenQuery, owners) + dp_n_strangers * sizeof(Oid));

	entry->state = query->estate;
	entry->role = GetUserId();
	entry->stranger = dp_last_stranger;
	entry->n_owners = dp_n_strangers;
	for (int i = 0; i < dp_n_strangers; i++)
		entry->owners[i] = dp_strangers[i].owner;
	entry->ended.func = query_ended;
	entry->ended.arg = entry;
	dlist_push_head(&open_queries, &entry->link);
	MemoryContextRegisterResetCallback(query->estate->es_query_cxt, &entry->ended);
}

static const OpenQuery *
find(const EState *state)
{
	dlist_iter	iter;

	dlist_foreach(iter, &open_queries)
	{
		const OpenQuery *entry = dlist_container(OpenQuery, link, iter.cur);

		if (entry->state == state)
			return entry;
	}
	return NULL;
}

static bool
was_running(const OpenQuery *query, Oid owner)
{
	for (int i = 0; i < query->n_owners; i++)
	{
		if (query->owners[i] == owner)
			return true;
	}
	return false;
}

const DpStranger *
dp_open_query_stranger(QueryDesc *query)
{
	const OpenQuery *entry;

	if (likely(dp_n_strangers == 0))
		return NULL;
	entry = find(query->estate);
	if (entry == NULL)
		return &dp_strangers[dp_n_strangers - 1];
	for (int i = dp_n_strangers - 1; i >= 0 && dp_strangers[i].number > entry->stranger; i--)
	{
		Oid			owner = dp_strangers[i].owner;

		if (owner != entry->role && !was_running(entry, owner) && exceeds(entry->role, owner))
			return &dp_strangers[i];
	}
	return NULL;
}

void
dp_open_query_init(bool (*has_more) (Oid role, Oid other))
{
	exceeds = has_more;
}
