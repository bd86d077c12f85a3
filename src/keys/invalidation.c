/*
 * invalidation.c
 *	  Making a change of keys or policy take effect in every backend at once.
 *
 * Statement triggers on the key and grant tables note the change.  Inside the
 * transaction a relcache invalidation of the table makes this backend forget
 * what it cached (and, being WAL-logged with the commit, the backends of a
 * standby).  After commit the shared generations are bumped first and the
 * arena is purged second: whoever read a row before the bump can no longer
 * store it, whoever stored it before the purge loses it.  The generation of keys
 * is bumped once more at the end: whoever took something out of the arena
 * between the two forgets it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/catalog_change.h"
#include "base/statement.h"
#include "base/worker.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "keys/generation.h"
#include "keys/held_keys.h"
#include "keys/keys.h"
#include "keys/keys_internal.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(dp_keys_changed);

static bool keys_pending = false;
static bool policy_pending = false;
static bool epochs_pending = false; /* lockdown has begun or ended */

/* Tables whose invalidation concerns us; of keys, or of policy alone. */
typedef struct Watched
{
	Oid			relid;
	bool		keys;
	bool		epochs;			/* lockdown is said there */
} Watched;

#define N_WATCHED 16
static Watched watched[N_WATCHED];
static int	n_watched = 0;

static void
watch(Oid relid, bool keys, bool epochs)
{
	int			i;

	for (i = 0; i < n_watched; i++)
	{
		if (watched[i].relid == relid)
			return;
	}
	if (n_watched >= N_WATCHED)
		elog(ERROR, "too many tables of keys and policy to watch");
	watched[n_watched].relid = relid;
	watched[n_watched].epochs = epochs;
	watched[n_watched++].keys = keys;
}

/*
 * Trigger, AFTER, FOR EACH STATEMENT.  Argument "policy": grants and masks
 * only, the arena stays.
 */
Datum
dp_keys_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const char *table;
	bool		keys;
	bool		epochs;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a statement trigger", "_keys_changed")));
	table = RelationGetRelationName(trigger->tg_relation);
	keys = trigger->tg_trigger->tgnargs == 0;
	policy_pending = true;
	if (keys)
		keys_pending = true;
	epochs = strcmp(table, "instance") == 0;
	if (epochs)
		epochs_pending = true;
	if (epochs || strcmp(table, "key") == 0)
		dp_keys_wake_sessions();
	watch(RelationGetRelid(trigger->tg_relation), keys, epochs);
	CacheInvalidateRelcache(trigger->tg_relation);
	return PointerGetDatum(NULL);
}

bool
dp_keys_are_changing(void)
{
	return keys_pending;
}

/* Start watching the tables before the first row of theirs is cached. */
void
dp_keys_watch_tables(void)
{
	static const char *const names[] = {"access_grant", "trusted_function", "key", "key_version", "subject_key",
	"epoch", "instance"};
	const int	n_of_policy = 2;
	Oid			schema;
	int			i;

	if (n_watched > 0)
		return;
	schema = get_namespace_oid("dataprotect", true);
	for (i = 0; OidIsValid(schema) && i < lengthof(names); i++)
	{
		Oid			relid = get_relname_relid(names[i], schema);

		if (OidIsValid(relid))
			watch(relid, i >= n_of_policy, i == lengthof(names) - 1);
	}
}

static void
forget(bool keys)
{
	if (keys)
		dp_keys_forget();
	else
		dp_policy_forget();
}

static void
void_keys(bool epochs)
{
	DpSystemKeys none;

	memset(&none, 0, sizeof(none));
	dp_arena_bump_keys();
	dp_arena_put_system(MyDatabaseId, &none);
	dp_arena_purge(MyDatabaseId);
	if (epochs)
		dp_arena_purge_epochs(MyDatabaseId);
	dp_arena_bump_keys();
}

static void
relation_invalidated(Oid relid)
{
	int			i;

	for (i = 0; i < n_watched; i++)
	{
		if (relid == watched[i].relid || relid == InvalidOid)
		{
			bool		keys = watched[i].keys || relid == InvalidOid;

			if (RecoveryInProgress())
			{
				/* No commit callback runs here: replay told us. */
				forget(keys);
				dp_arena_bump_policy();
				if (keys)
					void_keys(watched[i].epochs);
			}
			else if (keys_pending || policy_pending || relid == InvalidOid)
				forget(keys);
			else
				dp_keys_let_go_if_idle();	/* by others: the generations tell */
			return;
		}
	}
}

/*
 * On a standby: hear of changes that were replayed by now, as the next lock of
 * a table would; a cursor's FETCH takes none.
 */
static void
follow_replay(void)
{
	if (RecoveryInProgress() && IsTransactionState())
		AcceptInvalidationMessages();
}

static void
running(QueryDesc *query)
{
	follow_replay();
}

static void
begin_utility(const DpUtility *utility, Datum *state)
{
	follow_replay();
}

static const DpSubscriber subscriber = {
	.name = "keys",
	.running = running,
	.begin_utility = begin_utility,
};

static void
at_xact_end(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (keys_pending || policy_pending)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that changed keys or grants of dataprotect")));
			break;
		case XACT_EVENT_PREPARE:
			/* What it claimed is for whoever ends it: no longer ours to trust. */
			dp_keys_rolled_back();
			break;
		case XACT_EVENT_COMMIT:
			if (policy_pending)
				dp_arena_bump_policy();
			if (keys_pending)
				void_keys(epochs_pending);
			keys_pending = policy_pending = epochs_pending = false;
			break;
		case XACT_EVENT_ABORT:
			if (keys_pending || policy_pending)
				forget(keys_pending);
			keys_pending = policy_pending = epochs_pending = false;
			dp_keys_rolled_back();
			break;
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PARALLEL_PRE_COMMIT:
			/* a parallel worker changes no table, and ends with its transaction */
			break;
	}
}

/* Rows of ours that it changed sent an invalidation, which comes back as well. */
static void
at_subxact_end(SubXactEvent event, SubTransactionId my_subid, SubTransactionId parent_subid,
			   void *arg)
{
	switch (event)
	{
		case SUBXACT_EVENT_ABORT_SUB:
			if (keys_pending || policy_pending)
				forget(keys_pending);
			dp_keys_rolled_back();
			break;
		case SUBXACT_EVENT_START_SUB:
		case SUBXACT_EVENT_PRE_COMMIT_SUB:
		case SUBXACT_EVENT_COMMIT_SUB:
			break;
	}
}

/* The keys of an installation that is gone, or was not there yet, are void. */
static void
forget_installation(void)
{
	n_watched = 0;
	dp_arena_bump_policy();
	void_keys(true);
}

void
dp_keys_invalidation_init(void)
{
	dp_statement_subscribe(&subscriber);
	RegisterXactCallback(at_xact_end, NULL);
	dp_worker_on_extension_change(forget_installation);
	RegisterSubXactCallback(at_subxact_end, NULL);
	dp_on_relation_change(relation_invalidated);
}
