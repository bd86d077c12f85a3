/*
 * catalog_change.c
 *	  One listener of the server's for all of ours.
 */
#include "postgres.h"

#include "base/catalog_change.h"

/* Fixed: a listener is a line of code, so that too many are found by the first test. */
#define MAX_LISTENERS 32

typedef struct CacheListener
{
	int			cache;
	void		(*changed) (int cache, uint32 hash);
} CacheListener;

static void (*of_relations[MAX_LISTENERS]) (Oid relid);
static int	n_of_relations;
static CacheListener of_caches[MAX_LISTENERS];
static int	n_of_caches;

static void
relation_changed(Datum arg, Oid relid)
{
	for (int i = 0; i < n_of_relations; i++)
		of_relations[i] (relid);
}

static void
cache_changed(Datum arg, int cache, uint32 hash)
{
	for (int i = 0; i < n_of_caches; i++)
	{
		if (of_caches[i].cache == cache)
			of_caches[i].changed(cache, hash);
	}
}

void
dp_on_relation_change(void (*changed) (Oid relid))
{
	if (n_of_relations == MAX_LISTENERS)
		elog(FATAL, "too many listeners to relations");
	if (n_of_relations == 0)
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	of_relations[n_of_relations++] = changed;
}

void
dp_on_cache_change(int cache, void (*changed) (int cache, uint32 hash))
{
	bool		known = false;

	if (n_of_caches == MAX_LISTENERS)
		elog(FATAL, "too many listeners to catalog caches");
	for (int i = 0; i < n_of_caches; i++)
		known = known || of_caches[i].cache == cache;
	if (!known)
		CacheRegisterSyscacheCallback(cache, cache_changed, (Datum) 0);
	of_caches[n_of_caches].cache = cache;
	of_caches[n_of_caches++].changed = changed;
}
