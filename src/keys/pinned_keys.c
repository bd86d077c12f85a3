/*
 * pinned_keys.c
 *	  Keys that ordered indexes need, loaded before such an index opens and
 *	  brought back when keys changed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "base/worker.h"
#include "catalog/namespace.h"
#include "keys/catalog.h"
#include "keys/generation.h"
#include "keys/keys.h"
#include "keys/keys_internal.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

/*
 * Named keys that ordered indexes were opened for.  A change of any key empties
 * slots and arena, in the middle of a statement too; the first call outside a
 * page lock brings these back.
 */
#define MAX_PINNED 16
static int32 pinned[MAX_PINNED];
static int	n_pinned = 0;

/*
 * Into the arena and this backend's slots.  Nothing is
 * raised where the KMS is away: a statement that does not use the index must
 * run.  One that does meets the miss there.
 */
static void
load_versions(int32 family)
{
	uint64	   *ids;
	int			n = dp_catalog_list_versions(family, &ids);
	int			i;

	if (n > 0)
		(void) dp_keys_family(family);
	for (i = 0; i < n; i++)
	{
		if (dp_keys_try_epoch_of(ids[i]))
			dp_keys_pin(ids[i]);
	}
	pfree(ids);
}

static void
reload_pinned(void)
{
	static bool reloading = false;
	int			i;

	if (n_pinned == 0 || reloading || !IsTransactionState())
		return;
	if (!dp_catalog_is_there())
		n_pinned = 0;			/* the extension was dropped */
	reloading = true;
	dp_keys_looks++;			/* a change in the middle takes nothing away */
	PG_TRY();
	{
		for (i = 0; i < n_pinned; i++)
			load_versions(pinned[i]);
	}
	PG_FINALLY();
	{
		dp_keys_looks--;
		reloading = false;
	}
	PG_END_TRY();
}

void
dp_keys_preload_all(void)
{
	int32	   *families;
	int			n;

	if (!dp_catalog_is_there())
		return;
	n = dp_catalog_list_families(&families);
	dp_keys_follow_generation();
	dp_keys_looks++;
	PG_TRY();
	{
		for (int i = 0; i < n; i++)
			load_versions(families[i]);
	}
	PG_FINALLY();
	{
		dp_keys_looks--;
	}
	PG_END_TRY();
	pfree(families);
}

/* Worker: what was missing under a page lock is in the arena when VACUUM comes again. */
static bool
load_pinned(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	dp_keys_preload_all();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return false;
}

void
dp_keys_preload(int32 family)
{
	int			i;

	dp_keys_follow_generation();
	dp_keys_looks++;
	PG_TRY();
	{
		load_versions(family);
	}
	PG_FINALLY();
	{
		dp_keys_looks--;
	}
	PG_END_TRY();

	for (i = 0; i < n_pinned; i++)
	{
		if (pinned[i] == family)
			return;
	}
	if (n_pinned < MAX_PINNED)
		pinned[n_pinned++] = family;
}

void
dp_keys_pinned_init(void)
{
	dp_keys_on_renew(reload_pinned);
	dp_worker_register(DP_INDEX_KEYS_WORKER, load_pinned, 0);
}
