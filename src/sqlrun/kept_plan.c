/*
 * kept_plan.c
 *	  Statements that are prepared once a session; see kept_plan.h.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "sqlrun/kept_plan.h"
#include "sqlrun/run_as.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/plancache.h"

/* Few plans of a session are in use; the one that was not for longest goes. */
#define MAX_KEPT 64
#define MAX_ARGUMENTS 16
#define MAX_TEXT 16384			/* a longer one has a batch's rows in it: nobody executes it again */

typedef struct KeptPlan
{
	SPIPlanPtr	plan;			/* NULL: free */
	Oid			role;
	char	   *sql;
	uint32		hash;			/* of the text */
	int			nargs;
	Oid			types[MAX_ARGUMENTS];
	uint64		used;
} KeptPlan;

static KeptPlan kept_plans[MAX_KEPT];
static uint64 now_used = 0;

/* As when it is prepared: what a caller asks of these relations holds until the statement has run. */
static void
lock_relations(const CachedPlanSource *source)
{
	ListCell   *cell;

	foreach(cell, source->relationOids)
		LockRelationOid(lfirst_oid(cell), AccessShareLock);
	foreach(cell, source->query_list)
	{
		ListCell   *entry;

		foreach(entry, lfirst_node(Query, cell)->rtable)
		{
			const RangeTblEntry *rte = lfirst_node(RangeTblEntry, entry);

			if (rte->rtekind == RTE_RELATION)
				LockRelationOid(rte->relid, rte->rellockmode);
		}
	}
}

static bool
is_usable(SPIPlanPtr plan)
{
	ListCell   *cell;

	foreach(cell, SPI_plan_get_plan_sources(plan))
	{
		const CachedPlanSource *source = lfirst(cell);

		lock_relations(source);
		if (!source->is_valid)
			return false;
	}
	return dp_run_as_keeps(plan);
}

static void
forget(KeptPlan *kept)
{
	SPIPlanPtr	plan = kept->plan;

	kept->plan = NULL;
	kept->used = 0;
	if (plan != NULL)
		SPI_freeplan(plan);
	if (kept->sql != NULL)
		pfree(kept->sql);
	kept->sql = NULL;
}

/* The plan that is there already, or NULL; *out_place: where it is, or a new one goes. */
static SPIPlanPtr
find_kept(const char *sql, uint32 hash, int nargs, const Oid *types, KeptPlan **out_place)
{
	*out_place = &kept_plans[0];
	for (int i = 0; i < MAX_KEPT; i++)
	{
		KeptPlan   *kept = &kept_plans[i];

		if (kept->plan != NULL && kept->hash == hash && kept->role == GetUserId() && kept->nargs == nargs &&
			memcmp(kept->types, types, nargs * sizeof(Oid)) == 0 && strcmp(kept->sql, sql) == 0)
		{
			*out_place = kept;
			return is_usable(kept->plan) ? kept->plan : NULL;
		}
		if (kept->used < (*out_place)->used)
			*out_place = kept;
	}
	return NULL;
}

SPIPlanPtr
dp_kept_plan(const char *sql, int nargs, Oid *types)
{
	Size		len = strlen(sql);
	uint32		hash;
	KeptPlan   *kept;
	SPIPlanPtr	plan;

	/* of a statement that is running nothing may be forgotten */
	if (nargs > MAX_ARGUMENTS || len > MAX_TEXT || dp_run_as_is_nested())
		return dp_run_as_prepare(sql, nargs, types, 0);
	hash = hash_bytes((const unsigned char *) sql, (int) len);
	plan = find_kept(sql, hash, nargs, types, &kept);
	if (plan == NULL)
	{
		plan = dp_run_as_prepare(sql, nargs, types, 0);
		if (!dp_run_as_keeps(plan))
			return plan;
		forget(kept);
		kept->sql = MemoryContextStrdup(TopMemoryContext, sql);
		if (SPI_keepplan(plan) != 0)
			elog(ERROR, "could not keep a plan");
		kept->plan = plan;
		kept->hash = hash;
		kept->role = GetUserId();
		kept->nargs = nargs;
		memcpy(kept->types, types, nargs * sizeof(Oid));
	}
	kept->used = ++now_used;
	return plan;
}
